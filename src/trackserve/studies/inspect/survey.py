"""What is in a pixel data directory: event sizes, occupancy, clusters, quality of hits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import UnpackTables, make_unpack_tables
from trackserve.detectors.phase1.gains import GainTables, make_gain_tables
from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_ENDCAP,
    LAYER_START,
    N_LAYERS,
    N_MODULES,
    ROWS,
)
from trackserve.edm import (
    Clusters,
    Digis,
    Hits,
    RawEvent,
)
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import EventError
from trackserve.io import read_conditions, read_events
from trackserve.physics.pixel.matching import match_hits
from trackserve.physics.pixel.metrics import MAX_R
from trackserve.physics.pixel.truth import TruthEvent, read_truth
from trackserve.trackers.patatrack.calibrate import calibrate
from trackserve.trackers.patatrack.clusterize import clusterize
from trackserve.trackers.patatrack.config import REFERENCE
from trackserve.trackers.patatrack.hits import PositionTables, make_hits, make_position_tables
from trackserve.trackers.patatrack.unpack import unpack

LAYER_NAMES = (
    *(f"BPix {layer}" for layer in range(1, 5)),
    *(f"FPix {side}{disk}" for side in "+-" for disk in range(1, 4)),
)
LAYER_OF_MODULE = np.repeat(np.arange(N_LAYERS), np.diff(LAYER_START))
PIXELS_PER_MODULE = ROWS * COLS
TRACK_PT = 0.5
"""GeV; the reference makes no tracks below, so the quality of hits is that of particles above."""


@dataclass(frozen=True, eq=False)
class EventTable(Columns):
    """One row per event that could be unpacked."""

    size: Array = column(np.int64)
    """Bytes of the FED stream."""
    words: Array = column(np.int64)
    """Pixel words, padding included."""
    modules: Array = column(np.int64)
    """With at least one digi."""
    digis: Array = column(np.int64)
    hits: Array = column(np.int64)
    """As many as clusters that pass the charge cut."""
    readout_errors: Array = column(np.int64)


@dataclass(frozen=True, eq=False)
class ClusterTable(Columns):
    """One row per cluster.

    Angles are those of a straight line to the hit from where its particle starts, for
    particles that start inside the beam pipe, and else from the beam spot.
    """

    layer: Array = column(np.uint8)
    pixels: Array = column(np.uint16)
    rows: Array = column(np.uint16)
    """Last - first + 1; likewise the columns."""
    cols: Array = column(np.uint16)
    edge: Array = column(np.bool_)
    """It touches the edge of its module."""
    charge: Array = column(np.float32)
    """Electrons that the thickness of the sensor stands for: the charge over the length of
    the line in the sensor, times the thickness."""
    cot_alpha: Array = column(np.float32)
    """dx/dz of the line in the module's frame."""
    cot_beta: Array = column(np.float32)
    """dy/dz."""
    true: Array = column(np.bool_)
    """The hit stems from a simulated particle; if so, the columns below hold."""
    pt: Array = column(np.float32)
    """Of the particle, GeV."""
    x_residual: Array = column(np.float32)
    """Reconstructed - true local x, cm."""
    y_residual: Array = column(np.float32)
    x_pull: Array = column(np.float32)
    """Residual over the error that is stated."""
    y_pull: Array = column(np.float32)


@dataclass(frozen=True, eq=False)
class Survey:
    """What the events of one directory hold.

    Attributes:
        events: one row per event that could be unpacked.
        failed: the errors of the others.
        clusters: of all events.
        module_digis, module_clusters: int64[1856], sums over all events.
        position: float32[1856, 3], centres of the modules, cm.
        truth: of the events, in their order; empty where there is no ``truth.npz``.
    """

    events: EventTable
    failed: list[EventError]
    clusters: ClusterTable
    module_digis: Array
    module_clusters: Array
    position: Array
    truth: list[TruthEvent]


class _Tables(NamedTuple):
    """What is needed to read hits."""

    cabling: UnpackTables
    gains: GainTables
    positions: PositionTables


def _read(event: RawEvent, tables: _Tables) -> tuple[EventTable, Digis, Clusters, Hits]:
    """The event's row, and its digis, clusters and hits.

    Raises:
        EventError: it cannot be unpacked.
    """
    digis, errors, n_words = unpack(event, tables.cabling, REFERENCE.max_words)
    digis = calibrate(digis, tables.gains, REFERENCE.charge)
    clusters, n_modules = clusterize(digis, REFERENCE.clusters)
    beam_spot = event.beam_spot.position()
    hits = make_hits(clusters, tables.positions, REFERENCE.positions, beam_spot)
    row = (len(event.data), n_words, n_modules, len(digis), len(hits), len(errors))
    return EventTable(*(np.array([value]) for value in row)), digis, clusters, hits


