"""Tables of results: one schema for all files, read by other libraries; written as results come."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import awkward as ak
import duckdb
import numpy as np
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve.edm import pixel, points, truth
from trackserve.edm.columns import Columns
from trackserve.edm.meaning import meanings
from trackserve.edm.result import Outcome
from trackserve.errors import EventError, InputError
from trackserve.io.parquet import (
    ROW_GROUP_EVENTS,
    results_schema,
    to_awkward,
    write_parquet,
    writer,
)
from trackserve.io.results_file import ResultsFile
from trackserve.trackers.exatrkx.result import ExatrkxResult
from trackserve.trackers.patatrack.result import PatatrackResult

FAILED = EventError("the stream ends inside a FED", event=7, fed=1201)
KEEP = ("hits", "doublets")


@pytest.fixture(scope="module")
def results(sample_results: list[PatatrackResult]) -> list[PatatrackResult]:
    """Some with the intermediates of :data:`KEEP` alone."""
    dropped = {name: None for name in PatatrackResult.intermediates() if name not in KEEP}
    return [replace(result, **dropped) for result in sample_results[:3]]


@pytest.fixture(scope="module")
def files(results: list[PatatrackResult], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of good events, one with a failure, one of failures alone, one of no event."""
    folder = tmp_path_factory.mktemp("files")
    contents: list[list[Outcome]] = [results[:2], [results[2], FAILED], [FAILED], []]
    paths = [folder / f"{i}.parquet" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        write_parquet(path, iter(content), PatatrackResult, KEEP)
    return paths


def test_the_schema_does_not_depend_on_the_data(files: list[Path]) -> None:
    schemas = [pq.read_schema(path) for path in files]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    assert schemas[0].equals(results_schema(PatatrackResult, KEEP), check_metadata=True)
    assert not any(field.nullable for field in schemas[0])


def test_files_are_joined_by_other_libraries(
    files: list[Path], results: list[PatatrackResult]
) -> None:
    n = [*(len(result.tracks) for result in results), 0, 0]
    pt = np.concatenate([result.tracks.pt for result in results])
    names = [str(path) for path in files]
    assert pyarrow.dataset.dataset(names).count_rows() == 5
    panda = pandas.concat([pandas.read_parquet(path) for path in files])
    assert panda.tracks.map(len).tolist() == n
    assert panda.error.map(bool).tolist() == [False, False, False, True, True]
    polar = polars.concat([polars.read_parquet(path) for path in files])
    assert polar["tracks"].list.len().to_list() == n
    sql = "select unnest(tracks).pt from read_parquet({}) where error = ''"
    assert np.array_equal(duckdb.sql(sql.format(names)).fetchnumpy()["(unnest(tracks)).pt"], pt)  # type: ignore[union-attr]
    awk = ak.concatenate([ak.from_parquet(path) for path in files])
    assert ak.num(awk.tracks).tolist() == n
    assert np.array_equal(ak.flatten(awk.tracks.pt), pt)


def test_a_table_becomes_an_rntuple(
    files: list[Path], results: list[PatatrackResult], tmp_path: Path
) -> None:
    table = ak.from_parquet(files[1])
    with uproot.recreate(tmp_path / "x.root") as file:
        file.mkrntuple("events", {name: table[name] for name in table.fields})
    with uproot.open(tmp_path / "x.root") as file:
        again = file["events"].arrays()
    assert again.error.tolist() == ["", str(FAILED)]
    assert np.array_equal(again.tracks.covariance[0], results[2].tracks.covariance)


@pytest.mark.parametrize("kind", [PatatrackResult, ExatrkxResult])
def test_every_column_says_what_it_means(kind: type[PatatrackResult | ExatrkxResult]) -> None:
    schema = results_schema(kind, list(kind.intermediates()))
    texts = json.loads(schema.metadata[b"meanings"])
    assert [place for place, text in texts.items() if not text.endswith(".")] == []
    assert [place for place, text in texts.items() if "`" in text] == [], "markup is not for files"
    assert {"event", "counts", *kind.always(), *kind.intermediates()} <= texts.keys()


@pytest.mark.parametrize("module", [pixel, points, truth])
def test_every_column_of_a_noun_has_a_text(module: object) -> None:
    nouns = [
        noun
        for noun in vars(module).values()
        if isinstance(noun, type) and issubclass(noun, Columns) and noun is not Columns
    ]
    assert len(nouns) > 2
    assert [(n, name) for n in nouns for name in n.schema() if name not in meanings(n)] == []


def test_results_of_other_parts_are_refused(
    results: list[PatatrackResult], sample_results: list[PatatrackResult], tmp_path: Path
) -> None:
    mixed = [results[0], replace(results[1], hits=None)]
    with pytest.raises(InputError, match=r"does not fit the table.*event 1"):
        to_awkward(mixed, PatatrackResult)
    with pytest.raises(InputError, match="does not fit the table"):
        write_parquet(tmp_path / "x.parquet", mixed, PatatrackResult)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="does not fit the table"):
        to_awkward(results, ExatrkxResult, keep=())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "no" / "x.parquet", tmp_path / "file" / "x.parquet"):
        with pytest.raises(InputError, match=r"cannot be written.*x\.parquet"):
            write_parquet(place, [FAILED], PatatrackResult)
    with pytest.raises(InputError, match="cannot be written"):
        ResultsFile(tmp_path / "file" / "x.parquet", PatatrackResult)
    with pytest.raises(InputError, match="a folder"):
        ResultsFile(tmp_path, PatatrackResult)


