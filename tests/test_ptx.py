"""Every CUDA kernel, and every formula, compiles for three generations, with no GPU.

To PTX, and kernels from there to machine code: some limits show only then.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from cuda.core import Linker, LinkerOptions, ObjectCode
from exatrkx_models import small_model
from numba import boolean, float64, int32, int64, uint32, uint64
from numba.core.dispatcher import Dispatcher
from numba.cuda import compiler
from numba.cuda.dispatcher import CUDADispatcher

import trackserve.device
import trackserve.trackers.exatrkx
import trackserve.trackers.patatrack
from benchmarks.raw_words import stream
from trackserve.device import lanes
from trackserve.device.cuda import Device
from trackserve.edm.columns import Array
from trackserve.io import read_conditions
from trackserve.trackers.exatrkx.architecture import Cuts, Finish
from trackserve.trackers.exatrkx.cuda import CudaExatrkx, edges, radius
from trackserve.trackers.exatrkx.event import FeaturesEvent
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.exatrkx.result import GRAPH_STAGES
from trackserve.trackers.patatrack.clusterize import Edge
from trackserve.trackers.patatrack.config import (
    CONFIGS,
    MixtureCuts,
)
from trackserve.trackers.patatrack.cuda import CudaPatatrack
from trackserve.trackers.patatrack.result import PatatrackResult

GENERATIONS = ((7, 5), (8, 0), (9, 0))

OTHERS: dict[str, tuple[Any, ...]] = {
    "with_bit": (uint32, uint64, boolean),
    "bit": (uint32, uint64),
    "add_charge": (int32, int32),
    "edge_with": (numba.types.NamedTuple((int32, int32), Edge),) * 2,
    "find_root": (int32[::1], int64),
    "grid_points": (float64, numba.typeof(MixtureCuts())),
}
"""Formulas that no kernel calls."""
OF_A_CPU = {
    "_bucket",
    "labels_around",
    "_labels_of_row",
    "_both",
    "_comes_again",
    "_unpack_side_by_side",
    "_three",
    "_box",
    "_sensor",
    "_copy",
    "_positions_side_by_side",
    "_find_near",
    "_take_out",
    "_put_back",
    "_claim",
    "rounded",
    "run_tile",
    "project_tile",
    "start_edges",
}
"""Parts of loops that a GPU does in another way; so are all that use a CPU's vectors."""


class Recorder(Device):
    """Takes down which kernels are launched, with which types, and starts none."""

    n_blocks = 1
    stream = None

    def __init__(self) -> None:
        self._number = None
        self._stream: Any = SimpleNamespace(synchronize=lambda: None)
        self._arrays: dict[str, Any] = {}
        self._pinned: dict[str, Array] = {}
        self.synchronisations = 0
        self.launched: dict[tuple[Any, tuple[Any, ...]], None] = {}

    def launch(self, kernel: Any, n: int, *arguments: Any) -> None:
        self.launch_blocks(kernel, 1, *arguments)

    def launch_blocks(self, kernel: Any, n: int, *arguments: Any) -> None:
        self.launched[kernel, tuple(numba.typeof(a) for a in arguments)] = None

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return np.zeros(shape, dtype)

    def _allocate_pinned(self, n: int) -> Array:
        return np.zeros(n, np.uint8)


def compile_to_ptx(
    function: Any, types: tuple[Any, ...], is_formula: bool, generations: Sequence[tuple[int, int]]
) -> str:
    """Once to LLVM's code, then from that for each generation, of which the last is returned."""
    options = {"device": is_formula, "abi": "numba", "cc": generations[0]}
    library, _ = compiler._compile_pyfunc_with_fixup(function, types, **options)
    for major, minor in generations:
        ptx = library.get_asm_str(cc=(major, minor))
        assert f".target sm_{major}{minor}" in ptx
        if not is_formula:
            linker = Linker(
                ObjectCode.from_ptx(ptx.encode()), options=LinkerOptions(arch=f"sm_{major}{minor}")
            )
            assert linker.link("cubin").code
    return ptx


def modules() -> list[Any]:
    packages = (trackserve.device, trackserve.trackers.exatrkx, trackserve.trackers.patatrack)
    return [
        importlib.import_module(module.name)
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]


