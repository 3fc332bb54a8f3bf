"""What was simulated: particles, their hits and the collisions they come from.

``truth.npz`` lies beside the nine files of a pixel data directory. It holds, as
float64 rows, ``particles`` (event, vertex, pt, eta, phi, q, x, y, z), ``hits``
(event, particle or -1, module, local x, local y) and ``vertices`` (event, x, y,
z); and ``layer``, the layer of each module, and ``bs``, the beam spot. Two more values
of each particle may be there: ``pdg`` and ``primary``. Positions in it are absolute; those
that :func:`read_truth` returns are relative to the beam spot, as reconstructed ones are.
Lengths are in cm, momenta in GeV.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import ConditionsError

_N_COLUMNS = {"particles": 9, "hits": 5, "vertices": 4}
_OPTIONAL = {"pdg": 0, "primary": True}
"""Arrays with a value for each particle that a file may lack, and what is assumed then."""


@dataclass(frozen=True, eq=False)
class Particles(Columns):
    """Charged particles of one event."""

    collision: Array = column(np.int32)
    """Row in :class:`Collisions`."""
    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    phi: Array = column(np.float64)
    charge: Array = column(np.int8)
    position: Array = column(np.float64, 3)
    """Where it starts, relative to the beam spot."""
    pdg: Array = column(np.int32)
    """Particle number of the Particle Data Group; 0 where the file does not say."""
    primary: Array = column(np.bool_)
    """Made in the collision or next to it; True where the file does not say."""


@dataclass(frozen=True, eq=False)
class TruthHits(Columns):
    """Where particles, and background, cross modules."""

    particle: Array = column(np.int32)
    """Row in :class:`Particles`; -1 for background."""
    module: Array = column(np.int32)
    x_local: Array = column(np.float64)
    y_local: Array = column(np.float64)


@dataclass(frozen=True, eq=False)
class Collisions(Columns):
    """Where particles come from."""

    position: Array = column(np.float64, 3)
    """Relative to the beam spot."""


@dataclass(frozen=True, eq=False)
class TruthEvent:
    """The truth of one event; ``module_layer`` int32[modules] is the detector's."""

    particles: Particles
    hits: TruthHits
    collisions: Collisions
    module_layer: Array

    def layers_crossed(self) -> Array:
        """How many distinct layers have hits of each particle, int64[particles]."""
        hits = self.hits.take(self.hits.particle >= 0)
        n_layers = int(self.module_layer.max(initial=0)) + 1
        crossed = np.zeros((len(self.particles), n_layers), bool)
        crossed[hits.particle, self.module_layer[hits.module]] = True
        count: Array = crossed.sum(axis=1)
        return count


def read_truth(directory: str | Path) -> list[TruthEvent]:
    """Read ``truth.npz``; element ``i`` is event ``i``, as numbered by ``read_events``.

    Raises:
        ConditionsError: the file is missing or not an ``.npz``, an array is missing or
            malformed, or an index in it is out of range.
    """
    path = Path(directory) / "truth.npz"
    arrays = _load(path)
    spot = arrays["bs"]
    layer = arrays["layer"].astype(np.int32)
    n_events = 1 + max(int(arrays[name][:, 0].max(initial=-1)) for name in _N_COLUMNS)
    more = (arrays[name] for name in _OPTIONAL)
    arrays["particles"] = np.column_stack([arrays["particles"], *more])
    rows = {name: _by_event(arrays[name], n_events) for name in _N_COLUMNS}
    events = []
    for number in range(n_events):
        particles, hits, vertices = (rows[name][number] for name in _N_COLUMNS)
        _check_index(path, number, "vertex of a particle", particles[:, 0], 0, len(vertices))
        _check_index(path, number, "particle of a hit", hits[:, 0], -1, len(particles))
        _check_index(path, number, "module of a hit", hits[:, 1], 0, len(layer))
        pt, eta, phi = particles[:, 1:4].T
        charge = particles[:, 4].astype(np.int8)
        x_local, y_local = hits[:, 2:4].T
        events.append(
            TruthEvent(
                Particles(
                    *(particles[:, 0].astype(np.int32), pt, eta, phi, charge),
                    *(particles[:, 5:8] - spot, particles[:, 8].astype(np.int32)),
                    particles[:, 9].astype(bool),
                ),
                TruthHits(
                    hits[:, 0].astype(np.int32), hits[:, 1].astype(np.int32), x_local, y_local
                ),
                Collisions(vertices - spot),
                layer,
            )
        )
    return events


def perigee(particles: Particles) -> Array:
    """Helix parameters of ``particles`` where they pass the beam spot most closely.

    Each particle is carried along its helix, backward or forward, to the point
    nearest to the beam spot in the transverse plane. The signs are those of
    :class:`.Tracks`: a positive particle turns clockwise seen from +z, and tip = q
    (distance of the circle's centre - radius), so a beam spot to the left of the track
    makes it positive.

    Returns:
        float64[particles, 5]: phi, tip, q/pT, cot(theta), zip in rad, cm, 1/GeV, 1, cm.
    """
    x, y, z = particles.position.T
    q = particles.charge.astype(np.float64)
    radius = particles.pt / PT_PER_RADIUS
    centre_x = x + q * radius * np.sin(particles.phi)
    centre_y = y - q * radius * np.cos(particles.phi)
    phi = np.arctan2(q * centre_x, -q * centre_y)
    tip = q * (np.hypot(centre_x, centre_y) - radius)
    path = q * radius * wrap(phi - particles.phi)
    cot_theta = np.sinh(particles.eta)
    return np.stack([phi, tip, q / particles.pt, cot_theta, z - path * cot_theta], axis=1)


def wrap(angle: Array) -> Array:
    """``angle`` (rad) brought to [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _load(path: Path) -> dict[str, Array]:
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in (*_N_COLUMNS, "layer", "bs")}
            n_particles = len(arrays["particles"])
            for name, value in _OPTIONAL.items():
                arrays[name] = file[name] if name in file else np.full(n_particles, value)
    except FileNotFoundError:
        raise ConditionsError("file is missing", file=str(path)) from None
    except KeyError as error:
        raise ConditionsError(f"lacks an array: {error.args[0]}", file=str(path)) from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ConditionsError("not an .npz file of plain arrays", file=str(path)) from None
    expected: dict[str, tuple[int, ...]] = {"layer": (arrays["layer"].size,), "bs": (3,)}
    expected |= dict.fromkeys(_OPTIONAL, (n_particles,))
    for name, n_columns in _N_COLUMNS.items():
        expected[name] = (arrays[name].size // n_columns, n_columns)
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ConditionsError(
                f"array {name!r} has the wrong shape",
                file=str(path),
                found=list(arrays[name].shape),
                bound=list(shape),
            )
    return arrays


def _by_event(rows: Array, n_events: int) -> list[Array]:
    """The rows of each event without their first column, in their order."""
    event = rows[:, 0].astype(np.int64)
    order = np.argsort(event, kind="stable")
    ends = np.searchsorted(event[order], np.arange(1, n_events))
    return np.split(rows[order, 1:], ends)


def _check_index(path: Path, event: int, what: str, found: Array, low: int, high: int) -> None:
    wrong = found[(found < low) | (found >= high)]
    if len(wrong):
        raise ConditionsError(
            f"{what} is out of range",
            file=str(path),
            event=event,
            found=int(wrong[0]),
            bound=f"{low}..{high - 1}",
        )