class Interrupted(Exception):
    pass


def many(results: list[PatatrackResult], n: int) -> Iterator[PatatrackResult]:
    for number in range(n):
        yield replace(results[number % 3], event=number)


def test_what_is_done_is_kept_and_continued(
    results: list[PatatrackResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackserve.io.parquet.ROW_GROUP_EVENTS", 6)
    n = 2 * 6 + 5
    whole, path = tmp_path / "whole.parquet", tmp_path / "x.parquet"
    with ResultsFile(whole, PatatrackResult, KEEP) as file:
        for result in many(results, n):
            file.write(result, "a")
        for result in many(results, 3):
            file.write(result, "b")

    def write_and_stop() -> None:
        with ResultsFile(path, PatatrackResult, KEEP) as file:
            for result in many(results, n - 4):
                file.write(result, "a")
            raise Interrupted

    with pytest.raises(Interrupted):
        write_and_stop()
    assert not path.exists()
    parts = pyarrow.dataset.dataset(tmp_path / "x.parquet.parts").to_table()
    assert parts["event"].to_pylist() == list(range(n - 4))

    with pytest.raises(InputError, match="did not end"):
        ResultsFile(path, PatatrackResult, KEEP)
    with pytest.raises(InputError, match=r"another way.*differs .*doublets.*hits"):
        ResultsFile(path, PatatrackResult, resume=True)
    with ResultsFile(path, PatatrackResult, KEEP, resume=True) as file:
        assert file.n_done == n - 4
        for result in list(many(results, n))[file.n_done :]:
            file.write(result, "a")
        for result in many(results, 3):
            file.write(result, "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.parquet", "x.parquet"]
    assert pq.read_table(path).equals(pq.read_table(whole))
    table = ak.from_parquet(path)
    assert table.event.tolist() == list(range(n + 3))
    assert table.source_event.tolist() == [*range(n), 0, 1, 2]
    assert table.source.tolist() == ["a"] * n + ["b"] * 3


def test_a_complete_file_has_nothing_left_to_do(
    results: list[PatatrackResult], tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    with ResultsFile(path, PatatrackResult, KEEP) as file:
        assert not file.was_complete
        file.write(results[0])
    before = path.read_bytes()
    with ResultsFile(path, PatatrackResult, KEEP, resume=True) as file:
        assert file.was_complete
        assert file.n_done == 1
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="another way"):
        ResultsFile(path, PatatrackResult, KEEP, {"version": "2"}, resume=True)
    assert list(tmp_path.iterdir()) == [path]


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with ResultsFile(path, PatatrackResult) as file:
        file.write(FAILED)
        with pytest.raises(InputError, match="another process"):
            ResultsFile(path, PatatrackResult, resume=True)
    assert pq.read_table(path)["event"].to_pylist() == [7]


def test_a_full_disk_keeps_the_parts(
    results: list[PatatrackResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_free = 2

    def until_full(partial: Path, schema: pyarrow.Schema) -> pq.ParquetWriter:
        nonlocal n_free
        partial.write_bytes(b"begun")
        n_free -= 1
        if n_free < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writer(partial, schema)

    monkeypatch.setattr("trackserve.io.results_file.writer", until_full)
    path = tmp_path / "x.parquet"

    def write_all() -> None:
        with ResultsFile(path, PatatrackResult, KEEP) as file:
            for result in many(results, 4 * ROW_GROUP_EVENTS):
                file.write(result)

    with pytest.raises(InputError, match=r"No space left.*000002\.parquet"):
        write_all()
    assert list(tmp_path.iterdir()) == [tmp_path / "x.parquet.parts"]
    names = sorted(part.name for part in (tmp_path / "x.parquet.parts").iterdir())
    assert names == ["000000.parquet", "000001.parquet"]


def test_a_missing_part_is_told(results: list[PatatrackResult], tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with suppress(Interrupted), ResultsFile(path, PatatrackResult, KEEP) as file:
        for result in many(results, 2 * ROW_GROUP_EVENTS):
            file.write(result)
        raise Interrupted
    (tmp_path / "x.parquet.parts" / "000000.parquet").unlink()
    with pytest.raises(InputError, match=r"part is missing.*bound 0"):
        ResultsFile(path, PatatrackResult, KEEP, resume=True)


def test_a_row_group_is_bounded_in_bytes(
    results: list[PatatrackResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(part.nbytes for part in results[0].parts().values())
    assert size > 100_000
    monkeypatch.setattr("trackserve.io.parquet.ROW_GROUP_BYTES", 3 * size)
    with ResultsFile(tmp_path / "one", PatatrackResult, KEEP) as file:
        for number in range(7):
            file.write(replace(results[0], event=number))
    write_parquet(tmp_path / "two", [results[0]] * 7, PatatrackResult, KEEP)
    for name in ("one", "two"):
        metadata = pq.read_metadata(tmp_path / name)
        assert [metadata.row_group(i).num_rows for i in range(3)] == [3, 3, 1]


def test_slow_events_are_on_disk_before_a_row_group_is_full(
    results: list[PatatrackResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock tells 11 s more at each row."""
    monkeypatch.setattr("trackserve.io.parquet.ROW_GROUP_EVENTS", 6)
    seconds = count(step=11.0)
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("trackserve.io.results_file.time", clock)
    path = tmp_path / "x.parquet"
    with ResultsFile(path, PatatrackResult, KEEP) as file:
        for n, result in enumerate(many(results, 9), 1):
            file.write(result)
            assert file.n_done == n
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 2
    assert metadata.row_group(0).num_rows == 6
    assert pq.read_table(path)["event"].to_pylist() == list(range(9))


numbers = st.integers(-1, 5)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(numbers, max_size=5)), max_size=5))
def test_event_numbers_are_unique_and_resumed_ones_the_same(
    sources: list[tuple[str, list[int]]],
) -> None:
    """Sources that begin anywhere, repeat numbers, or do not know them."""
    rows = [(source, number) for source, some in sources for number in some]
    columns = []
    for stop in (None, len(rows) // 2):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "x.parquet"
            with suppress(Interrupted), ResultsFile(path, ExatrkxResult) as file:
                for source, number in rows[:stop]:
                    file.write(failure(number), source)
                if stop is not None:
                    raise Interrupted
            if stop is not None:
                with ResultsFile(path, ExatrkxResult, resume=True) as file:
                    for source, number in rows[file.n_done :]:
                        file.write(failure(number), source)
            columns.append(pq.read_table(path)["event"].to_pylist())
    assert columns[0] == columns[1]
    assert len(set(columns[0])) == len(rows)


def failure(number: int) -> EventError:
    return EventError("no") if number < 0 else EventError("no", event=number)
