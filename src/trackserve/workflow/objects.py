"""The objects that a trigger decides on: selected tracks, the primary vertex, jets of tracks.

Momenta are in GeV, lengths in cm relative to the beam spot, angles in rad. All columns are float64
arrays of their own: so numpy takes one formula, whoever made the tracks, and a decision has the
same bits in every way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trackserve.edm import VAR_TIP, VAR_ZIP, Columns, Tracks, Vertices
from trackserve.edm.columns import Array, column


@dataclass(frozen=True, eq=False)
class TriggerTracks(Columns):
    """Tracks that are good enough to decide on."""

    pt: Array = column(np.float64)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float64)
    """Pseudorapidity."""
    phi: Array = column(np.float64)
    """Azimuth, rad."""
    charge: Array = column(np.int8)
    """Charge, +1 or -1."""
    tip: Array = column(np.float64)
    """Transverse impact parameter, cm."""
    tip_error: Array = column(np.float64)
    """Its error, cm."""
    zip: Array = column(np.float64)
    """Longitudinal impact parameter, cm."""
    zip_error: Array = column(np.float64)
    """Its error, cm."""
    n_hits: Array = column(np.int8)
    """Number of hits."""
    vertex: Array = column(np.int16)
    """Row in :class:`trackserve.edm.Vertices`; -1 if in none."""


@dataclass(frozen=True, eq=False)
class TrackJets(Columns):
    """Jets of tracks, by falling pT."""

    pt: Array = column(np.float64)
    """Transverse momentum, GeV."""
    eta: Array = column(np.float64)
    """Pseudorapidity."""
    phi: Array = column(np.float64)
    """Azimuth, rad."""
    n_tracks: Array = column(np.int32)
    """Number of tracks."""


class PrimaryVertex(NamedTuple):
    """The vertex of the hard collision.

    Attributes:
        row: row in :class:`trackserve.edm.Vertices`; -1: there is none.
        z: its place, cm; NaN if there is none.
    """

    row: int = -1
    z: float = math.nan


def trigger_tracks(tracks: Tracks, chosen: Array) -> TriggerTracks:
    """The rows of ``tracks`` in the mask ``chosen``."""
    some = tracks.take(chosen)
    phi, tip, q_over_pt, cot_theta, zip_ = some.state.T.astype(np.float64, order="C")
    variances = some.covariance[:, [VAR_TIP, VAR_ZIP]].T.astype(np.float64, order="C")
    tip_error, zip_error = np.sqrt(variances)
    return TriggerTracks(
        1 / np.abs(q_over_pt),
        np.arcsinh(cot_theta),
        phi,
        some.charge,
        tip,
        tip_error,
        zip_,
        zip_error,
        some.n_hits.copy(),
        some.vertex.copy(),
    )


def distance2(tracks: TriggerTracks, others: TriggerTracks) -> Array:
    """Squares of the distances in (eta, phi) of all pairs, float64[tracks, others]."""
    eta = tracks.eta[:, None] - others.eta[None, :]
    phi = tracks.phi[:, None] - others.phi[None, :]
    phi -= 2 * np.pi * np.round(phi / (2 * np.pi))
    distances: Array = eta * eta + phi * phi
    return distances


def hardest_vertex(
    tracks: TriggerTracks, vertices: Vertices, least_pt: float, most_pt: float
) -> PrimaryVertex:
    """The vertex with the largest sum of pT^2 of its tracks.

    Args:
        tracks: the tracks.
        vertices: the vertices of the event.
        least_pt: tracks below it do not count, GeV.
        most_pt: a track above it counts as one of this pT, GeV: few hits say little about it.
    """
    if not len(vertices):
        return PrimaryVertex()
    counted = (tracks.vertex >= 0) & (tracks.pt >= least_pt)
    weights = np.minimum(tracks.pt[counted], most_pt) ** 2
    sums = np.bincount(tracks.vertex[counted], weights, len(vertices))
    row = int(sums.argmax())
    return PrimaryVertex(row, float(vertices.z[row]))
