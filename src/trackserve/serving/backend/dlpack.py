"""Arrays of numpy as DLPack capsules that Triton can take.

Triton renames the capsule that it is given. Numpy's own destructor does not know that
name and recurses without end, which kills the process (numpy 1.26, Triton 2.51). So the
content moves to a capsule without a destructor; its receiver frees it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from trackserve.edm.columns import Array

_FULL, _TAKEN = b"dltensor", b"used_dltensor"
_python = ctypes.PyDLL(None)
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def to_capsule(array: Array) -> Any:
    """A capsule that owns ``array`` (writable, C-contiguous) until the capsule is freed."""
    capsule = array.__dlpack__()
    content = _python.PyCapsule_GetPointer(capsule, _FULL)
    _python.PyCapsule_SetName(capsule, _TAKEN)
    return _python.PyCapsule_New(content, _FULL, None)
