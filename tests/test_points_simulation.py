"""Simulated events of the whole tracker: physics, files, resumption."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve.cli.main import commands
from trackserve.detectors.generic.material import SIGMAS
from trackserve.edm import (
    Collisions,
    Particles,
    PointsEvent,
    PointsTruth,
    SpacePoints,
    TruePoints,
)
from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError
from trackserve.io import open_points, write_points

pytest.importorskip("acts")
from trackserve.simulation.chain.collisions import Setup
from trackserve.simulation.chain.generate import GeneratedEvent, GeneratedParticles, Gun
from trackserve.simulation.points.detector import (
    PointsDetector,
    make_points_detector,
    sensor_key,
)
from trackserve.simulation.points.flight import (
    ALL_PROCESSES,
    MIN_MOMENTUM,
    PT_PER_RADIUS,
    Processes,
)
from trackserve.simulation.points.simulate import simulate_points
from trackserve.simulation.points.transport import PointsTransport, Transported

MUONS = Gun(particles=20, min_pt=2.0, max_pt=20.0, max_eta=2.5)
SIX = Setup("muons", events=6, gun=MUONS)
FIELD_CURVATURE = 0.299792458e-3 * 2.0
"""GeV per mm of radius at 2 T."""


@pytest.fixture(scope="module")
def detector() -> PointsDetector:
    return make_points_detector()


@pytest.fixture(scope="module")
def vacuum(detector: PointsDetector) -> PointsTransport:
    return PointsTransport(detector, 0.0, Processes(True, False, False))


@pytest.fixture(scope="module")
def muons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six events of 20 muons, simulated in this process."""
    directory = tmp_path_factory.mktemp("simulation") / "muons"
    simulate_points(directory, SIX, processes=1)
    return directory


def truth_of(event: PointsEvent) -> PointsTruth:
    assert event.truth is not None
    return event.truth


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def to_helix(particles: Particles, row: Array, place: Array) -> tuple[Array, Array]:
    """Distances of points from their particle's helix: across the beam, and along it (mm)."""
    start, momentum = 10 * particles.position[row], particles.momentum[row]
    charge = particles.charge[row]
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    radius = pt / FIELD_CURVATURE
    side = np.stack([momentum[:, 1], -momentum[:, 0]], axis=1) / pt[:, None]
    centre = start[:, :2] + (charge * radius)[:, None] * side
    arm = place[:, :2] - centre
    across = np.hypot(*arm.T) - radius
    first = start[:, :2] - centre
    turned = first[:, 0] * arm[:, 1] - first[:, 1] * arm[:, 0]
    angle = np.arctan2(turned, (first * arm).sum(axis=1)) * -charge
    along = place[:, 2] - start[:, 2] - momentum[:, 2] / pt * radius * angle
    return across, along


def test_muons_leave_points_along_their_helix(muons: Path) -> None:
    """Points of the pixel barrel are within resolution and scattering; wrong ones are mm away."""
    across, along = [], []
    for event in open_points(muons):
        truth = truth_of(event)
        barrel = truth.points.volume == 8
        chosen = barrel & truth.particles.primary[truth.points.particle]
        row = truth.points.particle[chosen]
        one, other = to_helix(truth.particles, row, event.points.position[chosen])
        across.append(one)
        along.append(other)
    for distances, core, bound in (
        (np.concatenate(across), 0.04, 0.5),
        (np.concatenate(along), 0.2, 3),
    ):
        assert len(distances) > 200
        assert abs(np.median(distances)) < core / 4
        assert 0.01 < np.median(np.abs(distances)) < core
        assert np.quantile(np.abs(distances), 0.99) < bound


def test_muons_cross_the_whole_tracker(muons: Path) -> None:
    for event in open_points(muons):
        truth = truth_of(event)
        assert truth.particles.primary.sum() == MUONS.particles
        count = np.bincount(truth.points.particle, minlength=len(truth.particles))
        assert (count[truth.particles.primary] >= 8).all()
        np.testing.assert_array_equal(np.abs(truth.particles.pdg[truth.particles.primary]), 13)
        pt = np.hypot(*truth.particles.momentum[: MUONS.particles, :2].T)
        assert 2 < pt.min() <= pt.max() < 20


