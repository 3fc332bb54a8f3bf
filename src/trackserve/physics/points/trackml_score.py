"""The score of the TrackML challenge (S. Amrouche et al., arXiv:1904.06778)."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.points import TrackCandidates
from trackserve.edm.truth import TruePoints
from trackserve.errors import InputError


def trackml_score(tracks: Array | TrackCandidates, truth: TruePoints) -> float:
    """Share of the points' weight that good tracks have in common with their particles, 0..1.

    A track is good if more than half of its points are from one particle, and more than
    half of that particle's points are on it.

    Args:
        tracks: int[n], the number of each point's track, negative for a point on no track; or
            candidates that share no points.
        truth: truth of the n points. Weights are divided by their sum, since an event may be
            a part of a larger one.

    Returns:
        0 if no point has a weight.

    Raises:
        InputError: there is not one label for each point, or a point is on two candidates.
    """
    if not isinstance(tracks, np.ndarray):
        tracks = _labels(tracks, len(truth))
    if tracks.shape != (len(truth),):
        raise InputError("not one label for each point", found=tracks.shape, bound=len(truth))
    total = truth.weight.sum(dtype=np.float64)
    if total <= 0:
        return 0.0
    number, track = np.unique(np.where(tracks < 0, -1, tracks), return_inverse=True)
    n_particles = int(truth.particle.max()) + 2
    pair = track * n_particles + truth.particle + 1
    pairs, common = np.unique(pair, return_counts=True)
    on_track, of_particle = pairs // n_particles, pairs % n_particles
    weight = np.bincount(np.searchsorted(pairs, pair), truth.weight, len(pairs))
    track_size = np.bincount(track)[on_track]
    particle_size = np.bincount(truth.particle + 1)[of_particle]
    good = (2 * common > track_size) & (2 * common > particle_size)
    good &= (number[on_track] >= 0) & (of_particle > 0)
    return float(weight[good].sum() / total)


def _labels(candidates: TrackCandidates, n_points: int) -> Array:
    """The candidate of each point, int64[n_points], -1 for none."""
    points = candidates.points.values
    if len(np.unique(points)) < len(points):
        raise InputError("a point is on two candidates, which the score does not allow")
    if len(points) and not 0 <= points.min() <= points.max() < n_points:
        raise InputError(
            "a candidate's point does not exist", found=int(points.max()), bound=n_points - 1
        )
    labels = np.full(n_points, -1, np.int64)
    sizes = candidates.points.counts
    labels[points] = np.repeat(np.arange(len(sizes)), sizes)
    return labels
