"""Run a study: its points in turns, round by round, kept as they are measured."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from trackserve.io.files import writable

from . import machine
from .columns import meanings
from .lab import Lab
from .load import Span
from .samples import Progress
from .study import How, Point, Study
from .table import Record, Row, columns_of, write_record

_WARM_UP = 0.1
"""Part of a measurement's time for which each point runs before the first round."""


def run(study: Study, how: How, folder: Path, progress: Progress, events: str = "") -> Record:
    """Measure a study and write its data.

    Rows are kept as they come in ``NAME.partial.jsonl``. If a run is stopped, the next one with
    the same settings measures what is missing.

    Args:
        study: the study.
        how: how it is run.
        folder: gets the data.
        progress: is told about each measurement.
        events: path of the events, if they are not those of ``how``.

    Raises:
        TrackserveError: an event, a server or the folder failed.
    """
    points = study.plan(how)
    rounds = how.rounds if study.repeats else 1
    draft = folder / f"{study.name}.partial.jsonl"
    head = {"settings": _settings(how, points, rounds, events)}
    with writable(draft):
        folder.mkdir(parents=True, exist_ok=True)
        kept = _read(draft, head)
        lines = [json.dumps(entry) for entry in (head, *kept)]
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = {(entry["point"], entry["round"]) for entry in kept}
    rows = [(entry["point"], entry["round"], entry["rows"]) for entry in kept]
    about = kept[-1]["about"] if kept else {}
    total = len(points) * rounds
    started = datetime.now(UTC).isoformat(timespec="seconds")
    start = time.perf_counter()
    with Lab(how, progress) as lab:
        for number, turn in _turns(points, rounds, lab, study, done):
            note = f"{study.name}: {_name(points[number])}, round {turn}"
            progress(note, len(done), total)
            found = _measure(study, lab, points[number], turn)
            done.add((number, turn))
            rows.append((number, turn, found))
            about = _about(about, lab)
            entry = {"point": number, "round": turn, "rows": found, "about": about}
            with writable(draft), draft.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        progress(f"{study.name}: done", total, total)
    rows.sort(key=lambda entry: entry[:2])
    about |= {
        "study": study.name,
        "command": " ".join(["trackserve", *sys.argv[1:]]),
        "started": started,
        "seconds": round(time.perf_counter() - start, 1),
        "resumed": bool(kept),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": head["settings"],
    }
    measured = [row for _, _, found in rows for row in found]
    about["columns"] = meanings(columns_of(measured))
    record = Record(study.name, measured, about)
    write_record(folder, record)
    draft.unlink(missing_ok=True)
    return record


def _turns(
    points: Sequence[Point], rounds: int, lab: Lab, study: Study, done: set[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Numbers of points and rounds that are left, in turns within each setting."""
    numbered = list(enumerate(points))
    for _, group in groupby(numbered, key=lambda entry: entry[1].setting):
        numbers = [number for number, _ in group]
        left = [(n, r) for r in range(1, rounds + 1) for n in numbers if (n, r) not in done]
        if not left:
            continue
        lab.clear()
        lab.span, lab.is_warming = Span(_WARM_UP * lab.how.seconds, 0), True
        for number in dict.fromkeys(number for number, _ in left):
            list(study.measure(lab, dict(points[number].values)))
        lab.span, lab.is_warming = Span(lab.how.seconds), False
        yield from left


def _measure(study: Study, lab: Lab, point: Point, turn: int) -> list[Row]:
    start = time.perf_counter()
    with machine.Watch() as watch:
        found = list(study.measure(lab, dict(point.values)))
    seconds = round(time.perf_counter() - start, 3)
    frame: Row = {"round": turn, "seconds": seconds, **watch.seen}
    return [{**point.values, **row, **frame} for row in found]


def _name(point: Point) -> str:
    return ", ".join(str(value) for value in point.values.values())


def _settings(how: How, points: Sequence[Point], rounds: int, events: str) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    return {
        "rounds": rounds,
        "seconds": how.seconds,
        "backend": how.backend,
        "device": how.device,
        "samples": [events] if events else [f"{s.tracker} {s.name}: {s.path}" for s in how.samples],
        "version": machine.versions().get("trackserve", ""),
        "points": [[point.values, point.setting] for point in points],
    }


def _about(about: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """What is known of the measurements, with what was learnt by the latest."""
    return {
        "identities": about.get("identities", {}) | lab.identities,
        "notes": list(dict.fromkeys([*about.get("notes", []), *lab.notes])),
        "commands": list(dict.fromkeys([*about.get("commands", []), *lab.commands])),
    }


def _read(draft: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a run that was stopped; none if it had other settings."""
    if not draft.exists():
        return []
    entries = []
    for line in draft.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # the last line, if the run was stopped while writing it
            entries.append(json.loads(line))
    if not entries or entries[0] != json.loads(json.dumps(head)):
        return []
    return entries[1:]
