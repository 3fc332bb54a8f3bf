"""Parts of figures: a style, shares in bins, axes.

Matplotlib is imported when a figure is made; it comes with ``trackserve[report]``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command
from trackserve.physics.statistics import Fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

BLUE, RED, GREY = "#1f5a8c", "#c4512d", "#7f7f7f"
PALETTE = (BLUE, RED, "#3d8f5f", "#8a5aa8", "#b8902a", "#3aa0b5", GREY, "#222222")
"""Colours of many series."""
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "figure.constrained_layout.use": True,
}
_DPI = 130
MARKER_SIZE = 4.5


class Style(NamedTuple):
    """Look of a series of points, and its name in the legend."""

    label: str
    colour: str
    marker: str


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def require_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: matplotlib finds no folder for its cache.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingExtraError(f"figures need matplotlib: {install_command('report')}") from None
    except OSError as error:
        raise InputError(str(error)) from error


def new_figure(rows: int, columns: int, height: float | None = None) -> tuple[Figure, Any]:
    """A figure of ``rows`` x ``columns`` panels, and its axes, as matplotlib gives them.

    Args:
        rows, columns: number of panels.
        height: inches; by default 3.6 for one row, 5.6 for more.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: matplotlib finds no folder for its cache.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.5, height or (3.6 if rows == 1 else 5.6)))
        return figure, figure.subplots(rows, columns)


def fractions(
    axes: Axes, edges: Array, x: Array, passed: Array, style: Style, log: bool = False
) -> None:
    """Draw the share of ``passed`` in each bin, with its Wilson interval.

    Args:
        axes: of the panel.
        edges: float64[bins + 1].
        x: float[n], says in which bin a row is.
        passed: bool[n].
        style: of the points.
        log: whether a point stands in the logarithmic middle of its bin.
    """
    low, high = edges[:-1, None], edges[1:, None]
    inside = (x >= low) & (x < high)
    shares = [Fraction.of(passed[chosen]) for chosen in inside]
    filled = [i for i, share in enumerate(shares) if share.total]
    value = np.array([shares[i].value for i in filled])
    bounds = np.array([shares[i].interval for i in filled]).reshape(-1, 2).T
    middle = np.sqrt(edges[:-1] * edges[1:]) if log else (edges[:-1] + edges[1:]) / 2
    centre = middle[filled]
    across = np.abs(np.stack([edges[:-1][filled], edges[1:][filled]]) - centre)
    along = np.clip(np.stack([value - bounds[0], bounds[1] - value]), 0, None)
    axes.errorbar(
        centre,
        value,
        along,
        across,
        fmt=style.marker,
        color=style.colour,
        label=style.label,
        elinewidth=1,
        ms=MARKER_SIZE,
    )


def log_axis(axes: Axes, label: str, ticks: Sequence[float], low: float, high: float) -> None:
    """Make the x axis logarithmic, from ``low`` to ``high``."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel=label, xlim=(low, high))


def styled(named: Mapping[str, T]) -> list[tuple[Style, T]]:
    """Each value with a style of its own, which has its name as the label."""
    colours, markers = (RED, BLUE, GREY), "os^Dv"
    return [
        (Style(name, colours[i % len(colours)], markers[i % len(markers)]), value)
        for i, (name, value) in enumerate(named.items())
    ]


def legend_in(empty: Axes, drawn: Axes) -> None:
    """Put the legend of the panel ``drawn`` into the panel ``empty``."""
    empty.axis("off")
    empty.legend(*drawn.get_legend_handles_labels(), loc="center", frameon=False)
