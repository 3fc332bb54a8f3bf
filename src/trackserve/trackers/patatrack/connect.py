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
    f32,
    i32,
    kernel,
    shared,
    u32,
    u64,
    wide_vectors,
    with_bit,
)
from trackserve.device.held import Held, plain
from trackserve.device.pack import pack_items, pack_numbers
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


class Places(NamedTuple):
    """Places of the inner hits of cells, and of hits.

    Attributes:
        r, z: float32[cells + LANES], of the inner hit of each cell, cm.
        n_incoming: int32[hits], number of cells that end on each hit.
    """

    r: Array
    z: Array
    n_incoming: Array


def connect_cells(
    hits: Held[OrderedHits] | OrderedHits,
    cells: Held[Cells] | Cells,
    cuts: ConnectionCuts,
    max_triplets: int = MOST,
    max_connections: int = MOST,
) -> tuple[Held[CellGraph], int]:
    """Find the neighbours of each cell and leave out cells with none on either side.

    Args:
        hits: the hits.
        cells: the cells.
        cuts: cuts on pairs of cells.
        max_triplets: most pairs of cells that share a hit, and so are to be judged.
        max_connections: most pairs of neighbours.

    Returns:
        the graph, and the number of its cells.

    Raises:
        LimitExceeded: there are more.
    """
    found = _graph_of(hits, cells, cuts, max_triplets, max_connections)
    graph, n_cells, n_triplets, n_connections = found
    check_limit("triplets", n_triplets, max_triplets)
    check_limit("connections", n_connections, max_connections, exact=False)
    return graph, n_cells


@kernel
def _graph_of(
    hits: Held[OrderedHits] | OrderedHits,
    cells: Held[Cells] | Cells,
    cuts: ConnectionCuts,
    max_triplets: int,
    max_connections: int,
) -> tuple[Held[CellGraph], int, int, int]:
    """The graph, the number of its cells, and the numbers of :class:`Connected`."""
    found = _connect(plain(hits), plain(cells), cuts, max_triplets, max_connections)
    n_cells = len(found.graph.cell)
    return Held(found.graph), n_cells, found.n_triplets, found.n_connections


@kernel
def remove_fishbones(
    hits: Held[OrderedHits] | OrderedHits, graph: Held[CellGraph] | CellGraph, min_cos2: float
) -> None:
    """Kill the longer of two aligned cells that end on one hit, in ``graph.alive``.

    Overlapping modules of a layer measure a particle twice; both doublets to the next
    layer point the same way (gpuFishbone.h).
    """
    _remove_fishbones(plain(hits), plain(graph), min_cos2)


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
def _connect(
    hits: OrderedHits,
    cells: Cells,
    cuts: ConnectionCuts,
    max_triplets: int,
    max_connections: int,
) -> Connected:
    places = _places(hits, cells)
    n_triplets: Any = np.int64(0)
    second = np.empty(len(cells.inner) + 1, np.int32)
    n_second = u64(0)
    for c in range(u64(len(cells.inner))):
        n_incoming = places.n_incoming[u64(cells.inner[c])]
        n_triplets += n_incoming
        second[n_second] = c
        n_second += u64(n_incoming > 0)
    second = second[:n_second]
    # room for what one cell can add; pairs are found, then judged, in parts of bounded size
    room = len(cells.inner) + LANES
    for b in range(len(hits.order)):
        room = max(room, places.n_incoming[b] + 2 * LANES)
    source, target = np.empty(room, np.int32), np.empty(room, np.int32)
    if n_triplets > max_triplets:
        second = second[:0]
    second, n = _align(hits, cells, places, cuts, source, target, second)
    n = _judge(hits, cells, cuts, source, target, n)
    sources, targets = source[:n].copy(), target[:n].copy()
    while len(second) > 0 and len(sources) <= max_connections:
        second, n = _align(hits, cells, places, cuts, source, target, second)
        n = _judge(hits, cells, cuts, source, target, n)
        sources = np.concatenate((sources, source[:n]))
        targets = np.concatenate((targets, target[:n]))
    n_connections = len(sources)
    if n_connections > max_connections:
        sources, targets = sources[:0], targets[:0]
    return Connected(n_triplets, n_connections, _graph(cells, sources, targets))


@kernel
def _places(hits: OrderedHits, cells: Cells) -> Places:
    n_cells, n_hits = len(cells.inner), len(hits.order)
    places = Places(
        r=np.empty(n_cells + LANES, np.float32),
        z=np.empty(n_cells + LANES, np.float32),
        n_incoming=np.empty(n_hits, np.int32),
    )
    for c in range(u64(n_cells)):
        places.r[c] = hits.r[u64(cells.inner[c])]
    for c in range(u64(n_cells)):
        places.z[c] = hits.z[u64(cells.inner[c])]
    for b in range(u64(n_hits)):
        places.n_incoming[b] = cells.start[b + u64(1)] - cells.start[b]
    return places


