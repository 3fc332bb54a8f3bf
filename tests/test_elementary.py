"""Elementary functions and sorting in compiled code, against those of libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve.device.elementary import angle_of, cosine_and_sine, logarithm
from trackserve.device.sort import sort_spread

COORDINATES = st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-9)


@settings(max_examples=300)
@given(y=COORDINATES | st.just(0.0), x=COORDINATES)
def test_angle(y: float, x: float) -> None:
    assert angle_of(y, x) == pytest.approx(math.atan2(y, x), rel=1e-12, abs=0)


@pytest.mark.parametrize("angle", [k * math.pi / 8 for k in range(-7, 9)])
def test_angle_at_the_seams_of_its_parts(angle: float) -> None:
    for nearby in (angle - 1e-9, angle, angle + 1e-9):
        y, x = math.sin(nearby), math.cos(nearby)
        assert angle_of(y, x) == pytest.approx(math.atan2(y, x), rel=1e-12, abs=1e-24)


@settings(max_examples=300)
@given(x=st.floats(1e-300, 1e300))
def test_logarithm(x: float) -> None:
    assert logarithm(x) == pytest.approx(math.log(x), rel=2e-14, abs=2e-14)


@settings(max_examples=300)
@given(
    angle=st.floats(-math.pi, math.pi) | st.sampled_from([k * math.pi / 4 for k in range(-4, 5)])
)
def test_cosine_and_sine(angle: float) -> None:
    expected = math.cos(angle), math.sin(angle)
    assert cosine_and_sine(angle) == pytest.approx(expected, rel=0, abs=3e-16)


def test_what_is_no_number_stays_none() -> None:
    assert math.isnan(angle_of(math.nan, 1.0))
    assert math.isnan(angle_of(1.0, math.nan))
    assert all(map(math.isnan, cosine_and_sine(math.nan)))


KEYS = st.floats(-5, 5) | st.sampled_from([0.0, 1.0])


@given(keys=st.lists(KEYS, max_size=60) | st.lists(st.floats(0.01, 0.02), min_size=40, max_size=60))
def test_keys_are_sorted_wherever_they_lie_and_equal_ones_keep_their_order(
    keys: list[float],
) -> None:
    key = np.array(keys, np.float64)
    rows, other = np.arange(len(key), dtype=np.int32), np.empty(len(key), np.int32)
    sort_spread(key, rows, other, -1.0, 1.0)
    assert rows.tolist() == np.argsort(key, kind="stable").tolist()
