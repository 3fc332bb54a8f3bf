"""Events that a client sends and does not wait for. The servers are emulated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from dataclasses import replace
from typing import Any

import pytest
from exatrkx_models import random_event

from trackserve.client import Client
from trackserve.edm import PointsEvent
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    IdentityMismatch,
    InputError,
    MalformedEvent,
    ServerBusy,
)
from trackserve.studies.emulated import EmulatedServer, Emulation
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import UNCHECKED

EXATRKX = find_tracker("exatrkx")


@pytest.fixture(scope="module")
def events() -> list[PointsEvent]:
    return [random_event(0, event=number) for number in range(20)]


@pytest.fixture(scope="module")
def emulation(events: list[PointsEvent]) -> Emulation:
    return Emulation(EXATRKX, EXATRKX.build({}).reconstruct(events[0]), 0.0, workers=4)


@pytest.fixture
def client(emulation: Emulation) -> Iterator[Client]:
    with EmulatedServer({"exatrkx": emulation}) as server, Client(server.url) as client:
        yield client


def test_the_future_has_the_result(client: Client, events: list[PointsEvent]) -> None:
    futures = [client.submit("exatrkx", event) for event in events]
    for event, future in zip(events, futures, strict=True):
        assert future.result(20) == client.reconstruct("exatrkx", event)


def test_results_come_while_nobody_waits(client: Client, events: list[PointsEvent]) -> None:
    came = threading.Event()
    client.submit("exatrkx", events[0]).add_done_callback(lambda _: came.set())
    assert came.wait(20)


def test_a_malformed_event_is_an_error_of_its_future(client: Client) -> None:
    assert isinstance(client.submit("exatrkx", "nonsense").exception(20), MalformedEvent)


def test_wrong_arguments_are_errors_of_the_future(
    client: Client, events: list[PointsEvent]
) -> None:
    assert isinstance(client.submit("nothing", events[0]).exception(20), InputError)
    other = client.submit("exatrkx", events[0], identity="exatrkx 1: model other")
    assert isinstance(other.exception(20), IdentityMismatch)


def test_a_busy_server_is_asked_again_until_it_has_room(
    emulation: Emulation, events: list[PointsEvent]
) -> None:
    slow = emulation._replace(seconds=0.01, workers=1, queue=1)
    with EmulatedServer({"exatrkx": slow}) as server:
        with Client(server.url) as client:
            futures = [client.submit("exatrkx", event) for event in events[:10]]
            assert [future.result(20).event for future in futures] == list(range(10))
        with Client(server.url, retry=False) as client:
            client.identify("exatrkx")
            futures = [client.submit("exatrkx", event) for event in events]
            errors = [future.exception(20) for future in futures]
            assert any(isinstance(error, ServerBusy) for error in errors)


def test_a_deadline_ends_the_wait(emulation: Emulation, events: list[PointsEvent]) -> None:
    with (
        EmulatedServer({"exatrkx": emulation._replace(seconds=2.0)}) as server,
        Client(server.url) as client,
    ):
        future = client.submit("exatrkx", events[0], identity=UNCHECKED, timeout=0.1)
        assert isinstance(future.exception(20), DeadlineExceeded)


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_a_cancelled_future_stays_cancelled(
    emulation: Emulation, events: list[PointsEvent], seconds: float
) -> None:
    slow = emulation._replace(seconds=2.0, workers=1, queue=1)
    with EmulatedServer({"exatrkx": slow}) as server, Client(server.url) as client:
        futures = [client.submit("exatrkx", event, identity=UNCHECKED) for event in events[:3]]
        time.sleep(seconds)  # some are in flight then, and some wait for another try
        assert all(future.cancel() for future in futures)
        with pytest.raises(CancelledError):
            futures[0].result(20)
        time.sleep(0.3)
        assert all(future.cancelled() for future in futures)


def test_closing_the_client_ends_what_is_in_flight(
    emulation: Emulation, events: list[PointsEvent]
) -> None:
    with EmulatedServer({"exatrkx": emulation._replace(seconds=1.0)}) as server:
        client = Client(server.url)
        futures = [client.submit("exatrkx", one, identity=UNCHECKED) for one in events]
        client.close()
        assert not wait(futures, 20).not_done
        errors = [future.exception() for future in futures]
        assert any(isinstance(error, Cancelled) for error in errors)


def test_a_server_that_cannot_answer_leaves_the_event_to_this_process(
    emulation: Emulation, events: list[PointsEvent]
) -> None:
    fallback: Any = {"exatrkx": {}}
    with Client("grpc://localhost:1", fallback=fallback) as client:
        found = client.submit("exatrkx", events[3]).result(60)
    assert found.origin.is_fallback
    assert replace(found, event=0) == emulation.result
