"""Lanes that are packed in compiled code."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from trackserve.device.compile import LANES, u32, u64
from trackserve.device.pack import pack_items, pack_numbers
from trackserve.edm.columns import Array

BITS = st.integers(0, 2**LANES - 1)


@njit
def pack(source: Array, place: int, bits: int, target: Array, n: int) -> int:
    return pack_items(source, u64(place), u32(bits), target, u64(n))


@njit
def number(first: int, bits: int, target: Array, n: int) -> int:
    return pack_numbers(u64(first), u32(bits), target, u64(n))


@settings(max_examples=100)
@given(bits=BITS, place=st.integers(0, 5), n=st.integers(0, 5))
def test_lanes_whose_bit_is_set_are_packed_in_order(bits: int, place: int, n: int) -> None:
    source = np.arange(1000, 1000 + place + LANES, dtype=np.int32)
    set_lanes = [lane for lane in range(LANES) if bits >> lane & 1]
    items, numbers = np.full((2, n + LANES), -1, np.int32)
    assert pack(source, place, bits, items, n) == len(set_lanes)
    assert number(place, bits, numbers, n) == len(set_lanes)
    end = n + len(set_lanes)
    assert items[n:end].tolist() == [1000 + place + lane for lane in set_lanes]
    assert numbers[n:end].tolist() == [place + lane for lane in set_lanes]
    assert (items[:n] == -1).all()
    assert (numbers[:n] == -1).all()
