"""Ntuplets to helices: the broken-line fit.

Method: V. Blobel, Nucl. Instr. and Meth. A 566 (2006) 14, as in the public
reference (BrokenLine.h): the track is a broken line about a circle through three of
its hits. Residuals and kinks at the inner hits, each with its variance, make one
linear system; the line along the cylinder is fitted likewise. The parameters are
then moved to the beam spot (V. Karimaki, Nucl. Instr. and Meth. A 305 (1991) 187).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..device import kernel, shared
from ..edm import Hits
from ..edm.columns import Array
from .config import FitConstants
from .doublets import OrderedHits
from .hits import PositionTables
from .ntuplets import Ntuplets

_N = 4
"""Hits in a fit at most. Oddity of the reference: of five, the first four are fitted."""


class Fitted(NamedTuple):
    """Parameters of each ntuplet, as in :class:`trackserve.edm.Tracks`.

    Attributes:
        state: float32[n, 5]; NaN for what was not fitted, as the next two.
        covariance: float32[n, 15].
        chi2: float32[n].
        ndof: int8[n], 0 for what was not fitted.
    """

    state: Array
    covariance: Array
    chi2: Array
    ndof: Array


class Workspace(NamedTuple):
    """Scratch memory of one fit, float64: vectors of 5, and matrices as named."""

    point: Array
    """[4, 3], global positions, cm."""
    error: Array
    """[4, 6], their covariances (xx, xy, yy, xz, yz, zz)."""
    arc: Array
    path: Array
    height: Array
    kink_variance: Array
    radial_x: Array
    radial_y: Array
    weight: Array
    u: Array
    col_0: Array
    col_1: Array
    col_n: Array
    matrix: Array
    """[5, 5]"""
    circle: Array
    jacobian: Array
    """[3, 3], as the next two."""
    circle_covariance: Array
    scratch: Array
    state: Array
    """[5], result."""
    covariance: Array
    """[15], result."""


def make_workspace() -> Workspace:
    """Scratch memory for :func:`fit_broken_line`."""
    shapes: dict[str, int | tuple[int, ...]] = dict.fromkeys(Workspace._fields, _N + 1)
    shapes |= {"point": (_N, 3), "error": (_N, 6), "matrix": (_N + 1, _N + 1)}
    shapes |= dict.fromkeys(("jacobian", "circle_covariance", "scratch"), (3, 3))
    shapes |= {"circle": 3, "covariance": 15}
    return Workspace(**{name: np.empty(shape) for name, shape in shapes.items()})


def fit_broken_lines(
    ntuplets: Ntuplets,
    ordered: OrderedHits,
    hits: Hits,
    tables: PositionTables,
    constants: FitConstants,
) -> Fitted:
    """Fit every ntuplet that is not a duplicate."""
    return Fitted(
        *_fit_broken_lines(
            *(ntuplets, ordered, hits.var_x, hits.var_y),
            *(tables.rotation, constants, make_workspace()),
        )
    )


@shared
def scattering_variance(
    length: float, pt: float, slope: float, factor: float, x0_inverse: float
) -> float:
    """Variance of the scattering angle in a plane after ``length`` cm (Highland)."""
    x = abs(length) * x0_inverse
    log_term = 1.0 + 0.038 * math.log(x)
    return factor * x * log_term * log_term / (pt * pt * (1.0 + slope * slope))


@shared
def circle_through(
    x0: float, y0: float, x1: float, y1: float, x2: float, y2: float
) -> tuple[float, float, float]:
    """Centre and radius of the circle through three points, cm."""
    ax, ay = x1 - x0, y1 - y0
    bx, by = x2 - x0, y2 - y0
    a2 = ax * ax + ay * ay
    b2 = bx * bx + by * by
    half = 0.5 / (ax * by - ay * bx)
    ux = (by * a2 - ay * b2) * half
    uy = (ax * b2 - bx * a2) * half
    return x0 + ux, y0 + uy, math.sqrt(ux * ux + uy * uy)


@shared
def normal_matrix(
    n: int, path: Array, weight: Array, kink_variance: Array, curved: int, matrix: Array
) -> None:
    """Lower half of the broken line's normal matrix.

    The sum of squares is weight (z - u)^2 over the hits and kink^2 / variance over the
    inner ones; with ``curved`` the last unknown corrects the curvature.
    """
    for i in range(n + curved):
        for j in range(i + 1):
            matrix[i, j] = 0.0
    for i in range(n):
        matrix[i, i] = weight[i]
    for i in range(1, n - 1):
        before = 1.0 / (path[i] - path[i - 1])
        after = 1.0 / (path[i + 1] - path[i])
        here = -(before + after)
        w = 1.0 / kink_variance[i]
        matrix[i - 1, i - 1] += w * before * before
        matrix[i, i - 1] += w * before * here
        matrix[i, i] += w * here * here
        matrix[i + 1, i - 1] += w * before * after
        matrix[i + 1, i] += w * here * after
        matrix[i + 1, i + 1] += w * after * after
        if curved:
            bend = 0.5 * (path[i + 1] - path[i - 1])
            matrix[n, i - 1] += w * bend * before
            matrix[n, i] += w * bend * here
            matrix[n, i + 1] += w * bend * after
            matrix[n, n] += w * bend * bend


@shared
def kink(i: int, path: Array, u: Array, curvature: float) -> float:
    """Change of direction at inner hit ``i`` of the broken line ``u``."""
    before = 1.0 / (path[i] - path[i - 1])
    after = 1.0 / (path[i + 1] - path[i])
    bend = 0.5 * (path[i + 1] - path[i - 1])
    return u[i - 1] * before - u[i] * (before + after) + u[i + 1] * after + curvature * bend


@shared
def decompose(n: int, matrix: Array) -> None:
    """Cholesky decomposition in place, lower half; the diagonal holds its inverse."""
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        inverse = 1.0 / math.sqrt(pivot)
        matrix[j, j] = inverse
        for i in range(j + 1, n):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = value * inverse


@shared
def solve(n: int, matrix: Array, x: Array) -> None:
    """Replace the right-hand side ``x`` by the solution, after :func:`decompose`."""
    for i in range(n):
        value = x[i]
        for k in range(i):
            value -= matrix[i, k] * x[k]
        x[i] = value * matrix[i, i]
    for i in range(n - 1, -1, -1):
        value = x[i]
        for k in range(i + 1, n):
            value -= matrix[k, i] * x[k]
        x[i] = value * matrix[i, i]


@shared
def inverse_column(n: int, matrix: Array, k: int, x: Array) -> None:
    """Column ``k`` of the inverse into ``x``, after :func:`decompose`."""
    for i in range(n):
        x[i] = 1.0 if i == k else 0.0
    solve(n, matrix, x)


@shared
def transform_covariance(jacobian: Array, covariance: Array, scratch: Array) -> None:
    """J C J^T into ``covariance``; all are [3, 3]."""
    for i in range(3):
        for j in range(3):
            value = 0.0
            for k in range(3):
                value += jacobian[i, k] * covariance[k, j]
            scratch[i, j] = value
    for i in range(3):
        for j in range(3):
            value = 0.0
            for k in range(3):
                value += scratch[i, k] * jacobian[j, k]
            covariance[i, j] = value


@shared
def move_circle(
    x: float, y: float, circle: Array, covariance: Array, jacobian: Array, scratch: Array
) -> None:
    """Circle parameters (phi, d, curvature) seen from where the origin is at (x, y).

    Karimaki's equations 26 to 31; ``circle`` [3] and ``covariance`` [3, 3] in place.
    """
    phi, d, curvature = circle[0], circle[1], circle[2]
    cos, sin = math.cos(phi), math.sin(phi)
    along = x * cos + y * sin
    across = x * sin - y * cos + d
    scale = 1.0 + curvature * d
    b = curvature * x + scale * sin
    c = -curvature * y + scale * cos
    square = across * across + along * along
    a = 2.0 * across + curvature * square
    u = math.sqrt(1.0 + curvature * a)
    xi = 1.0 / (b * b + c * c)
    v = 1.0 + curvature * across
    lam = 0.5 * a / (u * (1.0 + u) * (1.0 + u))
    mu = 1.0 / (u * (1.0 + u)) + curvature * lam
    jacobian[0, 0] = xi * scale * v
    jacobian[0, 1] = -xi * curvature * curvature * along
    jacobian[0, 2] = xi * along
    jacobian[1, 0] = 2.0 * mu * scale * along
    jacobian[1, 1] = 2.0 * mu * v
    jacobian[1, 2] = mu * square - lam * a
    jacobian[2, 0] = 0.0
    jacobian[2, 1] = 0.0
    jacobian[2, 2] = 1.0
    circle[0] = math.atan2(b, c)
    circle[1] = a / (1.0 + u)
    transform_covariance(jacobian, covariance, scratch)


@shared
def load_hit(
    k: int,
    position: tuple[float, float, float],
    var_x: float,
    var_y: float,
    axes: Array,
    point: Array,
    error: Array,
) -> None:
    """Position of hit ``k`` and its covariance, rotated from the module's frame."""
    point[k, 0], point[k, 1], point[k, 2] = position
    xx, xy, xz = axes[0, 0], axes[0, 1], axes[0, 2]
    yx, yy, yz = axes[1, 0], axes[1, 1], axes[1, 2]
    error[k, 0] = var_x * xx * xx + var_y * yx * yx
    error[k, 1] = var_x * xx * xy + var_y * yx * yy
    error[k, 2] = var_x * xy * xy + var_y * yy * yy
    error[k, 3] = var_x * xx * xz + var_y * yx * yz
    error[k, 4] = var_x * xy * xz + var_y * yy * yz
    error[k, 5] = var_x * xz * xz + var_y * yz * yz


