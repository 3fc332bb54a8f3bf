"""Trackers in ACTS' Sequencer, ACTS' fits of their candidates, and the truth beside them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import command, says
from hypothesis import given
from hypothesis import strategies as st

from trackserve import Client
from trackserve.detectors.generic.material import SIGMAS
from trackserve.edm import FittedTracks, Measurements, PointsEvent, Ragged, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError, TrackserveError
from trackserve.io import CandidatesFile, MeasurementsFile, open_points
from trackserve.physics.points.fits import (
    PARAMETERS,
    judge_fits,
    summarize_fits,
    true_candidates,
    true_states,
)
from trackserve.physics.points.metrics import match_points_event, summarize_points
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline

pytest.importorskip("acts")
import acts
import acts.examples

from trackserve.integration.acts import (
    TrackFinder,
    TrackFitter,
    chain,
    events_in_flight,
    measurements_of,
    to_candidates,
    to_event,
    to_measurements,
    to_proto_tracks,
)
from trackserve.integration.acts.steps import MeasurementReader, Stopwatch, run_steps
from trackserve.simulation.chain.collisions import Setup
from trackserve.simulation.chain.generate import Gun
from trackserve.simulation.points.detector import PointsDetector
from trackserve.simulation.points.simulate import simulate_points

ROOT = Path(__file__).parents[1]
MUONS = Setup("muons", events=4, gun=Gun(particles=100, min_pt=1.2, max_pt=20.0, max_eta=2.5))
lists = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=5)


@pytest.fixture(scope="module")
def detector() -> PointsDetector:
    return chain.make_detector()


@pytest.fixture(scope="module")
def muons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four events of 100 muons."""
    directory = tmp_path_factory.mktemp("acts") / "muons"
    simulate_points(directory, MUONS, processes=1)
    return directory


@pytest.fixture(scope="module")
def events(muons: Path) -> list[PointsEvent]:
    return list(open_points(muons))


@pytest.fixture(scope="module")
def measured(muons: Path) -> list[Measurements]:
    file = MeasurementsFile(muons)
    return [file.of(number) for number in range(MUONS.events)]


class Listener(acts.examples.IAlgorithm):  # type: ignore[misc, name-defined]
    """Keeps the space points and the proto tracks of each event as nouns."""

    def __init__(self) -> None:
        acts.examples.IAlgorithm.__init__(self, "Listener", acts.logging.WARNING)
        self.events: dict[int, PointsEvent] = {}
        self.candidates: dict[int, TrackCandidates] = {}
        read = acts.examples.ReadDataHandle
        self.points = read(self, acts.SpacePointContainer, "points")
        self.points.initialize("spacepoints")
        self.tracks = read(self, acts.examples.ProtoTrackContainer, "tracks")
        self.tracks.initialize("prototracks")

    def execute(self, context: Any) -> Any:
        number = context.eventNumber
        self.events[number] = to_event(self.points(context.eventStore), number)
        self.candidates[number] = to_candidates(self.tracks(context.eventStore))
        return acts.examples.ProcessCode.SUCCESS


def fit_steps(detector: PointsDetector) -> list[Any]:
    field = chain.make_field()
    return [
        chain.seed_proto_tracks(detector.geometry, field),
        chain.estimate_parameters(detector.geometry, field),
        chain.fit_tracks(detector.geometry, field),
        chain.extrapolate_tracks(detector.geometry, field),
        chain.resolve_ambiguities(),
    ]


def chain_of(detector: PointsDetector, finder: Any, *more: Any) -> list[Any]:
    points = chain.make_space_points(detector.geometry)
    return [chain.SelectMeasurements(), points, finder, *more, *fit_steps(detector)]


@pytest.fixture(scope="module")
def direct(detector: PointsDetector, measured: list[Measurements]) -> Any:
    """Tracks of the events, with one thread, and what the tracker saw and found."""
    listener = Listener()
    return run_steps(measured, chain_of(detector, TrackFinder(), listener)), listener


