"""Clusters to hits: the fast position estimate (pixelCPEforGPU.h, gpuPixelRecHits.h)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_ENDCAP,
    ROWS,
)
from trackserve.detectors.phase1.pixels import (
    col_in_pitches,
    is_wide_col,
    is_wide_row,
    row_in_pitches,
)
from trackserve.device.compile import (
    f32,
    i32,
    kernel,
    shared,
    u64,
)
from trackserve.edm import Clusters, Hits
from trackserve.edm.columns import Array

from .config import PositionErrors

_HALF = f32(0.5)
_HALF_ROWS = f32((ROWS + 2) / 2)
_HALF_COLS = f32((COLS + 16) / 2)
"""Half the module in units of pitch: pixels at the ROCs' edges are twice as long."""
_MAX_SIZE = 1023


class PositionTables(NamedTuple):
    """Parameters of the position estimate, an entry per module, cm.

    ``rotation`` is float32[modules, 3, 3], its rows the local axes in global
    coordinates; ``material`` is in radiation lengths; the other names are those of
    :data:`trackserve.detectors.phase1.conditions.CPE`.
    """

    thickness: Array
    shift_x: Array
    shift_y: Array
    charge_width_x: Array
    charge_width_y: Array
    origin: Array
    sigma_x: Array
    sigma_y: Array
    position: Array
    rotation: Array
    material: Array
    pitch_x: float
    pitch_y: float


class Sensor(NamedTuple):
    """The entries for one cluster, but for the module's place: formulas that take arrays
    would count references to them."""

    thickness: float
    shift_x: float
    shift_y: float
    charge_width_x: float
    charge_width_y: float
    origin: tuple[float, float, float]
    sigma_x: float
    """Of a cluster of :func:`kind_of_rows`; likewise along y."""
    sigma_y: float
    pitch_x: float
    pitch_y: float


def make_position_tables(conditions: PixelConditions) -> PositionTables:
    """Derive :class:`PositionTables` from the payload of the position estimate."""
    cpe = conditions.cpe
    module = cpe["module"]
    thickness = np.where(module["is_barrel"], cpe["thickness_barrel"], cpe["thickness_endcap"])
    names = PositionTables._fields[1:-3]
    return PositionTables(
        thickness=thickness.astype(np.float32),
        **{name: np.ascontiguousarray(module[name]) for name in names},
        material=conditions.material.astype(np.float32),
        pitch_x=f32(cpe["pitch_x"]),
        pitch_y=f32(cpe["pitch_y"]),
    )


def make_hits(
    clusters: Clusters, tables: PositionTables, errors: PositionErrors, beam_spot: Array
) -> Hits:
    """Positions of ``clusters``; global ones relative to ``beam_spot`` (float32[3], cm)."""
    c = clusters
    columns = _make_hits(
        *(c.module, c.min_row, c.max_row, c.min_col, c.max_col),
        *(c.charge_min_row, c.charge_max_row, c.charge_min_col, c.charge_max_col),
        *(tables, errors, beam_spot),
    )
    x_local, y_local, var_x, var_y, x, y, z, r, phi, size_x, size_y = columns
    return Hits(
        *(c.module, x_local, y_local, var_x, var_y, x, y, z, r, phi, c.charge, size_x, size_y)
    )


@shared
def shared_width(length: int, inner: int, width: float, pitch: float, wide_ends: int) -> float:
    """Over how much of a cluster's end pixels the charge is spread, cm.

    Args:
        length: pixels.
        inner: pitches between the end pixels.
        width: expected extent of the charge, cm.
        wide_ends: how many of the end pixels are twice as long.
    """
    spread = width - pitch * f32(inner)
    if length > 2 or spread < 0 or spread > pitch:
        spread = pitch * _HALF * f32(2 + wide_ends)
    return spread


@shared
def edge_correction(length: int, first_charge: int, last_charge: int, spread: float) -> float:
    """How far charge sharing moves a cluster's position off the middle, cm.

    Args:
        length: pixels.
        first_charge, last_charge: charge in the end pixels, electrons.
        spread: see :func:`shared_width`.
    """
    if length == 1:
        return f32(0)
    total = last_charge + first_charge
    if total == 0:
        total = 1
    balance = f32(last_charge - first_charge) / f32(total)
    return _HALF * balance * spread


