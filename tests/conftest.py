"""Fixtures: the sample of ten events and the pipeline built from its conditions."""

from __future__ import annotations

import tarfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from trackserve import PatatrackPipeline
from trackserve.edm import RawEvent
from trackserve.io import read_events
from trackserve.serving.backend.native.build import BuildError, find_library
from trackserve.trackers.patatrack.result import PatatrackResult

DATA = Path(__file__).parent / "data"

settings.register_profile("no deadline", deadline=None)  # machines are shared
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def sample_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine-file directory with ``truth.npz``."""
    target = tmp_path_factory.mktemp("data")
    with tarfile.open(DATA / "patatrack-sample.tar.xz") as archive:
        archive.extractall(target, filter="data")
    return target / "patatrack-sample"


ONE_BACKEND = ("test_client.py", "test_serving_exatrkx.py")
"""Files whose tests with the native backend are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that repeat others with the second backend as slow: `make test-slow` runs them."""
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
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
