"""Results as a notebook shows and uses them."""

from __future__ import annotations

import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.edm import SpacePoints, TrackCandidates, Tracks
from trackserve.edm.columns import Columns, Ragged
from trackserve.errors import InputError, MissingExtraError
from trackserve.report.plots import histogram
from trackserve.trackers.exatrkx.result import ExatrkxResult
from trackserve.trackers.patatrack.result import PatatrackResult


def test_a_result_and_its_nouns_are_one_short_line(
    sample_results: list[PatatrackResult],
) -> None:
    result = sample_results[0]
    assert repr(result).startswith("PatatrackResult(event=0, tracks: ")
    assert repr(result.tracks[:1]).startswith("Tracks(1 row: state, covariance, ")
    assert len(repr(result)) < 250
    assert "stopped_by='doublets'" in repr(
        PatatrackResult(
            0, result.counts, Tracks.empty(), result.vertices, result.readout_errors,
            stopped_by="doublets",
        )
    )  # fmt: skip


class _Balance(HTMLParser):
    """Collects the open elements, and the texts of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_a_result_shows_its_counts_and_first_tracks_as_html(
    sample_results: list[PatatrackResult],
) -> None:
    result = sample_results[0]
    page = _Balance()
    page.feed(result._repr_html_())
    assert page.open == []
    assert str(result.counts.tracks) in page.cells
    assert {"pt", "eta", "vertex"} <= set(page.cells)
    assert f"{result.tracks.pt[4]:.4g}" in page.cells
    assert f"{result.tracks.pt[5]:.4g}" not in page.cells


def test_nouns_without_rows_show_themselves_too() -> None:
    for noun in (Tracks, TrackCandidates, SpacePoints):
        assert "0 rows" in noun.empty()._repr_html_()
    assert ExatrkxResult.__repr__ is PatatrackResult.__repr__


ROWS = st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=8)


@given(ROWS, st.data())
def test_rows_are_chosen_by_mask_slice_and_number(
    rows: list[list[int]], data: st.DataObject
) -> None:
    n = len(rows)
    noun = TrackCandidates(
        Ragged.of([np.array(row, np.int32) for row in rows], np.int32),
        np.arange(n, dtype=np.float32),
    )
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    assert noun[mask] == noun.take(np.flatnonzero(mask))
    assert noun[1:3] == noun.take(slice(1, 3))
    assert [one.score.tolist() for one in noun] == [[i] for i in range(n)]  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        noun[n]
    with pytest.raises(IndexError):
        noun[np.ones(n + 1, bool)]


def test_a_covariance_matrix_is_symmetric_and_has_the_variances(
    sample_results: list[PatatrackResult],
) -> None:
    tracks = sample_results[0].tracks
    matrix = tracks.covariance_matrix
    assert matrix.shape == (len(tracks), 5, 5)
    assert (matrix == matrix.transpose(0, 2, 1)).all()
    assert (matrix[:, 1, 3] == tracks.covariance[:, 7]).all()
    assert (np.diagonal(matrix, axis1=1, axis2=2) == tracks.covariance[:, [0, 5, 9, 12, 14]]).all()


def test_pandas_gets_the_columns_of_the_files(sample_results: list[PatatrackResult]) -> None:
    pytest.importorskip("pandas")
    tracks = sample_results[0].tracks
    frame = tracks.to_pandas()
    assert len(frame) == len(tracks)
    assert (frame["pt"].to_numpy() == tracks.pt).all()
    assert frame["hits"][0].tolist() == tracks.hits[0][tracks.hits[0] >= 0].tolist()


def test_without_pandas_an_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, sample_results: list[PatatrackResult]
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        sample_results[0].tracks.to_pandas()


def test_tracks_are_momenta_for_vector(sample_results: list[PatatrackResult]) -> None:
    vector = pytest.importorskip("vector")
    vector.register_awkward()
    tracks = sample_results[0].to_awkward().tracks
    expected = tracks.pt * np.cos(tracks.phi)
    assert np.allclose(tracks.px, expected)
    assert float(tracks[0].deltaR(tracks[0])) == 0


def test_a_histogram_counts_the_values_and_names_them(
    sample_results: list[PatatrackResult],
) -> None:
    tracks = sample_results[0].tracks
    axes = histogram(tracks, "pt", bins=20, log=True).axes[0]
    assert axes.get_xlabel() == "Transverse momentum, GeV"
    low, high = axes.get_xlim()
    assert low == pytest.approx(tracks.pt.min())
    assert high == pytest.approx(tracks.pt.max())
    for wrong in ("state", "nothing", "take"):
        with pytest.raises(InputError, match="no such column"):
            histogram(tracks, wrong)
    with pytest.raises(InputError, match="no value"):
        histogram(Tracks.empty(), "pt")


def test_every_noun_keeps_the_short_text() -> None:
    for noun in Columns.__subclasses__():
        assert noun.__repr__ is Columns.__repr__, noun
