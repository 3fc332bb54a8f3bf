"""Tracks to vertices by density, a thread for each event."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ...device import shared
from ...device.cuda import Device, cuda_kernel
from ...edm import Vertices
from ..config import VertexCuts
from ..vertices import Density, cluster_tracks, write_vertices
from .columns import make_columns
from .tracks import BatchTracks


class BatchVertices(NamedTuple):
    """Vertices of a batch.

    Attributes:
        start: int32[events + 1], first of each event.
        columns: of :class:`trackserve.edm.Vertices`.
    """

    start: Any
    columns: Any


def find_vertices(
    device: Device, tracks: BatchTracks, n_tracks: int, n_events: int, cuts: VertexCuts
) -> BatchVertices:
    """Vertices of each event by falling sum of pT^2; fills the tracks' ``vertex``.

    Args:
        n_tracks: of the batch, at most.
    """

    def array(name: str, dtype: Any) -> Any:
        return device.array(f"density.{name}", n_tracks, dtype)

    work = Density(
        chosen=array("chosen", np.int32),
        z=array("z", np.float64),
        variance=array("variance", np.float64),
        density=array("density", np.int32),
        parent=array("parent", np.int32),
        cluster=array("cluster", np.int32),
        vertex=array("vertex", np.int32),
        member=array("member", np.int32),
        upper=array("upper", np.bool_),
        position=array("position", np.float64),
        weight=array("weight", np.float64),
        chi2=array("chi2", np.float64),
        error=array("error", np.float64),
        minus_sum=array("minus_sum", np.float64),
        ndof=array("ndof", np.int32),
        order=array("order", np.int32),
        rank=array("rank", np.int32),
        other=array("other", np.int32),
    )
    vertices = BatchVertices(
        start=device.array("vertices.start", n_events + 1, np.int32),
        columns=make_columns(device, "vertices", Vertices, n_tracks),
    )
    device.launch(_find, n_events, tracks, vertices, work, cuts, n_events)
    device.scan(vertices.start, n_events, vertices.start)
    device.launch(_fill, n_events, tracks, vertices, work, n_events)
    return vertices


@shared
def _of_event(work: Density, i: int, j: int) -> Density:
    """The memory of an event with tracks ``i`` to ``j``."""
    return Density(
        *(work.chosen[i:j], work.z[i:j], work.variance[i:j], work.density[i:j]),
        *(work.parent[i:j], work.cluster[i:j], work.vertex[i:j], work.member[i:j]),
        *(work.upper[i:j], work.position[i:j], work.weight[i:j], work.chi2[i:j]),
        *(work.error[i:j], work.minus_sum[i:j], work.ndof[i:j], work.order[i:j]),
        *(work.rank[i:j], work.other[i:j]),
    )


@cuda_kernel
def _find(
    tracks: BatchTracks, vertices: BatchVertices, work: Density, cuts: VertexCuts, n_events: int
) -> None:
    t = tracks.columns
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        i, j = tracks.start[e], tracks.start[e + 1]
        vertices.start[e] = cluster_tracks(
            j - i, t.state[i:j], t.covariance[i:j], t.n_hits[i:j], cuts, _of_event(work, i, j)
        )


@cuda_kernel
def _fill(tracks: BatchTracks, vertices: BatchVertices, work: Density, n_events: int) -> None:
    v = vertices.columns
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        i, j = tracks.start[e], tracks.start[e + 1]
        p, q = vertices.start[e], vertices.start[e + 1]
        write_vertices(
            *(j - i, q - p, _of_event(work, i, j)),
            *(v.z[p:q], v.z_error[p:q], v.chi2[p:q], v.ndof[p:q], v.sum_pt2[p:q]),
            tracks.columns.vertex[i:j],
        )
