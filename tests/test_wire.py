"""Events and results survive the way over the wire; malformed tensors are named."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackserve.edm import (
    ALWAYS,
    INTERMEDIATE,
    BeamSpot,
    Columns,
    Counts,
    PatatrackResult,
    RawEvent,
    Tracks,
)
from trackserve.errors import (
    EventError,
    InputError,
    ServerBusy,
    TrackserveError,
    encode,
)
from trackserve.trackers.exatrkx import codec as exatrkx
from trackserve.trackers.patatrack import codec as wire
from trackserve.wire import bundle
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.tensors import decode_timing, encode_timing

PARTS = ALWAYS | INTERMEDIATE
keeps = st.sets(st.sampled_from(list(INTERMEDIATE)))
counts = st.lists(st.integers(0, 2**31 - 1), min_size=7, max_size=7).map(lambda n: Counts(*n))
events = st.builds(
    RawEvent,
    hnp.arrays(np.uint8, st.integers(0, 40)),
    st.builds(BeamSpot, *[st.floats(-20, 20, width=32)] * 3),
    st.integers(-(2**63), 2**63 - 1),
)


@st.composite
def columns(draw: st.DrawFn, noun: type[Columns]) -> Columns:
    length = draw(st.integers(0, 4))
    specs = noun.schema().values()
    return noun(*(draw(hnp.arrays(spec.dtype, (length, *spec.shape))) for spec in specs))


@st.composite
def results(draw: st.DrawFn) -> tuple[PatatrackResult, set[str]]:
    keep = draw(keeps)
    parts: dict[str, Any] = {name: draw(columns(PARTS[name])) for name in (*ALWAYS, *keep)}
    return PatatrackResult(draw(st.integers(0, 2**40)), draw(counts), **parts), keep


@pytest.fixture
def tensors() -> dict[str, Any]:
    """The tensors of an empty result."""
    parts: dict[str, Any] = {name: noun.empty() for name, noun in ALWAYS.items()}
    return wire.encode_result(PatatrackResult(0, Counts(), **parts), wire.output_names())


@given(events)
def test_event_round_trip(event: RawEvent) -> None:
    tensors = wire.encode_event(event)
    for spec in wire.INPUTS:
        assert tensors[spec.name].dtype == spec.dtype
    back = wire.decode_event(tensors)
    assert back.event == event.event
    assert back.data.tobytes() == event.data.tobytes()
    assert back.beam_spot.position().tobytes() == event.beam_spot.position().tobytes()


def test_event_number_is_optional() -> None:
    tensors = wire.encode_event(RawEvent(np.zeros(4, np.uint8), event=7))
    del tensors["event"]
    assert wire.decode_event(tensors).event == 0


@given(results())
def test_result_round_trip(result_and_keep: tuple[PatatrackResult, set[str]]) -> None:
    result, keep = result_and_keep
    tensors = wire.encode_result(result, wire.output_names(keep))
    assert all(array.flags.c_contiguous for array in tensors.values())
    assert wire.decode_result(tensors, result.event, keep) == result


@given(keeps)
def test_keep_follows_from_the_outputs_asked_for(keep: set[str]) -> None:
    assert wire.kept_parts(wire.output_names(keep)) == keep


def test_all_outputs_are_those_of_all_parts() -> None:
    names = [spec.name for spec in wire.OUTPUTS]
    assert len(set(names)) == len(names)
    columns = [f"{part}_{name}" for part, noun in PARTS.items() for name in noun.schema()]
    assert names == ["result", "counts", *PARTS, *columns, wire.TIMING.name]
    assert set(wire.output_names(INTERMEDIATE)) < set(names)


def test_timing_survives() -> None:
    tensors = {wire.TIMING.name: encode_timing(1e-6, 0.25)}
    assert decode_timing(tensors, wire.TIMING) == (1e-6, 0.25)
    with pytest.raises(InputError):
        decode_timing({}, wire.TIMING)


def test_tensors_follow_the_schemas() -> None:
    specs = {spec.name: spec for spec in wire.OUTPUTS}
    assert specs["counts"].shape == (len(fields(Counts)),)
    assert (specs["tracks_state"].triton_type, specs["tracks_state"].shape) == ("FP32", (-1, 5))
    assert (specs["doublets_killed"].triton_type, specs["doublets_killed"].shape) == ("BOOL", (-1,))


def test_tensors_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    for spec in (*wire.INPUTS, *wire.OUTPUTS, *exatrkx.INPUTS, *exatrkx.OUTPUTS, BUNDLE):
        assert f"| `{spec.name}` | {spec.triton_type} | {list(spec.shape)} |" in text


@given(results())
def test_columns_can_be_asked_for(drawn: tuple[PatatrackResult, set[str]]) -> None:
    result, _ = drawn
    wanted = {
        f"{part}_{name}": column
        for part, noun in result.parts().items()
        for name, column in noun.columns().items()
    }
    encoded = wire.encode_result(result, wanted)
    for name, column in wanted.items():
        assert encoded[name].dtype == column.dtype
        assert encoded[name].tobytes() == column.tobytes()


def test_columns_of_unequal_length_are_not_sent() -> None:
    parts: dict[str, Any] = {name: noun.empty() for name, noun in ALWAYS.items()}
    columns = Tracks.empty().columns() | {"chi2": np.zeros(1, np.float32)}
    result = PatatrackResult(0, Counts(), **parts | {"tracks": Tracks(**columns)})
    for name in ("tracks", "tracks_chi2"):
        with pytest.raises(InputError) as caught:
            wire.encode_result(result, [name])
        assert caught.value.fields["tensor"] == "tracks_chi2"


def test_strided_columns_are_made_contiguous() -> None:
    wide = np.arange(40, dtype=np.float32).reshape(4, 10)
    tracks = Tracks.empty().columns() | {"state": wide[:, ::2]}
    parts: dict[str, Any] = {name: noun.empty() for name, noun in ALWAYS.items()}
    result = PatatrackResult(0, Counts(), **parts | {"tracks": Tracks(**tracks)})
    encoded = wire.encode_result(result, ["tracks_state"])["tracks_state"]
    assert encoded.flags.c_contiguous
    assert encoded.tolist() == wide[:, ::2].tolist()


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [
        ("raw", np.zeros(4, np.int8), "int8[4]"),
        ("raw", np.zeros((2, 2), np.uint8), "uint8[2, 2]"),
        ("beam_spot", np.zeros(4, np.float32), "float32[4]"),
        ("beam_spot", np.zeros(3), "float64[3]"),
        ("event", np.zeros(2, np.int64), "int64[2]"),
    ],
)
def test_malformed_input(name: str, array: Any, found: str) -> None:
    tensors = wire.encode_event(RawEvent(np.zeros(4, np.uint8))) | {name: array}
    with pytest.raises(InputError) as caught:
        wire.decode_event(tensors)
    bound = {"raw": "uint8[-1]", "beam_spot": "float32[3]", "event": "int64[1]"}[name]
    assert caught.value.fields == {"tensor": name, "found": found, "bound": bound}


@pytest.mark.parametrize("name", ["raw", "beam_spot"])
def test_missing_input(name: str) -> None:
    tensors = wire.encode_event(RawEvent(np.zeros(4, np.uint8)))
    del tensors[name]
    with pytest.raises(InputError, match="missing") as caught:
        wire.decode_event(tensors)
    assert caught.value.tensor == name


def test_malformed_event_is_not_sent() -> None:
    with pytest.raises(InputError) as caught:
        wire.encode_event(RawEvent(np.zeros(4, np.uint32)))
    assert caught.value.fields == {"tensor": "raw", "found": "uint32[4]", "bound": "uint8[-1]"}


@pytest.mark.parametrize(
    ("name", "array", "bound"),
    [
        ("result", np.zeros(40, np.float32), "uint8[-1]"),
        ("result", np.zeros(39, np.uint8), 40),
        ("result", np.zeros(44, np.uint8), 40),
        ("result", np.array([0] * 7 + [2, 1, 3], np.int32).view(np.uint8), 40 + 220 + 20 + 40),
        ("result", np.array([0] * 7 + [-1, 0, 0], np.int32).view(np.uint8), 40 - 108),
        ("digis", np.zeros(13, np.uint8), "a multiple of 12"),
    ],
)
def test_malformed_output(tensors: dict[str, Any], name: str, array: Any, bound: object) -> None:
    with pytest.raises(InputError) as caught:
        wire.decode_result(tensors | {name: array}, 0, keep=["digis"] if name == "digis" else [])
    assert (caught.value.tensor, caught.value.bound) == (name, bound)


def test_missing_output(tensors: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="missing") as caught:
        wire.decode_result(tensors, 0, keep=["doublets"])
    assert caught.value.tensor == "doublets"


def test_unknown_names(tensors: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="unknown part to keep"):
        wire.output_names(["cells"])
    with pytest.raises(InputError, match="unknown part to keep"):
        wire.decode_result(tensors, 0, keep=["cells"])
    result = wire.decode_result(tensors, 0)
    for name in ("nonsense", "doublets", "doublets_inner"):
        with pytest.raises(InputError, match="no such tensor"):
            wire.encode_result(result, [name])


@given(st.lists(events, max_size=5), keeps)
def test_events_share_a_bundle(some: list[RawEvent], keep: set[str]) -> None:
    encoded, outputs = [wire.encode_event(event) for event in some], wire.output_names(keep)
    joined = bundle.join_requests(encoded, outputs)
    split = bundle.split_requests({BUNDLE.name: joined}, wire.INPUTS, wire.OUTPUTS)
    assert split.outputs == outputs
    assert len(split.events) == len(some)
    for tensors, expected in zip(split.events, encoded, strict=True):
        assert list(tensors) == list(expected)
        for name, array in tensors.items():
            assert array.flags.aligned
            assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
            assert array.tobytes() == expected[name].tobytes()


errors = st.sampled_from(
    [EventError("bad", event=3, found=[1, 2]), ServerBusy("full", bound=2), InputError("é")]
)


@given(st.lists(st.one_of(results(), errors), max_size=4), st.data())
def test_answers_share_a_bundle(some: list[Any], data: st.DataObject) -> None:
    keep = data.draw(keeps)
    answers = [
        answer
        if isinstance(answer, TrackserveError)
        else wire.encode_result(answer[0], wire.output_names(keep & answer[1]))
        for answer in some
    ]
    joined = {BUNDLE.name: bundle.join_answers(answers, 3)}
    split = bundle.split_answers(joined, wire.OUTPUTS, len(some))
    assert split.at_a_time == 3
    for found, expected, answer in zip(split.events, answers, some, strict=True):
        if isinstance(expected, TrackserveError):
            assert isinstance(found, TrackserveError)
            assert encode(found) == encode(expected)
        else:
            assert not isinstance(found, TrackserveError)
            again = wire.decode_result(found, answer[0].event, keep & answer[1])
            same = wire.encode_result(again, expected)
            assert {n: a.tobytes() for n, a in same.items()} == {
                n: a.tobytes() for n, a in expected.items()
            }
    with pytest.raises(InputError, match="wrong number"):
        bundle.split_answers(joined, wire.OUTPUTS, len(some) + 1)


def with_head(head: Any, content: int = 0) -> Any:
    text = (head if isinstance(head, bytes) else json.dumps(head).encode()).ljust(8)
    text += b" " * (-len(text) % 8)
    return np.frombuffer(len(text).to_bytes(8, "little") + text + bytes(content), np.uint8)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(0, np.uint8), "shorter"),
        (np.full(64, 255, np.uint8), "shorter"),
        (with_head({"events": []})[:-1], "shorter"),
        (with_head(b"{"), "no JSON"),
        (with_head(b"[" * 100_000), "no JSON"),
        (with_head([]), "no events"),
        (with_head({"events": 3}), "no events"),
        (with_head({"events": []}), "no such outputs"),
        (with_head({"events": [], "outputs": ["result", ["result"]]}), "no such outputs"),
        (with_head({"events": ["text"], "outputs": []}), "not a list of tensors"),
        (with_head({"events": [3], "outputs": []}), "no tensor 3"),
        (with_head({"events": [{"wrong": 3}], "outputs": []}), "no tensor 'wrong'"),
        (with_head({"events": [{"raw": -1}], "outputs": []}), "has length -1"),
        (with_head({"events": [{"raw": "3"}], "outputs": []}), "has length '3'"),
        (with_head({"events": [{"raw": 2**62}], "outputs": []}, 8), "shorter"),
        (with_head({"events": [{"raw": 8}], "outputs": []}, 16), "longer"),
    ],
)
def test_malformed_bundle(array: Any, reason: str) -> None:
    with pytest.raises(InputError, match="malformed bundle") as caught:
        bundle.split_requests({BUNDLE.name: array}, wire.INPUTS, wire.OUTPUTS)
    assert reason in caught.value.reason
    assert caught.value.tensor == BUNDLE.name


def test_a_bundle_has_a_bound() -> None:
    head = {"events": [{}] * (bundle.MOST_EVENTS + 1), "outputs": []}
    with pytest.raises(InputError, match="too many events"):
        bundle.split_requests({BUNDLE.name: with_head(head)}, wire.INPUTS, wire.OUTPUTS)
