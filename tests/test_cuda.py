"""The pipeline's CUDA kernels against the CPU, bit for bit, without a GPU.

Whole events as one thread (see one_thread.py), a few modules with many threads in Numba's
simulator, which accepts what PTX refuses: see test_ptx.py.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from last_stages import Candidates, on_cpu, on_device, random_candidates, random_tracks
from numba import cuda
from one_thread import OneThread

from benchmarks.raw_words import FED, payload, split, stream
from trackserve import PatatrackPipeline
from trackserve.detectors.phase1.cabling import UnpackTables, make_unpack_tables
from trackserve.device.cuda import LARGEST
from trackserve.edm import (
    RawEvent,
    Tracks,
)
from trackserve.errors import EventDeadlineExceeded, EventError, InputError, encode
from trackserve.io import read_conditions
from trackserve.trackers.patatrack.config import DEFAULT, REFERENCE
from trackserve.trackers.patatrack.cuda import CudaPatatrack
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.tracker import TRACKER
from trackserve.trackers.patatrack.unpack import (
    BAD_LENGTH,
    BAD_LINK,
    SPLIT_MODULE,
    UNKNOWN_FED,
    find_roc,
)

KEEP = list(PatatrackResult.intermediates())


@pytest.fixture(scope="module")
def kernels(sample_directory: Path) -> CudaPatatrack:
    return CudaPatatrack(read_conditions(sample_directory), DEFAULT, OneThread())


def test_whole_events(
    kernels: CudaPatatrack,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
) -> None:
    before = kernels.device.synchronisations
    assert kernels.run(sample_events, KEEP) == sample_results
    assert kernels.device.synchronisations == before + 6
    assert kernels.run([], KEEP) == []
    some = kernels.run(sample_events[3:5])
    assert [result.tracks for result in some] == [r.tracks for r in sample_results[3:5]]  # type: ignore[union-attr]
    assert some[0].hits is None  # type: ignore[union-attr]


def test_the_host_waits_for_each_stage_that_is_timed(
    kernels: CudaPatatrack,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
) -> None:
    before = kernels.device.synchronisations
    ended: list[str] = []
    assert kernels.run(sample_events[:2], KEEP, ended.append) == sample_results[:2]
    assert tuple(ended) == TRACKER.stages
    assert kernels.device.synchronisations == before + 6 + len(ended)


@pytest.mark.slow
def test_whole_events_in_the_reference_configuration(
    sample_directory: Path, sample_events: list[RawEvent]
) -> None:
    conditions = read_conditions(sample_directory)
    kernels = CudaPatatrack(conditions, REFERENCE, OneThread())
    expected = PatatrackPipeline(conditions, REFERENCE).run(sample_events, KEEP)
    assert kernels.run(sample_events, KEEP) == expected


def test_a_long_list_is_cut_and_too_much_is_halved(
    kernels: CudaPatatrack,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels.run(sample_events[:1])  # compiled code keeps the limit of its first launch
    too_much = sum(result.counts.doublets for result in sample_results[:2])
    monkeypatch.setattr("trackserve.device.cuda.LARGEST", too_much)
    assert kernels.run(sample_events[:2], KEEP) == sample_results[:2]
    monkeypatch.setattr("trackserve.device.cuda.LARGEST", sample_results[0].counts.doublets)
    assert isinstance(kernels.run(sample_events[:1])[0], EventError)
    monkeypatch.setattr("trackserve.device.cuda.LARGEST", LARGEST)
    monkeypatch.setattr("trackserve.trackers.patatrack.cuda.pipeline.MAX_WORDS", 60_000)
    assert kernels.run(sample_events, KEEP) == sample_results


def same(
    found: Sequence[PatatrackResult | EventError], expected: Sequence[PatatrackResult | EventError]
) -> bool:
    """Equal bit for bit, errors in type, message and fields."""
    return [encode(r) if isinstance(r, EventError) else r for r in found] == [
        encode(r) if isinstance(r, EventError) else r for r in expected
    ]


@pytest.mark.parametrize("beyond", ["error", "partial"])
@pytest.mark.parametrize("name", PatatrackLimits.names())
def test_events_beyond_a_limit_leave_their_batch(
    kernels: CudaPatatrack,
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    name: str,
    beyond: str,
) -> None:
    events = sample_events[:5]
    few, many = 0, PatatrackLimits().counts()[name]
    stopped = 0
    while not 0 < stopped < len(events):  # find a limit that some of them exceed
        limits = PatatrackLimits(**{name: (few + many) // 2}, beyond=beyond)
        expected = pipeline.run(events, KEEP, limits=limits)
        stopped = sum(isinstance(r, EventError) or bool(r.stopped_by) for r in expected)
        few, many = ((few + many) // 2, many) if stopped else (few, (few + many) // 2)
    assert same(kernels.run(events, KEEP, limits=limits), expected)


def test_the_deadline_of_a_batch(kernels: CudaPatatrack, sample_events: list[RawEvent]) -> None:
    found = kernels.run(sample_events[:2], limits=PatatrackLimits(deadline=0))
    assert [type(error) for error in found] == [EventDeadlineExceeded] * 2


@settings(max_examples=10)
@given(data=st.data())
def test_damaged_events(
    kernels: CudaPatatrack,
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    data: st.DataObject,
) -> None:
    """Cut streams anywhere, overwrite words with anything, shuffle those of a FED."""
    events = []
    for number in range(4):
        event = sample_events[data.draw(st.integers(0, 9))]
        feds = split(event)
        for _ in range(data.draw(st.integers(0, 3))):
            k = data.draw(st.integers(0, len(feds) - 1))
            fed, content = feds[k]
            words = data.draw(st.permutations(content[2:-2][:40])) + content[2:-2][20:]
            feds[k] = fed, payload(words, fed)
        words = stream(feds).data.view(np.uint32).copy()
        words = words[: data.draw(st.one_of(st.just(None), st.integers(1, len(words))))]
        for _ in range(data.draw(st.integers(0, 20))):
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.integers(0, 2**32 - 1))
        events.append(RawEvent(words.view(np.uint8), event.beam_spot, number))  # type: ignore[attr-defined]
    keep = KEEP
    assert same(kernels.run(events, keep), pipeline.run(events, keep))


def only_modules(event: RawEvent, modules: set[int], cabling: UnpackTables) -> RawEvent:
    """The event without the pixels of other modules."""
    feds = []
    for fed, content in split(event):
        words = [w for w in content[2:-2] if w and find_roc(w, fed, cabling)[1].module in modules]
        if words:
            feds.append((fed, payload(words, fed)))
    return replace(stream(feds, event.event), beam_spot=event.beam_spot)


def around_tracks(
    event: RawEvent, result: PatatrackResult, n: int, cabling: UnpackTables
) -> RawEvent:
    """The event in the modules that the first ``n`` tracks of the first vertex hit."""
    hits = result.tracks.hits[result.tracks.vertex == 0][:n]
    assert result.hits is not None
    return only_modules(event, set(result.hits.module[hits[hits >= 0]].tolist()), cabling)


def damaged(event: RawEvent) -> RawEvent:
    """A module that is not contiguous, a pixel twice, words that are none, a wrong trailer
    and a FED that nobody knows."""
    feds = sorted(split(event), key=lambda fed: -len({word >> 26 for word in fed[1][2:-2]}))
    fed, content = feds[0]
    words = [word for word in content[2:-2] if word]
    words = [*words[1:], words[0], words[5], 29 << 21, 0, 63 << 26 | 1 << 21]
    feds[0] = fed, payload(words, fed, length=1)
    feds[1:] = feds[:0:-1]
    return replace(stream([*feds, (700, payload([], 700))], 7), beam_spot=event.beam_spot)


def last_stages(sizes: Sequence[int], seed: int) -> list[tuple[Candidates, Tracks]]:
    """Events of so many random ntuplets, and tracks."""
    return [
        (random_candidates(n, seed + k), random_tracks(n, seed + k)) for k, n in enumerate(sizes)
    ]


def assert_same_stages(found: list[Any], expected: list[Any]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for quality, other in zip(ours[:2], theirs[:2], strict=True):
            np.testing.assert_array_equal(quality, other)
        for (vertices, of_track), (others, of_other) in zip(ours[2:], theirs[2:], strict=True):
            assert vertices == others
            np.testing.assert_array_equal(of_track, of_other)


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6), seed=st.integers(0, 10**6))
def test_random_candidates_and_tracks(sizes: list[int], seed: int) -> None:
    events = last_stages([*sizes, 0, 1, 500], seed)
    assert_same_stages(on_device(OneThread(), events), on_cpu(events))


@pytest.mark.slow
def test_random_candidates_and_tracks_on_several_threads(tmp_path: Path) -> None:
    events = last_stages((40, 0, 1, 2, 13, 80), 0)
    found = simulate("simulate_last_stages.py", events, tmp_path)
    expected = on_cpu(events)
    assert_same_stages(found, expected)
    assert max(len(vertices) for *_, (vertices, _) in expected) > 4  # more than threads


def simulate(script: str, events: Sequence[Any], folder: Path, *arguments: Path) -> Any:
    """Run a script with a batch in Numba's simulator; return what it writes."""
    given, found = folder / "events.pickle", folder / "results.pickle"
    given.write_bytes(pickle.dumps(list(events)))
    # compiled without optimisation: the formulas that kernels call are not kept on disk
    env = os.environ | {
        "NUMBA_ENABLE_CUDASIM": "1",
        "NUMBA_OPT": "0",
        "NUMBA_CACHE_DIR": str(folder),
    }
    command = [sys.executable, Path(__file__).with_name(script), *arguments, given, found]
    for _ in range(3):
        done = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, check=False)
        # Numba's simulator walks through a kernel's globals while another thread adds to them
        if "dictionary changed size during iteration" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return pickle.loads(found.read_bytes())


