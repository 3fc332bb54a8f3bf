"""Events that a detector, a disk or a network has damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.raw_words import FED, payload, pixel_word, split, stream
from trackserve import PatatrackPipeline
from trackserve.detectors.phase1.cabling import make_roc_table
from trackserve.edm import RawEvent
from trackserve.errors import EventError, InputError, LimitExceeded
from trackserve.io import read_conditions
from trackserve.trackers.patatrack import unpack as codes
from trackserve.trackers.patatrack.result import PatatrackResult


@pytest.fixture(scope="module")
def link(sample_directory: Path) -> int:
    """A link of the FED whose ROC 1 is cabled to a module with double-column words."""
    roc = make_roc_table(read_conditions(sample_directory))[(FED - 1200) * 384 :]
    return next(n for n in range(1, 49) if roc[(n - 1) * 8 + 1, 0] >= 96)


def only(pipeline: PatatrackPipeline, event: RawEvent) -> PatatrackResult:
    return pipeline.reconstruct(event, keep=("digis",))


def error_codes(result: PatatrackResult) -> list[int]:
    return result.readout_errors.code.tolist()


def test_empty_events(pipeline: PatatrackPipeline) -> None:
    for event in (stream([]), stream([(FED, [])]), stream([(FED, payload([]))])):
        result = only(pipeline, event)
        assert set(result.counts.as_array()) == {0}
        assert error_codes(result) == []


def test_one_hit(pipeline: PatatrackPipeline, link: int) -> None:
    result = only(pipeline, stream([(FED, payload([pixel_word(link, 1, 80, adc=250)]))]))
    assert result.counts.clusters == 1
    assert result.counts.doublets == result.counts.tracks == result.counts.vertices == 0


def test_zero_words_are_counted_and_skipped(pipeline: PatatrackPipeline) -> None:
    result = only(pipeline, stream([(FED, payload([0] * 6))]))
    assert result.counts.words == 6
    assert result.counts.modules == 0


@pytest.mark.parametrize(
    ("mangle", "message"),
    [
        (lambda words: words[:-1], "ends inside a FED"),
        (lambda words: words[:3], "ends inside a FED"),
        (lambda words: [*words, 0, 0], "after the last FED"),
        (lambda words: [words[0], 5000, *words[2:]], "FED id out of range"),
        (lambda words: [words[0], words[1], words[2] - 4, *words[3:]], "size of a FED"),
        (lambda words: [words[0], words[1], 8, *words[3:]], "size of a FED"),
        (lambda words: [words[0], words[1], words[2] + 80, *words[3:]], "ends inside a FED"),
        (lambda words: [2, *words[1:], *words[1:]], "twice"),
        (lambda words: [99999, *words[1:]], "more FEDs"),
    ],
)
def test_broken_stream_is_an_error_that_says_where(
    pipeline: PatatrackPipeline, mangle: object, message: str
) -> None:
    words = stream([(FED, payload([0, 0]))]).data.view(np.uint32).tolist()
    data = np.array(mangle(words), np.uint32).view(np.uint8)  # type: ignore[operator]
    with pytest.raises(EventError, match=message) as error:
        only(pipeline, RawEvent(data, event=17))
    assert error.value.fields["event"] == 17
    assert {"fed", "word"} <= set(error.value.fields)


@pytest.mark.parametrize(
    "data",
    [np.zeros(0, np.uint8), np.zeros(7, np.uint8), np.zeros(8, np.int32), np.zeros((2, 4), "u1")],
)
def test_not_a_stream_of_words(pipeline: PatatrackPipeline, data: np.ndarray) -> None:
    with pytest.raises(EventError):
        only(pipeline, RawEvent(data))


def test_beam_spot_must_be_finite(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    nowhere = replace(sample_events[0].beam_spot, z=float("nan"))
    with pytest.raises(EventError, match="beam spot"):
        pipeline.reconstruct(replace(sample_events[0], beam_spot=nowhere))


def test_too_many_words(pipeline: PatatrackPipeline) -> None:
    whole = stream([(1200 + k, payload([0] * 6000, 1200 + k)) for k in range(100)])
    assert only(pipeline, whole).counts.words == 600_000
    over = stream([(1200 + k, payload([0] * 6002, 1200 + k)) for k in range(100)])
    with pytest.raises(LimitExceeded) as error:
        only(pipeline, over)
    found = {"limit": "words", "bound": 600_000, "found": 600_200}
    assert error.value.fields == {"event": 0} | found


def test_wrong_headers_and_trailers_are_counted(pipeline: PatatrackPipeline, link: int) -> None:
    good = payload([pixel_word(link, 1, 80, adc=250)])
    cases = {
        codes.BAD_HEADER: [good[0], 0, *good[2:]],
        codes.BAD_TRAILER: [*good[:-1], 0],
        codes.BAD_LENGTH: [*good[:-1], 0xA << 28 | 77],
    }
    for code, content in cases.items():
        result = only(pipeline, stream([(FED, content)]))
        assert error_codes(result) == [code]
        assert result.counts.clusters == 1, "CMS unpacks such a FED all the same"
    wrong_source = [(FED + 1) << 8, *good[1:]]
    assert error_codes(only(pipeline, stream([(FED, wrong_source)]))) == [codes.BAD_HEADER]


def test_crc_error_drops_the_fed(pipeline: PatatrackPipeline, link: int) -> None:
    content = payload([pixel_word(link, 1, 80, adc=250)])
    content[-2] |= 4
    result = only(pipeline, stream([(FED, content)]))
    assert error_codes(result) == [codes.CRC_ERROR]
    assert result.counts.words == 0


def test_several_headers_and_trailers(pipeline: PatatrackPipeline, link: int) -> None:
    word = pixel_word(link, 1, 80, adc=250)
    header, trailer = [FED << 8, 0x5 << 28], [0, 0xA << 28 | 5]
    more_header, more_trailer = [header[0] | 8, header[1]], [trailer[0] | 8, trailer[1]]
    content = [*more_header, *header, word, 0, *trailer, *more_trailer]
    result = only(pipeline, stream([(FED, content)]))
    assert result.counts.words == 2
    assert result.counts.clusters == 1
    assert error_codes(result) == []


def test_unknown_fed_is_counted_and_ignored(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent], sample_results: list
) -> None:
    feds = [*split(sample_events[0]), (700, payload([1, 2, 3], 700))]
    event = replace(stream(feds), beam_spot=sample_events[0].beam_spot)
    result = only(pipeline, event)
    assert error_codes(result) == [codes.UNKNOWN_FED]
    assert result.readout_errors.fed.tolist() == [700]
    assert result.tracks == sample_results[0].tracks


@pytest.mark.parametrize(
    ("word", "code"),
    [
        *((pixel_word(3, roc, 0, adc=9), roc) for roc in (25, 26, 27, 28, 29, 31)),
        (30 << 21 | 8 << 8, 30),
        (30 << 21 | 1 << 8, codes.OVERFLOW),
        (pixel_word(0, 1, 80), codes.BAD_LINK),
        (pixel_word(49, 1, 80), codes.BAD_LINK),
        (pixel_word(1, 0, 80), codes.BAD_ROC),
        (pixel_word(1, 9, 80), codes.BAD_ROC),
    ],
)
def test_error_words_are_counted(pipeline: PatatrackPipeline, word: int, code: int) -> None:
    result = only(pipeline, stream([(FED, payload([word]))]))
    assert error_codes(result) == [code]
    assert result.readout_errors.fed.tolist() == [FED]
    assert result.readout_errors.value.tolist() == [word]
    assert result.readout_errors.word.tolist() == [5]


def test_invalid_pixels_are_counted(pipeline: PatatrackPipeline, link: int) -> None:
    words = [pixel_word(link, 1, 1), pixel_word(link, 1, 162), pixel_word(link, 1, 80, 26)]
    result = only(pipeline, stream([(FED, payload(words))]))
    assert error_codes(result) == [codes.BAD_PIXEL] * 3
    assert result.counts.modules == 0


def test_module_split_over_the_stream_is_put_together(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent], sample_results: list
) -> None:
    """The first module's first word moves to the end of its FED."""
    feds = split(sample_events[0])
    fed, content = feds[0]
    words = [word for word in content[2:-2] if word]
    feds[0] = fed, payload([*words[1:], words[0]], fed)
    event = replace(stream(feds), beam_spot=sample_events[0].beam_spot)
    result = only(pipeline, event)
    assert set(error_codes(result)) == {codes.SPLIT_MODULE}
    assert result.counts == sample_results[0].counts
    np.testing.assert_array_equal(np.sort(result.tracks.pt), np.sort(sample_results[0].tracks.pt))


