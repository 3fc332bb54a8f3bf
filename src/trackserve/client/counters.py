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

    def add(self, *amounts: tuple[str, Mapping[str, str], float]) -> None:
        """Add to some sums, each given by name, labels and what to add."""
        with self._lock:
            for name, labels, amount in amounts:
                self._sums[name, tuple(labels.items())] += amount

    def samples(self) -> list[Sample]:
        """All sums."""
        with self._lock:
            return [Sample(name, dict(labels), v) for (name, labels), v in self._sums.items()]


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
