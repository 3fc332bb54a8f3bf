"""What both clients are and tell."""

from __future__ import annotations

from trackserve.wire.access import Access
from trackserve.wire.timeout import checked_timeout

from .connect import connect_to
from .counters import Sample, as_text
from .exchange import DEFAULT_TIMEOUT, OnTimings, Settings
from .local import Fallback
from .pool import Pool, ServerState


class BaseClient:
    """The settings and the transport of a client, and what it tells of them.

    Its arguments and errors are those of :class:`trackserve.client.Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        transport: str = "auto",
        retry: bool = True,
        fallback: Fallback | None = None,
        on_timings: OnTimings | None = None,
        access: Access | None = None,
    ) -> None:
        means = Access.from_environment() if access is None else access
        self._settings = Settings(url, checked_timeout(timeout), retry, on_timings, means)
        self._transport = connect_to(self._settings, transport, fallback)
        self.url = url

    @property
    def transport(self) -> str:
        """Name of the transport: ``"grpc"``, ``"http"`` or ``"shm"``; of many servers, as
        ``"grpc+shm"``."""
        self._settings.check_process()
        return self._transport.name

    def servers(self) -> list[ServerState]:
        """What is known of each of many servers, for each model that was asked for."""
        return self._transport.states() if isinstance(self._transport, Pool) else []

    def counters(self) -> list[Sample]:
        """Sums of what this client did, by server; see :data:`.counters.HELP`."""
        more = self._transport.samples() if isinstance(self._transport, Pool) else []
        return [*self._settings.counters.samples(), *more]

    def prometheus(self) -> str:
        """The counters as a page for Prometheus."""
        return as_text(self.counters())
