"""Hits to doublets: pairs of hits on 19 pairs of layers (gpuPixelDoubletsAlgos.h).

The hits of each layer are sorted by phi once (paper: "phi binning"); then, for each
layer pair, a window in phi slides over the outer layer as the inner hit advances.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..detector.phase1 import LAYER_START, N_BARREL_LAYERS, N_LAYERS
from ..device import f32, i32, kernel, shared, u64
from ..edm import Hits
from ..edm.columns import Array
from .config import DoubletCuts

_TURN = 65536
_RAD = f32(math.pi / 32768)
_HALF = f32(0.5)


class OrderedHits(NamedTuple):
    """What the combinatorics needs of the hits, ordered by layer, then by phi.

    Attributes:
        order: int32[n], row in :class:`trackserve.edm.Hits`.
        layer_start: int32[11], first hit of each layer, and n.
        module: int32[n].
        phi: int32[n], pi/32768.
        x, y, z, r: float32[n], cm.
        size_y: int32[n], 1/8 pixel.
    """

    order: Array
    layer_start: Array
    module: Array
    phi: Array
    x: Array
    y: Array
    z: Array
    r: Array
    size_y: Array


class Cells(NamedTuple):
    """Doublets as cells of the automaton, by outer hit, then layer pair, then inner hit.

    Attributes:
        inner, outer: int32[n], ordered hits.
        pair: int32[n], layer pair.
        start: int32[hits + 1], first cell that ends on each hit, and n.
    """

    inner: Array
    outer: Array
    pair: Array
    start: Array


def order_by_phi(hits: Hits) -> OrderedHits:
    """Sort hits by (layer, phi, row)."""
    columns = (hits.module, hits.phi, hits.x, hits.y, hits.z, hits.r, hits.size_y)
    return OrderedHits(*_order_by_phi(*columns, LAYER_START))


def find_doublets(hits: OrderedHits, pairs: Array, cuts: DoubletCuts) -> Cells:
    """All compatible pairs of hits.

    Args:
        pairs: records of :data:`trackserve.patatrack.config.LAYER_PAIR`.
    """
    inner, outer, pair = _find_doublets(hits, pairs, cuts)
    return Cells(*_order_by_outer(inner, outer, pair, len(hits.order)))


@kernel
def _order_by_phi(
    module: Array,
    phi: Array,
    x: Array,
    y: Array,
    z: Array,
    r: Array,
    size_y: Array,
    first_module: Array,
) -> tuple[Array, ...]:
    """Radix sort, two passes of eight bits within each layer; stable."""
    n = len(phi)
    layer_start = np.searchsorted(module, first_module).astype(np.int32)
    order = np.empty(n, np.int32)
    other = np.empty(n, np.int32)
    count = np.empty(257, np.int32)
    for i in range(n):
        order[i] = i
    for layer in range(N_LAYERS):
        first, last = layer_start[layer], layer_start[layer + 1]
        for shift in (0, 8):
            source, target = (order, other) if shift == 0 else (other, order)
            for b in range(257):
                count[b] = 0
            for i in range(first, last):
                count[(((int(phi[source[i]]) + 32768) >> shift) & 255) + 1] += 1
            count[0] = first
            for b in range(256):
                count[b + 1] += count[b]
            for i in range(first, last):
                b = ((int(phi[source[i]]) + 32768) >> shift) & 255
                target[count[b]] = source[i]
                count[b] += 1
    integers = np.empty((3, n), np.int32)
    lengths = np.empty((4, n), np.float32)
    for i in range(n):
        k = order[i]
        integers[0, i], integers[1, i], integers[2, i] = module[k], phi[k], size_y[k]
        lengths[0, i], lengths[1, i], lengths[2, i], lengths[3, i] = x[k], y[k], z[k], r[k]
    return (
        *(order, layer_start, integers[0], integers[1]),
        *(lengths[0], lengths[1], lengths[2], lengths[3], integers[2]),
    )


@shared
def long_enough(size: int, inner_layer: int, to_disk: bool, cuts: DoubletCuts) -> bool:
    """Whether an inner cluster is as long as a track from barrel 1 or 2 to a disk makes it."""
    if not to_disk or size <= 0:
        return True
    if inner_layer == 0:
        return size >= cuts.min_size_1
    return inner_layer != 1 or size >= cuts.min_size_2


@shared
def from_beam_spot(
    zi: float, ri: float, zo: float, ro: float, dphi: int, max_dr: float, cuts: DoubletCuts
) -> bool:
    """Whether the line through both hits crosses the beam line within ``max_z0``, and
    the circle through them and the beam line has at least ``min_radius``."""
    dr = ro - ri
    near = abs(zi * ro - ri * zo) <= cuts.max_z0 * dr
    angle = f32(dphi) * _RAD
    diameter2 = f32(4) * cuts.min_radius * cuts.min_radius
    hard = angle * angle * (diameter2 - ri * ro) <= dr * dr
    return (dr <= max_dr) & (dr >= 0) & near & hard


@shared
def similar_sizes(size_i: int, size_o: int, max_difference: int) -> bool:
    """Whether two barrel clusters are about as long; an outer one at an edge always is."""
    return (size_o <= 0) | (abs(size_o - size_i) <= max_difference)


@shared
def size_as_predicted(
    size_i: int, zi: float, ri: float, zo: float, ro: float, cuts: DoubletCuts
) -> bool:
    """Whether the barrel cluster is as long as the slope towards the disk's hit predicts."""
    predicted = i32(abs((zi - zo) / (ri - ro)) * cuts.size_per_slope + _HALF)
    return abs(size_i - predicted) <= cuts.max_size_residual


