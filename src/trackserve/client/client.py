"""The client: reconstruct events on a server as if the pipeline were here."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from trackserve.wire.identity import Identity

from .exchange import (
    Exchange,
    OnTimings,
    Patience,
    Settings,
    ask_identity,
    connect,
    find_model,
    list_models,
    make_task,
)
from .stream import Stream, StreamSettings


class Client:
    """A connection to one Triton server; a context manager, for any number of threads.

    Args:
        url: ``grpc://host:port`` or ``http://host:port``.
        timeout: seconds that an event may take, retries included.
        transport: ``"grpc"``, ``"http"``, ``"shm"`` (gRPC with large tensors in shared memory)
            or ``"auto"``. ``"auto"`` is the scheme of the url, and shared memory if client and
            server run on one host as one user. If shared memory fails, gRPC carries all tensors.
        retry: whether to ask again until the timeout, if the server is busy, or if it has
            answered before and cannot be reached now.
        on_timings: called with the :class:`~trackserve.client.Timings` of each event, in the
            thread that gets its result.

    Raises:
        InputError: a malformed url, or a transport that does not fit it.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        transport: str = "auto",
        retry: bool = True,
        on_timings: OnTimings | None = None,
    ) -> None:
        self._transport = connect(url, transport)
        self._settings = Settings(url, timeout, retry, on_timings)
        self.url = url

    @property
    def transport(self) -> str:
        """Name of the transport: ``"grpc"``, ``"http"`` or ``"shm"``."""
        return self._transport.name

    def ready(self) -> bool:
        """Whether the server answers and has loaded its models."""
        return self._transport.ready(self._settings.timeout)

    def reconstruct(
        self,
        model: str,
        event: Any,
        keep: Collection[str] = (),
        *,
        identity: Identity | str | None = None,
        timeout: float | None = None,
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
            timeout: seconds for this event instead of the client's.

        Returns:
            the result, as the tracker's pipeline returns it; its arrays are read-only.

        Raises:
            InputError: an unknown model or part, a model whose tracker is not installed here or
                that does not say its identity, an event that is malformed or of another kind.
            EventError: the event cannot be reconstructed; the error is the pipeline's.
            IdentityMismatch: the model has another identity than the expected one.
            ServerBusy: the server's queue was full until the timeout.
            ServerUnavailable: nothing answers at the url.
            DeadlineExceeded: there was no answer in time.
            Cancelled: the client was closed meanwhile.
            ServerError: the server failed; it has ``url`` and ``status``. The five errors above
                are kinds of it.
        """
        patience = Patience(self._settings, timeout)
        served = find_model(self._settings, self._transport, model, patience)
        task = make_task(served, keep, identity, self.url)
        exchange = Exchange(self._settings, task, event, patience)
        result = exchange.answer(self._transport)
        exchange.handed_out()
        return result

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
    ) -> Iterator[Any]:
        """Reconstruct many events, several at a time.

        ``events`` is read as answers are taken, so it may be endless. If the loop is left early,
        the events in flight are given up, on the server too.

        Args:
            model, keep, identity: as in :meth:`reconstruct`.
            events: events of the kind that the tracker takes.
            in_flight: most requests in flight; by default the client finds a good number (see
                :class:`trackserve.client.window.Window`).
            per_request: events in one request. Many events in a request cost less for each, and
                their answers come together. The default is 1 if ``in_flight`` is given. Else it is
                the number that the server computes in 150 ms, at most 16; but no event waits for
                others while nothing is in flight.
            ordered: whether results come in the order of the events; else they come as they are
                completed.
            timeout: seconds for each event instead of the client's.

        Yields:
            the result of each event, or its :class:`~trackserve.errors.EventError`.

        Raises:
            InputError, ServerError: as in :meth:`reconstruct`; they end the stream.
        """
        wake = threading.Event()
        patience = Patience(self._settings, timeout)
        served = find_model(self._settings, self._transport, model, patience)
        task = make_task(served, keep, identity, self.url)
        how = StreamSettings(in_flight, per_request, ordered=ordered, timeout=timeout)
        stream = Stream(self._settings, self._transport, task, how, wake.set)
        source = iter(events)
        try:
            while stream.unfinished:
                while stream.wants_event:
                    stream.start(next(source, None))
                stream.flush()
                answer = stream.take()
                if answer is None:
                    wake.wait(stream.pause())
                else:
                    yield answer
                wake.clear()
                stream.advance()
        finally:
            stream.cancel()

    def identify(self, model: str) -> str:
        """Text of the identity that a model has now; the server is asked.

        Raises:
            InputError, ServerError: as in :meth:`reconstruct`.
        """
        patience = Patience(self._settings, None)
        served = find_model(self._settings, self._transport, model, patience)
        return ask_identity(self._settings, self._transport, served)

    def models(self) -> dict[str, str]:
        """Text of the identity of each model on the server, by name.

        The text is empty where a model does not say it, or its tracker is not installed here.

        Raises:
            ServerError: the server does not answer.
        """
        return list_models(self._settings, self._transport)

    def close(self) -> None:
        """End what is in flight and let go of the server; takes 2 s at most."""
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
