"""The physics of both trackers on the events of the studies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from trackserve.errors import InputError
from trackserve.report.drawing import new_figure
from trackserve.report.page import Table
from trackserve.report.tables import COLUMNS
from trackserve.trackers.registry import find_tracker

from .figures import style
from .lab import Lab
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, groups

VARIANTS = {"patatrack": ("default", "reference"), "exatrkx": ("default", "large")}
"""Variants that are compared; another tracker has its default alone."""
_DRAWN = ("Efficiency", "Fakes and duplicates")
"""Headings whose quantities are drawn."""


def plan(how: How) -> list[Point]:
    """Each variant on each sample."""
    points = []
    for tracker in how.trackers:
        variants = VARIANTS.get(tracker, ("",))
        for sample in how.of(tracker)[:2] if how.quick else how.of(tracker):
            for variant in variants[:1] if how.quick and sample != how.usual(tracker) else variants:
                values: Values = {"tracker": tracker, "sample": sample.name, "variant": variant}
                points.append(Point(values))
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Each quantity of the tracker's validation, with its statistical error."""
    if lab.is_warming:
        return
    sample = lab.how.find(values["tracker"], values["sample"])
    tracker = find_tracker(sample.tracker)
    events, opened = lab.events(sample), lab.opened(sample)
    options = {tracker.variant: str(values["variant"])} if tracker.variant else {}
    try:
        validation = tracker.validation()
        pipeline = tracker.build(options, device=lab.how.device, events=opened)
        pipeline.warm_up()
        lab.identities[f"{sample.tracker} {values['variant']}"] = str(pipeline.identity)
        keep = [name for name in validation.keep if name in tracker.result.intermediates()]
        start = time.perf_counter()
        outcomes = pipeline.run(events, keep)
        seconds = time.perf_counter() - start
        matches = validation.match(_Some(opened, len(events)), outcomes)
    except InputError as error:
        lab.note(f"{sample.tracker} {sample.name} is not compared with the truth: {error}")
        return
    for heading, table in validation.blocks({tracker.name: matches}).items():
        if tuple(table.header) == COLUMNS:
            for quantity, text, of in table.rows:
                yield {"heading": heading, "quantity": quantity, "text": text, "of": of} | _parsed(
                    text
                )
    ms = 1e3 * seconds / len(events)
    speed: Row = {"heading": "Speed", "quantity": "ms per event", "of": str(len(events))}
    yield speed | {"text": f"{ms:.1f}", "value": ms}


class _Some:
    """The first events of what a tracker has opened; their truth is found by its attributes."""

    def __init__(self, opened: Any, n: int) -> None:
        self._opened = opened
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Any:
        return self._opened[index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)


def _parsed(text: str) -> Row:
    """The number in the text of a table, and its error."""
    value, _, error = text.partition(" ± ")
    try:
        return {"value": float(value), "error": float(error)} if error else {"value": float(value)}
    except ValueError:
        return {}


def show(rows: list[Row]) -> Shown:
    tables = []
    for (tracker,), some in groups(rows, "tracker").items():
        each = groups(some, "sample", "variant")
        texts = [{row["quantity"]: str(row["text"]) for row in part} for part in each.values()]
        names = dict.fromkeys((row["heading"], row["quantity"]) for row in some)
        body = [
            [str(heading), str(quantity), *(found.get(quantity, "-") for found in texts)]
            for heading, quantity in names
        ]
        header = ("", "quantity", *(f"{sample}, {variant}" for sample, variant in each))
        tables.append(Table(header, body, f"{tracker} against the truth", left=2))
    text = (
        "The quantities are those of `trackserve validate` (docs/validation.md has the "
        "definitions); errors are statistical. Answers do not depend on the way, so each is "
        "measured once, and holds for direct and served."
    )
    return Shown(text, tables, partial(_draw, rows))


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = []
    for (tracker,), some in groups(rows, "tracker").items():
        shown = [row for row in some if row["heading"] in _DRAWN]
        if not shown:
            continue
        names = list(dict.fromkeys(str(row["quantity"]) for row in shown))
        figure, axes = new_figure(1, 1, 1.2 + 0.24 * len(names))
        each = groups(shown, "sample", "variant")
        for number, ((sample, variant), part) in enumerate(each.items()):
            look = style(f"{sample}, {variant}", number)
            shift = (number - (len(each) - 1) / 2) * 0.7 / len(each)
            axes.errorbar(
                [_number(row, "value") for row in part],
                [-names.index(str(row["quantity"])) - shift for row in part],
                xerr=[_number(row, "error") for row in part],
                fmt=look.marker,
                color=look.colour,
                label=look.label,
                elinewidth=1,
                ms=4,
            )
        axes.set_yticks([-n for n in range(len(names))], names, fontsize=8)
        axes.set(xlim=(0, 1.03), xlabel="share", title=str(tracker))
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        caption = f"{tracker}: efficiency, fakes and duplicates on the events of the studies."
        drawn.append(Drawn(f"physics-{tracker}", figure, caption))
    return drawn


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


STUDY = Study(
    "physics",
    "Physics of both trackers",
    "How much of the truth do both trackers find in the events of the studies?",
    plan,
    measure,
    show,
    repeats=False,
)
