"""Ntuplets to helices: a circle and a line, with multiple scattering.

The track is a broken line about a circle through three of its hits (V. Blobel, Nucl.
Instr. and Meth. A 566 (2006) 14, and BrokenLine.h of the public reference): residuals
and kinks at the hits, each with its variance, make one sum of squares. Its minimum is
found hit by hit from the outside in, as a filter does (R. Fruehwirth, Nucl. Instr. and
Meth. A 262 (1987) 444), which gives the same parameters, covariance and chi2 without a
matrix. The parameters are then moved to the beam spot (V. Karimaki, Nucl. Instr. and
Meth. A 305 (1991) 187).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import (
    MAX_HITS,
    VAR_COT_THETA,
    VAR_PHI,
    VAR_Q_OVER_PT,
    VAR_TIP,
    VAR_ZIP,
    Hits,
)
from trackserve.edm.columns import Array

from .config import FitConstants
from .doublets import OrderedHits
from .hits import PositionTables
from .ntuplets import Ntuplets

# covariances in :attr:`trackserve.edm.Tracks.covariance`; edm names the variances
_COV_PHI_TIP, _COV_PHI_Q_OVER_PT, _COV_TIP_Q_OVER_PT, _COV_COT_THETA_ZIP = 1, 2, 6, 13


class Fitted(NamedTuple):
    """Ntuplets and their parameters, as in :class:`trackserve.edm.Tracks`.

    Attributes:
        ntuplets: the ``n`` ntuplets.
        state: float32[n, 5]; NaN for what was not fitted, as the next two.
        covariance: float32[n, 15].
        chi2: float32[n].
        ndof: int8[n], 0 for what was not fitted.
    """

    ntuplets: Ntuplets
    state: Array
    covariance: Array
    chi2: Array
    ndof: Array


class Sizes(NamedTuple):
    """Numbers of what the ntuplets of an event may share: its hits, and its cells."""

    n_hits: int
    n_cells: int


class MeasuredHits(NamedTuple):
    """Hits with all that the fit needs of them, and of the modules.

    Attributes:
        ordered: the hits in their order.
        var_x, var_y: columns of :class:`trackserve.edm.Hits`.
        rotation, material: tables of :class:`.PositionTables`.
    """

    ordered: OrderedHits
    var_x: Array
    var_y: Array
    rotation: Array
    material: Array


def measured_hits(ordered: OrderedHits, hits: Hits, tables: PositionTables) -> MeasuredHits:
    """Return the input of the fit; on a GPU ``hits`` are the columns of a batch."""
    return MeasuredHits(ordered, hits.var_x, hits.var_y, tables.rotation, tables.material)


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


class Workspace(NamedTuple):
    """Scratch memory of one fit, float64.

    Attributes:
        point: [5, 3], global positions of the hits, cm.
        error: [5, 6], their covariances (xx, xy, yy, xz, yz, zz), cm^2.
        normal: [5, 3], unit vectors across the modules.
        x0: [5], radiation lengths across the modules.
        arc: [5], length along the circle, cm.
        path: [5], length along the helix, cm.
        height: [5], distance from the line, or from the circle, cm.
        variance: [5], variance of ``height``, cm^2.
        kink: [5], variance of the scattering angle, in a plane that holds the track.
        radial_x, radial_y: [5], unit vectors from the centre of the circle to the hits.
        state: [5], parameters of the track.
        covariance: [15], their covariance.
    """

    point: Array
    error: Array
    normal: Array
    x0: Array
    arc: Array
    path: Array
    height: Array
    variance: Array
    kink: Array
    radial_x: Array
    radial_y: Array
    state: Array
    covariance: Array


@kernel
def make_workspace() -> Workspace:
    """Return scratch memory for :func:`fit_broken_line`."""
    return Workspace(
        point=np.empty((MAX_HITS, 3)),
        error=np.empty((MAX_HITS, 6)),
        normal=np.empty((MAX_HITS, 3)),
        x0=np.empty(MAX_HITS),
        arc=np.empty(MAX_HITS),
        path=np.empty(MAX_HITS),
        height=np.empty(MAX_HITS),
        variance=np.empty(MAX_HITS),
        kink=np.empty(MAX_HITS),
        radial_x=np.empty(MAX_HITS),
        radial_y=np.empty(MAX_HITS),
        state=np.empty(5),
        covariance=np.empty(15),
    )


def fit_broken_lines(ntuplets: Ntuplets, hits: MeasuredHits, constants: FitConstants) -> Fitted:
    """Fit every ntuplet that is not a duplicate."""
    return Fitted(ntuplets, *_fit_broken_lines(ntuplets, hits, constants))


@shared
def highland(x: float, p2: float, constants: FitConstants) -> float:
    """Return the variance of the scattering angle in a plane after ``x`` radiation lengths.

    Args:
        x: path in matter, radiation lengths.
        p2: (momentum x velocity)^2, GeV^2.
        constants: constants of the fit.
    """
    log_term = 1.0 + 0.038 * math.log(x)
    return constants.scattering * x * log_term * log_term / p2


@shared
def circle_through(
    first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]
) -> tuple[float, float, float]:
    """Return the centre (x, y) and the radius of the circle through three points, cm."""
    x0, y0 = first
    ax, ay = middle[0] - x0, middle[1] - y0
    bx, by = last[0] - x0, last[1] - y0
    a2 = ax * ax + ay * ay
    b2 = bx * bx + by * by
    half = 0.5 / (ax * by - ay * bx)
    ux = (by * a2 - ay * b2) * half
    uy = (ax * b2 - bx * a2) * half
    return x0 + ux, y0 + uy, math.sqrt(ux * ux + uy * uy)


@shared
def arc_of_chord(chord: float, radius: float) -> float:
    """Return the length of the arc over a chord, cm."""
    x = 0.5 * chord / radius
    if x > 0.3:
        return 2.0 * radius * math.asin(min(x, 1.0))
    # asin's series, to 1e-8
    y = x * x
    series = 105 / 3456 + y * (945 / 42240 + y * 10395 / 599040)
    return chord * (1.0 + y * (1 / 6 + y * (3 / 40 + y * (15 / 336 + y * series))))


@shared
def load_hit(k: int, h: int, hits: MeasuredHits, work: Workspace) -> None:
    """Load ordered hit ``h`` as the ``k``-th of a track.

    The covariance of its position is rotated from the frame of its module.
    """
    point, error, normal = work.point, work.error, work.normal
    ordered, row, module = hits.ordered, hits.ordered.order[h], hits.ordered.module[h]
    var_x, var_y, axes = hits.var_x[row], hits.var_y[row], hits.rotation[module]
    point[k, 0], point[k, 1], point[k, 2] = ordered.x[h], ordered.y[h], ordered.z[h]
    xx, xy, xz = axes[0, 0], axes[0, 1], axes[0, 2]
    yx, yy, yz = axes[1, 0], axes[1, 1], axes[1, 2]
    error[k, 0] = var_x * xx * xx + var_y * yx * yx
    error[k, 1] = var_x * xx * xy + var_y * yx * yy
    error[k, 2] = var_x * xy * xy + var_y * yy * yy
    error[k, 3] = var_x * xx * xz + var_y * yx * yz
    error[k, 4] = var_x * xy * xz + var_y * yy * yz
    error[k, 5] = var_x * xz * xz + var_y * yz * yz
    normal[k, 0], normal[k, 1], normal[k, 2] = axes[2, 0], axes[2, 1], axes[2, 2]
    work.x0[k] = hits.material[module]


@shared
def trace_circle(n: int, work: Workspace) -> Circle:
    """Return the circle through the first, middle and last of ``n`` hits.

    It fills ``arc``, from the point that is closest to the origin, ``radial_x`` and ``radial_y``.
    """
    point, arc, radial_x, radial_y = work.point, work.arc, work.radial_x, work.radial_y
    middle, end = n // 2, n - 1
    cx, cy, radius = circle_through(
        (point[0, 0], point[0, 1]),
        (point[middle, 0], point[middle, 1]),
        (point[end, 0], point[end, 1]),
    )
    first_x, first_y = point[middle, 0] - point[0, 0], point[middle, 1] - point[0, 1]
    last_x, last_y = point[end, 0] - point[0, 0], point[end, 1] - point[0, 1]
    charge = -1.0 if first_x * last_y - first_y * last_x > 0 else 1.0
    dx, dy = point[0, 0] - cx, point[0, 1] - cy
    before = charge * radius * math.atan2(dy * cx - dx * cy, -dx * cx - dy * cy)
    for i in range(n):
        dx, dy = point[i, 0] - cx, point[i, 1] - cy
        norm = 1.0 / math.sqrt(dx * dx + dy * dy)
        radial_x[i], radial_y[i] = dx * norm, dy * norm
        dx, dy = point[i, 0] - point[0, 0], point[i, 1] - point[0, 1]
        arc[i] = before + arc_of_chord(math.sqrt(dx * dx + dy * dy), radius)
    return Circle(cx, cy, radius, charge)


@shared
def scatter(n: int, circle: Circle, slope: float, constants: FitConstants, work: Workspace) -> None:
    """Fill ``kink`` of all hits but the last: scattering in the module, or along the path."""
    kink, path, charge = work.kink, work.path, circle.charge
    pt = min(constants.max_pt, constants.field * circle.radius)
    p2 = pt * pt * (1.0 + slope * slope)
    if constants.thin_layers:
        p2 *= p2 / (p2 + constants.mass * constants.mass)
        for i in range(n - 1):
            tx, ty = charge * work.radial_y[i], -charge * work.radial_x[i]
            along = work.normal[i, 0] * tx + work.normal[i, 1] * ty + work.normal[i, 2] * slope
            stretch = math.sqrt(1.0 + slope * slope) / max(abs(along), constants.min_cos)
            kink[i] = highland(work.x0[i] * stretch, p2, constants)
    else:
        before = 0.0
        for i in range(n - 1):
            x = abs(path[i + 1] - path[i]) * constants.x0_per_cm
            after = highland(x, p2, constants)
            kink[i] = before + after
            before = after


@shared
def fit_line(n: int, slope: float, work: Workspace) -> float:
    """Fit z against the path, and return chi2.

    It fills cot(theta), zip and their covariance.
    """
    error, path, height, variance = work.error, work.path, work.height, work.variance
    cos = 1.0 / math.sqrt(1.0 + slope * slope)
    sin = slope * cos
    for i in range(n):
        height[i] = -sin * work.arc[i] + cos * work.point[i, 2]
        nx, ny = -sin * work.radial_y[i], sin * work.radial_x[i]
        xx, xy, yy = error[i, 0], error[i, 1], error[i, 2]
        xz, yz, zz = error[i, 3], error[i, 4], error[i, 5]
        across = nx * nx * xx + 2.0 * nx * ny * xy + ny * ny * yy
        variance[i] = across + 2.0 * cos * (nx * xz + ny * yz) + cos * cos * zz

    # height u and gradient g at the last hit but one; then inwards, hit by hit
    step = path[n - 1] - path[n - 2]
    u = height[n - 2]
    g = (height[n - 1] - u) / step
    uu = variance[n - 2]
    ug = -uu / step
    gg = (variance[n - 1] + uu) / (step * step)
    chi2 = 0.0
    for i in range(n - 3, -1, -1):
        gg += work.kink[i + 1]
        step = path[i + 1] - path[i]
        u -= step * g
        uu += step * (step * gg - 2.0 * ug)
        ug -= step * gg
        residual = height[i] - u
        weight = 1.0 / (uu + variance[i])
        chi2 += residual * residual * weight
        u += uu * weight * residual
        g += ug * weight * residual
        gg -= ug * ug * weight
        kept = variance[i] * weight
        ug *= kept
        uu *= kept
    gg += work.kink[0]

    # at the beginning of the path, rotated to arc length and z
    u -= path[0] * g
    uu += path[0] * (path[0] * gg - 2.0 * ug)
    ug -= path[0] * gg
    state, covariance = work.state, work.covariance
    scale = 1.0 / (cos - g * sin)
    state[3] = (sin + g * cos) * scale
    state[4] = u * scale
    a = scale * scale
    b = u * sin * a
    covariance[VAR_COT_THETA] = a * a * gg
    covariance[_COV_COT_THETA_ZIP] = a * (b * gg + scale * ug)
    covariance[VAR_ZIP] = b * b * gg + 2.0 * b * scale * ug + a * uu
    return chi2


@shared
def fit_circle(
    n: int, circle: Circle, slope: float, constants: FitConstants, work: Workspace
) -> float:
    """Fit the distances to the circle and a correction to its curvature, and return chi2.

    It fills phi, tip, q/pT and their covariance.
    """
    cx, cy, radius, charge = circle
    point, error, arc, height = work.point, work.error, work.arc, work.height
    variance, radial_x, radial_y = work.variance, work.radial_x, work.radial_y
    stretch = 1.0 + slope * slope  # of angles, projected to the transverse plane
    for i in range(n):
        x, y = radial_x[i], radial_y[i]
        variance[i] = x * x * error[i, 0] + 2.0 * x * y * error[i, 1] + y * y * error[i, 2]
        height[i] = (point[i, 0] - cx) * x + (point[i, 1] - cy) * y - radius

    # distance u, gradient g and curvature k (u'' = -k) at the last hit but two
    first, second = arc[n - 2] - arc[n - 3], arc[n - 1] - arc[n - 2]
    bend = 0.5 * (first + second)
    k_0, k_2, k_kink = -1.0 / (first * bend), -1.0 / (second * bend), 1.0 / bend
    k_1 = -k_0 - k_2
    half = 0.5 * first
    g_0, g_1 = half * k_0 - 1.0 / first, half * k_1 + 1.0 / first
    g_2, g_kink = half * k_2, half * k_kink
    v_0, v_1, v_2 = variance[n - 3], variance[n - 2], variance[n - 1]
    v_kink = stretch * work.kink[n - 2]
    h_0, h_1, h_2 = height[n - 3], height[n - 2], height[n - 1]
    u = h_0
    g = g_0 * h_0 + g_1 * h_1 + g_2 * h_2
    k = k_0 * h_0 + k_1 * h_1 + k_2 * h_2
    uu, ug, uk = v_0, g_0 * v_0, k_0 * v_0
    gg = g_0 * g_0 * v_0 + g_1 * g_1 * v_1 + g_2 * g_2 * v_2 + g_kink * g_kink * v_kink
    gk = g_0 * k_0 * v_0 + g_1 * k_1 * v_1 + g_2 * k_2 * v_2 + g_kink * k_kink * v_kink
    kk = k_0 * k_0 * v_0 + k_1 * k_1 * v_1 + k_2 * k_2 * v_2 + k_kink * k_kink * v_kink
    chi2 = 0.0
    for i in range(n - 4, -1, -1):
        gg += stretch * work.kink[i + 1]
        step = arc[i + 1] - arc[i]
        half = 0.5 * step * step
        u -= step * g + half * k
        g += step * k
        u_g = ug - step * gg - half * gk
        u_k = uk - step * gk - half * kk
        uu -= step * ug + half * uk + step * u_g + half * u_k
        ug = u_g + step * u_k
        uk = u_k
        gg += step * (2.0 * gk + step * kk)
        gk += step * kk
        residual = height[i] - u
        weight = 1.0 / (uu + variance[i])
        chi2 += residual * residual * weight
        u += uu * weight * residual
        g += ug * weight * residual
        k += uk * weight * residual
        gg -= ug * ug * weight
        gk -= ug * uk * weight
        kk -= uk * uk * weight
        kept = variance[i] * weight
        uu *= kept
        ug *= kept
        uk *= kept
    gg += stretch * work.kink[0]

    # the circle at the first hit, and from there to the origin
    x = point[0, 0] + (u - height[0]) * radial_x[0]
    y = point[0, 1] + (u - height[0]) * radial_y[0]
    dx = charge * radial_y[0] + g * radial_x[0]
    dy = -charge * radial_x[0] + g * radial_y[0]
    curvature = charge * (1.0 / radius + k)
    passage = Passage(x, y, dx, dy, curvature)
    move_circle(passage, (gg, -ug, gk, uu, -uk, kk), 1.0 / constants.field, work)
    return chi2


@shared
def move_circle(
    passage: Passage,
    errors: tuple[float, float, float, float, float, float],
    per_pt: float,
    work: Workspace,
) -> None:
    """Move a circle's parameters from ``passage`` to the origin: fill phi, tip and q/pT.

    Karimaki's equations 26 to 31, from a point on the circle (his d = 0) to the origin.

    Args:
        passage: point at which the errors are known.
        errors: covariance there of direction, distance and curvature, upper triangle.
        per_pt: q/pT per curvature, cm/GeV.
        work: memory; it gets the parameters and their covariance.
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
    lam = 0.5 * a / (u * (1.0 + u) * (1.0 + u))
    mu = 1.0 / (u * (1.0 + u)) + curvature * lam
    state, covariance = work.state, work.covariance
    state[0], state[1], state[2] = math.atan2(b, c), a / (1.0 + u), curvature * per_pt

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
    covariance[VAR_PHI] = pe * p_0 + pd * p_1 + pk * p_2
    covariance[_COV_PHI_TIP] = pe * d_0 + pd * d_1 + pk * d_2
    covariance[_COV_PHI_Q_OVER_PT] = pk * per_pt
    covariance[VAR_TIP] = de * d_0 + dd_ * d_1 + dk_ * d_2
    covariance[_COV_TIP_Q_OVER_PT] = dk_ * per_pt
    covariance[VAR_Q_OVER_PT] = kk * per_pt * per_pt


