"""Finishing: pieces of tracks become whole tracks with a helix.

Each piece is followed on its own (:mod:`.follow`), and may take any point. So pieces of one
particle grow to nearly the same track. Then the best track takes its points first. A track that has
lost too many is dropped; one that has lost few is fitted again to what is left.

There may be a second pass over the points that no track has then. Its pieces are triplets of points
(:mod:`.triplets`). Most of these points are of soft particles and noise, so its tracks must fit
better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared, shared_step
from trackserve.edm import GEV_PER_T_MM, Edges, Helices, Ragged, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit

from .architecture import Cuts, Features
from .follow import (
    MOST_DROPPED,
    MOST_POINTS,
    MOST_STATIONS,
    STATE_SIZE,
    Cloud,
    Grown,
    Scene,
    Seat,
    Work,
    grow,
)
from .surfaces import Surfaces, layer_of
from .triplets import find_triplets

UNSETTLED = -1
"""Value of ``lost`` until it is known which points a track has."""
KEPT = 0.5
"""Share of its points that a track keeps at least when better tracks have taken theirs."""
WORST = 5.0
"""Most chi^2 of a track by its degrees of freedom."""
WORST_AGAIN = 2.0
"""The same in the second pass."""
SHORT, NEAR = 5, 5.0
"""A track of fewer points than the first, less the layers on which it has none, is short. It must
pass the z axis at less than so many errors of ``d0`` as the second."""
LEAST_PIECE = 3
"""Least points of a piece."""
_BLOCK = 1 << 11
"""Pieces that are followed between two looks at the deadline: less than a tenth of a second."""


class Demands(NamedTuple):
    """What a track must have.

    Attributes:
        min_points: least points.
        least: least points, less the layers on which it has none.
        worst: most chi^2 by its degrees of freedom.
    """

    min_points: int
    least: int
    worst: float


class Tracks(NamedTuple):
    """Tracks, one for each piece.

    Attributes:
        n: int32[m], number of points; 0: there is no track.
        point: int32[m, MOST_POINTS], points.
        helix: float64[m, 5], d0, phi, k, z0, t.
        error: float64[m, 9], uu, ua, uc, aa, ac, cc; vv, vb, bb.
        chi2: float64[m], chi^2 of the fit.
        score: float64[m], how good the track is.
        holes: int32[m], layers without a point between its points.
        lost: int32[m], number of points that better tracks have taken; negative: the track is not
            settled.
    """

    n: Any
    point: Any
    helix: Any
    error: Any
    chi2: Any
    score: Any
    holes: Any
    lost: Any


class Piece(NamedTuple):
    """A list of points.

    Attributes:
        first: place of its first point among those of all lists.
        n: number of its points.
        shift: what is added to the number of each.
    """

    first: int
    n: int
    shift: int


class Finished(NamedTuple):
    """The tracks of an event.

    Attributes:
        candidates: tracks, by their smallest point.
        helices: the helix of each.
        n_pieces: number of pieces from which they come.
    """

    candidates: TrackCandidates
    helices: Helices
    n_pieces: int


def finish(
    pieces: TrackCandidates,
    edges: Edges,
    scaled: Array,
    rank: Array,
    features: Features,
    surfaces: Surfaces,
    cuts: Cuts,
    most: int,
    look: Callable[[], None] = lambda: None,
) -> Finished:
    """Return the tracks of one event.

    Args:
        pieces: pieces of tracks.
        edges: of which the second pass makes pieces, if there is one.
        scaled: float32[n, 3], features of all points.
        rank: int32[n], place of each point from the inside out.
        features: the scales.
        surfaces: surfaces of the detector.
        cuts: settings.
        most: most pieces of both passes.
        look: called every tenth of a second or so; may end the work by what it raises.

    Raises:
        LimitExceeded: there are more pieces.
    """
    assert cuts.finish is not None
    unit = GEV_PER_T_MM * cuts.finish.field
    places = locate(scaled, features, surfaces)
    n_pieces = len(pieces)

    def check(more: int) -> None:
        check_limit("pieces", n_pieces + more, most)

    check(0)

    def follow(some: TrackCandidates, cloud: Cloud, worst: float) -> Part:
        scene = Scene(cloud, surfaces, unit, make_work(1))
        demands = Demands(cuts.min_points, surfaces.least, worst)
        return good_part(_follow_pieces(some, scene, demands, look), some.score, demands)

    parts = [follow(pieces, make_cloud(places, surfaces), WORST)]
    if cuts.finish.sure_edge is not None:
        found = parts[0].tracks
        free = np.ones(len(scaled), np.bool_)
        free[found.point[_filled(found.n)]] = False
        cloud = make_cloud(places, surfaces, free)
        edges = edges.take(free[edges.source] & free[edges.target])
        more = find_triplets(edges, rank, cloud, unit, check, look)
        parts.append(follow(more, cloud, WORST_AGAIN))
        n_pieces += len(more)
    return Finished(*assemble(parts, rank, unit), n_pieces)


class Part(NamedTuple):
    """The good tracks of a pass.

    Attributes:
        tracks: tracks, on the host.
        score: float32[m], the score of the piece of each.
    """

    tracks: Tracks
    score: Array


def _follow_pieces(
    pieces: TrackCandidates, scene: Scene, demands: Demands, look: Callable[[], None]
) -> Tracks:
    """Return the tracks that pieces become, one for each."""

    def follow_all(rows: Array, offsets: Array, points: Array, searching: bool) -> None:
        for first in range(0, len(rows), _BLOCK):
            look()
            last = first + _BLOCK
            part = rows[first:last], offsets[first : last + 1]
            _follow_all(scene, *part, points, searching, tracks)

    m = len(pieces)
    tracks = make_tracks(m)
    rows = np.arange(m, dtype=np.int32)
    follow_all(rows, pieces.points.offsets, pieces.points.values, True)
    order = np.lexsort((rows, -tracks.score)).astype(np.int32)
    owner = np.full(len(scene.cloud.x), -1, np.int32)
    _resolve(tracks, order, owner, demands)
    rows = np.flatnonzero((tracks.n > 0) & (tracks.lost > 0)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(tracks.n[rows])]).astype(np.int64)
    lists = tracks.point[rows][_filled(tracks.n[rows])]
    follow_all(rows, offsets, lists, False)
    return tracks


def make_tracks(m: int) -> Tracks:
    """Return memory for ``m`` tracks."""
    return Tracks(
        n=np.zeros(m, np.int32),
        point=np.empty((m, MOST_POINTS), np.int32),
        helix=np.empty((m, 5)),
        error=np.empty((m, 9)),
        chi2=np.zeros(m),
        score=np.zeros(m),
        holes=np.zeros(m, np.int32),
        lost=np.zeros(m, np.int32),
    )


def make_work(n: int) -> Work:
    """Return memory for ``n`` tracks that are followed at the same time."""
    return Work(
        point=np.empty((n, MOST_POINTS), np.int32),
        held=np.empty((n, MOST_STATIONS, 2), np.int32),
        surface=np.empty((n, MOST_STATIONS), np.int32),
        path=np.empty((n, MOST_STATIONS)),
        place=np.empty((n, MOST_STATIONS, 9)),
        ahead=np.empty((n, MOST_STATIONS, STATE_SIZE)),
        dropped=np.empty((n, MOST_DROPPED), np.int32),
    )


class Places(NamedTuple):
    """The places of the points of an event.

    Attributes:
        x, y, z: float64[n], mm.
        phi: float64[n], azimuth.
        layer: int32[n], layer.
    """

    x: Array
    y: Array
    z: Array
    phi: Array
    layer: Array


def locate(scaled: Array, features: Features, surfaces: Surfaces) -> Places:
    """Return the places of points with these features, float32[n, 3]."""
    n = len(scaled)
    x, y, z, phi = np.empty((4, n))
    places = Places(x, y, z, phi, np.empty(n, np.int32))
    scales = np.array(features.scales, np.float32)
    _locate(np.ascontiguousarray(scaled), scales, surfaces, places)
    return places


def make_cloud(places: Places, surfaces: Surfaces, free: Array | None = None) -> Cloud:
    """Return the points of one event, sorted for the search.

    Args:
        places: all points.
        surfaces: surfaces of the detector.
        free: bool[n], the points that the search may find; None: all.
    """
    x, y, z, phi, layer = places
    group = layer if free is None else np.where(free, layer, surfaces.n_layers)
    order = np.argsort(group * 8.0 + phi, kind="stable").astype(np.int32)
    start = np.searchsorted(group[order], np.arange(surfaces.n_layers + 1)).astype(np.int32)
    return Cloud(x, y, z, layer, order, phi[order], start)


def _filled(n: Array) -> Array:
    """Return which columns of ``Tracks.point`` have a point, bool[tracks, MOST_POINTS]."""
    filled: Array = np.arange(MOST_POINTS) < n[:, None]
    return filled


def good_part(tracks: Tracks, score: Array, demands: Demands) -> Part:
    """Return the good ones of the tracks of a pass.

    Args:
        tracks: tracks, on the host.
        score: float32[m], the score of each piece.
        demands: what a track must have.
    """
    n = tracks.n.astype(np.int64)
    good = is_good.py_func(n, tracks.holes, tracks.chi2, demands)  # type: ignore[attr-defined]
    rows = np.flatnonzero((n >= demands.min_points) & good)
    return Part(Tracks(*(column[rows] for column in tracks)), score[rows])


def assemble(parts: Sequence[Part], rank: Array, unit: float) -> tuple[TrackCandidates, Helices]:
    """Return the tracks of all passes, by their smallest point, without short ones from elsewhere.

    Args:
        parts: those of each pass.
        rank: int32[n], place of each point from the inside out.
        unit: pT of a particle of charge 1 over its circle's radius, GeV/mm.
    """
    columns = zip(*(part.tracks for part in parts), strict=True)
    tracks = Tracks(*(np.concatenate(column) for column in columns))
    score = np.concatenate([part.score for part in parts])
    is_near = np.abs(tracks.helix[:, 0]) < NEAR * np.sqrt(tracks.error[:, 0])
    kept = (tracks.n - tracks.holes >= SHORT) | is_near
    tracks, score = Tracks(*(column[kept] for column in tracks)), score[kept]
    counts = tracks.n.astype(np.int64)
    filled = _filled(counts)
    point = tracks.point
    smallest = np.where(filled, point, np.iinfo(np.int32).max).min(axis=1, initial=0x7FFFFFFF)
    rows = np.argsort(smallest)
    counts, filled, point = counts[rows], filled[rows], point[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    values = point[filled]
    values = values[np.lexsort((rank[values], owner))]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    candidates = TrackCandidates(Ragged(offsets, values), score[rows])
    return candidates, _helices(tracks, rows, unit)


def _helices(tracks: Tracks, rows: Array, unit: float) -> Helices:
    """Return the helices of some tracks as users see them."""
    d0, phi, k, z0, t = tracks.helix[rows].T
    uu, ua, uc, aa, ac, cc, vv, vb, bb = tracks.error[rows].T
    sine = 1 / np.sqrt(1 + t * t)
    k = np.where(k == 0, 1e-12, k)
    # theta = acot(t); q/p = k sin(theta) / unit
    theta_b = -sine * sine
    qop_c = sine / unit
    qop_b = -k * t * sine**3 / unit
    zero = np.zeros_like(d0)
    covariance = [
        *(uu, zero, ua, zero, uc * qop_c),
        *(vv, zero, vb * theta_b, vb * qop_b),
        *(aa, zero, ac * qop_c),
        *(bb * theta_b * theta_b, bb * theta_b * qop_b),
        cc * qop_c * qop_c + bb * qop_b * qop_b,
    ]
    return Helices(
        pt=(unit / np.abs(k)).astype(np.float32),
        eta=np.arcsinh(t).astype(np.float32),
        phi=((phi + np.pi) % (2 * np.pi) - np.pi).astype(np.float32),
        d0=d0.astype(np.float32),
        z0=z0.astype(np.float32),
        charge=np.sign(k).astype(np.int8),
        covariance=np.stack(covariance, axis=1).astype(np.float32),
        chi2=tracks.chi2[rows].astype(np.float32),
        ndof=(2 * tracks.n[rows] - 5).astype(np.int32),
        holes=tracks.holes[rows].astype(np.int32),
    )


@shared
def _grow_part(scene: Scene, seat: Seat, piece: Piece, points: Array, first: int, n: int) -> Grown:
    for i in range(n):
        scene.work.point[seat.w, i] = points[piece.first + first + i] + piece.shift
    return grow(scene, seat, n)


@shared_step
def follow_piece(
    scene: Scene, seat: Seat, piece: Piece, points: Array, tracks: Tracks, c: int
) -> None:
    """Follow a piece and keep what comes of it as track ``c``.

    If that is no good track, each end of the piece is followed instead.

    Args:
        points: int32, of all pieces.
    """
    grown = _grow_part(scene, seat, piece, points, 0, piece.n)
    part = max((piece.n + 1) // 2, LEAST_PIECE)
    demands = Demands(0, scene.surfaces.least, WORST)
    for end in range(2):
        if (
            is_good(grown.n, grown.holes, grown.chi2, demands)
            or part >= piece.n
            or not seat.searching
        ):
            break
        first = (piece.n - part) * end
        grown = _grow_part(scene, seat, piece, points, first, part)
    work, w = scene.work, seat.w
    tracks.n[c] = grown.n
    for i in range(grown.n):
        tracks.point[c, i] = work.point[w, i]
    helix, state = grown.helix, grown.state
    tracks.helix[c, 0] = helix.d0
    tracks.helix[c, 1] = helix.phi
    tracks.helix[c, 2] = helix.k
    tracks.helix[c, 3] = helix.z0
    tracks.helix[c, 4] = helix.t
    error = tracks.error
    error[c, 0], error[c, 1], error[c, 2] = state.uu, state.ua, state.uc
    error[c, 3], error[c, 4], error[c, 5] = state.aa, state.ac, state.cc
    error[c, 6], error[c, 7], error[c, 8] = state.vv, state.vb, state.bb
    tracks.chi2[c] = grown.chi2
    tracks.score[c] = grown.score
    tracks.holes[c] = grown.holes


@shared
def is_good(n: Any, holes: Any, chi2: Any, demands: Demands) -> Any:
    """Return whether a track of ``n`` points, with so many holes, is one; or, for each of many.

    Its least points are not asked: it may still lose some.
    """
    return (n - holes >= demands.least) & (chi2 < demands.worst * (2 * n - 5))


@shared
def place_of(scaled: Array, i: int, scales: Array) -> tuple[float, float, float, float]:
    """Return x, y, z and the azimuth of a point with these features; mm, rad."""
    r, z = float(scaled[i, 0] * scales[0]), float(scaled[i, 2] * scales[2])
    angle = float(scaled[i, 1] * scales[1])
    x, y = r * math.cos(angle), r * math.sin(angle)
    return x, y, z, math.atan2(y, x)


@kernel
def _locate(scaled: Array, scales: Array, surfaces: Surfaces, places: Places) -> None:
    x, y, z, phi, layer = places
    for i in range(len(scaled)):
        x[i], y[i], z[i], phi[i] = place_of(scaled, i, scales)
        layer[i] = layer_of(surfaces, x[i], y[i], z[i])


@kernel
def _follow_all(
    scene: Scene, rows: Array, offsets: Array, points: Array, searching: bool, tracks: Tracks
) -> None:
    """Follow lists of points; the tracks become those of ``rows``."""
    for j in range(len(rows)):
        n = min(offsets[j + 1] - offsets[j], MOST_POINTS)
        piece = Piece(offsets[j], n, 0)
        follow_piece(scene, Seat(0, 0, searching), piece, points, tracks, int(rows[j]))


@shared
def settle(tracks: Tracks, c: int, owner: Array, demands: Demands) -> None:
    """Give a track those of its points that no better track has; drop it if it is not good."""
    n, n_free = tracks.n[c], 0
    for i in range(n):
        if owner[tracks.point[c, i]] < 0:
            n_free += 1
    tracks.lost[c] = n - n_free
    good = is_good(n, tracks.holes[c], tracks.chi2[c], demands)
    if not good or n_free < demands.min_points or n_free < KEPT * n:
        tracks.n[c] = 0
        return
    n_free = 0
    for i in range(n):
        p = tracks.point[c, i]
        if owner[p] < 0:
            owner[p] = c
            tracks.point[c, n_free] = p
            n_free += 1
    tracks.n[c] = n_free


@kernel
def _resolve(tracks: Tracks, order: Array, owner: Array, demands: Demands) -> None:
    for c in order:
        settle(tracks, c, owner, demands)