@pytest.mark.slow
def test_a_batch_gives_what_a_cpu_gives(
    pipeline: PatatrackPipeline,
    sample_directory: Path,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    tmp_path: Path,
) -> None:
    cabling = make_unpack_tables(read_conditions(sample_directory))
    small = [
        around_tracks(event, result, n, cabling)
        for event, result, n in zip(sample_events, sample_results, (8, 4), strict=False)
    ]
    nowhere = replace(small[0].beam_spot, z=float("nan"))
    events = [
        small[0],
        RawEvent(small[0].data[:600], small[0].beam_spot, event=5),
        stream([(FED, payload([0, 0]))], 6),
        damaged(small[0]),
        replace(small[0], beam_spot=nowhere, event=8),
        RawEvent(np.zeros(7, np.uint8), event=9),
        small[1],
    ]
    expected = pipeline.run(events, KEEP)
    found, ended = simulate("simulate_cuda.py", events, tmp_path, sample_directory)
    assert same(found, expected)
    assert tuple(ended) == TRACKER.stages
    codes = {UNKNOWN_FED, SPLIT_MODULE, BAD_LENGTH, BAD_LINK, 29}
    assert set(expected[3].readout_errors.code) == codes  # type: ignore[union-attr]


def test_what_cannot_run_there_says_so(sample_directory: Path) -> None:
    with pytest.raises(InputError, match="no such device"):
        PatatrackPipeline.from_directory(sample_directory, device="cude")
    if not cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            PatatrackPipeline.from_directory(sample_directory, device="cuda")


def test_a_batch_that_memory_does_not_hold_is_halved(
    sample_directory: Path, sample_events: list[RawEvent], sample_results: list[PatatrackResult]
) -> None:
    most = 2 * max(result.counts.doublets for result in sample_results)

    class Small(OneThread):
        def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
            if len(shape) == 1 and dtype == np.uint8 and shape[0] > most:
                raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
            return super()._allocate(shape, dtype)

    kernels = CudaPatatrack(read_conditions(sample_directory), DEFAULT, Small())
    assert kernels.run(sample_events, KEEP) == sample_results
