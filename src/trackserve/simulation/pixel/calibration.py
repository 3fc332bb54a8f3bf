"""Errors of the position estimate, measured on the simulation itself.

``python -m trackserve.simulation.pixel.calibration`` prints the tables of :mod:`.conditions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import make_gain_tables
from trackserve.detectors.phase1.geometry import (
    SENSOR_LENGTH,
    SENSOR_WIDTH,
    PixelGeometry,
    phase1_geometry,
)
from trackserve.detectors.phase1.layout import (
    COLS,
    N_MODULES,
    PT_PER_RADIUS,
    ROWS,
)
from trackserve.detectors.phase1.pixels import is_wide_col, is_wide_row
from trackserve.edm import BeamSpot, Clusters, Digis, Hits
from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.limits import MOST
from trackserve.trackers.patatrack.calibrate import calibrate
from trackserve.trackers.patatrack.clusterize import clusterize
from trackserve.trackers.patatrack.config import REFERENCE
from trackserve.trackers.patatrack.hits import make_hits, make_position_tables

from .conditions import N_ERROR_REGIONS, error_region, make_conditions
from .crossings import Crossings
from .response import Response, make_response, respond

_PION_MASS = 0.13957
_MIN_PT, _MEAN_PT = 0.4, 0.5
"""GeV. The pT of the particles is the smallest one plus a random amount with this mean."""
_MAX_DISTANCE = 0.05
"""cm. A hit farther away from the particle stems from an electron that it knocked out."""


@dataclass(frozen=True, eq=False)
class Residuals(Columns):
    """Hits of single particles beside the truth; clusters at a module's edge are left out."""

    module: Array = column(np.int32)
    kind_x: Array = column(np.int8)
    """0 for several rows, 1 for one row, 2 for one wide row, as in the CPE's ``sigma_x``."""
    kind_y: Array = column(np.int8)
    """The same for columns."""
    x: Array = column(np.float64)
    """Reconstructed - true local x, cm."""
    y: Array = column(np.float64)


def crossings(geometry: PixelGeometry, beam_spot: BeamSpot, rng: np.random.Generator) -> Crossings:
    """One charged pion through a random point of each module.

    The pions come from the luminous region on circles. Their pT is distributed as that of
    particles in tracks: it falls exponentially from ``_MIN_PT``.
    """
    module = np.arange(N_MODULES, dtype=np.int32)
    local = np.zeros((N_MODULES, 3))
    local[:, 0] = rng.uniform(-SENSOR_WIDTH / 2, SENSOR_WIDTH / 2, N_MODULES)
    local[:, 1] = rng.uniform(-SENSOR_LENGTH / 2, SENSOR_LENGTH / 2, N_MODULES)
    start = np.array([beam_spot.x, beam_spot.y, beam_spot.z])
    way = geometry.to_global(module, local) - start
    way[:, 2] -= rng.normal(0, beam_spot.sigma_z, N_MODULES)
    pt = _MIN_PT + rng.exponential(_MEAN_PT, N_MODULES)
    charge = rng.choice([-1, 1], N_MODULES)
    r = np.hypot(way[:, 0], way[:, 1])
    # the chord from start to module makes half the angle by which the particle turned
    half_turn = np.arcsin(r * PT_PER_RADIUS / (2 * pt))
    phi = np.arctan2(way[:, 1], way[:, 0]) - charge * half_turn
    cot_theta = way[:, 2] / (r * half_turn / np.sin(half_turn))
    momentum = pt[:, None] * np.stack([np.cos(phi), np.sin(phi), cot_theta], axis=1)
    in_module = np.einsum("nij,nj->ni", geometry.rotation, momentum)
    return Crossings(module, module, local, in_module, np.full(N_MODULES, _PION_MASS))


def measure_residuals(
    conditions: PixelConditions, geometry: PixelGeometry, response: Response, rounds: int, seed: int
) -> Residuals:
    """Residuals of the hits of :func:`crossings` in ``rounds`` events."""
    gains, positions = make_gain_tables(conditions), make_position_tables(conditions)
    nowhere = np.zeros(3, np.float32)
    parts = []
    for rng in np.random.default_rng(seed).spawn(rounds):
        truth = crossings(geometry, conditions.beam_spot, rng)
        fired = respond(truth, response, rng)
        unnumbered = np.empty(len(fired), np.int32)
        digis = Digis(fired.module, fired.row, fired.col, fired.adc.astype(np.uint16), unnumbered)
        good = calibrate(digis.arrays(), gains, REFERENCE.charge)
        found, *_ = clusterize(good, REFERENCE.clusters, MOST, MOST)
        clusters = Clusters(*found.value)
        hits = Hits(*make_hits(found, positions, REFERENCE.positions, nowhere).value)
        true = truth.position[hits.module]
        x, y = hits.x_local - true[:, 0], hits.y_local - true[:, 1]
        chosen = (np.hypot(x, y) < _MAX_DISTANCE) & (hits.size_x > 0) & (hits.size_y > 0)
        c = clusters
        kind_x = _kind(c.min_row, c.max_row, is_wide_row)
        kind_y = _kind(c.min_col, c.max_col, is_wide_col)
        part = Residuals(hits.module.astype(np.int32), kind_x, kind_y, x, y)
        parts.append(part.take(chosen))
    return Residuals.concatenate(parts)


def _kind(first: Array, last: Array, is_wide: Callable[[int], bool]) -> Array:
    """The kind of each cluster, int8[n], as in :class:`Residuals`."""
    wide = np.array([is_wide(pixel) for pixel in range(max(ROWS, COLS))])
    return np.where(first < last, 0, 1 + wide[first]).astype(np.int8)


def calibrate_errors(
    conditions: PixelConditions, geometry: PixelGeometry, response: Response, rounds: int, seed: int
) -> tuple[Array, Array]:
    """Half the interval that holds the central 68 % of the residuals in x and in y, cm.

    Returns:
        Two float64[10, 3]: by region of :func:`.conditions.error_region`, and by kind as in
        :class:`Residuals`.
    """
    residuals = measure_residuals(conditions, geometry, response, rounds, seed)
    region = error_region(geometry)[residuals.module]
    tables = np.empty((2, N_ERROR_REGIONS, 3))
    for table, kind, values in zip(
        tables,
        (residuals.kind_x, residuals.kind_y),
        (residuals.x, residuals.y),
        strict=True,
    ):
        for index in np.ndindex(table.shape):
            chosen = values[(region == index[0]) & (kind == index[1])]
            low, high = np.percentile(chosen, [16, 84])
            table[index] = (high - low) / 2
    return tables[0], tables[1]


def _main() -> None:
    geometry = phase1_geometry()
    conditions = make_conditions(geometry, seed=1)
    response = make_response(conditions, geometry)
    tables = calibrate_errors(conditions, geometry, response, rounds=1000, seed=1)
    for name, table in zip("XY", tables, strict=True):
        print(f"SIGMA_{name} = (")
        for row in table:
            print(f"    ({', '.join(f'{sigma:.5f}' for sigma in row)}),")
        print(")")


if __name__ == "__main__":
    _main()