@shared
def trace_circle(n: int, work: Workspace) -> tuple[float, float, float, float]:
    """Circle through the first, middle and last hit, and the hits along it.

    Fills ``arc`` (length from the point closest to the origin, cm) and ``radial_x``,
    ``radial_y`` (unit vectors from the centre to the hits).

    Returns:
        centre x and y, radius (cm), and the charge: +1 if clockwise.
    """
    point, arc, radial_x, radial_y = work.point, work.arc, work.radial_x, work.radial_y
    middle, end = n // 2, n - 1
    cx, cy, radius = circle_through(
        *(point[0, 0], point[0, 1], point[middle, 0], point[middle, 1]),
        *(point[end, 0], point[end, 1]),
    )
    first_x, first_y = point[1, 0] - point[0, 0], point[1, 1] - point[0, 1]
    last_x, last_y = point[end, 0] - point[end - 1, 0], point[end, 1] - point[end - 1, 1]
    charge = -1.0 if first_x * last_y - first_y * last_x > 0 else 1.0
    norm = -radius / math.sqrt(cx * cx + cy * cy)
    origin_x, origin_y = norm * cx, norm * cy
    for i in range(n):
        dx, dy = point[i, 0] - cx, point[i, 1] - cy
        cross = dx * origin_y - dy * origin_x
        arc[i] = charge * radius * math.atan2(cross, dx * origin_x + dy * origin_y)
        distance = math.sqrt(dx * dx + dy * dy)
        radial_x[i], radial_y[i] = dx / distance, dy / distance
    return cx, cy, radius, charge


