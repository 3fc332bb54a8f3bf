"""Clusters to hits: the fast position estimate (pixelCPEforGPU.h, gpuPixelRecHits.h)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
from trackserve.device.held import Held, plain
from trackserve.edm import Hits
from trackserve.edm.columns import Array

from .config import PositionErrors

_HitArrays = Hits.Arrays
_HALF = f32(0.5)
HALF_ROWS = f32((ROWS + 2) / 2)
HALF_COLS = f32((COLS + 16) / 2)
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
    """The entries of :class:`PositionTables` that a cluster needs along its module.

    Attributes:
        thickness: cm.
        shift_x, shift_y: cm.
        charge_width_x, charge_width_y: cm.
        origin: the detector's origin in the module's frame, cm.
        sigma_x, sigma_y: error of a cluster of this kind, cm.
        pitch_x, pitch_y: cm.
    """

    thickness: float
    shift_x: float
    shift_y: float
    charge_width_x: float
    charge_width_y: float
    origin: tuple[float, float, float]
    sigma_x: float
    sigma_y: float
    pitch_x: float
    pitch_y: float


class Box(NamedTuple):
    """The edges of a cluster: first and last row and column, and the charge in each, electrons."""

    min_row: int
    max_row: int
    min_col: int
    max_col: int
    charge_min_row: int
    charge_max_row: int
    charge_min_col: int
    charge_max_col: int


class Projection(NamedTuple):
    """A cluster along one local axis.

    Attributes:
        length: number of pixels.
        inner: number of pitches between the end pixels.
        wide_ends: number of end pixels that are twice as long; both ends of a lone pixel count.
        first_charge, last_charge: charge in the end pixels, electrons.
        pitch: cm.
        width: extent of the charge that a particle from the origin leaves, cm.
    """

    length: int
    inner: int
    wide_ends: int
    first_charge: int
    last_charge: int
    pitch: float
    width: float


class LocalHit(NamedTuple):
    """A position in the frame of its module.

    Attributes:
        x, y: cm.
        var_x, var_y: their variances, cm^2.
        size_x, size_y: length of the cluster, 1/8 pixel; negative at the module's edge.
    """

    x: float
    y: float
    var_x: float
    var_y: float
    size_x: int
    size_y: int


def make_position_tables(conditions: PixelConditions) -> PositionTables:
    """Make :class:`PositionTables` from the payload of the position estimate."""
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


@kernel
def make_hits(
    clusters: Held[Any] | Any,
    tables: Held[PositionTables] | PositionTables,
    errors: Held[PositionErrors] | PositionErrors,
    beam_spot: Array,
) -> Held[Any]:
    """Estimate the positions of clusters.

    Args:
        clusters: columns of :class:`trackserve.edm.Clusters`.
        tables: parameters of the modules.
        errors: how errors are estimated.
        beam_spot: float32[3], cm; global positions are relative to it.

    Returns:
        columns of :class:`trackserve.edm.Hits`.
    """
    clusters = plain(clusters)
    x_local, y_local, var_x, var_y, x, y, z, r, phi, size_x, size_y = _make_hits(
        clusters, plain(tables), plain(errors), beam_spot
    )
    hits = _HitArrays(
        module=clusters.module,
        x_local=x_local,
        y_local=y_local,
        var_x=var_x,
        var_y=var_y,
        x=x,
        y=y,
        z=z,
        r=r,
        phi=phi,
        charge=clusters.charge,
        size_x=size_x,
        size_y=size_y,
    )
    return Held(hits)


@shared
def shared_width(cluster: Projection) -> float:
    """Length over which the charge is spread in a cluster's end pixels, cm."""
    spread = cluster.width - cluster.pitch * f32(cluster.inner)
    if cluster.length > 2 or spread < 0 or spread > cluster.pitch:
        spread = cluster.pitch * _HALF * f32(2 + cluster.wide_ends)
    return spread


@shared
def edge_correction(cluster: Projection, spread: float) -> float:
    """Distance by which charge sharing moves a cluster's position off the middle, cm.

    Args:
        cluster: the cluster along one axis.
        spread: see :func:`shared_width`, cm.
    """
    if cluster.length == 1:
        return f32(0)
    total = cluster.last_charge + cluster.first_charge
    if total == 0:
        total = 1
    balance = f32(cluster.last_charge - cluster.first_charge) / f32(total)
    return _HALF * balance * spread


