"""Many servers behind the interface of one transport: choice, health, and other tries.

Each request goes to the server with the least expected wait, among those that have the model and
the identity that it expects. If it fails there for a reason that is not the event's, it goes to
another server at once, to each one once. If a server stalls, its requests are sent elsewhere too,
and the first answer counts. Only if no server takes it has a request failed; its client then asks
again later, as with one server.

A server that fails or stalls is set aside: it gets no requests but tiny probes, with growing
pauses, until it answers one.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from trackserve.errors import (
    DeadlineExceeded,
    IdentityMismatch,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    TrackserveError,
    WireMismatch,
)
from trackserve.trackers.base import Tracker
from trackserve.wire.address import Address
from trackserve.wire.identity import IDENTITY_PARAMETER, UNCHECKED
from trackserve.wire.tensors import Tensors

from .counters import Counters, Sample
from .lane import Attempt, Connection, Lane, Server, State, weight_of
from .local import Local
from .routed import RoutedCall
from .servers import Fixed, Source, current
from .transport import ModelConfig, Request, Transport, closed

_TICK = 0.1
"""Seconds between two looks for stalled servers and for probes that are due."""
_LATE = 0.5
"""Seconds. A look that comes so late tells that this process was stopped, not its servers."""
_LOOK_AGAIN = 1.0
"""Seconds between two looks at the files and names that tell the servers."""
_STILL_THERE = 1.0
"""Seconds for a server to say that it is alive, on a connection that may be lost."""
_USUAL = 1e-7
"""Seconds per byte that a request takes where no server's speed is known."""
_FIRST_ANSWERS = 10.0
"""Seconds that a client waits for servers that it has never heard of, if there is a fallback."""

T = TypeVar("T")

_log = logging.getLogger("trackserve.client")


class ServerState(NamedTuple):
    """What a client knows of a model on a server.

    Attributes:
        server: url of the server.
        model: name of the model.
        state: "usable", "set aside", "without the model", "not asked yet" or "other identity".
        identity: text of the identity of the model; empty if it is not known.
        in_flight: requests that the server has from this client.
        reason: why it is not usable; empty if it is.
    """

    server: str
    model: str
    state: str
    identity: str
    in_flight: int
    reason: str


