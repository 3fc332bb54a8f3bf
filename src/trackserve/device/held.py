"""Values that stay in compiled code between two of its functions.

To turn a struct of arrays into objects of Python, and those back into a struct, takes some 10 us.
A handle takes one: a kernel returns it in place of the value, and another kernel takes it.
"""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, cast

from numba import types
from numba.experimental import structref
from numba.extending import overload

from .compile import kernel

T = TypeVar("T")


_new: Any = structref.StructRefProxy.__new__


@structref.register
class HeldType(types.StructRef):  # type: ignore[misc]
    """Numba's type of a :class:`Held`."""

    def preprocess_fields(self, fields: Any) -> Any:
        unliteral: Any = types.unliteral
        return tuple((name, unliteral(kind)) for name, kind in fields)


class Held(structref.StructRefProxy, Generic[T]):  # type: ignore[misc]
    """A handle of a value in compiled code; a kernel makes one by calling this class."""

    __slots__ = ()

    def __new__(cls, value: T) -> Self:
        return cast(Self, _new(cls, value))

    @property
    def value(self) -> T:
        """The value as an object of Python; its arrays share their memory with the value."""
        return _value_of(self)


_define: Any = structref.define_proxy
_define(Held, HeldType, ["value"])


@kernel
def hold(value: T) -> Held[T]:
    """Return a handle of a value."""
    return Held(value)


def plain(value: Held[T] | T) -> T:
    """Return what a handle holds, and any other value as it is; for kernels only."""
    raise NotImplementedError


@overload(plain, strict=False)  # the loops have no annotations
def _plain(value: Any) -> Any:
    if isinstance(value, HeldType):
        return lambda value: value.value
    return lambda value: value


@kernel
def _value_of(held: Held[T]) -> T:
    return held.value