@shared
def residuals_and_kinks(n: int, path: Array, curvature: float, work: Workspace) -> float:
    """chi2 of the broken line ``u`` with a correction to the curvature."""
    chi2 = 0.0
    for i in range(n):
        residual = work.height[i] - work.u[i]
        chi2 += work.weight[i] * residual * residual
    for i in range(1, n - 1):
        angle = kink(i, path, work.u, curvature)
        chi2 += angle * angle / work.kink_variance[i]
    return chi2


@shared
def fit_line(n: int, slope: float, first_scattering: float, work: Workspace) -> float:
    """Fit z against the path, from ``path`` and ``kink_variance``.

    Fills cot(theta) and zip and their covariance.

    Returns:
        chi2.
    """
    error, path, height, weight, u = work.error, work.path, work.height, work.weight, work.u
    cos = 1.0 / math.sqrt(1.0 + slope * slope)
    sin = slope * cos
    for i in range(n):
        height[i] = -sin * work.arc[i] + cos * work.point[i, 2]
        nx, ny = -sin * work.radial_y[i], sin * work.radial_x[i]
        xx, xy, yy = error[i, 0], error[i, 1], error[i, 2]
        xz, yz, zz = error[i, 3], error[i, 4], error[i, 5]
        across = nx * nx * xx + 2.0 * nx * ny * xy + ny * ny * yy
        weight[i] = 1.0 / (across + 2.0 * cos * (nx * xz + ny * yz) + cos * cos * zz)
        u[i] = weight[i] * height[i]
    normal_matrix(n, path, weight, work.kink_variance, 0, work.matrix)
    decompose(n, work.matrix)
    solve(n, work.matrix, u)
    col_0, col_1 = work.col_0, work.col_1
    inverse_column(n, work.matrix, 0, col_0)
    inverse_column(n, work.matrix, 1, col_1)

    # gradient and intercept at the first hit, moved to where the path begins
    step = 1.0 / (path[1] - path[0])
    gradient = (u[1] - u[0]) * step
    intercept = u[0] - gradient * path[0]
    var_gradient = (col_0[0] - 2.0 * col_0[1] + col_1[1]) * step * step + first_scattering
    cov_line = (col_0[1] - col_0[0]) * step
    var_intercept = col_0[0] - path[0] * (2.0 * cov_line - path[0] * var_gradient)
    cov_line -= path[0] * var_gradient

    # rotated from the prefitted line to arc length and z
    state, covariance = work.state, work.covariance
    scale = 1.0 / (cos - gradient * sin)
    state[3] = (sin + gradient * cos) * scale
    state[4] = intercept * scale
    g = scale * scale
    h = intercept * sin * g
    covariance[12] = g * g * var_gradient
    covariance[13] = g * (h * var_gradient + scale * cov_line)
    covariance[14] = h * h * var_gradient + 2.0 * h * scale * cov_line + g * var_intercept
    return residuals_and_kinks(n, path, 0.0, work)


