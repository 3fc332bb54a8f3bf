"""What a page shows: the nouns between trackers of any kind and the drawing.

Lengths are in mm, momenta in GeV, angles in rad. Positions are absolute: relative to the
detector's centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np

from trackserve.edm.columns import Array, Columns, Ragged, column, ragged
from trackserve.edm.truth import Particles

UNKNOWN, FOUND, DUPLICATE, FAKE = range(4)
"""What a track is beside the truth; ``UNKNOWN`` without truth."""
OTHER, SEEN, MISSED = range(3)
"""What a particle is: one that no tracker should find, one that is found, one that is missed."""


@dataclass(frozen=True, eq=False)
class SceneHits(Columns):
    """Hits, or space points."""

    position: Array = column(np.float32, 3)
    """x, y, z, mm."""
    layer: Array = column(np.int16)
    """Row of :attr:`Detector.layers`; -1 if it is not known."""


@dataclass(frozen=True, eq=False)
class SceneTracks(Columns):
    """Tracks, or candidates. What a tracker does not tell is NaN."""

    pt: Array = column(np.float32)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float32)
    """Pseudorapidity."""
    phi: Array = column(np.float32)
    """Azimuth of the direction at its start, rad."""
    charge: Array = column(np.int8)
    """Charge; 0 if it is not known."""
    tip: Array = column(np.float32)
    """Transverse impact parameter about the beam spot, as that of :class:`.edm.Tracks`, mm."""
    z0: Array = column(np.float32)
    """z at the point nearest to the beam line, mm."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int8)
    """Degrees of freedom of the fit; 0 if there was none."""
    score: Array = column(np.float32)
    """How sure the tracker is, 0..1."""
    vertex: Array = column(np.int16)
    """Row in :class:`SceneVertices`; -1 if in none."""
    match: Array = column(np.uint8)
    """:data:`UNKNOWN`, :data:`FOUND`, :data:`DUPLICATE` or :data:`FAKE`."""
    particle: Array = column(np.int32)
    """Row in :class:`SceneParticles` of the particle that it matches; -1 if none."""
    hits: Ragged = ragged(np.int32)
    """Rows in :class:`SceneHits`, from the inside out."""


@dataclass(frozen=True, eq=False)
class SceneParticles(Columns):
    """Simulated charged particles that leave hits."""

    pt: Array = column(np.float32)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float32)
    """Pseudorapidity."""
    phi: Array = column(np.float32)
    """Azimuth of the momentum at its start, rad."""
    charge: Array = column(np.int8)
    """Charge."""
    pdg: Array = column(np.int32)
    """Number of the Particle Data Group; 0 if it is not known."""
    vertex: Array = column(np.int32)
    """Row of its collision; -1 if it is not known."""
    match: Array = column(np.uint8)
    """:data:`OTHER`, :data:`SEEN` or :data:`MISSED`."""
    hits: Ragged = ragged(np.int32)
    """Rows in :class:`SceneHits`, by their distance from its start."""


def shown_matches(particle: Array, is_duplicate: Array) -> Array:
    """What tracks are, int[n].

    Args:
        particle: int[n], the particle that a track matches; negative if none.
        is_duplicate: bool[n], whether a better track matches it too.
    """
    return np.where(is_duplicate, DUPLICATE, np.where(particle < 0, FAKE, FOUND))


def shown_particles(
    particles: Particles, vertex: Array, found: Array, wanted: Array, hits: Ragged
) -> SceneParticles:
    """Particles as they are shown.

    Args:
        particles: the particles.
        vertex: int[n], row of the collision of each; -1 if it is not known.
        found: bool[n], whether a track matches it.
        wanted: bool[n], whether one should.
        hits: rows of hits of each.
    """
    return SceneParticles(
        pt=particles.pt.astype(np.float32),
        eta=particles.eta.astype(np.float32),
        phi=particles.phi.astype(np.float32),
        charge=particles.charge,
        pdg=particles.pdg,
        vertex=vertex.astype(np.int32),
        match=np.select([found, wanted], [SEEN, MISSED], OTHER).astype(np.uint8),
        hits=hits,
    )


@dataclass(frozen=True, eq=False)
class SceneVertices(Columns):
    """Reconstructed vertices."""

    position: Array = column(np.float32, 3)
    """x, y, z, mm."""
    z_error: Array = column(np.float32)
    """Error of z, mm."""
    n_tracks: Array = column(np.int32)
    """Number of its tracks."""
    sum_pt2: Array = column(np.float32)
    """Sum of pT^2 of its tracks, GeV^2."""


@dataclass(frozen=True, eq=False)
class SceneCollisions(Columns):
    """Simulated collisions."""

    position: Array = column(np.float32, 3)
    """x, y, z, mm."""


@dataclass(frozen=True, eq=False)
class Lines:
    """A line of straight pieces for each row of a noun.

    Attributes:
        offsets: int64[rows + 1]; line ``i`` has the points from ``offsets[i]`` to
            ``offsets[i + 1]``.
        points: float32[n, 3], mm.
    """

    offsets: Array
    points: Array

    @classmethod
    def through(cls, hits: Ragged, position: Array) -> Lines:
        """Lines that join the hits of each row."""
        return cls(hits.offsets, position[hits.values].astype(np.float32))


@dataclass(frozen=True, eq=False)
class SceneEvent:
    """One event.

    Attributes:
        event: its number.
        hits, tracks, vertices: what was found.
        paths: the line of each track.
        particles, particle_paths, collisions: the truth; None if it is not known.
        edges: by the name of a stage the pairs of hits that are left after it, int32[n, 2], rows
            of ``hits``.
        sector: what part of the event ``edges`` are of, in words; empty: all of it.
        facts: numbers about the event, by name.
    """

    event: int
    hits: SceneHits
    tracks: SceneTracks
    paths: Lines
    vertices: SceneVertices
    particles: SceneParticles | None = None
    particle_paths: Lines | None = None
    collisions: SceneCollisions | None = None
    edges: Mapping[str, Array] = field(default_factory=dict)
    sector: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Detector:
    """What stands still in a scene.

    Attributes:
        name: its name.
        layers: names of the layers.
        solid: float32[n, 2, 3], straight pieces in space, mm.
        across: float32[n, 2, 2], straight pieces in the plane (x, y), mm.
        along: float32[n, 2, 2], straight pieces in the plane (z, r), mm, with r of both signs.
    """

    name: str
    layers: tuple[str, ...]
    solid: Array
    across: Array
    along: Array


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """What one page shows.

    Attributes:
        title: of the page.
        tracker: name of the tracker.
        identity: text of the identity of what made the tracks; empty if it is not known.
        detector: the detector.
        events: the events.

    A notebook shows the page itself.
    """

    title: str
    tracker: str
    identity: str
    detector: Detector
    events: tuple[SceneEvent, ...]

    def __repr__(self) -> str:
        return f"Scene({self.title!r}, events={[one.event for one in self.events]})"

    def _repr_html_(self) -> str:
        from .page import page_of

        look = "width:100%;height:620px;border:0"
        return f'<iframe srcdoc="{escape(page_of(self))}" style="{look}"></iframe>'
