"""Whether clusters are as long as a fitted track makes them, and layers that it crosses unseen.

A track leaves charge along its way through a sensor, so its angles tell how many pixels a cluster
has along each axis. A cluster that is too short is not of this track, since charge does not
vanish; one that is too long may be of two particles. And hits of a particle are missing where it
passes between sensors, while a chance combination lacks whole layers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from trackserve.detectors.phase1.layout import (
    LAYER_START,
    N_BARREL_LAYERS,
    N_LAYERS,
    PT_PER_RADIUS,
)
from trackserve.device.compile import i32, shared, side_by_side, u64
from trackserve.device.elementary import cosine_and_sine
from trackserve.edm.columns import Array

from .config import ScoreCuts
from .doublets import OrderedHits
from .fit import Fitted
from .hits import HALF_COLS, HALF_ROWS, PositionTables, surface_of

_BARREL_MARGIN, _DISK_MARGIN = 0.5, 1.0
"""Width of the rim of a layer in which a track may well pass by, cm: along the beam in the barrel,
across it on a disk. It also holds the beam spot's distance from the detector's centre."""
_MAX_ARC = 20.0
"""Length of a track in the transverse plane up to which it may cross a disk, cm."""
_EIGHTH = 0.125
"""Pitches per unit of a cluster's size."""
_INNERMOST = 1
"""Bit of the innermost layer. On it hits of particles from decays are missing too."""

_X, _Y, _AXES, _THICKNESS, _CHARGE_WIDTH_X, _CHARGE_WIDTH_Y = 0, 1, 2, 11, 12, 13
_SIZE_X, _SIZE_Y = 14, 15
"""Rows of :attr:`ShapeWorkspace.cluster`: :class:`Cluster`, whose axes are nine rows."""
N_OF_CLUSTER = _SIZE_Y + 1
_PHI, _TIP, _CURVATURE, _COT_THETA, _ZIP, _TURN_X, _TURN_Y = range(7)
"""Rows of :attr:`ShapeWorkspace.track`: parameters of the track, 1/cm the third; and
:class:`Turn`."""
LENGTHS, MISSED = 7, 8
"""Rows with the result: the penalty for the lengths of clusters, in chi2; and the number of layers
that are crossed without a hit."""
N_OF_TRACK = MISSED + 1


class ShapeTables(NamedTuple):
    """What the length of clusters depends on, and where the layers are.

    Attributes:
        layer: uint8[modules], layer of each module.
        spans: float64[layers, 3], cm: of a barrel layer its radius, and z of its ends; of a disk
            its z, and the radii of its ends; without the rims.
        positions: parameters of the modules.
    """

    layer: Array
    spans: Array
    positions: PositionTables


class HitShapes(NamedTuple):
    """Hits as the selection sees them.

    Attributes:
        ordered: the hits in their order.
        size_x, size_y: columns of :class:`trackserve.edm.Hits`.
        tables: tables of the detector.
    """

    ordered: OrderedHits
    size_x: Array
    size_y: Array
    tables: ShapeTables


class Cluster(NamedTuple):
    """A cluster as the judgement of its length sees it.

    Attributes:
        x, y: place of its hit, cm.
        axis_x, axis_y, normal: local axes of its module in global coordinates.
        thickness: of its module, cm.
        charge_width_x, charge_width_y: columns of :class:`.hits.PositionTables`, cm.
        size_x, size_y: its length, 1/8 pixel; negative at the edge of the module.
    """

    x: float
    y: float
    axis_x: tuple[float, float, float]
    axis_y: tuple[float, float, float]
    normal: tuple[float, float, float]
    thickness: float
    charge_width_x: float
    charge_width_y: float
    size_x: float
    size_y: float


class Turn(NamedTuple):
    """A track, whose direction at a point follows from the point.

    Attributes:
        curvature: 1/cm, positive if clockwise.
        x, y: transverse direction at the origin, times 1 + curvature * tip.
        cot_theta: slope along the beam.
    """

    curvature: float
    x: float
    y: float
    cot_theta: float


class ShapeWorkspace(NamedTuple):
    """Memory for tracks of as many hits, one in each lane.

    Attributes:
        cluster: float32[MAX_HITS, N_OF_CLUSTER, lanes], their clusters.
        track: float64[N_OF_TRACK, lanes], what each track has once.
        seen: int32[lanes], a bit for each layer that has a hit of the track, or does not count.
    """

    cluster: Array
    track: Array
    seen: Array


