"""Validation of trackers of space points: tables, figures, prose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from trackserve.edm import PointsEvent
from trackserve.errors import EventError
from trackserve.physics.points.fits import PARAMETERS, Widths
from trackserve.physics.points.graph import MIN_POINTS, GraphQuality
from trackserve.physics.points.metrics import (
    FIELD,
    GRAPHS,
    Majority,
    PointsMatches,
    PointsResult,
    PointsSummary,
    match_points_events,
    summarize_points,
)
from trackserve.physics.points.truth import CENTRAL_ETA, wanted_in
from trackserve.physics.statistics import COVERAGE, with_error

from . import points_figures as figures
from .drawing import to_png
from .page import Picture, Section, Table
from .points_figures import STAGE_NAMES
from .tables import (
    Blocks,
    Row,
    beside,
    mean_row,
    number,
    of_one,
    sections_of,
    share_row,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOST = "Where particles are lost"
_GRAPHS = "Graphs"
_HELICES = "Helices"
_GRAPH_COLUMNS = ("after", "edges / point", "efficiency", "purity", "same particle")


class PointsValidation:
    """The :class:`.validation.Validation` of trackers of space points.

    Any tracker will do whose result has ``candidates``. A result that also has labels or kept
    edges says where particles are lost; without them this part is left out.
    """

    keep: tuple[str, ...] = tuple(GRAPHS.values())

    def match(
        self, events: Sequence[PointsEvent], results: Iterable[PointsResult | EventError]
    ) -> PointsMatches:
        """Compare results with the truth of their events; events that failed are left out.

        Their detector says which particles are reconstructable, :func:`.wanted_in`.

        Args:
            events: with truth; those that failed are not read.
            results: see :class:`.PointsResult` and :meth:`.validation.Validation.match`.

        Raises:
            InputError: an event has no truth, or does not fit its result.
        """
        wanted = wanted_in(getattr(events, "detector", None))
        return match_points_events(events, results, wanted)

    def blocks(self, matches: Mapping[str, PointsMatches]) -> Blocks:
        """Tables by heading. The graphs of several names are not compared."""
        each = {name: summarize_points(one) for name, one in matches.items()}
        if len(each) > 1:
            return beside({name: of_one(_rows(summary)) for name, summary in each.items()})
        (summary,) = each.values()
        blocks = of_one(_rows(summary))
        if summary.graphs:
            blocks[_GRAPHS] = Table(
                _GRAPH_COLUMNS, [_graph_row(*graph) for graph in summary.graphs.items()]
            )
        return blocks

    def sections(self, matches: Mapping[str, PointsMatches]) -> list[Section]:
        """The report's sections."""
        blocks = self.blocks(matches)
        if len(matches) == 1:
            return _sections(next(iter(matches.values())), blocks)
        return sections_of(blocks, _compared_pictures(matches))

    def summary(self, matches: PointsMatches) -> PointsSummary:
        """The numbers of one comparison."""
        return summarize_points(matches)


