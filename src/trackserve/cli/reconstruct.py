"""``trackserve reconstruct``: events to a Parquet file of tracks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape

import trackserve
from trackserve.edm import EventLimits
from trackserve.edm.result import Outcome, Result
from trackserve.errors import TrackserveError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import digest

from .common import (
    Reconstruct,
    Where,
    chosen_events,
    console,
    counts_table,
    identity_of_results,
    open_sources,
    progress,
    reconstruction,
    report_failures,
    tell,
    wrote,
)
from .grammar import (
    Deadline,
    Device,
    FallBack,
    Identity,
    InFlight,
    Limit,
    Partial,
    Served,
    Slice,
    Threads,
    Url,
    add_commands,
    limits_of,
)

if TYPE_CHECKING:
    from trackserve.io.results_file import ResultsFile

commands = typer.Typer(no_args_is_help=True, help="Reconstruct events into a Parquet file.")


def reconstruct(
    tracker: Tracker[Any, Any],
    options: dict[str, str],
    paths: list[Path],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write; with --processes or --dask a folder, with a file for each PATH.",
        ),
    ] = Path("tracks.parquet"),
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Also write an intermediate; may be repeated.", show_default=False
        ),
    ] = None,
    events: Slice = ":",
    absolute: Annotated[
        bool,
        typer.Option(
            "--absolute",
            help="Write absolute positions, and dxy and dz in place of tip and zip.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where the same command stopped.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = 1,
    url: Url = None,
    served: Served = None,
    in_flight: InFlight = None,
    identity: Identity = None,
    fallback: FallBack = False,
    limit: Limit = None,
    partial: Partial = False,
    deadline: Deadline = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Work on this many PATHs at the same time, each in a process of its own.",
            show_default=False,
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Use the workers of a dask cluster: tcp://HOST:PORT of its scheduler, or the path "
            "of the scheduler's file. The workers must see the same PATHs and OUT.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a Parquet file OUT with one row per event.

    Columns: event (a number that is unique in the file), source (the PATH), source_event (the
    number in the source), error, origin (the server that answered, tries, seconds, fallback or not,
    the identity), stopped_by, counts, the parts of the tracker's result, and the parts that --keep
    names. If an event cannot be read or reconstructed, its row has the reason in error. A partial
    result has the name of the limit in stopped_by. `trackserve export` makes a ROOT file of OUT.

    Rows are written to OUT.parts when their events are done. If the command stops early, they stay
    there, and --resume continues.

    With --processes or --dask, OUT is a folder. It has a file for each PATH, complete or absent,
    and manifest.json, which says what became of each. A PATH that cannot be read does not stop the
    others; a worker that dies costs no event. --resume continues, with any number of workers.
    """
    tracker.result.check_keep(keep or ())
    limits = limits_of(tracker, limit, partial, deadline)
    where = Where(url, served, in_flight, device, threads, identity, fallback)
    where.check(tracker, options)
    order = Order(tracker, options, where, keep or [], limits, events, absolute)
    if processes is not None or dask is not None:
        from .bulk import reconstruct_many

        reconstruct_many(order, paths, output, resume, processes, dask)
        return
    task = Task(order, paths, output)
    with progress() as show:
        identity_text = carry_out(task, resume, lambda done, n: show("Reconstructing", done, n))
    _report(output, len(paths) > 1, identity_text)


class Order(NamedTuple):
    """How events are to be reconstructed.

    Attributes:
        tracker, options, where, keep, limits: as of :func:`.common.reconstruction`.
        events: slice of the events, as text.
        absolute: whether positions are absolute, and parameters have the field's names.
    """

    tracker: Tracker[Any, Any]
    options: Mapping[str, str]
    where: Where
    keep: Sequence[str]
    limits: EventLimits
    events: str
    absolute: bool

    def __reduce__(self) -> Any:
        """A tracker travels by its name."""
        return _order, (self.tracker.name, *self[1:])


def _order(name: str, *rest: Any) -> Order:
    return Order(find_tracker(name), *rest)


class Task(NamedTuple):
    """An order for the events of some paths, and the file for all of them."""

    order: Order
    paths: Sequence[Path]
    output: Path


