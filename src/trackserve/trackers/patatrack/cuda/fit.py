"""Ntuplets to helices, a thread for each."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS

from ..broken_line import (
    CHI2,
    COVARIANCE,
    N_OF_HIT,
    N_OF_TRACK,
    STATE,
    Workspace,
    fit_broken_lines_side_by_side,
)
from ..config import FitConstants
from ..fit import Fitted, MeasuredHits, load_hit
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
        hit=cuda.local.array((MAX_HITS, N_OF_HIT, 1), np.float64),
        track=cuda.local.array((N_OF_TRACK, 1), np.float64),
    )
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        chi2 = math.nan
        used = min(int(ntuplets.n_hits[t]), constants.max_hits)
        if not ntuplets.duplicate[t]:
            for k in range(used):
                load_hit(ntuplets.hits[t, k], hits, work.hit[k], 0)
            fit_broken_lines_side_by_side(used, 1, constants, work)
            chi2 = work.track[CHI2, 0]
        failed = math.isnan(chi2)
        fitted.chi2[t], fitted.ndof[t] = chi2, 0 if failed else 2 * used - 5
        for k in range(5):
            fitted.state[t, k] = math.nan if failed else work.track[STATE + k, 0]
        for k in range(15):
            fitted.covariance[t, k] = math.nan if failed else work.track[COVARIANCE + k, 0]
