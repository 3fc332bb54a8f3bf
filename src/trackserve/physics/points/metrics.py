"""Physics performance of trackers of space points: efficiencies, fakes, lost particles.

Events are first matched to their truth (:func:`match_points_events`). The result is two flat
tables, of particles and of tracks, and the quality of every graph that the tracker kept.
:func:`summarize_points` takes its numbers from them, and
:mod:`trackserve.report.points_figures` its figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trackserve.edm import Edges, Helices, PointLabels, PointsEvent, TrackCandidates
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import EventError, InputError

from ..statistics import Fraction, bin_name
from .fits import FitTable, Widths, fit_table, widths_of
from .graph import MIN_POINTS, GraphQuality, judge_graph
from .matching import duplicates, match_candidates, match_components
from .trackml_score import trackml_score
from .truth import (
    CENTRAL_ETA,
    STANDARD,
    Wanted,
    next_points,
    true_paths,
    truth_of,
)
from .truth import (
    FIELD as FIELD,
)
from .truth import (
    PT_PER_RADIUS as PT_PER_RADIUS,
)

GRAPHS = {"radius": "radius_edges", "filter": "filter_edges", "gnn": "track_edges"}
"""The stages of a tracker that leave graphs, and the names that a result has for their edges."""
STAGES = (*GRAPHS, "components", "candidates")
"""The stages in their order. A tracker without graphs has the last one only."""
PT_BINS = (2.0, 5.0, 10.0, math.inf)
"""GeV; there is one more below, from the least pT on."""


class PointsResult(Protocol):
    """The parts of a tracker's result for one event that are compared with the truth.

    A result may also have ``labels``, a :class:`.PointLabels`, and the edges
    that :data:`GRAPHS` names. They tell where particles are lost. With ``helices``, a
    :class:`.Helices` with a row for each candidate, these are compared with the true ones.
    """

    @property
    def event(self) -> int: ...
    @property
    def candidates(self) -> TrackCandidates: ...


@dataclass(frozen=True, eq=False)
class ParticleTable(Columns):
    """One row per charged primary with points on enough layers."""

    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    radius: Array = column(np.float64)
    """Distance of its start from the beam, mm."""
    event_points: Array = column(np.int64)
    """Space points of its event."""
    reconstructable: Array = column(np.bool_)
    single: Array = column(np.bool_)
    """It is found by single majority."""
    double: Array = column(np.bool_)
    """It is found by double majority."""
    left: Array = column(np.bool_, len(STAGES))
    """Whether it could still be found after each of :data:`STAGES`: after a graph by a perfect
    later stage, after the other stages by double majority."""

    def left_after(self, stage: str) -> Array:
        """Whether each particle could still be found after ``stage``, bool[particles]."""
        left: Array = self.left[:, STAGES.index(stage)]
        return left


@dataclass(frozen=True, eq=False)
class TrackTable(Columns):
    """One row per candidate of at least :data:`.graph.MIN_POINTS` points."""

    pt: Array = column(np.float64)
    """Momentum of the circle through the first, the middle and the last point, at 2 T."""
    eta: Array = column(np.float64)
    """Pseudorapidity of the line from the first point to the last."""
    n_points: Array = column(np.int64)
    single: Array = column(np.bool_)
    """A particle of any kind has more than half of the track's points."""
    double: Array = column(np.bool_)
    """The track also has more than half of that particle's points."""
    duplicate: Array = column(np.bool_)
    other: Array = column(np.bool_)
    """The track's particle is not reconstructable."""


@dataclass(frozen=True, eq=False)
class PointsMatches:
    """Results of events beside their truth.

    Attributes:
        points: number of space points of each event.
        particles, tracks: rows of all events.
        graphs: by stage, the quality of each event's graph; without the stages whose edges
            were not kept.
        stages: those of :data:`STAGES` about which something is known.
        scores: TrackML score of each event; NaN if candidates share points.
        helices: helices of tracks that match, if the result has them.
        wanted: which particles are reconstructable.
    """

    points: tuple[int, ...]
    particles: ParticleTable
    tracks: TrackTable
    graphs: dict[str, list[GraphQuality]]
    stages: tuple[str, ...]
    scores: tuple[float, ...]
    helices: FitTable
    wanted: Wanted = STANDARD


@dataclass(frozen=True)
class Majority:
    """A share, counted by single and by double majority."""

    single: Fraction
    double: Fraction


