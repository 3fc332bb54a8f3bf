"""The flight of particles through GenericDetector, from surface to surface, until they are gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from trackserve.detectors.generic.material import TUBE_LENGTHS, TUBE_RADII
from trackserve.detectors.silicon import SILICON_LENGTH
from trackserve.device.compile import kernel, shared
from trackserve.edm import GEV_PER_T_MM, MM_PER_CM
from trackserve.physics.points.metrics import FIELD

from ..processes.cells import bin_of, cell_of
from ..processes.conversion import conversion_rate, share_density
from ..processes.decays import decay, proper_path
from ..processes.flights import (
    MAX_OBLIQUITY,
    MAX_STEPS,
    TURN,
    Flights,
    add_crossing,
    add_particle,
)
from ..processes.interactions import interact, interacts
from ..processes.kinematics import Vector, on_helix, scaled
from ..processes.matter import radiated, scattered
from ..processes.planes import distance, is_on, path_to_plane
from ..processes.species import ELECTRON, ELECTRON_MASS, PHOTON
from ..processes.straggling import (
    KEV_PER_GEV,
    energy_loss,
    kinetic_before,
    soft_loss,
    transfer,
)
from .world import GRID, HALF_LENGTH, RADIUS, STEP, World

PT_PER_RADIUS = MM_PER_CM * GEV_PER_T_MM * FIELD
"""GeV per cm."""
MIN_MOMENTUM = 0.02
"""GeV. A particle with less is not followed; it turns back within 7 cm."""
MIN_PHOTON = 2 * MIN_MOMENTUM
"""GeV. A photon with less is not made: neither particle of its pair need be followed."""
_BEYOND = 1e-3
"""cm. Particles start so far from the surface that made them: they do not cross it."""


class Processes(NamedTuple):
    """Which processes there are beside scattering, energy loss, radiation and conversion."""

    loops: bool = True
    """Particles go on after half a turn."""
    interactions: bool = True
    """Hadrons interact with nuclei."""
    decays: bool = True
    """Pions, kaons and muons decay."""


ALL_PROCESSES = Processes()


_Formula = Callable[[float], float]
_conversion_rate = cast(_Formula, shared(conversion_rate))
_share_density = cast(_Formula, shared(share_density))


class Step(NamedTuple):
    """A step of a particle.

    Attributes:
        at, momentum: at its end.
        path: cm.
        module: that it ends on; -1 if on none.
        tubes: path in the tubes that it crosses, cm of silicon.
    """

    at: Vector
    momentum: Vector
    path: float
    module: int
    tubes: float


@shared
def _step(at: Vector, momentum: Vector, charge: int, most: float, last: int, world: World) -> Step:
    """Go on by ``most`` cm, less where space is not free, or to the first module.

    The module ``last``, on which the particle is, is not met again.
    """
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    r = math.hypot(at.x, at.y)
    in_r, in_z = bin_of(r, at, GRID)
    step, first, end = world.free[in_r, in_z], 0, 0
    if step == 0:
        cell = cell_of(in_r, in_z, at, GRID)
        step = min(STEP, TURN * p / PT_PER_RADIUS) if charge != 0 else STEP
        first, end = world.first[cell], world.first[cell + 1]
    step = min(step, most)
    reached, turned_to = on_helix(at, momentum, charge, step, PT_PER_RADIUS)
    module = -1
    for i in range(first, end):
        m = world.modules[i]
        before = 0.0 if m == last else distance(at, m, world.planes)
        if before * distance(reached, m, world.planes) < 0:
            s = path_to_plane(at, momentum, charge, step, m, world.planes, PT_PER_RADIUS)
            point, way = on_helix(at, momentum, charge, s, PT_PER_RADIUS)
            if is_on(point, m, world.planes):
                step, module, reached, turned_to = s, m, point, way
    tubes = 0.0
    r1 = math.hypot(reached.x, reached.y)
    for i in range(len(TUBE_RADII)):
        if (r - TUBE_RADII[i]) * (r1 - TUBE_RADII[i]) < 0 and abs(at.z) < TUBE_LENGTHS[i]:
            across = abs(reached.x * turned_to.x + reached.y * turned_to.y) / (r1 * p)
            tubes += world.tubes[i] * min(1 / max(across, 1e-3), MAX_OBLIQUITY)
    return Step(reached, turned_to, step, module, tubes)


@shared
def _in_module(momentum: Vector, module: int, world: World) -> float:
    """Path through the material of a module, cm of silicon."""
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    axes = world.planes.axes
    cosine = (
        momentum.x * axes[module, 2, 0]
        + momentum.y * axes[module, 2, 1]
        + momentum.z * axes[module, 2, 2]
    ) / p
    return world.thickness[module] * min(1 / max(abs(cosine), 1e-3), MAX_OBLIQUITY)


class Slowed(NamedTuple):
    """What is behind a layer of material, GeV.

    Attributes:
        momentum: of the particle; 0 if it stops.
        photon: energy that it has radiated.
    """

    momentum: float
    photon: float


@shared
def _slowed(mass: float, momentum: float, path: float, rng: np.random.Generator) -> Slowed:
    """Lose energy on ``path`` cm of silicon."""
    kinetic = kinetic_before(mass, momentum, path)
    if kinetic == 0:
        return Slowed(0.0, 0.0)
    loss = energy_loss(momentum * KEV_PER_GEV, mass * KEV_PER_GEV)
    kinetic -= soft_loss(loss, path, rng)
    if loss.hard > 0:
        s = rng.standard_exponential() / loss.hard
        while s < path:
            kinetic -= transfer(loss, rng.random(), rng.random())
            s += rng.standard_exponential() / loss.hard
    if kinetic <= 0:
        return Slowed(0.0, 0.0)
    kinetic /= KEV_PER_GEV
    kept = radiated(path, rng) if mass == ELECTRON_MASS else 1.0
    photon, kinetic = (1 - kept) * kinetic, kept * kinetic
    return Slowed(math.sqrt(kinetic * (kinetic + 2 * mass)), photon)


@shared
def _start_beyond(flights: Flights, first: int) -> None:
    """Move the starts of particles from ``first`` on by :data:`_BEYOND` along their ways."""
    for row in range(first, min(flights.counts[0], len(flights.pdg))):
        momentum = flights.momentum[row]
        p = math.sqrt(momentum[0] ** 2 + momentum[1] ** 2 + momentum[2] ** 2)
        for i in range(3):
            flights.position[row, i] += _BEYOND * momentum[i] / max(p, 1e-30)


@kernel
def _through(
    flights: Flights,
    row: int,
    at: Vector,
    momentum: Vector,
    path: float,
    processes: Processes,
    rng: np.random.Generator,
) -> Vector:
    """Momentum behind ``path`` cm of silicon; 0 if the particle ends.

    All that an electron radiates there is one photon.
    """
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    if processes.interactions and interacts(flights.pdg[row], p, path, rng):
        first = flights.counts[0]
        interact(flights, row, at, momentum, rng)
        _start_beyond(flights, first)
        return Vector(0.0, 0.0, 0.0)
    direction = Vector(momentum.x / p, momentum.y / p, momentum.z / p)
    slowed = _slowed(flights.mass[row], p, path, rng)
    if slowed.photon > MIN_PHOTON:
        photon = scaled(direction, slowed.photon)
        first = flights.counts[0]
        add_particle(flights, row, PHOTON, 0, 0.0, at, photon)
        _start_beyond(flights, first)
    direction = scattered(direction, p, flights.mass[row], path, rng)
    return scaled(direction, slowed.momentum)


@kernel
def follow(flights: Flights, world: World, processes: Processes, rng: np.random.Generator) -> None:
    """Follow all particles of ``flights``, and those that they make, to their ends.

    A particle ends where it stops, decays, interacts with a nucleus or leaves the detector. Its
    time does not matter: in a train of bunches the late particles of earlier crossings take the
    place of those that are late here. The crossings of a particle are in the order of its way.

    Args:
        flights: has the particles; ``counts`` tells if it was too short.
        world: what they cross.
        processes: what they do.
        rng: random numbers.
    """
    row = 0
    while row < flights.counts[0] and flights.counts[0] <= len(flights.pdg):
        if flights.charge[row] != 0:
            _follow(flights, row, world, processes, rng)
        elif flights.pdg[row] == PHOTON:
            _convert(flights, row, world, rng)
        row += 1


@shared
def _is_outside(at: Vector) -> bool:
    return abs(at.z) > HALF_LENGTH or math.hypot(at.x, at.y) > RADIUS


@shared
def _follow(
    flights: Flights, row: int, world: World, processes: Processes, rng: np.random.Generator
) -> None:
    """Follow a charged particle."""
    charge, mass = flights.charge[row], flights.mass[row]
    at = Vector(flights.position[row, 0], flights.position[row, 1], flights.position[row, 2])
    momentum = Vector(flights.momentum[row, 0], flights.momentum[row, 1], flights.momentum[row, 2])
    life = proper_path(flights.pdg[row], rng) if processes.decays else np.inf
    last, turn = -1, 0.0
    for _ in range(MAX_STEPS):
        p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
        if p < MIN_MOMENTUM or _is_outside(at) or (turn > math.pi and not processes.loops):
            return
        step = _step(at, momentum, charge, life * p / mass, last, world)
        at, momentum, last = step.at, step.momentum, step.module
        life -= step.path * mass / p
        turn += PT_PER_RADIUS / p * step.path
        if step.module >= 0:
            add_crossing(flights, row, step.module, at, momentum)
        elif life <= 0:
            decay(flights, row, at, momentum, rng)
            return
        matter = step.tubes
        if step.module >= 0:
            matter += _in_module(momentum, step.module, world)
        if matter > 0:
            momentum = _through(flights, row, at, momentum, matter, processes, rng)
    flights.counts[2] += 1


@shared
def _convert(flights: Flights, row: int, world: World, rng: np.random.Generator) -> None:
    """Let a photon fly along a straight line until it converts."""
    at = Vector(flights.position[row, 0], flights.position[row, 1], flights.position[row, 2])
    momentum = Vector(flights.momentum[row, 0], flights.momentum[row, 1], flights.momentum[row, 2])
    energy = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    depth = SILICON_LENGTH * rng.standard_exponential() / _conversion_rate(energy)
    last = -1
    while not _is_outside(at):
        step = _step(at, momentum, 0, np.inf, last, world)
        at, last = step.at, step.module
        depth -= step.tubes
        if step.module >= 0:
            depth -= _in_module(momentum, step.module, world)
        if depth < 0:
            share = rng.random()
            while rng.random() > _share_density(share):
                share = rng.random()
            first = flights.counts[0]
            _add_half(flights, row, -1, share, at, momentum)
            _add_half(flights, row, 1, 1 - share, at, momentum)
            _start_beyond(flights, first)
            return


@shared
def _add_half(
    flights: Flights, photon: int, charge: int, share: float, at: Vector, momentum: Vector
) -> None:
    """Add an electron or a positron that has a share of a photon's energy."""
    energy = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    p = math.sqrt(max((share * energy) ** 2 - ELECTRON_MASS**2, ELECTRON_MASS**2)) / energy
    half = scaled(momentum, p)
    add_particle(flights, photon, -ELECTRON * charge, charge, ELECTRON_MASS, at, half)
