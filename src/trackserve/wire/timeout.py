"""The values that a timeout may have."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from trackserve.errors import InputError

_LONGEST = 1e8
"""Seconds, three years; clocks of the system and of gRPC overflow at a hundred times as many."""


def checked_timeout(timeout: Any, name: str = "timeout") -> float:
    """A timeout in seconds; infinity for None and for more than three years: there is no deadline.

    Raises:
        InputError: it is negative, NaN or no number. The error has ``name``.
    """
    if timeout is None:
        return math.inf
    is_number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    if not is_number or not timeout >= 0:
        raise InputError(
            f"wrong {name}", found=repr(timeout)[:80], bound="seconds from 0 on, or None"
        )
    return math.inf if timeout > _LONGEST else float(timeout)