def _rows(summary: PointsSummary) -> dict[str, list[Row]]:
    """Rows of (quantity, value, of) by heading."""
    n = summary.n_events
    score = with_error(summary.trackml_score, summary.trackml_score_error)
    rows = {
        "Events": [
            ["events", str(n), ""],
            mean_row("space points / event", summary.points, n),
            mean_row("tracks / event", summary.tracks, n),
            ["TrackML score", score, str(n)],
        ],
        "Efficiency": [
            *_majority_rows(f"efficiency, |η| < {summary.wanted.max_eta:g}", summary.efficiency),
            *_majority_rows(f"efficiency, |η| < {CENTRAL_ETA:g}", summary.efficiency_eta_3),
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
    }
    if summary.helices.relative_pt.count:
        rows[_HELICES] = _helix_rows(summary.helices)
    if len(summary.left) > 1:
        rows[LOST] = [
            share_row(f"left after {STAGE_NAMES[stage]}", share)
            for stage, share in summary.left.items()
        ]
    return rows


def _helix_rows(widths: Widths) -> list[Row]:
    units = ("mm", "mm", "rad", "rad", "1/GeV")
    found = {"resolution of pT, relative": widths.relative_pt}
    for name, unit in zip(PARAMETERS, units, strict=True):
        found[f"resolution of {name}, {unit}"] = widths.residual[name]
    for name in PARAMETERS:
        found[f"pull of {name}"] = widths.pull[name]
    return [[k, with_error(v.value, v.error), str(v.count)] for k, v in found.items()]


def _majority_rows(name: str, share: Majority) -> list[Row]:
    return [
        share_row(f"{name} (double)", share.double),
        share_row(f"{name} (single)", share.single),
    ]


def _graph_row(stage: str, graph: GraphQuality) -> Row:
    return [
        STAGE_NAMES[stage],
        number(graph.edges_per_point, 2),
        with_error(graph.efficiency.value, graph.efficiency.error),
        number(graph.purity.value, 3),
        number(graph.same_particle.value, 3),
    ]


def _compared_pictures(matches: Mapping[str, PointsMatches]) -> dict[str, Picture]:
    """A picture of several names, by heading."""
    return {
        "Efficiency": Picture(
            "efficiency",
            to_png(figures.compared_efficiency_figure(matches)),
            "Efficiency by double majority against true pT and eta; the right axis need not start "
            "at 0.",
        ),
        "Fakes and duplicates": Picture(
            "fakes",
            to_png(figures.compared_fake_figure(matches)),
            "Share of tracks of which no particle has more than half of the points.",
        ),
    }


def _sections(matches: PointsMatches, blocks: Blocks) -> list[Section]:
    wanted = matches.wanted

    def section(title: str, text: str, *pictures: Picture) -> Section:
        return Section(title, text, [blocks[title]], pictures)

    def draw(name: str, figure: Callable[[PointsMatches], Figure], caption: str) -> Picture:
        return Picture(name, to_png(figure(matches)), caption)

    sections = [
        section(
            "Events",
            f"Track candidates of at least {MIN_POINTS} points, beside the simulated truth of the "
            f"same events. Every error is statistical, at {COVERAGE}: a Wilson score interval for "
            "a share.",
        ),
        section(
            "Efficiency",
            "A particle is reconstructable if it is a charged primary of "
            f"pT > {wanted.min_pt:g} GeV and |η| < {wanted.max_eta:g} that starts within "
            f"{wanted.max_radius:g} mm of the beam and leaves points on at least "
            f"{wanted.min_layers} layers. A track matches a particle by single majority if more "
            "than half of its points are the particle's, and by double majority if also more than "
            "half of the particle's points are on it. The efficiency is the share of "
            "reconstructable particles that some track matches.",
            draw(
                "efficiency",
                figures.efficiency_figure,
                "Efficiency against transverse momentum, pseudorapidity, distance of the start "
                "from the beam and number of space points of the event. In the panels of momentum "
                "and of start, the cut on that quantity is lifted; the band is what it excludes. "
                "The other vertical axes need not start at 0.",
            ),
        ),
        section(
            "Fakes and duplicates",
            "A fake by single majority is a track of which no particle, reconstructable or not, "
            "has more than half of the points. A fake by double majority is any track that matches "
            "none so: these, and tracks with half of a particle or less. A duplicate is a track "
            "whose particle, by single majority, has a better one. Tracks of particles that are "
            "not reconstructable, most often too soft, are no fakes.",
            draw(
                "fakes",
                figures.fake_figure,
                "Share of tracks that are wrong, against the momentum that their curvature would "
                f"have at {FIELD:g} T, their direction and their number of points.",
            ),
        ),
    ]
    if _HELICES in blocks:
        sections.append(
            section(
                _HELICES,
                "Helices of tracks that match, by double majority, a reconstructable particle of "
                f"|η| < {CENTRAL_ETA:g}, beside its own where it passes the z axis. Each row is "
                "half of the interval that holds the central 68 %: of the residual, and of the "
                "residual over its error (pull), which is 1 if the errors are honest.",
            )
        )
    if LOST in blocks:
        sections.append(_lost(blocks, draw))
    return sections


def _lost(blocks: Blocks, draw: Callable[..., Picture]) -> Section:
    graphs = [blocks[_GRAPHS]] if _GRAPHS in blocks else []
    return Section(
        LOST,
        "After a graph a particle is left if a perfect later stage could still find it: its own "
        f"points, joined by the edges between them, have a part of at least {MIN_POINTS} points "
        "and more than half of all. After the components and for the candidates it is left if one "
        "matches it by double majority. Components may be shorter than a candidate, and a "
        "candidate may be a piece of a component, so the last step can also gain."
        + (
            " Of each graph: its edges per space point; the share of pairs of consecutive points "
            "of reconstructable particles that are edges (efficiency); the share of edges that "
            "are such pairs, of any particle (purity); the share within one particle."
            if graphs
            else " The graphs themselves are known only where they are made on this machine."
        ),
        [blocks[LOST], *graphs],
        [
            draw(
                "stages",
                figures.stage_figure,
                "Reconstructable particles that are lost after each stage (left), and the share "
                "that is left against transverse momentum and pseudorapidity. The vertical axes "
                "need not start at 0.",
            )
        ],
    )
