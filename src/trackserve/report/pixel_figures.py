"""Figures of the physics performance of pixel tracking.

They are drawn from the tables of :mod:`trackserve.physics.pixel.metrics`: those of one
configuration, or of several beside each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm.columns import Array
from trackserve.physics.pixel.metrics import (
    LONG,
    MIN_VERTEX_TRACKS,
    PARAMETERS,
    PULL_ETA_BINS,
    PixelMatches,
)
from trackserve.physics.pixel.truth import MAX_ETA, MIN_LAYERS
from trackserve.physics.statistics import COVERAGE, Width, with_error

from .drawing import (
    BLUE,
    GREY,
    MARKER_SIZE,
    RED,
    Style,
    fractions,
    legend_in,
    log_axis,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PT_EDGES = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 7, 10, 20])
"""GeV."""
ETA_EDGES = np.linspace(-MAX_ETA, MAX_ETA, 21)
ISOLATION_EDGES = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3, 2, 4])
"""mm."""
MIN_PT = 0.7
"""GeV. Figures against eta show particles above it."""
EFFICIENCY_FLOOR = 0.5
"""Where the axis of the efficiency against eta starts."""
PULL_BAND = (0.9, 1.1)
"""What a good pull width lies in."""
MIN_IN_BIN = 20
"""A width is drawn for a bin of at least this many tracks."""
_VERTEX_RANGE = 300
"""um, of the residuals that are shown."""


def efficiency_figure(matches: PixelMatches) -> Figure:
    """Efficiency against true pT and eta, for all particles and for long ones."""
    particles = matches.particles.take(matches.particles.reconstructable)
    figure, (left, right) = new_figure(1, 2)
    for at_least, colour, marker in ((LONG, RED, "s"), (MIN_LAYERS, BLUE, "o")):
        chosen = particles.take(particles.n_layers >= at_least)
        style = Style(f"≥ {at_least} layers", colour, marker)
        fractions(left, PT_EDGES, chosen.pt, chosen.found, style, log=True)
        chosen = chosen.take(chosen.pt > MIN_PT)
        fractions(right, ETA_EDGES, chosen.eta, chosen.found, style)
    _pt_axis(left, "true $p_T$ [GeV]")
    right.set(xlabel=r"true $\eta$", title=f"$p_T$ > {MIN_PT} GeV")
    for axes in (left, right):
        axes.set(ylabel="efficiency")
    left.set_ylim(0, 1.05)
    right.set_ylim(EFFICIENCY_FLOOR, 1.025)
    left.legend(loc="lower right", frameon=False)
    return figure


def fake_figure(matches: PixelMatches) -> Figure:
    """Fake and duplicate rates against the track's pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    tracks = matches.tracks
    long = tracks.take(tracks.n_hits >= LONG)
    for chosen, wrong, style in (
        (tracks, ~tracks.matched, Style("fakes, all loose tracks", BLUE, "o")),
        (long, ~long.matched, Style(f"fakes, ≥ {LONG} hits", RED, "s")),
        (tracks, tracks.duplicate, Style("duplicates", GREY, "^")),
    ):
        fractions(left, PT_EDGES, chosen.pt, wrong, style, log=True)
        fractions(right, ETA_EDGES, chosen.eta, wrong, style)
    _pt_axis(left, "track $p_T$ [GeV]")
    right.set(xlabel=r"track $\eta$")
    for axes in (left, right):
        axes.set(ylabel="share of tracks")
        axes.set_ylim(bottom=0)
    left.legend(loc="upper left", frameon=False)
    return figure


def pull_figure(matches: PixelMatches) -> Figure:
    """Distributions of the five pulls and of the vertices', beside a unit Gaussian."""
    matched = matches.tracks.take(matches.tracks.matched)
    pulls = {name: matched.pull[:, i] for i, name in enumerate(PARAMETERS)}
    pulls["vertex z"] = matches.collisions.pull[matches.collisions.found]
    figure, axes = new_figure(2, 3)
    edges = np.linspace(-5, 5, 51)
    centres = (edges[1:] + edges[:-1]) / 2
    gauss = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
    for panel, (name, values) in zip(axes.flat, pulls.items(), strict=True):
        density = np.histogram(values, edges)[0] / max(len(values), 1) / (edges[1] - edges[0])
        panel.stairs(density, edges, fill=True, color=BLUE, alpha=0.35, label="reconstructed")
        panel.stairs(density, edges, color=BLUE)
        panel.plot(centres, gauss, color=RED, label="unit Gaussian")
        panel.set(title=f"{_pretty(name)}:  width {_half_width(values)}", xlim=(-5, 5))
        panel.set_ylim(0, 1.3 * max(0.4, density.max()))
    for panel in axes[1]:
        panel.set_xlabel("(reconstructed - true) / error")
    for panel in axes[:, 0]:
        panel.set_ylabel("density")
    axes[0, 0].legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def pull_width_figure(matches: PixelMatches) -> Figure:
    """Pull widths of the five parameters against true pT, in ranges of eta."""
    matched = matches.tracks.take(matches.tracks.matched)
    figure, axes = new_figure(2, 3)
    for panel, name, pull in zip(axes.flat, PARAMETERS, matched.pull.T, strict=False):
        for (low, high), colour, marker in zip(
            itertools.pairwise(PULL_ETA_BINS), (BLUE, RED, GREY), "os^", strict=True
        ):
            eta = np.abs(matched.eta)
            chosen = (eta >= low) & (eta < high)
            style = Style(rf"{low:g} ≤ |$\eta$| < {high:g}", colour, marker)
            _widths(panel, matched.true_pt[chosen], pull[chosen], style)
        _pull_axis(panel, name)
    legend_in(axes[1, 2], axes[0, 0])
    return figure


