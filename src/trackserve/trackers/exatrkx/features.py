"""What the networks see of points and of pairs of points: the one place that computes it."""

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

from .architecture import Features

NODE_INPUTS = ("r", "phi", "z", "x", "y", "cos_phi", "sin_phi", "eta")
"""Inputs of a point. ``r``, ``phi``, ``z`` are the scaled features, ``x`` and ``y`` are in
units of the scale of r. ``phi`` has a seam at +-pi, the others have none."""

EDGE_INPUTS = ("dr", "dphi", "dz", "deta", "phi_slope", "z0", "distance")
"""Inputs of an edge, source minus target. ``dr`` and ``dz`` in units of the scales, ``dphi``
in (-1, 1] of pi across the seam; ``phi_slope`` = dphi (rad) / ``dr``, within +-4; ``z0``:
where the line through both points meets the beam axis, in units of 100 mm, within +-8;
``distance`` of the points in space, in units of the scale of r."""

POINTS_PER_SECTOR = 1024
_LEAST_R = 1.0
"""mm; eta of a point nearer to the axis is that at this distance."""
_MOST_SLOPE = f32(4)
_Z0_UNIT = f32(100)
_MOST_Z0 = f32(8)


class Directions(NamedTuple):
    """Where points are, seen from the origin: float32[n] each, ``cos`` and ``sin`` of phi."""

    eta: Any
    cos: Any
    sin: Any


def scale_points(position: Array, features: Features) -> Array:
    """The scaled features float32[n, 3] of points at ``position``, float32[n, 3] in mm."""
    scales = np.array(features.scales, np.float32)
    return _scale_points(np.array(position, np.float32, order="C"), scales)


def check_features(scaled: Array, features: Features, event: int) -> None:
    """Refuse points that are not finite, or that the model has never seen the like of.

    Raises:
        EventError: with ``event``, ``point``, ``feature``, ``found`` and ``bound``.
    """
    finite = np.isfinite(scaled)
    if not finite.all():
        point, k = (int(i) for i in np.argwhere(~finite)[0])
        raise EventError(
            "feature is not finite",
            event=event,
            point=point,
            feature=NODE_INPUTS[k],
            found=str(scaled[point, k]),
        )
    if features.low is None or features.high is None:
        return
    low, high = np.array(features.low, np.float32), np.array(features.high, np.float32)
    outside = (scaled < low) | (scaled > high)
    if outside.any():
        point, k = (int(i) for i in np.argwhere(outside)[0])
        raise EventError(
            "scaled feature is outside the range that the model was trained on",
            event=event,
            point=point,
            feature=NODE_INPUTS[k],
            found=float(scaled[point, k]),
            bound=[float(low[k]), float(high[k])],
        )


def outward_order(scaled: Array, features: Features) -> Array:
    """Rows from the inside out, int32[n]: by distance from the origin, equal ones by their
    features, and only where these are equal too by row."""
    r, phi, z = scaled.astype(np.float64).T
    squared = (r * features.scales[0]) ** 2 + (z * features.scales[2]) ** 2
    order = np.argsort(squared)
    equal = np.diff(squared[order]) == 0
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    rows = order[tied]
    order[tied] = rows[np.lexsort((rows, phi[rows], z[rows], r[rows], squared[rows]))]
    return order.astype(np.int32)


def sector_order(scaled: Array, features: Features, place: Array) -> Array:
    """Rows by sector in phi, and by ``place`` within it, int32[n]: so that points with an edge
    between them are near each other in memory."""
    n_sectors = max(1, len(scaled) // POINTS_PER_SECTOR)
    turns = scaled[:, 1].astype(np.float64) * (features.scales[1] / (2 * math.pi))
    sector = np.floor((turns - np.floor(turns)) * n_sectors).astype(np.int64)
    return np.argsort(sector * len(scaled) + place).astype(np.int32)


def node_inputs(names: Sequence[str], scaled: Array, features: Features) -> Array:
    """The inputs ``names`` of points with the features ``scaled``: float32[n, len(names)].

    Raises:
        InputError: a name is not one of :data:`NODE_INPUTS`.
    """
    scales = np.array(features.scales, np.float32)
    return _node_inputs(numbers_of(names, NODE_INPUTS), np.ascontiguousarray(scaled), scales)


def edge_inputs(
    names: Sequence[str], scaled: Array, features: Features, source: Array, target: Array
) -> Array:
    """The inputs ``names`` of edges between points with the features ``scaled``.

    Args:
        names: of :data:`EDGE_INPUTS`.
        scaled: float32[n, 3].
        source, target: int32[m], rows of ``scaled``.

    Returns:
        float32[m, len(names)].

    Raises:
        InputError: a name is not one of :data:`EDGE_INPUTS`.
    """
    numbers = numbers_of(names, EDGE_INPUTS)
    if not len(numbers):
        return np.empty((len(source), 0), np.float32)
    scales = np.array(features.scales, np.float32)
    return _edge_inputs(
        numbers,
        np.ascontiguousarray(scaled),
        scales,
        np.ascontiguousarray(source, np.int32),
        np.ascontiguousarray(target, np.int32),
    )


def numbers_of(names: Sequence[str], known: tuple[str, ...]) -> Array:
    """int32[len(names)], the places of ``names`` in ``known``.

    Raises:
        InputError: a name is not in ``known``.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError("no such network input", found=unknown, bound=list(known))
    return np.array([known.index(name) for name in names], np.int32)


@shared
def eta(r: float, z: float) -> float:
    """Pseudorapidity of a point, seen from the origin; r and z in mm."""
    return f32(math.asinh(z / max(r, f32(_LEAST_R))))


@shared
def within(value: float, most: float) -> float:
    """``value`` limited to +-``most``; 0 for NaN."""
    limited = min(max(value, -most), most)
    return limited if value == value else f32(0)


@shared
def direction(r: float, phi: float, z: float, scales: Array) -> tuple[float, float, float]:
    """Of a point with these scaled features, a row of :class:`Directions`."""
    angle = phi * scales[1]
    return eta(r * scales[0], z * scales[2]), f32(math.cos(angle)), f32(math.sin(angle))


@shared
def node_values(r: float, phi: float, z: float, scales: Array) -> tuple[float, ...]:
    """:data:`NODE_INPUTS` of a point with these scaled features."""
    eta_, cos, sin = direction(r, phi, z, scales)
    return r, phi, z, r * cos, r * sin, cos, sin, eta_


@shared
def edge_units(scales: Array) -> tuple[float, float, float]:
    """Half a turn in units of the scale of phi; z in units of the scale of r and of z0."""
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
    """:data:`EDGE_INPUTS` of the edge from point ``s`` to point ``t``.

    Args:
        scaled: float32[n, 3], features.
        seen: of the same points.
        units: :func:`edge_units`.
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
    numbers: Array, scaled: Array, scales: Array, source: Array, target: Array
) -> Array:
    n = len(scaled)
    seen = Directions(np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32))
    for i in range(n):
        eta_, cos, sin = direction(scaled[i, 0], scaled[i, 1], scaled[i, 2], scales)
        seen.eta[i], seen.cos[i], seen.sin[i] = eta_, cos, sin
    units = edge_units(scales)
    out = np.empty((len(source), len(numbers)), np.float32)
    for e in range(len(source)):
        values = edge_values(scaled, seen, source[e], target[e], scales, units)
        for k in range(len(numbers)):
            out[e, k] = values[numbers[k]]
    return out