def test_a_measurement_is_at_its_point(
    detector: PointsDetector, events: list[PointsEvent], measured: list[Measurements]
) -> None:
    """By ACTS' own transformation of the sensor that the measurement names."""
    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    surfaces = detector.geometry.geoIdSurfaceMap()
    for row in range(0, len(measured[0]), 37):
        surface = surfaces[acts.GeometryIdentifier(int(measured[0].surface[row]))]
        local = acts.Vector2(*measured[0].local[row].astype(float).tolist())
        place = surface.localToGlobal(context, local, acts.Vector3(0, 0, 1))
        found = [place[i] for i in range(3)]
        np.testing.assert_allclose(found, events[0].points.position[row], atol=1e-3)
        sigma = np.sqrt(measured[0].variance[row])
        np.testing.assert_allclose(sigma, SIGMAS[surface.geometryId.volume], rtol=1e-6)


def test_candidates_in_the_sequencer_are_those_of_the_pipeline(direct: Any) -> None:
    _, listener = direct
    pipeline = ExatrkxPipeline.from_model("default")
    for number, event in listener.events.items():
        expected = pipeline.reconstruct(event).candidates
        assert len(expected) > 60
        assert listener.candidates[number].points == expected.points


def test_space_points_of_stored_measurements_are_the_stored_points(
    direct: Any, events: list[PointsEvent]
) -> None:
    _, listener = direct
    for number, event in enumerate(events):
        found = listener.events[number].points.position
        np.testing.assert_allclose(found, event.points.position, atol=1e-3)


def test_threads_of_the_sequencer_change_no_track(
    detector: PointsDetector, measured: list[Measurements], direct: Any
) -> None:
    tracks = run_steps(measured, chain_of(detector, TrackFinder()), threads=2)
    assert tracks == direct[0]
    assert sum(map(len, tracks.values())) > 300


@given(lists)
def test_candidates_come_back_from_proto_tracks(rows: list[list[int]]) -> None:
    points = Ragged.of([np.array(row, np.int32) for row in rows], np.int32)
    assert to_candidates(to_proto_tracks(points)).points == points


def space_points(links: list[list[int]]) -> Any:
    """Space points of these measurements."""
    points = acts.SpacePointContainer(acts.SpacePointColumns.SourceLinks)
    sensor = acts.GeometryIdentifier(1)
    for numbers in links:
        made = [acts.examples.IndexSourceLink(sensor, n).toSourceLink() for n in numbers]
        points.createSpacePoint().assignSourceLinks(made)
    return points


@given(
    st.one_of(
        st.just([[n] for n in range(10)]),
        st.permutations([[n] for n in range(10)]),
        st.lists(st.lists(st.integers(0, 30), max_size=2), min_size=10, max_size=10),
    ),
    lists,
)
def test_points_stand_for_their_measurements(links: list[list[int]], rows: list[list[int]]) -> None:
    """Also where points are fewer than measurements, in another order, or of two strips."""
    points = Ragged.of([np.array(row, np.int32) for row in rows], np.int32)
    found = [list(track) for track in to_proto_tracks(measurements_of(space_points(links), points))]
    assert found == [[number for row in some for number in links[row]] for some in rows]


def test_measurements_come_back_from_their_container(measured: list[Measurements]) -> None:
    some = measured[0].take(slice(0, 200))
    container = to_measurements(some)
    assert [one.geometryId.value for one in container] == some.surface.tolist()
    for one, local, variance in zip(container, some.local, some.variance, strict=True):
        assert [one.fullParameters[i] for i in (0, 1)] == local.tolist()
        assert [one.fullCovariance[i, i] for i in (0, 1)] == variance.tolist()


def test_an_event_beyond_its_limits_ends_the_run_with_its_reason(
    detector: PointsDetector, measured: list[Measurements], capfd: pytest.CaptureFixture[str]
) -> None:
    finder = TrackFinder(limits=ExatrkxLimits(points=10), level=acts.logging.ERROR)
    with pytest.raises(RuntimeError):
        run_steps(measured[:1], chain_of(detector, finder))
    assert "limit points" in "".join(capfd.readouterr())


def test_a_tracker_of_raw_data_is_refused() -> None:
    with pytest.raises(InputError, match="space points"):
        TrackFinder("patatrack")


