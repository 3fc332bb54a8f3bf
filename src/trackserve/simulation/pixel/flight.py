"""The flight of charged particles on helices, from surface to surface, until they are gone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.device.compile import kernel, shared

from ..processes.cells import bin_of, cell_of
from ..processes.decays import decay, proper_path
from ..processes.flights import MAX_OBLIQUITY, MAX_STEPS, TURN, Flights, add_crossing
from ..processes.interactions import interact, interacts
from ..processes.kinematics import Vector, on_helix, scaled
from ..processes.matter import radiated, scattered
from ..processes.planes import distance, is_on, path_to_plane
from ..processes.species import ELECTRON_MASS
from ..processes.straggling import (
    KEV_PER_GEV,
    energy_loss,
    kinetic_before,
    soft_loss,
    transfer,
)
from .material import FLANGE_RADII, FLANGE_Z, PIPE_RADIUS
from .secondaries import MIN_ELECTRON, Slab, knock_out
from .world import GRID, OUTER_RADIUS, OUTER_Z, STEP, World

OUTER_CYLINDERS = (25.5, 33.9, 41.85, 49.8, 60.8, 69.2, 78.0, 86.8, 96.5, 108.0)
"""Radii of the strip tracker's barrel layers, cm (JINST 3 (2008) S08004)."""
_OUTER_STEP = 1.0
_CALORIMETER = 129.0
"""cm. What reaches it does not come back."""
MIN_KNOCK_ON = 100.0
"""keV. An electron that is knocked out with less does not leave its module: its range is 60 um."""
_MIN_MOMENTUM = math.sqrt(
    MIN_ELECTRON / KEV_PER_GEV * (MIN_ELECTRON / KEV_PER_GEV + 2 * ELECTRON_MASS)
)
"""GeV. An electron with less is not followed."""


class Processes(NamedTuple):
    """Which processes there are beside scattering, energy loss and radiation."""

    knock_on: bool = True
    """Electrons that are knocked out leave their modules."""
    returning: bool = True
    """Particles that leave through the pixel detector's side are followed in the outer tracker."""
    interactions: bool = True
    """Hadrons interact with nuclei."""
    decays: bool = True
    """Pions, kaons and muons decay."""


ALL_PROCESSES = Processes()


@shared
def moved(at: Vector, momentum: Vector, charge: int, path: float) -> tuple[Vector, Vector]:
    """Place and momentum after ``path`` (cm) along a helix; the field is along z."""
    return on_helix(at, momentum, charge, path, PT_PER_RADIUS)


class Layer(NamedTuple):
    """The way of a particle through the sensor of a module or the rest of its material.

    Attributes:
        path: length of the way, cm of silicon.
        low, high: local z of the layer's surfaces, cm.
    """

    path: float
    low: float
    high: float


@kernel
def _slowed(
    flights: Flights,
    row: int,
    at: Vector,
    direction: Vector,
    momentum: float,
    layer: Layer,
    slab: Slab,
    knock_on: bool,
    rng: np.random.Generator,
) -> float:
    """Momentum behind a layer of material; 0 if the particle stops.

    With ``knock_on``, electrons are knocked out in the layer, which is one of ``slab``.
    """
    mass, path = flights.mass[row], layer.path
    if path <= 0:
        return momentum
    kinetic = kinetic_before(mass, momentum, path)
    if kinetic == 0:
        return 0.0
    loss = energy_loss(momentum * KEV_PER_GEV, mass * KEV_PER_GEV)
    lost = soft_loss(loss, path, rng)
    if loss.hard > 0:
        s = rng.standard_exponential() / loss.hard
        while s < path:
            energy = transfer(loss, rng.random(), rng.random())
            lost += energy
            if knock_on and energy > MIN_KNOCK_ON:
                depth = layer.low + (layer.high - layer.low) * rng.random()
                knock_out(flights, row, at, direction, energy, loss.max_transfer, slab, depth, rng)
            s += rng.standard_exponential() / loss.hard
    kinetic -= lost
    if mass == ELECTRON_MASS:
        kinetic *= radiated(path, rng)
    if kinetic <= 1.0:
        return 0.0
    kinetic /= KEV_PER_GEV
    return math.sqrt(kinetic * (kinetic + 2 * mass))


@kernel
def _through_matter(
    flights: Flights,
    row: int,
    at: Vector,
    momentum: Vector,
    path: float,
    processes: Processes,
    rng: np.random.Generator,
) -> Vector:
    """Momentum behind ``path`` of material that is no module; 0 if the particle ends."""
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    if processes.interactions and interacts(flights.pdg[row], p, path, rng):
        interact(flights, row, at, momentum, rng)
        return Vector(0.0, 0.0, 0.0)
    direction = scattered(scaled(momentum, 1 / p), p, flights.mass[row], path, rng)
    nothing = Slab(-1, direction, 0.0, 0.0)
    p = _slowed(flights, row, at, direction, p, Layer(path, 0.0, 0.0), nothing, False, rng)
    return scaled(direction, p)


