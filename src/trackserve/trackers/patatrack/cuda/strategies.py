"""Ways to select tracks and to find vertices: the type of the cuts chooses the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trackserve.device.cuda import Device

from ..config import MixtureCuts, QualityCuts, ScoreCuts, VertexCuts
from ..fit import Fitted
from ..shape import HitShapes
from .mixture import fit_mixture
from .resolve import Contest, resolve_tracks
from .select import select_tracks
from .tracks import BatchTracks
from .vertices import BatchVertices, find_vertices

SELECTIONS: dict[type, Callable[[Device, Fitted, HitShapes, Contest, Any], None]] = {
    QualityCuts: select_tracks,
    ScoreCuts: resolve_tracks,
}
VERTEX_FINDERS: dict[type, Callable[[Device, BatchTracks, Any], BatchVertices]] = {
    VertexCuts: find_vertices,
    MixtureCuts: fit_mixture,
}
