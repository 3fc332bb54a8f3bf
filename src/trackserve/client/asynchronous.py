"""The client for asyncio; :class:`trackserve.client.Client` is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from trackserve.edm import EventLimits
from trackserve.errors import EventError, InputError, ServerError
from trackserve.trackers.batch import one_by_one
from trackserve.wire.identity import Identity

from .base import BaseClient
from .exchange import DEFAULT_TIMEOUT, Asking, Exchange, Patience, Task, Terms
from .models import ask_identity, explained, find_model, find_task, is_known, list_models
from .stream import END, Stream, StreamSettings
from .transport import closed


class AsyncClient(BaseClient):
    """A :class:`trackserve.client.Client` for asyncio; an async context manager.

    Its arguments and errors are those of that client. If a task that awaits a result is cancelled,
    the event is given up, on the server too.
    """

    _closed = False

    @cached_property
    def _streams(self) -> set[Callable[[], None]]:
        """What wakes each open stream."""
        return set()

    async def ready(self) -> bool:
        """Whether the server answers, in 30 s at most, and has loaded its models."""
        self._settings.check_process()
        timeout = min(self._settings.timeout, DEFAULT_TIMEOUT)
        return await asyncio.to_thread(self._transport.ready, timeout)

    async def reconstruct(
        self,
        model: str,
        event: Any,
        keep: Collection[str] = (),
        *,
        identity: Identity | str | None = None,
        timeout: float | None = None,
        limits: EventLimits | None = None,
    ) -> Any:
        """Reconstruct one event; see :meth:`trackserve.client.Client.reconstruct`."""
        self._settings.check_process()
        patience = Patience(self._settings, timeout)
        task = await self._find(model, Terms(keep, identity, limits), patience)
        exchange = Exchange(Asking(self._settings, task), event, patience)
        while True:
            try:
                call = self._transport.submit(exchange.request, exchange.send())
                try:
                    tensors = await asyncio.wrap_future(call)
                finally:
                    exchange.note(call.via)
                result = exchange.result(tensors, call.arrived)
            except EventError as error:
                raise exchange.failed(error) from None
            except ServerError as error:
                await asyncio.sleep(exchange.retry_after(error))
            except InputError as error:
                raise await asyncio.to_thread(
                    explained, error, self._settings, self._transport, model
                ) from error
            else:
                exchange.handed_out()
                return result

    async def stream(
        self,
        model: str,
        events: Iterable[Any] | AsyncIterable[Any],
        keep: Collection[str] = (),
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        ordered: bool = True,
        identity: Identity | str | None = None,
        timeout: float | None = None,
        limits: EventLimits | None = None,
    ) -> AsyncIterator[Any]:
        """Reconstruct many events; see :meth:`trackserve.client.Client.stream`."""
        self._settings.check_process()
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()

        def wake_from_thread() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(wake.set)

        patience = Patience(self._settings, timeout)
        task = await self._find(model, Terms(keep, identity, limits), patience)
        how = StreamSettings(in_flight, per_request, ordered=ordered, timeout=timeout)
        stream = Stream(self._settings, self._transport, task, how, wake_from_thread)
        source = aiter(_asynchronous(events))
        coming: asyncio.Future[Any] | None = None
        self._streams.add(wake_from_thread)
        try:
            while stream.unfinished:
                if coming is None and stream.wants_event:
                    coming = asyncio.ensure_future(anext(source, END))
                    coming.add_done_callback(lambda _: wake.set())
                elif coming is None:
                    stream.flush()
                answer = stream.take()
                if answer is not None:
                    yield answer
                    self._settings.check_process()
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), stream.pause())
                wake.clear()
                if self._closed:
                    raise closed(self.url)
                if coming is not None and coming.done():
                    read, coming = coming, None
                    error = read.exception()
                    if isinstance(error, Exception):
                        stream.end(error)
                    else:
                        stream.start(read.result())
                stream.advance()
            stream.close()
        finally:
            self._streams.discard(wake_from_thread)
            stream.cancel()
            if coming is not None:
                coming.cancel()

    async def identify(self, model: str, identity: Identity | str | None = None) -> str:
        """Text of the identity that a model has now; see :meth:`.client.Client.identify`."""
        self._settings.check_process()

        def ask() -> str:
            patience = Patience(self._settings, None)
            served = find_model(self._settings, self._transport, model, patience)
            return ask_identity(self._settings, self._transport, served, str(identity or ""))

        return await asyncio.to_thread(ask)

    async def models(self) -> dict[str, str]:
        """Text of the identity of each model, by name; see :meth:`.client.Client.models`."""
        self._settings.check_process()
        return await asyncio.to_thread(list_models, self._settings, self._transport)

    async def _find(
        self,
        model: str,
        terms: Terms,
        patience: Patience,
    ) -> Task:
        """The work to do with a model; see :func:`.models.find_task`."""
        arguments = (self._settings, self._transport, model, terms, patience)
        if is_known(self._settings, self._transport, model, terms.identity):
            return find_task(*arguments)
        return await asyncio.to_thread(find_task, *arguments)

    async def close(self) -> None:
        """End what is in flight, streams too, and let go of the server; takes 2 s at most."""
        self._settings.check_process()
        self._closed = True
        for wake in list(self._streams):
            wake()
        await asyncio.to_thread(self._transport.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def _asynchronous(
    events: Iterable[Any] | AsyncIterable[Any],
) -> AsyncIterator[Any]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in one_by_one(events):
            yield event
