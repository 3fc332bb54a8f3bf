"""Cuts on pairs of points that need no network: does a track from near the origin have both?

A pair whose points a helix from near the beam can join has a small impact along z, and its azimuth
changes slowly with r. How much is small depends on where the points are and how far from each
other: :class:`.architecture.Doublets` is a table of bounds.

The answer has the same bits on every device: products of two float32 are exact in float64, and no
other result of a product is added to.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from trackserve.device.compile import f32, kernel, shared
from trackserve.device.lanes import distance, load, reached, smaller, splat
from trackserve.edm.columns import Array

from .architecture import Doublets, Features


class Bounds(NamedTuple):
    """The table of :class:`.architecture.Doublets` as arrays.

    Attributes:
        r, dr, dz: float32[edges], mm.
        most: float32[cells, 3], largest z0 in mm, change of the azimuth in rad/mm, and difference
            of the azimuths in rad. Without cells all pairs are good.
    """

    r: Any
    dr: Any
    dz: Any
    most: Any


class Places(NamedTuple):
    """Points in cylindrical coordinates: float32[n] in mm, rad, mm."""

    r: Any
    phi: Any
    z: Any

    @classmethod
    def empty(cls) -> Places:
        none = np.empty(0, np.float32)
        return cls(none, none, none)


class DoubletCuts(NamedTuple):
    """Bounds, and the points whose pairs must keep them; without cells points are not asked."""

    bounds: Bounds
    places: Places

    @classmethod
    def none(cls) -> DoubletCuts:
        return cls(bounds_of(None), Places.empty())


def cuts_of(bounds: Bounds, scaled: Array, features: Features) -> DoubletCuts:
    """Return the cuts on the pairs of some points.

    Args:
        bounds: the bounds.
        scaled: float32[n, 3], features of the points.
        features: the scales.
    """
    asked = len(bounds.most) > 0
    return DoubletCuts(bounds, places_of(scaled, features) if asked else Places.empty())


def bounds_of(doublets: Doublets | None) -> Bounds:
    """Return the bounds as arrays; without cells if ``doublets`` is None."""
    if doublets is None:
        none = np.empty(0, np.float32)
        return Bounds(none, none, none, np.empty((0, 3), np.float32))
    most = np.array([doublets.z0, doublets.phi_slope, doublets.dphi], np.float32)
    r, dr, dz = (np.array(edges, np.float32) for edges in (doublets.r, doublets.dr, doublets.dz))
    return Bounds(r, dr, dz, np.ascontiguousarray(most.T))


def places_of(scaled: Array, features: Features) -> Places:
    """Return the places of points.

    Args:
        scaled: float32[n, 3], features.
        features: the scales.
    """
    with np.errstate(over="ignore"):  # a point beyond all numbers keeps no bound
        position = scaled * np.array(features.scales, np.float32)
    return Places(*(np.ascontiguousarray(column) for column in position.T))


def find_doublets(bounds: Bounds, places: Places, source: Array, target: Array) -> Array:
    """Return which pairs keep the bounds, bool[m].

    Args:
        bounds: the bounds.
        places: the points.
        source, target: int32[m], the points of each pair.
    """
    return _find_doublets(bounds, places, source, target)


@shared
def separation(
    r: float, phi: float, z: float, r_2: float, phi_2: float, z_2: float
) -> tuple[Any, ...]:
    """Return how far two points, float32 in mm and rad, are from each other.

    Returns:
        the smaller r, the differences of r and of z in mm, that of the azimuths in rad, and the
        z0 of the line through both times the difference of r, in mm^2.
    """
    dr, dz, turn = abs(r - r_2), abs(z - z_2), abs(phi - phi_2)
    turn = min(turn, abs(f32(2 * math.pi) - turn))
    moment = abs(np.float64(z_2) * np.float64(r) - np.float64(z) * np.float64(r_2))
    return min(r, r_2), dr, dz, turn, moment


@shared
def is_doublet(
    bounds: Bounds, r: float, phi: float, z: float, r_2: float, phi_2: float, z_2: float
) -> bool:
    """Return whether two points, float32 in mm and rad, keep the bounds."""
    inner, dr, dz, _, _ = separation(r, phi, z, r_2, phi_2, z_2)
    cell = (_cell(bounds.r, inner) * (len(bounds.dr) + 1) + _cell(bounds.dr, dr)) * (
        len(bounds.dz) + 1
    ) + _cell(bounds.dz, dz)
    return keeps(bounds, cell, r, phi, z, r_2, phi_2, z_2)


@shared
def keeps(
    bounds: Bounds,
    cell: int,
    r: float,
    phi: float,
    z: float,
    r_2: float,
    phi_2: float,
    z_2: float,
) -> bool:
    """Return :func:`is_doublet` of two points that have this cell of the table."""
    _, dr, _, turn, moment = separation(r, phi, z, r_2, phi_2, z_2)
    most = bounds.most
    wide = np.float64(dr)
    return (
        (turn <= most[cell, 2])
        & (np.float64(turn) <= np.float64(most[cell, 1]) * wide)
        & (moment <= np.float64(most[cell, 0]) * wide)
    )


def measure_pairs(places: Places, source: Array, target: Array) -> Array:
    """Return the five numbers of :func:`separation` of each pair, float64[5, m]."""
    return _measure_pairs(places, source, target)


@shared
def _cell(edges: Array, value: float) -> int:
    """Return the number of edges that are not above ``value``."""
    n = 0
    for k in range(len(edges)):
        n += value >= edges[k]
    return n


@shared
def cells_of(bounds: Bounds, r: float, z: float, places: Places, first: int) -> Any:
    """Return the cells of a point with each of LANES others, from ``first`` on, as a vector.

    Args:
        bounds: the table.
        r, z: the point.
        places: the others; more than these LANES, or just as many.
        first: the first of the others.
    """
    here, there = splat(r), load(places.r, first)
    n_dr, n_dz = splat(f32(len(bounds.dr) + 1)), splat(f32(len(bounds.dz) + 1))
    row = _cells(bounds.r, smaller(here, there)) * n_dr + _cells(bounds.dr, distance(here, there))
    return row * n_dz + _cells(bounds.dz, distance(splat(z), load(places.z, first)))


@shared
def _cells(edges: Array, values: Any) -> Any:
    """Return :func:`_cell` of each lane."""
    n = splat(f32(0))
    for k in range(len(edges)):
        n = n + reached(values, splat(edges[k]))
    return n


@kernel
def _find_doublets(bounds: Bounds, places: Places, source: Array, target: Array) -> Array:
    good = np.empty(len(source), np.bool_)
    for e in range(len(source)):
        i, j = source[e], target[e]
        r, phi, z = places.r, places.phi, places.z
        good[e] = is_doublet(bounds, r[i], phi[i], z[i], r[j], phi[j], z[j])
    return good


@kernel
def _measure_pairs(places: Places, source: Array, target: Array) -> Array:
    found = np.empty((5, len(source)), np.float64)
    r, phi, z = places.r, places.phi, places.z
    for e in range(len(source)):
        i, j = source[e], target[e]
        inner, dr, dz, turn, moment = separation(r[i], phi[i], z[i], r[j], phi[j], z[j])
        found[0, e], found[1, e], found[2, e] = inner, dr, dz
        found[3, e], found[4, e] = turn, moment
    return found
