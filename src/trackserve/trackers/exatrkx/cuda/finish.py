"""Finishing: a thread follows a piece, then a block resolves an event.

The best track takes its points first, as on a CPU: in each turn the tracks settle whose points,
those that are still free, are on no better track that is not settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import cuda

from trackserve.device.compile import shared
from trackserve.device.cuda import LARGEST, THREADS, Device, cuda_kernel
from trackserve.edm.columns import Array

from ..finish import (
    UNSETTLED,
    WORST,
    WORST_AGAIN,
    Demands,
    Piece,
    Tracks,
    follow_piece,
    is_good,
    make_tracks,
    make_work,
    place_of,
    settle,
)
from ..follow import MOST_POINTS, Cloud, Scene, Seat
from ..surfaces import Surfaces, layer_of
from .features import BatchPoints
from .tensors import tensor

_MOST_ROWS = 1 << 14
"""Most pieces that are followed at the same time: their memory is 7 kB each."""
AGAIN = "again."
"""Name of the second pass of finishing."""
DOWNLOADED = ("n", "point", "helix", "error", "chi2", "holes")
"""Columns of :class:`..finish.Tracks` of which candidates are made."""


class Pieces(NamedTuple):
    """Pieces of tracks of a batch.

    Attributes:
        offset: int32[pieces + 1], first point of each piece in ``point``.
        point: int32[.], rows of points in their event, piece by piece.
        score: float32[pieces].
    """

    offset: Any
    point: Any
    score: Any


class Pass(NamedTuple):
    """The pieces from which a pass of finishing starts.

    Attributes:
        name: empty, or :data:`AGAIN`; passes with different names have tracks of their own.
        pieces: pieces.
        table: int32[events + 1, 6], of which column 4 has the pieces before each event.
        counts: the same on the host.
    """

    name: str
    pieces: Pieces
    table: Any
    counts: Array

    @property
    def n(self) -> int:
        """Number of pieces."""
        return int(self.counts[-1, 4])

    @property
    def worst(self) -> float:
        """Most chi^2 of a track by its degrees of freedom."""
        return WORST_AGAIN if self.name == AGAIN else WORST

    def rows(self, e: int) -> slice:
        """The pieces of an event, by its place in the batch."""
        return slice(*self.counts[e : e + 2, 4].tolist())


class _Keys(NamedTuple):
    """What points are sorted by, in the order in which they came.

    Attributes:
        group: int32[n], event and layer, in one number.
        phi: float64[n], azimuth.
        both: float64[n], both, in one number.
    """

    group: Any
    phi: Any
    both: Any


class _Claims(NamedTuple):
    """Tracks and the points that they want.

    Attributes:
        place: int32[m], place of each track among all, the best of an event first.
        best: int32[n], place of the best track that wants a point.
        owner: int32[n], track that has a point; -1: none.
    """

    place: Any
    best: Any
    owner: Any


def finish(
    device: Device,
    points: BatchPoints,
    one: Pass,
    cloud: Cloud,
    surfaces: Surfaces,
    unit: float,
    demands: Demands,
    taken: Any,
) -> Tracks:
    """Return tracks, one for each piece; points are rows of the batch, as they came.

    Points of good tracks are taken afterwards.

    Args:
        one: the pass.
        cloud: the points.
        surfaces: on the device.
        unit: pT of a particle of charge 1 over its circle's radius, GeV/mm.
        demands: what a track must have.
        taken: bool[n], points that are not searched for.
    """
    pieces, counts, m = one.pieces, one.table, one.n
    tracks = _memory(device, f"{one.name}tracks", make_tracks(1), m)
    n_rows = -(-min(m, _MOST_ROWS) // THREADS) * THREADS
    work = _memory(device, "follow", make_work(1), n_rows)
    scene, flat = Scene(cloud, surfaces, unit, work), tracks.point.reshape(-1)
    device.launch(_follow, n_rows, scene, points, pieces, counts, True, tracks, flat, m)
    claims = _Claims(
        place=device.array("claims.place", m, np.int32),
        best=device.array("claims.best", points.n, np.int32),
        owner=device.array("claims.owner", points.n, np.int32),
    )
    device.fill(claims.owner, points.n, -1)
    _rank(device, points, tracks, claims, counts, m)
    device.launch_blocks(_resolve, points.n_events, counts, tracks, claims, points, demands)
    device.launch(_follow, n_rows, scene, points, pieces, counts, False, tracks, flat, m)
    device.launch(_take, m, tracks, m, demands, taken)
    return tracks


def to_download(tracks: Tracks, one: Pass) -> dict[str, tuple[Any, int]]:
    """Return what the host needs of the tracks of a pass, with its length."""
    columns = {f"{one.name}tracks.{name}": getattr(tracks, name) for name in DOWNLOADED}
    columns[f"{one.name}score"] = one.pieces.score
    return {name: (column, one.n) for name, column in columns.items()}


def of_event(columns: Mapping[str, Array], one: Pass, e: int, first: int) -> Tracks:
    """Return the tracks of an event on the host.

    Args:
        columns: what was downloaded.
        one: the pass.
        e: place of the event in the batch.
        first: number of points before the event, in the batch.
    """
    rows = one.rows(e)
    mine = {name: columns[f"{one.name}tracks.{name}"][rows] for name in DOWNLOADED}
    mine["point"] = mine["point"] - np.int32(first)
    return make_tracks(rows.stop - rows.start)._replace(**mine)


def _memory(device: Device, name: str, one: Any, n: int) -> Any:
    """Return a named tuple of device arrays of ``n`` rows, like the rows of ``one``."""
    columns = {
        key: device.array(f"{name}.{key}", n, values.dtype, *values.shape[1:])
        for key, values in one._asdict().items()
    }
    return type(one)(**columns)


def sort_points(device: Device, points: BatchPoints, surfaces: Surfaces, taken: Any) -> Cloud:
    """Return the points of the batch, sorted for the search; those that are taken come last."""
    n, n_groups = points.n, points.n_events * surfaces.n_layers
    x, y, z = (device.array(f"cloud.{k}", n, np.float64) for k in ("x", "y", "z"))
    cloud = Cloud(
        x=x,
        y=y,
        z=z,
        layer=device.array("cloud.layer", n, np.int32),
        order=device.array("cloud.order", n, np.int32),
        phi=device.array("cloud.phi", n, np.float64),
        start=device.array("cloud.start", n_groups + 1, np.int32),
    )
    keys = _Keys(
        device.array("cloud.group", n, np.int32),
        device.array("cloud.angle", n, np.float64),
        device.array("cloud.key", n, np.float64),
    )
    device.launch(_locate, n, points, surfaces, taken, cloud, keys)
    order = torch.sort(tensor(device, keys.both, n), stable=True).indices
    tensor(device, cloud.order, n).copy_(order)
    tensor(device, cloud.phi, n).copy_(tensor(device, keys.phi, n)[order])
    group = tensor(device, keys.group, n)[order]
    numbers = torch.arange(n_groups + 1, dtype=torch.int32, device=group.device)
    tensor(device, cloud.start, n_groups + 1).copy_(torch.searchsorted(group, numbers))
    return cloud


def _rank(
    device: Device, points: BatchPoints, tracks: Tracks, claims: _Claims, counts: Any, m: int
) -> None:
    """Find the places of tracks: by event, then by falling score, then by number."""
    device.launch(_number, m, points, counts, claims, tracks, m)
    event = tensor(device, claims.place, m).clone()
    order = torch.sort(tensor(device, tracks.score, m), descending=True, stable=True).indices
    order = order[torch.sort(event[order], stable=True).indices]
    tensor(device, claims.place, m)[order] = torch.arange(m, dtype=torch.int32, device=order.device)


@shared
def _event_of(counts: Any, n_events: int, c: int) -> int:
    """Return the event of a piece, as its place in the batch."""
    low, high = 0, n_events - 1
    while low < high:
        middle = (low + high + 1) // 2
        if counts[middle, 4] <= c:
            low = middle
        else:
            high = middle - 1
    return low


@cuda_kernel
def _locate(points: BatchPoints, surfaces: Surfaces, taken: Any, cloud: Cloud, keys: _Keys) -> None:
    for i in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        x, y, z, phi = place_of(points.scaled, i, points.scales)
        row = points.row[i]
        cloud.x[row] = x
        cloud.y[row] = y
        cloud.z[row] = z
        layer = layer_of(surfaces, x, y, z)
        cloud.layer[row] = layer
        group = points.event[i] * surfaces.n_layers + layer
        if taken[row]:
            group = points.n_events * surfaces.n_layers
        keys.group[row] = group
        keys.phi[row] = phi
        keys.both[row] = group * 8.0 + phi


@cuda_kernel
def _follow(
    scene: Scene,
    points: BatchPoints,
    pieces: Pieces,
    counts: Any,
    searching: bool,
    tracks: Tracks,
    flat: Any,
    m: int,
) -> None:
    """Follow pieces; without searching, fit tracks again that have lost points.

    Args:
        flat: ``tracks.point`` in one dimension.
    """
    w = cuda.grid(1)
    for c in range(w, m, cuda.gridsize(1)):
        event = _event_of(counts, points.n_events, c)
        if searching:
            first, last = int(pieces.offset[c]), int(pieces.offset[c + 1])
            piece = Piece(first, min(last - first, MOST_POINTS), int(points.start[event]))
            follow_piece(scene, Seat(w, event, True), piece, pieces.point, tracks, c)
        elif tracks.n[c] > 0 and tracks.lost[c] > 0:
            piece = Piece(c * MOST_POINTS, int(tracks.n[c]), 0)
            follow_piece(scene, Seat(w, event, False), piece, flat, tracks, c)


@cuda_kernel
def _number(points: BatchPoints, counts: Any, claims: _Claims, tracks: Tracks, m: int) -> None:
    for c in range(cuda.grid(1), m, cuda.gridsize(1)):
        claims.place[c] = _event_of(counts, points.n_events, c)
        tracks.lost[c] = UNSETTLED


@cuda_kernel
def _take(tracks: Tracks, m: int, demands: Demands, taken: Any) -> None:
    for c in range(cuda.grid(1), m, cuda.gridsize(1)):
        n = tracks.n[c]
        good = is_good(n, tracks.holes[c], tracks.chi2[c], demands)
        if good and n >= demands.min_points:
            for i in range(n):
                taken[tracks.point[c, i]] = True


@cuda_kernel
def _resolve(
    counts: Any,
    tracks: Tracks,
    claims: _Claims,
    points: BatchPoints,
    demands: Demands,
) -> None:
    for e in range(cuda.blockIdx.x, points.n_events, cuda.gridDim.x):
        first, last = counts[e, 4] + cuda.threadIdx.x, counts[e + 1, 4]
        going = True
        while going:
            for c in range(first, last, cuda.blockDim.x):
                if tracks.lost[c] == UNSETTLED:
                    for i in range(tracks.n[c]):
                        claims.best[tracks.point[c, i]] = LARGEST
            cuda.syncthreads()
            for c in range(first, last, cuda.blockDim.x):
                if tracks.lost[c] == UNSETTLED:
                    for i in range(tracks.n[c]):
                        cuda.atomic.min(claims.best, tracks.point[c, i], claims.place[c])
            cuda.syncthreads()
            left = 0
            for c in range(first, last, cuda.blockDim.x):
                if tracks.lost[c] == UNSETTLED:
                    is_best = True
                    for i in range(tracks.n[c]):
                        p = tracks.point[c, i]
                        is_free = claims.owner[p] < 0
                        is_best = is_best and (not is_free or claims.best[p] == claims.place[c])
                    if is_best:
                        tracks.lost[c] = UNSETTLED - 1
                    left = 1
            cuda.syncthreads()
            for c in range(first, last, cuda.blockDim.x):
                if tracks.lost[c] == UNSETTLED - 1:
                    settle(tracks, c, claims.owner, demands)
            going = cuda.syncthreads_or(left) != 0