def make_shape_tables(positions: PositionTables) -> ShapeTables:
    """Make :class:`ShapeTables` from the places of the modules."""
    layer = np.repeat(np.arange(N_LAYERS, dtype=np.uint8), np.diff(LAYER_START))
    half_x = float(HALF_ROWS) * float(positions.pitch_x)
    half_y = float(HALF_COLS) * float(positions.pitch_y)
    axes, centre = positions.rotation.astype(np.float64), positions.position.astype(np.float64)
    corner = np.array([(x, y) for x in (-half_x, half_x) for y in (-half_y, half_y)])
    corners = centre[:, None] + corner @ axes[:, :2]
    radius = np.hypot(corners[..., 0], corners[..., 1])
    spans = np.empty((N_LAYERS, 3))
    for k in range(N_LAYERS):
        here = layer == k
        if k < N_BARREL_LAYERS:
            z, middle = corners[here, :, 2], np.hypot(centre[here, 0], centre[here, 1]).mean()
            spans[k] = middle, z.min() + _BARREL_MARGIN, z.max() - _BARREL_MARGIN
        else:
            r, middle = radius[here], centre[here, 2].mean()
            spans[k] = middle, r.min() + _DISK_MARGIN, r.max() - _DISK_MARGIN
    return ShapeTables(layer=layer, spans=spans, positions=positions)


@register_jitable
def hit_shapes(ordered: OrderedHits, hits: Any, tables: ShapeTables) -> HitShapes:
    """Return the input of the selection; ``hits`` are columns of :class:`trackserve.edm.Hits`."""
    return HitShapes(ordered, hits.size_x, hits.size_y, tables)


@shared
def load_cluster(h: int, hits: HitShapes, cluster: Array, lane: int) -> None:
    """Load ordered hit ``h`` into ``cluster``, an entry of :attr:`ShapeWorkspace.cluster`."""
    ordered = hits.ordered
    row, module = u64(ordered.order[h]), u64(ordered.module[h])
    surface = surface_of(module, hits.tables.positions.surface)
    cluster[_X, lane], cluster[_Y, lane] = ordered.x[h], ordered.y[h]
    for i in range(3):
        cluster[_AXES + i, lane] = surface.axis_x[i]
        cluster[_AXES + 3 + i, lane] = surface.axis_y[i]
        cluster[_AXES + 6 + i, lane] = surface.normal[i]
    cluster[_THICKNESS, lane] = surface.thickness
    cluster[_CHARGE_WIDTH_X, lane] = surface.charge_width_x
    cluster[_CHARGE_WIDTH_Y, lane] = surface.charge_width_y
    cluster[_SIZE_X, lane], cluster[_SIZE_Y, lane] = hits.size_x[row], hits.size_y[row]


@shared
def load_track(t: int, fitted: Fitted, hits: HitShapes, work: ShapeWorkspace, lane: int) -> None:
    """Load the parameters of ntuplet ``t``, and the layers that it has a hit on, into a lane."""
    state, track = fitted.state, work.track
    track[_PHI, lane], track[_TIP, lane] = state[t, 0], state[t, 1]
    track[_CURVATURE, lane] = PT_PER_RADIUS * float(state[t, 2])
    track[_COT_THETA, lane], track[_ZIP, lane] = state[t, 3], state[t, 4]
    seen = i32(_INNERMOST)
    for k in range(u64(fitted.ntuplets.n_hits[t])):
        m = u64(hits.ordered.module[u64(fitted.ntuplets.hits[t, k])])
        seen |= i32(1) << i32(hits.tables.layer[m])
    work.seen[lane] = seen


@side_by_side
def judge_shapes_side_by_side(
    n_hits: int, lanes: int, tables: ShapeTables, cuts: ScoreCuts, work: ShapeWorkspace
) -> None:
    """Judge the clusters of tracks of ``n_hits``, and the layers that they cross without a hit.

    The penalty for clusters is the sum of :func:`length_penalty` along both axes of each.

    Args:
        n_hits: number of hits.
        lanes: number of lanes; a constant of the caller, so that loops over them have its length.
        tables: tables of the detector.
        cuts: constants of the selection.
        work: memory with the tracks loaded; it gets the result.
    """
    track = work.track
    per_pitch_x, per_pitch_y = 1.0 / tables.positions.pitch_x, 1.0 / tables.positions.pitch_y
    for lane in range(u64(lanes)):
        stretch = 1.0 + track[_CURVATURE, lane] * track[_TIP, lane]
        cosine, sine = cosine_and_sine(track[_PHI, lane])
        track[_TURN_X, lane], track[_TURN_Y, lane] = stretch * cosine, stretch * sine
        track[LENGTHS, lane], track[MISSED, lane] = 0.0, 0.0
    for k in range(n_hits):
        row = work.cluster[k]
        for lane in range(u64(lanes)):
            turn = Turn(
                track[_CURVATURE, lane],
                track[_TURN_X, lane],
                track[_TURN_Y, lane],
                track[_COT_THETA, lane],
            )
            cluster = _cluster(row, lane)
            width_x, width_y = charge_widths(cluster, turn)
            sum_ = track[LENGTHS, lane]
            sum_ += length_penalty(cluster.size_x, width_x * per_pitch_x, cuts)
            sum_ += length_penalty(cluster.size_y, width_y * per_pitch_y, cuts)
            track[LENGTHS, lane] = sum_
    for layer in range(N_LAYERS):
        place, low, high = tables.spans[layer, 0], tables.spans[layer, 1], tables.spans[layer, 2]
        if layer < N_BARREL_LAYERS:
            for lane in range(u64(lanes)):
                crossing = crossing_of_barrel(place, _path(track, lane))
                inside = (crossing > low) & (crossing < high)
                unseen = (work.seen[lane] >> i32(layer)) & 1 == 0
                track[MISSED, lane] += 1.0 if inside & unseen else 0.0
        else:
            for lane in range(u64(lanes)):
                crossing = crossing_of_disk(place, _path(track, lane))
                inside = (crossing > low) & (crossing < high)
                unseen = (work.seen[lane] >> i32(layer)) & 1 == 0
                track[MISSED, lane] += 1.0 if inside & unseen else 0.0


