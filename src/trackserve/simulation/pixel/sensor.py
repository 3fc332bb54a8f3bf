"""The path of a particle through a sensor to charge on the pixels.

Electrons that the particle sets free drift to the read-out side at local z = -thickness/2. On
the way the magnetic field carries them sideways, and they spread by diffusion.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import COLS, ROWS
from trackserve.detectors.phase1.pixels import col_in_pitches, row_in_pitches
from trackserve.device.compile import i32, kernel, shared
from trackserve.edm.columns import Array

from ..processes.kinematics import Vector
from ..processes.straggling import (
    KEV_PER_GEV,
    electron_range,
    emission_cosine,
    energy_loss,
    transfer,
)

_POINT_LIKE = 5e-4
"""cm. An electron with a shorter range ionises where it is set free."""
_SIGMAS = 3.5
"""A cloud reaches this many sigmas."""


class PixelGrid(NamedTuple):
    """The edges of the pixels of a module.

    Attributes:
        row_edge, col_edge: float64[161] and float64[417], local positions of the lower edges,
            and at the end the last upper edge, cm.
        row_at, col_at: int32[162] and int32[432], the pixel at each step of the pitch.
        pitch_x, pitch_y: cm.
    """

    row_edge: Array
    col_edge: Array
    row_at: Array
    col_at: Array
    pitch_x: float
    pitch_y: float


class SiliconSensor(NamedTuple):
    """A sensor, and the drift of charge in it.

    Attributes:
        thickness: cm.
        drift_x, drift_y: sideways displacement per drift depth.
        diffusion: rms spread after a drift through the whole thickness, cm.
        step: longest piece of a path that counts as one point, cm.
        max_path: longest path that is followed, cm.
        pair_energy: energy that sets one electron free, keV.
    """

    thickness: float
    drift_x: float
    drift_y: float
    diffusion: float
    step: float
    max_path: float
    pair_energy: float


class Charge(NamedTuple):
    """Charge on the pixels of one module.

    Attributes:
        grid: float64[416 x 160], electrons, column by column.
        touched: int32[416 x 160], the pixels of ``grid`` that are not zero.
        n_touched: int64[1], their number.
    """

    grid: Array
    touched: Array
    n_touched: Array


class CrossingParticle(NamedTuple):
    """A particle that crosses the middle plane of a sensor.

    Attributes:
        position: place in that plane, cm.
        momentum: GeV, in the frame of the module.
        mass: GeV.
    """

    position: Vector
    momentum: Vector
    mass: float


class Electron(NamedTuple):
    """An electron that a particle knocks out.

    Attributes:
        energy: keV.
        max_energy: the most energy that the particle can transfer, keV.
        turn: azimuth about the particle's direction, in turns, 0..1.
    """

    energy: float
    max_energy: float
    turn: float


@shared
def along(start: Vector, direction: Vector, path: float) -> Vector:
    """The point that lies ``path`` (cm) from ``start``."""
    return Vector(
        start.x + path * direction.x, start.y + path * direction.y, start.z + path * direction.z
    )


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
    """A module without charge."""
    return Charge(np.zeros(COLS * ROWS), np.empty(COLS * ROWS, np.int32), np.zeros(1, np.int64))


@shared
def ionize(
    charge: Charge,
    particle: CrossingParticle,
    sensor: SiliconSensor,
    grid: PixelGrid,
    rng: np.random.Generator,
) -> None:
    """Add the charge that one particle leaves.

    Args:
        charge: charge on the pixels; it is changed.
        particle: particle that crosses the sensor.
        sensor, grid: sensor and pixels of the module.
        rng: random numbers.
    """
    position, momentum, mass = particle
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    direction = Vector(momentum.x / p, momentum.y / p, momentum.z / p)
    path = sensor.max_path
    if abs(direction.z) * path > sensor.thickness:
        path = sensor.thickness / abs(direction.z)
    start = Vector(
        position.x - direction.x * path / 2,
        position.y - direction.y * path / 2,
        position.z - direction.z * path / 2,
    )
    loss = energy_loss(p * KEV_PER_GEV, mass * KEV_PER_GEV)
    left = (math.sqrt(p**2 + mass**2) - mass) * KEV_PER_GEV

    steps = int(math.ceil(path / sensor.step))
    length = path / steps
    shape = loss.soft * length / loss.soft_scale
    for i in range(steps):
        energy = min(rng.standard_gamma(shape) * loss.soft_scale, left)
        left -= energy
        collect(charge, along(start, direction, (i + 0.5) * length), energy, sensor, grid)
    if loss.hard <= 0:
        return
    s = rng.standard_exponential() / loss.hard
    while s < path and left > 0:
        energy = min(transfer(loss, rng.random(), rng.random()), left)
        left -= energy
        electron = Electron(energy, loss.max_transfer, rng.random())
        knock_on(charge, along(start, direction, s), direction, electron, sensor, grid)
        s += rng.standard_exponential() / loss.hard


@shared
def knock_on(
    charge: Charge,
    start: Vector,
    direction: Vector,
    electron: Electron,
    sensor: SiliconSensor,
    grid: PixelGrid,
) -> None:
    """Add the charge of an electron that is knocked out at ``start``.

    The electron goes straight over its practical range and ionises evenly.

    Args:
        charge: charge on the pixels; it is changed.
        start: place of the particle, cm.
        direction: direction of the particle.
        electron: electron that is knocked out.
        sensor, grid: sensor and pixels of the module.
    """
    if electron.energy <= 0:
        return
    reach = electron_range(electron.energy)
    if reach < _POINT_LIKE:
        collect(charge, start, electron.energy, sensor, grid)
        return
    cosine = emission_cosine(electron.energy, electron.max_energy)
    sine = math.sqrt(1 - cosine**2)
    angle = 2 * math.pi * electron.turn
    on_u, on_v = sine * math.cos(angle), sine * math.sin(angle)
    # two axes at right angles to the direction, good for any direction
    sign = math.copysign(1.0, direction.z)
    a = -1 / (sign + direction.z)
    b = direction.x * direction.y * a
    u = Vector(1 + sign * direction.x**2 * a, sign * b, -sign * direction.x)
    v = Vector(b, sign + direction.y**2 * a, -direction.y)
    way = Vector(
        cosine * direction.x + on_u * u.x + on_v * v.x,
        cosine * direction.y + on_u * u.y + on_v * v.y,
        cosine * direction.z + on_u * u.z + on_v * v.z,
    )
    steps = int(math.ceil(reach / sensor.step))
    length = reach / steps
    share = electron.energy / steps
    for i in range(steps):
        s = (i + 0.5) * length
        at = along(start, way, s)
        if abs(at.z) > sensor.thickness / 2 or s > sensor.max_path:
            break
        collect(charge, at, share, sensor, grid)


@shared
def collect(
    charge: Charge, at: Vector, energy: float, sensor: SiliconSensor, grid: PixelGrid
) -> None:
    """Drift the charge that ``energy`` (keV) sets free at a point; share it among pixels."""
    depth = min(max(at.z + sensor.thickness / 2, 0.0), sensor.thickness)
    x = at.x + depth * sensor.drift_x
    y = at.y + depth * sensor.drift_y
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

    A cloud is much smaller than a pixel and does not reach the other edge. Nothing is lost
    beyond the outermost pixels.

    Args:
        x: centre of the cloud, cm.
        pixel: row or column below it.
        edges: float64[pixels + 1], cm.
        sigma: size of the cloud, cm.
    """
    below, above = x - edges[pixel], edges[pixel + 1] - x
    other = pixel - 1 if below < above else pixel + 1
    distance = min(below, above)
    if distance >= _SIGMAS * sigma or other < 0 or other >= len(edges) - 1:
        return pixel, 0.0
    return other, 0.5 * math.erfc(distance / (sigma * math.sqrt(2.0)))


@shared
def add(charge: Charge, row: int, col: int, electrons: float) -> None:
    """Add ``electrons`` to the charge of one pixel."""
    pixel = col * ROWS + row
    if electrons <= 0:
        return
    if charge.grid[pixel] == 0:
        charge.touched[charge.n_touched[0]] = i32(pixel)
        charge.n_touched[0] += 1
    charge.grid[pixel] += electrons
