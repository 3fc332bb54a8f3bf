"""Fixtures: the sample of ten events, the pipeline built from its conditions, a server of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from archives import extract
from hypothesis import settings

from trackserve import PatatrackPipeline
from trackserve.edm import RawEvent
from trackserve.io import read_events
from trackserve.serving.backend.native.build import BuildError, find_library
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.trackers.patatrack.result import PatatrackResult

DATA = Path(__file__).parent / "data"

# machines are shared: no test of hypothesis has a deadline
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("quick")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that starts the tests in the background ignores interrupts, and tests send some
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sample_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine-file directory with ``truth.npz``."""
    target = tmp_path_factory.mktemp("data")
    extract(DATA / "patatrack-sample.tar.xz", target)
    return target / "patatrack-sample"


ONE_BACKEND = ("test_client.py", "test_hlt.py", "test_operations.py", "test_serving_exatrkx.py")
"""Files whose tests with the native backend are slow."""


LONGEST = (
    *("test_patatrack.py", "test_exatrkx.py", "test_exatrkx_cuda.py", "test_simulation.py"),
    *("test_cuda.py", "test_ptx.py", "test_points_simulation.py", "test_servers_that_die.py"),
    *("test_client.py", "test_waiting.py", "test_studies.py", "test_front.py"),
    *("test_identity.py", "test_many_servers.py", "test_site.py", "test_operations.py"),
    *("test_reconstruct.py", "test_bulk.py", "test_hlt.py", "test_serving.py", "test_fleet.py"),
    *("test_serving_exatrkx.py", "test_nothing_stays.py", "test_training.py", "test_watching.py"),
)
"""Files that take longest, first: no process is left with one of them at the end.

The first ones compile the loops that all others take from the cache. Two processes that begin with
them compile different loops.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; mark tests with the second backend as slow."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")  # type: ignore[attr-defined]
        if backend == "native" and item.path.name in ONE_BACKEND:
            item.add_marker("slow")


@cache
def find_native() -> str:
    """The file of the native backend's library; empty if it cannot be built."""
    with suppress(BuildError):
        return str(find_library())
    return ""


@pytest.fixture(scope="module", params=["python", "native"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn; the native one needs a C compiler."""
    name = str(request.param)
    if name == "native" and not find_native():
        pytest.skip("the native backend cannot be built")
    return name


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tags of :func:`server`; a test adds its own to it."""
    return tmp_path_factory.mktemp("tags")


@pytest.fixture(scope="session")
def repository_of(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path, tags: Path
) -> Callable[[str], Path]:
    """The model repository, by the name of its backend, that has Patatrack for the sample."""

    @cache
    def write(backend: str) -> Path:
        written = tmp_path_factory.mktemp("repository")
        options = {"conditions": sample_directory, "tags": tags}
        write_model(written, "patatrack", options, backend=backend)
        return written

    return write


@pytest.fixture(scope="session")
def server_of(repository_of: Callable[[str], Path]) -> Iterator[Callable[[str], Server]]:
    """The server of :func:`repository_of`, started when it is first asked for."""
    free: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
    with ExitStack() as stack:

        @cache
        def start(backend: str) -> Server:
            running = Server(repository_of(backend), host="localhost", stop_timeout=0.5, **free)
            return stack.enter_context(running)

        yield start


@pytest.fixture(scope="module")
def repository(repository_of: Callable[[str], Path], backend: str) -> Path:
    return repository_of(backend)


@pytest.fixture(scope="module")
def server(server_of: Callable[[str], Server], backend: str) -> Server:
    """A server of Patatrack that many files use: what a test does to it has an end."""
    return server_of(backend)


@pytest.fixture(scope="session")
def sample_events(sample_directory: Path) -> list[RawEvent]:
    return list(read_events(sample_directory))


@pytest.fixture(scope="session")
def pipeline(sample_directory: Path) -> PatatrackPipeline:
    return PatatrackPipeline.from_directory(sample_directory)


@pytest.fixture(scope="session")
def sample_results(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> list[PatatrackResult]:
    """Direct results of the sample, with all that can be kept."""
    keep = ("digis", "clusters", "hits", "doublets", "ntuplets")
    return [pipeline.reconstruct(event, keep) for event in sample_events]