def survey_directory(
    directory: str | Path,
    max_events: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Survey:
    """Look at the events of a pixel data directory.

    Args:
        directory: conditions, raw events and perhaps ``truth.npz``.
        max_events: look at no more than the first so many.
        progress: is called after every event.

    Raises:
        ConditionsError: a file is missing or malformed.
    """
    directory = Path(directory)
    conditions = read_conditions(directory)
    tables = _Tables(
        make_unpack_tables(conditions),
        make_gain_tables(conditions),
        make_position_tables(conditions),
    )
    truth = read_truth(directory) if (directory / "truth.npz").exists() else []
    events, failed, described = [], [], []
    module_digis, module_clusters = np.zeros((2, N_MODULES), np.int64)
    for event in itertools.islice(read_events(directory), max_events):
        progress()
        try:
            row, digis, clusters, hits = _read(event, tables)
        except EventError as error:
            failed.append(error)
            continue
        events.append(row)
        module_digis += np.bincount(digis.module, minlength=N_MODULES)
        module_clusters += np.bincount(clusters.module, minlength=N_MODULES)
        true = truth[event.event] if event.event < len(truth) else None
        described.append(_describe(digis, clusters, hits, tables.positions.rotation, true))
    return Survey(
        EventTable.concatenate(events),
        failed,
        ClusterTable.concatenate(described),
        module_digis,
        module_clusters,
        tables.positions.position,
        truth[: len(events) + len(failed)],
    )


def _describe(
    digis: Digis, clusters: Clusters, hits: Hits, rotation: Array, truth: TruthEvent | None
) -> ClusterTable:
    n = len(hits)
    true, start = np.zeros(n, bool), np.zeros((n, 3))
    x_true, y_true, pt = np.full((3, n), np.nan)
    if truth is not None:
        row = match_hits(hits, truth.hits)
        particle = np.append(truth.hits.particle, -1)[row]
        true = particle >= 0
        x_true[true] = truth.hits.x_local[row[true]]
        y_true[true] = truth.hits.y_local[row[true]]
        pt[true] = truth.particles.pt[particle[true]]
        begin = truth.particles.position[particle[true]]
        inside = np.hypot(begin[:, 0], begin[:, 1]) < MAX_R
        start[true] = np.where(inside[:, None], begin, 0)
    way = np.stack([hits.x, hits.y, hits.z], axis=1) - start
    across, along, through = np.einsum("nij,nj->in", rotation[hits.module], way)
    path = np.linalg.norm(way, axis=1) / np.abs(through)
    x_residual, y_residual = hits.x_local - x_true, hits.y_local - y_true
    return ClusterTable(
        layer=LAYER_OF_MODULE[hits.module].astype(np.uint8),
        pixels=np.bincount(digis.cluster[digis.cluster >= 0], minlength=n).astype(np.uint16),
        rows=clusters.max_row - clusters.min_row + np.uint16(1),
        cols=clusters.max_col - clusters.min_col + np.uint16(1),
        edge=(hits.size_x < 0) | (hits.size_y < 0),
        charge=(hits.charge / path).astype(np.float32),
        cot_alpha=(across / through).astype(np.float32),
        cot_beta=(along / through).astype(np.float32),
        true=true,
        pt=pt.astype(np.float32),
        x_residual=x_residual.astype(np.float32),
        y_residual=y_residual.astype(np.float32),
        x_pull=(x_residual / np.sqrt(hits.var_x)).astype(np.float32),
        y_pull=(y_residual / np.sqrt(hits.var_y)).astype(np.float32),
    )


def most_probable(values: Array) -> float:
    """The peak of the distribution of ``values``; NaN where there are fewer than 100.

    A parabola through the bins within 20 % of the fullest.
    """
    if len(values) < 100:
        return float("nan")
    counts, edges = np.histogram(values, np.linspace(0.2, 2.2, 101) * np.median(values))
    centres = (edges[1:] + edges[:-1]) / 2
    smooth = np.convolve(counts, np.ones(5) / 5, "same")
    top = smooth.argmax()
    near = np.abs(centres - centres[top]) < 0.15 * centres[top]
    curve, slope, _ = np.polyfit(centres[near], counts[near], 2)
    return float(-slope / (2 * curve))


def is_barrel(clusters: ClusterTable) -> Array:
    """Mask of the clusters in the barrel."""
    barrel: Array = clusters.layer < LAYER_OF_MODULE[FIRST_ENDCAP]
    return barrel
