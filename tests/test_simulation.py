"""Simulation: from the geometry to a data directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve import PatatrackPipeline
from trackserve.cli.main import commands
from trackserve.detectors.phase1.geometry import (
    SENSOR_LENGTH,
    SENSOR_WIDTH,
    PixelGeometry,
    phase1_geometry,
)
from trackserve.detectors.phase1.layout import LAYER_START, PT_PER_RADIUS
from trackserve.detectors.silicon import SILICON_LENGTH
from trackserve.edm import Collisions
from trackserve.edm.columns import Array
from trackserve.errors import InputError, MissingExtraError
from trackserve.io import open_pixel, read_conditions, read_truth
from trackserve.physics.pixel.metrics import match_pixel_events, summarize_pixel
from trackserve.simulation.chain.collisions import Setup, check_setup
from trackserve.simulation.chain.generate import (
    SPECIES,
    GeneratedEvent,
    GeneratedParticles,
    Gun,
    Jets,
    draw,
    shoot,
)
from trackserve.simulation.chain.pool import BLOCK, POOL_BLOCKS, blocks_of
from trackserve.simulation.chain.samples import NAMED_SAMPLES
from trackserve.simulation.pixel import simulate, simulator
from trackserve.simulation.pixel.crossings import Crossings
from trackserve.simulation.pixel.flight import Processes, moved
from trackserve.simulation.pixel.material import BARREL_MATERIAL, PIPE_MATERIAL
from trackserve.simulation.pixel.simulate import simulate_pixel
from trackserve.simulation.pixel.transport import PixelTransport
from trackserve.simulation.processes.kinematics import Vector

NOTHING = Processes(knock_on=False, returning=False, interactions=False, decays=False)
MUONS = Gun(particles=20, min_pt=1.0, max_pt=20.0)
SIX = Setup("muons", events=6, gun=MUONS)


@pytest.fixture(scope="module")
def geometry() -> PixelGeometry:
    return phase1_geometry()


@pytest.fixture(scope="module")
def transport(geometry: PixelGeometry) -> PixelTransport:
    return PixelTransport(geometry)


@pytest.fixture(scope="module")
def muons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six events of 20 muons, simulated in this process."""
    directory = tmp_path_factory.mktemp("simulation") / "muons"
    simulate_pixel(directory, SIX, processes=1)
    return directory


def event_of(particles: GeneratedParticles) -> GeneratedEvent:
    return GeneratedEvent(0, Collisions(np.zeros((1, 3))), particles)


def with_momentum(
    n: int, pt: float, eta: Array, pdg: int = 13, charge: int = -1, mass: float = 0.10566
) -> GeneratedEvent:
    """``n`` particles from the origin, evenly over phi."""
    phi = np.linspace(-np.pi, np.pi, n, endpoint=False)
    return event_of(
        GeneratedParticles(
            collision=np.zeros(n, np.int32),
            pdg=np.full(n, pdg, np.int32),
            charge=np.full(n, charge, np.int8),
            mass=np.full(n, mass),
            position=np.zeros((n, 3)),
            momentum=pt * np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1),
        )
    )


def test_straight_lines_cross_three_layers_and_mostly_four(geometry: PixelGeometry) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    phi, eta, z = rng.uniform(-np.pi, np.pi, n), rng.uniform(-2.5, 2.5, n), rng.normal(0, 4, n)
    direction = np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1)
    start = np.stack([np.zeros(n), np.zeros(n), z], axis=1)
    crossed = np.zeros((n, 10), int)
    for module in range(len(geometry.layer)):
        x_axis, y_axis, normal = geometry.rotation[module]
        path = (geometry.position[module] - start) @ normal / (direction @ normal)
        offset = start + path[:, None] * direction - geometry.position[module]
        inside = np.abs(offset @ x_axis) < SENSOR_WIDTH / 2
        inside &= np.abs(offset @ y_axis) < SENSOR_LENGTH / 2
        crossed[:, geometry.layer[module]] += inside & (path > 0)
    layers = (crossed > 0).sum(axis=1)
    assert np.mean(layers >= 3) > 0.97
    assert np.mean(layers >= 4) > 0.75
    assert crossed.max(axis=0).min() >= 2, "modules of a layer overlap"


