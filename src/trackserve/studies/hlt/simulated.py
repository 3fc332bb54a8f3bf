"""The simulation of fleets fed with what the study has measured."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from trackserve.workflow.job import EVENT
from trackserve.workflow.timeline import EXTERNAL, MODULE, SEND

from ..fleet.file import describe_fleet, fleet_text
from ..fleet.simulate import Outcome, simulate
from ..fleet.world import Fleet
from ..spread import mean
from ..table import Row, chosen, numbers
from .jobs import MENU, TRACKING, Rest
from .points import (
    AT_ONCE,
    ATTACHED,
    DEVICE,
    EMULATED,
    IN_FLIGHT,
    IN_JOB,
    SERVED,
    SERVICE,
    SLICE,
    THREADS,
)

_EVENTS = 3000
"""Events of each simulation."""


def times_of(rows: Sequence[Row], instances: int = 1) -> dict[str, Any]:
    """A job and a server with the measured times, as the file of a fleet has them.

    The times of the modules are those of the emulated job alone. The times of the device are those
    of single events, with the mean that follows from the events per second that a full server does.

    Args:
        rows: of the study.
        instances: of the server.
    """
    slices = chosen(rows, what=SLICE)
    served = chosen(slices, way=SERVED, rest=EMULATED, instances=1)
    own = chosen(slices, way=IN_JOB, rest=EMULATED)
    alone, device = _service(rows, way=SERVED, instances=instances)
    trip = fmean(_ms(chosen(served, kind=EXTERNAL)))
    names = dict.fromkeys(str(row["module"]) for row in served if row["kind"] != "read")
    after = {
        module.name: [name for name in module.inputs if name != EVENT]
        for module in Rest(1.0, 1.0, is_emulated=True).modules()
    }
    tracking = {
        "name": TRACKING,
        "ms": _ms(chosen(own, kind=MODULE, module=TRACKING)),
        "send_ms": _ms(chosen(served, kind=SEND, module=TRACKING)),
        "take_ms": _ms(chosen(served, kind=MODULE, module=TRACKING)),
    }
    rest = [
        {
            "name": name,
            "ms": _ms(chosen(served, kind=MODULE, module=name)),
            "after": after[name],
        }
        for name in sorted(names.keys() - {TRACKING}, key=lambda name: name == MENU)
    ]
    return {
        "server": {
            "instances": instances,
            "device_ms": device,
            "delay_ms": round(max(0.0, trip - fmean(alone)) / 2, 4),
        },
        "job": {"threads": THREADS, "in_flight": IN_FLIGHT, "module": [tracking, *rest]},
    }


def _service(rows: Sequence[Row], **which: Any) -> tuple[list[float], list[float]]:
    """Times of a server or device, ms: of single events, and so that it does as many events per
    second as it does when it is full."""
    alone = _ms(chosen(rows, what=SLICE, module=SERVICE, **which))
    capacity = mean(numbers(chosen(rows, what=SERVICE, **which), "events_per_s")).value
    return alone, _rounded([1e3 / capacity * one / fmean(alone) for one in alone])


def _attached(rows: Sequence[Row], server: dict[str, Any]) -> dict[str, Any]:
    """The times of :func:`times_of`, for jobs that reach the device without a network."""
    job = times_of(rows)["job"]
    tracking, *others = job["module"]
    tracking |= {"send_ms": 0, "take_ms": 0}
    return {"server": server, "job": job | {"module": [tracking, *others]}}


@lru_cache(maxsize=256)
def outcome(text: str, n_jobs: int, n_servers: int = 1, is_synchronised: bool = False) -> Outcome:
    """What a fleet comes to, which a text describes as the file of a fleet does."""
    job, server = describe_fleet(tomllib.loads(text))
    fleet = Fleet(job, n_jobs, server, n_servers, is_synchronised=is_synchronised)
    return simulate(fleet, events=_EVENTS)


def simulated(rows: Sequence[Row], way: str, jobs: int, instances: int, start: str) -> Outcome:
    """What the simulation says of a point that was measured."""
    if way == SERVED:
        found = times_of(rows, instances)
    elif way == DEVICE:
        some = chosen(rows, way=DEVICE, instances=instances)
        parts = {name: mean(numbers(some, name)).value for name in ("host_ms", "device_ms")}
        found = _attached(rows, {"instances": instances, **parts})
    else:
        _, device = _service(rows, way=ATTACHED)
        found = _attached(rows, {"device_ms": device})
    return outcome(fleet_text(found), jobs, is_synchronised=start == AT_ONCE)


def _ms(rows: Sequence[Row]) -> list[float]:
    return _rounded(numbers(rows, "ms"))


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
