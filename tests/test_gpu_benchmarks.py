"""The benchmarks of a GPU, on a device of one thread: all that they run there but its kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from one_thread import OneThread
from true_tracks import helices

from benchmarks import gpu, gpu_check, gpu_exatrkx, gpu_kernels, roofline
from benchmarks.points import pack
from trackserve.edm import RawEvent
from trackserve.io import read_conditions, write_conditions, write_events
from trackserve.trackers.exatrkx import pipeline as exatrkx
from trackserve.trackers.exatrkx.cuda import CudaExatrkx
from trackserve.trackers.exatrkx.model import Model
from trackserve.trackers.patatrack.cuda import pipeline as patatrack

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
Run = Callable[[Any, str], str]


class Watched(gpu_kernels.Stopwatch, OneThread):
    """A device of one thread that counts how often each kernel is launched."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of one thread in place of each GPU."""

    def make(model: Model, device: str, precision: str) -> CudaExatrkx:
        return CudaExatrkx(model, CPU, precision=precision, device=OneThread())

    here = SimpleNamespace(name=b"one thread", compute_capability=(9, 0))
    event = SimpleNamespace(record=lambda stream: None)
    numba_cuda = SimpleNamespace(
        get_current_device=lambda: here, event=lambda: event, event_elapsed_time=lambda a, b: 1.0
    )
    monkeypatch.setattr(OneThread, "past_numba", 0, raising=False)
    monkeypatch.setattr(patatrack, "Device", OneThread)
    monkeypatch.setattr(exatrkx, "make_cuda", make)
    monkeypatch.setattr(gpu, "cuda", numba_cuda)
    monkeypatch.setattr(gpu_kernels, "cuda", numba_cuda)
    monkeypatch.setattr(gpu_kernels, "Stopwatch", Watched)
    torch_cuda = SimpleNamespace(current_device=lambda: 0)
    of_torch = SimpleNamespace(device=lambda *which: CPU, cuda=torch_cuda)
    monkeypatch.setattr(gpu_kernels, "torch", of_torch)
    monkeypatch.setattr(roofline, "measured_rates", lambda device: roofline.Rates(device, 1e9, 1e9))
    monkeypatch.setattr(roofline, "BATCH", 2)


@pytest.fixture
def pixels(sample_directory: Path, sample_events: list[RawEvent], tmp_path: Path) -> str:
    """Two events of the sample."""
    write_conditions(tmp_path / "pixels", read_conditions(sample_directory))
    write_events(tmp_path / "pixels", sample_events[:2])
    return str(tmp_path / "pixels")


@pytest.fixture
def points(tmp_path: Path) -> str:
    """Two small events of space points."""
    pack([helices(20, seed, seed) for seed in range(2)], str(tmp_path / "points.npz"))
    return str(tmp_path / "points.npz")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What a program prints; it must end well."""

    def run(module: Any, text: str) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, *text.split()])
        assert not module.main()
        return capsys.readouterr().out

    return run


def test_answers(pixels: str, points: str, run: Run) -> None:
    text = run(gpu_check, f"{pixels} --points {points}")
    assert text.count("pass ") == 2 * 2 * 2 + 4 * 2
    assert "2 events, 2 equal in all bits" in text
    small = f"{pixels} --points {points} --small --models default"
    assert run(gpu_check, small).count("pass ") == 5


def test_throughput(pixels: str, points: str, run: Run) -> None:
    short = "--batches 1 2 --streams 1 2 --seconds 0.01"
    text = run(gpu, f"{pixels} {short}")
    assert "host waits in a batch: 6\n" in text
    assert len([line for line in text.splitlines() if line.startswith("       ")]) == 4
    learned = f"{points} {short} --models default large soft pixels --precisions fp32"
    text = run(gpu_exatrkx, learned)
    for model in ("default", "large", "soft", "pixels"):
        assert text.count(f"{model} fp32") == 4


def test_kernels_and_their_floor(pixels: str, points: str, run: Run) -> None:
    text = run(gpu_kernels, f"patatrack {pixels} --batch 2")
    for line in ("doublets.", "stages of a batch of 2", "vertices", "decode result", "packing /"):
        assert line in text
    text = run(gpu_kernels, f"exatrkx {points} --models default soft pixels")
    assert text.count("triplets.fill ") == 3
    assert text.count("\nfinish ") == 3
    assert "selection" in run(roofline, f"patatrack {pixels} --device cuda")
    learned = f"exatrkx {points} --device cuda --rounds 1"
    assert "finish" in run(roofline, learned)
