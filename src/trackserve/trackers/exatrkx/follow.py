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

from trackserve.detectors.scattering import KICK, LOG_TERM
from trackserve.device.compile import shared, shared_step

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
WORTH, HOLE = 12.0, 12.0
"""A track's score: its points and layers without a point, times these, less its chi^2."""
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
_LONGEST = 1.8e3
"""mm, a transverse path that leads out of any detector."""
_PION = 0.1396
"""GeV, the mass of most particles."""
_STIFFEST = 100.0
"""GeV. No track scatters less than one of this momentum."""
_FLATTEST = 0.1
"""Least sine of the angle between a track and a surface."""
_NOWHERE = 100.0
"""mm, the error of a track across it before its first point."""
_MOST_CURVED, _STEEPEST = 0.1, 50.0
"""Largest curvature (1/mm) and cot(theta) of a track."""
_LEAST = 3
"""Least points of a track."""
_MANY, _ARM = 6, 200.0
"""Through so many points that span so many mm of radius, a circle needs no help of the z axis."""
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
    """Memory of tracks that are followed at the same time; the first index is the track's row.

    Attributes:
        point: int32[., MOST_POINTS], points of the track.
        held: int32[., MOST_STATIONS, 2], the points of each station; -1: none.
        surface: int32[., MOST_STATIONS], surface of each station.
        path: float64[., MOST_STATIONS], path to each station.
        place: float64[., MOST_STATIONS, 9], frame without k and t (5), variances of a point (2)
            and of scattering (2).
        ahead: float64[., MOST_STATIONS, 14], the state of the outward filter before each station.
        dropped: int32[., MOST_DROPPED], points that the track has dropped; -1: none.
    """

    point: Any
    held: Any
    surface: Any
    path: Any
    place: Any
    ahead: Any
    dropped: Any


class Scene(NamedTuple):
    """What all tracks are followed with.

    Attributes:
        cloud: the points.
        surfaces: where they are.
        unit: pT of a particle of charge 1 over its circle's radius, GeV/mm.
        work: memory.
    """

    cloud: Cloud
    surfaces: Surfaces
    unit: float
    work: Work


class Seat(NamedTuple):
    """The place of a track in a scene.

    Attributes:
        w: its row of memory.
        event: place of its event in the cloud.
        searching: whether it takes points.
    """

    w: int
    event: int
    searching: bool


class Station(NamedTuple):
    """A place where a helix crosses a surface.

    Attributes:
        surface: number of the surface.
        path: path to it.
        frame: the place.
        spread: variances of a point there.
        aa, bb: variances that scattering adds to both angles.
    """

    surface: int
    path: float
    frame: Frame
    spread: Spread
    aa: float
    bb: float


class Inwards(NamedTuple):
    """What the inward filter found.

    Attributes:
        state: the state at the z axis.
        chi2: chi^2 of the fit.
        worst: the point that agrees least, as twice its station plus its side.
        worst_chi2: its chi^2.
        holes: number of layers without a point.
    """

    state: State
    chi2: float
    worst: int
    worst_chi2: float
    holes: int


class Grown(NamedTuple):
    """A fitted track.

    Attributes:
        n: number of its points; 0: there is no track.
        helix: its helix.
        state: errors of the helix.
        chi2: chi^2 of the fit, of 2 n - 5 degrees of freedom.
        score: how good it is.
        holes: layers on which it has no point, up to its last point.
    """

    n: int
    helix: Helix
    state: State
    chi2: float
    score: float
    holes: int


