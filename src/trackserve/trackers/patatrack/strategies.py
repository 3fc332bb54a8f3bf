"""Ways to select tracks and to find vertices: the type of the cuts chooses the function.

A new way is a module, its cuts in :mod:`.config`, and a line here and in :mod:`.cuda.strategies`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trackserve.device.held import Held
from trackserve.edm import Tracks, Vertices
from trackserve.edm.columns import Array

from .config import MixtureCuts, QualityCuts, ScoreCuts, VertexCuts
from .fit import Fitted, Sizes
from .mixture import fit_mixture
from .resolve import resolve_tracks
from .select import select_tracks
from .shape import HitShapes
from .vertices import find_vertices

SELECTIONS: dict[type, Callable[[Held[Fitted], Held[HitShapes], Sizes, Any], Array]] = {
    QualityCuts: select_tracks,
    ScoreCuts: resolve_tracks,
}
VERTEX_FINDERS: dict[type, Callable[[Tracks, Any], tuple[Vertices, Array]]] = {
    VertexCuts: find_vertices,
    MixtureCuts: fit_mixture,
}
