"""Parts of figures that several studies draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trackserve.report.drawing import MARKER_SIZE, PALETTE, Style

from .spread import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve(axes: Axes, x: Sequence[float], y: Sequence[Spread], style: Style) -> None:
    """Draw means with their errors, joined by lines."""
    axes.errorbar(
        x,
        [one.value for one in y],
        [one.error if math.isfinite(one.error) else 0.0 for one in y],
        fmt=f"{style.marker}-",
        color=style.colour,
        label=style.label,
        elinewidth=1,
        linewidth=1,
        capsize=2,
        ms=MARKER_SIZE,
    )


def bars(axes: Axes, values: Mapping[str, Spread], colours: Sequence[str], label: str) -> None:
    """Draw means with their errors as horizontal bars, the first at the top."""
    places = range(len(values))[::-1]
    spreads = list(values.values())
    axes.barh(places, [one.value for one in spreads], color=colours, height=0.66)
    axes.errorbar(
        [one.value for one in spreads],
        places,
        xerr=[one.error if math.isfinite(one.error) else 0.0 for one in spreads],
        fmt="none",
        ecolor="#333",
        elinewidth=1,
        capsize=2,
    )
    axes.set_yticks(places, list(values))
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=label)
    axes.set_xlim(left=0)


def style(label: str, number: int) -> Style:
    """The look of series ``number``."""
    return Style(label, PALETTE[number % len(PALETTE)], "os^Dv<>P"[number % 8])
