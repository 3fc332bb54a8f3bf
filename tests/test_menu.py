"""The trigger's objects, the paths of its menu, prescales, rates, and described jobs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_objects import tracks_of

from trackserve.edm import Vertices
from trackserve.errors import InputError, JobError
from trackserve.physics.statistics import Fraction
from trackserve.workflow import Job, run
from trackserve.workflow.busy import Busy
from trackserve.workflow.decisions import Decided, compare_decisions, write_decisions
from trackserve.workflow.description import DEFAULT, Rest, make_job, read_description
from trackserve.workflow.menu import Decide, Entry, Measure, find_path, make_entry, path_names
from trackserve.workflow.menu import Path as TriggerPath
from trackserve.workflow.objects import PrimaryVertex, TrackJets, TriggerTracks, hardest_vertex
from trackserve.workflow.rates import Accepted, accepted, rates_table
from trackserve.workflow.select import IsolateTracks, PrimaryTracks
from trackserve.workflow.times import LogNormal, Measured, read_times
from trackserve.workflow.tracking import Way


def quantity(path: str, *inputs: Any, **cuts: Any) -> float:
    return find_path(path).quantity(*inputs, **cuts)


def vertices_at(*z: float) -> Vertices:
    n = len(z)
    zeros = np.zeros(n, np.float32)
    return Vertices(np.array(z, np.float32), zeros, zeros, np.zeros(n, np.int32), zeros)


def test_the_hardest_vertex_has_the_largest_sum_of_squares() -> None:
    tracks = tracks_of(
        *({"pt": 2.0, "vertex": 0} for _ in range(5)), *({"pt": 4.0, "vertex": 1} for _ in range(2))
    )
    assert hardest_vertex(tracks, vertices_at(1, 2), 1.0, 10.0) == PrimaryVertex(1, 2.0)


def test_one_track_of_wrong_pt_does_not_make_a_vertex_hard() -> None:
    tracks = tracks_of({"pt": 900.0, "vertex": 0}, *({"pt": 6.0, "vertex": 1} for _ in range(4)))
    assert hardest_vertex(tracks, vertices_at(1, 2), 1.0, 10.0).row == 1


def test_without_vertices_no_track_is_primary() -> None:
    tracks = tracks_of({}, {})
    vertex = hardest_vertex(tracks, vertices_at(), 1.0, 10.0)
    assert vertex.row == -1
    assert len(PrimaryTracks().produce(tracks, vertex)) == 0


def test_primary_tracks_are_near_to_the_vertex_within_their_errors() -> None:
    rows = [{"zip": 2.05}, {"zip": 2.2}, {"zip": 2.2, "zip_error": 0.1}]
    chosen = PrimaryTracks(most_distance=0.1).produce(tracks_of(*rows), PrimaryVertex(0, 2.0))
    assert chosen.zip.tolist() == [2.05, 2.2]
    assert chosen.zip_error.tolist() == [0.01, 0.1]


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ({"pt": 0.5, "phi": 0.1}, True),
        ({"pt": 4.0, "phi": 0.1}, False),
        ({"pt": 4.0, "phi": 0.4}, True),
    ],
)
def test_a_track_is_isolated_if_little_is_around_it(other: dict[str, float], kept: bool) -> None:
    found = IsolateTracks().produce(tracks_of({"pt": 20.0}, other))
    assert found.pt.tolist() == [20.0] * kept


def test_isolation_goes_around_the_circle() -> None:
    found = IsolateTracks().produce(
        tracks_of({"pt": 20.0, "phi": math.pi - 0.05}, {"pt": 4.0, "phi": 0.05 - math.pi})
    )
    assert len(found) == 0


def test_ht_is_the_sum_of_jets_above_the_cut() -> None:
    pt = np.array([50.0, 30.0, 10.0])
    jets = TrackJets(pt, 0 * pt, 0 * pt, np.ones(3, np.int32))
    assert quantity("track_ht", jets) == 80.0
    assert quantity("track_ht", jets, least_pt=5.0) == 90.0
    assert quantity("track_jet", jets) == 50.0


def test_paths_find_nothing_in_an_event_without_objects() -> None:
    empty: dict[str, Any] = {
        "track_jets": TrackJets.empty(),
        "isolated_tracks": TriggerTracks.empty(),
        "primary_tracks": TriggerTracks.empty(),
    }
    found = {
        name: quantity(name, *(empty[one] for one in find_path(name).inputs))
        for name in path_names()
    }
    assert found == dict.fromkeys(path_names(), 0.0) | {"zero_bias": 1.0}


def test_a_pair_is_as_displaced_as_the_lesser_of_its_tracks() -> None:
    found = quantity("displaced_pair", tracks_of({"tip": -0.05}, {"tip": 0.03, "phi": 0.2}))
    assert found == pytest.approx(6)


@pytest.mark.parametrize("other", [{"phi": 1.0}, {"zip": 1.0}, {"n_hits": 3}, {"pt": 0.6}])
def test_a_pair_needs_two_good_tracks_that_are_near(other: dict[str, float]) -> None:
    pair = tracks_of({"tip": 0.05}, {"tip": 0.05, "phi": 0.2} | other)
    assert quantity("displaced_pair", pair) == 0


def test_the_mass_is_that_of_a_pair_of_opposite_sign() -> None:
    back_to_back = [{"pt": 45.0, "phi": 0.0}, {"pt": 45.0, "phi": math.pi, "charge": -1}]
    assert quantity("opposite_pair", tracks_of(*back_to_back)) == pytest.approx(90)
    same = [row | {"charge": 1} for row in back_to_back]
    assert quantity("opposite_pair", tracks_of(*same)) == 0


@given(st.integers(1, 12), st.integers(0, 60))
def test_a_prescale_accepts_one_event_in_so_many(prescale: int, n: int) -> None:
    entry = Entry("a", find_path("zero_bias"), 1.0, prescale, {})
    decisions = [entry.decide(index, 1.0) for index in range(n)]
    assert all(one.passed for one in decisions)
    assert sum(one.accepted for one in decisions) == math.ceil(n / prescale)


def test_an_event_passes_that_just_reaches_the_threshold() -> None:
    entry = Entry("a", find_path("track_ht"), 100.0, 1, {})
    assert entry.decide(0, 100.0).passed
    assert not entry.decide(0, math.nextafter(100.0, 0)).passed


def decided(*quantities: float) -> list[Decided]:
    entry = make_entry("zero_bias", {"prescale": 2})
    return [Decided("s", n, (entry.decide(n, one),)) for n, one in enumerate(quantities)]


def test_the_rate_of_a_prescaled_path_comes_from_all_events_that_pass() -> None:
    entries = [make_entry("zero_bias", {"prescale": 2})]
    found = accepted(entries, decided(1, 1, 0, 1))
    assert found["zero_bias"] == Accepted(Fraction(3, 4), 2)
    assert found["zero_bias"].rate(1000.0)[0] == 375.0
    assert found["menu"].passed == Fraction(1, 4)


def test_a_failed_event_is_in_no_share() -> None:
    failed = Decided("s", 9, (), InputError("x"))  # type: ignore[arg-type]
    found = accepted([make_entry("zero_bias", {})], [*decided(1, 1), failed])
    assert found["zero_bias"].passed == Fraction(2, 2)


def test_the_table_of_rates_has_a_line_for_each_path_and_one_for_all() -> None:
    entries = [make_entry("zero_bias", {"prescale": 2})]
    table = rates_table(entries, decided(1, 1, 1, 0), 1e5)
    assert [row[:3] for row in table.rows] == [["zero_bias", "1", "2"], ["menu", "", ""]]
    assert [row[4] for row in table.rows] == ["40000 ± 10000", "50000 ± 20000"]


def write(path: Path, *quantities: float) -> Path:
    write_decisions(path, [make_entry("zero_bias", {"prescale": 2})], decided(*quantities), {})
    return path


def test_files_of_decisions_differ_where_one_bit_does(tmp_path: Path) -> None:
    one = write(tmp_path / "a", 1.0, 2.0)
    assert compare_decisions(one, write(tmp_path / "b", 1.0, 2.0)).are_equal
    other = write(tmp_path / "c", 1.0, math.nextafter(2.0, 3))
    (found,) = compare_decisions(one, other).differences
    assert (found.source, found.event) == ("s", 1)
    assert found.reasons == ("zero_bias.quantity: 2.0 in A, 2.0000000000000004 in B",)


def test_files_of_other_events_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other events"):
        compare_decisions(write(tmp_path / "a", 1.0), write(tmp_path / "b", 1.0, 2.0))
    (tmp_path / "text").write_text("no table")
    with pytest.raises(InputError, match="no table of decisions"):
        compare_decisions(write(tmp_path / "a", 1.0), tmp_path / "text")


def test_the_default_menu_has_every_path() -> None:
    entries = read_description(DEFAULT).entries
    assert {entry.path.quantity for entry in entries} == {
        find_path(name).quantity for name in path_names()
    }


OWN = {
    "broken": "def (",
    "ends": "raise SystemExit",
    "junk": "from trackserve.workflow.menu import Path\nPATH = Path((), 1, 1)",
    "largest": "from trackserve.workflow.menu import Path\nPATH = Path((), max, 1)",
    "refuses": "class Refuses:\n    def __init__(self): raise ValueError('not today')",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Python modules of a user's own; most are wrong."""
    for name, text in OWN.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


