"""Validate the Patatrack pipeline on a data directory: numbers, a table, a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table as RichTable

from trackserve.errors import EventError
from trackserve.io import read_reference_counts
from trackserve.physics.pixel.metrics import (
    Matches,
    PhysicsSummary,
    PixelResult,
    ReferenceComparison,
    compare_counts,
    match_events,
    summarize,
)
from trackserve.physics.pixel.truth import read_truth

from . import drawing
from . import pixel_figures as plots
from .page import (
    Picture,
    Section,
    Table,
    write_report,
)
from .tables import (
    COLUMNS,
    Blocks,
    blocks_table,
    mean_row,
    share_row,
    width_row,
)

Results = Iterable[PixelResult | EventError]

_UNITS = {
    "pT": (100.0, "%"),
    "phi": (1e3, "mrad"),
    "eta": (1e3, "1e-3"),
    "tip": (1e4, "µm"),
    "zip": (1e4, "µm"),
    "vertex z": (1e4, "µm"),
}


def match_directory(directory: str | Path, results: Results) -> Matches:
    """The tables of :func:`.match_events`; events that failed are left out.

    Args:
        directory: the data directory that the events were read from.
        results: reconstructed with ``keep=("hits",)``.

    Raises:
        ConditionsError: the truth is missing or malformed.
        InputError: a result has no hits, or no truth.
    """
    return match_events(_reconstructed(results), read_truth(directory))


def validate_patatrack(directory: str | Path, results: Results) -> PhysicsSummary:
    """Compare results with ``truth.npz`` of ``directory``; events that failed are left out.

    Args:
        directory: the data directory that the events were read from.
        results: reconstructed with ``keep=("hits",)``.

    Raises:
        ConditionsError: the truth is missing or malformed.
        InputError: a result has no hits, or no truth.
    """
    return summarize(match_directory(directory, results))


def compare_with_reference(directory: str | Path, results: Results) -> ReferenceComparison | None:
    """Compare counts with the C++ program's of ``directory``; None if it has none.

    Raises:
        ConditionsError: the counts are malformed.
        InputError: there are none for an event.
    """
    reference = read_reference_counts(directory)
    return compare_counts(_reconstructed(results), reference) if reference else None


def summary_table(
    summary: PhysicsSummary, reference: ReferenceComparison | None = None
) -> RichTable:
    """The numbers of ``summary`` for a terminal."""
    title = f"Physics performance, {summary.n_events} events"
    return blocks_table(title, COLUMNS, summary_blocks(summary, reference))


def write_validation_report(output: str | Path, directory: str | Path, results: Results) -> Path:
    """Write ``report.html`` and its figures to the directory ``output``.

    Args:
        output: is made where needed.
        directory: the data directory that the events were read from.
        results: reconstructed with ``keep=("hits",)``.

    Returns:
        The path of ``report.html``.

    Raises:
        ConditionsError: the truth or the reference counts are missing or malformed.
        InputError: a result has no hits, or no truth.
        MissingExtraError: matplotlib is not installed.
    """
    results = list(results)
    matches = match_directory(directory, results)
    title = f"Patatrack pixel tracking on {Path(directory).resolve().name}"
    return write_report_of(output, title, matches, compare_with_reference(directory, results))


def write_report_of(
    output: str | Path, title: str, matches: Matches, reference: ReferenceComparison | None
) -> Path:
    """The same, from what is matched already."""
    blocks = summary_blocks(summarize(matches), reference)
    return write_report(output, title, list(_sections(matches, blocks)))


def summary_blocks(summary: PhysicsSummary, reference: ReferenceComparison | None = None) -> Blocks:
    """Rows of (quantity, value, of) by heading."""
    n = summary.n_events
    blocks = {
        "Events": [
            ["events", str(n), ""],
            mean_row("loose tracks / event", summary.tracks, n),
            mean_row("loose tracks of ≥ 4 hits / event", summary.tracks_4_hits, n),
            mean_row("vertices / event", summary.vertices, n),
            mean_row("collisions / event", summary.collisions, n),
        ],
        "Efficiency": [
            *(share_row(f"efficiency, pT {b} GeV", f) for b, f in summary.efficiency.items()),
            *(
                share_row(f"efficiency, ≥ 4 layers, pT {b} GeV", f)
                for b, f in summary.efficiency_4_layers.items()
            ),
        ],
        "Fakes and duplicates": [
            share_row("fake rate, all loose", summary.fake_rate),
            share_row("fake rate, ≥ 4 hits", summary.fake_rate_4_hits),
            share_row("duplicate rate", summary.duplicate_rate),
        ],
        "Resolutions": [
            *(
                width_row(f"{name} resolution [{_UNITS[name][1]}]", width, _UNITS[name][0])
                for name, width in summary.resolution.items()
                if name != "vertex z"
            ),
            share_row("charge correct", summary.charge_correct),
        ],
        "Pulls": [width_row(f"{name} pull width", width) for name, width in summary.pull.items()],
        "Vertices": [
            share_row("vertex efficiency", summary.vertex_efficiency),
            share_row("vertex efficiency, isolated", summary.vertex_efficiency_isolated),
            share_row("false vertices", summary.false_vertices),
            width_row("vertex z resolution [µm]", summary.resolution["vertex z"], 1e4),
        ],
        "Hits": [
            width_row(f"hit residual, {name} [µm]", width, 1e4)
            for name, width in summary.hit_resolution.items()
        ],
    }
    if reference:
        m = reference.n_events
        blocks["C++ program"] = [
            ["events with the same number of modules", str(reference.modules), str(m)],
            ["events with the same number of digis", str(reference.digis), str(m)],
            ["events with the same number of clusters", str(reference.clusters), str(m)],
            _against("ntuplets", *reference.ntuplets),
            _against("vertices", *reference.vertices),
        ]
    return blocks


def _sections(matches: Matches, blocks: Blocks) -> Iterator[Section]:
    def tables(name: str) -> list[Table]:
        return [Table(COLUMNS, blocks[name])] if name in blocks else []

    yield Section(
        "Events",
        "Tracks, hits and vertices that were reconstructed, beside the simulated truth of the "
        "same events. Every error is statistical, at 68 %: a Wilson score interval for a "
        "share, and for a width that of a normal distribution.",
        tables("Events"),
    )
    if "C++ program" in blocks:
        yield Section(
            "C++ program",
            "Counts beside those that the public C++ program (pixeltrack-standalone) makes on "
            "the same raw data.",
            tables("C++ program"),
        )
    yield Section(
        "Efficiency",
        "A track matches a particle if at least 75 % of its hits are that particle's. The "
        "efficiency is the share of reconstructable particles that some loose track matches: "
        "charged, with hits on at least 3 distinct layers, and starting at |η| < 2.5, within 12 cm "
        "of the beam spot along the beam and inside the beam pipe (r < 2 cm).",
        tables("Efficiency"),
        [
            Picture(
                "efficiency",
                drawing.to_png(plots.efficiency_figure(matches)),
                "Efficiency against the true transverse momentum (left) and, above "
                f"{plots.MIN_PT} GeV, against the true pseudorapidity (right; the vertical axis "
                "starts at 0.5), for particles that cross at least 3 and at least 4 layers.",
            )
        ],
    )
    yield Section(
        "Fakes and duplicates",
        "A fake is a loose track that matches no particle. A duplicate is a track whose "
        "particle an earlier track of the same event matches too.",
        tables("Fakes and duplicates"),
        [
            Picture(
                "fakes",
                drawing.to_png(plots.fake_figure(matches)),
                "Share of loose tracks that are fakes, for all and for those of at least 4 hits, "
                "and share that are duplicates, against the track's transverse momentum and "
                "pseudorapidity.",
            )
        ],
    )
    yield Section(
        "Resolutions",
        "A resolution is half the interval that holds the central 68 % of the differences "
        "between reconstructed and true parameters at the point of closest approach to the "
        "beam spot, for all loose tracks that match a particle.",
        tables("Resolutions"),
        [
            Picture(
                "resolutions",
                drawing.to_png(plots.resolution_figure(matches)),
                "Resolutions against the true transverse momentum, for tracks of 3 hits and of "
                "at least 4: relative transverse momentum, azimuth, pseudorapidity, transverse "
                "and longitudinal impact parameter, and cotangent of the polar angle. Bins with "
                "fewer than 20 tracks are left out.",
            )
        ],
    )
    yield Section(
        "Pulls",
        "A pull is the same difference over the error that the fit states. Its width, half the "
        "interval of the central 68 %, is 1 if the errors are right and above 1 if they are "
        "too small.",
        tables("Pulls"),
        [
            Picture(
                "pulls",
                drawing.to_png(plots.pull_figure(matches)),
                "Pulls of the five track parameters and of the vertex position (filled), "
                "normalised to 1, beside a Gaussian of width 1 (line).",
            ),
            Picture(
                "pull_widths",
                drawing.to_png(plots.pull_width_figure(matches)),
                "Pull widths against the true transverse momentum, in three ranges of "
                "pseudorapidity; the band is 0.9 to 1.1. Bins with fewer than 20 tracks are left "
                "out.",
            ),
        ],
    )
    yield Section(
        "Vertices",
        "Each vertex is assigned to the collision nearest to it along the beam, within 0.5 mm; "
        "a collision keeps the nearest vertex assigned to it. The efficiency is taken over "
        "collisions with at least 3 found particles, and once more over those of them more than "
        "0.5 mm from the next. A false vertex is farther than 0.5 mm and three of its errors from "
        "every collision.",
        tables("Vertices"),
        [
            Picture(
                "vertices",
                drawing.to_png(plots.vertex_figure(matches)),
                "Position of vertices along the beam relative to their collisions (left); share "
                "of collisions that get a vertex, against the number of particles of the collision "
                "that are found (right).",
            )
        ],
    )
    yield Section(
        "Hits",
        "Each hit is compared with the true hit nearest to it on the same module, within "
        "0.5 mm; background hits are left out.",
        tables("Hits"),
        [
            Picture(
                "hits",
                drawing.to_png(plots.hit_figure(matches)),
                "Hit position relative to the true one in the module's frame, across the pixel "
                "rows (x, left) and along the columns (y, right), with 68 % half-widths.",
            )
        ],
    )


def _against(name: str, ours: int, theirs: int) -> list[str]:
    change = f" ({100 * (ours / theirs - 1):+.2f} %)" if theirs else ""
    return [f"{name}, against the C++ program's", f"{ours}{change}", str(theirs)]


def _reconstructed(results: Results) -> list[PixelResult]:
    return [result for result in results if not isinstance(result, EventError)]
