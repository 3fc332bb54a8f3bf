"""Clusters to hits: the fast position estimate (pixelCPEforGPU.h, gpuPixelRecHits.h).

The formulas are for one cluster. A CPU takes sixteen side by side, a GPU one in each thread.
"""

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
    LANES,
    f32,
    i32,
    kernel,
    shared,
    side_by_side,
    u64,
    wide_vectors,
)
from trackserve.device.held import Held, plain
from trackserve.device.lanes import load, load_columns, store
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
    coordinates. ``sensor``, ``frame`` and ``surface``, float32[modules, LANES], have the numbers of
    a :class:`Sensor`, of a :class:`Frame` and of a :class:`Surface` in a row, then zeros.
    The other names are those of :data:`trackserve.detectors.phase1.conditions.CPE`.
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
    sensor: Array
    frame: Array
    surface: Array
    pitch_x: float
    pitch_y: float


class Sensor(NamedTuple):
    """The entries of :class:`PositionTables` that a cluster needs along its module.

    Attributes:
        thickness: cm.
        shift_x, shift_y: cm.
        charge_width_x, charge_width_y: cm.
        origin: the detector's origin in the module's frame, cm.
        sigma_x, sigma_y: errors of several pixels, of a lone one, and of a lone wide one, cm.
    """

    thickness: float
    shift_x: float
    shift_y: float
    charge_width_x: float
    charge_width_y: float
    origin: tuple[float, float, float]
    sigma_x: tuple[float, float, float]
    sigma_y: tuple[float, float, float]


class Frame(NamedTuple):
    """The place of a module: two local axes in global coordinates, and the centre, cm."""

    axis_x: tuple[float, float, float]
    axis_y: tuple[float, float, float]
    centre: tuple[float, float, float]


class Surface(NamedTuple):
    """What a track that crosses a module meets.

    Attributes:
        axis_x, axis_y, normal: local axes in global coordinates.
        material: radiation lengths across it.
        thickness: cm.
        charge_width_x, charge_width_y: cm.
    """

    axis_x: tuple[float, float, float]
    axis_y: tuple[float, float, float]
    normal: tuple[float, float, float]
    material: float
    thickness: float
    charge_width_x: float
    charge_width_y: float


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


_MODULE, _BOX = 0, 1
"""Rows of :attr:`HitWorkspace.cluster`: the module, and a :class:`Box`."""
_N_OF_CLUSTER = _BOX + len(Box._fields)
_X_LOCAL, _Y_LOCAL, _VAR_X, _VAR_Y, _X, _Y, _Z, _SIZE_X, _SIZE_Y = range(9)
"""Rows of :attr:`HitWorkspace.hit`."""
_N_OF_HIT = _SIZE_Y + 1


class HitWorkspace(NamedTuple):
    """Memory for clusters, one in each lane.

    Attributes:
        cluster: int32[N_OF_CLUSTER, lanes], the clusters.
        sensor, frame: float32[LANES, lanes], rows of :class:`PositionTables` as columns.
        hit: float32[N_OF_HIT, lanes], the result.
    """

    cluster: Array
    sensor: Array
    frame: Array
    hit: Array


def make_position_tables(conditions: PixelConditions) -> PositionTables:
    """Make :class:`PositionTables` from the payload of the position estimate."""
    cpe = conditions.cpe
    module = cpe["module"]
    thickness = np.where(module["is_barrel"], cpe["thickness_barrel"], cpe["thickness_endcap"])
    thickness = thickness.astype(np.float32)
    columns = {name: np.ascontiguousarray(module[name]) for name in PositionTables._fields[1:-5]}
    axes = columns["rotation"].reshape(len(module), -1)
    widths = columns["charge_width_x"], columns["charge_width_y"]
    return PositionTables(
        thickness=thickness,
        **columns,
        sensor=_in_rows(thickness, *(columns[name] for name in Sensor._fields[1:])),
        frame=_in_rows(axes[:, :6], columns["position"]),
        surface=_in_rows(axes, conditions.material, thickness, *widths),
        pitch_x=f32(cpe["pitch_x"]),
        pitch_y=f32(cpe["pitch_y"]),
    )


