"""Content of a pixel data directory: event sizes, occupancy, clusters, quality of hits."""

from __future__ import annotations

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
    PixelTruth,
    RawEvent,
)
from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.limits import MOST
from trackserve.errors import EventError
from trackserve.io import open_pixel, read_conditions
from trackserve.physics.pixel.matching import match_hits
from trackserve.physics.pixel.truth import MAX_R, start_positions
from trackserve.simulation.chain.run import silent
from trackserve.simulation.chain.workers import Progress
from trackserve.trackers.patatrack.calibrate import calibrate
from trackserve.trackers.patatrack.clusterize import clusterize
from trackserve.trackers.patatrack.config import REFERENCE
from trackserve.trackers.patatrack.hits import PositionTables, make_hits, make_position_tables
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.unpack import unpack

LAYER_NAMES = (
    *(f"BPix {layer}" for layer in range(1, 5)),
    *(f"FPix {side}{disk}" for side in "+-" for disk in range(1, 4)),
)
LAYER_OF_MODULE = np.repeat(np.arange(N_LAYERS), np.diff(LAYER_START))
PIXELS_PER_MODULE = ROWS * COLS
TRACK_PT = 0.5
"""GeV. The quality of hits is given for particles above it; the reference makes no tracks below."""
_MIN_VALUES = 100
"""A peak is looked for among this many values or more."""
_PEAK_WINDOW = 0.15
"""Share of the fullest bin's position within which a parabola is fitted to the bins."""


@dataclass(frozen=True, eq=False)
class EventTable(Columns):
    """One row per event that could be unpacked."""

    size: Array = column(np.int64)
    """Bytes of the FED stream."""
    words: Array = column(np.int64)
    """Pixel words, padding included."""
    modules: Array = column(np.int64)
    """Modules with at least one digi."""
    digis: Array = column(np.int64)
    hits: Array = column(np.int64)
    """Hits; one for each cluster that passes the charge cut."""
    readout_errors: Array = column(np.int64)


@dataclass(frozen=True, eq=False)
class ClusterTable(Columns):
    """One row per cluster.

    Angles are those of a straight line to the hit. The line begins where the hit's particle
    starts, if that is inside the beam pipe, and otherwise at the beam spot.
    """

    layer: Array = column(np.uint8)
    pixels: Array = column(np.uint16)
    rows: Array = column(np.uint16)
    """Last row - first row + 1; likewise the columns."""
    cols: Array = column(np.uint16)
    edge: Array = column(np.bool_)
    """The cluster touches the edge of its module."""
    charge: Array = column(np.float32)
    """Electrons at normal incidence: the charge over the length of the line in the sensor, times
    the sensor's thickness."""
    cot_alpha: Array = column(np.float32)
    """dx/dz of the line in the module's frame."""
    cot_beta: Array = column(np.float32)
    """dy/dz of the line."""
    true: Array = column(np.bool_)
    """The hit stems from a simulated particle. The columns below hold if it does."""
    pt: Array = column(np.float32)
    """pT of the particle, GeV."""
    x_residual: Array = column(np.float32)
    """Reconstructed - true local x, cm."""
    y_residual: Array = column(np.float32)
    x_pull: Array = column(np.float32)
    """Residual over the error that is stated."""
    y_pull: Array = column(np.float32)


@dataclass(frozen=True, eq=False)
class Survey:
    """Content of the events of one directory.

    Attributes:
        events: one row per event that could be unpacked.
        failed: the errors of the other events.
        clusters: rows of all events.
        module_digis, module_clusters: int64[1856], sums over all events.
        position: float32[1856, 3], centres of the modules, cm.
        columns_per_cot: how many columns a cluster of the barrel grows by per unit of
            cot(beta): thickness over pitch.
        truth: truth of the events, in their order; empty if there is no ``truth.npz``.
    """

    events: EventTable
    failed: list[EventError]
    clusters: ClusterTable
    module_digis: Array
    module_clusters: Array
    position: Array
    columns_per_cot: float
    truth: list[PixelTruth]


class _Tables(NamedTuple):
    """Look-up tables for the way from raw words to hits."""

    cabling: UnpackTables
    gains: GainTables
    positions: PositionTables


def _read(event: RawEvent, tables: _Tables) -> tuple[EventTable, Digis, Clusters, Hits]:
    """The event's row, digis, clusters and hits.

    Raises:
        EventError: the event cannot be unpacked.
    """
    digis, errors, n_words = unpack(event, tables.cabling, PatatrackLimits().words)
    digis = calibrate(digis, tables.gains, REFERENCE.charge)
    clusters, n_hits, n_modules, _ = clusterize(digis, REFERENCE.clusters, MOST, MOST)
    beam_spot = event.beam_spot.position()
    hits = make_hits(clusters, tables.positions, REFERENCE.positions, beam_spot)
    nouns = Digis(*digis.value), Clusters(*clusters.value), Hits(*hits.value)
    row = (len(event.data), n_words, n_modules, len(nouns[0]), n_hits, len(errors))
    return EventTable(*(np.array([value]) for value in row)), *nouns


def survey_directory(
    directory: str | Path,
    max_events: int | None = None,
    progress: Progress = silent,
) -> Survey:
    """Look at the events of a pixel data directory.

    Args:
        directory: has conditions and raw events, and perhaps ``truth.npz``.
        max_events: number of events to look at, from the first on; None for all.
        progress: is told about every event.

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
    opened = open_pixel(directory)[:max_events]
    truth = opened.truth() if opened.has_truth() else []
    events, failed, described = [], [], []
    module_digis, module_clusters = np.zeros((2, N_MODULES), np.int64)
    for index in range(len(opened)):
        progress("events", index + 1, len(opened))
        try:
            event = opened[index]
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
        float(conditions.cpe["thickness_barrel"] / conditions.cpe["pitch_y"]),
        truth[: len(events) + len(failed)],
    )


def _describe(
    digis: Digis, clusters: Clusters, hits: Hits, rotation: Array, truth: PixelTruth | None
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
        begin = start_positions(truth)[particle[true]]
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
    """The peak of the distribution of ``values``, float[n]; NaN if there are few.

    The peak is that of a parabola, which is fitted to the bins around the fullest one.
    """
    if len(values) < _MIN_VALUES:
        return float("nan")
    counts, edges = np.histogram(values, np.linspace(0.2, 2.2, 101) * np.median(values))
    centres = (edges[1:] + edges[:-1]) / 2
    smooth = np.convolve(counts, np.ones(5) / 5, "same")
    top = smooth.argmax()
    near = np.abs(centres - centres[top]) < _PEAK_WINDOW * centres[top]
    curve, slope, _ = np.polyfit(centres[near], counts[near], 2)
    return float(-slope / (2 * curve))


def is_barrel(clusters: ClusterTable) -> Array:
    """Whether each cluster is in the barrel, bool[clusters]."""
    barrel: Array = clusters.layer < LAYER_OF_MODULE[FIRST_ENDCAP]
    return barrel
