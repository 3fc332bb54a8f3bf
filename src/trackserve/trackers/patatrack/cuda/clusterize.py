"""Digis to clusters, a block for each module.

The pixels of a module are put into a grid, and each is united with those around it: a
cluster's label is its first digi, whichever thread comes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import COLS, N_LAYERS, N_MODULES, ROWS
from trackserve.device.cuda import Device, cuda_kernel
from trackserve.device.union import find_root, unite
from trackserve.edm import Clusters

from ..clusterize import (
    AROUND,
    GRID_SIZE,
    MAX_CHARGE,
    enough_charge,
    grid_place,
)
from ..config import ClusterCuts
from .calibrate import BatchDigis
from .columns import make_columns

_NOBODY = 0x7FFFFFFF
_BEFORE = AROUND[:4]
"""Half of the pixels around one: the others look back at it."""


class Labels(NamedTuple):
    """Clusters before the cut on charge; a cluster is in the row of its first digi.

    Charges are int64, so that their sums hold those of any number of digis; all else is int32.

    Attributes:
        parent: [digis], a digi of the same cluster that comes before, or the digi itself.
        total: [digis], charge of the cluster, electrons.
        min_row, max_row, min_col, max_col: [digis], edges of the cluster.
        charge_min_row, charge_max_row, charge_min_col, charge_max_col: [digis], charge at each
            edge, electrons.
        kept: [digis + 1], 1 for the first digi of a cluster that is kept, else 0; then the number
            of kept clusters before.
        grid: [blocks * GRID_SIZE], digi at each place of the module that a block works on.
    """

    parent: Any
    total: Any
    min_row: Any
    max_row: Any
    min_col: Any
    max_col: Any
    charge_min_row: Any
    charge_max_row: Any
    charge_min_col: Any
    charge_max_col: Any
    kept: Any
    grid: Any


_CHARGES = {name for name in Labels._fields if name.startswith("charge") or name == "total"}


class Modules(NamedTuple):
    """Modules of a batch, int32, a row for each module of each event.

    Attributes:
        n: number of modules of the batch.
        first, last: the module's first digi and the one past its last; equal if it has none.
        cluster: number of clusters before; one row more.
        n_hit: [events], number of modules with digis.
    """

    n: int
    first: Any
    last: Any
    cluster: Any
    n_hit: Any


class BatchClusters(NamedTuple):
    """Clusters of a batch.

    Attributes:
        n_events: number of events.
        n: number of clusters.
        start: int32[events * layers + 1], first cluster of each layer of each event.
        event: int32[n].
        columns: columns of :class:`trackserve.edm.Clusters`.
    """

    n_events: int
    n: int
    start: Any
    event: Any
    columns: Any


def find_clusters(device: Device, digis: BatchDigis, cuts: ClusterCuts) -> tuple[Labels, Modules]:
    """Label connected pixels and count the clusters of each module.

    The number of clusters of the batch is row ``n`` of :attr:`Modules.cluster`.
    """
    n_events, n_words = digis.n_events, digis.room
    n_modules = n_events * N_MODULES
    n_blocks = device.n_blocks
    names = Labels._fields[:-1]
    kinds = {name: np.int64 if name in _CHARGES else np.int32 for name in names}
    labels = Labels(
        **{name: device.array(f"labels.{name}", n_words + 1, kinds[name]) for name in names},
        grid=device.array("labels.grid", n_blocks * GRID_SIZE, np.int32),
    )
    modules = Modules(
        n=n_modules,
        first=device.array("modules.first", n_modules, np.int32),
        last=device.array("modules.last", n_modules, np.int32),
        cluster=device.array("modules.cluster", n_modules + 1, np.int32),
        n_hit=device.array("modules.n_hit", n_events, np.int32),
    )
    device.fill(modules.first, n_modules, 0)
    device.fill(modules.last, n_modules, 0)
    device.fill(modules.n_hit, n_events, 0)
    device.fill(labels.grid, n_blocks * GRID_SIZE, _NOBODY)
    device.launch(_find_modules, n_words, digis, modules)
    device.launch_blocks(_label, n_blocks, digis, modules, labels)
    device.launch(_mark_kept, n_words, digis, labels, cuts)
    device.scan(labels.kept, n_words, labels.kept)
    device.launch(_count_clusters, n_modules, modules, labels.kept)
    device.scan(modules.cluster, n_modules, modules.cluster)
    return labels, modules


class EventSizes(NamedTuple):
    """Sizes of the events of a batch, int32.

    Attributes:
        most_digis: [events], most digis of a module.
        cluster: [events + 1], number of clusters before the event.
    """

    most_digis: Any
    cluster: Any


def find_sizes(device: Device, digis: BatchDigis, modules: Modules) -> EventSizes:
    """Find the sizes of the events in the modules of :func:`find_clusters`."""
    n = digis.n_events
    sizes = EventSizes(
        most_digis=device.array("sizes.most_digis", n, np.int32),
        cluster=device.array("sizes.cluster", n + 1, np.int32),
    )
    device.launch(_find_sizes, n + 1, modules, sizes, n)
    return sizes


def fill_clusters(
    device: Device,
    digis: BatchDigis,
    labels: Labels,
    modules: Modules,
    layer_start: Any,
    n: int,
) -> BatchClusters:
    """Make the clusters that are kept; fill the digis' ``cluster``, a row of their event.

    Args:
        device: the device.
        digis: the digis.
        labels: their clusters.
        modules: where the clusters of each module begin.
        layer_start: int32[layers + 1], first module of each layer.
        n: number of clusters that are kept.
    """
    n_starts = digis.n_events * N_LAYERS + 1
    clusters = BatchClusters(
        n_events=digis.n_events,
        n=n,
        start=device.array("clusters.start", n_starts, np.int32),
        event=device.array("clusters.event", n, np.int32),
        columns=make_columns(device, "clusters", Clusters, n),
    )
    device.launch(_fill, digis.room, digis, labels, modules, clusters)
    device.launch(_find_layers, n_starts, modules, layer_start, clusters)
    return clusters


@cuda_kernel
def _find_modules(digis: BatchDigis, modules: Modules) -> None:
    n = digis.start[digis.n_events]
    module = digis.columns.module
    for d in range(cuda.grid(1), n, cuda.gridsize(1)):
        event = digis.event[d]
        key = event * N_MODULES + int(module[d])
        if d == digis.start[event] or module[d - 1] != module[d]:
            modules.first[key] = d
            cuda.atomic.add(modules.n_hit, event, 1)
        if d + 1 == digis.start[event + 1] or module[d + 1] != module[d]:
            modules.last[key] = d + 1


@cuda_kernel
def _label(digis: BatchDigis, modules: Modules, labels: Labels) -> None:
    grid, parent = labels.grid, labels.parent
    columns = digis.columns
    mine = cuda.blockIdx.x * GRID_SIZE
    for key in range(cuda.blockIdx.x, modules.n, cuda.gridDim.x):
        first, last = modules.first[key], modules.last[key]
        if first == last:
            continue
        for d in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
            parent[d] = d
            labels.total[d] = 0
            labels.min_row[d], labels.max_row[d] = ROWS, 0
            labels.min_col[d], labels.max_col[d] = COLS, 0
            labels.charge_min_row[d] = labels.charge_max_row[d] = 0
            labels.charge_min_col[d] = labels.charge_max_col[d] = 0
            place = int(grid_place(columns.row[d], columns.col[d]))
            cuda.atomic.min(grid, mine + place, d)
        cuda.syncthreads()
        for d in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
            here = mine + int(grid_place(columns.row[d], columns.col[d]))
            if grid[here] != d:  # the pixel is there twice
                unite(parent, d, grid[here])
            for step in _BEFORE:
                if grid[here + step] != _NOBODY:
                    unite(parent, d, grid[here + step])
        cuda.syncthreads()
        for d in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
            row, col = int(columns.row[d]), int(columns.col[d])
            grid[mine + int(grid_place(columns.row[d], columns.col[d]))] = _NOBODY
            root = find_root(parent, d)
            cuda.atomic.add(labels.total, root, int(columns.charge[d]))
            cuda.atomic.min(labels.min_row, root, row)
            cuda.atomic.max(labels.max_row, root, row)
            cuda.atomic.min(labels.min_col, root, col)
            cuda.atomic.max(labels.max_col, root, col)
        cuda.syncthreads()
        for d in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
            row, col, charge = int(columns.row[d]), int(columns.col[d]), int(columns.charge[d])
            root = find_root(parent, d)
            if row == labels.min_row[root]:
                cuda.atomic.add(labels.charge_min_row, root, charge)
            if row == labels.max_row[root]:
                cuda.atomic.add(labels.charge_max_row, root, charge)
            if col == labels.min_col[root]:
                cuda.atomic.add(labels.charge_min_col, root, charge)
            if col == labels.max_col[root]:
                cuda.atomic.add(labels.charge_max_col, root, charge)
        cuda.syncthreads()


@cuda_kernel
def _mark_kept(digis: BatchDigis, labels: Labels, cuts: ClusterCuts) -> None:
    n, module = digis.start[digis.n_events], digis.columns.module
    for d in range(cuda.grid(1), digis.room, cuda.gridsize(1)):
        kept = 0
        if d < n and labels.parent[d] == d:
            kept = 1 if enough_charge(module[d], labels.total[d], cuts) else 0
        labels.kept[d] = kept


@cuda_kernel
def _count_clusters(modules: Modules, kept: Any) -> None:
    for key in range(cuda.grid(1), modules.n, cuda.gridsize(1)):
        modules.cluster[key] = kept[modules.last[key]] - kept[modules.first[key]]


@cuda_kernel
def _find_sizes(modules: Modules, sizes: EventSizes, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        first = e * N_MODULES
        sizes.cluster[e] = modules.cluster[first]
        if e < n_events:
            most = 0
            for key in range(first, first + N_MODULES):
                most = max(most, modules.last[key] - modules.first[key])
            sizes.most_digis[e] = most


@cuda_kernel
def _fill(digis: BatchDigis, labels: Labels, modules: Modules, clusters: BatchClusters) -> None:
    columns = clusters.columns
    for d in range(cuda.grid(1), digis.start[digis.n_events], cuda.gridsize(1)):
        event = digis.event[d]
        module = digis.columns.module[d]
        key = event * N_MODULES + int(module)
        root = find_root(labels.parent, d)
        if labels.kept[root + 1] == labels.kept[root]:
            digis.columns.cluster[d] = -1
            continue
        in_module = labels.kept[root] - labels.kept[modules.first[key]]
        c = modules.cluster[key] + in_module
        digis.columns.cluster[d] = c - modules.cluster[event * N_MODULES]
        if d == root:
            clusters.event[c], columns.module[c] = event, module
            columns.min_row[c], columns.max_row[c] = labels.min_row[d], labels.max_row[d]
            columns.min_col[c], columns.max_col[c] = labels.min_col[d], labels.max_col[d]
            columns.charge[c] = min(labels.total[d], MAX_CHARGE)
            columns.charge_min_row[c] = min(labels.charge_min_row[d], MAX_CHARGE)
            columns.charge_max_row[c] = min(labels.charge_max_row[d], MAX_CHARGE)
            columns.charge_min_col[c] = min(labels.charge_min_col[d], MAX_CHARGE)
            columns.charge_max_col[c] = min(labels.charge_max_col[d], MAX_CHARGE)


@cuda_kernel
def _find_layers(modules: Modules, layer_start: Any, clusters: BatchClusters) -> None:
    for k in range(cuda.grid(1), clusters.n_events * N_LAYERS + 1, cuda.gridsize(1)):
        event, layer = k // N_LAYERS, k % N_LAYERS
        clusters.start[k] = modules.cluster[event * N_MODULES + layer_start[layer]]
