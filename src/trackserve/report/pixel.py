"""Validation of trackers of pixel events: tables, figures, prose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trackserve.errors import EventError, InputError
from trackserve.io import PixelEvents
from trackserve.io.pixel_directory import REFERENCE
from trackserve.io.pixel_truth import TRUTH
from trackserve.physics.pixel.matching import HIT_SHARE, HIT_WINDOW, VERTEX_WINDOW
from trackserve.physics.pixel.metrics import (
    FALSE_PULL,
    ISOLATED,
    LONG,
    MIN_VERTEX_TRACKS,
    PARAMETERS,
    PERFECT_MIN_PT,
    FindVertices,
    PixelMatches,
    PixelResult,
    PixelSummary,
    PullBin,
    match_pixel_events,
    summarize_pixel,
)
from trackserve.physics.pixel.truth import MAX_ETA, MAX_R, MAX_Z, MIN_LAYERS
from trackserve.physics.statistics import COVERAGE, with_error

from . import pixel_figures as figures
from .drawing import to_png
from .page import Picture, Section, Table
from .tables import (
    Blocks,
    Row,
    beside,
    mean_row,
    of_one,
    sections_of,
    share_row,
    width_row,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CPP = "C++ program"
"""Heading of what is compared with it."""
_CPP_TEXT = (
    "Counts beside those that the public C++ program (pixeltrack-standalone) makes on the same raw "
    "data."
)
_NO_TRUTH = f"There is no truth ({TRUTH}): only counts are compared."
MIN_IN_PULL_BIN = 200
"""Tracks in a bin whose pulls are shown: the error of a width is then below 7 %."""
_UNITS = {
    "pT": (100.0, "%"),
    "phi": (1e3, "mrad"),
    "eta": (1e3, "1e-3"),
    "tip": (1e4, "µm"),
    "zip": (1e4, "µm"),
    "vertex z": (1e4, "µm"),
}


class PixelValidation:
    """The :class:`.validation.Validation` of trackers of pixel events.

    Args:
        find_vertices: what makes vertices of perfect tracks, to show how many are attainable.
    """

    keep: tuple[str, ...] = ("hits",)

    def __init__(self, find_vertices: FindVertices | None = None) -> None:
        self._find_vertices = find_vertices

    def match(
        self, events: PixelEvents, results: Iterable[PixelResult | EventError]
    ) -> PixelMatches:
        """Compare results with the truth and with the C++ program's counts; one of them may lack.

        Args:
            events: an opened directory with ``truth.npz``, or with the C++ program's counts.
            results: with their hits; see :meth:`.validation.Validation.match`.

        Raises:
            ConditionsError: the truth or the counts are malformed.
            InputError: there are neither truth nor counts; a result has no hits, or there is no
                truth or no count for its event.
        """
        reference = events.reference_counts()
        truth = events.truth() if events.has_truth() else None
        if truth is None and reference is None:
            raise InputError(
                "nothing to compare with",
                directory=str(events.directory),
                bound=f"{TRUTH}, or {', '.join(REFERENCE)}",
            )
        return match_pixel_events(truth, results, reference, self._find_vertices)

    def blocks(self, matches: Mapping[str, PixelMatches]) -> Blocks:
        """Tables by heading. Several names are compared with the C++ program without truth only."""
        has_truth = all(one.has_truth for one in matches.values())
        each = {name: of_one(_rows(summarize_pixel(one))) for name, one in matches.items()}
        for name, blocks in each.items():
            if not has_truth:
                each[name] = {CPP: blocks[CPP]}
            elif len(each) > 1:
                blocks.pop(CPP, None)
        shown = next(iter(each.values())) if len(each) == 1 else beside(each)
        if not has_truth:
            shown[CPP] = replace(shown[CPP], caption=_NO_TRUTH)
        return shown

    def sections(self, matches: Mapping[str, PixelMatches]) -> list[Section]:
        """The report's sections."""
        blocks = self.blocks(matches)
        if not all(one.has_truth for one in matches.values()):
            return [Section(CPP, _CPP_TEXT, [blocks[CPP]])]
        if len(matches) == 1:
            return _sections(next(iter(matches.values())), blocks)
        return sections_of(blocks, _compared_pictures(matches))

    def summary(self, matches: PixelMatches) -> PixelSummary | dict[str, Any]:
        """The numbers of one comparison; without truth, its ``reference`` alone."""
        if not matches.has_truth:
            return {"reference": matches.reference}
        return summarize_pixel(matches)


