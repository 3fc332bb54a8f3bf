"""A circle and a line through the hits of a track, with multiple scattering.

The track is a broken line about a circle through three of its hits (V. Blobel, Nucl.
Instr. and Meth. A 566 (2006) 14, and BrokenLine.h of the public reference): residuals
and kinks at the hits, each with its variance, make one sum of squares. Its minimum is
found hit by hit from the outside in, as a filter does (R. Fruehwirth, Nucl. Instr. and
Meth. A 262 (1987) 444), which gives the same parameters, covariance and chi2 without a
matrix. The parameters are then moved to the beam spot (V. Karimaki, Nucl. Instr. and
Meth. A 305 (1991) 187).

Tracks of as many hits are fitted side by side, one in each lane. On a CPU ``LANES`` of them make
vector instructions, on a GPU a thread has one lane. All lanes do the same operations, so that no
track depends on its neighbours: nothing branches, and arcs and logarithms come from
:mod:`trackserve.device.elementary`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from trackserve.detectors.scattering import LOG_TERM
from trackserve.device.compile import shared, side_by_side, u64
from trackserve.device.elementary import angle_of, logarithm
from trackserve.edm import VAR_COT_THETA, VAR_PHI, VAR_Q_OVER_PT, VAR_TIP, VAR_ZIP
from trackserve.edm.columns import Array

from .config import FitConstants

# covariances in :attr:`trackserve.edm.Tracks.covariance`; edm names the variances
_COV_PHI_TIP, _COV_PHI_Q_OVER_PT, _COV_TIP_Q_OVER_PT, _COV_COT_THETA_ZIP = 1, 2, 6, 13

MIN_HITS = 3
X, Y, Z, VAR_X, VAR_Y, XX, XY, XZ, YX, YY, YZ, X0 = range(12)
"""Rows of :attr:`Workspace.hit` that a hit brings: its place, cm; the variances along the axes of
its module, cm^2; the two axes, (XX, XY, XZ) and (YX, YY, YZ); radiation lengths across it."""
N_LOADED = X0 + 1
_ARC, _PATH, _HEIGHT, _VARIANCE, _KINK, _RADIAL_X, _RADIAL_Y = range(N_LOADED, N_LOADED + 7)
"""Rows that the fit fills: length along the circle from the point that is closest to the origin,
cm, and along the helix, cm; distance from the line, or from the circle, cm, and its variance,
cm^2; variance of the scattering angle, in a plane that holds the track; unit vector from the
centre of the circle to the hit."""
N_OF_HIT = N_LOADED + 7
_CENTRE_X, _CENTRE_Y, _RADIUS, _CHARGE, _COS, _SIN, _STRETCH, _PER_P2 = range(8)
"""Rows of :attr:`Workspace.track`: :class:`Circle`; cosine and sine of the angle from the
transverse plane; variance of an angle there per variance in a plane that holds the track; 1 over
(momentum x velocity)^2, 1/GeV^2."""
_U, _G, _K, _UU, _UG, _UK, _GG, _GK, _KK = range(8, 17)
"""Rows of :class:`Straight` and :class:`Bent`."""
CHI2, STATE, COVARIANCE = 17, 18, 23
"""Rows with the result: chi2, NaN if the track is not fitted; first of the five parameters; first
of their 15 covariances."""
N_OF_TRACK = COVARIANCE + 15


class Circle(NamedTuple):
    """Circle in the transverse plane.

    Attributes:
        x, y: its centre, cm.
        radius: cm.
        charge: +1 if a particle goes along it clockwise, else -1.
    """

    x: float
    y: float
    radius: float
    charge: float


class Passage(NamedTuple):
    """Point on a circle, and how a particle passes it.

    Attributes:
        x, y: the point, cm.
        dx, dy: direction of the particle, of any length.
        curvature: 1/cm, positive if clockwise.
    """

    x: float
    y: float
    dx: float
    dy: float
    curvature: float


class Straight(NamedTuple):
    """Fit of a line up to one of its hits.

    Attributes:
        u, g: distance there, cm, and its gradient.
        uu, ug, gg: their covariance.
        chi2: of the hits so far.
    """

    u: float
    g: float
    uu: float
    ug: float
    gg: float
    chi2: float


class Bent(NamedTuple):
    """Fit of the distances from a circle up to one of its hits.

    Attributes:
        u, g, k: distance there, cm, its gradient, and the correction of the curvature, 1/cm
            (u'' = -k).
        uu, ug, uk, gg, gk, kk: their covariance.
        chi2: of the hits so far, and of the line.
    """

    u: float
    g: float
    k: float
    uu: float
    ug: float
    uk: float
    gg: float
    gk: float
    kk: float
    chi2: float


class Workspace(NamedTuple):
    """Scratch memory of a fit, float64; a column is a lane.

    Attributes:
        hit: [5, N_OF_HIT, lanes], hits of the tracks.
        track: [N_OF_TRACK, lanes], what each track has once.
    """

    hit: Array
    track: Array


@shared
def highland(x: float, per_p2: float, constants: FitConstants) -> float:
    """Return the variance of the scattering angle in a plane after ``x`` radiation lengths.

    Args:
        x: path in matter, radiation lengths.
        per_p2: 1 over (momentum x velocity)^2, 1/GeV^2.
        constants: constants of the fit.
    """
    log_term = 1.0 + LOG_TERM * logarithm(x)
    return constants.scattering * x * log_term * log_term * per_p2


@shared
def circle_through(
    first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]
) -> Circle:
    """Return the circle through three points, cm, on the way from the first to the last."""
    x0, y0 = first
    ax, ay = middle[0] - x0, middle[1] - y0
    bx, by = last[0] - x0, last[1] - y0
    a2 = ax * ax + ay * ay
    b2 = bx * bx + by * by
    cross = ax * by - ay * bx
    half = 0.5 / cross
    ux = (by * a2 - ay * b2) * half
    uy = (ax * b2 - bx * a2) * half
    charge = -1.0 if cross > 0 else 1.0
    return Circle(x0 + ux, y0 + uy, math.sqrt(ux * ux + uy * uy), charge)


@shared
def arc_of_chord(chord2: float, radius: float) -> float:
    """Return the length of the arc over a chord, cm, from the chord's square, cm^2."""
    rest2 = max(4.0 * radius * radius - chord2, 0.0)
    return 2.0 * radius * angle_of(math.sqrt(chord2), math.sqrt(rest2))


