"""Particles that a tracker of space points should find, and the order of their points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm import GEV_PER_T_MM, MM_PER_CM, PointsEvent, PointsTruth
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import InputError

MIN_PT = 1.0
MAX_ETA = 4.0
MAX_RADIUS = 2.0
MIN_LAYERS = 5
"""A charged primary is reconstructable if it has a pT above ``MIN_PT`` (GeV) and a |eta| below
``MAX_ETA``, starts within ``MAX_RADIUS`` (mm) of the beam and leaves points on ``MIN_LAYERS``
layers."""
FIELD = 2.0
"""Tesla; the field of TrackML and of GenericDetector, which gives a track its momentum."""
PT_PER_RADIUS = GEV_PER_T_MM * FIELD
"""GeV/mm of a particle of charge 1."""
CENTRAL_ETA = 3.0
"""The efficiency is also given for particles of a smaller |eta| than this."""


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

    def reconstructable(self, least_pt: float = MIN_PT) -> Array:
        """Whether a tracker should find each particle, bool[particles].

        Args:
            least_pt: GeV; of particles above.
        """
        good = self.charged_primary & (self.n_layers >= MIN_LAYERS)
        return (
            good & (self.pt > least_pt) & (np.abs(self.eta) < MAX_ETA) & (self.radius < MAX_RADIUS)
        )


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
