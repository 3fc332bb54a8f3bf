"""Validation of any tracker: what its room provides, and how it is shown.

A tracker of a kind of event is judged by that kind's :class:`Validation`:
:class:`.pixel.PixelValidation` or :class:`.points.PointsValidation`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.table import Table as RichTable

from trackserve.errors import InputError
from trackserve.io.files import writable
from trackserve.physics.statistics import Fraction, Width

from .page import Section, Table, stamped, write_report
from .tables import Blocks, rich_table

M = TypeVar("M")


class Validation(Protocol[M]):
    """Comparison of results for one kind of event with the truth.

    ``M`` is what is kept of a comparison: tables of what was matched. A mapping of several
    comparisons has them by the name of what is compared, such as a configuration. They are of
    the same events.

    Attributes:
        keep: intermediates that the comparison needs. A tracker that cannot give one leaves it
            out, unless :meth:`match` says that it is required.
    """

    keep: tuple[str, ...]

    def match(self, events: Any, results: Iterable[Any]) -> M:
        """Compare results with the truth of their events; events that failed are left out.

        Args:
            events: what was opened: :class:`.PixelEvents` or :class:`.PointsEvents`.
            results: a result or an EventError for each event, in the same order; may be made
                as they are needed.

        Raises:
            InputError: an event has no truth, or does not fit its result.
        """

    def blocks(self, matches: Mapping[str, M]) -> Blocks:
        """Tables by heading.

        The columns are quantity, value, of for one name; for several names they are quantity and
        a value for each name. A table may have columns of its own.
        """

    def sections(self, matches: Mapping[str, M]) -> list[Section]:
        """The report's sections, for one name or for several names.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """

    def summary(self, matches: M) -> Any:
        """The numbers of one comparison, which :func:`as_json` writes."""


def tables(validation: Validation[M], matches: Mapping[str, M]) -> list[RichTable]:
    """The numbers for a terminal: one table for all blocks that have the same columns."""
    groups: dict[tuple[str, ...], dict[str, Table]] = {}
    for heading, table in validation.blocks(matches).items():
        groups.setdefault(tuple(table.header), {})[heading] = table
    return [
        rich_table("Physics performance" if len(group) > 1 else next(iter(group)), *group.values())
        for group in groups.values()
    ]


def write_validation(
    output: str | Path,
    title: str,
    validation: Validation[M],
    matches: Mapping[str, M],
    *,
    subject: str | None = None,
    identities: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write ``report.html``, its figures and ``summary.json`` to the directory ``output``.

    The summary has, whatever the tracker: ``title``; ``about``, the facts under the title of the
    page; ``results``, by name the numbers of each comparison, with the ``identity``.

    Args:
        output: is made if needed.
        title: of the page.
        subject: see :func:`.page.write_report`.
        validation: of this kind of event.
        matches: by name, what ``validation.match`` returned.
        identities: text of the identity of what made the results, by name, where it is known.
        about: further facts, by name; see :func:`.page.stamped`.

    Returns:
        The path of ``report.html``.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InputError: there is nothing to write, the folder cannot be written, or has a report of
            something else.
    """
    if not matches:
        raise InputError("nothing was compared", folder=str(output))
    sections = validation.sections(matches)
    several = len(matches) > 1
    made_by = {
        f"identity, {name}" if several else "identity": text
        for name, text in (identities or {}).items()
    }
    facts = stamped({**(about or {}), **made_by})
    page = write_report(output, title, sections, subject, facts)
    each = {name: as_json(validation.summary(one)) for name, one in matches.items()}
    for name, identity in (identities or {}).items():
        each[name]["identity"] = identity
    text = json.dumps({"title": title, "about": facts, "results": each}, indent=1) + "\n"
    with writable(page.with_name("summary.json")):
        page.with_name("summary.json").write_text(text, encoding="utf-8")
    return page


def as_json(value: Any) -> Any:
    """``value`` as plain dicts, lists and numbers.

    A dataclass becomes a dict of its fields. A share and a width also have their value and error.
    A number that is not finite becomes None.
    """
    if is_dataclass(value):
        plain = {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, Fraction | Width):
            plain |= {name: as_json(getattr(value, name)) for name in ("value", "error")}
        return plain
    if isinstance(value, Mapping):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
