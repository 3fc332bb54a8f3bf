"""Results in the frame of the detector, with the names of the field: dxy and dz."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import command, says
from hypothesis import given
from hypothesis import strategies as st

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.edm import BeamSpot, Particles, Tracks
from trackserve.edm.absolute import absolute_tracks
from trackserve.edm.columns import Array
from trackserve.physics.helix import perigee
from trackserve.trackers.patatrack.absolute import absolute
from trackserve.trackers.patatrack.result import PatatrackResult

SPOT = BeamSpot(x=0.1, y=-0.05, z=2.0)


def tracks_of(state: Array) -> Tracks:
    """Tracks of these states; a covariance has 1 to 15 as its elements."""
    n = len(state)
    return Tracks(
        state.astype(np.float32),
        np.tile(np.arange(1, 16, dtype=np.float32), (n, 1)),
        np.zeros(n, np.float32),
        np.zeros(n, np.int8),
        np.full(n, Tracks.LOOSE, np.uint8),
        np.full(n, 3, np.int8),
        np.tile(np.array([4, 7, 9, -1, -1], np.int32), (n, 1)),
        np.full(n, -1, np.int16),
    )


@given(
    place=st.tuples(*[st.floats(-1, 1)] * 3),
    pt=st.floats(0.5, 20),
    phi=st.floats(-3.1, 3.1),
    charge=st.sampled_from([-1, 1]),
)
def test_the_point_of_closest_approach_lies_on_the_helix_of_the_particle(
    place: tuple[float, float, float], pt: float, phi: float, charge: int
) -> None:
    """Its place, dxy and dz follow from the definitions of the field."""
    position = np.array([place])
    momentum = np.array([[pt * np.cos(phi), pt * np.sin(phi), 0.7 * pt]])
    particle = Particles(
        np.zeros(1, np.int32),
        np.array([211], np.int32),
        np.array([charge], np.int8),
        position,
        momentum,
        np.ones(1, np.bool_),
    )
    spot = SPOT.position().astype(np.float64)
    track = absolute_tracks(tracks_of(perigee(particle, spot, PT_PER_RADIUS)), SPOT)
    x, y, z = (float(values[0]) for values in (track.vx, track.vy, track.vz))

    radius = pt / PT_PER_RADIUS
    centre = position[0, :2] + charge * radius * np.array([np.sin(phi), -np.cos(phi)])
    assert np.hypot(x - centre[0], y - centre[1]) == pytest.approx(radius, abs=2e-3)
    dx, dy, direction = x - spot[0], y - spot[1], float(track.phi[0])
    assert dx * np.cos(direction) + dy * np.sin(direction) == pytest.approx(0, abs=1e-6)
    assert float(track.dxy[0]) == pytest.approx(
        -dx * np.sin(direction) + dy * np.cos(direction), abs=1e-6
    )
    assert float(track.dz[0]) == pytest.approx(z - spot[2], abs=1e-6)


def test_the_sign_of_dxy_is_that_of_its_covariances() -> None:
    tracks = tracks_of(np.array([[0.3, 0.02, 0.5, 1.0, -0.4]]))
    mine, theirs = absolute_tracks(tracks, SPOT).covariance[0], tracks.covariance[0]
    changed = np.flatnonzero(mine != theirs)
    assert changed.tolist() == [1, 6, 7, 8]  # phi, q/pT, cot(theta), dz with dxy; not its variance
    assert (mine[changed] == -theirs[changed]).all()
    assert absolute_tracks(tracks, SPOT).hits[0].tolist() == [4, 7, 9]


def test_a_result_keeps_what_has_no_place(sample_results: list[PatatrackResult]) -> None:
    result = sample_results[0]
    moved = absolute(result, SPOT)
    assert moved.hits is not None
    assert result.hits is not None
    assert moved.counts == result.counts
    assert moved.digis == result.digis
    assert moved.tracks.pt.tobytes() == result.tracks.pt.tobytes()
    assert moved.hits.z == pytest.approx(result.hits.z + SPOT.z, abs=1e-5)
    assert moved.vertices.z == pytest.approx(result.vertices.z + SPOT.z, abs=1e-5)
    assert set(moved.vertices.x) == {np.float32(SPOT.x)}


def test_a_file_of_absolute_positions(
    sample_directory: Path, sample_results: list[PatatrackResult], tmp_path: Path
) -> None:
    out = tmp_path / "tracks.parquet"
    command("reconstruct", "patatrack", sample_directory, "--absolute", "--keep=hits", "-o", out)
    (about,) = json.loads(pq.read_schema(out).metadata[b"sources"])
    spot = about["beam_spot"]
    rows = ak.from_parquet(out)
    assert "tip" not in rows.tracks.fields
    for row, result in zip(rows, sample_results, strict=True):
        assert result.hits is not None
        assert row.tracks.dxy.to_numpy() == pytest.approx(-result.tracks.tip)
        assert row.hits.x.to_numpy() == pytest.approx(result.hits.x + spot["x"], abs=1e-5)
    meanings = json.loads(pq.read_schema(out).metadata[b"meanings"])
    assert "absolute" in meanings["hits.x"]
    assert "beam spot" in meanings["tracks.dxy"]


def test_a_tracker_with_one_form_of_positions_says_so(tmp_path: Path) -> None:
    trackml = Path(__file__).parent / "data" / "trackml-mini"
    text = says("reconstruct", "exatrkx", trackml, "--absolute", "-o", tmp_path / "x", status=1)
    assert "one form" in text
