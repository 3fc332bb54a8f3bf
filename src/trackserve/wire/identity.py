"""The identity of what a pipeline computes, and the parameters that describe a served model.

Two pipelines of the same identity give the same results. Its text is one line, as ::

    patatrack 2, config default 3f2a9c1d0b77, conditions 0b77e1aa94c2 [5c0e6a1d2b3f4a59] on cpu

The line has the tracker, the number of its algorithm, the parts that decide its results, their
hash, and the device. The hash is that of the text before it, so it does not depend on the device.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from trackserve.errors import IdentityMismatch, InputError

TRACKER_PARAMETER = "tracker"
"""Name of the tracker. It tells a client how to speak to the model, whatever its name is."""
DEVICE_PARAMETER = "device"
"""Device of the tracker, as in "cpu"."""
ALIAS_PARAMETER = "alias_of"
"""Name of the model whose answers a second name gives."""
IDENTITY_PARAMETER = "identity"
"""Parameter of a request: the identity that the client expects, as text, or its hash alone."""
UNCHECKED = "unchecked"
"""What clients take in place of an identity if the answers may be of any."""

_TEXT = re.compile(r"(\S+) (\d+)((?:, [^,\[\]]+)*) \[[0-9a-f]{16}\] on (\S+)")
_HASH = re.compile(r"\[([0-9a-f]{16})\]")


@dataclass(frozen=True)
class Identity:
    """The identity of a pipeline. Identities that differ in the device alone are equal.

    Attributes:
        tracker: name of the tracker.
        algorithm: number of its algorithm.
        parts: the rest that decides the results, each as :func:`part` makes it.
        device: device of the pipeline, as in "cpu".
    """

    tracker: str
    algorithm: int
    parts: tuple[str, ...] = ()
    device: str = field(default="cpu", compare=False)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits that depend on all but the device."""
        return hashlib.sha256(self._decisive.encode()).hexdigest()[:16]

    @property
    def _decisive(self) -> str:
        return ", ".join([f"{self.tracker} {self.algorithm}", *self.parts])

    @cached_property
    def _text(self) -> str:
        return f"{self._decisive} [{self.hash}] on {self.device}"

    def __str__(self) -> str:
        return self._text

    @classmethod
    def parse(cls, text: str) -> Self:
        """The identity whose text this is.

        Raises:
            InputError: it is no such text, or its hash is that of another one.
        """
        if found := _TEXT.fullmatch(text):
            tracker, algorithm, parts, device = found.groups()
            identity = cls(tracker, int(algorithm), tuple(parts.split(", ")[1:]), device)
            if str(identity) == text:
                return identity
        raise InputError("malformed identity", found=text)


def part(*words: str) -> str:
    """A part of an identity: the words, with "_" in place of what would break its text."""
    return " ".join(re.sub(r"[^\w.@+:/=-]", "_", word, flags=re.ASCII) for word in words if word)


def hash_of(text: str) -> str:
    """The hash in the text of an identity; a text without one is taken as the hash."""
    found = _HASH.search(text)
    return found[1] if found else text


def is_same(one: str, other: str) -> bool:
    """Whether two texts, or hashes, are of the same identity."""
    return one == other or hash_of(one) == hash_of(other)


def check_identity(expected: str, found: str, **where: str) -> None:
    """Refuse another identity than the expected one.

    Args:
        expected, found: texts of identities, or their hashes.
        where: fields of the error, as ``model``.

    Raises:
        IdentityMismatch: the hashes differ.
    """
    if not is_same(expected, found):
        raise IdentityMismatch(
            "the model on the server has another identity",
            expected=expected,
            found=found,
            **where,
        )


def digest(content: object) -> str:
    """12 hexadecimal digits that depend on the content, and on nothing else.

    Padding in arrays of records does not count.

    Args:
        content: arrays, numbers and texts, alone or in mappings, sequences, named tuples and
            dataclasses.
    """
    sha = hashlib.sha256()
    _feed(sha.update, content)
    return sha.hexdigest()[:12]


def _feed(update: Callable[[Any], object], content: Any) -> None:
    kind = type(content).__name__
    if isinstance(content, tuple) and hasattr(content, "_asdict"):
        content = content._asdict()
    elif is_dataclass(content):
        content = {field.name: getattr(content, field.name) for field in fields(content)}
    if isinstance(content, Mapping):
        update(f"{kind} {len(content)};".encode())
        for name in sorted(content):
            _feed(update, name)
            _feed(update, content[name])
    elif content is None or isinstance(content, str):
        update(f"{content!r};".encode())
    elif isinstance(content, Sequence):
        update(f"list {len(content)};".encode())
        for item in content:
            _feed(update, item)
    else:
        _feed_array(update, np.asarray(content))


def _feed_array(update: Callable[[Any], object], array: np.ndarray[Any, Any]) -> None:
    if array.dtype.names is not None:
        _feed(update, {name: array[name] for name in _without_padding(array.dtype)})
        return
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    update(f"{array.dtype.str} {array.shape};".encode())
    update(array.reshape(-1).view(np.uint8))


def _without_padding(dtype: np.dtype[Any]) -> list[str]:
    bases = {name: dtype[name].base for name in dtype.names or ()}
    return [name for name, base in bases.items() if base.kind != "V" or base.names]
