"""The Phase-1 pixel detector as ACTS sees it: sensors and material on surfaces.

Material lies on the beam pipe, the modules and the barrel's end flanges.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import SENSOR_LENGTH, SENSOR_WIDTH, PixelGeometry
from trackserve.detectors.phase1.layout import N_BARREL_LAYERS
from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM

from ..chain.acts_fatras import acts
from .material import (
    FLANGE_MATERIAL,
    FLANGE_RADII,
    FLANGE_Z,
    PIPE_MATERIAL,
    PIPE_RADIUS,
    module_material,
)

OUTER_RADIUS = 17.0
OUTER_Z = 56.0
"""Size of the simulated cylinder, cm. A particle that leaves it does not come back."""
_RADIATION_LENGTH = 93.7
_SILICON = {
    "kind": "material",
    "radiation_length": _RADIATION_LENGTH,
    "interaction_length": 465.2,
    "relative_atomic_mass": 28.085,
    "atomic_number": 14.0,
    "molar_density": 8.294e-05,
    "molar_electron_density": 1.1611e-03,
    "mean_excitation_energy": 1.73e-07,
}
"""All material is silicon, as thick as its radiation lengths need. Lengths are in mm, densities
in mol/mm^3, energies in GeV (Particle Data Group)."""


class TrackingDetector(NamedTuple):
    """The detector, as ACTS has built it.

    Attributes:
        geometry: tracking geometry of ACTS.
        modules: number of the module, by ACTS' identifier of the sensor.
    """

    geometry: Any
    modules: dict[int, int]


def make_detector(geometry: PixelGeometry, material: float = 1.0) -> TrackingDetector:
    """Build the detector for ACTS; ``material`` multiplies all thicknesses."""
    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    tracking = _build(geometry).construct(_options(), context, acts.logging.Level.WARNING)
    surfaces = tracking.geoIdSurfaceMap()
    modules = _modules(surfaces, context, geometry)
    if material > 0:
        thickness = material * module_material(geometry)
        _material(surfaces, modules, thickness, material).apply(tracking)
    return TrackingDetector(tracking, modules)


def _build(geometry: PixelGeometry) -> Any:
    """The vacuum and the beam pipe; around them, along z: disks, flange, barrel, flange, disks."""
    cylinder, disc = (
        acts.LayerBlueprintNode.LayerType.Cylinder,
        acts.LayerBlueprintNode.LayerType.Disc,
    )
    radial, along = acts.AxisDirection.AxisR, acts.AxisDirection.AxisZ
    modules = [_sensor(p, r) for p, r in zip(geometry.position, geometry.rotation, strict=True)]

    def add_layer(parent: Any, name: str, surfaces: list[Any], kind: Any) -> None:
        layer = parent.addLayer(name)
        layer.surfaces = surfaces
        layer.layerType = kind
        layer.envelope = acts.ExtentEnvelope(r=[0.2, 0.2], z=[0.2, 0.2])

    def add_modules(parent: Any, layer: int, kind: Any) -> None:
        """Add a volume for each place of modules along z: ACTS tries all surfaces of a volume."""
        parent = parent.addCylinderContainer(f"layer {layer}", along)
        chosen = np.flatnonzero(geometry.layer == layer)
        place = geometry.position[chosen, 2]
        for i, z in enumerate(np.unique(np.round(place, 3))):
            here = chosen[np.abs(place - z) < 0.1]
            add_layer(parent, f"layer {layer}, {i}", [modules[m] for m in here], kind)

    def add_flange(parent: Any, side: int) -> None:
        place = acts.Transform3(acts.Vector3(0, 0, side * FLANGE_Z * MM_PER_CM))
        bounds = acts.RadialBounds(*(r * MM_PER_CM for r in FLANGE_RADII))
        add_layer(parent, f"flange {side}", [acts.Surface.createDisc(place, bounds)], disc)

    config = acts.Blueprint.Config()
    config.envelope = acts.ExtentEnvelope(r=[0.0, 1.0], z=[1.0, 1.0])
    root = acts.Blueprint(config)
    detector = root.addCylinderContainer("detector", radial)
    centre = acts.Transform3.Identity()
    inside = acts.CylinderVolumeBounds(0.0, (PIPE_RADIUS - 0.1) * MM_PER_CM, OUTER_Z * MM_PER_CM)
    detector.addStaticVolume(centre, inside, "vacuum")
    pipe = acts.CylinderBounds(PIPE_RADIUS * MM_PER_CM, OUTER_Z * MM_PER_CM)
    add_layer(detector, "pipe", [acts.Surface.createCylinder(centre, pipe)], cylinder)
    pixel = detector.addCylinderContainer("pixel", along)
    for layer in (9, 8, 7):
        add_modules(pixel, layer, disc)
    add_flange(pixel, -1)
    barrel = pixel.addCylinderContainer("barrel", radial)
    for layer in range(N_BARREL_LAYERS):
        add_modules(barrel, layer, cylinder)
    add_flange(pixel, 1)
    for layer in (4, 5, 6):
        add_modules(pixel, layer, disc)
    return root


def _options() -> Any:
    options = acts.BlueprintOptions()
    options.defaultNavigationPolicyFactory = acts.NavigationPolicyFactory.make().add(
        acts.TryAllNavigationPolicy
    )
    return options


def _sensor(position: Array, rotation: Array) -> Any:
    axes = acts.RotationMatrix3(*(acts.Vector3(*axis) for axis in rotation))
    bounds = acts.RectangleBounds(SENSOR_WIDTH / 2 * MM_PER_CM, SENSOR_LENGTH / 2 * MM_PER_CM)
    place = acts.Transform3(acts.Vector3(*(position * MM_PER_CM)), axes)
    surface = acts.Surface.createPlane(place, bounds)
    surface.assignIsSensitive(True)
    return surface


def _modules(surfaces: dict[Any, Any], context: Any, geometry: PixelGeometry) -> dict[int, int]:
    """The module of each of ACTS' identifiers, found by position."""
    modules = {}
    for identifier, surface in surfaces.items():
        if surface.isSensitive:
            centre = np.array(surface.center(context)) / MM_PER_CM
            distance = np.linalg.norm(geometry.position - centre, axis=1)
            modules[identifier.value] = int(distance.argmin())
    return modules


def _material(
    surfaces: dict[Any, Any], modules: dict[int, int], thickness: Array, factor: float
) -> Any:
    """Slabs for the modules and the passive surfaces; ACTS takes them from a file only."""
    entries = []
    for identifier, surface in surfaces.items():
        if identifier.sensitive == 0:
            continue  # a border between volumes
        module = modules.get(identifier.value)
        if module is not None:
            amount = thickness[module]
        elif isinstance(surface, acts.CylinderSurface):
            amount = factor * PIPE_MATERIAL
        else:
            amount = factor * FLANGE_MATERIAL
        place = {"volume": identifier.volume, "sensitive": identifier.sensitive}
        slab = {"material": _SILICON, "thickness": amount * _RADIATION_LENGTH}
        entries.append(
            {
                "target": {"kind": "geometry-id", "geometry_id": place},
                "material": {
                    "kind": "homogeneous",
                    "settings": {"mapping_type": "default", "split_factor": 1.0},
                    "slab": slab,
                },
            }
        )
    header = {
        "format": "acts-material-map",
        "version": 1,
        "units": {"angle": "rad", "energy": "GeV", "length": "mm", "material_amount": "mol"},
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "material.json"
        path.write_text(json.dumps({"header": header, "surfaces": entries}))
        return acts.json.TrackingGeometryMaterialJsonConverter().fromFile(str(path))