def resolution_figure(matches: PixelMatches) -> Figure:
    """Resolutions against true pT, for short and for long tracks."""
    matched = matches.tracks.take(matches.tracks.matched)
    figure, axes = new_figure(2, 3)
    for panel, title, unit, values in (
        (axes[0, 0], "$p_T$", "%", 100 * matched.pt_residual),
        (axes[0, 1], r"$\phi$", "mrad", 1e3 * matched.residual[:, 0]),
        (axes[0, 2], r"$\eta$", r"$10^{-3}$", 1e3 * matched.eta_residual),
        (axes[1, 0], "tip", "µm", 1e4 * matched.residual[:, 1]),
        (axes[1, 1], "zip", "µm", 1e4 * matched.residual[:, 4]),
        (axes[1, 2], r"cot $\theta$", r"$10^{-3}$", 1e3 * matched.residual[:, 3]),
    ):
        long = matched.n_hits >= LONG
        for chosen, style in (
            (~long, Style(f"{LONG - 1} hits", RED, "s")),
            (long, Style(f"≥ {LONG} hits", BLUE, "o")),
        ):
            _widths(panel, matched.true_pt[chosen], values[chosen], style)
        panel.set(ylabel=f"{title} resolution [{unit}]")
        panel.set_ylim(bottom=0)
        _pt_axis(panel, "true $p_T$ [GeV]")
    axes[0, 1].legend(frameon=False)
    return figure


def vertex_figure(matches: PixelMatches) -> Figure:
    """Distribution of vertex residuals, and vertex efficiency against found particles."""
    collisions = matches.collisions
    figure, (left, right) = new_figure(1, 2)
    edges = np.linspace(-_VERTEX_RANGE, _VERTEX_RANGE, 61)
    residual = 1e4 * collisions.residual[collisions.found]
    counts = np.histogram(residual, edges)[0]
    left.stairs(counts, edges, fill=True, color=BLUE, alpha=0.35)
    left.stairs(counts, edges, color=BLUE)
    left.set(
        xlabel="vertex z - true z [µm]",
        ylabel=f"vertices / {edges[1] - edges[0]:g} µm",
        xlim=(-_VERTEX_RANGE, _VERTEX_RANGE),
        title=f"{COVERAGE} half-width {_half_width(residual)} µm",
    )
    edges = np.array([0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 18.5, 26.5, 40.5])
    style = Style("", BLUE, "o")
    fractions(right, edges, collisions.n_found, collisions.found, style)
    right.set(xlabel="found particles of the collision", ylabel="vertex efficiency")
    right.set(xlim=(0, 41), ylim=(0, 1.05))
    return figure


def hit_figure(matches: PixelMatches) -> Figure:
    """Distributions of hit residuals in local x and y, for barrel and endcaps."""
    hits = matches.hits
    figure, axes = new_figure(1, 2)
    edges = np.linspace(-100, 100, 81)
    for panel, name, values in zip(
        axes, "xy", (1e4 * hits.x_residual, 1e4 * hits.y_residual), strict=True
    ):
        for chosen, label, colour in (
            (hits.barrel, "barrel", BLUE),
            (~hits.barrel, "endcaps", RED),
        ):
            density = np.histogram(values[chosen], edges)[0] / max(int(chosen.sum()), 1)
            width = _half_width(values[chosen])
            panel.stairs(density, edges, color=colour, lw=1.5, label=f"{label}: {width} µm")
        panel.set(xlabel=f"local {name}, hit - true [µm]", ylabel="share of hits", xlim=(-100, 100))
        panel.legend(loc="upper left", frameon=False)
        panel.set_ylim(0, 1.3 * panel.get_ylim()[1])
    return figure


