"""Milliseconds of processor time of each stage per event, of one source tree or two.

usage: python -m benchmarks.stages DIR... [--config NAME] [--against SRC] [--rounds N]
       python -m benchmarks.stages DIR... --model MODEL [--events N] [--against SRC] [--rounds N]

DIR are pixel data directories, or with ``--model`` directories of space points for the learned
tracker; ``result`` is what follows the last stage. SRC is the ``src`` folder of another version,
whose processes take turns with this one's. Other work on a machine only ever adds time (it takes
the caches), so the least of N rounds counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

Stages = dict[str, float]


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        directory: the events.
        config: configuration of Patatrack.
        model: model of the learned tracker; empty: it is Patatrack that is measured.
        events: most events; 0: all.
    """

    directory: str
    config: str
    model: str
    events: int


def measure(subject: Subject) -> None:
    """Run as a child process: each line on stdin is a round, whose stages go to stdout.

    Nothing is used here that an old version may lack.
    """
    from trackserve.trackers.laps import Laps

    pipeline: Any
    if subject.model:
        from trackserve import ExatrkxPipeline
        from trackserve.io import open_points

        pipeline, source = ExatrkxPipeline.from_model(subject.model), open_points(subject.directory)
    else:
        from trackserve import PatatrackPipeline
        from trackserve.io import read_events

        pipeline = PatatrackPipeline.from_directory(subject.directory, subject.config)
        source = read_events(subject.directory)
    events = list(itertools.islice(source, subject.events or None))
    for _ in sys.stdin:
        laps = Laps(time.thread_time)
        for event in events:
            laps.start()
            pipeline.run([event], (), laps)
            laps("result")
        stages = {stage: seconds / len(events) for stage, seconds in laps.seconds.items()}
        print(json.dumps(stages), flush=True)


def start(subject: Subject, tree: str) -> subprocess.Popen[str]:
    options = [
        f"--config={subject.config}", f"--model={subject.model}", f"--events={subject.events}"
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stages", subject.directory, "--child", *options],
        env={**os.environ, "PYTHONPATH": tree},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def one_round(child: subprocess.Popen[str]) -> Stages:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    stages: Stages = json.loads(child.stdout.readline())
    return stages


def least_times(subject: Subject, trees: list[str], rounds: int) -> list[Stages]:
    """Least seconds per event of each stage, for each tree."""
    children = [start(subject, tree) for tree in trees]
    best = [one_round(child) for child in children]
    for _ in range(rounds):
        for stages, child in zip(best, children, strict=True):
            for name, seconds in one_round(child).items():
                stages[name] = min(stages[name], seconds)
    for child in children:
        child.communicate()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of each stage per event.")
    parser.add_argument("directories", nargs="+", metavar="DIR")
    parser.add_argument("--config", default="default", metavar="NAME")
    parser.add_argument("--model", default="", metavar="MODEL", help="of the learned tracker")
    parser.add_argument("--events", type=int, default=0, help="most events; 0: all")
    parser.add_argument("--against", metavar="SRC", help="source folder of another version")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    subjects = [
        Subject(directory, options.config, options.model, options.events)
        for directory in options.directories
    ]
    if options.child:
        measure(subjects[0])
        return
    here = str(Path(__file__).resolve().parents[1] / "src")
    trees = [here] if options.against is None else [options.against, here]
    for subject in subjects:
        best = least_times(subject, trees, options.rounds)
        for stages in best:
            stages["all"] = sum(stages.values())
        print(f"{Path(subject.directory).name}, {subject.model or subject.config}: ms per event")
        for name in best[-1]:
            times = [stages[name] for stages in best]
            ratio = f"{times[0] / times[-1]:8.2f}" if len(times) > 1 else ""
            print(f"{name:12s}", *(f"{1e3 * seconds:8.3f}" for seconds in times), ratio)


if __name__ == "__main__":
    main()
