"""``trackserve reconstruct --processes`` and ``--dask``: a folder of files from many paths."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.markup import escape

import trackserve
from trackserve.bulk.engines import on_dask, on_processes
from trackserve.bulk.manifest import NAME, Manifest, Written, claim_folder, files_of
from trackserve.errors import TrackserveError

from .common import console, progress, report_failures, tell, wrote
from .reconstruct import Order, Task, carry_out

_ALL = ":"
_WAIT = 10.0
"""Seconds in which a worker that was given up may let go of a file."""


def reconstruct_many(
    order: Order,
    paths: Sequence[Path],
    folder: Path,
    resume: bool,
    processes: int | None,
    dask: str | None,
) -> None:
    """Reconstruct many paths, each into a file of its own.

    Args:
        order: how.
        paths: the sources.
        folder: where the files go.
        resume: whether to go on with what is there.
        processes: number of processes of this machine; or
        dask: address of a dask cluster.

    Raises:
        BadParameter: both are given, or a slice of events.
        InputError: two paths would have the same file, or the folder is not to be used.
    """
    if processes is not None and dask is not None:
        raise typer.BadParameter("either --processes or --dask")
    if order.events != _ALL:
        raise typer.BadParameter("--events has no effect on many files")
    here = [Path.cwd() / path for path in paths]
    files = files_of(here, Path.cwd() / folder)
    claim_folder(folder, resume)
    manifest = Manifest(Path.cwd() / folder, _about(order), [str(path) for path in here], files)
    tasks = [Task(order, [path], file) for path, file in zip(here, files, strict=True)]
    ended: Iterator[tuple[int, Written | TrackserveError]] = (
        on_processes(work, tasks, min(processes or 1, len(tasks)))
        if dask is None
        else on_dask(work, tasks, dask)
    )
    try:
        with progress() as show:
            for number, outcome in ended:
                manifest.add(number, outcome)
                show("Reconstructing files", manifest.n_ended, len(tasks), _note(manifest))
    except (KeyboardInterrupt, TrackserveError) as error:
        n = len(manifest.written)
        tell(f"{n} of {len(tasks)} files are in {folder}; the same command with --resume goes on")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    finally:
        ended.close()  # type: ignore[attr-defined]
        manifest.write()
    _report(manifest, folder)


def work(task: Task) -> Written:
    """Make one file, or find that it is there; a worker's part."""
    begin = time.perf_counter()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    identity = carry_out(task, True, lambda done, n: None, _WAIT)
    return _read(task.output, identity, time.perf_counter() - begin)


def _read(file: Path, identity: str, seconds: float) -> Written:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as rows:
        table = rows.read(columns=["error", "stopped_by"])
    failed, partial = (
        int(pc.sum(pc.not_equal(table[name], "")).as_py() or 0) for name in ("error", "stopped_by")
    )
    size = file.stat().st_size
    return Written(len(table), failed, partial, identity, size, round(seconds, 3))


def _about(order: Order) -> dict[str, object]:
    """What holds for all files, for the manifest."""
    return {
        "version": trackserve.__version__,
        "tracker": order.tracker.name,
        "options": dict(order.options),
        "url": order.where.url,
        "keep": list(order.keep),
        "absolute": order.absolute,
        "limits": asdict(order.limits),
    }


def _note(manifest: Manifest) -> str:
    n = sum(found.events for found in manifest.written)
    failed = len(manifest.failed)
    return f"{n} events" + (f", {failed} files failed" if failed else "")


def _report(manifest: Manifest, folder: Path) -> None:
    """Print what is in the folder.

    Raises:
        Exit: a file or an event failed.
    """
    written = manifest.written
    events, failed, partial = (
        sum(getattr(found, name) for found in written) for name in ("events", "failed", "partial")
    )
    console.print(f"{len(written)} files, {events} events, {failed} failed, {partial} partial")
    for identity in sorted({found.identity for found in written}):
        console.print(f"by {escape(identity)}", highlight=False, soft_wrap=True)
    wrote(folder / NAME)
    report_failures((f"{source}: {error}" for source, error in manifest.failed.items()), "file")
    if failed:
        raise typer.Exit(1)
