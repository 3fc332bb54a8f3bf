"""A day of a fleet whose number of jobs changes, with a rule that adds and removes servers.

A request takes milliseconds, a new server a minute, and the load changes over hours. So between
two decisions the fleet is in its equilibrium, which is simulated once for each number of jobs per
server and then read from that curve.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array

from .capacity import Fed
from .world import Fleet

HOURS = 24.0
DAY: tuple[float, ...] = (0.30, 0.25, 0.20, 0.20, 0.25, 0.35, 0.50, 0.70, 0.90, 1.00, 0.98, 0.95)
DAY += (0.92, 0.95, 0.98, 1.00, 0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.40, 0.35)
"""Jobs at each hour, as a share of all: a night, a morning that rises, an evening."""
_HOUR = 3600.0


class Rule(NamedTuple):
    """When servers are added and removed: the rule of Kubernetes' horizontal autoscaler.

    It wants so many servers that each does the share ``target`` of what it can: the present number
    times their use over the target, rounded up. It adds at once; it removes when it has wanted
    fewer for ``hold``.

    Attributes:
        target: events per second of a server over the most that it can do.
        every: s between two decisions.
        start: s from the decision until a new server answers.
        hold: s for which fewer servers must be enough before one is removed.
        least: servers that always run.
    """

    target: float = 0.7
    every: float = 15.0
    start: float = 60.0
    hold: float = 300.0
    least: int = 1


class Equilibrium(NamedTuple):
    """A fleet at rest, against the number of jobs per server.

    Attributes:
        load: jobs per server: float64[n], ascending, the first is 0.
        share: throughput of a job over that of one that waits for nobody: float64[n].
        use: events per second of a server over the most that it can do: float64[n].
    """

    load: Array
    share: Array
    use: Array

    def at(self, load: float) -> tuple[float, float]:
        """Share and use; beyond the curve the devices give no more."""
        last = float(self.load[-1])
        share = float(np.interp(load, self.load, self.share)) * min(1.0, last / max(load, last))
        return share, float(np.interp(load, self.load, self.use))


def equilibrium_of(fleet: Fleet, curve: Sequence[Fed]) -> Equilibrium:
    """The equilibrium from a curve of a fleet's servers with rising numbers of jobs.

    More servers than the fleet's share what waits, so that they feed a little more.
    """
    n_servers, capacity = fleet.n_servers, fleet.server.capacity
    load = [one.outcome.n_jobs / n_servers for one in curve]
    share = [min(1.0, one.share) for one in curve]
    use = [min(1.0, one.outcome.rate.value / n_servers / capacity) for one in curve]
    return Equilibrium(np.array([0.0, *load]), np.array([1.0, *share]), np.array([0.0, *use]))


class Day(NamedTuple):
    """A day of a fleet, a row for each decision.

    Attributes:
        hours: float64[n].
        jobs: number of jobs: float64[n].
        servers: servers that answer: float64[n].
        paid: servers that run, those that are starting too: float64[n].
        share: throughput of a job over that of one that waits for nobody: float64[n].
        use: events per second of a server over the most that it can do: float64[n].
    """

    hours: Array
    jobs: Array
    servers: Array
    paid: Array
    share: Array
    use: Array

    @property
    def server_hours(self) -> float:
        """Hours of all servers that run."""
        return HOURS * float(self.paid.mean())

    @property
    def done(self) -> float:
        """Events over those that a fleet with servers without end would have done."""
        return float((self.jobs * self.share).sum() / self.jobs.sum())

    def hours_below(self, share: float) -> float:
        """Hours in which a job had less than this share of what one has that waits for nobody."""
        return HOURS * float((self.share < share).mean())


def jobs_over_day(n_jobs: int, shares: Sequence[float], every: float) -> Array:
    """Number of jobs at each decision, on lines between equally spaced shares.

    Args:
        n_jobs: the most jobs.
        shares: of the jobs, from the beginning of the day; its end is its beginning.
        every: s between two decisions.

    Returns:
        float64[n]
    """
    n = round(HOURS * _HOUR / every)
    knots = np.arange(len(shares) + 1) / len(shares)
    around = [*shares, shares[0]]
    return n_jobs * np.interp(np.arange(n) / n, knots, around)


def run_day(equilibrium: Equilibrium, jobs: Array, every: float, servers: int) -> Day:
    """A day with a fixed number of servers."""
    hours = np.arange(len(jobs)) * every / _HOUR
    states = np.array([equilibrium.at(n / servers) for n in jobs])
    fixed = np.full(len(jobs), float(servers))
    return Day(hours, jobs, fixed, fixed, states[:, 0], states[:, 1])


def run_day_by_rule(equilibrium: Equilibrium, jobs: Array, rule: Rule) -> Day:
    """A day with servers by a rule; it begins as it ends, after a day of the same load."""
    n = len(jobs)
    twice = np.concatenate([jobs, jobs])
    servers = wanted = rule.least
    starting: deque[tuple[float, int]] = deque()
    recent: deque[int] = deque(maxlen=max(1, math.ceil(rule.hold / rule.every)))
    rows = []
    for step, load in enumerate(twice.tolist()):
        now = step * rule.every
        while starting and starting[0][0] <= now:
            servers += starting.popleft()[1]
        share, use = equilibrium.at(load / servers)
        rows.append((servers, servers + sum(k for _, k in starting), share, use))
        wanted = max(rule.least, math.ceil(servers * use / rule.target - 1e-9))
        recent.append(wanted)
        coming = servers + sum(k for _, k in starting)
        if wanted > coming:
            starting.append((now + rule.start, wanted - coming))
        elif not starting and len(recent) == recent.maxlen:
            servers = min(servers, max(recent))
    columns = np.array(rows[n:]).T
    return Day(np.arange(n) * rule.every / _HOUR, jobs, *columns)
