"""Clusters to hits, a thread for each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import Hits

from ..config import PositionErrors
from ..hits import (
    LocalHit,
    PositionTables,
    global_hit,
    local_hit,
    phi_in_units,
)
from .clusterize import BatchClusters
from .columns import Batch, make_columns


class BatchHits(NamedTuple):
    """Hits of a batch.

    Attributes:
        n_events: number of events.
        n: number of hits.
        start: int32[events * layers + 1], first hit of each layer of each event.
        event: int32[n].
        columns: columns of :class:`trackserve.edm.Hits`.
    """

    n_events: int
    n: int
    start: Any
    event: Any
    columns: Any


def make_hits(
    device: Device,
    batch: Batch,
    clusters: BatchClusters,
    tables: PositionTables,
    errors: PositionErrors,
) -> BatchHits:
    """Estimate the positions of the clusters of a batch, relative to the beam spots."""
    hits = BatchHits(
        n_events=clusters.n_events,
        n=clusters.n,
        start=clusters.start,
        event=clusters.event,
        columns=make_columns(device, "hits", Hits, clusters.n),
    )
    device.launch(_make_hits, clusters.n, batch, clusters, hits, tables, errors)
    return hits


@cuda_kernel
def _make_hits(
    batch: Batch,
    clusters: BatchClusters,
    hits: BatchHits,
    tables: PositionTables,
    errors: PositionErrors,
) -> None:
    c, h = clusters.columns, hits.columns
    for i in range(cuda.grid(1), hits.n, cuda.gridsize(1)):
        m = c.module[i]
        hit = local_hit(c, i, tables, errors)
        h.module[i], h.charge[i] = m, c.charge[i]
        h.x_local[i], h.y_local[i] = hit.x, hit.y
        h.var_x[i], h.var_y[i] = hit.var_x, hit.var_y
        h.size_x[i], h.size_y[i] = hit.size_x, hit.size_y
        # in single precision, also in the simulator
        hit = LocalHit(
            x=h.x_local[i],
            y=h.y_local[i],
            var_x=hit.var_x,
            var_y=hit.var_y,
            size_x=hit.size_x,
            size_y=hit.size_y,
        )
        beam_spot = batch.beam_spot[clusters.event[i]]
        h.x[i], h.y[i], h.z[i] = global_hit(m, hit, tables, beam_spot)
        h.r[i] = math.sqrt(h.x[i] * h.x[i] + h.y[i] * h.y[i])
        h.phi[i] = phi_in_units(h.y[i], h.x[i])
