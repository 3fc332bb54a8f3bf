"""How a backend runs any tracker: build its pipelines, and answer a batch of requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trackserve.errors import TrackserveError
from trackserve.trackers.base import Lap, Pipeline
from trackserve.trackers.laps import Laps
from trackserve.trackers.registry import tracker_of
from trackserve.wire.codec import Codec
from trackserve.wire.identity import DEVICE

from .runtime import Answer, Reply, Request, RunBatch


def load(folder: Path, parameters: Mapping[str, str]) -> Callable[[], RunBatch]:
    """Load a model; what this returns makes what one worker runs.

    On a CPU all workers share a pipeline. Elsewhere each worker has a pipeline of its own, with a
    stream and memory of its own: the copies of one overlap the kernels of another.

    Args:
        folder: folder of the model's version in the repository.
        parameters: those of its ``config.pbtxt``.

    Raises:
        TrackserveError: the tracker cannot be built.
    """
    tracker, device = tracker_of(parameters), parameters[DEVICE]
    build = partial(tracker.restore, folder, parameters, device)
    if device != "cpu":
        return lambda: partial(run, build(), tracker.codec)
    pipeline = build()
    return lambda: partial(run, pipeline, tracker.codec)


def run(
    pipeline: Pipeline[Any, Any], codec: Codec[Any, Any], batch: Iterable[Request]
) -> Iterator[Answer]:
    """Reconstruct the batch: event by event on a CPU, elsewhere together."""
    groups = ([request] for request in batch) if pipeline.device == "cpu" else [list(batch)]
    for requests in groups:
        yield from _run_together(pipeline, codec, requests)


def _run_together(
    pipeline: Pipeline[Any, Any], codec: Codec[Any, Any], requests: list[Request]
) -> Iterator[Answer]:
    """Each event has the same share of the time that the batch took."""
    lap = Laps()
    inputs = [_decode(codec, request) for request in requests]
    events = [given for given in inputs if not isinstance(given, TrackserveError)]
    keep = {part for request in requests for part in codec.kept_parts(request.outputs)}
    lap("decode")
    results = iter(_reconstruct(pipeline, events, keep, lap))
    answers = [given if isinstance(given, TrackserveError) else next(results) for given in inputs]
    pairs = zip(requests, answers, strict=True)
    replies = [_encode(codec, answer, request) for request, answer in pairs]
    lap("encode")
    shares = {stage: spent / max(len(events), 1) for stage, spent in lap.seconds.items()}
    for reply in replies:
        yield reply._replace(seconds=shares) if isinstance(reply, Reply) else reply


def _reconstruct(
    pipeline: Pipeline[Any, Any], events: Sequence[Any], keep: Collection[str], lap: Lap
) -> Sequence[Any]:
    """The results; where the tracker refuses a batch, those of each event alone."""
    if not events:
        return []
    try:
        return pipeline.run(events, keep, lap)
    except TrackserveError as error:
        if len(events) == 1:
            return [error]
    return [result for event in events for result in _reconstruct(pipeline, [event], keep, lap)]


def _encode(codec: Codec[Any, Any], answer: Any, request: Request) -> Answer:
    """The reply to a request, or the error that says why there is none."""
    if isinstance(answer, TrackserveError):
        return answer
    try:
        tensors = codec.encode_result(answer, request.outputs)
    except TrackserveError as error:
        return error
    return Reply(tensors, vars(answer.counts), {})


def _decode(codec: Codec[Any, Any], request: Request) -> Any:
    """The event, or the error that says why there is none."""
    try:
        return codec.decode_event(request.tensors)
    except TrackserveError as error:
        return error
