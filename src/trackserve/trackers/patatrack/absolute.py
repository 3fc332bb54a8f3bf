"""Results of Patatrack in the frame of the detector, with the names of the field."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import BeamSpot, Clusters, Digis, Doublets, ReadoutErrors
from trackserve.edm.absolute import (
    AbsoluteHits,
    AbsoluteTracks,
    AbsoluteVertices,
    absolute_hits,
    absolute_tracks,
    absolute_vertices,
)
from trackserve.edm.result import Result

from .result import PatatrackCounts, PatatrackResult


@dataclass(frozen=True, eq=False)
class AbsolutePatatrackResult(Result):
    """A :class:`.result.PatatrackResult` whose positions are absolute."""

    counts: PatatrackCounts
    tracks: AbsoluteTracks
    vertices: AbsoluteVertices
    readout_errors: ReadoutErrors
    digis: Digis | None = None
    clusters: Clusters | None = None
    hits: AbsoluteHits | None = None
    doublets: Doublets | None = None
    ntuplets: AbsoluteTracks | None = None


def absolute(result: PatatrackResult, beam_spot: BeamSpot) -> AbsolutePatatrackResult:
    """Return a result in the frame of the detector.

    Args:
        result: of an event.
        beam_spot: of the event.
    """
    hits, ntuplets = result.hits, result.ntuplets
    return AbsolutePatatrackResult(
        event=result.event,
        counts=result.counts,
        tracks=absolute_tracks(result.tracks, beam_spot),
        vertices=absolute_vertices(result.vertices, beam_spot),
        readout_errors=result.readout_errors,
        digis=result.digis,
        clusters=result.clusters,
        hits=None if hits is None else absolute_hits(hits, beam_spot),
        doublets=result.doublets,
        ntuplets=None if ntuplets is None else absolute_tracks(ntuplets, beam_spot),
        identity=result.identity,
        origin=result.origin,
        stopped_by=result.stopped_by,
    )
