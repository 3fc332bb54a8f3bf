"""Crossings of sensors to digis: the response of the pixel detector.

The charge that particles leave in the sensors (:mod:`.sensor`) is summed for each pixel. Noise is
added and thresholds are applied. The charge is turned into ADC counts by the inverse of the
calibration that reconstruction applies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.charge import ChargeCalibration
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import GainTables, make_gain_tables
from trackserve.detectors.phase1.geometry import PixelGeometry
from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_BARREL_2,
    FIRST_ENDCAP,
    LAYER_START,
    N_MODULES,
    ROC_ROWS,
    ROWS,
)
from trackserve.device.compile import kernel, shared
from trackserve.edm.columns import Array, Columns, column

from ..processes.kinematics import Vector
from .crossings import Crossings
from .sensor import (
    CrossingParticle,
    PixelGrid,
    SiliconSensor,
    add,
    empty_charge,
    ionize,
    make_grid,
)


class ResponseParameters(NamedTuple):
    """Constants of the response.

    "CMS" names SimGeneral/MixingModule/python/SiPixelSimParameters_cfi.py of CMSSW,
    with its changes for Phase 1 and Run 3.
    """

    field: float = 3.8112
    """T, along +z."""
    lorentz: float = 0.106
    """Tangent of the Lorentz angle per tesla of field across the drift (CMS)."""
    diffusion: float = 5e-4
    """rms spread after a drift through the whole thickness, cm: thickness x sqrt(2 kT / eV) at
    -10 C and 150 V."""
    pair_energy: float = 3.61e-3
    """keV per electron (CMS)."""
    step: float = 20e-4
    """Longest piece of a path that counts as one point, cm: a fifth of a pixel."""
    max_path: float = 0.5
    """Longest path in a sensor that is followed, cm: that of |cot| = 17."""
    noise: float = 175.0
    """rms of a pixel's charge, electrons (CMS)."""
    threshold: tuple[float, ...] = (2000.0,) + 9 * (1600.0,)
    """Threshold of each layer, electrons (CMS)."""
    threshold_spread: tuple[float, ...] = 4 * (245.0,) + 6 * (210.0,)
    """rms of the thresholds of each layer, electrons (CMS)."""
    random_hits: float = 1e-7
    """Probability that a pixel fires in an event by itself."""
    dead_columns: float = 1e-3
    """Share of half-columns (80 pixels) that never answer; flagged in the gain payload."""
    noisy_columns: float = 0.0
    """Share of half-columns that fire too often; flagged in the gain payload."""
    noisy_hits: float = 2.0
    """Hits per event in a noisy half-column."""


CMS_LIKE = ResponseParameters()
_SPURIOUS = 2.0
"""Charge of a pixel that fires by itself, in units of the threshold."""


@dataclass(frozen=True, eq=False)
class PixelDigis(Columns):
    """Pixels above threshold, ordered by module, column and row."""

    module: Array = column(np.uint16)
    row: Array = column(np.uint16)
    col: Array = column(np.uint16)
    adc: Array = column(np.uint8)


class Response(NamedTuple):
    """Look-up tables of the response, made by :func:`make_response`.

    Attributes:
        grid: where the pixels are.
        gains: the calibration that is inverted.
        noisy: int64[n, 3], module, column and block of rows of the noisy half-columns.
        thickness, drift_x, drift_y, threshold, threshold_spread: float64[1856]; cm, 1,
            electrons.
        parameters: the constants.
    """

    grid: PixelGrid
    gains: GainTables
    noisy: Array
    thickness: Array
    drift_x: Array
    drift_y: Array
    threshold: Array
    threshold_spread: Array
    parameters: ResponseParameters


def lorentz_drift(geometry: PixelGeometry, parameters: ResponseParameters) -> tuple[Array, Array]:
    """Sideways displacement in local x and y per drift depth, each float64[1856].

    Electrons of velocity v drift against the electric field, here towards local -z, with
    v + v x b = -z, where b is the field times the mobility: the solution is
    v = u + (u.b) b - u x b up to a factor, with u = -z.
    """
    b = parameters.lorentz * parameters.field * geometry.rotation[:, :, 2]
    down = 1 + b[:, 2] ** 2
    return -(b[:, 1] + b[:, 2] * b[:, 0]) / down, (b[:, 0] - b[:, 2] * b[:, 1]) / down


