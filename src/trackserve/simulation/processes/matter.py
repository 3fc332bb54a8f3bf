"""What material does to charged particles: scattering, radiation, ranges.

Lengths are in cm of silicon, momenta in GeV.
"""

from __future__ import annotations

import math

import numpy as np

from trackserve.detectors.scattering import KICK, LOG_TERM
from trackserve.detectors.silicon import SILICON_LENGTH
from trackserve.device.compile import shared

from .kinematics import Vector, turned
from .straggling import electron_range

_SIGMA = (8.471e-1, 3.347e-2, -1.843e-3)
_TAIL, _THICK_TAIL = (4.841e-2, 6.348e-3, 6.096e-4), (-1.908e-2, 1.106e-1, -5.729e-3)
"""Squared width of the core and weight of the tail, as powers of a logarithm of the thickness. The
weight has other powers where the logarithm is 0.5 or more."""
_Z23 = 14.0 ** (2 / 3)


@shared
def scattered(
    direction: Vector, momentum: float, mass: float, path: float, rng: np.random.Generator
) -> Vector:
    """The direction after multiple scattering.

    The rms is Highland's, as the Particle Data Group has it. The shape is a mixture of two normal
    distributions: R. Fruehwirth, M. Liendl, Comput. Phys. Commun. 141 (2001) 230.

    Args:
        direction: unit vector.
        momentum, mass: GeV.
        path: cm of silicon.
        rng: random numbers.
    """
    thickness = path / SILICON_LENGTH
    if thickness <= 0:
        return direction
    beta2 = momentum**2 / (momentum**2 + mass**2)
    rms = KICK / (math.sqrt(beta2) * momentum) * math.sqrt(thickness)
    rms *= max(1 + LOG_TERM * math.log(thickness / beta2), 0.5)
    log = math.log(thickness / beta2)
    core = min(max(_SIGMA[0] + _SIGMA[1] * log + _SIGMA[2] * log**2, 0.1), 1.0)
    log += math.log(_Z23)
    tail = _TAIL if log < 0.5 else _THICK_TAIL
    weight = tail[0] + tail[1] * log + tail[2] * log**2
    if rng.random() < weight:
        core = (1 - (1 - weight) * core) / weight
    rms *= math.sqrt(core)
    theta = math.hypot(rms * rng.standard_normal(), rms * rng.standard_normal())
    return turned(direction, math.cos(min(theta, math.pi)), rng.random())


@shared
def radiated(path: float, rng: np.random.Generator) -> float:
    """Share of its energy that an electron keeps after bremsstrahlung (Bethe and Heitler).

    Its negative logarithm has a gamma distribution (Bethe, Heitler, Proc. R. Soc. A 146 (1934) 83).
    """
    return math.exp(-rng.standard_gamma(path / SILICON_LENGTH / math.log(2.0)))


@shared
def energy_of_range(reach: float, most: float) -> float:
    """Energy of an electron whose range is ``reach`` (cm), at most ``most``, keV."""
    low, high = 0.0, most
    for _ in range(16):
        middle = 0.5 * (low + high)
        if electron_range(middle) < reach:
            low = middle
        else:
            high = middle
    return high
