"""Inelastic collisions, generated once and used in many events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import seeds
from .files import complete, write_npz
from .generate import GeneratedParticles

BLOCK = 200
"""Collisions that are generated together."""


def prepare(cache: Path) -> None:
    """What :func:`make_block` needs to start in ``cache``, unless it is there.

    Raises:
        MissingExtraError: Pythia is not installed.
    """
    from . import pythia

    path = _tables(cache)
    if not path.exists():
        with complete(path) as partial:
            pythia.prepare(partial)


def make_block(seed: int, cache: Path, block: int) -> None:
    """Write block ``block`` of the pool into ``cache``, unless it is there.

    Raises:
        MissingExtraError: Pythia is not installed.
    """
    from . import pythia

    path = _path(cache, block)
    if path.exists():
        return
    source = pythia.source("minbias", _tables(cache))
    particles = source.generate(BLOCK, 1 + seeds.integer(seed, "pool", block, pythia.MAX_SEED))
    write_npz(path, particles.columns())


def load_pool(cache: Path, n_blocks: int) -> GeneratedParticles:
    """The first blocks; collisions are numbered through."""
    blocks = []
    for block in range(n_blocks):
        with np.load(_path(cache, block)) as file:
            columns = {name: file[name] for name in GeneratedParticles.schema()}
        columns["collision"] += np.int32(block * BLOCK)
        blocks.append(GeneratedParticles(**columns))
    return GeneratedParticles.concatenate(blocks)


def _tables(cache: Path) -> Path:
    return cache / "pythia-minbias.dat"


def _path(cache: Path, block: int) -> Path:
    return cache / f"pool-{block:05d}.npz"
