"""Reconstruct events with the learned tracker's CUDA kernels on Numba's simulator: its own
process, as the simulator replaces the real thing when numba is imported.

    NUMBA_ENABLE_CUDASIM=1 python simulate_exatrkx.py EVENTS RESULTS
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
from exatrkx_models import wide_model
from simulator import prepare

from trackserve.trackers.exatrkx.cuda import CudaExatrkx
from trackserve.trackers.exatrkx.result import GRAPH_STAGES


def main(events: str, results: str) -> None:
    prepare()
    model = wide_model()
    kernels = CudaExatrkx(model, torch.device("cpu"), precision="fp32")
    found = kernels.run(pickle.loads(Path(events).read_bytes()), GRAPH_STAGES)
    Path(results).write_bytes(pickle.dumps(found))


main(*sys.argv[1:])
