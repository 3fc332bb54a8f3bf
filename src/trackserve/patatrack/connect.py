"""Doublets to a graph of cells (CAHitNtupletGeneratorKernelsImpl.h, GPUCACell.h, CircleEq.h).

Two cells that share a hit, (A, B) and (B, C), are neighbours if the three hits lie
on a helix from the beam spot.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..detector.phase1 import FIRST_BARREL_2, FIRST_ENDCAP
from ..device import kernel, shared
from ..edm.columns import Array
from .config import ConnectionCuts
from .doublets import Cells, OrderedHits


class CellGraph(NamedTuple):
    """Outer neighbours of each cell.

    Attributes:
        first, last: int32[cells], range of a cell's neighbours.
        neighbour: int32[n], cells.
        alive: bool[cells]: has a neighbour on either side and was not killed.
    """

    first: Array
    last: Array
    neighbour: Array
    alive: Array


class CellsOfHit(NamedTuple):
    """Cells by the hit they start or end on: int32 ``start`` [hits + 1], ``cell`` [cells]."""

    start: Array
    cell: Array


def connect_cells(
    hits: OrderedHits, cells: Cells, cuts: ConnectionCuts
) -> tuple[CellGraph, CellsOfHit]:
    """Neighbours of each cell, and the cells that end on each hit."""
    n_hits = len(hits.order)
    ending = CellsOfHit(*_by_hit(cells.outer, n_hits))
    starting = CellsOfHit(*_by_hit(cells.inner, n_hits))
    return CellGraph(*_connect_cells(hits, cells, ending, starting, cuts)), ending


def remove_fishbones(
    hits: OrderedHits, cells: Cells, graph: CellGraph, ending: CellsOfHit, min_cos2: np.float32
) -> Array:
    """Kill the longer of two aligned cells that end on one hit; returns bool[cells], killed.

    Overlapping modules of a layer measure a particle twice; both doublets to the next
    layer point the same way (gpuFishbone.h).
    """
    killed: Array = _remove_fishbones(hits, cells, graph.alive, ending, min_cos2)
    return killed


@shared
def aligned(r1, z1, r2, z2, r3, z3, cut, min_pt):
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
def curvature_and_dca(x1, y1, x2, y2, x3, y3):
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
    norm = np.float32(1) / math.sqrt(ux * ux + uy * uy)
    curvature = np.float32(2) * cross * norm
    cx = curvature * x2 + ux * norm
    cy = curvature * y2 + uy * norm
    return curvature, math.sqrt(cx * cx + cy * cy) - np.float32(1)


@shared
def same_direction(ax, ay, az, bx, by, bz, min_cos2):
    """Whether the squared cosine between two vectors is at least ``min_cos2``."""
    dot = ax * bx + ay * by + az * bz
    a2 = ax * ax + ay * ay + az * az
    b2 = bx * bx + by * by + bz * bz
    return dot * dot >= min_cos2 * a2 * b2


@kernel
def _by_hit(hit, n_hits):
    """Counting sort of cells by ``hit``; stable."""
    start = np.zeros(n_hits + 1, np.int32)
    cell = np.empty(len(hit), np.int32)
    for c in range(len(hit)):
        start[hit[c] + 1] += 1
    for h in range(n_hits):
        start[h + 1] += start[h]
    for c in range(len(hit)):
        cell[start[hit[c]]] = c
        start[hit[c]] += 1
    for h in range(n_hits, 0, -1):
        start[h] = start[h - 1]
    start[0] = 0
    return start, cell


@kernel
def _connect_cells(hits, cells, ending, starting, cuts):
    n_cells = len(cells.inner)
    first = np.zeros(n_cells, np.int32)
    last = np.zeros(n_cells, np.int32)
    alive = np.zeros(n_cells, np.bool_)
    capacity = n_cells + 64
    neighbour = np.empty(capacity, np.int32)
    n = 0
    # hits C of the cells (B, C), gathered for the inner loop
    most = 0
    for b in range(len(hits.order)):
        most = max(most, starting.start[b + 1] - starting.start[b])
    r3 = np.empty(most, np.float32)
    z3 = np.empty(most, np.float32)
    on_line = np.empty(most, np.bool_)
    for b in range(len(hits.order)):
        ins = ending.start[b], ending.start[b + 1]
        outs = starting.start[b], starting.start[b + 1]
        n_out = outs[1] - outs[0]
        if ins[0] == ins[1] or n_out == 0:
            continue
        for k in range(n_out):
            c = cells.outer[starting.cell[outs[0] + k]]
            r3[k], z3[k] = hits.r[c], hits.z[c]
        r2, z2 = hits.r[b], hits.z[b]
        cut = cuts.theta_barrel if hits.module[b] < FIRST_ENDCAP else cuts.theta_forward
        for i in range(ins[0], ins[1]):
            cell = ending.cell[i]
            a = cells.inner[cell]
            r1, z1 = hits.r[a], hits.z[a]
            for k in range(n_out):
                on_line[k] = aligned(r1, z1, r2, z2, r3[k], z3[k], cut, cuts.min_pt)
            if n + n_out > capacity:
                capacity = 2 * capacity + n_out
                grown = np.empty(capacity, np.int32)
                grown[:n] = neighbour[:n]
                neighbour = grown
            max_dca = cuts.max_dca_inner if hits.module[a] < FIRST_BARREL_2 else cuts.max_dca_outer
            first[cell] = n
            for k in range(n_out):
                if not on_line[k]:
                    continue
                outer = starting.cell[outs[0] + k]
                c = cells.outer[outer]
                curvature, dca = curvature_and_dca(
                    hits.x[a], hits.y[a], hits.x[b], hits.y[b], hits.x[c], hits.y[c]
                )
                # oddity of the reference: no absolute value in the first comparison
                if curvature <= cuts.max_curvature and abs(dca) < max_dca * abs(curvature):
                    neighbour[n] = outer
                    n += 1
                    alive[outer] = True
            last[cell] = n
            if n > first[cell]:
                alive[cell] = True
    return first, last, neighbour[:n], alive


@kernel
def _remove_fishbones(hits, cells, alive, ending, min_cos2):
    killed = np.zeros(len(alive), np.bool_)
    most = 0
    for h in range(len(hits.order)):
        most = max(most, ending.start[h + 1] - ending.start[h])
    used = np.empty(most, np.int32)
    x = np.empty(most, np.float32)
    y = np.empty(most, np.float32)
    z = np.empty(most, np.float32)
    for h in range(len(hits.order)):
        n = 0
        for i in range(ending.start[h], ending.start[h + 1]):
            cell = ending.cell[i]
            if alive[cell]:
                inner = cells.inner[cell]
                used[n] = cell
                x[n] = hits.x[inner] - hits.x[h]
                y[n] = hits.y[inner] - hits.y[h]
                z[n] = hits.z[inner] - hits.z[h]
                n += 1
        for i in range(n - 1):
            module_i = hits.module[cells.inner[used[i]]]
            length_i = x[i] * x[i] + y[i] * y[i] + z[i] * z[i]
            for j in range(i + 1, n):
                if hits.module[cells.inner[used[j]]] == module_i:
                    continue
                if not same_direction(x[i], y[i], z[i], x[j], y[j], z[j], min_cos2):
                    continue
                if length_i > x[j] * x[j] + y[j] * y[j] + z[j] * z[j]:
                    killed[used[i]] = True
                    break
                killed[used[j]] = True
    for cell in range(len(alive)):
        alive[cell] &= not killed[cell]
    return killed
