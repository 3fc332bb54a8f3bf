"""``truth.npz``: the truth of the events of a pixel data directory.

It has three arrays with a float64 row for each particle, hit and collision of all events:

- ``particles``: event, row of its collision in the event, pT, eta, phi, charge, and x, y, z of
  its start;
- ``hits``: event, row of its particle in the event (-1 for background), module, local x, local y;
- ``vertices``, the collisions: event, x, y, z;

and ``layer``, the layer of each module, and ``bs``, the beam spot. A file may also have a value
of ``pdg`` and of ``primary`` for each particle. Lengths are in cm, momenta in GeV. Positions
are absolute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.edm.columns import Array
from trackserve.edm.truth import Collisions, Particles, PixelTruth, TrueHits, momentum_of
from trackserve.errors import ConditionsError, InputError

from .files import as_path, writable, write_npz

TRUTH = "truth.npz"
_N_COLUMNS = {"particles": 9, "hits": 5, "vertices": 4}
_OPTIONAL = {"pdg": 0, "primary": True}
"""Arrays with a value for each particle that a file may lack, and what is assumed then."""
_MAX_EVENTS = 1_000_000
_MAX_ETA = 50
"""Beyond it the momentum along the beam is larger than any number of physics."""


def read_truth(directory: str | Path) -> list[PixelTruth]:
    """Read ``truth.npz``; element ``i`` is event ``i``, as :class:`.PixelEvents` counts them.

    Raises:
        ConditionsError: the file is missing or is not an ``.npz``, an array is missing or
            malformed, a number is not finite, or an index is out of range.
    """
    path = as_path(directory) / TRUTH
    arrays = _load(path)
    _check(path, arrays)
    spot, layer = arrays["bs"].astype(np.float64), arrays["layer"].astype(np.int32)
    n_events = 1 + max(int(arrays[name][:, 0].max(initial=-1)) for name in _N_COLUMNS)
    optional = (arrays[name] for name in _OPTIONAL)
    arrays["particles"] = np.column_stack([arrays["particles"], *optional])
    rows = {name: _by_event(arrays[name], n_events) for name in _N_COLUMNS}
    events = []
    for number in range(n_events):
        particles, hits, vertices = (rows[name][number] for name in _N_COLUMNS)
        _check_index(path, number, "vertex of a particle", particles[:, 0], 0, len(vertices))
        _check_index(path, number, "particle of a hit", hits[:, 0], -1, len(particles))
        _check_index(path, number, "module of a hit", hits[:, 1], 0, len(layer))
        collision, pt, eta, phi, charge, x, y, z, pdg, primary = particles.T
        particle, module, x_local, y_local = hits.T
        events.append(
            PixelTruth(
                Particles(
                    collision=collision.astype(np.int32),
                    pdg=pdg.astype(np.int32),
                    charge=charge.astype(np.int8),
                    position=np.stack([x, y, z], axis=1),
                    momentum=momentum_of(pt, eta, phi),
                    primary=primary.astype(np.bool_),
                ),
                TrueHits(particle.astype(np.int32), module.astype(np.int32), x_local, y_local),
                Collisions(vertices),
                spot,
                layer,
            )
        )
    return events


def write_truth(
    directory: str | Path, events: Sequence[PixelTruth], after: Path | None = None
) -> None:
    """Write ``truth.npz`` as :func:`read_truth` reads it.

    Args:
        directory: an existing one.
        events: at least one; all are of one detector and of one beam spot.
        after: directory whose truth the file begins with, bit for bit.

    Raises:
        InputError: there is no event, or the file cannot be written.
        ConditionsError: the file of ``after`` is missing or malformed.
    """
    path = as_path(directory) / TRUTH
    if not events:
        raise InputError("no events to write", directory=str(directory))
    rows: list[dict[str, Array]] = []
    first = 0
    if after is not None:
        there = _load(as_path(after) / TRUTH)
        rows.append({name: there[name] for name in (*_N_COLUMNS, *_OPTIONAL)})
        first = 1 + int(there["vertices"][:, 0].max(initial=-1))
    rows += [_rows(number, event) for number, event in enumerate(events, first)]
    arrays = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    detector = {"layer": events[0].module_layer, "bs": events[0].beam_spot}
    with writable(path):
        write_npz(path, arrays | detector, compress=True)


def _rows(number: int, event: PixelTruth) -> dict[str, Array]:
    def table(*columns: Array) -> Array:
        events = np.full(len(columns[0]), number)
        rows: Array = np.stack([events, *columns], axis=1).astype(np.float64)
        return rows

    particles, hits = event.particles, event.hits
    return {
        "particles": table(
            *(particles.collision, particles.pt, particles.eta, particles.phi),
            *(particles.charge, *particles.position.T),
        ),
        "hits": table(hits.particle, hits.module, hits.x_local, hits.y_local),
        "vertices": table(*event.collisions.position.T),
        "pdg": particles.pdg,
        "primary": particles.primary,
    }


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
    except Exception:  # a damaged file has many: of zip, zlib, numpy's header, memory
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


def _check(path: Path, arrays: dict[str, Array]) -> None:
    """Refuse what is not a finite number, and integers that are none or are out of range."""
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ConditionsError(
                f"array {name!r} has the wrong type", file=str(path), found=str(array.dtype)
            )
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ConditionsError(f"array {name!r} is not finite", file=str(path), row=row)
    for name in _N_COLUMNS:
        _check_index(path, None, f"event in {name!r}", arrays[name][:, 0], 0, _MAX_EVENTS)
    _check_index(path, None, "layer of a module", arrays["layer"], 0, N_LAYERS)
    _check_index(path, None, "charge of a particle", arrays["particles"][:, 5], -128, 128)
    _check_index(path, None, "pdg of a particle", arrays["pdg"], -(2**31), 2**31)
    eta = arrays["particles"][:, 3]
    wrong = np.flatnonzero(np.abs(eta) > _MAX_ETA)
    if len(wrong):
        found = float(eta[wrong[0]])
        raise ConditionsError(
            "eta of a particle is out of range", file=str(path), found=found, bound=_MAX_ETA
        )


def _by_event(rows: Array, n_events: int) -> list[Array]:
    """The rows of each event without their first column, in their order."""
    event = rows[:, 0].astype(np.int64)
    order = np.argsort(event, kind="stable")
    ends = np.searchsorted(event[order], np.arange(1, n_events))
    return np.split(rows[order, 1:], ends)


def _check_index(
    path: Path, event: int | None, what: str, found: Array, low: int, high: int
) -> None:
    wrong = found[(found < low) | (found >= high) | (found != np.floor(found))]
    if len(wrong):
        where = {} if event is None else {"event": event}
        raise ConditionsError(
            f"{what} is out of range",
            file=str(path),
            **where,
            found=wrong[0].item(),
            bound=f"{low}..{high - 1}",
        )