@shared
def surface_of(module: int, surfaces: Array) -> Surface:
    """The surface of a module; ``surfaces`` are those of :class:`PositionTables`."""
    row = surfaces[module]
    return Surface(
        axis_x=(row[0], row[1], row[2]),
        axis_y=(row[3], row[4], row[5]),
        normal=(row[6], row[7], row[8]),
        material=row[9],
        thickness=row[10],
        charge_width_x=row[11],
        charge_width_y=row[12],
    )


def _in_rows(*columns: Array) -> Array:
    """Return a row of ``LANES`` numbers for each module."""
    numbers = np.column_stack(columns)
    rows = np.zeros((len(numbers), LANES), np.float32)
    rows[:, : numbers.shape[1]] = numbers
    return rows


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
        # of integers this difference becomes an instruction that has no vectors
        inner = f32(cluster.length) - f32(2)
        variance += straggling * straggling * inner + alien * alien
    return variance


@shared
def cluster_size(cluster: Projection) -> int:
    """Length in eighths of a pixel, shortened by the imbalance of the end charges.

    Wide end pixels count twice.
    """
    length = cluster.inner + 2 + cluster.wide_ends
    total = max(1, cluster.first_charge + cluster.last_charge)
    imbalance = int(8 * abs(cluster.first_charge - cluster.last_charge) / total)
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
def sensor_of(module: int, tables: PositionTables) -> Sensor:
    """The sensor of a module."""
    origin, sigma_x, sigma_y = tables.origin, tables.sigma_x, tables.sigma_y
    return Sensor(
        thickness=tables.thickness[module],
        shift_x=tables.shift_x[module],
        shift_y=tables.shift_y[module],
        charge_width_x=tables.charge_width_x[module],
        charge_width_y=tables.charge_width_y[module],
        origin=(origin[module, 0], origin[module, 1], origin[module, 2]),
        sigma_x=(sigma_x[module, 0], sigma_x[module, 1], sigma_x[module, 2]),
        sigma_y=(sigma_y[module, 0], sigma_y[module, 1], sigma_y[module, 2]),
    )


@shared
def frame_of(module: int, tables: PositionTables) -> Frame:
    """The place of a module."""
    axes, centre = tables.rotation, tables.position
    return Frame(
        axis_x=(axes[module, 0, 0], axes[module, 0, 1], axes[module, 0, 2]),
        axis_y=(axes[module, 1, 0], axes[module, 1, 1], axes[module, 1, 2]),
        centre=(centre[module, 0], centre[module, 1], centre[module, 2]),
    )


@shared
def _error_of(sigma: tuple[float, float, float], first: int, last: int, wide: bool) -> float:
    """Choose the error of a cluster from its first to its last pixel along an axis."""
    lone = sigma[2] if wide else sigma[1]
    return sigma[0] if first < last else lone


