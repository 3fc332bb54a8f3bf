"""``trackserve validate``: is the physics right?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trackserve.errors import EventError
from trackserve.trackers.base import Tracker
from trackserve.wire.identity import UNCHECKED

from .common import (
    Progress,
    Where,
    console,
    facts_of,
    progress,
    reconstruction,
    report_failures,
    report_folder,
    wrote,
)
from .grammar import Device, FallBack, Identity, InFlight, Served, Threads, Url, add_commands

commands = typer.Typer(no_args_is_help=True, help="Compare with the truth: numbers and plots.")


def validate(
    tracker: Tracker[Any, Any],
    options: dict[str, str],
    path: Path,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write a report here.", show_default=False
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VARIANT",
            help="Compare with another configuration or model, on this machine.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    url: Url = None,
    served: Served = None,
    in_flight: InFlight = None,
    identity: Identity = None,
    fallback: FallBack = False,
) -> None:
    """Print efficiency, fakes, duplicates and resolutions: results beside the truth of the events.

    docs/validation.md has the definitions.
    """
    from trackserve.report.validation import tables, write_validation

    validation = tracker.validation()
    keep = [name for name in validation.keep if name in tracker.result.intermediates()]
    events = tracker.open_events(path)
    subject = f"{tracker.name} on {events.name}"
    if output is not None:
        report_folder(output, subject)
    where = Where(url, served, in_flight, device, threads, identity, fallback)
    n = len(events)
    failed: list[str] = []
    matches = {}
    identities: dict[str, str] = {}
    variants = _variants(tracker, options, against, where)
    for name, values in variants.items():

        def noting(outcomes: Iterable[Any], show: Progress, name: str = name) -> Iterator[Any]:
            for done, outcome in enumerate(outcomes, 1):
                if isinstance(outcome, EventError):
                    failed.append(f"{name}: {outcome}" if against else str(outcome))
                else:
                    identities[name] = outcome.identity or UNCHECKED
                yield outcome
                show(name, done, n)

        with reconstruction(tracker, values, where, events, keep) as run, progress() as show:
            matches[name] = validation.match(events, noting(run(events, range(n)), show))
    for table in tables(validation, matches):
        console.print(table)
    for identity in identities.values():
        console.print(f"by {escape(identity)}", highlight=False, soft_wrap=True)
    if output is not None:
        title = f"{' and '.join(matches)} on {events.name}"
        with console.status("drawing"):
            report = write_validation(
                output,
                title,
                validation,
                matches,
                subject=subject,
                identities=identities,
                about=facts_of(events, path, where, variants),
            )
        wrote(report)
    report_failures(failed)


def _variants(
    tracker: Tracker[Any, Any], options: dict[str, str], against: str | None, where: Where
) -> dict[str, dict[str, str]]:
    """Names of what is compared, and the options of each."""
    if where.url is not None:
        if against is not None:
            raise typer.BadParameter("--against compares on this machine: leave out --url")
        return {f"{where.served or tracker.name} at {where.url}": options}
    if tracker.variant is None:
        if against is not None:
            raise typer.BadParameter(f"{tracker.name} has no variants to compare")
        return {tracker.name: options}
    variants = (
        [options[tracker.variant]]
        if against is None
        else [
            against,
            options[tracker.variant],
        ]
    )
    return {f"{tracker.name} {v}": options | {tracker.variant: v} for v in variants}


add_commands(commands, validate)
