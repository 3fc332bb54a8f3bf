"""Fixtures: the sample of ten events and the pipeline built from its conditions."""

from __future__ import annotations

import tarfile
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


@pytest.fixture(scope="module", params=["python", "native"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn; the native one needs a C compiler."""
    name = str(request.param)
    if name == "native":
        try:
            find_library()
        except BuildError as error:
            pytest.skip(str(error))
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
