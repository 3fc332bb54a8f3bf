"""The stages from raw words to vertices in one call of compiled code.

Between two calls a thread needs the lock of Python, and may have to wait for it. After a stage
beyond a limit or the deadline, the others have nothing to do; :mod:`.pipeline` sees from the
numbers what an event has come to.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from trackserve.device.clock import seconds
from trackserve.device.compile import kernel
from trackserve.device.held import Held, hold, plain
from trackserve.edm import Tracks
from trackserve.edm.columns import Array
from trackserve.trackers.laps import WALL

from .calibrate import calibrate
from .clusterize import clusterize
from .config import PatatrackConfig
from .connect import connect_cells, remove_fishbones
from .doublets import find_doublets, order_by_phi
from .fit import Sizes, fit_broken_lines
from .hits import make_hits
from .limits import PatatrackLimits
from .ntuplets import find_ntuplets
from .shape import hit_shapes
from .strategies import make_vertices, select
from .tracker import Patatrack
from .tracks import FittedTracks, make_tracks
from .unpack import OK, Stream, words_to_digis

STAGES = Patatrack.stages
"""The stages, in order."""
_UNPACK, _CALIBRATE, _CLUSTERS, _HITS, _ORDER = range(5)
_DOUBLETS, _CONNECTION, _FISHBONE, _NTUPLETS, _FIT, _SELECTION, _VERTICES = range(5, 12)
_BAD, _LOOSE = Tracks.BAD, Tracks.LOOSE
_NONE = -1
"""A limit that lets nothing pass."""


class Most(NamedTuple):
    """The most of each count, as in :class:`.limits.PatatrackLimits`."""

    words: int
    module_digis: int
    clusters: int
    doublets: int
    triplets: int
    connections: int
    ntuplets: int


_most_of = attrgetter(*Most._fields)


class Numbers(NamedTuple):
    """How many there are of each; behind a stage beyond its limit there are none."""

    modules: int
    module_digis: int
    clusters: int
    doublets: int
    triplets: int
    connections: int
    cells: int
    ntuplets: int


class Intermediates(NamedTuple):
    """What the stages find on the way, for those who keep it."""

    digis: Held[Any]
    clusters: Held[Any]
    hits: Held[Any]
    ordered: Held[Any]
    cells: Held[Any]
    graph: Held[Any]
    fitted: Held[Any]
    quality: Array


class Chained(NamedTuple):
    """What :func:`to_vertices` comes to.

    Attributes:
        stream: summary of the event's stream.
        n_errors: number of errors in its words.
        errors: columns of :class:`trackserve.edm.ReadoutErrors`.
        numbers: how many there are of each.
        times: float64[stages], when each stage ended, by the clock that was asked for, seconds.
        late: place of the first stage that ended behind the deadline; -1: none.
        tracks, vertices: columns of :class:`trackserve.edm.Tracks` and of
            :class:`trackserve.edm.Vertices`.
        others: the intermediates.
    """

    stream: Stream
    n_errors: int
    errors: Held[Any]
    numbers: Numbers
    times: Array
    late: int
    tracks: tuple[Array, ...]
    vertices: tuple[Array, ...]
    others: Held[Intermediates]


class Tables(NamedTuple):
    """Look-up tables of the stages: :class:`.unpack.UnpackTables` and so on."""

    cabling: Held[Any]
    gains: Held[Any]
    positions: Held[Any]
    shapes: Held[Any]


class Constants(NamedTuple):
    """Constants of the stages, as in :class:`.config.PatatrackConfig`."""

    charge: Held[Any]
    clusters: Held[Any]
    positions: Held[Any]
    layer_pairs: Held[Array]
    doublets: Held[Any]
    connections: Held[Any]
    ntuplets: Held[Any]
    fit: Held[Any]
    quality: Held[Any]
    vertices: Held[Any]


def most_of(limits: PatatrackLimits) -> Most:
    """The limits as compiled code takes them."""
    return Most(*_most_of(limits))


def constants_of(config: PatatrackConfig) -> Held[Constants]:
    """The constants of a configuration."""
    return hold(Constants(*(hold(getattr(config, name)) for name in Constants._fields)))


@kernel
def to_vertices(
    words: Array,
    beam_spot: Array,
    tables: Held[Tables] | Tables,
    constants: Held[Constants] | Constants,
    most: Most,
    end: float,
    clock: int,
) -> Chained:
    """Raw words to vertices.

    Args:
        words: uint32[n], the stream of an event, read-only.
        beam_spot: float32[3], cm.
        tables: the tables.
        constants: the constants.
        most: limits.
        end: the deadline by :data:`trackserve.trackers.laps.WALL`, seconds.
        clock: number of the clock for ``times``.
    """
    times = np.empty(len(STAGES))
    over = np.empty(len(STAGES), np.bool_)
    using, having = plain(constants), plain(tables)

    def ended(stage: int) -> bool:
        times[stage] = seconds(clock)
        over[stage] = seconds(WALL) > end
        return not over[stage]

    stream, digis, errors, n_errors = words_to_digis(words, having.cabling, most.words)
    goes_on = ended(_UNPACK) & (stream.status == OK)
    digis = calibrate(digis, having.gains, using.charge)
    goes_on &= ended(_CALIBRATE)
    clusters, n_clusters, n_modules, n_digis = clusterize(
        digis, using.clusters, most.module_digis, most.clusters
    )
    goes_on &= ended(_CLUSTERS) & (n_digis <= most.module_digis) & (n_clusters <= most.clusters)
    hits = make_hits(clusters, having.positions, using.positions, beam_spot)
    goes_on &= ended(_HITS)
    ordered = order_by_phi(hits)
    goes_on &= ended(_ORDER)
    n_most = most.doublets if goes_on else _NONE
    cells, n_doublets = find_doublets(ordered, using.layer_pairs, using.doublets, n_most)
    goes_on &= ended(_DOUBLETS) & (n_doublets <= most.doublets)
    n_most = most.triplets if goes_on else _NONE
    graph, n_cells, n_triplets, n_connections = connect_cells(
        ordered, cells, using.connections, n_most, most.connections
    )
    goes_on &= ended(_CONNECTION) & (n_triplets <= most.triplets)
    goes_on &= n_connections <= most.connections
    remove_fishbones(ordered, graph, using.connections)
    goes_on &= ended(_FISHBONE)
    n_most = most.ntuplets if goes_on else _NONE
    ntuplets, n_ntuplets = find_ntuplets(graph, using.layer_pairs, using.ntuplets, n_most)
    goes_on &= ended(_NTUPLETS)
    fitted = fit_broken_lines(ntuplets, ordered, hits, having.positions, using.fit)
    goes_on &= ended(_FIT)
    quality = np.full(len(fitted.value.chi2), _BAD, np.uint8)
    if goes_on:
        shapes = hit_shapes(ordered.value, hits.value, having.shapes.value)
        sizes = Sizes(n_hits=n_clusters, n_cells=n_cells)
        quality = select(fitted.value, shapes, sizes, using.quality.value)
    tracks = make_tracks(fitted.value, ordered.value.order, quality, _LOOSE)
    goes_on &= ended(_SELECTION)
    state, covariance, chi2, _, _, n_hits, _, vertex_of_track = tracks
    n = len(chi2) if goes_on else 0
    judged = FittedTracks(state[:n], covariance[:n], chi2[:n], n_hits[:n])
    vertices = make_vertices(judged, using.vertices.value, vertex_of_track)
    ended(_VERTICES)
    numbers = Numbers(
        modules=n_modules,
        module_digis=n_digis,
        clusters=n_clusters,
        doublets=n_doublets,
        triplets=n_triplets,
        connections=n_connections,
        cells=n_cells,
        ntuplets=n_ntuplets,
    )
    late = -1
    for stage in range(len(STAGES)):
        if over[stage] and late < 0:
            late = stage
    others = Held(Intermediates(digis, clusters, hits, ordered, cells, graph, fitted, quality))
    return Chained(stream, n_errors, errors, numbers, times, late, tracks, vertices, others)


@kernel
def all_ntuplets(others: Held[Intermediates]) -> tuple[Array, ...]:
    """Return all ntuplets, also bad ones and duplicates, as columns of tracks in no vertex."""
    found = others.value
    return make_tracks(found.fitted.value, found.ordered.value.order, found.quality, _BAD)
