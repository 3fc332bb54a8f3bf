"""``trackserve hlt``: a trigger menu over events, with tracking as one module of the job."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import trackserve
from trackserve.errors import (
    DeadlineExceeded,
    InputError,
    ServerBusy,
    ServerUnavailable,
    TrackserveError,
)
from trackserve.io.files import check_file, check_writable, complete, made, writable
from trackserve.trackers.batch import read_at

from .common import (
    Where,
    chosen_events,
    console,
    open_sources,
    progress,
    report_failures,
    tell,
    wrote,
)
from .compare import show as show_comparison
from .grammar import Device, FallBack, Identity, Served, Url
from .grammar import Slice as Chosen

if TYPE_CHECKING:
    from trackserve.report.page import Table
    from trackserve.workflow import Job, Schedule, Slice
    from trackserve.workflow.decisions import Decided
    from trackserve.workflow.description import Described, Rest


_RATE = 100_000.0
"""Events per second, Hz, that CMS' first trigger level hands on."""
_GONE = (DeadlineExceeded, ServerBusy, ServerUnavailable)
"""Errors of events that no server has answered until the timeout."""
_LISTED = 1000
"""Events decided otherwise that are listed."""
_SHORT = 0.002
"""Modules that take less of the time share a row."""


class RestKind(StrEnum):
    """How the rest of an event is done."""

    AUTO = "auto"
    WORK = "work"
    EMULATED = "emulated"
    NONE = "none"


def hlt(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            help="Data directories: conditions and raw events.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.parquet", help="File to write.")
    ] = Path("decisions.parquet"),
    job: Annotated[
        Path | None,
        typer.Option(
            metavar="JOB.toml",
            exists=True,
            dir_okay=False,
            help="File with other modules, paths, thresholds and prescales than the default ones.",
            show_default=False,
        ),
    ] = None,
    show_job: Annotated[
        bool,
        typer.Option("--show-job", help="Print the job as text, for a copy to change, and end."),
    ] = False,
    events: Chosen = ":",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the job.")] = 2,
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1, help="Events in flight; by default two for each thread.", show_default=False
        ),
    ] = None,
    rest: Annotated[
        RestKind,
        typer.Option(
            help="The rest of an event (calorimeter, muons, full tracking): `work` keeps the "
            "processor busy, `emulated` waits, `none` leaves it out. `auto` is work, or emulated "
            "with more threads than cores."
        ),
    ] = RestKind.AUTO,
    times: Annotated[
        Path | None,
        typer.Option(
            metavar="TIMES.csv",
            exists=True,
            dir_okay=False,
            help="Times of the rest: a row with names of modules, then a row of seconds for each "
            "event.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, help="Events per second before the menu, Hz.")
    ] = _RATE,
    timeline: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.json",
            help="Write which module ran where, for chrome://tracing and ui.perfetto.dev, and a "
            "picture beside it.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER.parquet",
            exists=True,
            dir_okay=False,
            help="List the events that differ from those of another file.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    url: Url = None,
    served: Served = None,
    identity: Identity = None,
    fallback: FallBack = False,
) -> None:
    """Run a trigger menu over raw events, and print what each path accepts.

    A job has these modules: the tracking (here, on a device or on a server with --url); the objects
    of the trigger, such as jets of tracks; the paths of the menu; and the rest of an event, as work
    of a given length. While tracking runs on a server, the other modules run here. OUT.parquet has
    a row for each event, with the quantity and the decision of each path.

    With several PATHs, each has its own column of shares and rates. So you see what the menu does
    with interesting and with other collisions. docs/hlt.md has the paths.

    If the command ends early, OUT.partial.parquet has the decisions so far.
    """
    from trackserve.workflow import Schedule
    from trackserve.workflow.decisions import menu_of, write_decisions
    from trackserve.workflow.description import DEFAULT, make_job, read_description
    from trackserve.workflow.job import EVENT
    from trackserve.workflow.tracking import Way

    if show_job:
        print(read_description(job or DEFAULT).text, end="")
        return
    if not paths:
        raise typer.BadParameter("no PATH is given")
    if job is not None:
        sys.path.append(str(job.resolve().parent))
    described = read_description(job or DEFAULT)
    Where(url, served, None, device, 1, identity, fallback).check(
        described.tracker, described.options
    )
    _check_files(output, timeline, filter(None, (job, times, compare)))
    if compare is not None:
        menu_of(compare)  # a wrong file is refused before any work
    done = _Done()
    how = Schedule(threads, in_flight, (EVENT, "decisions", described.tracking))
    way = Way(device, url, served, identity, fallback)
    opened = open_sources(described.tracker, paths)
    chosen = chosen_events(opened, events)
    others = _rest(rest, threads, times)
    jobs = {source: make_job(described, opened[source], way, others) for source in chosen}

    def write(place: Path) -> None:
        with writable(place), made(place.parent):
            write_decisions(place, described.entries, done.decided, _about(done, described))

    with _keeping_what_is_decided(done, sum(map(len, chosen.values())), output, write):
        for source, which in chosen.items():
            found = read_at(opened[source], which)
            _run(source, found, len(which), jobs.pop(source), how, done)
    _print(described, done, how, rate)
    write(output)
    wrote(output)
    if timeline is not None:
        _write_timeline(timeline, done.slices)
    is_equal = compare is None or _compare(output, compare)
    report_failures(one.error for one in done.decided if one.error is not None)
    if not is_equal:
        raise typer.Exit(1)


