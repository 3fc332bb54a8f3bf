"""Doublets to a graph of cells (CAHitNtupletGeneratorKernelsImpl.h, GPUCACell.h, CircleEq.h).

Two cells that share a hit, (A, B) and (B, C), are neighbours if the three hits lie
on a helix from the beam spot.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
from trackserve.edm.limits import MOST, check_limit

from .config import ConnectionCuts
from .doublets import Cells, OrderedHits


class CellGraph(NamedTuple):
    """The cells that have a neighbour, in the order of :class:`.Cells`.

    Attributes:
        cell: int32[n], row in :class:`.Cells`.
        inner, outer: int32[n], ordered hits.
        pair: uint8[n], layer pair.
        start: int32[hits + 1], first cell that ends on each hit, and n.
        first: int32[n + 1], first outer neighbour of each cell in ``neighbour``, and m.
        neighbour: int32[m], cells of this graph.
        alive: bool[n], whether the cell is not killed.
    """

    cell: Array
    inner: Array
    outer: Array
    pair: Array
    start: Array
    first: Array
    neighbour: Array
    alive: Array


class InRZ(NamedTuple):
    """A hit in the r-z plane, cm."""

    r: float
    z: float


class InXY(NamedTuple):
    """A hit in the transverse plane, cm."""

    x: float
    y: float


class Vector(NamedTuple):
    """A vector in space, cm."""

    x: float
    y: float
    z: float


class Outgoing(NamedTuple):
    """Cells by their inner hit, of those hits where another cell ends.

    Attributes:
        start: int32[hits + 1], first cell that begins on each hit.
        cell: int32[n], row in :class:`.Cells`.
        r, z: float32[n], place of the cell's outer hit, cm.
    """

    start: Array
    cell: Array
    r: Array
    z: Array


class Blocks(NamedTuple):
    """Blocks of outgoing cells of which at least one is aligned with a cell.

    Attributes:
        cell: int32[n], the cell.
        start: int32[n], the first of the block in :class:`Outgoing`.
        bits: uint32[n], a bit for each of ``LANES`` cells: whether it is aligned.
    """

    cell: Array
    start: Array
    bits: Array


def connect_cells(
    hits: OrderedHits,
    cells: Cells,
    cuts: ConnectionCuts,
    max_triplets: int = MOST,
    max_connections: int = MOST,
) -> CellGraph:
    """Find the neighbours of each cell and leave out cells with none on either side.

    Args:
        hits: the hits.
        cells: the cells.
        cuts: cuts on pairs of cells.
        max_triplets: most pairs of cells that share a hit, and so are to be judged.
        max_connections: most pairs of neighbours.

    Raises:
        LimitExceeded: there are more.
    """
    outgoing, n_triplets = _outgoing(hits, cells)
    check_limit("triplets", n_triplets, max_triplets)
    source, target = _connections(hits, cells, outgoing, cuts, max_connections)
    check_limit("connections", len(source), max_connections, exact=False)
    return _graph(cells, source, target)


def remove_fishbones(hits: OrderedHits, graph: CellGraph, min_cos2: float) -> None:
    """Kill the longer of two aligned cells that end on one hit, in ``graph.alive``.

    Overlapping modules of a layer measure a particle twice; both doublets to the next
    layer point the same way (gpuFishbone.h).
    """
    _remove_fishbones(hits, graph, min_cos2)


@shared
def aligned(inner: InRZ, middle: InRZ, outer: InRZ, cut: float, min_pt: float) -> bool:
    """Whether three hits are on a line in r-z, within scattering at ``min_pt`` (GeV).

    The angle at the middle hit, from twice the triangle's area over the squared
    distance of the outer two, scaled by that distance over its radial part.
    """
    area = (
        inner.z * (middle.r - outer.r)
        + middle.z * (outer.r - inner.r)
        + outer.z * (inner.r - middle.r)
    )
    dr = inner.r - outer.r
    dz = inner.z - outer.z
    left = area * min_pt
    right = cut * dr
    return left * left <= right * right * (dr * dr + dz * dz)


@shared
def curvature_and_dca(inner: InXY, middle: InXY, outer: InXY) -> tuple[float, float]:
    """The circle through three hits.

    Returns:
        signed curvature (1/cm, positive if clockwise outwards), and the distance of closest
        approach to the origin times that curvature.
    """
    ax, ay = inner.x - middle.x, inner.y - middle.y
    bx, by = outer.x - middle.x, outer.y - middle.y
    a2 = ax * ax + ay * ay
    b2 = bx * bx + by * by
    # the vector from the middle hit to the centre is (ux, uy) / (2 cross)
    cross = ax * by - ay * bx
    ux = a2 * by - b2 * ay
    uy = b2 * ax - a2 * bx
    norm = f32(1) / math.sqrt(ux * ux + uy * uy)
    curvature = f32(2) * cross * norm
    cx = curvature * middle.x + ux * norm
    cy = curvature * middle.y + uy * norm
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
def in_rz(hits: OrderedHits, i: int) -> InRZ:
    """Hit ``i`` in the r-z plane."""
    return InRZ(hits.r[i], hits.z[i])


@shared
def in_xy(hits: OrderedHits, i: int) -> InXY:
    """Hit ``i`` in the transverse plane."""
    return InXY(hits.x[i], hits.y[i])


@shared
def vector_between(hits: OrderedHits, start: int, end: int) -> Vector:
    """The vector from hit ``start`` to hit ``end``."""
    return Vector(
        hits.x[end] - hits.x[start], hits.y[end] - hits.y[start], hits.z[end] - hits.z[start]
    )


@shared
def squared_length(v: Vector) -> float:
    """Squared length, cm^2."""
    return v.x * v.x + v.y * v.y + v.z * v.z


@shared
def same_direction(a: Vector, b: Vector, min_cos2: float) -> bool:
    """Whether the squared cosine between two vectors is at least ``min_cos2``."""
    dot = a.x * b.x + a.y * b.y + a.z * b.z
    return dot * dot >= min_cos2 * squared_length(a) * squared_length(b)


@kernel
def _connections(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Outgoing,
    cuts: ConnectionCuts,
    max_connections: int,
) -> tuple[Array, Array]:
    """Pairs of neighbours, by first, then second cell.

    Aligned pairs are found, then judged, in parts of bounded size. It ends early above
    ``max_connections``.
    """
    room = len(cells.inner) + 128
    for b in range(len(hits.order)):
        room = max(room, _most_blocks(b, cells, outgoing) + 1)
    blocks = Blocks(
        cell=np.empty(room, np.int32),
        start=np.empty(room, np.int32),
        bits=np.empty(room, np.uint32),
    )
    hit, n_blocks = _aligned_blocks(hits, cells, outgoing, cuts, blocks, 0)
    source, target = _judge(hits, cells, outgoing, cuts, blocks, n_blocks)
    while hit < len(hits.order) and len(source) <= max_connections:
        hit, n_blocks = _aligned_blocks(hits, cells, outgoing, cuts, blocks, hit)
        more, others = _judge(hits, cells, outgoing, cuts, blocks, n_blocks)
        source, target = np.concatenate((source, more)), np.concatenate((target, others))
    return source, target


@kernel
def _judge(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Outgoing,
    cuts: ConnectionCuts,
    blocks: Blocks,
    n_blocks: int,
) -> tuple[Array, Array]:
    """Those aligned pairs in ``n_blocks`` blocks that are neighbours."""
    source = np.empty((n_blocks + 1) * LANES, np.int32)
    target = np.empty((n_blocks + 1) * LANES, np.int32)
    n = u64(0)
    for k in range(u64(n_blocks)):
        for lane in range(u64(LANES)):
            source[n] = blocks.cell[k]
            target[n] = outgoing.cell[u64(blocks.start[k]) + lane]
            n += bit(blocks.bits[k], lane)
    m = u64(0)
    for k in range(n):
        cell, other = source[k], target[k]
        a, b, c = cells.inner[cell], cells.outer[cell], cells.outer[other]
        curvature, dca = curvature_and_dca(in_xy(hits, a), in_xy(hits, b), in_xy(hits, c))
        source[m], target[m] = cell, other
        m += u64(from_beam_line(curvature, dca, hits.module[a], cuts))
    return source[:m], target[:m]


@kernel
def _outgoing(hits: OrderedHits, cells: Cells) -> tuple[Outgoing, int]:
    """Cells by their inner hit, if one ends there; on the innermost layer, where most begin,
    none ends. And the number of pairs of cells that share a hit."""
    n_cells = len(cells.inner)
    n_hits = len(hits.order)
    start = np.zeros(n_hits + 1, np.int32)
    for c in range(n_cells):
        b = u64(cells.inner[c])
        start[b + u64(1)] += cells.start[b + u64(1)] > cells.start[b]
    for b in range(n_hits):
        start[b + 1] += start[b]
    n_triplets: Any = np.int64(0)
    for b in range(n_hits):
        incoming = np.int64(cells.start[b + 1]) - np.int64(cells.start[b])
        n_triplets += incoming * (np.int64(start[b + 1]) - np.int64(start[b]))
    filled = start[:-1].copy()
    room = start[n_hits] + LANES  # whole blocks of lanes are read
    outgoing = Outgoing(
        start=start,
        cell=np.empty(room, np.int32),
        r=np.empty(room, np.float32),
        z=np.empty(room, np.float32),
    )
    for c in range(n_cells):
        b = u64(cells.inner[c])
        if cells.start[b + u64(1)] > cells.start[b]:
            place = u64(filled[b])
            filled[b] += 1
            outgoing.cell[place] = c
            outgoing.r[place] = hits.r[cells.outer[c]]
            outgoing.z[place] = hits.z[cells.outer[c]]
    return outgoing, n_triplets


@kernel
def _most_blocks(b: int, cells: Cells, outgoing: Outgoing) -> int:
    """Largest number of blocks of outgoing cells that the cells of hit ``b`` are aligned with."""
    n_outgoing = int(outgoing.start[b + 1]) - int(outgoing.start[b])
    return (int(cells.start[b + 1]) - int(cells.start[b])) * (n_outgoing // LANES + 1)


@kernel
def _aligned_blocks(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Outgoing,
    cuts: ConnectionCuts,
    blocks: Blocks,
    first_hit: int,
) -> tuple[int, int]:
    """Find, for each cell, the blocks of outgoing cells with one that is aligned.

    Few blocks have any: they are listed without a branch, which could not be predicted.

    Args:
        blocks: memory, at least for the blocks of one hit; it gets the blocks.
        first_hit: the hit to begin with.

    Returns:
        the hit to go on with, as there was no room for its blocks; and the number of blocks.
    """
    wide_vectors()
    n = u64(0)
    for b in range(first_hit, len(hits.order)):
        out, end = u64(outgoing.start[b]), u64(outgoing.start[b + 1])
        first, last = u64(cells.start[b]), u64(cells.start[b + 1])
        if out == end or first == last:
            continue
        if n + (last - first) * ((end - out) // u64(LANES) + u64(1)) >= u64(len(blocks.cell)):
            return b, int(np.int64(n))
        middle = in_rz(hits, b)
        cut = max_theta(hits.module[b], cuts)
        for cell in range(first, last):
            inner = in_rz(hits, cells.inner[cell])
            for block in range(out, end, u64(LANES)):
                n_left = i32(end - block)
                bits = u32(0)
                for lane in range(u64(LANES)):
                    outer = InRZ(outgoing.r[block + lane], outgoing.z[block + lane])
                    ok = aligned(inner, middle, outer, cut, cuts.min_pt)
                    bits = with_bit(bits, lane, ok & (i32(lane) < n_left))
                blocks.cell[n], blocks.start[n], blocks.bits[n] = cell, block, bits
                n += u64(bits != 0)
    return len(hits.order), int(np.int64(n))


@kernel
def _graph(cells: Cells, source: Array, target: Array) -> CellGraph:
    """The graph of the cells in ``source`` or ``target``, renumbered."""
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
    graph = CellGraph(
        cell=cell[:n].copy(),
        inner=np.empty(n, np.int32),
        outer=np.empty(n, np.int32),
        pair=np.empty(n, np.uint8),
        start=number[cells.start],
        first=_starts(number[source], n),
        neighbour=number[target],
        alive=np.ones(n, np.bool_),
    )
    for k in range(n):
        c = cell[k]
        graph.inner[k], graph.outer[k], graph.pair[k] = (
            cells.inner[c],
            cells.outer[c],
            cells.pair[c],
        )
    return graph


@kernel
def _starts(key: Array, n_keys: int) -> Array:
    """First item of each key in a counting sort of ``key``, int32[n_keys + 1]."""
    start = np.zeros(n_keys + 1, np.int32)
    for i in range(len(key)):
        start[key[i] + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    return start


@kernel
def _remove_fishbones(hits: OrderedHits, graph: CellGraph, min_cos2: float) -> None:
    n_hits = len(hits.order)
    most = 0
    for h in range(n_hits):
        most = max(most, graph.start[h + 1] - graph.start[h])
    x = np.empty(most, np.float32)
    y = np.empty(most, np.float32)
    z = np.empty(most, np.float32)
    for h in range(n_hits):
        first = graph.start[h]
        n = graph.start[h + 1] - first
        if n < 2:
            continue
        for i in range(n):
            x[i], y[i], z[i] = vector_between(hits, h, graph.inner[first + i])
        for i in range(n - 1):
            module_i = hits.module[graph.inner[first + i]]
            vector_i = Vector(x[i], y[i], z[i])
            for j in range(i + 1, n):
                if hits.module[graph.inner[first + j]] == module_i:
                    continue
                vector_j = Vector(x[j], y[j], z[j])
                if not same_direction(vector_i, vector_j, min_cos2):
                    continue
                if squared_length(vector_i) > squared_length(vector_j):
                    graph.alive[first + i] = False
                    break
                graph.alive[first + j] = False
