"""Simulate a fleet until its throughput is known."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.errors import MissingExtraError, TrackserveError
from trackserve.install import install_command

from ..spread import Spread, mean
from .world import Fleet, Way

EVENTS = 12_000
"""Events that are simulated after the start, unless told otherwise."""
_FILLS, _MOST_FILLS = 3, 20
"""Times that a fleet's events in flight are replaced before anything counts: at least, and what is
added at most for a fleet that comes to rest slowly."""
_PARTS = 10
"""Parts of a simulation whose rates give the error of the mean."""


class Run(NamedTuple):
    """How a fleet is simulated.

    Attributes:
        seed: of all random numbers.
        events: number of events that count, of all jobs; at least as many as are in flight.
    """

    seed: int = 0
    events: int = EVENTS


class Outcome(NamedTuple):
    """What a simulated fleet came to, after its start.

    Attributes:
        rate: events per second of all jobs.
        n_jobs: number of jobs.
        wait: seconds that a request waits for an instance: median and 99 % quantile; NaN if there
            are no requests.
        round_trip: mean seconds of a request, from the client and back; NaN if there are none.
        utilisation: share of the time of all lanes of the devices in which they work.
        uneven: events of the server with the most over the mean, less 1.
    """

    rate: Spread
    n_jobs: int
    wait: tuple[float, float]
    round_trip: float
    utilisation: float
    uneven: float

    @property
    def per_job(self) -> float:
        """Events per second of a job, the mean over the jobs."""
        return self.rate.value / self.n_jobs


def require_simpy() -> None:
    """Check that fleets can be simulated.

    Raises:
        MissingExtraError: SimPy is not installed.
    """
    try:
        import simpy  # noqa: F401
    except ImportError:
        text = f"the simulation of a fleet needs SimPy: {install_command('hlt')}"
        raise MissingExtraError(text) from None


def simulate(fleet: Fleet, seed: int = 0, events: int = EVENTS) -> Outcome:
    """Simulate a fleet; the same seed gives the same outcome.

    Fleets that differ in their servers alone have jobs with the same times, so that their quotient
    is better known than either.

    Args:
        fleet: jobs and servers.
        seed: of all random numbers.
        events: number of events that count, of all jobs; at least as many as are in flight.

    Raises:
        MissingExtraError: SimPy is not installed.
        TrackserveError: no module of the jobs takes any time.
    """
    require_simpy()
    import simpy

    from .parts import Balancer, Instances, Threads

    env = simpy.Environment()
    of_starts, of_servers, of_jobs = np.random.SeedSequence(seed).spawn(3)
    servers = [
        Instances(env, fleet.server, np.random.default_rng(one))
        for one in of_servers.spawn(fleet.n_servers)
    ]
    balancer = Balancer(env, servers, fleet.server.delay)
    starts = np.random.default_rng(of_starts).uniform(0, _cycle(fleet), fleet.n_jobs)
    children = of_jobs.spawn(fleet.n_jobs)
    in_flight = fleet.n_jobs * fleet.job.in_flight
    lead = _fills(fleet) * in_flight
    last = lead + max(events, in_flight)
    over = env.event()
    done: list[float] = []
    before: list[tuple[float, int]] = []

    def on_event() -> None:
        done.append(env.now)
        if len(done) == lead:
            for server in servers:
                server.waits.clear()
            before.extend((server.busy, server.answered) for server in servers)
            balancer.round_trips.clear()
        if len(done) == last:
            over.succeed()

    for number in range(fleet.n_jobs):
        rng = np.random.default_rng(children[0 if fleet.is_synchronised else number])
        start = 0.0 if fleet.is_synchronised else float(starts[number])
        Threads(env, fleet.job, fleet.way, balancer, rng, start, on_event)
    env.run(over)
    seconds = done[-1] - done[lead - 1]
    if not seconds:
        raise TrackserveError("no module of the jobs takes any time")
    counts, _ = np.histogram(done[lead:], _PARTS, (done[lead - 1], done[-1]))
    error = mean((counts * _PARTS / seconds).tolist()).error
    rate = Spread((last - lead) / seconds, error)
    waits = [wait for server in servers for wait in server.waits]
    busy = [server.busy - start for server, (start, _) in zip(servers, before, strict=True)]
    answered = [server.answered - n for server, (_, n) in zip(servers, before, strict=True)]
    return Outcome(
        rate=rate,
        n_jobs=fleet.n_jobs,
        wait=tuple(np.quantile(waits, (0.5, 0.99)).tolist()) if waits else (math.nan, math.nan),  # type: ignore[arg-type]
        round_trip=float(np.mean(balancer.round_trips)) if waits else math.nan,
        utilisation=sum(busy) / seconds / fleet.n_servers / fleet.server.lanes,
        uneven=max(answered) / max(float(np.mean(answered)), 1.0) - 1,
    )


def _fills(fleet: Fleet) -> int:
    """Times that the events in flight are replaced until a fleet is at rest.

    All requests come at the start. What then waits, for servers or for threads, goes at the rate
    by which the servers can do more than the jobs ask for, or less.
    """
    demand = fleet.n_jobs * fleet.job.in_flight / max(_cycle(fleet), 1e-12)
    excess = abs(demand / (fleet.n_servers * fleet.server.capacity) - 1)
    return _FILLS + math.ceil(min(_MOST_FILLS, 1 / max(excess, 1e-12)))


def _cycle(fleet: Fleet) -> float:
    """About the time from one event to the next of a job alone, s."""
    work = 0.0
    for module in fleet.job.modules:
        if module.calls is None or fleet.way is Way.IN_JOB:
            work += module.times.mean
        elif fleet.way is Way.SERVED:
            work += module.calls.send.mean + module.calls.take.mean
    return work * fleet.job.in_flight / fleet.job.threads
