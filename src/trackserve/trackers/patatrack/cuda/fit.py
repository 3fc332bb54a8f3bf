"""Ntuplets to helices, a thread for each."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS

from ..config import FitConstants
from ..fit import (
    Fitted,
    MeasuredHits,
    Workspace,
    fit_broken_line,
    load_hits,
)
from .ntuplets import BatchNtuplets


def fit_broken_lines(
    device: Device,
    ntuplets: BatchNtuplets,
    hits: MeasuredHits,
    constants: FitConstants,
) -> Fitted:
    """Fit each ntuplet that is not a duplicate."""
    n = ntuplets.n
    fitted = Fitted(
        ntuplets=ntuplets.columns,
        state=device.array("fit.state", n, np.float32, 5),
        covariance=device.array("fit.covariance", n, np.float32, 15),
        chi2=device.array("fit.chi2", n, np.float32),
        ndof=device.array("fit.ndof", n, np.int8),
    )
    device.launch(_fit, n, hits, constants, fitted, n)
    return fitted


@cuda_kernel
def _fit(hits: MeasuredHits, constants: FitConstants, fitted: Fitted, n: int) -> None:
    ntuplets = fitted.ntuplets
    work = Workspace(
        point=cuda.local.array((MAX_HITS, 3), np.float64),
        error=cuda.local.array((MAX_HITS, 6), np.float64),
        normal=cuda.local.array((MAX_HITS, 3), np.float64),
        x0=cuda.local.array(MAX_HITS, np.float64),
        arc=cuda.local.array(MAX_HITS, np.float64),
        path=cuda.local.array(MAX_HITS, np.float64),
        height=cuda.local.array(MAX_HITS, np.float64),
        variance=cuda.local.array(MAX_HITS, np.float64),
        kink=cuda.local.array(MAX_HITS, np.float64),
        radial_x=cuda.local.array(MAX_HITS, np.float64),
        radial_y=cuda.local.array(MAX_HITS, np.float64),
        state=cuda.local.array(5, np.float64),
        covariance=cuda.local.array(15, np.float64),
    )
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        chi2 = math.nan
        used = min(int(ntuplets.n_hits[t]), constants.max_hits)
        if not ntuplets.duplicate[t]:
            load_hits(used, ntuplets.hits[t], hits, work)
            chi2 = fit_broken_line(used, constants, work)
        failed = math.isnan(chi2)
        fitted.chi2[t], fitted.ndof[t] = chi2, 0 if failed else 2 * used - 5
        for k in range(5):
            fitted.state[t, k] = math.nan if failed else work.state[k]
        for k in range(15):
            fitted.covariance[t, k] = math.nan if failed else work.covariance[k]
