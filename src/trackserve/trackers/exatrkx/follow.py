"""One track: a helix through the points of a piece, fitted, extended and cleaned, in rounds.

In a round the helix of the round before crosses the surfaces: these are the stations of the track.
A filter runs outwards over the stations and looks for points behind the last one of the track. A
second filter runs inwards. At each station both together say where the track is if the station's
own point is not asked: where there is none, the best point near that place is added; the point
that agrees least is dropped if it disagrees by too much. What the inward filter knows at the z axis
is the next helix, which no prior has touched.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from trackserve.device.compile import shared

from .helix import (
    Frame,
    Helix,
    Measured,
    Spread,
    State,
    chi2_of,
    combined,
    frame_at,
    measured,
    moved,
    moved_helix,
    path_to,
    path_to_radius,
    radius_at,
    scattered,
    surprise,
    through,
    unknown,
    updated,
)
from .surfaces import DEPTH, Surfaces

MOST_STATIONS = 32
MOST_POINTS = 2 * MOST_STATIONS
"""Most points of a track: two of each station, since modules of a layer overlap."""
MOST_DROPPED = 8
"""Most points that a track drops."""
MOST_ROUNDS = 12
ADD = 14.0
"""A point is added if its chi^2 (of two degrees of freedom) is less."""
DROP = 20.0
"""A point is dropped if its chi^2 is more."""
WORTH = 12.0
"""A point of a track is worth so much chi^2, a layer without a point costs as much as"""
HOLE = 4.0
MOST_HOLES = 2
"""The search outwards ends after more layers without a point."""
WIDEST = 6.0
"""mm. No point is looked for where the error across the track is larger."""
PRIOR = 2.0
"""mm. Tracks pass the z axis within about this distance; the search uses it, the fit does not."""
_APART = 0.4
"""mm. Two points of one track on one layer are of two modules, at least so far apart along it."""
_MARGIN = 12.0
"""mm. A track may measure so far beyond the edges of a layer."""
_MOST_TURN = 2.6
"""rad. A track is followed through less than half a turn."""
_FAR = 1.1e3
"""mm, the radius that no layer reaches."""
_PION = 0.1396
_STIFFEST = 100.0
"""GeV. No track scatters less than one of this momentum."""
STATE_SIZE = len(State._fields)


class Cloud(NamedTuple):
    """The points of events, as tracks look for them.

    Attributes:
        x, y, z: float64[n], mm.
        layer: int32[n], the layer of each point.
        order: int32[n], points by event, layer and azimuth.
        phi: float64[n], azimuth of ``order``, rad, in [-pi, pi].
        start: int32[events * layers + 1], first place in ``order`` of each event and layer.
    """

    x: Any
    y: Any
    z: Any
    layer: Any
    order: Any
    phi: Any
    start: Any


class Work(NamedTuple):
    """Memory of tracks that are followed at the same time; the first index is the track's.

    Attributes:
        point: int32[., MOST_POINTS], points of the track.
        held: int32[., MOST_STATIONS, 2], the points of each station; -1: none.
        surface: int32[., MOST_STATIONS], surface of each station.
        path: float64[., MOST_STATIONS], path to each station.
        place: float64[., MOST_STATIONS, 9], frame without k and t (5), variances of a point (2)
            and of scattering (2).
        ahead: float64[., MOST_STATIONS, 14], the state of the outward filter before each station.
        dropped: int32[., MOST_DROPPED], points that the track has dropped.
    """

    point: Any
    held: Any
    surface: Any
    path: Any
    place: Any
    ahead: Any
    dropped: Any


class Grown(NamedTuple):
    """A fitted track.

    Attributes:
        n: number of its points; 0: there is no track.
        helix: its helix.
        state: errors of the helix; the deviation is none.
        chi2: chi^2 of the fit, of 2 n - 5 degrees of freedom.
        score: how good it is.
        holes: layers between its points on which it has none.
    """

    n: int
    helix: Helix
    state: State
    chi2: float
    score: float
    holes: int


class Found(NamedTuple):
    """The point that fits best; -1: none."""

    point: int
    chi2: float


@shared
def grow(
    cloud: Cloud, surfaces: Surfaces, work: Work, w: int, event: int, n: int, radius_pt: float,
    searching: bool,
) -> Grown:  # fmt: skip
    """Fit the first ``n`` points of ``work.point[w]``, and add and drop points.

    Args:
        cloud: all points.
        surfaces: where they are.
        work: memory.
        w: the row of memory.
        event: place of the event in the cloud.
        n: number of points, from the inside out.
        radius_pt: pT of a particle of charge 1 over its circle's radius, GeV/mm.
        searching: whether points are added.

    Returns:
        the track; its points are the first ones of ``work.point[w]``, in the order of its path.
    """
    helix = _first_helix(cloud, work, w, n)
    state = unknown(0.0)
    chi2, score, holes, n_dropped = 0.0, 0.0, 0, 0
    for turn in range(MOST_ROUNDS):
        n_stations = _lay(cloud, surfaces, work, w, n, helix, radius_pt)
        n_before = _count(work, w, n_stations)
        last = _go_out(cloud, surfaces, work, w, event, n_stations, n_dropped, helix, searching)
        if last < 0:
            n = 0
            break
        state, chi2, worst, worst_chi2, holes = _go_in(
            cloud, surfaces, work, w, event, last, n_dropped, helix, searching, turn > 0
        )
        n_after = _count(work, w, n_stations)
        helix = moved_helix(helix, state)
        if not (abs(helix.k) < 0.1 and abs(helix.t) < 50.0):  # NaN is neither
            n = 0
            break
        is_done = False
        if worst_chi2 > DROP and n_dropped < MOST_DROPPED:
            work.dropped[w, n_dropped] = work.held[w, worst // 2, worst % 2]
            work.held[w, worst // 2, worst % 2] = -1
            n_dropped += 1
        elif n_after == n_before and turn > 0:
            is_done = True
        n = _gather(work, w, n_stations)
        if is_done or n < 3:
            break
    if n < 3:
        n = 0
    score = WORTH * n - chi2 - HOLE * WORTH * holes / 4
    return Grown(n, helix, state, chi2, score, holes)


@shared
def _first_helix(cloud: Cloud, work: Work, w: int, n: int) -> Helix:
    """Return a helix near the points: through three of them, or through two and the z axis."""
    first, middle, last = work.point[w, 0], work.point[w, n // 2], work.point[w, n - 1]
    x1, y1, x3, y3 = cloud.x[first], cloud.y[first], cloud.x[last], cloud.y[last]
    x2, y2 = cloud.x[middle], cloud.y[middle]
    r1, r3 = math.sqrt(x1 * x1 + y1 * y1), math.sqrt(x3 * x3 + y3 * y3)
    if n < 6 or r3 - r1 < 200.0:
        helix = through(0.0, 0.0, x1, y1, x3, y3)
    else:
        helix = through(x1, y1, x2, y2, x3, y3)
    s1, s3 = path_to(helix, x1, y1), path_to(helix, x3, y3)
    ds = s3 - s1
    t = (cloud.z[last] - cloud.z[first]) / (ds if abs(ds) > 1e-3 else 1e-3)
    return Helix(helix.d0, helix.phi, helix.k, cloud.z[first] - t * s1, t)


@shared
def _lay(
    cloud: Cloud, surfaces: Surfaces, work: Work, w: int, n: int, helix: Helix, radius_pt: float
) -> int:
    """Lay stations along a helix: where it crosses surfaces, and where points are.

    Returns:
        their number.
    """
    k, t = helix.k, helix.t
    n_stations = 0
    longest = min(_MOST_TURN / max(abs(k), 1e-9), 1.6 * _FAR)
    for i in range(surfaces.n):
        if n_stations == MOST_STATIONS:
            break
        if surfaces.disk[i]:
            s = (surfaces.place[i] - helix.z0) / t if abs(t) > 1e-6 else -1.0
            if not 0 < s < longest:
                continue
            across = radius_at(helix, s)
        else:
            s = path_to_radius(helix, surfaces.place[i])
            if not 0 < s < longest:
                continue
            across = helix.z0 + t * s
        if surfaces.low[i] - _MARGIN < across < surfaces.high[i] + _MARGIN:
            n_stations = _insert(work, w, n_stations, i, s)
    for j in range(n):
        p = work.point[w, j]
        layer = cloud.layer[p]
        known = False
        for i in range(n_stations):
            known = known or work.surface[w, i] == layer
        if not known and n_stations < MOST_STATIONS:
            s = path_to(helix, cloud.x[p], cloud.y[p])
            if 0 < s < longest:
                n_stations = _insert(work, w, n_stations, layer, s)
    momentum = min(radius_pt * math.sqrt(1 + t * t) / max(abs(k), 1e-9), _STIFFEST)
    kick = 0.0136 * math.sqrt(momentum * momentum + _PION * _PION) / (momentum * momentum)
    for i in range(n_stations):
        _place(surfaces, work, w, i, helix, kick)
        work.held[w, i, 0] = -1
        work.held[w, i, 1] = -1
    for j in range(n):
        p = work.point[w, j]
        for i in range(n_stations):
            if work.surface[w, i] == cloud.layer[p]:
                if work.held[w, i, 0] < 0:
                    work.held[w, i, 0] = p
                elif work.held[w, i, 1] < 0:
                    work.held[w, i, 1] = p
    return n_stations


@shared
def _insert(work: Work, w: int, n: int, surface: int, s: float) -> int:
    """Insert a station among ``n`` ones by its path; return their number."""
    i = n
    while i > 0 and work.path[w, i - 1] > s:
        work.path[w, i] = work.path[w, i - 1]
        work.surface[w, i] = work.surface[w, i - 1]
        i -= 1
    work.path[w, i] = s
    work.surface[w, i] = surface
    return n + 1


@shared
def _place(surfaces: Surfaces, work: Work, w: int, i: int, helix: Helix, kick: float) -> None:
    """Fill in a station: its frame, the variances of a point, and those of scattering there."""
    frame = frame_at(helix, work.path[w, i])
    surface = work.surface[w, i]
    r = max(math.sqrt(frame.x * frame.x + frame.y * frame.y), 1e-3)
    forth = (frame.x * frame.cos + frame.y * frame.sin) / r
    forth = max(forth, 0.1)
    aside = min(1 - forth * forth, 1.0)
    turn = surfaces.sigma_turn[surface] * surfaces.sigma_turn[surface]
    along = surfaces.sigma_along[surface] * surfaces.sigma_along[surface]
    slope = 1 + helix.t * helix.t
    if surfaces.disk[surface]:
        left = turn * forth * forth + along * aside
        up = helix.t * helix.t * (along * forth * forth + turn * aside)
        depth = surfaces.thickness[surface] * math.sqrt(slope) / max(abs(helix.t), 0.1)
    else:
        left = turn
        up = along
        depth = surfaces.thickness[surface] * math.sqrt(slope) / forth
    angle = kick * (1 + 0.038 * math.log(depth))
    square = angle * angle * depth
    place = work.place
    place[w, i, 0] = frame.x
    place[w, i, 1] = frame.y
    place[w, i, 2] = frame.z
    place[w, i, 3] = frame.cos
    place[w, i, 4] = frame.sin
    place[w, i, 5] = left
    place[w, i, 6] = up
    place[w, i, 7] = square * slope
    place[w, i, 8] = square * slope * slope


@shared
def _frame(work: Work, w: int, i: int, helix: Helix) -> Frame:
    place = work.place
    return Frame(
        place[w, i, 0],
        place[w, i, 1],
        place[w, i, 2],
        place[w, i, 3],
        place[w, i, 4],
        helix.k,
        helix.t,
    )


@shared
def _go_out(
    cloud: Cloud, surfaces: Surfaces, work: Work, w: int, event: int, n_stations: int,
    n_dropped: int, helix: Helix, searching: bool,
) -> int:  # fmt: skip
    """Filter outwards, and look for points behind the last one; return the last station."""
    end = -1
    for i in range(n_stations):
        if work.held[w, i, 0] >= 0 or work.held[w, i, 1] >= 0:
            end = i
    if end < 0:
        return end
    state, s, holes = unknown(PRIOR), 0.0, 0
    first_end = end
    for i in range(n_stations):
        state = moved(state, work.path[w, i] - s, helix.k)
        s = work.path[w, i]
        _store(work, w, i, state)
        frame = _frame(work, w, i, helix)
        spread = Spread(work.place[w, i, 5], work.place[w, i, 6])
        if i > first_end:
            if not searching or holes > MOST_HOLES:
                break
            if work.surface[w, i] < surfaces.n_layers:
                found = _search(
                    cloud, surfaces, work, w, event, i, n_dropped, state, frame, spread, -1
                )
                if found.point >= 0:
                    work.held[w, i, 0] = found.point
                    end, holes = i, 0
                else:
                    holes += 1
        for side in range(2):
            p = work.held[w, i, side]
            if p >= 0:
                m = measured(frame, cloud.x[p], cloud.y[p], cloud.z[p])
                state = updated(state, m, spread)
        state = scattered(state, work.place[w, i, 7], work.place[w, i, 8])
    return end


@shared
def _go_in(
    cloud: Cloud, surfaces: Surfaces, work: Work, w: int, event: int, last: int, n_dropped: int,
    helix: Helix, searching: bool, pairing: bool,
) -> tuple[State, float, int, float, int]:  # fmt: skip
    """Filter inwards from the station ``last``, add missed points, find the worst point.

    Returns:
        the state at the z axis; chi^2; the point that agrees least, as twice its station plus its
        side, and its chi^2; the number of layers without a point.
    """
    state = unknown(100.0)
    s, chi2, worst, worst_chi2, holes = work.path[w, last], 0.0, -1, 0.0, 0
    for back in range(last + 1):
        i = last - back
        state = moved(state, work.path[w, i] - s, helix.k)
        s = work.path[w, i]
        frame = _frame(work, w, i, helix)
        spread = Spread(work.place[w, i, 5], work.place[w, i, 6])
        behind = scattered(state, work.place[w, i, 7], work.place[w, i, 8])
        both = combined(_load(work, w, i), behind)
        is_layer = work.surface[w, i] < surfaces.n_layers
        is_empty = work.held[w, i, 0] < 0 and work.held[w, i, 1] < 0
        if is_layer and is_empty:
            found = Found(-1, 0.0)
            if searching:
                found = _search(
                    cloud, surfaces, work, w, event, i, n_dropped, both, frame, spread, -1
                )
            if found.point >= 0:
                work.held[w, i, 0] = found.point
            else:
                holes += 1
        elif is_layer:
            for side in range(2):
                p = work.held[w, i, side]
                if p >= 0:
                    m = measured(frame, cloud.x[p], cloud.y[p], cloud.z[p])
                    own = chi2_of(surprise(both, m, spread))
                    if own > worst_chi2:
                        worst, worst_chi2 = 2 * i + side, own
        for side in range(2):
            p = work.held[w, i, side]
            if p >= 0:
                m = measured(frame, cloud.x[p], cloud.y[p], cloud.z[p])
                chi2 += chi2_of(surprise(state, m, spread))
                state = updated(state, m, spread)
                if pairing and searching and (work.held[w, i, 1 - side] < 0) and is_layer:
                    both = updated(both, m, spread)
                    found = _search(
                        cloud, surfaces, work, w, event, i, n_dropped, both, frame, spread, p
                    )
                    if found.point >= 0:
                        work.held[w, i, 1 - side] = found.point
                        if side == 1:
                            q = found.point
                            m = measured(frame, cloud.x[q], cloud.y[q], cloud.z[q])
                            chi2 += chi2_of(surprise(state, m, spread))
                            state = updated(state, m, spread)
        state = scattered(state, work.place[w, i, 7], work.place[w, i, 8])
    return moved(state, -s, helix.k), chi2, worst, worst_chi2, holes


@shared
def _search(
    cloud: Cloud, surfaces: Surfaces, work: Work, w: int, event: int, i: int, n_dropped: int,
    state: State, frame: Frame, spread: Spread, other: int,
) -> Found:  # fmt: skip
    """Find the point of a station that fits best.

    Args:
        state: where the track is.
        other: a point of the track on this layer; -1: there is none.
    """
    surface = work.surface[w, i]
    if state.uu > WIDEST * WIDEST or spread.left <= 0:
        return Found(-1, 0.0)
    x, y = frame.x - state.u * frame.sin, frame.y + state.u * frame.cos
    r = math.sqrt(x * x + y * y)
    forth = max((frame.x * frame.cos + frame.y * frame.sin) / r, 0.1)
    slope = math.sqrt(max(1 - forth * forth, 0.0)) / forth
    reach = math.sqrt(ADD * (state.uu + spread.left))
    height = math.sqrt(ADD * (state.vv + spread.up))
    if surfaces.disk[surface]:
        reach += (height + DEPTH) / max(abs(frame.t), 0.1) * slope
    else:
        reach += DEPTH * slope
        height += DEPTH * abs(frame.t) / forth
    window = reach / max(r * forth, 1.0)
    middle = math.atan2(y, x)
    first = cloud.start[event * surfaces.n_layers + surface]
    last = cloud.start[event * surfaces.n_layers + surface + 1]
    best, least = -1, ADD
    place = _lower(cloud, first, last, middle - window)
    turns = 0.0
    if middle - window < -math.pi:
        place = _lower(cloud, first, last, middle - window + 2 * math.pi)
        turns = -2 * math.pi
    for _ in range(last - first):
        if place >= last:
            if turns >= 0 and middle + window <= math.pi:
                break
            place = first
            turns += 2 * math.pi
        if cloud.phi[place] + turns > middle + window:
            break
        p = cloud.order[place]
        place += 1
        if not surfaces.disk[surface] and abs(cloud.z[p] - frame.z - state.v) > height:
            continue
        m = measured(frame, cloud.x[p], cloud.y[p], cloud.z[p])
        chi2 = chi2_of(surprise(state, m, spread))
        if chi2 < least:
            good = p != other
            for j in range(n_dropped):
                good = good and work.dropped[w, j] != p
            if good and other >= 0:
                near = measured(frame, cloud.x[other], cloud.y[other], cloud.z[other])
                apart = (near.along - m.along) * math.sqrt(1 + frame.t * frame.t)
                good = abs(apart) > _APART
            if good:
                best, least = p, chi2
    return Found(best, least)


@shared
def _lower(cloud: Cloud, first: int, last: int, phi: float) -> int:
    """Return the first place in ``order``, from ``first`` to ``last``, of an azimuth >= ``phi``."""
    while first < last:
        middle = (first + last) // 2
        if cloud.phi[middle] < phi:
            first = middle + 1
        else:
            last = middle
    return first


@shared
def _count(work: Work, w: int, n_stations: int) -> int:
    """Return the number of points on stations."""
    n = 0
    for i in range(n_stations):
        for side in range(2):
            if work.held[w, i, side] >= 0:
                n += 1
    return n


@shared
def _gather(work: Work, w: int, n_stations: int) -> int:
    """List the points on stations in ``work.point``; return their number."""
    n = 0
    for i in range(n_stations):
        for side in range(2):
            if work.held[w, i, side] >= 0:
                work.point[w, n] = work.held[w, i, side]
                n += 1
    return n


@shared
def _store(work: Work, w: int, i: int, state: State) -> None:
    ahead = work.ahead
    ahead[w, i, 0], ahead[w, i, 1], ahead[w, i, 2] = state.u, state.a, state.c
    ahead[w, i, 3], ahead[w, i, 4], ahead[w, i, 5] = state.uu, state.ua, state.uc
    ahead[w, i, 6], ahead[w, i, 7], ahead[w, i, 8] = state.aa, state.ac, state.cc
    ahead[w, i, 9], ahead[w, i, 10] = state.v, state.b
    ahead[w, i, 11], ahead[w, i, 12], ahead[w, i, 13] = state.vv, state.vb, state.bb


@shared
def _load(work: Work, w: int, i: int) -> State:
    ahead = work.ahead
    return State(
        ahead[w, i, 0],
        ahead[w, i, 1],
        ahead[w, i, 2],
        ahead[w, i, 3],
        ahead[w, i, 4],
        ahead[w, i, 5],
        ahead[w, i, 6],
        ahead[w, i, 7],
        ahead[w, i, 8],
        ahead[w, i, 9],
        ahead[w, i, 10],
        ahead[w, i, 11],
        ahead[w, i, 12],
        ahead[w, i, 13],
    )
