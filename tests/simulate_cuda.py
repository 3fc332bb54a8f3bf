"""Run events through the CUDA pipeline on Numba's simulator: its own process, as the
simulator replaces the real thing when numba is imported.

    NUMBA_ENABLE_CUDASIM=1 python simulate_cuda.py DIRECTORY EVENTS RESULTS
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from trackserve import PatatrackPipeline
from trackserve.edm import INTERMEDIATE


def main(directory: str, events: str, results: str) -> None:
    sys.setswitchinterval(1e-5)  # a barrier takes this long
    pipeline = PatatrackPipeline.from_directory(directory, device="cuda")
    found = pipeline.run(pickle.loads(Path(events).read_bytes()), list(INTERMEDIATE))
    Path(results).write_bytes(pickle.dumps(found))


main(*sys.argv[1:])
