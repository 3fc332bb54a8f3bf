"""The limits on the work on an event: typed errors, flagged partial results, deadlines."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exatrkx_models import random_event, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from true_tracks import helices

from benchmarks.pathological import pixel_noise
from trackserve import ExatrkxPipeline, PatatrackPipeline
from trackserve.edm import EventLimits, RawEvent
from trackserve.edm.limits import MOST
from trackserve.errors import (
    DeadlineExceeded,
    EventDeadlineExceeded,
    EventError,
    InputError,
    LimitExceeded,
    TrackserveError,
    decode,
    encode,
)
from trackserve.io.parquet import results_schema, to_awkward
from trackserve.serving.backend.runtime import EncodedEvent, EncodedResult
from trackserve.serving.backend.tracker import run as run_served
from trackserve.trackers.exatrkx import pipeline as pipeline_module
from trackserve.trackers.exatrkx.architecture import Cuts, Finish
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.exatrkx.result import GRAPH_STAGES, ExatrkxResult
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.wire.limits import LIMITS, STOPPED_BY, decode_limits, encode_limits

KEEP = tuple(PatatrackResult.intermediates())
ENDS = {
    "words": [],
    "module_digis": ["digis"],
    "clusters": ["digis"],
    "doublets": ["digis", "clusters", "hits"],
    "triplets": ["digis", "clusters", "hits", "doublets"],
    "connections": ["digis", "clusters", "hits", "doublets"],
    "ntuplets": ["digis", "clusters", "hits", "doublets"],
}
"""Intermediates that each limit leaves."""


def needs(pipeline: PatatrackPipeline, event: RawEvent, name: str) -> int:
    """The smallest limit that an event does not exceed."""
    low, high = 0, PatatrackLimits().counts()[name]
    while low < high:
        middle = (low + high) // 2
        (outcome,) = pipeline.run([event], limits=PatatrackLimits(**{name: middle}))
        low, high = (low, middle) if isinstance(outcome, PatatrackResult) else (middle + 1, high)
    return low


@pytest.mark.parametrize("name", PatatrackLimits.names())
def test_a_limit_that_is_needed_is_allowed_and_one_less_is_beyond(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    name: str,
) -> None:
    event, full = sample_events[3], sample_results[3]
    n = needs(pipeline, event, name)
    known = vars(full.counts)
    assert n == known.get(name, n)
    (allowed,) = pipeline.run([event], KEEP, limits=PatatrackLimits(**{name: n}))
    assert allowed == full

    (error,) = pipeline.run([event], limits=PatatrackLimits(**{name: n - 1}))
    assert isinstance(error, LimitExceeded)
    assert (error.event, error.limit, error.bound) == (event.event, name, n - 1)
    assert error.fields.get("found", n) == n

    limits = PatatrackLimits(**{name: n - 1}, beyond="partial")
    partial = pipeline.reconstruct(event, KEEP, limits)
    assert partial.stopped_by == name
    assert partial.identity == full.identity
    for part in (*KEEP, "tracks", "vertices"):
        assert bool(len(getattr(partial, part))) == (part in ENDS[name])
    for part in ("clusters", "hits"):
        if part in ENDS[name]:
            assert getattr(partial, part) == getattr(full, part)
    assert partial.counts.words == full.counts.words
    for count in ("clusters", "doublets"):
        expected = vars(full.counts)[count] if count in ENDS[name] else 0
        assert vars(partial.counts)[count] == expected


def test_a_partial_result_has_the_bits_of_the_stages_that_ended(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
) -> None:
    event, full = sample_events[0], sample_results[0]
    limits = PatatrackLimits(ntuplets=10, beyond="partial")
    partial = pipeline.reconstruct(event, KEEP, limits)
    same = ("digis", "clusters", "hits", "doublets", "readout_errors")
    assert all(getattr(partial, part) == getattr(full, part) for part in same)
    early = pipeline.reconstruct(event, KEEP, PatatrackLimits(module_digis=10, beyond="partial"))
    assert early.digis is not None
    assert full.digis is not None
    assert np.array_equal(early.digis.charge, full.digis.charge)
    assert set(early.digis.cluster) == {-1}


@settings(max_examples=25)
@given(
    rows=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    values=st.fixed_dictionaries(
        {},
        optional={
            "words": st.integers(0, 60_000),
            "module_digis": st.integers(0, 600),
            "clusters": st.integers(0, 15_000),
            "doublets": st.integers(0, 150_000),
            "triplets": st.integers(0, 800_000),
            "connections": st.integers(0, 12_000),
            "ntuplets": st.integers(0, 8_000),
            "beyond": st.sampled_from(["error", "partial"]),
        },
    ),
)
def test_the_same_event_and_limits_have_the_same_answer(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    rows: list[int],
    values: dict[str, Any],
) -> None:
    """In any batch, twice; and within the limits it is the answer without limits."""
    limits = PatatrackLimits(**values)
    outcomes = pipeline.run([sample_events[row] for row in rows], KEEP, limits=limits)
    for row, outcome in zip(rows, outcomes, strict=True):
        (again,) = pipeline.run([sample_events[row]], KEEP, limits=limits)
        if isinstance(outcome, EventError):
            assert limits.beyond == "error"
            assert encode(outcome) == encode(again)  # type: ignore[arg-type]
        else:
            assert outcome == again
            assert outcome.stopped_by or outcome == sample_results[row]


@pytest.mark.parametrize("name", ExatrkxLimits.names())
def test_the_learned_tracker_stops_before_what_is_too_much(name: str) -> None:
    model = small_model()
    if name == "pieces":
        model = small_model(cuts=Cuts(0.1, 0.45, 0.4, 4, "paths", Finish(2.0, sure_edge=0.6)))
    pipeline = ExatrkxPipeline(model)
    event = random_event(400, 5, 5)
    full = pipeline.reconstruct(event, GRAPH_STAGES)
    n = vars(full.counts)[name]
    assert n > 0
    assert pipeline.reconstruct(event, GRAPH_STAGES, ExatrkxLimits(**{name: n})) == full
    with pytest.raises(LimitExceeded) as error:
        pipeline.reconstruct(event, limits=ExatrkxLimits(**{name: n - 1}))
    assert (error.value.event, error.value.limit, error.value.bound) == (5, name, n - 1)

    limits = ExatrkxLimits(**{name: n - 1}, beyond="partial")
    partial, other = pipeline.run([event, random_event(20, 1, 1)], GRAPH_STAGES, limits=limits)
    assert isinstance(partial, ExatrkxResult)
    assert isinstance(other, ExatrkxResult)
    assert (partial.stopped_by, other.stopped_by) == (name, "")
    assert partial.counts.points == 400
    assert len(partial.labels) == len(partial.candidates) == partial.counts.components == 0
    known = {"filter_edges": GRAPH_STAGES[:1], "pieces": GRAPH_STAGES}.get(name, ())
    for stage in GRAPH_STAGES:
        ended = stage in known
        assert vars(partial.counts)[stage] == (vars(full.counts)[stage] if ended else 0)
        edges = getattr(partial, stage)
        assert edges == getattr(full, stage) if ended else len(edges) == 0


def test_networks_elsewhere_stop_the_same_events() -> None:
    """Several events are one graph there; those beyond a limit leave it."""
    model = small_model()
    events = [random_event(300, 1, 1), random_event(30, 2, 2), random_event(200, 3, 3)]
    here, elsewhere = ExatrkxPipeline(model), ExatrkxPipeline(model, device="cpu:0")
    full = here.run(events)
    for name in ("radius_edges", "filter_edges"):
        n = vars(full[0].counts)[name]  # type: ignore[union-attr]
        limits = ExatrkxLimits(**{name: n - 1}, beyond="partial")
        found, expected = (p.run(events, GRAPH_STAGES, limits=limits) for p in (elsewhere, here))
        assert [r.stopped_by for r in expected] == [name, "", ""]  # type: ignore[union-attr]
        for mine, theirs in zip(found, expected, strict=True):
            assert isinstance(mine, ExatrkxResult)
            assert isinstance(theirs, ExatrkxResult)
            assert (mine.stopped_by, mine.counts) == (theirs.stopped_by, theirs.counts)


@pytest.fixture(scope="module")
def pathological(sample_directory: Path) -> dict[str, RawEvent]:
    return {
        "module_digis": pixel_noise(sample_directory, 20_000, 1),
        "clusters": pixel_noise(sample_directory, 299_000, 1500),
    }


@pytest.mark.parametrize("name", ["module_digis", "clusters"])
def test_events_that_no_detector_should_give_are_stopped(
    pipeline: PatatrackPipeline,
    pathological: dict[str, RawEvent],
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    name: str,
) -> None:
    batch = [sample_events[0], pathological[name], sample_events[1]]
    before, error, after = pipeline.run(batch, KEEP)
    assert isinstance(error, LimitExceeded)
    assert error.limit == name
    assert [before, after] == sample_results[:2]


_IN_LITTLE_MEMORY = """
import resource, sys
from benchmarks.pathological import cloud
from trackserve import ExatrkxPipeline
from trackserve.errors import LimitExceeded
from trackserve.trackers.exatrkx.architecture import Cuts, Finish
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
pipeline = ExatrkxPipeline.from_model()
event = cloud(100_000)
pipeline.run([cloud(2000)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(error,) = pipeline.run([event], limits=ExatrkxLimits(radius_edges=1_000_000))
assert isinstance(error, LimitExceeded), error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_not_allocated_for_what_is_beyond_a_limit() -> None:
    """All pairs of the cloud would take 450 MB as they are found, and as much to be sorted."""
    command = [sys.executable, "-c", _IN_LITTLE_MEMORY]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(grown) < 250 * 1024


def test_a_deadline_gives_its_error_and_nothing_else(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    (error,) = pipeline.run(sample_events[:1], limits=PatatrackLimits(deadline=0, beyond="partial"))
    assert isinstance(error, EventDeadlineExceeded)
    assert isinstance(error, DeadlineExceeded)
    assert (error.event, error.bound, error.stage) == (0, 0, "unpack")
    learned = ExatrkxPipeline(small_model())
    (late,) = learned.run([random_event(50, 1, 7)], limits=ExatrkxLimits(deadline=0))
    assert isinstance(late, EventDeadlineExceeded)
    assert late.event == 7
    limits = PatatrackLimits(deadline=1000)
    assert pipeline.run(sample_events[:1], limits=limits) == pipeline.run(sample_events[:1])


def test_a_deadline_ends_finishing(monkeypatch: pytest.MonkeyPatch) -> None:
    def finish_late(*arguments: Any) -> None:
        look = arguments[-1]
        monkeypatch.setattr(look.__self__, "end", 0.0)
        look()
        raise AssertionError("it goes on")

    monkeypatch.setattr(pipeline_module, "finish", finish_late)
    limits = ExatrkxLimits(deadline=1000, beyond="partial")
    (late,) = ExatrkxPipeline.from_model("default").run([helices(12, 1, 7)], limits=limits)
    assert isinstance(late, EventDeadlineExceeded)
    assert (late.event, late.stage) == (7, "components")


@pytest.mark.parametrize(
    "values",
    [
        {"beyond": "nothing"},
        {"deadline": -1},
        {"deadline": math.nan},
        {"deadline": "soon"},
        {"deadline": 10**400},
        {"words": -1},
        {"words": 1.5},
        {"words": True},
        {"words": MOST + 1},
    ],
)
def test_wrong_limits_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PatatrackLimits(**values)


def test_limits_of_another_tracker_are_refused(pipeline: PatatrackPipeline) -> None:
    with pytest.raises(InputError, match="another tracker"):
        pipeline.run([], limits=ExatrkxLimits())


_limits = st.builds(
    PatatrackLimits,
    words=st.integers(0, MOST),
    triplets=st.integers(0, MOST),
    beyond=st.sampled_from(["error", "partial"]),
    deadline=st.floats(0, allow_nan=False),
)


@given(limits=_limits)
def test_limits_travel_as_a_tensor(limits: PatatrackLimits) -> None:
    tensors = encode_limits(limits)
    assert bool(tensors) == (limits != PatatrackLimits())
    assert decode_limits(tensors, PatatrackLimits) == limits


@given(
    text=st.one_of(
        st.binary(max_size=9), st.sampled_from([b'{"words": "many"}', b'{"speed": 1}', b"[]"])
    )
)
def test_a_malformed_tensor_of_limits_is_an_error(text: bytes) -> None:
    tensors = {LIMITS.name: np.frombuffer(text, np.uint8)}
    with pytest.raises(InputError) as error:
        decode_limits(tensors, PatatrackLimits)
    assert error.value.tensor == "limits"


def test_the_errors_cross_the_wire() -> None:
    for error in (
        LimitExceeded("too much", event=3, limit="words", bound=2),
        EventDeadlineExceeded("too late", event=3, bound=0.5, stage="hits"),
    ):
        found = decode(f"in {encode(error)} a text")
        assert type(found) is type(error)
        assert found.fields == error.fields


def served(pipeline: Any, requests: Sequence[EncodedEvent]) -> list[EncodedResult | Any]:
    return list(run_served(pipeline, CODEC, requests))


def request(event: RawEvent, limits: EventLimits, outputs: Sequence[str]) -> EncodedEvent:
    return EncodedEvent(CODEC.encode_event(event) | encode_limits(limits), outputs)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_events_of_one_batch_have_limits_of_their_own(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    """On the device "cuda" the backend gives the pipeline all events together."""
    monkeypatch.setattr(pipeline, "device", device)
    every = ["result", STOPPED_BY.name]
    few = PatatrackLimits(doublets=10)
    answers = served(
        pipeline,
        [
            request(sample_events[0], PatatrackLimits(), every),
            request(sample_events[1], few, every),
            request(sample_events[2], replace(few, beyond="partial"), every),
            request(sample_events[3], replace(few, beyond="partial"), ["result"]),
            request(sample_events[4], PatatrackLimits(deadline=1000), every),
        ],
    )
    assert [type(answer) for answer in answers] == [
        *(EncodedResult, LimitExceeded, EncodedResult, LimitExceeded, EncodedResult)
    ]
    outcomes = [getattr(answer, "outcome", "") for answer in answers]
    assert outcomes == ["ok", "", "partial", "", "ok"]
    partial = CODEC.decode_result(answers[2].tensors, 2)
    assert partial.stopped_by == "doublets"
    assert (
        partial
        == pipeline.run([sample_events[2]], limits=PatatrackLimits(doublets=10, beyond="partial"))[
            0
        ]
    )
    first = CODEC.decode_result(answers[0].tensors, 0)
    assert first.tracks == sample_results[0].tracks
    assert first.stopped_by == ""


def test_the_wait_for_a_worker_counts_to_the_deadline(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    event = request(sample_events[0], PatatrackLimits(deadline=5), ["result"])
    long_ago = replace(event, arrived=time.perf_counter() - 6)
    (late,) = served(pipeline, [long_ago])
    assert isinstance(late, EventDeadlineExceeded)
    (answer,) = served(pipeline, [replace(event, arrived=time.perf_counter())])
    assert isinstance(answer, EncodedResult)


def test_a_table_has_one_schema_and_tells_partial_results(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    outcomes: list[Any] = []
    for limits in (
        PatatrackLimits(),
        PatatrackLimits(triplets=5, beyond="partial"),
        PatatrackLimits(triplets=5),
    ):
        outcomes += pipeline.run(sample_events[:1], limits=limits)
    assert not isinstance(outcomes[1], TrackserveError)
    table = to_awkward(outcomes, PatatrackResult)
    assert table.stopped_by.tolist() == ["", "triplets", ""]
    assert [bool(text) for text in table.error] == [False, False, True]
    assert outcomes[1].to_awkward().stopped_by == "triplets"
    assert "stopped_by" in results_schema(PatatrackResult).names
