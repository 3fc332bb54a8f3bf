"""Physics performance of pixel tracking: efficiencies, fakes, resolutions, pulls.

Events are first matched to their truth (:func:`match_pixel_events`). The result is five flat
tables, of particles, tracks, collisions, vertices and hits. :func:`summarize_pixel` takes its
numbers from them, and :mod:`trackserve.report.pixel_figures` its figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trackserve.detectors.phase1.layout import FIRST_ENDCAP
from trackserve.edm import VARIANCES, Hits, PixelTruth, Tracks, Vertices
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import EventError, InputError
from trackserve.io import ReferenceCounts

from ..helix import wrap
from ..statistics import Fraction, Width, bin_name
from .matching import (
    VERTEX_WINDOW,
    duplicates,
    match_hits,
    match_tracks,
    match_vertices,
)
from .perfect import perfect_tracks
from .truth import MAX_ETA, layers_crossed, perigee, reconstructable

LONG = 4
"""A long track has at least this many hits; a long particle crosses as many layers."""
MIN_VERTEX_TRACKS = 3
"""A collision counts in the vertex efficiency if this many of its particles are found."""
PERFECT_MIN_PT = 0.4
"""GeV. Perfect tracks are those of reconstructable particles of at least this pT that cross
:data:`LONG` layers or more."""
ISOLATED = 0.05
"""cm. A collision is isolated if it is farther than this from the next one."""
FALSE_PULL = 3.0
"""A vertex is false if it is farther than this many of its errors from every collision, and
farther than :data:`.matching.VERTEX_WINDOW`."""
PT_BINS = (0.5, 0.7, 1.0, 2.0, 5.0, math.inf)
"""GeV."""
PULL_PT_BINS = (0.5, 0.7, 1.0, 1.6, 2.5, 4.0, 7.0, 12.0, 20.0)
"""GeV."""
PULL_ETA_BINS = (0.0, 0.8, 1.5, MAX_ETA)
"""Of |eta|. With those of true pT, the bins in which errors must be right."""
PARAMETERS = ("phi", "tip", "q/pT", "cot(theta)", "zip")
FindVertices = Callable[[Tracks], Vertices]
"""A finder of the vertices of an event."""
_COUNTS = ("modules", "words", "clusters", "ntuplets", "vertices")
_REFERENCE_COUNTS = ("modules", "digis", "clusters", "ntuplets", "vertices")
"""Names of :class:`.ReferenceCounts` for the same."""


class PixelCounts(Protocol):
    """Numbers that both a tracker and the public C++ program count in an event."""

    @property
    def modules(self) -> int: ...
    @property
    def words(self) -> int: ...
    @property
    def clusters(self) -> int: ...
    @property
    def ntuplets(self) -> int: ...
    @property
    def vertices(self) -> int: ...


class PixelResult(Protocol):
    """The parts of a tracker's result for one event that are compared with the truth."""

    @property
    def event(self) -> int: ...
    @property
    def tracks(self) -> Tracks: ...
    @property
    def vertices(self) -> Vertices: ...
    @property
    def hits(self) -> Hits | None: ...
    @property
    def counts(self) -> PixelCounts: ...


@dataclass(frozen=True, eq=False)
class ParticleTable(Columns):
    """One row per simulated particle."""

    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    n_layers: Array = column(np.int64)
    """Distinct layers crossed."""
    reconstructable: Array = column(np.bool_)
    found: Array = column(np.bool_)


@dataclass(frozen=True, eq=False)
class TrackTable(Columns):
    """One row per loose track; the columns from ``true_pt`` on hold for matched ones."""

    pt: Array = column(np.float64)
    eta: Array = column(np.float64)
    n_hits: Array = column(np.int64)
    matched: Array = column(np.bool_)
    duplicate: Array = column(np.bool_)
    true_pt: Array = column(np.float64)
    true_eta: Array = column(np.float64)
    charge_correct: Array = column(np.bool_)
    pt_residual: Array = column(np.float64)
    """Reconstructed / true pT - 1."""
    eta_residual: Array = column(np.float64)
    residual: Array = column(np.float64, 5)
    """Reconstructed - true of (phi, tip, q/pT, cot(theta), zip)."""
    pull: Array = column(np.float64, 5)
    """``residual`` over the error that the fit states."""


