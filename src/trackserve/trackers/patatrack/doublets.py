"""Hits to doublets: pairs of hits on 19 pairs of layers (gpuPixelDoubletsAlgos.h).

The hits of each layer are sorted by phi once (paper: "phi binning"); then each outer hit
is compared with the bins in phi of the inner layers, a block of hits at a time. The cuts
have no branch and the result of a block is a word of bits, so that a block is one pass
of vector instructions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import LAYER_START, N_BARREL_LAYERS, N_LAYERS
from trackserve.device.compile import (
    LANES,
    bit,
    f32,
    i16,
    i32,
    kernel,
    shared,
    u32,
    u64,
    wide_vectors,
    with_bit,
)
from trackserve.edm import Hits
from trackserve.edm.columns import Array

from .config import DoubletCuts

_TURN = 65536
_RAD = f32(math.pi / 32768)
_HALF = f32(0.5)
_BIN_SHIFT = 7
BINS = _TURN >> _BIN_SHIFT
BARREL, TO_DISK, DISKS = range(3)
"""Layer pairs by the cut on cluster lengths."""


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


class Candidates(NamedTuple):
    """For each layer pair the inner hits that pass the cuts on the inner hit, by phi.

    Attributes:
        hit: int32[n], the ordered hit; next to it what the cuts on pairs look at.
        phi, size: int32[n].
        z, r: float32[n].
        start: int32[pairs, bins + 1], first candidate of each bin in phi.
    """

    hit: Array
    phi: Array
    size: Array
    z: Array
    r: Array
    start: Array


class Cells(NamedTuple):
    """Doublets as cells of the automaton, by outer hit, then layer pair, then inner hit.

    Attributes:
        inner, outer: int32[n], ordered hits.
        pair: uint8[n], layer pair.
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
        pairs: records of :data:`trackserve.trackers.patatrack.config.LAYER_PAIR`.
    """
    return Cells(*_find_doublets(hits, pairs, cuts))


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
def long_enough(size: int, min_size: int) -> bool:
    """Whether an inner cluster is as long as a track to a disk makes it; one at an edge
    always is."""
    return (size <= 0) | (size >= min_size)


@shared
def phi_bin(phi: int) -> int:
    """Bin in phi; past +-pi it is negative or at least the number of bins."""
    return (phi + _TURN // 2) >> _BIN_SHIFT


@shared
def phi_difference(a: int, b: int) -> int:
    """a - b in units of pi/32768, int32, the short way round."""
    return i32(i16(a - b))


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
    """Whether two barrel clusters are about as long; one at an edge always is."""
    return (size_i <= 0) | (size_o <= 0) | (abs(i32(size_o - size_i)) <= max_difference)


@shared
def size_as_predicted(
    size_i: int, zi: float, ri: float, zo: float, ro: float, cuts: DoubletCuts
) -> bool:
    """Whether the barrel cluster is as long as the slope towards the disk's hit predicts;
    one at an edge always is."""
    predicted = i32(abs((zi - zo) / (ri - ro)) * cuts.size_per_slope + _HALF)
    return (size_i <= 0) | (abs(i32(size_i - predicted)) <= i32(cuts.max_size_residual))


@shared
def starts_pair(z: float, size: int, min_z: float, max_z: float, min_size: int) -> bool:
    """Whether a hit may be the inner one of a pair."""
    inside = (z >= min_z) & (z <= max_z)
    return inside & long_enough(size, i32(min_size))


@shared
def min_inner_size(inner: int, outer: int, cuts: DoubletCuts) -> int:
    """Shortest cluster on layer ``inner`` of a track to layer ``outer``."""
    if outer >= N_BARREL_LAYERS and inner < 2:
        return cuts.min_size_1 if inner == 0 else cuts.min_size_2
    return 0


@shared
def phi_window(phi: int, width: int, part: int) -> tuple[int, int, int]:
    """Bins within ``width`` of ``phi``: how many parts they have, first and end of ``part``.

    There are two parts at the seam, where the window goes on at the other end; in the order
    of the hits.
    """
    low = phi_bin(phi - width)
    high = phi_bin(phi + width) + 1
    if low >= 0 and high <= BINS:
        return 1, low, high
    return 2, 0 if part == 0 else low % BINS, high % BINS if part == 0 else BINS


@shared
def makes_pair(
    zi: float,
    ri: float,
    size_i: int,
    zo: float,
    ro: float,
    size_o: int,
    dphi: int,
    max_dphi: int,
    max_dr: float,
    max_difference: int,
    cuts: DoubletCuts,
    kind: int,
) -> bool:
    """Whether two hits pass all cuts of a layer pair.

    Args:
        kind: of the pair; a constant of the caller, so that each has code of its own.
    """
    ok = from_beam_spot(zi, ri, zo, ro, dphi, max_dr, cuts)
    if kind == BARREL:
        ok &= similar_sizes(size_i, size_o, i32(max_difference))
    elif kind == TO_DISK:
        ok &= size_as_predicted(size_i, zi, ri, zo, ro, cuts)
    return ok & (abs(dphi) <= max_dphi)


@shared
def accepted(
    candidates: Candidates,
    block: int,
    last: int,
    outer: tuple[float, float, int, int],
    pair: Any,
    cuts: DoubletCuts,
    kind: int,
) -> int:
    """Which candidates from ``block`` on, but before ``last``, pass all cuts with an outer hit.

    Args:
        outer: z, r, phi and size of the outer hit.
        pair: record of :data:`trackserve.trackers.patatrack.config.LAYER_PAIR`.
        kind: of the pair; a constant of the caller, so that each has a loop of its own.

    Returns:
        uint32, a bit for each of ``LANES`` candidates.
    """
    zo, ro, phi_o, size_o = outer
    n_left = i32(last - block)
    max_difference = cuts.max_size_difference_1 if pair.inner == 0 else cuts.max_size_difference
    bits = u32(0)
    for lane in range(u64(LANES)):
        k = block + lane
        zi, ri, size_i = candidates.z[k], candidates.r[k], candidates.size[k]
        dphi = phi_difference(phi_o, candidates.phi[k])
        ok = makes_pair(
            *(zi, ri, size_i, zo, ro, size_o, dphi),
            *(pair.phi, pair.max_dr, max_difference, cuts, kind),
        )
        ok &= i32(lane) < n_left
        bits = with_bit(bits, lane, ok)
    return bits


@kernel
def _inner_candidates(hits: OrderedHits, pairs: Array, cuts: DoubletCuts) -> Candidates:
    n = 0
    for pair in pairs:
        n += hits.layer_start[pair.inner + 1] - hits.layer_start[pair.inner]
    # whole blocks of lanes are read: room for the last one
    hit = np.empty(n + LANES, np.int32)
    phi = np.empty(n + LANES, np.int32)
    size = np.empty(n + LANES, np.int32)
    z = np.empty(n + LANES, np.float32)
    r = np.empty(n + LANES, np.float32)
    start = np.zeros((len(pairs), BINS + 1), np.int32)
    n = 0
    for p in range(len(pairs)):
        pair = pairs[p]
        min_size = min_inner_size(pair.inner, pair.outer, cuts)
        start[p, 0] = n
        for i in range(hits.layer_start[pair.inner], hits.layer_start[pair.inner + 1]):
            z_i, size_i = hits.z[i], hits.size_y[i]
            hit[n], phi[n], size[n], z[n], r[n] = i, hits.phi[i], size_i, z_i, hits.r[i]
            n += int(starts_pair(z_i, size_i, pair.min_z, pair.max_z, min_size))
        for k in range(start[p, 0], n):
            start[p, phi_bin(phi[k]) + 1] += 1
        for b in range(BINS):
            start[p, b + 1] += start[p, b]
    return Candidates(hit, phi, size, z, r, start)


@kernel
def _find_doublets(
    hits: OrderedHits, pairs: Array, cuts: DoubletCuts
) -> tuple[Array, Array, Array, Array]:
    candidates = _inner_candidates(hits, pairs, cuts)
    n_hits = len(hits.order)
    start = np.empty(n_hits + 1, np.int32)
    capacity = 16 * n_hits + 64
    enough = False
    while not enough:
        capacity *= 2
        inner = np.empty(capacity, np.int32)
        outer = np.empty(capacity, np.int32)
        pair_of = np.empty(capacity, np.uint8)
        enough = _fill_cells(hits, candidates, pairs, cuts, inner, outer, pair_of, start)
    n = start[n_hits]
    return inner[:n], outer[:n], pair_of[:n], start


@kernel
def _fill_cells(
    hits: OrderedHits,
    candidates: Candidates,
    pairs: Array,
    cuts: DoubletCuts,
    inner: Array,
    outer: Array,
    pair_of: Array,
    start: Array,
) -> bool:
    """Fill the columns of :class:`Cells`; false if they have not enough room."""
    wide_vectors()
    pairs_of_layer = np.empty(len(pairs), np.int32)
    n = u64(0)
    for layer in range(N_LAYERS):
        n_pairs = 0
        for p in range(len(pairs)):
            if pairs[p].outer == layer:
                pairs_of_layer[n_pairs] = p
                n_pairs += 1
        for o in range(hits.layer_start[layer], hits.layer_start[layer + 1]):
            start[o] = n
            measured = hits.z[o], hits.r[o], hits.phi[o], hits.size_y[o]
            for q in range(n_pairs):
                p = pairs_of_layer[q]
                pair = pairs[p]
                for part in range(2):
                    n_parts, first_bin, end_bin = phi_window(hits.phi[o], pair.phi, part)
                    if part == n_parts:
                        break
                    first = u64(candidates.start[p, first_bin])
                    last = u64(candidates.start[p, end_bin])
                    if n + (last - first) + u64(LANES) > u64(len(inner)):
                        return False
                    for block in range(first, last, u64(LANES)):
                        if pair.outer < N_BARREL_LAYERS:
                            bits = accepted(candidates, block, last, measured, pair, cuts, BARREL)
                        elif pair.inner < N_BARREL_LAYERS:
                            bits = accepted(candidates, block, last, measured, pair, cuts, TO_DISK)
                        else:
                            bits = accepted(candidates, block, last, measured, pair, cuts, DISKS)
                        for lane in range(u64(LANES)):
                            outer[n + lane], pair_of[n + lane] = o, p
                        for lane in range(u64(LANES)):
                            inner[n] = candidates.hit[block + lane]
                            n += bit(bits, lane)
    start[len(hits.order)] = n
    return True
