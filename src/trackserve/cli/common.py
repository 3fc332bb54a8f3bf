"""Code that several commands share: they reconstruct events, here or on a server."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import typer
from rich import progress as bars
from rich.markup import escape
from rich.table import Table

from trackserve.device.progress import n_loops, watching_compilation
from trackserve.edm import EventLimits
from trackserve.edm.result import Outcome
from trackserve.errors import IdentityMismatch, InputError
from trackserve.trackers.base import Events, Pipeline, Tracker
from trackserve.trackers.batch import read_at
from trackserve.wire.identity import UNCHECKED

from .terminal import console as console
from .terminal import messages as messages

if TYPE_CHECKING:
    from trackserve.client import Client

T = TypeVar("T")
Reconstruct = Callable[[Events[Any], Iterable[int]], Iterator[Outcome]]
"""Takes events and the indices of those to reconstruct."""

_BATCH = 64
"""Events that a GPU gets at once."""
_AHEAD = 2
"""Batches that wait for each thread; on a CPU a batch is an event."""
_SECONDS_PER_LINE = 5.0
"""Time between two lines of progress."""


class Where(NamedTuple):
    """The place at which events are reconstructed: a server, or this machine.

    Attributes:
        url: address of the server, or of several as a client takes them; None: this machine.
        served: name of the model on the server; None: the tracker's name.
        in_flight: requests in flight to the server; None: as many as it can use.
        device: device of this machine.
        threads: events that run at the same time on a CPU of this machine.
        identity: text of the identity that the model on the server must have, or its hash;
            "unchecked": any; None: that of the options.
        fallback: whether this machine reconstructs while no server can.
    """

    url: str | None = None
    served: str | None = None
    in_flight: int | None = None
    device: str = "cpu"
    threads: int = 1
    identity: str | None = None
    fallback: bool = False

    def check(self, tracker: Tracker[Any, Any], options: Mapping[str, str]) -> None:
        """Refuse arguments that would have no effect.

        Raises:
            BadParameter: an option is for a server and there is no url, or the reverse.
        """
        if self.url is None:
            wrong = {"served": self.served, "in-flight": self.in_flight, "identity": self.identity}
            wrong["fallback"] = self.fallback or None
            _refuse((k for k, v in wrong.items() if v is not None), "is for a server: give --url")
        else:
            defaults = {"device": "cpu", "threads": 1}
            wrong = {k: getattr(self, k) for k, v in defaults.items() if getattr(self, k) != v}
            _refuse(wrong, "has no effect with --url: the server has its own")

    def connect(
        self, tracker: Tracker[Any, Any], options: Mapping[str, str], events: Any
    ) -> Client:
        """A client of the server.

        Args:
            tracker, options, events: as of :meth:`expected`.

        Raises:
            InputError: the url is malformed.
        """
        from trackserve.client import Client, Recipe

        assert self.url is not None
        if not self.fallback:
            return Client(self.url)
        recipe = Recipe(tracker, options, events)
        return Client(self.url, fallback={self.served or tracker.name: recipe})

    def expected(
        self, tracker: Tracker[Any, Any], options: Mapping[str, str], events: Any
    ) -> str | None:
        """The identity that the model on the server must have; None if it cannot be known here.

        Args:
            tracker: the tracker.
            options: values by name of option.
            events: what will be reconstructed, as the tracker opens it.

        Raises:
            BadParameter: an option has no effect, because the identity is given or unknown.
        """
        if self.identity is None:
            own = tracker.identity(options, events=events)
            if own is not None:
                return str(own)
        defaults = tracker.complete({})
        if self.fallback:
            return self.identity
        given = (name for name, value in options.items() if value != defaults[name])
        reason = "the model's data are not here" if self.identity is None else "--identity is given"
        _refuse(given, f"has no effect with --url: {reason}")
        return self.identity


def _refuse(names: Iterable[str], reason: str) -> None:
    for name in names:
        raise typer.BadParameter(f"--{name.replace('_', '-')} {reason}")


def agree(client: Client, model: str, expected: str | None) -> str:
    """The identity that all answers of a model on a server must have.

    Args:
        client: client of the server.
        model: name of the model.
        expected: identity that it must have; None: the one that it has now; "unchecked": any.

    Raises:
        IdentityMismatch: it has another one. The models of the server are printed then.
    """
    if expected == UNCHECKED:
        return expected
    try:
        return client.identify(model, expected)
    except IdentityMismatch:
        console.print("models on the server (--served, --identity):")
        each = {f"{one.model} at {one.server}": one.identity for one in client.servers()}
        found = each or client.models()
        for name, text in found.items():
            console.print(f"  {name}: {escape(text)}", highlight=False, soft_wrap=True)
        raise


def identity_of_results(
    tracker: Tracker[Any, Any], options: Mapping[str, str], where: Where, events: Any
) -> str:
    """Text of the identity that all results will have; "unchecked" if it is not to be known.

    Args:
        tracker, options, where, events: as of :func:`reconstruction`.

    Raises:
        IdentityMismatch: the model on the server has another identity than the expected one.
    """
    if where.url is None:
        return str(tracker.identity(options, device=where.device, events=events) or UNCHECKED)
    with where.connect(tracker, options, events) as client:
        expected = where.expected(tracker, options, events)
        return agree(client, where.served or tracker.name, expected)


@contextmanager
def reconstruction(
    tracker: Tracker[Any, Any],
    options: Mapping[str, str],
    where: Where,
    events: Any,
    keep: Collection[str] = (),
    identity: str | None = None,
    limits: EventLimits | None = None,
) -> Iterator[Reconstruct]:
    """A function that reconstructs events; its outcomes are in order. An event that is bad, or
    that cannot be read, leaves its error in its place.

    Args:
        tracker: the tracker.
        options: values by name of option.
        where: here or on a server.
        events: what will be reconstructed, as the tracker opens it.
        keep: intermediates to return as well.
        identity: identity that :func:`agree` found already on the server.
        limits: the most work on each event; None: the tracker's defaults.

    Raises:
        IdentityMismatch: the model on the server has another identity than the expected one.
    """
    where.check(tracker, options)
    if where.url is not None:
        from trackserve.client import keep_freed_memory

        keep_freed_memory()
        model = where.served or tracker.name
        with where.connect(tracker, options, events) as client:
            agreed = identity or agree(client, model, where.expected(tracker, options, events))

            def run(events: Iterator[Any]) -> Iterator[Outcome]:
                in_flight = where.in_flight
                return client.stream(
                    model, events, keep, in_flight=in_flight, identity=agreed, limits=limits
                )

            yield lambda some, which: run(read_at(some, which))
    else:
        pipeline = _built(tracker, options, where, events, identity)
        yield lambda some, which: _run_here(pipeline, read_at(some, which), keep, where, limits)


_latest: dict[Any, Pipeline[Any, Any]] = {}
"""The pipeline that was built last: many sources have the same conditions."""


def _built(
    tracker: Tracker[Any, Any],
    options: Mapping[str, str],
    where: Where,
    events: Any,
    identity: str | None,
) -> Pipeline[Any, Any]:
    """The pipeline; that of the last source, if it has the same identity."""
    key = tracker.name, identity, where.device, where.threads
    found = _latest.get(key) if identity not in (None, UNCHECKED) else None
    if found is None:
        found = tracker.build(options, device=where.device, threads=where.threads, events=events)
        _latest.clear()
        _latest[key] = found
    return found


def _run_here(
    pipeline: Pipeline[Any, Any],
    events: Iterator[Any],
    keep: Collection[str],
    where: Where,
    limits: EventLimits | None,
) -> Iterator[Outcome]:
    """Outcomes of events; few are in memory at a time.

    The main thread computes nothing: it gets the user's interrupt, and an interrupt in the middle
    of a compiled function's return can crash Python.
    """
    threads, size = (where.threads, 1) if where.device == "cpu" else (1, _BATCH)
    waiting: deque[Future[Sequence[Outcome]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while batch := list(itertools.islice(events, size)):
                waiting.append(pool.submit(pipeline.run, batch, keep, limits=limits))
                if len(waiting) > _AHEAD * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def open_sources(tracker: Tracker[Any, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The events at each path, by the path as text that can be written.

    Raises:
        InputError: a path is given twice.
    """
    twice = [str(path) for path, n in Counter(map(Path.resolve, paths)).items() if n > 1]
    if twice:
        raise InputError("the same path is given twice", found=twice)
    return {os.fsencode(path).decode(errors="replace"): tracker.open_events(path) for path in paths}