def test_modules_are_ordered_and_their_axes_point_as_reconstruction_needs(
    geometry: PixelGeometry,
) -> None:
    np.testing.assert_array_equal(np.bincount(geometry.layer), np.diff(LAYER_START))
    assert len(np.unique(geometry.raw_id)) == len(geometry.raw_id)
    product = np.einsum("nij,nkj->nik", geometry.rotation, geometry.rotation)
    np.testing.assert_allclose(product, np.tile(np.eye(3), (len(product), 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(geometry.rotation), 1)
    barrel = geometry.layer < 4
    np.testing.assert_allclose(geometry.rotation[barrel, 1], [[0, 0, 1]] * barrel.sum())
    outward = geometry.position[~barrel, :2]
    assert np.all(np.einsum("ni,ni->n", geometry.rotation[~barrel, 1, :2], outward) > 0)


def test_points_are_carried_back_and_forth(geometry: PixelGeometry) -> None:
    module = np.arange(len(geometry.layer))
    local = np.random.default_rng(2).normal(size=(len(module), 3))
    back = geometry.to_local(module, geometry.to_global(module, local))
    np.testing.assert_allclose(back, local, atol=1e-12)


def test_a_gun_shoots_within_its_bounds() -> None:
    gun = Gun(particles=1001, min_pt=0.5, max_pt=50, flat_pt=True, max_eta=1.5)
    shot = shoot(SPECIES["pions"], gun, np.random.default_rng(3))
    pt = np.hypot(*shot.momentum[:, :2].T)
    assert pt.min() >= 0.5
    assert pt.max() <= 50
    assert abs(pt.mean() - 25) < 2, "flat"
    assert np.abs(np.arcsinh(shot.momentum[:, 2] / pt)).max() <= 1.5
    np.testing.assert_array_equal(shot.pdg, 211 * shot.charge)
    assert shot.charge.sum() == 1


def test_collisions_of_the_pool_are_turned_and_mirrored_and_not_repeated() -> None:
    rng = np.random.default_rng(4)
    sizes = np.arange(1, 11)
    n = sizes.sum()
    pool = GeneratedParticles(
        collision=np.repeat(np.arange(10, dtype=np.int32), sizes),
        pdg=np.arange(n, dtype=np.int32),
        charge=np.ones(n, np.int8),
        mass=np.ones(n),
        position=rng.normal(size=(n, 3)),
        momentum=rng.normal(size=(n, 3)),
    )
    drawn = draw(pool, 10, rng)
    np.testing.assert_array_equal(np.sort(drawn.pdg), pool.pdg)
    assert np.all(np.diff(drawn.collision) >= 0)
    for vector in ("position", "momentum"):
        before, after = getattr(pool, vector)[drawn.pdg], getattr(drawn, vector)
        np.testing.assert_allclose(np.hypot(*after[:, :2].T), np.hypot(*before[:, :2].T))
        np.testing.assert_allclose(np.abs(after[:, 2]), np.abs(before[:, 2]))
        np.testing.assert_allclose(
            np.einsum("ni,ni->n", after, drawn.momentum),
            np.einsum("ni,ni->n", before, pool.momentum[drawn.pdg]),
        )
    assert len(draw(pool, 0, rng)) == 0
    assert draw(pool, 25, rng).collision.max() == 24, "a small pool is used again"


def test_without_material_particles_follow_helices_through_every_ladder(
    geometry: PixelGeometry,
) -> None:
    shot = shoot(SPECIES["muons"], Gun(3000, 0.3, 100), np.random.default_rng(5))
    ideal = PixelTransport(geometry, material=0, processes=NOTHING)
    event = ideal.transport(event_of(shot), 1)
    assert event.lost == 0
    hits = event.crossings
    assert np.all(np.diff(hits.module) >= 0)
    point = geometry.to_global(hits.module, hits.position)
    distance = distance_from_helix(shot.take(hits.particle), point)
    assert distance.max() < 1e-4
    assert np.abs(hits.position[:, 2]).max() < 1e-4
    np.testing.assert_allclose(
        np.linalg.norm(hits.momentum, axis=1),
        np.linalg.norm(shot.momentum[hits.particle], axis=1),
    )
    ladders = np.unique(hits.module[hits.module < LAYER_START[4]] // 8)
    assert len(ladders) == LAYER_START[4] // 8
    assert len(np.unique(geometry.layer[hits.module])) == 10


def distance_from_helix(particles: GeneratedParticles, point: Array) -> Array:
    """Distance of each point from the circle, or along z from the helix if larger, cm."""
    px, py, pz = particles.momentum.T
    pt, charge = np.hypot(px, py), particles.charge
    radius = pt / PT_PER_RADIUS
    centre = particles.position[:, :2] + (charge * radius / pt)[:, None] * np.stack([py, -px], 1)
    start, end = particles.position[:, :2] - centre, point[:, :2] - centre
    angle = np.arctan2(
        start[:, 0] * end[:, 1] - start[:, 1] * end[:, 0], np.einsum("ni,ni->n", start, end)
    )
    path = (-charge * angle) % (2 * np.pi) * radius
    along = particles.position[:, 2] + path * pz / pt - point[:, 2]
    return np.maximum(np.abs(np.hypot(*end.T) - radius), np.abs(along))


def test_scattering_has_the_width_of_highland(
    transport: PixelTransport, geometry: PixelGeometry
) -> None:
    """Polar angle, which the field leaves alone, before layer 2: its rms, since it is drawn
    from a mixture with a narrower core and tails."""
    p = 2.0
    event = transport.transport(with_momentum(6000, p, np.full(6000, 0.05)), 2)
    hits = event.crossings
    layer = geometry.layer[hits.module]
    first = np.bincount(hits.particle[layer == 0], minlength=len(event.particles))
    chosen = (layer == 1) & (first[hits.particle] == 1)
    momentum = np.einsum("nij,ni->nj", geometry.rotation[hits.module], hits.momentum)[chosen]
    theta = np.arctan2(np.hypot(*momentum[:, :2].T), momentum[:, 2])
    expected = np.hypot(highland(p, PIPE_MATERIAL), highland(p, BARREL_MATERIAL))
    assert chosen.sum() > 4000
    assert theta.std() == pytest.approx(expected, rel=0.08)
    loss = p * np.cosh(0.05) - np.linalg.norm(momentum, axis=1)
    assert np.median(loss) == pytest.approx(6e-4, rel=0.4), "most probable loss in 1.6 mm of Si"


def highland(p: float, thickness: float) -> float:
    return 0.0136 / p * np.sqrt(thickness) * (1 + 0.038 * np.log(thickness))


def test_photons_convert_at_the_rate_of_pair_production(
    transport: PixelTransport, geometry: PixelGeometry
) -> None:
    """Photons convert in the pipe and the first three layers; pairs of the fourth leave no hits."""
    n, p = 20_000, 20.0
    event = transport.transport(with_momentum(n, p, np.full(n, 0.2), 22, 0, 0.0), 3)
    particles = event.particles
    assert set(np.unique(particles.pdg)) == {-11, 11}
    assert not particles.primary.any()
    np.testing.assert_array_equal(particles.charge, -np.sign(particles.pdg))
    assert len(np.unique(event.crossings.particle)) == len(particles)
    radius = np.hypot(*particles.position[particles.pdg == 11, :2].T)
    made, _ = np.histogram(radius, [2, 2.5, 4, 8, 13])
    thickness = np.cosh(0.2) * np.array([PIPE_MATERIAL, *[1.04 * BARREL_MATERIAL] * 3])
    np.testing.assert_allclose(made, 7 / 9 * n * thickness, atol=4 * np.sqrt(made.max()))
    assert made[0] > 10


def test_loopers_come_back(transport: PixelTransport) -> None:
    n = 200
    event = transport.transport(with_momentum(n, 0.06, np.full(n, 0.4)), 4)
    hits = np.bincount(event.crossings.particle[event.crossings.module < LAYER_START[1]])
    assert np.mean(hits) > 2.5, "twice is half a turn"


def only(**processes: bool) -> Processes:
    return NOTHING._replace(**processes)


def test_particles_that_leave_through_the_side_come_back(geometry: PixelGeometry) -> None:
    """With 0.25 GeV a particle turns back at 44 cm, and crosses all layers a second time."""
    shot = with_momentum(200, 0.25, np.full(200, 0.05))
    stay = PixelTransport(geometry, processes=NOTHING).transport(shot, 1).crossings
    back = PixelTransport(geometry, processes=only(returning=True)).transport(shot, 1).crossings
    assert len(back) > 1.8 * len(stay)
    assert len(np.unique(geometry.layer[back.module])) >= 4
    slow = np.linalg.norm(back.momentum, axis=1)
    assert slow.min() < 0.95 * np.linalg.norm(stay.momentum, axis=1).min(), "the way costs energy"


def test_hadrons_interact_as_often_as_their_interaction_length_says(
    geometry: PixelGeometry,
) -> None:
    n, p = 20_000, 5.0
    shot = with_momentum(n, p, np.full(n, 0.05), 211, 1, 0.13957)
    event = PixelTransport(geometry, processes=only(interactions=True)).transport(shot, 2)
    particles, crossings = event.particles, event.crossings
    layer = geometry.layer[crossings.module]
    primary = crossings.particle < n
    before, after = (len(np.unique(crossings.particle[primary & (layer == i)])) for i in (1, 3))
    path = 2 * BARREL_MATERIAL * SILICON_LENGTH  # modules of layers 2 and 3
    assert 1 - after / before == pytest.approx(1.15 * path / 59.1, rel=0.35), "some cross two"
    made = ~particles.primary
    assert {-211, 211, 2212} == set(particles.pdg[made].tolist())
    assert np.linalg.norm(particles.momentum[made], axis=1).max() < p + 0.5
    outward = np.einsum("ni,ni->n", particles.momentum[made], particles.position[made])
    assert 0.5 < (outward > 0).mean() < 0.98, "most go on, some come back"


def test_energy_and_momentum_of_decays(geometry: PixelGeometry) -> None:
    n, p, mass = 4000, 0.5, 0.493677
    shot = with_momentum(n, p, np.full(n, 0.05), 321, 1, mass)
    event = PixelTransport(geometry, 0.0, only(decays=True)).transport(shot, 3)
    made = event.particles.take(~event.particles.primary)
    assert set(made.pdg.tolist()) <= {-13, 211, -11}
    share = len(np.unique(event.crossings.particle[event.crossings.module >= LAYER_START[3]])) / n
    assert 0.9 < share <= 1, "a kaon of 0.5 GeV flies 3.8 m"
    muons = made.take(made.pdg == -13)
    assert len(muons) > 30
    energy = np.sqrt((muons.momentum**2).sum(axis=1) + 0.1056584**2)
    parent = p * np.cosh(0.05)
    total = np.hypot(parent, mass)
    low, high = (
        (total * 0.2582 + sign * parent * 0.2355) / mass for sign in (-1, 1)
    )  # energy and momentum of the muon in the kaon's frame
    assert low - 1e-3 < energy.min() < energy.max() < high + 1e-3


def test_electrons_that_leave_their_module_make_hits_nearby(geometry: PixelGeometry) -> None:
    n = 5000
    shot = with_momentum(n, 2.0, np.linspace(-2, 2, n))
    event = PixelTransport(geometry, processes=only(knock_on=True)).transport(shot, 4)
    electrons = event.particles.take(event.particles.pdg == 11)
    assert 0.02 < len(electrons) / len(event.crossings) < 0.2
    assert not electrons.primary.any()
    kinetic = np.hypot(np.linalg.norm(electrons.momentum, axis=1), 0.000511) - 0.000511
    assert 1e-6 <= np.median(kinetic) < 2e-3
    lone = PixelTransport(geometry, processes=NOTHING).transport(shot, 4)
    assert len(event.crossings) > 1.02 * len(lone.crossings)


@given(st.floats(0.05, 50), st.floats(-3, 3), st.sampled_from([-1, 1]), st.floats(1e-3, 30))
def test_a_helix_in_one_step_or_in_two_ends_at_the_same_place(
    pt: float, eta: float, charge: int, path: float
) -> None:
    start = Vector(0.1, -0.2, 3.0), Vector(pt, 0.3 * pt, pt * float(np.sinh(eta)))
    whole = moved.py_func(*start, charge, path)  # type: ignore[attr-defined]
    half = moved.py_func(*moved.py_func(*start, charge, path / 2), charge, path / 2)  # type: ignore[attr-defined]
    np.testing.assert_allclose(half[0], whole[0], atol=1e-9)
    np.testing.assert_allclose(half[1], whole[1], rtol=1e-9, atol=1e-12)
    length = np.linalg.norm(np.subtract(whole[0], start[0]))
    assert length <= path * (1 + 1e-12)


def test_transport_depends_on_its_seed_only(geometry: PixelGeometry) -> None:
    event = with_momentum(50, 1.0, np.linspace(-2, 2, 50))
    used, fresh = PixelTransport(geometry), PixelTransport(geometry)
    used.transport(event, 1)

    def crossings(transport: PixelTransport, seed: int) -> Crossings:
        return transport.transport(event, seed).crossings

    assert crossings(used, 7) == crossings(fresh, 7)
    assert crossings(used, 8) != crossings(used, 7)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_fit_is_told_the_material(muons: Path) -> None:
    material = read_conditions(muons).material
    np.testing.assert_allclose(material[[0, 96]], [BARREL_MATERIAL + PIPE_MATERIAL, 0.015])
    first_disks, others = material[1184:1296], material[1296:1520]
    assert (first_disks > 2 * others[0]).all()
    np.testing.assert_array_equal(material[1520:], material[1184:1520])


def test_the_directory_is_complete_and_says_how_it_was_made(muons: Path) -> None:
    assert {path.name for path in muons.iterdir()} == {
        *("fedIds.bin", "cablingMap.bin", "gain.bin", "cpefast.bin", "beamspot.bin"),
        *("material.bin", "raw.bin", "truth.npz", "simulation.json"),
    }
    manifest = json.loads((muons / "simulation.json").read_text())
    assert manifest["parameters"] == {"process": "muons", "pileup": 0.0, "events": 6, "seed": 1}
    assert set(manifest["versions"]) == {"trackserve", "numba", "numpy"}
    truth = read_truth(muons)
    assert len(truth) == len(open_pixel(muons)) == 6
    for event in truth:
        muon = np.abs(event.particles.pdg) == 13
        assert muon.sum() == MUONS.particles
        assert event.particles.primary[muon].all()
        np.testing.assert_array_equal(
            event.particles.charge[muon], -np.sign(event.particles.pdg[muon])
        )


def test_muons_are_found(tmp_path: Path) -> None:
    setup = Setup("muons", events=25, gun=Gun(40, 1.0, 50.0, max_eta=2.3))
    simulate_pixel(tmp_path, setup, processes=1)
    events = open_pixel(tmp_path)
    results = PatatrackPipeline.from_directory(tmp_path).run(list(events), keep=("hits",))
    summary = summarize_pixel(match_pixel_events(events.truth(), results))
    found = list(summary.efficiency_long.values())
    assert sum(f.passed for f in found) / sum(f.total for f in found) > 0.98
    assert summary.charge_correct.value > 0.99
    assert 0.8 < summary.pull["phi"].value < 1.25
    assert 0.8 < summary.pull["tip"].value < 1.25


@pytest.mark.slow  # the simulation of points has a quick one
def test_any_number_of_processes_gives_the_same_bytes(muons: Path, tmp_path: Path) -> None:
    simulate_pixel(tmp_path, SIX, processes=2)
    assert files(tmp_path) == files(muons)


def test_an_interrupted_run_continues(muons: Path, tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_pixel(tmp_path, SIX, processes=1, progress=interrupt)
    assert not (tmp_path / "raw.bin").exists()
    report = simulate_pixel(tmp_path, SIX, processes=1)
    assert report.new == 2
    assert files(tmp_path) == files(muons)
    again = simulate_pixel(tmp_path, SIX, processes=1)
    assert again.new == 0
    assert again.counts == report.counts


def test_few_events_are_the_beginning_of_many(muons: Path, tmp_path: Path) -> None:
    simulate_pixel(tmp_path, SIX._replace(events=2), processes=1)
    for few, many in zip(open_pixel(tmp_path), open_pixel(muons)[:2], strict=True):
        np.testing.assert_array_equal(few.data, many.data)
    for one, other in zip(read_truth(tmp_path), read_truth(muons)[:2], strict=True):
        assert one.particles == other.particles
        assert one.hits == other.hits


def test_a_directory_is_extended_and_then_equals_a_whole_one(muons: Path, tmp_path: Path) -> None:
    first = simulate_pixel(tmp_path, SIX._replace(events=2), processes=1)

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_pixel(tmp_path, SIX._replace(events=5), processes=1, progress=interrupt)
    assert not (tmp_path / "raw.bin").exists(), "it says that it is not complete"
    report = simulate_pixel(tmp_path, SIX, processes=1)
    assert report.new == 2
    assert files(tmp_path) == files(muons)
    assert report.counts["digis"] > first.counts["digis"]
    with pytest.raises(InputError, match=r"parameters\.events 6 there, 5 asked"):
        simulate_pixel(tmp_path, SIX._replace(events=5), processes=1)
    assert files(tmp_path) == files(muons)


def test_an_extension_that_is_interrupted_while_it_writes_continues(
    monkeypatch: pytest.MonkeyPatch, muons: Path, tmp_path: Path
) -> None:
    simulate_pixel(tmp_path, SIX._replace(events=4), processes=1)

    def interrupt(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(simulate, "write_truth", interrupt)
        with pytest.raises(KeyboardInterrupt):
            simulate_pixel(tmp_path, SIX, processes=1)
    assert (tmp_path / "raw.bin").exists()
    assert simulate_pixel(tmp_path, SIX, processes=1).new == 0
    assert files(tmp_path) == files(muons)


@given(
    st.floats(0.1, 10_000),
    st.integers(0, 10**6),
    st.sampled_from(["ttbar", "minbias"]),
)
def test_blocks_hold_the_collisions_of_an_event_and_are_few(
    pileup: float, number: int, process: str
) -> None:
    few, many = (Setup(process, pileup, events) for events in (number + 1, 10**6))
    blocks = blocks_of(few, number)
    assert blocks == blocks_of(many, number)
    assert len(set(blocks)) == len(blocks)
    enough = few.inelastic + 6 * np.sqrt(few.inelastic)
    assert min(enough, BLOCK * POOL_BLOCKS) <= BLOCK * len(blocks) < enough + BLOCK


def test_three_events_need_few_collisions() -> None:
    needed = {block for number in range(3) for block in blocks_of(Setup("ttbar", 50.0), number)}
    assert len(needed) * BLOCK < 500


def test_another_simulation_in_the_same_directory_is_refused(muons: Path, tmp_path: Path) -> None:
    before = files(muons)
    with pytest.raises(InputError, match=r"parameters\.seed 1 there, 2 asked"):
        simulate_pixel(muons, SIX._replace(seed=2))
    with pytest.raises(InputError, match=r"gun\.particles 20 there, 21 asked"):
        simulate_pixel(muons, SIX._replace(gun=Gun(21, 1.0, 20.0)))
    assert files(muons) == before
    (tmp_path / "raw.bin").touch()
    with pytest.raises(InputError, match="another origin"):
        simulate_pixel(tmp_path, SIX)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"process": "gravitons"}, "process"),
        ({"pileup": -1}, "pileup"),
        ({"pileup": float("nan")}, "pileup"),
        ({"pileup": float("inf")}, "pileup"),
        ({"pileup": 1e30}, "pileup"),
        ({"events": 10**9}, "events"),
        ({"gun": Gun(max_pt=float("inf"))}, "max_pt"),
        ({"gun": Gun(max_eta=float("nan"))}, "max_eta"),
        ({"events": 0}, "events"),
        ({"seed": -1}, "seed"),
        ({"gun": Gun(particles=0)}, "particles"),
        ({"gun": Gun(min_pt=2, max_pt=1)}, "max_pt"),
        ({"process": "jets", "jets": Jets(min_pthat=1)}, "min_pthat"),
        ({"process": "jets", "jets": Jets(min_pthat=500, max_pthat=400)}, "max_pthat"),
    ],
)
def test_arguments_out_of_range_are_refused(
    arguments: dict[str, object], name: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"{name} is out of range"):
        simulate_pixel(tmp_path / "none", Setup(**arguments))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="processes is out of range"):
        simulate_pixel(tmp_path / "none", SIX, processes=0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("wrong", ["2", None, 2.5, [1], True, np.int64(3)], ids=repr)
@pytest.mark.parametrize("name", ["events", "seed", "particles"])
def test_arguments_of_another_type_are_refused(name: str, wrong: object, tmp_path: Path) -> None:
    gun = Gun(particles=wrong) if name == "particles" else Gun()  # type: ignore[arg-type]
    setup = Setup("muons", **({} if name == "particles" else {name: wrong}), gun=gun)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{name} has the wrong type"):
        simulate_pixel(tmp_path / "none", setup)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*file"):
        simulate_pixel(tmp_path / "file", SIX, processes=1)


def test_a_named_sample_is_its_options(tmp_path: Path) -> None:
    """What is said beside the name takes the place of what the name says."""
    one = "simulate pixel --sample pions50 --pileup 0 --particles 3 --events 1 --processes 1 -o"
    other = (
        "simulate pixel --process pions --pileup 0 --particles 3 --pt 0.3 100 --eta 2.5 "
        "--events 1 --processes 1 -o"
    )
    for arguments, name in ((one, "named"), (other, "told")):
        result = CliRunner().invoke(commands, [*arguments.split(), str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    assert files(tmp_path / "named") == files(tmp_path / "told")
    with pytest.raises(InputError, match=r"no such sample.*gravitons.*minbias50"):
        CliRunner().invoke(
            commands,
            ["simulate", "pixel", "--sample", "gravitons", "-o", "x"],
            catch_exceptions=False,
        )


def test_every_named_sample_can_be_simulated_and_is_in_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "simulation.md").read_text()
    for name, sample in NAMED_SAMPLES.items():
        check_setup(sample.setup, simulator.ACCEPTANCE, 1)
        assert f"| `{name}` | {sample.what} |" in text


def test_crowded_modules_are_counted_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(simulator, "MAX_MODULE_PIXELS", 2)
    arguments = "simulate pixel --process muons --pileup 0 --events 1 --processes 1 -o"
    result = CliRunner().invoke(commands, [*arguments.split(), str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "have more than" in result.output


def test_pythia_is_only_needed_for_collisions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    monkeypatch.delitem(sys.modules, "trackserve.simulation.chain.pythia", raising=False)
    monkeypatch.delattr("trackserve.simulation.chain.pythia", raising=False)
    simulate_pixel(tmp_path / "gun", Setup("muons", events=1), processes=1)
    for process, pileup in (("ttbar", 0), ("muons", 1)):
        with pytest.raises(MissingExtraError, match=r"pip install .*\[sim\]"):
            simulate_pixel(tmp_path / process, Setup(process, pileup, 1), processes=1)
        assert not (tmp_path / process).exists()


@pytest.mark.slow
def test_top_quarks_with_pileup(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    directory = tmp_path / "a directory"
    report = simulate_pixel(directory, Setup("ttbar", pileup=3, events=3), processes=1)
    truth = read_truth(directory)
    assert report.counts["collisions"] == sum(len(event.collisions) for event in truth)
    assert len({len(event.collisions) for event in truth}) > 1, "Poisson"
    particles = [event.particles for event in truth]
    hard = [p.take(p.primary & (p.collision == 0)) for p in particles]
    assert np.mean([len(p) for p in hard]) > 50
    pdg = np.concatenate([p.pdg for p in particles])
    assert {11, 211, 321, 2212} <= set(np.abs(pdg))
    radius = np.concatenate([np.hypot(*p.position[:, :2].T) for p in particles])
    primary = np.concatenate([p.primary for p in particles])
    assert radius[primary].max() < 1.1
    assert radius[~primary].max() > 2
    z = np.concatenate([event.collisions.position[:, 2] for event in truth])
    assert 1 < z.std() < 8


@pytest.mark.slow
def test_collisions_extended_on_two_processes_equal_whole_ones(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    setup = Setup("ttbar", pileup=30, events=8)
    simulate_pixel(tmp_path / "whole", setup, processes=1)
    simulate_pixel(tmp_path / "extended", setup._replace(events=3), processes=2)
    simulate_pixel(tmp_path / "extended", setup, processes=2)
    assert files(tmp_path / "extended") == files(tmp_path / "whole")


def test_collisions_do_not_depend_on_those_before() -> None:
    pytest.importorskip("pythia8mc")
    from trackserve.simulation.chain.pythia import Source

    source = Source("ttbar", simulator.ACCEPTANCE)
    first = source.generate(2, seed=5)
    source.generate(1, seed=6)
    assert source.generate(2, seed=5) == first
    assert Source("ttbar", simulator.ACCEPTANCE).generate(2, seed=5) == first


@pytest.mark.slow
def test_jets_have_the_pt_they_are_asked_for_and_dense_cores(tmp_path: Path) -> None:
    """Beside the hardest particle fly more than in minimum bias."""
    pytest.importorskip("pythia8mc")
    beside: dict[str, list[int]] = {"jets": [], "minbias": []}
    for process, around in beside.items():
        setup = Setup(process, 0, 8, jets=Jets(300, 400))
        simulate_pixel(tmp_path / process, setup, processes=1)
        for event in read_truth(tmp_path / process):
            particles = event.particles
            if len(particles) == 0:
                continue
            hardest = int(np.argmax(np.where(np.abs(particles.eta) < 2.5, particles.pt, 0)))
            turn = (particles.phi - particles.phi[hardest] + np.pi) % (2 * np.pi) - np.pi
            near = np.hypot(turn, particles.eta - particles.eta[hardest]) < 0.1
            around.append(int((near & (particles.pt > 0.5)).sum()))
            if process == "jets":
                assert particles.pt[np.abs(particles.eta) < 2.5].sum() > 100
    assert np.mean(beside["jets"]) > 5
    assert np.mean(beside["jets"]) > 2 * np.mean(beside["minbias"])
    manifest = json.loads((tmp_path / "jets" / "simulation.json").read_text())
    assert manifest["jets"] == {"min_pthat": 300, "max_pthat": 400}
    with pytest.raises(InputError, match=r"jets\.max_pthat 400 there, 500 asked"):
        simulate_pixel(tmp_path / "jets", Setup("jets", 0, 8, jets=Jets(300, 500)), processes=1)
