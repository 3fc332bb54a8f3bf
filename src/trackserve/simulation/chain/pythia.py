"""Proton collisions from Pythia 8.

C. Bierlich et al., SciPost Phys. Codebases 8 (2022), with the default tune, Monash 2013.
Pythia is under the GPL. It is an optional dependency, and only this module imports it.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM
from trackserve.errors import MissingExtraError
from trackserve.install import install_command

from .generate import Acceptance, GeneratedParticles, Jets

try:
    import pythia8mc
except ImportError:
    raise MissingExtraError(
        f"collisions need Pythia 8 (guns without pile-up do not): {install_command('sim')}"
    ) from None

ENERGY = 14_000
"""Energy of both protons together, GeV."""

_PROCESS = {
    "ttbar": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "minbias": ("SoftQCD:inelastic = on",),
    "jets": ("HardQCD:all = on",),
}
MAX_SEED = 900_000_000
_MAX_TRIES = 100
_INIT_SEED = 1
"""The seed of Pythia's own integrals: the same in every process and for every run."""


class Source:
    """Collisions of one kind.

    Args:
        process: "ttbar"; "jets" for any two partons that scatter hard by the strong interaction; or
            "minbias" for all inelastic collisions.
        acceptance: which particles are kept, and where they may decay. Charged pions,
            charged kaons and muons never decay.
        tables: the file that :func:`prepare` wrote, for "minbias" only.
        jets: how hard they scatter, for "jets" only.
    """

    def __init__(
        self,
        process: str,
        acceptance: Acceptance,
        tables: Path | None = None,
        jets: Jets | None = None,
    ) -> None:
        self._acceptance = acceptance
        reuse = 0 if tables is None else 2
        self._pythia = _start((*_PROCESS[process], *_range(jets)), acceptance, tables, reuse)

    def generate(self, n: int, seed: int) -> GeneratedParticles:
        """Generate ``n`` collisions at the origin.

        Args:
            n: number of collisions.
            seed: 1..MAX_SEED; the collisions depend on nothing else.
        """
        self._pythia.rndm.init(seed)
        return GeneratedParticles.concatenate([self._next(i) for i in range(n)])

    def _next(self, number: int) -> GeneratedParticles:
        if not any(self._pythia.next() for _ in range(_MAX_TRIES)):
            raise RuntimeError(f"Pythia failed {_MAX_TRIES} times in a row")
        rows = [
            (p.id(), p.charge(), p.m(), p.xProd(), p.yProd(), p.zProd(), p.px(), p.py(), p.pz())
            for p in self._pythia.event
            if p.isFinal() and (p.isCharged() or p.id() == 22)
        ]
        table = np.array(rows).reshape(-1, 9)
        table = table[_is_accepted(table[:, 1], table[:, 6:9], self._acceptance)]
        return GeneratedParticles(
            collision=np.full(len(table), number, np.int32),
            pdg=table[:, 0].astype(np.int32),
            charge=np.rint(table[:, 1]).astype(np.int8),
            mass=table[:, 2],
            position=table[:, 3:6] / MM_PER_CM,
            momentum=table[:, 6:9],
        )


@functools.lru_cache(maxsize=2)
def source(
    process: str, acceptance: Acceptance, tables: Path | None = None, jets: Jets | None = None
) -> Source:
    """The :class:`Source` that all events of a process share."""
    return Source(process, acceptance, tables, jets)


def prepare(tables: Path, acceptance: Acceptance) -> None:
    """Compute what "minbias" needs at its start, and write it to a file; this takes 5 s."""
    _start(_PROCESS["minbias"], acceptance, tables, reuse=1)


def _range(jets: Jets | None) -> tuple[str, ...]:
    """The lines for Pythia that bound the pT of the partons."""
    if jets is None:
        return ()
    return (
        f"PhaseSpace:pTHatMin = {jets.min_pthat}",
        f"PhaseSpace:pTHatMax = {jets.max_pthat}",
    )


def _start(
    process: tuple[str, ...], acceptance: Acceptance, tables: Path | None, reuse: int
) -> pythia8mc.Pythia:
    """``reuse`` 1 writes the tables of multiparton interactions, 2 reads them."""
    pythia = pythia8mc.Pythia("", False)
    for line in (
        "Print:quiet = on",
        f"Beams:eCM = {ENERGY}",
        "Random:setSeed = on",
        f"Random:seed = {_INIT_SEED}",
        "ParticleDecays:limitCylinder = on",
        f"ParticleDecays:xyMax = {acceptance.decay_radius}",
        f"ParticleDecays:zMax = {acceptance.decay_z}",
        f"MultipartonInteractions:reuseInit = {reuse}",
        *process,
    ):
        if not pythia.readString(line):
            raise ValueError(f"Pythia does not know {line!r}")
    if tables is not None:
        # not a line: the path may hold blanks
        pythia.settings.word("MultipartonInteractions:initFile", str(tables))
    if not pythia.init():
        raise RuntimeError("Pythia could not be initialised")
    return pythia


def _is_accepted(charge: Array, momentum: Array, acceptance: Acceptance) -> Array:
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    forward = np.abs(momentum[:, 2]) > np.sinh(acceptance.max_eta) * pt
    photon = np.linalg.norm(momentum, axis=1) > acceptance.min_photon_energy
    return ~forward & np.where(charge != 0, pt > acceptance.min_pt, photon)
