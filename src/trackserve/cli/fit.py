"""``trackserve fit``: candidates of stored events to fitted tracks, by ACTS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

import trackserve
from trackserve.errors import EventError

from .common import Progress, beside_main, console, counts_table, progress, report_failures, wrote

if TYPE_CHECKING:
    from trackserve.edm import TrackCandidates
    from trackserve.integration.acts import TrackFitter
    from trackserve.integration.acts.result import FitResult
    from trackserve.io import MeasurementsFile


def fit(
    events: Annotated[
        Path,
        typer.Argument(
            metavar="EVENTS",
            help="Directory of `simulate points`.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    candidates: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATES",
            help="File of `reconstruct` for these events.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.parquet", help="File to write.")
    ] = Path("tracks.parquet"),
    min_measurements: Annotated[
        int, typer.Option(min=3, help="Least measurements of a track.")
    ] = 7,
) -> None:
    """Fit candidates of space points by ACTS' Kalman filter, then resolve ambiguities.

    OUT.parquet has one row per event, like the file of `reconstruct`. Its tracks have d0, z0, phi,
    theta, q_over_p at the point where they pass the z axis, their covariance, chi2, and the fitted
    points. Needs the extra acts; docs/acts.md has the details.
    """
    from trackserve.integration.acts import TrackFitter
    from trackserve.integration.acts.result import FitResult
    from trackserve.io import CandidatesFile, MeasurementsFile
    from trackserve.io.parquet import write_parquet

    found = CandidatesFile(candidates)
    measured = MeasurementsFile(events)
    fitter = TrackFitter(min_measurements)
    counts: Counter[str] = Counter()
    failed: list[EventError] = []

    def outcomes(show: Progress) -> Iterator[FitResult | EventError]:
        for done, (number, some) in enumerate(found, 1):
            outcome = _fit(fitter, measured, number, some)
            if isinstance(outcome, EventError):
                failed.append(outcome)
            else:
                counts.update(asdict(outcome.counts))
            yield outcome
            show("Fitting", done, len(found))

    about = {
        "version": trackserve.__version__,
        "events": str(events),
        "candidates": str(candidates),
        "identity": found.about.get("identity", ""),
        "min_measurements": str(min_measurements),
    }
    with progress() as bar:
        beside_main(lambda show: write_parquet(output, outcomes(show), FitResult, about=about), bar)
    console.print(counts_table(counts, len(found) - len(failed)))
    wrote(output)
    if about["identity"]:
        text = f"candidates by {escape(about['identity'])}"
        console.print(text, highlight=False, soft_wrap=True)
    report_failures(failed)


def _fit(
    fitter: TrackFitter,
    measured: MeasurementsFile,
    number: int,
    candidates: TrackCandidates | EventError,
) -> FitResult | EventError:
    """The fitted tracks of an event, or its error."""
    from trackserve.integration.acts.result import FitCounts, FitResult

    if isinstance(candidates, EventError):
        return candidates
    try:
        measurements = measured.of(number)
        tracks = fitter.fit(measurements, candidates, number)
    except EventError as error:
        return error
    counts = FitCounts(len(measurements), len(candidates), len(tracks))
    return FitResult(number, counts, tracks)
