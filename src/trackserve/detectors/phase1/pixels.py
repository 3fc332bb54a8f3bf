"""Sizes of pixels: those between two read-out chips are twice as long.

A module has 160 rows of 100 um and 416 columns of 150 um; a chip reads 80 rows and 52
columns.
"""

from __future__ import annotations

from trackserve.device.compile import i32, shared

from .layout import ROC_COLS, ROC_ROWS

_SHIFT = 16
_ROCS_PER_COLUMN = (1 << _SHIFT) // ROC_COLS + 1
"""Chips per column of pixels, times 2^16, rounded up."""


@shared
def row_in_pitches(row: int) -> int:
    """Return the lower edge of a row, pitches; rows 79 and 80 are twice as wide."""
    return row + (1 if row >= ROC_ROWS else 0) + (1 if row > ROC_ROWS else 0)


@shared
def col_in_pitches(col: int) -> int:
    """Return the lower edge of a column, pitches; the two at a chip's ends are twice as wide."""
    roc = _roc_of(col)
    return col + 2 * roc + (1 if col > roc * ROC_COLS else 0)


@shared
def is_wide_row(row: int) -> bool:
    """Whether a row is twice as wide as the pitch."""
    return row == ROC_ROWS - 1 or row == ROC_ROWS


@shared
def is_wide_col(col: int) -> bool:
    """Whether a column is twice as wide as the pitch."""
    in_roc = col - ROC_COLS * _roc_of(col)
    return in_roc == 0 or in_roc == ROC_COLS - 1


@shared
def _roc_of(col: int) -> int:
    """Return ``col // ROC_COLS`` of a column in a module; a quotient would have no vectors."""
    return (i32(col) * _ROCS_PER_COLUMN) >> _SHIFT
