"""``trackserve doctor``: what will work here, and what to do about the rest."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import re
import subprocess
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from trackserve.errors import TrackserveError
from trackserve.install import install_command

from .terminal import console

_PACKAGES = ("numpy", "numba", "numba-cuda", "torch", "tritonclient", "nvidia-pytriton")


class Finding(NamedTuple):
    """Result of a check: whether something works, the evidence, and a cure if it does not."""

    what: str
    works: bool
    seen: str
    cure: str = ""


def doctor() -> None:
    """Show what this machine has, which ways to run the pipelines work, and cures for the rest."""
    for line in (_machine(), _packages(), _graphics_cards()):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    show([_found(check) for check in checks()], "what works here:")


def show(findings: list[Finding], title: str) -> None:
    """Print findings, and the cures of those that do not work."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = "[green]yes[/]" if finding.works else "[red]no[/]"
        table.add_row(mark, escape(finding.what), escape(finding.seen))
    console.print(f"\n{title}")
    console.print(table)
    cures: dict[str, list[str]] = {}
    for finding in findings:
        if finding.cure and not finding.works:
            cures.setdefault(finding.cure, []).append(finding.what)
    if cures:
        console.print("\nwhat to do about the rest:")
    for cure, names in cures.items():
        console.print(f"{', '.join(names)}:", highlight=False, markup=False)
        console.print(f"  {cure}", highlight=False, soft_wrap=True, markup=False)


def _found(check: Callable[[], Finding]) -> Finding:
    """What a check finds; that it fails is a finding too."""
    try:
        return check()
    except Exception as error:
        what = getattr(check, "__name__", "check").replace("_", " ")
        return Finding(what, False, f"{type(error).__name__}: {_sentence(error)}")


def _sentence(error: object) -> str:
    """The first sentence of a text, on one line."""
    return re.split(r"(?<=[.!?])\s", " ".join(str(error).split()), maxsplit=1)[0]


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    try:
        from trackserve.studies.machine import cpu_name

        processor = cpu_name()
    except Exception:  # a package that it needs is broken: a check says which
        processor = f"{os.cpu_count()} cores"
    return f"Python {platform.python_version()}, {system}, {processor}, of which {cores} to use"


def _packages() -> str:
    return ", ".join(f"{name} {_version(name) or '-'}" for name in _PACKAGES)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _graphics_cards() -> str:
    """Return what the driver says; it does not matter if Python can use the card."""
    query = "--query-gpu=name,compute_cap,memory.total,driver_version"
    try:
        answer = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "no GPU that nvidia-smi knows of"
    return answer.stdout.strip()


def all_commands() -> Finding:
    """Check whether the commands can be loaded: a client's packages are enough for that."""
    return _importable("commands", "", "trackserve.cli.main", "trackserve")


def on_cpu(name: str) -> Finding:
    """Check whether a tracker can be built on this machine's CPU."""
    from trackserve.trackers.registry import find_tracker

    what = f"{name} on this CPU"
    try:
        tracker = find_tracker(name)
    except TrackserveError as error:
        return Finding(what, False, str(error), "mend or remove the package that offers it")
    try:
        for module in tracker.modules:
            importlib.import_module(module)
    except (ImportError, TrackserveError) as error:
        return _fails(what, error, install_command(tracker.extra) if tracker.extra else "")
    return Finding(what, True, tracker.summary)


def pixel_simulation() -> Finding:
    modules = "pythia8mc trackserve.simulation.pixel.simulate"
    return _importable("pixel simulation", "sim", modules, "pythia8mc")


def points_simulation() -> Finding:
    modules = "acts pythia8mc trackserve.simulation.points.simulate"
    return _importable("points simulation", "sim", modules, "pyacts", "pythia8mc")


def trigger() -> Finding:
    return _importable("trigger", "hlt", "trackserve.workflow.description fastjet", "fastjet")


def training() -> Finding:
    return _importable("training", "train", "trackserve.trackers.exatrkx.training.train", "torch")


def on_gpu() -> Finding:
    """Kernels are compiled for what is there; the oldest that is tried is cc 7.5 (Turing)."""
    what = "patatrack on a GPU"
    try:
        from numba import cuda

        importlib.import_module("trackserve.device.cuda")
    except ImportError as error:
        return Finding(what, False, str(error), install_command("gpu"))
    try:
        device = cuda.get_current_device()
    except Exception as error:
        return Finding(
            what, False, _sentence(error), "needs an NVIDIA GPU and driver of 580 or newer"
        )
    major, minor = device.compute_capability
    name = device.name if isinstance(device.name, str) else device.name.decode()
    return Finding(
        what, (major, minor) >= (7, 5), f"{name}, cc {major}.{minor}", "needs cc 7.5 or newer"
    )


def learned_on_gpu() -> Finding:
    """Kernels and PyTorch's networks on one device."""
    kernels = on_gpu()
    what, cure = "exatrkx on a GPU", "a build of PyTorch with CUDA: https://pytorch.org"
    if not kernels.works:
        return kernels._replace(what=what)
    try:
        import torch
    except ImportError as error:
        return Finding(what, False, str(error), cure)
    seen = f"PyTorch {torch.__version__}"
    return Finding(what, torch.cuda.is_available(), seen, cure)


def serving() -> Finding:
    what = "serving"
    from trackserve.errors import ServerError
    from trackserve.serving.installation import find_triton

    try:
        triton = find_triton()
    except ServerError as error:
        return Finding(what, False, str(error), install_command("server"))
    missing = [str(file) for file in (triton.binary, *triton.python_backend) if not file.exists()]
    return Finding(
        what,
        not missing,
        f"lacks {', '.join(missing)}" if missing else str(triton.binary),
        f"with Python 3.11 or 3.12: {install_command('server')}",
    )


def native_backend() -> Finding:
    """Check whether models can run in Triton's own process, as `serve` prefers."""
    from trackserve.serving.repository import why_not_native

    reason = why_not_native()
    cure = "the Python backend serves; the native one needs a C compiler and a shared libpython"
    return Finding("native backend", not reason, reason or "can be built", cure)


def client() -> Finding:
    return _importable("client", "", "trackserve.client", "tritonclient")


def _importable(what: str, extra: str, modules: str, *packages: str) -> Finding:
    """Check whether ``modules`` can be imported; they come with ``packages`` of ``extra``."""
    try:
        for module in modules.split():
            importlib.import_module(module)
    except (ImportError, TrackserveError) as error:
        return _fails(what, error, install_command(extra))
    return Finding(what, True, ", ".join(f"{name} {_version(name)}" for name in packages))


def _fails(what: str, error: Exception, cure: str) -> Finding:
    """The finding that an import fails; ``cure`` mends it if a package is missing."""
    cure = cure if isinstance(error, ImportError) else ""
    return Finding(what, False, _sentence(error), cure)


def checks() -> list[Callable[[], Finding]]:
    """All checks, those of the trackers that are installed too."""
    try:
        from trackserve.trackers.registry import tracker_names

        names = tracker_names()
    except ImportError:  # as all_commands finds
        names = []
    return [
        all_commands,
        *(functools.partial(on_cpu, name) for name in names),
        on_gpu,
        learned_on_gpu,
        pixel_simulation,
        points_simulation,
        trigger,
        training,
        serving,
        native_backend,
        client,
    ]
