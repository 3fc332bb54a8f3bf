"""Events and results of one tracker as named tensors: what crosses between client and server.

The names, dtypes and shapes of the outputs follow from the tracker's result (see
:class:`trackserve.edm.Result`): the column ``state`` of the part ``tracks`` is the tensor
``tracks_state``, FP32 [-1, 5]. A ragged column is two tensors, ``candidates_points`` with the
values and ``candidates_points_offsets``. The tensor ``tracks``, UINT8, is the whole part as one
block, and the tensor ``result``, UINT8, is all that a result always has: the counts, then the
block of each part. Each tensor costs time on its way through Triton, so our clients ask for
``result`` and for the blocks of intermediates.

A block begins with its head: the number of rows, then the number of values of each ragged column,
int64. The columns follow: those with larger items first, else in the order of the schema; a ragged
column is its offsets, then, in their place, its values. A block ends at a multiple of 8 bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from trackserve.edm import EventLimits
from trackserve.edm.columns import OFFSET, Array, Columns, Ragged
from trackserve.edm.result import Result
from trackserve.errors import InputError, MalformedEvent

from .events import EventCodec
from .limits import LIMITS, STOPPED_BY, decode_limits
from .tensors import Pieces, TensorSpec, checked, timing

E = TypeVar("E")
R = TypeVar("R", bound=Result)

TIMING = timing("timing")
"""Output of every model: seconds that the event waited, and seconds of work."""
IDENTITY = TensorSpec("identity", np.dtype(np.uint8), (-1,))
"""Output of every model: the text of its :class:`.identity.Identity`."""
_RESULT = TensorSpec("result", np.dtype(np.uint8), (-1,))
_HEAD = np.dtype(np.int64)
_MOST_WISHES = 64
"""Lists of outputs for which the parts to keep are known."""


class Codec(Generic[E, R]):
    """The tensors of a tracker's events and results.

    Args:
        events: the codec of the tracker's events.
        result: class of the tracker's results.
        aliases: more outputs, each another name of a column: name -> (part, column).
        limits: class of the tracker's limits.

    Attributes:
        inputs, outputs: the tensors of the model.
        result: class of the results.
        limits: class of the limits.
    """

    def __init__(
        self,
        events: EventCodec[E],
        result: type[R],
        aliases: Mapping[str, tuple[str, str]] | None = None,
        limits: type[EventLimits] = EventLimits,
    ) -> None:
        self._events = events
        self.result = result
        self.limits = limits
        counts = TensorSpec("counts", _HEAD, (len(result.counts_type().names()),))
        self._counts = counts
        self._counts_form = _form(counts.shape[0])
        self._counts_type = result.counts_type()
        self._always = tuple(result.always())
        self._blocks = {
            part: _Block(part, noun)
            for part, noun in (result.always() | result.intermediates()).items()
        }
        self._columns: dict[str, tuple[str, _Piece]] = {
            piece.tensor: (part, piece)
            for part, block in self._blocks.items()
            for piece in block.schema
        }
        for name, (part, column) in (aliases or {}).items():
            self._columns[name] = self._columns[f"{part}_{column}"]
        self._kept_parts = lru_cache(_MOST_WISHES)(self._find_kept_parts)
        self.inputs = (*events.inputs, LIMITS)
        self.outputs = (
            _RESULT,
            counts,
            *(block.spec for block in self._blocks.values()),
            *(TensorSpec(name, p.dtype, (-1, *p.shape)) for name, (_, p) in self._columns.items()),
            IDENTITY,
            STOPPED_BY,
            TIMING,
        )

    def encode_event(self, event: E) -> dict[str, Array]:
        """The input tensors of one event.

        Raises:
            MalformedEvent: the event is of another kind, or a field has the wrong type or shape.
        """
        try:
            return self._events.encode(event)
        except InputError as error:
            raise MalformedEvent.of(error) from None

    def decode_event(self, tensors: Mapping[str, Array]) -> E:
        """The event that the input tensors hold.

        Raises:
            MalformedEvent: a tensor is missing, or has the wrong dtype or shape.
        """
        try:
            event: E = self._events.decode(tensors)
        except InputError as error:
            raise MalformedEvent.of(error) from None
        return event

    def decode_limits(self, tensors: Mapping[str, Array]) -> EventLimits:
        """The limits that the input tensors hold.

        Raises:
            MalformedEvent: they are malformed.
        """
        try:
            return decode_limits(tensors, self.limits)
        except InputError as error:
            raise MalformedEvent.of(error) from None

    def output_names(self, keep: Collection[str] = ()) -> list[str]:
        """The outputs to ask for: ``result``, and the blocks of the parts in ``keep``.

        Raises:
            InputError: ``keep`` names a part that does not exist.
        """
        if not keep and isinstance(keep, tuple):
            return [_RESULT.name]
        self.result.check_keep(keep)
        return [_RESULT.name, *(part for part in self.result.intermediates() if part in keep)]

    def kept_parts(self, names: Iterable[str]) -> frozenset[str]:
        """The intermediates that a tracker must keep for the outputs ``names``."""
        return self._kept_parts(tuple(names))

    def _find_kept_parts(self, names: tuple[str, ...]) -> frozenset[str]:
        parts = {self._columns[name][0] if name in self._columns else name for name in names}
        return frozenset(parts & self.result.intermediates().keys())

    def encode_result(self, result: R, names: Iterable[str]) -> dict[str, Array]:
        """The output tensors ``names`` of one result, C-contiguous; the timing is not among them.

        Raises:
            InputError: a name is unknown, the result lacks that part, or an array in it has
                the wrong dtype or shape.
        """
        tensors = self.encode_pieces(result, names).items()
        return {name: x.join() if isinstance(x, Pieces) else x for name, x in tensors}

    def encode_pieces(self, result: R, names: Iterable[str]) -> dict[str, Array | Pieces]:
        """The tensors of :meth:`encode_result`; those of blocks are not joined yet."""
        parts: dict[str, Any] = vars(result)
        encoded: dict[str, Array | Pieces] = {}
        for name in names:
            if name == TIMING.name:
                continue
            if name == _RESULT.name:
                pieces: list[Any] = [self._counts_form.pack(*vars(result.counts).values())]
                size = self._counts_form.size
                for part in self._always:
                    size += self._blocks[part].pack(parts[part], pieces)
                encoded[name] = Pieces(pieces, size)
                continue
            if name == IDENTITY.name:
                encoded[name] = np.frombuffer(bytearray(result.identity.encode()), np.uint8)
                continue
            if name == STOPPED_BY.name:
                encoded[name] = np.frombuffer(bytearray(result.stopped_by.encode()), np.uint8)
                continue
            if name == self._counts.name:
                encoded[name] = result.counts.as_array()
                continue
            part, piece = self._columns.get(name, (name, None))
            if part not in self._blocks or parts[part] is None:
                raise InputError("the result has no such tensor", tensor=name)
            if piece is None:
                pieces = []
                encoded[name] = Pieces(pieces, self._blocks[part].pack(parts[part], pieces))
            else:
                noun = parts[part]
                encoded[name] = np.ascontiguousarray(piece.of(noun, len(noun), name))
        return encoded

    def decode_result(
        self, tensors: Mapping[str, Array], event: int, keep: Collection[str] = ()
    ) -> R:
        """The result of event number ``event`` that the output tensors hold.

        The arrays of the result are views of the tensors. Its identity is empty where the tensor
        ``identity`` is missing, and it is complete where ``stopped_by`` is missing.

        Raises:
            InputError: a tensor is missing or has the wrong dtype, shape or length, or ``keep``
                names a part that does not exist.
        """
        packed = checked(tensors, _RESULT)
        end = self._counts_form.size
        if len(packed) < end:
            raise _wrong_length(_RESULT.name, len(packed), end)
        counts = self._counts_type(*self._counts_form.unpack_from(packed.data))
        parts: dict[str, Any] = {}
        for part in self._always:
            parts[part], end = self._blocks[part].unpack(packed, end, _RESULT.name)
        if end != len(packed):
            raise _wrong_length(_RESULT.name, len(packed), end)
        for part in self.output_names(keep)[1:]:
            packed = checked(tensors, self._blocks[part].spec)
            parts[part], end = self._blocks[part].unpack(packed, 0, part)
            if end != len(packed):
                raise _wrong_length(part, len(packed), end)
        for spec in (IDENTITY, STOPPED_BY):
            if spec.name in tensors:
                parts[spec.name] = checked(tensors, spec).tobytes().decode(errors="replace")
        return self.result(event, counts, **parts)


class _Piece(NamedTuple):
    """One array of a noun.

    Attributes:
        column: name of the column.
        name: name of the piece: that of the column, with ``_offsets`` for its offsets.
        tensor: name of its tensor.
        dtype: type of its items.
        shape: shape of a row.
        kind: "rows" for a column, "offsets" or "values" for a part of a ragged one.
        width: bytes of a row.
    """

    column: str
    name: str
    tensor: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    kind: str
    width: int

    @property
    def finder(self) -> Callable[[Columns], Array]:
        """Function that finds the array in a noun, unchecked."""
        return attrgetter(self.column if self.kind == "rows" else f"{self.column}.{self.kind}")

    def of(self, noun: Columns, rows: int, tensor: str) -> Array:
        """The array in ``noun``, which has so many rows.

        Raises:
            InputError: it has the wrong dtype or shape.
        """
        array = self.finder(noun)
        length = rows + (self.kind == "offsets") if self.kind != "values" else len(array)
        if array.dtype != self.dtype or array.shape != (length, *self.shape):
            checked({tensor: array}, TensorSpec(tensor, self.dtype, (length, *self.shape)))
        return array


class _Block:
    """The layout of one noun in memory; see the docstring of this module."""

    def __init__(self, part: str, noun: type[Columns]) -> None:
        self.spec = TensorSpec(part, np.dtype(np.uint8), (-1,))
        self._part = part
        self._noun = noun
        self.schema = list(_pieces(part, noun))
        self._layout = sorted(self.schema, key=lambda piece: -piece.dtype.itemsize)
        self._ragged = [piece.column for piece in self.schema if piece.kind == "values"]
        self._names = list(noun.schema())
        self._shapes = {piece.shape for piece in self.schema}
        self._plan = [(piece.finder, piece.dtype, piece.shape, piece) for piece in self._layout]
        self._width = sum(piece.width for piece in self.schema if piece.kind != "values")
        self._widths = [piece.width for piece in self.schema if piece.kind == "values"]
        self._views_plan = [
            (piece.name, self._length_of(piece), piece.dtype, piece.shape, piece.width)
            for piece in self._layout
        ]
        self._head = _form(1 + len(self._ragged))

    def _length_of(self, piece: _Piece) -> int:
        """Place of the length of a piece among that of columns, of offsets and of values."""
        if piece.kind == "values":
            return 2 + self._ragged.index(piece.column)
        return int(piece.kind == "offsets")

    def pack(self, noun: Columns, pieces: list[Any]) -> int:
        """Append the pieces of the block, to be joined; return their number of bytes.

        Raises:
            InputError: an array has the wrong dtype or shape.
        """
        rows = len(noun)
        values = [len(getattr(noun, name).values) for name in self._ragged]
        pieces.append(self._head.pack(rows, *values))
        shapes = {shape: (rows, *shape) for shape in self._shapes}
        size = self._head.size
        for find, dtype, shape, piece in self._plan:
            array = find(noun)
            if array.dtype != dtype or array.shape != shapes[shape]:
                array = piece.of(noun, rows, piece.tensor)
            pieces.append(array)
            size += array.nbytes
        rest = -size % _HEAD.itemsize
        pieces.append(bytes(rest))
        return size + rest

    def unpack(self, packed: Array, start: int, tensor: str) -> tuple[Columns, int]:
        """The noun whose block begins at byte ``start``, and where the block ends.

        Its columns are views, which are made when one of them is asked for.

        Raises:
            InputError: ``packed`` is shorter than the block says, or offsets are wrong.
        """
        at = start + self._head.size
        if len(packed) < at:
            raise _wrong_length(tensor, len(packed), at)
        rows, *n_values = self._head.unpack_from(packed.data, start)
        end = at + rows * self._width
        for width, length in zip(self._widths, n_values, strict=True):
            end += OFFSET.itemsize + length * width
        if min(rows, *n_values, 0) < 0 or end > len(packed):
            raise _wrong_length(tensor, len(packed), end)
        noun = self._noun.later(partial(self._views, packed, at, (rows, rows + 1, *n_values)))
        for name, size in zip(self._ragged, n_values, strict=True):
            offsets = getattr(noun, name).offsets
            if offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
                raise InputError("offsets of a column are wrong", tensor=tensor, column=name)
        return noun, end + -(end - start) % _HEAD.itemsize

    def _views(self, packed: Array, at: int, lengths: Sequence[int]) -> dict[str, Array | Ragged]:
        """The columns of the block whose columns begin at byte ``at``, by name.

        Args:
            packed: bytes with the block, long enough.
            at: the byte.
            lengths: length of columns, of offsets, and of the values of each ragged column.
        """
        arrays: dict[str, Any] = {}
        for name, place, dtype, shape, width in self._views_plan:
            length = lengths[place]
            arrays[name] = np.ndarray((length, *shape), dtype, packed, at)
            at += length * width
        for name in self._ragged:
            arrays[name] = Ragged(arrays.pop(f"{name}_offsets"), arrays[name])
        return {name: arrays[name] for name in self._names}


def _pieces(part: str, noun: type[Columns]) -> Iterator[_Piece]:
    """The arrays of a part, in the order of its schema."""
    for name, column in noun.schema().items():
        tensor = f"{part}_{name}"
        kind = "rows"
        if column.ragged:
            kind = "values"
            offsets = f"{name}_offsets"
            width = OFFSET.itemsize
            yield _Piece(name, offsets, f"{tensor}_offsets", OFFSET, (), "offsets", width)
        width = column.dtype.itemsize * math.prod(column.shape)
        yield _Piece(name, name, tensor, column.dtype, column.shape, kind, width)


def _form(n: int) -> struct.Struct:
    """The form of ``n`` numbers of a head."""
    return struct.Struct(f"={n}q")


def _wrong_length(tensor: str, found: int, bound: int) -> InputError:
    return InputError("tensor has the wrong length", tensor=tensor, found=found, bound=bound)
