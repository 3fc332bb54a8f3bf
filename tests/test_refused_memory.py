"""A Triton that allows shared memory only if it is told to: it is told, or a client explains."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from trackserve.client.regions import Regions
from trackserve.serving import local
from trackserve.serving.installation import Ports, Triton
from trackserve.serving.server import Server, _Launch
from trackserve.wire.address import parse_url

REASONS = {
    "client shared memory is disabled: start with --allow-client-shm=true": 1,
    "system shared memory is not allowed": 1,
    "This protocol is restricted, expecting header 'triton-grpc-protocol-1'": 0,
}


class Refusing(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Refuses to register shared memory."""

    reason = ""

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> None:  # noqa: N802
        context.abort(grpc.StatusCode.UNAVAILABLE, self.reason)


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Refusing(), server)
        number = server.add_insecure_port("127.0.0.1:0")
        server.start()
        assert local.publish(number, local.Local("header", "value", 3, 4))
        yield number
        server.stop(None).wait()


@pytest.mark.parametrize(("reason", "lines"), REASONS.items(), ids=["2.68", "other", "stale"])
def test_a_refusal_is_explained_once(
    port: int,
    reason: str,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Refusing, "reason", reason)
    monkeypatch.setattr("trackserve.client.regions._PAUSE", 0)
    regions = Regions(parse_url(f"grpc://127.0.0.1:{port}"))
    with caplog.at_level(logging.WARNING, "trackserve.client"):
        for _ in range(3):
            assert regions.lend(1 << 20) is None
            end = time.monotonic() + 10
            while regions._all and time.monotonic() < end:
                time.sleep(0.01)
        regions.close()
    assert len(caplog.messages) == lines
    for message in caplog.messages:
        assert reason in message
        assert "--allow-client-shm=true" in message


@pytest.mark.parametrize("knows", [True, False])
def test_triton_is_told_to_allow_it_where_it_knows_the_option(tmp_path: Path, knows: bool) -> None:
    binary = tmp_path / "tritonserver"
    text = "--allow-client-shm <boolean>" if knows else "--allow-grpc <boolean>"
    binary.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{text}' >&2\nexit 1\n")
    binary.chmod(0o755)
    triton = Triton(binary, [], [])
    for _ in range(2):
        launch = _Launch(
            triton, tmp_path, tmp_path, Ports(1, 2, 3), tmp_path / "log", "s", "k", "v"
        )
        command = Server(tmp_path)._command(launch)
        assert ("--allow-client-shm=true" in command) is knows
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_triton_that_cannot_be_asked_is_told_nothing(tmp_path: Path) -> None:
    assert not Triton(tmp_path / "none", [], []).forbids_shared_memory
    assert not Triton(Path(sys.executable), [], []).forbids_shared_memory
