"""The learned tracker: describe, load and run a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackserve.edm import PointsEvent, SpacePoints
from trackserve.errors import InputError, TrackserveError
from trackserve.trackers.exatrkx import codec as wire
from trackserve.trackers.exatrkx.event import FeaturesEvent

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
    from trackserve.trackers.exatrkx import ExatrkxPipeline


def describe() -> Description:
    """The tensors of :mod:`..wire.exatrkx`, and an event without points."""
    nothing = wire.encode_event(PointsEvent(SpacePoints.empty()))
    return Description(wire.INPUTS, wire.OUTPUTS, wire.TIMING, nothing)


def load(directory: Path, parameters: Mapping[str, str]) -> Callable[[], Run]:
    """Build the pipeline from the parameters ``model`` (relative to ``directory``), ``device``
    and ``precision``.

    Raises:
        ModelError: the model cannot be read.
        InputError: there is no such device or precision.
    """
    from trackserve.trackers.exatrkx import ExatrkxPipeline

    def build() -> ExatrkxPipeline:
        pipeline = ExatrkxPipeline.from_model(
            directory / parameters["model"],
            device=parameters["device"],
            precision=parameters["precision"],
        )
        pipeline.warm_up()
        return pipeline

    return runs_of(run, build, parameters["device"])


def run(pipeline: ExatrkxPipeline, batch: Iterable[Request]) -> Iterator[Answer]:
    """Reconstruct the batch: event by event on a CPU, elsewhere together.

    On a CPU one graph of several events saves nothing.
    """
    graphs = ([request] for request in batch) if pipeline.device == "cpu" else [list(batch)]
    for requests in graphs:
        yield from _run_graph(pipeline, requests)


def _run_graph(pipeline: ExatrkxPipeline, requests: Sequence[Request]) -> Iterator[Answer]:
    """Each event has the same share of the time that the stages took."""
    lap = Laps()
    inputs = [_decode(pipeline, request) for request in requests]
    good = [given for given in inputs if isinstance(given, FeaturesEvent)]
    lap("decode")
    results = iter(pipeline.run(good, lap=lap))
    for request, given in zip(requests, inputs, strict=True):
        answer = next(results) if isinstance(given, FeaturesEvent) else given
        if isinstance(answer, TrackserveError):
            yield answer
        else:
            tensors = wire.encode_result(answer, request.outputs)
            seconds = {stage: spent / len(good) for stage, spent in lap.seconds.items()}
            yield Reply(tensors, vars(answer.counts), seconds)


def _decode(pipeline: ExatrkxPipeline, request: Request) -> FeaturesEvent | InputError:
    from trackserve.trackers.exatrkx.features import scale_points

    scale = functools.partial(scale_points, features=pipeline.model.description.features)
    try:
        return FeaturesEvent(*wire.decode_event(request.tensors, scale))
    except InputError as error:
        return error