def test_points_lie_on_the_sensors_they_name(muons: Path, detector: PointsDetector) -> None:
    event = open_points(muons)[0]
    points = truth_of(event).points
    key = np.stack([points.volume, points.layer, points.module], axis=1).tolist()
    assert key == sorted(key), "in the order of the sensors"
    surfaces = {
        (identifier.volume, identifier.layer, identifier.sensitive): surface
        for identifier, surface in detector.geometry.geoIdSurfaceMap().items()
    }
    acts = pytest.importorskip("acts")
    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    for place, sensor in zip(event.points.position, key, strict=True):
        transform = surfaces[tuple(sensor)].localToGlobalTransform(context)
        offset = place - np.array(transform.translation)
        normal = np.array([transform.rotation[i, 2] for i in range(3)])
        assert abs(offset @ normal) < 1e-3
        assert np.linalg.norm(offset) < 120


def test_sensors_measure_the_right_direction_well(detector: PointsDetector) -> None:
    assert len(detector.key) == 18_728
    assert (np.diff(detector.key) > 0).all()
    assert set(detector.volume.tolist()) == set(SIGMAS)
    size = np.linalg.norm(detector.spread, axis=2)
    np.testing.assert_allclose(size, [SIGMAS[v] for v in detector.volume.tolist()], rtol=1e-6)
    barrel = np.isin(detector.volume, [8, 13, 17])
    assert np.abs(detector.spread[barrel, 0, 2]).max() < 1e-9, "first axis around the beam"
    assert np.abs(detector.spread[~barrel, :, 2]).max() < 1e-9, "disks measure x and y"


def test_any_number_of_processes_gives_the_same_bytes(muons: Path, tmp_path: Path) -> None:
    simulate_points(tmp_path, SIX, processes=2)
    assert files(tmp_path) == files(muons)


def test_an_interrupted_run_continues(muons: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_points(tmp_path, SIX, processes=1, progress=interrupt)
    with pytest.raises(InputError, match="did not end"):
        open_points(tmp_path)
    report = simulate_points(tmp_path, SIX, processes=1)
    assert report.new == 2
    assert files(tmp_path) == files(muons)
    again = simulate_points(tmp_path, SIX, processes=1)
    assert again.new == 0
    assert again.counts == report.counts


def test_few_events_are_the_beginning_of_many_and_can_be_extended(
    muons: Path, tmp_path: Path
) -> None:
    simulate_points(tmp_path, SIX._replace(events=2), processes=1)
    for few, many in zip(open_points(tmp_path), open_points(muons)[:2], strict=True):
        assert same(few, many)

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_points(tmp_path, SIX, processes=1, progress=interrupt)
    with pytest.raises(InputError, match="did not end"):
        open_points(tmp_path)
    assert simulate_points(tmp_path, SIX, processes=1).new == 3
    assert files(tmp_path) == files(muons)


def test_another_simulation_in_the_same_directory_is_refused(muons: Path) -> None:
    before = files(muons)
    with pytest.raises(InputError, match=r"parameters\.seed 1 there, 2 asked"):
        simulate_points(muons, SIX._replace(seed=2))
    with pytest.raises(InputError, match=r"constants\.noise 0\.0 there, 0\.1 asked"):
        simulate_points(muons, SIX, noise=0.1)
    with pytest.raises(InputError, match="min_pt is out of range"):
        simulate_points(muons, SIX._replace(gun=Gun(min_pt=0.01)))
    for noise in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="noise is out of range"):
            simulate_points(muons, SIX, noise=noise)
    with pytest.raises(InputError, match="noise has the wrong type"):
        simulate_points(muons, SIX, noise="much")  # type: ignore[arg-type]
    assert files(muons) == before


