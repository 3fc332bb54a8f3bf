"""Random input of the stages in which a block does an event, and their results.

The stages are both ways to select ntuplets and both ways to find vertices, on a CPU and as kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.conditions import CPE_MODULE
from trackserve.detectors.phase1.layout import N_LAYERS, N_MODULES
from trackserve.device.compile import LANES
from trackserve.device.cuda import Device
from trackserve.edm import MAX_HITS, VAR_TIP, VAR_ZIP, Tracks, Vertices
from trackserve.edm.columns import Array
from trackserve.trackers.patatrack import resolve, select
from trackserve.trackers.patatrack.config import (
    MixtureCuts,
    QualityCuts,
    ScoreCuts,
    VertexCuts,
)
from trackserve.trackers.patatrack.cuda.columns import make_columns
from trackserve.trackers.patatrack.cuda.mixture import fit_mixture
from trackserve.trackers.patatrack.cuda.resolve import Contest, resolve_tracks
from trackserve.trackers.patatrack.cuda.select import select_tracks
from trackserve.trackers.patatrack.cuda.tracks import BatchTracks
from trackserve.trackers.patatrack.cuda.vertices import find_vertices
from trackserve.trackers.patatrack.doublets import OrderedHits
from trackserve.trackers.patatrack.fit import Fitted, Sizes
from trackserve.trackers.patatrack.hits import PositionTables
from trackserve.trackers.patatrack.ntuplets import MAX_CELLS, Ntuplets
from trackserve.trackers.patatrack.shape import HitShapes, ShapeTables
from trackserve.trackers.patatrack.strategies import vertices_of

SCORES = ScoreCuts(triplet_cost=1e3, long_cost=1e3, shared_cost=100.0)
GRADES = QualityCuts()
MIXTURE, DENSITY = MixtureCuts(), VertexCuts(max_error=0.05)
SPAN = 4.0
"""Length of the region of the tracks, cm."""


class Candidates(NamedTuple):
    """Fitted ntuplets of an event; hits and cells are numbered within it."""

    fitted: Fitted
    sizes: Sizes
    shapes: HitShapes


def plain_shapes(n_hits: int) -> HitShapes:
    """Return hits at the edge of a module, whose length says nothing; there is no other layer."""
    shapes = random_shapes(n_hits, 0)
    shapes.tables.spans[:] = 0.0, 1.0, 0.0
    return shapes


def random_shapes(n_hits: int, seed: int) -> HitShapes:
    """Return hits on random modules of a detector that is always the same.

    With an even seed all are at the edge of a module, where their length says nothing.
    """
    rng = np.random.default_rng(99)
    axes = np.linalg.qr(rng.normal(size=(N_MODULES, 3, 3)))[0].astype(np.float32)
    # arrays have the shapes of the pipeline's, for which its loops are compiled
    values = {
        name: np.ones((N_MODULES, *CPE_MODULE[name].shape), np.float32)
        for name in PositionTables._fields
        if name in CPE_MODULE.names
    }
    values |= {"rotation": axes, "thickness": np.full(N_MODULES, 0.03, np.float32)}
    row = np.zeros((N_MODULES, LANES), np.float32)
    surface = row.copy()
    surface[:, :9] = axes.reshape(-1, 9)
    surface[:, 9:13] = 1.0, 0.03, -0.01, 1.0
    positions = PositionTables(
        **values,
        sensor=row,
        frame=row,
        surface=surface,
        pitch_x=np.float32(0.01),
        pitch_y=np.float32(0.015),
    )
    spans = np.stack([np.linspace(3, 16, N_LAYERS), *rng.normal(0, 2, (2, N_LAYERS))], axis=1)
    layer = rng.integers(0, N_LAYERS, N_MODULES).astype(np.uint8)
    rng = np.random.default_rng(seed)
    module = rng.integers(0, N_MODULES, n_hits).astype(np.int32)
    order = np.arange(n_hits, dtype=np.int32)
    x, y = rng.uniform(-16, 16, (2, n_hits)).astype(np.float32)
    size_x, size_y = rng.integers(-8, 60, (2, n_hits)).astype(np.int16)
    if seed % 2 == 0:
        size_x[:] = size_y[:] = -8  # many ntuplets are as good as others
    nothing = np.zeros(n_hits, np.float32)
    ordered = OrderedHits(order, order, module, order, x, y, nothing, nothing, order)
    return HitShapes(ordered, size_x, size_y, ShapeTables(layer, spans, positions))


def random_candidates(n: int, seed: int) -> Candidates:
    """Return ``n`` ntuplets that share cells and hits; many have the same tip."""
    rng = np.random.default_rng(seed)
    n_hits, n_cells = 2 * n + MAX_HITS, n + MAX_CELLS
    length = rng.integers(3, MAX_HITS + 1, n).astype(np.int8)
    hits, cells = np.full((n, MAX_HITS), -1, np.int32), np.full((n, MAX_CELLS), -1, np.int32)
    for t in range(n):
        hits[t, : length[t]] = rng.choice(n_hits, length[t], replace=False)
        cells[t, : length[t] - 1] = rng.choice(n_cells, length[t] - 1, replace=False)
    duplicate = rng.random(n) < 0.1
    state = random_tracks(n, seed).state
    state[rng.random(n) < 0.05] = np.nan
    chi2 = rng.integers(0, 4, n).astype(np.float32)
    ntuplets = Ntuplets(length, cells, hits, duplicate)
    fitted = Fitted(ntuplets, state, np.full((n, 15), 1e-4, np.float32), chi2, 2 * length - 5)
    return Candidates(fitted, Sizes(n_hits, n_cells), random_shapes(n_hits, seed))


def random_tracks(n: int, seed: int) -> Tracks:
    """Return ``n`` tracks from a few places along z; many pairs have the same distance."""
    rng = np.random.default_rng(seed)
    places = rng.choice(np.linspace(-SPAN / 2, SPAN / 2, 401), max(1, n // 8))
    sigma = rng.choice([0.004, 0.008, 0.03, 0.2], n)
    tracks = Tracks(*(np.zeros((n, *c.shape), c.dtype) for c in Tracks.schema().values()))
    tracks.state[:, 1] = rng.integers(-3, 4, n) / 64
    tracks.state[:, 2] = rng.choice([-1.0, -0.5, 0.25, 1.5, 4.0], n)
    tracks.state[:, 4] = rng.choice(places, n) + rng.integers(-8, 9, n) / 128
    tracks.covariance[:, VAR_TIP] = rng.choice([1e-4, 1e-3], n)
    tracks.covariance[:, VAR_ZIP] = sigma**2
    tracks.chi2[:] = rng.choice([1.0, 5.0, 30.0], n, p=[0.5, 0.4, 0.1])
    tracks.n_hits[:] = rng.integers(3, MAX_HITS + 1, n)
    return tracks


def on_cpu(events: list[tuple[Candidates, Tracks]]) -> list[Any]:
    """Qualities, resolved and selected, and vertices with those of tracks, of each event."""
    return [
        (
            resolve.resolve_tracks(c.fitted, c.shapes, c.sizes, SCORES),
            select.select_tracks(c.fitted, c.shapes, c.sizes, GRADES),
            vertices_of(tracks, MIXTURE),
            vertices_of(tracks, DENSITY),
        )
        for c, tracks in events
    ]


def on_device(device: Device, events: list[tuple[Candidates, Tracks]]) -> list[Any]:
    """Return what kernels find, all events in one batch: see :func:`on_cpu`."""
    qualities = _select(device, [candidates for candidates, _ in events])
    found = _find_vertices(device, [tracks for _, tracks in events])
    return list(zip(*qualities, *found, strict=True))


def _starts(lengths: list[int]) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _select(device: Device, events: list[Candidates]) -> list[list[Array]]:
    def batch(parts: list[Any]) -> dict[str, Array]:
        names = [name for name in parts[0]._fields if name != "ntuplets"]
        return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}

    start = _starts([len(event.fitted.chi2) for event in events])
    columns = batch([event.fitted.ntuplets for event in events])
    for name, bounds in {
        "hits": _starts([event.sizes.n_hits for event in events]),
        "cells": _starts([event.sizes.n_cells for event in events]),
    }.items():
        before = np.repeat(bounds[:-1], np.diff(start))[:, None]
        columns[name] = np.where(columns[name] < 0, -1, columns[name] + before).astype(np.int32)
    fitted = Fitted(Ntuplets(**columns), **batch([event.fitted for event in events]))
    n, n_hits = int(start[-1]), sum(event.sizes.n_hits for event in events)
    contest = Contest(
        n_events=len(events),
        n=n,
        n_hits=n_hits,
        n_cells=sum(event.sizes.n_cells for event in events),
        start=start,
        quality=device.array("contest.quality", n, np.uint8),
        score=device.array("contest.score", n, np.float64),
        waiting=device.array("contest.waiting", n, np.int32),
        taken=device.array("contest.taken", n_hits, np.int32),
        best_score=device.array("contest.best_score", n_hits, np.float64),
        best=device.array("contest.best", n_hits, np.int32),
    )
    found = []
    shapes = _shapes_of_batch([event.shapes for event in events])
    resolve_tracks(device, fitted, shapes, contest, SCORES)
    found.append(np.split(contest.quality[:n].copy(), start[1:-1]))
    select_tracks(device, fitted, shapes, contest, GRADES)
    found.append(np.split(contest.quality[:n].copy(), start[1:-1]))
    return found


def _shapes_of_batch(events: list[HitShapes]) -> HitShapes:
    """The hits of all events, one after the other."""
    columns = [np.concatenate(arrays) for arrays in zip(*(e.ordered for e in events), strict=True)]
    order = np.arange(len(columns[0]), dtype=np.int32)
    ordered = OrderedHits(*columns)._replace(order=order)
    size_x, size_y = (np.concatenate([getattr(e, k) for e in events]) for k in ("size_x", "size_y"))
    return HitShapes(ordered, size_x, size_y, events[0].tables)


def _find_vertices(device: Device, events: list[Tracks]) -> list[list[tuple[Vertices, Array]]]:
    start = _starts([len(tracks) for tracks in events])
    n = int(start[-1])
    tracks = BatchTracks(len(events), n, start, make_columns(device, "tracks", Tracks, n))
    for name, values in Tracks.concatenate(events).columns().items():
        getattr(tracks.columns, name)[:n] = values
    found = []
    for batch in (
        lambda: fit_mixture(device, tracks, MIXTURE),
        lambda: find_vertices(device, tracks, DENSITY),
    ):
        vertices = batch()
        found.append(
            [
                (
                    Vertices(*(array[p:q].copy() for array in vertices.columns)),
                    tracks.columns.vertex[i:j].copy(),
                )
                for p, q, i, j in zip(
                    *(vertices.start, vertices.start[1:], start, start[1:]), strict=False
                )
            ]
        )
    return found
