"""Physics performance of a learned tracker: efficiencies, fakes, duplicates, lost particles.

Events are first matched to their truth (:func:`match_points_events`): the result is two flat
tables, of particles and of tracks, and the quality of every graph, from which
:func:`summarize_points` takes its numbers and :mod:`.points_figures` its figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from trackserve.edm import Edges, PointLabels, PointsEvent, TrackCandidates
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import EventError, InputError

from ..statistics import Fraction
from .graph import MIN_POINTS, GraphQuality, judge_graph
from .matching import duplicates, match_candidates, match_components
from .trackml_score import trackml_score
from .truth import (
    CENTRAL_ETA,
    MIN_LAYERS,
    next_points,
    true_paths,
    truth_of,
)

GRAPHS = ("radius_edges", "filter_edges", "track_edges")
"""Parts of a result that are graphs, in order."""
STAGES = ("radius", "filter", "gnn", "components", "candidates")
"""What follows each other in the pipeline; the first three leave graphs."""
PT_BINS = (1.0, 2.0, 5.0, 10.0, math.inf)
"""GeV."""
_PT_PER_RADIUS = 0.299792458e-3 * 2.0
"""GeV/mm of a particle of charge 1 at 2 T, the field of TrackML and of the GenericDetector."""


class PointsResult(Protocol):
    """What of a result is compared with the truth; ``labels`` and graphs may be missing."""

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
    """Found by single majority."""
    double: Array = column(np.bool_)
    """Found by double majority."""
    left: Array = column(np.bool_, len(STAGES))
    """Whether it could still be found after each of :data:`STAGES`; after a graph by a perfect
    later stage, after the others by double majority."""

    def left_after(self, stage: str) -> Array:
        """The column of ``left`` of one of :data:`STAGES`."""
        column: Array = self.left[:, STAGES.index(stage)]
        return column


@dataclass(frozen=True, eq=False)
class TrackTable(Columns):
    """One row per candidate of at least three points."""

    pt: Array = column(np.float64)
    """Of the circle through the first, the middle and the last point, at 2 T."""
    eta: Array = column(np.float64)
    """Of the line from the first point to the last."""
    n_points: Array = column(np.int64)
    single: Array = column(np.bool_)
    """Some particle, of any kind, has more than half of its points."""
    double: Array = column(np.bool_)
    """It also has more than half of that particle's points."""
    duplicate: Array = column(np.bool_)
    other: Array = column(np.bool_)
    """Its particle is not reconstructable."""