@dataclass(frozen=True)
class PointsSummary:
    """The physics performance in numbers; a name stands for a row of the report.

    Attributes:
        n_events: events that were reconstructed and matched.
        points: number of space points in all events.
        tracks: number of candidates of at least :data:`.graph.MIN_POINTS` points in all events.
        efficiency: share of reconstructable particles that are found.
        efficiency_eta_3: the same share of those of |eta| below :data:`.truth.CENTRAL_ETA`.
        efficiency_by_pt: ``efficiency`` by bin of true pT, such as ``"1-2"``.
        fake_rate: share of tracks that match no particle, reconstructable or not.
        duplicate_rate: share of tracks whose particle has a better track, by single majority.
        other_rate: share of tracks that match, by single majority, a particle that is not
            reconstructable. Most often it is too soft. Such a track is no fake.
        trackml_score: mean over events.
        trackml_score_error: statistical error of the mean; NaN for one event.
        graphs: quality of the graph after each stage whose edges were kept.
        left: share of reconstructable particles that could still be found after each stage.
        helices: residuals and pulls of the helices of tracks.
        wanted: which particles are reconstructable.
    """

    n_events: int
    points: int
    tracks: int
    efficiency: Majority
    efficiency_eta_3: Majority
    efficiency_by_pt: dict[str, Majority]
    fake_rate: Majority
    duplicate_rate: Fraction
    other_rate: Fraction
    trackml_score: float
    trackml_score_error: float
    graphs: dict[str, GraphQuality]
    left: dict[str, Fraction]
    helices: Widths
    wanted: Wanted


def match_points_events(
    events: Sequence[PointsEvent],
    results: Iterable[PointsResult | EventError],
    wanted: Wanted = STANDARD,
) -> PointsMatches:
    """Compare results with the truth of their events; events that failed are left out.

    Args:
        events: with truth; those that failed are not read.
        results: one per event, in the same order; may be made as they are needed.
        wanted: which particles are reconstructable.

    Raises:
        InputError: an event has no truth, or does not fit its result; or there are more or fewer
            results than events.
    """
    matches = []
    n = 0
    for index, result in enumerate(results):
        n = index + 1
        if n <= len(events) and not isinstance(result, EventError):
            matches.append(match_points_event(events[index], result, wanted))
    if n != len(events):
        raise InputError("not one result for each event", found=n, bound=len(events))
    return _pool(matches, wanted)


def match_points_event(
    event: PointsEvent, result: PointsResult, wanted: Wanted = STANDARD
) -> PointsMatches:
    """Compare the result of one event with its truth.

    Raises:
        InputError: the event has no truth, or does not fit its result.
    """
    truth = truth_of(event)
    n_points, candidates = len(event.points), result.candidates
    labels: PointLabels | None = getattr(result, "labels", None)
    n_known = int(candidates.points.values.max(initial=-1)) + 1 if labels is None else len(labels)
    fits = n_known <= n_points if labels is None else n_known == n_points
    if result.event != event.event or not fits:
        raise InputError(
            "this result is not of this event",
            event=event.event,
            found=f"event {result.event} of {n_known} points",
            bound=f"{n_points} points",
        )
    particle = truth.points.particle
    paths = true_paths(truth)
    reconstructable = paths.reconstructable(wanted)
    points = candidates.points
    long = candidates.points.counts >= MIN_POINTS
    matches = match_candidates(points.offsets, points.values, particle).take(long)

    graphs: dict[str, list[GraphQuality]] = {}
    known: list[str] = []
    left = np.zeros((len(paths), len(STAGES)), bool)
    following = next_points(event)
    for number, (stage, name) in enumerate(GRAPHS.items()):
        edges: Edges | None = getattr(result, name, None)
        if edges is not None:
            quality, left[:, number] = judge_graph(event, edges, paths, following, wanted)
            graphs[stage] = [quality]
            known.append(stage)
    matched = matches.particle >= 0
    single, double = np.zeros((2, len(paths)), bool)
    single[matches.particle[matched]] = True
    double[matches.particle[matches.double]] = True
    if labels is not None:
        components = match_components(labels.component, particle)
        left[components.particle[components.double], STAGES.index("components")] = True
        known.append("components")
    left[:, STAGES.index("candidates")] = double

    shown = paths.charged_primary & (paths.n_layers >= wanted.min_layers)
    particles = ParticleTable(
        paths.pt,
        paths.eta,
        paths.radius,
        np.full(len(paths), n_points),
        reconstructable,
        single,
        double,
        left,
    ).take(shown)
    tracks = TrackTable(
        *candidate_kinematics(event, candidates.take(long)),
        matches.n_points,
        matched,
        matches.double,
        duplicates(matches),
        matched & ~np.append(reconstructable, False)[matches.particle],
    )
    shared = len(np.unique(points.values)) < len(points.values)
    score = math.nan if shared else trackml_score(candidates, truth.points)
    stages = (*known, "candidates")
    helices: Helices | None = getattr(result, "helices", None)
    fitted = FitTable.empty()
    if helices is not None and len(helices) == len(candidates):
        fitted = fit_table(event, points, helices.state, helices.covariance, wanted)
    return PointsMatches((n_points,), particles, tracks, graphs, stages, (score,), fitted, wanted)


