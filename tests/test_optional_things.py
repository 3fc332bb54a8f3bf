"""A server where things that it can do without are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trackserve.trackers.patatrack.result import PatatrackResult

ALONE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
"""Prefix of a command that has file systems of its own."""
PROGRAM = """
import sys
from trackserve.client import Client
from trackserve.io import read_events
from trackserve.serving.server import Server
with Server(sys.argv[1], grpc_port=0, http_port=0, metrics_port=0) as server:
    with Client(server.grpc_url, timeout=60) as client:
        for event in list(read_events(sys.argv[2]))[:3]:
            print(client.transport, client.reconstruct("patatrack", event).counts.tracks)
"""


@pytest.mark.slow
def test_without_runtime_directory_and_shared_memory(
    repository: Path, sample_directory: Path, sample_results: list[PatatrackResult], backend: str
) -> None:
    """Events travel by gRPC; the Python backend needs shared memory itself, and says so."""
    mount = "mount -t tmpfs -o ro none /dev/shm"
    if (
        not shutil.which("unshare")
        or subprocess.run([*ALONE, "sh", "-c", mount], check=False).returncode
    ):
        pytest.skip("no file systems of one's own here")
    program = [sys.executable, "-c", PROGRAM, str(repository), str(sample_directory)]
    done = subprocess.run(
        [*ALONE, "sh", "-c", f'{mount} && exec "$@"', "sh", *program],
        env=os.environ | {"XDG_RUNTIME_DIR": "/dev/null/none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if backend == "native":
        assert done.returncode == 0, done.stderr
        expected = [f"grpc {result.counts.tracks}" for result in sample_results[:3]]
        assert done.stdout.splitlines() == expected
    else:
        assert "ServerError: Triton died while starting" in done.stderr
        assert "shared memory" in done.stderr