@kernel
def _find_doublets(
    hits: OrderedHits, pairs: Array, cuts: DoubletCuts
) -> tuple[Array, Array, Array]:
    # A layer's hits within reach of +-pi are repeated at its other end, one turn away.
    reach = 0
    for p in range(len(pairs)):
        reach = max(reach, pairs[p].phi)
    n = len(hits.phi)
    phi = np.empty(3 * n, np.int32)
    z = np.empty(3 * n, np.float32)
    r = np.empty(3 * n, np.float32)
    size = np.empty(3 * n, np.int32)
    index = np.empty(3 * n, np.int32)
    start = np.empty(N_LAYERS + 1, np.int32)
    k = 0
    for layer in range(N_LAYERS):
        start[layer] = k
        for turn in (-_TURN, 0, _TURN):
            for i in range(hits.layer_start[layer], hits.layer_start[layer + 1]):
                p = hits.phi[i] + turn
                if -_TURN // 2 - reach <= p < _TURN // 2 + reach:
                    phi[k], z[k], r[k], size[k] = p, hits.z[i], hits.r[i], hits.size_y[i]
                    index[k] = i
                    k += 1
    start[N_LAYERS] = k

    capacity = 16 * n + 64
    inner = np.empty(capacity, np.int32)
    outer = np.empty(capacity, np.int32)
    pair_of = np.empty(capacity, np.int32)
    accepted = np.empty(3 * n, np.uint8)
    n_cells = 0
    for p in range(len(pairs)):
        pair = pairs[p]
        from_barrel = pair.inner < N_BARREL_LAYERS
        to_barrel = pair.outer < N_BARREL_LAYERS
        max_difference = cuts.max_size_difference_1 if pair.inner == 0 else cuts.max_size_difference
        low = start[pair.outer]
        high = low
        end = start[pair.outer + 1]
        for i in range(hits.layer_start[pair.inner], hits.layer_start[pair.inner + 1]):
            zi, ri, phi_i, size_i = hits.z[i], hits.r[i], hits.phi[i], hits.size_y[i]
            if zi < pair.min_z or zi > pair.max_z:
                continue
            if not long_enough(size_i, pair.inner, from_barrel and not to_barrel, cuts):
                continue
            while low < end and phi[low] < phi_i - pair.phi:
                low += 1
            high = max(high, low)
            while high < end and phi[high] <= phi_i + pair.phi:
                high += 1
            if n_cells + high - low > capacity:
                capacity = 2 * capacity + high - low
                inner = grown(inner, n_cells, capacity)
                outer = grown(outer, n_cells, capacity)
                pair_of = grown(pair_of, n_cells, capacity)
            # unsigned indices, which need no test for being negative, let these vectorise
            first, last = u64(low), u64(high)
            if size_i > 0 and to_barrel:
                for j in range(first, last):
                    accepted[j - first] = from_beam_spot(
                        zi, ri, z[j], r[j], phi[j] - phi_i, pair.max_dr, cuts
                    ) & similar_sizes(size_i, size[j], max_difference)
            elif size_i > 0 and from_barrel:
                for j in range(first, last):
                    accepted[j - first] = from_beam_spot(
                        zi, ri, z[j], r[j], phi[j] - phi_i, pair.max_dr, cuts
                    ) & size_as_predicted(size_i, zi, ri, z[j], r[j], cuts)
            else:
                for j in range(first, last):
                    accepted[j - first] = from_beam_spot(
                        zi, ri, z[j], r[j], phi[j] - phi_i, pair.max_dr, cuts
                    )
            before = n_cells
            filled = u64(n_cells)
            for j in range(first, last):
                outer[filled] = index[j]
                filled += u64(accepted[j - first])
            n_cells = int(np.int64(filled))
            for c in range(before, n_cells):
                inner[c], pair_of[c] = i, p
    return inner[:n_cells], outer[:n_cells], pair_of[:n_cells]


@kernel
def _order_by_outer(
    inner: Array, outer: Array, pair: Array, n_hits: int
) -> tuple[Array, Array, Array, Array]:
    """Counting sort; stable."""
    n = len(inner)
    start = starts(outer, n_hits)
    filled = start[:-1].copy()
    sorted_inner = np.empty(n, np.int32)
    sorted_outer = np.empty(n, np.int32)
    sorted_pair = np.empty(n, np.int32)
    for c in range(n):
        place = filled[outer[c]]
        filled[outer[c]] += 1
        sorted_inner[place], sorted_outer[place], sorted_pair[place] = inner[c], outer[c], pair[c]
    return sorted_inner, sorted_outer, sorted_pair, start


@kernel
def starts(key: Array, n_keys: int) -> Array:
    """Where each key begins in a counting sort of ``key``, int32[n_keys + 1]."""
    start = np.zeros(n_keys + 1, np.int32)
    for i in range(len(key)):
        start[key[i] + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    return start


@kernel
def grown(array: Array, n: int, capacity: int) -> Array:
    """The first ``n`` elements of ``array`` in one with more room."""
    larger = np.empty(capacity, array.dtype)
    for i in range(n):
        larger[i] = array[i]
    return larger