@shared_step
def grow(scene: Scene, seat: Seat, n: int) -> Grown:
    """Fit the first ``n`` points of a track, from the inside out, and add and drop points.

    Returns:
        the track; its points are the first ones of its row of ``work.point``, in the order of its
        path.
    """
    work, w = scene.work, seat.w
    helix = _first_helix(scene, seat, n)
    found = Inwards(unknown(0.0), 0.0, -1, 0.0, 0)
    n_dropped, is_clean = 0, False
    _forget(work, w)
    for turn in range(MOST_ROUNDS):
        n_stations = _lay(scene, seat, n, helix)
        n_before = _gather(work, w, n_stations)
        last = _go_out(scene, seat, n_stations, helix)
        if last < 0:
            n = 0
            break
        found = _go_in(scene, seat, last, helix, turn > 0)
        helix = moved_helix(helix, found.state)
        if not (abs(helix.k) < _MOST_CURVED and abs(helix.t) < _STEEPEST):  # NaN is neither
            n = 0
            break
        is_bad = found.worst_chi2 > DROP and n_dropped < MOST_DROPPED
        if is_bad:
            i, side = found.worst // 2, found.worst % 2
            work.dropped[w, n_dropped] = work.held[w, i, side]
            work.held[w, i, side] = -1
            n_dropped += 1
        n = _gather(work, w, n_stations)
        if n < _LEAST:
            break
        if turn > 0 and not is_bad and n == n_before:
            if is_clean or n_dropped == 0:
                break
            is_clean = True  # a point that was dropped beside a foreign one may come back
            _forget(work, w)
    if n < _LEAST:
        n = 0
    score = WORTH * n - found.chi2 - HOLE * found.holes
    return Grown(n, helix, found.state, found.chi2, score, found.holes)


@shared
def _forget(work: Work, w: int) -> None:
    """Let all points come back that were dropped."""
    for i in range(MOST_DROPPED):
        work.dropped[w, i] = -1