def test_more_events_than_cores_are_in_flight(measured: list[Measurements]) -> None:
    n = 6
    together = threading.Barrier(n, timeout=60)

    class Meet(acts.examples.IAlgorithm):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            acts.examples.IAlgorithm.__init__(self, "Meet", acts.logging.WARNING)

        def execute(self, context: Any) -> Any:
            together.wait()
            return acts.examples.ProcessCode.SUCCESS

    with events_in_flight(n):
        sequencer = acts.examples.Sequencer(numThreads=n, logLevel=acts.logging.WARNING)
        sequencer.addReader(MeasurementReader([measured[0].take(slice(0, 3))] * n))
        meet = Meet()
        sequencer.addAlgorithm(meet)
        sequencer.run()


def test_no_event_in_flight_is_refused() -> None:
    with pytest.raises(InputError), events_in_flight(0):
        pass


def test_a_stopwatch_times_each_step_of_each_event(
    detector: PointsDetector, measured: list[Measurements]
) -> None:
    watch = Stopwatch()
    names = ("select", "points", "find", "seed", "estimate", "fit", "extrapolate", "resolve")
    steps = dict(zip(names, chain_of(detector, TrackFinder()), strict=True))
    run_steps(measured[:2], watch.around(steps))
    assert sorted(watch.seconds) == [0, 1]
    for seconds in watch.seconds.values():
        assert tuple(seconds) == names
        assert min(seconds.values()) > 0
    for event, spent in watch.processor.items():
        assert tuple(spent) == names
        assert spent["find"] <= watch.seconds[event]["find"] + 0.02  # the clocks' grains differ