@dataclass(frozen=True, eq=False)
class CollisionTable(Columns):
    """One row per simulated collision."""

    n_found: Array = column(np.int64)
    """Number of its particles that are found."""
    found: Array = column(np.bool_)
    attainable: Array = column(np.bool_)
    """The collision gets a vertex from perfect tracks."""
    residual: Array = column(np.float64)
    """Vertex z - true z, cm; NaN if not found."""
    pull: Array = column(np.float64)
    isolation: Array = column(np.float64)
    """Distance along the beam to the next collision, cm."""


@dataclass(frozen=True, eq=False)
class VertexTable(Columns):
    """One row per reconstructed vertex."""

    false: Array = column(np.bool_)
    """The vertex is far from every collision."""


@dataclass(frozen=True, eq=False)
class HitTable(Columns):
    """One row per hit that stems from a simulated particle."""

    barrel: Array = column(np.bool_)
    x_residual: Array = column(np.float64)
    """Reconstructed - true local x, cm."""
    y_residual: Array = column(np.float64)


@dataclass(frozen=True)
class ReferenceComparison:
    """Our counts beside those of the public C++ program.

    Attributes:
        n_events: events that were compared.
        modules, words, clusters: number of events with exactly the same count. ``words`` are
            pixel words, padding included, which the C++ program calls digis.
        ntuplets, vertices: (ours, the C++ program's) in all events.
    """

    n_events: int
    modules: int
    words: int
    clusters: int
    ntuplets: tuple[int, int]
    vertices: tuple[int, int]


@dataclass(frozen=True, eq=False)
class PixelMatches:
    """Results of events beside their truth, and beside the C++ program's counts.

    Attributes:
        n_events: events that were reconstructed.
        particles, tracks, collisions, vertices, hits: rows of all events; none without truth.
        reference: None without the C++ program's counts.
        has_truth: whether there was truth to compare with.
        has_perfect: whether there was a finder that made vertices of perfect tracks.
    """

    n_events: int
    particles: ParticleTable
    tracks: TrackTable
    collisions: CollisionTable
    vertices: VertexTable
    hits: HitTable
    reference: ReferenceComparison | None = None
    has_truth: bool = True
    has_perfect: bool = False


@dataclass(frozen=True)
class PullBin:
    """Widths of the pulls of matched tracks in a bin.

    Attributes:
        eta: bin of true |eta|, such as ``"0.8-1.5"``.
        pt: bin of true pT, such as ``"0.5-0.7"``, GeV.
        pull: by name of the parameter.
    """

    eta: str
    pt: str
    pull: dict[str, Width]


