"""Tables of results as ROOT files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from command_line import command, says

from trackserve.errors import EventError, InputError, MissingExtraError
from trackserve.io.parquet import write_parquet
from trackserve.io.root import write_root
from trackserve.trackers.patatrack.result import PatatrackResult

KEEP = ("digis", "clusters", "hits", "doublets", "ntuplets")
FAILED = EventError("µ is missing", event=7)


@pytest.fixture(scope="module")
def table(sample_results: list[PatatrackResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two row groups; in the second there is an event without a result."""
    path = tmp_path_factory.mktemp("table") / "tracks.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trackserve.io.parquet.ROW_GROUP_EVENTS", 2)
        outcomes = [*sample_results[:3], FAILED]
        write_parquet(path, iter(outcomes), PatatrackResult, KEEP, {"identity": "patatrack 1"})
    return path


def test_an_rntuple_has_the_columns_of_the_table(table: Path) -> None:
    target = table.with_suffix(".root")
    assert "wrote" in command("export", table).out
    before = ak.from_parquet(table)
    with uproot.open(target) as file:
        assert json.loads(file["metadata"])["identity"] == "patatrack 1"
        after = file["events"].arrays()
    assert set(after.fields) == set(before.fields)
    assert after.error.tolist() == ["", "", "", str(FAILED)]
    assert after.counts.tracks.tolist() == before.counts.tracks.tolist()
    for name in ("pt", "covariance", "hits"):
        assert ak.array_equal(after.tracks[name], before.tracks[name], check_parameters=False)


def test_a_tree_has_a_branch_for_each_field(table: Path, tmp_path: Path) -> None:
    before = ak.from_parquet(table)
    write_root(table, tmp_path / "x.root", "ttree")
    with uproot.open(tmp_path / "x.root") as file:
        after = file["events"].arrays()
    assert after.ntracks.tolist() == ak.num(before.tracks).tolist()
    assert after.counts_tracks.tolist() == before.counts.tracks.tolist()
    assert ak.flatten(after.tracks_pt).to_numpy().tobytes() == (
        ak.flatten(before.tracks.pt).to_numpy().tobytes()
    )
    assert [bytes(row).decode() for row in after.error] == before.error.tolist()
    hits, count = after.tracks_hits[0], after.tracks_hits_count[0]
    assert ak.unflatten(hits, count).tolist() == before.tracks.hits[0].tolist()
    assert np.unique(ak.flatten(after.tracks_covariance_count)).tolist() == [15]


def test_steps_are_told_and_what_cannot_be_done_is_named(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    write_root(table, tmp_path / "x.root", on_step=lambda *step: told.append(step))
    assert told == [(2, 4), (4, 4)]
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(InputError, match=r"cannot be read.*no\.parquet"):
        write_root(tmp_path / "no.parquet", tmp_path / "y.root")
    with pytest.raises(InputError, match=r"cannot be written.*z\.root"):
        write_root(table, tmp_path / "none" / "z.root")
    assert "Invalid value" in says("export", table, "--as", "csv", status=2)
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(MissingExtraError, match=r"\[root\]"):
        write_root(table, tmp_path / "y.root")
    assert [path.name for path in tmp_path.glob("*.root")] == ["x.root"]
