"""The client: reconstruct events on a server as if the pipeline were here."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from trackserve.edm import EventLimits
from trackserve.errors import EventError, InputError, TrackserveError
from trackserve.trackers.batch import one_by_one
from trackserve.wire.identity import Identity

from .base import BaseClient
from .exchange import DEFAULT_TIMEOUT, Asking, Exchange, Patience, Terms
from .models import ask_identity, explained, find_model, find_task, list_models
from .stream import END, Stream, StreamSettings
from .submitted import Submitted
from .waiter import waiter_for

_LOOK = 0.002
"""Seconds. So late may a stream see a reply that comes while its user takes answers."""


class Client(BaseClient):
    """A connection to a server, or to many; a context manager, for any number of threads.

    Args:
        url: ``grpc://host:port`` or ``http://host:port``, with TLS ``grpcs://`` or ``https://``;
            several, with commas between them; ``@FILE`` for a file that lists them. A name stands
            for all its addresses.
        timeout: seconds that an event may take, retries included; None or infinity: there is no
            deadline. Then the wait ends by an answer, a broken connection or :meth:`close`.
        transport: ``"grpc"``, ``"http"``, ``"shm"`` (all tensors in shared memory)
            or ``"auto"``. ``"auto"`` is the scheme of the url, and shared memory if client and
            server run on one host as one user. If shared memory fails, gRPC carries all tensors.
        retry: whether to ask again until the timeout, and other servers too, if a server is busy,
            or if it has answered before and cannot be reached now.
        fallback: what reconstructs in this process while no server can: options of the tracker by
            name of model, as ``{"patatrack": {"conditions": "DIR"}}``; "local" for the defaults
            of any model; None: nothing.
        on_timings: called with the :class:`~trackserve.client.Timings` of each event, in the
            thread that gets its result.
        access: certificates and token of the client; None: what the environment says
            (:meth:`~trackserve.wire.access.Access.from_environment`).

    A client belongs to the process that made it. After a fork, the other process makes its own.

    Raises:
        InputError: a malformed url, timeout or fallback, a file of servers that cannot be read,
            or a transport that does not fit the url. Each method raises it after a fork.
    """

    def ready(self) -> bool:
        """Whether the server answers, in 30 s at most, and has loaded its models."""
        self._settings.check_process()
        return self._transport.ready(min(self._settings.timeout, DEFAULT_TIMEOUT))

    def reconstruct(
        self,
        model: str,
        event: Any,
        keep: Collection[str] = (),
        *,
        identity: Identity | str | None = None,
        timeout: float | None = None,
        limits: EventLimits | None = None,
    ) -> Any:
        """Reconstruct one event.

        Args:
            model: name of a model on the server, as ``"patatrack"``. The client asks the server
                once which tracker the model is.
            event: an event of the kind that the tracker takes.
            keep: intermediates of the tracker to return as well.
            identity: identity that the model must have, or its text or hash. The default is that
                of the first answer that this client had from the model. "unchecked" takes any;
                then the result does not say its own.
            timeout: seconds for this event instead of the client's; infinity: no deadline.
            limits: the most work on the event, as the tracker's pipeline takes it; None: the
                tracker's defaults. Its deadline counts from now, and goes on while the event waits
                or is sent again.

        Returns:
            the result, as the tracker's pipeline returns it; its arrays are read-only.

        Raises:
            InputError: an unknown model or part, a model whose tracker is not installed here or
                that does not say its identity, a wrong timeout, limits of another tracker.
            EventError: the event cannot be reconstructed; the error is the pipeline's. A malformed
                event has a :class:`~trackserve.errors.MalformedEvent`, one beyond its limits a
                :class:`~trackserve.errors.LimitExceeded` or, beyond their deadline, an
                :class:`~trackserve.errors.EventDeadlineExceeded`.
            IdentityMismatch: the model has another identity than the expected one.
            ServerBusy: the server's queue was full until the timeout.
            ServerUnavailable: nothing answers at the url.
            DeadlineExceeded: there was no answer in time.
            Cancelled: the client was closed meanwhile.
            ServerError: the server failed; it has ``url`` and ``status``. The five errors above
                are kinds of it.
        """
        self._settings.check_process()
        patience = Patience(self._settings, timeout)
        terms = Terms(keep, identity, limits)
        task = find_task(self._settings, self._transport, model, terms, patience)
        exchange = Exchange(Asking(self._settings, task), event, patience)
        try:
            result = exchange.answer(self._transport)
        except EventError:
            raise
        except InputError as error:
            raise explained(error, self._settings, self._transport, model) from error
        exchange.handed_out()
        return result

    def submit(
        self,
        model: str,
        event: Any,
        keep: Collection[str] = (),
        *,
        identity: Identity | str | None = None,
        timeout: float | None = None,
        limits: EventLimits | None = None,
    ) -> Future[Any]:
        """Send one event, and do not wait: for who has a loop, or callbacks, of their own.

        Args:
            model, event, keep, identity, timeout, limits: as in :meth:`reconstruct`. The first call
                for a model asks the server which tracker it is, and waits for that;
                :meth:`identify` does so before.

        Returns:
            the future of what :meth:`reconstruct` returns or raises. Its callbacks are called by
            the thread that brings the answer. If it is cancelled, the server gives the event up.
        """
        self._settings.check_process()
        submitted = Submitted(self._settings, self._transport, model)
        try:
            patience = Patience(self._settings, timeout)
            terms = Terms(keep, identity, limits)
            task = find_task(self._settings, self._transport, model, terms, patience)
            exchange = Exchange(Asking(self._settings, task), event, patience)
        except TrackserveError as error:
            submitted.end(error)
        else:
            submitted.send(exchange)
        return submitted

    def stream(
        self,
        model: str,
        events: Iterable[Any],
        keep: Collection[str] = (),
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        ordered: bool = True,
        identity: Identity | str | None = None,
        timeout: float | None = None,
        limits: EventLimits | None = None,
    ) -> Iterator[Any]:
        """Reconstruct many events, several at a time.

        ``events`` is read as answers are taken, so it may be endless. If the loop is left early,
        the events in flight are given up, on the server too. If reading ``events`` fails, the
        stream raises that error after the answers to the events before it.

        Args:
            model, keep, identity, limits: as in :meth:`reconstruct`.
            events: events of the kind that the tracker takes; see
                :func:`trackserve.trackers.batch.one_by_one`. An
                :class:`~trackserve.errors.EventError` among them is its own answer.
            in_flight: most requests in flight; by default the client finds a good number (see
                :class:`trackserve.client.window.Window`).
            per_request: events in one request. Many events in a request cost less for each, and
                their answers come together. The default is 1 if ``in_flight`` is given. Else it is
                the number that the server computes in 0.1 s, at most 16; but no event waits for
                others while nothing is in flight, nor if ``limits`` have a deadline.
            ordered: whether results come in the order of the events; else they come as they are
                completed.
            timeout: seconds for each event instead of the client's; infinity: no deadline.

        Yields:
            the result of each event, or its :class:`~trackserve.errors.EventError`.

        Raises:
            InputError, ServerError: as in :meth:`reconstruct`; they end the stream.
        """
        self._settings.check_process()
        patience = Patience(self._settings, timeout)
        terms = Terms(keep, identity, limits)
        task = find_task(self._settings, self._transport, model, terms, patience)
        how = StreamSettings(in_flight, per_request, ordered=ordered, timeout=timeout)
        waiter = waiter_for(self._transport)
        try:
            stream = Stream(self._settings, self._transport, task, how, waiter.wake, waiter.submit)
            source = one_by_one(events)
        except BaseException:
            waiter.close()
            raise
        try:
            while stream.unfinished:
                while stream.wants_event:
                    try:
                        event = next(source, END)
                    except Exception as error:
                        stream.end(error)
                    else:
                        stream.start(event)
                stream.flush()
                pause = stream.pause()
                look = time.monotonic() + _LOOK
                while (answer := stream.take()) is not None:
                    yield answer
                    self._settings.check_process()
                    pause = 0.0
                    if time.monotonic() > look:
                        break
                if stream.unfinished:
                    waiter.wait(pause)
                stream.advance()
            stream.close()
        finally:
            if stream.cancel():
                waiter.close()

    def identify(self, model: str, identity: Identity | str | None = None) -> str:
        """Text of the identity that a model has now; the server is asked.

        Args:
            model: name of the model.
            identity: identity that the model must have, or its text or hash; of many servers, one.

        Raises:
            IdentityMismatch: it has another one.
            InputError, ServerError: as in :meth:`reconstruct`.
        """
        self._settings.check_process()
        patience = Patience(self._settings, None)
        served = find_model(self._settings, self._transport, model, patience)
        return ask_identity(self._settings, self._transport, served, str(identity or ""))

    def models(self) -> dict[str, str]:
        """Text of the identity of each model on the server, by name.

        The text is empty where a model does not say it, or its tracker is not installed here.

        Raises:
            ServerError: the server does not answer.
        """
        self._settings.check_process()
        return list_models(self._settings, self._transport)

    def close(self) -> None:
        """End what is in flight and let go of the server; takes 2 s at most."""
        self._settings.check_process()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
