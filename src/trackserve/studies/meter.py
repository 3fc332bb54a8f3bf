"""A meter of a GPU's utilisation, and of the energy of GPU and processors.

The GPU's figures come from NVML, the processors' from RAPL (Linux's powercap), if they can be
read. ``with Meter() as meter: ...`` leaves them in ``meter.usage``.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Self

_PERIOD = 0.02
_LAG = 0.25
"""Seconds by which NVML's utilisation is late: it is that of the last sixth of a second or so."""
ZONES = Path("/sys/class/powercap")


class Usage(NamedTuple):
    """Utilisation and energy in an interval; None if they cannot be read.

    Attributes:
        seconds: length of the interval.
        busy: fraction of the time in which the GPU ran a kernel.
        gpu: energy of the GPU, J.
        cpu: energy of the processors, J.
    """

    seconds: float
    busy: float | None = None
    gpu: float | None = None
    cpu: float | None = None

    def describe(self, events: float | None = None) -> str:
        """The figures in words; with ``events``, their number, also the energy of an event."""
        parts = ["no NVML"] if self.busy is None else [f"GPU {self.busy:.0%} busy"]
        for name, joules in (("GPU", self.gpu), ("CPU", self.cpu)):
            if joules is not None:
                parts.append(f"{name} {joules / self.seconds:.0f} W")
                parts += [] if events is None else [f"{joules / max(events, 1):.3g} J/event"]
        return ", ".join(parts + ["no RAPL"] * (self.cpu is None))


class Meter:
    """A context manager that measures its block; then :attr:`usage` has the figures.

    Args:
        nvml: the module ``pynvml``, or an object like it; by default the module is imported.
        index: number of the GPU in NVML.
    """

    def __init__(self, nvml: Any = None, index: int = 0) -> None:
        self._nvml = nvml
        self._handle = None
        self.usage = Usage(0.0)
        try:
            if nvml is None:
                import pynvml

                self._nvml = pynvml
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except Exception:  # not installed, no driver, no such device
            return

    def __enter__(self) -> Self:
        self._samples: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._cpu = _rapl()
        self._energy = self._counted()
        self._start = time.perf_counter()
        if self._handle is not None:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        seconds = time.perf_counter() - self._start
        after, cpu = self._counted(), _rapl()
        busy = gpu = None
        if self._handle is not None:
            self._end.set()
            self._thread.join()
        if self._samples:
            busy, watts = (fmean(sample[k] for sample in self._samples) for k in range(2))
            gpu = watts * seconds
        if self._energy is not None and after is not None:
            gpu = after - self._energy
        spent = [(cpu[zone] - before) % _range(zone) for zone, before in self._cpu.items()]
        self.usage = Usage(seconds, busy, gpu, sum(spent) / 1e6 if spent else None)

    def _sample(self) -> None:
        pause = _LAG
        while not self._samples or not self._end.is_set():
            self._end.wait(pause)
            pause = _PERIOD
            try:
                busy = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100
                watts = self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1e3
            except Exception:  # a device that does not tell
                return
            self._samples.append((busy, watts))

    def _counted(self) -> float | None:
        """J since the driver was loaded, on devices that count."""
        if self._handle is None:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except Exception:  # an error of NVML's
            return None


def _rapl() -> dict[Path, int]:
    """Energy counter of each processor package that can be read, uJ; it wraps at a bound."""
    found = {}
    for zone in ZONES.glob("intel-rapl:*"):
        try:
            if (zone / "name").read_text().startswith("package"):
                found[zone] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            pass
    return found


def _range(zone: Path) -> int:
    return int((zone / "max_energy_range_uj").read_text())
