"""The setup of a simulation, and its generated events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.edm.pixel import BeamSpot
from trackserve.errors import InputError

from . import seeds
from .generate import (
    DEFAULT_GUN,
    DEFAULT_JETS,
    SPECIES,
    Acceptance,
    GeneratedEvent,
    GeneratedParticles,
    Gun,
    Jets,
    draw,
    overlay,
    place,
    shoot,
)

PROCESSES = ("ttbar", "minbias", "jets", *SPECIES)
"""Hard collisions: three kinds that Pythia makes, and particles of a gun."""
LEAST_PTHAT, MOST_PTHAT = 10.0, 7000.0
"""Bounds on the pT of the two partons that become jets, GeV. Below, such partons are usual in any
inelastic collision; above, the protons do not have the energy."""
MAX_PILEUP = 10_000
"""Largest mean pile-up."""
MAX_EVENTS = 1_000_000
"""Most events of a run."""
MAX_SHOT = 100_000
"""Most particles of a gun in an event."""


class Setup(NamedTuple):
    """The setup of a simulation.

    Attributes:
        process: the hard collision, one of :data:`PROCESSES`.
        pileup: mean number of inelastic collisions beside the hard one.
        events: number of events.
        seed: seed of all random numbers.
        gun: settings of the gun, if ``process`` is a particle.
        jets: which jets, if ``process`` is "jets".
    """

    process: str = "ttbar"
    pileup: float = 0.0
    events: int = 100
    seed: int = 1
    gun: Gun = DEFAULT_GUN
    jets: Jets = DEFAULT_JETS

    @property
    def is_gun(self) -> bool:
        """Whether the hard collision is replaced by particles of a gun."""
        return self.process in SPECIES

    @property
    def needs_pythia(self) -> bool:
        """Whether Pythia must generate a collision, hard or inelastic."""
        return not self.is_gun or self.pileup > 0

    @property
    def inelastic(self) -> float:
        """Mean number of inelastic collisions in an event."""
        return self.pileup + (self.process == "minbias")


def check_setup(setup: Setup, acceptance: Acceptance, processes: int) -> None:
    """Check the arguments of a simulation.

    Raises:
        InputError: one has the wrong type or is out of range.
    """
    gun, jets = setup.gun, setup.jets
    given = setup._asdict() | gun._asdict() | jets._asdict() | {"processes": processes}
    for names, kinds in (
        (("events", "seed", "processes", "particles"), (int,)),
        (
            ("pileup", "min_pt", "max_pt", "max_eta", "min_pthat", "max_pthat"),
            (int, float),
        ),
    ):
        for name in names:
            if not isinstance(given[name], kinds) or isinstance(given[name], bool):
                raise InputError(
                    f"{name} has the wrong type",
                    found=type(given[name]).__name__,
                    bound=kinds[-1].__name__,
                )
    min_pt, max_eta = acceptance.min_pt, acceptance.max_eta
    for name, found, good, bound in (
        ("process", setup.process, setup.process in PROCESSES, ", ".join(PROCESSES)),
        ("pileup", setup.pileup, 0 <= setup.pileup <= MAX_PILEUP, f"0..{MAX_PILEUP}"),
        ("events", setup.events, 1 <= setup.events <= MAX_EVENTS, f"1..{MAX_EVENTS}"),
        ("seed", setup.seed, setup.seed >= 0, ">= 0"),
        ("processes", processes, processes >= 1, ">= 1"),
        ("particles", gun.particles, 1 <= gun.particles <= MAX_SHOT, f"1..{MAX_SHOT}"),
        ("min_pt", gun.min_pt, gun.min_pt >= min_pt, f">= {min_pt}"),
        ("max_pt", gun.max_pt, gun.min_pt <= gun.max_pt < np.inf, f">= {gun.min_pt}"),
        ("max_eta", gun.max_eta, 0 < gun.max_eta <= max_eta, f"0..{max_eta}"),
        ("min_pthat", jets.min_pthat, jets.min_pthat >= LEAST_PTHAT, f">= {LEAST_PTHAT}"),
        (
            "max_pthat",
            jets.max_pthat,
            jets.min_pthat < jets.max_pthat <= MOST_PTHAT,
            f"{jets.min_pthat}..{MOST_PTHAT}",
        ),
    ):
        if not good:
            raise InputError(f"{name} is out of range", found=found, bound=bound)


def collide(
    setup: Setup,
    acceptance: Acceptance,
    pool: GeneratedParticles,
    spot: BeamSpot,
    number: int,
) -> GeneratedEvent:
    """Generate event ``number`` of ``setup``.

    The event depends on the arguments only, and not on ``setup.events``.

    Args:
        setup: what to simulate.
        acceptance: which particles are kept.
        pool: inelastic collisions that event ``number`` draws from.
        spot: where the beams meet.
        number: of the event, from 0.
    """
    rng = seeds.generator(setup.seed, "generation", number)
    n_pileup = int(rng.poisson(setup.pileup))
    if setup.process == "minbias":
        both = draw(pool, 1 + n_pileup, rng)
    else:
        if setup.is_gun:
            hard = shoot(SPECIES[setup.process], setup.gun, rng)
        else:
            from . import pythia

            seed = 1 + seeds.integer(setup.seed, setup.process, number, pythia.MAX_SEED)
            jets = setup.jets if setup.process == "jets" else None
            hard = pythia.source(setup.process, acceptance, jets=jets).generate(1, seed)
        both = overlay(hard, draw(pool, n_pileup, rng))
    return place(number, both, 1 + n_pileup, spot, rng)
