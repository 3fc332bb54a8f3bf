"""Modules that make the objects of a trigger from a tracker's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserve.edm import Tracks

from .jets import cluster, require_fastjet
from .module import Module
from .objects import (
    PrimaryVertex,
    TrackJets,
    TriggerTracks,
    distance2,
    hardest_vertex,
    trigger_tracks,
)


class SelectTracks(Module):
    """Tracks that are good enough to decide on.

    Args:
        tracking: product of the tracking.
        least_pt: least pT, GeV.
        least_hits: least number of hits.
        most_eta: largest |eta|.
        most_tip: largest transverse impact parameter, cm.
    """

    outputs = ("selected_tracks",)

    def __init__(
        self,
        tracking: str = "tracking",
        least_pt: float = 0.5,
        least_hits: int = 3,
        most_eta: float = 2.5,
        most_tip: float = 1.0,
    ) -> None:
        self.inputs = (tracking,)
        self.least_pt = least_pt
        self.least_hits = least_hits
        self.most_eta = most_eta
        self.most_tip = most_tip

    def produce(self, result: Any) -> TriggerTracks:
        tracks: Tracks = result.tracks
        good = (tracks.quality >= Tracks.LOOSE) & (tracks.n_hits >= self.least_hits)
        some = trigger_tracks(tracks, good)
        return some.take(
            (some.pt >= self.least_pt)
            & (np.abs(some.eta) <= self.most_eta)
            & (np.abs(some.tip) <= self.most_tip)
        )


class ChooseVertex(Module):
    """The vertex of the hard collision: that with the largest sum of pT^2.

    Args:
        tracking: product of the tracking.
        least_pt, most_pt: as of :func:`.objects.hardest_vertex`.
    """

    outputs = ("primary_vertex",)

    def __init__(
        self, tracking: str = "tracking", least_pt: float = 1.0, most_pt: float = 10.0
    ) -> None:
        self.inputs = ("selected_tracks", tracking)
        self.least_pt = least_pt
        self.most_pt = most_pt

    def produce(self, tracks: TriggerTracks, result: Any) -> PrimaryVertex:
        return hardest_vertex(tracks, result.vertices, self.least_pt, self.most_pt)


class PrimaryTracks(Module):
    """Tracks that come from the primary vertex.

    Args:
        most_distance: largest distance along the beam, cm; 3 errors of the track are allowed too.
    """

    inputs = ("selected_tracks", "primary_vertex")
    outputs = ("primary_tracks",)

    def __init__(self, most_distance: float = 0.1) -> None:
        self.most_distance = most_distance

    def produce(self, tracks: TriggerTracks, vertex: PrimaryVertex) -> TriggerTracks:
        distance = np.abs(tracks.zip - vertex.z)
        return tracks.take(distance <= np.maximum(self.most_distance, 3 * tracks.zip_error))


class ClusterJets(Module):
    """Jets of the primary tracks: anti-kt, with massless tracks.

    Args:
        radius: radius of the jets in (eta, phi).
        most_track_pt: a track above it counts as one of this pT, GeV.
        least_pt: least pT of a jet, GeV.

    Raises:
        MissingExtraError: FastJet is not installed.
    """

    inputs = ("primary_tracks",)
    outputs = ("track_jets",)

    def __init__(
        self, radius: float = 0.4, most_track_pt: float = 50.0, least_pt: float = 5.0
    ) -> None:
        require_fastjet()  # here, not in `begin`, which other modules' may precede by minutes
        self.radius = radius
        self.most_track_pt = most_track_pt
        self.least_pt = least_pt

    def produce(self, tracks: TriggerTracks) -> TrackJets:
        return cluster(tracks, self.radius, self.most_track_pt, self.least_pt)


class IsolateTracks(Module):
    """Primary tracks that few others are near to.

    Args:
        least_pt: least pT, GeV.
        least_hits: least number of hits.
        radius: radius in (eta, phi) in which others count.
        most_share: largest sum of the others' pT, as a share of the track's.
    """

    inputs = ("primary_tracks",)
    outputs = ("isolated_tracks",)

    def __init__(
        self,
        least_pt: float = 5.0,
        least_hits: int = 4,
        radius: float = 0.3,
        most_share: float = 0.1,
    ) -> None:
        self.least_pt = least_pt
        self.least_hits = least_hits
        self.radius = radius
        self.most_share = most_share

    def produce(self, tracks: TriggerTracks) -> TriggerTracks:
        some = tracks.take((tracks.pt >= self.least_pt) & (tracks.n_hits >= self.least_hits))
        near = distance2(some, tracks) < self.radius**2
        around = np.where(near, tracks.pt[None, :], 0.0).sum(axis=1) - some.pt
        return some.take(around <= self.most_share * some.pt)
