"""What a fleet of jobs needs: all that ``trackserve fleet`` answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from trackserve.errors import InputError

from .capacity import (
    Fed,
    Knee,
    Step,
    curve_of_jobs,
    find_knee,
    never_waits,
    numbers_of_jobs,
    servers_for,
)
from .day import DAY, Day, Rule, equilibrium_of, jobs_over_day, run_day, run_day_by_rule
from .file import Described
from .simulate import Outcome, Run, simulate
from .world import Fleet, Way

BY_RULE = "by the rule"
_MOST_IN_FLIGHT = 1_000_000
"""Events in flight of all jobs together; they take some minutes to simulate."""
_FEW = 8
"""Jobs whose mean stands for one that waits for nobody."""


class Question(NamedTuple):
    """What is asked.

    Attributes:
        n_jobs: number of jobs, the most of a day.
        day: jobs through a day, as shares of all, equally spaced.
        rule: when servers are added and removed.
        is_synchronised: whether all jobs start at once, with the same events.
        cores: cores of a node, which would have a device of its own without servers.
        run: how each fleet is simulated.
    """

    n_jobs: int
    day: Sequence[float] = DAY
    rule: Rule = Rule()
    is_synchronised: bool = False
    cores: int = 64
    run: Run = Run()


class Answer(NamedTuple):
    """What a fleet needs.

    Attributes:
        question: what was asked.
        free: jobs that wait for nobody, by each way; not without the work that a server can do
            where no other work is left.
        nodes: nodes whose cores all jobs need, each of which would have a device without servers.
        bound: jobs that one server could feed at most, if it were never idle.
        clients: one server with rising numbers of jobs.
        knee: of these.
        servers: all jobs by number of servers; the last number feeds them.
        days: a day by what decides on the number of servers.
    """

    question: Question
    free: dict[Way, Outcome]
    nodes: int
    bound: float
    clients: list[Fed]
    knee: Knee
    servers: dict[int, Fed]
    days: dict[str, Day]

    @property
    def needed(self) -> int:
        """Servers that feed all jobs."""
        return max(self.servers)


def answer(described: Described, question: Question, step: Step = lambda note: None) -> Answer:
    """Answer a question about a fleet.

    Args:
        described: the job and the server.
        question: what is asked.
        step: is told what is simulated next.

    Raises:
        InputError: more events would be in flight than can be simulated.
        MissingExtraError: SimPy is not installed.
    """
    _check(question.n_jobs, described)
    fleet = Fleet(described.job, 1, described.server, is_synchronised=question.is_synchronised)
    how = question.run
    step("jobs that wait for nobody")
    few = never_waits(fleet._replace(n_jobs=_FEW))
    free = {way: simulate(few._replace(way=way), *how) for way in _ways(described)}
    alone = free[Way.SERVED].per_job
    bound = fleet.server.capacity / alone
    n_jobs = numbers_of_jobs(bound)
    _check(n_jobs[-1], described)
    clients = curve_of_jobs(fleet, n_jobs, how, step)
    knee = find_knee(n_jobs, [one.share for one in clients])
    servers = servers_for(fleet._replace(n_jobs=question.n_jobs), how, step)
    needed = max(servers)
    equilibrium = equilibrium_of(fleet, clients)
    rule = question.rule
    jobs = jobs_over_day(question.n_jobs, question.day, rule.every)
    fixed = {
        f"{n} always: {why}": run_day(equilibrium, jobs, rule.every, n)
        for n, why in {
            needed: "for the most jobs",
            math.ceil(needed * float(jobs.mean()) / question.n_jobs): "for the mean of the day",
        }.items()
    }
    days = {**fixed, BY_RULE: run_day_by_rule(equilibrium, jobs, rule)}
    nodes = math.ceil(question.n_jobs * fleet.job.threads / question.cores)
    return Answer(question, free, nodes, bound, clients, knee, servers, days)


def _ways(described: Described) -> list[Way]:
    """Ways in which a job has any work."""
    others = any(module.times.mean for module in described.job.modules if module.calls is None)
    return [way for way in Way if others or way is not Way.WITHOUT]


def _check(n_jobs: int, described: Described) -> None:
    """Refuse more events in flight than can be simulated.

    Raises:
        InputError: so many jobs have more.
    """
    found = n_jobs * described.job.in_flight
    if found > _MOST_IN_FLIGHT:
        text = "more events in flight than can be simulated"
        raise InputError(text, jobs=n_jobs, found=found, bound=_MOST_IN_FLIGHT)
