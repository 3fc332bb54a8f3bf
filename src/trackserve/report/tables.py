"""Rows of text as tables, for a terminal and for reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table as RichTable

from trackserve.physics.statistics import Fraction, Width, with_error

from .page import Picture, Section, Table

Blocks = dict[str, Table]
"""Tables by heading."""
Row = list[str]
COLUMNS = ("quantity", "value", "of")


def number(value: float, digits: int) -> str:
    """A value with so many digits; a dash if it is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def mean_row(name: str, total: float, n_events: int) -> Row:
    """The mean over events; a dash if there are none."""
    return [name, f"{total / n_events:.1f}" if n_events else "-", ""]


def share_row(name: str, share: Fraction) -> Row:
    """A share with its error, and what it is a share of."""
    return [name, with_error(share.value, share.error), str(share.total)]


def width_row(name: str, width: Width, scale: float = 1) -> Row:
    """A width with its error, both times ``scale``, and the number of values."""
    return [name, with_error(scale * width.value, scale * width.error), str(width.count)]


def of_one(rows: Mapping[str, Sequence[Row]]) -> Blocks:
    """Tables of (quantity, value, of) from rows by heading."""
    return {heading: Table(COLUMNS, some) for heading, some in rows.items()}


def beside(each: Mapping[str, Blocks]) -> Blocks:
    """Tables of (quantity, a value for each name); a dash if a name lacks the quantity.

    Args:
        each: by name, what :func:`of_one` returns.
    """
    header = (COLUMNS[0], *each)
    headings = dict.fromkeys(heading for blocks in each.values() for heading in blocks)
    nothing = Table(COLUMNS, ())
    return {
        heading: Table(header, _rows_beside([b.get(heading, nothing) for b in each.values()]))
        for heading in headings
    }


def _rows_beside(tables: Sequence[Table]) -> list[Row]:
    values = [{row[0]: row[1] for row in table.rows} for table in tables]
    quantities = dict.fromkeys(row[0] for table in tables for row in table.rows)
    return [[name, *(column.get(name, "-") for column in values)] for name in quantities]


def sections_of(blocks: Blocks, pictures: Mapping[str, Picture]) -> list[Section]:
    """A section for each heading: its table, and its picture if there is one."""
    return [
        Section(
            heading, tables=[table], pictures=[pictures[heading]] if heading in pictures else []
        )
        for heading, table in blocks.items()
    ]


def fitting(table: Table, width: int) -> Table:
    """The first columns of a table, as many as stand in ``width`` characters, two at least."""
    room = width - 1
    n = 0
    for column in zip(table.header, *table.rows, strict=True):
        words = column[0].split() if n else [column[0]]
        room -= 3 + max(max(map(len, words), default=0), *map(len, column[1:]), 0)
        if room < 0 and n > 1:
            break
        n += 1
    left_out = f"; {len(table.header) - n} more columns in the report"
    caption = table.caption + left_out * (n < len(table.header))
    return Table(table.header[:n], [row[:n] for row in table.rows], caption, table.left)


def rich_table(title: str, *tables: Table) -> RichTable:
    """Tables with one header, for a terminal; a line stands between them."""
    rich = RichTable(title=escape(title), caption=escape(tables[0].caption) or None)
    for i, name in enumerate(tables[0].header):
        rich.add_column(escape(name), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for table in tables:
        for row in table.rows:
            rich.add_row(*(escape(cell) for cell in row))
        rich.add_section()
    return rich
