"""Events of the TrackML challenge, as CSV files, plain or gzipped.

S. Amrouche et al., arXiv:1904.06778. An event has four files,
``event000000001-{hits,cells,truth,particles}.csv``; test samples have no truth. The
detector's modules are in a file of their own, ``detectors.csv``.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.points import PointsEvent, SpacePoints
from trackserve.edm.truth import MM_PER_CM, Particles, PointsTruth, TruePoints
from trackserve.errors import InputError

from .event_csv import CsvError, EventFile, Rows, number_of, prefix_of, read_csv, stack
from .files import as_path

HITS = "-hits.csv"
_POSITION = ("x", "y", "z")
_VERTEX = ("vx", "vy", "vz")
_MOMENTUM = ("px", "py", "pz")
_MODULE = "module_id"
_PLACE = {"volume_id": np.int16, "layer_id": np.int16, _MODULE: np.int32}


@dataclass(frozen=True, eq=False)
class TrackmlCells(Columns):
    """Channels that were hit; one or more make a space point."""

    point: Array = column(np.int32)
    """Row in the event's points."""
    channel: Array = column(np.int32, 2)
    """Number of the channel along u and along v."""
    value: Array = column(np.float32)
    """Deposited charge, in the challenge's units."""


@dataclass(frozen=True, eq=False)
class TrackmlModules(Columns):
    """The modules of the challenge's detector. Lengths are in mm."""

    volume: Array = column(np.int16)
    layer: Array = column(np.int16)
    module: Array = column(np.int32)
    centre: Array = column(np.float32, 3)
    rotation: Array = column(np.float32, 3, 3)
    """Matrix that turns the local axes u, v, w into x, y, z."""
    half_thickness: Array = column(np.float32)
    half_width: Array = column(np.float32, 2)
    """Extent along u, at the smallest and at the largest v."""
    half_length: Array = column(np.float32)
    """Extent along v."""
    pitch: Array = column(np.float32, 2)


def find_events(path: Path) -> list[Path]:
    """The events in a directory, or those whose names begin with a prefix.

    Returns:
        Prefixes such as ``dir/event000000001``, ordered by name.
    """
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, glob.escape(path.name))
    found = {
        file.with_name(file.name[: file.name.index(HITS)])
        for suffix in ("", ".gz")
        for file in folder.glob(f"{pattern}{HITS}{suffix}")
    }
    return sorted(found)


def read_event(prefix: str | Path) -> PointsEvent:
    """Read one event.

    Of the hits, ``x``, ``y`` and ``z`` are enough. If there is truth, they also need ``hit_id``,
    ``volume_id`` and ``layer_id``; the truth's modules are 0 without ``module_id``.

    Its number is the last one in its name. The points are in the order of the file. The
    ``collision`` and ``primary`` of a particle come from the bits of its ``particle_id``, as
    in the challenge's own library. Weights are those of the file.

    Raises:
        EventError: a file or a column is missing, a value is not a finite number, or files do
            not fit together.
        InputError: ``prefix`` cannot name an event.
    """
    prefix = prefix_of(prefix)
    hits = EventFile(prefix, "hits")
    position = dict.fromkeys(_POSITION, np.float32)
    if not EventFile(prefix, "truth").exists():
        table = hits.read(position)
        truth = None
    else:
        needed = {name: _PLACE[name] for name in _PLACE if name != _MODULE}
        table = hits.read(
            {"hit_id": np.int64} | position | needed, optional={_MODULE: _PLACE[_MODULE]}
        )
        table.setdefault(_MODULE, np.zeros(len(table["hit_id"]), _PLACE[_MODULE]))
        particles, particle_id = _read_particles(prefix)
        particle, weight = _read_truth(prefix, Rows(hits, table["hit_id"]), particle_id)
        truth = PointsTruth(TruePoints(particle, **_place(table), weight=weight), particles)
    return PointsEvent(SpacePoints(stack(table, _POSITION)), number_of(prefix), truth)


def read_cells(prefix: str | Path) -> TrackmlCells:
    """Read the cells of an event.

    Raises:
        EventError: as :func:`read_event`.
    """
    prefix = prefix_of(prefix)
    hits = EventFile(prefix, "hits")
    rows = Rows(hits, hits.read({"hit_id": np.int64})["hit_id"])
    cells = EventFile(prefix, "cells")
    table = cells.read({"hit_id": np.int64, "ch0": np.int32, "ch1": np.int32, "value": np.float32})
    point = rows.of(cells, "hit_id", table["hit_id"])
    return TrackmlCells(point, stack(table, ("ch0", "ch1")), table["value"])


def read_detectors(path: str | Path) -> TrackmlModules:
    """Read the modules from ``detectors.csv`` or ``detectors.csv.gz``.

    Raises:
        InputError: the file or a column is missing, or a value is not a finite number.
    """
    centre = ("cx", "cy", "cz")
    rotation = tuple(f"rot_{axis}{local}" for axis in "xyz" for local in "uvw")
    size = ("module_t", "module_minhu", "module_maxhu", "module_hv", "pitch_u", "pitch_v")
    real = dict.fromkeys((*centre, *rotation, *size), np.float32)
    try:
        table = read_csv(as_path(path), _PLACE | real)
    except CsvError as error:
        raise InputError(error.message, **error.fields) from error
    return TrackmlModules(
        **_place(table),
        centre=stack(table, centre),
        rotation=stack(table, rotation).reshape(-1, 3, 3),
        half_thickness=table["module_t"],
        half_width=stack(table, ("module_minhu", "module_maxhu")),
        half_length=table["module_hv"],
        pitch=stack(table, ("pitch_u", "pitch_v")),
    )


def _read_truth(prefix: Path, hits: Rows, particle_id: Rows) -> tuple[Array, Array]:
    """Particle and weight of each hit."""
    file = EventFile(prefix, "truth")
    table = file.read({"hit_id": np.int64, "particle_id": np.int64, "weight": np.float32})
    hit = hits.of(file, "hit_id", table["hit_id"])
    if len(np.unique(hit)) != len(hits) or len(hit) != len(hits):
        raise file.error("not one row for each hit", found=len(hit), bound=len(hits))
    known = table["particle_id"] != 0
    particle = np.full(len(hits), -1, np.int32)
    particle[hit[known]] = particle_id.of(file, "particle_id", table["particle_id"][known])
    weight = np.empty(len(hits), np.float32)
    weight[hit] = table["weight"]
    return particle, weight


def _read_particles(prefix: Path) -> tuple[Particles, Rows]:
    file = EventFile(prefix, "particles")
    real = dict.fromkeys((*_VERTEX, *_MOMENTUM), np.float32)
    table = file.read(
        {"particle_id": np.int64, "q": np.int8} | real, optional={"particle_type": np.int32}
    )
    number = table["particle_id"]
    if (number <= 0).any():
        raise file.error(
            "identifier is not positive", column="particle_id", found=int(number.min()), bound="> 0"
        )
    generation = number >> 24 & 0xFFF
    particles = Particles(
        collision=((number >> 52) - 1).astype(np.int32),
        pdg=table.get("particle_type", np.zeros(len(number), np.int32)),
        charge=table["q"],
        position=stack(table, _VERTEX).astype(np.float64) / MM_PER_CM,
        momentum=stack(table, _MOMENTUM).astype(np.float64),
        primary=generation == 0,
    )
    return particles, Rows(file, number)


def _place(table: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removesuffix("_id"): table[name] for name in _PLACE}
