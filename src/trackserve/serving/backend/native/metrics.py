"""Triton's own metrics, from inside its process.

The names are those of Triton's Python backend, so that :class:`..model.ServedModel` uses both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

from trackserve.errors import ServerError

from ..metrics import METRICS
from ..metrics import Metric as Description

_COUNTER, _GAUGE = 0, 1
_STRING = 0


class MetricFamily:
    """All lines of one metric.

    Args:
        name: name of the metric.
        description: its help, and whether it can fall.
    """

    def __init__(self, name: str, description: Description) -> None:
        self._address = ctypes.c_void_p()
        kind = _GAUGE if description.gauge else _COUNTER
        text = description.help.encode()
        _call("MetricFamilyNew", ctypes.byref(self._address), kind, name.encode(), text)

    def Metric(self, labels: Mapping[str, str]) -> Metric:  # noqa: N802
        """A line of the metric."""
        return Metric(self._address, labels)


class Metric:
    """One line of a metric; Triton keeps it until it ends."""

    def __init__(self, family: ctypes.c_void_p, labels: Mapping[str, str]) -> None:
        self._address = ctypes.c_void_p()
        new = _triton().TRITONSERVER_ParameterNew
        new.restype = ctypes.c_void_p
        parameters = [
            new(k.encode(), _STRING, ctypes.c_char_p(v.encode())) for k, v in labels.items()
        ]
        array = (ctypes.c_void_p * len(parameters))(*parameters)
        count = ctypes.c_uint64(len(parameters))
        try:
            _call("MetricNew", ctypes.byref(self._address), family, array, count)
        finally:
            for parameter in parameters:
                _triton().TRITONSERVER_ParameterDelete(ctypes.c_void_p(parameter))

    def increment(self, amount: float) -> None:
        """Add to the value."""
        _call("MetricIncrement", self._address, ctypes.c_double(amount))


@cache
def families() -> dict[str, MetricFamily]:
    """The families of all our metrics; all models of the process share them."""
    return {name: MetricFamily(name, metric) for name, metric in METRICS.items()}


@cache
def _triton() -> Any:
    return ctypes.CDLL(None)


def _call(name: str, *arguments: Any) -> None:
    """Call a function of Triton.

    Raises:
        ServerError: it returned an error.
    """
    function = getattr(_triton(), f"TRITONSERVER_{name}")
    function.restype = ctypes.c_void_p
    error = function(*arguments)
    if error:
        error = ctypes.c_void_p(error)
        message = _triton().TRITONSERVER_ErrorMessage
        message.restype = ctypes.c_char_p
        text = message(error).decode(errors="replace")
        _triton().TRITONSERVER_ErrorDelete(error)
        raise ServerError(f"{name} failed", reason=text)
