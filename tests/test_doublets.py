"""The cuts on pairs of points: they drop what no track makes, and are chosen from true tracks."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import says
from exatrkx_models import random_event, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from true_tracks import helices

from trackserve import ExatrkxPipeline
from trackserve.edm.columns import Array
from trackserve.errors import ModelError
from trackserve.io.points_directory import write_points
from trackserve.trackers.exatrkx.architecture import Doublets, Features
from trackserve.trackers.exatrkx.doublets import (
    DoubletCuts,
    Places,
    bounds_of,
    find_doublets,
)
from trackserve.trackers.exatrkx.model import load_model, save_model
from trackserve.trackers.exatrkx.radius import find_pairs
from trackserve.trackers.exatrkx.result import GRAPH_STAGES
from trackserve.trackers.exatrkx.training import doublets as training
from trackserve.trackers.exatrkx.training.data import make_sample
from trackserve.trackers.exatrkx.training.doublets import (
    choose_doublets,
    judge_doublets,
    segments_of,
    with_doublets,
)

TABLE = Doublets(
    r=(60.0,),
    dr=(20.0,),
    dz=(30.0, 90.0),
    z0=(9e9, 900.0, 300.0, 500.0, 200.0, 100.0) * 2,
    phi_slope=(0.1, 0.1, 0.1, 0.02, 0.02, 0.01) * 2,
    dphi=(1.5, 1.0, 1.0, 0.8, 0.8, 0.6, 1.0, 1.0, 1.0, 0.6, 0.6, -1.0),
)


def random_places(n: int, random: np.random.Generator) -> Places:
    """Points of a small tracker, some of them at one r, and many near the seam of phi."""
    r = random.choice([30.0, 70.0, 75.0, 120.0], n) + random.choice([0.0, 1.5], n)
    phi = np.where(random.random(n) < 0.5, math.pi, 0) + random.normal(0, 0.5, n)
    phi = (phi + math.pi) % (2 * math.pi) - math.pi
    columns = (r, phi, random.normal(0, 60, n))
    return Places(*(column.astype(np.float32) for column in columns))


def expected(table: Doublets, places: Places, i: int, j: int) -> bool:
    """The definition, in plain words."""
    r, phi, z = (column[[i, j]] for column in places)
    dr, dz = abs(r[0] - r[1]), abs(z[0] - z[1])
    turn = abs(phi[0] - phi[1])
    turn = min(turn, abs(np.float32(2 * math.pi) - turn))
    cell = 0
    for edges, value in ((table.r, min(r)), (table.dr, dr), (table.dz, dz)):
        cell = cell * (len(edges) + 1) + sum(value >= np.float32(edge) for edge in edges)
    if not turn <= np.float32(table.dphi[cell]):
        return False
    if not float(turn) <= float(np.float32(table.phi_slope[cell])) * float(dr):
        return False
    moment = abs(float(z[1]) * float(r[0]) - float(z[0]) * float(r[1]))
    return moment <= float(np.float32(table.z0[cell])) * float(dr)


@given(st.integers(0, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_near_pairs_that_keep_the_bounds_are_found(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    places = random_places(n, random)
    coordinates = random.normal(0, 1, (n, 5)).astype(np.float32)
    all_pairs = find_pairs(coordinates, 2.0, n * n, 0)
    cut = find_pairs(coordinates, 2.0, n * n, 0, DoubletCuts(bounds_of(TABLE), places))
    wanted = [expected(TABLE, places, i, j) for i, j in zip(*all_pairs, strict=True)]
    assert (cut.source == all_pairs.source[np.array(wanted, bool)]).all()
    assert (cut.target == all_pairs.target[np.array(wanted, bool)]).all()
    turned = find_doublets(bounds_of(TABLE), places, all_pairs.target, all_pairs.source)
    assert turned.tolist() == wanted  # whichever point comes first


def test_a_model_without_doublet_cuts_has_all_pairs_within_the_radius() -> None:
    """As the published models: bounds that everything keeps change no bit."""
    wide = Doublets((), (), (), (1e9,), (1e9,), (4.0,))
    events = [random_event(400, 3)]
    plain = ExatrkxPipeline(small_model()).run(events, GRAPH_STAGES)
    assert ExatrkxPipeline(with_doublets(small_model(), wide)).run(events, GRAPH_STAGES) == plain
    none = ExatrkxPipeline(with_doublets(small_model(), dataclasses.replace(wide, dphi=(-1.0,))))
    assert none.reconstruct(events[0]).counts.radius_edges == 0


def test_the_table_travels_with_the_model(tmp_path: Path) -> None:
    save_model(with_doublets(small_model(), TABLE), tmp_path)
    assert load_model(tmp_path).description.doublets == TABLE


@pytest.mark.parametrize(
    "changes",
    [
        {"dr": (20.0, 20.0)},
        {"dz": (-1.0, 90.0)},
        {"r": (math.inf,)},
        {"z0": (1.0,) * 11},
        {"dphi": (math.nan,) * 12},
    ],
)
def test_a_wrong_table_is_refused(changes: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ModelError, match="wrong value"):
        with_doublets(small_model(), dataclasses.replace(TABLE, **changes))


def pairs_at_random(n_points: int, n: int) -> Array:
    return np.random.default_rng(5).integers(0, n_points, (2, n)).astype(np.int32)


def test_chosen_cuts_keep_the_segments_of_tracks_and_few_other_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In events from which they were not chosen, too."""
    monkeypatch.setattr(training, "SEGMENTS_PER_CELL", 100)
    samples = [make_sample(helices(150, seed)) for seed in range(4)]
    chosen = choose_doublets(samples[:3], 0.99)
    assert chosen is not None
    assert chosen.n_cells > 8
    kept = [judge_doublets(chosen, one, pairs_at_random(len(one), 10_000)) for one in samples]
    own = sum(one.segments.passed for one in kept[:3]) / sum(one.segments.total for one in kept[:3])
    assert 0.985 < own < 0.995
    assert kept[3].segments.value > 0.97
    assert kept[3].pairs.value < 0.2


def test_too_few_segments_make_no_cuts() -> None:
    sample = make_sample(helices(5, 1))
    assert segments_of(sample).shape[1] < training.SEGMENTS_PER_CELL
    assert choose_doublets([sample], 0.99) is None


def test_particles_that_need_not_be_found_have_no_say() -> None:
    """Soft particles bend more than the bounds may."""
    sample = make_sample(helices(10, 1, pt_range=(0.5, 0.9)))
    assert segments_of(sample).shape[1] == 0


def test_a_trained_model_gets_cuts_by_a_command(tmp_path: Path) -> None:
    write_points(tmp_path / "events", [helices(200, seed, seed) for seed in range(3)])
    free = Features((1000.0, math.pi, 1000.0))
    save_model(small_model(detector="unknown", features=free), tmp_path / "old")
    make = ("model", "doublets", tmp_path / "old", "--data", tmp_path / "events", "-o")
    said = says(*make, tmp_path / "new")
    assert "pairs kept" in said
    assert load_model(tmp_path / "new").description.doublets is not None
    assert "cells of r, dr, dz" in says("model", "show", tmp_path / "new")
    write_points(tmp_path / "few", [helices(3, seed, seed) for seed in range(2)])
    said = says(*make[:3], "--data", tmp_path / "few", "-o", tmp_path / "none", status=1)
    assert "too few segments" in said
