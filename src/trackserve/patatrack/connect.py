"""Doublets to a graph of cells (CAHitNtupletGeneratorKernelsImpl.h, GPUCACell.h, CircleEq.h).

Two cells that share a hit, (A, B) and (B, C), are neighbours if the three hits lie
on a helix from the beam spot.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..detector.phase1 import FIRST_BARREL_2, FIRST_ENDCAP
from ..device import f32, kernel, shared, u64
from ..edm.columns import Array
from .config import ConnectionCuts
from .doublets import Cells, OrderedHits, grown, starts


class CellGraph(NamedTuple):
    """The cells that have a neighbour, in the order of :class:`.Cells`.

    Attributes:
        cell: int32[n], which of the :class:`.Cells` it is.
        inner, outer, pair: int32[n], as there.
        start: int32[hits + 1], first of those that end on each hit, and n.
        first, last: int32[n], range of its outer neighbours in ``neighbour``.
        neighbour: int32[m], members of this graph.
        alive: bool[n], not killed.
    """

    cell: Array
    inner: Array
    outer: Array
    pair: Array
    start: Array
    first: Array
    last: Array
    neighbour: Array
    alive: Array


def connect_cells(hits: OrderedHits, cells: Cells, cuts: ConnectionCuts) -> CellGraph:
    """Find the neighbours of each cell and leave out cells with none on either side."""
    first, last, neighbour, used = _connect_cells(hits, cells, cuts)
    return CellGraph(*_compact(cells, first, last, neighbour, used))


def remove_fishbones(hits: OrderedHits, graph: CellGraph, min_cos2: float) -> None:
    """Kill the longer of two aligned cells that end on one hit, in ``graph.alive``.

    Overlapping modules of a layer measure a particle twice; both doublets to the next
    layer point the same way (gpuFishbone.h).
    """
    _remove_fishbones(hits, graph, min_cos2)


@shared
def aligned(
    r1: float, z1: float, r2: float, z2: float, r3: float, z3: float, cut: float, min_pt: float
) -> bool:
    """Whether three hits are on a line in r-z, within scattering at ``min_pt``.

    The angle at the middle hit, from twice the triangle's area over the squared
    distance of the outer two, scaled by that distance over its radial part.
    """
    area = z1 * (r2 - r3) + z2 * (r3 - r1) + z3 * (r1 - r2)
    dr = r1 - r3
    dz = z1 - z3
    left = area * min_pt
    right = cut * dr
    return left * left <= right * right * (dr * dr + dz * dz)


@shared
def curvature_and_dca(
    x1: float, y1: float, x2: float, y2: float, x3: float, y3: float
) -> tuple[float, float]:
    """Signed curvature (1/cm, positive if clockwise outwards) of the circle through three
    points, and its distance of closest approach to the origin times that curvature."""
    ax, ay = x1 - x2, y1 - y2
    bx, by = x3 - x2, y3 - y2
    a2 = ax * ax + ay * ay
    b2 = bx * bx + by * by
    # the vector from point 2 to the centre is (ux, uy) / (2 cross)
    cross = ax * by - ay * bx
    ux = a2 * by - b2 * ay
    uy = b2 * ax - a2 * bx
    norm = f32(1) / math.sqrt(ux * ux + uy * uy)
    curvature = f32(2) * cross * norm
    cx = curvature * x2 + ux * norm
    cy = curvature * y2 + uy * norm
    return curvature, math.sqrt(cx * cx + cy * cy) - f32(1)


@shared
def same_direction(
    ax: float, ay: float, az: float, bx: float, by: float, bz: float, min_cos2: float
) -> bool:
    """Whether the squared cosine between two vectors is at least ``min_cos2``."""
    dot = ax * bx + ay * by + az * bz
    a2 = ax * ax + ay * ay + az * az
    b2 = bx * bx + by * by + bz * bz
    return dot * dot >= min_cos2 * a2 * b2


@kernel
def _connect_cells(
    hits: OrderedHits, cells: Cells, cuts: ConnectionCuts
) -> tuple[Array, Array, Array, Array]:
    n_cells = len(cells.inner)
    n_hits = len(hits.order)

    # cells by their inner hit, with the outer hit's place in r-z for the inner loop
    begin = starts(cells.inner, n_hits)
    filled = begin[:-1].copy()
    beginning = np.empty(n_cells, np.int32)
    r_outer = np.empty(n_cells, np.float32)
    z_outer = np.empty(n_cells, np.float32)
    for c in range(n_cells):
        place = filled[cells.inner[c]]
        filled[cells.inner[c]] += 1
        beginning[place] = c
        r_outer[place], z_outer[place] = hits.r[cells.outer[c]], hits.z[cells.outer[c]]

    first = np.zeros(n_cells, np.int32)
    last = np.zeros(n_cells, np.int32)
    used = np.zeros(n_cells, np.bool_)
    capacity = n_cells + 64
    neighbour = np.empty(capacity, np.int32)
    n = 0
    most = _largest_group(begin)
    on_line = np.empty(most, np.uint8)
    chosen = np.empty(most, np.int32)
    for b in range(n_hits):
        out = begin[b]
        n_out = begin[b + 1] - out
        if n_out == 0:
            continue
        r3, z3 = r_outer[out : out + n_out], z_outer[out : out + n_out]
        r2, z2 = hits.r[b], hits.z[b]
        cut = cuts.theta_barrel if hits.module[b] < FIRST_ENDCAP else cuts.theta_forward
        for cell in range(cells.start[b], cells.start[b + 1]):
            a = cells.inner[cell]
            r1, z1 = hits.r[a], hits.z[a]
            for k in range(n_out):
                on_line[k] = aligned(r1, z1, r2, z2, r3[k], z3[k], cut, cuts.min_pt)
            n_chosen = u64(0)
            for k in range(n_out):
                chosen[n_chosen] = k
                n_chosen += u64(on_line[k])
            if n_chosen == 0:
                continue
            if n + np.int64(n_chosen) > capacity:
                capacity = 2 * capacity + len(chosen)
                neighbour = grown(neighbour, n, capacity)
            max_dca = cuts.max_dca_inner if hits.module[a] < FIRST_BARREL_2 else cuts.max_dca_outer
            first[cell] = n
            for k in chosen[:n_chosen]:
                other = beginning[out + k]
                c = cells.outer[other]
                curvature, dca = curvature_and_dca(
                    hits.x[a], hits.y[a], hits.x[b], hits.y[b], hits.x[c], hits.y[c]
                )
                bend = abs(curvature) if cuts.both_charges else curvature
                if bend <= cuts.max_curvature and abs(dca) < max_dca * abs(curvature):
                    neighbour[n] = other
                    n += 1
                    used[other] = True
            last[cell] = n
            if n > first[cell]:
                used[cell] = True
    return first, last, neighbour[:n], used


@kernel
def _largest_group(start: Array) -> int:
    """Most members that one key has, from :func:`.starts`."""
    most = 0
    for k in range(len(start) - 1):
        most = max(most, start[k + 1] - start[k])
    return most


@kernel
def _compact(
    cells: Cells, first: Array, last: Array, neighbour: Array, used: Array
) -> tuple[Array, ...]:
    """Columns of :class:`CellGraph`: the used cells, renumbered."""
    n_hits = len(cells.start) - 1
    cell = np.empty(len(used), np.int32)
    number = np.empty(len(used), np.int32)
    start = np.empty(n_hits + 1, np.int32)
    n = 0
    for h in range(n_hits):
        start[h] = n
        for c in range(cells.start[h], cells.start[h + 1]):
            if used[c]:
                cell[n] = c
                number[c] = n
                n += 1
    start[n_hits] = n
    inner = np.empty(n, np.int32)
    outer = np.empty(n, np.int32)
    pair = np.empty(n, np.int32)
    new_first = np.empty(n, np.int32)
    new_last = np.empty(n, np.int32)
    for k in range(n):
        c = cell[k]
        inner[k], outer[k], pair[k] = cells.inner[c], cells.outer[c], cells.pair[c]
        new_first[k], new_last[k] = first[c], last[c]
    renumbered = np.empty(len(neighbour), np.int32)
    for k in range(len(neighbour)):
        renumbered[k] = number[neighbour[k]]
    alive = np.ones(n, np.bool_)
    return cell[:n].copy(), inner, outer, pair, start, new_first, new_last, renumbered, alive


@kernel
def _remove_fishbones(hits: OrderedHits, graph: CellGraph, min_cos2: float) -> None:
    n_hits = len(hits.order)
    most = _largest_group(graph.start)
    x = np.empty(most, np.float32)
    y = np.empty(most, np.float32)
    z = np.empty(most, np.float32)
    for h in range(n_hits):
        first = graph.start[h]
        n = graph.start[h + 1] - first
        if n < 2:
            continue
        for i in range(n):
            inner = graph.inner[first + i]
            x[i] = hits.x[inner] - hits.x[h]
            y[i] = hits.y[inner] - hits.y[h]
            z[i] = hits.z[inner] - hits.z[h]
        for i in range(n - 1):
            module_i = hits.module[graph.inner[first + i]]
            length_i = x[i] * x[i] + y[i] * y[i] + z[i] * z[i]
            for j in range(i + 1, n):
                if hits.module[graph.inner[first + j]] == module_i:
                    continue
                if not same_direction(x[i], y[i], z[i], x[j], y[j], z[j], min_cos2):
                    continue
                if length_i > x[j] * x[j] + y[j] * y[j] + z[j] * z[j]:
                    graph.alive[first + i] = False
                    break
                graph.alive[first + j] = False
