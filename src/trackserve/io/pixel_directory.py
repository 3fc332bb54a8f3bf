"""The nine-file pixel data directory of the public reference.

The CMS Open Data dump (1000 ttbar events with pile-up) has this form: conditions
in ``fedIds.bin``, ``cablingMap.bin``, ``gain.bin``, ``cpefast.bin`` and
``beamspot.bin``, events in ``raw.bin`` and, optionally, what the C++ program
counts on them in ``digicluster.bin``, ``tracks.bin`` and ``vertices.bin``.
What is read is written back byte for byte. Two files are ours: ``material.bin``,
float32 radiation lengths of each module, for the track fit; and ``tags.txt``, where
events have other conditions than the directory's: the tag of each, a line each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.detectors.phase1.checks import check_beam_spot
from trackserve.detectors.phase1.conditions import (
    CABLING,
    CPE,
    GAIN,
    PixelConditions,
)
from trackserve.detectors.phase1.layout import (
    CABLING_SIZE,
    N_MODULES,
)
from trackserve.edm.columns import Array
from trackserve.edm.pixel import BeamSpot, RawEvent
from trackserve.errors import ConditionsError, InputError

from .files import as_path, complete, contents_of, made, readable, writable

RAW = "raw.bin"
TAGS = "tags.txt"
CONDITIONS = tuple(
    f"{name}.bin" for name in ("fedIds", "cablingMap", "gain", "cpefast", "beamspot", "material")
)
"""The files that :func:`write_conditions` writes."""
REFERENCE = ("digicluster.bin", "tracks.bin", "vertices.bin")
"""The files of :class:`ReferenceCounts`."""


@dataclass(frozen=True, eq=False)
class ReferenceCounts:
    """Numbers that the public C++ program counts; each column is uint32[events].

    Attributes:
        modules: modules with a digi.
        digis: pixel words, padding included, as that program counts digis.
        clusters, ntuplets, vertices: as their names say.
    """

    modules: Array
    digis: Array
    clusters: Array
    ntuplets: Array
    vertices: Array


def check_pixel(directory: Path) -> None:
    """Refuse a place that has no file of a pixel data directory.

    Raises:
        ConditionsError: it has none; it names what is there.
    """
    if not any((directory / name).exists() for name in (RAW, *CONDITIONS)):
        raise ConditionsError(
            "no pixel data here",
            path=str(directory),
            found=contents_of(directory),
            bound=[RAW, *CONDITIONS[:-1]],
        )


def read_conditions(directory: str | Path) -> PixelConditions:
    """Read the five conditions files, and ``material.bin`` where it is.

    Raises:
        ConditionsError: a file is missing, too short or too long, or its content is impossible
            (see :func:`trackserve.detectors.phase1.checks.check_conditions`).
    """
    directory = as_path(directory)
    check_pixel(directory)
    fed_words = _numbers(directory / "fedIds.bin", "<u4")
    _require(directory / "fedIds.bin", "number of ids", len(fed_words) - 1, _first(fed_words))
    cabling = _record(directory / "cablingMap.bin", CABLING)
    _require(directory / "cablingMap.bin", "n_bytes", int(cabling["n_bytes"]), CABLING_SIZE)
    gain = _record(directory / "gain.bin", GAIN)
    _require(directory / "gain.bin", "n_bytes", int(gain["n_bytes"]), gain["values"].size)
    cpe = _record(directory / "cpefast.bin", CPE)
    _require(directory / "cpefast.bin", "n_modules", int(cpe["n_modules"]), N_MODULES)
    parts: dict[str, Any] = {}
    material = directory / "material.bin"
    if material.exists():
        parts["material"] = _numbers(material, "<f4")
        _require(material, "number of modules", len(parts["material"]), N_MODULES)
    beam_spot = read_beam_spot(directory)
    with _in(directory):
        return PixelConditions(fed_words[1:], cabling, gain, cpe, beam_spot, **parts)


def read_beam_spot(directory: str | Path) -> BeamSpot:
    """Read ``beamspot.bin``.

    Raises:
        ConditionsError: the file is missing, too short or too long, or a value is not finite.
    """
    directory = as_path(directory)
    record = _record(directory / "beamspot.bin", np.dtype([("values", "<f4", 11)]))
    with _in(directory):
        check_beam_spot(record["values"])
    return BeamSpot(*record["values"].tolist())


def write_conditions(directory: str | Path, conditions: PixelConditions) -> None:
    """Write the five conditions files and ``material.bin``; the directory is made where needed.

    Raises:
        InputError: they cannot be written.
    """
    directory = as_path(directory)
    fed_words = np.concatenate([[len(conditions.fed_ids)], conditions.fed_ids]).astype("<u4")
    beam_spot = np.array(astuple(conditions.beam_spot), "<f4")
    arrays = (
        fed_words,
        conditions.cabling,
        conditions.gain,
        conditions.cpe,
        beam_spot,
        conditions.material,
    )
    _write(directory, dict(zip(CONDITIONS, arrays, strict=True)))


def write_events(directory: str | Path, events: Iterable[RawEvent]) -> None:
    """Write ``raw.bin``; the directory is made where needed.

    Raises:
        InputError: it cannot be written, or the last two events have no FEDs: the file would end
            in zeros, which are not read as events.
    """
    path = as_path(directory) / RAW
    n_empty = 0
    with (
        writable(path),
        made(path.parent),
        complete(path) as partial,
        partial.open("wb") as file,
    ):
        for event in events:
            file.write(event.data.tobytes())
            n_empty = 0 if event.data.any() else n_empty + 1
        if n_empty > 1:
            raise InputError("the last two events have no FEDs", file=str(path))


def read_tags(directory: str | Path, n_events: int) -> list[str]:
    """Read the tags of the conditions of events; none if there is no ``tags.txt``.

    Raises:
        ConditionsError: its number of lines is not ``n_events``.
    """
    path = as_path(directory) / TAGS
    if not path.exists():
        return []
    tags = [line.strip() for line in _read(path).decode(errors="replace").splitlines()]
    _require(path, "number of lines", len(tags), n_events)
    return tags


def read_reference_counts(directory: str | Path) -> ReferenceCounts | None:
    """Read what the public C++ program counts in each event.

    Returns:
        None if the three files are not all there.

    Raises:
        ConditionsError: a file has the wrong number of events.
    """
    directory = as_path(directory)
    paths = [directory / name for name in REFERENCE]
    if not all(path.exists() for path in paths):
        return None
    digi_cluster, tracks, vertices = (_numbers(path, "<u4") for path in paths)
    _require(paths[0], "number of events x 3", len(digi_cluster), 3 * len(tracks))
    _require(paths[2], "number of events", len(vertices), len(tracks))
    modules, digis, clusters = digi_cluster.reshape(-1, 3).T
    return ReferenceCounts(modules, digis, clusters, tracks, vertices)


def write_reference_counts(directory: str | Path, counts: ReferenceCounts) -> None:
    """Write the three validation files; the directory is made where needed.

    Raises:
        InputError: they cannot be written.
    """
    arrays = {
        "digicluster.bin": np.stack([counts.modules, counts.digis, counts.clusters], axis=1),
        "tracks.bin": counts.ntuplets,
        "vertices.bin": counts.vertices,
    }
    _write(as_path(directory), {name: array.astype("<u4") for name, array in arrays.items()})


def _write(directory: Path, arrays: Mapping[str, Array]) -> None:
    with writable(directory), made(directory):
        for name, array in arrays.items():
            (directory / name).write_bytes(array.tobytes())


@contextmanager
def _in(directory: Path) -> Iterator[None]:
    """Name the directory of the file that an error names."""
    try:
        yield
    except ConditionsError as error:
        fields = error.fields | {"file": str(directory / error.file)}
        raise ConditionsError(error.message, **fields) from None


def _read(path: Path) -> bytes:
    with readable(path):
        return path.read_bytes()


def _numbers(path: Path, dtype: str) -> Array:
    data = _read(path)
    _require(path, "size in bytes", len(data), len(data) // 4 * 4)
    return np.frombuffer(data, dtype)


def _record(path: Path, dtype: np.dtype[Any]) -> Array:
    data = _read(path)
    _require(path, "size in bytes", len(data), dtype.itemsize)
    record: Array = np.frombuffer(data, dtype)[0]
    return record


def _first(words: Array) -> int:
    return int(words[0]) if len(words) else 0


def _require(path: Path, what: str, found: int, bound: int) -> None:
    if found != bound:
        raise ConditionsError(f"wrong {what}", file=str(path), found=found, bound=bound)
