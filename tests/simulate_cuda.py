"""Run events as one batch through the backend with the CUDA pipeline, on Numba's simulator: its
own process, as the simulator replaces the real thing when numba is imported.

    NUMBA_ENABLE_CUDASIM=1 python simulate_cuda.py DIRECTORY EVENTS RESULTS
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from simulator import prepare

from trackserve.edm import INTERMEDIATE
from trackserve.serving.backend.patatrack import load
from trackserve.serving.backend.runtime import Reply, Request
from trackserve.trackers.patatrack import codec as wire


def main(directory: str, events: str, results: str) -> None:
    prepare()
    parameters = {"conditions": ".", "config": "default", "device": "cuda"}
    run = load(Path(directory), parameters)()
    given = pickle.loads(Path(events).read_bytes())
    keep = list(INTERMEDIATE)
    requests = [Request(wire.encode_event(event), wire.output_names(keep)) for event in given]
    found = [
        wire.decode_result(answer.tensors, event.event, keep)
        if isinstance(answer, Reply)
        else answer
        for event, answer in zip(given, run(requests), strict=True)
    ]
    Path(results).write_bytes(pickle.dumps(found))


main(*sys.argv[1:])