@dataclass(frozen=True)
class PixelSummary:
    """The physics performance in numbers; a name stands for a row of the report.

    Attributes:
        n_events: events that were reconstructed and matched.
        efficiency: share of reconstructable particles that are found, by bin of true pT such
            as ``"0.5-0.7"`` or ``"> 5"``.
        efficiency_long: the same share of those that cross at least :data:`LONG` layers.
        fake_rate: share of loose tracks that match no particle.
        fake_rate_long: the same share of those of at least :data:`LONG` hits.
        duplicate_rate: share of loose tracks whose particle an earlier track matches too.
        charge_correct: share of matched tracks with the right charge.
        resolution: width of the residuals of matched tracks, in ``pT`` (relative), ``phi``
            (rad), ``eta``, ``tip`` and ``zip`` (cm), and of vertices in ``vertex z`` (cm).
        pull: width of the pulls of ``phi``, ``tip``, ``q/pT``, ``cot(theta)``, ``zip`` and
            ``vertex z``.
        pull_of_bin: width of the pulls of the track parameters, in bins of |eta| and true pT.
        hit_resolution: width of the residuals of ``barrel x``, ``barrel y``, ``endcap x`` and
            ``endcap y`` (cm).
        vertex_efficiency: share of collisions with at least :data:`MIN_VERTEX_TRACKS` found
            particles that get a vertex.
        vertex_efficiency_isolated: the same share of those that are isolated.
        vertex_efficiency_perfect: the same share of all, with vertices of perfect tracks instead
            (:mod:`.perfect`); None without a finder of them.
        false_vertices: share of vertices that are far from every collision.
        tracks, tracks_long, collisions, vertices: numbers in all events.
        reference: counts beside the C++ program's, None if there are none.
    """

    n_events: int
    efficiency: dict[str, Fraction]
    efficiency_long: dict[str, Fraction]
    fake_rate: Fraction
    fake_rate_long: Fraction
    duplicate_rate: Fraction
    charge_correct: Fraction
    resolution: dict[str, Width]
    pull: dict[str, Width]
    pull_of_bin: tuple[PullBin, ...]
    hit_resolution: dict[str, Width]
    vertex_efficiency: Fraction
    vertex_efficiency_isolated: Fraction
    vertex_efficiency_perfect: Fraction | None
    false_vertices: Fraction
    tracks: int
    tracks_long: int
    collisions: int
    vertices: int
    reference: ReferenceComparison | None


def match_pixel_events(
    truth: Sequence[PixelTruth] | None,
    results: Iterable[PixelResult | EventError],
    reference: ReferenceCounts | None = None,
    find_vertices: FindVertices | None = None,
) -> PixelMatches:
    """Compare results with the truth of their events; events that failed are left out.

    Args:
        truth: by the number of the event, see :func:`trackserve.io.read_truth`; None: only counts
            are compared.
        results: with hits; may be made as they are needed.
        reference: by the number of the event, see
            :func:`trackserve.io.read_reference_counts`.
        find_vertices: what makes vertices of perfect tracks (:mod:`.perfect`).

    Raises:
        InputError: a result has no hits, or there is no truth or no reference for it.
    """
    tables, counts = [], []
    for result in results:
        if isinstance(result, EventError):
            continue
        if truth is not None:
            tables.append(_match_event(result, truth, find_vertices))
        counts.append((result.event, [getattr(result.counts, name) for name in _COUNTS]))
    particles, tracks, collisions, vertices, hits = (
        zip(*tables, strict=True) if tables else ((),) * 5
    )
    return PixelMatches(
        len(counts),
        ParticleTable.concatenate(particles),
        TrackTable.concatenate(tracks),
        CollisionTable.concatenate(collisions),
        VertexTable.concatenate(vertices),
        HitTable.concatenate(hits),
        None if reference is None else _compare_counts(counts, reference),
        truth is not None,
        find_vertices is not None,
    )


