"""Inelastic collisions, generated in blocks and used in many events.

The pool has :data:`POOL_BLOCKS` blocks of :data:`BLOCK` collisions. An event draws from a few
blocks that follow from its number. The first events use new blocks, so few events need few;
later events use the blocks again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from trackserve.io.files import complete, write_npz

from . import seeds
from .collisions import Setup
from .generate import Acceptance, GeneratedParticles
from .workers import Progress, StarMap

BLOCK = 200
"""Inelastic collisions that are generated together."""
POOL_BLOCKS = 50
"""Blocks of the pool."""
_SIGMAS = 6
"""An event draws from blocks that hold this many standard deviations more than the mean. With yet
more collisions it uses some twice."""


def blocks_of(setup: Setup, number: int) -> list[int]:
    """The blocks that event ``number`` draws from. They do not depend on ``setup.events``."""
    mean = setup.inelastic
    if mean == 0:
        return []
    most = mean + _SIGMAS * math.sqrt(mean)
    first = int(number * mean / BLOCK)
    n = min(math.ceil(most / BLOCK), POOL_BLOCKS)
    return [block % POOL_BLOCKS for block in range(first, first + n)]


def fill(
    cache: Path,
    setup: Setup,
    acceptance: Acceptance,
    numbers: Sequence[int],
    starmap: StarMap,
    progress: Progress,
) -> None:
    """Write the blocks that events ``numbers`` draw from, if the directory ``cache`` lacks them.

    Raises:
        MissingExtraError: Pythia is not installed.
    """
    blocks = _needed(setup, numbers)
    if not blocks:
        return
    from . import pythia

    tables = _tables(cache)
    if not tables.exists():
        with complete(tables) as partial:
            pythia.prepare(partial, acceptance)
    todo = [(cache, setup.seed, acceptance, block) for block in blocks]
    for done, _ in enumerate(starmap(_make_block, todo), start=1):
        progress("inelastic collisions", done * BLOCK, len(todo) * BLOCK)


def calls(setup: Setup, numbers: Sequence[int]) -> int:
    """The most calls that can be made at a time: of events ``numbers``, or of their blocks."""
    return max(len(numbers), len(_needed(setup, numbers)))


def _needed(setup: Setup, numbers: Sequence[int]) -> list[int]:
    return sorted({block for number in numbers for block in blocks_of(setup, number)})


def _make_block(cache: Path, seed: int, acceptance: Acceptance, block: int) -> None:
    from . import pythia

    path = _path(cache, block)
    if path.exists():
        return
    source = pythia.source("minbias", acceptance, _tables(cache))
    particles = source.generate(BLOCK, 1 + seeds.integer(seed, "pool", block, pythia.MAX_SEED))
    write_npz(path, particles.columns())


def load(cache: Path, blocks: Iterable[int]) -> GeneratedParticles:
    """The collisions of ``blocks`` in the directory ``cache``, counted from 0 in this order."""
    loaded = []
    for i, block in enumerate(blocks):
        columns = _block(cache, block).columns()
        columns["collision"] = columns["collision"] + np.int32(i * BLOCK)
        loaded.append(GeneratedParticles(**columns))
    return GeneratedParticles.concatenate(loaded)


@functools.lru_cache(maxsize=POOL_BLOCKS)
def _block(cache: Path, block: int) -> GeneratedParticles:
    with np.load(_path(cache, block)) as file:
        return GeneratedParticles(*(file[name] for name in GeneratedParticles.schema()))


def _tables(cache: Path) -> Path:
    return cache / "pythia-minbias.dat"


def _path(cache: Path, block: int) -> Path:
    return cache / f"pool-{block:05d}.npz"
