"""The parts of a simulation, as SimPy processes: servers, the choice among them, jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
import simpy

from .world import Job, Server, Way

Steps = Generator[simpy.Event, Any, None]

_ACQUIRE, _PRODUCE = 0, 1
"""Steps of a module. One that a server does has both; the others only produce."""


class Request(NamedTuple):
    """A request on a server: when it came, and what happens when it is answered."""

    arrived: float
    answered: simpy.Event


class Instances:
    """A server at work.

    Args:
        env: the simulation.
        server: what it is.
        rng: its random numbers.

    Attributes:
        outstanding: requests that it has, or that are on the way.
        answered: events that it has answered.
        waits: seconds that each answered request has waited for an instance.
        busy: seconds that the lanes of its device have worked.
    """

    def __init__(self, env: simpy.Environment, server: Server, rng: np.random.Generator) -> None:
        self.outstanding = 0
        self.answered = 0
        self.waits: list[float] = []
        self.busy = 0.0
        self._env = env
        self._server = server
        self._host = server.host.stream(rng)
        self._times = server.device.stream(rng)
        self._lanes = simpy.Resource(env, server.lanes)
        self._waiting: deque[Request] = deque()
        self._idle: list[simpy.Event] = []
        for _ in range(server.instances):
            env.process(self._instance())

    @property
    def expected_wait(self) -> float:
        """Seconds until one more request would be answered, by all that it has."""
        return (self.outstanding + 1) / self._server.capacity

    def submit(self) -> simpy.Event:
        """Take a request that has arrived; the event happens when it is answered."""
        answered = self._env.event()
        self._waiting.append(Request(self._env.now, answered))
        if self._idle:
            self._idle.pop().succeed()
        return answered

    def _instance(self) -> Steps:
        env = self._env
        while True:
            while not self._waiting:
                wake = env.event()
                self._idle.append(wake)
                yield wake
            n = min(self._server.batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(n)]
            self.waits += [env.now - request.arrived for request in batch]
            yield env.timeout(next(self._host))
            with self._lanes.request() as lane:
                yield lane
                seconds = sum(next(self._times) for _ in batch)
                yield env.timeout(seconds)
                self.busy += seconds
            self.answered += n
            for request in batch:
                request.answered.succeed()


class Balancer:
    """Sends each request to the server with the least expected wait."""

    def __init__(self, env: simpy.Environment, servers: Sequence[Instances], delay: float) -> None:
        self._env = env
        self._servers = servers
        self._delay = delay
        self.round_trips: list[float] = []
        """Seconds of each request, from the client and back."""

    def ask(self) -> Steps:
        """Send a request; it ends when the answer has arrived."""
        env, start = self._env, self._env.now
        server = min(self._servers, key=lambda one: (one.expected_wait, one.answered))
        server.outstanding += 1
        if self._delay:
            yield env.timeout(self._delay)
        yield server.submit()
        if self._delay:
            yield env.timeout(self._delay)
        server.outstanding -= 1
        self.round_trips.append(env.now - start)


class _Event:
    """An event in flight: times of its modules, and how many inputs each still waits for."""

    def __init__(self, seconds: list[tuple[float, float]], inputs: list[int]) -> None:
        self.seconds = seconds
        self.inputs = inputs
        self.left = len(inputs)


class Threads:
    """A job at work.

    Args:
        env: the simulation.
        job: what it is.
        way: where tracking is done.
        balancer: takes its requests.
        rng: its random numbers.
        start: when it starts, s.
        on_event: is called when an event is done.
    """

    def __init__(
        self,
        env: simpy.Environment,
        job: Job,
        way: Way,
        balancer: Balancer,
        rng: np.random.Generator,
        start: float,
        on_event: Callable[[], None],
    ) -> None:
        self._env = env
        self._job = job
        self._balancer = balancer
        self._on_event = on_event
        self._is_served = [way is Way.SERVED and m.calls is not None for m in job.modules]
        self._streams = [_streams(job, k, way, rng) for k in range(len(job.modules))]
        names = [module.name for module in job.modules]
        self._inputs = [len(module.after) for module in job.modules]
        self._users = [
            [k for k, module in enumerate(job.modules) if name in module.after] for name in names
        ]
        self._order = [0 if urgent else 1 for urgent in _are_urgent(job)]
        self._ready: list[tuple[int, int, int, int, _Event]] = []
        self._idle: list[simpy.Event] = []
        self._begun = 0
        env.process(self._start(start))

    def _start(self, start: float) -> Steps:
        yield self._env.timeout(start)
        for _ in range(self._job.in_flight):
            self._begin()
        for _ in range(self._job.threads):
            self._env.process(self._thread())

    def _begin(self) -> None:
        seconds = [(next(send), next(take)) for send, take in self._streams]
        event = _Event(seconds, list(self._inputs))
        self._begun += 1
        for module, inputs in enumerate(self._inputs):
            if not inputs:
                self._offer(self._begun, module, event)

    def _offer(self, number: int, module: int, event: _Event) -> None:
        step = _ACQUIRE if self._is_served[module] else _PRODUCE
        self._push(number, module, step, event)

    def _push(self, number: int, module: int, step: int, event: _Event) -> None:
        heappush(self._ready, (self._order[module], number, module, step, event))
        if self._idle:
            self._idle.pop().succeed()

    def _thread(self) -> Steps:
        env = self._env
        while True:
            while not self._ready:
                wake = env.event()
                self._idle.append(wake)
                yield wake
            _, number, module, step, event = heappop(self._ready)
            yield env.timeout(event.seconds[module][step])
            if step == _ACQUIRE:
                env.process(self._call(number, module, event))
            else:
                self._done(number, module, event)

    def _call(self, number: int, module: int, event: _Event) -> Steps:
        yield from self._balancer.ask()
        self._push(number, module, _PRODUCE, event)

    def _done(self, number: int, module: int, event: _Event) -> None:
        for user in self._users[module]:
            event.inputs[user] -= 1
            if not event.inputs[user]:
                self._offer(number, user, event)
        event.left -= 1
        if not event.left:
            self._on_event()
            self._begin()


def _are_urgent(job: Job) -> list[bool]:
    """Whether each module calls a server, or a module behind it does."""
    urgent = [module.calls is not None for module in job.modules]
    place = {module.name: number for number, module in enumerate(job.modules)}
    for number in reversed(range(len(urgent))):
        for name in job.modules[number].after if urgent[number] else ():
            urgent[place[name]] = True
    return urgent


def _streams(
    job: Job, number: int, way: Way, rng: np.random.Generator
) -> tuple[Iterator[float], Iterator[float]]:
    """Times of the two steps of a module."""
    module = job.modules[number]
    nothing = iter(float, 1.0)
    if module.calls is None or way is Way.IN_JOB:
        return nothing, module.times.stream(rng)
    if way is Way.SERVED:
        return module.calls.send.stream(rng), module.calls.take.stream(rng)
    return nothing, nothing
