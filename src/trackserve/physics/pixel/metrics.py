"""Physics performance: efficiencies, fakes, resolutions, pulls.

Events are first matched to their truth (:func:`match_events`): the result is three
flat tables, of particles, tracks and collisions, from which :func:`summarize`
takes its numbers and :mod:`.plots` its figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trackserve.detectors.phase1.layout import FIRST_ENDCAP
from trackserve.edm import Hits, Tracks, Vertices
from trackserve.edm.columns import Array, Columns, column
from trackserve.errors import InputError
from trackserve.io import ReferenceCounts

from ..statistics import Fraction, Width
from .matching import (
    VERTEX_WINDOW,
    duplicates,
    match_hits,
    match_tracks,
    match_vertices,
)
from .truth import TruthEvent, perigee, wrap

MIN_LAYERS = 3
MAX_ETA = 2.5
MAX_Z = 12.0
MAX_R = 2.0
"""A particle is reconstructable if it crosses at least ``MIN_LAYERS`` layers and starts
within these bounds (cm from the beam spot; ``MAX_R`` is inside the beam pipe)."""
MIN_VERTEX_TRACKS = 3
"""A collision counts in the vertex efficiency if this many of its particles are found."""
ISOLATED = 0.05
"""cm; a collision farther than this from the next one counts as isolated."""
FALSE_PULL = 3.0
"""A vertex is false if it is farther than this many of its errors from every collision, and
farther than :data:`.matching.VERTEX_WINDOW`."""
PT_BINS = (0.5, 0.7, 1.0, 2.0, 5.0)
"""GeV."""
PARAMETERS = ("phi", "tip", "q/pT", "cot(theta)", "zip")
_VARIANCES = [0, 5, 9, 12, 14]


class PixelResult(Protocol):
    """What of a result is compared with the truth."""

    @property
    def event(self) -> int: ...

    @property
    def counts(self) -> Any: ...

    @property
    def tracks(self) -> Tracks: ...

    @property
    def vertices(self) -> Vertices: ...

    @property
    def hits(self) -> Hits | None: ...


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
    charge_correct: Array = column(np.bool_)
    pt_residual: Array = column(np.float64)
    """Reconstructed / true - 1."""
    eta_residual: Array = column(np.float64)
    residual: Array = column(np.float64, 5)
    """Reconstructed - true of (phi, tip, q/pT, cot(theta), zip)."""
    pull: Array = column(np.float64, 5)
    """``residual`` over the error that the fit states."""


@dataclass(frozen=True, eq=False)
class CollisionTable(Columns):
    """One row per simulated collision."""

    n_found: Array = column(np.int64)
    """Its particles that are found."""
    found: Array = column(np.bool_)
    residual: Array = column(np.float64)
    """Vertex z - true z, cm; NaN if not found."""
    pull: Array = column(np.float64)
    isolation: Array = column(np.float64)
    """Distance along the beam to the next collision, cm."""


@dataclass(frozen=True, eq=False)
class VertexTable(Columns):
    """One row per reconstructed vertex."""

    false: Array = column(np.bool_)
    """Far from every collision."""


@dataclass(frozen=True, eq=False)
class HitTable(Columns):
    """One row per hit that stems from a simulated particle."""

    barrel: Array = column(np.bool_)
    x_residual: Array = column(np.float64)
    """Reconstructed - true local x, cm."""
    y_residual: Array = column(np.float64)


@dataclass(frozen=True, eq=False)
class Matches:
    """Results of ``n_events`` events beside their truth."""

    n_events: int
    particles: ParticleTable
    tracks: TrackTable
    collisions: CollisionTable
    vertices: VertexTable
    hits: HitTable


@dataclass(frozen=True)
class PhysicsSummary:
    """The physics performance in numbers; a name stands for a row of the report.

    Attributes:
        n_events: events that were reconstructed and matched.
        efficiency: share of reconstructable particles that are found, by bin of true
            pT such as ``"0.5-0.7"``.
        efficiency_4_layers: the same for those that cross at least 4 layers.
        fake_rate: share of loose tracks that match no particle.
        fake_rate_4_hits: the same for those of at least 4 hits.
        duplicate_rate: share of loose tracks whose particle has an earlier track.
        charge_correct: share of matched tracks with the right charge.
        resolution: of matched tracks, in ``pT`` (relative), ``phi`` (rad), ``eta``,
            ``tip`` and ``zip`` (cm); and of vertices, ``vertex z`` (cm).
        pull: of ``phi``, ``tip``, ``q/pT``, ``cot(theta)``, ``zip`` and ``vertex z``.
        hit_resolution: of ``barrel x``, ``barrel y``, ``endcap x``, ``endcap y`` (cm).
        vertex_efficiency: share of collisions with at least 3 found particles that get
            a vertex.
        vertex_efficiency_isolated: the same of those more than 0.5 mm from the next.
        false_vertices: share of vertices that are far from every collision.
        tracks, tracks_4_hits, collisions, vertices: how many in all events.
    """

    n_events: int
    efficiency: dict[str, Fraction]
    efficiency_4_layers: dict[str, Fraction]
    fake_rate: Fraction
    fake_rate_4_hits: Fraction
    duplicate_rate: Fraction
    charge_correct: Fraction
    resolution: dict[str, Width]
    pull: dict[str, Width]
    hit_resolution: dict[str, Width]
    vertex_efficiency: Fraction
    vertex_efficiency_isolated: Fraction
    false_vertices: Fraction
    tracks: int
    tracks_4_hits: int
    collisions: int
    vertices: int


@dataclass(frozen=True)
class ReferenceComparison:
    """Our counts beside those of the public C++ program.

    Attributes:
        n_events: events matched.
        modules, digis, clusters: number of events with exactly the same count.
        ntuplets, vertices: (ours, the C++ program's) in all events.
    """

    n_events: int
    modules: int
    digis: int
    clusters: int
    ntuplets: tuple[int, int]
    vertices: tuple[int, int]


def match_events(results: Iterable[PixelResult], truth: Sequence[TruthEvent]) -> Matches:
    """Compare results with their truth.

    Args:
        results: reconstructed with ``keep=("hits",)``; ``event`` is the index into ``truth``.
        truth: see :func:`.read_truth`.

    Raises:
        InputError: a result has no hits, or no truth.
    """
    results = list(results)
    tables = [_match_event(result, truth) for result in results]
    particles, tracks, collisions, vertices, hits = (
        zip(*tables, strict=True) if tables else ((),) * 5
    )
    return Matches(
        len(results),
        ParticleTable.concatenate(particles),
        TrackTable.concatenate(tracks),
        CollisionTable.concatenate(collisions),
        VertexTable.concatenate(vertices),
        HitTable.concatenate(hits),
    )


def summarize(matches: Matches) -> PhysicsSummary:
    """The numbers of :class:`PhysicsSummary`."""
    particles = matches.particles.take(matches.particles.reconstructable)
    tracks, hits = matches.tracks, matches.hits
    matched = tracks.take(tracks.matched)
    long = tracks.n_hits >= 4
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
    return PhysicsSummary(
        n_events=matches.n_events,
        efficiency=_efficiency(particles),
        efficiency_4_layers=_efficiency(particles.take(particles.n_layers >= 4)),
        fake_rate=Fraction.of(~tracks.matched),
        fake_rate_4_hits=Fraction.of(~tracks.matched[long]),
        duplicate_rate=Fraction.of(tracks.duplicate),
        charge_correct=Fraction.of(matched.charge_correct),
        resolution={name: Width.of(values) for name, values in resolution.items()},
        pull={name: Width.of(values) for name, values in pull.items()},
        hit_resolution={name: Width.of(values) for name, values in hit_resolution.items()},
        vertex_efficiency=Fraction.of(visible.found),
        vertex_efficiency_isolated=Fraction.of(visible.found[visible.isolation > ISOLATED]),
        false_vertices=Fraction.of(matches.vertices.false),
        tracks=len(tracks),
        tracks_4_hits=int(long.sum()),
        collisions=len(collisions),
        vertices=len(matches.vertices),
    )


def compare_counts(
    results: Iterable[PixelResult], reference: ReferenceCounts
) -> ReferenceComparison:
    """Compare counts with the C++ program's, event by event; ``event`` is the index.

    Raises:
        InputError: there is no reference for an event.
    """
    results = list(results)
    event = np.array([result.event for result in results], np.int64)
    outside = event[(event < 0) | (event >= len(reference.digis))]
    if len(outside):
        raise InputError(
            "no reference counts", event=int(outside[0]), bound=len(reference.digis) - 1
        )

    def ours(name: str) -> Array:
        return np.array([getattr(result.counts, name) for result in results], np.int64)

    def equal(name: str) -> int:
        return int((ours(name) == getattr(reference, name)[event]).sum())

    return ReferenceComparison(
        n_events=len(results),
        modules=equal("modules"),
        digis=equal("digis"),
        clusters=equal("clusters"),
        ntuplets=(int(ours("ntuplets").sum()), int(reference.ntuplets[event].sum())),
        vertices=(int(ours("vertices").sum()), int(reference.vertices[event].sum())),
    )


def _match_event(
    result: PixelResult, truths: Sequence[TruthEvent]
) -> tuple[ParticleTable, TrackTable, CollisionTable, VertexTable, HitTable]:
    if result.hits is None:
        raise InputError("hits are needed: reconstruct with keep=('hits',)", event=result.event)
    if not 0 <= result.event < len(truths):
        raise InputError("no truth", event=result.event, bound=len(truths) - 1)
    truth = truths[result.event]
    true_hit = match_hits(result.hits, truth.hits)
    hit_particle = np.append(truth.hits.particle, -1)[true_hit]
    track_particle = match_tracks(result.tracks, hit_particle)

    n_layers = truth.layers_crossed()
    reconstructable = (
        (n_layers >= MIN_LAYERS)
        & (np.abs(truth.particles.eta) < MAX_ETA)
        & (np.abs(truth.particles.position[:, 2]) < MAX_Z)
        & (np.hypot(*truth.particles.position[:, :2].T) < MAX_R)
    )
    found = np.zeros(len(truth.particles), bool)
    found[track_particle[track_particle >= 0]] = True
    particles = ParticleTable(
        truth.particles.pt, truth.particles.eta, n_layers, reconstructable, found
    )

    n_found = np.bincount(truth.particles.collision[found], minlength=len(truth.collisions))
    vertex = match_vertices(result.vertices, truth)
    has_vertex = vertex >= 0
    residual = np.full(len(vertex), np.nan)
    z_true = truth.collisions.position[has_vertex, 2]
    residual[has_vertex] = result.vertices.z[vertex[has_vertex]] - z_true
    pull = residual.copy()
    pull[has_vertex] /= result.vertices.z_error[vertex[has_vertex]]
    z = truth.collisions.position[:, 2]
    collisions = CollisionTable(n_found, has_vertex, residual, pull, _gaps(z))
    distance = np.abs(result.vertices.z[:, None] - z).min(axis=1, initial=np.inf)
    far = np.maximum(VERTEX_WINDOW, FALSE_PULL * result.vertices.z_error)
    vertices = VertexTable(distance > far)

    has_particle = hit_particle >= 0
    reco = result.hits.take(has_particle)
    true = truth.hits.take(true_hit[has_particle])
    hits = HitTable(
        reco.module < FIRST_ENDCAP, reco.x_local - true.x_local, reco.y_local - true.y_local
    )
    tracks = _compare_tracks(result.tracks, track_particle, truth)
    return particles, tracks, collisions, vertices, hits


def _gaps(z: Array) -> Array:
    """Distance of each value to the nearest other one; inf for a single one."""
    order = np.argsort(z)
    steps = np.concatenate([[np.inf], np.diff(z[order]), [np.inf]])
    gaps = np.empty(len(z))
    gaps[order] = np.minimum(steps[:-1], steps[1:])
    return gaps


def _compare_tracks(tracks: Tracks, particle: Array, truth: TruthEvent) -> TrackTable:
    matched = particle >= 0
    true_pt, charge, eta = (np.full(len(tracks), np.nan) for _ in range(3))
    true_pt[matched] = truth.particles.pt[particle[matched]]
    charge[matched] = truth.particles.charge[particle[matched]]
    eta[matched] = truth.particles.eta[particle[matched]]
    true_state = np.full((len(tracks), 5), np.nan)
    true_state[matched] = perigee(truth.particles)[particle[matched]]
    residual = tracks.state.astype(np.float64) - true_state
    residual[:, 0] = wrap(residual[:, 0])
    return TrackTable(
        pt=tracks.pt,
        eta=tracks.eta,
        n_hits=tracks.n_hits,
        matched=matched,
        duplicate=duplicates(particle),
        true_pt=true_pt,
        charge_correct=tracks.charge == charge,
        pt_residual=tracks.pt / true_pt - 1,
        eta_residual=tracks.eta - eta,
        residual=residual,
        pull=residual / np.sqrt(tracks.covariance[:, _VARIANCES]),
    )


def _efficiency(particles: ParticleTable) -> dict[str, Fraction]:
    return {
        f"{low:g}-{high:g}": Fraction.of(
            particles.found[(particles.pt >= low) & (particles.pt < high)]
        )
        for low, high in itertools.pairwise(PT_BINS)
    }