def chosen_events(sources: Mapping[str, Any], text: str) -> dict[str, range]:
    """Indices of the wanted events of each source.

    Raises:
        InputError: ``text`` is not a slice, or there are events and it has none of them.
    """
    begin, colon, end = text.partition(":")
    try:
        bounds = [int(bound) if bound.strip() else None for bound in (begin, end)]
    except ValueError:
        colon = ""
    if not colon:
        raise InputError("not a slice of events", option="events", found=text, bound="A:B")
    n = sum(map(len, sources.values()))
    start, stop, _ = slice(*bounds).indices(n)
    if n and start >= stop:
        raise InputError("no event is in this slice", option="events", found=text, bound=f"0:{n}")
    chosen, before = {}, 0
    for source, events in sources.items():
        inside = [min(max(bound - before, 0), len(events)) for bound in (start, stop)]
        chosen[source] = range(*inside)
        before += len(events)
    return chosen


class Progress(Protocol):
    """Tells how far something is; ``total`` 0 is unknown."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(*, transient: bool = True) -> Iterator[Progress]:
    """Shows how far things are: bars on a terminal, else a line every few seconds.

    Loops that are compiled meanwhile are shown too.

    Args:
        transient: whether the bars vanish at the end.
    """
    if not messages.is_terminal:
        lines = _Lines()
        with watching_compilation(compiling(lines, n_loops)):
            yield lines
        return
    columns: list[bars.ProgressColumn | str] = [
        "{task.description}",
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        "{task.fields[note]}",
    ]
    with bars.Progress(*columns, console=messages, transient=transient) as shown:
        tasks: dict[str, bars.TaskID] = {}

        def show(what: str, done: int, total: int, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(escape(what), total=None, note="")
            shown.update(tasks[what], completed=done, total=total or None, note=note)

        with watching_compilation(compiling(show, n_loops)):
            yield show


def compiling(show: Progress, most: Callable[[], int] = lambda: 0) -> Callable[[str], None]:
    """A function that shows the loop that is compiled next, by its name, and how many there were.

    Args:
        show: shows it.
        most: returns the most loops that may be compiled; 0: not known.
    """
    seen: set[str] = set()

    def tell(name: str) -> None:
        seen.add(name)
        loop = name.rpartition(".")[2].strip("_").replace("_", " ")
        show("compiling (a first start)", len(seen), most(), loop)

    return tell


def beside_main(work: Callable[[Progress], T], show: Progress) -> T:
    """What ``work`` returns, which another thread computes.

    The main thread computes nothing, as in :func:`_run_here`. The user's interrupt ends the work
    where it shows its progress next.

    Args:
        work: takes a function that shows its progress.
        show: shows it.
    """
    stopped = threading.Event()

    def show_unless_stopped(what: str, done: int, total: int, note: str = "") -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        show(what, done, total, note)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, show_unless_stopped)
        try:
            return future.result()
        finally:
            stopped.set()


class _Lines:
    """A :class:`Progress` that writes lines."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_PER_LINE:
            self._last = now
            tell(f"{what}: {done}{f' of {total}' if total else ''} {note}".rstrip())


