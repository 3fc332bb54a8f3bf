"""What the study shows: tables, checks against what should be seen, and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from trackserve.errors import MissingExtraError
from trackserve.install import install_command
from trackserve.report.drawing import BLUE, GREY, PALETTE, RED, new_figure
from trackserve.report.page import Table
from trackserve.workflow.timeline import Slice
from trackserve.workflow.timeline_figure import draw_timeline

from ..figures import bars, curve, style
from ..fleet.capacity import ENOUGH, Knee, find_knee
from ..fleet.file import fleet_text
from ..fleet.simulate import require_simpy
from ..spread import Spread, mean, ratio
from ..study import Drawn, Shown
from ..table import Row, Value, chosen, groups, numbers
from .jobs import TRACKING
from .points import (
    AT_ONCE,
    ATTACHED,
    CLIENTS,
    DEVICE,
    DISTANCE,
    IN_JOB,
    JOB,
    SERVED,
    SLICE,
    WITHOUT,
    WORK,
)
from .simulated import outcome, simulated, times_of

_SPENT = (WITHOUT, SERVED)
_FLEETS = (1, 4, 16)
"""Numbers of servers of simulated fleets."""
_LOADS = (0.3, 0.8, 0.95, 1.1, 1.4, 1.8)
"""Jobs of simulated fleets, over those that the servers could feed at most."""


class _Series(NamedTuple):
    """Points with rising numbers of jobs.

    Attributes:
        name: in tables and figures.
        rows: by number of jobs.
        simulated: events per second of all jobs, by number of jobs; empty without SimPy.
        is_emulated: whether the device only waits.
    """

    name: str
    rows: dict[int, list[Row]]
    simulated: dict[int, float]
    is_emulated: bool

    @property
    def rates(self) -> dict[int, Spread]:
        """Events per second of all jobs."""
        return {n: mean(numbers(some, "events_per_s")) for n, some in self.rows.items()}


def show(rows: list[Row]) -> Shown:
    series = _series(rows)
    tables = [_job_table(rows), _client_table(rows, series), _distance_table(rows)]
    tables.append(_check_table(rows, series))
    return Shown(_text(rows, series), tables, partial(_draw, rows))


def _rate(rows: Sequence[Row], **values: Value) -> list[float]:
    return numbers(chosen(rows, **values), "events_per_s")


def _series(rows: Sequence[Row]) -> list[_Series]:
    """The series of emulated jobs."""
    is_simulated = _can_simulate()
    found = []
    clients = [row for row in chosen(rows, what=CLIENTS) if row["way"] != IN_JOB]
    for (way, instances, start), some in groups(clients, "way", "instances", "start").items():
        by_jobs = {int(n or 0): part for (n,), part in groups(some, "jobs").items()}
        name = "attached"
        if way != ATTACHED:
            name = f"{instances} instance{'s' * (instances != 1)}"
            name += ", all start at once" * (start == AT_ONCE)
            name += ", device emulated" * (way == DEVICE)
        expected = {}
        if is_simulated:
            expected = {
                n: simulated(rows, str(way), n, int(instances or 1), str(start)).rate.value
                for n in by_jobs
            }
        found.append(_Series(name, by_jobs, expected, way == DEVICE))
    return found


def _can_simulate() -> bool:
    try:
        require_simpy()
    except MissingExtraError:
        return False
    return True


def _own(rows: Sequence[Row]) -> list[float]:
    """Events per second of an emulated job that does its tracking itself."""
    return _rate(rows, what=CLIENTS, way=IN_JOB)


def _knee(series: _Series, alone: float) -> Knee:
    """The knee of a series.

    Args:
        series: the series.
        alone: events per second of one job, which waits for nobody.
    """
    shares = {1: 1.0} | {n: rate.value / n / alone for n, rate in series.rates.items()}
    return find_knee(list(shares), list(shares.values()))


def _alone(rows: Sequence[Row]) -> float:
    """Events per second of an emulated job that is served alone."""
    return mean(_rate(rows, what=CLIENTS, way=SERVED, jobs=1, instances=1)).value


def _job_table(rows: Sequence[Row]) -> Table:
    own, without = _rate(rows, what=JOB, way=IN_JOB), _rate(rows, what=JOB, way=WITHOUT)
    body = []
    for (way,), some in groups(chosen(rows, what=JOB), "way").items():
        rate = numbers(some, "events_per_s")
        spent = mean(numbers(some, "processor_ms")).text
        body.append(
            [str(way), mean(rate).text, ratio(rate, own).text, ratio(rate, without).text, spent]
        )
    header = (
        *("tracking", "events/s", "ratio to in the job", "ratio to without"),
        "processor time of an event, ms",
    )
    caption = (
        "One job of one thread, real work, on a core of its own; device or server on another. The "
        "processor time is that of the job's process, which has the attached device too."
    )
    return Table(header, body, caption)


def _client_table(rows: Sequence[Row], series: Sequence[_Series]) -> Table:
    own = _own(rows)
    body = []
    for one in series:
        for n, some in one.rows.items():
            rate = numbers(some, "events_per_s")
            each = [value / n for value in rate]
            expected = one.simulated.get(n, math.nan)
            body.append(
                [
                    f"{one.name}: {n}",
                    mean(rate).text,
                    ratio(each, own).text,
                    f"{expected:.1f}" if one.simulated else "-",
                    f"{expected / mean(rate).value - 1:+.1%}" if one.simulated else "-",
                ]
            )
    header = (
        *("jobs (emulated)", "events/s, all", "of a job, ratio to in the job", "simulated"),
        "difference",
    )
    caption = (
        "Emulated jobs; server and attached device are real, on one core, unless it says emulated."
    )
    return Table(header, body, caption)


def _distance_table(rows: Sequence[Row]) -> Table:
    body = []
    some = chosen(rows, what=DISTANCE)
    for (in_flight, rtt), part in groups(some, "in_flight", "rtt_ms").items():
        near = _rate(some, in_flight=in_flight, rtt_ms=0)
        rate = numbers(part, "events_per_s")
        body.append([f"{in_flight} in flight, {rtt} ms", mean(rate).text, ratio(rate, near).text])
    header = ("a job (emulated), round trip", "events/s", "ratio to 0 ms")
    return Table(header, body, "A server at a distance, behind a proxy that delays.")


def _check_table(rows: Sequence[Row], series: Sequence[_Series]) -> Table:
    """What should be seen, and what is."""
    share = _tracking_share(rows)
    own, without, served = (_rate(rows, what=JOB, way=way) for way in (IN_JOB, WITHOUT, SERVED))
    gain = ratio(served, own)
    body = [
        [
            f"a served share of {share:.3f} gains s/(1-s)",
            f"{share / (1 - share):.3f}",
            Spread(gain.value - 1, gain.error).text,
        ],
        ["served, over without tracking", "1 within 0.02", ratio(served, without).text],
        [
            "the same by processor time of an event",
            "1 within 0.02",
            ratio(
                *(numbers(chosen(rows, what=JOB, way=way), "processor_ms") for way in _SPENT)
            ).text,
        ],
    ]
    distance = chosen(rows, what=DISTANCE)
    far = max(numbers(distance, "rtt_ms"), default=0.0)
    for (in_flight,), some in groups(distance, "in_flight").items():
        near, away = (_rate(some, rtt_ms=rtt) for rtt in (0, far))
        text = f"{far:.0f} ms away, {in_flight} in flight, over near"
        body.append([text, _hidden(rows, int(in_flight or 1), far), ratio(away, near).text])
    first = series[0]
    most, knee = max(first.rows), _knee(first, _alone(rows))
    rates = first.rates
    fall = rates[most].value / most / rates[1].value
    body.append(
        [
            f"{most} jobs, throughput of a job over one alone",
            f"{knee.jobs / most:.2f}",
            f"{fall:.2f}",
        ]
    )
    if _differences(series):
        worst = max(_differences(series), key=abs)
        body.append(["simulated over measured, largest difference", "within 5 %", f"{worst:+.1%}"])
    return Table(("what should be seen", "expected", "measured"), body, "Checks.")


def _hidden(rows: Sequence[Row], in_flight: int, rtt: float) -> str:
    """The share of its throughput that a job keeps at a distance: a thread has work while an
    event is away, if there is another event."""
    rest = numbers(chosen(rows, what=DISTANCE), "rest_ms")[0]
    return "1" if in_flight > 1 and (in_flight - 1) * rest > rtt else "below 1"


def _differences(series: Sequence[_Series]) -> list[float]:
    return [
        one.simulated[n] / rate.value - 1
        for one in series
        for n, rate in one.rates.items()
        if one.simulated
    ]


def _tracking_share(rows: Sequence[Row]) -> float:
    """Share of tracking in the time of the modules of the job that does all itself."""
    slices = chosen(rows, what=SLICE, way=IN_JOB, rest=WORK)
    tracking = sum(numbers(chosen(slices, module=TRACKING), "ms"))
    return tracking / sum(numbers(slices, "ms"))


def _text(rows: Sequence[Row], series: Sequence[_Series]) -> str:
    parts = [
        "The rest of an event is the modules of the default trigger job that keep a processor "
        "busy, scaled so that tracking is a tenth of the job. EMULATED: in all but the first table "
        "these modules wait in place of work, as if each job had cores of its own; the requests, "
        "the server and its tracking are real, unless the device is emulated too: then a host and "
        "a device wait, and with one instance the device is idle while its host works. Every job "
        "has one thread and two events in flight unless it says otherwise. The one job with real "
        "work has a process of its own.",
    ]
    for one in series:
        if len(one.rows) > 1:
            knee = _knee(one, _alone(rows))
            reached = (
                f"is at {knee.jobs:.1f}"
                if math.isfinite(knee.jobs)
                else f"lies beyond {max(one.rates)} jobs"
            )
            parts.append(
                f"{one.name}: {knee.fed:.1f} jobs have at least {ENOUGH:.0%} of the throughput of "
                f"one job; the knee, where the line of one job reaches the largest throughput of "
                f"all, {reached}."
            )
    wrong = sum(numbers(rows, "different"))
    parts.append(f"{wrong:.0f} of the compared answers differ from the direct ones in any bit.")
    differences = [abs(one) for one in _differences(series)]
    if differences:
        inside = sum(one <= 0.05 for one in differences)
        parts.append(
            f"The simulation, fed with the measured times, is within 5 % of {inside} of "
            f"{len(differences)} points; the largest difference is {max(differences):.1%}."
        )
    else:
        parts.append(f"Without SimPy nothing is simulated: {install_command('hlt')}")
    return " ".join(parts)


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = [_draw_timeline(rows, way) for way in (IN_JOB, SERVED)]
    series = _series(rows)
    real = [one for one in series if not one.is_emulated]
    drawn += [_draw_job(rows), _draw_clients(rows, real, "hlt-clients", _REAL)]
    if emulated := [one for one in series if one.is_emulated]:
        drawn.append(_draw_clients(rows, emulated, "hlt-clients-emulated", _EMULATED))
    return drawn + ([_draw_fleets(rows)] if _can_simulate() else [])


def _draw_timeline(rows: Sequence[Row], way: str) -> Drawn:
    found = chosen(rows, what=SLICE, way=way, rest=WORK, round=1)
    slices = [_slice(row) for row in found]
    name = way.replace(" ", "-")
    caption = f"Modules of a job over time, tracking {way} (Fig. 3 of the paper)."
    figure = draw_timeline(slices)
    for legend in figure.legends:  # below the figure stands how busy the machine was
        legend.set_loc("outside upper center")
    return Drawn(f"hlt-timeline-{name}", figure, caption)


def _slice(row: Row) -> Slice:
    cell: dict[str, Any] = row
    begin, length = 1e6 * cell["begin_ms"], 1e6 * cell["ms"]
    return Slice(
        cell["kind"],
        cell["module"],
        cell["event"],
        cell["thread"],
        int(begin),
        int(begin + length),
        bool(cell["emulated"]),
    )


def _draw_job(rows: Sequence[Row]) -> Drawn:
    own = _rate(rows, what=JOB, way=IN_JOB)
    figure, axes = new_figure(1, 1, 2.4)
    each = {
        str(way): ratio(numbers(some, "events_per_s"), own)
        for (way,), some in groups(chosen(rows, what=JOB), "way").items()
    }
    colours = {IN_JOB: GREY, WITHOUT: GREY, ATTACHED: RED, SERVED: BLUE}
    bars(axes, each, [colours[way] for way in each], "throughput of a job, ratio to in the job")
    axes.axvline(1.0, color=GREY, ls="--", lw=1)
    axes.set_ylabel("tracking")
    caption = "Throughput of one job with real work, by where tracking runs (Fig. 4 of the paper)."
    return Drawn("hlt-job", figure, caption)


_REAL = (
    "Throughput of all jobs and of each against the number of client jobs on one server (Fig. 5 "
    "of the paper). Dashed: simulated with the measured times. Dotted: tracking in the job."
)
_EMULATED = "The same, with an emulated host and device in place of the server and its tracking."


def _draw_clients(rows: Sequence[Row], series: Sequence[_Series], name: str, caption: str) -> Drawn:
    own = _own(rows)
    figure, (left, right) = new_figure(1, 2, 4.2)
    for number, one in enumerate(series):
        look = style(one.name, number)
        n = [float(k) for k in one.rows]
        curve(left, n, list(one.rates.values()), look)
        each = [
            ratio([v / k for v in numbers(some, "events_per_s")], own)
            for k, some in one.rows.items()
        ]
        curve(right, n, each, look)
        if one.simulated:
            label = None if number else "simulated"
            total = list(one.simulated.values())
            shares = [v / k / mean(own).value for k, v in one.simulated.items()]
            for axes, values in ((left, total), (right, shares)):
                axes.plot(n, values, "--", color=look.colour, lw=1, alpha=0.7, label=label)
    right.axhline(1.0, color=GREY, ls=":", lw=1.2)
    left.set(xlabel="client jobs (emulated)", ylabel="events/s, all jobs")
    right.set(xlabel="client jobs (emulated)", ylabel="throughput of a job,\nratio to in the job")
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    handles = left.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return Drawn(name, figure, caption)


def _draw_fleets(rows: Sequence[Row]) -> Drawn:
    text = fleet_text(times_of(rows))
    alone = outcome(text, 1).per_job
    bound = max(outcome(text, 30).rate.value, alone) / alone
    figure, axes = new_figure(1, 1, 3.8)
    for number, servers in enumerate(_FLEETS):
        n = sorted({max(1, round(load * bound * servers)) for load in _LOADS})
        shares = [outcome(text, k, servers).per_job / alone for k in n]
        axes.plot(n, shares, "o-", color=PALETTE[number], ms=4, lw=1, label=f"servers: {servers}")
    axes.axhline(ENOUGH, color=GREY, ls=":", lw=1.2)
    axes.set(xlabel="client jobs (simulated)", ylabel="throughput of a job,\nover that of one job")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    caption = "Simulated with the measured times: more servers, each with one instance."
    return Drawn("hlt-fleets", figure, caption)
