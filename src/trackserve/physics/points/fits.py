"""Fitted tracks beside the truth: which candidates were fitted, residuals and pulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from trackserve.edm import (
    MM_PER_CM,
    VARIANCES,
    FittedTracks,
    Particles,
    PointsEvent,
    Ragged,
    TrackCandidates,
)
from trackserve.edm.columns import Array, Columns, column

from ..helix import perigee, wrap
from ..statistics import Fraction, Width
from .matching import MajorityMatches, duplicates, match_candidates
from .truth import CENTRAL_ETA, PT_PER_RADIUS, STANDARD, Wanted, true_paths, truth_of

HIGH_PT = 5.0
"""GeV; the efficiency is also given for particles above it."""
PARAMETERS = ("d0", "z0", "phi", "theta", "q/p")
"""Parameters of a fitted track, in the order of :class:`trackserve.edm.FittedTracks`."""


@dataclass(frozen=True, eq=False)
class FitTable(Columns):
    """One row per track of a reconstructable particle, by double majority, of a central |eta|."""

    pt: Array = column(np.float64)
    """True transverse momentum, GeV."""
    eta: Array = column(np.float64)
    """True pseudorapidity."""
    residual: Array = column(np.float64, 5)
    """Fitted - true of :data:`PARAMETERS`; mm, mm, rad, rad, 1/GeV."""
    pull: Array = column(np.float64, 5)
    """The residual over its error."""
    relative_pt: Array = column(np.float64)
    """(fitted - true) / true of pT."""
    pure: Array = column(np.bool_)
    """All its points are the particle's."""


@dataclass(frozen=True)
class Widths:
    """Widths of what is fitted beside the truth.

    Attributes:
        residual, pull: widths by parameter.
        pure_pull: the same widths of tracks without a point of another particle.
        relative_pt: width of (fitted - true) / true of pT.
    """

    residual: dict[str, Width]
    pull: dict[str, Width]
    pure_pull: dict[str, Width]
    relative_pt: Width


@dataclass(frozen=True)
class Fitted:
    """Fits of some events beside their truth; a name stands for a row of a report.

    Attributes:
        tracks: number of tracks.
        efficiency: share of reconstructable particles of |eta| below :data:`.truth.CENTRAL_ETA`,
            with as many points as a track needs measurements, that a track matches by
            double majority.
        high_efficiency: the same share of those above :data:`HIGH_PT`.
        fake_rate: share of tracks of which no particle has more than half of the points.
        duplicate_rate: share of tracks whose particle has a better track.
        fitted: share of the candidates, of enough points, that match a reconstructable particle
            and whose points are on a fitted track.
        widths: residuals and pulls, for particles of |eta| below :data:`.truth.CENTRAL_ETA`.
    """

    tracks: int
    efficiency: Fraction
    high_efficiency: Fraction
    fake_rate: Fraction
    duplicate_rate: Fraction
    fitted: Fraction
    widths: Widths


@dataclass(frozen=True)
class FoundTracks:
    """Tracks of some events beside the particles that should be found.

    Attributes:
        efficiency, high_efficiency, fake_rate, duplicate_rate: as of :class:`Fitted`.
    """

    efficiency: Fraction
    high_efficiency: Fraction
    fake_rate: Fraction
    duplicate_rate: Fraction


@dataclass(frozen=True, eq=False)
class EventFits:
    """The fits of one event beside its truth.

    Attributes:
        table: the tracks that match.
        found: which particles have a track.
        fitted: as of :class:`Fitted`.
    """

    table: FitTable
    found: FoundTracks
    fitted: Fraction


def true_states(particles: Particles) -> Array:
    """:data:`PARAMETERS` of particles where they pass the z axis, float64[particles, 5]."""
    origin = np.zeros(3)
    phi, tip, q_over_pt, cot_theta, zip_ = perigee(particles, origin, MM_PER_CM * PT_PER_RADIUS).T
    theta = np.arctan2(1.0, cot_theta)
    return np.stack(
        [-tip * MM_PER_CM, zip_ * MM_PER_CM, phi, theta, q_over_pt * np.sin(theta)], axis=1
    )


def true_candidates(event: PointsEvent, min_points: int) -> TrackCandidates:
    """The candidates of a perfect tracker: the points of each reconstructable particle.

    Args:
        event: with truth.
        min_points: least points of a candidate.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    wanted = true_paths(truth).reconstructable()
    particle = truth.points.particle
    distance = np.linalg.norm(event.points.position, axis=1)
    order = np.lexsort((distance, particle))
    order = order[particle[order] >= 0]
    first = np.searchsorted(particle[order], np.arange(len(wanted) + 1))
    lists = Ragged(first.astype(np.int64), order.astype(np.int32))
    lists = lists.take(wanted & (lists.counts >= min_points))
    return TrackCandidates(lists, np.ones(len(lists), np.float32))


def judge_fits(
    event: PointsEvent,
    candidates: TrackCandidates | None,
    tracks: FittedTracks,
    min_measurements: int,
) -> EventFits:
    """Compare the fitted tracks of one event with its truth.

    Args:
        event: with truth.
        candidates: what was fitted; None: the tracks were found and fitted in one.
        tracks: the tracks.
        min_measurements: least measurements of a track.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    wanted = true_paths(truth).reconstructable()
    return EventFits(
        fit_table(event, tracks.points, tracks.state, tracks.covariance),
        judge_tracks(event, tracks.points, min_measurements),
        _fitted(candidates, tracks, truth.points.particle, wanted, min_measurements),
    )


