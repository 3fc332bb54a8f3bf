"""The number of a tracker's algorithm stands for the bits of its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trackserve.edm import RawEvent
from trackserve.io.trackml import read_event
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import digest

TRACKML = Path(__file__).parent / "data" / "trackml-mini" / "event000000001"
CPU_INFO = Path("/proc/cpuinfo")

ANSWERS: dict[tuple[str, str], tuple[int, str]] = {
    ("patatrack", "default"): (4, "74abfe5ea0cd"),
    ("patatrack", "reference"): (4, "f7b76f2b6ed2"),
    ("exatrkx", "default"): (4, "14ea5f4312e0"),
    ("exatrkx", "large"): (4, "6c5f3793073d"),
    ("exatrkx", "soft"): (4, "9cda27395eb4"),
}
"""By tracker and variant: number of the algorithm, digest of all columns of the answers.

The digests are the same for code that Numba compiles for processors with AVX2 and with AVX-512. The
scores of the networks need FMA, which these have.
"""
RULE = (
    "The bits of the answers and the number of the algorithm change together. Is the change meant? "
    "Then raise `algorithm` in the tracker's module where that is not done, and note the number "
    "and the digest in ANSWERS. Else find it: the change is in some stage, or in a dependency. A "
    "model has its own hash in the identity: where it alone has changed, the number stays."
)


@pytest.fixture
def events(sample_events: list[RawEvent]) -> Callable[[str], list[Any]]:
    """Small events, by the name of their tracker."""
    return lambda tracker: sample_events[:2] if tracker == "patatrack" else [read_event(TRACKML)]


@pytest.mark.skipif(
    CPU_INFO.exists() and " fma " not in CPU_INFO.read_text(), reason="the processor has no FMA"
)
@pytest.mark.parametrize(("name", "variant"), ANSWERS)
def test_the_bits_of_an_answer_go_with_the_number_of_the_algorithm(
    sample_directory: Path, events: Callable[[str], list[Any]], name: str, variant: str
) -> None:
    tracker = find_tracker(name)
    options = {tracker.variant or "": variant}
    if name == "patatrack":
        options["conditions"] = str(sample_directory)
    keep = tracker.result.intermediates()
    results = tracker.build(options).run(events(name), keep)
    content = digest([result.parts() for result in results])
    assert (tracker.algorithm, content) == ANSWERS[name, variant], RULE