def summarize_points(matches: PointsMatches) -> PointsSummary:
    """Take the numbers of :class:`PointsSummary` from the tables."""
    tracks = matches.tracks
    particles = matches.particles.take(matches.particles.reconstructable)
    n_events = len(matches.points)
    scores = np.array(matches.scores)
    return PointsSummary(
        n_events=n_events,
        points=sum(matches.points),
        tracks=len(tracks),
        efficiency=_efficiency(particles),
        efficiency_eta_3=_efficiency(particles.take(np.abs(particles.eta) < CENTRAL_ETA)),
        efficiency_by_pt={
            bin_name(low, high): _efficiency(
                particles.take((particles.pt >= low) & (particles.pt < high))
            )
            for low, high in itertools.pairwise((matches.wanted.min_pt, *PT_BINS))
        },
        fake_rate=Majority(Fraction.of(~tracks.single), Fraction.of(~tracks.double)),
        duplicate_rate=Fraction.of(tracks.duplicate),
        other_rate=Fraction.of(tracks.other),
        trackml_score=float(scores.mean()) if n_events else math.nan,
        trackml_score_error=float(scores.std(ddof=1) / n_events**0.5) if n_events > 1 else math.nan,
        graphs={stage: GraphQuality.pooled(graphs) for stage, graphs in matches.graphs.items()},
        left={stage: Fraction.of(particles.left_after(stage)) for stage in matches.stages},
        helices=widths_of(matches.helices),
        wanted=matches.wanted,
    )


def _pool(matches: Sequence[PointsMatches], wanted: Wanted) -> PointsMatches:
    """All events of ``matches`` together; a stage counts if every event has it."""
    common = set.intersection(*(set(one.stages) for one in matches)) if matches else set()
    stages = tuple(stage for stage in STAGES if stage in common)
    graphs = [stage for stage in stages if stage in matches[0].graphs]
    return PointsMatches(
        tuple(itertools.chain.from_iterable(one.points for one in matches)),
        ParticleTable.concatenate([one.particles for one in matches]),
        TrackTable.concatenate([one.tracks for one in matches]),
        {stage: [graph for one in matches for graph in one.graphs[stage]] for stage in graphs},
        stages,
        tuple(itertools.chain.from_iterable(one.scores for one in matches)),
        FitTable.concatenate([one.helices for one in matches]),
        wanted,
    )


def _efficiency(particles: ParticleTable) -> Majority:
    return Majority(Fraction.of(particles.single), Fraction.of(particles.double))


def candidate_kinematics(event: PointsEvent, candidates: TrackCandidates) -> tuple[Array, Array]:
    """pT (GeV) and eta of candidates, from their first, middle and last points.

    The radius of the circle through three points is the product of their distances over
    four times the area between them.
    """
    points = candidates.points
    first, end = points.offsets[:-1], points.offsets[1:]
    position = event.points.position.astype(np.float64)
    a, b, c = (position[points.values[row]] for row in (first, (first + end) // 2, end - 1))
    ab, ac, bc = b - a, c - a, c - b
    chord = np.hypot(ac[:, 0], ac[:, 1])
    product = np.hypot(ab[:, 0], ab[:, 1]) * np.hypot(bc[:, 0], bc[:, 1]) * chord
    area = np.abs(ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return PT_PER_RADIUS * product / (4 * area), np.arcsinh(ac[:, 2] / chord)