@shared
def shape_variance(
    length: int,
    inner: int,
    width: float,
    spread: float,
    pitch: float,
    wide: bool,
    share: float,
    errors: PositionErrors,
) -> float:
    """Variance of a position from the cluster's shape, cm^2.

    A lone pixel says that the charge's extent lies within it. In a longer cluster the share
    of charge in the end pixels fluctuates, and more so along a longer one; if it is longer
    than the particle makes it, something else is part of it.

    Args:
        length, inner, width, spread: as in :func:`shared_width`.
        wide: whether the first pixel is twice as long.
        share: error per ``spread``.
    """
    if length == 1:
        size = pitch + (pitch if wide else f32(0))
        free = max(size - width, errors.lone_share * size)
        return free * free / f32(12)
    noise = share * spread
    variance = errors.floor * errors.floor + noise * noise
    if length > 2:
        straggling = errors.straggling * pitch
        excess = pitch * (f32(inner) + errors.excess_margin) - width
        alien = errors.excess * max(excess, f32(0))
        variance += straggling * straggling * f32(length - 2) + alien * alien
    return variance


@shared
def cluster_size(length: int, first_charge: int, last_charge: int) -> int:
    """Length in eighths of a pixel, shortened by the imbalance of the end charges.

    Args:
        length: pixels, wide ends counted twice.
    """
    total = max(1, first_charge + last_charge)
    imbalance = 8 * abs(first_charge - last_charge) // total
    return min(8 * length - imbalance, _MAX_SIZE)


@shared
def phi_in_units(y: float, x: float) -> int:
    """Azimuth as int16 in units of pi/32768, within 1 unit of the exact value.

    An odd polynomial for the angle from the diagonal, in (|x|-|y|)/(|x|+|y|); its
    coefficients are a Chebyshev fit of our own.
    """
    ax, ay = abs(x), abs(y)
    t = (ax - ay) / max(ax + ay, f32(1e-30))
    u = t * t
    angle = t * (_PHI_1 + u * (_PHI_3 + u * (_PHI_5 + u * (_PHI_7 + u * _PHI_9))))
    phi = f32(8192) - angle
    if x < 0:
        phi = f32(32768) - phi
    if y < 0:
        phi = -phi
    rounded = phi + _HALF
    units = i32(rounded)
    if units > rounded:  # towards minus infinity
        units -= 1
    return units - 65536 if units > 32767 else units


def _phi_coefficients() -> Array:
    """Coefficients of atan(t) * 32768/pi for |t| <= 1: odd powers 1 to 9, float32."""
    nodes = np.cos((np.arange(400) + 0.5) * np.pi / 800)
    powers = nodes[:, None] ** np.arange(1, 10, 2)
    units = np.arctan(nodes) * 32768 / np.pi
    coefficients: Array = np.linalg.lstsq(powers, units, rcond=None)[0]
    return coefficients.astype(np.float32)


_PHI_1, _PHI_3, _PHI_5, _PHI_7, _PHI_9 = _phi_coefficients()


@shared
def kind_of_rows(first: int, last: int) -> int:
    """Column of the table of errors: several rows, one, one that is wide."""
    return 0 if first < last else 1 + int(is_wide_row(first))


@shared
def kind_of_cols(first: int, last: int) -> int:
    """Column of the table of errors: several columns, one, one that is wide."""
    return 0 if first < last else 1 + int(is_wide_col(first))


