"""The client for asyncio, twin of :class:`trackserve.client.Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self, overload

from trackserve.edm import (
    ExatrkxResult,
    PatatrackResult,
    PointsEvent,
    RawEvent,
)
from trackserve.errors import EventError, ServerError
from trackserve.wire import Event, Result

from .exchange import (
    Exchange,
    OnTimings,
    Settings,
    connect,
)
from .stream import Answer, Stream


class AsyncClient:
    """As :class:`trackserve.client.Client`, to be awaited; an async context manager.

    The arguments and errors of the constructor and of all methods are that client's.
    Cancelling a task that awaits a result gives the event up, on the server too.
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
        """What carries the tensors: ``"grpc"``, ``"http"`` or ``"shm"``."""
        return self._transport.name

    async def ready(self) -> bool:
        """Whether the server answers and has loaded its models."""
        return await asyncio.to_thread(self._transport.ready, self._settings.timeout)

    @overload
    async def reconstruct(
        self,
        model: str,
        event: RawEvent,
        keep: Collection[str] = (),
        *,
        timeout: float | None = None,
    ) -> PatatrackResult: ...

    @overload
    async def reconstruct(
        self,
        model: str,
        event: PointsEvent,
        keep: Collection[str] = (),
        *,
        timeout: float | None = None,
    ) -> ExatrkxResult: ...

    async def reconstruct(
        self,
        model: str,
        event: Event,
        keep: Collection[str] = (),
        *,
        timeout: float | None = None,
    ) -> Result:
        """Reconstruct one event; see :meth:`trackserve.client.Client.reconstruct`."""
        exchange = Exchange(self._settings, model, event, keep, timeout)
        while True:
            try:
                call = self._transport.submit(exchange.request, exchange.send())
                result = exchange.result(await asyncio.wrap_future(call), call.arrived)
            except ServerError as error:
                await asyncio.sleep(exchange.retry_after(error))
            else:
                exchange.handed_out()
                return result

    @overload
    def stream(
        self,
        model: str,
        events: Iterable[RawEvent] | AsyncIterable[RawEvent],
        keep: Collection[str] = (),
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
    ) -> AsyncIterator[PatatrackResult | EventError]: ...

    @overload
    def stream(
        self,
        model: str,
        events: Iterable[PointsEvent] | AsyncIterable[PointsEvent],
        keep: Collection[str] = (),
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
    ) -> AsyncIterator[ExatrkxResult | EventError]: ...

    async def stream(
        self,
        model: str,
        events: Iterable[Event] | AsyncIterable[Event],
        keep: Collection[str] = (),
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        ordered: bool = True,
        timeout: float | None = None,
    ) -> AsyncIterator[Answer]:
        """Reconstruct many events; see :meth:`trackserve.client.Client.stream`."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()

        def wake_from_thread() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(wake.set)

        stream = Stream(
            self._settings,
            self._transport,
            model,
            keep,
            in_flight,
            per_request,
            ordered,
            timeout,
            wake_from_thread,
        )
        source = aiter(_asynchronous(events))
        coming: asyncio.Future[Event | None] | None = None
        try:
            while stream.unfinished:
                if coming is None and stream.wants_event:
                    coming = asyncio.ensure_future(anext(source, None))
                    coming.add_done_callback(lambda _: wake.set())
                elif coming is None:
                    stream.flush()
                answer = stream.take()
                if answer is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), stream.pause())
                else:
                    yield answer
                wake.clear()
                if coming is not None and coming.done():
                    stream.start(coming.result())
                    coming = None
                stream.advance()
        finally:
            stream.cancel()
            if coming is not None:
                coming.cancel()

    async def close(self) -> None:
        """End what is in flight and let go of the server; takes 2 s at most."""
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
    events: Iterable[Event] | AsyncIterable[Event],
) -> AsyncIterator[Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
