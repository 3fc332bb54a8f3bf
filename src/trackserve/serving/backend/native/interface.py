"""The functions, structs and numbers of ``backend.c``, as ``backend.h`` explains them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

_address, _count, _text = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
_words = ctypes.POINTER(ctypes.c_int64)
_texts = ctypes.POINTER(ctypes.c_char_p)

TYPES = {
    "b1": 1,
    "u1": 2,
    "u2": 3,
    "u4": 4,
    "u8": 5,
    "i1": 6,
    "i2": 7,
    "i4": 8,
    "i8": 9,
    "f2": 10,
    "f4": 11,
    "f8": 12,
}
"""Triton's numbers of types, by numpy's names."""
CODES = {"INTERNAL": 1, "INVALID_ARG": 3, "UNAVAILABLE": 4, "CANCELLED": 7}
"""Triton's numbers of errors."""

FUNCTIONS: dict[str, Any] = {
    "open_model": ctypes.CFUNCTYPE(
        ctypes.c_int, _address, _text, _text, _text, _address, ctypes.c_int64
    ),
    "add_workers": ctypes.CFUNCTYPE(ctypes.c_int, _address, ctypes.c_int, _address, ctypes.c_int64),
    "take": ctypes.CFUNCTYPE(None, _address, _address),
    "close_model": ctypes.CFUNCTYPE(None, _address),
}
"""Types of the functions that C calls."""


class Callbacks(ctypes.Structure):
    """The functions that C calls."""

    _fields_: ClassVar = list(FUNCTIONS.items())


class Settings(ctypes.Structure):
    """The settings of a model."""

    _fields_: ClassVar = [
        ("queue", _count),
        ("batch_events", _count),
        ("batch_bytes", _count),
        ("when_full_waits", _count),
        ("logs", _count),
        ("full", _text),
        ("stopping", _text),
        ("bundle", _text),
        ("identity", _text),
        ("ticket", _text),
        ("wire", _text),
        ("wire_version", _text),
        ("first_wire", _text),
        ("inputs", _texts),
        ("outputs", _texts),
    ]


_WAITING = {
    "reserve": (ctypes.c_int, _address),
    "enqueue": (ctypes.c_int, _address, _address),
    "take": (_count, _address, _count, _words, _count),
    "copy": (ctypes.c_int, _address, _address),
    "answer": (None, _address, _words, _count),
    "fail": (None, _address, ctypes.c_int, _text),
}
_SHORT = {
    "configure": (None, _address, _address),
    "put": (None, _address, _count, _count),
    "release": (None, _address),
    "refuse_new": (None, _address),
    "close": (None, _address),
    "counts": (None, _address, _words),
    "accept": (None, _address, _text),
    "describe": (_count, _address, _words, _count),
    "id": (_text, _address),
    "identity": (_text, _address),
    "wire": (_text, _address),
    "start": (_text, _address),
}


class Library:
    """The functions ``ts_...`` of the library, without that prefix.

    Functions that wait, copy or send run without the lock of Python.

    Args:
        file: file of the library.
    """

    def __init__(self, file: str) -> None:
        for opened, functions in ((ctypes.CDLL(file), _WAITING), (ctypes.PyDLL(file), _SHORT)):
            for name, (result, *arguments) in functions.items():
                function = getattr(opened, f"ts_{name}")
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # pragma: no cover - only for type checkers
        raise AttributeError(name)


def as_texts(names: Sequence[str]) -> Any:
    """The names as a list of C, which ends with NULL."""
    return (ctypes.c_char_p * (len(names) + 1))(*(name.encode() for name in names), None)
