"""Simulated events, one file each, until they are joined to a directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from trackserve.edm.columns import Array, Columns
from trackserve.io.files import write_npz

Noun = TypeVar("Noun", bound=Columns)
_COUNT = "count."


def part_path(parts: Path, number: int) -> Path:
    """The file of event ``number`` in the directory ``parts``."""
    return parts / f"part-{number:06d}.npz"


def write_part(
    path: Path, counts: Mapping[str, int], nouns: Iterable[Columns], **more: Array
) -> None:
    """Write one event: what was counted in it, its nouns, and other arrays by name."""
    arrays = {_COUNT + name: np.array(count) for name, count in counts.items()}
    for noun in nouns:
        prefix = type(noun).__name__
        arrays |= {f"{prefix}.{name}": values for name, values in noun.columns().items()}
    write_npz(path, arrays | more)


def read_noun(path: Path, noun: type[Noun]) -> Noun:
    """A noun of an event."""
    with np.load(path) as file:
        return noun(*(file[f"{noun.__name__}.{name}"] for name in noun.schema()))


def read_array(path: Path, name: str) -> Array:
    """Another array of an event."""
    with np.load(path) as file:
        array: Array = file[name]
    return array


def sum_counts(paths: Iterable[Path]) -> dict[str, int]:
    """The counts of all events together."""
    total: Counter[str] = Counter()
    for path in paths:
        with np.load(path) as file:
            counted = [name for name in file.files if name.startswith(_COUNT)]
            total.update({name.removeprefix(_COUNT): int(file[name]) for name in counted})
    return dict(total)