def summarize_pixel(matches: PixelMatches) -> PixelSummary:
    """Take the numbers of :class:`PixelSummary` from the tables."""
    particles = matches.particles.take(matches.particles.reconstructable)
    tracks, hits = matches.tracks, matches.hits
    matched = tracks.take(tracks.matched)
    long = tracks.n_hits >= LONG
    collisions = matches.collisions
    with_vertex = collisions.take(collisions.found)
    visible = collisions.take(collisions.n_found >= MIN_VERTEX_TRACKS)
    resolution = {
        "pT": matched.pt_residual,
        "phi": matched.residual[:, 0],
        "eta": matched.eta_residual,
        "tip": matched.residual[:, 1],
        "zip": matched.residual[:, 4],
        "vertex z": with_vertex.residual,
    }
    pull = {name: matched.pull[:, i] for i, name in enumerate(PARAMETERS)}
    pull["vertex z"] = with_vertex.pull
    hit_resolution = {
        "barrel x": hits.x_residual[hits.barrel],
        "barrel y": hits.y_residual[hits.barrel],
        "endcap x": hits.x_residual[~hits.barrel],
        "endcap y": hits.y_residual[~hits.barrel],
    }
    return PixelSummary(
        n_events=matches.n_events,
        efficiency=_efficiency(particles),
        efficiency_long=_efficiency(particles.take(particles.n_layers >= LONG)),
        fake_rate=Fraction.of(~tracks.matched),
        fake_rate_long=Fraction.of(~tracks.matched[long]),
        duplicate_rate=Fraction.of(tracks.duplicate),
        charge_correct=Fraction.of(matched.charge_correct),
        resolution={name: Width.of(values) for name, values in resolution.items()},
        pull={name: Width.of(values) for name, values in pull.items()},
        pull_of_bin=_pulls_of_bins(matched),
        hit_resolution={name: Width.of(values) for name, values in hit_resolution.items()},
        vertex_efficiency=Fraction.of(visible.found),
        vertex_efficiency_isolated=Fraction.of(visible.found[visible.isolation > ISOLATED]),
        vertex_efficiency_perfect=(
            Fraction.of(visible.attainable) if matches.has_perfect else None
        ),
        false_vertices=Fraction.of(matches.vertices.false),
        tracks=len(tracks),
        tracks_long=int(long.sum()),
        collisions=len(collisions),
        vertices=len(matches.vertices),
        reference=matches.reference,
    )


def _compare_counts(
    counts: Sequence[tuple[int, list[int]]], reference: ReferenceCounts
) -> ReferenceComparison:
    """Compare (event, our counts) with the C++ program's."""
    event = np.array([number for number, _ in counts], np.int64)
    n_events = len(reference.digis)
    outside = event[(event < 0) | (event >= n_events)]
    if len(outside):
        raise InputError("no reference counts", event=int(outside[0]), bound=n_events - 1)
    ours = np.array([row for _, row in counts], np.int64).reshape(-1, len(_COUNTS))
    theirs = np.stack([getattr(reference, name)[event] for name in _REFERENCE_COUNTS], axis=1)
    modules, words, clusters, _, _ = (ours == theirs).sum(axis=0).tolist()
    *_, ntuplets, vertices = zip(
        ours.sum(axis=0).tolist(), theirs.sum(axis=0).tolist(), strict=True
    )
    return ReferenceComparison(len(counts), modules, words, clusters, ntuplets, vertices)


def _match_event(
    result: PixelResult, truths: Sequence[PixelTruth], find_vertices: FindVertices | None
) -> tuple[ParticleTable, TrackTable, CollisionTable, VertexTable, HitTable]:
    if result.hits is None:
        raise InputError("hits are needed: reconstruct with keep=('hits',)", event=result.event)
    if not 0 <= result.event < len(truths):
        raise InputError("no truth", event=result.event, bound=len(truths) - 1)
    truth = truths[result.event]
    true_hit = match_hits(result.hits, truth.hits)
    hit_particle = np.append(truth.hits.particle, -1)[true_hit]
    track_particle = match_tracks(result.tracks, hit_particle)
    has_particle = hit_particle >= 0
    reco = result.hits.take(has_particle)
    true = truth.hits.take(true_hit[has_particle])
    hits = HitTable(
        reco.module < FIRST_ENDCAP, reco.x_local - true.x_local, reco.y_local - true.y_local
    )
    found = np.zeros(len(truth.particles), bool)
    found[track_particle[track_particle >= 0]] = True
    particles = ParticleTable(
        truth.particles.pt,
        truth.particles.eta,
        layers_crossed(truth),
        reconstructable(truth),
        found,
    )
    n_found = np.bincount(truth.particles.collision[found], minlength=len(truth.collisions))
    best = Vertices.empty()
    if find_vertices is not None:
        event = result.event
        best = find_vertices(
            perfect_tracks(truth, result.tracks, track_particle, event, LONG, PERFECT_MIN_PT)
        )
    collisions, vertices = _compare_vertices(result.vertices, best, truth, n_found)
    tracks = _compare_tracks(result.tracks, track_particle, truth)
    return particles, tracks, collisions, vertices, hits


