"""The pixel response, the read-out and the conditions, through the existing reconstruction."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit
from typer.testing import CliRunner

from trackserve import PatatrackPipeline, io
from trackserve.cli.main import commands
from trackserve.detectors.phase1.cabling import make_unpack_tables
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import make_gain_tables
from trackserve.detectors.phase1.geometry import PixelGeometry, phase1_geometry
from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_ENDCAP,
    LAYER_START,
    MAX_FEDS,
    N_BARREL_LAYERS,
    N_LAYERS,
    N_MODULES,
    ROWS,
)
from trackserve.edm import Digis, RawEvent
from trackserve.edm.columns import Array
from trackserve.errors import EventError
from trackserve.simulation.pixel.calibration import Residuals, crossings, measure_residuals
from trackserve.simulation.pixel.conditions import N_ERROR_REGIONS, error_region, make_conditions
from trackserve.simulation.pixel.crossings import Crossings
from trackserve.simulation.pixel.readout import make_raw, make_readout_tables
from trackserve.simulation.pixel.response import (
    CMS_LIKE,
    ModulePixel,
    PixelDigis,
    Response,
    adc_counts,
    lorentz_drift,
    make_response,
    respond,
)
from trackserve.simulation.pixel.sensor import (
    CrossingParticle,
    SiliconSensor,
    collect,
    empty_charge,
    ionize,
    make_grid,
)
from trackserve.simulation.processes.kinematics import Vector
from trackserve.studies.inspect.survey import most_probable
from trackserve.trackers.patatrack.calibrate import calibrate
from trackserve.trackers.patatrack.config import REFERENCE
from trackserve.trackers.patatrack.unpack import unpack

PION = 0.13957
GRID = make_grid(0.0100, 0.0150)
SENSOR = SiliconSensor(0.0285, -0.4, 0.1, 5e-4, 20e-4, 0.5, 3.61e-3)
QUIET = CMS_LIKE._replace(random_hits=0.0, dead_columns=0.0)


@pytest.fixture(scope="module")
def geometry() -> PixelGeometry:
    return phase1_geometry()


@pytest.fixture(scope="module")
def conditions(geometry: PixelGeometry) -> PixelConditions:
    return make_conditions(geometry, seed=3, parameters=QUIET)


@pytest.fixture(scope="module")
def response(conditions: PixelConditions, geometry: PixelGeometry) -> Response:
    return make_response(conditions, geometry, QUIET)


@pytest.fixture(scope="module")
def residuals(
    conditions: PixelConditions, geometry: PixelGeometry, response: Response
) -> Residuals:
    return measure_residuals(conditions, geometry, response, rounds=30, seed=5)


def one_hit(
    module: int, position: list[float], momentum: list[float], copies: int = 1
) -> Crossings:
    return Crossings(
        np.zeros(copies, np.int32),
        np.full(copies, module, np.int32),
        np.tile(position, (copies, 1)).astype(float),
        np.tile(momentum, (copies, 1)).astype(float),
        np.full(copies, PION),
    )


def electrons_of(digis: PixelDigis, conditions: PixelConditions) -> Digis:
    """``digis`` as reconstruction calibrates them."""
    columns = (digis.module.copy(), digis.row.copy(), digis.col.copy())
    cluster = np.zeros(len(digis), np.int32)
    raw = Digis(*columns, digis.adc.astype(np.uint16), cluster)
    return Digis(*calibrate(raw.arrays(), make_gain_tables(conditions), REFERENCE.charge).value)


@njit
def total_charges(
    n: int, particle: CrossingParticle, sensor: SiliconSensor, grid: Any, rng: Any
) -> Array:
    charge = empty_charge()
    out = np.zeros(n)
    for i in range(n):
        ionize(charge, particle, sensor, grid, rng)
        for pixel in charge.touched[: charge.n_touched[0]]:
            out[i] += charge.grid[pixel]
            charge.grid[pixel] = 0
        charge.n_touched[0] = 0
    return out


def charges(
    beta_gamma: float, cot: float = 0.0, n: int = 20_000, thickness: float = 0.0285
) -> Array:
    direction = np.array([0, cot, 1]) / math.hypot(1, cot)
    sensor = SENSOR._replace(thickness=thickness)
    rng = np.random.default_rng(1)
    momentum = Vector(*(beta_gamma * PION * direction).tolist())
    particle = CrossingParticle(Vector(0.0, 0.0, 0.0), momentum, PION)
    return total_charges(n, particle, sensor, GRID, rng)


def test_most_probable_charge_and_width_are_those_of_silicon() -> None:
    """Bichsel, RMP 60 (1988) 663: 80 keV most probable in 285 um, FWHM about a third of it."""
    charge = charges(1000)
    peak = most_probable(charge)
    assert 3.61e-3 * peak == pytest.approx(81, rel=0.03)
    counts, edges = np.histogram(charge, np.linspace(0.5, 2, 76) * peak)
    above = edges[:-1][counts > counts.max() / 2]
    assert 0.27 < (above[-1] - above[0]) / peak < 0.37
    assert charge.mean() > 1.15 * peak


@pytest.mark.parametrize(("thickness", "kev"), [(0.01, 26.3), (0.02, 55.3), (0.06, 176.6)])
def test_most_probable_charge_by_thickness(thickness: float, kev: float) -> None:
    """His parametrisation: x (100.6 + 35.35 ln x) eV to 110 um, x (190 + 16.3 ln x) beyond."""
    assert 3.61e-3 * most_probable(charges(1000, thickness=thickness)) == pytest.approx(
        kev, rel=0.04
    )


def test_charge_grows_with_path_and_falls_with_velocity() -> None:
    at_minimum = most_probable(charges(3.5))
    assert 20_000 < at_minimum < 22_500
    assert at_minimum < most_probable(charges(100))
    longer = most_probable(charges(3.5, cot=3.0)) / math.hypot(1, 3)
    assert 1.0 < longer / at_minimum < 1.15
    assert most_probable(charges(0.5)) > 3.5 * at_minimum


@given(
    x=st.floats(-0.79, 0.79),  # what drifts out of the sensor is lost
    y=st.floats(-3.2, 3.2),
    z=st.floats(-0.0142, 0.0142),
)
def test_no_charge_is_lost_and_it_lands_where_it_drifts(x: float, y: float, z: float) -> None:
    charge = empty_charge()
    collect(charge, Vector(x, y, z), 36.1, SENSOR, GRID)
    touched = charge.touched[: charge.n_touched[0]]
    assert charge.grid.sum() == pytest.approx(10_000)
    assert charge.grid[touched].sum() == pytest.approx(10_000)
    depth = z + SENSOR.thickness / 2
    x, y = x + depth * SENSOR.drift_x, y + depth * SENSOR.drift_y
    biggest = int(charge.grid.argmax())
    row, col = biggest % ROWS, biggest // ROWS
    assert GRID.row_edge[row] - 1e-9 <= x <= GRID.row_edge[row + 1] + 1e-9
    assert GRID.col_edge[col] - 1e-9 <= y <= GRID.col_edge[col + 1] + 1e-9


def test_charge_beside_the_sensor_is_lost() -> None:
    charge = empty_charge()
    for x, y in ((0.82, 0.0), (-0.85, 0.0), (0.0, 3.3), (0.0, -3.3)):
        collect(charge, Vector(x, y, -SENSOR.thickness / 2), 36.1, SENSOR, GRID)
    assert charge.grid.sum() == 0


def test_pixels_at_the_edges_of_chips_are_wide() -> None:
    widths = np.rint(np.diff(GRID.row_edge) / 0.0100).astype(int)
    assert np.flatnonzero(widths == 2).tolist() == [79, 80]
    assert widths.sum() == 162
    widths = np.rint(np.diff(GRID.col_edge) / 0.0150).astype(int)
    wide = [col for col in range(COLS) if col % 52 in (0, 51)]
    assert np.flatnonzero(widths == 2).tolist() == wide
    assert widths.sum() == 432


@settings(deadline=None)
@given(
    momentum=st.tuples(*3 * [st.floats(-1e3, 1e3)]),
    scale=st.sampled_from([1e-6, 1e-3, 1.0]),
    mass=st.sampled_from([0.000511, PION, 0.938]),
    seed=st.integers(0, 100),
)
def test_any_particle_is_safe(
    momentum: tuple[float, float, float], scale: float, mass: float, seed: int
) -> None:
    """A particle may graze, be slow or stop; its kinetic energy limits the charge."""
    vector = scale * np.array(momentum)
    p = float(np.linalg.norm(vector))
    assume(p > 1e-9)
    charge = empty_charge()
    rng = np.random.default_rng(seed)
    particle = CrossingParticle(Vector(0.3, 3.23, 0.0), Vector(*vector.tolist()), mass)
    ionize(charge, particle, SENSOR, GRID, rng)
    assert np.isfinite(charge.grid).all()
    kinetic = 1e6 * (math.hypot(p, mass) - mass)
    assert charge.grid.sum() <= kinetic / 3.61e-3 * (1 + 1e-6) + 1e-6


def test_drift_is_across_field_and_sensor(geometry: PixelGeometry) -> None:
    """The drift is 0.4 in the barrel, with the sign of the mounting, and small on the disks."""
    x, y = lorentz_drift(geometry, CMS_LIKE)
    outward = np.sign((geometry.rotation[:, 2] * geometry.position)[:, :2].sum(axis=1))
    barrel = np.arange(N_MODULES) < FIRST_ENDCAP
    along_phi = np.array([-1, 1, 0])[None] * geometry.position[:, [1, 0, 2]]
    phi_sign = np.sign((geometry.rotation[:, 0] * along_phi).sum(axis=1))
    np.testing.assert_allclose(np.abs(x[barrel]), 0.106 * 3.8112, rtol=1e-6)
    np.testing.assert_allclose(y[barrel], 0, atol=1e-9)
    # towards the read-out at inner or outer side, the same force turns it the other way
    assert len(np.unique((np.sign(x) * phi_sign * outward)[barrel])) == 1
    assert np.hypot(x, y)[~barrel].min() > 0.08
    assert np.hypot(x, y)[~barrel].max() < 0.2


def test_hits_are_unbiased(residuals: Residuals, geometry: PixelGeometry) -> None:
    for turned in (False, True):
        for layer in range(N_LAYERS):
            flipped = lorentz_drift(geometry, CMS_LIKE)[0][residuals.module] > 0
            chosen = (geometry.layer[residuals.module] == layer) & (flipped == turned)
            if chosen.sum() < 500:
                continue
            assert abs(np.median(residuals.x[chosen])) < 1e-4, layer
            assert abs(np.median(residuals.y[chosen])) < 2e-4, layer


def test_the_wrong_sign_of_the_field_is_seen(
    conditions: PixelConditions, geometry: PixelGeometry
) -> None:
    reversed_field = make_response(conditions, geometry, QUIET._replace(field=-CMS_LIKE.field))
    found = measure_residuals(conditions, geometry, reversed_field, rounds=2, seed=5)
    barrel = found.module < FIRST_ENDCAP
    assert np.median(np.abs(found.x[barrel])) > 0.0080


def test_stated_errors_fit(
    residuals: Residuals, conditions: PixelConditions, geometry: PixelGeometry
) -> None:
    module = conditions.cpe["module"]
    region = error_region(geometry)[residuals.module]
    for axis, kind in (("x", residuals.kind_x), ("y", residuals.kind_y)):
        pull = getattr(residuals, axis) / module[f"sigma_{axis}"][residuals.module, kind]
        for r in range(N_ERROR_REGIONS):
            low, high = np.percentile(pull[region == r], [16, 84])
            assert (high - low) / 2 == pytest.approx(1, abs=0.1)
    width = np.percentile(np.abs(residuals.x[region < N_BARREL_LAYERS]), 68)
    assert 0.0006 < width < 0.0012


def test_thresholds(conditions: PixelConditions, geometry: PixelGeometry) -> None:
    hits = crossings(geometry, conditions.beam_spot, np.random.default_rng(2))
    counts = []
    for threshold in (1000.0, 3000.0):
        parameters = QUIET._replace(threshold=10 * (threshold,), threshold_spread=10 * (0.0,))
        fired = respond(
            hits, make_response(conditions, geometry, parameters), np.random.default_rng(2)
        )
        charge = electrons_of(fired, conditions).charge
        assert charge.min() > threshold - 200
        counts.append(len(fired))
    assert 1.05 * counts[1] < counts[0]


def test_deposits_in_one_pixel_are_summed(response: Response, conditions: PixelConditions) -> None:
    position, momentum = [0.105, 0.1, 0.0], [0.0, 0.0, 0.7]
    totals = []
    for copies in (1, 2):
        digis = respond(
            one_hit(700, position, momentum, copies), response, np.random.default_rng(1)
        )
        places = np.stack([digis.row, digis.col])
        assert len(np.unique(places, axis=1).T) == len(digis)
        totals.append(electrons_of(digis, conditions).charge.sum())
    assert 1.5 < totals[1] / totals[0] < 2.6


def test_digis_are_ordered_and_reproducible(
    response: Response, geometry: PixelGeometry, conditions: PixelConditions
) -> None:
    hits = crossings(geometry, conditions.beam_spot, np.random.default_rng(2))
    digis = respond(hits, response, np.random.default_rng(9))
    assert digis == respond(hits, response, np.random.default_rng(9))
    assert digis != respond(hits, response, np.random.default_rng(10))
    place = (digis.module.astype(np.int64) * COLS + digis.col) * ROWS + digis.row
    assert (np.diff(place) > 0).all()
    assert len(respond(Crossings.empty(), response, np.random.default_rng(9))) == 0


@settings(deadline=None)
@given(
    electrons=st.floats(0, 1e5),
    module=st.integers(0, N_MODULES - 1),
    col=st.integers(0, COLS - 1),
    row=st.integers(0, ROWS - 1),
)
def test_adc_counts_calibrate_back(
    conditions: PixelConditions,
    response: Response,
    electrons: float,
    module: int,
    col: int,
    row: int,
) -> None:
    adc = adc_counts(electrons, ModulePixel(module, row, col), response, REFERENCE.charge)
    pixel = PixelDigis(
        *(np.array([value], np.uint16) for value in (module, row, col)),
        np.array([adc], np.uint8),
    )
    found = int(electrons_of(pixel, conditions).charge[0])
    one_count = 3.8 * 50
    if adc == 255:
        assert electrons > found - one_count
    elif adc > 0:
        assert abs(found - electrons) <= max(one_count / 2 + 1, 100 - electrons)


def test_bad_columns_are_flagged_and_behave(geometry: PixelGeometry) -> None:
    parameters = CMS_LIKE._replace(dead_columns=0.3, noisy_columns=0.01, random_hits=0.0)
    conditions = make_conditions(geometry, seed=4, parameters=parameters)
    response = make_response(conditions, geometry, parameters)
    flag = conditions.gain["values"][:, 1].reshape(N_MODULES, COLS, 2)
    assert (flag == 255).mean() == pytest.approx(0.3, abs=0.01)
    assert len(response.noisy) == (flag == 254).sum()
    nothing = respond(Crossings.empty(), response, np.random.default_rng(1))
    assert 1.5 * len(response.noisy) < len(nothing) < 2.1 * len(response.noisy)
    assert len(electrons_of(nothing, conditions)) == 0
    hits = crossings(geometry, conditions.beam_spot, np.random.default_rng(2))
    fired = respond(hits, response, np.random.default_rng(1))
    assert not (flag[fired.module, fired.col, fired.row // 80] == 255).any()


def test_pixels_that_fire_by_themselves(
    conditions: PixelConditions, geometry: PixelGeometry
) -> None:
    noisy = make_response(conditions, geometry, QUIET._replace(random_hits=1e-5))
    fired = respond(Crossings.empty(), noisy, np.random.default_rng(1))
    assert len(fired) == pytest.approx(1e-5 * N_MODULES * ROWS * COLS, rel=0.2)
    assert len(np.unique(fired.module)) > 800


def read_back(raw: Array, conditions: PixelConditions) -> tuple[Digis, int]:
    digis, errors, n_words = unpack(RawEvent(raw), make_unpack_tables(conditions), 300_000)
    assert len(errors) == 0
    return Digis(*digis.value), n_words


def places(digis: PixelDigis | Digis, adc: Array) -> Array:
    columns = (digis.module, digis.row, digis.col, adc)
    return np.stack([column.astype(np.int64) for column in columns])


pixel = st.tuples(
    st.integers(0, N_MODULES - 1),
    st.integers(0, ROWS - 1),
    st.integers(0, COLS - 1),
    st.integers(0, 255),
)


@settings(deadline=None)
@given(
    pixels=st.lists(pixel, max_size=80, unique_by=lambda p: p[:3]),
    dense=st.lists(st.integers(0, N_MODULES - 1), max_size=3),
    number=st.integers(0, 2**25),
)
def test_raw_words_unpack_to_the_same_pixels(
    conditions: PixelConditions,
    pixels: list[tuple[int, int, int, int]],
    dense: list[int],
    number: int,
) -> None:
    """Pixels anywhere, and some modules with 200 of them in every chip."""
    rng = np.random.default_rng(number)
    rows = [np.array(pixels, np.int64).reshape(-1, 4)]
    for module in dense:
        n = 3000
        filled = (np.full(n, module), rng.integers(0, 160, n), rng.integers(0, 416, n))
        rows.append(np.stack([*filled, rng.integers(0, 256, n)], axis=1))
    table = np.concatenate(rows)
    _, first = np.unique(table[:, :3], axis=0, return_index=True)
    module, row, col, adc = table[rng.permutation(first)].T
    digis = PixelDigis(
        *(column.astype(np.uint16) for column in (module, row, col)), adc.astype(np.uint8)
    )
    raw = make_raw(digis, make_readout_tables(conditions), number)
    found, n_words = read_back(raw, conditions)
    mine, theirs = places(digis, digis.adc), places(found, found.charge)
    np.testing.assert_array_equal(
        mine[:, np.lexsort(mine[::-1])], theirs[:, np.lexsort(theirs[::-1])]
    )
    assert len(digis) <= n_words <= len(digis) + len(conditions.fed_ids)
    # contiguous: as many changes of module as modules
    assert (np.diff(found.module.astype(int)) != 0).sum() + (len(digis) > 0) == len(
        np.unique(module)
    )


def test_every_fed_is_there_and_well_formed(conditions: PixelConditions) -> None:
    words = make_raw(PixelDigis.empty(), make_readout_tables(conditions), 7).view(np.uint32)
    assert words[0] == len(conditions.fed_ids)
    feds = words[1:].reshape(-1, 6)
    np.testing.assert_array_equal(feds[:, 0], conditions.fed_ids)
    assert (feds[:, 1] == 16).all()
    assert (feds[:, 3] & 0xFFFFFF == 7).all()
    assert (feds[:, 5] == (0xA << 28 | 2)).all()


def test_masked_chips_and_removed_feds_are_not_read_out(conditions: PixelConditions) -> None:
    cabling = conditions.cabling.copy()
    cabling["bad_roc"][cabling["module"] == 5] = 1
    masked = replace(conditions, cabling=cabling, fed_ids=conditions.fed_ids[1:])
    fired = PixelDigis(
        np.array([0, 5, 200], np.uint16),
        *np.full((2, 3), 9, np.uint16),
        np.full(3, 99, np.uint8),
    )
    found, _ = read_back(make_raw(fired, make_readout_tables(masked), 0), masked)
    assert found.module.tolist() == [200]


def test_cabling_keeps_modules_together(conditions: PixelConditions) -> None:
    cabling = conditions.cabling
    used = np.flatnonzero(cabling["module"] < N_MODULES)
    assert len(used) == 16 * N_MODULES
    module = cabling["module"][used]
    fed, link, roc = (cabling[name][used].astype(int) for name in ("fed", "link", "roc"))
    np.testing.assert_array_equal(used, (fed - 1200) * 384 + (link - 1) * 8 + roc)
    assert (np.diff(module.astype(int)) >= 0).all()
    first, last = np.full((2, N_MODULES), -1)
    first[module[::-1]], last[module] = fed[::-1], fed
    np.testing.assert_array_equal(first, last)
    assert len(conditions.fed_ids) <= MAX_FEDS
    for layer, on_link in ((0, 2), (1, 4), (2, 8), (5, 8)):
        assert (
            roc[(module >= LAYER_START[layer]) & (module < LAYER_START[layer + 1])].max() == on_link
        )


def test_gains_are_those_asked_for(conditions: PixelConditions) -> None:
    tables = make_gain_tables(conditions)
    gain, pedestal = tables.values.T.astype(float)
    gain = gain * tables.gain_step + tables.min_gain
    pedestal = pedestal * tables.pedestal_step + tables.min_pedestal
    assert gain.mean() == pytest.approx(3.2, abs=0.01)
    assert gain.std() == pytest.approx(0.1, abs=0.01)
    assert pedestal.mean() == pytest.approx(28, abs=0.05)
    assert pedestal.std() == pytest.approx(1.5, abs=0.05)


@pytest.fixture(scope="module")
def directory(
    conditions: PixelConditions,
    geometry: PixelGeometry,
    response: Response,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three events of one particle per module, without truth."""
    target = tmp_path_factory.mktemp("simulated")
    io.write_conditions(target, conditions)
    tables = make_readout_tables(conditions)
    events = []
    for number in range(3):
        rng = np.random.default_rng(number)
        digis = respond(crossings(geometry, conditions.beam_spot, rng), response, rng)
        events.append(RawEvent(make_raw(digis, tables, number)))
    io.write_events(target, events)
    (target / "simulation.json").write_text(json.dumps({"seed": 3, "process": {"name": "gun"}}))
    return target


