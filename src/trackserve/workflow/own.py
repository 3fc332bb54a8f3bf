"""Code of a user's own, by its place in Python; what goes wrong in it is an error of the job."""

from __future__ import annotations

import importlib
import math
from typing import Any

from trackserve.errors import JobError


def find(what: str, use: object, place: str, attribute: str, **fields: Any) -> Any:
    """What a Python module has under a name.

    Args:
        what: what it is to be, for errors.
        use: how the job names it, for errors.
        place: the Python module.
        attribute: the name in it.
        fields: further fields of the error.

    Raises:
        JobError: there is none, or the module cannot be imported.
    """
    try:
        return getattr(importlib.import_module(place), attribute)
    except (Exception, SystemExit) as error:
        raise JobError(
            f"no such {what}, or it cannot be imported",
            **fields,
            found=use,
            reason=f"{type(error).__name__}: {error}",
        ) from error


def is_number(value: object) -> bool:
    """Whether a value of a description is a number that a float can be."""
    if type(value) is int:
        return abs(value) < 1 << 1023
    return isinstance(value, float) and not math.isnan(value)
