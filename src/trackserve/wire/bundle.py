"""Several events in one request: their tensors one after the other in a tensor ``BUNDLE``.

Each tensor costs time on its way through Triton, each request much more. A bundle begins with the
length of its head, int64, little-endian, and the head, JSON. The tensors follow in the order of
the head, each at a multiple of 8 bytes. In the head is, for each event, how long each of its
tensors is in front, by name::

    {"outputs": ["result"], "ids": ["9f86d081-1", "9f86d081-2"],
     "events": [{"raw": 13120, "beam_spot": 3}, {"raw": 4}]}
    {"events": [{"result": 51200}, "trackserve-error {...}"], "at_a_time": 2}

The first is the head of a request, the second that of its reply. The ids are those of the events'
requests (:mod:`.request_id`); a bundle may lack them. An event that failed has the text
of its error. ``at_a_time`` is the number of events that the server reconstructs at a time.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import (
    InputError,
    ServerError,
    TrackserveError,
    decode,
    encode,
    parse_json,
)

from .tensors import Pieces, Tensors, TensorSpec, checked, pieces_of

BUNDLE = TensorSpec("BUNDLE", np.dtype(np.uint8), (-1,), optional=True)
"""Input and output of every model."""
MOST_EVENTS = 4096
"""Most events in a bundle."""
_LENGTH = np.dtype("<i8")
_LENGTH_FORM = "<q"
_ALIGNMENT = 8
_SMALL = 256
"""Bytes. Tensors of so many are joined at once, so that there are few pieces."""

OutputsOrError = Mapping[str, Array | Pieces] | TrackserveError
"""The output tensors of an event, or the error of an event that failed."""


class EventBundle(NamedTuple):
    """The content of a request.

    Attributes:
        events: input tensors of each event.
        outputs: names of the outputs that each event asks for.
        ids: id of each event; empty: they have none.
    """

    events: list[Tensors]
    outputs: list[str]
    ids: list[str]


class AnswerBundle(NamedTuple):
    """The content of a reply.

    Attributes:
        answers: output tensors of each event, or its error.
        at_a_time: number of events that the server reconstructs at a time.
    """

    answers: list[Tensors | TrackserveError]
    at_a_time: int


def join_events(
    events: Sequence[Mapping[str, Array]], outputs: Sequence[str], ids: Sequence[str] = ()
) -> Pieces:
    """The bundle of ``events``.

    Args:
        events: input tensors of each event, from its codec.
        outputs: names of the outputs that each event asks for.
        ids: id of each event; empty: they have none.
    """
    head: dict[str, Any] = {"outputs": list(outputs)}
    if ids:
        head["ids"] = list(ids)
    return _pieces(head, events)


def split_events(
    tensors: Mapping[str, Array], inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
) -> EventBundle:
    """The events in a bundle; arrays are views of the bundle.

    Args:
        tensors: tensors of the request; the bundle is one of them.
        inputs, outputs: tensors of the model.

    Raises:
        InputError: the bundle is malformed, or has a name that is unknown to the model.
    """
    bundle = checked(tensors, BUNDLE)
    head, end = _head(bundle)
    names = head.get("outputs")
    known = {spec.name for spec in outputs}
    if not isinstance(names, list) or not all(isinstance(n, str) and n in known for n in names):
        raise _malformed(f"no such outputs as {_short(names)}")
    events = []
    for event in _split(bundle, head, end, inputs):
        if isinstance(event, str):
            raise _malformed("an event is not a list of tensors")
        events.append(event)
    ids = head.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise _malformed(f"no such ids as {_short(ids)}")
    if ids and len(ids) != len(events):
        raise _malformed(f"it has {len(ids)} ids for {len(events)} events")
    return EventBundle(events, names, ids)


def join_answers(answers: Sequence[OutputsOrError], at_a_time: int) -> Array:
    """The bundle of ``answers``, uint8[bytes].

    Args:
        answers: output tensors of each event, or its error.
        at_a_time: number of events that the server reconstructs at a time.
    """
    return _pieces({"at_a_time": at_a_time}, answers).join()


def split_answers(
    tensors: Mapping[str, Array], outputs: Iterable[TensorSpec], n_events: int
) -> AnswerBundle:
    """The answers in a bundle; arrays are views of the bundle.

    Args:
        tensors: tensors of the reply; the bundle is one of them.
        outputs: output tensors of the model.
        n_events: number of events in the request.

    Raises:
        InputError: the bundle is malformed, or its number of answers is not ``n_events``.
    """
    bundle = checked(tensors, BUNDLE)
    head, end = _head(bundle)
    answers = [
        item if isinstance(item, dict) else decode(item) or ServerError(item)
        for item in _split(bundle, head, end, outputs)
    ]
    if len(answers) != n_events:
        raise InputError(
            "wrong number of answers", tensor=BUNDLE.name, found=len(answers), bound=n_events
        )
    at_a_time = head.get("at_a_time")
    if not isinstance(at_a_time, int) or at_a_time < 1:
        raise _malformed(f"it is not of {_short(at_a_time)} events at a time")
    return AnswerBundle(answers, at_a_time)


def _pieces(head: dict[str, Any], items: Sequence[OutputsOrError]) -> Pieces:
    head["events"] = [
        encode(item)
        if isinstance(item, TrackserveError)
        else {name: len(array) for name, array in item.items()}
        for item in items
    ]
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    pieces: list[Any] = []
    size = 0
    small = struct.pack(_LENGTH_FORM, len(text)) + text
    for item in items:
        if isinstance(item, TrackserveError):
            continue
        for tensor in item.values():
            if isinstance(tensor, Pieces) or tensor.nbytes > _SMALL:
                pieces.append(small)
                pieces += pieces_of(tensor)
                size += len(small) + tensor.nbytes
                small = b""
            else:
                small += tensor.tobytes()
            small += bytes(-tensor.nbytes % _ALIGNMENT)
    return Pieces([*pieces, small], size + len(small))


def _head(bundle: Array) -> tuple[dict[str, Any], int]:
    """The head of a bundle, and the byte at which it ends."""
    first = _LENGTH.itemsize
    length = int(bundle[:first].view(_LENGTH)[0]) if len(bundle) >= first else -1
    if not 0 <= length <= len(bundle) - first or length % _ALIGNMENT:
        raise _malformed("it is shorter than it says")
    try:
        head: dict[str, Any] = parse_json(bundle[first : first + length].tobytes(), dict)
    except InputError as error:
        raise _malformed(f"its head is no JSON object: {error}") from None
    events = head.get("events")
    if not isinstance(events, list):
        raise _malformed("its head has no events")
    if len(events) > MOST_EVENTS:
        raise InputError(
            "too many events in a bundle", tensor=BUNDLE.name, found=len(events), bound=MOST_EVENTS
        )
    return head, first + length


def _split(
    bundle: Array, head: dict[str, Any], at: int, specs: Iterable[TensorSpec]
) -> Iterator[Tensors | str]:
    known = {spec.name: spec for spec in specs}
    size = len(bundle)
    for item in head["events"]:
        if isinstance(item, str):
            yield item
            continue
        if not isinstance(item, dict):
            raise _malformed(f"no tensor {_short(item)} has a length")
        tensors: Tensors = {}
        for name, length in item.items():
            spec = known.get(name)
            if spec is None or type(length) is not int or length < 0:
                raise _malformed(f"no tensor {_short(name)} has length {_short(length)}")
            row = spec.shape[1:]
            end = at + length * math.prod(row) * spec.dtype.itemsize
            if end > size:
                raise _malformed("it is shorter than it says")
            tensors[name] = np.ndarray((length, *row), spec.dtype, bundle, at)
            at = end + -end % _ALIGNMENT
        yield tensors
    if at != len(bundle):
        raise _malformed("it is longer than it says")


def _short(value: object) -> str:
    return repr(value)[:80]


def _malformed(reason: str) -> InputError:
    return InputError("malformed bundle", tensor=BUNDLE.name, reason=reason)
