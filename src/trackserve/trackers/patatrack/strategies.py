"""Ways to select tracks and to find vertices: the type of the cuts chooses the function.

A new way is a module, its cuts in :mod:`.config`, and a line here and in :mod:`.cuda.strategies`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from trackserve.edm import Tracks, Vertices
from trackserve.edm.columns import Array

from .config import MixtureCuts, QualityCuts, ScoreCuts, VertexCuts
from .fit import Fitted, Sizes
from .mixture import fit_mixture
from .resolve import resolve_tracks
from .select import select_tracks
from .shape import HitShapes
from .tracks import FittedTracks, fitted_tracks
from .vertices import find_vertices

SELECTIONS: dict[type, Callable[[Fitted, HitShapes, Sizes, Any], Array]] = {
    QualityCuts: select_tracks,
    ScoreCuts: resolve_tracks,
}
VERTEX_FINDERS: dict[type, Callable[[FittedTracks, Any, Array], tuple[Array, ...]]] = {
    VertexCuts: find_vertices,
    MixtureCuts: fit_mixture,
}


def select(fitted: Fitted, hits: HitShapes, sizes: Sizes, cuts: Any) -> Array:
    """Return the quality of each ntuplet, in the way of these cuts; for kernels only."""
    raise NotImplementedError


@overload(select, strict=False)  # the loops have no annotations
def _select(fitted: Any, hits: Any, sizes: Any, cuts: Any) -> Any:
    way = SELECTIONS[cuts.instance_class]
    return lambda fitted, hits, sizes, cuts: way(fitted, hits, sizes, cuts)


def make_vertices(tracks: FittedTracks, cuts: Any, vertex: Array) -> tuple[Array, ...]:
    """Return columns of vertices, found in the way of these cuts; ``vertex`` gets that of each
    track; for kernels only."""
    raise NotImplementedError


@overload(make_vertices, strict=False)
def _make_vertices(tracks: Any, cuts: Any, vertex: Any) -> Any:
    way = VERTEX_FINDERS[cuts.instance_class]
    return lambda tracks, cuts, vertex: way(tracks, cuts, vertex)


def vertices_of(tracks: Tracks, cuts: VertexCuts | MixtureCuts) -> tuple[Vertices, Array]:
    """Find the vertices of an event.

    Args:
        tracks: its tracks.
        cuts: constants of a way to find vertices.

    Returns:
        vertices by falling sum of pT^2, and the vertex of each track, int16[n], -1 if in none.
    """
    vertex = np.empty(len(tracks), np.int16)
    columns = VERTEX_FINDERS[type(cuts)](fitted_tracks(tracks), cuts, vertex)
    return Vertices(*columns), vertex