@shared
def shape_variance(
    cluster: Projection, spread: float, share: float, errors: PositionErrors
) -> float:
    """Variance of a position from the cluster's shape, cm^2.

    A lone pixel says that the charge's extent lies within it. In a longer cluster the share
    of charge in the end pixels fluctuates. It fluctuates more in a cluster of many pixels. If a
    cluster is longer than the particle makes it, something else is part of it.

    Args:
        cluster: the cluster along one axis.
        spread: see :func:`shared_width`, cm.
        share: error per ``spread``.
        errors: constants of the estimate.
    """
    pitch, width = cluster.pitch, cluster.width
    if cluster.length == 1:
        size = pitch + (pitch if cluster.wide_ends > 0 else f32(0))
        free = max(size - width, errors.lone_share * size)
        return free * free / f32(12)
    noise = share * spread
    variance = errors.floor * errors.floor + noise * noise
    if cluster.length > 2:
        straggling = errors.straggling * pitch
        excess = pitch * (f32(cluster.inner) + errors.excess_margin) - width
        alien = errors.excess * max(excess, f32(0))
        variance += straggling * straggling * f32(cluster.length - 2) + alien * alien
    return variance


@shared
def cluster_size(cluster: Projection) -> int:
    """Length in eighths of a pixel, shortened by the imbalance of the end charges.

    Wide end pixels count twice.
    """
    length = cluster.inner + 2 + cluster.wide_ends
    total = max(1, cluster.first_charge + cluster.last_charge)
    imbalance = 8 * abs(cluster.first_charge - cluster.last_charge) // total
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
def box_of(clusters: Any, i: int) -> Box:
    """The edges of a cluster.

    Args:
        clusters: columns of :class:`trackserve.edm.Clusters`.
        i: row of the cluster.
    """
    return Box(
        min_row=int(clusters.min_row[i]),
        max_row=int(clusters.max_row[i]),
        min_col=int(clusters.min_col[i]),
        max_col=int(clusters.max_col[i]),
        charge_min_row=clusters.charge_min_row[i],
        charge_max_row=clusters.charge_max_row[i],
        charge_min_col=clusters.charge_min_col[i],
        charge_max_col=clusters.charge_max_col[i],
    )


@shared
def sensor_of(module: int, box: Box, tables: PositionTables) -> Sensor:
    """The entries of ``tables`` for a cluster."""
    row_kind = 0 if box.min_row < box.max_row else 1 + int(is_wide_row(box.min_row))
    col_kind = 0 if box.min_col < box.max_col else 1 + int(is_wide_col(box.min_col))
    return Sensor(
        thickness=tables.thickness[module],
        shift_x=tables.shift_x[module],
        shift_y=tables.shift_y[module],
        charge_width_x=tables.charge_width_x[module],
        charge_width_y=tables.charge_width_y[module],
        origin=(tables.origin[module, 0], tables.origin[module, 1], tables.origin[module, 2]),
        sigma_x=tables.sigma_x[module, row_kind],
        sigma_y=tables.sigma_y[module, col_kind],
        pitch_x=tables.pitch_x,
        pitch_y=tables.pitch_y,
    )


