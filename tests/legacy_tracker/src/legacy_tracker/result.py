"""The result of one event, and its form on the wire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm import PointsEvent, TrackCandidates
from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.result import Result, ResultCounts
from trackserve.wire.codec import Codec
from trackserve.wire.events import PointsEventCodec


@dataclass(frozen=True)
class LegacyCounts(ResultCounts):
    """Numbers of points, seeds and candidates."""

    points: int
    """Space points."""
    seeds: int
    """Pairs of inner points that were tried."""
    candidates: int
    """Track candidates."""


@dataclass(frozen=True, eq=False)
class Seeds(Columns):
    """Pairs of inner points that a particle from the beam may connect."""

    inner: Array = column(np.int32)
    """Row of the inner point in the event's space points."""
    outer: Array = column(np.int32)
    """Row of the outer point."""
    curvature: Array = column(np.float32)
    """1/mm; positive where the particle turns counter-clockwise."""
    z0: Array = column(np.float32)
    """Where the particle leaves the beam, mm."""
    cot_theta: Array = column(np.float32)
    """dz/ds of the particle along its arc in the transverse plane."""


@dataclass(frozen=True, eq=False)
class LegacyResult(Result):
    """Track candidates of one event; the seeds are an intermediate."""

    counts: LegacyCounts
    candidates: TrackCandidates
    seeds: Seeds | None = None


CODEC: Codec[PointsEvent, LegacyResult] = Codec(PointsEventCodec(), LegacyResult)
