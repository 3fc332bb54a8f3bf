"""Random numbers that depend on the seed, the stage and the event only."""

from __future__ import annotations

import numpy as np

_STAGES = ("pool", "ttbar", "generation", "transport", "response", "jets", "noise")


def generator(seed: int, stage: str, number: int) -> np.random.Generator:
    """Random numbers of ``stage`` in event (or block) ``number``."""
    return np.random.default_rng(_sequence(seed, stage, number))


def integer(seed: int, stage: str, number: int, bound: int) -> int:
    """A seed for another program, 0..bound-1."""
    return int(_sequence(seed, stage, number).generate_state(1, np.uint64)[0]) % bound


def _sequence(seed: int, stage: str, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_STAGES.index(stage), number))