def make_response(
    conditions: PixelConditions,
    geometry: PixelGeometry,
    parameters: ResponseParameters = CMS_LIKE,
) -> Response:
    """Make the look-up tables of a detector.

    Args:
        conditions: its gains, thickness and pitch.
        geometry: its modules.
        parameters: constants of the response.
    """
    drift_x, drift_y = lorentz_drift(geometry, parameters)
    cpe = conditions.cpe
    thickness = np.where(
        np.arange(N_MODULES) < FIRST_ENDCAP, cpe["thickness_barrel"], cpe["thickness_endcap"]
    )
    gains = make_gain_tables(conditions)
    column = gains.first[:, None] + np.arange(COLS) * gains.column_step[:, None]
    half_column = column[:, :, None] + np.arange(ROWS // ROC_ROWS)
    flag = gains.values[half_column, 1]
    n_modules = np.diff(LAYER_START)
    return Response(
        grid=make_grid(float(cpe["pitch_x"]), float(cpe["pitch_y"])),
        gains=gains,
        noisy=np.argwhere(flag == gains.noisy),
        thickness=thickness.astype(np.float64),
        drift_x=drift_x,
        drift_y=drift_y,
        threshold=np.repeat(parameters.threshold, n_modules),
        threshold_spread=np.repeat(parameters.threshold_spread, n_modules),
        parameters=parameters,
    )


def respond(crossings: Crossings, response: Response, rng: np.random.Generator) -> PixelDigis:
    """The digis that particles and noise make; deposits in one pixel are summed.

    Args:
        crossings: of one event, in any order.
        response: of the detector.
        rng: the event's random numbers; the same state gives the same digis.
    """
    order = np.argsort(crossings.module, kind="stable")
    bounds = np.searchsorted(crossings.module[order], np.arange(N_MODULES + 1))
    spurious = _spurious_pixels(response, rng)
    spurious_bounds = np.searchsorted(spurious, np.arange(N_MODULES + 1) * (ROWS * COLS))
    code = _respond(
        _Crossed(
            crossings.position[order], crossings.momentum[order], crossings.mass[order], bounds
        ),
        _Fired(spurious % (ROWS * COLS), spurious_bounds),
        response,
        ChargeCalibration(),
        rng,
    )
    pixel = code >> 8
    return PixelDigis(
        (pixel // (ROWS * COLS)).astype(np.uint16),
        (pixel % ROWS).astype(np.uint16),
        (pixel // ROWS % COLS).astype(np.uint16),
        (code & 255).astype(np.uint8),
    )


def _spurious_pixels(response: Response, rng: np.random.Generator) -> Array:
    """Pixels that fire by themselves, int64[n] in ascending order.

    A pixel is (module x 416 + column) x 160 + row.
    """
    parameters = response.parameters
    n_pixels = N_MODULES * ROWS * COLS
    anywhere = rng.integers(0, n_pixels, rng.poisson(parameters.random_hits * n_pixels))
    times = rng.poisson(parameters.noisy_hits, len(response.noisy))
    module, col, block = np.repeat(response.noisy, times, axis=0).T
    row = ROC_ROWS * block + rng.integers(0, ROC_ROWS, len(block))
    return np.sort(np.concatenate([anywhere, (module * COLS + col) * ROWS + row]))


class _Crossed(NamedTuple):
    """Columns of :class:`.Crossings` by module; module ``m`` has rows ``first[m]`` to
    ``first[m + 1]``, int64[1857]."""

    position: Array
    momentum: Array
    mass: Array
    first: Array


class ModulePixel(NamedTuple):
    """A pixel by its module, and by its row and column there."""

    module: int
    row: int
    col: int


class _Fired(NamedTuple):
    """Pixels that fire by themselves, int64[n], by module as in :class:`_Crossed`."""

    pixel: Array
    first: Array


@kernel
def _respond(
    crossed: _Crossed,
    fired: _Fired,
    response: Response,
    calibration: ChargeCalibration,
    rng: np.random.Generator,
) -> Array:
    """Digis, int64[n]: ((module x 416 + column) x 160 + row) x 256 + ADC."""
    charge = empty_charge()
    codes = np.empty(max(1024, 8 * len(crossed.mass)), np.int64)
    n = 0
    for m in range(N_MODULES):
        sensor = SiliconSensor(
            response.thickness[m],
            response.drift_x[m],
            response.drift_y[m],
            response.parameters.diffusion,
            response.parameters.step,
            response.parameters.max_path,
            response.parameters.pair_energy,
        )
        for i in range(crossed.first[m], crossed.first[m + 1]):
            x, p = crossed.position[i], crossed.momentum[i]
            particle = CrossingParticle(
                Vector(x[0], x[1], x[2]), Vector(p[0], p[1], p[2]), crossed.mass[i]
            )
            ionize(charge, particle, sensor, response.grid, rng)
        for i in range(fired.first[m], fired.first[m + 1]):
            pixel = fired.pixel[i]
            add(charge, pixel % ROWS, pixel // ROWS, _SPURIOUS * response.threshold[m])
        pixels = np.sort(charge.touched[: charge.n_touched[0]])
        charge.n_touched[0] = 0
        while n + len(pixels) > len(codes):
            codes = np.concatenate((codes, np.empty_like(codes)))
        for pixel in pixels:
            electrons = charge.grid[pixel] + response.parameters.noise * rng.standard_normal()
            charge.grid[pixel] = 0
            spread = response.threshold_spread[m] * rng.standard_normal()
            if electrons < response.threshold[m] + spread:
                continue
            at = ModulePixel(m, pixel % ROWS, pixel // ROWS)
            adc = adc_counts(electrons, at, response, calibration)
            if adc >= 0:
                codes[n] = (m * (ROWS * COLS) + pixel) << 8 | adc
                n += 1
    return codes[:n]


@shared
def adc_counts(
    electrons: float, at: ModulePixel, response: Response, calibration: ChargeCalibration
) -> int:
    """ADC counts of a pixel, 0 to 255; -1 if the pixel is dead."""
    gains = response.gains
    index = gains.first[at.module] + at.col * gains.column_step[at.module] + gains.block[at.row]
    encoded_gain, encoded_pedestal = gains.values[index]
    if encoded_pedestal == gains.noisy:
        return 255
    if encoded_pedestal == gains.dead:
        return -1
    gain = encoded_gain * gains.gain_step + gains.min_gain
    pedestal = encoded_pedestal * gains.pedestal_step + gains.min_pedestal
    if at.module < FIRST_BARREL_2:
        vcal = (electrons - calibration.offset_1) / calibration.slope_1
    else:
        vcal = (electrons - calibration.offset) / calibration.slope
    counts = vcal / gain + pedestal
    return min(max(int(math.floor(counts + 0.5)), 0), 255)