@shared
def fit_broken_line(n: int, constants: FitConstants, work: Workspace) -> float:
    """Fit one track of ``n`` hits, and return chi2; NaN if that of the line alone is too large.

    Args:
        n: number of hits.
        constants: constants of the fit.
        work: memory with the hits loaded; it gets ``state`` and ``covariance``.
    """
    end = n - 1
    circle = trace_circle(n, work)
    point, arc, path = work.point, work.arc, work.path
    slope = (point[end, 2] - point[0, 2]) / (arc[end] - arc[0])
    norm = 1.0 / math.sqrt(1.0 + slope * slope)
    for i in range(n):
        path[i] = (arc[i] + slope * point[i, 2]) * norm
    scatter(n, circle, slope, constants, work)
    for k in range(15):
        work.covariance[k] = 0.0
    chi2 = fit_line(n, slope, work)
    if chi2 > (constants.triplet_chi2 if n == 3 else constants.long_chi2):
        return math.nan
    return chi2 + fit_circle(n, circle, slope, constants, work)


@shared
def load_hits(n: int, track: Array, hits: MeasuredHits, work: Workspace) -> None:
    """Load the first ``n`` hits of ``track``, an ntuplet's ordered hits."""
    for k in range(n):
        load_hit(k, track[k], hits, work)


@kernel
def _fit_broken_lines(
    ntuplets: Ntuplets, hits: MeasuredHits, constants: FitConstants
) -> tuple[Array, Array, Array, Array]:
    work = make_workspace()
    n = len(ntuplets.n_hits)
    states = np.full((n, 5), np.nan, np.float32)
    covariances = np.full((n, 15), np.nan, np.float32)
    chi2s = np.full(n, np.nan, np.float32)
    ndofs = np.zeros(n, np.int8)
    for t in range(n):
        if ntuplets.duplicate[t]:
            continue
        used = min(int(ntuplets.n_hits[t]), constants.max_hits)
        load_hits(used, ntuplets.hits[t], hits, work)
        chi2 = fit_broken_line(used, constants, work)
        if math.isnan(chi2):
            continue
        chi2s[t] = chi2
        ndofs[t] = 2 * used - 5
        for k in range(5):
            states[t, k] = work.state[k]
        for k in range(15):
            covariances[t, k] = work.covariance[k]
    return states, covariances, chi2s, ndofs
