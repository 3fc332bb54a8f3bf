"""``trackserve pixels``: events of space points in the pixel volumes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trackserve.errors import InputError

from .common import progress, wrote


def pixels(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="EVENTS",
            help="Events of GenericDetector with truth: of `simulate points`, or TrackML's.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")],
) -> None:
    """Keep the points in the pixel volumes (7, 8 and 9) of events of GenericDetector.

    DIR has events of the detector `generic-pixels`: train and validate a model on them as on
    others. Particles count there if they have pT > 0.9 GeV and points on three layers.
    """
    from trackserve.io import open_points
    from trackserve.io.pixel_volumes import write_pixels

    if output.resolve() == path.resolve():
        raise InputError("these are the events: write elsewhere", directory=str(output))
    with progress() as show:
        write_pixels(open_points(path), output, lambda done, n: show("events", done, n))
    wrote(output)
