"""Nouns and results as short text, and as HTML for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from .meaning import meanings

if TYPE_CHECKING:
    from .columns import Columns
    from .result import Result

_ROWS = 5
"""Rows of a table."""
_ITEMS = 5
"""Items of a list in a cell."""
_DIGITS = 4


def noun_text(noun: Columns) -> str:
    """The name of a noun, the number of its rows and its columns."""
    return f"{type(noun).__name__}({_count(len(noun))}: {', '.join(noun.schema())})"


def result_text(result: Result) -> str:
    """The name of a result, its event and the sizes of its parts."""
    parts = [f"event={result.event}"]
    parts += [f"{name}: {_count(len(part))}" for name, part in result.parts().items()]
    if result.stopped_by:
        parts.append(f"stopped_by={result.stopped_by!r}")
    return f"{type(result).__name__}({', '.join(parts)})"


def noun_html(noun: Columns) -> str:
    """The first rows of a noun as a table; each heading tells what its column means.

    Columns with more than :data:`_ITEMS` values in every row are left out.
    """
    from .records import to_records

    records = to_records(noun.take(slice(_ROWS)))
    shown = [one for one in records.type if getattr(one.type, "list_size", 0) <= _ITEMS]
    texts = meanings(type(noun))  # type: ignore[arg-type]
    head = "".join(
        f'<th title="{escape(texts.get(one.name, ""))}">{escape(one.name)}</th>' for one in shown
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(row[one.name]))}</td>" for one in shown) + "</tr>"
        for row in records.to_pylist()
    )
    more = len(noun) - _ROWS
    rest = f"<p>and {_count(more)} more</p>" if more > 0 else ""
    title = f"<b>{escape(type(noun).__name__)}</b>: {_count(len(noun))}"
    return f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{rest}"


def result_html(result: Result) -> str:
    """The counts of a result, its identity, and the first rows of its first part."""
    texts = meanings(type(result.counts))  # type: ignore[arg-type]
    head, cells = "", ""
    for name, count in vars(result.counts).items():
        title = escape(texts.get(name, ""))
        head += f'<th title="{title}">{escape(name.replace("_", " "))}</th>'
        cells += f"<td>{count}</td>"
    title = f"<b>{escape(type(result).__name__)}</b> of event {result.event}"
    if result.stopped_by:
        title += f", partial: beyond the limit of {escape(result.stopped_by)}"
    identity = f"<p><small>{escape(result.identity)}</small></p>" if result.identity else ""
    counts = f"<table><thead><tr>{head}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
    return f"<p>{title}</p>{counts}{identity}{noun_html(next(iter(result.parts().values())))}"


def _count(n: int) -> str:
    return f"{n} row{'s' * (n != 1)}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, list):
        shown = [_cell(one) for one in value[:_ITEMS]]
        return f"[{', '.join(shown)}{', …' if len(value) > _ITEMS else ''}]"
    return str(value)