def straight_crossings(detector: PointsDetector, start: Array, way: Array) -> list[int]:
    """Rows of the sensors that a straight line crosses, in the order of the line."""
    normal = np.cross(detector.axes[:, 0], detector.axes[:, 1])
    across = normal @ way
    across[np.abs(across) < 1e-30] = 1e-30  # along the sensor: far away, but not beyond a float
    path = ((detector.centre - start) * normal).sum(axis=1) / across
    offset = start + path[:, None] * way - detector.centre
    u, v = (detector.axes * offset[:, None]).sum(axis=2).T
    lower, upper, length = detector.half.T
    inside = np.abs(v) < length
    inside &= np.abs(u) < lower + (upper - lower) * 0.5 * (v / length + 1)
    met = np.flatnonzero(inside & (path > 0))
    return [int(sensor) for sensor in met[np.argsort(path[met])]]


def flown(
    transport: PointsTransport, pdg: int, charge: int, start: Array, momentum: Array
) -> Transported:
    """One particle, or many, through the detector; cm and GeV."""
    start, momentum = np.atleast_2d(start).astype(float), np.atleast_2d(momentum).astype(float)
    n = len(start)
    mass = {13: 0.1056584, 211: 0.1395704, 321: 0.493677, 22: 0.0}[abs(pdg)]
    particles = GeneratedParticles(
        np.zeros(n, np.int32),
        np.full(n, pdg, np.int32),
        np.full(n, charge, np.int8),
        np.full(n, mass),
        start,
        momentum,
    )
    return transport.transport(GeneratedEvent(0, Collisions(np.zeros((1, 3))), particles), 3)


@settings(max_examples=30)
@given(
    z=st.floats(-15, 15),
    radius=st.floats(0, 90),
    phi=st.floats(-3.1, 3.1),
    eta=st.floats(-3.5, 3.5),
)
def test_no_sensor_on_a_line_is_missed_from_anywhere(
    detector: PointsDetector,
    vacuum: PointsTransport,
    z: float,
    radius: float,
    phi: float,
    eta: float,
) -> None:
    way = np.array([np.cos(phi), np.sin(phi), np.sinh(eta)]) / np.cosh(eta)
    start = np.array([radius, 0, z])
    found = flown(vacuum, 13, -1, start, 1e7 * way).crossings
    order = found.sensor[np.argsort(found.order)].tolist()
    assert order == straight_crossings(detector, 10 * start, way)


def test_a_particle_that_goes_round_crosses_the_layers_on_its_way_back(
    detector: PointsDetector, vacuum: PointsTransport
) -> None:
    """Without material it is on one helix all the time, and every turn crosses the same layers."""
    pt = 0.15
    found = flown(vacuum, 13, -1, np.zeros(3), np.array([pt, 0, 0.05 * pt])).crossings
    found = found.take(np.argsort(found.order))
    radius = 10 * pt / PT_PER_RADIUS
    away = np.hypot(found.position[:, 0], found.position[:, 1] - radius)
    off = min(
        np.abs(away - radius).max(),
        np.abs(np.hypot(*(found.position[:, :2] + [0, radius]).T) - radius).max(),
    )
    assert off < 1e-3, "mm from its circle"
    z = found.position[:, 2]
    assert (np.diff(z) > 0).all()
    turn = 2 * np.pi * radius * 0.05
    barrel = z < 480
    turns = np.floor(z[barrel] / turn).astype(int)
    layers = detector.layer[found.sensor][barrel] + 100 * detector.volume[found.sensor][barrel]
    assert turns.max() >= 5
    for k in range(turns.max()):
        first, back = turns == k, (z[barrel] % turn) > turn / 2
        assert set(layers[first & ~back].tolist()) == set(layers[first & back].tolist())
        assert len(set(layers[first].tolist())) >= 7


