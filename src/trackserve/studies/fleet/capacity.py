"""How many jobs a server feeds, and how many servers a number of jobs needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from .simulate import Outcome, Run, simulate
from .world import Fleet

ENOUGH = 0.98
"""A job is fed that has this share of the throughput of one that waits for nobody."""
_BENT = 0.9
"""A curve has a knee if it ends below this share."""
_LOADS = (0.15, 0.3, 0.5, 0.65, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.15, 1.4, 1.8, 2.4)
"""Numbers of jobs of a curve, over those that a server could feed at most."""

Step = Callable[[str], None]
"""Is told what is simulated next."""


class Fed(NamedTuple):
    """A fleet that was simulated.

    Attributes:
        outcome: what it came to.
        share: its throughput over that of the same jobs if no request waited for another.
    """

    outcome: Outcome
    share: float


class Knee(NamedTuple):
    """The place where a curve of throughput against the number of jobs bends.

    Attributes:
        jobs: the number of jobs for which the line of a job that waits for nobody, times the
            number of jobs, reaches the largest throughput of all; NaN if the curve does not bend.
        fed: the largest number of jobs, between points on a line, up to which each has at least
            :data:`ENOUGH` of the throughput of a job that waits for nobody.
    """

    jobs: float
    fed: float


def find_knee(n_jobs: Sequence[int], shares: Sequence[float]) -> Knee:
    """The knee of a curve.

    Args:
        n_jobs: numbers of jobs, ascending.
        shares: throughput of a job over that of one that waits for nobody.
    """
    fed = float(n_jobs[-1]) if shares[0] >= ENOUGH else math.nan
    for (n, share), (more, less) in pairwise(zip(n_jobs, shares, strict=True)):
        if less < ENOUGH <= share:
            fed = n + (more - n) * (share - ENOUGH) / (share - less)
            break
    most = max(n * share for n, share in zip(n_jobs, shares, strict=True))
    return Knee(most if shares[-1] < _BENT else math.nan, fed)


def never_waits(fleet: Fleet) -> Fleet:
    """The same jobs with a server that has room for all their requests."""
    room = fleet.n_jobs * fleet.job.in_flight
    server = fleet.server._replace(instances=room, lanes=room, batch=1)
    return fleet._replace(n_servers=1, server=server)


def feed(fleet: Fleet, run: Run, best: Outcome | None = None) -> Fed:
    """Simulate a fleet, and the same jobs if no request waited.

    Args:
        fleet: jobs and servers.
        run: how it is simulated.
        best: the outcome if no request waited, if it is known.
    """
    best = best or simulate(never_waits(fleet), *run)
    outcome = simulate(fleet, *run)
    return Fed(outcome, outcome.per_job / best.per_job)


def numbers_of_jobs(most: float) -> list[int]:
    """Numbers of jobs for a curve, from one to beyond the most that a server could feed."""
    return sorted({1, *(max(1, round(load * most)) for load in _LOADS)})


def curve_of_jobs(fleet: Fleet, n_jobs: Sequence[int], run: Run, step: Step) -> list[Fed]:
    """The fleet's servers with these numbers of jobs."""
    curve = []
    for n in n_jobs:
        step(f"{n} jobs, servers: {fleet.n_servers}")
        curve.append(feed(fleet._replace(n_jobs=n), run))
    return curve


def servers_for(fleet: Fleet, run: Run, step: Step) -> dict[int, Fed]:
    """A fleet by its number of servers, from the least that could do to the first that does.

    The last one feeds each job with :data:`ENOUGH` of the throughput of one that waits for nobody.

    Args:
        fleet: the jobs; its number of servers does not count.
        run: how it is simulated.
        step: is told what is simulated next.
    """
    step(f"{fleet.n_jobs} jobs that wait for nobody")
    best = simulate(never_waits(fleet), *run)
    n = max(1, math.floor(best.rate.value / fleet.server.capacity))
    found: dict[int, Fed] = {}
    while not found or found[n - 1].share < ENOUGH:
        step(f"{fleet.n_jobs} jobs, servers: {n}")
        found[n] = feed(fleet._replace(n_servers=n), run, best)
        n += 1
    return found
