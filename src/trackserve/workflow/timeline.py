"""A timeline: what ran where, and when."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.io.files import complete, writable

MODULE, SEND, EXTERNAL, READ = "module", "send", "external", "read"
"""Kinds of slices: a module's ``produce``; its ``acquire``; work elsewhere; reading an event."""


class Slice(NamedTuple):
    """Something that took time.

    Attributes:
        kind: one of the kinds above.
        name: name of the module; empty of a read.
        event: place of the event in the stream.
        thread: number of the thread, from 0; -1 of work elsewhere.
        start, end: ns, by :func:`time.perf_counter_ns`.
        is_emulated: whether it was a wait in place of work.
    """

    kind: str
    name: str
    event: int
    thread: int
    start: int
    end: int
    is_emulated: bool = False

    @property
    def seconds(self) -> float:
        """Length, s."""
        return 1e-9 * (self.end - self.start)


_SHOWN = 8
"""Events that pictures show at most."""


def middle(slices: Sequence[Slice]) -> list[Slice]:
    """The slices within the time of some events in the middle of a timeline, without reads."""
    shown = [one for one in slices if one.kind != READ]
    events = sorted({one.event for one in shown})
    first = max(0, (len(events) - _SHOWN) // 2)
    wanted = set(events[first : first + _SHOWN])
    some = [one for one in shown if one.event in wanted]
    begin = min((one.start for one in some), default=0)
    end = max((one.end for one in some), default=0)
    return [one for one in shown if one.start >= begin and one.end <= end]


def longest(slices: Iterable[Slice]) -> list[str]:
    """Names of the modules, those first that took most time."""
    spent: Counter[str] = Counter()
    for one in slices:
        spent[one.name] += one.end - one.start
    return [name for name, _ in spent.most_common()]


def as_chrome_trace(slices: Iterable[Slice]) -> dict[str, Any]:
    """The slices in Chrome's trace format, which chrome://tracing and ui.perfetto.dev open.

    Each thread is a row. Work elsewhere is an asynchronous slice, with the event as its number.
    Format: "Trace Event Format", Google; times are in us.
    """
    slices = sorted(slices, key=lambda one: one.start)
    origin = slices[0].start if slices else 0
    threads = sorted({one.thread for one in slices if one.thread >= 0})
    found: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": n, "args": {"name": f"thread {n}"}}
        for n in threads
    ]
    for one in slices:
        category = f"{one.kind}, emulated" if one.is_emulated else one.kind
        shared = {"cat": category, "pid": 1, "args": {"event": one.event}}
        shared["name"] = one.name or one.kind
        begin, end = ((at - origin) / 1e3 for at in (one.start, one.end))
        if one.kind == EXTERNAL:
            shared |= {"tid": 0, "id": f"{one.name} {one.event}"}
            found += [shared | {"ph": "b", "ts": begin}, shared | {"ph": "e", "ts": end}]
        else:
            found.append(shared | {"ph": "X", "ts": begin, "dur": end - begin, "tid": one.thread})
    return {"traceEvents": found, "displayTimeUnit": "ms"}


def write_chrome_trace(path: Path, slices: Iterable[Slice]) -> None:
    """Write :func:`as_chrome_trace`.

    Raises:
        InputError: it cannot be written.
    """
    with writable(path), complete(path) as partial:
        partial.write_text(json.dumps(as_chrome_trace(slices)), encoding="utf-8")
