"""How the physics of a tracker is judged: what every validation is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table


class Validation(Protocol):
    """Results beside the truth of their events.

    Attributes:
        keep: intermediates that the comparison needs.
    """

    @property
    def keep(self) -> tuple[str, ...]: ...

    def match(self, events: Any, results: Iterable[Any]) -> Any:
        """What the next two methods need of one run.

        Args:
            events: as the tracker opens them.
            results: a result or an EventError for each event, in order; may be made as they are
                needed. Events that failed are left out.

        Raises:
            InputError, ConditionsError: there is no truth, or it does not fit.
        """

    def tables(self, matches: Mapping[str, Any]) -> list[Table]:
        """The numbers for a terminal; of several runs, by name, beside each other."""

    def write(self, output: Path, title: str, matches: Mapping[str, Any]) -> Path:
        """Write ``report.html`` and its figures to ``output``; returns the page.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