def compared_efficiency_figure(matches: Mapping[str, PixelMatches]) -> Figure:
    """Efficiency of each configuration against true pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    for style, one in styled(matches):
        chosen = one.particles.take(one.particles.reconstructable)
        fractions(left, PT_EDGES, chosen.pt, chosen.found, style, log=True)
        chosen = chosen.take(chosen.pt > MIN_PT)
        fractions(right, ETA_EDGES, chosen.eta, chosen.found, style)
    _pt_axis(left, "true $p_T$ [GeV]")
    left.set(ylabel="efficiency", ylim=(0, 1.05))
    left.legend(loc="lower right", frameon=False)
    right.set(xlabel=r"true $\eta$", ylim=(0.8, 1.01), title=f"$p_T$ > {MIN_PT} GeV")
    return figure


def compared_fake_figure(matches: Mapping[str, PixelMatches]) -> Figure:
    """Fake rate of each configuration against the track's pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    for style, one in styled(matches):
        fake = ~one.tracks.matched
        fractions(left, PT_EDGES, one.tracks.pt, fake, style, log=True)
        fractions(right, ETA_EDGES, one.tracks.eta, fake, style)
    _pt_axis(left, "track $p_T$ [GeV]")
    left.set(ylabel="share of tracks that are fakes")
    left.legend(loc="upper left", frameon=False)
    right.set(xlabel=r"track $\eta$")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    return figure


def compared_pull_width_figure(matches: Mapping[str, PixelMatches]) -> Figure:
    """Pull widths of each configuration against true pT."""
    figure, axes = new_figure(2, 3)
    for number, (panel, name) in enumerate(zip(axes.flat, PARAMETERS, strict=False)):
        for style, one in styled(matches):
            matched = one.tracks.take(one.tracks.matched)
            _widths(panel, matched.true_pt, matched.pull[:, number], style)
        _pull_axis(panel, name)
    legend_in(axes[1, 2], axes[0, 0])
    return figure


def compared_vertex_figure(matches: Mapping[str, PixelMatches]) -> Figure:
    """Vertex efficiency of each configuration against isolation, and vertex residuals."""
    figure, (left, right) = new_figure(1, 2)
    edges = np.linspace(-_VERTEX_RANGE, _VERTEX_RANGE, 61)
    for style, one in styled(matches):
        visible = one.collisions.take(one.collisions.n_found >= MIN_VERTEX_TRACKS)
        fractions(left, ISOLATION_EDGES, 10 * visible.isolation, visible.found, style)
        residual = 1e4 * one.collisions.residual[one.collisions.found]
        counts = np.histogram(residual, edges)[0]
        right.stairs(counts, edges, color=style.colour, label=style.label)
    left.set(xlabel="distance to the next collision [mm]", ylabel="vertex efficiency")
    left.set_ylim(0, 1.05)
    left.legend(loc="lower right", frameon=False)
    right.set(
        xlabel="vertex z - true z [µm]",
        ylabel=f"vertices / {edges[1] - edges[0]:g} µm",
        xlim=(-_VERTEX_RANGE, _VERTEX_RANGE),
    )
    return figure


def _widths(axes: Axes, pt: Array, values: Array, style: Style) -> None:
    """Draw the width of ``values`` in the bins of pT that are filled."""
    edges = PT_EDGES[::2]
    inside = (pt >= edges[:-1, None]) & (pt < edges[1:, None])
    widths = [Width.of(values[chosen]) for chosen in inside]
    filled = [i for i, width in enumerate(widths) if width.count >= MIN_IN_BIN]
    axes.errorbar(
        np.sqrt(edges[:-1] * edges[1:])[filled],
        [widths[i].value for i in filled],
        [widths[i].error for i in filled],
        fmt=f"{style.marker}-",
        color=style.colour,
        label=style.label,
        linewidth=1,
        ms=MARKER_SIZE,
    )


def _pt_axis(axes: Axes, label: str) -> None:
    """Make the x axis a logarithmic axis of pT."""
    log_axis(axes, label, (0.3, 0.5, 1, 2, 5, 10), PT_EDGES[0], PT_EDGES[-1])


def _pull_axis(axes: Axes, name: str) -> None:
    """Make the axes those of the pull width of the parameter ``name`` against pT."""
    axes.axhspan(*PULL_BAND, color=GREY, alpha=0.15, lw=0)
    axes.set(ylabel=f"{_pretty(name)} pull width", ylim=(0.5, 1.9))
    _pt_axis(axes, "true $p_T$ [GeV]")


def _pretty(name: str) -> str:
    return {"phi": r"$\phi$", "q/pT": r"$q/p_T$", "cot(theta)": r"cot $\theta$"}.get(name, name)


def _half_width(values: Array) -> str:
    width = Width.of(values)
    return with_error(width.value, width.error)
