"""Every formula that CPU and GPU share compiles to PTX, with no GPU."""

from __future__ import annotations

import importlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from numba import boolean, cuda, float32, float64, int32, int64, uint8, uint16, uint32, uint64
from numba.core.dispatcher import Dispatcher

import trackserve.patatrack
from trackserve.patatrack.config import (
    REFERENCE_PAIRS,
    DoubletCuts,
    FitConstants,
    PositionErrors,
    QualityCuts,
    ScoreCuts,
)
from trackserve.patatrack.doublets import Candidates
from trackserve.patatrack.fit import make_workspace

COMPUTE_CAPABILITY = (9, 0)
fit_constants, work = numba.typeof(FitConstants()), numba.typeof(make_workspace())
candidates = Candidates(*(np.empty(0, t) for t in "iiiff"), np.empty((0, 0), np.int32))

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "double_column_pixel": (int64, int64),
    "error_code": (int64,),
    "roc_error": (int64, int64),
    "is_bad": (uint8, int64, int64),
    "pixel_charge": (float32, float32, float32, float32, float32, int64),
    "grid_place": (uint16, uint16),
    "find_root": (int32[::1], int64),
    "edge_charge": (int32,) * 4,
    "row_in_pitches": (int64,),
    "col_in_pitches": (int64,),
    "is_wide_row": (int64,),
    "is_wide_col": (int64,),
    "shared_width": (int64, int64, float32, float32, int64),
    "edge_correction": (int64, int32, int32, float32),
    "shape_variance": (
        *(int64, int64, float32, float32, float32, boolean, float32),
        numba.typeof(PositionErrors()),
    ),
    "cluster_size": (int64, int32, int32),
    "phi_in_units": (float32, float32),
    "long_enough": (int32, int32),
    "from_beam_spot": (*(float32,) * 4, int32, float32, numba.typeof(DoubletCuts())),
    "with_bit": (uint32, uint64, boolean),
    "bit": (uint32, uint64),
    "phi_bin": (int32,),
    "phi_difference": (int32, int32),
    "similar_sizes": (int32,) * 3,
    "accepted": (
        *(numba.typeof(candidates), uint64, uint64),
        numba.types.Tuple((float32, float32, int32, int32)),
        *(numba.typeof(REFERENCE_PAIRS[0]), numba.typeof(DoubletCuts()), int64),
    ),
    "size_as_predicted": (int32, *(float32,) * 4, numba.typeof(DoubletCuts())),
    "aligned": (float32,) * 8,
    "curvature_and_dca": (float32,) * 6,
    "same_direction": (float32,) * 7,
    "highland": (float64,) * 3,
    "circle_through": (float64,) * 6,
    "arc_of_chord": (float64, float64),
    "load_hit": (
        *(int64, numba.types.UniTuple(float32, 3), float32, float32),
        *(float32[:, ::1], float32, work),
    ),
    "trace_circle": (int64, work),
    "scatter": (int64, *(float64,) * 3, fit_constants, work),
    "fit_line": (int64, float64, work),
    "fit_circle": (int64, *(float64,) * 6, work),
    "move_circle": (*(float64,) * 5, numba.types.UniTuple(float64, 6), float64, work),
    "fit_broken_line": (int64, fit_constants, work),
    "max_chi2": (float64, numba.typeof(QualityCuts())),
    "in_region": (int64, float64, float64, float64, numba.typeof(QualityCuts())),
    "penalty": (int64, *(float64,) * 3, numba.typeof(ScoreCuts())),
    "compatible": (float64,) * 6,
    "likelihood": (float64,) * 4,
}


def shared_functions() -> dict[str, Dispatcher]:
    found = {}
    for module in pkgutil.iter_modules(trackserve.patatrack.__path__):
        loaded = importlib.import_module(f"trackserve.patatrack.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, Dispatcher) and not value.targetoptions.get("nogil"):
                found[name] = value
    return found


def test_every_shared_function_is_listed() -> None:
    assert set(shared_functions()) == set(SIGNATURES)


@pytest.mark.parametrize("name", SIGNATURES)
def test_compiles_to_ptx(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # what a shared function calls is compiled for "the current device"
    device = SimpleNamespace(compute_capability=COMPUTE_CAPABILITY)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    function = shared_functions()[name].py_func
    ptx, _ = cuda.compile(function, SIGNATURES[name], device=True, cc=COMPUTE_CAPABILITY)
    assert ".target sm_90" in ptx