@shared
def fit_circle(
    n: int,
    cx: float,
    cy: float,
    radius: float,
    charge: float,
    scattering: float,
    field: float,
    work: Workspace,
) -> float:
    """Fit the residuals to the circle and a correction to its curvature.

    Fills phi, tip and q/pT and their covariance.

    Args:
        scattering: variance of phi from the material before the second hit.

    Returns:
        chi2.
    """
    point, error, height, weight, u = work.point, work.error, work.height, work.weight, work.u
    radial_x, radial_y = work.radial_x, work.radial_y
    for i in range(n):
        x, y = radial_x[i], radial_y[i]
        weight[i] = 1.0 / (x * x * error[i, 0] + 2.0 * x * y * error[i, 1] + y * y * error[i, 2])
        height[i] = (point[i, 0] - cx) * x + (point[i, 1] - cy) * y - radius
        u[i] = weight[i] * height[i]
    u[n] = 0.0
    normal_matrix(n, work.arc, weight, work.kink_variance, 1, work.matrix)
    decompose(n + 1, work.matrix)
    solve(n + 1, work.matrix, u)
    col_0, col_1, col_n = work.col_0, work.col_1, work.col_n
    inverse_column(n + 1, work.matrix, 0, col_0)
    inverse_column(n + 1, work.matrix, 1, col_1)
    inverse_column(n + 1, work.matrix, n, col_n)

    # parameters from the first two corrected hits, about the point halfway
    x0 = point[0, 0] + (u[0] - height[0]) * radial_x[0]
    y0 = point[0, 1] + (u[0] - height[0]) * radial_y[0]
    vx = point[1, 0] + (u[1] - height[1]) * radial_x[1] - x0
    vy = point[1, 1] + (u[1] - height[1]) * radial_y[1] - y0
    v2 = vx * vx + vy * vy
    circle, jacobian = work.circle, work.jacobian
    cov, scratch = work.circle_covariance, work.scratch
    circle[0] = math.atan2(vy, vx)
    circle[1] = -charge * (radius - math.sqrt(radius * radius - 0.25 * v2))
    circle[2] = charge * (1.0 / radius + u[n])
    root = math.sqrt(4.0 * radius * radius - v2)
    for i in range(2):
        # oddity of the reference: the first hit's derivative of phi and the second
        # hit's of d have the wrong sign, which biases the errors of phi and tip
        jacobian[0, i] = (radial_y[i] * vx - radial_x[i] * vy) / v2
        jacobian[1, i] = 0.5 * charge * (radial_x[i] * vx + radial_y[i] * vy) / root
        jacobian[2, i] = 0.0
    jacobian[0, 2] = 0.0
    jacobian[1, 2] = 0.0
    jacobian[2, 2] = charge
    cov[0, 0], cov[0, 1], cov[0, 2] = col_0[0], col_0[1], col_0[n]
    cov[1, 0], cov[1, 1], cov[1, 2] = col_1[0], col_1[1], col_1[n]
    cov[2, 0], cov[2, 1], cov[2, 2] = col_n[0], col_n[1], col_n[n]
    transform_covariance(jacobian, cov, scratch)
    move_circle(0.5 * vx, 0.5 * vy, circle, cov, jacobian, scratch)
    cov[0, 0] += scattering
    move_circle(x0, y0, circle, cov, jacobian, scratch)

    per_pt = 1.0 / field
    state, covariance = work.state, work.covariance
    state[0], state[1], state[2] = circle[0], circle[1], circle[2] * per_pt
    covariance[0], covariance[1], covariance[2] = cov[0, 0], cov[0, 1], cov[0, 2] * per_pt
    covariance[5], covariance[6] = cov[1, 1], cov[1, 2] * per_pt
    covariance[9] = cov[2, 2] * per_pt * per_pt
    return residuals_and_kinks(n, work.arc, u[n], work)


