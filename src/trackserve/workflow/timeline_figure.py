"""A picture of a timeline: a lane for each thread, and below lanes of work elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trackserve.report.drawing import GREY, PALETTE, new_figure

from .timeline import EXTERNAL, Slice, longest, middle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = len(PALETTE) - 2
"""Modules that have a colour of their own: those that take most time."""
_OTHERS = "other modules"
_LABEL = 0.025
"""A bar of this share of the width has the number of its event."""


def draw_timeline(slices: Sequence[Slice], title: str = "") -> Figure:
    """Draw a few events from the middle of a timeline.

    Args:
        slices: the timeline, with a module that ran.
        title: of the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    shown = middle(slices)
    origin = min(one.start for one in shown)
    width = max(one.end for one in shown) - origin
    here = sorted({one.thread for one in shown if one.kind != EXTERNAL})
    lanes = _lanes([one for one in shown if one.kind == EXTERNAL])
    n_lanes = len(here) + max(lanes.values(), default=-1) + 1
    colours = dict(zip(longest(shown), PALETTE[:_NAMED], strict=False))
    figure, axes = new_figure(1, 1, 1.6 + 0.42 * n_lanes)
    labelled: set[str] = set()
    for one in shown:
        colour = colours.get(one.name, GREY)
        elsewhere = one.kind == EXTERNAL
        label = one.name + ", elsewhere" * elsewhere if one.name in colours else _OTHERS
        label += ", emulated" * one.is_emulated
        lane = len(here) + lanes[one] if elsewhere else here.index(one.thread)
        axes.barh(
            lane,
            1e-6 * (one.end - one.start),
            left=1e-6 * (one.start - origin),
            height=0.55 if elsewhere else 0.8,
            color="none" if elsewhere else colour,
            edgecolor=colour if elsewhere else "white",
            linewidth=1.2 if elsewhere else 0.3,
            hatch="///" if one.is_emulated else None,
            label=None if label in labelled else label,
        )
        labelled.add(label)
        if one.end - one.start > _LABEL * width:
            centre = 0.5e-6 * (one.start + one.end - 2 * origin)
            ink = colour if elsewhere else "white"
            axes.text(centre, lane, str(one.event), ha="center", va="center", size=7, color=ink)
    names = [f"thread {n}" for n in here] + ["elsewhere"] * (n_lanes - len(here))
    axes.set_yticks(range(n_lanes), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="time, ms; numbers are events", xlim=(0, 1e-6 * width))
    if title:
        axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _lanes(slices: Sequence[Slice]) -> dict[Slice, int]:
    """A lane for each slice, so that no two overlap in one."""
    free: list[int] = []
    lanes = {}
    for one in sorted(slices, key=lambda one: one.start):
        lane = next((n for n, end in enumerate(free) if end <= one.start), len(free))
        free[lane : lane + 1] = [one.end]
        lanes[one] = lane
    return lanes
