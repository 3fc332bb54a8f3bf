"""Vector lanes, perceptrons in tiles of them, and the memory that events lend each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from trackserve.device import reserve
from trackserve.device.compile import LANES
from trackserve.device.lanes import (
    TILE,
    bits_of,
    first_lanes,
    load,
    load_columns,
    real,
    store,
    store_columns,
    whole,
)
from trackserve.device.reserve import Reserve
from trackserve.trackers.exatrkx.architecture import Perceptron
from trackserve.trackers.exatrkx.packing import pack
from trackserve.trackers.exatrkx.perceptrons import run_rows


def random_perceptron(shape: Perceptron) -> dict[str, Any]:
    draw: Callable[..., Any] = np.random.default_rng(1).normal
    weights, width = {}, shape.inputs
    for i, n in enumerate(shape.widths):
        weights[f"layers.{i}.weight"] = draw(size=(n, width))
        for name in (f"layers.{i}.bias", f"norms.{i}.weight", f"norms.{i}.bias"):
            weights[name] = draw(size=n)
        width = n
    weights["last.weight"], weights["last.bias"] = draw(size=(shape.output, width)), draw(size=3)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def plain(shape: Perceptron, weights: dict[str, Any], rows: Any) -> Any:
    """The perceptron in float64, row by row of the formulas."""
    x = rows.astype(np.float64)
    for i in range(len(shape.widths)):
        x = x @ weights[f"layers.{i}.weight"].T + weights[f"layers.{i}.bias"]
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        x = np.maximum(x * weights[f"norms.{i}.weight"] + weights[f"norms.{i}.bias"], 0)
    return x @ weights["last.weight"].T + weights["last.bias"]


@pytest.mark.parametrize("widths", [(5, 7), (16, 33), (64,)])
def test_a_row_has_the_same_bits_whatever_rows_share_its_tile(widths: tuple[int, ...]) -> None:
    shape = Perceptron(inputs=9, widths=widths, output=3, activation="relu", norm=True)
    weights = random_perceptron(shape)
    packed = pack(shape, weights, "")
    rows = np.random.default_rng(2).normal(size=(2 * TILE + 17, 9)).astype(np.float32)
    whole = np.empty((len(rows), 3), np.float32)
    run_rows(packed, rows, whole)
    np.testing.assert_allclose(whole, plain(shape, weights, rows), atol=1e-4)
    for n in (1, 15, 16, 17, TILE - 1, TILE, TILE + 1):
        part = np.full((n, 3), np.nan, np.float32)
        run_rows(packed, rows[-n:].copy(), part)
        np.testing.assert_array_equal(part, whole[-n:])


def test_vectors_are_not_taken_from_arrays_that_have_gaps_or_other_numbers() -> None:
    @njit
    def copy(source: Any, target: Any) -> None:
        store(target, np.uint64(0), load(source, np.uint64(0)))

    numbers = np.arange(32, dtype=np.float32)
    for wrong in (numbers[::2], numbers.astype(np.float64)):
        with pytest.raises(TypingError):
            copy(wrong, np.empty(16, np.float32))
    target = np.empty(16, np.float32)
    copy(numbers, target)
    assert target.tolist() == numbers[:16].tolist()


@njit(error_model="numpy")
def formula(a: Any, b: Any, k: Any, most: float) -> tuple[Any, Any, Any]:
    """What lanes and numbers both know."""
    whole_part = whole(a / b)
    value = math.sqrt(abs(a * most - b)) + min(a, max(b, most)) * real(whole_part - k)
    good = (value <= most) & ((abs(k & 7) > 3) | (a != b)) & (k >= 0)
    count = whole(whole(a <= b) * max(k, k & 7) + k)
    return value, count, good


@njit(error_model="numpy")
def in_numbers(
    a: Any, b: Any, k: Any, most: float, n: int, value: Any, count: Any, good: Any
) -> None:
    for i in range(len(a)):
        value[i], count[i], good[i] = formula(a[i], b[i], k[i], most)
        good[i] &= i < n


@njit(error_model="numpy")
def in_lanes(a: Any, b: Any, k: Any, most: float, n: int, value: Any, count: Any) -> int:
    start = np.uint64(0)
    values, counts, good = formula(load(a, start), load(b, start), load(k, start), most)
    store(value, start, values)
    store(count, start, counts)
    return bits_of(good & first_lanes(np.int32(n)))


@pytest.mark.parametrize("seed", range(20))
def test_a_formula_gives_each_lane_the_bits_that_it_gives_a_number(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, LANES)).astype(np.float32)
    k, n, most = random.integers(-9, 99, LANES).astype(np.int32), seed % 18, np.float32(5)
    expected, value = np.empty((2, LANES), np.float32)
    expected_count, count = np.empty((2, LANES), np.int32)
    good = np.empty(LANES, np.bool_)
    in_numbers(a, b, k, most, n, expected, expected_count, good)
    bits = in_lanes(a, b, k, most, n, value, count)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(count, expected_count)
    assert [bool(bits >> lane & 1) for lane in range(LANES)] == good.tolist()


@njit
def there_and_back(source: Any, rows: Any, work: Any, target: Any, n: int) -> None:
    start = np.uint64(0)
    load_columns(source, rows, start, work, start)
    store_columns(work, start, 5, target, rows, np.uint64(n))


def test_rows_become_columns_and_the_first_items_of_columns_rows_again() -> None:
    source = np.random.default_rng(3).normal(size=(40, LANES)).astype(np.float32)
    rows = np.random.default_rng(4).permutation(40)[:LANES].astype(np.int32)
    work, target = np.empty((LANES, LANES)), np.zeros((40, 5), np.float32)
    there_and_back(source, rows, work, target, 11)
    np.testing.assert_array_equal(work, source[rows].T)
    expected = np.zeros((40, 5), np.float32)
    expected[rows[:11]] = source[rows[:11], :5]
    np.testing.assert_array_equal(target, expected)


def test_memory_goes_from_one_event_to_the_next_but_never_to_two_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Reserve()
    with work.lend((3, 5), (2, 16)) as (a, b), work.lend((3, 5)) as (c,):
        a[:], b[:], c[:] = 1, 2, 3
        assert a.shape == (3, 5)
        assert (a == 1).all()
        assert (b == 2).all()
        assert a.ctypes.data % 64 == b.ctypes.data % 64 == 0
        places = {a.ctypes.data, c.ctypes.data}
    with work.lend((3, 5)) as (d,):
        assert d.ctypes.data in places
    monkeypatch.setattr(reserve, "MOST_KEPT", 1000)
    with work.lend((100, 100)):
        pass
    assert all(memory.nbytes <= 1000 for memory in work._free)
