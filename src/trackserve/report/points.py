"""Validation of a learned tracker as a table, a report and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from trackserve.edm import PointsEvent
from trackserve.physics.points.graph import GraphQuality
from trackserve.physics.points.metrics import (
    Majority,
    PointsMatches,
    PointsSummary,
    match_points_events,
    summarize_points,
)
from trackserve.physics.statistics import with_error

from . import points_figures
from .drawing import to_png
from .page import (
    Picture,
    Section,
    Table,
    write_report,
)
from .points_figures import STAGE_NAMES
from .tables import (
    COLUMNS,
    Blocks,
    beside,
    blocks_table,
    mean_row,
    share_row,
)

_GRAPH_COLUMNS = ("after", "edges / point", "efficiency", "purity", "same particle")


class PointsValidation:
    """For trackers whose results have ``candidates`` of space points."""

    def __init__(self, keep: tuple[str, ...] = ()) -> None:
        self.keep = keep

    def match(self, events: Iterable[PointsEvent], results: Iterable[Any]) -> PointsMatches:
        """See :class:`.validation.Validation`."""
        return match_points_events(events, results)

    def tables(self, matches: Mapping[str, PointsMatches]) -> list[RichTable]:
        """The numbers for a terminal."""
        if len(matches) == 1:
            return points_tables(summarize_points(*matches.values()))
        return [compared_table(matches)]

    def write(self, output: Path, title: str, matches: Mapping[str, PointsMatches]) -> Path:
        """Write the report, its figures and ``summary.json``."""
        if len(matches) == 1:
            return write_points_report(output, title, *matches.values())
        return write_compared_report(output, title, matches)


def points_tables(summary: PointsSummary) -> list[RichTable]:
    """The numbers for a terminal: physics, and the graphs where there are any."""
    title = f"Physics performance, {summary.n_events} events"
    tables = [blocks_table(title, COLUMNS, points_blocks(summary))]
    if summary.graphs:
        rows = {"": _graph_rows(summary)}
        tables.append(blocks_table("Graphs", _GRAPH_COLUMNS, rows))
    return tables


def compared_table(matches: Mapping[str, PointsMatches]) -> RichTable:
    """The numbers of each model beside each other, for a terminal."""
    return blocks_table("Physics performance", ("quantity", *matches), _compared(matches))


def write_points_report(output: str | Path, title: str, matches: PointsMatches) -> Path:
    """Write ``report.html``, its figures and ``summary.json`` to the directory ``output``.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    summary = summarize_points(matches)
    page = write_report(output, title, list(_sections(matches, summary)))
    _write_json(page, summary.as_json())
    return page


