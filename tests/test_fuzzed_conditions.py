"""Random bytes in conditions: an error of ours, or a result; never a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "fuzz_conditions.py"


@pytest.mark.parametrize("config", [pytest.param("reference", marks=pytest.mark.slow), "default"])
def test_random_bytes_in_conditions(sample_directory: Path, config: str) -> None:
    command = [sys.executable, str(SCRIPT), str(sample_directory), config, "150"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-300:]}{done.stderr[-3000:]}"
