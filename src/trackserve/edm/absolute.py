"""Pixel tracks, hits and vertices in the frame of the detector, with the names of the field.

Lengths are in cm, momenta in GeV, angles in rad. Positions are absolute. ``dxy`` and ``dz`` are
those of CMS with respect to the beam spot: for the point (x, y, z) of closest approach to it in the
transverse plane, relative to it, dxy = -x sin(phi) + y cos(phi) and dz = z. So dxy = -tip and
dz = zip of :class:`.pixel.Tracks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, Ragged, column, ragged
from .pixel import BeamSpot, Hits, Tracks, Vertices

_SIGNS = np.array([1, -1, 1, 1, 1], np.float32)
"""Signs of (phi, dxy, q/pT, cot(theta), dz) against the state of :class:`.pixel.Tracks`."""


@dataclass(frozen=True, eq=False)
class AbsoluteTracks(Columns):
    """Fitted helices at their closest approach to the beam spot."""

    pt: Array = column(np.float32)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float32)
    """Pseudorapidity of the direction."""
    phi: Array = column(np.float32)
    """Azimuth of the direction, rad."""
    charge: Array = column(np.int8)
    """Charge, +1 or -1."""
    dxy: Array = column(np.float32)
    """Transverse impact parameter with respect to the beam spot, -x sin(phi) + y cos(phi), cm."""
    dz: Array = column(np.float32)
    """Longitudinal impact parameter with respect to the beam spot, cm."""
    vx: Array = column(np.float32)
    """x of the point of closest approach, absolute, cm."""
    vy: Array = column(np.float32)
    """y of the point of closest approach, absolute, cm."""
    vz: Array = column(np.float32)
    """z of the point of closest approach, absolute, cm."""
    q_over_pt: Array = column(np.float32)
    """Charge over transverse momentum, 1/GeV."""
    cot_theta: Array = column(np.float32)
    """Cotangent of the polar angle."""
    covariance: Array = column(np.float32, 15)
    """Upper triangle of the covariance of (phi, dxy, q/pT, cot(theta), dz), in row order."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int8)
    """Degrees of freedom of the fit."""
    quality: Array = column(np.uint8)
    """0 bad, 1 duplicate, 2 loose."""
    n_hits: Array = column(np.int8)
    """Number of hits."""
    hits: Ragged = ragged(np.int32)
    """Rows of the hits, from the inside out."""
    vertex: Array = column(np.int16)
    """Row of the vertex; -1 if in none."""


@dataclass(frozen=True, eq=False)
class AbsoluteHits(Columns):
    """Measured positions, one for each cluster."""

    module: Array = column(np.uint16)
    """Module, 0..1855."""
    x_local: Array = column(np.float32)
    """Position across the rows, in the module, cm."""
    y_local: Array = column(np.float32)
    """Position along the columns, in the module, cm."""
    var_x: Array = column(np.float32)
    """Variance of x_local, cm^2."""
    var_y: Array = column(np.float32)
    """Variance of y_local, cm^2."""
    x: Array = column(np.float32)
    """x, absolute, cm."""
    y: Array = column(np.float32)
    """y, absolute, cm."""
    z: Array = column(np.float32)
    """z, absolute, cm."""
    charge: Array = column(np.int32)
    """Charge of the cluster, electrons."""
    size_x: Array = column(np.int16)
    """Length along x in eighths of a pixel; negative if the cluster touches the edge."""
    size_y: Array = column(np.int16)
    """Length along y in eighths of a pixel; negative if the cluster touches the edge."""


@dataclass(frozen=True, eq=False)
class AbsoluteVertices(Columns):
    """Collision points along the beam, by falling sum of pT^2."""

    x: Array = column(np.float32)
    """x of the beam spot, cm: a vertex is found along the beam only."""
    y: Array = column(np.float32)
    """y of the beam spot, cm."""
    z: Array = column(np.float32)
    """z, absolute, cm."""
    z_error: Array = column(np.float32)
    """Error of z, cm."""
    chi2: Array = column(np.float32)
    """chi^2 of the fit."""
    ndof: Array = column(np.int32)
    """Degrees of freedom of the fit."""
    sum_pt2: Array = column(np.float32)
    """Sum of pT^2 of the tracks, GeV^2."""


def absolute_tracks(tracks: Tracks, beam_spot: BeamSpot) -> AbsoluteTracks:
    """Return the tracks in the frame in which the beam spot is given."""
    x, y, z = beam_spot.position()
    phi, dxy, dz = tracks.phi.copy(), -tracks.tip, tracks.zip.copy()
    return AbsoluteTracks(
        pt=tracks.pt,
        eta=tracks.eta,
        phi=phi,
        charge=tracks.charge,
        dxy=dxy,
        dz=dz,
        vx=x - dxy * np.sin(phi),
        vy=y + dxy * np.cos(phi),
        vz=z + dz,
        q_over_pt=tracks.q_over_pt.copy(),
        cot_theta=tracks.cot_theta.copy(),
        covariance=tracks.covariance * np.outer(_SIGNS, _SIGNS)[np.triu_indices(5)],
        chi2=tracks.chi2,
        ndof=tracks.ndof,
        quality=tracks.quality,
        n_hits=tracks.n_hits,
        hits=tracks.hit_rows,
        vertex=tracks.vertex,
    )


def absolute_hits(hits: Hits, beam_spot: BeamSpot) -> AbsoluteHits:
    """Return the hits in the frame in which the beam spot is given."""
    columns = {name: getattr(hits, name) for name in AbsoluteHits.schema()}
    for axis, place in zip("xyz", beam_spot.position(), strict=True):
        columns[axis] = columns[axis] + place
    return AbsoluteHits(**columns)


def absolute_vertices(vertices: Vertices, beam_spot: BeamSpot) -> AbsoluteVertices:
    """Return the vertices in the frame in which the beam spot is given."""
    x, y, z = beam_spot.position()
    return AbsoluteVertices(
        x=np.full(len(vertices), x),
        y=np.full(len(vertices), y),
        z=vertices.z + z,
        z_error=vertices.z_error,
        chi2=vertices.chi2,
        ndof=vertices.ndof,
        sum_pt2=vertices.sum_pt2,
    )
