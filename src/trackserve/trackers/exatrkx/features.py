"""Inputs of the networks: features of points, and of pairs of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.device.compile import (
    f32,
    i32,
    kernel,
    shared,
)
from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError

from .architecture import EDGE_INPUTS, NODE_INPUTS, Features
from .event import ExatrkxEvent, FeaturesEvent, values_of

POINTS_PER_SECTOR = 1024
"""About the number of points of a sector in phi."""
_LEAST_R = 1.0
"""mm; a point nearer to the beam axis has the eta that it had at this distance."""
_MOST_SLOPE = f32(4)
_Z0_UNIT = f32(100)
_MOST_Z0 = f32(8)


class Directions(NamedTuple):
    """Directions of points, seen from the origin.

    Attributes:
        eta: float32[n], pseudorapidity.
        cos, sin: float32[n], cosine and sine of phi.
    """

    eta: Any
    cos: Any
    sin: Any


def scale_points(position: Array, features: Features) -> Array:
    """Return the scaled features of points, float32[n, 3].

    Args:
        position: float32[n, 3], x, y, z in mm.
        features: the scales.
    """
    scales = np.array(features.scales, np.float32)
    return _scale_points(np.array(position, np.float32, order="C"), scales)


def features_of(event: ExatrkxEvent, features: Features) -> Array | EventError:
    """Return the scaled features float32[n, 3] of an event, or the error that refuses it.

    A point is refused if it is not finite, or outside the range of the training. The error has
    ``event``, ``point``, ``feature``, ``found`` and, for the second reason, ``bound``.
    """
    values = values_of(event)
    is_scaled = isinstance(event, FeaturesEvent)
    scaled = np.asarray(values) if is_scaled else scale_points(values, features)
    finite = np.isfinite(scaled)
    if not finite.all():
        point, k = (int(i) for i in np.argwhere(~finite)[0])
        return EventError(
            "feature is not finite",
            event=event.event,
            point=point,
            feature=NODE_INPUTS[k],
            found=str(scaled[point, k]),
        )
    if features.low is None or features.high is None:
        return scaled
    low, high = np.array(features.low, np.float32), np.array(features.high, np.float32)
    outside = (scaled < low) | (scaled > high)
    if outside.any():
        point, k = (int(i) for i in np.argwhere(outside)[0])
        return EventError(
            "scaled feature is outside the range that the model was trained on",
            event=event.event,
            point=point,
            feature=NODE_INPUTS[k],
            found=float(scaled[point, k]),
            bound=[float(low[k]), float(high[k])],
        )
    return scaled


def outward_order(scaled: Array, features: Features) -> Array:
    """Return the rows of points from the inside out, int32[n].

    The order is by distance from the origin. Points at the same distance are in the order of
    their features r, z and phi. Equal points keep the order of their rows.

    Args:
        scaled: float32[n, 3], features.
        features: the scales.
    """
    r, phi, z = scaled.astype(np.float64).T
    squared = (r * features.scales[0]) ** 2 + (z * features.scales[2]) ** 2
    order = np.argsort(squared)
    equal = np.diff(squared[order]) == 0
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    rows = order[tied]
    order[tied] = rows[np.lexsort((rows, phi[rows], z[rows], r[rows], squared[rows]))]
    return order.astype(np.int32)


def sector_order(scaled: Array, features: Features, place: Array) -> Array:
    """Return the rows of points sector by sector in phi, int32[n].

    Points that an edge joins are then near each other in memory.

    Args:
        scaled: float32[n, 3], features.
        features: the scales.
        place: int32[n], the order of the points of one sector.
    """
    n_sectors = max(1, len(scaled) // POINTS_PER_SECTOR)
    turns = scaled[:, 1].astype(np.float64) * (features.scales[1] / (2 * math.pi))
    sector = np.floor((turns - np.floor(turns)) * n_sectors).astype(np.int64)
    return np.argsort(sector * len(scaled) + place).astype(np.int32)


def node_inputs(names: Sequence[str], scaled: Array, features: Features) -> Array:
    """Return inputs of points, float32[n, len(names)].

    Args:
        names: names of :data:`.architecture.NODE_INPUTS`.
        scaled: float32[n, 3], features.
        features: the scales.

    Raises:
        InputError: a name is not in :data:`.architecture.NODE_INPUTS`.
    """
    scales = np.array(features.scales, np.float32)
    return _node_inputs(numbers_of(names, NODE_INPUTS), np.ascontiguousarray(scaled), scales)


def edge_inputs(
    names: Sequence[str], scaled: Array, features: Features, source: Array, target: Array
) -> Array:
    """Return inputs of edges, float32[m, len(names)].

    Args:
        names: names of :data:`.architecture.EDGE_INPUTS`.
        scaled: float32[n, 3], features of the points.
        features: the scales.
        source, target: int32[m], the rows of ``scaled`` that each edge joins.

    Raises:
        InputError: a name is not in :data:`.architecture.EDGE_INPUTS`.
    """
    numbers = numbers_of(names, EDGE_INPUTS)
    if not len(numbers):
        return np.empty((len(source), 0), np.float32)
    scales = np.array(features.scales, np.float32)
    out = np.empty((len(source), len(numbers)), np.float32)
    _edge_inputs(
        numbers,
        np.ascontiguousarray(scaled),
        scales,
        np.ascontiguousarray(source, np.int32),
        np.ascontiguousarray(target, np.int32),
        out,
    )
    return out


def numbers_of(names: Sequence[str], known: tuple[str, ...]) -> Array:
    """Return the places of ``names`` in ``known``, int32[len(names)].

    Raises:
        InputError: a name is not in ``known``.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError("no such network input", found=unknown, bound=list(known))
    return np.array([known.index(name) for name in names], np.int32)


