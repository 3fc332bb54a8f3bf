"""The pipelines of a backend, for any tracker, and their answers to batches of events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.edm import EventLimits
from trackserve.edm.columns import Array
from trackserve.errors import InputError, MalformedEvent, TrackserveError
from trackserve.trackers.base import Lap, Pipeline
from trackserve.trackers.deadline import deadline_exceeded
from trackserve.trackers.laps import Laps
from trackserve.trackers.registry import tracker_of
from trackserve.wire.codec import Codec
from trackserve.wire.identity import DEVICE_PARAMETER
from trackserve.wire.limits import STOPPED_BY

from ..compilation import logging_compilation
from .runtime import Answer, EncodedEvent, EncodedResult, RunBatch


def load(
    folder: Path, parameters: Mapping[str, str], gpu: int | None = None
) -> Callable[[], RunBatch]:
    """Load a model; a line on stderr names each loop that is compiled for it.

    On a CPU all workers share a pipeline. Elsewhere each worker has a pipeline of its own, with a
    stream and memory of its own: the copies of one overlap the kernels of another.

    Args:
        folder: folder of the model's version in the repository.
        parameters: parameters in the ``config.pbtxt`` of the model.
        gpu: number of the GPU that the device "cuda" is; None leaves it to CUDA.

    Returns:
        function that makes the function that one worker runs.

    Raises:
        TrackserveError: the tracker cannot be built.
    """
    tracker, device = tracker_of(parameters), parameters[DEVICE_PARAMETER]

    def build() -> Pipeline[Any, Any]:
        with logging_compilation():
            return tracker.restore(folder, parameters, device)

    if device == "cpu":
        pipeline = build()
        return lambda: partial(run, pipeline, tracker.codec)
    if gpu is None or device != "cuda":
        return lambda: partial(run, build(), tracker.codec)
    return lambda: _on_gpu(gpu, build, tracker.codec)


def _on_gpu(gpu: int, build: Callable[[], Pipeline[Any, Any]], codec: Codec[Any, Any]) -> RunBatch:
    """The function of a worker on one of several GPUs; a device is chosen per thread."""
    from trackserve.device.cuda import choose_device

    choose_device(gpu)
    pipeline = build()

    def run_there(batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        choose_device(gpu)
        yield from run(pipeline, codec, batch)

    return run_there


def run(
    pipeline: Pipeline[Any, Any], codec: Codec[Any, Any], batch: Iterable[EncodedEvent]
) -> Iterator[Answer]:
    """Reconstruct the batch: event by event on a CPU, elsewhere together."""
    if pipeline.device != "cpu":
        yield from _run_together(pipeline, codec, list(batch))
        return
    for event in batch:
        yield from _run_together(pipeline, codec, [event])


class _Given(NamedTuple):
    """An event, and the limits on the work on it; the deadline is what is left of it."""

    event: Any
    limits: EventLimits


def _run_together(
    pipeline: Pipeline[Any, Any], codec: Codec[Any, Any], encoded: Sequence[EncodedEvent]
) -> list[Answer]:
    """Reconstruct the events together; each has the same share of the time of the batch."""
    lap = Laps()
    inputs = [_decode(codec, event) for event in encoded]
    given = [one for one in inputs if isinstance(one, _Given)]
    keep = frozenset().union(*[codec.kept_parts(event.outputs) for event in encoded])
    lap("decode")
    results = iter(_by_limits(pipeline, given, keep, lap))
    outcomes = [next(results) if isinstance(one, _Given) else one for one in inputs]
    pairs = zip(encoded, outcomes, strict=True)
    shares: dict[str, float] = {}
    answers = [_encode(codec, outcome, event, shares) for event, outcome in pairs]
    lap("encode")
    n = max(len(given), 1)
    shares.update({stage: spent / n for stage, spent in lap.seconds.items()})
    return answers


def _by_limits(
    pipeline: Pipeline[Any, Any], given: Sequence[_Given], keep: Collection[str], lap: Lap
) -> list[Any]:
    """Reconstruct events; those with the same limits together, until their last deadline."""
    if len(given) == 1:
        return list(_reconstruct(pipeline, [given[0].event], keep, lap, given[0].limits))
    groups: dict[EventLimits, list[int]] = {}
    for row, one in enumerate(given):
        groups.setdefault(replace(one.limits, deadline=math.inf), []).append(row)
    results: dict[int, Any] = {}
    for limits, rows in groups.items():
        most = replace(limits, deadline=max(given[row].limits.deadline for row in rows))
        found = _reconstruct(pipeline, [given[row].event for row in rows], keep, lap, most)
        results |= dict(zip(rows, found, strict=True))
    return [results[row] for row in range(len(given))]


def _reconstruct(
    pipeline: Pipeline[Any, Any],
    events: Sequence[Any],
    keep: Collection[str],
    lap: Lap,
    limits: EventLimits,
) -> Sequence[Any]:
    """Reconstruct a batch; if the tracker refuses it, reconstruct each event alone.

    The codec knows the names in ``keep``, so an InputError is about an event.
    """
    try:
        return pipeline.run(events, keep, lap, limits)
    except InputError as error:
        if len(events) == 1:
            return [MalformedEvent.of(error)]
    except TrackserveError as error:
        if len(events) == 1:
            return [error]
    return [
        result for event in events for result in _reconstruct(pipeline, [event], keep, lap, limits)
    ]


def _encode(
    codec: Codec[Any, Any], outcome: Any, event: EncodedEvent, seconds: Mapping[str, float]
) -> Answer:
    """The outputs of a result; an error stays as it is.

    Answers that are sent together are encoded together, later: one after the other they find their
    code and data in the processor's caches.
    """
    if isinstance(outcome, TrackserveError):
        return outcome
    found, came_to = vars(outcome.counts), "partial" if outcome.stopped_by else "ok"
    if event.is_gathered:
        encode = partial(codec.encode_pieces, outcome, event.outputs)
        return EncodedResult({}, found, seconds, came_to, encode)
    try:
        return EncodedResult(codec.encode_result(outcome, event.outputs), found, seconds, came_to)
    except TrackserveError as error:
        return error


def decode(codec: Codec[Any, Any], tensors: Mapping[str, Array]) -> _Given | TrackserveError:
    """The event and its limits, or the error if the tensors are malformed."""
    try:
        return _Given(codec.decode_event(tensors), codec.decode_limits(tensors))
    except TrackserveError as error:
        return error


def _decode(codec: Codec[Any, Any], encoded: EncodedEvent) -> _Given | TrackserveError:
    """The event and its limits, or the error if its tensors are malformed or its deadline is over.

    Nobody takes a partial result for a complete one: without the output that tells them apart,
    there is an error.
    """
    decoded = encoded.decoded or decode(codec, encoded.tensors)
    if isinstance(decoded, TrackserveError):
        return decoded
    event, limits = decoded
    if limits.beyond != "error" and STOPPED_BY.name not in encoded.outputs:
        limits = replace(limits, beyond="error")
    if limits.deadline == math.inf:
        return decoded if limits is decoded.limits else _Given(event, limits)
    left = limits.deadline - max(0.0, time.perf_counter() - encoded.arrived)
    if left <= 0:
        return deadline_exceeded(event.event, limits.deadline)
    return _Given(event, replace(limits, deadline=left))
