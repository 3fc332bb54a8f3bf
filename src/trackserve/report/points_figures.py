"""Figures of the physics performance of trackers of space points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm.columns import Array
from trackserve.physics.points.metrics import FIELD, STAGES, ParticleTable, PointsMatches
from trackserve.physics.points.truth import STANDARD, Wanted
from trackserve.physics.statistics import Fraction

from .drawing import (
    BLUE,
    GREY,
    RED,
    Style,
    fractions,
    log_axis,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PT_EDGES = np.array([0.3, 0.4, 0.5, 0.65, 0.8, 1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 7, 10, 15, 30])
"""GeV."""
ETA_EDGES = np.linspace(-STANDARD.max_eta, STANDARD.max_eta, 25)
RADIUS_EDGES = np.array([0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 40, 80, 160, 320])
"""mm."""
LENGTH_EDGES = np.arange(2.5, 22)
STAGE_NAMES = {
    "radius": "radius graph",
    "filter": "filter",
    "gnn": "graph network",
    "components": "components",
    "candidates": "candidates",
}
_SHADES = ("#9dbdd9", "#5f95c2", BLUE, "#e0a08a", RED)
"""A colour for each stage: graphs in blue, what is made of them in red."""
_TRACK_PT = f"track $p_T$ at {FIELD:g} T [GeV]"


def efficiency_figure(matches: PointsMatches) -> Figure:
    """Efficiency by single and double majority against pT, eta, start and size of the event."""
    figure, ((by_pt, by_eta), (by_radius, by_points)) = new_figure(2, 2)
    particles, wanted = matches.particles, matches.wanted
    chosen = particles.take(particles.reconstructable)
    for name, style in (
        ("single", Style("single majority", GREY, "^")),
        ("double", Style("double majority", BLUE, "o")),
    ):
        _against_pt(by_pt, matches, name, style)
        found = getattr(chosen, name)
        fractions(by_eta, ETA_EDGES, chosen.eta, found, style)
        anywhere = _without(particles, wanted, "radius")
        start = np.maximum(anywhere.radius, RADIUS_EDGES[0])
        fractions(by_radius, RADIUS_EDGES, start, getattr(anywhere, name), style, log=True)
        fractions(by_points, _size_edges(chosen), chosen.event_points / 1e3, found, style)
    _pt_axis(by_pt, "true $p_T$ [GeV]")
    by_pt.axvspan(PT_EDGES[0], wanted.min_pt, color=GREY, alpha=0.12, lw=0)
    by_eta.set(xlabel=r"true $\eta$")
    log_axis(by_radius, "start, distance from the beam [mm]", (0.01, 0.1, 1, 10, 100), 0.01, 320)
    by_radius.axvspan(wanted.max_radius, RADIUS_EDGES[-1], color=GREY, alpha=0.12, lw=0)
    by_points.set(xlabel="space points of the event / 1000")
    floor = _floor(Fraction.of(chosen.double))
    for axes, low in ((by_pt, 0), (by_eta, floor), (by_radius, 0), (by_points, floor)):
        axes.set(ylabel="efficiency", ylim=(low, 1 + 0.05 * (1 - low)))
    by_pt.legend(loc="lower right", frameon=False)
    return figure


def fake_figure(matches: PointsMatches) -> Figure:
    """Fakes, splinters and duplicates against the pT, eta and length of the track."""
    figure, (by_pt, by_eta, by_length) = new_figure(1, 3)
    tracks = matches.tracks
    for wrong, style in (
        (~tracks.double, Style("no double majority", GREY, "^")),
        (~tracks.single, Style("fakes: no majority", RED, "s")),
        (tracks.duplicate, Style("duplicates", BLUE, "o")),
    ):
        fractions(by_pt, PT_EDGES, tracks.pt, wrong, style, log=True)
        fractions(by_eta, ETA_EDGES, tracks.eta, wrong, style)
        fractions(by_length, LENGTH_EDGES, tracks.n_points, wrong, style)
    _pt_axis(by_pt, _TRACK_PT)
    by_eta.set(xlabel=r"track $\eta$")
    by_length.set(xlabel="points of the track")
    by_pt.set(ylabel="share of tracks")
    for axes in (by_pt, by_eta, by_length):
        axes.set_ylim(bottom=0)
    by_length.legend(loc="upper right", frameon=False)
    return figure


def stage_figure(matches: PointsMatches) -> Figure:
    """Particles that are left after each stage: in all, against pT and against eta."""
    figure, (bars, by_pt, by_eta) = new_figure(1, 3)
    chosen = matches.particles.take(matches.particles.reconstructable)
    stages = matches.stages
    shares = [Fraction.of(chosen.left_after(stage)) for stage in stages]
    lost = [1 - share.value if share.total else 0.0 for share in shares]
    colours = [_SHADES[STAGES.index(stage)] for stage in stages]
    row = np.arange(len(stages))
    drawn = bars.barh(row, 100 * np.array(lost), color=colours)
    bars.bar_label(drawn, fmt="%.2f", padding=3, fontsize=9)
    bars.set_yticks(row, [STAGE_NAMES[stage] for stage in stages])
    bars.invert_yaxis()
    bars.set(xlabel="particles lost so far [%]", xlim=(0, 125 * max(*lost, 1e-3)))
    bars.grid(axis="y", visible=False)
    for stage, colour in zip(stages, colours, strict=True):
        left = chosen.left_after(stage)
        style = Style(STAGE_NAMES[stage], colour, "o")
        fractions(by_pt, PT_EDGES, chosen.pt, left, style, log=True)
        fractions(by_eta, ETA_EDGES, chosen.eta, left, style)
    floor = min(map(_floor, shares))
    log_axis(by_pt, "true $p_T$ [GeV]", (1, 2, 5, 10, 20), matches.wanted.min_pt, PT_EDGES[-1])
    by_eta.set(xlabel=r"true $\eta$")
    by_pt.set(ylabel="share of particles left")
    for axes in (by_pt, by_eta):
        axes.set_ylim(floor, 1 + 0.05 * (1 - floor))
    by_pt.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def compared_efficiency_figure(matches: Mapping[str, PointsMatches]) -> Figure:
    """Efficiency (double majority) of each model against pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    for style, one in styled(matches):
        _against_pt(left, one, "double", style)
        chosen = one.particles.take(one.particles.reconstructable)
        fractions(right, ETA_EDGES, chosen.eta, chosen.double, style)
    _pt_axis(left, "true $p_T$ [GeV]")
    right.set(xlabel=r"true $\eta$")
    left.set(ylabel="efficiency, double majority", ylim=(0, 1.05))
    floor = min(
        _floor(Fraction.of(one.particles.double[one.particles.reconstructable]))
        for one in matches.values()
    )
    right.set(ylim=(floor, 1 + 0.05 * (1 - floor)))
    left.legend(loc="lower right", frameon=False)
    return figure