def test_hadrons_interact_and_decay_and_muons_hardly(detector: PointsDetector) -> None:
    """Particles that end early leave fewer than nine of about twelve points."""
    n = 2000
    phi = np.random.default_rng(1).uniform(-np.pi, np.pi, n)
    momentum = np.stack([np.cos(phi), np.sin(phi), np.zeros(n)], axis=1)
    start = np.tile([0.0, 0.0, 3.0], (n, 1))  # where modules do not overlap along the beam
    for pdg, processes, low, high in (
        (13, ALL_PROCESSES, 0.0, 0.001),
        (211, Processes(loops=True, interactions=False, decays=False), 0.0, 0.0),
        # 14 mm of silicon lie before the ninth point, 50 cm away. Pions interact after 591 mm of
        # it, and decay after 56 m; kaons after 7.5 m
        (211, Processes(loops=True, interactions=True, decays=False), 0.014, 0.034),
        (211, Processes(loops=True, interactions=False, decays=True), 0.004, 0.016),
        (321, Processes(loops=True, interactions=False, decays=True), 0.045, 0.09),
    ):
        transport = PointsTransport(detector, processes=processes)
        made = flown(transport, pdg, 1, start, momentum)
        ended = np.bincount(made.crossings.particle, minlength=n)[:n] < 9
        assert low <= ended.mean() <= high, (pdg, processes, ended.mean())
        assert (~made.particles.primary).any() == (high > 0.001)
        assert np.isfinite(made.particles.momentum).all()
        protons = made.particles.pdg == 2212
        assert protons.any() == (processes.interactions and pdg == 211)
        assert made.lost < 0.02 * n


def test_noise_is_anywhere_on_the_sensors_and_belongs_to_nobody(
    detector: PointsDetector, tmp_path: Path
) -> None:
    many = SIX._replace(gun=Gun(2000, 2, 20))
    simulate_points(tmp_path / "noise", many._replace(events=2), processes=1, noise=0.3)
    simulate_points(tmp_path / "none", many._replace(events=2), processes=1)
    for noisy, clean in zip(
        open_points(tmp_path / "noise"), open_points(tmp_path / "none"), strict=True
    ):
        truth, other = truth_of(noisy), truth_of(clean)
        noise = truth.points.particle < 0
        assert noise.mean() == pytest.approx(0.3, abs=0.01)
        assert (truth.points.weight[noise] == 0).all()
        assert truth.points.weight.sum() == pytest.approx(1, abs=1e-5)
        assert truth.points.particle[~noise].tolist() == other.points.particle.tolist()
        assert truth.particles == other.particles
        key = sensor_key(truth.points.volume, truth.points.layer, truth.points.module)
        assert (np.diff(key) >= 0).all(), "in the order of the sensors"
        row = np.searchsorted(detector.key, key[noise])
        offset = noisy.points.position[noise] - detector.centre[row]
        u, v = (detector.axes[row] * offset[:, None]).sum(axis=2).T
        lower, upper, length = detector.half[row].T
        spread = np.linalg.norm(detector.spread[row], axis=2)
        width = lower + (upper - lower) * 0.5 * ((v + 6 * spread[:, 1]) / length + 1)
        assert (np.abs(u) < width + 6 * spread[:, 0]).all()
        assert (np.abs(v) < length + 6 * spread[:, 1]).all()
        area = (detector.half[:, 0] + detector.half[:, 1]) * detector.half[:, 2]
        strips = np.isin(detector.volume, [16, 17, 18])
        expected = area[strips].sum() / area.sum()
        assert strips[row].mean() == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