def tell(text: str) -> None:
    """Write a line that is not the answer of a command."""
    messages.print(escape(text), highlight=False, soft_wrap=True)


def wrote(path: Path) -> None:
    """Say that a file or folder is written; its name is printed as it is, in one line."""
    console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)


def report_failures(failed: Iterable[object], what: str = "event") -> None:
    """Print the events that failed, if any, and then exit with 1.

    Args:
        failed: the error of each.
        what: what failed, if they are no events.
    """
    errors = [str(error) for error in failed]
    for error in errors:
        console.print(f"[red]{what} failed:[/] {escape(error)}", highlight=False, soft_wrap=True)
    if errors:
        raise typer.Exit(1)


def counts_table(counts: Mapping[str, int], n_events: int, size: str = "") -> Table:
    """Mean counts per event, and per unit of an event's size.

    Args:
        counts: sums over all events, by name.
        n_events: number of events.
        size: name of the count that tells how large an event is.
    """
    table = Table(title=f"Counts, means over {n_events} events")
    table.add_column("")
    table.add_column("per event", justify="right")
    total = counts.get(size, 0)
    if total:
        table.add_column(f"per {size.removesuffix('s')}", justify="right")
    for name, count in counts.items() if n_events else ():
        row = [name.replace("_", " "), f"{count / n_events:.1f}"]
        table.add_row(*row, *([f"{count / total:.3f}"] if total else []))
    return table


def facts_of(
    events: Any, path: Path, where: Where, variants: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """What a report says of its results: the data set, the configuration, the machine.

    Args:
        events: what was reconstructed, as the tracker opens it.
        path: where it is.
        where: here or on a server.
        variants: by name, values by name of option.
    """
    from trackserve.studies.machine import in_words

    each = [
        name if where.url else f"{name} ({', '.join(f'{k} {v}' for k, v in options.items() if v)})"
        for name, options in variants.items()
    ]
    machine = in_words()
    if where.url is not None:
        machine = f"{where.url}, asked from {machine}"
    elif where.device != "cpu":
        machine += f", on {where.device}"
    return {
        "data set": f"{path.resolve().name}, {len(events)} events",
        "configuration": "; ".join(each),
        "machine": machine,
    }


def report_folder(output: Path, subject: str) -> None:
    """Refuse, before any work, a folder that cannot take a report.

    Raises:
        InputError: it cannot be written, or has a report of something else.
        MissingExtraError: matplotlib is not installed.
    """
    from trackserve.report.drawing import require_matplotlib
    from trackserve.report.page import claim

    require_matplotlib()
    claim(output, subject)
