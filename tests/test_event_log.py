"""Lines of the log of events, without a server."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.errors import EventError, InputError, ServerBusy
from trackserve.serving.backend.event_log import (
    FORMAT_VARIABLE,
    PROBE_ID,
    VARIABLE,
    EventLog,
    open_event_log,
)
from trackserve.serving.backend.runtime import Answer, Done, EncodedEvent, EncodedResult, Job
from trackserve.serving.log import checked_format, log_line
from trackserve.serving.server import Server
from trackserve.wire.bundle import BUNDLE, join_events, split_events
from trackserve.wire.events import NUMBER

OK = EncodedResult({}, {}, {})


def done(answer: Answer, request: str = "a-1", event: int = 3) -> Done:
    tensors = {NUMBER.name: np.array([event])}
    job = Job(EncodedEvent(tensors, []), lambda answer: None, lambda: False, request=request)
    return Done(job, answer, 0.25, 1.5)


@given(st.text(), st.sampled_from(["text", "json"]))
def test_a_line_stays_one_line_whatever_a_client_writes(text: str, form: str) -> None:
    line = log_line(form, "info", "event", {"request": text})
    assert len(line.splitlines()) == 1
    if form == "json":
        assert json.loads(line)["request"] == text


def test_a_line_tells_what_an_event_came_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    log = EventLog("tracks", descriptor, "text")
    log.answered(done(OK))
    log.answered(done(EventError("no hits", event=3)))
    log.refused("a-2", ServerBusy("full"))
    log.answered(done(OK, PROBE_ID))
    os.close(descriptor)
    log.answered(done(OK))  # a log that cannot be written harms nobody
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    about = "event model=tracks request="
    expected = [
        f"{time} info {about}a-1 event=3 outcome=ok queue=0.25 compute=1.5",
        f"{time} warning {about}a-1 event=3 outcome=EventError queue=0.25 compute=1.5 "
        r"error=no hits \(event 3\)",
        f"{time} warning {about}a-2 outcome=ServerBusy error=full",
    ]
    lines = file.read_text().splitlines()
    assert len(lines) == len(expected)
    for pattern, line in zip(expected, lines, strict=True):
        assert re.fullmatch(pattern, line)


def test_a_plain_tritonserver_takes_the_log_from_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_event_log("tracks") is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "log"))
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    for _ in range(2):  # it is added to
        log = open_event_log("tracks")
        assert log is not None
        log.answered(done(OK))
    assert len([json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]) == 2


def test_a_form_that_there_is_not_is_refused(tmp_path: Path) -> None:
    assert checked_format("json") == "json"
    with pytest.raises(InputError, match="no such form"):
        Server(tmp_path, log_format="xml")


def test_a_bundle_has_the_ids_of_its_events_or_none() -> None:
    events = [{NUMBER.name: np.array([number])} for number in range(2)]
    for ids in ([], ["a-1", "a-2"]):
        bundle = {BUNDLE.name: join_events(events, ["result"], ids).join()}
        assert split_events(bundle, [NUMBER], [BUNDLE._replace(name="result")]).ids == ids
    for bad in (["a-1"], ["a-1", "a-2", "a-3"]):
        bundle = {BUNDLE.name: join_events(events, [], bad).join()}
        with pytest.raises(InputError, match="ids for 2 events"):
            split_events(bundle, [NUMBER], [])
