"""An event of the wrong type, dtype or shape is an error in its place, whatever is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from exatrkx_models import random_event, small_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackserve import PatatrackPipeline
from trackserve.edm import BeamSpot, PointsEvent, RawEvent, SpacePoints
from trackserve.errors import EventError, InputError, MalformedEvent, decode, encode
from trackserve.serving.backend.runtime import EncodedEvent
from trackserve.serving.backend.tracker import run as run_served
from trackserve.trackers.batch import in_threads, one_by_one, run_batch
from trackserve.trackers.exatrkx.codec import CODEC as EXATRKX
from trackserve.trackers.exatrkx.event import FeaturesEvent
from trackserve.trackers.exatrkx.features import scale_points
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
from trackserve.trackers.patatrack.codec import CODEC as PATATRACK
from trackserve.wire.codec import Codec

THREADS = (1, 2)
EMPTY = RawEvent(np.zeros(4, np.uint8), event=7)

ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "i1", "u4", "i8", "f2", "f4", ">f4", "f8", "c8", "?", "U2", "O"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.binary(max_size=8), st.text(max_size=4), st.floats()),
    *(st.integers(), st.integers(-(2**1100), 2**1100), st.complex_numbers(), ARRAYS),
    *(st.lists(st.integers(0, 255), max_size=8), st.just(object()), st.just(EMPTY)),
)
SPOTS = VALUES | st.builds(BeamSpot, x=VALUES, y=VALUES, z=st.floats())
RAW = st.builds(RawEvent, VALUES, SPOTS, VALUES | st.just(3))
POINTS = st.builds(PointsEvent, VALUES | st.builds(SpacePoints, VALUES), VALUES | st.just(3))
FEATURES = st.builds(FeaturesEvent, VALUES, VALUES | st.just(3))
ANYTHING = st.one_of(VALUES, RAW, POINTS, FEATURES)
many = settings(max_examples=300, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def points_pipeline() -> ExatrkxPipeline:
    return ExatrkxPipeline(small_model())


@pytest.mark.parametrize("codec", [PATATRACK, EXATRKX], ids=["patatrack", "exatrkx"])
@many
@given(event=ANYTHING)
def test_a_codec_refuses_or_encodes_anything(codec: Codec[Any, Any], event: Any) -> None:
    try:
        tensors = codec.encode_event(event)
    except MalformedEvent as error:
        sent = decode(encode(error))
        assert repr(sent) == repr(error)  # noqa: PT017
    else:
        decoded = codec.decode_event(tensors)
        assert decoded.event == event.event
        again = codec.encode_event(decoded)
        assert {name: a.tobytes() for name, a in again.items()} == {
            name: a.tobytes() for name, a in tensors.items()
        }


@many
@given(event=ANYTHING)
def test_patatrack_answers_anything(pipeline: PatatrackPipeline, event: Any) -> None:
    _answers(pipeline, event, EMPTY)


@many
@given(event=ANYTHING)
def test_exatrkx_answers_anything(points_pipeline: ExatrkxPipeline, event: Any) -> None:
    _answers(points_pipeline, event, random_event(5, event=7))


def _answers(pipeline: Any, event: Any, good: Any) -> None:
    outcome, other = pipeline.run([event, good])
    assert other == pipeline.reconstruct(good)
    if isinstance(outcome, EventError):
        with pytest.raises(type(outcome)) as caught:
            pipeline.reconstruct(event)
        assert repr(caught.value.fields) == repr(outcome.fields)
    else:
        assert outcome == pipeline.reconstruct(event)


@pytest.mark.parametrize(
    ("event", "field", "found"),
    [
        (RawEvent(b"abcd", event=3), "data", "bytes"),  # type: ignore[arg-type]
        (RawEvent([1, 2], event=3), "data", "list"),  # type: ignore[arg-type]
        (RawEvent(np.zeros(4, np.uint32), event=3), "data", "uint32[4]"),
        (RawEvent(np.zeros((1, 4), np.uint8), event=3), "data", "uint8[1, 4]"),
        (RawEvent(EMPTY.data, None, 3), "beam_spot", "NoneType"),  # type: ignore[arg-type]
        (RawEvent(EMPTY.data, BeamSpot(y="0"), 3), "beam_spot.y", "'0'"),  # type: ignore[arg-type]
        (PointsEvent(None, 3), "points", "NoneType"),  # type: ignore[arg-type]
        (PointsEvent(SpacePoints(np.zeros((2, 3))), 3), "points", "float64[2, 3]"),
        (FeaturesEvent(np.zeros((2, 2), np.float32), 3), "features", "float32[2, 2]"),
    ],
)
def test_the_error_says_what_is_wrong(
    pipeline: PatatrackPipeline,
    points_pipeline: ExatrkxPipeline,
    event: Any,
    field: str,
    found: str,
) -> None:
    (error,) = (pipeline if isinstance(event, RawEvent) else points_pipeline).run([event])
    assert isinstance(error, MalformedEvent)
    assert (error.event, error.field, error.found) == (3, field, found)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(
    "change",
    [
        *(np.matrix, np.ma.masked_array, np.asfortranarray),
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: np.array(array).view(np.recarray).view(np.float32),
    ],
    ids=["matrix", "masked", "Fortran", "strided", "other view"],
)
def test_any_array_of_the_right_type_has_the_same_answer(
    points_pipeline: ExatrkxPipeline, change: Callable[[Any], Any]
) -> None:
    event = random_event(30)
    position = event.points.position
    features = scale_points(position, points_pipeline.model.description.features)
    expected = points_pipeline.reconstruct(event)
    changed = PointsEvent(SpacePoints(change(position)))
    assert points_pipeline.run([changed, FeaturesEvent(change(features))]) == [expected, expected]


class Unreadable:
    """Events of which the second and the last cannot be read."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> Any:
        if index in (1, len(self) - 1):
            raise EventError("cannot be read", event=index)
        return self.events[index]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("tracker", ["patatrack", "exatrkx"])
