"""Planes of sensors, and where helices cross them."""

from __future__ import annotations

from typing import NamedTuple

from trackserve.device.compile import shared
from trackserve.edm.columns import Array

from .kinematics import Vector, on_helix

_PRECISION = 1e-7
"""cm. Places on planes are found so well."""


class Planes(NamedTuple):
    """The sensors: trapezoids, or rectangles.

    Attributes:
        centre: float64[n, 3], cm.
        axes: float64[n, 3, 3], rows are the local axes.
        half: float64[n, 3], half of the width at the lower and at the upper end of local y, and
            half of the length along it, cm.
    """

    centre: Array
    axes: Array
    half: Array


@shared
def distance(at: Vector, module: int, planes: Planes) -> float:
    """Distance from the plane of a module, along its local z."""
    return (
        (at.x - planes.centre[module, 0]) * planes.axes[module, 2, 0]
        + (at.y - planes.centre[module, 1]) * planes.axes[module, 2, 1]
        + (at.z - planes.centre[module, 2]) * planes.axes[module, 2, 2]
    )


@shared
def is_on(at: Vector, module: int, planes: Planes) -> bool:
    """Whether a point of a module's plane is on its sensor."""
    x, y, z = (
        at.x - planes.centre[module, 0],
        at.y - planes.centre[module, 1],
        at.z - planes.centre[module, 2],
    )
    axes = planes.axes
    u = abs(axes[module, 0, 0] * x + axes[module, 0, 1] * y + axes[module, 0, 2] * z)
    v = axes[module, 1, 0] * x + axes[module, 1, 1] * y + axes[module, 1, 2] * z
    lower, upper, length = (
        planes.half[module, 0],
        planes.half[module, 1],
        planes.half[module, 2],
    )
    return abs(v) < length and u < lower + (upper - lower) * 0.5 * (v / length + 1)


@shared
def path_to_plane(
    at: Vector,
    momentum: Vector,
    charge: int,
    path: float,
    module: int,
    planes: Planes,
    pt_per_radius: float,
) -> float:
    """Path to a plane that lies between 0 and ``path``, cm.

    Args:
        at, momentum, charge: of the particle, cm and GeV.
        path: cm; the plane is crossed before.
        module: whose plane.
        planes: of all modules.
        pt_per_radius: of the field, GeV per cm.
    """
    low, high = 0.0, path
    f_low = distance(at, module, planes)
    end, _ = on_helix(at, momentum, charge, path, pt_per_radius)
    f_high = distance(end, module, planes)
    s = 0.5 * path
    for _ in range(12):
        s = (low * f_high - high * f_low) / (f_high - f_low)
        point, _ = on_helix(at, momentum, charge, s, pt_per_radius)
        f = distance(point, module, planes)
        if abs(f) < _PRECISION:
            break
        if (f > 0) == (f_high > 0):
            high, f_high, f_low = s, f, 0.5 * f_low
        else:
            low, f_low, f_high = s, f, 0.5 * f_high
    return s
