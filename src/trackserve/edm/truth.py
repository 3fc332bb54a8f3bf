"""The truth of simulated events: collisions, particles, and what the particles leave.

Lengths are in cm, momenta in GeV. Positions are absolute: relative to the detector's centre,
not to the beam spot. The z axis is the beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, column

MM_PER_CM = 10.0
"""Space points, ACTS and TrackML count in mm."""
GEV_PER_T_MM = 0.299792458e-3
"""pT of a particle of charge 1 by the field and the radius of its circle, GeV/(T mm)."""


@dataclass(frozen=True, eq=False)
class Collisions(Columns):
    """Collisions of protons. Row 0 is the hard collision."""

    position: Array = column(np.float64, 3)
    """x, y, z, cm."""


@dataclass(frozen=True, eq=False)
class Particles(Columns):
    """Simulated particles, at the place where each one starts.

    A particle that is made in the detector's material has the collision of its ancestor.
    """

    collision: Array = column(np.int32)
    """Row in :class:`Collisions`; -1 if it is not known."""
    pdg: Array = column(np.int32)
    """Number of the Particle Data Group; 0 if it is not known."""
    charge: Array = column(np.int8)
    """Charge, elementary charges."""
    position: Array = column(np.float64, 3)
    """x, y, z of the start, cm."""
    momentum: Array = column(np.float64, 3)
    """px, py, pz at the start, GeV."""
    primary: Array = column(np.bool_)
    """Who counts as primary depends on where the event is from.

    - Events of space points (our simulation, TrackML): a particle is primary if the generator
      made it. A particle that is made in the material is not.
    - Our pixel simulation: a primary particle must also start closer to its collision than
      :data:`trackserve.simulation.pixel.transport.PRIMARY_RADIUS`. Decay products of strange
      hadrons mostly start farther away, those of heavy flavour do not.
    - A ``truth.npz`` that does not say it: every particle is primary.
    """

    @property
    def pt(self) -> Array:
        """Transverse momentum, float64[n], GeV."""
        pt: Array = np.hypot(self.momentum[:, 0], self.momentum[:, 1])
        return pt

    @property
    def eta(self) -> Array:
        """Pseudorapidity, float64[n]; infinite or NaN for a particle along the beam."""
        with np.errstate(divide="ignore", invalid="ignore"):
            eta: Array = np.arcsinh(self.momentum[:, 2] / self.pt)
        return eta

    @property
    def phi(self) -> Array:
        """Azimuth of the momentum, float64[n], rad."""
        # for columns numpy takes another formula if the result happens to lie right behind them
        px, py = self.momentum[:, :2].T.copy()
        phi: Array = np.arctan2(py, px)
        return phi


def momentum_of(pt: Array, eta: Array, phi: Array) -> Array:
    """Return momenta, float64[n, 3], GeV.

    Args:
        pt: transverse momenta, GeV.
        eta: pseudorapidities.
        phi: azimuths, rad.
    """
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)


@dataclass(frozen=True, eq=False)
class TrueHits(Columns):
    """Places where particles, and background, cross the modules of a pixel detector."""

    particle: Array = column(np.int32)
    """Row in :class:`Particles`; -1 for background."""
    module: Array = column(np.int32)
    """Module, 0..1855."""
    x_local: Array = column(np.float64)
    """Position across the rows, in the module, cm."""
    y_local: Array = column(np.float64)
    """Position along the columns, in the module, cm."""


@dataclass(frozen=True, eq=False)
class TruePoints(Columns):
    """Truth of each space point, in the order of the points."""

    particle: Array = column(np.int32)
    """Row in :class:`Particles`; -1 for noise."""
    volume: Array = column(np.int16)
    """Number of the volume."""
    layer: Array = column(np.int16)
    """Number of the layer in its volume."""
    module: Array = column(np.int32)
    """Number of the module in its layer."""
    weight: Array = column(np.float32)
    """Weight in the TrackML score, in any unit: the score divides by the event's sum."""


@dataclass(frozen=True, eq=False)
class PixelTruth:
    """The truth of one event of a pixel detector.

    Attributes:
        particles: charged particles. Our simulation keeps the generated ones of
            |eta| < 3, and every particle that leaves a hit.
        hits: where they cross modules, and background.
        collisions: where they come from.
        beam_spot: float64[3]; reconstructed positions are relative to it.
        module_layer: int32[modules], layer of each module.
    """

    particles: Particles
    hits: TrueHits
    collisions: Collisions
    beam_spot: Array
    module_layer: Array


@dataclass(frozen=True, eq=False)
class PointsTruth:
    """The truth of one event of space points.

    Attributes:
        points: one row per space point.
        particles: our simulation keeps the charged particles that the generator made, and
            every other particle that leaves a point.
    """

    points: TruePoints
    particles: Particles
