"""Compiled code on disk does not outlive the formulas that it was made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import trackserve

FORMULA = """
from trackserve.device.compile import shared

@shared
def formula(x):
    return x + {number}
"""
LOOP = """
from trackserve.device.compile import kernel
from .formula import formula

@kernel
def loop(x):
    return formula(x)
"""


def test_a_formula_in_another_file_changes(tmp_path: Path) -> None:
    source, copy = Path(trackserve.__file__).parent, tmp_path / "trackserve"
    ignored = shutil.ignore_patterns("__pycache__", "models")
    shutil.copytree(source, copy, ignore=ignored)
    (copy / "toy").mkdir()
    (copy / "toy" / "__init__.py").touch()
    (copy / "toy" / "loop.py").write_text(LOOP)
    script = (
        "from trackserve.toy.loop import loop as f; print(f(1), sum(f.stats.cache_hits.values()))"
    )

    def run(number: int) -> list[str]:
        (copy / "toy" / "formula.py").write_text(FORMULA.format(number=number))
        env = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True
        ).stdout.split()

    assert run(1) == ["2", "0"]
    assert run(1) == ["2", "1"]
    assert run(2) == ["3", "0"]
