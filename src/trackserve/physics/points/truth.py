"""Which particles a tracker should find, and how their points follow each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm import PointsEvent, PointsTruth
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import InputError

MIN_PT = 1.0
MAX_ETA = 4.0
MAX_RADIUS = 2.0
MIN_LAYERS = 5
"""A charged primary is reconstructable above ``MIN_PT`` (GeV) and below ``MAX_ETA``, if it
starts within ``MAX_RADIUS`` (mm) of the beam and leaves points on ``MIN_LAYERS`` layers."""
CENTRAL_ETA = 3.0
"""Efficiencies are quoted once more below it."""


@dataclass(frozen=True, eq=False)
class TruePaths(Columns):
    """What each particle of an event leaves in the detector."""

    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    radius: Array = column(np.float64)
    """Distance of its start from the beam, mm."""
    charged_primary: Array = column(np.bool_)
    n_points: Array = column(np.int64)
    n_layers: Array = column(np.int64)
    """Distinct layers with its points."""

    def reconstructable(self) -> Array:
        """bool[particles]."""
        good = self.charged_primary & (self.n_layers >= MIN_LAYERS)
        return good & (self.pt > MIN_PT) & (np.abs(self.eta) < MAX_ETA) & (self.radius < MAX_RADIUS)


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
    momentum = particles.momentum.astype(np.float64)
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.arcsinh(momentum[:, 2] / pt)
    start = particles.position.astype(np.float64)
    points = truth.points.take(truth.points.particle >= 0)
    layer = points.volume.astype(np.int64) << 16 | points.layer.astype(np.int64)
    crossed = np.unique(points.particle.astype(np.int64) << 32 | layer) >> 32
    return TruePaths(
        pt,
        eta,
        np.hypot(start[:, 0], start[:, 1]),
        particles.primary & (particles.charge != 0),
        np.bincount(points.particle, minlength=len(particles)),
        np.bincount(crossed, minlength=len(particles)),
    )


def next_points(event: PointsEvent) -> Array:
    """The point that follows each point on its particle, by distance from where that starts.

    Returns:
        int64[points]: row in the event's points; -1 for noise and for last points.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    particle = truth.points.particle
    following = np.full(len(particle), -1)
    points = np.flatnonzero(particle >= 0)
    particle = particle[points]
    step = event.points.position[points].astype(np.float64) - truth.particles.position[particle]
    order = np.lexsort((np.einsum("ij,ij->i", step, step), particle))
    points, particle = points[order], particle[order]
    same = particle[1:] == particle[:-1]
    following[points[:-1][same]] = points[1:][same]
    return following
