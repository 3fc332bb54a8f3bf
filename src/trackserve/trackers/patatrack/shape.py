"""Whether clusters are as long as a fitted track makes them, and layers that it crosses unseen.

A track leaves charge along its way through a sensor, so its angles tell how many pixels a cluster
has along each axis. A cluster that is too short is not of this track, since charge does not
vanish; one that is too long may be of two particles. And hits of a particle are missing where it
passes between sensors, while a chance combination lacks whole layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import (
    LAYER_START,
    N_BARREL_LAYERS,
    N_LAYERS,
    PT_PER_RADIUS,
)
from trackserve.device.compile import shared
from trackserve.edm import Hits
from trackserve.edm.columns import Array

from .config import ScoreCuts
from .doublets import OrderedHits
from .fit import Fitted
from .hits import HALF_COLS, HALF_ROWS, PositionTables

_BARREL_MARGIN, _DISK_MARGIN = 0.5, 1.0
"""Width of the rim of a layer in which a track may well pass by, cm: along the beam in the barrel,
across it on a disk. It also holds the beam spot's distance from the detector's centre."""
_MAX_ARC = 20.0
"""Length of a track in the transverse plane up to which it may cross a disk, cm."""
_EIGHTH = 0.125
"""Pitches per unit of a cluster's size."""


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


class Turn(NamedTuple):
    """A track in the transverse plane: its direction at a point follows from the point.

    Attributes:
        curvature: 1/cm, positive if clockwise.
        x, y: direction at the origin, times 1 + curvature * tip.
    """

    curvature: float
    x: float
    y: float


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


def hit_shapes(ordered: OrderedHits, hits: Hits, tables: ShapeTables) -> HitShapes:
    """Return the input of the selection; on a GPU ``hits`` are the columns of a batch."""
    return HitShapes(ordered, hits.size_x, hits.size_y, tables)


@shared
def strangeness(t: int, fitted: Fitted, hits: HitShapes, cuts: ScoreCuts, most: float) -> float:
    """Return what speaks against ntuplet ``t`` beside its fit, in chi2.

    It is the sum over its clusters of :func:`length_penalty` along both axes, and a penalty for
    each layer but the innermost that it crosses without a hit. On that one hits of particles from
    decays are missing too. If the clusters alone make ``most`` of it, it is infinite.
    """
    ordered, tables = hits.ordered, hits.tables
    positions = tables.positions
    phi, tip = float(fitted.state[t, 0]), float(fitted.state[t, 1])
    curvature = PT_PER_RADIUS * float(fitted.state[t, 2])
    cot_theta = float(fitted.state[t, 3])
    stretch = 1.0 + curvature * tip
    turn = Turn(curvature, stretch * math.cos(phi), stretch * math.sin(phi))
    per_pitch_x, per_pitch_y = 1.0 / positions.pitch_x, 1.0 / positions.pitch_y
    sum_, seen = 0.0, 1
    for i in range(fitted.ntuplets.n_hits[t]):
        h = fitted.ntuplets.hits[t, i]
        row, m = ordered.order[h], ordered.module[h]
        seen |= 1 << int(tables.layer[m])
        dx = turn.x + turn.curvature * ordered.y[h]
        dy = turn.y - turn.curvature * ordered.x[h]
        axes = positions.rotation[m]
        across = axes[2, 0] * dx + axes[2, 1] * dy + axes[2, 2] * cot_theta
        depth = float(positions.thickness[m]) / across
        along_x = (axes[0, 0] * dx + axes[0, 1] * dy + axes[0, 2] * cot_theta) * depth
        along_y = (axes[1, 0] * dx + axes[1, 1] * dy + axes[1, 2] * cot_theta) * depth
        width_x = abs(along_x - positions.charge_width_x[m]) * per_pitch_x
        width_y = abs(along_y - positions.charge_width_y[m]) * per_pitch_y
        sum_ += length_penalty(hits.size_x[row], width_x, cuts)
        sum_ += length_penalty(hits.size_y[row], width_y, cuts)
        if sum_ >= most:
            return math.inf
    return sum_ + cuts.per_missed * count_missed(t, seen, curvature, fitted, tables)


@shared
def length_penalty(size: int, width: float, cuts: ScoreCuts) -> float:
    """Return what the length of a cluster says against a track, in chi2; 0 at a module's edge.

    Args:
        size: length, 1/8 pixel; negative at the edge of the module.
        width: extent of the charge that the track leaves, in pitches.
        cuts: constants of the selection.
    """
    if size <= 0:
        return 0.0
    excess = _EIGHTH * size - width - cuts.length_offset
    pull = excess / (cuts.short if excess < 0.0 else cuts.long)
    return min(pull * pull, cuts.most_short if excess < 0.0 else cuts.most_long)


@shared
def count_missed(t: int, seen: int, curvature: float, fitted: Fitted, tables: ShapeTables) -> int:
    """Return the number of layers that ntuplet ``t`` crosses without a hit, rims left out.

    Args:
        t: row of the ntuplet.
        seen: a bit for each layer that has a hit of it, or does not count.
        curvature: 1/cm.
        fitted: all ntuplets.
        tables: tables of the detector.
    """
    cot_theta, zip_ = float(fitted.state[t, 3]), float(fitted.state[t, 4])
    bend = curvature * curvature / 24.0
    missed = 0
    for layer in range(N_LAYERS):
        place = tables.spans[layer, 0]
        if layer < N_BARREL_LAYERS:
            arc = place * (1.0 + bend * place * place)
            crossing, ahead = zip_ + cot_theta * arc, True
        else:
            arc = (place - zip_) / cot_theta
            crossing, ahead = arc * (1.0 - bend * arc * arc), (arc > 0.0) & (arc < _MAX_ARC)
        inside = ahead & (crossing > tables.spans[layer, 1]) & (crossing < tables.spans[layer, 2])
        missed += int(inside & ((seen >> layer) & 1 == 0))
    return missed