def write_compared_report(
    output: str | Path, title: str, matches: Mapping[str, PointsMatches]
) -> Path:
    """The same for models beside each other, of the same events; ``summary.json`` by model.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pictures = {
        "Efficiency": Picture(
            "efficiency",
            to_png(points_figures.compared_efficiency_figure(matches)),
            "Efficiency by double majority against true pT and eta; the right axis need not start "
            "at 0.",
        ),
        "Fakes and duplicates": Picture(
            "fakes",
            to_png(points_figures.compared_fake_figure(matches)),
            "Share of tracks of which no particle has more than half of the points.",
        ),
    }
    header = ("quantity", *matches)
    page = write_report(
        output,
        title,
        [
            Section(
                heading,
                tables=[Table(header, rows)],
                pictures=[pictures[heading]] if heading in pictures else [],
            )
            for heading, rows in _compared(matches).items()
        ],
    )
    _write_json(page, {name: summarize_points(one).as_json() for name, one in matches.items()})
    return page


def points_blocks(summary: PointsSummary) -> Blocks:
    """Rows of (quantity, value, of) by heading."""
    n = summary.n_events
    return {
        "Events": [
            ["events", str(n), ""],
            mean_row("space points / event", summary.points, n),
            mean_row("tracks / event", summary.tracks, n),
            [
                "TrackML score",
                with_error(summary.trackml_score, summary.trackml_score_error),
                str(n),
            ],
        ],
        "Efficiency": [
            *_majority_rows("efficiency, |η| < 4", summary.efficiency),
            *_majority_rows("efficiency, |η| < 3", summary.efficiency_eta_3),
            *(
                share_row(f"efficiency (double), pT {name} GeV", share.double)
                for name, share in summary.efficiency_by_pt.items()
            ),
        ],
        "Fakes and duplicates": [
            share_row("fake rate (single): of no particle", summary.fake_rate.single),
            share_row("fake rate (double): or less than half of one", summary.fake_rate.double),
            share_row("duplicate rate", summary.duplicate_rate),
            share_row("tracks of particles that are not reconstructable", summary.other_rate),
        ],
        "Where particles are lost": [
            share_row(f"left after {STAGE_NAMES[stage]}", share)
            for stage, share in summary.left.items()
        ],
    }


def _majority_rows(name: str, share: Majority) -> list[list[str]]:
    return [
        share_row(f"{name} (double)", share.double),
        share_row(f"{name} (single)", share.single),
    ]


def _graph_rows(summary: PointsSummary) -> list[list[str]]:
    def row(stage: str, graph: GraphQuality) -> list[str]:
        return [
            STAGE_NAMES[stage],
            f"{graph.edges_per_point:.2f}",
            with_error(graph.efficiency.value, graph.efficiency.error),
            f"{graph.purity.value:.3f}",
            f"{graph.same_particle.value:.3f}",
        ]

    return [row(stage, graph) for stage, graph in summary.graphs.items()]


def _compared(matches: Mapping[str, PointsMatches]) -> Blocks:
    return beside({name: points_blocks(summarize_points(one)) for name, one in matches.items()})


def _write_json(page: Path, summary: object) -> None:
    text = json.dumps(summary, indent=1) + "\n"
    page.with_name("summary.json").write_text(text, encoding="utf-8")


def _sections(matches: PointsMatches, summary: PointsSummary) -> Iterator[Section]:
    blocks = points_blocks(summary)

    def table(heading: str) -> Table:
        return Table(COLUMNS, blocks[heading])

    yield Section(
        "Events",
        "Track candidates of at least three points, beside the simulated truth of the same "
        "events. Every error is statistical, at 68 %: a Wilson score interval for a share.",
        [table("Events")],
    )
    yield Section(
        "Efficiency",
        "A particle is reconstructable if it is a charged primary of pT > 1 GeV and |η| < 4 that "
        "starts within 2 mm of the beam and leaves points on at least 5 layers. A track matches "
        "a particle by single majority if more than half of its points are the particle's, and "
        "by double majority if also more than half of the particle's points are on it. The "
        "efficiency is the share of reconstructable particles that some track matches.",
        [table("Efficiency")],
        [
            Picture(
                "efficiency",
                to_png(points_figures.efficiency_figure(matches)),
                "Efficiency against transverse momentum, pseudorapidity, distance of the start "
                "from the beam and number of space points of the event. In the panels of momentum "
                "and of start, the cut on that quantity is lifted; the band is what it excludes. "
                "The other vertical axes need not start at 0.",
            )
        ],
    )
    yield Section(
        "Fakes and duplicates",
        "A fake by single majority is a track of which no particle, reconstructable or not, has "
        "more than half of the points. A fake by double majority is any track that matches none "
        "so: these, and tracks with half of a particle or less. A duplicate is a track whose "
        "particle, by single majority, has a better one. Tracks of particles that are not "
        "reconstructable, most often too soft, are no fakes.",
        [table("Fakes and duplicates")],
        [
            Picture(
                "fakes",
                to_png(points_figures.fake_figure(matches)),
                "Share of tracks that are wrong, against the momentum that their curvature "
                "would have at 2 T, their direction and their number of points.",
            )
        ],
    )
    graphs = [Table(_GRAPH_COLUMNS, _graph_rows(summary))] if summary.graphs else []
    yield Section(
        "Where particles are lost",
        "After a graph a particle is left if a perfect later stage could still find it: its own "
        "points, joined by the edges between them, have a part of at least three points and more "
        "than half of all. After the components and for the candidates it is left if one matches "
        "it by double majority. Components may be shorter than a candidate, and a candidate may "
        "be a piece of a component, so the last step can also gain."
        + (
            " Of each graph: its edges per space point; the share of pairs of consecutive points "
            "of reconstructable particles that are edges (efficiency); the share of edges that "
            "are such pairs, of any particle (purity); the share within one particle."
            if graphs
            else " The graphs themselves are known only where they are made on this machine."
        ),
        [table("Where particles are lost"), *graphs],
        [
            Picture(
                "stages",
                to_png(points_figures.stage_figure(matches)),
                "Reconstructable particles that are lost after each stage (left), and the share "
                "that is left against transverse momentum and pseudorapidity. The vertical axes "
                "need not start at 0.",
            )
        ],
    )
