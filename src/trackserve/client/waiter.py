"""How the thread of a stream sends its requests, and waits for their replies."""

from __future__ import annotations

import threading

from .bell import Ear
from .shared_memory import SharedMemoryTransport
from .transport import Call, Request, Transport


class Waiter:
    """Other threads bring the replies, and wake the thread of the stream.

    Args:
        transport: carries the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._event = threading.Event()

    def submit(self, request: Request, timeout: float) -> Call:
        """Start a request; see :meth:`.transport.Transport.submit`."""
        return self._transport.submit(request, timeout)

    def wake(self) -> None:
        """End the wait, from any thread."""
        self._event.set()

    def wait(self, timeout: float | None) -> None:
        """Wait until a reply has come, or for so many seconds; None: without a limit."""
        self._event.wait(timeout)
        self._event.clear()

    def close(self) -> None:
        """End what is in flight."""


class ListeningWaiter(Waiter):
    """The thread of the stream reads the replies itself: no other thread has to wake.

    Args:
        transport: carries the requests.
    """

    def __init__(self, transport: SharedMemoryTransport) -> None:
        self._shared = transport
        self._ear = Ear()

    def submit(self, request: Request, timeout: float) -> Call:
        return self._shared.submit(request, timeout, self._ear)

    def wake(self) -> None:
        self._ear.wake()

    def wait(self, timeout: float | None) -> None:
        self._ear.listen(timeout)

    def close(self) -> None:
        self._ear.close()


def waiter_for(transport: Transport) -> Waiter:
    """The way to wait for the replies of a transport."""
    if isinstance(transport, SharedMemoryTransport):
        return ListeningWaiter(transport)
    return Waiter(transport)
