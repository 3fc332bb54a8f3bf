"""The measurements behind space points, as ``measurements.parquet`` beside them.

It has a row for each space point, in their order: ``event``; ``surface``, the identifier of the
sensor; ``local0`` and ``local1``, the place on it (mm); ``variance0`` and ``variance1`` (mm^2). The
metadata list the numbers of the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from trackserve.edm.points import Measurements
from trackserve.errors import EventError, InputError

from .event_table import find_places, listed_events, open_table, writer
from .files import as_path, complete, writable
from .points_columns import to_table

MEASUREMENTS = "measurements.parquet"


class MeasurementsFile:
    """Reads what :func:`write_measurements` wrote.

    Args:
        directory: the directory of the events.

    Raises:
        InputError: there is no such file, or it cannot be read or lacks a column.
    """

    def __init__(self, directory: str | Path) -> None:
        path = as_path(directory) / MEASUREMENTS
        if not path.exists():
            reason = "no measurements here; `trackserve simulate points` leaves them"
            raise InputError(reason, file=str(path))
        self._table = open_table(path)
        self._table.require(Measurements)
        metadata = self._table.metadata.metadata or {}
        places = find_places(self._table, listed_events(str(path), metadata.get(b"events")))
        self._places = {place.number: place for place in places}

    def of(self, event: int) -> Measurements:
        """The measurements of the event with this number.

        Raises:
            EventError: there is no such event, or it is damaged.
        """
        if event not in self._places:
            raise EventError("the event has no measurements", event=event, file=self._table.path)
        (found,) = self._table.read(self._places[event], Measurements)
        assert isinstance(found, Measurements)
        return found


def write_measurements(directory: Path, events: Iterable[tuple[int, Measurements]]) -> None:
    """Write the measurements of events, one or more; one is in memory at a time.

    Args:
        directory: the directory of the events.
        events: number and measurements of each.

    Raises:
        InputError: the file cannot be written.
    """
    numbers = []
    file = None
    with writable(directory), complete(directory / MEASUREMENTS) as partial:
        try:
            for number, measurements in events:
                table = to_table(number, measurements)
                file = file or writer(partial, table.schema)
                file.write_table(table, row_group_size=max(len(table), 1))
                numbers.append(number)
            if file is None:
                raise InputError("no events to write", directory=str(directory))
            file.add_key_value_metadata({"events": json.dumps(numbers)})
        finally:
            if file is not None:
                file.close()
