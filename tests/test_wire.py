"""Events and results stay the same over the wire; errors name malformed tensors."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trackserve.edm import (
    BeamSpot,
    Columns,
    Ragged,
    RawEvent,
    Tracks,
)
from trackserve.edm.columns import Array, Column, column, ragged
from trackserve.edm.result import Result, ResultCounts
from trackserve.errors import (
    EventError,
    InputError,
    ServerBusy,
    TrackserveError,
    encode,
)
from trackserve.trackers.exatrkx.codec import CODEC as EXATRKX
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.trackers.patatrack.result import PatatrackCounts, PatatrackResult
from trackserve.wire import bundle
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.codec import IDENTITY, TIMING, Codec
from trackserve.wire.events import CONDITIONS, PointsEventCodec
from trackserve.wire.limits import LIMITS, STOPPED_BY
from trackserve.wire.tensors import Pieces, decode_timing, encode_timing

PARTS = PatatrackResult.always() | PatatrackResult.intermediates()
keeps = st.sets(st.sampled_from(list(PatatrackResult.intermediates())))
counts = st.lists(st.integers(0, 2**31 - 1), min_size=7, max_size=7).map(
    lambda n: PatatrackCounts(*n)
)
events = st.builds(
    RawEvent,
    hnp.arrays(np.uint8, st.integers(0, 40)),
    st.builds(BeamSpot, *[st.floats(-20, 20, width=32)] * 3),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5).filter(lambda text: text.isprintable()),
)


@st.composite
def columns(draw: st.DrawFn, noun: type[Columns]) -> Columns:
    length = draw(st.integers(0, 4))

    def values(spec: Column) -> Any:
        if not spec.ragged:
            return draw(hnp.arrays(spec.dtype, (length, *spec.shape)))
        arrays = hnp.arrays(spec.dtype, st.integers(0, 3))
        return Ragged.of([draw(arrays) for _ in range(length)], spec.dtype)

    return noun(*map(values, noun.schema().values()))


@st.composite
def results(draw: st.DrawFn) -> tuple[PatatrackResult, set[str]]:
    keep = draw(keeps)
    parts: dict[str, Any] = {
        name: draw(columns(PARTS[name])) for name in (*PatatrackResult.always(), *keep)
    }
    return PatatrackResult(draw(st.integers(0, 2**40)), draw(counts), **parts), keep


@pytest.fixture
def tensors() -> dict[str, Any]:
    """The tensors of an empty result."""
    parts: dict[str, Any] = {name: noun.empty() for name, noun in PatatrackResult.always().items()}
    return CODEC.encode_result(PatatrackResult(0, PatatrackCounts(), **parts), CODEC.output_names())


@given(events)
def test_event_round_trip(event: RawEvent) -> None:
    tensors = CODEC.encode_event(event)
    for spec in CODEC.inputs:
        assert spec.name in tensors or spec.name in (LIMITS.name, CONDITIONS.name)
        assert spec.name not in tensors or tensors[spec.name].dtype == spec.dtype
    back = CODEC.decode_event(tensors)
    assert (back.event, back.conditions) == (event.event, event.conditions)
    assert back.data.tobytes() == event.data.tobytes()
    assert back.beam_spot.position().tobytes() == event.beam_spot.position().tobytes()


def test_event_number_is_optional() -> None:
    tensors = CODEC.encode_event(RawEvent(np.zeros(4, np.uint8), event=7))
    del tensors["event"]
    assert CODEC.decode_event(tensors).event == 0


@given(results())
def test_result_round_trip(result_and_keep: tuple[PatatrackResult, set[str]]) -> None:
    result, keep = result_and_keep
    tensors = CODEC.encode_result(result, CODEC.output_names(keep))
    assert all(array.flags.c_contiguous for array in tensors.values())
    assert CODEC.decode_result(tensors, result.event, keep) == result


@given(results())
def test_copies_of_a_result_are_its_equals(
    result_and_keep: tuple[PatatrackResult, set[str]],
) -> None:
    """Also if no column has been asked for yet: they are made then."""
    result, keep = result_and_keep
    tensors = CODEC.encode_result(result, CODEC.output_names(keep))

    def decoded() -> PatatrackResult:
        return CODEC.decode_result(tensors, result.event, keep)

    assert pickle.loads(pickle.dumps(decoded())) == result
    assert copy.deepcopy(decoded()) == result
    assert replace(decoded(), event=result.event) == result
    assert len(decoded().tracks) == len(result.tracks)
    assert Tracks(*decoded().tracks.arrays()) == result.tracks
    assert not hasattr(decoded().tracks, "momentum")


def test_arrays_of_a_result_may_lie_in_any_order() -> None:
    vertices = PatatrackResult.always()["vertices"].empty()
    tracks = Tracks.empty().take(np.zeros(0, np.int64))
    rows = {name: np.zeros((3, *kind.shape), kind.dtype) for name, kind in Tracks.schema().items()}
    rows["covariance"] = np.arange(90, dtype=np.float32).reshape(3, 30)[:, ::2]
    rows["state"] = np.asfortranarray(np.arange(15, dtype=np.float32).reshape(3, 5))
    errors = PatatrackResult.always()["readout_errors"].empty()
    for given_tracks in (tracks, Tracks(**rows)):
        result = PatatrackResult(1, PatatrackCounts(), given_tracks, vertices, errors)  # type: ignore[arg-type]
        assert CODEC.decode_result(CODEC.encode_result(result, ["result"]), 1) == result


@given(keeps)
def test_keep_follows_from_the_outputs_asked_for(keep: set[str]) -> None:
    assert CODEC.kept_parts(CODEC.output_names(keep)) == keep


def test_all_outputs_are_those_of_all_parts() -> None:
    names = [spec.name for spec in CODEC.outputs]
    assert len(set(names)) == len(names)
    columns = [f"{part}_{name}" for part, noun in PARTS.items() for name in noun.schema()]
    about = [IDENTITY.name, STOPPED_BY.name, TIMING.name]
    assert names == ["result", "counts", *PARTS, *columns, *about]
    assert set(CODEC.output_names(PatatrackResult.intermediates())) < set(names)


@given(results(), st.text())
def test_the_identity_crosses_where_it_is_asked_for(
    result_and_keep: tuple[PatatrackResult, set[str]], text: str
) -> None:
    result = replace(result_and_keep[0], identity=text)
    names = CODEC.output_names(())
    assert CODEC.decode_result(CODEC.encode_result(result, names), 0).identity == ""
    tensors = CODEC.encode_result(result, [*names, IDENTITY.name])
    assert CODEC.decode_result(tensors, 0).identity == text
    with pytest.raises(InputError, match="wrong dtype"):
        CODEC.decode_result(tensors | {IDENTITY.name: np.zeros(3)}, 0)


def test_timing_survives() -> None:
    tensors = {TIMING.name: encode_timing(1e-6, 0.25)}
    assert decode_timing(tensors, TIMING) == (1e-6, 0.25)
    with pytest.raises(InputError):
        decode_timing({}, TIMING)


def test_tensors_follow_the_schemas() -> None:
    specs = {spec.name: spec for spec in CODEC.outputs}
    assert specs["counts"].shape == (len(fields(PatatrackCounts)),)
    assert (specs["tracks_state"].triton_type, specs["tracks_state"].shape) == ("FP32", (-1, 5))
    assert (specs["doublets_killed"].triton_type, specs["doublets_killed"].shape) == ("BOOL", (-1,))


def test_tensors_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "serving.md").read_text()
    for spec in (*CODEC.inputs, *CODEC.outputs, *EXATRKX.inputs, *EXATRKX.outputs, BUNDLE):
        assert f"| `{spec.name}` | {spec.triton_type} | {list(spec.shape)} |" in text


@given(results())
def test_columns_can_be_asked_for(drawn: tuple[PatatrackResult, set[str]]) -> None:
    result, _ = drawn
    wanted = {
        f"{part}_{name}": array
        for part, noun in result.parts().items()
        for name, array in noun.columns().items()
    }
    encoded = CODEC.encode_result(result, wanted)
    for name, array in wanted.items():
        assert encoded[name].dtype == array.dtype
        assert encoded[name].tobytes() == array.tobytes()


def test_columns_of_unequal_length_are_not_sent() -> None:
    parts: dict[str, Any] = {name: noun.empty() for name, noun in PatatrackResult.always().items()}
    columns = Tracks.empty().columns() | {"chi2": np.zeros(1, np.float32)}
    result = PatatrackResult(0, PatatrackCounts(), **parts | {"tracks": Tracks(**columns)})
    for name in ("tracks", "tracks_chi2"):
        with pytest.raises(InputError) as caught:
            CODEC.encode_result(result, [name])
        assert caught.value.fields["tensor"] == "tracks_chi2"


def test_strided_columns_are_made_contiguous() -> None:
    wide = np.arange(40, dtype=np.float32).reshape(4, 10)
    tracks = Tracks.empty().columns() | {"state": wide[:, ::2]}
    parts: dict[str, Any] = {name: noun.empty() for name, noun in PatatrackResult.always().items()}
    result = PatatrackResult(0, PatatrackCounts(), **parts | {"tracks": Tracks(**tracks)})
    encoded = CODEC.encode_result(result, ["tracks_state"])["tracks_state"]
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
    tensors = CODEC.encode_event(RawEvent(np.zeros(4, np.uint8))) | {name: array}
    with pytest.raises(InputError) as caught:
        CODEC.decode_event(tensors)
    bound = {"raw": "uint8[-1]", "beam_spot": "float32[3]", "event": "int64[1]"}[name]
    assert caught.value.fields == {"tensor": name, "found": found, "bound": bound}


@pytest.mark.parametrize("name", ["raw", "beam_spot"])
def test_missing_input(name: str) -> None:
    tensors = CODEC.encode_event(RawEvent(np.zeros(4, np.uint8)))
    del tensors[name]
    with pytest.raises(InputError, match="missing") as caught:
        CODEC.decode_event(tensors)
    assert caught.value.tensor == name


def test_malformed_event_is_not_sent() -> None:
    with pytest.raises(InputError) as caught:
        CODEC.encode_event(RawEvent(np.zeros(4, np.uint32), event=3))
    fields = {"event": 3, "field": "data", "found": "uint32[4]", "bound": "uint8[-1]"}
    assert caught.value.fields == fields


@pytest.mark.parametrize(
    ("name", "array", "bound"),
    [
        ("result", np.zeros(80, np.float32), "uint8[-1]"),
        ("result", np.zeros(55, np.uint8), 56),
        ("result", np.zeros(79, np.uint8), 80),
        ("result", np.zeros(88, np.uint8), 80),
        ("result", np.array([0] * 7 + [2, 0, 0]).view(np.uint8), 64 + 2 * 109),
        ("result", np.array([0] * 7 + [-1, 0, 0]).view(np.uint8), 64 - 109),
        ("result", np.array([0] * 7 + [2**62, 0, 0]).view(np.uint8), 64 + 2**62 * 109),
        ("digis", np.zeros(7, np.uint8), 8),
        ("digis", np.array([1], np.int64).view(np.uint8), 20),
        ("digis", np.array([1, 0, 0], np.int64).view(np.uint8), None),
    ],
)
def test_malformed_output(tensors: dict[str, Any], name: str, array: Any, bound: object) -> None:
    changed, keep = tensors | {name: array}, ["digis"] if name == "digis" else []
    if bound is None:
        assert len(CODEC.decode_result(changed, 0, keep).digis or ()) == 1
        return
    with pytest.raises(InputError) as caught:
        CODEC.decode_result(changed, 0, keep)
    assert (caught.value.tensor, caught.value.bound) == (name, bound)


@dataclass(frozen=True, eq=False)
class Lists(Columns):
    """A noun with two ragged columns and items of many sizes."""

    flag: Array = column(np.int8)
    points: Ragged = ragged(np.int32)
    value: Array = column(np.float32, 3)
    charges: Ragged = ragged(np.int8)


@dataclass(frozen=True, eq=False)
class ListsResult(Result):
    first: Lists
    second: Lists
    more: Lists | None = None


LISTS = Codec(PointsEventCodec(), ListsResult)
lists = columns(Lists)


@given(lists, lists, st.none() | lists)
def test_ragged_columns_survive(first: Any, second: Any, more: Any) -> None:
    result = ListsResult(3, ResultCounts(), first, second, more)
    keep = [] if more is None else ["more"]
    tensors = LISTS.encode_result(result, LISTS.output_names(keep))
    assert LISTS.decode_result(tensors, 3, keep) == result
    names = [f"first_{name}" for name in ("points_offsets", "points", "charges_offsets", "value")]
    single = LISTS.encode_result(result, names)
    again = Ragged(single["first_points_offsets"], single["first_points"])
    assert again == first.points
    record = result.to_awkward()
    assert record["first"]["points"].tolist() == [row.tolist() for row in first.points]
    both = Lists.concatenate([first, second])
    assert both.take(slice(0, len(first))) == first
    assert both.take(np.arange(len(first), len(both))) == second


@pytest.mark.parametrize("offsets", [[0, 5, 3], [1, 2, 3], [0, 1, 2], [0, -1, 3]])
def test_wrong_offsets_are_refused(offsets: list[int]) -> None:
    good = Ragged(np.array([0, 2, 3]), np.arange(3, dtype=np.int32))
    none = Ragged(np.zeros(3, np.int64), np.zeros(0, np.int8))
    noun = Lists(np.zeros(2, np.int8), good, np.zeros((2, 3), np.float32), none)
    tensors = LISTS.encode_result(ListsResult(0, ResultCounts(), noun, noun), ["result"])
    packed = tensors["result"].copy()
    packed[24:48] = np.array(offsets).view(np.uint8)
    with pytest.raises(InputError, match="offsets") as caught:
        LISTS.decode_result({"result": packed}, 0)
    assert caught.value.column == "points"


def test_missing_output(tensors: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="missing") as caught:
        CODEC.decode_result(tensors, 0, keep=["doublets"])
    assert caught.value.tensor == "doublets"


def test_unknown_names(tensors: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="unknown part to keep"):
        CODEC.output_names(["cells"])
    with pytest.raises(InputError, match="unknown part to keep"):
        CODEC.decode_result(tensors, 0, keep=["cells"])
    result = CODEC.decode_result(tensors, 0)
    for name in ("nonsense", "doublets", "doublets_inner"):
        with pytest.raises(InputError, match="no such tensor"):
            CODEC.encode_result(result, [name])


@given(st.lists(events, max_size=5), keeps)
def test_events_share_a_bundle(some: list[RawEvent], keep: set[str]) -> None:
    encoded, outputs = [CODEC.encode_event(event) for event in some], CODEC.output_names(keep)
    pieces = bundle.join_events(encoded, outputs)
    joined = pieces.join()
    assert joined.shape == pieces.shape
    written = bytearray(pieces.nbytes + 8)
    pieces.write(memoryview(written))
    assert written == joined.tobytes() + bytes(8)
    split = bundle.split_events({BUNDLE.name: joined}, CODEC.inputs, CODEC.outputs)
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
        else CODEC.encode_result(answer[0], CODEC.output_names(keep & answer[1]))
        for answer in some
    ]
    joined = {BUNDLE.name: bundle.join_answers(answers, 3)}
    split = bundle.split_answers(joined, CODEC.outputs, len(some))
    assert split.at_a_time == 3
    for found, expected, answer in zip(split.answers, answers, some, strict=True):
        if isinstance(expected, TrackserveError):
            assert isinstance(found, TrackserveError)
            assert encode(found) == encode(expected)
        else:
            assert not isinstance(found, TrackserveError)
            again = CODEC.decode_result(found, answer[0].event, keep & answer[1])
            same = CODEC.encode_result(again, expected)
            assert {n: a.tobytes() for n, a in same.items()} == {
                n: a.tobytes() for n, a in expected.items()
            }
    with pytest.raises(InputError, match="wrong number"):
        bundle.split_answers(joined, CODEC.outputs, len(some) + 1)


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
        (with_head([]), "no JSON object"),
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
        bundle.split_events({BUNDLE.name: array}, CODEC.inputs, CODEC.outputs)
    assert reason in caught.value.reason
    assert caught.value.tensor == BUNDLE.name


def test_a_bundle_has_a_bound() -> None:
    head = {"events": [{}] * (bundle.MOST_EVENTS + 1), "outputs": []}
    with pytest.raises(InputError, match="too many events"):
        bundle.split_events({BUNDLE.name: with_head(head)}, CODEC.inputs, CODEC.outputs)


@given(st.lists(hnp.arrays(np.int16, st.integers(0, 3))))
def test_pieces_are_written_as_they_are_joined(arrays: list[Array]) -> None:
    """Also pieces without a byte."""
    pieces = Pieces(arrays, sum(array.nbytes for array in arrays))
    memory = bytearray(b"?" * (pieces.nbytes + 1))
    pieces.write(memoryview(memory))
    assert bytes(memory) == pieces.join().tobytes() + b"?"
