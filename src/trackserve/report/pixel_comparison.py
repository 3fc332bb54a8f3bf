"""Configurations of a pipeline beside each other, on the same events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.table import Table as RichTable

from trackserve.physics.pixel.metrics import (
    MIN_VERTEX_TRACKS,
    PARAMETERS,
    Matches,
    summarize,
)

from . import drawing
from . import pixel_figures as plots
from .page import (
    Picture,
    Section,
    Table,
    write_report,
)
from .pixel import (
    compare_with_reference,
    match_directory,
    summary_blocks,
    summary_table,
    write_report_of,
)
from .tables import Blocks, beside, blocks_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trackserve.io import PixelEvents
    from trackserve.physics.pixel.metrics import ReferenceComparison

_ISOLATION_EDGES = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3, 2, 4])
"""mm."""


def comparison_table(matches: Mapping[str, Matches]) -> RichTable:
    """The numbers of each configuration, for a terminal."""
    return blocks_table("Physics performance", ("quantity", *matches), _blocks(matches))


def write_comparison_report(
    output: str | Path, directory: str | Path, matches: Mapping[str, Matches]
) -> Path:
    """Write ``report.html`` and its figures to the directory ``output``.

    Args:
        output: is made where needed.
        directory: the data directory that the events were read from.
        matches: by configuration, of the same events.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    blocks = _blocks(matches)
    header = ("quantity", *matches)
    pictures = {
        "Efficiency": ("efficiency", efficiency_figure, "Efficiency against pT and eta."),
        "Fakes and duplicates": ("fakes", fake_figure, "Fake rate against pT and eta."),
        "Pulls": (
            "pulls",
            pull_width_figure,
            "Pull widths against the true transverse momentum; the band is 0.9 to 1.1.",
        ),
        "Vertices": (
            "vertices",
            vertex_figure,
            f"Share of collisions of at least {MIN_VERTEX_TRACKS} found particles that get a "
            "vertex, against the distance to the next collision.",
        ),
    }
    sections = []
    for title, rows in blocks.items():
        drawn = []
        if title in pictures:
            name, figure, caption = pictures[title]
            drawn.append(Picture(name, drawing.to_png(figure(matches)), caption))
        sections.append(Section(title, tables=[Table(header, rows)], pictures=drawn))
    title = f"{' and '.join(matches)} on {Path(directory).resolve().name}"
    return write_report(output, title, sections)


def efficiency_figure(matches: Mapping[str, Matches]) -> Figure:
    """Efficiency of each configuration against true pT and eta."""
    figure, (left, right) = drawing.new_figure(1, 2)
    for name, one, colour, marker in drawing.styled(matches):
        chosen = one.particles.take(one.particles.reconstructable)
        drawing.fractions(
            left, plots.PT_EDGES, chosen.pt, chosen.found, name, colour, marker, log=True
        )
        chosen = chosen.take(chosen.pt > plots.MIN_PT)
        drawing.fractions(right, plots.ETA_EDGES, chosen.eta, chosen.found, name, colour, marker)
    plots.pt_axis(left, "true $p_T$ [GeV]")
    left.set(ylabel="efficiency", ylim=(0, 1.05))
    left.legend(loc="lower right", frameon=False)
    right.set(xlabel=r"true $\eta$", ylim=(0.8, 1.01), title=f"$p_T$ > {plots.MIN_PT} GeV")
    return figure


def fake_figure(matches: Mapping[str, Matches]) -> Figure:
    """Fake rate of each configuration against the track's pT and eta."""
    figure, (left, right) = drawing.new_figure(1, 2)
    for name, one, colour, marker in drawing.styled(matches):
        tracks = one.tracks
        fake = ~tracks.matched
        drawing.fractions(left, plots.PT_EDGES, tracks.pt, fake, name, colour, marker, log=True)
        drawing.fractions(right, plots.ETA_EDGES, tracks.eta, fake, name, colour, marker)
    plots.pt_axis(left, "track $p_T$ [GeV]")
    left.set(ylabel="share of tracks that are fakes")
    left.legend(loc="upper left", frameon=False)
    right.set(xlabel=r"track $\eta$")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    return figure


def pull_width_figure(matches: Mapping[str, Matches]) -> Figure:
    """Pull widths of each configuration against true pT."""
    figure, axes = drawing.new_figure(2, 3)
    for number, (panel, name) in enumerate(zip(axes.flat, PARAMETERS, strict=False)):
        for config, one, colour, marker in drawing.styled(matches):
            matched = one.tracks.take(one.tracks.matched)
            pull = matched.pull[:, number]
            plots.widths(panel, matched.true_pt, pull, config, colour, marker)
        plots.pull_axis(panel, name)
    drawing.legend_in(axes[1, 2], axes[0, 0])
    return figure


def vertex_figure(matches: Mapping[str, Matches]) -> Figure:
    """Vertex efficiency of each configuration against isolation, and vertex residuals."""
    figure, (left, right) = drawing.new_figure(1, 2)
    edges = np.linspace(-300, 300, 61)
    for name, one, colour, marker in drawing.styled(matches):
        visible = one.collisions.take(one.collisions.n_found >= MIN_VERTEX_TRACKS)
        gap = 10 * visible.isolation
        drawing.fractions(left, _ISOLATION_EDGES, gap, visible.found, name, colour, marker)
        residual = 1e4 * one.collisions.residual[one.collisions.found]
        right.stairs(np.histogram(residual, edges)[0], edges, color=colour, label=name)
    left.set(xlabel="distance to the next collision [mm]", ylabel="vertex efficiency")
    left.set_ylim(0, 1.05)
    left.legend(loc="lower right", frameon=False)
    right.set(xlabel="vertex z - true z [µm]", ylabel="vertices / 10 µm", xlim=(-300, 300))
    return figure


def _blocks(matches: Mapping[str, Matches]) -> Blocks:
    return beside({name: summary_blocks(summarize(one)) for name, one in matches.items()})


class PixelRun(NamedTuple):
    """One run beside the truth, and beside the C++ program's counts where these are known."""

    directory: Path
    matches: Matches
    reference: ReferenceComparison | None


class PixelValidation:
    """For trackers whose results have ``tracks`` of pixels, ``vertices`` and ``hits``."""

    keep = ("hits",)

    def match(self, events: PixelEvents, results: Iterable[Any]) -> PixelRun:
        """See :class:`.validation.Validation`."""
        results = list(results)
        reference = compare_with_reference(events.directory, results)
        return PixelRun(events.directory, match_directory(events.directory, results), reference)

    def tables(self, matches: Mapping[str, PixelRun]) -> list[RichTable]:
        """The numbers for a terminal."""
        if len(matches) == 1:
            (run,) = matches.values()
            return [summary_table(summarize(run.matches), run.reference)]
        return [comparison_table({name: run.matches for name, run in matches.items()})]

    def write(self, output: Path, title: str, matches: Mapping[str, PixelRun]) -> Path:
        """Write the report and its figures."""
        if len(matches) == 1:
            (run,) = matches.values()
            return write_report_of(output, title, run.matches, run.reference)
        runs = {name: run.matches for name, run in matches.items()}
        (directory, *_) = (run.directory for run in matches.values())
        return write_comparison_report(output, directory, runs)
