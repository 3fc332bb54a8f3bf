"""Clusters to hits, a thread for each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS, N_MODULES
from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import Hits

from ..config import PositionErrors
from ..hits import (
    PositionTables,
    Sensor,
    global_position,
    kind_of_cols,
    kind_of_rows,
    local_position,
    phi_in_units,
)
from .clusterize import BatchClusters, Modules
from .columns import Batch, make_columns


class BatchHits(NamedTuple):
    """Hits of a batch.

    Attributes:
        start: int32[events * layers + 1], first of each layer of each event.
        event: int32[n].
        columns: of :class:`trackserve.edm.Hits`.
    """

    start: Any
    event: Any
    columns: Any


def make_hits(
    device: Device,
    batch: Batch,
    clusters: BatchClusters,
    modules: Modules,
    n_events: int,
    n: int,
    layer_start: Any,
    tables: PositionTables,
    errors: PositionErrors,
) -> BatchHits:
    """Positions of the ``n`` clusters of a batch, relative to the beam spots."""
    hits = BatchHits(
        start=device.array("hits.start", n_events * N_LAYERS + 1, np.int32),
        event=clusters.event,
        columns=make_columns(device, "hits", Hits, n),
    )
    n_starts = n_events * N_LAYERS + 1
    device.launch(_find_layers, n_starts, modules.cluster, layer_start, hits.start, n_events)
    device.launch(_make_hits, n, batch, clusters, hits, tables, errors, n)
    return hits


@cuda_kernel
def _find_layers(cluster: Any, layer_start: Any, start: Any, n_events: int) -> None:
    for k in range(cuda.grid(1), n_events * N_LAYERS + 1, cuda.gridsize(1)):
        event, layer = k // N_LAYERS, k % N_LAYERS
        start[k] = cluster[event * N_MODULES + layer_start[layer]]


@cuda_kernel
def _make_hits(
    batch: Batch,
    clusters: BatchClusters,
    hits: BatchHits,
    tables: PositionTables,
    errors: PositionErrors,
    n: int,
) -> None:
    c, h = clusters.columns, hits.columns
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        m = c.module[i]
        edges = int(c.min_row[i]), int(c.max_row[i]), int(c.min_col[i]), int(c.max_col[i])
        sensor = Sensor(
            *(tables.thickness[m], tables.shift_x[m], tables.shift_y[m]),
            *(tables.charge_width_x[m], tables.charge_width_y[m]),
            (tables.origin[m, 0], tables.origin[m, 1], tables.origin[m, 2]),
            tables.sigma_x[m, kind_of_rows(edges[0], edges[1])],
            tables.sigma_y[m, kind_of_cols(edges[2], edges[3])],
            *(tables.pitch_x, tables.pitch_y),
        )
        charges = (
            *(c.charge_min_row[i], c.charge_max_row[i]),
            *(c.charge_min_col[i], c.charge_max_col[i]),
        )
        x, y, var_x, var_y, size_x, size_y = local_position(m, edges, charges, sensor, errors)
        h.module[i], h.charge[i] = m, c.charge[i]
        h.x_local[i], h.y_local[i], h.var_x[i], h.var_y[i] = x, y, var_x, var_y
        h.size_x[i], h.size_y[i] = size_x, size_y
        x, y = h.x_local[i], h.y_local[i]  # single precision, also in the simulator
        axes, centre = tables.rotation[m], tables.position[m]
        beam_spot = batch.beam_spot[clusters.event[i]]
        h.x[i] = global_position(x, y, axes[0, 0], axes[1, 0], centre[0], beam_spot[0])
        h.y[i] = global_position(x, y, axes[0, 1], axes[1, 1], centre[1], beam_spot[1])
        h.z[i] = global_position(x, y, axes[0, 2], axes[1, 2], centre[2], beam_spot[2])
        h.r[i] = math.sqrt(h.x[i] * h.x[i] + h.y[i] * h.y[i])
        h.phi[i] = phi_in_units(h.y[i], h.x[i])
