"""Figures of the physics performance of pixel tracking, from the tables of :mod:`.metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm.columns import Array
from trackserve.physics.pixel.metrics import PARAMETERS, Matches
from trackserve.physics.statistics import Width, with_error

from .drawing import (
    BLUE,
    GREY,
    MARKER_SIZE,
    RED,
    fractions,
    legend_in,
    log_axis,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PT_EDGES = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 7, 10, 15])
"""GeV."""
ETA_EDGES = np.linspace(-2.5, 2.5, 21)
MIN_PT = 0.7
"""GeV; particles and tracks in figures against eta are above it."""


def efficiency_figure(matches: Matches) -> Figure:
    """Efficiency against true pT and eta, for at least 3 and at least 4 layers."""
    particles = matches.particles.take(matches.particles.reconstructable)
    figure, (left, right) = new_figure(1, 2)
    for at_least, colour, marker in ((4, RED, "s"), (3, BLUE, "o")):
        chosen = particles.take(particles.n_layers >= at_least)
        label = f"≥ {at_least} layers"
        fractions(left, PT_EDGES, chosen.pt, chosen.found, label, colour, marker, log=True)
        chosen = chosen.take(chosen.pt > MIN_PT)
        fractions(right, ETA_EDGES, chosen.eta, chosen.found, label, colour, marker)
    pt_axis(left, "true $p_T$ [GeV]")
    right.set(xlabel=r"true $\eta$", title=f"$p_T$ > {MIN_PT} GeV")
    for axes in (left, right):
        axes.set(ylabel="efficiency")
    left.set_ylim(0, 1.05)
    right.set_ylim(0.5, 1.025)
    left.legend(loc="lower right", frameon=False)
    return figure


def fake_figure(matches: Matches) -> Figure:
    """Fake and duplicate rates against the track's pT and eta."""
    figure, (left, right) = new_figure(1, 2)
    tracks = matches.tracks
    long = tracks.take(tracks.n_hits >= 4)
    for chosen, wrong, label, colour, marker in (
        (tracks, ~tracks.matched, "fakes, all loose tracks", BLUE, "o"),
        (long, ~long.matched, "fakes, ≥ 4 hits", RED, "s"),
        (tracks, tracks.duplicate, "duplicates", GREY, "^"),
    ):
        fractions(left, PT_EDGES, chosen.pt, wrong, label, colour, marker, log=True)
        fractions(right, ETA_EDGES, chosen.eta, wrong, label, colour, marker)
    pt_axis(left, "track $p_T$ [GeV]")
    right.set(xlabel=r"track $\eta$")
    for axes in (left, right):
        axes.set(ylabel="share of tracks")
        axes.set_ylim(bottom=0)
    left.legend(loc="upper left", frameon=False)
    return figure


def pull_figure(matches: Matches) -> Figure:
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


def pull_width_figure(matches: Matches) -> Figure:
    """Pull widths of the five parameters against true pT, in ranges of eta."""
    matched = matches.tracks.take(matches.tracks.matched)
    figure, axes = new_figure(2, 3)
    for panel, name, pull in zip(axes.flat, PARAMETERS, matched.pull.T, strict=False):
        for (low, high), colour, marker in zip(
            ((0, 0.8), (0.8, 1.5), (1.5, 2.5)), (BLUE, RED, GREY), "os^", strict=True
        ):
            eta = np.abs(matched.eta)
            chosen = (eta >= low) & (eta < high)
            label = rf"{low} ≤ |$\eta$| < {high}"
            widths(panel, matched.true_pt[chosen], pull[chosen], label, colour, marker)
        pull_axis(panel, name)
    legend_in(axes[1, 2], axes[0, 0])
    return figure


def resolution_figure(matches: Matches) -> Figure:
    """68 % half-widths of the residuals against true pT."""
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
        for at_least, most, label, colour, marker in (
            (3, 3, "3 hits", RED, "s"),
            (4, 5, "≥ 4 hits", BLUE, "o"),
        ):
            chosen = (matched.n_hits >= at_least) & (matched.n_hits <= most)
            widths(panel, matched.true_pt[chosen], values[chosen], label, colour, marker)
        panel.set(ylabel=f"{title} resolution [{unit}]")
        panel.set_ylim(bottom=0)
        pt_axis(panel, "true $p_T$ [GeV]")
    axes[0, 1].legend(frameon=False)
    return figure


def vertex_figure(matches: Matches) -> Figure:
    """Distribution of vertex residuals, and vertex efficiency against found particles."""
    collisions = matches.collisions
    figure, (left, right) = new_figure(1, 2)
    edges = np.linspace(-300, 300, 61)
    residual = 1e4 * collisions.residual[collisions.found]
    counts = np.histogram(residual, edges)[0]
    left.stairs(counts, edges, fill=True, color=BLUE, alpha=0.35)
    left.stairs(counts, edges, color=BLUE)
    left.set(
        xlabel="vertex z - true z [µm]",
        ylabel=f"vertices / {edges[1] - edges[0]:g} µm",
        xlim=(-300, 300),
        title=f"68 % half-width {_half_width(residual)} µm",
    )
    edges = np.array([0.5, 1.5, 2.5, 3.5, 5.5, 8.5, 12.5, 18.5, 26.5, 40.5])
    fractions(right, edges, collisions.n_found, collisions.found, "", BLUE, "o")
    right.set(xlabel="found particles of the collision", ylabel="vertex efficiency")
    right.set(xlim=(0, 41), ylim=(0, 1.05))
    return figure


def hit_figure(matches: Matches) -> Figure:
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


def widths(axes: Axes, pt: Array, values: Array, label: str, colour: str, marker: str) -> None:
    """68 % half-widths of ``values`` in bins of pT that have at least 20 of them."""
    edges = PT_EDGES[::2]
    inside = (pt >= edges[:-1, None]) & (pt < edges[1:, None])
    widths = [Width.of(values[chosen]) for chosen in inside]
    filled = [i for i, width in enumerate(widths) if width.count >= 20]
    axes.errorbar(
        np.sqrt(edges[:-1] * edges[1:])[filled],
        [widths[i].value for i in filled],
        [widths[i].error for i in filled],
        fmt=f"{marker}-",
        color=colour,
        label=label,
        linewidth=1,
        ms=MARKER_SIZE,
    )


def pt_axis(axes: Axes, label: str) -> None:
    """A logarithmic axis of pT."""
    log_axis(axes, label, (0.3, 0.5, 1, 2, 5, 10), PT_EDGES[0], PT_EDGES[-1])


def pull_axis(axes: Axes, name: str) -> None:
    """Axes of the pull width of the parameter ``name`` against pT."""
    axes.axhspan(0.9, 1.1, color=GREY, alpha=0.15, lw=0)
    axes.set(ylabel=f"{_pretty(name)} pull width", ylim=(0.5, 1.9))
    pt_axis(axes, "true $p_T$ [GeV]")


def _pretty(name: str) -> str:
    return {"phi": r"$\phi$", "q/pT": r"$q/p_T$", "cot(theta)": r"cot $\theta$"}.get(name, name)


def _half_width(values: Array) -> str:
    width = Width.of(values)
    return with_error(width.value, width.error)
