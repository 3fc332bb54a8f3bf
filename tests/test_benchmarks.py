"""The command lines of the benchmarks, and their meter of energy."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import benchmarks
from trackserve.studies.meter import Meter, Usage

MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
SCRIPTS = sorted(Path(benchmarks.__path__[0]).glob("*.sh"))


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_can_be_imported_and_has_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in ("exatrkx_plain", "exatrkx_speed"):
        pytest.importorskip("faiss")
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "main"):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as end:
            module.main()
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith("usage: ")


def test_the_index_has_every_program_and_no_other() -> None:
    folder = Path(benchmarks.__path__[0])
    files = {file.name for kind in ("sh", "toml") for file in folder.glob(f"*.{kind}")}
    names = re.findall(r"`([a-z_]+(?:\.sh|\.toml)?)`", (folder / "README.md").read_text())
    assert set(names) == {*MODULES, *files}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_can_be_parsed(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


class Nvml:
    """A GPU that is busy for three quarters of the time and takes 200 W."""

    def __init__(self, counts: bool) -> None:
        self.counts = counts
        self.millijoules = 5000

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=75, memory=10)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return 200_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if not self.counts:
            raise RuntimeError("not supported")
        self.millijoules += 30_000
        return self.millijoules


@pytest.mark.parametrize("counts", [True, False])
def test_meter_reads_what_nvml_tells(counts: bool) -> None:
    with Meter(Nvml(counts)) as meter:
        time.sleep(0.1)
    usage = meter.usage
    assert usage.busy == 0.75
    assert usage.gpu == pytest.approx(30.0 if counts else 200 * usage.seconds)


def test_meter_without_nvml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Meter() as meter:
        pass
    assert meter.usage.busy is None
    assert "no NVML" in meter.usage.describe(1)


def test_meter_adds_up_what_rapl_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The counter of a package starts anew at its range."""
    for name, kind, before in (("0", "package-0", 900), ("1", "package-1", 100), ("2", "psys", 5)):
        zone = tmp_path / f"intel-rapl:{name}"
        zone.mkdir()
        (zone / "name").write_text(f"{kind}\n")
        (zone / "energy_uj").write_text(f"{before}\n")
        (zone / "max_energy_range_uj").write_text("1000\n")
    monkeypatch.setattr("trackserve.studies.meter.ZONES", tmp_path)
    with Meter() as meter:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("150\n")
    assert meter.usage.cpu == pytest.approx(250e-6)


def test_usage_in_words() -> None:
    assert Usage(2.0, 0.5, 300.0, 100.0).describe(10) == (
        "GPU 50% busy, GPU 150 W, 30 J/event, CPU 50 W, 10 J/event"
    )
    assert Usage(2.0).describe(10) == "no NVML, no RAPL"
