"""The models on a server, or on many: what they are, and their identities."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trackserve.errors import (
    IdentityMismatch,
    InputError,
    ServerError,
    TrackserveError,
    WireMismatch,
)
from trackserve.wire.identity import ALIAS_PARAMETER, Identity, check_identity

from .counters import Counters
from .exchange import Asking, Exchange, Patience, Settings, Task, Terms, make_task
from .pool import Pool
from .served import ServedModel, served_model
from .transport import Transport

_TIME_TO_EXPLAIN = 5.0
"""Seconds in which a server is asked why it refuses a request."""


def find_model(
    settings: Settings, transport: Transport, model: str, patience: Patience
) -> ServedModel:
    """The model on the server that is called ``model``; the server is asked once.

    Raises:
        InputError: there is no such model, or its tracker is not installed here.
        ServerError: the server does not answer.
    """
    if not isinstance(model, str) or not model.isprintable():  # type: ignore[redundant-expr]
        raise InputError("the name of a model is a printable text", found=repr(model)[:80])
    while model not in settings.served:
        try:
            config = transport.config(model, patience.left(model=model))
        except ServerError as error:
            time.sleep(patience.retry_after(error))
            continue
        except InputError as error:
            with suppress(ServerError):  # a server may keep its list to itself
                names = transport.models(patience.left(model=model))
                if names and model not in names:
                    fields = {"found": model, "bound": names, "url": settings.url}
                    raise InputError("the server has no such model", **fields) from error
            raise
        settings.served[model] = served_model(config, model, settings.url)
    return settings.served[model]


def find_task(
    settings: Settings,
    transport: Transport,
    model: str,
    terms: Terms,
    patience: Patience,
) -> Task:
    """The work to do with a model.

    Args:
        settings, transport: settings and transport of the client.
        model: name of the model.
        terms: what the caller wants.
        patience: deadline of the first event.

    Raises:
        InputError, ServerError: as of :func:`find_model` and :func:`.exchange.make_task`.
        IdentityMismatch: each of many servers has another identity.
    """
    served = find_model(settings, transport, model, patience)
    task = make_task(served, terms, settings.url)
    if isinstance(transport, Pool) and (model, task.identity) not in settings.agreed:
        expected = task.identity or settings.identities.get(model, "")
        left = patience.left(model=model)
        agreed = transport.agree(model, served.tracker, expected, left)
        settings.answered = True
        settings.agreed.add((model, task.identity))
        if task.identity is None:
            settings.identities.setdefault(model, agreed)
    return task


def is_known(
    settings: Settings, transport: Transport, model: Any, identity: Identity | str | None
) -> bool:
    """Whether :func:`find_task` asks no server, and so does not wait."""
    if not isinstance(model, str) or model not in settings.served:
        return False
    expected = None if identity is None else str(identity)
    return not isinstance(transport, Pool) or (model, expected) in settings.agreed


def explained(
    refusal: InputError, settings: Settings, transport: Transport, model: str
) -> TrackserveError:
    """The reason why a model that was found earlier refuses a request.

    A server that was started anew may have another tracker under the name of the model, or no such
    model. So it is asked again which one it is.

    Returns:
        an :class:`IdentityMismatch` that names both trackers, the error that the model is not
        there or of another version, or ``refusal``.
    """
    known = settings.served.pop(model, None)
    try:
        now = find_model(settings, transport, model, Patience(settings, _TIME_TO_EXPLAIN))
    except (InputError, WireMismatch) as reason:
        return reason
    except TrackserveError:
        return refusal
    if known is None or now.tracker.name == known.tracker.name:
        return refusal
    return IdentityMismatch(
        "the model on the server is of another tracker now",
        expected=known.tracker.name,
        found=now.tracker.name,
        model=model,
        url=settings.url,
    )


def ask_identity(
    settings: Settings, transport: Transport, model: ServedModel, expected: str = ""
) -> str:
    """Text of the identity of a model, by the answer to the example of its tracker.

    Args:
        settings, transport: settings and transport of the client.
        model: the model.
        expected: identity that it must have, or one of many servers; empty: any.

    Raises:
        IdentityMismatch: it has another one.
        InputError, ServerError: as of :meth:`trackserve.client.Client.reconstruct`.
    """
    if isinstance(transport, Pool):
        return transport.agree(model.name, model.tracker, expected, settings.timeout)
    anew = replace(settings, identities={}, on_timings=None, counters=Counters())
    task = make_task(model, Terms(), settings.url)
    example = model.tracker.example()
    result = Exchange(Asking(anew, task), example, Patience(anew, None)).answer(transport)
    check_identity(expected or result.identity, result.identity, model=model.name, url=settings.url)
    return str(result.identity)


def list_models(settings: Settings, transport: Transport) -> dict[str, str]:
    """Text of the identity of each model on the server, by name; see :func:`ask_identity`.

    An alias has that of its model. The text is empty where a model does not say it, or its tracker
    is not installed here.

    Raises:
        ServerError: the server does not answer.
    """
    found = {}
    for name in transport.models(settings.timeout):
        try:
            parameters = transport.config(name, settings.timeout).parameters
            named = parameters.get(ALIAS_PARAMETER, name)
            model = find_model(settings, transport, named, Patience(settings, None))
            found[name] = ask_identity(settings, transport, model)
        except TrackserveError:
            found[name] = ""
    return found