def _rows(summary: PixelSummary) -> dict[str, list[Row]]:
    """Rows of (quantity, value, of) by heading."""
    n = summary.n_events
    rows = {
        "Events": [
            ["events", str(n), ""],
            mean_row("loose tracks / event", summary.tracks, n),
            mean_row(f"loose tracks of ≥ {LONG} hits / event", summary.tracks_long, n),
            mean_row("vertices / event", summary.vertices, n),
            mean_row("collisions / event", summary.collisions, n),
        ],
        "Efficiency": [
            *(share_row(f"efficiency, pT {b} GeV", f) for b, f in summary.efficiency.items()),
            *(
                share_row(f"efficiency, ≥ {LONG} layers, pT {b} GeV", f)
                for b, f in summary.efficiency_long.items()
            ),
        ],
        "Fakes and duplicates": [
            share_row("fake rate, all loose", summary.fake_rate),
            share_row(f"fake rate, ≥ {LONG} hits", summary.fake_rate_long),
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
        "Pulls": [
            *(width_row(f"{name} pull width", width) for name, width in summary.pull.items()),
            _worst_pull(summary),
        ],
        "Vertices": [
            share_row("vertex efficiency", summary.vertex_efficiency),
            share_row("vertex efficiency, isolated", summary.vertex_efficiency_isolated),
            *(
                [share_row("vertex efficiency, perfect tracks", summary.vertex_efficiency_perfect)]
                if summary.vertex_efficiency_perfect is not None
                else []
            ),
            share_row("false vertices", summary.false_vertices),
            width_row("vertex z resolution [µm]", summary.resolution["vertex z"], 1e4),
        ],
        "Hits": [
            width_row(f"hit residual, {name} [µm]", width, 1e4)
            for name, width in summary.hit_resolution.items()
        ],
    }
    if reference := summary.reference:
        m = str(reference.n_events)
        rows[CPP] = [
            ["events with the same number of modules", str(reference.modules), m],
            ["events with the same number of pixel words", str(reference.words), m],
            ["events with the same number of clusters", str(reference.clusters), m],
            _against("ntuplets", *reference.ntuplets),
            _against("vertices", *reference.vertices),
        ]
    return rows


def _filled(summary: PixelSummary) -> list[PullBin]:
    """The bins of pulls with enough tracks."""
    return [one for one in summary.pull_of_bin if one.pull[PARAMETERS[0]].count >= MIN_IN_PULL_BIN]


def _worst_pull(summary: PixelSummary) -> Row:
    """The pull of a track parameter that is farthest from 1 in a bin of |eta| and pT."""
    name = "pull width farthest from 1 in a bin"
    widths = [
        (abs(width.value - 1), f"{parameter}, |η| {one.eta}, pT {one.pt} GeV", width)
        for one in _filled(summary)
        for parameter, width in one.pull.items()
    ]
    if not widths:
        return [name, "-", "0"]
    _, where, width = max(widths)
    return [name, f"{with_error(width.value, width.error)} ({where})", str(width.count)]


def _pull_table(summary: PixelSummary) -> Table:
    """Pull widths in bins of |eta| and pT."""
    rows = [
        [
            *(one.eta, one.pt),
            *(with_error(width.value, width.error) for width in one.pull.values()),
            str(one.pull[PARAMETERS[0]].count),
        ]
        for one in _filled(summary)
    ]
    caption = f"Pull widths in bins of at least {MIN_IN_PULL_BIN} tracks."
    return Table(("|η|", "true pT [GeV]", *PARAMETERS, "of"), rows, caption, left=2)


def _against(name: str, ours: int, theirs: int) -> Row:
    change = f" ({100 * (ours / theirs - 1):+.2f} %)" if theirs else ""
    return [f"{name}, against the C++ program's", f"{ours}{change}", str(theirs)]


def _compared_pictures(matches: Mapping[str, PixelMatches]) -> dict[str, Picture]:
    """A picture of several names, by heading."""

    def draw(
        name: str, figure: Callable[[Mapping[str, PixelMatches]], Figure], caption: str
    ) -> Picture:
        return Picture(name, to_png(figure(matches)), caption)

    return {
        "Efficiency": draw(
            "efficiency", figures.compared_efficiency_figure, "Efficiency against pT and eta."
        ),
        "Fakes and duplicates": draw(
            "fakes", figures.compared_fake_figure, "Fake rate against pT and eta."
        ),
        "Pulls": draw(
            "pulls",
            figures.compared_pull_width_figure,
            f"Pull widths against the true transverse momentum; the band is {_band()}.",
        ),
        "Vertices": draw(
            "vertices",
            figures.compared_vertex_figure,
            f"Share of collisions of at least {MIN_VERTEX_TRACKS} found particles that get a "
            "vertex, against the distance to the next collision.",
        ),
    }


def _sections(matches: PixelMatches, blocks: Blocks) -> list[Section]:
    def section(title: str, text: str, *pictures: Picture, more: Sequence[Table] = ()) -> Section:
        return Section(title, text, [blocks[title], *more], pictures)

    def draw(name: str, figure: Callable[[PixelMatches], Figure], caption: str) -> Picture:
        return Picture(name, to_png(figure(matches)), caption)

    def mm(cm: float) -> str:
        return f"{10 * cm:g} mm"

    few = f"Bins with fewer than {figures.MIN_IN_BIN} tracks are left out."
    return [
        section(
            "Events",
            "Tracks, hits and vertices that were reconstructed, beside the simulated truth of the "
            f"same events. Every error is statistical, at {COVERAGE}: a Wilson score interval for "
            "a share, and for a width that of a normal distribution.",
        ),
        *([section(CPP, _CPP_TEXT)] if CPP in blocks else []),
        section(
            "Efficiency",
            f"A track matches a particle if at least {100 * HIT_SHARE:g} % of its hits are that "
            "particle's. The efficiency is the share of reconstructable particles that some loose "
            f"track matches: charged, with hits on at least {MIN_LAYERS} distinct layers, and "
            f"starting at |η| < {MAX_ETA:g}, within {MAX_Z:g} cm of the beam spot along the beam "
            f"and inside the beam pipe (r < {MAX_R:g} cm).",
            draw(
                "efficiency",
                figures.efficiency_figure,
                "Efficiency against the true transverse momentum (left) and, above "
                f"{figures.MIN_PT} GeV, against the true pseudorapidity (right; the vertical axis "
                f"starts at {figures.EFFICIENCY_FLOOR}), for particles that cross at least "
                f"{MIN_LAYERS} and at least {LONG} layers.",
            ),
        ),
        section(
            "Fakes and duplicates",
            "A fake is a loose track that matches no particle. A duplicate is a track whose "
            "particle an earlier track of the same event matches too.",
            draw(
                "fakes",
                figures.fake_figure,
                f"Share of loose tracks that are fakes, for all and for those of at least {LONG} "
                "hits, and share that are duplicates, against the track's transverse momentum and "
                "pseudorapidity.",
            ),
        ),
        section(
            "Resolutions",
            f"A resolution is half the interval that holds the central {COVERAGE} of the "
            "differences between reconstructed and true parameters at the point of closest "
            "approach to the beam spot, for all loose tracks that match a particle.",
            draw(
                "resolutions",
                figures.resolution_figure,
                f"Resolutions against the true transverse momentum, for tracks of {LONG - 1} hits "
                f"and of at least {LONG}: relative transverse momentum, azimuth, pseudorapidity, "
                "transverse and longitudinal impact parameter, and cotangent of the polar angle. "
                f"{few}",
            ),
        ),
        section(
            "Pulls",
            "A pull is the same difference over the error that the fit states. Its width, half "
            f"the interval of the central {COVERAGE}, is 1 if the errors are right and above 1 if "
            "they are too small.",
            draw(
                "pulls",
                figures.pull_figure,
                "Pulls of the five track parameters and of the vertex position (filled), "
                "normalised to 1, beside a Gaussian of width 1 (line).",
            ),
            draw(
                "pull_widths",
                figures.pull_width_figure,
                "Pull widths against the true transverse momentum, in three ranges of "
                f"pseudorapidity; the band is {_band()}. {few}",
            ),
            more=[_pull_table(summarize_pixel(matches))],
        ),
        section(
            "Vertices",
            "Each vertex is assigned to the collision nearest to it along the beam, within "
            f"{mm(VERTEX_WINDOW)}; a collision keeps the nearest vertex assigned to it. The "
            f"efficiency is taken over collisions with at least {MIN_VERTEX_TRACKS} found "
            f"particles, and once more over those of them more than {mm(ISOLATED)} from the next. "
            "Perfect tracks are the true parameters of the particles that cross at least "
            f"{LONG} layers and have at least {PERFECT_MIN_PT:g} GeV, with the errors "
            "of tracks like them: their vertices, by the same finder, are what is attainable. "
            f"A false vertex is farther than {mm(VERTEX_WINDOW)} and {FALSE_PULL:g} of its errors "
            "from every collision.",
            draw(
                "vertices",
                figures.vertex_figure,
                "Position of vertices along the beam relative to their collisions (left); share of "
                "collisions that get a vertex, against the number of particles of the collision "
                "that are found (right).",
            ),
        ),
        section(
            "Hits",
            "Each hit is compared with the true hit nearest to it on the same module, within "
            f"{mm(HIT_WINDOW)}; background hits are left out.",
            draw(
                "hits",
                figures.hit_figure,
                "Hit position relative to the true one in the module's frame, across the pixel "
                f"rows (x, left) and along the columns (y, right), with {COVERAGE} half-widths.",
            ),
        ),
    ]


def _band() -> str:
    return "{} to {}".format(*figures.PULL_BAND)
