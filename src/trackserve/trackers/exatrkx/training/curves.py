"""Losses and figures over the steps of a training: CSV, PNG, TensorBoard."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from trackserve.errors import MissingExtraError
from trackserve.report.drawing import (
    BLUE,
    RED,
    new_figure,
    to_png,
)

_HIDDEN = ("merit", "cut", "radius")
"""Figures that the CSV file has, but the image has not."""

Rows = list[tuple[int, dict[str, float]]]


class Curves:
    """The figures of all stages; TensorBoard gets them at once, if it is installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, Rows] = {}
        self._writer = _tensorboard(folder / "tensorboard")

    def restore(self, stage: str, rows: Rows) -> None:
        """Take the rows of a stage, from its checkpoint."""
        self._rows[stage] = list(rows)

    def add(self, stage: str, step: int, figures: dict[str, float]) -> None:
        """Add the figures of one validation."""
        self._rows.setdefault(stage, []).append((step, figures))
        self.write_csv()
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"{stage}/{name}", value, step)
            self._writer.flush()

    def write_csv(self) -> None:
        """Write ``curves.csv``: one line for each stage, step and figure."""
        with (self._folder / "curves.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["stage", "step", "figure", "value"])
            for stage, rows in self._rows.items():
                for step, figures in rows:
                    for name, value in figures.items():
                        writer.writerow([stage, step, name, f"{value:.6g}"])

    def draw(self) -> bool:
        """Write ``curves.png``, a row of panels for each stage; return False without matplotlib."""
        rows = {stage: rows for stage, rows in self._rows.items() if rows}
        names = {
            stage: [name for name in rows[stage][0][1] if name not in _HIDDEN] for stage in rows
        }
        columns = max(len(panels) for panels in names.values())
        try:
            figure, axes = new_figure(len(rows), columns)
        except MissingExtraError:
            return False
        figure.set_size_inches(2.9 * columns, 2.3 * len(rows))
        for line, stage in zip(axes.reshape(len(rows), columns), rows, strict=True):
            for axis, name in zip(line, names[stage], strict=False):
                steps, figures = zip(*rows[stage], strict=True)
                values = [figure[name] for figure in figures]
                axis.plot(steps, values, color=RED if name == "loss" else BLUE, lw=1.4)
                axis.set_title(f"{stage}: {name.replace('_', ' ')}")
                axis.set_xlabel("step")
                if name == "loss":
                    axis.set_yscale("log")
            for axis in line[len(names[stage]) :]:
                axis.set_axis_off()
        (self._folder / "curves.png").write_bytes(to_png(figure))
        return True


def _tensorboard(folder: Path) -> Any:
    """Return a writer of TensorBoard files, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