@kernel
def _through_module(
    flights: Flights,
    row: int,
    at: Vector,
    momentum: Vector,
    module: int,
    world: World,
    processes: Processes,
    rng: np.random.Generator,
) -> Vector:
    """Momentum behind a module, whose sensor is crossed; 0 if the particle ends."""
    axes = world.planes.axes
    normal = Vector(axes[module, 2, 0], axes[module, 2, 1], axes[module, 2, 2])
    slab = Slab(module, normal, world.sensor[module], world.rest[module])
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    direction = scaled(momentum, 1 / p)
    cosine = direction.x * normal.x + direction.y * normal.y + direction.z * normal.z
    oblique = min(1 / abs(cosine), MAX_OBLIQUITY)
    top, bottom = 0.5 * slab.sensor, -0.5 * slab.sensor
    rest = Layer(oblique * slab.rest, bottom - slab.rest, bottom)
    sensor = Layer(oblique * slab.sensor, bottom, top)
    if cosine > 0:
        p = _slowed(flights, row, at, direction, p, rest, slab, processes.knock_on, rng)
        if p == 0:
            return Vector(0.0, 0.0, 0.0)
    add_crossing(flights, row, module, at, scaled(direction, p))
    path = oblique * (slab.sensor + slab.rest)
    if processes.interactions and interacts(flights.pdg[row], p, path, rng):
        interact(flights, row, at, scaled(direction, p), rng)
        return Vector(0.0, 0.0, 0.0)
    behind = scattered(direction, p, flights.mass[row], path, rng)
    p = _slowed(flights, row, at, direction, p, sensor, slab, processes.knock_on, rng)
    if cosine < 0 and p > 0:
        p = _slowed(flights, row, at, direction, p, rest, slab, processes.knock_on, rng)
    return scaled(behind, p)


@shared
def _outer_matter(before: Vector, after: Vector, momentum: Vector, world: World) -> float:
    """Path in the cylinders of the outer tracker between two points, cm of silicon."""
    r0, r1 = math.hypot(before.x, before.y), math.hypot(after.x, after.y)
    path = 0.0
    for radius in OUTER_CYLINDERS:
        if (r0 - radius) * (r1 - radius) < 0:
            p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
            across = abs(after.x * momentum.x + after.y * momentum.y) / (r1 * p)
            path += world.outer * min(1 / max(across, 1e-3), MAX_OBLIQUITY)
    return path


@kernel
def follow(flights: Flights, world: World, processes: Processes, rng: np.random.Generator) -> None:
    """Follow all particles of ``flights``, and those that they make, to their ends.

    A particle ends where it stops, decays, interacts with a nucleus, leaves the detector along z
    or reaches the calorimeter. Its time does not matter: in a train of bunches the late particles
    of earlier crossings take the place of those that are late here.

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
        row += 1


@shared
def _follow(
    flights: Flights, row: int, world: World, processes: Processes, rng: np.random.Generator
) -> None:
    charge, mass = flights.charge[row], flights.mass[row]
    at = Vector(flights.position[row, 0], flights.position[row, 1], flights.position[row, 2])
    momentum = Vector(flights.momentum[row, 0], flights.momentum[row, 1], flights.momentum[row, 2])
    if mass == ELECTRON_MASS and momentum.x**2 + momentum.y**2 + momentum.z**2 < _MIN_MOMENTUM**2:
        return
    life = proper_path(flights.pdg[row], rng) if processes.decays else np.inf
    end_radius = _CALORIMETER if processes.returning else OUTER_RADIUS
    last = -1
    for _ in range(MAX_STEPS):
        p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
        r = math.hypot(at.x, at.y)
        if p == 0 or abs(at.z) > OUTER_Z or r > end_radius:
            return
        bend = TURN * p / PT_PER_RADIUS
        inside = r < OUTER_RADIUS
        step = min(_OUTER_STEP, bend)
        first, end = 0, 0
        if inside:
            in_r, in_z = bin_of(r, at, GRID)
            step = world.free[in_r, in_z]
            if step == 0:
                step = min(STEP, bend)
                cell = cell_of(in_r, in_z, at, GRID)
                first, end = world.first[cell], world.first[cell + 1]
        decays = life * p / mass < step
        if decays:
            step = life * p / mass
        reached, turned_to = moved(at, momentum, charge, step)
        module = -1
        for i in range(first, end):
            m = world.modules[i]
            before = 0.0 if m == last else distance(at, m, world.planes)
            if before * distance(reached, m, world.planes) < 0:
                s = path_to_plane(at, momentum, charge, step, m, world.planes, PT_PER_RADIUS)
                point, way = moved(at, momentum, charge, s)
                if is_on(point, m, world.planes):
                    step, module, reached, turned_to = s, m, point, way
        last = -1
        life -= step * mass / p
        matter = 0.0
        if module >= 0:
            decays = False
            at = reached
            last = module
            momentum = _through_module(flights, row, at, turned_to, module, world, processes, rng)
        else:
            if not inside:
                matter = _outer_matter(at, reached, turned_to, world)
            else:
                matter = _inner_matter(at, reached, turned_to, world)
            at, momentum = reached, turned_to
            if decays:
                decay(flights, row, at, momentum, rng)
                return
            if matter > 0:
                momentum = _through_matter(flights, row, at, momentum, matter, processes, rng)
    flights.counts[2] += 1


@shared
def _inner_matter(before: Vector, after: Vector, momentum: Vector, world: World) -> float:
    """Path in the beam pipe and the flanges between two points, cm of silicon."""
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    r0, r1 = math.hypot(before.x, before.y), math.hypot(after.x, after.y)
    path = 0.0
    if (r0 - PIPE_RADIUS) * (r1 - PIPE_RADIUS) < 0:
        across = abs(after.x * momentum.x + after.y * momentum.y) / (r1 * p)
        path += world.pipe * min(1 / max(across, 1e-3), MAX_OBLIQUITY)
    crosses = (abs(before.z) - FLANGE_Z) * (abs(after.z) - FLANGE_Z) < 0
    if crosses and FLANGE_RADII[0] < r1 < FLANGE_RADII[1]:
        path += world.flange * min(p / max(abs(momentum.z), 1e-9), MAX_OBLIQUITY)
    return path
