"""The nouns of a whole tracker: space points, and the candidates made of them.

Lengths are in mm. The z axis is the beam, the origin is the detector's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, Ragged, column, ragged
from .truth import PointsTruth


@dataclass(frozen=True, eq=False)
class SpacePoints(Columns):
    """Places where sensors were hit."""

    position: Array = column(np.float32, 3)
    """x, y, z, mm."""


@dataclass(frozen=True, eq=False)
class Measurements(Columns):
    """What sensors measured: a row for each space point, in the order of the points."""

    surface: Array = column(np.uint64)
    """Identifier of the sensor, as the tracking geometry packs it (of ACTS: its value)."""
    local: Array = column(np.float32, 2)
    """Place on the sensor along its two axes, mm."""
    variance: Array = column(np.float32, 2)
    """Variance of each coordinate, mm^2; the two are independent."""


GENERIC_DETECTOR = "generic"
"""Name of ACTS' GenericDetector, which is also the detector of the TrackML challenge."""
GENERIC_PIXELS = "generic-pixels"
"""Name of its pixel volumes alone."""


@dataclass(frozen=True, eq=False)
class PointsEvent:
    """The space points of one bunch crossing, and for simulated ones the truth."""

    points: SpacePoints
    event: int = 0
    truth: PointsTruth | None = None


@dataclass(frozen=True, eq=False)
class Edges(Columns):
    """Pairs of space points that may follow each other on a track."""

    source: Array = column(np.int32)
    """Row of the event's points."""
    target: Array = column(np.int32)
    """Row of the event's points."""
    score: Array = column(np.float32)
    """Score by the network that kept the edge, 0..1; 1 where no network has judged it."""


@dataclass(frozen=True, eq=False)
class TrackCandidates(Columns):
    """Sets of space points that belong to one particle each.

    Candidates are ordered by their smallest point.
    """

    points: Ragged = ragged(np.int32)
    """Rows of the event's space points, from the inside out: by distance from the origin."""
    score: Array = column(np.float32)
    """How sure the tracker is, 0..1; of a learned one, the mean score of its edges."""


@dataclass(frozen=True, eq=False)
class PointLabels(Columns):
    """The connected component of each space point, isolated ones too."""

    component: Array = column(np.int64)
    """Number of the component; components are numbered from 0 by their smallest point."""


@dataclass(frozen=True, eq=False)
class Helices(Columns):
    """Helices of candidates, where they pass the z axis most closely; a row for each candidate.

    The signs are those of :class:`FittedTracks`.
    """

    pt: Array = column(np.float32)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float32)
    """Pseudorapidity of the direction."""
    phi: Array = column(np.float32)
    """Azimuth of the direction, rad."""
    d0: Array = column(np.float32)
    """Distance from the z axis, mm; positive if the axis is to the right of the track."""
    z0: Array = column(np.float32)
    """Place along the z axis, mm."""
    charge: Array = column(np.int8)
    """Charge, elementary charges: 1 or -1."""
    covariance: Array = column(np.float32, 15)
    """Upper triangle of the covariance of d0, z0, phi, theta and q/p (1/GeV), in row order."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int32)
    """Degrees of freedom of the fit."""
    holes: Array = column(np.int32)
    """Number of layers between the z axis and the last point that were crossed without a point."""

    @property
    def theta(self) -> Array:
        """Polar angle of the direction, rad."""
        theta: Array = 2 * np.arctan(np.exp(-self.eta))
        return theta

    @property
    def q_over_p(self) -> Array:
        """Charge over momentum, 1/GeV."""
        q_over_p: Array = self.charge / (self.pt * np.cosh(self.eta))
        return q_over_p

    @property
    def state(self) -> Array:
        """d0, z0, phi, theta and q/p, float32[candidates, 5]."""
        return np.stack([self.d0, self.z0, self.phi, self.theta, self.q_over_p], axis=1)


@dataclass(frozen=True, eq=False)
class FittedTracks(Columns):
    """Fitted tracks, where they pass the z axis most closely."""

    d0: Array = column(np.float32)
    """Distance from the z axis, mm; positive if the axis is to the right of the track."""
    z0: Array = column(np.float32)
    """Place along the z axis, mm."""
    phi: Array = column(np.float32)
    """Azimuth of the direction, rad."""
    theta: Array = column(np.float32)
    """Polar angle of the direction, rad."""
    q_over_p: Array = column(np.float32)
    """Charge over momentum, 1/GeV."""
    covariance: Array = column(np.float32, 15)
    """Upper triangle of the covariance of the five, in row order."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int32)
    """Degrees of freedom of the fit."""
    holes: Array = column(np.int32)
    """Number of sensors that were crossed without a measurement."""
    outliers: Array = column(np.int32)
    """Number of measurements that the fit left out."""
    points: Ragged = ragged(np.int32)
    """Rows of the event's space points that were fitted, from the inside out."""

    @property
    def state(self) -> Array:
        """The five parameters, float32[tracks, 5]."""
        return np.stack([self.d0, self.z0, self.phi, self.theta, self.q_over_p], axis=1)

    @property
    def pt(self) -> Array:
        """Transverse momentum, GeV."""
        pt: Array = np.sin(self.theta) / np.abs(self.q_over_p)
        return pt

    @property
    def eta(self) -> Array:
        """Pseudorapidity."""
        eta: Array = -np.log(np.tan(self.theta / 2))
        return eta