def test_a_bad_event_does_not_spoil_its_batch(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent], sample_results: list
) -> None:
    bad = RawEvent(sample_events[3].data[:4000], event=3)
    results = pipeline.run([sample_events[0], bad, sample_events[1]])
    assert isinstance(results[1], EventError)
    assert results[0].tracks == sample_results[0].tracks  # type: ignore[union-attr]
    assert results[2].tracks == sample_results[1].tracks  # type: ignore[union-attr]


def test_unknown_names_are_input_errors(
    pipeline: PatatrackPipeline, sample_directory: object
) -> None:
    with pytest.raises(InputError, match="unknown part to keep"):
        pipeline.run([], keep=("hitz",))
    with pytest.raises(InputError, match="configuration"):
        PatatrackPipeline.from_directory(sample_directory, config="refrence")  # type: ignore[arg-type]


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_events_never_crash(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent], data: st.DataObject
) -> None:
    """Cut the stream anywhere and overwrite words with anything."""
    event = sample_events[data.draw(st.integers(0, 9))]
    words = event.data.view(np.uint32).copy()
    n = data.draw(st.integers(0, len(words)))
    words = words[: n or None]
    for _ in range(data.draw(st.integers(0, 20))):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(st.integers(0, 2**32 - 1))
    try:
        result = pipeline.reconstruct(RawEvent(words.view(np.uint8), event.beam_spot))
    except EventError as error:
        assert error.fields["event"] == 0  # noqa: PT017
    else:
        assert result.counts.tracks == len(result.tracks)