@shared
def _cluster(row: Array, lane: int) -> Cluster:
    """Read a cluster of a lane."""
    return Cluster(
        x=float(row[_X, lane]),
        y=float(row[_Y, lane]),
        axis_x=(row[_AXES, lane], row[_AXES + 1, lane], row[_AXES + 2, lane]),
        axis_y=(row[_AXES + 3, lane], row[_AXES + 4, lane], row[_AXES + 5, lane]),
        normal=(row[_AXES + 6, lane], row[_AXES + 7, lane], row[_AXES + 8, lane]),
        thickness=float(row[_THICKNESS, lane]),
        charge_width_x=float(row[_CHARGE_WIDTH_X, lane]),
        charge_width_y=float(row[_CHARGE_WIDTH_Y, lane]),
        size_x=float(row[_SIZE_X, lane]),
        size_y=float(row[_SIZE_Y, lane]),
    )


@shared
def charge_widths(cluster: Cluster, turn: Turn) -> tuple[float, float]:
    """Return the extents of the charge that a track leaves along the local axes, cm."""
    dx = turn.x + turn.curvature * cluster.y
    dy = turn.y - turn.curvature * cluster.x
    axis_x, axis_y, normal = cluster.axis_x, cluster.axis_y, cluster.normal
    across = normal[0] * dx + normal[1] * dy + normal[2] * turn.cot_theta
    depth = cluster.thickness / across
    along_x = (axis_x[0] * dx + axis_x[1] * dy + axis_x[2] * turn.cot_theta) * depth
    along_y = (axis_y[0] * dx + axis_y[1] * dy + axis_y[2] * turn.cot_theta) * depth
    return abs(along_x - cluster.charge_width_x), abs(along_y - cluster.charge_width_y)


@shared
def length_penalty(size: float, width: float, cuts: ScoreCuts) -> float:
    """Return what the length of a cluster says against a track, in chi2; 0 at a module's edge.

    Args:
        size: length, 1/8 pixel; negative at the edge of the module.
        width: extent of the charge that the track leaves, in pitches.
        cuts: constants of the selection.
    """
    excess = _EIGHTH * size - width - cuts.length_offset
    short = excess < 0.0
    pull = excess / (cuts.short if short else cuts.long)
    penalty = min(pull * pull, cuts.most_short if short else cuts.most_long)
    return penalty if size > 0.0 else 0.0


class Path(NamedTuple):
    """Parameters of a track that say which layers it crosses.

    Attributes:
        curvature: 1/cm.
        cot_theta: slope along the beam.
        zip: z where it is closest to the beam, cm.
    """

    curvature: float
    cot_theta: float
    zip: float


@shared
def _path(track: Array, lane: int) -> Path:
    """Read the path of a lane."""
    return Path(track[_CURVATURE, lane], track[_COT_THETA, lane], track[_ZIP, lane])


@shared
def crossing_of_barrel(radius: float, path: Path) -> float:
    """Return z at which a track crosses a barrel layer, cm."""
    bend = path.curvature * path.curvature / 24.0
    arc = radius * (1.0 + bend * radius * radius)
    return path.zip + path.cot_theta * arc


@shared
def crossing_of_disk(z: float, path: Path) -> float:
    """Return the radius at which a track crosses a disk, cm; NaN if it does not."""
    bend = path.curvature * path.curvature / 24.0
    arc = (z - path.zip) / path.cot_theta
    crossing = arc * (1.0 - bend * arc * arc)
    return crossing if (arc > 0.0) & (arc < _MAX_ARC) else math.nan
