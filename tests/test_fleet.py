"""Fleets of jobs and servers: the simulation against theory, what it answers, and its file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from command_line import command, says
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve.errors import ConditionsError, InputError
from trackserve.studies.fleet.answer import Question, answer
from trackserve.studies.fleet.capacity import ENOUGH, Fed, find_knee
from trackserve.studies.fleet.day import (
    Equilibrium,
    Rule,
    equilibrium_of,
    jobs_over_day,
    run_day,
    run_day_by_rule,
)
from trackserve.studies.fleet.file import describe_fleet, fleet_text, read_fleet
from trackserve.studies.fleet.parts import Instances
from trackserve.studies.fleet.report import show_answer
from trackserve.studies.fleet.simulate import Run, simulate
from trackserve.studies.fleet.times import NONE, Times, constant, exponential, lognormal, measured
from trackserve.studies.fleet.world import Calls, Fleet, Job, Module, Server, Way

THINK, SERVICE = 0.09, 0.01


def thinker(think: Times) -> Job:
    """A job of one thread and one event, which thinks and then asks."""
    modules = (Module("think", think), Module("ask", NONE, ("think",), Calls()))
    return Job(1, 1, modules)


def mean_wait(server: Server, rate: float, arrivals: int) -> float:
    """Mean wait of requests that arrive at random, s."""
    env = simpy.Environment()
    rng = np.random.default_rng(5)
    instances = Instances(env, server, rng)

    def arrive() -> Iterator[Any]:
        for _ in range(arrivals):
            yield env.timeout(rng.exponential(1 / rate))
            instances.submit()

    env.process(arrive())
    env.run()
    return float(np.mean(instances.waits))


@pytest.mark.parametrize("use", [0.5, 0.8])
def test_requests_at_random_wait_as_in_the_queue_m_m_1(use: float) -> None:
    wait = mean_wait(Server(device=exponential(SERVICE)), use / SERVICE, 60_000)
    assert wait == pytest.approx(SERVICE * use / (1 - use), rel=0.06)


def wait_in_m_d_c(use: float, servers: int) -> float:
    """Mean wait of the queue M/D/c over its service time, from its equations of state."""
    n = 60 * servers
    arrivals = np.array(
        [
            math.exp(-use * servers + k * math.log(use * servers) - math.lgamma(k + 1))
            for k in range(n)
        ]
    )
    states = np.zeros(n)
    states[0] = 1.0
    for _ in range(3000):
        after = np.convolve(states[servers:], arrivals)[:n]
        states = after + states[:servers].sum() * arrivals
    waiting = (np.maximum(np.arange(n) - servers, 0) * states).sum() / states.sum()
    return float(waiting / (use * servers))


@pytest.mark.parametrize(("use", "servers"), [(0.7, 1), (0.8, 2), (0.9, 4)])
def test_requests_of_equal_length_wait_as_in_the_queue_m_d_c(use: float, servers: int) -> None:
    server = Server(instances=servers, device=constant(SERVICE), lanes=servers)
    wait = mean_wait(server, use * servers / SERVICE, 60_000)
    assert wait == pytest.approx(SERVICE * wait_in_m_d_c(use, servers), rel=0.06)


def machine_repair(jobs: int, servers: int) -> float:
    """Throughput of jobs that think and ask for exponential times (M/M/c//N)."""
    weights = [1.0]
    for k in range(jobs):
        leaving = min(k + 1, servers) / SERVICE
        weights.append(weights[-1] * (jobs - k) / THINK / leaving)
    busy = sum(min(k, servers) * weight for k, weight in enumerate(weights))
    return busy / sum(weights) / SERVICE


@pytest.mark.parametrize(("jobs", "servers"), [(1, 1), (5, 1), (10, 1), (20, 1), (30, 3)])
def test_a_closed_fleet_has_the_throughput_of_the_machine_repair_model(
    jobs: int, servers: int
) -> None:
    server = Server(instances=servers, device=exponential(SERVICE), lanes=servers)
    rate = simulate(Fleet(thinker(exponential(THINK)), jobs, server)).rate
    assert rate.value == pytest.approx(machine_repair(jobs, servers), rel=0.03)


@given(st.integers(1, 25), st.integers(1, 3))
@settings(max_examples=15)
def test_jobs_of_constant_times_reach_the_bounds_and_bend_at_think_plus_service_over_service(
    jobs: int, servers: int
) -> None:
    fleet = Fleet(thinker(constant(THINK)), jobs, Server(device=constant(SERVICE)), servers)
    rate = simulate(fleet, events=600).rate.value
    bound = min(jobs / (THINK + SERVICE), servers / SERVICE)
    slack = 0.03 if servers == 1 else 0.1  # requests do not change their queue once they are in one
    assert (1 - slack) * bound <= rate <= 1.03 * bound


def test_the_knee_is_where_the_bounds_meet() -> None:
    n_jobs = [1, 2, 4, 6, 8, 10, 12, 16, 24]
    alone = 1 / (THINK + SERVICE)
    knee = find_knee(n_jobs, [min(1.0, 1 / SERVICE / n / alone) for n in n_jobs])
    assert knee.jobs == pytest.approx((THINK + SERVICE) / SERVICE)
    assert knee.fed == pytest.approx(10, abs=0.5)


def test_a_curve_that_does_not_bend_has_no_knee() -> None:
    assert math.isnan(find_knee([1, 2, 3], [1.0, 1.0, 0.99]).jobs)


def test_beyond_the_knee_the_throughput_of_a_job_falls_as_one_over_their_number() -> None:
    fleet = Fleet(thinker(constant(THINK)), 20, Server(device=constant(SERVICE)))
    assert simulate(fleet).per_job == pytest.approx(0.5 / (THINK + SERVICE), rel=0.01)


@given(st.floats(0.05, 0.6))
@settings(max_examples=10)
def test_a_share_that_is_served_gains_share_over_the_rest_while_the_server_has_room(
    share: float,
) -> None:
    modules = (
        Module("tracking", constant(share), (), Calls()),
        Module("others", constant(1 - share)),
    )
    fleet = Fleet(Job(1, 2, modules), 1, Server(device=constant(0.05)))
    own, served = (
        simulate(fleet._replace(way=way), events=300) for way in (Way.IN_JOB, Way.SERVED)
    )
    gain = served.rate.value / own.rate.value - 1
    assert gain == pytest.approx(share / (1 - share), rel=0.02)


def test_a_distant_server_costs_nothing_while_other_modules_have_work() -> None:
    modules = (
        Module("tracking", constant(0.01), (), Calls()),
        Module("others", constant(0.09)),
        Module("menu", constant(0.01), ("tracking", "others")),
    )

    def rate(in_flight: int, delay: float) -> float:
        server = Server(device=constant(0.01), delay=delay)
        return simulate(Fleet(Job(1, in_flight, modules), 1, server), events=500).rate.value

    assert rate(4, 0.1) == pytest.approx(rate(4, 0.0), rel=0.01)
    assert rate(1, 0.1) == pytest.approx(1 / (0.09 + 0.01 + 0.12), rel=0.15)
    assert rate(1, 0.1) < 0.6 * rate(1, 0.0)


def test_instances_beside_each_other_hide_the_host_behind_the_device() -> None:
    server = Server(host=constant(0.009), device=constant(0.001))
    fleet = Fleet(thinker(constant(0.001)), 30, server)
    one = simulate(fleet).rate.value
    ten = simulate(fleet._replace(server=server._replace(instances=10))).rate.value
    assert one == pytest.approx(100, rel=0.01)
    assert ten == pytest.approx(1000, rel=0.02)


def test_a_batch_pays_the_host_once() -> None:
    server = Server(host=constant(0.009), device=constant(0.001), batch=6)
    rate = simulate(Fleet(thinker(constant(0.0001)), 60, server)).rate.value
    assert rate == pytest.approx(6 / 0.015, rel=0.02)
    assert server.capacity == pytest.approx(6 / 0.015)


def test_requests_are_shared_evenly_among_equal_servers() -> None:
    fleet = Fleet(thinker(exponential(THINK)), 60, Server(device=exponential(SERVICE)), 8)
    assert simulate(fleet).uneven < 0.1


def test_the_same_seed_gives_the_same_outcome_and_another_one_another() -> None:
    fleet = Fleet(thinker(exponential(THINK)), 7, Server(device=exponential(SERVICE)), 2)
    assert simulate(fleet, 3, 500) == simulate(fleet, 3, 500)
    assert simulate(fleet, 3, 500) != simulate(fleet, 4, 500)


@given(st.floats(0.001, 10.0), st.floats(0.01, 3.0))
@settings(max_examples=20)
def test_distributions_have_their_mean(mean: float, relative: float) -> None:
    rng = np.random.default_rng(1)
    each = (constant(mean), exponential(mean), measured([mean / 2, 1.5 * mean]))
    for times in each:
        assert times.draw(rng, 20_000).mean() == pytest.approx(mean, rel=0.05)
        assert times.mean == pytest.approx(mean)
    drawn = lognormal(mean, relative * mean).draw(rng, 20_000)
    assert np.log(drawn).std() == pytest.approx(math.sqrt(math.log1p(relative**2)), rel=0.05)


RESTING = Equilibrium(np.array([0.0, 10, 20]), np.array([1.0, 1, 0.5]), np.array([0.0, 1, 1]))
"""Servers that feed ten jobs each."""


def test_the_rule_follows_the_load_and_keeps_its_distance() -> None:
    rule = Rule(target=0.5)
    jobs = jobs_over_day(100, (0.1, 1.0), rule.every)
    day = run_day_by_rule(RESTING, jobs, rule)
    late = rule.start + rule.every
    assert day.done > 0.999
    assert day.servers.max() == pytest.approx(100 / 10 / 0.5, abs=1)
    assert day.servers.min() <= 3
    assert (day.servers >= 0.9 * day.jobs / 10 / rule.target).mean() > 0.9, late
    assert day.server_hours < 0.7 * run_day(RESTING, jobs, rule.every, 20).server_hours


def test_a_load_that_jumps_is_fed_after_the_start_of_servers() -> None:
    rule = Rule(target=0.5, start=600.0)
    jobs = np.full(24 * 240, 10.0)
    jobs[2000:] = 40.0
    day = run_day_by_rule(RESTING, jobs, rule)
    short = np.flatnonzero(day.share < 1)
    assert 2000 <= short[0] <= 2001
    assert 600 <= rule.every * len(short) <= 1300


def test_a_server_is_removed_only_after_it_was_needless_for_a_while() -> None:
    rule = Rule(target=0.5, hold=900.0)
    jobs = np.full(24 * 240, 40.0)
    jobs[3000:] = 10.0
    day = run_day_by_rule(RESTING, jobs, rule)
    assert (day.servers[3000 : 3000 + 58] == 8).all()
    assert day.servers[3000 + 70] == 2


def test_a_fixed_fleet_that_is_too_small_loses_what_it_cannot_do() -> None:
    day = run_day(RESTING, np.full(100, 40.0), 15.0, 2)
    assert day.done == pytest.approx(0.5)
    assert day.hours_below(ENOUGH) == pytest.approx(24)


def test_a_day_is_read_from_a_curve_that_agrees_with_simulation_in_between() -> None:
    job = thinker(exponential(THINK))
    fleet = Fleet(job, 1, Server(device=exponential(SERVICE)), 4)

    def fed(n: int, seed: int) -> Fed:
        outcome = simulate(fleet._replace(n_jobs=n), seed, 6000)
        return Fed(outcome, outcome.per_job * (THINK + SERVICE))

    equilibrium = equilibrium_of(fleet, [fed(n, 0) for n in (8, 16, 24, 32, 40, 56)])
    for n in (20, 36, 48):
        found = fed(n, 1).share
        assert equilibrium.at(n / 4)[0] == pytest.approx(found, rel=0.04)
    assert equilibrium.at(140)[0] == pytest.approx(10 / 140, rel=0.05)


FILE: dict[str, Any] = {
    "server": {"instances": 4, "host_ms": 2, "device_ms": [1.0, 1.5, 2.0], "delay_ms": 0.2},
    "job": {
        "threads": 2,
        "in_flight": 4,
        "module": [
            {"name": "unpack", "ms": {"mean": 5, "sigma": 2}},
            {"name": "tracking", "ms": 6, "after": ["unpack"], "send_ms": 0.2, "take_ms": 0.3},
            {"name": "calorimeter", "ms": {"exponential": 50}},
            {"name": "menu", "ms": 1, "after": ["tracking", "calorimeter"]},
        ],
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "times.toml"
    path.write_text(fleet_text(FILE))
    return path


def test_a_file_gives_the_job_and_the_server_that_were_written(file: Path) -> None:
    job, server = describe_fleet(read_fleet(file))
    assert (job.threads, job.in_flight, [m.name for m in job.modules]) == (
        2,
        4,
        ["unpack", "tracking", "calorimeter", "menu"],
    )
    assert job.modules[3].after == ("tracking", "calorimeter")
    assert job.modules[1].calls is not None
    assert job.modules[1].calls.take.mean == pytest.approx(0.3e-3)
    assert (server.instances, server.delay) == (4, pytest.approx(0.2e-3))
    assert server.device.mean == pytest.approx(1.5e-3)
    assert server.capacity == pytest.approx(1 / 1.5e-3)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("server", "device_ms"), None, "a time is missing"),
        (("server", "device_ms"), 0, "a device takes time"),
        (("server", "device_ms"), [], "no times"),
        (("server", "device_ms"), -1, "a time is a number"),
        (("server", "device_ms"), math.nan, "a time is a number"),
        (("server", "device_ms"), [1, math.inf], "a time is a number"),
        (("server", "device_ms"), 1e-300, "a time is a number"),
        (("server", "device_ms"), {"mean": 1e-300, "sigma": 1e8}, "a time is a number"),
        (("server", "batch"), 10**400, "a number from 1 to"),
        (("server", "device_ms"), {"median": 3}, "no such distribution"),
        (("server", "cores"), 3, "no such name"),
        (("server", "instances"), 0, "a number from 1 to"),
        (("job", "module"), [], "has modules"),
        (("job", "module", 1, "after"), ["menu"], "stand above"),
        (("job", "module", 1, "name"), "unpack", "a name of its own"),
        (("job", "threads"), True, "a number from 1 to"),
        (("job",), None, "a table is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(place: Any, value: Any, reason: str) -> None:
    import copy

    found = copy.deepcopy(FILE)
    table: Any = found
    for step in place[:-1]:
        table = table[step]
    if value is None:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    with pytest.raises(InputError, match=reason):
        describe_fleet(found)


def test_a_job_that_calls_no_server_is_refused() -> None:
    found = {**FILE, "job": {"threads": 1, "module": [{"name": "menu", "ms": 1}]}}
    with pytest.raises(InputError, match="calls a server"):
        describe_fleet(found)


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConditionsError, match=r"nowhere\.toml"):
        read_fleet(tmp_path / "nowhere.toml")
    for text in ("[server\n", f"a = {'[' * 50_000}", f"a = {'9' * 5000}"):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(InputError, match=r"bad\.toml"):
            read_fleet(tmp_path / "bad.toml")


def test_names_of_modules_are_written_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "times.toml").write_text(fleet_text({"name": 'é \U0001f600 "\\\n\x7f'}), "utf-8")
    assert read_fleet(tmp_path / "times.toml") == {"name": 'é \U0001f600 "\\\n\x7f'}


def test_a_job_may_be_nothing_but_what_is_served() -> None:
    module = {"name": "tracking", "ms": 10, "send_ms": 1, "take_ms": 1}
    found = answer(
        describe_fleet({"server": {"device_ms": 5}, "job": {"threads": 1, "module": [module]}}),
        Question(3, run=Run(events=500)),
    )
    assert Way.WITHOUT not in found.free
    assert "left out" not in str(show_answer(found).tables)
    with pytest.raises(InputError, match="no module takes any time"):
        describe_fleet(
            {"server": {"device_ms": 5}, "job": {"module": [module | {"ms": 0}]}},
        )


def test_more_events_in_flight_than_can_be_simulated_are_refused() -> None:
    with pytest.raises(InputError, match="than can be simulated"):
        answer(describe_fleet(FILE), Question(10**12))
    fast = describe_fleet(FILE | {"server": {"device_ms": 1e-6}})
    with pytest.raises(InputError, match="than can be simulated"):
        answer(fast, Question(1, run=Run(events=100)))


def test_an_answer_feeds_the_jobs_with_as_few_servers_as_do() -> None:
    described = describe_fleet(FILE)
    found = answer(described, Question(60, cores=16, run=Run(events=1500)))
    shares = [one.share for one in found.servers.values()]
    assert shares[-1] >= ENOUGH
    assert all(share < ENOUGH for share in shares[:-1])
    assert found.nodes == 60 * 2 / 16 + 0.5
    assert found.needed == pytest.approx(60 / found.bound, abs=2)
    assert found.knee.fed <= found.bound * 1.05
    assert found.knee.jobs == pytest.approx(found.bound, rel=0.05)


@pytest.mark.slow
def test_the_command_answers_and_writes_figures(file: Path, tmp_path: Path) -> None:
    found = command(
        "fleet", "--jobs", 40, "--service-times", file, "-o", tmp_path / "f", "--events", 1000
    )
    assert "SIMULATED" in found.out
    assert {one.name for one in (tmp_path / "f").iterdir()} == {
        "report.html",
        "fleet-clients.png",
        "fleet-day.png",
        "fleet.toml",
    }
    assert read_fleet(tmp_path / "f" / "fleet.toml") == read_fleet(file) == FILE


def test_a_folder_without_the_study_is_named(tmp_path: Path) -> None:
    text = says("fleet", "--jobs", 4, "--service-times", tmp_path, status=1)
    assert "no data of `trackserve study hlt` here" in text


def test_a_day_that_is_none_is_refused(file: Path) -> None:
    for day in ("a,b", "0,0", "0.5,2", ""):
        text = says("fleet", "--jobs", 4, "--service-times", file, "--day", day, status=1)
        assert "a day is numbers" in text
    assert "--hold" in says(
        "fleet", "--jobs", 4, "--service-times", file, "--hold", "inf", status=2
    )
