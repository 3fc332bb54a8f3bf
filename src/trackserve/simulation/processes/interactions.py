"""Inelastic interactions of hadrons with nuclei. All nuclei count as silicon."""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import kernel, shared

from .flights import Flights, add_particle
from .kinematics import Vector, boosted, isotropic
from .species import PION, PION_MASS, PROTON_MASS

_INTERACTION_LENGTH = 46.52
_PION_INTERACTION_LENGTH = 59.1
"""Mean path to an inelastic interaction in silicon, of protons and of pions, cm (Particle Data
Group: 108.4 and 137.7 g/cm^2). Kaons count as pions. The dependence on momentum is left out."""
_MIN_HADRON_MOMENTUM = 0.1
"""GeV. A hadron with less does not interact."""
_MULTIPLICITY = (0.88, 0.44, 0.118)
"""Mean number of charged particles of a hadron and a proton, by powers of log(s / GeV^2): W. Thome
et al., Nucl. Phys. B 129 (1977) 365."""
_NUCLEUS = 0.5 + 0.5 * 2.1
"""Factor for a nucleus: 1/2 + nu/2 (W. Busza et al., Phys. Rev. Lett. 34 (1975) 836). Silicon's nu
is 28 cross sections of a nucleon (32 mb) over that of the nucleus (429 mb)."""
_CHARGED_PION = 2 / 3
_CHARGED_NUCLEON = 0.5
"""Share of pions, and of nucleons, that have a charge."""
_MAX_PIONS = 60


@shared
def interaction_length(pdg: int, momentum: float) -> float:
    """Mean path of a particle to an inelastic interaction in silicon, cm; infinite without any."""
    if abs(pdg) < 100 or momentum < _MIN_HADRON_MOMENTUM:
        return np.inf
    return _INTERACTION_LENGTH if abs(pdg) > 1000 else _PION_INTERACTION_LENGTH


@shared
def interacts(pdg: int, momentum: float, path: float, rng: np.random.Generator) -> bool:
    """Whether a particle interacts inelastically with a nucleus on ``path`` cm of silicon."""
    length = interaction_length(pdg, momentum)
    return length < np.inf and rng.random() < 1 - math.exp(-path / length)


@kernel
def interact(
    flights: Flights, parent: int, at: Vector, momentum: Vector, rng: np.random.Generator
) -> None:
    """Add the charged particles of an inelastic interaction of a hadron with a nucleus.

    They are pions and one nucleon, in all directions alike in the rest frame of the hadron and one
    nucleon of the nucleus, and share the kinetic energy there at random. None has more than it
    would have beside a single massless particle, since the others balance its momentum.
    """
    mass = flights.mass[parent]
    energy = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2 + mass**2)
    s = mass**2 + PROTON_MASS**2 + 2 * energy * PROTON_MASS
    log = math.log(s)
    mean = _MULTIPLICITY[0] + _MULTIPLICITY[1] * log + _MULTIPLICITY[2] * log**2
    charged_pions = _NUCLEUS * mean - _CHARGED_NUCLEON
    system = math.sqrt(s)
    left = system - PROTON_MASS
    most = min(int(left / PION_MASS), _MAX_PIONS)
    n_pions, waited = 0, rng.standard_exponential()
    while waited < charged_pions / _CHARGED_PION and n_pions < most:  # Poisson
        n_pions += 1
        waited += rng.standard_exponential()
    left -= n_pions * PION_MASS
    shares = rng.standard_gamma(n_pions + 1.0)
    left /= shares
    # the sum of exponential variables is a gamma variable; the last particle takes what is left
    for i in range(n_pions + 1):
        part = min(rng.standard_exponential(), shares)
        if i == n_pions:
            part = shares
        shares -= part
        is_nucleon = i == n_pions
        m = PROTON_MASS if is_nucleon else PION_MASS
        kinetic = min(left * part, (system - m) ** 2 / (2 * system))
        if rng.random() > (_CHARGED_NUCLEON if is_nucleon else _CHARGED_PION):
            continue
        p = math.sqrt(kinetic * (kinetic + 2 * m))
        way = isotropic(rng)
        out = boosted(Vector(p * way.x, p * way.y, p * way.z), kinetic + m, momentum, system)
        sign = 1 if is_nucleon or rng.random() < 0.5 else -1
        pdg = 2212 if is_nucleon else sign * PION
        add_particle(flights, parent, pdg, sign, m, at, out)
