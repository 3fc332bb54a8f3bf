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
    Cells,
    OrderedHits,
    makes_pair,
    min_inner_size,
    phi_bin,
    phi_difference,
    phi_window,
    starts_pair,
)
from .columns import make_columns
from .hits import BatchHits


class BatchOrderedHits(NamedTuple):
    """Hits of a batch by event, layer and phi.

    Attributes:
        hits: their columns; ``order`` has rows of the batch, ``layer_start`` is
            :attr:`.BatchHits.start`.
        event, layer: int32[n].
        bin_start: int32[events * layers * bins + 1], first hit of each bin in phi.
    """

    hits: OrderedHits
    event: Any
    layer: Any
    bin_start: Any


class LayerPairs(NamedTuple):
    """Columns of :data:`..config.LAYER_PAIR`."""

    inner: Any
    outer: Any
    phi: Any
    min_z: Any
    max_z: Any
    max_dr: Any
    starts: Any


class SortKeys(NamedTuple):
    """By what hits are sorted, int32[n]: a bin of the batch, and phi within; and the layer."""

    key: Any
    phi: Any
    layer: Any


def layer_pairs(pairs: Array) -> LayerPairs:
    """Columns of the records that the CPU reads."""
    return LayerPairs(*(pairs[name].copy() for name in LayerPairs._fields))


def order_by_phi(
    device: Device, hits: BatchHits, n_events: int, n: int, layer_of_module: Any
) -> BatchOrderedHits:
    """Sort hits by (event, layer, phi, row)."""
    array = device.array
    keys = SortKeys(*(array(f"order.{name}", n, np.int32) for name in SortKeys._fields))
    module, phi = hits.columns.module, hits.columns.phi
    device.launch(_find_keys, n, hits.event, module, phi, layer_of_module, keys, n)
    n_bins = n_events * N_LAYERS * BINS
    group = device.group("order", keys.key, n, n_bins, keys.phi)
    ordered = BatchOrderedHits(
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
    device.launch(_gather, n, hits, keys, ordered, n)
    return ordered


@cuda_kernel
def _find_keys(
    event: Any, module: Any, phi: Any, layer_of_module: Any, keys: SortKeys, n: int
) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        layer = int(layer_of_module[module[i]])
        keys.layer[i], keys.phi[i] = layer, int(phi[i])
        keys.key[i] = (event[i] * N_LAYERS + layer) * BINS + phi_bin(int(phi[i]))


@cuda_kernel
def _gather(hits: BatchHits, keys: SortKeys, ordered: BatchOrderedHits, n: int) -> None:
    h, o = hits.columns, ordered.hits
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        k = o.order[i]
        o.module[i], o.phi[i], o.size_y[i] = h.module[k], h.phi[k], h.size_y[k]
        o.x[i], o.y[i], o.z[i], o.r[i] = h.x[k], h.y[k], h.z[k], h.r[k]
        ordered.event[i], ordered.layer[i] = hits.event[k], keys.layer[k]


def count_doublets(
    device: Device, hits: BatchOrderedHits, n_hits: int, pairs: LayerPairs, cuts: DoubletCuts
) -> Any:
    """Sum of the doublets that end on the hits before each; int32[hits + 1]."""
    start = device.array("cells.start", n_hits + 1, np.int32)
    device.launch(_count, n_hits, hits, pairs, cuts, start, n_hits)
    device.scan(start, n_hits, start)
    return start


def fill_doublets(
    device: Device,
    hits: BatchOrderedHits,
    n_hits: int,
    pairs: LayerPairs,
    cuts: DoubletCuts,
    start: Any,
    n: int,
) -> Cells:
    """The ``n`` doublets of a batch, by outer hit, then layer pair, then inner hit."""
    cells = Cells(
        inner=device.array("cells.inner", n, np.int32),
        outer=device.array("cells.outer", n, np.int32),
        pair=device.array("cells.pair", n, np.uint8),
        start=start,
    )
    device.launch(_fill, n_hits, hits, pairs, cuts, cells, n_hits)
    return cells


@shared
def _is_doublet(
    hits: OrderedHits, i: int, o: int, pairs: LayerPairs, p: int, cuts: DoubletCuts
) -> bool:
    inner, outer = pairs.inner[p], pairs.outer[p]
    zi, ri, size_i = hits.z[i], hits.r[i], hits.size_y[i]
    if not starts_pair(
        zi, size_i, pairs.min_z[p], pairs.max_z[p], min_inner_size(inner, outer, cuts)
    ):
        return False
    kind = BARREL if outer < N_BARREL_LAYERS else TO_DISK if inner < N_BARREL_LAYERS else DISKS
    dphi = phi_difference(hits.phi[o], hits.phi[i])
    max_difference = cuts.max_size_difference_1 if inner == 0 else cuts.max_size_difference
    return makes_pair(
        *(zi, ri, size_i, hits.z[o], hits.r[o], hits.size_y[o], dphi),
        *(pairs.phi[p], pairs.max_dr[p], max_difference, cuts, kind),
    )


@cuda_kernel
def _count(
    hits: BatchOrderedHits, pairs: LayerPairs, cuts: DoubletCuts, count: Any, n_hits: int
) -> None:
    for o in range(cuda.grid(1), n_hits, cuda.gridsize(1)):
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
def _fill(
    hits: BatchOrderedHits, pairs: LayerPairs, cuts: DoubletCuts, cells: Cells, n_hits: int
) -> None:
    for o in range(cuda.grid(1), n_hits, cuda.gridsize(1)):
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


def find_doublet_starts(device: Device, hits: BatchHits, cells: Cells, n_events: int) -> Any:
    """Where the doublets of each event begin, int32[events + 1]."""
    start = device.array("doublets.start", n_events + 1, np.int32)
    device.launch(_find_events, n_events + 1, hits.start, cells.start, start, n_events)
    return start


def make_doublets(
    device: Device,
    hits: BatchHits,
    ordered: BatchOrderedHits,
    cells: Cells,
    alive: Any,
    n: int,
) -> Any:
    """Columns of :class:`trackserve.edm.Doublets` of ``n`` cells.

    Args:
        alive: bool[n], not killed.
    """
    doublets = make_columns(device, "doublets", Doublets, n)
    device.launch(_make_doublets, n, hits, ordered, cells, alive, doublets, n)
    return doublets


@cuda_kernel
def _find_events(hit: Any, cell: Any, start: Any, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        start[e] = cell[hit[e * N_LAYERS]]


@cuda_kernel
def _make_doublets(
    hits: BatchHits,
    ordered: BatchOrderedHits,
    cells: Cells,
    alive: Any,
    doublets: Any,
    n: int,
) -> None:
    order = ordered.hits.order
    for c in range(cuda.grid(1), n, cuda.gridsize(1)):
        first_hit = hits.start[ordered.event[cells.outer[c]] * N_LAYERS]
        doublets.inner[c] = order[cells.inner[c]] - first_hit
        doublets.outer[c] = order[cells.outer[c]] - first_hit
        doublets.layer_pair[c], doublets.killed[c] = cells.pair[c], not alive[c]
