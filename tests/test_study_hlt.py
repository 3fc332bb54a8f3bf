"""The study of trigger jobs: how jobs are run and timed, and what the simulation makes of it."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.errors import EventError
from trackserve.studies.fleet.file import describe_fleet
from trackserve.studies.fleet.simulate import simulate
from trackserve.studies.fleet.world import Fleet
from trackserve.studies.hlt import STUDY
from trackserve.studies.hlt.jobs import (
    MENU,
    SHARE,
    TRACKING,
    EmulatedDevice,
    Load,
    Rest,
    Shared,
    run_jobs,
)
from trackserve.studies.hlt.points import (
    AT_ONCE,
    ATTACHED,
    CLIENTS,
    DEVICE,
    DISTANCE,
    IN_JOB,
    JOB,
    OWN,
    SERVED,
    SERVICE,
    SLICE,
    WITHOUT,
    whole_rounds,
)
from trackserve.studies.hlt.simulated import simulated, times_of
from trackserve.studies.table import Row
from trackserve.workflow import ExternalModule, Job, Module, Schedule
from trackserve.workflow.job import EVENT

EVENTS = [SimpleNamespace(event=number) for number in range(4)]


class Waits(Module):
    """Tracking that takes a while."""

    name, inputs, outputs = TRACKING, (EVENT,), (TRACKING,)

    def produce(self, event: Any) -> str:
        time.sleep(0.004)
        if event.event < 0:
            raise EventError("bad", event=event.event)
        return f"of {event.event}"


class Elsewhere(ExternalModule):
    """Tracking by one thread for all jobs."""

    name, inputs, outputs = TRACKING, (EVENT,), (TRACKING,)
    begun = 0

    def begin(self) -> None:
        self.begun += 1
        self.thread = ThreadPoolExecutor(1)

    def end(self) -> None:
        self.thread.shutdown()

    def acquire(self, event: Any) -> Future[Any]:
        return self.thread.submit(time.sleep, 0.01)

    def produce(self, answer: Any, event: Any) -> None:
        return None


def load(n_jobs: int, events: Any = EVENTS, **more: Any) -> Load:
    expected = {event.event: f"of {event.event}" for event in EVENTS}
    return Load(events, 2, Schedule(1, 2), [0.0] * n_jobs, more.get("expected", expected))


def test_jobs_beside_each_other_have_the_rate_of_what_they_wait_for() -> None:
    timed = run_jobs(lambda: Job([Waits()]), load(3))
    assert len(timed.rates) == 3
    assert all(0.3 / 0.004 < rate <= 1 / 0.004 for rate in timed.rates)
    assert timed.different == 0
    assert {one.name for one in timed.slices} >= {TRACKING}


def test_jobs_that_share_a_device_share_its_throughput() -> None:
    device = Elsewhere()
    device.begin()
    timed = run_jobs(lambda: Job([Shared(device)]), load(4, expected={}))
    device.end()
    assert device.begun == 1
    assert 0.3 / 0.01 < sum(timed.rates) <= 1.05 / 0.01


@pytest.mark.parametrize(("instances", "bound"), [(1, 1 / 0.015), (5, 1 / 0.005)])
def test_instances_of_an_emulated_device_keep_it_busy_while_hosts_work(
    instances: int, bound: float
) -> None:
    with EmulatedDevice(instances, 0.010, 0.005) as device:
        timed = run_jobs(lambda: Job([Shared(device)]), load(6, expected={}))
    assert 0.3 * bound < sum(timed.rates) <= 1.05 * bound
    assert fmean(device.host_spent) >= 0.010


def test_other_answers_than_the_expected_ones_are_counted() -> None:
    timed = run_jobs(lambda: Job([Waits()]), load(1, expected={1: "of 7"}))
    assert timed.different == 1


def test_an_event_that_fails_ends_all_jobs() -> None:
    bad = [*EVENTS, SimpleNamespace(event=-1)]
    with pytest.raises(EventError, match="bad"):
        run_jobs(lambda: Job([Waits()]), load(3, bad))


def test_the_rest_takes_its_time_and_its_menu_comes_last() -> None:
    modules = Rest(0.2, 1e9, is_emulated=True).modules()
    seconds = [fmean(m._times.seconds(k) for k in range(3000)) for m in modules]
    assert sum(seconds) == pytest.approx(0.2, rel=0.05)
    names = [module.name for module in modules]
    assert names[-1] == MENU
    assert set(modules[-1].inputs) == {EVENT, TRACKING, *names[:-1]}


@given(st.floats(0.01, 1e3), st.integers(1, 16))
def test_jobs_are_timed_over_whole_rounds_of_their_events_in_flight(
    wanted: float, in_flight: int
) -> None:
    n = whole_rounds(wanted, in_flight)
    assert n > 0
    assert n % in_flight == 0
    assert wanted - in_flight < n <= max(wanted, in_flight)


TRACK, REST, TRIP = 5.0, 45.0, 1.0
DEVICE_MS = 4.0


def rows_of(n_jobs: tuple[int, ...]) -> list[Row]:
    """Rows as of a machine in which nothing is lost: tracking 5 ms, the rest 45 ms."""
    frame: Row = {"round": 1, "load": 0.1, "others": 0.0}
    rows: list[Row] = []
    cycle, alone = TRACK + REST, 1e3 / REST

    def add(**values: Any) -> None:
        rows.append(frame | values)

    def timeline(way: str, rest: str, **more: Any) -> None:
        names = {m.name: m for m in Rest(REST / 1e3, 1e9, is_emulated=True).modules()}
        here: Row = {"what": SLICE, "way": way, "rest": rest, "thread": 0, "event": 0, **more}
        begin = 1000.0
        for name in names:
            ms = REST / len(names)
            rows.append(
                frame
                | here
                | {"kind": "module", "module": name, "begin_ms": begin, "ms": ms, "emulated": 0}
            )
            begin += ms
        track: Row = {"module": TRACKING, "begin_ms": 1000.0, "emulated": 0}
        own = way == IN_JOB
        rows.append(frame | here | track | {"kind": "module", "ms": TRACK if own else 0.001})
        if not own:
            rows.append(frame | here | track | {"kind": "send", "ms": 0.001})
            elsewhere: Row = {"kind": "external", "ms": TRACK + TRIP, "thread": -1}
            rows.append(frame | here | track | elsewhere)

    for way, rate in ((WITHOUT, alone), (IN_JOB, 1e3 / cycle), (SERVED, alone)):
        add(what=JOB, way=way, jobs=1, events_per_s=rate, different=0, rest="work", rest_ms=REST)
        rows[-1]["processor_ms"] = REST
        timeline(way, "work", jobs=1) if way != WITHOUT else None
    add(what=CLIENTS, way=IN_JOB, jobs=1, events_per_s=1e3 / cycle, rest="emulated", rest_ms=REST)
    timeline(IN_JOB, "emulated")
    timeline(SERVED, "emulated", instances=1)
    for n in n_jobs:
        rate = min(n * alone, 1e3 / TRACK)
        add(what=CLIENTS, way=SERVED, jobs=n, instances=1, start=OWN, events_per_s=rate)
    device: Row = {"instances": 1, "host_ms": 10.0, "device_ms": 5.0, "start": OWN}
    for n in (5, 14):
        rate = min(n * alone, 1e3 / 15)
        add(what=CLIENTS, way=DEVICE, jobs=n, events_per_s=rate, rest="emulated", **device)
    for way, device_ms in ((SERVED, TRACK), (ATTACHED, DEVICE_MS)):
        add(what=SERVICE, way=way, instances=1, events_per_s=1e3 / device_ms)
        add(what=SLICE, way=way, instances=1, module=SERVICE, event=0, ms=device_ms)
    for rtt in (0, 50):
        for in_flight in (1, 8):
            kept = 1.0 if in_flight == 8 or not rtt else 0.7
            add(
                what=DISTANCE,
                rtt_ms=rtt,
                in_flight=in_flight,
                rest_ms=REST,
                events_per_s=kept * alone,
            )
    return rows


def test_the_simulation_gets_the_measured_times() -> None:
    found = times_of(rows_of((1,)))
    assert found["server"] == {
        "instances": 1,
        "device_ms": [TRACK],
        "delay_ms": pytest.approx(TRIP / 2),
    }
    modules = {one["name"]: one for one in found["job"]["module"]}
    assert modules[TRACKING]["ms"] == [TRACK]
    assert TRACKING in modules["full_tracking"]["after"]
    assert set(modules[MENU]["after"]) == modules.keys() - {MENU}


@pytest.mark.parametrize("jobs", [1, 5, 9, 20])
@pytest.mark.parametrize("start", [OWN, AT_ONCE])
def test_the_simulation_agrees_with_a_machine_in_which_nothing_is_lost(
    jobs: int, start: str
) -> None:
    rate = simulated(rows_of((1,)), SERVED, jobs, 1, start).rate.value
    assert rate == pytest.approx(min(jobs * 1e3 / REST, 1e3 / TRACK), rel=0.02)


def test_an_attached_device_has_its_own_times() -> None:
    rate = simulated(rows_of((1,)), ATTACHED, 20, 1, OWN).rate.value
    assert rate == pytest.approx(1e3 / DEVICE_MS, rel=0.02)


def test_the_report_finds_knee_gain_and_difference() -> None:
    shown = STUDY.show(rows_of((1, 4, 8, 12, 20)))
    checks = {row[0]: row[1:] for row in shown.tables[-1].rows}
    gain = next(values for name, values in checks.items() if "gains s/(1-s)" in name)
    assert [float(value) for value in gain] == pytest.approx([SHARE / (1 - SHARE)] * 2, abs=2e-3)
    assert "the knee" in shown.text
    assert f"is at {REST / TRACK:.1f}" in shown.text
    assert f"is at {REST / 15:.1f}" in shown.text
    difference = checks["simulated over measured, largest difference"][1]
    assert abs(float(difference.rstrip("%"))) < 2
    assert checks["50 ms away, 1 in flight, over near"][0] == "below 1"
    assert checks["50 ms away, 8 in flight, over near"][0] == "1"


def test_the_figures_are_those_of_the_paper_and_the_fleets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trackserve.studies.hlt.simulated._EVENTS", 200)
    monkeypatch.setattr("trackserve.studies.hlt.report._FLEETS", (1, 2))
    drawn = STUDY.show(rows_of((1, 8, 20))).draw()
    assert [one.name for one in drawn] == [
        "hlt-timeline-in-the-job",
        "hlt-timeline-served",
        "hlt-job",
        "hlt-clients",
        "hlt-clients-emulated",
        "hlt-fleets",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("in_flight", "jobs"), [(1, 6), (1, 14), (2, 10), (4, 14)])
def test_the_simulation_agrees_with_jobs_that_run(in_flight: int, jobs: int) -> None:
    """Jobs and device only wait, so that this machine can run many of them."""
    device_s, rest = 0.02, Rest(0.18, 1e9, is_emulated=True)
    events = [SimpleNamespace(event=number) for number in range(8)]
    delays = [0.2 * k / jobs for k in range(jobs)]
    load = Load(events, 1, Schedule(1, in_flight), delays, {})
    with EmulatedDevice(1, 0.0, device_s) as device:
        ran = run_jobs(lambda: Job([Shared(device), *rest.modules()]), load)
    tracking: dict[str, Any] = {"name": TRACKING, "ms": 0, "send_ms": 0, "take_ms": 0}
    others = [
        {
            "name": module.name,
            "ms": [1e3 * module._times.seconds(event.event) for event in events],
            "after": [name for name in module.inputs if name != EVENT],
        }
        for module in rest.modules()
    ]
    job, server = describe_fleet(
        {
            "server": {"device_ms": 1e3 * device_s},
            "job": {"threads": 1, "in_flight": in_flight, "module": [tracking, *others]},
        }
    )
    rate = simulate(Fleet(job, jobs, server), events=4000).rate.value
    assert sum(ran.rates) == pytest.approx(rate, rel=0.1)
