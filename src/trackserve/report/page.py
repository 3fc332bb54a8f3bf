"""A report as one HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape, unescape
from pathlib import Path

import trackserve
from trackserve.errors import InputError
from trackserve.io.files import as_path, made, writable

PAGE = "report.html"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 62rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin-top: 2.6rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
nav { color: #777; } nav a { color: #1f5a8c; margin-right: 1rem; text-decoration: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: .6rem 0 1rem;
     font-size: .92rem; } dt { color: #777; } dd { margin: 0; overflow-wrap: anywhere; }
p { max-width: 46rem; }
.wide { overflow-x: auto; margin: 1rem 0 .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #eee; }
td { white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
th { border-bottom: 1px solid #999; font-weight: 600; cursor: pointer; vertical-align: bottom; }
th.left, td.left { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
th[aria-sort=ascending]::after { content: " \\25b2"; font-size: .7em; }
th[aria-sort=descending]::after { content: " \\25bc"; font-size: .7em; }
figure { margin: 1.4rem 0 2rem; } figure img { width: 100%; height: auto; }
figcaption, .caption { color: #555; font-size: .92rem; max-width: 46rem; }
pre { background: #f6f6f4; padding: .7rem 1rem; font-size: .8rem; overflow-x: auto; }
@media print {
  body { max-width: none; margin: 0; font-size: 9.5pt; } nav { display: none; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } td { white-space: normal; }
  th, td { padding: .15rem .4rem; } pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
}
"""
_SCRIPT = """
for (const head of document.querySelectorAll("th")) {
  const number = text => {
    const found = text.replace("\u2212", "-").match(/^[<>]? ?(-?[\\d.]+(e[+-]?\\d+)?)/i);
    return found ? parseFloat(found[1]) : NaN;
  };
  const sort = () => {
    const column = head.cellIndex, body = head.closest("table").tBodies[0];
    const up = head.ariaSort !== "ascending";
    for (const other of head.parentNode.cells) other.ariaSort = "none";
    head.ariaSort = up ? "ascending" : "descending";
    const key = row => row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((a, b) => {
      const x = number(key(a)), y = number(key(b));
      if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      const order = isNaN(x) ? key(a).localeCompare(key(b)) : x - y;
      return up ? order : -order;
    });
    body.append(...rows);
  };
  head.tabIndex = 0;
  head.ariaSort = "none";
  head.onclick = sort;
  head.onkeydown = event => { if (event.key === "Enter") sort(); };
}
"""
"""Sorts a table by the column whose heading is clicked; numbers by value, others by text, and what
is no number at the end."""
_LONG = 60
"""A cell with more characters than this is broken into lines."""


def _policy() -> str:
    """What a browser lets the page do: show its own pictures, and run that script alone."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    own = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    return f"default-src 'none'; {own}"


_SUBJECT = re.compile(r'<meta name="trackserve-subject" content="([^"]*)">')
_PICTURE = re.compile(r'<img alt="([^"]*)" src="data:image/png;base64,')


@dataclass(frozen=True)
class Picture:
    """A PNG. ``name`` is the name of its file, without the ending."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Table:
    """Cells as text; the first ``left`` columns are aligned left, the others right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: int = 1


@dataclass(frozen=True)
class Section:
    """A heading, followed by its text, tables, pictures and commands.

    An empty line in ``text`` begins a paragraph. ``code`` is shown as it is.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""


def claim(directory: str | Path, subject: str) -> None:
    """Make sure that a report of ``subject`` can be written to ``directory``.

    Raises:
        InputError: the place is none, cannot be written, or has a report of something else.
    """
    page = as_path(directory) / PAGE
    with writable(page), made(page.parent):
        page.open("a").close()
        old = page.read_text(encoding="utf-8", errors="replace")
        if not old:
            page.unlink()
    found = _SUBJECT.search(old)
    if found and unescape(found[1]) != subject:
        raise InputError(
            "a report of something else is here: choose another folder, or remove this one",
            folder=str(directory),
            found=unescape(found[1]),
            bound=subject,
        )


def stamped(about: Mapping[str, str] | None = None) -> dict[str, str]:
    """Facts about a report, by name, with the ``date`` and the ``version`` where they lack."""
    now = datetime.now().astimezone().isoformat(" ", "minutes")
    made = {"date": now, "version": f"trackserve {trackserve.__version__}"}
    return dict(about or {}) | {name: made[name] for name in made if name not in (about or {})}


def write_report(
    directory: str | Path,
    title: str,
    sections: Sequence[Section],
    subject: str | None = None,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write ``report.html``, with the pictures inside, and each picture as a file beside it.

    The page fetches nothing; its one script sorts tables, and the page forbids any other. The
    directory is made if needed. An earlier report of the same subject is replaced: its pictures
    that are not in the new one are removed.

    Args:
        directory: gets the files.
        title: of the page.
        sections: content of the page.
        subject: what the report is about; by default the title. A report of something else is
            not overwritten.
        about: facts that stand under the title, by name; see :func:`stamped`.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: as :func:`claim`.
    """
    directory = as_path(directory)
    subject = title if subject is None else subject
    claim(directory, subject)
    page = directory / PAGE
    pictures = {picture.name: picture for section in sections for picture in section.pictures}
    with writable(page), made(directory):
        old = page.read_text(encoding="utf-8", errors="replace") if page.exists() else ""
        if _SUBJECT.search(old):
            for name in set(map(unescape, _PICTURE.findall(old))) - pictures.keys():
                (directory / f"{name}.png").unlink(missing_ok=True)
        for name, picture in pictures.items():
            (directory / f"{name}.png").write_bytes(picture.png)
        page.write_text(_html(title, sections, subject, stamped(about)), encoding="utf-8")
    return page


def _html(title: str, sections: Sequence[Section], subject: str, about: Mapping[str, str]) -> str:
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in about.items())
    links = "".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(sections))
    body = "\n".join(_section(i, section) for i, section in enumerate(sections))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
        f'<meta name="trackserve-subject" content="{escape(subject)}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<dl>{facts}</dl>\n<nav>{links}</nav>\n{body}\n<script>{_SCRIPT}</script>\n</body>\n"
        "</html>\n"
    )


def _section(number: int, section: Section) -> str:
    parts = [f'<h2 id="s{number}">{escape(section.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in section.text.split("\n\n") if text]
    parts += [_table(table) for table in section.tables]
    parts += [_picture(picture) for picture in section.pictures]
    if section.code:
        parts.append(f"<pre>{escape(section.code)}</pre>")
    return "\n".join(parts)


def _table(table: Table) -> str:
    head = _row("th", table.header, table.left)
    rows = "\n".join(_row("td", row, table.left) for row in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n'
        f"</table></div>{caption}"
    )


def _row(kind: str, cells: Sequence[str], left: int) -> str:
    def cell(number: int, text: str) -> str:
        names = ["left"] * (number < left) + ["long"] * (kind == "td" and len(text) > _LONG)
        names = [f' class="{" ".join(names)}"'] if names else []
        return f"<{kind}{''.join(names)}>{escape(text)}</{kind}>"

    return "<tr>" + "".join(cell(*numbered) for numbered in enumerate(cells)) + "</tr>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{escape(picture.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
