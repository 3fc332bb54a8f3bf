"""The Patatrack model: describe, load and run a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm import RawEvent
from trackserve.errors import TrackserveError
from trackserve.trackers.patatrack import codec as wire

from .laps import Laps
from .runtime import (
    Answer,
    Description,
    Reply,
    Request,
    Run,
    runs_of,
)

if TYPE_CHECKING:
    from trackserve.trackers.patatrack import PatatrackPipeline

_NO_FEDS = np.frombuffer(bytes(4), np.uint8)
"""The FED stream of an empty event; read-only as a request's is, which Numba tells apart."""


def describe() -> Description:
    """The tensors, and an event without FEDs.

    Triton asks in a process of its own, at every start: so the pipeline is not imported here.
    """
    return Description(
        wire.INPUTS, wire.OUTPUTS, wire.TIMING, wire.encode_event(RawEvent(_NO_FEDS))
    )


def load(directory: Path, parameters: Mapping[str, str]) -> Callable[[], Run]:
    """Build the pipeline from the parameters ``conditions`` (relative to ``directory``),
    ``config`` and ``device``.

    Raises:
        ConditionsError: the conditions cannot be read.
        InputError: there is no such configuration or device.
    """
    from trackserve.trackers.patatrack import PatatrackPipeline

    build = partial(
        PatatrackPipeline.from_directory,
        directory / parameters["conditions"],
        config=parameters["config"],
        device=parameters["device"],
    )
    return runs_of(run, build, parameters["device"])


def run(pipeline: PatatrackPipeline, batch: Iterable[Request]) -> Iterator[Answer]:
    """Reconstruct the batch: event by event on a CPU, elsewhere together."""
    if pipeline.device != "cpu":
        yield from _run_together(pipeline, list(batch))
        return
    for request in batch:
        try:
            yield _run_one(pipeline, request)
        except TrackserveError as error:
            yield error


def _run_one(pipeline: PatatrackPipeline, request: Request) -> Reply:
    lap = Laps()
    event = wire.decode_event(request.tensors)
    lap("decode")
    result = pipeline.run_stages(event, wire.kept_parts(request.outputs), lap)
    tensors = wire.encode_result(result, request.outputs)
    lap("encode")
    return Reply(tensors, vars(result.counts), lap.seconds)


def _run_together(pipeline: PatatrackPipeline, requests: Sequence[Request]) -> Iterator[Answer]:
    """Each event has the same share of the time that the batch took."""
    lap = Laps()
    inputs = [_decode(request) for request in requests]
    events = [given for given in inputs if isinstance(given, RawEvent)]
    keep = {part for request in requests for part in wire.kept_parts(request.outputs)}
    lap("decode")
    results = iter(pipeline.run(events, keep))
    lap("reconstruct")
    for request, given in zip(requests, inputs, strict=True):
        answer = next(results) if isinstance(given, RawEvent) else given
        if isinstance(answer, TrackserveError):
            yield answer
        else:
            tensors = wire.encode_result(answer, request.outputs)
            seconds = {stage: spent / len(events) for stage, spent in lap.seconds.items()}
            yield Reply(tensors, vars(answer.counts), seconds)


def _decode(request: Request) -> RawEvent | TrackserveError:
    try:
        return wire.decode_event(request.tensors)
    except TrackserveError as error:
        return error