@shared
def local_position(
    module: int,
    edges: tuple[int, int, int, int],
    charges: tuple[int, int, int, int],
    sensor: Sensor,
    errors: PositionErrors,
) -> tuple[float, float, float, float, int, int]:
    """Local x and y of a cluster (cm), their variances, and its sizes (1/8 pixel).

    Args:
        edges: first and last row, first and last column.
        charges: in each of them, electrons.
    """
    row_0, row_1, col_0, col_1 = edges
    q_row_0, q_row_1, q_col_0, q_col_1 = charges
    inner_row_0, inner_row_1 = row_in_pitches(row_0 + 1), row_in_pitches(row_1)
    inner_col_0, inner_col_1 = col_in_pitches(col_0 + 1), col_in_pitches(col_1)
    wide_rows = int(is_wide_row(row_0)) + int(is_wide_row(row_1))
    wide_cols = int(is_wide_col(col_0)) + int(is_wide_col(col_1))
    edge_row = row_0 == 0 or row_1 == ROWS - 1
    edge_col = col_0 == 0 or col_1 == COLS - 1
    size_x = cluster_size(inner_row_1 + 2 - inner_row_0 + wide_rows, q_row_0, q_row_1)
    size_y = cluster_size(inner_col_1 + 2 - inner_col_0 + wide_cols, q_col_0, q_col_1)

    middle_x = _HALF * f32(inner_row_0 + inner_row_1) - _HALF_ROWS
    middle_y = _HALF * f32(inner_col_0 + inner_col_1) - _HALF_COLS
    x = sensor.shift_x + sensor.pitch_x * middle_x
    y = sensor.shift_y + sensor.pitch_y * middle_y
    thickness = sensor.thickness
    toward_origin = f32(-1) / sensor.origin[2]
    cot_alpha = (x - sensor.origin[0]) * toward_origin
    cot_beta = (y - sensor.origin[1]) * toward_origin
    width_x = abs(thickness * cot_alpha - sensor.charge_width_x)
    width_y = abs(thickness * cot_beta - sensor.charge_width_y)
    n_rows, n_cols = row_1 - row_0 + 1, col_1 - col_0 + 1
    inner_x, inner_y = inner_row_1 - inner_row_0, inner_col_1 - inner_col_0
    spread_x = shared_width(n_rows, inner_x, width_x, sensor.pitch_x, wide_rows)
    spread_y = shared_width(n_cols, inner_y, width_y, sensor.pitch_y, wide_cols)
    x += edge_correction(n_rows, q_row_0, q_row_1, spread_x)
    y += edge_correction(n_cols, q_col_0, q_col_1, spread_y)

    sigma_x = errors.edge_x if edge_row else sensor.sigma_x
    sigma_y = errors.edge_y if edge_col else sensor.sigma_y
    var_x, var_y = sigma_x * sigma_x, sigma_y * sigma_y
    if errors.from_shape:
        if not edge_row:
            share_x = errors.share_two if n_rows == 2 else errors.share
            var_x = shape_variance(
                *(n_rows, inner_x, width_x, spread_x),
                *(sensor.pitch_x, is_wide_row(row_0), share_x, errors),
            )
        share_y = errors.share_two if n_cols == 2 else errors.share
        if module < FIRST_ENDCAP:  # unknown: it depends on where along the beam a track starts
            inner_y, share_y = 0, errors.share
            width_y = errors.barrel_width * sensor.pitch_y
            spread_y = sensor.pitch_y * _HALF * f32(2 + wide_cols)
        if not edge_col:
            var_y = shape_variance(
                *(n_cols, inner_y, width_y, spread_y),
                *(sensor.pitch_y, is_wide_col(col_0), share_y, errors),
            )
    size_x = -size_x if edge_row else size_x
    size_y = -size_y if edge_col else size_y
    return x, y, var_x, var_y, size_x, size_y


@shared
def global_position(
    x: float, y: float, x_axis: float, y_axis: float, centre: float, beam_spot: float
) -> float:
    """One coordinate of a local position, relative to the beam spot, cm; likewise the rest."""
    return x_axis * x + y_axis * y + centre - beam_spot


@kernel
def _make_hits(
    module: Array,
    min_row: Array,
    max_row: Array,
    min_col: Array,
    max_col: Array,
    q_row_0: Array,
    q_row_1: Array,
    q_col_0: Array,
    q_col_1: Array,
    tables: PositionTables,
    errors: PositionErrors,
    beam_spot: Array,
) -> tuple[Array, ...]:
    n = len(module)
    local = np.empty((2, n), np.float32)
    variance = np.empty((2, n), np.float32)
    x, y, z, r = np.empty((4, n), np.float32)
    phi = np.empty(n, np.int16)
    size = np.empty((2, n), np.int16)
    for i in range(n):
        m = module[i]
        edges = int(min_row[i]), int(max_row[i]), int(min_col[i]), int(max_col[i])
        sensor = Sensor(
            *(tables.thickness[m], tables.shift_x[m], tables.shift_y[m]),
            *(tables.charge_width_x[m], tables.charge_width_y[m]),
            (tables.origin[m, 0], tables.origin[m, 1], tables.origin[m, 2]),
            tables.sigma_x[m, kind_of_rows(edges[0], edges[1])],
            tables.sigma_y[m, kind_of_cols(edges[2], edges[3])],
            *(tables.pitch_x, tables.pitch_y),
        )
        charges = q_row_0[i], q_row_1[i], q_col_0[i], q_col_1[i]
        xl, yl, var_x, var_y, size_x, size_y = local_position(m, edges, charges, sensor, errors)
        local[0, i], local[1, i] = xl, yl
        variance[0, i], variance[1, i] = var_x, var_y
        size[0, i], size[1, i] = size_x, size_y
        axes = tables.rotation[m]
        centre = tables.position[m]
        x[i] = global_position(xl, yl, axes[0, 0], axes[1, 0], centre[0], beam_spot[0])
        y[i] = global_position(xl, yl, axes[0, 1], axes[1, 1], centre[1], beam_spot[1])
        z[i] = global_position(xl, yl, axes[0, 2], axes[1, 2], centre[2], beam_spot[2])
    for i in range(u64(n)):  # apart, which makes it vector instructions
        r[i] = math.sqrt(x[i] * x[i] + y[i] * y[i])
        phi[i] = phi_in_units(y[i], x[i])
    return local[0], local[1], variance[0], variance[1], x, y, z, r, phi, size[0], size[1]
