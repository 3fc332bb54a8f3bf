"""Points of a batch in the order of the CPU, and the inputs of the networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import cuda
from torch import Tensor

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm.columns import Array

from ..architecture import Features
from ..features import (
    POINTS_PER_SECTOR,
    Directions,
    direction,
    edge_units,
    edge_values,
    node_values,
)
from .edges import BatchEdges
from .tensors import tensor


class BatchPoints(NamedTuple):
    """Points of a batch, event by event; the points of an event sector by sector.

    Attributes:
        start: int32[events + 1], first point of each event; at the end the number of points.
        event: int32[n], the event of each point, as its place in the batch.
        scaled: float32[n, 3], features.
        row: int32[n], the row of each point in the batch, as the points came.
        place: int32[n], place of each point in its event, in the order of the model.
        rank: int32[n], for each row as it came, its place in its event from the inside out.
        seen: directions of the points.
        scales: float32[3], scales of the features.
        n_events: number of events.
        n: number of points.
    """

    start: Any
    event: Any
    scaled: Any
    row: Any
    place: Any
    rank: Any
    seen: Directions
    scales: Any
    n_events: int
    n: int


def order_points(
    device: Device, events: Sequence[Array], features: Features, scales: Any, outward: bool
) -> BatchPoints:
    """Upload the features of the points of a batch, and sort the points.

    Args:
        events: float32[., 3], the scaled features of each event.
        features: the scales of the features.
        scales: float32[3], the same scales on the device.
        outward: whether the order of the model is from the inside out, and not as given.
    """
    sizes = [len(scaled) for scaled in events]
    n = sum(sizes)
    staged = device.pinned("points.given", 12 * n).view(np.float32)[: 3 * n].reshape(n, 3)
    np.concatenate(events, out=staged)
    given = device.array("points.given", n, np.float32, 3)
    device.send(given, staged)
    seen = Directions(*(device.array(f"points.{k}", n, np.float32) for k in Directions._fields))
    points = BatchPoints(
        start=device.upload("points.start", np.cumsum([0, *sizes], dtype=np.int32)),
        event=device.array("points.event", n, np.int32),
        scaled=device.array("points.scaled", n, np.float32, 3),
        row=device.array("points.row", n, np.int32),
        place=device.array("points.place", n, np.int32),
        rank=device.array("points.rank", n, np.int32),
        seen=seen,
        scales=scales,
        n_events=len(events),
        n=n,
    )
    device.launch_blocks(_find_events, len(events), points)
    scaled = tensor(device, given, n)
    event = tensor(device, points.event, n).long()
    start = tensor(device, points.start, len(events) + 1).long()
    rank, order = _sort(scaled, event, start, features, outward)
    tensor(device, points.rank, n).copy_(rank)
    tensor(device, points.row, n).copy_(order)
    place = rank if outward else torch.arange(n, device=rank.device) - start[event]
    tensor(device, points.place, n).copy_(place[order])
    tensor(device, points.scaled, n).copy_(scaled[order])
    device.launch(_find_directions, n, points)
    return points


def node_inputs(device: Device, name: str, numbers: Any, points: BatchPoints) -> Any:
    """Return inputs of the points, float32[n, len(numbers)].

    Args:
        name: name of the network.
        numbers: int32, places of the inputs in :data:`..architecture.NODE_INPUTS`.
    """
    out = device.array(f"{name}.nodes", points.n, np.float32, len(numbers))
    device.launch(_node_inputs, points.n, points, numbers, out)
    return out


def edge_inputs(
    device: Device, name: str, numbers: Any, points: BatchPoints, edges: BatchEdges
) -> Any:
    """Return inputs of the edges, float32[edges.n, len(numbers)].

    Args:
        name: name of the network.
        numbers: int32, places of the inputs in :data:`..architecture.EDGE_INPUTS`.
    """
    out = device.array(f"{name}.edges", edges.n, np.float32, len(numbers))
    device.launch(_edge_inputs, edges.n, points, edges, numbers, out)
    return out


def _sort(
    scaled: Tensor, event: Tensor, start: Tensor, features: Features, outward: bool
) -> tuple[Tensor, Tensor]:
    """Return the rank of each point, and the rows of the points sector by sector.

    The operations are those of :func:`..features.outward_order` and
    :func:`..features.sector_order`, on all events at once.
    """
    r, phi, z = scaled.double().unbind(1)
    n, numbers, first = len(r), torch.arange(len(r), device=r.device), start[event]
    x, y = r * features.scales[0], z * features.scales[2]
    outwards = numbers
    for key in (phi, z, r, x * x + y * y, event):
        outwards = outwards[torch.sort(key[outwards], stable=True).indices]
    rank = torch.empty_like(numbers)
    rank[outwards] = numbers - first
    place = rank if outward else numbers - first

    size = start[event + 1] - first
    n_sectors = (size // POINTS_PER_SECTOR).clamp(min=1)
    turns = phi * (features.scales[1] / (2 * math.pi))
    sector = torch.floor((turns - torch.floor(turns)) * n_sectors).long()
    order = torch.sort(event * (n + 1) ** 2 + sector * size + place).indices
    return rank, order


@cuda_kernel
def _find_events(points: BatchPoints) -> None:
    for e in range(cuda.blockIdx.x, points.n_events, cuda.gridDim.x):
        for i in range(points.start[e] + cuda.threadIdx.x, points.start[e + 1], cuda.blockDim.x):
            points.event[i] = e


@cuda_kernel
def _find_directions(points: BatchPoints) -> None:
    scaled, seen = points.scaled, points.seen
    for i in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        eta, cos, sin = direction(scaled[i, 0], scaled[i, 1], scaled[i, 2], points.scales)
        seen.eta[i], seen.cos[i], seen.sin[i] = eta, cos, sin


@cuda_kernel
def _node_inputs(points: BatchPoints, numbers: Any, out: Any) -> None:
    scaled = points.scaled
    for i in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        values = node_values(scaled[i, 0], scaled[i, 1], scaled[i, 2], points.scales)
        for k in range(len(numbers)):
            out[i, k] = values[numbers[k]]


@cuda_kernel
def _edge_inputs(points: BatchPoints, edges: BatchEdges, numbers: Any, out: Any) -> None:
    units = edge_units(points.scales)
    for i in range(cuda.grid(1), edges.n, cuda.gridsize(1)):
        s, t = edges.source[i], edges.target[i]
        values = edge_values(points.scaled, points.seen, s, t, points.scales, units)
        for k in range(len(numbers)):
            out[i, k] = values[numbers[k]]