@dataclass(frozen=True, eq=False)
class PointsMatches:
    """Results of events beside their truth.

    Attributes:
        points: space points of each event.
        particles, tracks: of all events.
        graphs: by stage, of each event; empty where the edges were not kept.
        scores: TrackML score of each event.
    """

    points: tuple[int, ...]
    particles: ParticleTable
    tracks: TrackTable
    graphs: dict[str, list[GraphQuality]]
    scores: tuple[float, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """Those of :data:`STAGES` about which something is known."""
        return tuple(stage for stage in STAGES if stage in self.graphs) + STAGES[3:]


@dataclass(frozen=True)
class Majority:
    """A share by single and by double majority."""

    single: Fraction
    double: Fraction


@dataclass(frozen=True)
class PointsSummary:
    """The physics performance in numbers; a name stands for a row of the report.

    Attributes:
        n_events: events that were reconstructed and matched.
        points: space points in all of them.
        tracks: candidates of at least three points in all of them.
        efficiency: share of reconstructable particles that are found.
        efficiency_eta_3: the same for those of \\|eta\\| < 3.
        efficiency_by_pt: as ``efficiency``, by bin of true pT, such as ``"1-2"``.
        fake_rate: share of tracks that match no particle at all, reconstructable or not.
        duplicate_rate: share of tracks whose particle has a better one, by single majority.
        other_rate: share of tracks that match, by single majority, a particle that is not
            reconstructable: most often one that is too soft. They are no fakes.
        trackml_score: mean over events.
        trackml_score_error: of the mean; NaN for one event.
        graphs: quality of the graph after each stage, where its edges were kept.
        left: share of reconstructable particles that could still be found after each stage.
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

    def as_json(self) -> dict[str, Any]:
        """Plain numbers: a share as passed, total, value and error; None for NaN."""
        plain: dict[str, Any] = _plain(self)
        return plain


def validate_exatrkx(
    events: Iterable[PointsEvent], results: Iterable[PointsResult | EventError]
) -> PointsSummary:
    """Compare results with the truth of their events; events that failed are left out.

    Args:
        events: with truth; may be read as they are needed.
        results: one per event, in the same order; may be made as they are needed.
            With ``keep=GRAPHS`` the summary also says where particles are lost.

    Raises:
        InputError: an event has no truth, or does not fit its result.
    """
    return summarize_points(match_points_events(events, results))


def match_points_events(
    events: Iterable[PointsEvent], results: Iterable[PointsResult | EventError]
) -> PointsMatches:
    """The tables of all events; arguments and errors as of :func:`validate_exatrkx`."""
    matches = [
        match_points_event(event, result)
        for event, result in zip(events, results, strict=True)
        if not isinstance(result, EventError)
    ]
    return _pool(matches)


def match_points_event(event: PointsEvent, result: PointsResult) -> PointsMatches:
    """The tables of one event.

    Raises:
        InputError: the event has no truth, or does not fit its result.
    """
    truth = truth_of(event)
    n_points, candidates = len(event.points), result.candidates
    labels: PointLabels | None = getattr(result, "labels", None)
    n_labels = n_points if labels is None else len(labels)
    if result.event != event.event or n_labels != n_points:
        raise InputError(
            "this result is not of this event",
            event=event.event,
            found=f"event {result.event} of {n_labels} points",
            bound=f"{n_points} points",
        )
    particle = truth.points.particle
    paths = true_paths(truth)
    wanted = paths.reconstructable()
    long = candidates.points.counts >= MIN_POINTS
    matches = match_candidates(candidates.points.offsets, candidates.points.values, particle).take(
        long
    )
    components = None if labels is None else match_components(labels.component, particle)

    graphs: dict[str, list[GraphQuality]] = {}
    left = np.zeros((len(paths), len(STAGES)), bool)
    following = next_points(event)
    for number, (stage, name) in enumerate(zip(STAGES, GRAPHS, strict=False)):
        edges: Edges | None = getattr(result, name, None)
        if edges is not None:
            quality, left[:, number] = judge_graph(event, edges, paths, following)
            graphs[stage] = [quality]
    matched = matches.particle >= 0
    single, double, whole = np.zeros((3, len(paths)), bool)
    single[matches.particle[matched]] = True
    double[matches.particle[matches.double]] = True
    if components is not None:
        whole[components.particle[components.double]] = True
    left[:, 3], left[:, 4] = whole, double

    shown = paths.charged_primary & (paths.n_layers >= MIN_LAYERS)
    particles = ParticleTable(
        paths.pt,
        paths.eta,
        paths.radius,
        np.full(len(paths), n_points),
        wanted,
        single,
        double,
        left,
    ).take(shown)
    pt, eta = _kinematics(event, candidates)
    tracks = TrackTable(
        pt[long],
        eta[long],
        matches.n_points,
        matched,
        matches.double,
        duplicates(matches),
        matched & ~np.append(wanted, False)[matches.particle],
    )
    score = trackml_score(candidates, truth.points)
    return PointsMatches((n_points,), particles, tracks, graphs, (score,))


def summarize_points(matches: PointsMatches) -> PointsSummary:
    """The numbers of the tables."""
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
            f"{low:g}-{high:g}" if high < math.inf else f"> {low:g}": _efficiency(
                particles.take((particles.pt >= low) & (particles.pt < high))
            )
            for low, high in itertools.pairwise(PT_BINS)
        },
        fake_rate=Majority(Fraction.of(~tracks.single), Fraction.of(~tracks.double)),
        duplicate_rate=Fraction.of(tracks.duplicate),
        other_rate=Fraction.of(tracks.other),
        trackml_score=float(scores.mean()) if n_events else math.nan,
        trackml_score_error=float(scores.std(ddof=1) / n_events**0.5) if n_events > 1 else math.nan,
        graphs={stage: GraphQuality.pooled(graphs) for stage, graphs in matches.graphs.items()},
        left={stage: Fraction.of(particles.left_after(stage)) for stage in matches.stages},
    )


def _pool(matches: Sequence[PointsMatches]) -> PointsMatches:
    """All events of ``matches`` together; a graph counts if every event has it."""
    known = [set(one.graphs) for one in matches]
    stages = [stage for stage in STAGES if known and stage in set.intersection(*known)]
    return PointsMatches(
        tuple(itertools.chain.from_iterable(one.points for one in matches)),
        ParticleTable.concatenate([one.particles for one in matches]),
        TrackTable.concatenate([one.tracks for one in matches]),
        {stage: [graph for one in matches for graph in one.graphs[stage]] for stage in stages},
        tuple(itertools.chain.from_iterable(one.scores for one in matches)),
    )


def _efficiency(particles: ParticleTable) -> Majority:
    return Majority(Fraction.of(particles.single), Fraction.of(particles.double))


def _kinematics(event: PointsEvent, candidates: TrackCandidates) -> tuple[Array, Array]:
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
        return _PT_PER_RADIUS * product / (4 * area), np.arcsinh(ac[:, 2] / chord)


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return {
            name: _plain(getattr(value, name)) for name in ("passed", "total", "value", "error")
        }
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
