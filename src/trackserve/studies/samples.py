"""Real events of chosen sizes: simulated for the studies, or a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trackserve.errors import InputError
from trackserve.trackers.registry import find_tracker

SEED = 20
"""Seed of the simulated events."""
QUICK = {"patatrack": ((50, 8), (20, 4), (200, 4)), "exatrkx": ((20, 4), (60, 2), (200, 1))}
"""Pile-ups and numbers of events, by tracker."""
FULL = {
    "patatrack": ((50, 20), (20, 20), (100, 20), (200, 20)),
    "exatrkx": ((60, 10), (20, 10), (100, 6), (200, 10), (320, 1)),
}
"""An event with a pile-up of 320 has about 350 000 points, as the largest of the paper."""

Progress = Callable[[str, int, int], None]


class Sample(NamedTuple):
    """Events of one size.

    Attributes:
        tracker: name of the tracker that reconstructs them.
        name: short name.
        path: where they are, as the tracker opens it.
        pileup: mean number of inelastic collisions, if they are simulated for the studies.
        events: number of events to take; 0: all.
    """

    tracker: str
    name: str
    path: Path
    pileup: float | None = None
    events: int = 0


def simulated(folder: Path, quick: bool) -> list[Sample]:
    """Samples of both trackers in a folder; :func:`prepare` simulates them."""
    return [
        Sample(tracker, f"pu{pileup}", folder / f"{tracker}-pu{pileup}-{n}", pileup, n)
        for tracker, sizes in (QUICK if quick else FULL).items()
        for pileup, n in sizes
    ]


def given(texts: list[str]) -> list[Sample]:
    """Samples of a user, from arguments of the form ``TRACKER=PATH``.

    Raises:
        InputError: an argument has another form, there is no such tracker, or no such path.
    """
    samples: list[Sample] = []
    for text in texts:
        tracker, separator, place = text.partition("=")
        path = Path(place)
        if not separator or not place:
            raise InputError("events are given as TRACKER=PATH", found=text)
        find_tracker(tracker)
        if not path.exists() and not any(path.parent.glob(f"{path.name}*")):
            raise InputError("no events are here", path=place)
        samples.append(Sample(tracker, path.name or str(path), path.resolve()))
    if len({sample[:2] for sample in samples}) < len(samples):
        raise InputError("two samples of a tracker have the same name", found=texts)
    return samples


def prepare(sample: Sample, progress: Progress) -> None:
    """Simulate a sample that is not there yet.

    Raises:
        MissingExtraError: the simulation is not installed.
        InputError: the folder cannot be written.
    """
    if sample.pileup is None:
        return
    from trackserve.simulation.chain.collisions import Setup

    if sample.tracker == "patatrack":
        from trackserve.simulation.pixel.simulate import simulate_pixel as simulate
    else:
        from trackserve.simulation.points.simulate import simulate_points as simulate

    def show(what: str, done: int, total: int) -> None:
        progress(f"simulating {sample.tracker} {sample.name}: {what}", done, total)

    setup = Setup("ttbar", sample.pileup, sample.events, SEED)
    simulate(sample.path, setup, None, show)