def test_an_unreadable_event_is_its_error_in_its_place(
    sample_directory: Any, tracker: str, threads: int
) -> None:
    built, events = _build(tracker, sample_directory, threads)
    direct = built.run(events)
    outcomes = built.run(Unreadable(events))
    for index, (outcome, expected) in enumerate(zip(outcomes, direct, strict=True)):
        if index in (1, len(events) - 1):
            assert isinstance(outcome, EventError)
            assert outcome.event == index
        else:
            assert outcome == expected


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("tracker", ["patatrack", "exatrkx"])
@pytest.mark.parametrize(
    "make",
    [iter, tuple, lambda events: (event for event in events), lambda events: dict.fromkeys(events)],
    ids=["iterator", "tuple", "generator", "keys"],
)
def test_run_takes_any_iterable(
    sample_directory: Any,
    tracker: str,
    threads: int,
    make: Callable[[list[Any]], Iterable[Any]],
) -> None:
    built, events = _build(tracker, sample_directory, threads)
    assert built.run(make(events)) == built.run(events)
    assert built.run(make([])) == []


def _build(tracker: str, directory: Any, threads: int) -> tuple[Any, list[Any]]:
    if tracker == "exatrkx":
        events = [random_event(20, event=number) for number in range(5)]
        return ExatrkxPipeline(small_model(), threads=threads), events
    pipeline = PatatrackPipeline.from_directory(directory, threads=threads)
    return pipeline, [RawEvent(EMPTY.data, event=number) for number in range(5)]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("tracker", ["patatrack", "exatrkx"])
def test_errors_of_the_whole_call_are_raised(
    sample_directory: Any, tracker: str, threads: int
) -> None:
    built, events = _build(tracker, sample_directory, threads)
    for nothing in (None, 5, events[0]):
        with pytest.raises(InputError, match="cannot be iterated"):
            built.run(nothing)
    for keep in (
        ["hitz"],
        [5],
        [[]],
        5,
        None,
        {"patatrack": "hits", "exatrkx": "filter_edges"}[tracker],
    ):
        with pytest.raises(InputError, match="unknown part to keep"):
            built.run(events, keep)

    def broken() -> Iterator[Any]:
        yield events[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        built.run(broken())


def test_errors_among_the_events_are_their_own_outcomes(pipeline: PatatrackPipeline) -> None:
    error = EventError("cannot be read", event=2)
    assert pipeline.run([EMPTY, error])[1] is error
    assert run_batch([error], lambda event: None, lambda good: [1 / 0], pipeline.identity) == [
        error
    ]
    with pytest.raises(EventError, match="cannot be read"):
        pipeline.reconstruct(error)  # type: ignore[arg-type]


def test_a_sequence_that_grows_is_read_to_its_end() -> None:
    events = [0]
    for event in one_by_one(events):
        if len(events) < 5:
            events.append(event + 1)
    assert events == [0, 1, 2, 3, 4]


def test_threads_begin_nothing_after_an_error() -> None:
    begun = []
    go_on = threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise ValueError("unexpected")
        go_on.wait(10)

    def items() -> Iterator[int]:
        yield from range(100)
        go_on.set()

    with pytest.raises(ValueError, match="unexpected"):
        in_threads(work, items(), 2)
    assert len(begun) < 100


def test_an_event_that_a_tracker_refuses_is_malformed() -> None:
    """Another tracker's pipeline raises where it should return; so may its codec."""

    class Strict:
        device = "cuda"

        def run(self, events: Any, keep: Any, lap: Any, limits: Any) -> Any:
            if any(event.event == 1 for event in events):
                raise InputError("no such event", found=1)
            return [EventError("seen", event=event.event) for event in events]

    batch = [
        EncodedEvent(PATATRACK.encode_event(RawEvent(EMPTY.data, event=number)), [])
        for number in range(3)
    ]
    batch.append(EncodedEvent({"raw": np.zeros(1)}, []))
    answers = list(run_served(Strict(), PATATRACK, batch))  # type: ignore[arg-type]
    assert [type(answer) for answer in answers] == [
        *(EventError, MalformedEvent, EventError, MalformedEvent)
    ]
