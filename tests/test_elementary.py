"""Elementary functions of compiled code against those of the mathematical library."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve.device.elementary import angle_of, logarithm

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


def test_what_is_no_number_stays_none() -> None:
    assert math.isnan(angle_of(math.nan, 1.0))
    assert math.isnan(angle_of(1.0, math.nan))