def record(sample_directory: Path) -> Recorder:
    """All launches of both pipelines."""
    recorder = Recorder()
    for config in CONFIGS.values():
        before = recorder.synchronisations
        pipeline = CudaPatatrack(read_conditions(sample_directory), config, recorder)
        pipeline.run([stream([])], list(PatatrackResult.intermediates()))
        assert recorder.synchronisations == before + 6
    for segmentation, finish in (
        ("components", None),
        ("paths", Finish(2.0, sure_edge=0.6)),
    ):
        before = recorder.synchronisations
        model = small_model(cuts=Cuts(0.1, 0.5, 0.5, 3, segmentation, finish))
        where = torch.device("cpu")
        learned = CudaExatrkx(model, where, precision="fp32", device=recorder)
        learned.run([FeaturesEvent(np.empty((0, 3), np.float32))], GRAPH_STAGES)
        passes = 1 if finish is None else 2
        assert recorder.synchronisations == before + 3 + passes
    none = ExatrkxLimits()
    object.__setattr__(none, "pieces", -1)  # even an empty event has more
    learned.run([FeaturesEvent(np.empty((0, 3), np.float32))], limits=none)
    some = recorder.array("some", 2, np.int32)
    dropped = recorder.array("dropped", 1, np.bool_)
    graph = edges.make_edges(recorder, "edges", some, 1, 1)
    edges.count_kept_of_others(recorder, graph, some, some, 0.5, dropped)
    return recorder


def use_generation(generation: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel calls is compiled for "the current device"."""
    device = SimpleNamespace(compute_capability=generation)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)


def test_pipelines_launch_every_kernel(
    sample_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel compiles to PTX; its squared distances are a CPU's. All are in the slow tests."""
    use_generation(GENERATIONS[-1], monkeypatch)
    recorder = record(sample_directory)
    assert kernels() == {kernel for kernel, _ in recorder.launched}
    (types,) = (types for kernel, types in recorder.launched if kernel is radius._count)
    check_distances(
        compile_to_ptx(radius._count.py_func, types, is_formula=False, generations=GENERATIONS[-1:])  # type: ignore[attr-defined]
    )


def check_distances(ptx: str) -> None:
    """Check that squared distances are a CPU's: products are rounded before they are added."""
    assert "mul.rn.f32" in ptx
    assert "fma.rn.f32" not in ptx


def definitions() -> list[Any]:
    return [value for module in modules() for value in vars(module).values()]


def uses_vectors(formula: Any) -> bool:
    """Whether a formula makes vectors of a CPU."""
    names, module = formula.py_func.__code__.co_names, sys.modules[formula.py_func.__module__]
    known = [getattr(module, name, None) for name in names]
    of_both = (lanes.real, lanes.whole)
    return any(
        getattr(value, "__module__", "") == lanes.__name__ and value not in of_both
        for value in known
    )


def kernels() -> set[Any]:
    """All kernels of the package."""
    return {
        value
        for value in definitions()
        if isinstance(value, CUDADispatcher) and not value.targetoptions["device"]
    }


@pytest.mark.slow
def test_every_kernel_and_formula_compiles(
    sample_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_generation(GENERATIONS[0], monkeypatch)
    for kernel, types in record(sample_directory).launched:
        ptx = compile_to_ptx(kernel.py_func, types, is_formula=False, generations=GENERATIONS)
        if kernel is radius._count:
            check_distances(ptx)

    formulas = {
        value.__name__: value  # type: ignore[attr-defined]
        for value in definitions()
        if isinstance(value, Dispatcher) and not value.targetoptions.get("nogil")
    }
    # Numba leaves its mark on what a kernel calls
    called = {name for name, f in formulas.items() if hasattr(f, "_CUDATypingContext__dispatcher")}
    on_vectors = {name for name, f in formulas.items() if uses_vectors(f)}
    assert set(formulas) - called - on_vectors - OF_A_CPU - set(OTHERS) == set()
    for name, types in OTHERS.items():
        compile_to_ptx(formulas[name].py_func, types, is_formula=True, generations=GENERATIONS)
