"""The studies by name. A new one is a module here, and a line."""

from __future__ import annotations

import importlib

from trackserve.errors import InputError

from .study import Study

STUDIES = {
    "direct-vs-served": "Throughput and latency, direct and served, bit for bit the same.",
    "concurrency": "Throughput and latency against requests in flight; also by perf_analyzer.",
    "instances": "Throughput and utilisation against instances of a model.",
    "devices": "One device against several, emulated; one and two cores.",
    "latency": "Where the time of a request goes, and the cost of distance.",
    "transports": "gRPC, HTTP, shared memory, bundles; payloads; compression.",
    "ensemble": "One custom backend beside an ensemble of the same stages.",
    "hlt": "Trigger jobs that share a server: their number, and the gain of each.",
    "scaling": "Cost against the size of events, threads and processes.",
    "energy": "Energy of an event, idle share, cores that one device replaces.",
    "packing": "Encoding, sending and decoding beside the kernels.",
    "physics": "Both trackers against the truth.",
    "acts": "In ACTS: measurements to fitted tracks, direct, served, and beside ACTS' own tracks.",
}
"""Names of the studies, and the subject of each."""
BENCH = "bench"
"""Name of the study of a user's own events and server, which `trackserve bench` measures."""


def find_study(name: str) -> Study:
    """The study of a name; its module has it as ``STUDY``.

    Raises:
        InputError: there is none.
    """
    if name not in (*STUDIES, BENCH):
        raise InputError("no such study", found=name, bound=sorted(STUDIES))
    module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
    study: Study = module.STUDY
    return study
