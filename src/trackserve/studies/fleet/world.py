"""What is simulated: jobs, servers, and how many there are of each."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from .times import NONE, Times


class Calls(NamedTuple):
    """The work of a job on a module whose own work a server does.

    Attributes:
        send: time of a thread until the request is sent.
        take: time of a thread when the answer is there.
    """

    send: Times = NONE
    take: Times = NONE


class Module(NamedTuple):
    """A step of each event.

    Attributes:
        name: its name in the job.
        times: how long it keeps a thread of the job that does the work itself.
        after: names of the modules whose results it needs.
        calls: what is left of it in a job that calls a server; None: it is never served.
    """

    name: str
    times: Times
    after: tuple[str, ...] = ()
    calls: Calls | None = None


class Job(NamedTuple):
    """A client job: threads that work on several events in flight.

    A thread that is free takes, of the modules that are ready, first those that call a server or
    come before one that does, then those of the oldest event, as :mod:`trackserve.workflow` does.
    A job has cores of its own, one for each thread. Modules stand behind those that they need.
    """

    threads: int
    in_flight: int
    modules: tuple[Module, ...]


class Server(NamedTuple):
    """A server with one device.

    Attributes:
        instances: instances of the model: requests, or batches, that are in work together.
        host: time of an instance for each batch beside the device: decoding, copies, encoding.
        device: time of the device for each event.
        lanes: events that the device works on at the same time.
        batch: most events that an instance takes at once.
        delay: time of the network each way, s.
    """

    instances: int = 1
    host: Times = NONE
    device: Times = NONE
    lanes: int = 1
    batch: int = 1
    delay: float = 0.0

    @property
    def capacity(self) -> float:
        """Most events per second."""
        each = self.host.mean / self.batch + self.device.mean
        return min(self.instances / each, self.lanes / self.device.mean)


class Way(StrEnum):
    """The place of the work of a job that a server can do."""

    SERVED = "served"
    IN_JOB = "in the job"
    WITHOUT = "without"
    """Nowhere: the module takes no time."""


class Fleet(NamedTuple):
    """Jobs and servers.

    Attributes:
        job: each job.
        n_jobs: number of jobs.
        server: each server.
        n_servers: number of servers; each request goes to the one with the least expected wait.
        way: where tracking is done.
        is_synchronised: whether all jobs start at once, with the same events; else at times of
            their own, with events of their own.
    """

    job: Job
    n_jobs: int
    server: Server
    n_servers: int = 1
    way: Way = Way.SERVED
    is_synchronised: bool = False