def test_collisions_with_pileup(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    arguments = "simulate points --pileup 4 --events 3 --seed 2 --processes 1 -o"
    result = CliRunner().invoke(commands, [*arguments.split(), str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "points" in result.output
    events = open_points(tmp_path)
    assert [event.event for event in events] == [0, 1, 2]
    for event in events:
        truth = truth_of(event)
        particles = truth.particles
        assert len(event.points) == len(truth.points) > 2000
        assert np.isfinite(event.points.position).all()
        assert truth.points.weight.sum() == pytest.approx(1, abs=1e-5)
        primary = particles.take(particles.primary)
        assert (primary.charge != 0).all(), "photons convert, but leave no points"
        pt = np.hypot(*primary.momentum[:, :2].T)
        assert pt.min() > MIN_MOMENTUM
        assert np.abs(primary.momentum[:, 2] / pt).max() < np.sinh(4.0) * 1.001
        made = np.flatnonzero(~particles.primary)
        assert len(made) > 5
        assert np.isin(made, truth.points.particle).all()
        kinds = set(np.abs(particles.pdg[made]).tolist())
        assert {11, 211} <= kinds <= {11, 13, 211, 2212}, (
            "pairs, and what interactions and decays make"
        )
        electrons = made[(np.abs(particles.pdg[made]) == 11)]
        # some are of muons that decay in the beam pipe
        assert np.mean(np.hypot(*particles.position[electrons, :2].T) > 1.8) > 0.9
    collisions = [truth_of(event).particles.collision.max() for event in events]
    assert len(set(collisions)) > 1, "Poisson"
    starts = np.concatenate([truth_of(event).particles.position for event in events])
    z = starts[np.hypot(starts[:, 0], starts[:, 1]) < 0.01, 2]
    assert 2 < np.median(np.abs(z)) < 8


def event_of(number: int, n: int) -> PointsEvent:
    rng = np.random.default_rng(number)
    points = TruePoints(
        rng.integers(-1, 3, n).astype(np.int32),
        *(np.full(n, k, dtype) for k, dtype in enumerate((np.int16, np.int16, np.int32))),
        rng.random(n).astype(np.float32),
    )
    particles = Particles(
        *(np.arange(3).astype(dtype) for dtype in (np.int32, np.int32, np.int8)),
        rng.normal(size=(3, 3)).astype(np.float32).astype(np.float64) / 10,
        rng.normal(size=(3, 3)).astype(np.float32).astype(np.float64),
        np.array([True, False, True]),
    )
    place = SpacePoints(rng.normal(size=(n, 3)).astype(np.float32))
    return PointsEvent(place, number, PointsTruth(points, particles))


def same(one: PointsEvent, other: PointsEvent) -> bool:
    if one.event != other.event or one.points != other.points:
        return False
    if one.truth is None or other.truth is None:
        return one.truth is other.truth
    return one.truth.points == other.truth.points and one.truth.particles == other.truth.particles


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    events = [event_of(number, n) for number, n in ((7, 5), (3, 0), (9, 1000), (2, 2))]
    write_points(tmp_path / "truth", iter(events))
    there = open_points(tmp_path / "truth")
    assert len(there) == 4
    for index in (2, 0, 1, 3, -1):
        assert same(there[index], events[index])
    assert [event.event for event in there[::-2]] == [2, 3]
    with pytest.raises(IndexError):
        there[4]
    data = [PointsEvent(event.points, event.event) for event in events]
    write_points(tmp_path / "data", data)
    assert all(
        same(one, other) for one, other in zip(open_points(tmp_path / "data"), data, strict=True)
    )
    write_points(tmp_path / "truth", data)
    assert same(open_points(tmp_path / "truth")[0], data[0]), "replaced"
    with pytest.raises(InputError, match="some events have truth, others do not"):
        write_points(tmp_path / "mixed", [events[0], data[1]])
    with pytest.raises(InputError, match="no events"):
        write_points(tmp_path / "none", [])


def test_threads_can_share_a_directory(tmp_path: Path) -> None:
    events = [event_of(number, 500 + number) for number in range(8)]
    write_points(tmp_path, events)
    there = open_points(tmp_path)
    good = []

    def read(start: int) -> None:
        good.extend(same(there[i % 8], events[i % 8]) for i in range(start, start + 40))

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good) == 160
    assert all(good)


@pytest.mark.parametrize("row_group_size", [1, 700, 2500, 10**6])
@pytest.mark.parametrize("kept", ["all", "no list", "points alone"])
def test_row_groups_of_any_size_hold_the_same_events(
    tmp_path: Path, row_group_size: int, kept: str
) -> None:
    """Event 5 has no points: the list in the metadata tells of it, or its particles."""
    events = [event_of(number, n) for number, n in ((3, 40), (5, 0), (4, 30), (9, 25))]
    write_points(tmp_path, events)
    for name in ("points.parquet", "particles.parquet"):
        table = pq.read_table(tmp_path / name)
        if kept == "all":
            table = table.replace_schema_metadata({"events": "[3, 5, 4, 9]"})
        pq.write_table(table, tmp_path / name, row_group_size=row_group_size)
    if kept == "points alone":
        (tmp_path / "particles.parquet").unlink()
        events = [PointsEvent(e.points, e.event) for e in events if len(e.points)]
    there = open_points(tmp_path)
    assert [event.event for event in there] == [event.event for event in events]
    for found, event in zip(there, events, strict=True):
        assert same(found, event)


def test_files_of_other_events_can_be_joined(tmp_path: Path) -> None:
    events = [event_of(number, 20 + number) for number in range(2)]
    for event in events:
        write_points(tmp_path / str(event.event), [event])
    (tmp_path / "both").mkdir()
    for name in ("points.parquet", "particles.parquet"):
        tables = [pq.read_table(tmp_path / str(number) / name) for number in range(2)]
        pq.write_table(pa.concat_tables(tables), tmp_path / "both" / name)
        both = pq.read_metadata(tmp_path / "both" / name)
        assert both.num_rows == sum(len(table) for table in tables)
    there = open_points(tmp_path / "both")
    assert [same(found, event) for found, event in zip(there, events, strict=True)] == [True] * 2


def test_rows_of_an_event_that_do_not_follow_each_other_are_refused(tmp_path: Path) -> None:
    write_points(tmp_path, [event_of(number, 10) for number in range(2)])
    path = tmp_path / "points.parquet"
    pq.write_table(pq.read_table(path).take([*range(5), *range(10, 20), *range(5, 10)]), path)
    with pytest.raises(InputError, match=r"do not follow each other.*event 0"):
        open_points(tmp_path)


def test_damaged_directories_are_refused(tmp_path: Path) -> None:
    write_points(tmp_path / "good", [event_of(number, 1000) for number in range(3)])

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "good", tmp_path / name))

    short = copy("short") / "points.parquet"
    short.write_bytes(short.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"cannot be read.*points\.parquet"):
        open_points(short.parent)

    column = copy("column") / "particles.parquet"
    pq.write_table(pq.read_table(column).drop_columns("vx"), column)
    with pytest.raises(InputError, match=r"column vx, found None, bound float"):
        open_points(column.parent)

    other = copy("other") / "points.parquet"
    write_points(tmp_path / "data", [PointsEvent(event_of(i, 4).points, i) for i in range(3)])
    shutil.copy(tmp_path / "data" / "points.parquet", other)
    with pytest.raises(InputError, match=r"column particle, found None, bound int32"):
        open_points(other.parent)

    for text in (b"3", b"{", b"[0, true]", b'{"0": 1}'):
        listed = copy(f"listed-{text!r}") / "points.parquet"
        table = pq.read_table(listed)
        pq.write_table(table.replace_schema_metadata({"events": text}), listed)
        with pytest.raises(InputError, match="the list of events is malformed"):
            open_points(listed.parent)

    broken = copy("broken") / "points.parquet"
    content = bytearray(broken.read_bytes())
    content[20_000:20_400] = bytes(400)
    broken.write_bytes(content)
    damaged = open_points(broken.parent)
    assert same(damaged[0], event_of(0, 1000))
    with pytest.raises(EventError, match=r"event 1, file .*points\.parquet"):
        damaged[1]

    bad = event_of(5, 10)
    truth_of(bad).points.particle[3] = 3
    write_points(tmp_path / "bad", [bad])
    with pytest.raises(EventError, match=r"column particle, found \[-?\d, 3\], bound -1\.\.2"):
        open_points(tmp_path / "bad")[0]

    with pytest.raises(InputError, match="no events of a tracker here"):
        open_points(tmp_path / "nowhere")
