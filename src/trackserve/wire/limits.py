"""The limits on the work on an event, as a tensor of its request.

The tensor ``limits`` holds a JSON object of the values that are not the defaults::

    {"doublets": 1000000, "beyond": "partial", "deadline": 0.25}

``deadline`` is what is left of it when the request is sent, in seconds. Without the tensor the
defaults hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from trackserve.edm import EventLimits
from trackserve.edm.columns import Array
from trackserve.errors import InputError, parse_json

from .tensors import Tensors, TensorSpec, checked

L = TypeVar("L", bound=EventLimits)

LIMITS = TensorSpec("limits", np.dtype(np.uint8), (-1,), optional=True)
"""Input of every model."""
STOPPED_BY = TensorSpec("stopped_by", np.dtype(np.uint8), (-1,))
"""Output of every model: name of the limit that ended the work on the event; mostly empty."""


def encode_limits(limits: EventLimits) -> Tensors:
    """The tensor of ``limits``; none if they are the defaults."""
    if limits is limits.of(None):
        return {}
    values = limits.changed()
    if not values:
        return {}
    text = json.dumps(values, default=float).encode()
    return {LIMITS.name: np.frombuffer(text, np.uint8)}


def decode_limits(tensors: Mapping[str, Array], kind: type[L]) -> L:
    """The limits that the tensors hold.

    Args:
        tensors: tensors of an event.
        kind: class of the tracker's limits.

    Raises:
        InputError: the tensor is malformed, has an unknown name or a wrong value.
    """
    if LIMITS.name not in tensors:
        return kind.of(None)
    try:
        return kind.make(parse_json(checked(tensors, LIMITS).tobytes(), dict))
    except InputError as error:
        raise InputError(error.message, tensor=LIMITS.name, **error.fields) from None
