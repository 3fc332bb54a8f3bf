"""Rows of text, in blocks by heading, as tables for a terminal and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table as RichTable

from trackserve.physics.statistics import Fraction, Width, with_error

Blocks = dict[str, list[list[str]]]
"""Rows of (quantity, value, ...) by heading."""

COLUMNS = ("quantity", "value", "of")


def mean_row(name: str, total: float, n_events: int) -> list[str]:
    """The mean over events."""
    return [name, f"{total / n_events:.1f}" if n_events else "-", ""]


def share_row(name: str, share: Fraction) -> list[str]:
    return [name, with_error(share.value, share.error), str(share.total)]


def width_row(name: str, width: Width, scale: float = 1) -> list[str]:
    return [name, with_error(scale * width.value, scale * width.error), str(width.count)]


def blocks_table(title: str, header: Sequence[str], blocks: Blocks) -> RichTable:
    """All blocks for a terminal, with a line between them."""
    table = RichTable(title=title)
    table.add_column(header[0])
    for name in header[1:]:
        table.add_column(escape(name), justify="right")
    for rows in blocks.values():
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        table.add_section()
    return table


def beside(each: Mapping[str, Blocks]) -> Blocks:
    """Rows of (quantity, one value for each name), a dash where a name lacks the quantity."""
    headings = dict.fromkeys(heading for blocks in each.values() for heading in blocks)
    return {
        heading: _rows_beside([b.get(heading, []) for b in each.values()]) for heading in headings
    }


def _rows_beside(columns: Sequence[list[list[str]]]) -> list[list[str]]:
    values = [{row[0]: row[1] for row in rows} for rows in columns]
    quantities = dict.fromkeys(row[0] for rows in columns for row in rows)
    return [[name, *(column.get(name, "-") for column in values)] for name in quantities]
