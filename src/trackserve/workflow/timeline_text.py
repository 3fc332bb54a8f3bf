"""A timeline as lines of text: a letter for the module that a thread is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .timeline import EXTERNAL, Slice, longest, middle

_HEAD = 10
_NOTHING = "."
_HALF = 0.5
"""A character stands for a module if the thread is busy for this share of its time."""


def text_timeline(slices: Sequence[Slice], width: int) -> list[str]:
    """Lines for a few events from the middle: each thread, work elsewhere, the letters' meaning.

    A letter is the module that took most of its time, a dot a thread without work. The line of
    work elsewhere has the number of events that wait for it.

    Args:
        slices: the timeline.
        width: characters of a line.
    """
    shown = middle(slices)
    if not shown:
        return []
    begin, end = min(one.start for one in shown), max(one.end for one in shown)
    n = max(1, width - _HEAD)
    cell = (end - begin) / n or 1.0
    letters = _letters(longest(shown))
    lines, seen = [], set()
    for thread in sorted({one.thread for one in shown if one.kind != EXTERNAL}):
        times: list[dict[str, float]] = [{} for _ in range(n)]
        for one in shown:
            if one.kind != EXTERNAL and one.thread == thread:
                for place, part in _parts(one, begin, cell, n):
                    times[place][one.name] = times[place].get(one.name, 0.0) + part
        row = [max(t, key=t.__getitem__) if sum(t.values()) >= _HALF else "" for t in times]
        seen |= set(row)
        lines.append(f"thread {thread}".ljust(_HEAD) + "".join(map(letters.__getitem__, row)))
    if elsewhere := [one for one in shown if one.kind == EXTERNAL]:
        waits = [0.0] * n
        for one in elsewhere:
            for place, part in _parts(one, begin, cell, n):
                waits[place] += part
        counts = (min(9, round(wait)) for wait in waits)
        lines.append("elsewhere ".ljust(_HEAD) + "".join(str(c) if c else _NOTHING for c in counts))
    meanings = [f"{letter} {name}" for name, letter in letters.items() if name and name in seen]
    return [*lines, f"a character is {1e-6 * cell:.2g} ms; {', '.join(meanings)}"]


def _letters(names: Iterable[str]) -> dict[str, str]:
    """A letter for each name, one of its own if there is one."""
    letters = {"": _NOTHING}
    for name in filter(None, names):
        own = [char for char in name + name.upper() if char.isalnum()]
        letters[name] = next((char for char in own if char not in letters.values()), "*")
    return letters


def _parts(one: Slice, begin: int, cell: float, n: int) -> Iterable[tuple[int, float]]:
    """The cells that a slice is in, and the share of each that it takes."""
    start, end = (one.start - begin) / cell, (one.end - begin) / cell
    for place in range(int(start), min(int(end) + 1, n)):
        yield place, max(0.0, min(end, place + 1) - max(start, place))
