"""Run events as one batch through the backend with the CUDA pipeline, on Numba's simulator.

It is a process of its own, since the simulator replaces the real thing when numba is imported. It
also writes the names of the stages that end.

    NUMBA_ENABLE_CUDASIM=1 python simulate_cuda.py DIRECTORY EVENTS RESULTS
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from simulator import prepare

from trackserve.serving.backend.runtime import EncodedEvent, EncodedResult
from trackserve.serving.backend.tracker import run
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.tracker import TRACKER


def main(directory: str, events: str, results: str) -> None:
    prepare()
    pipeline = PatatrackPipeline.from_directory(directory, device="cuda")
    given = pickle.loads(Path(events).read_bytes())
    keep = list(PatatrackResult.intermediates())
    requests = [
        EncodedEvent(CODEC.encode_event(event), CODEC.output_names(keep)) for event in given
    ]
    found = [
        CODEC.decode_result(answer.tensors, event.event, keep)
        if isinstance(answer, EncodedResult)
        else answer
        for event, answer in zip(given, run(pipeline, CODEC, requests), strict=True)
    ]
    ended: list[str] = []
    pipeline.run([TRACKER.example()], lap=ended.append)
    Path(results).write_bytes(pickle.dumps((found, ended)))


main(*sys.argv[1:])
