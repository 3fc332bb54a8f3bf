"""The machine of a measurement: what it is, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, Self

from trackserve.serving.backend.runtime import cores

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PACKAGES = (
    *("trackserve", "numpy", "numba", "llvmlite", "tritonclient", "nvidia-pytriton"),
    *("grpcio", "pyarrow", "torch", "numba-cuda"),
)


def cpu_name() -> str:
    """Name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{len(names)} x {names[0]}" if names else "unknown CPU"


def describe() -> dict[str, str]:
    """What this machine is, by name."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": cpu_name(),
        "cores to use": str(cores()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": platform.node(),
    }


def in_words() -> str:
    """What this machine is, on one line."""
    about = describe()
    return ", ".join(about[name] for name in ("processor", "memory", "system"))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, by name; without those not there."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


BUSY = 0.1
"""A machine is called busy above this number of cores for others, or with this share stolen."""


def meanwhile(seen: Mapping[str, float]) -> str:
    """What others took of the machine during a measurement, in words; empty if it is little.

    Args:
        seen: of a :class:`Watch`.
    """
    parts = []
    if seen.get("others", 0.0) > BUSY:
        parts.append(f"other programs kept {seen['others']:.1f} of {cores()} cores busy")
    if seen.get("steal", 0.0) > BUSY:
        parts.append(f"the hypervisor took {seen['steal']:.0%} of the processors' time")
    return " and ".join(parts)


class _Clock(NamedTuple):
    """Seconds since boot: of all processors at work, stolen, of our processes; and of the wall."""

    busy: float
    stolen: float
    ours: float
    wall: float


class Watch:
    """A context manager that watches the machine during a measurement.

    Afterwards :attr:`seen` has the load average before, ``load``; the share of the processors'
    time that the hypervisor took, ``steal``; and the number of cores that programs of others kept
    busy, ``others``. What the system does not tell is missing.
    """

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._load = os.getloadavg()[0]
        self._start = _clock()
        return self

    def __exit__(self, *error: object) -> None:
        self.seen = {"load": round(self._load, 2)}
        end = _clock()
        if self._start is None or end is None:
            return
        seconds = max(end.wall - self._start.wall, _TICK)
        others = (end.busy - self._start.busy) - (end.ours - self._start.ours)
        stolen = (end.stolen - self._start.stolen) / seconds / (os.cpu_count() or 1)
        self.seen["steal"] = round(max(stolen, 0.0), 4)
        self.seen["others"] = round(max(others / seconds, 0.0), 3)


def processor_seconds(root: int) -> float:
    """Seconds that a process and its descendants have computed so far, ended ones too."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # after the name, which is in brackets, field 3 (state) comes first
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        spent[int(entry.name)] = sum(map(int, fields[11:15])) * _TICK

    def belongs(pid: int) -> bool:
        while pid in parents:
            if pid == root:
                return True
            pid = parents[pid]
        return False

    return sum(seconds for pid, seconds in spent.items() if belongs(pid))


def _clock() -> _Clock | None:
    try:
        with Path("/proc/stat").open() as file:
            fields = [int(field) * _TICK for field in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    busy = user + nice + system + irq + softirq
    return _Clock(busy, steal, processor_seconds(os.getpid()), time.perf_counter())
