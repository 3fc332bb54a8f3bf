"""Conditions of the simulated pixel detector: cabling, calibration, position estimate, beam."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.phase1.conditions import (
    CABLING,
    CPE,
    GAIN,
    PixelConditions,
)
from trackserve.detectors.phase1.geometry import (
    MODULES_PER_LADDER,
    RING_RADIUS,
    SENSOR_LENGTH,
    THICKNESS_BARREL,
    THICKNESS_ENDCAP,
    PixelGeometry,
)
from trackserve.detectors.phase1.layout import (
    CABLING_SIZE,
    COLS,
    FIRST_ENDCAP,
    FIRST_FED,
    LAYER_START,
    LINKS_PER_FED,
    N_BARREL_LAYERS,
    N_LAYERS,
    N_MODULES,
    ROC_ROWS,
    ROCS_PER_LINK,
    ROWS,
)
from trackserve.edm.columns import Array
from trackserve.edm.pixel import BeamSpot

from .material import material_before
from .response import CMS_LIKE, ResponseParameters, lorentz_drift

BEAM_SPOT = BeamSpot(x=0.011, y=-0.02, z=0.15, sigma_z=3.8, width_x=0.0013, width_y=0.0013)
"""cm; widths as at the LHC in 2018 (13 um across, 3.8 cm along the beam)."""

ROCS_PER_MODULE = 16
ROCS_ON_LINK = (2, 4) + 8 * (8,)
"""Read-out chips that share a link, by layer, as in CMS. An inner layer has more hits, so fewer
of its chips share a link."""
MODULES_ON_FED = (4, 9) + 8 * (18,)
"""Modules that share a FED, by layer. A FED then uses at most 36 of its 48 links. There are
136 FEDs; CMS has 139."""
NOT_CABLED = 9999
N_ERROR_REGIONS = N_BARREL_LAYERS + 6

GAIN_MEAN, GAIN_SPREAD = 3.2, 0.1
"""VCAL per ADC count; about 150 electrons."""
PEDESTAL_MEAN, PEDESTAL_SPREAD = 28.0, 1.5
"""ADC counts."""
GAIN_RANGE, PEDESTAL_RANGE = (2.0, 5.0), (0.0, 60.0)
"""What the bytes 0 to 253 of the payload span."""
N_GAIN_BINS = 253
DEAD, NOISY = 255, 254
"""Pedestal bytes that flag a half-column."""

PITCH_X, PITCH_Y = 0.0100, 0.0150
"""cm."""
SIGMA_X = (
    (0.00090, 0.00141, 0.00323),
    (0.00092, 0.00089, 0.00326),
    (0.00101, 0.00095, 0.00334),
    (0.00113, 0.00124, 0.00353),
    (0.00052, 0.00128, 0.00453),
    (0.00078, 0.00097, 0.00396),
    (0.00050, 0.00127, 0.00474),
    (0.00073, 0.00090, 0.00399),
    (0.00049, 0.00127, 0.00462),
    (0.00069, 0.00083, 0.00406),
)
"""Errors of the position estimate, cm, by :func:`error_region`, for clusters of several rows,
of one row, and of one wide row. ``python -m trackserve.simulation.pixel.calibration`` prints
them."""
SIGMA_Y = (
    (0.00190, 0.00337, 0.00684),
    (0.00183, 0.00330, 0.00654),
    (0.00179, 0.00331, 0.00669),
    (0.00170, 0.00325, 0.00658),
    (0.00127, 0.00082, 0.00504),
    (0.00124, 0.00103, 0.00537),
    (0.00108, 0.00095, 0.00548),
    (0.00100, 0.00133, 0.00614),
    (0.00096, 0.00106, 0.00579),
    (0.00084, 0.00174, 0.00671),
)
"""The same for columns."""


def make_conditions(
    geometry: PixelGeometry,
    seed: int,
    parameters: ResponseParameters = CMS_LIKE,
) -> PixelConditions:
    """Conditions of a detector of this geometry and response.

    Args:
        geometry: where the modules are.
        seed: gains, pedestals and bad columns follow from it; the rest is not random.
        parameters: have the Lorentz drift and the share of bad columns.
    """
    fed_ids, cabling = _cabling(geometry)
    gain = _gain(np.random.default_rng(seed), parameters)
    cpe = _cpe(geometry, parameters)
    material = material_before(geometry).astype("<f4")
    return PixelConditions(fed_ids, cabling, gain, cpe, BEAM_SPOT, material)


def error_region(geometry: PixelGeometry) -> Array:
    """Row of :data:`SIGMA_X` and :data:`SIGMA_Y` for each module, int64[1856].

    Barrel layers 1 to 4, then for each disk, counted outwards, its inner and outer ring.
    """
    disk = (geometry.layer - N_BARREL_LAYERS) % 3
    outer = np.hypot(*geometry.position[:, :2].T) > np.mean(RING_RADIUS)
    forward = N_BARREL_LAYERS + 2 * disk + outer
    return np.where(geometry.layer < N_BARREL_LAYERS, geometry.layer, forward)


def _cabling(geometry: PixelGeometry) -> tuple[Array, Array]:
    """FED ids and the cabling map.

    Modules follow one another, and none is on two FEDs. The words of a module follow one
    another in the stream, since its links do.
    """
    record = np.zeros((), CABLING)
    for name in ("raw_id", "roc_in_module", "module"):
        record[name] = NOT_CABLED
    record["size"] = CABLING_SIZE - 1
    record["n_bytes"] = CABLING_SIZE
    roc_in_module = np.arange(ROCS_PER_MODULE)
    next_fed = 0
    for layer in range(N_LAYERS):
        n_modules = LAYER_START[layer + 1] - LAYER_START[layer]
        fed, place = np.divmod(np.arange(n_modules), MODULES_ON_FED[layer])
        link, roc = np.divmod(roc_in_module, ROCS_ON_LINK[layer])
        link = link + place[:, None] * (ROCS_PER_MODULE // ROCS_ON_LINK[layer])
        fed = np.broadcast_to(next_fed + fed[:, None], link.shape)
        roc = np.broadcast_to(roc + 1, link.shape)
        index = (fed * LINKS_PER_FED + link) * ROCS_PER_LINK + roc
        module = np.arange(LAYER_START[layer], LAYER_START[layer + 1])[:, None]
        record["fed"][index] = FIRST_FED + fed
        record["link"][index] = link + 1
        record["roc"][index] = roc
        record["raw_id"][index] = geometry.raw_id[module]
        record["roc_in_module"][index] = roc_in_module
        record["module"][index] = module
        next_fed = int(fed.max()) + 1
    return np.arange(FIRST_FED, FIRST_FED + next_fed, dtype=np.uint32), record


def _gain(rng: np.random.Generator, parameters: ResponseParameters) -> Array:
    """Gain and pedestal of each half-column, and flags of the bad ones."""
    record = np.zeros((), GAIN)
    n_halves = COLS * (ROWS // ROC_ROWS)
    record["module"]["n_cols"] = COLS
    first = np.minimum(np.arange(len(record["module"])), N_MODULES - 1) * n_halves * 2
    record["module"]["first"] = first
    record["module"]["last"] = first + n_halves * 2
    record["min_gain"], record["max_gain"] = GAIN_RANGE
    record["min_ped"], record["max_ped"] = PEDESTAL_RANGE
    record["gain_precision"] = (GAIN_RANGE[1] - GAIN_RANGE[0]) / N_GAIN_BINS
    record["ped_precision"] = (PEDESTAL_RANGE[1] - PEDESTAL_RANGE[0]) / N_GAIN_BINS
    record["rows_per_block"] = ROC_ROWS
    record["n_bins"] = N_GAIN_BINS
    record["dead"], record["noisy"] = DEAD, NOISY
    record["n_bytes"] = record["values"].size
    n = len(record["values"])
    gain = rng.normal(GAIN_MEAN, GAIN_SPREAD, n)
    pedestal = rng.normal(PEDESTAL_MEAN, PEDESTAL_SPREAD, n)
    record["values"][:, 0] = _encode(gain, record["min_gain"], width=record["gain_precision"])
    record["values"][:, 1] = _encode(pedestal, record["min_ped"], width=record["ped_precision"])
    kind = rng.random(n)
    record["values"][kind < parameters.dead_columns, 1] = DEAD
    record["values"][kind > 1 - parameters.noisy_columns, 1] = NOISY
    return record


def _encode(values: Array, low: Array, *, width: Array) -> Array:
    """Numbers of the bins that hold ``values``, if bins of ``width`` start at ``low``."""
    encoded: Array = np.clip(np.rint((values - low) / width), 0, N_GAIN_BINS)
    return encoded


def _cpe(geometry: PixelGeometry, parameters: ResponseParameters) -> Array:
    """Parameters of the position estimate."""
    record = np.zeros((), CPE)
    record["thickness_barrel"], record["thickness_endcap"] = THICKNESS_BARREL, THICKNESS_ENDCAP
    record["pitch_x"], record["pitch_y"] = PITCH_X, PITCH_Y
    record["n_modules"] = N_MODULES
    module = record["module"]
    barrel = np.arange(N_MODULES) < FIRST_ENDCAP
    disk = (geometry.layer - N_BARREL_LAYERS) % 3 + 1
    module["is_barrel"] = barrel
    module["is_pos_z"] = geometry.position[:, 2] > 0
    module["layer"] = np.where(barrel, geometry.layer + 1, disk)
    module["index"] = np.arange(N_MODULES)
    module["raw_id"] = geometry.raw_id
    thickness = np.where(barrel, THICKNESS_BARREL, THICKNESS_ENDCAP)
    for axis, drift in zip("xy", lorentz_drift(geometry, parameters), strict=True):
        module[f"charge_width_{axis}"] = -drift * thickness
        module[f"shift_{axis}"] = -drift * thickness / 2
    module["origin"] = geometry.to_local(np.arange(N_MODULES), np.zeros(3))
    module["position"] = geometry.position
    module["rotation"] = geometry.rotation
    region = error_region(geometry)
    module["sigma_x"], module["sigma_y"] = np.array(SIGMA_X)[region], np.array(SIGMA_Y)[region]
    record["layer_start"] = LAYER_START
    record["layer"] = geometry.layer[:: N_MODULES // len(record["layer"])]
    ladders = geometry.position[:FIRST_ENDCAP].reshape(-1, MODULES_PER_LADDER, 3)
    x, y, z = ladders.mean(axis=1).T
    low, high = ladders[:, :, 2].min(axis=1), ladders[:, :, 2].max(axis=1)
    record["ladder"] = (z, x, y, np.hypot(x, y), low - SENSOR_LENGTH / 2, high + SENSOR_LENGTH / 2)
    # where the endcaps begin; the reference reads it and makes no use of it
    first_disks = geometry.position[FIRST_ENDCAP:].reshape(2, 3, -1, 3)[:, 0, :, 2]
    record["endcap_z"] = first_disks[0].min(), first_disks[1].max()
    return record
