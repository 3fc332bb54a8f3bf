"""Ntuplets to helices: broken lines, those of as many hits side by side."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from trackserve.device.compile import LANES, kernel, shared, u64, wide_vectors
from trackserve.device.held import Held, plain
from trackserve.device.lanes import load_columns, store_columns
from trackserve.edm import MAX_HITS
from trackserve.edm.columns import Array

from .broken_line import (
    CHI2,
    COVARIANCE,
    MIN_HITS,
    N_OF_HIT,
    N_OF_TRACK,
    STATE,
    VAR_X,
    VAR_Y,
    X0,
    XX,
    XY,
    XZ,
    YX,
    YY,
    YZ,
    Workspace,
    X,
    Y,
    Z,
    fit_broken_lines_side_by_side,
)
from .config import FitConstants
from .doublets import OrderedHits
from .hits import PositionTables, surface_of
from .ntuplets import Ntuplets


class Fitted(NamedTuple):
    """Ntuplets and their parameters, as in :class:`trackserve.edm.Tracks`.

    Attributes:
        ntuplets: the ``n`` ntuplets.
        state: float32[n, 5]; NaN for what was not fitted, as the next two.
        covariance: float32[n, 15].
        chi2: float32[n].
        ndof: int8[n], 0 for what was not fitted.
    """

    ntuplets: Ntuplets
    state: Array
    covariance: Array
    chi2: Array
    ndof: Array


class Sizes(NamedTuple):
    """Numbers of what the ntuplets of an event may share: its hits, and its cells."""

    n_hits: int
    n_cells: int


class MeasuredHits(NamedTuple):
    """Hits with all that the fit needs of them, and of the modules.

    Attributes:
        ordered: the hits in their order.
        var_x, var_y: columns of :class:`trackserve.edm.Hits`.
        surface: column of :class:`.PositionTables`.
    """

    ordered: OrderedHits
    var_x: Array
    var_y: Array
    surface: Array


@register_jitable
def measured_hits(ordered: OrderedHits, hits: Any, tables: PositionTables) -> MeasuredHits:
    """Return the input of the fit; ``hits`` are columns of :class:`trackserve.edm.Hits`."""
    return MeasuredHits(ordered, hits.var_x, hits.var_y, tables.surface)


@kernel
def fit_broken_lines(
    ntuplets: Held[Ntuplets] | Ntuplets,
    ordered: Held[OrderedHits] | OrderedHits,
    hits: Held[Any] | Any,
    tables: Held[PositionTables] | PositionTables,
    constants: Held[FitConstants] | FitConstants,
) -> Held[Fitted]:
    """Fit every ntuplet that is not a duplicate.

    Args:
        ntuplets: the ntuplets.
        ordered: the hits in their order.
        hits: columns of :class:`trackserve.edm.Hits`.
        tables: parameters of the modules.
        constants: constants of the fit.
    """
    measured = measured_hits(plain(ordered), plain(hits), plain(tables))
    states, covariances, chi2s, ndofs = _fit_broken_lines(
        plain(ntuplets), measured, plain(constants)
    )
    return Held(Fitted(plain(ntuplets), states, covariances, chi2s, ndofs))


@shared
def load_hit(h: int, hits: MeasuredHits, hit: Array, lane: int) -> None:
    """Load what ordered hit ``h`` brings into ``hit``, an entry of :attr:`Workspace.hit`."""
    ordered = hits.ordered
    row, surface = u64(ordered.order[h]), surface_of(u64(ordered.module[h]), hits.surface)
    hit[X, lane], hit[Y, lane], hit[Z, lane] = ordered.x[h], ordered.y[h], ordered.z[h]
    hit[VAR_X, lane], hit[VAR_Y, lane] = hits.var_x[row], hits.var_y[row]
    hit[XX, lane], hit[XY, lane], hit[XZ, lane] = surface.axis_x
    hit[YX, lane], hit[YY, lane], hit[YZ, lane] = surface.axis_y
    hit[X0, lane] = surface.material


@kernel
def _fit_broken_lines(
    ntuplets: Ntuplets, hits: MeasuredHits, constants: FitConstants
) -> tuple[Array, Array, Array, Array]:
    wide_vectors()
    n = len(ntuplets.n_hits)
    states = np.empty((n, 5), np.float32)
    covariances = np.empty((n, 15), np.float32)
    chi2s = np.empty(n, np.float32)
    ndofs = np.empty(n, np.int8)

    # one row of memory for each hit: most are in several ntuplets
    loaded = np.empty((len(hits.ordered.order), LANES, 1), np.float32)
    for h in range(u64(len(loaded))):
        load_hit(h, hits, loaded[h], 0)

    # tracks of as many hits in a row, and duplicates
    lengths = MAX_HITS + 1
    tracks = np.empty((lengths, n), np.int32)
    count = np.zeros(lengths, np.int64)
    for t in range(n):
        used = 0 if ntuplets.duplicate[t] else min(int(ntuplets.n_hits[t]), constants.max_hits)
        tracks[used, count[used]] = t
        count[used] += 1
    for i in range(count[0]):
        t = tracks[0, i]
        states[t], covariances[t], chi2s[t], ndofs[t] = np.nan, np.nan, np.nan, 0

    rows = np.empty((MAX_HITS, LANES), np.int32)
    here = np.empty(LANES, np.int32)
    work = Workspace(np.empty((MAX_HITS, N_OF_HIT, LANES)), np.empty((N_OF_TRACK, LANES)))
    for used in range(MIN_HITS, lengths):
        for block in range(0, count[used], LANES):
            filled = min(LANES, count[used] - block)
            for lane in range(u64(LANES)):  # the last track again where there is none
                t = u64(tracks[used, block + min(np.int64(lane), filled - 1)])
                here[lane] = t
                for k in range(u64(used)):
                    rows[k, lane] = ntuplets.hits[t, k]
            for k in range(u64(used)):
                load_columns(loaded, rows, k * u64(LANES), work.hit, k * u64(N_OF_HIT * LANES))
            fit_broken_lines_side_by_side(used, LANES, constants, work)
            for lane in range(u64(LANES)):
                failed = math.isnan(work.track[CHI2, lane])
                for k in range(u64(STATE), u64(N_OF_TRACK)):
                    value = work.track[k, lane]
                    work.track[k, lane] = math.nan if failed else value
            for lane in range(u64(filled)):
                t, chi2 = u64(here[lane]), work.track[CHI2, lane]
                chi2s[t], ndofs[t] = chi2, 0 if math.isnan(chi2) else 2 * used - 5
            store_columns(work.track, u64(STATE * LANES), 5, states, here, u64(filled))
            store_columns(work.track, u64(COVARIANCE * LANES), 15, covariances, here, u64(filled))
    return states, covariances, chi2s, ndofs
