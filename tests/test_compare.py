"""``trackserve compare``: where two files of results differ, and how."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import says
from hypothesis import given
from hypothesis import strategies as st

from trackserve.edm import Edges, PointLabels, TrackCandidates
from trackserve.edm.columns import Ragged
from trackserve.edm.result import Outcome
from trackserve.errors import EventError, InputError
from trackserve.io.comparison import compare_files
from trackserve.io.parquet import write_parquet
from trackserve.io.results_file import ResultsFile
from trackserve.trackers.exatrkx.result import ExatrkxCounts, ExatrkxResult

FAILED = EventError("too many edges", event=2)


def candidates(*scores: float) -> TrackCandidates:
    """One candidate of three points for each score."""
    n = len(scores)
    points = Ragged(np.arange(0, 3 * n + 1, 3), np.arange(3 * n, dtype=np.int32))
    return TrackCandidates(points, np.array(scores, np.float32))


def result(event: int, *scores: float) -> ExatrkxResult:
    counts = ExatrkxCounts(points=9, candidates=len(scores))
    return ExatrkxResult(event, counts, PointLabels.empty(), candidates(*scores), identity="x")


def write(path: Path, *outcomes: Outcome, source: str = "events") -> Path:
    with ResultsFile(path, ExatrkxResult, about={"identity": "exatrkx 1"}) as file:
        for outcome in outcomes:
            file.write(outcome, source)
    return path


def reasons(tmp_path: Path, one: list[Outcome], two: list[Outcome]) -> dict[int, tuple[str, ...]]:
    a, b = write(tmp_path / "a.parquet", *one), write(tmp_path / "b.parquet", *two)
    return {found.event: found.reasons for found in compare_files(a, b).differences}


def test_equal_results_are_the_same_whoever_gave_them_in_any_order(tmp_path: Path) -> None:
    one, two = result(0, 0.5, math.nan), result(1)
    served = replace(one, identity="y", origin=one.origin._replace(server="grpc://a", tries=2))
    assert reasons(tmp_path, [one, two, FAILED], [FAILED, two, served]) == {}


def test_an_event_that_one_file_lacks_is_named(tmp_path: Path) -> None:
    one, two, three = (result(event, 0.5) for event in range(3))
    found = reasons(tmp_path, [one, two], [two, three])
    assert found == {0: ("only in A",), 2: ("only in B",)}


def test_an_error_against_a_result_is_named_with_the_error(tmp_path: Path) -> None:
    other = EventError("no such layer", event=2)
    (found,) = reasons(tmp_path, [FAILED], [result(2, 0.5)])[2]
    assert found == "an error in A (too many edges (event 2)), an answer in B"
    (found,) = reasons(tmp_path, [FAILED], [other])[2]
    assert found == "errors: too many edges (event 2) in A, no such layer (event 2) in B"


def test_other_numbers_of_candidates_are_told_and_how_many_are_in_both(tmp_path: Path) -> None:
    (found,) = reasons(tmp_path, [result(0, 0.5, 0.7)], [result(0, 0.5)]).values()
    assert found == (
        "counts.candidates: 2 in A, 1 in B",
        "candidates: 2 in A, 1 in B; 1 are in both, bit for bit",
    )


def test_the_same_candidates_in_another_order_are_told(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{n}.parquet", result(0, 0.5, 0.5)) for n in "ab")
    table = pq.read_table(b)
    rows = table.to_pylist()
    rows[0]["candidates"].reverse()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), b)
    (found,) = compare_files(a, b).differences
    assert found.reasons == ("candidates: the same 2 in another order",)


@given(
    st.floats(0.015625, 100, width=32),
    st.integers(0, 2),
    st.sampled_from([math.inf, -math.inf]),
)
def test_one_bit_of_one_score_is_found_with_its_size(
    tmp_path_factory: pytest.TempPathFactory, score: float, place: int, towards: float
) -> None:
    other = float(np.nextafter(np.float32(score), np.float32(towards)))
    scores = [score, score, score]
    scores[place] = other
    folder = tmp_path_factory.mktemp("bits")
    (found,) = reasons(folder, [result(5, score, score, score)], [result(5, *scores)])[5]
    assert found.startswith("candidates.score: 1 of 3 differ, by at most ")
    assert f"{abs(other - score):.3g} " in found


def test_zeros_of_two_signs_differ(tmp_path: Path) -> None:
    found = reasons(tmp_path, [result(0, 0.0, 1.0)], [result(0, -0.0, 1.0)])
    assert found == {0: ("candidates.score: 1 of 2 differ, by at most 0 (0 of the value)",)}


def test_points_of_candidates_that_differ_are_told(tmp_path: Path) -> None:
    one = result(0, 0.5, 0.5)
    longer = Ragged(np.array([0, 4, 7]), np.arange(7, dtype=np.int32))
    other = replace(one, candidates=TrackCandidates(longer, one.candidates.score))
    found = reasons(tmp_path, [one], [other])
    assert found == {0: ("candidates.points: 1 of 2 have other lengths",)}


def test_a_column_that_one_file_lacks_makes_them_differ(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a", [result(0, 0.5)], ExatrkxResult)
    kept = replace(result(0, 0.5), track_edges=Edges.empty())
    write_parquet(tmp_path / "b", [kept], ExatrkxResult, keep=["track_edges"])
    compared = compare_files(tmp_path / "a", tmp_path / "b")
    assert compared.differences == []
    assert not compared.are_equal
    assert all(text.endswith("only in B") for text in compared.columns)


def test_the_same_data_at_two_places_are_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a", result(0, 0.5), source="here")
    b = write(tmp_path / "b", result(0, 0.5), source="there")
    assert compare_files(a, b).are_equal


def test_what_is_no_table_of_events_is_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "a", result(0))
    (tmp_path / "text").write_text("no table")
    with pytest.raises(InputError, match=r"cannot be read.*text"):
        compare_files(good, tmp_path / "text")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other")
    with pytest.raises(InputError, match=r"no column event.*other"):
        compare_files(good, tmp_path / "other")


def test_the_command_ends_with_1_if_results_differ(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", result(0, 0.5), result(1, 0.5))
    same = write(tmp_path / "same.parquet", result(0, 0.5), result(1, 0.5))
    assert "all 2 events are the same, bit for bit" in says("compare", a, same)
    b = write(tmp_path / "b.parquet", result(0, 0.5), result(1, 0.25))
    said = says("compare", a, b, status=1)
    assert f"A: {a}: exatrkx 1" in said
    assert "events event 1 candidates.score: 0.5 in A, 0.25 in B" in said
    assert "1 events: candidates.score" in said
    assert "1 more (--most)" in says("compare", a, b, "--most", "0", status=1)


def test_files_of_two_directories_are_compared_by_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "tracks.parquet", result(0, 0.5))
    assert "the same" in says("compare", tmp_path / "a", tmp_path / "b")
    write(tmp_path / "a" / "more.parquet", result(0))
    assert "more.parquet: only in A" in says("compare", tmp_path / "a", tmp_path / "b", status=1)
    said = says("compare", tmp_path / "a", tmp_path / "a" / "more.parquet", status=1)
    assert "a file cannot be compared with a directory" in said