@shared
def local_position(
    clusters: Any, i: int, tables: PositionTables, errors: PositionErrors
) -> LocalHit:
    """Position of a cluster in its module.

    Args:
        clusters: columns of :class:`trackserve.edm.Clusters`.
        i: row of the cluster.
        tables: parameters of the modules.
        errors: constants of the estimate.
    """
    module, box = clusters.module[i], box_of(clusters, i)
    sensor = sensor_of(module, box, tables)
    inner_row_0, inner_row_1 = row_in_pitches(box.min_row + 1), row_in_pitches(box.max_row)
    inner_col_0, inner_col_1 = col_in_pitches(box.min_col + 1), col_in_pitches(box.max_col)
    middle_x = _HALF * f32(inner_row_0 + inner_row_1) - HALF_ROWS
    middle_y = _HALF * f32(inner_col_0 + inner_col_1) - HALF_COLS
    x = sensor.shift_x + sensor.pitch_x * middle_x
    y = sensor.shift_y + sensor.pitch_y * middle_y
    thickness = sensor.thickness
    toward_origin = f32(-1) / sensor.origin[2]
    cot_alpha = (x - sensor.origin[0]) * toward_origin
    cot_beta = (y - sensor.origin[1]) * toward_origin
    rows = Projection(
        length=box.max_row - box.min_row + 1,
        inner=inner_row_1 - inner_row_0,
        wide_ends=int(is_wide_row(box.min_row)) + int(is_wide_row(box.max_row)),
        first_charge=box.charge_min_row,
        last_charge=box.charge_max_row,
        pitch=sensor.pitch_x,
        width=abs(thickness * cot_alpha - sensor.charge_width_x),
    )
    cols = Projection(
        length=box.max_col - box.min_col + 1,
        inner=inner_col_1 - inner_col_0,
        wide_ends=int(is_wide_col(box.min_col)) + int(is_wide_col(box.max_col)),
        first_charge=box.charge_min_col,
        last_charge=box.charge_max_col,
        pitch=sensor.pitch_y,
        width=abs(thickness * cot_beta - sensor.charge_width_y),
    )
    spread_x, spread_y = shared_width(rows), shared_width(cols)
    x += edge_correction(rows, spread_x)
    y += edge_correction(cols, spread_y)

    edge_row = box.min_row == 0 or box.max_row == ROWS - 1
    edge_col = box.min_col == 0 or box.max_col == COLS - 1
    sigma_x = errors.edge_x if edge_row else sensor.sigma_x
    sigma_y = errors.edge_y if edge_col else sensor.sigma_y
    var_x, var_y = sigma_x * sigma_x, sigma_y * sigma_y
    if errors.from_shape:
        share_two = errors.share_two if module < FIRST_ENDCAP else errors.share_two_disk
        if not edge_row:
            share_x = share_two if rows.length == 2 else errors.share
            var_x = shape_variance(rows, spread_x, share_x, errors)
        if not edge_col and module < FIRST_ENDCAP:
            # the width is unknown: it depends on where along the beam a track starts
            unknown = Projection(
                length=cols.length,
                inner=0,
                wide_ends=cols.wide_ends,
                first_charge=cols.first_charge,
                last_charge=cols.last_charge,
                pitch=cols.pitch,
                width=errors.barrel_width * cols.pitch,
            )
            spread_y = cols.pitch * _HALF * f32(2 + cols.wide_ends)
            var_y = shape_variance(unknown, spread_y, errors.share, errors)
        elif not edge_col:
            share_y = share_two if cols.length == 2 else errors.share
            var_y = shape_variance(cols, spread_y, share_y, errors)
    size_x, size_y = cluster_size(rows), cluster_size(cols)
    return LocalHit(
        x, y, var_x, var_y, -size_x if edge_row else size_x, -size_y if edge_col else size_y
    )


@shared
def global_position(
    module: int, hit: LocalHit, tables: PositionTables, beam_spot: Array
) -> tuple[float, float, float]:
    """Position relative to the beam spot, x, y and z, cm.

    Args:
        beam_spot: float32[3], cm.
    """
    axes, centre = tables.rotation, tables.position
    x = axes[module, 0, 0] * hit.x + axes[module, 1, 0] * hit.y + centre[module, 0] - beam_spot[0]
    y = axes[module, 0, 1] * hit.x + axes[module, 1, 1] * hit.y + centre[module, 1] - beam_spot[1]
    z = axes[module, 0, 2] * hit.x + axes[module, 1, 2] * hit.y + centre[module, 2] - beam_spot[2]
    return x, y, z


@kernel
def _make_hits(
    clusters: Any, tables: PositionTables, errors: PositionErrors, beam_spot: Array
) -> tuple[Array, ...]:
    n = len(clusters.module)
    local = np.empty((2, n), np.float32)
    variance = np.empty((2, n), np.float32)
    x, y, z, r = np.empty((4, n), np.float32)
    phi = np.empty(n, np.int16)
    size = np.empty((2, n), np.int16)
    for i in range(n):
        m = clusters.module[i]
        hit = local_position(clusters, i, tables, errors)
        local[0, i], local[1, i] = hit.x, hit.y
        variance[0, i], variance[1, i] = hit.var_x, hit.var_y
        size[0, i], size[1, i] = hit.size_x, hit.size_y
        x[i], y[i], z[i] = global_position(m, hit, tables, beam_spot)
    for i in range(u64(n)):  # apart, which makes it vector instructions
        r[i] = math.sqrt(x[i] * x[i] + y[i] * y[i])
        phi[i] = phi_in_units(y[i], x[i])
    return local[0], local[1], variance[0], variance[1], x, y, z, r, phi, size[0], size[1]
