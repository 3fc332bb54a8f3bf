"""The sensors of ACTS' GenericDetector, which is the detector of the TrackML challenge."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.generic.material import SIGMAS
from trackserve.edm.columns import Array
from trackserve.errors import MissingExtraError
from trackserve.install import install_command

try:
    import acts
    import acts.examples
except ImportError:
    raise MissingExtraError(f"simulation needs pyacts: {install_command('sim')}") from None


class PointsDetector(NamedTuple):
    """The detector for ACTS, and its 18 728 sensors in the order of their identifiers.

    Attributes:
        geometry: ACTS' tracking geometry, with material.
        key: int64[n], ascending, as :func:`sensor_key` makes it.
        surface: uint64[n], ACTS' identifiers.
        volume, layer, module: int64[n].
        centre: float64[n, 3], mm.
        spread: float64[n, 2, 3], direction of each local axis times the resolution, mm.
        axes: float64[n, 2, 3], direction of each local axis.
        half: float64[n, 3], half of the width at the lower and at the upper end of the second axis,
            and half of the length along it, mm. Sensors are rectangles and trapezoids.
    """

    geometry: Any
    key: Array
    surface: Array
    volume: Array
    layer: Array
    module: Array
    centre: Array
    spread: Array
    axes: Array
    half: Array


@functools.cache
def make_points_detector() -> PointsDetector:
    """Return GenericDetector with its own material, which a process builds once; read only."""
    config = acts.examples.GenericDetector.Config()
    for name in ("logLevel", "surfaceLogLevel", "layerLogLevel", "volumeLogLevel"):
        setattr(config, name, acts.logging.Level.WARNING)
    geometry = acts.examples.GenericDetector(config).trackingGeometry()
    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    sensors = sorted(
        (
            *(identifier.volume, identifier.layer, identifier.sensitive, identifier.value),
            _centre(surface, context),
            _axes(surface, context),
            _half(surface),
        )
        for identifier, surface in geometry.geoIdSurfaceMap().items()
        if surface.isSensitive
    )
    volume, layer, module = np.array([sensor[:3] for sensor in sensors], np.int64).T
    sigma = np.array([SIGMAS[v] for v in volume.tolist()])
    surface = np.array([sensor[3] for sensor in sensors], np.uint64)
    centre, axes, half = (np.array([sensor[n] for sensor in sensors]) for n in (4, 5, 6))
    return PointsDetector(
        geometry,
        sensor_key(volume, layer, module),
        surface,
        volume,
        layer,
        module,
        centre,
        sigma[:, :, None] * axes,
        axes,
        half,
    )


def sensor_key(volume: Array, layer: Array, module: Array) -> Array:
    """One number for each sensor, int64[n]; it sorts as ACTS' identifiers do."""
    return volume.astype(np.int64) << 48 | layer.astype(np.int64) << 32 | module.astype(np.int64)


def _centre(surface: Any, context: Any) -> list[float]:
    centre = surface.center(context)
    return [centre[i] for i in range(3)]


def _axes(surface: Any, context: Any) -> list[list[float]]:
    """The directions of the two local axes."""
    rotation = surface.localToGlobalTransform(context).rotation
    return [[rotation[i, j] for i in range(3)] for j in range(2)]


def _half(surface: Any) -> tuple[float, float, float]:
    """Half widths at both ends of the second axis, and half of the length along it."""
    values = surface.bounds.values()
    if isinstance(surface.bounds, acts.RectangleBounds):
        low_x, low_y, high_x, high_y = values
        width = (high_x - low_x) / 2
        return width, width, (high_y - low_y) / 2
    lower, upper, length, _ = values
    return lower, upper, length
