"""The C functions as Python functions: arrays in, arrays out, errors raised."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.ctypeslib import ndpointer

from trackserve.edm.columns import Array
from trackserve.errors import EventError, MissingExtraError

FILE = Path(__file__).with_name("liblegacy.so")
SEED = np.dtype(
    [("inner", "i4"), ("outer", "i4"), ("curvature", "f4"), ("z0", "f4"), ("cot_theta", "f4")]
)
"""The C structure ``seed``."""
MAX_SEEDS = 1_000_000
_FAILURES = {
    1: "a space point is not finite",
    2: "the event has too many seeds",
    3: "there is no memory left",
}


class Found(NamedTuple):
    """Candidates as the C function returns them.

    Attributes:
        owner: int32[points], the candidate of each point; -1 for none.
        chi2: float32[candidates], mean over the points.
    """

    owner: Array
    chi2: Array


class Library:
    """The compiled C code. The interpreter's lock is free while a function runs.

    Args:
        file: the shared library.

    Raises:
        MissingExtraError: it cannot be loaded.
    """

    def __init__(self, file: Path = FILE) -> None:
        try:
            functions = ctypes.CDLL(str(file))
        except OSError as error:
            raise MissingExtraError(
                "the C library cannot be loaded: run make", file=str(file), found=str(error)
            ) from None
        number, out = ctypes.c_int, ctypes.POINTER(ctypes.c_int)
        points, chi2 = (ndpointer(np.float32, n, flags="C_CONTIGUOUS") for n in (2, 1))
        seeds, owner = (ndpointer(dtype, 1, flags="C_CONTIGUOUS") for dtype in (SEED, np.int32))
        self._find_seeds = functions.legacy_find_seeds
        self._find_seeds.argtypes = (number, points, number, seeds, out)
        self._find_candidates = functions.legacy_find_candidates
        self._find_candidates.argtypes = (number, points, number, seeds, number, owner, chi2, out)

    def find_seeds(self, points: Array, event: int) -> Array:
        """The seeds among points at float32[n, 3], mm, which are ordered by radius.

        Args:
            points: the points.
            event: number of the event, for errors.

        Raises:
            EventError: a point is not finite, or there are more than :data:`MAX_SEEDS`.
        """
        seeds, n_seeds = np.empty(MAX_SEEDS, SEED), ctypes.c_int()
        status = self._find_seeds(len(points), points, MAX_SEEDS, seeds, n_seeds)
        _check(status, event)
        return seeds[: n_seeds.value].copy()

    def find_candidates(self, points: Array, seeds: Array, min_points: int, event: int) -> Found:
        """The candidates that start from ``seeds``.

        Args:
            points: as for :meth:`find_seeds`.
            seeds: as :meth:`find_seeds` returns them.
            min_points: least number of points of a candidate.
            event: number of the event, for errors.

        Raises:
            EventError: there is no memory left.
        """
        n, n_found = len(points), ctypes.c_int()
        owner, chi2 = np.empty(n, np.int32), np.empty(n, np.float32)
        status = self._find_candidates(
            n, points, len(seeds), seeds, min_points, owner, chi2, n_found
        )
        _check(status, event)
        return Found(owner, chi2[: n_found.value])


def _check(status: int, event: int) -> None:
    """Raise the error that a C function returned, if it did."""
    if status:
        message = _FAILURES.get(status, "the C library failed")
        raise EventError(message, event=event, status=status)
