"""Tables of results as ROOT files, by uproot: an RNTuple, or a TTree.

An RNTuple has the columns of the Parquet file as they are. A TTree holds numbers, and one list of
numbers for an event and a branch, so there

- a record is a branch for each of its fields: ``counts.tracks`` is ``counts_tracks``;
- a list of records is a branch for each of their fields: ``tracks.pt`` is ``tracks_pt``, and
  ``ntracks`` is their number;
- a list inside of such a record, as ``tracks.hits``, is a branch with the values of all records of
  the event, one after the other, and a branch with their numbers, ``tracks_hits_count``;
- a text is a list of bytes, in UTF-8.

The file also has the text ``metadata``: that of the Parquet file, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command

from .files import as_path, complete, writable

Form = Literal["rntuple", "ttree"]
FORMS: tuple[Form, ...] = get_args(Form)
NAME = "events"
"""Name of the RNTuple or the TTree."""
_SCHEMA_OF_ARROW = "ARROW:schema"


def write_root(
    parquet: str | Path,
    output: str | Path,
    form: Form = "rntuple",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a Parquet file of results, of fits or of decisions as a ROOT file.

    Args:
        parquet: the file to read; a row group is in memory at a time.
        output: the file to write; it is complete, or not there.
        form: what the file has.
        on_step: called with the number of events that are written, and of all.

    Raises:
        InputError: a file cannot be read or written, or the form is unknown.
        MissingExtraError: uproot is not installed.
    """
    if form not in FORMS:
        raise InputError("no such form", found=form, bound=list(FORMS))
    try:
        import uproot
    except ImportError:
        needs = f"to write ROOT files, uproot is needed: {install_command('root')}"
        raise MissingExtraError(needs) from None
    source, target = as_path(parquet), as_path(output)
    columns = columns_of_tree if form == "ttree" else columns_of_rntuple
    with _opened(source) as table, writable(target), complete(target) as partial:
        n, done = int(table.metadata.num_rows), 0
        partial.touch()  # uproot makes folders that are not there
        with uproot.recreate(partial) as file:
            file["metadata"] = json.dumps(_metadata(table.schema_arrow))
            make = file.mktree if form == "ttree" else file.mkrntuple
            events = make(NAME, columns(ak.from_arrow(table.schema_arrow.empty_table())))
            for group in range(table.num_row_groups):
                rows = ak.from_arrow(_read(table, group, source))
                events.extend(columns(rows))
                done += len(rows)
                on_step(done, n)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from error
    with file:
        yield file


def _read(table: pq.ParquetFile, group: int, path: Path) -> pa.Table:
    try:
        return table.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from error


def columns_of_rntuple(rows: ak.Array) -> dict[str, ak.Array]:
    """The columns of an RNTuple, by name."""
    return {name: rows[name] for name in rows.fields}


def columns_of_tree(rows: ak.Array) -> dict[str, ak.Array]:
    """The branches of a TTree, by name; a list of records of numbers is one array."""
    return dict(_branches(rows, ""))


def _branches(rows: ak.Array, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in rows.fields:
        values, branch = rows[name], f"{prefix}{name}"
        if values.ndim == 1 and values.fields:
            yield from _branches(values, f"{branch}_")
        elif values.ndim == 1 and _is_text(values):
            yield branch, _bytes_of(values)
        elif values.fields:
            yield from _branches_of_records(values, branch)
        else:
            yield branch, values


def _branches_of_records(values: ak.Array, branch: str) -> Iterator[tuple[str, Any]]:
    """Branches of a list of records for each event."""
    numbers = {}
    for name in values.fields:
        one = values[name]
        if one.ndim == 2:
            numbers[name] = one
        else:
            yield f"{branch}_{name}", ak.flatten(one, axis=2)
            yield f"{branch}_{name}_count", ak.num(one, axis=2)
    if numbers:
        yield branch, ak.zip(numbers)


def _is_text(values: ak.Array) -> bool:
    return bool(ak.parameters(values).get("__array__") == "string")


def _bytes_of(texts: ak.Array) -> ak.Array:
    return ak.without_parameters(texts)


def _metadata(schema: pa.Schema) -> dict[str, str]:
    texts = {
        key.decode(): value.decode(errors="replace")
        for key, value in (schema.metadata or {}).items()
    }
    return {key: value for key, value in texts.items() if key != _SCHEMA_OF_ARROW}