def carry_out(task: Task, resume: bool, show: Callable[[int, int], None], wait: float = 0.0) -> str:
    """Reconstruct events into a file.

    Args:
        task: the events, and the file.
        resume: whether to continue what an earlier one left.
        show: called with the number of events that are done, and of all.
        wait: seconds to wait for another process that writes there.

    Returns:
        text of the identity of what made the file.

    Raises:
        TrackserveError: an argument is wrong, or the data, the server or the place are not there.
    """
    from trackserve.io.results_file import ResultsFile

    tracker, options, where, keep, limits, events, absolute = task.order
    sources = open_sources(tracker, task.paths)
    chosen = chosen_events(sources, events)
    identities = {
        source: identity_of_results(tracker, options, where, found)
        for source, found in sources.items()
    }
    frames = (
        {source: tracker.absolute(found) for source, found in sources.items()} if absolute else {}
    )
    kind = next((frame.result for frame in frames.values()), tracker.result)
    about = _about(tracker, options, where, sources, identities)
    used = [identities[source] for source, which in chosen.items() if which]
    about["identity"] = "; ".join(dict.fromkeys(used or identities.values()))
    about |= {"events": events, "files": _stamp(task.paths, task.output)}
    about |= {"limits": json.dumps(asdict(limits))}
    file = ResultsFile(task.output, kind, keep, about, resume=resume, wait=wait)
    n = sum(map(len, chosen.values()))
    left = _without_first(file.n_done, chosen)
    todo = _outcomes(
        sources,
        left,
        lambda source: reconstruction(
            tracker, options, where, sources[source], keep, identities[source], limits
        ),
    )
    with _telling_what_is_kept(file, n), file, closing(todo) as outcomes:
        for done, (source, outcome) in enumerate(outcomes, file.n_done + 1):
            if source in frames and isinstance(outcome, Result):
                outcome = frames[source].convert(outcome)
            file.write(outcome, source)
            show(done, n)
    return about["identity"]


def _stamp(paths: Sequence[Path], output: Path) -> str:
    """Digits that change if a file of the sources changes; ``output`` is none of them."""
    files = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for path in map(Path.resolve, paths)
        for file in sorted(path.iterdir() if path.is_dir() else path.parent.glob(f"{path.name}*"))
        if file.is_file() and file != output.resolve()
    ]
    return digest(files)


def _without_first(n: int, chosen: Mapping[str, range]) -> dict[str, range]:
    """``chosen`` without its first ``n`` events."""
    left = {}
    for source, which in chosen.items():
        left[source] = which[n:]
        n -= min(n, len(which))
    return left


def _about(
    tracker: Tracker[Any, Any],
    options: Mapping[str, str],
    where: Where,
    sources: Mapping[str, Any],
    identities: Mapping[str, str],
) -> dict[str, str]:
    """Metadata of the file."""
    each = [
        {"path": source, "events": len(events), "identity": identities[source]}
        | getattr(events, "about", dict)()
        for source, events in sources.items()
    ]
    how = (
        {"options": json.dumps(options)}
        if where.url is None
        else {"served": where.served or tracker.name}
    )
    return {
        "version": trackserve.__version__,
        "tracker": tracker.name,
        "sources": json.dumps(each),
    } | how


def _outcomes(
    sources: Mapping[str, Any],
    chosen: Mapping[str, range],
    reconstruct: Callable[[str], AbstractContextManager[Reconstruct]],
) -> Generator[tuple[str, Outcome], None, None]:
    """Source and outcome of each event; each source has its own conditions."""
    for source, which in chosen.items():
        if which:
            with reconstruct(source) as run:
                for outcome in run(sources[source], which):
                    yield source, outcome


@contextmanager
def _telling_what_is_kept(file: ResultsFile, n: int) -> Iterator[None]:
    """Say, if the command ends early, where its rows are."""
    try:
        yield
    except (KeyboardInterrupt, TrackserveError) as error:
        if file.n_done:
            tell(
                f"{file.n_done} of {n} events are in {file.parts}; "
                "the same command with --resume goes on"
            )
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise


def _report(output: Path, several: bool, identity: str) -> None:
    """Print what is in the file.

    Args:
        output: the file.
        several: whether to name the source of an event.
        identity: text of the identity of what made it.
    """
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    stopped: Counter[str] = Counter()
    n_events = 0
    failed = []
    with pq.ParquetFile(output) as file:
        for batch in file.iter_batches(columns=["source", "error", "stopped_by", "counts"]):
            for row in batch.to_pylist():
                if row["error"]:
                    failed.append(f"{row['source']}: {row['error']}" if several else row["error"])
                elif row["stopped_by"]:
                    stopped[row["stopped_by"]] += 1
                else:
                    n_events += 1
                    counts.update(row["counts"])
    console.print(counts_table(counts, n_events))
    wrote(output)
    console.print(f"by {escape(identity)}", highlight=False, soft_wrap=True)
    for name, n in stopped.items():
        text = f"partial, not in the means: {n} event{'s' * (n > 1)} beyond the limit of {name}"
        console.print(text, style="yellow", highlight=False)
    report_failures(failed)


add_commands(commands, reconstruct)
