"""Doublets to a graph of cells (CAHitNtupletGeneratorKernelsImpl.h, GPUCACell.h, CircleEq.h).

Two cells that share a hit, (A, B) and (B, C), are neighbours if the three hits lie
on a helix from the beam spot.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import FIRST_BARREL_2, FIRST_BARREL_4, FIRST_ENDCAP
from trackserve.device.compile import (
    LANES,
    f32,
    i32,
    kernel,
    shared,
    u32,
    u64,
    wide_vectors,
)
from trackserve.device.held import Held, plain
from trackserve.device.lanes import bits_of, fill, first_lanes, gather, load, lowest
from trackserve.device.pack import pack_items, pack_numbers
from trackserve.edm.columns import Array

from .config import ConnectionCuts
from .doublets import Cells, OrderedHits

_PART = 8192
"""Aligned pairs of cells that are found before they are judged."""


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


class Connected(NamedTuple):
    """What :func:`_connect` finds.

    Attributes:
        n_triplets: number of pairs of cells that share a hit.
        n_connections: number of pairs of neighbours; if it is above the limit, there may be more.
        graph: the cells; without neighbours if a number is above its limit.
    """

    n_triplets: int
    n_connections: int
    graph: CellGraph


class Outgoing(NamedTuple):
    """The cells that may continue others, by their inner hit.

    Attributes:
        start: int32[hits + 1], first of each hit in the other columns, and n.
        cell: int32[n + LANES].
        r, z: float32[n + LANES], of the outer hit of each cell, cm.
    """

    start: Array
    cell: Array
    r: Array
    z: Array


@kernel
def connect_cells(
    hits: Held[OrderedHits] | OrderedHits,
    cells: Held[Cells] | Cells,
    cuts: Held[ConnectionCuts] | ConnectionCuts,
    max_triplets: int,
    max_connections: int,
) -> tuple[Held[CellGraph], int, int, int]:
    """Find the neighbours of each cell and leave out cells with none on either side.

    Args:
        hits: the hits.
        cells: the cells.
        cuts: cuts on pairs of cells.
        max_triplets: most pairs of cells that share a hit, and so are to be judged.
        max_connections: most pairs of neighbours.

    Returns:
        the graph, the number of its cells, and the two numbers of :class:`Connected`.
    """
    found = _connect(plain(hits), plain(cells), plain(cuts), max_triplets, max_connections)
    n_cells = len(found.graph.cell)
    return Held(found.graph), n_cells, found.n_triplets, found.n_connections


@kernel
def remove_fishbones(
    hits: Held[OrderedHits] | OrderedHits,
    graph: Held[CellGraph] | CellGraph,
    cuts: Held[ConnectionCuts] | ConnectionCuts,
) -> None:
    """Kill the longer of two aligned cells that end on one hit, in ``graph.alive``.

    Overlapping modules of a layer measure a particle twice; both doublets to the next
    layer point the same way (gpuFishbone.h).
    """
    _remove_fishbones(plain(hits), plain(graph), plain(cuts).min_cos2)


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
def from_beam_line(
    curvature: float, dca: float, innermost: int, outermost: int, cuts: ConnectionCuts
) -> bool:
    """Whether the circle is wide enough and passes near the beam line.

    Args:
        curvature, dca: see :func:`curvature_and_dca`.
        innermost, outermost: modules of the hits.
        cuts: cuts on pairs of cells.
    """
    bend = abs(curvature) if cuts.both_charges else curvature
    miss, unit = abs(dca), abs(curvature)
    later = innermost >= FIRST_BARREL_2
    near = later | (miss < cuts.max_dca_inner * unit)
    near = near & ((innermost < FIRST_BARREL_2) | (miss < cuts.max_dca_outer * unit))
    elsewhere = later | (outermost < FIRST_BARREL_4) | (outermost >= FIRST_ENDCAP)
    near = near & (elsewhere | (miss < cuts.max_dca_skipping * unit))
    return (bend <= cuts.max_curvature) & near


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
def in_lanes(hits: OrderedHits, places: Any) -> InXY:
    """The hits in the lanes, in the transverse plane."""
    return InXY(gather(hits.x, places), gather(hits.y, places))


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
def _connect(
    hits: OrderedHits,
    cells: Cells,
    cuts: ConnectionCuts,
    max_triplets: int,
    max_connections: int,
) -> Connected:
    outgoing, n_triplets, most = _outgoing(hits, cells)
    end = outgoing.start[len(hits.order)]
    # pairs are found, then judged, in parts that a near cache holds
    room = _PART + LANES * (most + 1)
    source, target = np.empty(room, np.int32), np.empty(room, np.int32)
    sources, targets = np.empty(room, np.int32), np.empty(room, np.int32)
    done, n = end if n_triplets > max_triplets else i32(0), 0
    while done < end and n <= max_connections:
        done, n_pairs = _align(hits, cells, outgoing, cuts, source, target, done)
        if n + n_pairs + LANES > len(sources):
            sources, targets = _longer(sources, n, room), _longer(targets, n, room)
        n = _judge(hits, cells, cuts, source, target, n_pairs, sources, targets, n)
    n_kept = n if n <= max_connections else 0
    return Connected(n_triplets, n, _graph(cells, sources[:n_kept], targets[:n_kept]))


@kernel
def _longer(array: Array, n: int, more: int) -> Array:
    """An array that begins with the first ``n`` items and is longer, by ``more`` at least."""
    longer = np.empty(2 * len(array) + more, np.int32)
    longer[:n] = array[:n]
    return longer


@kernel
def _outgoing(hits: OrderedHits, cells: Cells) -> tuple[Outgoing, int, int]:
    """The cells that may continue others; the number of pairs; and the most that end on a hit."""
    n_cells, n_hits = u64(len(cells.inner)), u64(len(hits.order))
    start = np.zeros(n_hits + u64(1), np.int32)
    for c in range(n_cells):
        start[u64(cells.inner[c])] += 1
    n_triplets: Any = np.int64(0)
    n = most = i32(0)
    for b in range(n_hits):
        n_incoming = i32(cells.start[b + u64(1)] - cells.start[b])
        n_outgoing = start[b] if n_incoming > 0 else i32(0)
        n_triplets += np.int64(n_incoming) * n_outgoing
        most = max(most, n_incoming)
        start[b] = n
        n = i32(n + n_outgoing)
    start[n_hits] = n
    room = u64(n) + u64(LANES)
    cell, place = np.empty(room, np.int32), start.copy()
    for b in range(n_hits):  # what continues no cell is left behind the end
        place[b] = start[b] if start[b + u64(1)] > start[b] else n
    for c in range(n_cells):
        b = u64(cells.inner[c])
        cell[u64(place[b])] = c
        place[b] += i32(cells.start[b + u64(1)] > cells.start[b])
    r, z = np.empty(room, np.float32), np.empty(room, np.float32)
    for k in range(u64(n)):
        h = u64(cells.outer[u64(cell[k])])
        r[k], z[k] = hits.r[h], hits.z[h]
    return Outgoing(start, cell, r, z), n_triplets, int(most)


@kernel
def _align(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Outgoing,
    cuts: ConnectionCuts,
    source: Array,
    target: Array,
    begin: int,
) -> tuple[int, int]:
    """Find pairs of cells that are aligned in r-z; the second cells of a first one are in order.

    A block of the cells that begin on a hit is compared with each cell that ends there.

    Args:
        hits: the hits.
        cells: the cells.
        outgoing: the cells by inner hit.
        cuts: cuts on pairs of cells.
        source, target: memory, at least for the pairs of one block; they get the pairs.
        begin: the first of ``outgoing`` to compare; it has one.

    Returns:
        the first of ``outgoing`` that is left, as there was no room for the pairs of its block;
        and the number of pairs.
    """
    wide_vectors()
    n = u64(0)
    for b in range(u64(cells.inner[u64(outgoing.cell[begin])]), u64(len(hits.order))):
        first = max(u64(outgoing.start[b]), u64(begin))
        last = u64(outgoing.start[b + u64(1)])
        middle, cut = in_rz(hits, b), max_theta(hits.module[b], cuts)
        first_cell, last_cell = u64(cells.start[b]), u64(cells.start[b + u64(1)])
        for block in range(first, last, u64(LANES)):
            if n + u64(LANES) * (last_cell - first_cell) + u64(LANES) > u64(len(source)):
                return i32(block), int(np.int64(n))
            outer = InRZ(load(outgoing.r, block), load(outgoing.z, block))
            inside = first_lanes(i32(last - block))
            for a in range(first_cell, last_cell):
                inner = in_rz(hits, u64(cells.inner[a]))
                bits = bits_of(aligned(inner, middle, outer, cut, cuts.min_pt) & inside)
                fill(source, n, i32(a))
                n += pack_items(outgoing.cell, block, bits, target, n)
    return outgoing.start[len(hits.order)], int(np.int64(n))


@kernel
def _judge(
    hits: OrderedHits,
    cells: Cells,
    cuts: ConnectionCuts,
    source: Array,
    target: Array,
    n_pairs: int,
    sources: Array,
    targets: Array,
    n_before: int,
) -> int:
    """Add those of the aligned pairs that are neighbours to those found before.

    Args:
        hits: the hits.
        cells: the cells.
        cuts: cuts on pairs of cells.
        source, target: the pairs; there is room for a block more.
        n_pairs: their number.
        sources, targets: the neighbours, with room for all pairs and a block more.
        n_before: number of neighbours found before.

    Returns:
        the number of neighbours now.
    """
    wide_vectors()
    n = u64(n_pairs)
    fill(source, n, i32(0))  # whole blocks are read
    fill(target, n, i32(0))
    m = u64(n_before)
    for block in range(u64(0), n, u64(LANES)):
        cell, other = load(source, block), load(target, block)
        a, b, c = gather(cells.inner, cell), gather(cells.outer, cell), gather(cells.outer, other)
        curvature, dca = curvature_and_dca(in_lanes(hits, a), in_lanes(hits, b), in_lanes(hits, c))
        innermost, outermost = gather(hits.module, a), gather(hits.module, c)
        ok = from_beam_line(curvature, dca, innermost, outermost, cuts)
        ok = ok & first_lanes(i32(n - block))
        pack_items(target, block, bits_of(ok), targets, m)
        m += pack_items(source, block, bits_of(ok), sources, m)
    return int(np.int64(m))


@kernel
def _graph(cells: Cells, source: Array, target: Array) -> CellGraph:
    """The graph of the cells in ``source`` or ``target``, renumbered.

    Args:
        cells: all cells.
        source, target: pairs of neighbours; the second cells of a first one are in order.
    """
    n_cells = u64(len(cells.inner))
    used = np.zeros(n_cells + u64(LANES), np.bool_)
    for k in range(u64(len(source))):
        used[u64(source[k])] = True
        used[u64(target[k])] = True
    cell = np.empty(min(n_cells, u64(2 * len(source))) + u64(LANES), np.int32)
    n = u64(0)
    for block in range(u64(0), n_cells, u64(LANES)):
        n += pack_numbers(block, bits_of(load(used, block)), cell, n)
    graph = CellGraph(
        cell=cell[:n].copy(),
        inner=np.empty(n, np.int32),
        outer=np.empty(n, np.int32),
        pair=np.empty(n, np.uint8),
        start=np.zeros(len(cells.start), np.int32),
        first=np.zeros(n + u64(1), np.int32),
        neighbour=np.empty(len(source), np.int32),
        alive=np.ones(n, np.bool_),
    )
    number = np.empty(n_cells, np.int32)  # of the cells in the graph
    for k in range(n):
        c = u64(cell[k])
        number[c] = k
        graph.inner[k], graph.outer[k] = cells.inner[c], cells.outer[c]
        graph.pair[k] = cells.pair[c]
        graph.start[u64(cells.outer[c]) + u64(1)] += 1
    for h in range(u64(len(cells.start) - 1)):
        graph.start[h + u64(1)] += graph.start[h]
    for i in range(u64(len(source))):
        graph.first[u64(number[u64(source[i])]) + u64(1)] += 1
    for k in range(n):
        graph.first[k + u64(1)] += graph.first[k]
    place = graph.first.copy()
    for i in range(u64(len(source))):
        k = u64(number[u64(source[i])])
        graph.neighbour[u64(place[k])] = number[u64(target[i])]
        place[k] += 1
    return graph


@kernel
def _remove_fishbones(hits: OrderedHits, graph: CellGraph, min_cos2: float) -> None:
    n_cells = u64(len(graph.cell))
    x = np.empty(n_cells + u64(LANES), np.float32)
    y = np.empty(n_cells + u64(LANES), np.float32)
    z = np.empty(n_cells + u64(LANES), np.float32)
    module = np.empty(n_cells + u64(LANES), np.int32)
    for k in range(n_cells):
        inner = u64(graph.inner[k])
        x[k], y[k], z[k] = vector_between(hits, u64(graph.outer[k]), inner)
        module[k] = hits.module[inner]
    for i in range(n_cells):
        last = u64(graph.start[u64(graph.outer[i]) + u64(1)])
        own, killed = Vector(x[i], y[i], z[i]), False
        for block in range(i + u64(1), last, u64(LANES)):
            others = Vector(load(x, block), load(y, block), load(z, block))
            close = same_direction(own, others, min_cos2)
            elsewhere = load(module, block) != module[i]
            bits = bits_of(close & elsewhere & first_lanes(i32(last - block)))
            while bits > u32(0) and not killed:
                j = block + lowest(bits)
                bits &= bits - u32(1)
                killed = squared_length(own) > squared_length(Vector(x[j], y[j], z[j]))
                graph.alive[i if killed else j] = False
            if killed:
                break
