"""A helix, and what is known of a particle's deviation from it.

A particle of charge q moves on a circle of radius R in the transverse plane, clockwise seen from
+z if its curvature k = q / R is positive. After the transverse path s its direction has the azimuth
phi - k s, and its z has grown by t s, where t = cot(theta). At s = 0 it is nearest to the z axis.

A deviation from a helix is small: u to the left, with the angle a to the left, and the curvature c
more than the helix has; v along z, and b more of cot(theta). Both parts are independent: linear
Kalman filters of three and of two parameters. Lengths are in mm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from trackserve.device.compile import shared, shared_step


class Helix(NamedTuple):
    """A helix.

    Attributes:
        d0: distance from the z axis; positive if the axis is to the right.
        phi: azimuth of the direction where the helix is nearest to the axis, rad.
        k: curvature, 1/mm.
        z0: place along the z axis where it is nearest.
        t: cot(theta).
    """

    d0: float
    phi: float
    k: float
    z0: float
    t: float


class Frame(NamedTuple):
    """A place on a helix, and the direction there.

    Attributes:
        x, y, z: the place.
        cos, sin: of the azimuth of the direction.
        k, t: of the helix.
    """

    x: float
    y: float
    z: float
    cos: float
    sin: float
    k: float
    t: float


class State(NamedTuple):
    """A deviation from a helix somewhere along it, and its covariance.

    Attributes:
        u, a, c: deviation across.
        uu, ua, uc, aa, ac, cc: covariance of these.
        v, b: deviation along z.
        vv, vb, bb: covariance of these.
    """

    u: float
    a: float
    c: float
    uu: float
    ua: float
    uc: float
    aa: float
    ac: float
    cc: float
    v: float
    b: float
    vv: float
    vb: float
    bb: float


class Measured(NamedTuple):
    """A point beside a frame.

    Attributes:
        along: path from the frame to the place nearest to the point.
        left: distance of the point from the circle there, positive to the left.
        up: its z beyond that of the helix there.
    """

    along: float
    left: float
    up: float


class Spread(NamedTuple):
    """Variances of a measured point to the left and along z."""

    left: float
    up: float


class Surprise(NamedTuple):
    """A point against a state: residuals and their variances, to the left and along z."""

    left: float
    left_variance: float
    up: float
    up_variance: float


@shared
def chi2_of(found: Surprise) -> float:
    """Return the chi^2 of a point, of two degrees of freedom."""
    return found.left * found.left / found.left_variance + found.up * found.up / found.up_variance


@shared_step
def frame_at(helix: Helix, s: float) -> Frame:
    """Return the frame after the path ``s``."""
    half = 0.5 * helix.k * s
    chord = s * (1 - half * half / 6) if abs(half) < 1e-3 else 2 / helix.k * math.sin(half)
    middle, last = helix.phi - half, helix.phi - 2 * half
    return Frame(
        chord * math.cos(middle) - helix.d0 * math.sin(helix.phi),
        chord * math.sin(middle) + helix.d0 * math.cos(helix.phi),
        helix.z0 + helix.t * s,
        math.cos(last),
        math.sin(last),
        helix.k,
        helix.t,
    )


@shared
def path_to_radius(helix: Helix, radius: float) -> float:
    """Return the path to the distance ``radius`` from the z axis; negative: it never gets there."""
    squared = (radius * radius - helix.d0 * helix.d0) / (1 - helix.k * helix.d0)
    if not squared > 0:
        return -1.0
    chord = math.sqrt(squared)
    turn = 0.5 * helix.k * chord
    if abs(turn) >= 1:
        return -1.0
    if abs(turn) < 1e-3:
        return chord * (1 + turn * turn / 6)
    return 2 / helix.k * math.asin(turn)


@shared
def radius_at(helix: Helix, s: float) -> float:
    """Return the distance from the z axis after the path ``s``."""
    half = 0.5 * helix.k * s
    chord = s * (1 - half * half / 6) if abs(half) < 1e-3 else 2 / helix.k * math.sin(half)
    return math.sqrt(helix.d0 * helix.d0 + (1 - helix.k * helix.d0) * chord * chord)


@shared
def path_to(helix: Helix, x: float, y: float) -> float:
    """Return the path to the place nearest to (x, y), within half a turn either way."""
    cos, sin = math.cos(helix.phi), math.sin(helix.phi)
    along = x * cos + y * sin
    left = y * cos - x * sin - helix.d0
    if abs(helix.k) < 1e-9:
        return along
    return math.atan2(helix.k * along, 1 + helix.k * left) / helix.k


@shared
def measured(frame: Frame, x: float, y: float, z: float) -> Measured:
    """Return a point, that is not far along the helix, beside a frame."""
    dx, dy = x - frame.x, y - frame.y
    forth = dx * frame.cos + dy * frame.sin
    left = dy * frame.cos - dx * frame.sin
    away = 1 + frame.k * left
    turn = frame.k * forth
    aside = (frame.k * (forth * forth + left * left) + 2 * left) / (
        math.sqrt(turn * turn + away * away) + 1
    )
    ratio = turn / away
    along = forth / away * (1 - ratio * ratio / 3)
    return Measured(along, aside, z - frame.z - frame.t * along)


@shared_step
def through(x1: float, y1: float, x2: float, y2: float, x3: float, y3: float) -> Helix:
    """Return the circle through three points, in their order, as a helix without z."""
    ax, ay, bx, by = x2 - x1, y2 - y1, x3 - x1, y3 - y1
    cross = ax * by - ay * bx
    cx, cy = x3 - x2, y3 - y2
    product = math.sqrt((ax * ax + ay * ay) * (bx * bx + by * by) * (cx * cx + cy * cy))
    k = -2 * cross / max(product, 1e-9)
    # at the first point the direction is that of the chord, turned by half of the angle
    chord = math.sqrt(bx * bx + by * by)
    sine = min(max(0.5 * k * chord, -1.0), 1.0)
    phi = math.atan2(by, bx) + math.asin(sine)
    return nearest(Helix(0.0, phi, k, 0.0, 0.0), x1, y1)


@shared
def nearest(helix: Helix, x: float, y: float) -> Helix:
    """Return a helix that starts at (x, y), from where it is nearest to the z axis.

    Args:
        helix: its ``phi`` and ``z0`` are those at (x, y); its ``d0`` does not count.
        x, y: the start.
    """
    cos, sin = math.cos(helix.phi), math.sin(helix.phi)
    along = -x * cos - y * sin
    left = x * sin - y * cos
    k = helix.k
    turn, away = k * along, 1 + k * left
    aside = (k * (along * along + left * left) + 2 * left) / (
        math.sqrt(turn * turn + away * away) + 1
    )
    s = along if abs(k) < 1e-9 else math.atan2(turn, away) / k
    return Helix(-aside, helix.phi - k * s, k, helix.z0 + helix.t * s, helix.t)


@shared_step
def moved_helix(helix: Helix, state: State) -> Helix:
    """Return the helix that deviates by ``state``, which is at its start."""
    sin, cos = math.sin(helix.phi), math.cos(helix.phi)
    d = helix.d0 + state.u
    start = Helix(
        0.0, helix.phi + state.a, helix.k + state.c, helix.z0 + state.v, helix.t + state.b
    )
    return nearest(start, -d * sin, d * cos)


@shared
def unknown(aside: float) -> State:
    """Return the state of a helix about which nothing is known but an error to the left."""
    return State(
        0.0, 0.0, 0.0, aside * aside, 0.0, 0.0, 1.0, 0.0, 1e-4, 0.0, 0.0, 1e6, 0.0, 1e3
    )  # fmt: skip


@shared_step
def moved(p: State, ds: float, k: float) -> State:
    """Return the state after a further path ``ds``, which is short against a turn."""
    turn = k * ds
    square = turn * turn
    cc = 1 - square * (0.5 - square / 24)
    ss = ds * (1 - square / 6)
    hh = 0.5 * ds * ds * (1 - square / 12)
    dd = -k * k * ss
    uu = cc * p.uu + ss * p.ua - hh * p.uc
    ua = cc * p.ua + ss * p.aa - hh * p.ac
    uc = cc * p.uc + ss * p.ac - hh * p.cc
    au = dd * p.uu + cc * p.ua - ss * p.uc
    aa = dd * p.ua + cc * p.aa - ss * p.ac
    ac = dd * p.uc + cc * p.ac - ss * p.cc
    return State(
        cc * p.u + ss * p.a - hh * p.c,
        dd * p.u + cc * p.a - ss * p.c,
        p.c,
        uu * cc + ua * ss - uc * hh,
        uu * dd + ua * cc - uc * ss,
        uc,
        au * dd + aa * cc - ac * ss,
        ac,
        p.cc,
        p.v + ds * p.b,
        p.b,
        p.vv + ds * (2 * p.vb + ds * p.bb),
        p.vb + ds * p.bb,
        p.bb,
    )


@shared
def scattered(p: State, aa: float, bb: float) -> State:
    """Return the state behind material that adds variances to a and b."""
    return State(
        p.u, p.a, p.c, p.uu, p.ua, p.uc, p.aa + aa, p.ac, p.cc, p.v, p.b, p.vv, p.vb, p.bb + bb
    )  # fmt: skip


@shared
def surprise(p: State, m: Measured, spread: Spread) -> Surprise:
    """Return what a point says against a state."""
    h, g = m.along, -0.5 * m.along * m.along
    variance = p.uu + 2 * (h * p.ua + g * p.uc) + h * h * p.aa + 2 * h * g * p.ac + g * g * p.cc
    return Surprise(
        m.left - (p.u + h * p.a + g * p.c),
        variance + spread.left,
        m.up - (p.v + h * p.b),
        p.vv + h * (2 * p.vb + h * p.bb) + spread.up,
    )


@shared_step
def updated(p: State, m: Measured, spread: Spread) -> State:
    """Return the state that knows a point."""
    found = surprise(p, m, spread)
    h, g = m.along, -0.5 * m.along * m.along
    pu = p.uu + h * p.ua + g * p.uc
    pa = p.ua + h * p.aa + g * p.ac
    pc = p.uc + h * p.ac + g * p.cc
    weight = 1 / found.left_variance
    pull = found.left * weight
    pv = p.vv + h * p.vb
    pb = p.vb + h * p.bb
    other = 1 / found.up_variance
    lift = found.up * other
    return State(
        p.u + pu * pull,
        p.a + pa * pull,
        p.c + pc * pull,
        p.uu - pu * pu * weight,
        p.ua - pu * pa * weight,
        p.uc - pu * pc * weight,
        p.aa - pa * pa * weight,
        p.ac - pa * pc * weight,
        p.cc - pc * pc * weight,
        p.v + pv * lift,
        p.b + pb * lift,
        p.vv - pv * pv * other,
        p.vb - pv * pb * other,
        p.bb - pb * pb * other,
    )


@shared_step
def combined(p: State, q: State) -> State:
    """Return what two independent states at one place say together."""
    suu, sua, suc = p.uu + q.uu, p.ua + q.ua, p.uc + q.uc
    saa, sac, scc = p.aa + q.aa, p.ac + q.ac, p.cc + q.cc
    iuu = saa * scc - sac * sac
    iua = suc * sac - sua * scc
    iuc = sua * sac - suc * saa
    iaa = suu * scc - suc * suc
    iac = suc * sua - suu * sac
    icc = suu * saa - sua * sua
    scale = 1 / (suu * iuu + sua * iua + suc * iuc)
    du, da, dc = q.u - p.u, q.a - p.a, q.c - p.c
    # the rows of p's covariance times the inverse of the sum
    guu = (p.uu * iuu + p.ua * iua + p.uc * iuc) * scale
    gua = (p.uu * iua + p.ua * iaa + p.uc * iac) * scale
    guc = (p.uu * iuc + p.ua * iac + p.uc * icc) * scale
    gau = (p.ua * iuu + p.aa * iua + p.ac * iuc) * scale
    gaa = (p.ua * iua + p.aa * iaa + p.ac * iac) * scale
    gac = (p.ua * iuc + p.aa * iac + p.ac * icc) * scale
    gcu = (p.uc * iuu + p.ac * iua + p.cc * iuc) * scale
    gca = (p.uc * iua + p.ac * iaa + p.cc * iac) * scale
    gcc = (p.uc * iuc + p.ac * iac + p.cc * icc) * scale
    svv, svb, sbb = p.vv + q.vv, p.vb + q.vb, p.bb + q.bb
    inverse = 1 / (svv * sbb - svb * svb)
    gvv = (p.vv * sbb - p.vb * svb) * inverse
    gvb = (p.vb * svv - p.vv * svb) * inverse
    gbv = (p.vb * sbb - p.bb * svb) * inverse
    gbb = (p.bb * svv - p.vb * svb) * inverse
    dv, db = q.v - p.v, q.b - p.b
    return State(
        p.u + guu * du + gua * da + guc * dc,
        p.a + gau * du + gaa * da + gac * dc,
        p.c + gcu * du + gca * da + gcc * dc,
        guu * q.uu + gua * q.ua + guc * q.uc,
        guu * q.ua + gua * q.aa + guc * q.ac,
        guu * q.uc + gua * q.ac + guc * q.cc,
        gau * q.ua + gaa * q.aa + gac * q.ac,
        gau * q.uc + gaa * q.ac + gac * q.cc,
        gcu * q.uc + gca * q.ac + gcc * q.cc,
        p.v + gvv * dv + gvb * db,
        p.b + gbv * dv + gbb * db,
        gvv * q.vv + gvb * q.vb,
        gvv * q.vb + gvb * q.bb,
        gbv * q.vb + gbb * q.bb,
    )