@shared_step
def _first_helix(scene: Scene, seat: Seat, n: int) -> Helix:
    """Return a helix near the points: through three of them, or through two and the z axis."""
    x, y, z, point, w = scene.cloud.x, scene.cloud.y, scene.cloud.z, scene.work.point, seat.w
    first, middle, last = point[w, 0], point[w, n // 2], point[w, n - 1]
    x1, y1, x3, y3 = x[first], y[first], x[last], y[last]
    arm = math.sqrt(x3 * x3 + y3 * y3) - math.sqrt(x1 * x1 + y1 * y1)
    if n < _MANY or arm < _ARM:
        helix = through(0.0, 0.0, x1, y1, x3, y3)
    else:
        helix = through(x1, y1, x[middle], y[middle], x3, y3)
    s1, s3 = path_to(helix, x1, y1), path_to(helix, x3, y3)
    t = (z[last] - z[first]) / max(s3 - s1, 1e-3)
    return Helix(helix.d0, helix.phi, helix.k, z[first] - t * s1, t)


@shared_step
def _lay(scene: Scene, seat: Seat, n: int, helix: Helix) -> int:
    """Lay stations along a helix: where it crosses surfaces, and where points are.

    Returns:
        their number.
    """
    cloud, surfaces, work, w = scene.cloud, scene.surfaces, scene.work, seat.w
    k, t = helix.k, helix.t
    n_stations = 0
    longest = min(_MOST_TURN / max(abs(k), 1e-9), _LONGEST)
    for i in range(surfaces.n):
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
        if not known:
            s = path_to(helix, cloud.x[p], cloud.y[p])
            if 0 < s < longest:
                n_stations = _insert(work, w, n_stations, int(layer), s)
    momentum = min(scene.unit * math.sqrt(1 + t * t) / max(abs(k), 1e-9), _STIFFEST)
    kick = KICK * math.sqrt(momentum * momentum + _PION * _PION) / (momentum * momentum)
    for i in range(n_stations):
        _place(scene, seat, i, helix, kick)
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
    """Insert a station among ``n`` ones by its path, if there is room; return their number."""
    if n == MOST_STATIONS:
        return n
    i = n
    while i > 0 and work.path[w, i - 1] > s:
        work.path[w, i] = work.path[w, i - 1]
        work.surface[w, i] = work.surface[w, i - 1]
        i -= 1
    work.path[w, i] = s
    work.surface[w, i] = surface
    return n + 1


@shared_step
def _place(scene: Scene, seat: Seat, i: int, helix: Helix, kick: float) -> None:
    """Fill in a station: its frame, the variances of a point, and those of scattering there.

    Args:
        kick: angle by which one radiation length scatters, rad, but for a logarithm.
    """
    surfaces, place, w = scene.surfaces, scene.work.place, seat.w
    frame = frame_at(helix, scene.work.path[w, i])
    surface = scene.work.surface[w, i]
    r = max(math.sqrt(frame.x * frame.x + frame.y * frame.y), 1e-3)
    forth = max((frame.x * frame.cos + frame.y * frame.sin) / r, _FLATTEST)
    aside = 1 - min(forth * forth, 1.0)
    turn = surfaces.sigma_turn[surface] * surfaces.sigma_turn[surface]
    along = surfaces.sigma_along[surface] * surfaces.sigma_along[surface]
    slope = 1 + helix.t * helix.t
    if surfaces.disk[surface]:
        left = turn * forth * forth + along * aside
        up = helix.t * helix.t * (along * forth * forth + turn * aside)
        depth = surfaces.thickness[surface] * math.sqrt(slope) / max(abs(helix.t), _FLATTEST)
    else:
        left = turn
        up = along
        depth = surfaces.thickness[surface] * math.sqrt(slope) / forth
    angle = kick * (1 + LOG_TERM * math.log(depth))
    square = angle * angle * depth
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
def _station(work: Work, w: int, i: int, helix: Helix) -> Station:
    place = work.place
    frame = Frame(
        place[w, i, 0],
        place[w, i, 1],
        place[w, i, 2],
        place[w, i, 3],
        place[w, i, 4],
        helix.k,
        helix.t,
    )
    spread = Spread(place[w, i, 5], place[w, i, 6])
    return Station(
        work.surface[w, i], work.path[w, i], frame, spread, place[w, i, 7], place[w, i, 8]
    )


@shared
def _beside(cloud: Cloud, frame: Frame, p: int) -> Measured:
    return measured(frame, cloud.x[p], cloud.y[p], cloud.z[p])


@shared_step
def _go_out(scene: Scene, seat: Seat, n_stations: int, helix: Helix) -> int:
    """Filter outwards, and look for points behind the last one.

    Returns:
        the last station with a point; -1: there is none.
    """
    cloud, work, w = scene.cloud, scene.work, seat.w
    known = -1
    for i in range(n_stations):
        if work.held[w, i, 0] >= 0 or work.held[w, i, 1] >= 0:
            known = i
    last, holes = known, 0
    state, s = unknown(PRIOR), 0.0
    for i in range(n_stations):
        if i > known and (known < 0 or not seat.searching or holes > MOST_HOLES):
            break
        station = _station(work, w, i, helix)
        state = moved(state, station.path - s, helix.k)
        s = station.path
        _store(work, w, i, state)
        if i > known and station.surface < scene.surfaces.n_layers:
            p = _search(scene, seat, state, station, -1)
            work.held[w, i, 0] = p
            holes = 0 if p >= 0 else holes + 1
            last = i if p >= 0 else last
        for side in range(2):
            p = work.held[w, i, side]
            if p >= 0:
                state = updated(state, _beside(cloud, station.frame, p), station.spread)
        state = scattered(state, station.aa, station.bb)
    return last


@shared_step
def _go_in(scene: Scene, seat: Seat, last: int, helix: Helix, pairing: bool) -> Inwards:
    """Filter inwards from the station ``last``, add missed points, and find the worst point.

    Args:
        pairing: whether a second point is looked for where there is one.
    """
    cloud, work, w = scene.cloud, scene.work, seat.w
    state = unknown(_NOWHERE)
    s, chi2, worst, worst_chi2, holes = work.path[w, last], 0.0, -1, 0.0, 0
    for back in range(last + 1):
        i = last - back
        station = _station(work, w, i, helix)
        state = moved(state, station.path - s, helix.k)
        s = station.path
        if station.surface < scene.surfaces.n_layers:
            both = combined(_load(work, w, i), scattered(state, station.aa, station.bb))
            n_held = 0
            for side in range(2):
                p = work.held[w, i, side]
                if p >= 0:
                    n_held += 1
                    own = chi2_of(surprise(both, _beside(cloud, station.frame, p), station.spread))
                    if own > worst_chi2:
                        worst, worst_chi2 = 2 * i + side, own
            if seat.searching and (n_held == 0 or (n_held == 1 and pairing)):
                empty = 0 if work.held[w, i, 0] < 0 else 1
                other = work.held[w, i, 1 - empty]
                if other >= 0:
                    m = _beside(cloud, station.frame, other)
                    both = updated(both, m, station.spread)
                work.held[w, i, empty] = _search(scene, seat, both, station, other)
            for side in range(2):
                p = work.held[w, i, side]
                if p >= 0:
                    m = _beside(cloud, station.frame, p)
                    chi2 += chi2_of(surprise(state, m, station.spread))
                    state = updated(state, m, station.spread)
            if work.held[w, i, 0] < 0 and work.held[w, i, 1] < 0:
                holes += 1
        state = scattered(state, station.aa, station.bb)
    return Inwards(moved(state, -s, helix.k), chi2, worst, worst_chi2, holes)


@shared_step
def _search(scene: Scene, seat: Seat, state: State, station: Station, other: int) -> int:
    """Return the point of a layer that fits best; -1: there is none.

    Args:
        state: where the track is.
        station: where it crosses the layer.
        other: a point of the track on the layer; -1: there is none.
    """
    cloud, surfaces, work, w = scene.cloud, scene.surfaces, scene.work, seat.w
    surface, frame, spread = station.surface, station.frame, station.spread
    best, least = -1, ADD
    if state.uu > WIDEST * WIDEST:
        return best
    x, y = frame.x - state.u * frame.sin, frame.y + state.u * frame.cos
    r = max(math.sqrt(x * x + y * y), 1e-3)
    forth = max((x * frame.cos + y * frame.sin) / r, _FLATTEST)
    slope = math.sqrt(max(1 - forth * forth, 0.0)) / forth
    reach = math.sqrt(ADD * (state.uu + spread.left))
    height = math.sqrt(ADD * (state.vv + spread.up))
    if surfaces.disk[surface]:
        reach += (height + DEPTH) / max(abs(frame.t), _FLATTEST) * slope
    else:
        reach += DEPTH * slope
        height += DEPTH * abs(frame.t) / forth
    middle, half = math.atan2(y, x), min(reach / (r * forth), math.pi)
    row = seat.event * surfaces.n_layers + surface
    first, last = cloud.start[row], cloud.start[row + 1]
    turn = -2 * math.pi if middle - half < -math.pi else 0.0
    place = _lower(cloud, first, last, middle - half - turn)
    for _ in range(last - first):
        if place == last:  # across the seam
            place = first
            turn += 2 * math.pi
        if cloud.phi[place] + turn > middle + half:
            break
        p = cloud.order[place]
        place += 1
        if not surfaces.disk[surface] and abs(cloud.z[p] - frame.z - state.v) > height:
            continue
        m = _beside(cloud, frame, p)
        chi2 = chi2_of(surprise(state, m, spread))
        if chi2 < least:
            good = p != other
            for j in range(MOST_DROPPED):
                good = good and work.dropped[w, j] != p
            if good and other >= 0:
                step = _beside(cloud, frame, other).along - m.along
                good = abs(step) * math.sqrt(1 + frame.t * frame.t) > _APART
            if good:
                best, least = p, chi2
    return best


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