def fit_table(
    event: PointsEvent,
    points: Ragged,
    state: Array,
    covariance: Array,
    wanted: Wanted = STANDARD,
) -> FitTable:
    """Return the tracks that match a central reconstructable particle, beside it.

    Args:
        event: with truth.
        points: the points of each track.
        state: float[tracks, 5], :data:`PARAMETERS`.
        covariance: float[tracks, 15], upper triangle of their covariance.
        wanted: which particles are reconstructable.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    paths = true_paths(truth)
    matches = _match(points, truth.points.particle)
    central = paths.reconstructable(wanted) & (np.abs(paths.eta) < CENTRAL_ETA)
    rows = np.flatnonzero(matches.double)
    rows = rows[central[matches.particle[rows]]]
    owner = matches.particle[rows]
    residual = state[rows] - true_states(truth.particles.take(owner))
    residual[:, 2] = wrap(residual[:, 2])
    error = np.sqrt(covariance[rows][:, VARIANCES].astype(np.float64))
    pt = np.sin(state[rows, 3]) / np.abs(state[rows, 4])
    return FitTable(
        paths.pt[owner],
        paths.eta[owner],
        residual,
        residual / error,
        pt / paths.pt[owner] - 1,
        matches.shared[rows] == matches.n_points[rows],
    )


def widths_of(table: FitTable) -> Widths:
    """The widths of all tracks of a table."""
    return Widths(
        {name: Width.of(table.residual[:, i]) for i, name in enumerate(PARAMETERS)},
        {name: Width.of(table.pull[:, i]) for i, name in enumerate(PARAMETERS)},
        {name: Width.of(table.pull[table.pure, i]) for i, name in enumerate(PARAMETERS)},
        Width.of(table.relative_pt),
    )


def judge_tracks(event: PointsEvent, points: Ragged, least: int) -> FoundTracks:
    """Compare tracks of one event with the particles that should be found.

    Args:
        event: with truth.
        points: the points of each track.
        least: least points of a particle, and of a track; shorter tracks are left out.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    paths = true_paths(truth)
    matches = _match(points.take(points.counts >= least), truth.points.particle)
    double = np.zeros(len(paths), bool)
    double[matches.particle[matches.double]] = True
    asked = paths.reconstructable() & (np.abs(paths.eta) < CENTRAL_ETA) & (paths.n_points >= least)
    return FoundTracks(
        Fraction.of(double[asked]),
        Fraction.of(double[asked & (paths.pt > HIGH_PT)]),
        Fraction.of(matches.particle < 0),
        Fraction.of(duplicates(matches)),
    )


def pool_tracks(events: Sequence[FoundTracks]) -> FoundTracks:
    """The shares of all events together."""
    names = [f.name for f in fields(FoundTracks)]
    return FoundTracks(
        **{name: Fraction.pooled(getattr(one, name) for one in events) for name in names}
    )


def summarize_fits(events: Sequence[EventFits]) -> Fitted:
    """The numbers of all events together."""
    found = pool_tracks([one.found for one in events])
    return Fitted(
        found.fake_rate.total,
        found.efficiency,
        found.high_efficiency,
        found.fake_rate,
        found.duplicate_rate,
        Fraction.pooled(one.fitted for one in events),
        widths_of(FitTable.concatenate([one.table for one in events])),
    )


def _match(points: Ragged, particle: Array) -> MajorityMatches:
    return match_candidates(points.offsets, points.values, particle)


def _fitted(
    candidates: TrackCandidates | None,
    tracks: FittedTracks,
    particle: Array,
    wanted: Array,
    min_measurements: int,
) -> Fraction:
    """The share of matched candidates that have become a track."""
    if candidates is None:
        return Fraction(0, 0)
    lists = candidates.points
    matches = _match(lists, particle)
    good = matches.double & (lists.counts >= min_measurements)
    good[good] = wanted[matches.particle[good]]
    used = np.zeros(len(particle), bool)
    used[tracks.points.values] = True
    n_used = np.add.reduceat(
        np.append(used[lists.values], False).astype(np.int64), lists.offsets[:-1]
    )
    return Fraction.of(2 * n_used[good] > lists.counts[good])
