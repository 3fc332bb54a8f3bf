"""From a particle's path through a sensor to charge on its pixels.

Ionisation drifts to the read-out side at local z = -thickness/2, is carried sideways by
the magnetic field and spreads by diffusion on the way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import COLS, ROWS
from trackserve.detectors.phase1.pixels import col_in_pitches, row_in_pitches
from trackserve.device.compile import i32, kernel, shared
from trackserve.edm.columns import Array

from .straggling import (
    EnergyLoss,
    electron_range,
    emission_cosine,
    energy_loss,
    transfer,
)

_KEV_PER_GEV = 1e6
_POINT_LIKE = 5e-4
"""Electrons with a shorter range than this (cm) ionise where they are set free."""
_SIGMAS = 3.5
"""A cloud reaches this many sigmas."""


class PixelGrid(NamedTuple):
    """Where the pixels are; rows and columns have an edge more than pixels, cm.

    Attributes:
        row_edge, col_edge: float64[161], float64[417], lower edges, local.
        row_at, col_at: int32[162], int32[432], pixel at each step of the pitch.
        pitch_x, pitch_y: cm.
    """

    row_edge: Array
    col_edge: Array
    row_at: Array
    col_at: Array
    pitch_x: float
    pitch_y: float


class Sensor(NamedTuple):
    """How charge is set free and travels in one sensor.

    Attributes:
        thickness: cm.
        drift_x, drift_y: sideways displacement per drift depth.
        diffusion: rms spread after the whole thickness, cm.
        step: longest piece of a path that counts as one point, cm.
        max_path: longest path that is followed, cm.
        pair_energy: keV per electron.
    """

    thickness: float
    drift_x: float
    drift_y: float
    diffusion: float
    step: float
    max_path: float
    pair_energy: float


class Charge(NamedTuple):
    """Charge on the pixels of one module, electrons.

    Attributes:
        grid: float64[416 x 160], column by column.
        touched: int32[416 x 160], pixels of ``grid`` that are not zero.
        n_touched: int64[1], how many.
    """

    grid: Array
    touched: Array
    n_touched: Array


def make_grid(pitch_x: float, pitch_y: float) -> PixelGrid:
    """The pixels of a module; those at the edges of read-out chips are twice as long."""
    rows = np.array([row_in_pitches(row) for row in range(ROWS + 1)])
    cols = np.array([col_in_pitches(col) for col in range(COLS + 1)])
    return PixelGrid(
        (rows - rows[-1] / 2) * pitch_x,
        (cols - cols[-1] / 2) * pitch_y,
        np.repeat(np.arange(ROWS, dtype=np.int32), np.diff(rows)),
        np.repeat(np.arange(COLS, dtype=np.int32), np.diff(cols)),
        pitch_x,
        pitch_y,
    )


@kernel
def empty_charge() -> Charge:
    """No charge."""
    return Charge(np.zeros(COLS * ROWS), np.empty(COLS * ROWS, np.int32), np.zeros(1, np.int64))


@shared
def ionize(
    charge: Charge,
    position: Array,
    momentum: Array,
    mass: float,
    sensor: Sensor,
    grid: PixelGrid,
    rng: np.random.Generator,
) -> None:
    """Add the charge that one particle leaves.

    Args:
        charge: is changed.
        position, momentum: float64[3], local, in the sensor's middle plane; cm, GeV.
        mass: GeV.
        sensor, grid: where it is.
        rng: random numbers.
    """
    p = math.sqrt(momentum[0] ** 2 + momentum[1] ** 2 + momentum[2] ** 2)
    x_step, y_step, z_step = momentum[0] / p, momentum[1] / p, momentum[2] / p
    path = sensor.max_path
    if abs(z_step) * path > sensor.thickness:
        path = sensor.thickness / abs(z_step)
    x, y = position[0] - x_step * path / 2, position[1] - y_step * path / 2
    z = position[2] - z_step * path / 2
    loss = energy_loss(p * _KEV_PER_GEV, mass * _KEV_PER_GEV)
    left = (math.sqrt(p**2 + mass**2) - mass) * _KEV_PER_GEV

    steps = int(math.ceil(path / sensor.step))
    length = path / steps
    shape = loss.soft * length / loss.soft_scale
    for i in range(steps):
        energy = min(rng.standard_gamma(shape) * loss.soft_scale, left)
        left -= energy
        s = (i + 0.5) * length
        collect(charge, x + s * x_step, y + s * y_step, z + s * z_step, energy, sensor, grid)
    if loss.hard <= 0:
        return
    s = rng.standard_exponential() / loss.hard
    while s < path and left > 0:
        energy = min(transfer(loss, rng.random(), rng.random()), left)
        left -= energy
        knock_on(
            charge, x + s * x_step, y + s * y_step, z + s * z_step, x_step, y_step, z_step,
            energy, rng.random(), loss, sensor, grid,
        )  # fmt: skip
        s += rng.standard_exponential() / loss.hard


@shared
def knock_on(
    charge: Charge,
    x: float,
    y: float,
    z: float,
    x_step: float,
    y_step: float,
    z_step: float,
    energy: float,
    turn: float,
    loss: EnergyLoss,
    sensor: Sensor,
    grid: PixelGrid,
) -> None:
    """Add the charge of an electron knocked out at (x, y, z) with ``energy``, keV.

    It goes straight over its practical range, ionising evenly; ``turn`` in [0, 1) is its
    azimuth about the particle's direction.
    """
    if energy <= 0:
        return
    reach = electron_range(energy)
    if reach < _POINT_LIKE:
        collect(charge, x, y, z, energy, sensor, grid)
        return
    cosine = emission_cosine(energy, loss.max_transfer)
    sine = math.sqrt(1 - cosine**2)
    across, along = sine * math.cos(2 * math.pi * turn), sine * math.sin(2 * math.pi * turn)
    # two axes at right angles to the direction, good for any direction
    sign = math.copysign(1.0, z_step)
    a = -1 / (sign + z_step)
    b = x_step * y_step * a
    u = (1 + sign * x_step**2 * a, sign * b, -sign * x_step)
    v = (b, sign + y_step**2 * a, -y_step)
    dx = cosine * x_step + across * u[0] + along * v[0]
    dy = cosine * y_step + across * u[1] + along * v[1]
    dz = cosine * z_step + across * u[2] + along * v[2]
    steps = int(math.ceil(reach / sensor.step))
    length = reach / steps
    share = energy / steps
    for i in range(steps):
        s = (i + 0.5) * length
        if abs(z + s * dz) > sensor.thickness / 2 or s > sensor.max_path:
            break
        collect(charge, x + s * dx, y + s * dy, z + s * dz, share, sensor, grid)


@shared
def collect(
    charge: Charge,
    x: float,
    y: float,
    z: float,
    energy: float,
    sensor: Sensor,
    grid: PixelGrid,
) -> None:
    """Drift what ``energy`` (keV) sets free at (x, y, z) and share it among pixels."""
    depth = min(max(z + sensor.thickness / 2, 0.0), sensor.thickness)
    x += depth * sensor.drift_x
    y += depth * sensor.drift_y
    at_x = int(math.floor((x - grid.row_edge[0]) / grid.pitch_x))
    at_y = int(math.floor((y - grid.col_edge[0]) / grid.pitch_y))
    if at_x < 0 or at_x >= len(grid.row_at) or at_y < 0 or at_y >= len(grid.col_at):
        return
    sigma = sensor.diffusion * math.sqrt(depth / sensor.thickness)
    row, col = grid.row_at[at_x], grid.col_at[at_y]
    other_row, share_x = neighbour(x, row, grid.row_edge, sigma)
    other_col, share_y = neighbour(y, col, grid.col_edge, sigma)
    electrons = energy / sensor.pair_energy
    add(charge, row, col, electrons * (1 - share_x) * (1 - share_y))
    if share_x > 0:
        add(charge, other_row, col, electrons * share_x * (1 - share_y))
    if share_y > 0:
        add(charge, row, other_col, electrons * (1 - share_x) * share_y)
    if share_x > 0 and share_y > 0:
        add(charge, other_row, other_col, electrons * share_x * share_y)


@shared
def neighbour(x: float, pixel: int, edges: Array, sigma: float) -> tuple[int, float]:
    """The pixel beyond the nearer edge, and the share of a cloud at ``x`` that it gets.

    Clouds are much smaller than pixels: the other edge is out of reach. Beyond the
    outermost pixels nothing is lost.
    """
    below, above = x - edges[pixel], edges[pixel + 1] - x
    other = pixel - 1 if below < above else pixel + 1
    distance = min(below, above)
    if distance >= _SIGMAS * sigma or other < 0 or other >= len(edges) - 1:
        return pixel, 0.0
    return other, 0.5 * math.erfc(distance / (sigma * math.sqrt(2.0)))


@shared
def add(charge: Charge, row: int, col: int, electrons: float) -> None:
    """Add charge to one pixel."""
    pixel = col * ROWS + row
    if electrons <= 0:
        return
    if charge.grid[pixel] == 0:
        charge.touched[charge.n_touched[0]] = i32(pixel)
        charge.n_touched[0] += 1
    charge.grid[pixel] += electrons
