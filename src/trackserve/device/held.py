"""Values that stay in compiled code between two of its functions.

To turn a struct of arrays into objects of Python, and those back into a struct, takes some 10 us.
A handle takes half of one: a kernel returns it in place of the value, and another kernel takes it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from numba import types
from numba.core import pythonapi
from numba.experimental import structref
from numba.extending import overload

from .compile import kernel

T = TypeVar("T")
_types: Any = types
_pythonapi: Any = pythonapi
_structref: Any = structref
_MEMINFO = _types.MemInfoPointer(types.voidptr)


@_structref.register  # type: ignore[untyped-decorator]
class HeldType(types.StructRef):  # type: ignore[misc]
    """Numba's type of a :class:`Held`."""

    def preprocess_fields(self, fields: Any) -> Any:
        unliteral: Any = types.unliteral
        return tuple((name, unliteral(kind)) for name, kind in fields)


class Held(Generic[T]):
    """A handle of a value in compiled code; a kernel makes one by calling this class.

    Each type of value has a class of its own, so that Numba finds the type, and makes a handle,
    without a call of Python.
    """

    __slots__ = ("_meminfo",)
    _numba_type_: ClassVar[Any]

    if TYPE_CHECKING:  # kernels make them in another way

        def __init__(self, value: T) -> None: ...

    @property
    def value(self) -> T:
        """The value as an object of Python; its arrays share their memory with the value."""
        return _value_of(self)


class _Kind:
    """The class of the handles of one type.

    Compiled code is cached with an object of this kind, which is another one in the next process.
    """

    def __init__(self, held_type: Any) -> None:
        self.held_type = held_type
        self.handle = type("Held", (Held,), {"__slots__": (), "_numba_type_": held_type})

    def __reduce__(self) -> tuple[Any, ...]:
        return _kind_of, (self.held_type,)


@cache
def _kind_of(held_type: Any) -> _Kind:
    return _Kind(held_type)


_structref.define_constructor(Held, HeldType, ["value"])


@_pythonapi.box(HeldType)  # type: ignore[untyped-decorator]
def _box(held_type: Any, value: Any, c: Any) -> Any:
    struct = _structref._Utils(c.context, c.builder, held_type).get_struct_ref(value)
    meminfo = c.box(_MEMINFO, struct.meminfo)
    kind = c.env_manager.read_const(c.env_manager.add_const(_kind_of(held_type)))
    make = c.pyapi.object_getattr_string(kind, "handle")
    handle = c.pyapi.call_function_objargs(make, ())
    c.pyapi.object_setattr_string(handle, "_meminfo", meminfo)
    c.pyapi.decref(make)
    c.pyapi.decref(meminfo)
    return handle


@_pythonapi.unbox(HeldType)  # type: ignore[untyped-decorator]
def _unbox(held_type: Any, handle: Any, c: Any) -> Any:
    boxed = c.pyapi.object_getattr_string(handle, "_meminfo")
    meminfo = c.unbox(_MEMINFO, boxed).value
    struct = _structref._Utils(c.context, c.builder, held_type).new_struct_ref(meminfo)
    c.pyapi.decref(boxed)
    return _pythonapi.NativeValue(struct._getvalue())


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
