"""Clients without our package: by tritonclient alone, and in C++ by gRPC alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trackserve import Client
from trackserve.edm import TrackCandidates
from trackserve.edm.columns import Array
from trackserve.io import open_points
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
TRACKML = Path(__file__).parent / "data" / "trackml-mini"
BUILD = ("protoc", "grpc_cpp_plugin", "pkg-config", "g++")
"""What builds the client in C++."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "exatrkx", {})
    with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
        yield server.grpc_url.removeprefix("grpc://")


@pytest.fixture(scope="module")
def points() -> Array:
    return open_points(TRACKML)[0].points.position


@pytest.fixture(scope="module")
def expected() -> TrackCandidates:
    return ExatrkxPipeline.from_model().reconstruct(open_points(TRACKML)[0]).candidates


def check(output: str, expected: TrackCandidates, address: str) -> None:
    """Each candidate is a line: its score, and its points."""
    by, *lines = output.splitlines()
    with Client(f"grpc://{address}") as client:
        assert by == f"by {client.identify('exatrkx')}"
    assert len(lines) == len(expected)
    assert len(lines) > 10
    for line, rows, score in zip(lines, expected.points, expected.score, strict=True):
        first, *found = line.split()
        assert float(first) == pytest.approx(float(score), abs=6e-4)
        assert list(map(int, found)) == rows.tolist()


def run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.mark.slow
def test_tritonclient_alone_gets_the_candidates(
    address: str, points: Array, expected: TrackCandidates, tmp_path: Path
) -> None:
    np.save(tmp_path / "points.npy", points)
    client = (sys.executable, EXAMPLES / "plain_client.py", address, tmp_path / "points.npy")
    check(run(*client), expected, address)
    assert "another identity" in run(*client, "0123456789abcdef", status=1)


@pytest.mark.slow
def test_a_client_in_c_plus_plus_gets_the_candidates(
    address: str, points: Array, expected: TrackCandidates, tmp_path: Path
) -> None:
    missing = [tool for tool in BUILD if shutil.which(tool) is None]
    if missing or subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode:
        pytest.skip(f"C++ with gRPC cannot be built here: {missing or 'no libgrpc++-dev'}")
    build = EXAMPLES / "build_plain_client.sh"
    subprocess.run([build, tmp_path], env=os.environ | {"PYTHON": sys.executable}, check=True)
    (tmp_path / "points").write_bytes(np.ascontiguousarray(points, np.float32).tobytes())
    client = (tmp_path / "plain_client", address, tmp_path / "points")
    check(run(*client), expected, address)
    assert "another identity" in run(*client, "0123456789abcdef", status=1)
