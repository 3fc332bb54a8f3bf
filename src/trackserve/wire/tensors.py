"""Named tensors: the parts of every codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import InputError

Tensors = dict[str, Array]
"""Arrays by the name of their tensor."""


class TensorSpec(NamedTuple):
    """A tensor's name, dtype and shape; -1, only in front, stands for any length."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    optional: bool = False

    @property
    def triton_type(self) -> str:
        """Triton's name of the dtype: ``FP32``, ``UINT8``, ``BOOL``, ..."""
        if self.dtype.kind == "b":
            return "BOOL"
        return {"u": "UINT", "i": "INT", "f": "FP"}[self.dtype.kind] + str(8 * self.dtype.itemsize)

    def describe(self) -> str:
        """The dtype and shape as text, as in ``float32[-1, 3]``."""
        return f"{self.dtype}{list(self.shape)}"


class Pieces:
    """A tensor uint8[nbytes] whose pieces are not joined yet.

    Args:
        pieces: bytes and arrays, whose bytes follow one another.
        nbytes: number of these bytes.
    """

    dtype = np.dtype(np.uint8)
    ndim = 1

    def __init__(self, pieces: Sequence[Any], nbytes: int) -> None:
        self.pieces = pieces
        self.nbytes = nbytes

    def __len__(self) -> int:
        return self.nbytes

    @property
    def shape(self) -> tuple[int]:
        """Shape of the tensor."""
        return (self.nbytes,)

    def join(self) -> Array:
        """The tensor."""
        try:
            joined = bytearray().join(self.pieces)
        except TypeError:  # an array is not C-contiguous
            joined = bytearray().join([memoryview(piece).tobytes() for piece in self.pieces])
        return np.frombuffer(joined, np.uint8)

    def write(self, memory: memoryview) -> None:
        """Write the tensor to the begin of ``memory``; its arrays are C-contiguous."""
        at = 0
        for piece in self.pieces:
            view = memoryview(piece)
            if view.nbytes:  # a view of nothing cannot be cast
                memory[at : at + view.nbytes] = view.cast("B")
                at += view.nbytes


def pieces_of(tensor: Array | Pieces) -> Sequence[Any]:
    """The bytes of a tensor, in C-contiguous pieces to be joined."""
    return tensor.pieces if isinstance(tensor, Pieces) else [np.ascontiguousarray(tensor)]


def timing(name: str) -> TensorSpec:
    """The tensor of two times, float64[2]: the wait for a worker and its work, seconds."""
    return TensorSpec(name, np.dtype(np.float64), (2,))


def encode_timing(queue: float, compute: float) -> Array:
    """The array of a tensor :func:`timing`; both times are seconds."""
    return np.array([queue, compute], np.float64)


def decode_timing(tensors: Mapping[str, Array], spec: TensorSpec) -> tuple[float, float]:
    """The two times of a tensor :func:`timing`, seconds.

    Raises:
        InputError: the tensor is missing or has the wrong dtype or shape.
    """
    queue, compute = checked(tensors, spec).tolist()
    return queue, compute


def checked(tensors: Mapping[str, Array], spec: TensorSpec) -> Array:
    """The tensor ``spec``.

    Raises:
        InputError: it is missing or has the wrong dtype or shape.
    """
    array = tensors.get(spec.name)
    if array is None:
        raise InputError("tensor is missing", tensor=spec.name, bound=spec.describe())
    if not fits(array, spec):
        raise InputError(
            "tensor has the wrong dtype or shape",
            tensor=spec.name,
            found=describe(array),
            bound=spec.describe(),
        )
    return array


def fits(array: object, spec: TensorSpec) -> bool:
    """Whether ``array`` is an array of the dtype and shape of ``spec``."""
    if not isinstance(array, np.ndarray) or array.dtype != spec.dtype:
        return False
    found, bound = array.shape, spec.shape
    return found == bound or (bound[0] == -1 and found[1:] == bound[1:] and found != ())


def describe(value: object) -> str:
    """The dtype and shape of an array, as in ``float32[7, 3]``; else the type's name."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
