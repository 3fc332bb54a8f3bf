"""The nine-file directory, byte for byte, and Parquet."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve import io
from trackserve.detectors.phase1.conditions import TYPICAL_MATERIAL, PixelConditions
from trackserve.detectors.phase1.gains import Pixel, gain_place, make_gain_tables
from trackserve.device.heap import keep_freed_memory
from trackserve.edm import RawEvent, Tracks
from trackserve.errors import ConditionsError, EventError, InputError
from trackserve.io.parquet import to_awkward, write_parquet
from trackserve.trackers.patatrack.result import PatatrackResult


def test_directory_is_written_back_byte_for_byte(sample_directory: Path, tmp_path: Path) -> None:
    io.write_conditions(tmp_path, io.read_conditions(sample_directory))
    io.write_events(tmp_path, io.read_events(sample_directory))
    counts = io.read_reference_counts(sample_directory)
    assert counts is not None
    io.write_reference_counts(tmp_path, counts)
    names = {path.name for path in sample_directory.glob("*.bin")}
    assert len(names) == 9
    for name in names:
        assert (tmp_path / name).read_bytes() == (sample_directory / name).read_bytes(), name


def test_material_is_optional_and_checked(copy: Path) -> None:
    assert (io.read_conditions(copy).material == TYPICAL_MATERIAL).all()
    material = np.linspace(0.01, 0.03, 1856, dtype="<f4")
    io.write_conditions(copy, replace(io.read_conditions(copy), material=material))
    np.testing.assert_array_equal(io.read_conditions(copy).material, material)
    for wrong in (
        material[1:],
        material.view("u1")[:-1],
        np.append(material[1:], np.float32(np.nan)),
        -material,
    ):
        (copy / "material.bin").write_bytes(wrong.tobytes())
        with pytest.raises(ConditionsError) as error:
            io.read_conditions(copy)
        assert error.value.fields["file"].endswith("material.bin")


@pytest.fixture
def copy(sample_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_directory, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["fedIds", "cablingMap", "gain", "cpefast", "beamspot"])
def test_missing_or_damaged_conditions_are_named(copy: Path, name: str) -> None:
    path = copy / f"{name}.bin"
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:-1], whole + b"\0\0\0\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(ConditionsError) as error:
            io.read_conditions(copy)
        assert error.value.fields["file"].endswith(f"{name}.bin")
        assert "found" in error.value.fields
    path.unlink()
    with pytest.raises(ConditionsError, match="missing"):
        io.read_conditions(copy)


def test_fed_id_out_of_range_is_an_error(copy: Path) -> None:
    (copy / "fedIds.bin").write_bytes(np.array([2, 1200, 1350], "<u4").tobytes())
    with pytest.raises(ConditionsError, match="1350"):
        io.read_conditions(copy)


def _changed(record: np.ndarray, path: list[str | int], to: object) -> np.ndarray:
    """A copy with one value, or one column, changed."""
    copy = record.copy()
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return copy


@pytest.fixture(scope="module")
def conditions(sample_directory: Path) -> PixelConditions:
    return io.read_conditions(sample_directory)


@pytest.mark.parametrize(
    ("part", "path", "to"),
    [
        ("fed_ids", [0], 1350),
        ("fed_ids", [1], 1200),
        ("cabling", ["module"], 0),
        ("cabling", ["raw_id"], 0),
        ("cabling", ["raw_id", 1], (1 << 25) | (2 << 20)),
        ("gain", ["rows_per_block"], 0),
        ("gain", ["rows_per_block"], 1),
        ("gain", ["min_gain"], np.nan),
        ("gain", ["min_ped"], -1e30),
        ("gain", ["ped_precision"], np.inf),
        ("gain", ["module", "first"], 2_000_000_000),
        ("gain", ["module", 17, "first"], 3),
        ("gain", ["module", 1855, "last"], 3_088_386),
        ("gain", ["module", 3, "n_cols"], 0),
        ("gain", ["module", 3, "n_cols"], 2000),
        ("cpe", ["pitch_x"], 0),
        ("cpe", ["thickness_endcap"], -1),
        ("cpe", ["module", 5, "position", 1], np.nan),
        ("cpe", ["module", 5, "shift_x"], 1e30),
        ("cpe", ["module", 5, "sigma_y", 1], 0),
        ("cpe", ["module", 5, "rotation"], 0),
        ("cpe", ["module", 5, "rotation", 0, 0], np.inf),
        ("cpe", ["module", 1183, "is_barrel"], False),
        ("cpe", ["layer_start", 3], 0),
    ],
    ids=str,
)
def test_impossible_conditions_are_refused_by_file_and_place(
    conditions: PixelConditions, tmp_path: Path, part: str, path: list[str | int], to: object
) -> None:
    record = _changed(getattr(conditions, part), path, to)
    with pytest.raises(ConditionsError) as error:
        replace(conditions, **{part: record})
    assert error.value.fields.keys() == {"file", "at", "found", "bound"}
    directory = tmp_path / "copy"
    io.write_conditions(directory, conditions)
    name = error.value.file
    content = np.append(np.uint32(len(record)), record) if part == "fed_ids" else record
    (directory / name).write_bytes(content.tobytes())
    with pytest.raises(ConditionsError) as read:
        io.read_conditions(directory)
    assert str(read.value) == str(error.value).replace(name, str(directory / name))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_accepted_gains_are_read_inside_their_table(
    conditions: PixelConditions, data: st.DataObject
) -> None:
    """Whatever is written over the ranges of modules: an error, or places in the table."""
    gain = conditions.gain.copy()
    name = data.draw(st.sampled_from(["first", "last", "n_cols", "rows_per_block"]))
    value = data.draw(
        st.sampled_from([0, 1, 2, 80, 415, 416, 832, 3_088_384]) | st.integers(0, 2**31 - 1)
    )
    module = data.draw(st.integers(0, 1855))
    if name == "rows_per_block":
        gain[name] = value
    else:
        gain["module"][module][name] = value
    try:
        accepted = replace(conditions, gain=gain)
    except ConditionsError:
        return
    tables = make_gain_tables(accepted)
    for row, col in ((0, 0), (159, 415), (0, 415), (159, 0)):
        assert 0 <= gain_place(Pixel(module, row, col), tables) < len(tables.values)


def test_file_that_ends_inside_an_event(copy: Path) -> None:
    path = copy / "raw.bin"
    path.write_bytes(path.read_bytes()[:-100])
    events = io.read_events(copy)
    for _ in range(9):
        next(events)
    with pytest.raises(EventError) as error:
        next(events)
    assert error.value.fields["event"] == 9


@pytest.mark.parametrize("n", [5, 8, 400, (1 << 20) + 8])
def test_zeros_behind_the_events_are_no_events(copy: Path, n: int) -> None:
    path = copy / "raw.bin"
    path.write_bytes(path.read_bytes() + bytes(n))
    events = io.open_pixel(copy)
    assert len(events) == 11
    assert events[9].event == 9
    with pytest.raises(EventError, match=f"ends in {n} zero bytes") as error:
        events[10]
    assert error.value.fields["event"] == 10


@given(st.lists(st.booleans(), max_size=12))
def test_events_without_feds_are_read_where_they_are(
    sample_events: list[RawEvent], filled: list[bool]
) -> None:
    """A file never says another number of events than was written."""
    empty = RawEvent(np.zeros(4, np.uint8))
    some = [sample_events[0] if full else empty for full in filled]
    with TemporaryDirectory() as folder:
        (Path(folder) / "beamspot.bin").write_bytes(bytes(44))
        if len(some) > 1 and not any(filled[-2:]):
            with pytest.raises(InputError, match="no FEDs"):
                io.write_events(folder, some)
            return
        io.write_events(folder, some)
        read = list(io.read_events(folder))
    assert [event.data.tobytes() for event in read] == [event.data.tobytes() for event in some]


def test_events_are_read_in_any_order(copy: Path) -> None:
    events = io.open_pixel(copy)
    assert (len(events), events.name, events.directory) == (10, "copy", copy)
    in_order = list(io.read_events(copy))
    for index in (7, 0, -1):
        assert events[index].data.tobytes() == in_order[index].data.tobytes()
        assert events[index].event == in_order[index].event
    assert [event.event for event in events[6:2:-2]] == [6, 4]
    with pytest.raises(IndexError):
        events[10]
    path = copy / "raw.bin"
    path.write_bytes(path.read_bytes()[:-100])
    cut = io.open_pixel(copy)
    assert len(cut) == 10
    assert cut[8].data.tobytes() == in_order[8].data.tobytes()
    with pytest.raises(EventError, match="ends inside an event") as error:
        cut[9]
    assert error.value.fields["event"] == 9
    path.unlink()
    with pytest.raises(ConditionsError, match=r"missing.*raw\.bin"):
        io.open_pixel(copy)


def test_truth_is_read_as_it_was_written(sample_directory: Path, tmp_path: Path) -> None:
    truth = io.read_truth(sample_directory)
    io.write_truth(tmp_path, truth)
    assert len(io.read_truth(tmp_path)) == len(truth)
    for again, event in zip(io.read_truth(tmp_path), truth, strict=True):
        assert again.hits == event.hits
        assert again.collisions == event.collisions
        np.testing.assert_array_equal(again.beam_spot, event.beam_spot)
        np.testing.assert_array_equal(again.module_layer, event.module_layer)
        np.testing.assert_allclose(again.particles.momentum, event.particles.momentum, rtol=1e-12)
        for name in ("collision", "pdg", "charge", "position", "primary"):
            np.testing.assert_array_equal(
                getattr(again.particles, name), getattr(event.particles, name)
            )


def test_without_validation_files_there_are_no_counts(copy: Path) -> None:
    (copy / "tracks.bin").unlink()
    assert io.read_reference_counts(copy) is None


def test_parquet_has_a_row_for_every_event(
    sample_results: list[PatatrackResult], tmp_path: Path
) -> None:
    good = sample_results[1]
    failed = EventError("the stream ends inside a FED", event=7, fed=1201)
    write_parquet(tmp_path / "x.parquet", [good, failed], PatatrackResult)
    table = ak.from_parquet(tmp_path / "x.parquet")
    assert table.event.tolist() == [1, 7]
    assert table.error[0] == ""
    assert "fed 1201" in table.error[1]
    tracks = table.tracks[0]
    assert len(tracks) == table.counts.tracks[0] == len(good.tracks)
    np.testing.assert_array_equal(tracks.pt, good.tracks.pt)
    np.testing.assert_array_equal(tracks.zip, good.tracks.state[:, 4])
    np.testing.assert_array_equal(tracks.covariance, good.tracks.covariance)
    np.testing.assert_array_equal(ak.num(tracks.hits), good.tracks.n_hits)
    assert good.hits is not None
    np.testing.assert_array_equal(table.hits.charge[0], good.hits.charge)
    assert len(table.tracks[1]) == 0


def test_parquet_has_the_kept_parts_even_if_all_events_failed(tmp_path: Path) -> None:
    failed = EventError("the stream ends inside a FED", event=7)
    write_parquet(tmp_path / "x.parquet", [failed], PatatrackResult, ["hits"])
    table = ak.from_parquet(tmp_path / "x.parquet")
    assert ak.fields(table) == [
        *("event", "source", "source_event", "error", "origin", "stopped_by", "counts"),
        *("tracks", "vertices", "readout_errors", "hits"),
    ]
    assert len(table.hits[0]) == 0


def test_one_result_turns_into_a_record(sample_results: list[PatatrackResult]) -> None:
    record = sample_results[3].to_awkward()
    assert record.event == 3
    assert record.counts.vertices == len(record.vertices)
    np.testing.assert_array_equal(record.tracks.eta, sample_results[3].tracks.eta)
    assert record.tracks.hits[0].tolist() == [
        h for h in sample_results[3].tracks.hits[0].tolist() if h >= 0
    ]


def test_eta_does_not_depend_on_where_memory_is() -> None:
    """A pipeline keeps memory, so arrays often lie right behind each other."""
    keep_freed_memory()
    random = np.random.default_rng(1)
    held = []
    for n in range(6000, 6016):
        state = random.normal(0, 3, (n, 5)).astype(np.float32)
        eta = replace(Tracks.empty(), state=state).eta
        np.testing.assert_array_equal(eta, np.arcsinh(np.ascontiguousarray(state[:, 3])))
        held += [state, eta]


def test_no_results_is_an_empty_table(tmp_path: Path) -> None:
    assert len(to_awkward([], PatatrackResult)) == 0
    write_parquet(tmp_path / "x.parquet", [], PatatrackResult)
    assert len(ak.from_parquet(tmp_path / "x.parquet")) == 0


def test_raw_event_survives_a_misaligned_buffer(
    sample_events: list[RawEvent], sample_results: list[PatatrackResult], pipeline: object
) -> None:
    data = sample_events[0].data
    shifted = np.empty(len(data) + 1, np.uint8)
    shifted[1:] = data
    event = RawEvent(shifted[1:], sample_events[0].beam_spot)
    assert pipeline.reconstruct(event).tracks == sample_results[0].tracks  # type: ignore[attr-defined]