class Pool:
    """A :class:`.transport.Transport` to many servers.

    Args:
        url: the servers, as the user wrote them; for errors.
        sources: what names them.
        open: makes a connection to one.
        counters: sums for programs and Prometheus.
        fallback: pipelines of this process, which answer if no server can; None: there are none.
        retry: whether a request may go to another server.
    """

    def __init__(
        self,
        url: str,
        sources: list[Source],
        open: Callable[[Address], Transport],
        counters: Counters,
        fallback: Local | None = None,
        retry: bool = True,
    ) -> None:
        self.url = url
        self.retry = retry
        self.lock = threading.RLock()
        self._sources = sources
        self._open = open
        self._counters = counters
        self._fallback = fallback
        self._servers: dict[Address, Server] = {}
        self._lanes: dict[str, dict[Address, Lane]] = {}
        self._leaving: list[Lane] = []
        self._unfit: set[Address] = set()
        self._here: dict[str, Lane] = {}
        self._computing_here: set[str] = set()
        self._stalled: set[RoutedCall] = set()
        self._changed = threading.Condition(self.lock)
        self._closed = threading.Event()
        self._awake = self._ticked = time.monotonic()
        fixed = [source for source in sources if isinstance(source, Fixed)]
        self._is_complete = len(fixed) == len(sources)
        self._take(current(list(fixed)))
        _repeat(self, _TICK, Pool._tick)
        if not self._is_complete:
            _repeat(self, _LOOK_AGAIN, Pool._look)

    # the interface of a transport

    @property
    def name(self) -> str:
        """Names of the transports in use, with "+" between them."""
        with self.lock:
            names = {server.connection.transport.name for server in self._servers.values()}
        return "+".join(sorted(names))

    def call(self, request: Request, timeout: float) -> Tensors:
        return self.submit(request, timeout).result()

    def submit(self, request: Request, timeout: float) -> RoutedCall:
        call = RoutedCall(self, request, timeout)
        if self._closed.is_set():
            call.settle(closed(self.url))
        else:
            call.send()
        return call

    def config(self, model: str, timeout: float) -> ModelConfig:
        """What the first server that answers says of ``model``; if none does, the fallback."""
        most = timeout if self._fallback is None else min(timeout, _FIRST_ANSWERS)
        deadline = time.monotonic() + most
        with self._changed:
            self._lanes.setdefault(model, {})
            self._add_lanes()
            self._probe()
            while True:
                self._check_open()
                lanes = self._lanes[model].values()
                for lane in lanes:
                    if lane.state is State.USABLE and lane.config is not None:
                        return lane.config
                is_asked = all(lane.state is not State.NEW for lane in lanes)
                left = deadline - time.monotonic()
                if (is_asked and self._is_complete) or left <= 0:
                    break
                self._changed.wait(min(left, 1.0))
        if self._fallback is not None:
            with suppress(InputError):
                return self._fallback.config(model)
        raise self._why_none(model, "")

    def models(self, timeout: float) -> list[str]:
        """Names of the models of all servers that answer."""
        self._check_open()
        lists = self._ask_all(lambda transport: transport.models(timeout))
        if not lists:
            raise ServerUnavailable("no server answers", url=self.url)
        return sorted(set().union(*lists))

    def ready(self, timeout: float) -> bool:
        """Whether a server answers and has loaded its models."""
        return any(self._ask_all(lambda transport: transport.ready(timeout)))

    def close(self) -> None:
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            attempts = [attempt for lane in self._all_lanes() for attempt in lane.attempts]
            connections = {server.connection for server in self._servers.values()}
            connections |= {attempt.connection for attempt in attempts}
        for call in {attempt.routed for attempt in attempts} | self._stalled:
            call.end(closed(self.url))
        transports = [connection.transport for connection in connections]
        if self._fallback is not None:
            transports.append(self._fallback)
        _in_threads([transport.close for transport in transports])

    # what more there is to know

    def usable(self, model: str, identity: str) -> list[str]:
        """Urls of the servers that may get requests now; "" is this process."""
        with self.lock:
            found = [lane.server.url for lane in self._usable(model, identity)]
        return found or [""]

    def agree(self, model: str, tracker: Tracker[Any, Any], identity: str, timeout: float) -> str:
        """Text of the identity that all answers of a model will have.

        From now on the fallback answers for the model too, where it has one.

        Args:
            model: name of the model, which :meth:`config` has found.
            tracker: its tracker.
            identity: the identity that it must have, as text or hash; empty: that of the fallback,
                or of the first server that answered; "unchecked": any.
            timeout: seconds for servers that have not answered yet, if no other has the identity.

        Raises:
            IdentityMismatch: servers have answered, and all have another one.
            MissingExtraError, InputError: the fallback cannot be built here.
            Cancelled: the client is closed.
        """
        fallback = self._fallback
        here = "" if fallback is None else fallback.add(model, tracker)
        deadline = time.monotonic() + min(timeout, _FIRST_ANSWERS)
        with self._changed:
            if fallback is not None and here and model not in self._here:
                self._here[model] = Lane(Server("", lambda: fallback), model)
                self._here[model].identity = here
            expected = "" if identity == UNCHECKED else identity or here
            while True:
                self._check_open()
                for lane in self._usable(model, expected):
                    return lane.identity
                left = deadline - time.monotonic()
                lanes = self._lanes[model].values()
                if left <= 0 or all(lane.state is not State.NEW for lane in lanes):
                    break
                self._changed.wait(left)
            error = self._why_none(model, expected)
        if isinstance(error, IdentityMismatch):
            raise error
        return here

    def states(self) -> list[ServerState]:
        """What is known of each model that was asked for, on each server."""
        with self.lock:
            return [
                ServerState(
                    lane.server.url,
                    model,
                    "other identity" if lane.is_foreign else lane.state.value,
                    lane.identity,
                    len(lane.attempts),
                    "" if lane.error is None else str(lane.error),
                )
                for model, lanes in self._lanes.items()
                for lane in lanes.values()
            ]

    def samples(self) -> list[Sample]:
        """What is known of the servers, beside what is counted."""
        found = []
        for state in self.states():
            labels = {"server": state.server, "model": state.model}
            found.append(Sample("usable", labels, float(state.state == State.USABLE.value)))
            found.append(Sample("in_flight", labels, state.in_flight))
        return found

    # for calls

    def choose(self, request: Request, excluded: set[Server]) -> tuple[Lane, float] | None:
        """The lane with the least expected wait, and the usual seconds of work per byte.

        The caller has the lock.

        Args:
            request: the request.
            excluded: servers that are not to get it.
        """
        model = request.model
        identity = request.parameters.get(IDENTITY_PARAMETER, "")
        usable = [lane for lane in self._usable(model, identity) if lane.offers(request)]
        lanes = [lane for lane in usable if lane.server not in excluded]
        if not lanes:
            here = self._here.get(model)
            if usable or here is None or here.server in excluded or not here.fits(identity):
                return None
            self._say_here(model, identity)
            return here, _USUAL
        if len(lanes) == 1:
            return lanes[0], _USUAL
        random.shuffle(lanes)  # servers of equal speed get equal shares from many clients
        speeds = [lane.speed() for lane in lanes]
        usual = min((speed for speed in speeds if speed), default=_USUAL)
        weight = weight_of(request)
        waits = [
            lane.server.backlog + weight * (speed or usual)
            for lane, speed in zip(lanes, speeds, strict=True)
        ]
        return lanes[waits.index(min(waits))], usual

    def failed(self, attempt: Attempt, error: TrackserveError) -> None:
        """Note that a server has not answered a request."""
        lane = attempt.lane
        self._count_failure(lane, type(error).__name__)
        with self.lock:
            if isinstance(error, IdentityMismatch) and error.fields.get("found"):
                lane.identity = str(error.fields["found"])
                self._refuse(lane, str(error.fields.get("expected", "")))
            elif _is_gone(error) and lane.state is State.USABLE and lane.server.url:
                self._set_aside(lane, error)

    def why_none(self, request: Request) -> TrackserveError:
        """Why no server can answer a request."""
        with self.lock:
            identity = request.parameters.get(IDENTITY_PARAMETER, "")
            usable = self._usable(request.model, identity)
            lanes = self._lanes.get(request.model, {}).values()
            may_come = [lane for lane in lanes if lane.state in (State.NEW, State.ASIDE)]
            if usable and not any(lane.offers(request) for lane in (*usable, *may_come)):
                names = [*request.inputs, *request.outputs]
                reason = "the model on the servers has not all tensors of the request"
                return InputError(reason, model=request.model, url=self.url, bound=names)
            return self._why_none(request.model, identity)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise closed(self.url)

    # servers, with the lock held

    def _usable(self, model: str, identity: str) -> list[Lane]:
        """Lanes that may get requests that expect ``identity``; others are reported."""
        found = []
        for lane in self._lanes.get(model, {}).values():
            if lane.state is State.USABLE:
                if lane.fits(identity):
                    found.append(lane)
                elif lane.next_probe == math.inf:
                    self._refuse(lane, identity)
        return found

    def _refuse(self, lane: Lane, expected: str) -> None:
        if lane.refuse():
            _log.warning(
                "%s is not used: its %s is %s, and not %s",
                *(lane.server.url, lane.model, lane.identity or "without identity", expected),
            )

    def _set_aside(self, lane: Lane, error: TrackserveError) -> None:
        if lane.set_aside(error):
            self._counters.add(("aside_total", {"server": lane.server.url}, 1))
            _log.warning("%s is set aside: %s", lane.server.url, error)

    def _why_none(self, model: str, identity: str) -> TrackserveError:
        lanes = list(self._lanes.get(model, {}).values())
        usable = [lane for lane in lanes if lane.state is State.USABLE]
        if usable and not any(lane.fits(identity) for lane in usable):
            may_come = [x for x in lanes if x.state in (State.NEW, State.ASIDE)]
            if not any(not x.identity or x.fits(identity) for x in may_come):
                found = "; ".join(f"{lane.server.url}: {lane.identity}" for lane in usable)
                return IdentityMismatch(
                    "the model has another identity on each server",
                    expected=identity,
                    found=found,
                    model=model,
                    url=self.url,
                )
        if lanes and all(lane.state is State.LACKING for lane in lanes):
            return lanes[0].error or InputError("no such model", found=model, url=self.url)
        reasons = {x.server.url: str(x.error or x.state.value) for x in lanes if x not in usable}
        return ServerUnavailable("no server can answer", url=self.url, model=model, servers=reasons)

    def _say_here(self, model: str, identity: str) -> None:
        """Say once that this process computes."""
        if model not in self._computing_here:
            self._computing_here.add(model)
            _log.warning("%s is computed here: %s", model, self._why_none(model, identity))

    def _all_lanes(self) -> Iterator[Lane]:
        for lanes in self._lanes.values():
            yield from lanes.values()
        yield from self._leaving
        yield from self._here.values()

    def _take(self, addresses: list[Address]) -> None:
        """Use these servers, and no others."""
        for address in self._servers.keys() - set(addresses):
            self._servers.pop(address).retire()
            gone = [lanes.pop(address) for lanes in self._lanes.values() if address in lanes]
            self._leaving += gone
        for address in addresses:
            if address not in self._servers:
                try:
                    self._servers[address] = Server(
                        address.url,
                        lambda a=address: self._open(a),  # type: ignore[misc]
                    )
                except InputError as error:  # the transport does not fit
                    if address not in self._unfit:
                        _log.warning("%s is not used: %s", address.url, error)
                    self._unfit.add(address)
        self._add_lanes()

    def _add_lanes(self) -> None:
        for model, lanes in self._lanes.items():
            for address, server in self._servers.items():
                if address not in lanes:
                    lanes[address] = Lane(server, model)

    # health

    def _tick(self) -> None:
        """Find stalled servers and calls whose deadline is over, and probe what is due."""
        now = time.monotonic()
        with self.lock:
            if now - self._ticked > _LATE:
                self._awake = now
            self._ticked = now
            self._leaving = [lane for lane in self._leaving if lane.attempts]
            lanes = list(self._all_lanes())
            late = {a.routed for lane in lanes for a in lane.attempts if a.routed.deadline < now}
            for lane in lanes:
                if self.retry and lane.has_stalled(self._awake):
                    self._stall(lane)
            again = list(self._stalled)
            self._probe()
        for call in late:
            call.expire()
        for call in again:
            if call.done() or call.send_again():
                with self.lock:
                    self._stalled.discard(call)

    def _stall(self, lane: Lane) -> None:
        """Set a lane aside, and let its requests go elsewhere too; the caller has the lock."""
        for attempt in lane.attempts:
            if not attempt.is_given_up:
                attempt.is_given_up = True
                self._stalled.add(attempt.routed)
        self._count_failure(lane, "stall")
        error = DeadlineExceeded("it has stalled", url=lane.server.url)
        self._set_aside(lane, error)
        connection = lane.server.connection
        threading.Thread(target=_test, args=(connection,), daemon=True).start()
        if not connection.retired:
            lane.server.renew()

    def _probe(self) -> None:
        """Start the probes that are due; the caller has the lock."""
        now = time.monotonic()
        for lanes in self._lanes.values():
            for lane in lanes.values():
                if lane.next_probe <= now and not lane.is_asked and not self._closed.is_set():
                    lane.is_asked = True
                    threading.Thread(target=self._ask, args=(lane,), daemon=True).start()

    def _ask(self, lane: Lane) -> None:
        """Probe a lane, in a thread of its own."""
        connection = lane.server.connection
        try:
            found = lane.ask(connection)
        except Exception as reason:
            is_ours = isinstance(reason, TrackserveError)
            error = reason if is_ours else ServerError(f"malformed answer: {reason!r}")
            with self._changed:
                lane.is_asked = False
                if isinstance(error, DeadlineExceeded) and connection is lane.server.connection:
                    lane.server.renew()
                self._set_aside(lane, error)  # type: ignore[arg-type]
                self._changed.notify_all()
            return
        with self._changed:
            lane.is_asked = False
            is_back = lane.use(*found)
            if is_back and lane.was_aside:
                _log.warning("%s is used again", lane.server.url)
            self._computing_here.discard(lane.model)
            self._changed.notify_all()

    def _look(self) -> None:
        """Ask the sources for the servers."""
        addresses = current(self._sources)
        with self._changed:
            if not self._closed.is_set():
                self._take(addresses)
                self._is_complete = True
                self._changed.notify_all()

    def _ask_all(self, ask: Callable[[Transport], T]) -> list[T]:
        """What the servers say that answer."""
        with self.lock:
            transports = [server.connection.transport for server in self._servers.values()]
        found: list[T] = []

        def one(transport: Transport) -> None:
            with suppress(TrackserveError):
                found.append(ask(transport))

        _in_threads([lambda t=transport: one(t) for transport in transports])  # type: ignore[misc]
        return found

    def _count_failure(self, lane: Lane, error: str) -> None:
        labels = {"server": lane.server.url, "error": error}
        self._counters.add(("failures_total", labels, 1))


def _is_gone(error: TrackserveError) -> bool:
    """Whether a server that has failed so is set aside."""
    return not isinstance(error, ServerBusy) and (
        isinstance(error, ServerUnavailable | WireMismatch) or error.fields.get("status") in _GONE
    )


_GONE = ("NOT_FOUND", "CANCELLED")


def _test(connection: Connection) -> None:
    """Find out whether anything still comes back on a connection."""
    connection.is_lost = not connection.transport.ready(_STILL_THERE)


def _repeat(pool: Pool, period: float, step: Callable[[Pool], None]) -> None:
    """Call ``step`` every ``period`` seconds, in a thread, as long as there is the pool."""
    alive, ended = weakref.ref(pool), pool._closed

    def work() -> None:
        while True:
            found = alive()
            if found is None:
                return
            try:
                step(found)
            except Exception:
                _log.exception("the watch over the servers failed")
            del found
            if ended.wait(period):
                return

    threading.Thread(target=work, name="trackserve-pool", daemon=True).start()


def _in_threads(calls: list[Callable[[], object]]) -> None:
    """Do all calls at the same time, and wait for them."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
