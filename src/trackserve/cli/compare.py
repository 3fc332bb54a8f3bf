"""``trackserve compare``: two files of results, event by event."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from trackserve.errors import InputError

from .terminal import console

if TYPE_CHECKING:
    from trackserve.io.comparison import Comparison

_MOST = 20
"""Events that are listed unless the user wants more."""
Result = Annotated[
    Path,
    typer.Argument(
        exists=True, help="Parquet file, or directory of such files.", show_default=False
    ),
]


def compare(
    a: Result,
    b: Result,
    *,
    most: Annotated[
        int, typer.Option(min=0, metavar="N", help="List at most N events of a file.")
    ] = _MOST,
) -> None:
    """Compare two files of results, or of decisions, event by event and bit for bit.

    A and B are Parquet files of `reconstruct`, `fit` or `hlt`, or directories; then files with the
    same name are compared. Lists the events that differ, with the reasons: one file lacks the
    event; one has an error and the other a result; other counts; columns with other bits, and by
    how much. The server that answered, and the times, are not compared. Exits with 1 if anything
    differs.
    """
    from trackserve.io.comparison import compare_files

    n_different = 0
    for name, one, two in _pairs(a, b):
        if one is None or two is None:
            console.print(f"{name}: only in {'A' if two is None else 'B'}", highlight=False)
            n_different += 1
            continue
        for letter, file in (("A", one), ("B", two)):
            about = f"{file}: {_identity(file)}"
            console.print(f"{letter}: {escape(about)}", highlight=False, soft_wrap=True)
        n_different += not show(compare_files(one, two), most)
    if n_different:
        raise typer.Exit(1)


def show(compared: Comparison, most: int) -> bool:
    """Print how two files compare.

    Args:
        compared: the comparison.
        most: events to list.

    Returns:
        whether they are equal.
    """
    for text in compared.columns:
        console.print(escape(text), highlight=False, soft_wrap=True)
    for difference in compared.differences[:most]:
        console.print(
            f"{escape(difference.source)} event {difference.event}", highlight=False, soft_wrap=True
        )
        for reason in difference.reasons:
            console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    if (left := len(compared.differences) - most) > 0:
        console.print(f"and {left} more (--most)", highlight=False)
    if compared.are_equal:
        text = f"all {compared.n_both} events are the same, bit for bit"
        console.print(f"[bold green]{text}[/]", highlight=False)
        return True
    reasons: Counter[str] = Counter()
    for difference in compared.differences:
        reasons.update({_kind(reason) for reason in difference.reasons})
    for what, n in reasons.most_common():
        console.print(f"{n:8d} events: {escape(what)}", highlight=False)
    console.print(
        f"[bold red]{len(compared.differences)} events differ; "
        f"both files have {compared.n_both}[/]",
        highlight=False,
    )
    return False


def _pairs(a: Path, b: Path) -> list[tuple[str, Path | None, Path | None]]:
    """Name of each file to compare, and where it is in A and in B.

    Raises:
        InputError: a file is compared with a directory, or a directory has no Parquet file.
    """
    if a.is_dir() != b.is_dir():
        raise InputError("a file cannot be compared with a directory", found=[str(a), str(b)])
    if not a.is_dir():
        return [(a.name, a, b)]
    mine, theirs = (
        {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*.parquet"))}
        for folder in (a, b)
    )
    for folder, files in ((a, mine), (b, theirs)):
        if not files:
            raise InputError("no Parquet file is in this directory", directory=str(folder))
    return [(name, mine.get(name), theirs.get(name)) for name in sorted(mine | theirs)]


def _identity(file: Path) -> str:
    """What made a file, as it says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = (pq.read_schema(file).metadata or {}).get(b"identity", b"")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", file=str(file)) from error
    return found.decode(errors="replace") or "it does not say what made it"


def _kind(reason: str) -> str:
    """The column or the kind of a reason, without its numbers."""
    return re.split(r": | \(", reason, maxsplit=1)[0]
