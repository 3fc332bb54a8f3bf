"""Particles that a tracker of space points should find, and the order of their points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm import GEV_PER_T_MM, MM_PER_CM, PointsEvent, PointsTruth
from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.points import GENERIC_PIXELS
from trackserve.errors import InputError

CENTRAL_ETA = 3.0
"""The efficiency is also given for particles of a smaller |eta| than this."""


@dataclass(frozen=True)
class Wanted:
    """Which particles a tracker should find: charged primaries in these limits.

    Attributes:
        min_pt: GeV; of particles of a larger pT.
        max_eta: of a smaller |eta|.
        max_radius: mm; that start nearer to the beam.
        min_layers: with points on at least so many layers.
        central_eta: a training is judged by particles of a smaller |eta|.
    """

    min_pt: float = 1.0
    max_eta: float = 4.0
    max_radius: float = 2.0
    min_layers: int = 5
    central_eta: float = CENTRAL_ETA


STANDARD = Wanted()
"""What is wanted of a whole tracker."""
PIXELS = Wanted(min_pt=0.9, min_layers=3, central_eta=4.0)
"""What is wanted of the pixels alone of GenericDetector: as in the published comparisons of
learned trackers on the pixel points of TrackML."""


def wanted_in(detector: str | None) -> Wanted:
    """Which particles should be found in the events of a detector, by its name."""
    return PIXELS if detector == GENERIC_PIXELS else STANDARD


FIELD = 2.0
"""Tesla; the field of TrackML and of GenericDetector, which gives a track its momentum."""
PT_PER_RADIUS = GEV_PER_T_MM * FIELD
"""GeV/mm of a particle of charge 1."""


@dataclass(frozen=True, eq=False)
class TruePaths(Columns):
    """One row per particle: what it leaves in the detector."""

    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    radius: Array = column(np.float64)
    """Distance of its start from the beam, mm."""
    charged_primary: Array = column(np.bool_)
    n_points: Array = column(np.int64)
    n_layers: Array = column(np.int64)
    """Distinct layers with its points."""

    def reconstructable(self, wanted: Wanted = STANDARD) -> Array:
        """Whether a tracker should find each particle, bool[particles]."""
        good = self.charged_primary & (self.n_layers >= wanted.min_layers)
        good &= (self.pt > wanted.min_pt) & (np.abs(self.eta) < wanted.max_eta)
        return good & (self.radius < wanted.max_radius)


def truth_of(event: PointsEvent) -> PointsTruth:
    """The truth of ``event``.

    Raises:
        InputError: it has none.
    """
    if event.truth is None:
        raise InputError("the event has no truth to compare with", event=event.event)
    return event.truth


def true_paths(truth: PointsTruth) -> TruePaths:
    """One row per particle of ``truth``."""
    particles = truth.particles
    start = particles.position * MM_PER_CM
    points = truth.points.take(truth.points.particle >= 0)
    layer = points.volume.astype(np.int64) << 16 | points.layer.astype(np.int64)
    crossed = np.unique(points.particle.astype(np.int64) << 32 | layer) >> 32
    return TruePaths(
        particles.pt,
        particles.eta,
        np.hypot(start[:, 0], start[:, 1]),
        particles.primary & (particles.charge != 0),
        np.bincount(points.particle, minlength=len(particles)),
        np.bincount(crossed, minlength=len(particles)),
    )


def next_points(event: PointsEvent) -> Array:
    """The point that follows each point on its particle.

    The points of a particle are ordered by their distance from where it starts.

    Returns:
        int64[points]: row in the event's points; -1 for noise and for a particle's last point.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    particle = truth.points.particle
    following = np.full(len(particle), -1)
    points = np.flatnonzero(particle >= 0)
    particle = particle[points]
    start = truth.particles.position[particle] * MM_PER_CM
    step = event.points.position[points].astype(np.float64) - start
    order = np.lexsort((np.einsum("ij,ij->i", step, step), particle))
    points, particle = points[order], particle[order]
    same = particle[1:] == particle[:-1]
    following[points[:-1][same]] = points[1:][same]
    return following
