"""Sums of what a client did, for programs and for Prometheus."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

PREFIX = "trackserve_client_"
HELP = {
    "events_total": "Events that were answered, by the server that did it and what they came to",
    "tries_total": "Times that these events were sent to a server",
    "seconds_total": "Seconds from an event to its answer",
    "failures_total": "Requests that a server did not answer, by error; or that stalled there",
    "aside_total": "Times that a server was set aside",
    "usable": "Whether a server gets requests",
    "in_flight": "Requests in flight to a server",
}
"""Meaning of each series by its name, without the prefix. ``server`` is empty for this process."""


class Sample(NamedTuple):
    """A value, with what it counts.

    Attributes:
        name: name of the series, without the prefix.
        labels: values by name of label.
        value: the value.
    """

    name: str
    labels: Mapping[str, str] = MappingProxyType({})
    value: float = 0.0


class Counters:
    """Sums that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._answers: dict[tuple[str, str, str], tuple[int, int, float]] = {}

    def add(self, *amounts: tuple[str, Mapping[str, str], float]) -> None:
        """Add to some sums, each given by name, labels and what to add."""
        with self._lock:
            for name, labels, amount in amounts:
                self._sums[name, tuple(labels.items())] += amount

    def add_answer(self, server: str, model: str, outcome: str, tries: int, seconds: float) -> None:
        """Add an event that was answered.

        Args:
            server, model, outcome: labels.
            tries: times that it was sent.
            seconds: from the event to its answer.
        """
        key = server, model, outcome
        with self._lock:
            n, all_tries, all_seconds = self._answers.get(key, (0, 0, 0.0))
            self._answers[key] = n + 1, all_tries + tries, all_seconds + seconds

    def samples(self) -> list[Sample]:
        """All sums."""
        with self._lock:
            sums, answers = dict(self._sums), dict(self._answers)
        found = []
        totals: defaultdict[tuple[str, str], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        for (server, model, outcome), (n, tries, seconds) in answers.items():
            labels = {"server": server, "model": model, "outcome": outcome}
            found.append(Sample("events_total", labels, n))
            before = totals[server, model]
            totals[server, model] = before[0] + tries, before[1] + seconds
        for (server, model), (tries, seconds) in totals.items():
            labels = {"server": server, "model": model}
            found.append(Sample("tries_total", labels, tries))
            found.append(Sample("seconds_total", labels, seconds))
        return found + [Sample(name, dict(labels), value) for (name, labels), value in sums.items()]


def as_text(samples: Iterable[Sample]) -> str:
    """The samples as a page of Prometheus."""
    lines = []
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.name, []).append(sample)
    for name, group in sorted(groups.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {PREFIX}{name} {HELP[name]}", f"# TYPE {PREFIX}{name} {kind}"]
        for sample in group:
            labels = ",".join(f'{key}="{_escaped(v)}"' for key, v in sample.labels.items())
            lines.append(f"{PREFIX}{name}{{{labels}}} {sample.value:.17g}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
