"""The energy loss of a charged particle in a thin piece of silicon.

Collisions that transfer more than a cut are drawn one by one from the Rutherford
spectrum. They make the tail of the distribution. All softer collisions together have the mean
of the restricted Bethe formula and a gamma distribution, which can be divided into any steps.
The sum has the most probable loss and the width of a thin absorber. It also has the
fluctuations along the path that shift a cluster's position.

Formulas: Review of Particle Physics, "Passage of particles through matter". Energies are in
keV, lengths in cm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import shared

from .species import ELECTRON_MASS

KEV_PER_GEV = 1e6
ELECTRON_ENERGY = 510.999
"""Rest energy of an electron in the formulas, keV. :data:`.species.ELECTRON_MASS` has fewer digits:
those of the particles that Pythia makes, which are told by their mass."""
_EXCITATION = 0.173
"""Mean excitation energy of silicon, keV."""
_RUTHERFORD = 178.25
"""K/2 Z/A density of silicon, keV/cm. Divided by beta^2 it is xi per length."""
_DENSITY_C, _DENSITY_A, _DENSITY_K = 4.4351, 0.14921, 3.2546
_DENSITY_X0, _DENSITY_X1 = 0.2014, 2.8715
"""Density effect in silicon (Sternheimer, Berger, Seltzer, ADNDT 30 (1984) 261)."""
_SHELL_VARIANCE = 6.1
"""Variance over xi that the binding of electrons adds, keV: 8/3 sum f_i I_i ln(2 m / I_i) over the
shells of silicon (Shulek et al., Sov. J. Nucl. Phys. 4 (1967) 400)."""
HARD = 2.0
"""Smallest transfer that is drawn as a single collision, keV."""
MIN_BETA_GAMMA = 0.1
"""Bethe's formula does not hold below it. Such a particle stops in the next material."""


class EnergyLoss(NamedTuple):
    """Energy loss of one particle.

    Attributes:
        soft: mean loss in soft collisions per length, keV/cm.
        soft_scale: scale of their gamma distribution, keV: variance over mean.
        hard: collisions with a transfer above :data:`HARD`, per cm, before the thinning
            that :func:`transfer` does.
        max_transfer: largest transfer, keV.
        beta2: squared velocity.
    """

    soft: float
    soft_scale: float
    hard: float
    max_transfer: float
    beta2: float


@shared
def energy_loss(momentum: float, mass: float) -> EnergyLoss:
    """Energy loss of a particle of unit charge; ``momentum`` and ``mass`` in keV."""
    beta_gamma = max(momentum / mass, MIN_BETA_GAMMA)
    gamma = math.sqrt(1 + beta_gamma**2)
    beta2 = (beta_gamma / gamma) ** 2
    if mass < 1.5 * ELECTRON_ENERGY:
        max_transfer = 0.5 * mass * (gamma - 1)
    else:
        ratio = ELECTRON_ENERGY / mass
        max_transfer = 2 * ELECTRON_ENERGY * beta_gamma**2 / (1 + 2 * gamma * ratio + ratio**2)
    xi = _RUTHERFORD / beta2
    cut = min(HARD, max_transfer)
    logarithm = math.log(2 * ELECTRON_ENERGY * beta_gamma**2 * cut / _EXCITATION**2)
    number = logarithm - beta2 * (1 + cut / max_transfer) - density_effect(beta_gamma)
    number = max(number, 1.0)
    hard = xi * (1 / cut - 1 / max_transfer)
    return EnergyLoss(xi * number, (cut + _SHELL_VARIANCE) / number, hard, max_transfer, beta2)


@shared
def density_effect(beta_gamma: float) -> float:
    """Sternheimer's density correction delta."""
    x = math.log10(beta_gamma)
    if x < _DENSITY_X0:
        return 0.0
    delta = 2 * math.log(10.0) * x - _DENSITY_C
    if x < _DENSITY_X1:
        delta += _DENSITY_A * (_DENSITY_X1 - x) ** _DENSITY_K
    return delta


@shared
def transfer(loss: EnergyLoss, uniform: float, accept: float) -> float:
    """Energy that one hard collision transfers, keV; 0 if the spectrum leaves it out.

    Args:
        loss: of the particle.
        uniform, accept: random numbers in [0, 1).
    """
    energy = 1 / (1 / HARD - uniform * (1 / HARD - 1 / loss.max_transfer))
    return energy if accept > loss.beta2 * energy / loss.max_transfer else 0.0


@shared
def kinetic_before(mass: float, momentum: float, path: float) -> float:
    """Kinetic energy before ``path`` cm of silicon, keV; 0 if the particle stops inside.

    Args:
        mass, momentum: of the particle, GeV.
        path: cm.
    """
    if momentum < MIN_BETA_GAMMA * mass:
        return 0.0
    kinetic = (math.sqrt(momentum**2 + mass**2) - mass) * KEV_PER_GEV
    if mass == ELECTRON_MASS and electron_range(kinetic) < path:
        return 0.0
    return kinetic


@shared
def soft_loss(loss: EnergyLoss, path: float, rng: np.random.Generator) -> float:
    """Energy that all soft collisions on ``path`` cm take, keV."""
    return loss.soft_scale * rng.standard_gamma(loss.soft * path / loss.soft_scale)


@shared
def electron_range(energy: float) -> float:
    """Practical range of an electron in silicon, cm (Katz, Penfold, RMP 24 (1952) 28)."""
    mev = energy / 1000
    return 0.412 / 2.329 * mev ** (1.265 - 0.0954 * math.log(mev))


@shared
def emission_cosine(energy: float, max_transfer: float) -> float:
    """Cosine between a particle and an electron that it knocks out with ``energy``, keV."""
    squared = energy * (max_transfer + 2 * ELECTRON_ENERGY)
    squared /= max_transfer * (energy + 2 * ELECTRON_ENERGY)
    return math.sqrt(min(squared, 1.0))
