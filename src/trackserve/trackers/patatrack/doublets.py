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
    f32,
    i32,
    kernel,
    shared,
    u8,
    u64,
    wide_vectors,
)
from trackserve.device.held import Held, plain
from trackserve.device.lanes import bits_of, fill, first_lanes, load, real, whole
from trackserve.device.pack import pack_items, pack_numbers
from trackserve.edm.columns import Array

from .config import DoubletCuts

_TURN = 65536
_RAD = f32(math.pi / 32768)
_HALF = f32(0.5)
_ANY_SLOPE = f32(1e6)
_BIN_SHIFT = 7
BINS = _TURN >> _BIN_SHIFT
BARREL, TO_DISK, DISKS = range(3)
"""Layer pairs by the cut on cluster lengths."""


class OrderedHits(NamedTuple):
    """Hits ordered by layer, then by phi, with the columns that the combinatorics needs.

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
    """The inner hits of each layer pair that pass the cuts on the inner hit, by phi.

    Attributes:
        hit: int32[n], the ordered hit.
        phi: int32[n], pi/32768.
        size: int32[n], 1/8 pixel.
        z, r: float32[n], cm.
        flattest, steepest: float32[n], as in :class:`HitPoint`.
        start: int32[pairs, bins + 1], first candidate of each bin in phi.
    """

    hit: Array
    phi: Array
    size: Array
    z: Array
    r: Array
    flattest: Array
    steepest: Array
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


class HitPoint(NamedTuple):
    """One hit, as the cuts on doublets see it.

    Attributes:
        z, r: cm.
        phi: int32, pi/32768.
        size: int32, length of the cluster along the beam, 1/8 pixel; not positive at an edge.
        flattest, steepest: least and largest abs(dz / dr) of a pair that such a cluster may be in,
            by its length. Any at an edge, where the rest of the cluster may be missing.
    """

    z: float
    r: float
    phi: int
    size: int
    flattest: float
    steepest: float


class PairCuts(NamedTuple):
    """The cuts of one layer pair.

    Attributes:
        min_z, max_z: of the inner hit, cm.
        min_size: least length of the inner cluster, 1/8 pixel.
        max_dphi: largest difference in phi, pi/32768.
        max_dr: largest step in r, cm.
        max_size_difference: largest difference of the lengths of barrel clusters, 1/8 pixel.
        max_shortness, max_excess: by which a barrel cluster may be shorter and longer than the
            slope of the pair predicts, 1/8 pixel.
        all_pairs: the cuts that all layer pairs share.
    """

    min_z: float
    max_z: float
    min_size: int
    max_dphi: int
    max_dr: float
    max_size_difference: int
    max_shortness: float
    max_excess: float
    all_pairs: DoubletCuts


@kernel
def order_by_phi(hits: Held[Any] | Any) -> Held[OrderedHits]:
    """Sort hits, columns of :class:`trackserve.edm.Hits`, by (layer, phi, row)."""
    return Held(_order_by_phi(plain(hits), LAYER_START))


@kernel
def find_doublets(
    hits: Held[OrderedHits] | OrderedHits,
    pairs: Held[Array] | Array,
    cuts: Held[DoubletCuts] | DoubletCuts,
    max_doublets: int,
) -> tuple[Held[Cells], int]:
    """Find all compatible pairs of hits.

    Args:
        hits: the hits.
        pairs: records of :data:`trackserve.trackers.patatrack.config.LAYER_PAIR`.
        cuts: cuts on pairs of hits.
        max_doublets: most pairs; memory for little more is allocated.

    Returns:
        the pairs, and their number. If it is above the limit, there may be more, and the first
        value has none.
    """
    cells, found = _find_doublets(plain(hits), plain(pairs), plain(cuts), max_doublets)
    if found > max_doublets:
        start = np.zeros(len(cells.start), np.int32)
        cells = Cells(cells.inner[:0], cells.outer[:0], cells.pair[:0], start)
    return Held(cells), found


@kernel
def _order_by_phi(hits: Any, first_module: Array) -> OrderedHits:
    """Radix sort, two passes of eight bits within each layer; stable.

    Args:
        hits: columns of :class:`trackserve.edm.Hits`.
        first_module: first module of each layer, and the number of modules.
    """
    phi = hits.phi
    n = len(phi)
    layer_start = np.searchsorted(hits.module, first_module).astype(np.int32)
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
    # whole blocks of lanes are read: room for the last one
    integers = np.empty((3, n + LANES), np.int32)
    lengths = np.empty((4, n + LANES), np.float32)
    ordered = OrderedHits(
        order=order,
        layer_start=layer_start,
        module=integers[0][:n],
        phi=integers[1][:n],
        x=lengths[0][:n],
        y=lengths[1][:n],
        z=lengths[2][:n],
        r=lengths[3][:n],
        size_y=integers[2][:n],
    )
    for i in range(n):
        k = order[i]
        ordered.module[i], ordered.phi[i] = hits.module[k], phi[k]
        ordered.x[i], ordered.y[i], ordered.z[i] = hits.x[k], hits.y[k], hits.z[k]
        ordered.r[i], ordered.size_y[i] = hits.r[k], hits.size_y[k]
    return ordered


@shared
def phi_bin(phi: int) -> int:
    """Bin in phi; past +-pi it is negative or at least the number of bins."""
    return (phi + _TURN // 2) >> _BIN_SHIFT


@shared
def phi_difference(a: int, b: int) -> int:
    """``a - b``, pi/32768, the short way round."""
    return ((a - b + _TURN // 2) & (_TURN - 1)) - _TURN // 2


@shared
def cuts_of(pair: Any, cuts: DoubletCuts) -> PairCuts:
    """The cuts of one layer pair.

    Args:
        pair: has the fields of :data:`trackserve.trackers.patatrack.config.LAYER_PAIR`.
        cuts: cuts that all layer pairs share.
    """
    min_size = 0
    if pair.outer >= N_BARREL_LAYERS and pair.inner < 2:
        min_size = cuts.min_size_1 if pair.inner == 0 else cuts.min_size_2
    max_difference = cuts.max_size_difference_1 if pair.inner == 0 else cuts.max_size_difference
    max_shortness, max_excess = cuts.max_shortness, cuts.max_excess
    if pair.outer < N_BARREL_LAYERS and pair.outer > pair.inner + 1:
        max_shortness, max_excess = cuts.max_shortness_skipping, cuts.max_excess_skipping
    return PairCuts(
        min_z=pair.min_z,
        max_z=pair.max_z,
        min_size=i32(min_size),
        max_dphi=pair.phi,
        max_dr=pair.max_dr,
        max_size_difference=i32(max_difference),
        max_shortness=max_shortness,
        max_excess=max_excess,
        all_pairs=cuts,
    )


@shared
def starts_pair(z: float, size: int, cuts: PairCuts) -> bool:
    """Whether a hit may be the inner one of a pair.

    Its cluster must be as long as a track to a disk makes it. One at an edge always is.

    Args:
        z, size: of the hit, as in :class:`HitPoint`.
        cuts: cuts of the layer pair.
    """
    inside = (z >= cuts.min_z) & (z <= cuts.max_z)
    return inside & ((size <= 0) | (size >= cuts.min_size))


@shared
def from_beam_spot(inner: HitPoint, outer: HitPoint, cuts: PairCuts) -> bool:
    """Whether two hits may be of a track from the beam spot.

    The line through both must cross the beam line within ``max_z0``. The circle through both and
    the beam line must have at least ``min_radius``.
    """
    max_z0, min_radius = cuts.all_pairs.max_z0, cuts.all_pairs.min_radius
    dr = outer.r - inner.r
    near = abs(inner.z * outer.r - inner.r * outer.z) <= max_z0 * dr
    angle = real(phi_difference(outer.phi, inner.phi)) * _RAD
    diameter2 = f32(4) * min_radius * min_radius
    hard = angle * angle * (diameter2 - inner.r * outer.r) <= dr * dr
    return (dr <= cuts.max_dr) & (dr >= f32(0)) & near & hard


@shared
def similar_sizes(inner: HitPoint, outer: HitPoint, cuts: PairCuts) -> bool:
    """Whether two barrel clusters are about as long; one at an edge always is."""
    difference = abs(outer.size - inner.size)
    return (inner.size <= 0) | (outer.size <= 0) | (difference <= cuts.max_size_difference)


@shared
def size_as_predicted(inner: HitPoint, outer: HitPoint, cuts: PairCuts) -> bool:
    """Whether the barrel cluster is as long as the slope towards the disk's hit predicts.

    One at an edge always is.
    """
    slope = abs((inner.z - outer.z) / (inner.r - outer.r))
    predicted = whole(slope * cuts.all_pairs.size_per_slope + _HALF)
    residual = abs(inner.size - predicted)
    return (inner.size <= 0) | (residual <= cuts.all_pairs.max_size_residual)


@shared
def lengths_fit(flattest: float, steepest: float, inner: HitPoint, outer: HitPoint) -> bool:
    """Whether barrel clusters are about as long as the slope of a pair makes them.

    Args:
        flattest, steepest: slopes that the clusters allow.
        inner, outer: the pair; the outer hit is farther from the beam line.
    """
    dr, dz = outer.r - inner.r, abs(outer.z - inner.z)
    return (flattest * dr <= dz) & (dz <= steepest * dr)


@shared
def phi_window(phi: int, width: int, part: int) -> tuple[int, int, int]:
    """Bins within ``width`` of ``phi``.

    At the seam the window goes on at the other end; there it has two parts, in the order of the
    hits.

    Returns:
        the number of parts; the first bin of ``part`` and the one past its last.
    """
    low = phi_bin(phi - width)
    high = phi_bin(phi + width) + 1
    if low >= 0 and high <= BINS:
        return 1, low, high
    return 2, 0 if part == 0 else low % BINS, high % BINS if part == 0 else BINS


@shared
def makes_pair(inner: HitPoint, outer: HitPoint, cuts: PairCuts, kind: int) -> bool:
    """Whether two hits pass all cuts of a layer pair.

    Args:
        kind: kind of the layer pair; a constant of the caller, so that each has code of its own.
    """
    ok = from_beam_spot(inner, outer, cuts)
    if kind == BARREL:
        ok = ok & similar_sizes(inner, outer, cuts)
        flattest = max(inner.flattest, outer.flattest)
        steepest = min(inner.steepest, outer.steepest)
        ok = ok & lengths_fit(flattest, steepest, inner, outer)
    elif kind == TO_DISK:
        ok = ok & size_as_predicted(inner, outer, cuts)
        ok = ok & lengths_fit(inner.flattest, inner.steepest, inner, outer)
    return ok & (abs(phi_difference(outer.phi, inner.phi)) <= cuts.max_dphi)


@shared
def accepted(
    candidates: Candidates, block: int, last: int, outer: HitPoint, cuts: PairCuts, kind: int
) -> int:
    """Compare a block of candidates with an outer hit.

    Args:
        candidates: inner hits.
        block: the first candidate of the block.
        last: the one past the last candidate; the block may go on behind it.
        outer: the outer hit.
        cuts: cuts of the layer pair.
        kind: kind of the layer pair; a constant of the caller, so that each has a loop of its own.

    Returns:
        uint32, a bit for each of ``LANES`` candidates: whether it passes all cuts.
    """
    inner = HitPoint(
        z=load(candidates.z, block),
        r=load(candidates.r, block),
        phi=load(candidates.phi, block),
        size=load(candidates.size, block),
        flattest=load(candidates.flattest, block),
        steepest=load(candidates.steepest, block),
    )
    return bits_of(makes_pair(inner, outer, cuts, kind) & first_lanes(i32(last - block)))


@kernel
def _inner_candidates(hits: OrderedHits, pairs: Array, cuts: DoubletCuts) -> Candidates:
    wide_vectors()
    n = 0
    for pair in pairs:
        n += hits.layer_start[pair.inner + 1] - hits.layer_start[pair.inner]
    # whole blocks of lanes are read: room for the last one
    room = n + LANES
    candidates = Candidates(
        hit=np.empty(room, np.int32),
        phi=np.empty(room, np.int32),
        size=np.empty(room, np.int32),
        z=np.empty(room, np.float32),
        r=np.empty(room, np.float32),
        flattest=np.empty(room, np.float32),
        steepest=np.empty(room, np.float32),
        start=np.zeros((len(pairs), BINS + 1), np.int32),
    )
    start = candidates.start
    end = u64(0)
    for p in range(u64(len(pairs))):
        pair = pairs[p]
        pair_cuts = cuts_of(pair, cuts)
        first, last = hits.layer_start[pair.inner], hits.layer_start[pair.inner + 1]
        begin = end
        for block in range(u64(first), u64(last), u64(LANES)):
            ok = starts_pair(load(hits.z, block), load(hits.size_y, block), pair_cuts)
            bits = bits_of(ok & first_lanes(i32(u64(last) - block)))
            pack_items(hits.phi, block, bits, candidates.phi, end)
            pack_items(hits.size_y, block, bits, candidates.size, end)
            pack_items(hits.z, block, bits, candidates.z, end)
            pack_items(hits.r, block, bits, candidates.r, end)
            end += pack_numbers(block, bits, candidates.hit, end)
        for k in range(begin, end):
            slopes = slopes_of(candidates.size[k], pair_cuts)
            candidates.flattest[k], candidates.steepest[k] = slopes
        for k in range(begin, end):
            start[p, u64(phi_bin(candidates.phi[k])) + u64(1)] += 1
        before = i32(begin)
        start[p, u64(0)] = before
        for b in range(u64(1), u64(BINS + 1)):
            before += start[p, b]
            start[p, b] = before
    return candidates


@shared
def hit_point(hits: OrderedHits, i: int, cuts: PairCuts) -> HitPoint:
    """Hit ``i``, for a pair of layers with these cuts."""
    flattest, steepest = slopes_of(hits.size_y[i], cuts)
    return HitPoint(
        z=hits.z[i],
        r=hits.r[i],
        phi=hits.phi[i],
        size=hits.size_y[i],
        flattest=flattest,
        steepest=steepest,
    )


@shared
def slopes_of(size: int, cuts: PairCuts) -> tuple[float, float]:
    """The flattest and the steepest slope that a cluster allows, as in :class:`HitPoint`."""
    per_slope, inside = cuts.all_pairs.size_per_slope, size > 0
    flattest = (f32(size) - cuts.max_excess) / per_slope if inside else f32(0)
    steepest = (f32(size) + cuts.max_shortness) / per_slope if inside else _ANY_SLOPE
    return flattest, steepest


@kernel
def _find_doublets(
    hits: OrderedHits, pairs: Array, cuts: DoubletCuts, max_doublets: int
) -> tuple[Cells, int]:
    """Find the doublets, and their number; if it is above ``max_doublets``, there may be more."""
    candidates = _inner_candidates(hits, pairs, cuts)
    n_hits = len(hits.order)
    # room for all that one window can add to as many as are allowed
    most = max_doublets + len(candidates.hit) + LANES
    cells = _make_cells(min(32 * n_hits + 128, most), n_hits)
    end = Progress(0, 0)
    while True:
        end = _fill_cells(hits, candidates, pairs, cuts, cells, max_doublets, end)
        if end.n_hits == n_hits or end.n > max_doublets:
            break
        longer = _make_cells(min(2 * len(cells.inner), most), n_hits)
        longer.inner[: end.n] = cells.inner[: end.n]
        longer.outer[: end.n] = cells.outer[: end.n]
        longer.pair[: end.n] = cells.pair[: end.n]
        longer.start[: end.n_hits] = cells.start[: end.n_hits]
        cells = longer
    n = end.n
    return Cells(cells.inner[:n], cells.outer[:n], cells.pair[:n], cells.start), n


class Progress(NamedTuple):
    """How far the search has come: the outer hits that it has done, and their doublets."""

    n_hits: int
    n: int


@kernel
def _make_cells(capacity: int, n_hits: int) -> Cells:
    """Return room for ``capacity`` doublets."""
    return Cells(
        inner=np.empty(capacity, np.int32),
        outer=np.empty(capacity, np.int32),
        pair=np.empty(capacity, np.uint8),
        start=np.empty(n_hits + 1, np.int32),
    )


@kernel
def _fill_cells(
    hits: OrderedHits,
    candidates: Candidates,
    pairs: Array,
    cuts: DoubletCuts,
    cells: Cells,
    max_doublets: int,
    done: Progress,
) -> Progress:
    """Go on to fill ``cells``, until they are full or have more than ``max_doublets``.

    Returns:
        how far it came.
    """
    wide_vectors()
    pairs_of_layer = np.empty(len(pairs), np.int32)
    n = u64(done.n)
    for layer in range(N_LAYERS):
        n_pairs = 0
        for p in range(len(pairs)):
            if pairs[p].outer == layer:
                pairs_of_layer[n_pairs] = p
                n_pairs += 1
        for o in range(max(done.n_hits, hits.layer_start[layer]), hits.layer_start[layer + 1]):
            cells.start[o] = n
            for q in range(n_pairs):
                p = pairs_of_layer[q]
                pair = pairs[p]
                own = cuts_of(pair, cuts)
                outer = hit_point(hits, o, own)
                before = n
                for part in range(2):
                    n_parts, first_bin, end_bin = phi_window(outer.phi, pair.phi, part)
                    if part == n_parts:
                        break
                    first = u64(candidates.start[p, first_bin])
                    last = u64(candidates.start[p, end_bin])
                    if n + (last - first) + u64(LANES) > u64(len(cells.inner)):
                        found = int(np.int64(n))
                        return Progress(o, found if found > max_doublets else cells.start[o])
                    for block in range(first, last, u64(LANES)):
                        if pair.outer < N_BARREL_LAYERS:
                            bits = accepted(candidates, block, last, outer, own, BARREL)
                        elif pair.inner < N_BARREL_LAYERS:
                            bits = accepted(candidates, block, last, outer, own, TO_DISK)
                        else:
                            bits = accepted(candidates, block, last, outer, own, DISKS)
                        n += pack_items(candidates.hit, block, bits, cells.inner, n)
                for place in range(before, n, u64(LANES)):
                    fill(cells.outer, place, i32(o))
                    fill(cells.pair, place, u8(p))
    cells.start[len(hits.order)] = n
    return Progress(len(hits.order), int(np.int64(n)))
