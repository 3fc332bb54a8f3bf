"""The occupancy of samples beside each other, and beside the public CMS sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm.columns import Array
from trackserve.report.drawing import MARKER_SIZE, new_figure, styled, to_png
from trackserve.report.page import Picture, Section, Table, write_report

from .occupancy import LAYER_QUANTITIES, TOTALS, Occupancy
from .survey import LAYER_NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = ("hits", "size x, mean", "size y, mean", "charge")
_CAPTION = (
    "From doublets on by the configuration reference. The totals of CMS are means of 1000 events "
    "of ttbar with a pile-up of 50 (doublets: of one); its layers are those of one event."
)


def comparison_tables(samples: Sequence[Occupancy]) -> dict[str, Table]:
    """Totals, and one table of the layers for each quantity, by title; a column for each sample."""
    names = [sample.name for sample in samples]
    tables = {
        "Per event": Table(
            ("mean", *names),
            [[what, *(_number(s.totals[what], what) for s in samples)] for what in TOTALS],
            _CAPTION,
        )
    }
    for what, unit in LAYER_QUANTITIES.items():
        rows = [
            [layer, *(_range(sample.layers[what][i], what) for sample in samples)]
            for i, layer in enumerate(LAYER_NAMES)
        ]
        tables[f"{what.capitalize()} ({unit})"] = Table(("layer", *names), rows)
    return tables


def write_comparison(output: str | Path, samples: Sequence[Occupancy], title: str) -> Path:
    """Write ``report.html`` and its figure to the directory ``output``.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: the folder cannot be written, or has a report of something else.
    """
    tables = comparison_tables(samples)
    picture = Picture(
        "comparison",
        to_png(comparison_figure(samples)),
        "Hits, mean sizes and median charge of the layers.",
    )
    totals, *layers = tables.items()
    sections = [
        Section(totals[0], tables=[totals[1]], pictures=[picture]),
        *(Section(name, tables=[table]) for name, table in layers),
    ]
    return write_report(output, title, sections)


def comparison_figure(samples: Sequence[Occupancy]) -> Figure:
    """Hits, sizes and charge by layer."""
    figure, axes = new_figure(2, 2)
    place = np.arange(len(LAYER_NAMES))
    named = styled({sample.name: sample for sample in samples})
    for panel, what in zip(axes.flat, _DRAWN, strict=True):
        for i, (style, sample) in enumerate(named):
            low, high = sample.layers[what].T
            middle = (low + high) / 2
            panel.errorbar(
                place + 0.18 * (i - (len(named) - 1) / 2),
                middle,
                high - middle,
                fmt=style.marker,
                color=style.colour,
                label=style.label,
                elinewidth=1,
                ms=MARKER_SIZE,
            )
        panel.set_xticks(place, [name.replace("Pix ", "") for name in LAYER_NAMES], fontsize=8)
        panel.set(ylabel=f"{what} [{LAYER_QUANTITIES[what]}]")
        panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
    axes.flat[0].legend(frameon=False, fontsize=8)
    return figure


def _number(value: float, what: str) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.1f}" if what == "vertices" else f"{value:,.0f}"


def _range(ends: Array, what: str) -> str:
    low, high = ends.tolist()
    if not np.isfinite(low):
        return "-"
    digits = 2 if what.startswith("size") else 0
    text = f"{low:,.{digits}f}"
    return text if low == high else f"{text} to {high:,.{digits}f}"