def compared_fake_figure(matches: Mapping[str, PointsMatches]) -> Figure:
    """Fake rate (single majority) of each model against the track's pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    for style, one in styled(matches):
        tracks = one.tracks
        fractions(left, PT_EDGES, tracks.pt, ~tracks.single, style, log=True)
        fractions(right, ETA_EDGES, tracks.eta, ~tracks.single, style)
    _pt_axis(left, _TRACK_PT)
    left.set(ylabel="share of tracks that are fakes")
    left.legend(loc="upper right", frameon=False)
    right.set(xlabel=r"track $\eta$")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    return figure


def _against_pt(axes: Axes, matches: PointsMatches, name: str, style: Style) -> None:
    """Draw the efficiency against true pT, below the cut on it too."""
    chosen = _without(matches.particles, matches.wanted, "pt")
    fractions(axes, PT_EDGES, chosen.pt, getattr(chosen, name), style, log=True)


def _without(particles: ParticleTable, wanted: Wanted, cut: str) -> ParticleTable:
    """Particles that pass every cut except ``cut``."""
    chosen = np.abs(particles.eta) < wanted.max_eta
    if cut != "pt":
        chosen &= particles.pt > wanted.min_pt
    if cut != "radius":
        chosen &= particles.radius < wanted.max_radius
    return particles.take(chosen)


def _floor(share: Fraction) -> float:
    """Return the start of an axis that shows how bins of a share near 1 differ; at most 0.9."""
    start = math.floor(10 - 40 * (1 - share.value)) / 10 if share.total else 0.0
    return min(max(start, 0.0), 0.9)


def _size_edges(particles: ParticleTable) -> Array:
    """Six bins of the events' sizes, in 1000 points."""
    sizes = particles.event_points / 1e3
    if not len(sizes):
        return np.array([0.0, 1.0])
    edges: Array = np.linspace(0.98 * sizes.min(), 1.02 * sizes.max(), 7)
    return edges


def _pt_axis(axes: Axes, label: str) -> None:
    log_axis(axes, label, (0.3, 0.5, 1, 2, 5, 10, 30), PT_EDGES[0], PT_EDGES[-1])
