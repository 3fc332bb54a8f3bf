"""Inelastic collisions, generated once and used in many events."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trackserve.io.files import complete, write_npz

from . import seeds
from .collisions import BLOCK, Setup
from .generate import Acceptance, GeneratedParticles
from .workers import Progress, StarMap


def fill(
    cache: Path, setup: Setup, acceptance: Acceptance, starmap: StarMap, progress: Progress
) -> None:
    """Write the blocks that ``setup`` needs and that are missing in the directory ``cache``.

    Raises:
        MissingExtraError: Pythia is not installed.
    """
    from . import pythia

    tables = _tables(cache)
    if not tables.exists():
        with complete(tables) as partial:
            pythia.prepare(partial, acceptance)
    blocks = [(cache, setup.seed, acceptance, block) for block in range(setup.pool_blocks)]
    for done, _ in enumerate(starmap(_make_block, blocks), start=1):
        progress("inelastic collisions", done * BLOCK, len(blocks) * BLOCK)


def _make_block(cache: Path, seed: int, acceptance: Acceptance, block: int) -> None:
    from . import pythia

    path = _path(cache, block)
    if path.exists():
        return
    source = pythia.source("minbias", acceptance, _tables(cache))
    particles = source.generate(BLOCK, 1 + seeds.integer(seed, "pool", block, pythia.MAX_SEED))
    write_npz(path, particles.columns())


def load_pool(cache: Path, n_blocks: int) -> GeneratedParticles:
    """The first ``n_blocks`` blocks of the directory ``cache``. Collisions count from 0."""
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