WRONG_PATHS = [
    ({"use": "nothing"}, "no such path"),
    ({"use": ""}, "no such path"),
    ({"use": ["track_ht"]}, "used by its name"),
    ({"use": ".track_ht"}, "no such path"),
    ({"use": "broken"}, "cannot be imported.*SyntaxError"),
    ({"use": "ends"}, "cannot be imported.*SystemExit"),
    ({"use": "junk"}, "this is no path"),
    ({"threshold": "high"}, "a threshold is a number"),
    ({"threshold": math.nan}, "a threshold is a number"),
    ({"threshold": 10**400}, "a threshold is a number"),
    ({"prescale": 0}, "a prescale"),
    ({"prescale": True}, "a prescale"),
    ({"prescale": 10**400}, "a prescale"),
    ({"cuts": {"most_pt": 1}}, "no such cut"),
    ({"treshold": 1}, "no such value"),
]


@pytest.mark.parametrize(("values", "message"), WRONG_PATHS)
def test_a_wrong_path_is_refused(values: dict[str, Any], message: str, own: Path) -> None:
    with pytest.raises(JobError, match=message):
        make_entry("a", {"use": "track_ht"} | values)


def test_a_path_changes_its_cuts() -> None:
    entry = make_entry("low", {"use": "track_ht", "cuts": {"least_pt": 5.0}})
    assert entry.cuts == {"least_pt": 5.0}
    with pytest.raises(JobError, match="cannot have this name"):
        make_entry("menu", {"use": "track_ht"})


