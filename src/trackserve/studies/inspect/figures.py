"""Figures of what a data directory holds, from a :class:`.survey.Survey`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trackserve.detectors.phase1.geometry import MODULES_PER_LADDER
from trackserve.detectors.phase1.layout import LAYER_START, N_BARREL_LAYERS
from trackserve.edm.columns import Array
from trackserve.physics.statistics import Width, with_error
from trackserve.report.drawing import (
    BLUE,
    GREY,
    MARKER_SIZE,
    RED,
    new_figure,
)

from .survey import (
    LAYER_NAMES,
    PIXELS_PER_MODULE,
    TRACK_PT,
    ClusterTable,
    Survey,
    is_barrel,
    most_probable,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LAYER_COLOURS = ("#12344f", BLUE, "#5b9bc8", "#a9cbe3")
_MIN_FILLED = 30
"""A profile shows bins of at least this many clusters."""


def size_figure(survey: Survey) -> Figure:
    """Distributions of the events' sizes and numbers of hits."""
    figure, (left, right) = new_figure(1, 2)
    for axes, values, label in (
        (left, survey.events.size / 1000, "size of the raw event [kB]"),
        (right, survey.events.hits / 1000, "hits per event [thousands]"),
    ):
        counts, edges = np.histogram(values, bins=min(40, max(5, len(values) // 4)))
        axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.35)
        axes.stairs(counts, edges, color=BLUE)
        axes.set(xlabel=label, ylabel="events")
        if len(values):
            axes.axvline(values.mean(), color=RED, lw=1.2)
            axes.set_title(f"mean {values.mean():.1f}")
        axes.set_ylim(bottom=0)
    return figure


def occupancy_figure(survey: Survey) -> Figure:
    """Share of pixels that fire, by layer and along the barrel."""
    figure, (left, right) = new_figure(1, 2)
    per_module = survey.module_digis / (max(len(survey.events), 1) * PIXELS_PER_MODULE)
    by_layer = np.add.reduceat(per_module, LAYER_START[:-1]) / np.diff(LAYER_START)
    colours = [BLUE] * N_BARREL_LAYERS + [RED] * (len(by_layer) - N_BARREL_LAYERS)
    left.barh(np.arange(len(by_layer))[::-1], 1e3 * by_layer, color=colours, height=0.7)
    left.set_yticks(np.arange(len(by_layer))[::-1], LAYER_NAMES)
    left.grid(visible=False, axis="y")
    left.set(xlabel="pixels that fire [‰]")
    for layer in range(N_BARREL_LAYERS):
        chosen = slice(LAYER_START[layer], LAYER_START[layer + 1])
        z = survey.position[chosen, 2].reshape(-1, MODULES_PER_LADDER).mean(axis=0)
        occupancy = per_module[chosen].reshape(-1, MODULES_PER_LADDER).mean(axis=0)
        right.plot(
            *(z, 1e3 * occupancy),
            *("o-",),
            color=_LAYER_COLOURS[layer],
            label=LAYER_NAMES[layer],
            linewidth=1,
            ms=MARKER_SIZE,
        )
    right.set(xlabel="z of the module [cm]", ylabel="pixels that fire [‰]")
    right.set_ylim(0, 1.25 * right.get_ylim()[1])
    right.legend(loc="upper center", ncols=4, frameon=False, fontsize=8, columnspacing=1)
    return figure


def charge_figure(clusters: ClusterTable) -> Figure:
    """Distribution of the cluster charge, corrected for the angle, by layer."""
    figure, axes = new_figure(1, 2)
    edges = np.linspace(0, 60, 121)
    barrel = is_barrel(clusters) & ~clusters.edge
    layers = [
        (barrel & (clusters.layer == layer), LAYER_NAMES[layer], _LAYER_COLOURS[layer])
        for layer in range(N_BARREL_LAYERS)
    ]
    disks = [(~is_barrel(clusters) & ~clusters.edge, "FPix", RED)]
    for panel, group in zip(axes, (layers, disks), strict=True):
        for chosen, label, colour in group:
            charge = clusters.charge[chosen] / 1000
            density = np.histogram(charge, edges)[0] / max(len(charge), 1)
            peak = most_probable(charge)
            panel.stairs(density, edges, color=colour, lw=1.4, label=f"{label}: {peak:.1f}")
        panel.set(xlabel="charge at normal incidence [1000 e]", xlim=(0, 60))
        panel.set_ylabel("share of clusters")
        panel.legend(frameon=False, title="most probable")
        panel.set_ylim(bottom=0)
    return figure


def shape_figure(survey: Survey) -> Figure:
    """Mean number of rows and columns of a cluster against the angle of incidence."""
    figure, (left, right) = new_figure(1, 2)
    inner = survey.clusters.take(~survey.clusters.edge)
    barrel = is_barrel(inner)
    for axes, angle, size, edges in (
        (left, inner.cot_alpha, inner.rows, np.linspace(-0.6, 0.6, 31)),
        (right, inner.cot_beta, inner.cols, np.linspace(-6, 6, 49)),
    ):
        for chosen, label, colour, marker in (
            (barrel, "barrel", BLUE, "o"),
            (~barrel, "disks", RED, "s"),
        ):
            centres, means, errors = _profile(angle[chosen], size[chosen], edges)
            axes.errorbar(centres, means, errors, fmt=marker, color=colour, label=label, ms=3.5)
    left.set(xlabel=r"cot $\alpha$ (across the rows)", ylabel="rows")
    right.set(xlabel=r"cot $\beta$ (along the columns)", ylabel="columns")
    expected = np.linspace(-6, 6, 200)
    right.plot(
        *(expected, 1 + np.abs(expected) * survey.columns_per_cot),
        color=GREY,
        lw=1,
        ls="--",
        label="1 + thickness |cot β| / pitch",
    )
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    return figure


def quality_figure(clusters: ClusterTable) -> Figure:
    """Distributions of residuals and pulls of hits of particles that may make tracks."""
    figure, panels = new_figure(2, 2)
    matched = clusters.take((clusters.pt > TRACK_PT) & ~clusters.edge)
    barrel = is_barrel(matched)
    for i, axis in enumerate("xy"):
        for panel, name, scale, bound, unit in (
            (panels[0, i], f"{axis}_residual", 1e4, 100, " µm"),
            (panels[1, i], f"{axis}_pull", 1, 5, ""),
        ):
            values = scale * getattr(matched, name)
            edges = np.linspace(-bound, bound, 81)
            for chosen, label, colour in ((barrel, "barrel", BLUE), (~barrel, "disks", RED)):
                density = np.histogram(values[chosen], edges)[0] / max(int(chosen.sum()), 1)
                density = density / (edges[1] - edges[0])
                width = Width.of(values[chosen])
                text = f"{label}: {with_error(width.value, width.error)}{unit}"
                panel.stairs(density, edges, color=colour, lw=1.4, label=text)
            panel.set_xlim(-bound, bound)
            panel.legend(loc="upper left", frameon=False, fontsize=8)
            panel.set_ylim(0, 1.35 * panel.get_ylim()[1])
        panels[0, i].set_xlabel(f"local {axis}, hit - true [µm]")
        panels[1, i].set_xlabel(f"local {axis}, (hit - true) / error")
        grid = np.linspace(-5, 5, 201)
        panels[1, i].plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=GREY, lw=1)
    for row in panels:
        row[0].set_ylabel("density")
    return figure


def _profile(x: Array, y: Array, edges: Array) -> tuple[Array, Array, Array]:
    """Centres, means of ``y`` and their errors in the bins of ``x`` that are filled."""
    bins = np.digitize(x, edges) - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    bins, y = bins[inside], y[inside].astype(np.float64)
    n = np.bincount(bins, minlength=len(edges) - 1)
    filled = n >= _MIN_FILLED
    total = np.bincount(bins, y, len(edges) - 1)[filled]
    squares = np.bincount(bins, y**2, len(edges) - 1)[filled]
    n = n[filled]
    mean = total / n
    centres = (edges[1:] + edges[:-1])[filled] / 2
    return centres, mean, np.sqrt(np.maximum(squares / n - mean**2, 0) / n)