@pytest.fixture(scope="module")
def fits(muons: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of the candidates and of the fitted tracks, by the command line."""
    folder = tmp_path_factory.mktemp("fits")
    candidates, tracks = folder / "candidates.parquet", folder / "tracks.parquet"
    command("reconstruct", "exatrkx", muons, "-o", candidates)
    command("fit", muons, candidates, "-o", tracks)
    return candidates, tracks


def test_candidates_are_read_as_they_were_found(fits: tuple[Path, Path], muons: Path) -> None:
    pipeline = ExatrkxPipeline.from_model("default")
    found = dict(CandidatesFile(fits[0]))
    assert list(found) == list(range(MUONS.events))
    for event in open_points(muons):
        assert found[event.event] == pipeline.reconstruct(event).candidates


def test_the_command_fits_what_the_sequencer_fits(fits: tuple[Path, Path], direct: Any) -> None:
    rows = pq.read_table(fits[1]).to_pylist()
    tracks, _ = direct
    assert [row["error"] for row in rows] == [""] * MUONS.events
    for row in rows:
        expected = tracks[row["event"]]
        assert [track["d0"] for track in row["tracks"]] == expected.d0.tolist()
        assert [track["points"] for track in row["tracks"]] == [p.tolist() for p in expected.points]
        assert row["counts"]["tracks"] == len(expected)


def test_fitted_muons_are_true_within_their_errors(
    events: list[PointsEvent], measured: list[Measurements]
) -> None:
    """A wrong sign, unit or order of a parameter would make a pull of many."""
    fitter = TrackFitter()
    judged = []
    for event, some in zip(events, measured, strict=True):
        candidates = true_candidates(event, chain.MIN_MEASUREMENTS)
        tracks = fitter.fit(some, candidates, event.event)
        judged.append(judge_fits(event, candidates, tracks, chain.MIN_MEASUREMENTS))
    found = summarize_fits(judged)
    assert found.fitted.value > 0.99
    assert found.efficiency.value > 0.99
    assert found.fake_rate.value == 0
    for name in PARAMETERS:
        assert 0.85 < found.widths.pull[name].value < 1.35, name
    assert found.widths.relative_pt.value < 0.05


def track_of(state: Array, points: Sequence[Sequence[int]]) -> FittedTracks:
    n = len(state)
    covariance = np.tile(np.eye(5, dtype=np.float32)[np.triu_indices(5)], (n, 1))
    zero = np.zeros(n, np.int32)
    return FittedTracks(
        *state.astype(np.float32).T.copy(),
        covariance,
        np.zeros(n, np.float32),
        zero,
        zero,
        zero,
        Ragged.of([np.array(row, np.int32) for row in points], np.int32),
    )


def test_perfect_tracks_have_no_residual(events: list[PointsEvent]) -> None:
    event = events[0]
    assert event.truth is not None
    candidates = true_candidates(event, 5)
    owner = event.truth.points.particle[[points[0] for points in candidates.points]]
    state = true_states(event.truth.particles.take(owner))
    tracks = track_of(state, [points.tolist() for points in candidates.points])
    found = summarize_fits([judge_fits(event, candidates, tracks, 5)])
    assert found.tracks == len(candidates)
    assert found.fitted.value == found.efficiency.value == 1
    assert found.fake_rate.value == found.duplicate_rate.value == 0
    assert max(width.value for width in found.widths.residual.values()) < 1e-5


def test_tracks_that_are_missing_or_mixed_are_counted(events: list[PointsEvent]) -> None:
    event = events[0]
    candidates = true_candidates(event, 5)
    points = [row.tolist() for row in candidates.points]
    mixed = points[0][:3] + points[1][:3]
    state = np.tile([0.0, 0.0, 0.0, 1.0, 1.0], (len(points) - 1, 1))
    tracks = track_of(state, [mixed, *points[2:]])
    found = summarize_fits([judge_fits(event, candidates, tracks, 5)])
    assert found.fake_rate.passed == 1
    n = found.fitted.total
    assert n == len(points)
    assert found.efficiency.passed == found.efficiency.total - 2


def test_a_candidate_of_another_event_is_refused(measured: list[Measurements]) -> None:
    rows = Ragged.of([np.array([0, 1, 10**6], np.int32)], np.int32)
    wrong = TrackCandidates(rows, np.ones(1, np.float32))
    with pytest.raises(EventError, match="does not exist") as caught:
        TrackFitter().fit(measured[0], wrong, 7)
    assert caught.value.event == 7


def test_a_sensor_of_another_detector_is_refused(measured: list[Measurements]) -> None:
    some = measured[0].take(np.arange(2))
    some.surface[1] = 12345
    nothing = TrackCandidates.empty()
    with pytest.raises(EventError, match="no sensor") as caught:
        TrackFitter().fit(some, nothing)
    assert caught.value.found == 12345


def test_an_event_without_candidates_has_no_tracks(measured: list[Measurements]) -> None:
    assert len(TrackFitter().fit(measured[0], TrackCandidates.empty())) == 0


def test_events_without_measurements_are_named(
    fits: tuple[Path, Path], muons: Path, tmp_path: Path
) -> None:
    (tmp_path / "points.parquet").write_bytes((muons / "points.parquet").read_bytes())
    text = says("fit", tmp_path, fits[0], "-o", tmp_path / "t.parquet", status=1)
    assert "no measurements here" in text


def test_a_file_without_candidates_is_refused(muons: Path, tmp_path: Path) -> None:
    text = says("fit", muons, muons / "points.parquet", "-o", tmp_path / "t.parquet", status=1)
    assert "no candidates here" in text


def test_an_event_that_failed_before_keeps_its_row(muons: Path, tmp_path: Path) -> None:
    candidates, tracks = tmp_path / "c.parquet", tmp_path / "t.parquet"
    n = [len(event.points) for event in open_points(muons)]
    limit = f"points={sorted(n)[1]}"
    command("reconstruct", "exatrkx", muons, "-o", candidates, "--limit", limit, status=1)
    command("fit", muons, candidates, "-o", tracks, status=1)
    errors = [row["error"] for row in pq.read_table(tracks, columns=["error"]).to_pylist()]
    assert [bool(error) for error in errors] == [one > sorted(n)[1] for one in n]


@pytest.fixture(scope="module")
def csv_files(detector: PointsDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two events of 20 muons, simulated and written by ACTS."""
    from acts.examples import simulation as steps

    folder = tmp_path_factory.mktemp("csv")
    numbers = acts.examples.RandomNumbers(seed=3)
    warning = acts.logging.WARNING
    sequencer = acts.examples.Sequencer(events=2, numThreads=1, logLevel=warning)
    gev = acts.UnitConstants.GeV
    momentum = steps.MomentumConfig(2 * gev, 9 * gev, transverse=True)
    muons = steps.ParticleConfig(20, acts.PdgParticle.eMuon, randomizeCharge=True)
    steps.addParticleGun(sequencer, momentum, steps.EtaConfig(-2, 2), muons, rnd=numbers)
    for algorithm in (
        chain.simulate_particles(detector.geometry, chain.make_field(), numbers),
        chain.smear_hits(detector.geometry, numbers),
        chain.make_space_points(detector.geometry),
    ):
        sequencer.addAlgorithm(algorithm)
    places = {"level": warning, "outputDir": str(folder)}
    write = acts.examples
    for writer in (
        write.CsvSpacePointWriter(inputSpacePoints="spacepoints", **places),
        write.CsvSimHitWriter(inputSimHits="simhits", outputStem="hits", **places),
        write.CsvMeasurementWriter(
            inputMeasurements="measurements",
            inputClusters="",
            inputMeasurementSimHitsMap="measurement_simhits_map",
            **places,
        ),
        write.CsvParticleWriter(
            inputParticles="particles_simulated", outputStem="particles_simulated", **places
        ),
    ):
        sequencer.addWriter(writer)
    sequencer.run()
    return folder


def test_events_that_acts_wrote_are_read_with_their_truth(csv_files: Path) -> None:
    """The learned tracker finds the particles that the files name."""
    pipeline = ExatrkxPipeline.from_model()
    events = open_points(csv_files)
    assert len(events) == 2
    for event in events:
        assert event.truth is not None
        particles = event.truth.particles
        assert set(np.abs(particles.pdg[particles.primary])) == {13}
        assert set(event.truth.points.volume) <= set(SIGMAS)
        summary = summarize_points(match_points_event(event, pipeline.reconstruct(event)))
        assert summary.efficiency.double.value > 0.9


def test_a_csv_file_that_lacks_a_hit_is_an_error_of_its_event(
    csv_files: Path, tmp_path: Path
) -> None:
    for path in csv_files.glob("event000000001*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    hits = tmp_path / "event000000001-hits.csv"
    hits.write_text("".join(hits.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(EventError, match="hit does not exist") as caught:
        open_points(tmp_path)[0]
    assert caught.value.event == 1


@pytest.mark.slow
def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "acts_chain.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tracks, mean chi2/ndof") == 10


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from trackserve.serving.repository import write_model
    from trackserve.serving.server import Server

    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "exatrkx", {}, backend="python")
    with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
        yield server.grpc_url


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_server_changes_no_track(
    url: str, threads: int, detector: PointsDetector, measured: list[Measurements], direct: Any
) -> None:
    with events_in_flight(4):
        tracks = run_steps(measured, chain_of(detector, TrackFinder(url=url)), threads=threads)
    assert tracks == direct[0]


@pytest.mark.slow
def test_a_server_with_another_model_is_refused(url: str) -> None:
    with pytest.raises(TrackserveError, match="identity"):
        TrackFinder("exatrkx", {"model": "large"}, url=url)
    with Client(url) as client:
        assert TrackFinder(url=client, identity="unchecked").identity == "unchecked"


@pytest.mark.slow
def test_the_study_measures_each_step_and_finds_the_same_tracks(
    muons: Path, tmp_path: Path
) -> None:
    command("study", "acts", "--events", f"exatrkx={muons}", "--rounds", "2", "-o", tmp_path)
    rows = pq.read_table(tmp_path / "acts.parquet").to_pylist()
    assert {row["way"] for row in rows} == {"direct, cpu", "served", "ACTS"}
    assert sum(row["different"] or 0 for row in rows) == 0
    efficiency = {row["variant"]: row["value"] for row in rows if row["quantity"] == "efficiency"}
    assert set(efficiency) == {"candidates", "direct, cpu", "ACTS", "truth"}
    assert min(efficiency.values()) > 0.9
    parts, whole = ({}, {})
    for row in rows:
        if row["what"] == "step" and row["step"] != "around the tracker":
            place = row["way"], row["round"], row["n"]
            into = whole if row["step"] == "all" else parts
            into[place] = into.get(place, 0.0) + row["ms"]
    assert parts == pytest.approx(whole)


def test_a_sample_without_measurements_is_left_out_of_the_study(
    muons: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("points.parquet", "particles.parquet"):
        (alone / name).write_bytes((muons / name).read_bytes())
    out = tmp_path / "out"
    command("study", "acts", "--events", f"exatrkx={alone}", "--rounds", "2", "-o", out)
    assert "no measurements here" in (out / "acts.json").read_text()