def _compare_vertices(
    vertices: Vertices, best: Vertices, truth: PixelTruth, n_found: Array
) -> tuple[CollisionTable, VertexTable]:
    """Compare vertices, and ``best``, those of perfect tracks, with the collisions."""
    z = (truth.collisions.position - truth.beam_spot)[:, 2]
    vertex = match_vertices(vertices, z)
    has_vertex = vertex >= 0
    vertex = vertex[has_vertex]
    residual = np.full(len(z), np.nan)
    residual[has_vertex] = vertices.z[vertex] - z[has_vertex]
    pull = residual.copy()
    pull[has_vertex] /= vertices.z_error[vertex]
    distance = np.abs(vertices.z[:, None] - z).min(axis=1, initial=np.inf)
    far = np.maximum(VERTEX_WINDOW, FALSE_PULL * vertices.z_error)
    attainable = match_vertices(best, z) >= 0
    collisions = CollisionTable(n_found, has_vertex, attainable, residual, pull, _gaps(z))
    return collisions, VertexTable(distance > far)


def _gaps(z: Array) -> Array:
    """Distance of each value to the nearest other one; inf for a single one."""
    order = np.argsort(z)
    steps = np.concatenate([[np.inf], np.diff(z[order]), [np.inf]])
    gaps = np.empty(len(z))
    gaps[order] = np.minimum(steps[:-1], steps[1:])
    return gaps


def _compare_tracks(tracks: Tracks, particle: Array, truth: PixelTruth) -> TrackTable:
    matched = particle >= 0
    owner = particle[matched]
    true_pt, charge, eta = np.full((3, len(tracks)), np.nan)
    true_pt[matched] = truth.particles.pt[owner]
    charge[matched] = truth.particles.charge[owner]
    eta[matched] = truth.particles.eta[owner]
    true_state = np.full((len(tracks), 5), np.nan)
    true_state[matched] = perigee(truth.particles, truth.beam_spot)[owner]
    residual = tracks.state.astype(np.float64) - true_state
    residual[:, 0] = wrap(residual[:, 0])
    return TrackTable(
        pt=tracks.pt,
        eta=tracks.eta,
        n_hits=tracks.n_hits,
        matched=matched,
        duplicate=duplicates(particle),
        true_pt=true_pt,
        true_eta=eta,
        charge_correct=tracks.charge == charge,
        pt_residual=tracks.pt / true_pt - 1,
        eta_residual=tracks.eta - eta,
        residual=residual,
        pull=residual / np.sqrt(tracks.covariance[:, list(VARIANCES)]),
    )


def _efficiency(particles: ParticleTable) -> dict[str, Fraction]:
    return {
        bin_name(low, high): Fraction.of(
            particles.found[(particles.pt >= low) & (particles.pt < high)]
        )
        for low, high in itertools.pairwise(PT_BINS)
    }


def _pulls_of_bins(matched: TrackTable) -> tuple[PullBin, ...]:
    """Pulls in each bin of :data:`PULL_ETA_BINS` and :data:`PULL_PT_BINS`."""
    eta, pt = np.abs(matched.true_eta), matched.true_pt
    bins = []
    for eta_bin in itertools.pairwise(PULL_ETA_BINS):
        for pt_bin in itertools.pairwise(PULL_PT_BINS):
            inside = (eta >= eta_bin[0]) & (eta < eta_bin[1])
            pulls = matched.pull[inside & (pt >= pt_bin[0]) & (pt < pt_bin[1])].T
            widths = {name: Width.of(pull) for name, pull in zip(PARAMETERS, pulls, strict=True)}
            bins.append(PullBin(bin_name(*eta_bin), bin_name(*pt_bin), widths))
    return tuple(bins)
