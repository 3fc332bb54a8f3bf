"""Every error that trackserve raises on purpose.

An error names what is wrong and where, travels over the wire as JSON
(:func:`encode`, :func:`decode`) and is raised again on the client's side with
the same type and fields.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

T = TypeVar("T")

_WIRE_PREFIX = "trackserve-error "


class TrackserveError(Exception):
    """Base of all errors of this package; ``fields`` holds what the message is made of."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> Any:
        return _rebuild, (type(self).__name__, self.message, self.fields)

    def __str__(self) -> str:
        where = ", ".join(f"{key} {value}" for key, value in self.fields.items())
        return f"{self.message} ({where})" if where else self.message


class ConditionsError(TrackserveError):
    """A conditions file is missing, short or inconsistent. Fields: ``file`` and what was found."""


class ModelError(TrackserveError):
    """A model folder is incomplete or inconsistent. Fields: ``file``, ``at`` (a key of
    ``model.json``) or ``weight``, ``found`` and ``bound`` where known."""


class EventError(TrackserveError):
    """One event cannot be reconstructed; the other events of its batch are.

    Fields: ``event`` and, where known, ``fed``, ``word`` (32-bit word in the
    event's stream), ``bound`` and ``found``.
    """

    origin: Any = None
    """Who gave it, and how: a :class:`trackserve.edm.result.Origin`, if a client has it."""


class InputError(TrackserveError, ValueError):
    """An argument or a tensor has the wrong type, shape or name."""


class MalformedEvent(EventError, InputError):
    """An event is of the wrong kind, or a field of it has the wrong type, dtype or shape.

    Fields: ``event`` where the number is known, ``field``, ``found`` and ``bound``.
    """

    @classmethod
    def of(cls, error: InputError) -> MalformedEvent:
        """The error of an event that another function has refused with ``error``."""
        return error if isinstance(error, cls) else cls(error.message, **error.fields)


class LimitExceeded(EventError):
    """An event needs more work than its limits allow: see :class:`trackserve.edm.EventLimits`.

    Fields: ``event``; ``limit``, the name of what there is too much of; ``bound``, the most that
    is allowed; ``found`` where the number is known without the work.
    """


class TagError(EventError):
    """The conditions that an event names are not there, or cannot be read.

    Fields: ``event``, ``found``, its tag; ``bound``, tags that are there, or ``reason``.
    """


class JobError(InputError):
    """The modules of a job do not fit together, or its description is wrong.

    Fields: ``module`` and ``product`` where known, ``found`` and ``bound``.
    """


class ModuleFailed(EventError):
    """A module of a job failed on one event, for another reason than the event's data.

    Fields: ``event``, ``module``, ``reason``.
    """


class MissingExtraError(TrackserveError, ImportError):
    """A part of the package was used whose optional dependency is not installed."""


class ServerError(TrackserveError):
    """The server cannot be started, reached, or failed. Fields: ``url``, ``status`` where known."""


class AccessDenied(ServerError):
    """The server does not let this client do that: a token is missing or wrong, or what was asked
    for is open to nobody. The same request would be refused again."""


class ServerBusy(ServerError):
    """The server's queue is full; the same request may succeed later."""


class ServerUnavailable(ServerError):
    """Nothing answers at the url, the connection broke, or the server is not ready."""


class DeadlineExceeded(ServerError):
    """The call took longer than its timeout."""


class EventDeadlineExceeded(EventError, DeadlineExceeded):
    """The work on an event took longer than the deadline in its limits; the event may be good.

    Fields: ``event``; ``bound``, the seconds that were left for the work when it began; ``stage``,
    the last one that ended, where one did.
    """


class IdentityMismatch(ServerError):
    """The server's model computes something else than was expected: another configuration, other
    conditions, another model or algorithm. Fields: ``expected`` and ``found``, identities as
    text; ``model``."""


class WireMismatch(ServerError):
    """The other side speaks another version of the wire: see :mod:`trackserve.wire.version`.

    Fields: ``expected``, the version of the side that refuses, and ``found``; ``model``.
    """


class Cancelled(ServerError):
    """The call was given up before it ended: its client was closed, or it was cancelled."""


_TYPES = {
    cls.__name__: cls
    for cls in (
        TrackserveError,
        ConditionsError,
        ModelError,
        EventError,
        InputError,
        MalformedEvent,
        LimitExceeded,
        TagError,
        JobError,
        ModuleFailed,
        MissingExtraError,
        ServerError,
        AccessDenied,
        ServerBusy,
        ServerUnavailable,
        DeadlineExceeded,
        EventDeadlineExceeded,
        IdentityMismatch,
        WireMismatch,
        Cancelled,
    )
}


def _rebuild(kind: str, message: str, fields: dict[str, Any]) -> TrackserveError:
    return _TYPES[kind](message, **fields)


def parse_json(text: str | bytes, kind: type[T], **where: Any) -> T:
    """The JSON content of ``text``.

    Args:
        text: is perhaps not of ours.
        kind: type of the content: dict or list.
        where: fields of the error, as ``file``.

    Raises:
        InputError: it is no JSON, or of another kind.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("no JSON", **where, found=str(error)[:80]) from None
    if not isinstance(found, kind):
        bound = kind.__name__
        raise InputError("wrong JSON", **where, found=type(found).__name__, bound=bound)
    return found


def encode(error: TrackserveError) -> str:
    """The error as the text that a server sends; a field that JSON lacks travels as its text."""
    body = {"type": type(error).__name__, "message": error.message, "fields": error.fields}
    return _WIRE_PREFIX + json.dumps(body, default=str)


def decode(text: str) -> TrackserveError | None:
    """The error that :func:`encode` wrote somewhere into ``text``; None if there is none."""
    start = text.find(_WIRE_PREFIX)
    if start < 0:
        return None
    try:
        body, _ = json.JSONDecoder().raw_decode(text[start + len(_WIRE_PREFIX) :])
        return _rebuild(body["type"], body["message"], body["fields"])
    except (ValueError, KeyError, TypeError):
        return None
