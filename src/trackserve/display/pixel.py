"""Pixel events as scenes: modules, hits, fitted tracks, vertices, truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.geometry import SENSOR_LENGTH, SENSOR_WIDTH, PixelGeometry
from trackserve.detectors.phase1.layout import (
    FIRST_ENDCAP,
    LAYER_START,
    N_BARREL_LAYERS,
    N_LAYERS,
    PT_PER_RADIUS,
)
from trackserve.edm import MM_PER_CM, Doublets, Hits, PixelTruth, Tracks, Vertices
from trackserve.edm.columns import Array
from trackserve.physics.pixel.matching import duplicates, match_hits, match_tracks
from trackserve.physics.pixel.truth import reconstructable

from .edges import in_sector, leading_azimuth
from .helix import Helices, trace, trace_through
from .rows import grouped, outward
from .scene import (
    UNKNOWN,
    Detector,
    SceneCollisions,
    SceneEvent,
    SceneHits,
    SceneTracks,
    SceneVertices,
    shown_matches,
    shown_particles,
)

KEEP = ("hits", "doublets")
"""Intermediates that a scene shows if a result has them."""
NEEDS = ("tracks", "vertices", "hits")
"""Parts of a result that a scene is made of."""
LAYERS = (
    *(f"barrel {number + 1}" for number in range(N_BARREL_LAYERS)),
    *(f"disk {side}{number + 1}" for side in "+-" for number in range(3)),
)


def geometry_of(conditions: PixelConditions) -> PixelGeometry:
    """The places of the modules, by the conditions that made the hits."""
    modules = conditions.cpe["module"]
    return PixelGeometry(
        layer=np.repeat(np.arange(N_LAYERS, dtype=np.int32), np.diff(LAYER_START)),
        raw_id=modules["raw_id"],
        position=modules["position"].astype(np.float64),
        rotation=modules["rotation"].astype(np.float64),
    )


def pixel_detector(geometry: PixelGeometry) -> Detector:
    """The modules: their outlines in space, and their traces in the two planes."""
    half_x, half_y = (
        MM_PER_CM / 2 * size * geometry.rotation[:, axis]
        for axis, size in enumerate((SENSOR_WIDTH, SENSOR_LENGTH))
    )
    centre = MM_PER_CM * geometry.position
    corners = [centre + a * half_x + b * half_y for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
    solid = np.stack([np.stack([corners[i], corners[i - 1]], axis=1) for i in range(4)], axis=1)
    barrel = slice(FIRST_ENDCAP)
    across = np.stack([centre - half_x, centre + half_x], axis=1)[barrel, :, :2]
    ends = np.stack([centre - half_y, centre + half_y], axis=1)
    along = np.stack([ends[..., 2], np.hypot(ends[..., 0], ends[..., 1])], axis=2)
    return Detector(
        "CMS Phase-1 pixel detector",
        LAYERS,
        solid.reshape(-1, 2, 3).astype(np.float32),
        _distinct(across),
        _distinct(np.concatenate([along, along * (1, -1)])),
    )


def pixel_event(
    result: Any, beam_spot: Array, geometry: PixelGeometry, truth: PixelTruth | None
) -> SceneEvent:
    """A pixel event.

    Args:
        result: the result of a tracker, with ``tracks``, ``vertices`` and ``hits``.
        beam_spot: float[3], to which its positions are relative, cm.
        geometry: of the conditions that it was made with.
        truth: of the event; None if it is not known.
    """
    spot = MM_PER_CM * np.asarray(beam_spot, np.float64)
    tracks: Tracks = result.tracks
    hits = _hits(result.hits, spot, geometry)
    rows = tracks.hit_rows
    helices = _track_helices(tracks, spot)
    paths = trace(helices, rows, hits.position)
    match, particle = np.full(len(tracks), UNKNOWN), np.full(len(tracks), -1)
    seen: dict[str, Any] = {}
    if truth is not None:
        match, particle, seen = _beside_truth(result.hits, hits, tracks, truth, geometry)
    vertices = _vertices(result.vertices, tracks, spot)
    scene_tracks = SceneTracks(
        pt=tracks.pt.astype(np.float32),
        eta=tracks.eta.astype(np.float32),
        phi=tracks.phi.copy(),
        charge=tracks.charge,
        tip=(MM_PER_CM * tracks.tip).astype(np.float32),
        z0=(MM_PER_CM * tracks.zip + spot[2]).astype(np.float32),
        chi2=tracks.chi2,
        ndof=tracks.ndof,
        score=np.full(len(tracks), np.nan, np.float32),
        vertex=tracks.vertex,
        match=match.astype(np.uint8),
        particle=particle.astype(np.int32),
        hits=rows,
    )
    edges, sector = _doublets(result, hits, tracks)
    return SceneEvent(
        result.event, hits, scene_tracks, paths, vertices, **seen, edges=edges, sector=sector
    )


def _doublets(result: Any, hits: SceneHits, tracks: Tracks) -> tuple[dict[str, Array], str]:
    """The doublets as they are found, and those that are left after the fishbone cleaning."""
    doublets: Doublets | None = getattr(result, "doublets", None)
    if doublets is None:
        return {}, ""
    pairs = np.stack([doublets.inner, doublets.outer], axis=1)
    stages = {"doublets": pairs, "fishbone": pairs[~doublets.killed]}
    return in_sector(stages, hits.position, leading_azimuth(tracks.pt, tracks.phi))


def _hits(hits: Hits, spot: Array, geometry: PixelGeometry) -> SceneHits:
    position = MM_PER_CM * np.stack([hits.x, hits.y, hits.z], axis=1) + spot
    layer = geometry.layer[hits.module].astype(np.int16)
    return SceneHits(position.astype(np.float32), layer)


def _track_helices(tracks: Tracks, spot: Array) -> Helices:
    """The helices from the points nearest to the beam line on.

    The centre of the circle lies (q R + tip) (sin(phi), -cos(phi)) from the beam spot, so the
    point is tip (sin(phi), -cos(phi)) away.
    """
    phi, tip, q_over_pt, cot_theta, zip_ = tracks.state.T.astype(np.float64)
    offset = np.stack([tip * np.sin(phi), -tip * np.cos(phi), zip_], axis=1)
    curvature = q_over_pt * PT_PER_RADIUS / MM_PER_CM
    return Helices(spot + MM_PER_CM * offset, phi, curvature, cot_theta)


def _vertices(vertices: Vertices, tracks: Tracks, spot: Array) -> SceneVertices:
    position = np.tile(spot, (len(vertices), 1))
    position[:, 2] += MM_PER_CM * vertices.z
    inside = tracks.vertex[tracks.vertex >= 0]
    return SceneVertices(
        position.astype(np.float32),
        (MM_PER_CM * vertices.z_error).astype(np.float32),
        np.bincount(inside, minlength=len(vertices)).astype(np.int32),
        vertices.sum_pt2,
    )


def _beside_truth(
    hits: Hits, shown: SceneHits, tracks: Tracks, truth: PixelTruth, geometry: PixelGeometry
) -> tuple[Array, Array, dict[str, Any]]:
    """What each track is, its particle as a row of those that are shown, and the truth."""
    true_hit = match_hits(hits, truth.hits)
    owner = np.append(truth.hits.particle, -1)[true_hit]
    particle = match_tracks(tracks, owner)
    match = shown_matches(particle, duplicates(particle))
    everyone = truth.particles
    found = np.zeros(len(everyone), bool)
    found[particle[particle >= 0]] = True
    wanted = reconstructable(truth)
    crossing = np.zeros(len(everyone), bool)
    crossing[truth.hits.particle[truth.hits.particle >= 0]] = True
    kept = np.flatnonzero((crossing & (everyone.charge != 0)) | found)
    row = np.full(len(everyone) + 1, -1)
    row[kept] = np.arange(len(kept))
    some = everyone.take(kept)
    own_hits = outward(row[owner], shown.position, MM_PER_CM * some.position)
    particles = shown_particles(some, some.collision, found[kept], wanted[kept], own_hits)
    helices = Helices(
        MM_PER_CM * some.position,
        some.phi,
        some.charge * PT_PER_RADIUS / MM_PER_CM / some.pt,
        some.momentum[:, 2] / some.pt,
    )
    local = np.stack([truth.hits.x_local, truth.hits.y_local, np.zeros(len(truth.hits))], axis=1)
    crossings = MM_PER_CM * geometry.to_global(truth.hits.module, local)
    true_rows = grouped(row[truth.hits.particle], len(kept))
    seen = {
        "particles": particles,
        "particle_paths": trace_through(helices, true_rows, crossings),
        "collisions": SceneCollisions((MM_PER_CM * truth.collisions.position).astype(np.float32)),
    }
    return match, row[particle], seen


def _distinct(pieces: Array) -> Array:
    """Pieces that differ by 0.1 mm or more, float32."""
    _, first = np.unique(np.round(pieces, 1).reshape(len(pieces), -1), axis=0, return_index=True)
    distinct: Array = pieces[np.sort(first)].astype(np.float32)
    return distinct