@shared
def eta(r: float, z: float) -> float:
    """Return the pseudorapidity of a point at r and z, in mm, seen from the origin."""
    return f32(math.asinh(z / max(r, f32(_LEAST_R))))


@shared
def within(value: float, most: float) -> float:
    """Return ``value`` limited to +-``most``; 0 for NaN."""
    limited = min(max(value, -most), most)
    return limited if value == value else f32(0)


@shared
def direction(r: float, phi: float, z: float, scales: Array) -> tuple[float, float, float]:
    """Return eta, cos phi and sin phi of a point with these scaled features."""
    angle = phi * scales[1]
    return eta(r * scales[0], z * scales[2]), f32(math.cos(angle)), f32(math.sin(angle))


@shared
def node_values(r: float, phi: float, z: float, scales: Array) -> tuple[float, ...]:
    """Return :data:`.architecture.NODE_INPUTS` of a point with these scaled features."""
    eta_, cos, sin = direction(r, phi, z, scales)
    return r, phi, z, r * cos, r * sin, cos, sin, eta_


@shared
def edge_units(scales: Array) -> tuple[float, float, float]:
    """Return half a turn in the unit of phi, and the unit of z in those of r and of z0."""
    return f32(math.pi) / scales[1], scales[2] / scales[0], scales[2] / _Z0_UNIT


@shared
def edge_values(
    scaled: Array,
    seen: Directions,
    s: int,
    t: int,
    scales: Array,
    units: tuple[float, float, float],
) -> tuple[float, ...]:
    """Return :data:`.architecture.EDGE_INPUTS` of the edge from point ``s`` to point ``t``.

    Args:
        scaled: float32[n, 3], features of all points.
        seen: directions of all points.
        scales: float32[3].
        units: as :func:`edge_units` returns them.
    """
    half_turn, z_to_r, z0_unit = units
    rs, rt, zs, zt = scaled[s, 0], scaled[t, 0], scaled[s, 2], scaled[t, 2]
    dr, dz = rs - rt, zs - zt
    turn = scaled[s, 1] - scaled[t, 1]
    turn += f32(2) * half_turn * f32(i32(turn <= -half_turn) - i32(turn > half_turn))
    dx = rs * seen.cos[s] - rt * seen.cos[t]
    dy = rs * seen.sin[s] - rt * seen.sin[t]
    return (
        dr,
        turn / half_turn,
        dz,
        seen.eta[s] - seen.eta[t],
        within(turn * scales[1] / dr, _MOST_SLOPE),
        within((zt * rs - zs * rt) / dr * z0_unit, _MOST_Z0),
        f32(math.sqrt(dx * dx + dy * dy + dz * dz * z_to_r * z_to_r)),
    )


@kernel
def _scale_points(position: Array, scales: Array) -> Array:
    out = np.empty_like(position)
    for i in range(len(position)):
        x, y, z = position[i, 0], position[i, 1], position[i, 2]
        out[i, 0] = f32(math.sqrt(x * x + y * y)) / scales[0]
        out[i, 1] = f32(math.atan2(y, x)) / scales[1]
        out[i, 2] = z / scales[2]
    return out


@kernel
def _node_inputs(numbers: Array, scaled: Array, scales: Array) -> Array:
    out = np.empty((len(scaled), len(numbers)), np.float32)
    for i in range(len(scaled)):
        values = node_values(scaled[i, 0], scaled[i, 1], scaled[i, 2], scales)
        for k in range(len(numbers)):
            out[i, k] = values[numbers[k]]
    return out


@kernel
def _edge_inputs(
    numbers: Array, scaled: Array, scales: Array, source: Array, target: Array, out: Array
) -> None:
    n = len(scaled)
    seen = Directions(
        eta=np.empty(n, np.float32), cos=np.empty(n, np.float32), sin=np.empty(n, np.float32)
    )
    for i in range(n):
        eta_, cos, sin = direction(scaled[i, 0], scaled[i, 1], scaled[i, 2], scales)
        seen.eta[i], seen.cos[i], seen.sin[i] = eta_, cos, sin
    units = edge_units(scales)
    for e in range(len(source)):
        values = edge_values(scaled, seen, source[e], target[e], scales, units)
        for k in range(len(numbers)):
            out[e, k] = values[numbers[k]]
