"""What material does to charged particles: scattering, radiation, interactions, ranges.

Lengths are in cm of silicon, momenta in GeV.
"""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import shared

from .material import SILICON_LENGTH
from .sensor import Vector
from .straggling import electron_range

ELECTRON, MUON, PION, KAON = 11, 13, 211, 321
ELECTRON_MASS, MUON_MASS, PION_MASS, PROTON_MASS = 0.000511, 0.1056584, 0.1395704, 0.9382721
"""GeV (Particle Data Group)."""
_INTERACTION_LENGTH = 46.52
_PION_INTERACTION_LENGTH = 59.1
"""Mean path to an inelastic interaction in silicon, of protons and of pions, cm (Particle Data
Group: 108.4 and 137.7 g/cm^2). Kaons count as pions. The dependence on momentum is left out."""
_MIN_HADRON_MOMENTUM = 0.1
"""GeV. A hadron with less does not interact."""
_SIGMA = (8.471e-1, 3.347e-2, -1.843e-3)
_TAIL = (4.841e-2, 6.348e-3, 6.096e-4)
"""Squared width of the core and weight of the tail, as powers of a logarithm of the thickness."""
_Z23 = 14.0 ** (2 / 3)


@shared
def turned(direction: Vector, cosine: float, turn: float) -> Vector:
    """A unit vector at an angle to another.

    Args:
        direction: unit vector.
        cosine: of the angle between both.
        turn: azimuth about ``direction``, in turns.
    """
    sine = math.sqrt(max(1 - cosine * cosine, 0.0))
    on_u, on_v = sine * math.cos(2 * math.pi * turn), sine * math.sin(2 * math.pi * turn)
    # two axes at right angles to the direction, good for any direction
    sign = math.copysign(1.0, direction.z)
    a = -1 / (sign + direction.z)
    b = direction.x * direction.y * a
    return Vector(
        cosine * direction.x + on_u * (1 + sign * direction.x**2 * a) + on_v * b,
        cosine * direction.y + on_u * sign * b + on_v * (sign + direction.y**2 * a),
        cosine * direction.z - on_u * sign * direction.x - on_v * direction.y,
    )


@shared
def isotropic(rng: np.random.Generator) -> Vector:
    """A random unit vector."""
    z = 2 * rng.random() - 1
    across, phi = math.sqrt(1 - z * z), 2 * math.pi * rng.random()
    return Vector(across * math.cos(phi), across * math.sin(phi), z)


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
    rms = 0.0136 / (math.sqrt(beta2) * momentum) * math.sqrt(thickness)
    rms *= max(1 + 0.038 * math.log(thickness / beta2), 0.5)
    log = math.log(thickness / beta2)
    core = min(max(_SIGMA[0] + _SIGMA[1] * log + _SIGMA[2] * log**2, 0.1), 1.0)
    log += math.log(_Z23)
    weight = max(_TAIL[0] + _TAIL[1] * log + _TAIL[2] * log**2, 0.01)
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
def interacts(pdg: int, momentum: float, path: float, rng: np.random.Generator) -> bool:
    """Whether a hadron interacts inelastically with a nucleus."""
    if abs(pdg) < 100 or momentum < _MIN_HADRON_MOMENTUM:
        return False
    length = _INTERACTION_LENGTH if abs(pdg) > 1000 else _PION_INTERACTION_LENGTH
    return rng.random() < 1 - math.exp(-path / length)


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
