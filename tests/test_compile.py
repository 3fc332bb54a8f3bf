"""How functions are compiled for a CPU."""

from __future__ import annotations

from numba import njit

from trackserve.device.compile import shared


@shared
def doubled(n: int) -> int:
    return 2 * n


@njit
def counted(steps: int) -> int:
    n = 0
    for _ in range(steps):
        n = doubled(n) + 1
    return n


def test_a_counter_that_begins_with_a_constant_makes_no_second_compilation() -> None:
    assert counted(3) == 7
    assert [[str(one) for one in types] for types in doubled.signatures] == [["int64"]]  # type: ignore[attr-defined]
