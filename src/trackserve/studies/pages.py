"""The report over all studies of a folder, drawn from their data alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trackserve.errors import InputError
from trackserve.report.drawing import GREY, to_png
from trackserve.report.page import Picture, Section, Table, write_report

from .catalogue import BENCH, STUDIES, find_study
from .columns import meanings
from .machine import BUSY
from .study import Shown
from .table import Record, Row, columns_of, numbers, read_record

SUBJECT = "studies"


def read_all(folder: Path) -> list[Record]:
    """The studies whose data are in a folder.

    Raises:
        InputError: there are none, or a file has something else.
        ConditionsError: a file cannot be read.
    """
    records = [record for name in (*STUDIES, BENCH) if (record := read_record(folder, name))]
    if not records:
        raise InputError("no study has data here", folder=str(folder))
    return records


def write_pages(folder: Path) -> Path:
    """Write ``report.html`` over all studies of a folder, and their figures beside it.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError, ConditionsError: as of :func:`read_all`; the folder cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    records = read_all(folder)
    sections = [_overview(records), *(_section(record) for record in records), _columns(records)]
    return write_report(folder, "Track reconstruction as a service: measured", sections, SUBJECT)


def shown(record: Record) -> Shown:
    """What a study shows of its data."""
    return find_study(record.study).show(record.rows)


def conditions(rows: Sequence[Row]) -> str:
    """How busy the machine was: the load average, cores of others and stolen time."""
    load, others, steal = (numbers(rows, name) for name in ("load", "others", "steal"))
    parts = []
    if load:
        parts.append(f"load average {min(load):.1f} to {max(load):.1f}")
    if others:
        parts.append(f"others {sum(others) / len(others):.2f} cores, at most {max(others):.2f}")
    if steal:
        parts.append(f"stolen {sum(steal) / len(steal):.1%}, at most {max(steal):.1%}")
    return "; ".join(parts)


def is_busy(rows: Sequence[Row]) -> bool:
    """Whether others used the machine while it was measured."""
    return any(
        sum(values) / len(values) > BUSY
        for name in ("others", "steal")
        if (values := numbers(rows, name))
    )


def _overview(records: Sequence[Record]) -> Section:
    header = ("study", "measured", "duration, s", "rounds", "machine", "meanwhile")
    body = []
    for record in records:
        about = record.about
        body.append(
            [
                record.study,
                str(about["started"]),
                str(about["seconds"]),
                str(about["settings"]["rounds"]),
                str(about["machine"]["host"]),
                ("BUSY: " if is_busy(record.rows) else "") + conditions(record.rows),
            ]
        )
    tables = [Table(header, body, "Studies in this folder.", left=2)]
    for title, key in (("machine", "machine"), ("version", "versions")):
        tables.append(_beside(title, {r.study: r.about[key] for r in records}))
    text = (
        "Each figure is the mean of rounds in which all points of a table took turns; its error is "
        "half of the interval that holds the true mean with 68 % (Student's distribution). The "
        "errors are statistical: they hold the noise of the machine during the rounds, not what "
        "changes from day to day. The data are beside this page, as NAME.csv and NAME.parquet, "
        "one row for each measurement."
    )
    return Section("What was measured", text, tables)


def _beside(title: str, each: dict[str, dict[str, str]]) -> Table:
    """A table of facts; studies with the same facts share a column."""
    columns: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for study, facts in each.items():
        columns.setdefault(tuple(facts.items()), []).append(study)
    names = dict.fromkeys(name for facts in columns for name, _ in facts)
    found = [dict(facts) for facts in columns]
    header = [title, *(", ".join(s) if len(columns) > 1 else "" for s in columns.values())]
    rows = [[name, *(facts.get(name, "-") for facts in found)] for name in names]
    return Table(header, rows, left=len(header))


def _section(record: Record) -> Section:
    study = find_study(record.study)
    content = study.show(record.rows)
    footer = conditions(record.rows)
    pictures = []
    for drawn in content.draw():
        drawn.figure.supxlabel(
            _footer(record, footer), fontsize=6.5, color=GREY, x=0.99, ha="right"
        )
        pictures.append(Picture(drawn.name, to_png(drawn.figure), drawn.caption))
    about = record.about
    parts = [study.about, content.text]
    if is_busy(record.rows):
        parts.append(f"The machine was busy with the work of others: {footer}.")
    parts += about["notes"]
    code = [f"$ {about['command']}", *(f"$ {line}" for line in about["commands"])]
    code += [f"{name}: {text}" for name, text in about["identities"].items()]
    code += [f"events: {text}" for text in about["settings"]["samples"]]
    text = "\n\n".join(part for part in parts if part)
    return Section(study.title, text, content.tables, pictures, "\n".join(code))


def _footer(record: Record, footer: str) -> str:
    processor = record.about["machine"]["processor"]
    return f"{processor}; {record.about['started'][:10]}; {footer}"


def _columns(records: Sequence[Record]) -> Section:
    names = dict.fromkeys(name for record in records for name in columns_of(record.rows))
    body = [[name, text] for name, text in meanings(names).items()]
    return Section(
        "Columns", "Columns of the data.", [Table(("column", "what it is"), body, left=2)]
    )