@kernel
def _align(
    hits: OrderedHits,
    cells: Cells,
    places: Places,
    cuts: ConnectionCuts,
    source: Array,
    target: Array,
    second: Array,
) -> tuple[Array, int]:
    """Find pairs of cells that are aligned in r-z, by second, then first cell.

    The cells that end on a hit are in a row: so a cell is compared with those that end on its
    inner hit, a block at a time.

    Args:
        places: places of the inner hits.
        source, target: memory, at least for the pairs of one cell; they get the pairs.
        second: int32[n], cells on whose inner hit another one ends.

    Returns:
        the second cells that are left, as there was no room for their pairs; and the number of
        pairs.
    """
    wide_vectors()
    n = u64(0)
    for k in range(u64(len(second))):
        c = u64(second[k])
        b = u64(cells.inner[c])
        n_incoming = places.n_incoming[b]
        if n + u64(n_incoming) + u64(LANES) > u64(len(source)):
            return second[k:], int(np.int64(n))
        middle, outer = in_rz(hits, b), in_rz(hits, u64(cells.outer[c]))
        cut = max_theta(hits.module[b], cuts)
        first = u64(cells.start[b])
        last = first + u64(n_incoming)
        for block in range(first, last, u64(LANES)):
            n_left = i32(last - block)
            bits = u32(0)
            for lane in range(u64(LANES)):
                inner = InRZ(places.r[block + lane], places.z[block + lane])
                ok = aligned(inner, middle, outer, cut, cuts.min_pt)
                bits = with_bit(bits, lane, ok & (i32(lane) < n_left))
            for lane in range(u64(LANES)):
                target[n + lane] = c
            n += pack_numbers(block, bits, source, n)
    return second[:0], int(np.int64(n))


@kernel
def _judge(
    hits: OrderedHits,
    cells: Cells,
    cuts: ConnectionCuts,
    source: Array,
    target: Array,
    n_pairs: int,
) -> int:
    """Move those of the aligned pairs that are neighbours to the front; return their number."""
    wide_vectors()
    n = u64(n_pairs)
    for lane in range(u64(LANES)):  # whole blocks are read
        source[n + lane], target[n + lane] = 0, 0
    m = u64(0)
    for block in range(u64(0), n, u64(LANES)):
        n_left = i32(n - block)
        bits = u32(0)
        for lane in range(u64(LANES)):
            cell, other = u64(source[block + lane]), u64(target[block + lane])
            a, b, c = u64(cells.inner[cell]), u64(cells.inner[other]), u64(cells.outer[other])
            curvature, dca = curvature_and_dca(in_xy(hits, a), in_xy(hits, b), in_xy(hits, c))
            ok = from_beam_line(curvature, dca, hits.module[a], cuts)
            bits = with_bit(bits, lane, ok & (i32(lane) < n_left))
        pack_items(target, block, bits, target, m)
        m += pack_items(source, block, bits, source, m)
    return int(np.int64(m))


@kernel
def _graph(cells: Cells, source: Array, target: Array) -> CellGraph:
    """The graph of the cells in ``source`` or ``target``, renumbered.

    Args:
        cells: all cells.
        source, target: pairs of neighbours, by second, then first cell.
    """
    n_cells = len(cells.inner)
    used = np.zeros(n_cells, np.bool_)
    for k in range(u64(len(source))):
        used[u64(source[k])] = True
        used[u64(target[k])] = True
    cell = np.empty(n_cells + 1, np.int32)
    number = np.empty(n_cells + 1, np.int32)
    n = u64(0)
    for c in range(u64(n_cells)):
        cell[n], number[c] = c, n
        n += u64(used[c])
    number[n_cells] = n
    graph = CellGraph(
        cell=cell[:n].copy(),
        inner=np.empty(n, np.int32),
        outer=np.empty(n, np.int32),
        pair=np.empty(n, np.uint8),
        start=np.empty(len(cells.start), np.int32),
        first=np.zeros(n + u64(1), np.int32),
        neighbour=np.empty(len(source), np.int32),
        alive=np.ones(n, np.bool_),
    )
    for k in range(n):
        c = u64(cell[k])
        graph.inner[k], graph.outer[k] = cells.inner[c], cells.outer[c]
        graph.pair[k] = cells.pair[c]
    for h in range(u64(len(cells.start))):
        graph.start[h] = number[u64(cells.start[h])]
    _group(number, source, target, graph)
    return graph


@kernel
def _group(number: Array, source: Array, target: Array, graph: CellGraph) -> None:
    """Sort the neighbours by the cell that they continue; those of a cell keep their order."""
    first, n = graph.first, len(graph.cell)
    for i in range(u64(len(source))):
        first[u64(number[u64(source[i])]) + u64(1)] += 1
    for k in range(u64(n)):
        first[k + u64(1)] += first[k]
    filled = first[:-1].copy()
    for i in range(u64(len(source))):
        k = u64(number[u64(source[i])])
        graph.neighbour[u64(filled[k])] = number[u64(target[i])]
        filled[k] += 1


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
