"""``trackserve export``: a Parquet file as a ROOT file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .common import progress, wrote


class Form(StrEnum):
    """The form of the events in a ROOT file."""

    RNTUPLE = "rntuple"
    TTREE = "ttree"


def export(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="Parquet file of results.", show_default=False
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT.root",
            help="File to write; by default the name of FILE with .root at its end.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--as", help="Write an RNTuple, or a TTree for older programs.")
    ] = Form.RNTUPLE,
) -> None:
    """Write a Parquet file of `reconstruct`, `fit` or `hlt` as a ROOT file.

    OUT.root has `events` and the text `metadata`. `events` is an RNTuple with the columns of FILE,
    or a TTree with a branch for each of their fields (docs/data.md). Needs the extra root.
    """
    from trackserve.io.root import write_root

    target = output or file.with_suffix(".root")
    with progress() as show:
        write_root(file, target, form.value, lambda done, total: show("Exporting", done, total))
    wrote(target)
