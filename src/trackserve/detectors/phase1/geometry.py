"""Geometry of the CMS Phase-1 pixel detector, built from its published dimensions.

Radii, numbers of ladders and blades, the 20 degree turbine of the blades and the 12 degree
tilt of the inner rings are those of the Technical Design Report (CERN-LHCC-2012-016) and of
JINST 16 (2021) P02027. Where disks and rings lie along z, and which way the inner rings tilt,
is that of CMS' own simulation (CMSSW, ``Geometry/TrackerCommonData/data/PhaseI/pixfwd``).
The staggers and the ring radii are chosen so that a layer leaves no gap in phi and no two
sensors touch (:data:`LADDER_STAGGER`, :data:`RING_RADIUS`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array

from .layout import LAYER_START, N_BARREL_LAYERS, N_LAYERS

SENSOR_WIDTH = 1.62
"""Active length along local x, cm: 160 rows of 100 um, two of them double."""
SENSOR_LENGTH = 6.48
"""Active length along local y, cm: 416 columns of 150 um, 16 of them double."""
THICKNESS_BARREL = 0.0285
THICKNESS_ENDCAP = 0.0290

LADDER_RADIUS = (2.9, 6.8, 10.9, 16.0)
N_LADDERS = (12, 28, 44, 64)
LADDER_STAGGER = (0.15, 0.2, 0.2, 0.2)
"""Ladders lie alternately this much (cm) inside and outside of the layer's radius."""
MODULES_PER_LADDER = 8
MODULE_PITCH = 6.7
"""Distance of module centres along a ladder, cm."""

DISK_Z = (32.76, 40.26, 49.76)
"""Middle of each disk, cm: CMSSW's ``pixfwd.xml``. The first disk begins at 29.1 cm."""
N_BLADES = (22, 34)
"""Number of blades of the inner and the outer ring; a blade has a module on both sides."""
RING_RADIUS = (7.74, 12.86)
RING_OFFSET = (0.53, -1.50)
"""Distance of a ring's module centres from the disk's z, away from the interaction point, cm: the
mean over the blades of ``pixfwdInnerDiskZplus.xml`` and ``pixfwdOuterDiskZplus.xml``. The rings do
not overlap in z."""
RING_TILT = (np.radians(12), 0.0)
"""The outer end of a blade leans away from the interaction point: tracks cross the inner rings at
their polar angle plus 12 degrees, so that columns share charge."""
BLADE_TURN = np.radians(20)
"""Rotation of a blade about its radial axis. Modules follow one another at equal steps in
phi, the two of a blade first and second, so this also sets how far apart (about 4 mm) the
two faces of a blade are."""


@dataclass(frozen=True, eq=False)
class PixelGeometry:
    """Positions and orientations of the modules, in the order of ``phase1.LAYER_START``.

    Attributes:
        layer: int32[1856], 0..9.
        raw_id: uint32[1856], DetIds.
        position: float64[1856, 3], centres, global, cm.
        rotation: float64[1856, 3, 3], rows are the local x, y, z axes in global
            coordinates. Local x is across the rows (along r-phi), local y along the
            columns (z in the barrel, outwards on the disks), local z from the
            read-out side of the sensor to the other.
    """

    layer: Array
    raw_id: Array
    position: Array
    rotation: Array

    def to_global(self, module: Array, local: Array) -> Array:
        """Turn local points into global ones.

        Args:
            module: int[n], module of each point.
            local: float64[n, 3], cm.

        Returns:
            float64[n, 3], cm.
        """
        point: Array = self.position[module] + np.einsum("nij,ni->nj", self.rotation[module], local)
        return point

    def to_local(self, module: Array, point: Array) -> Array:
        """Turn global points into local ones: the inverse of :meth:`to_global`."""
        offset = point - self.position[module]
        local: Array = np.einsum("nij,nj->ni", self.rotation[module], offset)
        return local


class _Module(NamedTuple):
    raw_id: int
    position: Array
    y_axis: Array
    z_axis: Array


def phase1_geometry() -> PixelGeometry:
    """Return the 1856 modules.

    Barrel ladders alternate in radius. A ladder's sensors look away from its read-out
    chips: those of inner ladders towards the beam, those of outer ladders outwards, so
    local z alternates too, and local y is always +z. A blade's two sensors look away from
    each other, the first towards the interaction point.
    """
    modules = [*_barrel(), *_disks(side=+1), *_disks(side=-1)]
    y_axis, z_axis = (
        np.array([getattr(m, axis) for m in modules]) for axis in ("y_axis", "z_axis")
    )
    return PixelGeometry(
        layer=np.repeat(np.arange(N_LAYERS, dtype=np.int32), np.diff(LAYER_START)),
        raw_id=np.array([module.raw_id for module in modules], np.uint32),
        position=np.array([module.position for module in modules]),
        rotation=np.stack([np.cross(y_axis, z_axis), y_axis, z_axis], axis=1),
    )


def _barrel() -> Iterator[_Module]:
    """Yield the barrel layer by layer, ladder by ladder, in rising z; DetIds as in CMS."""
    along = np.array([0.0, 0.0, 1.0])
    for layer in range(N_BARREL_LAYERS):
        for ladder in range(N_LADDERS[layer]):
            outward = _radial(2 * np.pi * ladder / N_LADDERS[layer])
            side = -1 if ladder % 2 == 0 else 1
            centre = (LADDER_RADIUS[layer] + side * LADDER_STAGGER[layer]) * outward
            for number in range(MODULES_PER_LADDER):
                z = (number - (MODULES_PER_LADDER - 1) / 2) * MODULE_PITCH
                raw_id = 0x12000000 | layer + 1 << 20 | ladder + 1 << 12 | number + 1 << 2
                yield _Module(raw_id, centre + z * along, along, side * outward)


def _disks(side: int) -> Iterator[_Module]:
    """Yield the disks on one side (+1 or -1) in the order of DetIds: by disk, blade and panel."""
    away = np.array([0.0, 0.0, side])
    for disk, disk_z in enumerate(DISK_Z):
        for ring in range(2):
            first_blade = 1 + sum(N_BLADES[:ring])
            tilt = RING_TILT[ring]
            for number in range(N_BLADES[ring]):
                for panel in range(2):
                    phi = 2 * np.pi * (number + panel / 2) / N_BLADES[ring]
                    outward = _radial(phi)
                    around = _radial(phi + np.pi / 2)
                    y_axis = np.cos(tilt) * outward + np.sin(tilt) * away
                    facing = np.sin(tilt) * outward - np.cos(tilt) * away
                    normal = np.cos(BLADE_TURN) * facing - np.sin(BLADE_TURN) * around
                    z_axis = normal if panel == 0 else -normal
                    centre = RING_RADIUS[ring] * outward + (disk_z + RING_OFFSET[ring]) * away
                    raw_id = (
                        0x14000000
                        | (2 if side > 0 else 1) << 23
                        | disk + 1 << 18
                        | first_blade + number << 12
                        | panel + 1 << 10
                        | 1 << 2
                    )
                    yield _Module(raw_id, centre, y_axis, z_axis)


def _radial(phi: float) -> Array:
    return np.array([np.cos(phi), np.sin(phi), 0.0])
