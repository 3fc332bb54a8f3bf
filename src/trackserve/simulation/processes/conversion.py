"""Photons that become pairs of electrons."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import Array


def conversion_rate(energy: Array) -> Array:
    """Conversions per radiation length of photons of ``energy`` (GeV), float64[n].

    It is 7/9 at high energy. At low energy it is the fit of ACTS Fatras to the cross sections in
    aluminium of Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815, between 0.1 and 100 GeV.
    """
    rate: Array = 7 / 9 * np.maximum(1 + 0.00701612 - 0.0769040 * energy**-0.607682, 0.1)
    return rate


def share_density(share: Array) -> Array:
    """Relative probability that the electron gets a share of the photon's energy.

    It is 1 - 4/3 x (1 - x), which holds for complete screening (B. Rossi).
    """
    return 1 - 4 / 3 * share * (1 - share)


def energy_shares(n: int, rng: np.random.Generator) -> Array:
    """Share of the energy that the electron gets, float64[n]."""
    share = rng.random(n)
    again = np.flatnonzero(rng.random(n) > share_density(share))
    if len(again):
        share[again] = energy_shares(len(again), rng)
    return share