def test_a_path_may_be_a_function_that_does_not_tell_its_cuts(own: Path) -> None:
    assert make_entry("largest", {}).cuts == {}
    with pytest.raises(JobError, match="no such cut"):
        make_entry("largest", {"cuts": {"key": 1}})


def test_a_path_whose_quantity_is_no_number_fails_by_its_name() -> None:
    nothing: Any = lambda: None  # noqa: E731
    entry = Entry("mine", TriggerPath((), nothing, 1.0), 1.0, 1, {})
    (found,) = run(Job([Measure(entry), Decide([entry])]), [1])
    assert found.module == "mine"
    assert "NoneType" in str(found.error)


WRONG_JOBS = [
    ("modules = ", "not TOML"),
    ("[module.a]", "no such table"),
    ("[modules]\na = 1", "modules are not tables"),
    ("[modules.a]\nuse = 'busy'\nmean = 'long'", "wrong values"),
    ("[modules.a]\nuse = 'busy'\nafter = 'tracking'", "wrong values"),
    ("[modules.a]\nuse = 'busy'\naverage = 1", "a module has no such value"),
    ("[modules.tracking]\nconfig = 'default'", "a module has no such value"),
    ("[modules.a]\nuse = 'nowhere:Thing'", "no such module"),
    ("[modules.selected_tracks]\nleast_pq = 1", "does not take its arguments.*least_pq"),
    ("[modules.a]\nuse = 'refuses:Refuses'", "does not take its arguments.*not today"),
    ("[modules.a]\nuse = 'broken:Thing'", "cannot be imported.*SyntaxError"),
    ("[modules.a]\nuse = 'ends:Thing'", "cannot be imported.*SystemExit"),
    ("[modules.a]\nuse = '.broken:Thing'", "no such module"),
    ("[modules.a]\nuse = ['busy']", "used by its name"),
    (f"[modules.a]\nuse = 'busy'\nmean = {10**400}", "wrong values"),
    (f"a = {'9' * 5000}", "not TOML"),
    (f"a = {'[' * 50_000}", "not TOML"),
    ("[modules.a]\nuse = 'pathlib:Path'", "this is not a module"),
    ("[modules.primary_tracks]", "no module makes this"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_JOBS)
def test_a_wrong_description_is_refused(text: str, message: str, own: Path) -> None:
    (own / "job.toml").write_text(text)
    with pytest.raises(JobError, match=message):
        make_job(read_description(own / "job.toml"), None, Way(), Rest())


def test_an_editors_mark_at_the_beginning_of_a_description_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[paths.zero_bias]", encoding="utf-8-sig")
    assert [one.name for one in read_description(tmp_path / "job.toml").entries] == ["zero_bias"]


def test_a_job_has_one_tracking(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[modules.a]\nuse = 'busy'\nmean = 1.0")
    with pytest.raises(JobError, match="one tracking"):
        _ = read_description(tmp_path / "job.toml").tracking


def test_times_of_an_event_are_the_same_whenever_it_comes() -> None:
    times = LogNormal(0.1, 0.5, "muons")
    assert [times.seconds(n) for n in range(5)] == [times.seconds(n) for n in range(5)]
    assert LogNormal(0.1, 0.5, "other").seconds(1) != times.seconds(1)
    assert LogNormal(0.1).seconds(3) == 0.1


def test_times_have_the_mean_and_the_spread_that_were_asked_for() -> None:
    times = np.array([LogNormal(0.1, 0.5, "muons").seconds(n) for n in range(20_000)])
    assert times.mean() == pytest.approx(0.1, rel=0.02)
    assert np.log(times).std() == pytest.approx(0.5, rel=0.02)


def test_measured_times_of_an_event_come_from_one_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "muons, calorimeter\n" + "".join(f"{n},1{n}\n" for n in range(9))
    )
    found = read_times(tmp_path / "t.csv")
    some = {found["muons"].seconds(event) for event in range(200)}
    assert some == set(map(float, range(9)))
    for event in range(50):
        muons = found["muons"].seconds(event)
        assert found["calorimeter"].seconds(event) == float(f"1{muons:.0f}")


@pytest.mark.parametrize("text", ["", "a\n", "a\nx\n", "a\n-1\n", "a\ninf\n", "a,b\n1\n"])
def test_a_wrong_file_of_times_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError):
        read_times(tmp_path / "t.csv")


def test_an_emulated_module_says_so_and_makes_the_same() -> None:
    class Event:
        event = 3

    times = Measured((0.001, 0.002))
    work, wait = Busy("a", times, speed=1e6), Busy("a", times, is_emulated=True)
    assert work.produce(Event()) == wait.produce(Event())
    assert (work.is_emulated, wait.is_emulated) == (False, True)