@shared
def local_position(
    module: int, box: Box, sensor: Sensor, pitch: tuple[float, float], errors: PositionErrors
) -> LocalHit:
    """Position of a cluster in its module.

    Args:
        module: the module.
        box: the cluster.
        sensor: parameters of the module.
        pitch: along x and y, cm.
        errors: constants of the estimate.
    """
    pitch_x, pitch_y = pitch
    inner_row_0, inner_row_1 = row_in_pitches(box.min_row + 1), row_in_pitches(box.max_row)
    inner_col_0, inner_col_1 = col_in_pitches(box.min_col + 1), col_in_pitches(box.max_col)
    middle_x = _HALF * f32(inner_row_0 + inner_row_1) - HALF_ROWS
    middle_y = _HALF * f32(inner_col_0 + inner_col_1) - HALF_COLS
    x = sensor.shift_x + pitch_x * middle_x
    y = sensor.shift_y + pitch_y * middle_y
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
        pitch=pitch_x,
        width=abs(thickness * cot_alpha - sensor.charge_width_x),
    )
    cols = Projection(
        length=box.max_col - box.min_col + 1,
        inner=inner_col_1 - inner_col_0,
        wide_ends=int(is_wide_col(box.min_col)) + int(is_wide_col(box.max_col)),
        first_charge=box.charge_min_col,
        last_charge=box.charge_max_col,
        pitch=pitch_y,
        width=abs(thickness * cot_beta - sensor.charge_width_y),
    )
    spread_x, spread_y = shared_width(rows), shared_width(cols)
    x += edge_correction(rows, spread_x)
    y += edge_correction(cols, spread_y)

    edge_row = box.min_row == 0 or box.max_row == ROWS - 1
    edge_col = box.min_col == 0 or box.max_col == COLS - 1
    sigma_x = _error_of(sensor.sigma_x, box.min_row, box.max_row, is_wide_row(box.min_row))
    sigma_y = _error_of(sensor.sigma_y, box.min_col, box.max_col, is_wide_col(box.min_col))
    sigma_x = errors.edge_x if edge_row else sigma_x
    sigma_y = errors.edge_y if edge_col else sigma_y
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
    hit: LocalHit, frame: Frame, beam_spot: tuple[float, float, float] | Array
) -> tuple[float, float, float]:
    """Position relative to the beam spot, x, y and z, cm.

    Args:
        hit: the position in the module.
        frame: place of the module.
        beam_spot: cm.
    """
    along_x, along_y, centre = frame.axis_x, frame.axis_y, frame.centre
    x = along_x[0] * hit.x + along_y[0] * hit.y + centre[0] - beam_spot[0]
    y = along_x[1] * hit.x + along_y[1] * hit.y + centre[1] - beam_spot[1]
    z = along_x[2] * hit.x + along_y[2] * hit.y + centre[2] - beam_spot[2]
    return x, y, z


@shared
def local_hit(clusters: Any, i: int, tables: PositionTables, errors: PositionErrors) -> LocalHit:
    """Position of cluster ``i`` in its module, as a GPU takes it: all in compiled code."""
    module, pitch = clusters.module[i], (tables.pitch_x, tables.pitch_y)
    return local_position(module, box_of(clusters, i), sensor_of(module, tables), pitch, errors)


@shared
def global_hit(
    module: int, hit: LocalHit, tables: PositionTables, beam_spot: Array
) -> tuple[float, float, float]:
    """Position of a hit relative to the beam spot, float32[3], cm, as a GPU takes it."""
    return global_position(hit, frame_of(module, tables), beam_spot)


@shared
def _three(rows: Array, row: int, lane: int) -> tuple[float, float, float]:
    """Read three rows of a lane."""
    return rows[row, lane], rows[row + 1, lane], rows[row + 2, lane]


@shared
def _box(row: Array, lane: int) -> Box:
    """Read the edges of a cluster of a lane."""
    return Box(
        min_row=row[_BOX, lane],
        max_row=row[_BOX + 1, lane],
        min_col=row[_BOX + 2, lane],
        max_col=row[_BOX + 3, lane],
        charge_min_row=row[_BOX + 4, lane],
        charge_max_row=row[_BOX + 5, lane],
        charge_min_col=row[_BOX + 6, lane],
        charge_max_col=row[_BOX + 7, lane],
    )


@shared
def _sensor(row: Array, lane: int) -> Sensor:
    """Read a sensor of a lane."""
    return Sensor(
        thickness=row[0, lane],
        shift_x=row[1, lane],
        shift_y=row[2, lane],
        charge_width_x=row[3, lane],
        charge_width_y=row[4, lane],
        origin=_three(row, 5, lane),
        sigma_x=_three(row, 8, lane),
        sigma_y=_three(row, 11, lane),
    )


