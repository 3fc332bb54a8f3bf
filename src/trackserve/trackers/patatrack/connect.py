"""Doublets to a graph of cells (CAHitNtupletGeneratorKernelsImpl.h, GPUCACell.h, CircleEq.h).

Two cells that share a hit, (A, B) and (B, C), are neighbours if the three hits lie
on a helix from the beam spot.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import FIRST_BARREL_2, FIRST_ENDCAP
from trackserve.device.compile import (
    LANES,
    bit,
    f32,
    i32,
    kernel,
    shared,
    u32,
    u64,
    wide_vectors,
    with_bit,
)
from trackserve.edm.columns import Array

from .config import ConnectionCuts
from .doublets import Cells, OrderedHits


class CellGraph(NamedTuple):
    """The cells that have a neighbour, in the order of :class:`.Cells`.

    Attributes:
        cell: int32[n], which of the :class:`.Cells` it is.
        inner, outer: int32[n], pair: uint8[n], as there.
        start: int32[hits + 1], first of those that end on each hit, and n.
        first: int32[n + 1], where its outer neighbours begin in ``neighbour``.
        neighbour: int32[m], members of this graph.
        alive: bool[n], not killed.
    """

    cell: Array
    inner: Array
    outer: Array
    pair: Array
    start: Array
    first: Array
    neighbour: Array
    alive: Array


def connect_cells(hits: OrderedHits, cells: Cells, cuts: ConnectionCuts) -> CellGraph:
    """Find the neighbours of each cell and leave out cells with none on either side."""
    return CellGraph(*_connect_cells(hits, cells, cuts))


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
def from_beam_line(curvature: float, dca: float, module: int, cuts: ConnectionCuts) -> bool:
    """Whether the circle is wide enough and passes near the beam line.

    Args:
        curvature, dca: see :func:`curvature_and_dca`.
        module: of the innermost hit.
    """
    max_dca = cuts.max_dca_inner if module < FIRST_BARREL_2 else cuts.max_dca_outer
    bend = abs(curvature) if cuts.both_charges else curvature
    return (bend <= cuts.max_curvature) & (abs(dca) < max_dca * abs(curvature))


@shared
def max_theta(module: int, cuts: ConnectionCuts) -> float:
    """The cut of :func:`aligned` for a middle hit on ``module``."""
    return cuts.theta_barrel if module < FIRST_ENDCAP else cuts.theta_forward


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
def _connect_cells(hits: OrderedHits, cells: Cells, cuts: ConnectionCuts) -> tuple[Array, ...]:
    source, target = _aligned_cells(hits, cells, cuts)
    n = u64(0)
    for k in range(len(source)):
        cell, other = source[k], target[k]
        a, b, c = cells.inner[cell], cells.outer[cell], cells.outer[other]
        curvature, dca = curvature_and_dca(
            hits.x[a], hits.y[a], hits.x[b], hits.y[b], hits.x[c], hits.y[c]
        )
        source[n], target[n] = cell, other
        n += u64(from_beam_line(curvature, dca, hits.module[a], cuts))
    return _graph(cells, source[:n], target[:n])


@kernel
def _aligned_cells(hits: OrderedHits, cells: Cells, cuts: ConnectionCuts) -> tuple[Array, Array]:
    """Pairs of cells that share a hit and are aligned in r-z, by first, then second cell."""
    n_cells = len(cells.inner)
    n_hits = len(hits.order)

    # cells by their inner hit, if one ends there, with the outer hit's place in r-z for the inner
    # loop; most begin on the innermost layer, where none ends
    begin = np.zeros(n_hits + 1, np.int32)
    for c in range(n_cells):
        b = u64(cells.inner[c])
        begin[b + u64(1)] += cells.start[b + u64(1)] > cells.start[b]
    for b in range(n_hits):
        begin[b + 1] += begin[b]
    filled = begin[:-1].copy()
    n_beginning = begin[n_hits]
    beginning = np.empty(n_beginning + LANES, np.int32)
    r_outer = np.empty(n_beginning + LANES, np.float32)
    z_outer = np.empty(n_beginning + LANES, np.float32)
    for c in range(n_cells):
        b = u64(cells.inner[c])
        if cells.start[b + u64(1)] > cells.start[b]:
            place = u64(filled[b])
            filled[b] += 1
            beginning[place] = c
            r_outer[place], z_outer[place] = hits.r[cells.outer[c]], hits.z[cells.outer[c]]

    capacity = n_cells // 2 + 64
    n_blocks = -1
    while n_blocks < 0:
        capacity *= 2
        cell_of = np.empty(capacity, np.int32)
        start_of = np.empty(capacity, np.int32)
        bits_of = np.empty(capacity, np.uint32)
        n_blocks = _aligned_blocks(
            hits, cells, begin, r_outer, z_outer, cuts, cell_of, start_of, bits_of
        )

    source = np.empty((n_blocks + 1) * LANES, np.int32)
    target = np.empty((n_blocks + 1) * LANES, np.int32)
    n = u64(0)
    for k in range(u64(n_blocks)):
        for lane in range(u64(LANES)):
            source[n], target[n] = cell_of[k], beginning[u64(start_of[k]) + lane]
            n += bit(bits_of[k], lane)
    return source[:n], target[:n]


@kernel
def _aligned_blocks(
    hits: OrderedHits,
    cells: Cells,
    begin: Array,
    r_outer: Array,
    z_outer: Array,
    cuts: ConnectionCuts,
    cell_of: Array,
    start_of: Array,
    bits_of: Array,
) -> int:
    """For each cell the blocks of those that begin where it ends, if any of them is aligned.

    Fills the cell, the block's start among the cells by inner hit, and a bit for each
    that is aligned. Few blocks have any: they are listed without a branch, which could
    not be predicted. Returns how many there are, or -1 if there is not enough room.
    """
    wide_vectors()
    n = u64(0)
    for b in range(len(hits.order)):
        out, end = u64(begin[b]), u64(begin[b + 1])
        first, last = u64(cells.start[b]), u64(cells.start[b + 1])
        if out == end or first == last:
            continue
        if n + (last - first) * ((end - out) // u64(LANES) + u64(1)) >= u64(len(cell_of)):
            return -1
        r2, z2 = hits.r[b], hits.z[b]
        cut = max_theta(hits.module[b], cuts)
        for cell in range(first, last):
            a = cells.inner[cell]
            r1, z1 = hits.r[a], hits.z[a]
            for block in range(out, end, u64(LANES)):
                n_left = i32(end - block)
                bits = u32(0)
                for lane in range(u64(LANES)):
                    r3, z3 = r_outer[block + lane], z_outer[block + lane]
                    ok = aligned(r1, z1, r2, z2, r3, z3, cut, cuts.min_pt)
                    bits = with_bit(bits, lane, ok & (i32(lane) < n_left))
                cell_of[n], start_of[n], bits_of[n] = cell, block, bits
                n += u64(bits != 0)
    return int(np.int64(n))


@kernel
def _graph(cells: Cells, source: Array, target: Array) -> tuple[Array, ...]:
    """Columns of :class:`CellGraph`: the cells in ``source`` or ``target``, renumbered."""
    n_cells = len(cells.inner)
    used = np.zeros(n_cells, np.bool_)
    for k in range(len(source)):
        used[source[k]] = True
        used[target[k]] = True
    cell = np.empty(n_cells + 1, np.int32)
    number = np.empty(n_cells + 1, np.int32)
    n = u64(0)
    for c in range(n_cells):
        cell[n], number[c] = c, n
        n += u64(used[c])
    number[n_cells] = n
    cell = cell[:n].copy()
    inner = np.empty(n, np.int32)
    outer = np.empty(n, np.int32)
    pair = np.empty(n, np.uint8)
    for k in range(n):
        c = cell[k]
        inner[k], outer[k], pair[k] = cells.inner[c], cells.outer[c], cells.pair[c]
    start = number[cells.start]
    neighbour = number[target]
    first = _starts(number[source], len(cell))
    alive = np.ones(len(cell), np.bool_)
    return cell, inner, outer, pair, start, first, neighbour, alive


@kernel
def _starts(key: Array, n_keys: int) -> Array:
    """Where each key begins in a counting sort of ``key``, int32[n_keys + 1]."""
    start = np.zeros(n_keys + 1, np.int32)
    for i in range(len(key)):
        start[key[i] + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    return start


@kernel
def _largest_group(start: Array) -> int:
    """Most members that one key has, from :func:`_starts`."""
    most = 0
    for k in range(len(start) - 1):
        most = max(most, start[k + 1] - start[k])
    return most


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
