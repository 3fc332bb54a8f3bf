"""What do very large events, jets and noise cost Patatrack?

usage: python -m benchmarks.worst_cases NAME=DIR... [--events N] [--rounds N]
       [--noisy MODULES:PIXELS]... [--config NAME]

The first events of each data directory, such as samples of several pile-ups or of jets, take turns;
``--noisy`` adds those of the first directory with so many random pixels on so many modules. For
each the program prints pixel words, doublets and tracks per event, processor time per event (the
least mean of the rounds), that per word, both beside the first directory, and the peak of memory
so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.pathological import pixel_noise
from benchmarks.raw_words import payload, split, stream
from trackserve import PatatrackPipeline
from trackserve.edm import RawEvent
from trackserve.errors import EventError
from trackserve.io import open_pixel
from trackserve.studies.machine import cpu_name
from trackserve.trackers.patatrack.limits import PatatrackLimits


class Case(NamedTuple):
    """Events of one kind, and what reconstructs them."""

    name: str
    pipeline: PatatrackPipeline
    events: Sequence[RawEvent]


def with_noise(event: RawEvent, noise: RawEvent) -> RawEvent:
    """An event with the pixels of another one, which has whole FEDs too."""
    more = {fed: words[2:-2] for fed, words in split(noise)}
    feds = [
        (fed, payload([w for w in (*words[2:-2], *more.get(fed, [])) if w], fed))
        for fed, words in split(event)
    ]
    return stream(feds, event.event)


def cost(case: Case, limits: PatatrackLimits) -> float:
    """Processor time of an event, in the mean, ms.

    Raises:
        EventError: an event was not reconstructed.
    """
    start = time.process_time()
    for event in case.events:
        case.pipeline.reconstruct(event, limits=limits)
    return 1e3 * (time.process_time() - start) / len(case.events)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the largest and strangest events.")
    parser.add_argument("directories", metavar="NAME=DIR", nargs="+")
    parser.add_argument("--events", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--noisy", metavar="MODULES:PIXELS", action="append", default=[])
    parser.add_argument("--config", default="default")
    options = parser.parse_args()
    cases = []
    for text in options.directories:
        name, _, directory = text.partition("=")
        opened = open_pixel(directory)
        events = [opened[i] for i in range(min(options.events, len(opened)))]
        pipeline = PatatrackPipeline.from_directory(directory, options.config)
        cases.append(Case(name, pipeline, events))
    first = Path(options.directories[0].partition("=")[2])
    for text in options.noisy:
        modules, pixels = map(int, text.split(":"))
        noisy = [
            with_noise(e, pixel_noise(first, pixels, modules, e.event)) for e in cases[0].events
        ]
        name = f"{cases[0].name}, {pixels} pixels on {modules} modules"
        cases.append(Case(name, cases[0].pipeline, noisy))

    print(f"{cpu_name()}; {options.config}; {options.rounds} rounds")
    header = f"{'':36}{'words':>9}{'doublets':>10}{'tracks':>8}{'ms':>9}{'us/1000 words':>15}"
    print(f"{header}{'ms':>8}{'per word':>10}{'peak MiB':>10}")
    limits = PatatrackLimits()
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    peaks, sizes = {}, {}
    for case in cases:
        found = case.pipeline.run(case.events, limits=limits)
        counts = [r.counts for r in found if not isinstance(r, EventError)]
        n = max(1, len(counts))
        sizes[case.name] = [
            sum(getattr(c, name) for c in counts) / n for name in ("words", "doublets", "tracks")
        ]
        peaks[case.name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for _ in range(options.rounds):
        for case in cases:
            times[case.name].append(cost(case, limits))
    least = {name: min(some) for name, some in times.items()}
    usual = cases[0].name
    for name, ms in least.items():
        words, doublets, tracks = sizes[name]
        per_word = 1e6 * ms / words
        beside = per_word / (1e6 * least[usual] / sizes[usual][0])
        print(
            f"{name:36}{words:9.0f}{doublets:10.0f}{tracks:8.0f}{ms:9.2f}{per_word:15.1f}"
            f"{ms / least[usual]:8.2f}{beside:10.2f}{peaks[name]:10.0f}"
        )


if __name__ == "__main__":
    main()
