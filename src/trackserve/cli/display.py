"""``trackserve display``: events in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trackserve.errors import EventError, InputError, TrackserveError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker, tracker_names

from .common import Where, chosen_events, console, progress, reconstruction, report_failures, wrote
from .grammar import Device
from .serve import parse_models

VIEWS = ("3d", "xy", "rz")


def display(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            metavar="PATH",
            help="Events of any tracker: a data directory, or space points.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.html", help="Page to write.")
    ] = Path("event.html"),
    tracker: Annotated[
        str | None,
        typer.Option(
            metavar="TRACKER[,OPTION=VALUE]...",
            help="Tracker; its options may also stand here, as in `exatrkx,model=large`.",
            show_default="the first that reads PATH, with the options that are given",
        ),
    ] = None,
    events: Annotated[
        str, typer.Option(metavar="A:B", help="Only events A to B - 1, counted from 0.")
    ] = ":3",
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png",
            help="Also write a picture of the first event, by a Chromium on PATH.",
            show_default=False,
        ),
    ] = None,
    view: Annotated[
        str, typer.Option(metavar="3d|xy|rz", help="View of the picture; xy is r-phi.")
    ] = "3d",
    dark: Annotated[bool, typer.Option("--dark", help="Make the picture dark.")] = False,
    phoenix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.json",
            help="Also write the events as JSON for HSF's Phoenix.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    options: Mapping[str, str],
) -> None:
    """Reconstruct events and write one page that shows them.

    The page opens in any browser, without a network. It shows hits, tracks, vertices, modules or
    layers. If they are known, it also shows the truth and the edges of a learned tracker.
    """
    from trackserve.display import make_scene, write_page
    from trackserve.display.scenes import kept_for

    if view not in VIEWS:
        raise InputError("no such view", option="view", found=view, bound=VIEWS)
    found, values, source = _find(path, tracker, options)
    which = chosen_events({str(path): source}, events)[str(path)]
    outcomes: list[Any] = []
    where = Where(device=device)
    with (
        reconstruction(found, values, where, source, kept_for(found)) as run,
        progress() as show,
    ):
        for outcome in run(source, which):
            outcomes.append(outcome)
            show("Reconstructing", len(outcomes), len(which))
    with console.status("drawing"):
        scene = make_scene(found, source, which, outcomes, values)
        page = write_page(output, scene)
    size = page.stat().st_size / 1e6
    n = len(scene.events)
    console.print(f"wrote {page}: {n} event{'s' * (n > 1)}, {size:.1f} MB", highlight=False)
    if phoenix is not None:
        from trackserve.display.phoenix import write_phoenix

        wrote(write_phoenix(phoenix, scene))
    if png is not None:
        from trackserve.display.png import write_png

        with console.status("taking a picture"):
            write_png(png, page, view=view, dark=dark)
        wrote(png)
    if scene.identity:
        console.print(f"by {escape(scene.identity)}", highlight=False, soft_wrap=True)
    report_failures(one for one in outcomes if isinstance(one, EventError))


def _find(
    path: Path, text: str | None, given: Mapping[str, str]
) -> tuple[Tracker[Any, Any], dict[str, str], Any]:
    """A tracker, its options, and the events that it opens at ``path``.

    Args:
        path: the events.
        text: the tracker, with options after commas; None: the first that reads ``path``.
        given: more values by name of option.

    Raises:
        InputError: ``text`` names no tracker, or no tracker that is installed has these options and
            reads ``path``.
    """
    if text is not None:
        model = parse_models([text])[0]
        found = find_tracker(model.tracker)
        return found, found.complete({**model.options, **given}), found.open_events(path)
    reasons = {}
    for name in tracker_names():
        try:
            found = find_tracker(name)
            return found, found.complete(given), found.open_events(path)
        except TrackserveError as error:
            reasons[name] = str(error)
    raise InputError("no tracker reads these events", path=str(path), found=reasons)
