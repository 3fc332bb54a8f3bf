"""Tracks to vertices, a thread for each event: little to do, and in the order of a CPU."""

from __future__ import annotations

import numpy as np
from numba import cuda

from ...device import shared
from ...device.cuda import Device, cuda_kernel
from ...edm import Vertices
from ..config import MixtureCuts
from ..mixture import Mixture, find_mixture, grid_points, write_vertices
from .columns import make_columns
from .tracks import BatchTracks
from .vertices import BatchVertices


def fit_mixture(
    device: Device,
    tracks: BatchTracks,
    n_tracks: int,
    n_events: int,
    span: float,
    cuts: MixtureCuts,
) -> BatchVertices:
    """Vertices of each event by falling sum of pT^2; fills the tracks' ``vertex``.

    Args:
        n_tracks: of the batch, at most.
        span: largest difference of two tracks' zip, cm.
    """
    room = grid_points(span, cuts)
    points = n_events * room
    array = device.array
    work = Mixture(
        chosen=array("mixture.chosen", n_tracks, np.int32),
        z=array("mixture.z", n_tracks, np.float64),
        sigma=array("mixture.sigma", n_tracks, np.float64),
        vertex=array("mixture.vertex", n_tracks, np.int32),
        density=array("mixture.density", n_tracks, np.float64),
        here=array("mixture.here", n_tracks, np.float64),
        grid=array("mixture.grid", points, np.float64),
        position=array("mixture.position", points, np.float64),
        share=array("mixture.share", points, np.float64),
        mean=array("mixture.mean", points, np.float64),
        weight=array("mixture.weight", points, np.float64),
        chi2=array("mixture.chi2", points, np.float64),
        ndof=array("mixture.ndof", points, np.int32),
        waiting=array("mixture.waiting", points, np.bool_),
        order=array("mixture.order", points, np.int32),
        rank=array("mixture.rank", points, np.int32),
        other=array("mixture.other", points + n_tracks, np.int32),
    )
    vertices = BatchVertices(
        start=array("mixture.start", n_events + 1, np.int32),
        columns=make_columns(device, "vertices", Vertices, points),
    )
    device.launch(_find, n_events, tracks, vertices, work, cuts, room, n_events)
    device.scan(vertices.start, n_events, vertices.start)
    device.launch(_fill, n_events, tracks, vertices, work, room, n_events)
    return vertices


@shared
def _of_event(work: Mixture, i: int, j: int, p: int, q: int) -> Mixture:
    """The memory of an event with tracks ``i`` to ``j`` and points ``p`` to ``q``."""
    return Mixture(
        *(work.chosen[i:j], work.z[i:j], work.sigma[i:j], work.vertex[i:j]),
        *(work.density[i:j], work.here[i:j]),
        *(work.grid[p:q], work.position[p:q], work.share[p:q]),
        *(work.mean[p:q], work.weight[p:q], work.chi2[p:q], work.ndof[p:q]),
        *(work.waiting[p:q], work.order[p:q], work.rank[p:q], work.other[p + i : q + j]),
    )


@cuda_kernel
def _find(
    tracks: BatchTracks,
    vertices: BatchVertices,
    work: Mixture,
    cuts: MixtureCuts,
    room: int,
    n_events: int,
) -> None:
    t = tracks.columns
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        i, j = tracks.start[e], tracks.start[e + 1]
        mine = _of_event(work, i, j, e * room, (e + 1) * room)
        vertices.start[e] = find_mixture(
            j - i, t.state[i:j], t.covariance[i:j], t.chi2[i:j], t.n_hits[i:j], cuts, mine
        )


@cuda_kernel
def _fill(
    tracks: BatchTracks, vertices: BatchVertices, work: Mixture, room: int, n_events: int
) -> None:
    v = vertices.columns
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        i, j = tracks.start[e], tracks.start[e + 1]
        p, q = vertices.start[e], vertices.start[e + 1]
        write_vertices(
            *(j - i, q - p, _of_event(work, i, j, e * room, (e + 1) * room)),
            *(v.z[p:q], v.z_error[p:q], v.chi2[p:q], v.ndof[p:q], v.sum_pt2[p:q]),
            tracks.columns.vertex[i:j],
        )