@shared
def variance_along(hit: Array, lane: int, x: float, y: float, z: float) -> float:
    """Return the variance of a hit along the unit vector (x, y, z), cm^2.

    Args:
        hit: the rows of a hit in :class:`Workspace`.
        lane: lane of the track.
        x, y, z: the vector.
    """
    along_x = x * hit[XX, lane] + y * hit[XY, lane] + z * hit[XZ, lane]
    along_y = x * hit[YX, lane] + y * hit[YY, lane] + z * hit[YZ, lane]
    return hit[VAR_X, lane] * along_x * along_x + hit[VAR_Y, lane] * along_y * along_y


@side_by_side
def trace_circles(n: int, lanes: int, constants: FitConstants, work: Workspace) -> None:
    """Fill what is known without a fit: circles, arcs, directions, momenta and paths."""
    first, middle, last, track = work.hit[0], work.hit[n // 2], work.hit[n - 1], work.track
    for lane in range(u64(lanes)):
        circle = circle_through(
            (first[X, lane], first[Y, lane]),
            (middle[X, lane], middle[Y, lane]),
            (last[X, lane], last[Y, lane]),
        )
        track[_CENTRE_X, lane], track[_CENTRE_Y, lane] = circle.x, circle.y
        track[_RADIUS, lane], track[_CHARGE, lane] = circle.radius, circle.charge
        dx, dy = first[X, lane] - circle.x, first[Y, lane] - circle.y
        angle = angle_of(dy * circle.x - dx * circle.y, -dx * circle.x - dy * circle.y)
        first[_ARC, lane] = circle.charge * circle.radius * angle
    for i in range(n):
        hit = work.hit[i]
        for lane in range(u64(lanes)):
            dx, dy = hit[X, lane] - track[_CENTRE_X, lane], hit[Y, lane] - track[_CENTRE_Y, lane]
            norm = 1.0 / math.sqrt(dx * dx + dy * dy)
            hit[_RADIAL_X, lane], hit[_RADIAL_Y, lane] = dx * norm, dy * norm
    for i in range(1, n):
        hit = work.hit[i]
        for lane in range(u64(lanes)):
            dx, dy = hit[X, lane] - first[X, lane], hit[Y, lane] - first[Y, lane]
            arc = arc_of_chord(dx * dx + dy * dy, track[_RADIUS, lane])
            hit[_ARC, lane] = first[_ARC, lane] + arc
    for lane in range(u64(lanes)):
        dz, darc = last[Z, lane] - first[Z, lane], last[_ARC, lane] - first[_ARC, lane]
        slope = dz / darc
        stretch = 1.0 + slope * slope
        cos = 1.0 / math.sqrt(stretch)
        track[_COS, lane], track[_SIN, lane], track[_STRETCH, lane] = cos, slope * cos, stretch
        track[_PER_P2, lane] = per_p2(track[_RADIUS, lane], stretch, constants)
    for i in range(n):
        hit = work.hit[i]
        for lane in range(u64(lanes)):
            hit[_PATH, lane] = (
                track[_COS, lane] * hit[_ARC, lane] + track[_SIN, lane] * hit[Z, lane]
            )


@shared
def per_p2(radius: float, stretch: float, constants: FitConstants) -> float:
    """Return 1 over (momentum x velocity)^2 for the scattering formula, 1/GeV^2.

    Args:
        radius: of the circle, cm.
        stretch: (momentum / transverse momentum)^2.
        constants: constants of the fit.
    """
    pt = min(constants.max_pt, constants.field * radius)
    p2 = pt * pt * stretch
    mass2 = constants.mass * constants.mass if constants.thin_layers else 0.0
    return (p2 + mass2) / (p2 * p2)


@side_by_side
def scatter(n: int, lanes: int, constants: FitConstants, work: Workspace) -> None:
    """Fill the kinks of all hits but the last: scattering in the module, or along the path."""
    track = work.track
    for i in range(n - 1):
        hit, outer = work.hit[i], work.hit[i + 1]
        if constants.thin_layers:
            for lane in range(u64(lanes)):
                charge = track[_CHARGE, lane] * track[_COS, lane]
                tx, ty = charge * hit[_RADIAL_Y, lane], -charge * hit[_RADIAL_X, lane]
                across_x = hit[XY, lane] * hit[YZ, lane] - hit[XZ, lane] * hit[YY, lane]
                across_y = hit[XZ, lane] * hit[YX, lane] - hit[XX, lane] * hit[YZ, lane]
                across_z = hit[XX, lane] * hit[YY, lane] - hit[XY, lane] * hit[YX, lane]
                along = abs(across_x * tx + across_y * ty + across_z * track[_SIN, lane])
                x = hit[X0, lane] / max(along, constants.min_cos * track[_COS, lane])
                hit[_KINK, lane] = highland(x, track[_PER_P2, lane], constants)
        else:
            for lane in range(u64(lanes)):
                x = abs(outer[_PATH, lane] - hit[_PATH, lane]) * constants.x0_per_cm
                hit[_KINK, lane] = highland(x, track[_PER_P2, lane], constants)
    if not constants.thin_layers:
        for i in range(n - 2, 0, -1):  # the paths before and behind a hit
            hit, inner = work.hit[i], work.hit[i - 1]
            for lane in range(u64(lanes)):
                hit[_KINK, lane] += inner[_KINK, lane]


@shared
def _straight(track: Array, lane: int) -> Straight:
    """Read the line fit of a lane."""
    return Straight(
        u=track[_U, lane],
        g=track[_G, lane],
        uu=track[_UU, lane],
        ug=track[_UG, lane],
        gg=track[_GG, lane],
        chi2=track[CHI2, lane],
    )


@shared
def _put_straight(fit: Straight, track: Array, lane: int) -> None:
    """Write the line fit of a lane."""
    track[_U, lane], track[_G, lane] = fit.u, fit.g
    track[_UU, lane], track[_UG, lane], track[_GG, lane] = fit.uu, fit.ug, fit.gg
    track[CHI2, lane] = fit.chi2


@shared
def straight_through(u: float, uu: float, last: float, last_var: float, step: float) -> Straight:
    """Return the line through the last hits.

    Args:
        u, uu: distance of the last hit but one, cm, and its variance.
        last, last_var: those of the last hit.
        step: path between both, cm.
    """
    per_step = 1.0 / step
    return Straight(
        u=u,
        g=(last - u) * per_step,
        uu=uu,
        ug=-uu * per_step,
        gg=(last_var + uu) * per_step * per_step,
        chi2=0.0,
    )


@shared
def straight_inwards(fit: Straight, kink: float, step: float) -> Straight:
    """Return a line after a kink of this variance and a step of ``step`` cm inwards."""
    u, g, uu, ug, gg, chi2 = fit
    gg = gg + kink
    return Straight(
        u=u - step * g,
        g=g,
        uu=uu + step * (step * gg - 2.0 * ug),
        ug=ug - step * gg,
        gg=gg,
        chi2=chi2,
    )


@shared
def straight_with(fit: Straight, height: float, variance: float) -> Straight:
    """Return a line with one more hit, of this distance, cm, and its variance."""
    u, g, uu, ug, gg, chi2 = fit
    residual = height - u
    weight = 1.0 / (uu + variance)
    kept = variance * weight
    return Straight(
        u=u + uu * weight * residual,
        g=g + ug * weight * residual,
        uu=uu * kept,
        ug=ug * kept,
        gg=gg - ug * ug * weight,
        chi2=chi2 + residual * residual * weight,
    )


@side_by_side
def fit_lines(n: int, lanes: int, constants: FitConstants, work: Workspace) -> None:
    """Fit z against the path: fill cot(theta), zip, their covariance, and chi2.

    If chi2 is too large, it becomes NaN.
    """
    track = work.track
    for i in range(n):
        hit = work.hit[i]
        for lane in range(u64(lanes)):
            cos, sin = track[_COS, lane], track[_SIN, lane]
            hit[_HEIGHT, lane] = -sin * hit[_ARC, lane] + cos * hit[Z, lane]
            x, y = -sin * hit[_RADIAL_Y, lane], sin * hit[_RADIAL_X, lane]
            hit[_VARIANCE, lane] = variance_along(hit, lane, x, y, cos)

    inner, outer = work.hit[n - 2], work.hit[n - 1]
    for lane in range(u64(lanes)):
        fit = straight_through(
            *(inner[_HEIGHT, lane], inner[_VARIANCE, lane]),
            *(outer[_HEIGHT, lane], outer[_VARIANCE, lane]),
            outer[_PATH, lane] - inner[_PATH, lane],
        )
        _put_straight(fit, track, lane)
    for i in range(n - 3, -1, -1):
        hit, outer = work.hit[i], work.hit[i + 1]
        for lane in range(u64(lanes)):
            step = outer[_PATH, lane] - hit[_PATH, lane]
            fit = straight_inwards(_straight(track, lane), outer[_KINK, lane], step)
            fit = straight_with(fit, hit[_HEIGHT, lane], hit[_VARIANCE, lane])
            _put_straight(fit, track, lane)

    first = work.hit[0]
    most = constants.triplet_chi2 if n == MIN_HITS else constants.long_chi2
    for lane in range(u64(lanes)):
        # at the beginning of the path, rotated to arc length and z
        fit = straight_inwards(_straight(track, lane), first[_KINK, lane], first[_PATH, lane])
        cos, sin = track[_COS, lane], track[_SIN, lane]
        scale = 1.0 / (cos - fit.g * sin)
        track[STATE + 3, lane] = (sin + fit.g * cos) * scale
        track[STATE + 4, lane] = fit.u * scale
        a = scale * scale
        b = fit.u * sin * a
        track[COVARIANCE + VAR_COT_THETA, lane] = a * a * fit.gg
        track[COVARIANCE + _COV_COT_THETA_ZIP, lane] = a * (b * fit.gg + scale * fit.ug)
        track[COVARIANCE + VAR_ZIP, lane] = b * b * fit.gg + 2.0 * b * scale * fit.ug + a * fit.uu
        track[CHI2, lane] = math.nan if fit.chi2 > most else fit.chi2


@shared
def _bent(track: Array, lane: int) -> Bent:
    """Read the circle fit of a lane."""
    return Bent(
        u=track[_U, lane],
        g=track[_G, lane],
        k=track[_K, lane],
        uu=track[_UU, lane],
        ug=track[_UG, lane],
        uk=track[_UK, lane],
        gg=track[_GG, lane],
        gk=track[_GK, lane],
        kk=track[_KK, lane],
        chi2=track[CHI2, lane],
    )


@shared
def _put_bent(fit: Bent, track: Array, lane: int) -> None:
    """Write the circle fit of a lane."""
    track[_U, lane], track[_G, lane], track[_K, lane] = fit.u, fit.g, fit.k
    track[_UU, lane], track[_UG, lane], track[_UK, lane] = fit.uu, fit.ug, fit.uk
    track[_GG, lane], track[_GK, lane], track[_KK, lane] = fit.gg, fit.gk, fit.kk
    track[CHI2, lane] = fit.chi2


@shared
def bent_through(
    heights: tuple[float, float, float],
    variances: tuple[float, float, float],
    steps: tuple[float, float],
    kink: float,
    chi2: float,
) -> Bent:
    """Return the curve through the last three hits, at the first of them.

    Args:
        heights, variances: distances of the hits, cm, and their variances.
        steps: arcs between them, cm.
        kink: variance of the scattering angle at the middle one.
        chi2: of the line.
    """
    first, second = steps
    v_0, v_1, v_2 = variances
    h_0, h_1, h_2 = heights
    per_first = 1.0 / first
    k_kink = 2.0 / (first + second)
    k_0, k_2 = -per_first * k_kink, -k_kink / second
    k_1 = -k_0 - k_2
    half = 0.5 * first
    g_0, g_1 = half * k_0 - per_first, half * k_1 + per_first
    g_2, g_kink = half * k_2, half * k_kink
    return Bent(
        u=h_0,
        g=g_0 * h_0 + g_1 * h_1 + g_2 * h_2,
        k=k_0 * h_0 + k_1 * h_1 + k_2 * h_2,
        uu=v_0,
        ug=g_0 * v_0,
        uk=k_0 * v_0,
        gg=g_0 * g_0 * v_0 + g_1 * g_1 * v_1 + g_2 * g_2 * v_2 + g_kink * g_kink * kink,
        gk=g_0 * k_0 * v_0 + g_1 * k_1 * v_1 + g_2 * k_2 * v_2 + g_kink * k_kink * kink,
        kk=k_0 * k_0 * v_0 + k_1 * k_1 * v_1 + k_2 * k_2 * v_2 + k_kink * k_kink * kink,
        chi2=chi2,
    )


@shared
def bent_inwards(fit: Bent, kink: float, step: float) -> Bent:
    """Return a curve after a kink of this variance and a step of ``step`` cm inwards."""
    u, g, k, uu, ug, uk, gg, gk, kk, chi2 = fit
    gg = gg + kink
    half = 0.5 * step * step
    u_g = ug - step * gg - half * gk
    u_k = uk - step * gk - half * kk
    return Bent(
        u=u - (step * g + half * k),
        g=g + step * k,
        k=k,
        uu=uu - (step * ug + half * uk + step * u_g + half * u_k),
        ug=u_g + step * u_k,
        uk=u_k,
        gg=gg + step * (2.0 * gk + step * kk),
        gk=gk + step * kk,
        kk=kk,
        chi2=chi2,
    )


@shared
def bent_with(fit: Bent, height: float, variance: float) -> Bent:
    """Return a curve with one more hit, of this distance, cm, and its variance."""
    u, g, k, uu, ug, uk, gg, gk, kk, chi2 = fit
    residual = height - u
    weight = 1.0 / (uu + variance)
    kept = variance * weight
    return Bent(
        u=u + uu * weight * residual,
        g=g + ug * weight * residual,
        k=k + uk * weight * residual,
        uu=uu * kept,
        ug=ug * kept,
        uk=uk * kept,
        gg=gg - ug * ug * weight,
        gk=gk - ug * uk * weight,
        kk=kk - uk * uk * weight,
        chi2=chi2 + residual * residual * weight,
    )


@side_by_side
def fit_circles(n: int, lanes: int, constants: FitConstants, work: Workspace) -> None:
    """Fit the distances to the circles and a correction to their curvatures.

    It fills phi, tip, q/pT and their covariance, and adds to chi2.
    """
    track = work.track
    for i in range(n):
        hit = work.hit[i]
        for lane in range(u64(lanes)):
            x, y = hit[_RADIAL_X, lane], hit[_RADIAL_Y, lane]
            hit[_VARIANCE, lane] = variance_along(hit, lane, x, y, 0.0)
            dx, dy = hit[X, lane] - track[_CENTRE_X, lane], hit[Y, lane] - track[_CENTRE_Y, lane]
            hit[_HEIGHT, lane] = dx * x + dy * y - track[_RADIUS, lane]

    hit_0, hit_1, hit_2 = work.hit[n - 3], work.hit[n - 2], work.hit[n - 1]
    for lane in range(u64(lanes)):
        stretch = track[_STRETCH, lane]
        fit = bent_through(
            (hit_0[_HEIGHT, lane], hit_1[_HEIGHT, lane], hit_2[_HEIGHT, lane]),
            (hit_0[_VARIANCE, lane], hit_1[_VARIANCE, lane], hit_2[_VARIANCE, lane]),
            (hit_1[_ARC, lane] - hit_0[_ARC, lane], hit_2[_ARC, lane] - hit_1[_ARC, lane]),
            stretch * hit_1[_KINK, lane],
            track[CHI2, lane],
        )
        _put_bent(fit, track, lane)
    for i in range(n - 4, -1, -1):
        hit, outer = work.hit[i], work.hit[i + 1]
        for lane in range(u64(lanes)):
            stretch = track[_STRETCH, lane]
            step = outer[_ARC, lane] - hit[_ARC, lane]
            fit = bent_inwards(_bent(track, lane), stretch * outer[_KINK, lane], step)
            fit = bent_with(fit, hit[_HEIGHT, lane], hit[_VARIANCE, lane])
            _put_bent(fit, track, lane)

    first = work.hit[0]
    for lane in range(u64(lanes)):
        # the circle at the first hit, and from there to the origin
        stretch = track[_STRETCH, lane]
        charge, fit = track[_CHARGE, lane], _bent(track, lane)
        x, y = first[_RADIAL_X, lane], first[_RADIAL_Y, lane]
        off = fit.u - first[_HEIGHT, lane]
        passage = Passage(
            x=first[X, lane] + off * x,
            y=first[Y, lane] + off * y,
            dx=charge * y + fit.g * x,
            dy=-charge * x + fit.g * y,
            curvature=charge * (1.0 / track[_RADIUS, lane] + fit.k),
        )
        gg = fit.gg + stretch * first[_KINK, lane]
        errors = gg, -fit.ug, fit.gk, fit.uu, -fit.uk, fit.kk
        move_circle(passage, errors, 1.0 / constants.field, track, lane)


@shared
def move_circle(
    passage: Passage,
    errors: tuple[float, float, float, float, float, float],
    per_pt: float,
    track: Array,
    lane: int,
) -> None:
    """Move a circle's parameters from ``passage`` to the origin: fill phi, tip and q/pT.

    Karimaki's equations 26 to 31, from a point on the circle (his d = 0) to the origin.

    Args:
        passage: point at which the errors are known.
        errors: covariance there of direction, distance and curvature, upper triangle.
        per_pt: q/pT per curvature, cm/GeV.
        track: gets the parameters and their covariance.
        lane: lane of the track.
    """
    x, y, dx, dy, curvature = passage
    norm = 1.0 / math.sqrt(dx * dx + dy * dy)
    cos, sin = dx * norm, dy * norm
    along = x * cos + y * sin
    across = x * sin - y * cos
    b = curvature * x + sin
    c = -curvature * y + cos
    square = across * across + along * along
    a = 2.0 * across + curvature * square
    u = math.sqrt(1.0 + curvature * a)
    xi = 1.0 / (b * b + c * c)
    v = 1.0 + curvature * across
    per_u = 1.0 / (u * (1.0 + u))
    distance = a * u * per_u
    lam = 0.5 * distance * per_u
    mu = per_u + curvature * lam
    track[STATE, lane], track[STATE + 1, lane] = angle_of(b, c), distance
    track[STATE + 2, lane] = curvature * per_pt

    # derivatives of phi and d by phi, d and curvature
    p_0, p_1, p_2 = xi * v, -xi * curvature * curvature * along, xi * along
    d_0, d_1, d_2 = 2.0 * mu * along, 2.0 * mu * v, mu * square - lam * a
    ee, ed, ek, dd, dk, kk = errors
    pe = p_0 * ee + p_1 * ed + p_2 * ek
    pd = p_0 * ed + p_1 * dd + p_2 * dk
    pk = p_0 * ek + p_1 * dk + p_2 * kk
    de = d_0 * ee + d_1 * ed + d_2 * ek
    dd_ = d_0 * ed + d_1 * dd + d_2 * dk
    dk_ = d_0 * ek + d_1 * dk + d_2 * kk
    track[COVARIANCE + VAR_PHI, lane] = pe * p_0 + pd * p_1 + pk * p_2
    track[COVARIANCE + _COV_PHI_TIP, lane] = pe * d_0 + pd * d_1 + pk * d_2
    track[COVARIANCE + _COV_PHI_Q_OVER_PT, lane] = pk * per_pt
    track[COVARIANCE + VAR_TIP, lane] = de * d_0 + dd_ * d_1 + dk_ * d_2
    track[COVARIANCE + _COV_TIP_Q_OVER_PT, lane] = dk_ * per_pt
    track[COVARIANCE + VAR_Q_OVER_PT, lane] = kk * per_pt * per_pt


@side_by_side
def fit_broken_lines_side_by_side(
    n: int, lanes: int, constants: FitConstants, work: Workspace
) -> None:
    """Fit tracks of ``n`` hits, one in each lane.

    Args:
        n: number of hits.
        lanes: number of lanes; a constant of the caller, so that loops over them have its length.
        constants: constants of the fit.
        work: memory with the hits loaded; it gets the result, with chi2 of NaN if that of the line
            alone is too large.
    """
    for k in range(15):
        for lane in range(u64(lanes)):
            work.track[COVARIANCE + k, lane] = 0.0
    trace_circles(n, lanes, constants, work)
    scatter(n, lanes, constants, work)
    fit_lines(n, lanes, constants, work)
    alive = False
    for lane in range(u64(lanes)):
        alive |= not math.isnan(work.track[CHI2, lane])
    if alive:
        fit_circles(n, lanes, constants, work)
