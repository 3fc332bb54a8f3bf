"""A chain in the Sequencer whose steps are timed, event by event, on stored events."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from trackserve.edm import FittedTracks, Measurements

from .bindings import LEVEL, examples
from .convert import to_measurements, to_tracks


class MeasurementReader(examples.IReader):  # type: ignore[misc]
    """Puts the measurements of events into the event store, as ``measurements``.

    Args:
        events: measurements of each event.
    """

    def __init__(self, events: Sequence[Measurements]) -> None:
        examples.IReader.__init__(self, "MeasurementReader", LEVEL)
        self._events = events
        self._output = examples.WriteDataHandle(self, examples.MeasurementContainer, "all")
        self._output.initialize("measurements")

    def availableEvents(self) -> tuple[int, int]:  # noqa: N802
        """The Sequencer calls it."""
        return 0, len(self._events)

    def read(self, context: Any) -> Any:
        """The Sequencer calls it."""
        self._output(context, to_measurements(self._events[context.eventNumber]))
        return examples.ProcessCode.SUCCESS


class TrackCollector(examples.IAlgorithm):  # type: ignore[misc]
    """Keeps the tracks of each event.

    Args:
        name: name of the ``ConstTrackContainer`` in the event store.

    Attributes:
        tracks: tracks of each event, by its number.
    """

    def __init__(self, name: str = "tracks") -> None:
        examples.IAlgorithm.__init__(self, "TrackCollector", LEVEL)
        self.tracks: dict[int, FittedTracks] = {}
        self._input = examples.ReadDataHandle(self, examples.ConstTrackContainer, "tracks")
        self._input.initialize(name)

    def execute(self, context: Any) -> Any:
        """The Sequencer calls it."""
        self.tracks[context.eventNumber] = to_tracks(self._input(context.eventStore))
        return examples.ProcessCode.SUCCESS


class Stopwatch:
    """Times the steps of a chain: the time between two marks that stand before and after each.

    Attributes:
        seconds: seconds of each step of each event, by number of the event and name of the step.
        processor: the processor's seconds of the event's thread, likewise.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, float]] = defaultdict(dict)
        self.processor: dict[int, dict[str, float]] = defaultdict(dict)
        self._last: dict[int, tuple[float, float]] = {}

    def around(self, steps: Mapping[str, Any]) -> list[Any]:
        """The algorithms of a chain with marks between them.

        Args:
            steps: algorithms by name of the step.
        """
        algorithms: list[Any] = [_Mark("", self._mark)]
        for name, algorithm in steps.items():
            algorithms += [algorithm, _Mark(name, self._mark)]
        return algorithms

    def _mark(self, event: int, step: str) -> None:
        now = time.perf_counter(), time.thread_time()
        if step:
            wall, processor = self._last[event]
            self.seconds[event][step] = now[0] - wall
            self.processor[event][step] = now[1] - processor
        self._last[event] = time.perf_counter(), time.thread_time()


class _Mark(examples.IAlgorithm):  # type: ignore[misc]
    def __init__(self, step: str, mark: Any) -> None:
        examples.IAlgorithm.__init__(self, f"Mark {step}", LEVEL)
        self._step = step
        self._mark = mark

    def execute(self, context: Any) -> Any:
        self._mark(context.eventNumber, self._step)
        return examples.ProcessCode.SUCCESS


def run_steps(
    events: Sequence[Measurements], algorithms: Sequence[Any], threads: int = 1
) -> dict[int, FittedTracks]:
    """Run a chain in the Sequencer.

    Args:
        events: measurements of each event.
        algorithms: the chain; it writes ``tracks``.
        threads: threads of the Sequencer.

    Returns:
        The tracks of each event, by its place in ``events``.

    Raises:
        RuntimeError: an algorithm has failed; ACTS raises it.
    """
    sequencer = examples.Sequencer(
        numThreads=threads, logLevel=LEVEL, trackFpes=False, outputTimingFile=""
    )
    sequencer.addReader(MeasurementReader(events))
    collector = TrackCollector()
    for algorithm in (*algorithms, collector):
        sequencer.addAlgorithm(algorithm)
    sequencer.run()
    return collector.tracks
