"""Numbers of the Particle Data Group, and masses, of what flies through a detector."""

from __future__ import annotations

ELECTRON, MUON, PHOTON, PION, KAON = 11, 13, 22, 211, 321
ELECTRON_MASS, MUON_MASS, PION_MASS, PROTON_MASS = 0.000511, 0.1056584, 0.1395704, 0.9382721
"""GeV (Particle Data Group)."""
