"""Hits to doublets, a thread for each outer hit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_BARREL_LAYERS, N_LAYERS
from trackserve.device.compile import shared
from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import Doublets
from trackserve.edm.columns import Array

from ..config import DoubletCuts
from ..doublets import (
    BARREL,
    BINS,
    DISKS,
    TO_DISK,
    OrderedHits,
    cuts_of,
    hit_point,
    makes_pair,
    phi_bin,
    phi_window,
    starts_pair,
)
from .columns import make_columns
from .hits import BatchHits


class BatchOrderedHits(NamedTuple):
    """Hits of a batch by event, layer and phi.

    Attributes:
        n_events: number of events.
        n: number of hits.
        hits: columns; ``order`` has rows of the batch, ``layer_start`` is
            :attr:`.BatchHits.start`.
        event, layer: int32[n].
        bin_start: int32[events * layers * bins + 1], first hit of each bin in phi.
    """

    n_events: int
    n: int
    hits: OrderedHits
    event: Any
    layer: Any
    bin_start: Any


class BatchCells(NamedTuple):
    """Doublets of a batch, by outer hit, then layer pair, then inner hit.

    Attributes:
        n: number of doublets.
        inner, outer: int32[n], ordered hits of the batch.
        pair: uint8[n], layer pair.
        start: int32[hits + 1], first doublet that ends on each hit, and n.
    """

    n: int
    inner: Any
    outer: Any
    pair: Any
    start: Any


class LayerPairs(NamedTuple):
    """Columns of :data:`..config.LAYER_PAIR`; also one row of them."""

    inner: Any
    outer: Any
    phi: Any
    min_z: Any
    max_z: Any
    max_dr: Any
    starts: Any


class SortKeys(NamedTuple):
    """Keys by which hits are sorted, int32[n]: bin of the batch, then phi; and the layer."""

    key: Any
    phi: Any
    layer: Any


def layer_pairs(pairs: Array) -> LayerPairs:
    """Make columns of records of :data:`..config.LAYER_PAIR`."""
    return LayerPairs(*(pairs[name].copy() for name in LayerPairs._fields))


def order_by_phi(device: Device, hits: BatchHits, layer_of_module: Any) -> BatchOrderedHits:
    """Sort hits by (event, layer, phi, row).

    Args:
        device: the device.
        hits: the hits.
        layer_of_module: uint8[modules].
    """
    array, n = device.array, hits.n
    keys = SortKeys(
        key=array("order.key", n, np.int32),
        phi=array("order.phi", n, np.int32),
        layer=array("order.layer", n, np.int32),
    )
    device.launch(_find_keys, n, hits, layer_of_module, keys)
    n_bins = hits.n_events * N_LAYERS * BINS
    group = device.group("order", keys.key, n, n_bins, keys.phi)
    ordered = BatchOrderedHits(
        n_events=hits.n_events,
        n=n,
        hits=OrderedHits(
            order=group.item,
            layer_start=hits.start,
            module=array("ordered.module", n, np.int32),
            phi=array("ordered.phi", n, np.int32),
            x=array("ordered.x", n, np.float32),
            y=array("ordered.y", n, np.float32),
            z=array("ordered.z", n, np.float32),
            r=array("ordered.r", n, np.float32),
            size_y=array("ordered.size_y", n, np.int32),
        ),
        event=array("ordered.event", n, np.int32),
        layer=array("ordered.layer", n, np.int32),
        bin_start=group.start,
    )
    device.launch(_gather, n, hits, keys, ordered)
    return ordered


@cuda_kernel
def _find_keys(hits: BatchHits, layer_of_module: Any, keys: SortKeys) -> None:
    for i in range(cuda.grid(1), hits.n, cuda.gridsize(1)):
        layer, phi = int(layer_of_module[hits.columns.module[i]]), int(hits.columns.phi[i])
        keys.layer[i], keys.phi[i] = layer, phi
        keys.key[i] = (hits.event[i] * N_LAYERS + layer) * BINS + phi_bin(phi)


@cuda_kernel
def _gather(hits: BatchHits, keys: SortKeys, ordered: BatchOrderedHits) -> None:
    h, o = hits.columns, ordered.hits
    for i in range(cuda.grid(1), hits.n, cuda.gridsize(1)):
        k = o.order[i]
        o.module[i], o.phi[i], o.size_y[i] = h.module[k], h.phi[k], h.size_y[k]
        o.x[i], o.y[i], o.z[i], o.r[i] = h.x[k], h.y[k], h.z[k], h.r[k]
        ordered.event[i], ordered.layer[i] = hits.event[k], keys.layer[k]


def count_doublets(
    device: Device, hits: BatchOrderedHits, pairs: LayerPairs, cuts: DoubletCuts
) -> Any:
    """Return the number of doublets that end on the hits before each, int32[hits + 1]."""
    start = device.array("cells.start", hits.n + 1, np.int32)
    device.launch(_count, hits.n, hits, pairs, cuts, start)
    device.scan(start, hits.n, start)
    return start


def fill_doublets(
    device: Device,
    hits: BatchOrderedHits,
    pairs: LayerPairs,
    cuts: DoubletCuts,
    start: Any,
    n: int,
) -> BatchCells:
    """Find the doublets of a batch.

    Args:
        device: the device.
        hits: the hits.
        pairs: the layer pairs.
        cuts: cuts on pairs of hits.
        start: the answer of :func:`count_doublets`.
        n: its last value.
    """
    cells = BatchCells(
        n=n,
        inner=device.array("cells.inner", n, np.int32),
        outer=device.array("cells.outer", n, np.int32),
        pair=device.array("cells.pair", n, np.uint8),
        start=start,
    )
    device.launch(_fill, hits.n, hits, pairs, cuts, cells)
    return cells


@shared
def _pair_at(pairs: LayerPairs, p: int) -> LayerPairs:
    """Row ``p``."""
    return LayerPairs(
        inner=pairs.inner[p],
        outer=pairs.outer[p],
        phi=pairs.phi[p],
        min_z=pairs.min_z[p],
        max_z=pairs.max_z[p],
        max_dr=pairs.max_dr[p],
        starts=pairs.starts[p],
    )


@shared
def _is_doublet(
    hits: OrderedHits, i: int, o: int, pairs: LayerPairs, p: int, cuts: DoubletCuts
) -> bool:
    """Whether hits ``i`` and ``o`` pass all cuts of layer pair ``p``."""
    pair = _pair_at(pairs, p)
    own = cuts_of(pair, cuts)
    inner, outer = hit_point(hits, i, own), hit_point(hits, o, own)
    kind = DISKS
    if pair.outer < N_BARREL_LAYERS:
        kind = BARREL
    elif pair.inner < N_BARREL_LAYERS:
        kind = TO_DISK
    return starts_pair(inner.z, inner.size, own) and makes_pair(inner, outer, own, kind)


@cuda_kernel
def _count(hits: BatchOrderedHits, pairs: LayerPairs, cuts: DoubletCuts, count: Any) -> None:
    for o in range(cuda.grid(1), hits.n, cuda.gridsize(1)):
        n = 0
        for p in range(len(pairs.outer)):
            if pairs.outer[p] != hits.layer[o]:
                continue
            first_bin = (hits.event[o] * N_LAYERS + pairs.inner[p]) * BINS
            for part in range(2):
                n_parts, low, high = phi_window(hits.hits.phi[o], pairs.phi[p], part)
                if part == n_parts:
                    break
                for i in range(hits.bin_start[first_bin + low], hits.bin_start[first_bin + high]):
                    n += 1 if _is_doublet(hits.hits, i, o, pairs, p, cuts) else 0
        count[o] = n


@cuda_kernel
def _fill(hits: BatchOrderedHits, pairs: LayerPairs, cuts: DoubletCuts, cells: BatchCells) -> None:
    for o in range(cuda.grid(1), hits.n, cuda.gridsize(1)):
        n = cells.start[o]
        for p in range(len(pairs.outer)):
            if pairs.outer[p] != hits.layer[o]:
                continue
            first_bin = (hits.event[o] * N_LAYERS + pairs.inner[p]) * BINS
            for part in range(2):
                n_parts, low, high = phi_window(hits.hits.phi[o], pairs.phi[p], part)
                if part == n_parts:
                    break
                for i in range(hits.bin_start[first_bin + low], hits.bin_start[first_bin + high]):
                    if _is_doublet(hits.hits, i, o, pairs, p, cuts):
                        cells.inner[n], cells.outer[n], cells.pair[n] = i, o, p
                        n += 1


def find_doublet_starts(device: Device, hits: BatchHits, before: Any) -> Any:
    """Return the first doublet of each event, int32[events + 1].

    Args:
        device: the device.
        hits: the hits.
        before: int32[hits + 1], number of doublets before those that end on each hit.
    """
    start = device.array("doublets.start", hits.n_events + 1, np.int32)
    device.launch(_find_events, hits.n_events + 1, hits, before, start)
    return start


def make_doublets(
    device: Device,
    hits: BatchHits,
    ordered: BatchOrderedHits,
    cells: BatchCells,
    alive: Any,
) -> Any:
    """Make columns of :class:`trackserve.edm.Doublets`.

    Args:
        device: the device.
        hits: the hits.
        ordered: the same by phi.
        cells: the doublets.
        alive: bool[n], whether a doublet is not killed.
    """
    doublets = make_columns(device, "doublets", Doublets, cells.n)
    device.launch(_make_doublets, cells.n, hits, ordered, cells, alive, doublets)
    return doublets


@cuda_kernel
def _find_events(hits: BatchHits, before: Any, start: Any) -> None:
    for e in range(cuda.grid(1), hits.n_events + 1, cuda.gridsize(1)):
        start[e] = before[hits.start[e * N_LAYERS]]


@cuda_kernel
def _make_doublets(
    hits: BatchHits,
    ordered: BatchOrderedHits,
    cells: BatchCells,
    alive: Any,
    doublets: Any,
) -> None:
    order = ordered.hits.order
    for c in range(cuda.grid(1), cells.n, cuda.gridsize(1)):
        first_hit = hits.start[ordered.event[cells.outer[c]] * N_LAYERS]
        doublets.inner[c] = order[cells.inner[c]] - first_hit
        doublets.outer[c] = order[cells.outer[c]] - first_hit
        doublets.layer_pair[c], doublets.killed[c] = cells.pair[c], not alive[c]
