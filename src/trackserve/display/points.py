"""Events of space points as scenes: layers, points, candidates, edges, truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserve.detectors.generic import BARREL_LAYERS, DISKS, BarrelLayer, Disk
from trackserve.edm import MM_PER_CM, Helices, PointsEvent, PointsTruth, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.edm.points import GENERIC_DETECTOR, GENERIC_PIXELS
from trackserve.physics.points.matching import MajorityMatches, duplicates, match_candidates
from trackserve.physics.points.metrics import GRAPHS, candidate_kinematics
from trackserve.physics.points.truth import PT_PER_RADIUS, STANDARD, Wanted, true_paths

from . import helix
from .edges import in_sector, leading_azimuth
from .rows import outward
from .scene import (
    UNKNOWN,
    Detector,
    Lines,
    SceneCollisions,
    SceneEvent,
    SceneHits,
    SceneTracks,
    SceneVertices,
    shown_matches,
    shown_particles,
)

KEEP = tuple(GRAPHS.values())
"""Intermediates that a scene shows if a tracker has them."""
NEEDS = ("candidates",)
"""Parts of a result that a scene is made of."""
_CIRCLE = 72
"""Straight pieces of a circle."""
_LAYERS: tuple[BarrelLayer | Disk, ...] = (*BARREL_LAYERS, *DISKS)
_LAYER_ROW = {(one.volume, one.layer): row for row, one in enumerate(_LAYERS)}


def points_detector(name: str | None) -> Detector:
    """The layers of a detector by its name; nothing for one that is not known.

    The pixels alone are shown inside the whole detector.
    """
    if name not in (GENERIC_DETECTOR, GENERIC_PIXELS):
        nothing = np.empty((0, 2, 2), np.float32)
        return Detector(name or "", (), np.empty((0, 2, 3), np.float32), nothing, nothing)
    turn = 2 * np.pi * np.arange(_CIRCLE + 1) / _CIRCLE
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    circle = np.stack([unit[:-1], unit[1:]], axis=1)
    across = [layer.radius * circle for layer in BARREL_LAYERS]
    rings = [(side * one.half_length, one.radius) for one in BARREL_LAYERS for side in (-1, 1)]
    rings += [(disk.z, radius) for disk in DISKS for radius in (disk.inner, disk.outer)]
    along = [
        [(-one.half_length, side * one.radius), (one.half_length, side * one.radius)]
        for one in BARREL_LAYERS
        for side in (-1, 1)
    ]
    along += [
        [(disk.z, side * disk.inner), (disk.z, side * disk.outer)]
        for disk in DISKS
        for side in (-1, 1)
    ]
    solid = [
        np.concatenate([radius * circle, np.full((_CIRCLE, 2, 1), z)], axis=2)
        for z, radius in rings
    ]
    names = (
        f"{'disk' if isinstance(one, Disk) else 'barrel'} {one.volume}/{one.layer}"
        for one in _LAYERS
    )
    return Detector(
        "GenericDetector",
        tuple(names),
        np.concatenate(solid).astype(np.float32),
        np.concatenate(across).astype(np.float32),
        np.array(along, np.float32),
    )


def points_event(event: PointsEvent, result: Any, wanted: Wanted = STANDARD) -> SceneEvent:
    """An event of space points.

    Args:
        event: the event, with truth where it is known.
        result: the result of a tracker, with ``candidates`` and, of a learned one, the edges
            that :data:`KEEP` names. If it has ``helices``, one for each candidate, the lines are
            these; else a line joins the points of its candidate.
        wanted: which particles should be found.
    """
    candidates, truth = result.candidates, event.truth
    position = event.points.position
    n = len(candidates)
    match, particle = np.full(n, UNKNOWN), np.full(n, -1)
    seen: dict[str, Any] = {}
    if truth is not None:
        points = candidates.points
        matches = match_candidates(points.offsets, points.values, truth.points.particle)
        match, particle, seen = _beside_truth(matches, truth, position, wanted)
    fitted = getattr(result, "helices", None)
    if fitted is not None and len(fitted) == n:
        kinematics, paths = (
            _fitted(fitted),
            helix.trace(_lines(fitted), candidates.points, position),
        )
    else:
        kinematics = _unfitted(event, candidates)
        paths = Lines.through(candidates.points, position)
    tracks = SceneTracks(
        **kinematics,
        score=candidates.score,
        vertex=np.full(n, -1, np.int16),
        match=match.astype(np.uint8),
        particle=particle.astype(np.int32),
        hits=candidates.points,
    )
    graphs = {stage: getattr(result, name, None) for stage, name in GRAPHS.items()}
    pairs = {
        stage: np.stack([graph.source, graph.target], axis=1)
        for stage, graph in graphs.items()
        if graph is not None
    }
    edges, sector = in_sector(pairs, position, leading_azimuth(tracks.pt, tracks.phi))
    return SceneEvent(
        event.event,
        SceneHits(position, _layers(truth, len(position))),
        tracks,
        paths,
        SceneVertices.empty(),
        **seen,
        edges=edges,
        sector=sector,
    )


def _fitted(helices: Helices) -> dict[str, Array]:
    """What the helices of candidates say of the tracks of a scene."""
    return {
        **{name: getattr(helices, name) for name in ("pt", "eta", "phi", "charge", "z0", "chi2")},
        "tip": -helices.d0,
        "ndof": helices.ndof.astype(np.int8),
    }


def _lines(helices: Helices) -> helix.Helices:
    """The helices from the points nearest to the z axis on, -d0 (sin(phi), -cos(phi)) from it."""
    phi, d0 = helices.phi.astype(np.float64), helices.d0.astype(np.float64)
    start = np.stack([-d0 * np.sin(phi), d0 * np.cos(phi), helices.z0], axis=1)
    curvature = helices.charge * PT_PER_RADIUS / helices.pt.astype(np.float64)
    return helix.Helices(start, phi, curvature, np.sinh(helices.eta.astype(np.float64)))


def _unfitted(event: PointsEvent, candidates: TrackCandidates) -> dict[str, Array]:
    """What the points of candidates say of the tracks of a scene."""
    pt, eta = candidate_kinematics(event, candidates)
    rows, position = candidates.points, event.points.position
    first, last = (position[rows.values[at]] for at in (rows.offsets[:-1], rows.offsets[1:] - 1))
    unknown = np.full(len(rows), np.nan, np.float32)
    return {
        "pt": pt.astype(np.float32),
        "eta": eta.astype(np.float32),
        "phi": np.arctan2(*(last - first)[:, 1::-1].T).astype(np.float32),
        "charge": np.zeros(len(rows), np.int8),
        **dict.fromkeys(("tip", "z0", "chi2"), unknown),
        "ndof": np.zeros(len(rows), np.int8),
    }


def _layers(truth: PointsTruth | None, n: int) -> Array:
    """Row of the layer of each point; -1 if it is not known."""
    if truth is None:
        return np.full(n, -1, np.int16)
    key = truth.points.volume.astype(np.int64) << 16 | truth.points.layer.astype(np.int64)
    keys, place = np.unique(key, return_inverse=True)
    rows = [_LAYER_ROW.get((one >> 16, one & 0xFFFF), -1) for one in keys.tolist()]
    layer: Array = np.array(rows, np.int16)[place]
    return layer


def _beside_truth(
    matches: MajorityMatches, truth: PointsTruth, position: Array, wanted: Wanted
) -> tuple[Array, Array, dict[str, Any]]:
    """What each candidate is, its particle as a row of those that are shown, and the truth.

    A candidate is found if more than half of its points are of one particle, a particle if more
    than half of its points are on such a candidate too.
    """
    match = shown_matches(matches.particle, duplicates(matches))
    everyone = truth.particles
    found = np.zeros(len(everyone), bool)
    found[matches.particle[matches.double]] = True
    paths = true_paths(truth)
    asked = paths.reconstructable(wanted)
    kept = np.flatnonzero(paths.n_points > 0)
    row = np.full(len(everyone) + 1, -1)
    row[kept] = np.arange(len(kept))
    some = everyone.take(kept)
    collision, places = _collisions(truth)
    hits = outward(row[truth.points.particle], position, MM_PER_CM * some.position)
    seen = {
        "particles": shown_particles(some, collision[kept], found[kept], asked[kept], hits),
        "particle_paths": Lines.through(hits, position),
        "collisions": SceneCollisions(places),
    }
    return match, row[matches.particle], seen


def _collisions(truth: PointsTruth) -> tuple[Array, Array]:
    """Row of the collision of each particle, -1 if it is not known, and where collisions are.

    A collision is where its first primary particle starts.

    Returns:
        int[particles]; float32[collisions, 3], mm.
    """
    particles = truth.particles
    known = np.flatnonzero(particles.collision >= 0)
    known = known[np.argsort(~particles.primary[known], kind="stable")]
    numbers, first = np.unique(particles.collision[known], return_index=True)
    row = np.searchsorted(numbers, particles.collision)
    place = (MM_PER_CM * particles.position[known[first]]).astype(np.float32)
    return np.where(particles.collision < 0, -1, row), place