@side_by_side
def _positions_side_by_side(
    lanes: int,
    pitch: tuple[float, float],
    errors: PositionErrors,
    beam_spot: tuple[float, float, float],
    work: HitWorkspace,
) -> None:
    """Estimate the positions of clusters.

    Args:
        lanes: number of lanes; a constant of the caller, so that the loop has its length.
        pitch: along x and y, cm.
        errors: constants of the estimate.
        beam_spot: cm.
        work: memory with the clusters and their modules; it gets the result.
    """
    hits = work.hit
    for lane in range(u64(lanes)):
        box, sensor = _box(work.cluster, lane), _sensor(work.sensor, lane)
        hit = local_position(work.cluster[_MODULE, lane], box, sensor, pitch, errors)
        place = work.frame
        frame = Frame(_three(place, 0, lane), _three(place, 3, lane), _three(place, 6, lane))
        hits[_X_LOCAL, lane], hits[_Y_LOCAL, lane] = hit.x, hit.y
        hits[_VAR_X, lane], hits[_VAR_Y, lane] = hit.var_x, hit.var_y
        hits[_X, lane], hits[_Y, lane], hits[_Z, lane] = global_position(hit, frame, beam_spot)
        hits[_SIZE_X, lane], hits[_SIZE_Y, lane] = hit.size_x, hit.size_y


@shared
def _copy(column: Array, rows: Array, row: int) -> None:
    """Copy a column of integers to a row that may be longer, and fill it with zeros."""
    for i in range(u64(len(column))):
        rows[row, i] = column[i]
    for i in range(u64(len(column)), u64(rows.shape[1])):
        rows[row, i] = 0


@kernel
def _clusters_in_rows(clusters: Any) -> Array:
    """Return rows of :attr:`HitWorkspace.cluster` for all clusters, whole blocks of lanes."""
    n = len(clusters.module)
    rows = np.empty((_N_OF_CLUSTER, (n + LANES - 1) // LANES * LANES), np.int32)
    _copy(clusters.module, rows, _MODULE)
    _copy(clusters.min_row, rows, _BOX)
    _copy(clusters.max_row, rows, _BOX + 1)
    _copy(clusters.min_col, rows, _BOX + 2)
    _copy(clusters.max_col, rows, _BOX + 3)
    _copy(clusters.charge_min_row, rows, _BOX + 4)
    _copy(clusters.charge_max_row, rows, _BOX + 5)
    _copy(clusters.charge_min_col, rows, _BOX + 6)
    _copy(clusters.charge_max_col, rows, _BOX + 7)
    return rows


@kernel
def _make_hits(
    clusters: Any, tables: PositionTables, errors: PositionErrors, beam_spot: Array
) -> tuple[Array, ...]:
    wide_vectors()
    n, rows = len(clusters.module), _clusters_in_rows(clusters)
    room = u64(rows.shape[1])
    hits = np.empty((_N_OF_HIT, room), np.float32)
    work = HitWorkspace(
        cluster=np.empty((_N_OF_CLUSTER, LANES), np.int32),
        sensor=np.empty((LANES, LANES), np.float32),
        frame=np.empty((LANES, LANES), np.float32),
        hit=np.empty((_N_OF_HIT, LANES), np.float32),
    )
    pitch, spot = (tables.pitch_x, tables.pitch_y), (beam_spot[0], beam_spot[1], beam_spot[2])
    for first in range(u64(0), room, u64(LANES)):
        for k in range(u64(_N_OF_CLUSTER)):
            store(work.cluster, k * u64(LANES), load(rows, k * room + first))
        load_columns(tables.sensor, rows, first, work.sensor, u64(0))
        load_columns(tables.frame, rows, first, work.frame, u64(0))
        _positions_side_by_side(LANES, pitch, errors, spot, work)
        for k in range(u64(_N_OF_HIT)):
            store(hits, k * room + first, load(work.hit, k * u64(LANES)))
    x, y, z = hits[_X, :n], hits[_Y, :n], hits[_Z, :n]
    r, phi = np.empty(n, np.float32), np.empty(n, np.int16)
    size_x, size_y = np.empty((2, n), np.int16)
    for i in range(u64(n)):
        r[i] = math.sqrt(x[i] * x[i] + y[i] * y[i])
        phi[i] = phi_in_units(y[i], x[i])
    for i in range(u64(n)):
        size_x[i], size_y[i] = i32(hits[_SIZE_X, i]), i32(hits[_SIZE_Y, i])
    local = hits[_X_LOCAL, :n], hits[_Y_LOCAL, :n], hits[_VAR_X, :n], hits[_VAR_Y, :n]
    return (*local, x, y, z, r, phi, size_x, size_y)
