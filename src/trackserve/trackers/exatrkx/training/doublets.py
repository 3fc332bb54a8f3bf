"""The cuts on pairs of points, from segments of true tracks."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array
from trackserve.physics.statistics import Fraction

from ..architecture import Doublets, Features
from ..doublets import Places, bounds_of, find_doublets, measure_pairs, places_of
from ..model import Model
from .data import SCALES, Sample

MOST_CELLS = 6
"""Most cells of the table along a dimension; about as many segments are in each."""
SEGMENTS_PER_CELL = 1000
"""Least segments of a cell, on average: with fewer segments the table has fewer cells."""
_KEYS = ("r", "dr", "dz")
_BOUNDS = ("z0", "phi_slope", "dphi")
_DIGITS = 4
"""Significant digits of a bound, which is rounded up."""


def choose_doublets(samples: Iterable[Sample], share: float) -> Doublets | None:
    """Return the cuts that keep ``share`` of the segments of particles that should be found.

    A segment joins points that follow each other on a reconstructable particle. Half of what may
    be lost are the cells with the fewest segments: no pair in them is kept. In each of the others
    the bounds cut off the same share of the segments on each of the three quantities. If there are
    too few segments for one cell, there are no cuts: None.
    """
    parts = [_measure(sample) for sample in samples]
    found = {k: np.concatenate([part[k] for part in parts]) for k in (*_KEYS, *_BOUNDS)}
    n = len(found["r"])
    cells_each = min(math.floor(math.cbrt(n / SEGMENTS_PER_CELL)), MOST_CELLS)
    if cells_each < 1:
        return None
    edges, cell = [], np.zeros(n, np.int64)
    for key in _KEYS:
        inner = np.quantile(found[key], np.arange(1, cells_each) / cells_each)
        inner = np.unique(np.round(inner, 2))
        inner = inner[inner > 0]
        edges.append(tuple(inner.tolist()))
        inner = inner.astype(np.float32)
        cell = cell * (len(inner) + 1) + np.searchsorted(inner, found[key], side="right")
    n_cells = int(np.prod([len(one) + 1 for one in edges]))
    first = np.searchsorted(np.sort(cell), np.arange(n_cells + 1))
    ordered, below = {}, np.zeros(n)
    for name in _BOUNDS:
        order = np.lexsort((found[name], cell))
        ordered[name] = found[name][order]
        place = np.empty(n)
        place[order] = np.arange(n)
        # share of the segments of the cell that are smaller
        np.maximum(below, (place - first[cell]) / np.diff(first)[cell], out=below)
    rare = _rare(np.diff(first), (1 - share) / 2)
    below[rare[cell]] = math.inf
    most = np.quantile(below, share, method="higher")
    bounds = [_bounds(ordered[name], first, ~rare, float(most)) for name in _BOUNDS]
    return Doublets(*edges, *bounds)


class Kept(NamedTuple):
    """What cuts on pairs leave of an event.

    Attributes:
        segments: segments that keep the bounds, of those of the particles that should be found.
        pairs: pairs that keep the bounds, of some pairs.
    """

    segments: Fraction
    pairs: Fraction


def judge_doublets(doublets: Doublets, sample: Sample, pairs: Array) -> Kept:
    """Return what cuts leave of the segments of an event, and of pairs of its points.

    Args:
        pairs: int[2, m], rows of points.
    """
    bounds, places = bounds_of(doublets), places_in(sample)
    return Kept(
        *(
            Fraction.of(find_doublets(bounds, places, *some.astype(np.int32)))
            for some in (segments_of(sample), pairs)
        )
    )


def with_doublets(model: Model, doublets: Doublets | None) -> Model:
    """Return the model with these cuts on pairs."""
    description = dataclasses.replace(model.description, doublets=doublets)
    return Model(description, model.weights, model.where)


def segments_of(sample: Sample) -> Array:
    """Return the segments of the particles that should be found, int64[2, m], as rows of points."""
    segments: Array = sample.pairs[:, sample.good[sample.pairs[0]]]
    return segments


def places_in(sample: Sample) -> Places:
    """Return the places of the points of a sample."""
    return places_of(sample.scaled, Features(SCALES))


def _measure(sample: Sample) -> dict[str, Array]:
    """Return what cells and bounds are about, of the segments of a sample, by name."""
    segments = segments_of(sample).astype(np.int32)
    r, dr, dz, dphi, moment = measure_pairs(places_in(sample), *segments)
    with np.errstate(divide="ignore", invalid="ignore"):
        z0, slope = moment / dr, dphi / dr
    return {"r": r, "dr": dr, "dz": dz, "z0": z0, "phi_slope": slope, "dphi": dphi}


def _rare(n: Array, share: float) -> Array:
    """Return which cells have the fewest segments, bool[cells]: together at most ``share`` of all.

    Args:
        n: int64[cells], segments of each cell.
    """
    order = np.argsort(n, kind="stable")
    rare = np.empty(len(n), bool)
    rare[order] = np.cumsum(n[order]) <= share * n.sum()
    return rare


def _bounds(values: Array, first: Array, kept: Array, most: float) -> tuple[float, ...]:
    """Return the bound of each cell; -1, which no pair keeps, for a cell that is not kept.

    Args:
        values: float64[m], by cell, then ascending; not finite where both points have the same r.
        first: int64[cells + 1], the first value of each cell.
        kept: bool[cells], the cells that are kept.
        most: share of the values of a cell that are smaller than its bound.
    """
    bounds = []
    for good, (start, end) in zip(kept, itertools.pairwise(first), strict=True):
        inside = values[start : start + int(most * (end - start)) + 1 if good else start]
        finite = inside[np.isfinite(inside)]
        bounds.append(_round_up(float(finite[-1])) if len(finite) else -1.0)
    return tuple(bounds)


def _round_up(value: float) -> float:
    """Return ``value`` with few digits, and not less."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(value)) - _DIGITS + 1)
    return float(f"{np.ceil(value / unit) * unit:.{_DIGITS}g}")