def test_conditions_survive_the_disk_and_the_pipeline(
    directory: Path, conditions: PixelConditions
) -> None:
    found = io.read_conditions(directory)
    for name in ("fed_ids", "cabling", "gain", "cpe"):
        assert getattr(found, name).tobytes() == getattr(conditions, name).tobytes()
    assert found.beam_spot.sigma_z == pytest.approx(conditions.beam_spot.sigma_z)
    for result in PatatrackPipeline.from_directory(directory).run(list(io.read_events(directory))):
        assert not isinstance(result, EventError)
        assert result.counts.modules > 0.99 * N_MODULES
        assert result.counts.clusters > 0.99 * N_MODULES
        assert len(result.readout_errors) == 0


def inspect(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(commands, ["inspect", *(str(a) for a in arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_inspect_without_truth(directory: Path) -> None:
    text = inspect(directory)
    for word in ("raw.bin", "process.name", "BPix 1", "FPix -3", "modules hit"):
        assert word in text
    assert "Hit quality" not in text


def test_inspect_writes_a_report(sample_directory: Path, tmp_path: Path) -> None:
    text = inspect(sample_directory, "--events", 2, "-o", tmp_path / "report")
    assert "25,244" not in text
    assert "Hit quality" in text
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == {
        *("sizes.png", "occupancy.png", "charge.png", "shape.png", "hit-quality.png")
    }
    assert "collisions" in (tmp_path / "report" / "report.html").read_text()


def test_inspect_counts_a_bad_event(directory: Path, tmp_path: Path) -> None:
    for path in directory.glob("*.bin"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    raw = bytearray((tmp_path / "raw.bin").read_bytes())
    raw[4:8] = (5000).to_bytes(4, "little")
    (tmp_path / "raw.bin").write_bytes(raw)
    text = inspect(tmp_path, code=1)
    assert "event failed" in text
    assert "FED id" in text