class _Done:
    """What was done.

    Attributes:
        samples: what is decided on the events of each source.
        slices: the timeline of the first source.
        spent: ms of each module in threads of the job, for each event.
        seconds: time of all sources.
        servers: number of answers of each server; "here" for this machine in place of one.
        identities: what the tracking of each source is.
        emulated: names of the modules that waited in place of work.
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[Decided]] = {}
        self.slices: list[Slice] = []
        self.spent: defaultdict[str, list[float]] = defaultdict(list)
        self.seconds = 0.0
        self.servers: Counter[str] = Counter()
        self.identities: list[str] = []
        self.emulated: list[str] = []

    @property
    def decided(self) -> list[Decided]:
        """What is decided on all events."""
        return [one for sample in self.samples.values() for one in sample]


def _run(source: str, events: Iterator[Any], n: int, job: Job, how: Schedule, done: _Done) -> None:
    """Run a job over ``n`` events of a source; ``how`` keeps what is needed, the tracking last.

    Raises:
        ServerError: no server has answered an event until its timeout.
    """
    from trackserve.workflow import run
    from trackserve.workflow.decisions import Decided
    from trackserve.workflow.job import EVENT
    from trackserve.workflow.timeline import EXTERNAL

    sample = done.samples.setdefault(source, [])
    tracks = how.keep[-1]
    new: deque[Slice] = deque()
    start = 0.0
    with progress() as show, closing(run(job, events, how, new.append)) as all:
        show("Preparing the job", 0, 0)
        for one in all:
            cause = getattr(one.error, "__cause__", None)
            if isinstance(cause, _GONE):
                raise cause
            start = start or 1e-9 * one.start
            products = one.products
            number = getattr(products[EVENT], "event", -1)
            decisions = products["decisions"] if one.error is None else ()
            sample.append(Decided(source, number, decisions, one.error))
            if origin := getattr(products[tracks], "origin", None):
                done.servers[origin.server or "here"] += 1
            while new:
                piece = new.popleft()
                if piece.kind != EXTERNAL:
                    done.spent[piece.name].append(1e3 * piece.seconds)
                if len(done.samples) == 1:
                    done.slices.append(piece)
            show(f"Deciding on {source}", len(sample), n)
    done.seconds += time.perf_counter() - start if sample else 0.0
    by_name: dict[str, Any] = {module.name: module for module in job.modules}
    done.identities.append(by_name[tracks].identity)
    done.emulated = [name for name, module in by_name.items() if module.is_emulated]


def _check_files(output: Path, timeline: Path | None, read: Iterable[Path]) -> None:
    """Refuse, before any work, files that cannot be written, or that are another file too.

    Raises:
        InputError: a place cannot be written, is that of two files, or has something else.
    """
    from trackserve.workflow.decisions import check_place

    check_place(output)
    written = [output]
    if timeline is not None:
        check_file(timeline)  # '.' has no suffix to replace
        written += [timeline, timeline.with_suffix(".png")]
    others = [place.resolve() for place in read]
    for file in written:
        if file.resolve() in others:
            raise InputError("one file is to be read and written, or twice", file=str(file))
        others.append(file.resolve())
        check_writable(file)


@contextmanager
def _keeping_what_is_decided(
    done: _Done, n: int, output: Path, write: Callable[[Path], None]
) -> Iterator[None]:
    """Write, if the command ends early, what is decided by then, beside the output."""
    try:
        yield
    except BaseException as error:
        if n_done := len(done.decided):
            place = output.with_stem(f"{output.stem}.partial")
            with suppress(TrackserveError):  # the first error is the one to see
                write(place)
                tell(f"{n_done} of {n} events are decided; they are in {place}")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise


def _rest(kind: RestKind, threads: int, times: Path | None) -> Rest:
    """How the rest of an event is done."""
    from trackserve.serving.backend.runtime import cores
    from trackserve.workflow.description import Rest
    from trackserve.workflow.times import read_times

    is_emulated = kind is RestKind.EMULATED
    if kind is RestKind.AUTO and threads > cores():
        tell(f"{threads} threads on {cores()} cores: the rest of an event is emulated by waits")
        is_emulated = True
    given = {} if times is None else read_times(times)
    return Rest(is_emulated, kind is RestKind.NONE, given)


def _about(done: _Done, described: Described) -> dict[str, str]:
    """Metadata of the file."""
    return {
        "version": trackserve.__version__,
        "job": described.text,
        "identity": "; ".join(dict.fromkeys(done.identities)),
    }


def _print(described: Described, done: _Done, how: Schedule, rate: float) -> None:
    """Print the menu and what the job took."""
    from trackserve.report.tables import rich_table
    from trackserve.workflow.rates import rates_table
    from trackserve.workflow.timeline_text import text_timeline

    for source, decided in done.samples.items():
        table = rates_table(described.entries, decided, rate)
        console.print(rich_table(f"the menu on {source}", table))
    console.print(rich_table("modules", _times(done)))
    n = len(done.decided)
    parts = [f"{n} events in {done.seconds:.1f} s: {n / (done.seconds or 1):.1f} events/s"]
    parts.append(f"{how.threads} threads, {how.most_in_flight} events in flight")
    parts += [f"{count} answers by {server}" for server, count in done.servers.items()]
    console.print(escape("; ".join(parts)), highlight=False, soft_wrap=True)
    for line in text_timeline(done.slices, console.width - 1):
        console.print(escape(line), highlight=False, soft_wrap=True)


def _times(done: _Done) -> Table:
    """Time of each module in threads of the job, the longest first; short ones share a row."""
    from trackserve.report.page import Table

    total = sum(map(sum, done.spent.values())) or 1.0
    rows, short = [], []
    for name, spent in sorted(done.spent.items(), key=lambda item: -sum(item[1])):
        if sum(spent) < _SHORT * total:
            short.append(sum(spent))
            continue
        label = (name or "reading events") + ", emulated by waits" * (name in done.emulated)
        mean = sum(spent) / len(done.decided)
        rows.append([label, f"{mean:.3g}", f"{median(spent):.3g}", f"{sum(spent) / total:.1%}"])
    if short:
        mean = sum(short) / len(done.decided)
        rows.append([f"{len(short)} others", f"{mean:.3g}", "", f"{sum(short) / total:.1%}"])
    return Table(("module", "mean, ms", "median", "share"), rows)


def _write_timeline(path: Path, slices: Sequence[Slice]) -> None:
    """Write a timeline, and its picture if that can be drawn."""
    from trackserve.report.drawing import to_png
    from trackserve.workflow.timeline import write_chrome_trace
    from trackserve.workflow.timeline_figure import draw_timeline

    with writable(path), made(path.parent):
        write_chrome_trace(path, slices)
    wrote(path)
    if not slices:
        return
    picture = path.with_suffix(".png")
    with console.status("drawing"):
        png = to_png(draw_timeline(slices))
    with writable(picture), complete(picture) as partial:
        partial.write_bytes(png)
    wrote(picture)


def _compare(output: Path, other: Path) -> bool:
    """List the events on which two files differ; return whether there is none."""
    from trackserve.workflow.decisions import compare_decisions

    compared, name = compare_decisions(output, other), escape(str(other))
    if compared.are_equal:
        text = f"[bold green]all decisions are those of {name}, bit for bit[/]"
        console.print(text, soft_wrap=True)
    else:
        console.print(f"A: {output}, B: {other}", highlight=False, soft_wrap=True, markup=False)
        show_comparison(compared, _LISTED)
    return compared.are_equal
