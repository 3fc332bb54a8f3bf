"""A plot in one line, for notebooks: ``histogram(result.tracks, "pt", log=True)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm.columns import Columns
from trackserve.edm.meaning import meanings
from trackserve.errors import InputError

from .drawing import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def histogram(
    noun: Columns,
    name: str,
    *,
    bins: int = 50,
    limits: tuple[float, float] | None = None,
    log: bool = False,
) -> Figure:
    """Draw how a column of numbers, or a property such as ``pt``, is distributed.

    Args:
        noun: any noun, as the tracks of a result.
        name: of the column or property.
        bins: number of bins.
        limits: first and last edge; by default the smallest and the largest finite value.
        log: whether the bins have equal widths in the logarithm; values from 0 down are left out.

    Raises:
        InputError: there is no such column, it has several numbers in a row, or no value fits.
        MissingExtraError: matplotlib is not installed.
    """
    texts = meanings(type(noun))  # type: ignore[arg-type]
    values = np.asarray(getattr(noun, name)) if name in texts else np.empty((0, 0))
    if values.ndim != 1:
        kind = type(noun).__name__
        raise InputError("no such column of numbers", noun=kind, found=name, bound=list(texts))
    low, high = limits or (-np.inf, np.inf)
    chosen = values[np.isfinite(values) & (values >= low) & (values <= high)]
    chosen = chosen[chosen > 0] if log else chosen
    if not len(chosen):
        raise InputError("no value to draw", noun=type(noun).__name__, found=name)
    first, last = limits or (float(chosen.min()), float(chosen.max()))
    first = max(first, float(chosen.min())) if log else first
    last = last if last > first else first + 1
    edges = np.geomspace(first, last, bins + 1) if log else np.linspace(first, last, bins + 1)
    figure, axes = new_figure(1, 1)
    axes.hist(chosen, edges, histtype="stepfilled", color=BLUE, alpha=0.25)
    axes.hist(chosen, edges, histtype="step", color=BLUE, linewidth=1.4)
    axes.set(xlabel=texts[name].rstrip("."), ylabel="rows", xlim=(edges[0], edges[-1]))
    if log:
        axes.set_xscale("log")
    return figure
