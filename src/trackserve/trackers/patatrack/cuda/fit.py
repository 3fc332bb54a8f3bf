"""Ntuplets to helices, a thread for each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS

from ..config import FitConstants
from ..doublets import OrderedHits
from ..fit import (
    Fitted,
    Workspace,
    fit_broken_line,
    load_hits,
)
from ..hits import PositionTables
from ..ntuplets import Ntuplets


def fit_broken_lines(
    device: Device,
    ntuplets: Ntuplets,
    n: int,
    ordered: OrderedHits,
    hits: Any,
    tables: PositionTables,
    constants: FitConstants,
) -> Fitted:
    """Fit each of ``n`` ntuplets that is not a duplicate."""
    fitted = Fitted(
        state=device.array("fit.state", n, np.float32, 5),
        covariance=device.array("fit.covariance", n, np.float32, 15),
        chi2=device.array("fit.chi2", n, np.float32),
        ndof=device.array("fit.ndof", n, np.int8),
    )
    device.launch(_fit, n, ntuplets, ordered, hits, tables, constants, fitted, n)
    return fitted


@cuda_kernel
def _fit(
    ntuplets: Ntuplets,
    ordered: OrderedHits,
    hits: Any,
    tables: PositionTables,
    constants: FitConstants,
    fitted: Fitted,
    n: int,
) -> None:
    work = Workspace(
        cuda.local.array((MAX_HITS, 3), np.float64),
        cuda.local.array((MAX_HITS, 6), np.float64),
        cuda.local.array((MAX_HITS, 3), np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(MAX_HITS, np.float64),
        cuda.local.array(5, np.float64),
        cuda.local.array(15, np.float64),
    )
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        chi2 = math.nan
        used = min(int(ntuplets.n_hits[t]), constants.max_hits)
        if not ntuplets.duplicate[t]:
            load_hits(
                *(used, ntuplets.hits[t], ordered, hits.var_x, hits.var_y),
                *(tables.rotation, tables.material, work),
            )
            chi2 = fit_broken_line(used, constants, work)
        failed = math.isnan(chi2)
        fitted.chi2[t], fitted.ndof[t] = chi2, 0 if failed else 2 * used - 5
        for k in range(5):
            fitted.state[t, k] = math.nan if failed else work.state[k]
        for k in range(15):
            fitted.covariance[t, k] = math.nan if failed else work.covariance[k]
