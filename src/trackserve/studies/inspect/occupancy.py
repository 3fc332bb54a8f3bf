"""How busy events are: what each layer holds, and what a tracker makes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import EventError
from trackserve.io import open_pixel
from trackserve.simulation.chain.run import silent
from trackserve.simulation.chain.workers import Progress
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline

from .survey import LAYER_NAMES, LAYER_OF_MODULE

TOTALS = ("words", "modules", "hits", "doublets", "ntuplets", "vertices")
"""What :attr:`Occupancy.totals` counts; from doublets on by the configuration ``reference``."""
LAYER_QUANTITIES = {
    "hits": "per event",
    "size x, mean": "pixels",
    "size x, median": "pixels",
    "size y, mean": "pixels",
    "size y, median": "pixels",
    "charge": "ke, median",
}
"""What :attr:`Occupancy.layers` holds, with its unit. Sizes are those of hits; charges
are not divided by the path."""


@dataclass(frozen=True)
class Occupancy:
    """How busy the events of a sample are.

    Attributes:
        name: of the sample.
        totals: means per event, by the names in :data:`TOTALS`.
        layers: by the names in :data:`LAYER_QUANTITIES`, float64[10, 2]: lower and upper end of
            what is known of each layer; both are the same where it is known well.
        failed: errors of events that are left out.
    """

    name: str
    totals: dict[str, float]
    layers: dict[str, Array]
    failed: list[EventError]


def read_cms() -> Occupancy:
    """The public CMS sample: the totals of 1000 events, the layers of one."""
    content = json.loads(files(__package__).joinpath("cms.json").read_text())
    layers = {
        name: np.array([np.broadcast_to(value, 2) for value in values], np.float64)
        for name, values in content["layers"].items()
    }
    return Occupancy(content["name"], content["totals"], layers, [])


def measure_occupancy(
    directory: str | Path, max_events: int | None = None, progress: Progress = silent
) -> Occupancy:
    """Count what the events of a pixel data directory hold.

    Args:
        directory: has conditions and raw events.
        max_events: number of events to look at, from the first on; None for all.
        progress: is told about every event.

    Raises:
        ConditionsError: a file is missing or malformed.
    """
    opened = open_pixel(directory)[:max_events]
    pipeline = PatatrackPipeline.from_directory(directory, "reference")
    counts, layer, columns, failed = [], [], [], []
    for index in range(len(opened)):
        progress("events", index + 1, len(opened))
        try:
            event = opened[index]
        except EventError as error:
            failed.append(error)
            continue
        (result,) = pipeline.run([event], keep=("hits",))
        if isinstance(result, EventError):
            failed.append(result)
            continue
        hits, made = result.hits, result.counts
        assert hits is not None
        counts.append(
            (made.words, made.modules, len(hits), made.doublets, made.ntuplets, made.vertices)
        )
        layer.append(LAYER_OF_MODULE[hits.module])
        columns.append(
            np.stack([np.abs(hits.size_x) / 8, np.abs(hits.size_y) / 8, hits.charge / 1e3])
        )
    n_events = len(counts)
    layers = _layers(
        np.concatenate(layer) if layer else np.empty(0, np.int64),
        np.concatenate(columns, axis=1) if columns else np.empty((3, 0)),
        n_events,
    )
    means = np.mean(counts, axis=0) if counts else np.full(len(TOTALS), np.nan)
    totals = dict(zip(TOTALS, means.tolist(), strict=True))
    return Occupancy(opened.name, totals, layers, failed)


def _layers(layer: Array, columns: Array, n_events: int) -> dict[str, Array]:
    rows = []
    for number in range(len(LAYER_NAMES)):
        size_x, size_y, charge = columns[:, layer == number]
        if not len(charge):
            rows.append((0.0, *(5 * (np.nan,))))
            continue
        rows.append(
            (
                len(charge) / n_events,
                *(size_x.mean(), np.median(size_x)),
                *(size_y.mean(), np.median(size_y)),
                np.median(charge),
            )
        )
    table = np.array(rows).T
    return {
        name: np.stack([values, values], axis=1)
        for name, values in zip(LAYER_QUANTITIES, table, strict=True)
    }