@shared
def fit_broken_line(hits: tuple[int, ...], constants: FitConstants, work: Workspace) -> float:
    """Fit one track.

    Args:
        hits: tuple of 3 or 4; only its length is used, known when compiling.
        constants: :class:`trackserve.patatrack.config.FitConstants`.
        work: :class:`Workspace` with ``point`` and ``error`` filled; gets ``state``
            and ``covariance``.

    Returns:
        chi2.
    """
    n = len(hits)
    end = n - 1
    cx, cy, radius, charge = trace_circle(n, work)
    point, arc, path, kink_variance = work.point, work.arc, work.path, work.kink_variance
    slope = (point[end, 2] - point[0, 2]) / (arc[end] - arc[0])
    stretch = 1.0 + slope * slope
    pt = min(constants.max_pt, constants.field * radius)
    for i in range(n):
        path[i] = (arc[i] + slope * point[i, 2]) / math.sqrt(stretch)
    for i in range(1, n):
        kink_variance[i] = scattering_variance(
            path[i] - path[i - 1], pt, slope, constants.scattering, constants.x0_inverse
        )
    first_scattering = kink_variance[1]
    for i in range(1, n - 1):
        kink_variance[i] += kink_variance[i + 1]
    for k in range(15):
        work.covariance[k] = 0.0
    chi2 = fit_line(n, slope, first_scattering, work)
    for i in range(1, n - 1):
        kink_variance[i] *= stretch  # projected to the transverse plane
    scattering = stretch * first_scattering
    return chi2 + fit_circle(n, cx, cy, radius, charge, scattering, constants.field, work)


@kernel
def _fit_broken_lines(
    ntuplets: Ntuplets,
    ordered: OrderedHits,
    var_x: Array,
    var_y: Array,
    rotation: Array,
    constants: FitConstants,
    work: Workspace,
) -> tuple[Array, Array, Array, Array]:
    n = len(ntuplets.n_hits)
    states = np.full((n, 5), np.nan, np.float32)
    covariances = np.full((n, 15), np.nan, np.float32)
    chi2s = np.full(n, np.nan, np.float32)
    ndofs = np.zeros(n, np.int8)
    for t in range(n):
        if ntuplets.duplicate[t]:
            continue
        used = min(int(ntuplets.n_hits[t]), _N)
        for k in range(used):
            h = ntuplets.hits[t, k]
            row = ordered.order[h]
            position = ordered.x[h], ordered.y[h], ordered.z[h]
            axes = rotation[ordered.module[h]]
            load_hit(k, position, var_x[row], var_y[row], axes, work.point, work.error)
        if used == 3:
            chi2s[t] = fit_broken_line((0, 1, 2), constants, work)
        else:
            chi2s[t] = fit_broken_line((0, 1, 2, 3), constants, work)
        ndofs[t] = 2 * used - 5
        for k in range(5):
            states[t, k] = work.state[k]
        for k in range(15):
            covariances[t, k] = work.covariance[k]
    return states, covariances, chi2s, ndofs
