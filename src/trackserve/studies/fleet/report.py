"""Tables and figures of a fleet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trackserve.io.files import complete, writable
from trackserve.report.drawing import BLUE, GREY, PALETTE, RED, new_figure, to_png
from trackserve.report.page import Picture, Section, Table, write_report

from ..spread import Spread
from ..study import Drawn, Shown
from .answer import BY_RULE, Answer
from .capacity import ENOUGH, Fed
from .file import fleet_text
from .world import Way

TITLE = "A fleet of jobs and servers: simulated"
_MS = 1e3


def show_answer(answer: Answer) -> Shown:
    """The answer as text, tables and figures."""
    tables = [_free(answer), _clients(answer), _servers(answer), _days(answer)]
    return Shown(_text(answer), tables, partial(_draw, answer))


def write_fleet_report(directory: Path, content: Shown, times: Mapping[str, Any]) -> Path:
    """Write ``report.html``, and beside it the figures and ``fleet.toml``.

    Args:
        directory: gets the files.
        content: of the report.
        times: content of the file of the fleet.

    Returns:
        the path of the page.

    Raises:
        InputError: the folder cannot be written, or has a report of something else.
        MissingExtraError: matplotlib is not installed.
    """
    pictures = [Picture(one.name, to_png(one.figure), one.caption) for one in content.draw()]
    section = Section("What the jobs need", content.text, content.tables, pictures)
    page = write_report(directory, TITLE, [section])
    place = directory / "fleet.toml"
    with writable(place), complete(place) as partial:
        partial.write_text(fleet_text(times), encoding="utf-8")
    return page


def _text(answer: Answer) -> str:
    question, knee, rule = answer.question, answer.knee, answer.question.rule
    gain = answer.free[Way.SERVED].per_job / answer.free[Way.IN_JOB].per_job
    fed = min(1.0, answer.servers[answer.needed].share)
    start = "all start at once" if question.is_synchronised else "each starts at its own time"
    day = answer.days[BY_RULE]
    always = next(iter(answer.days.values()))
    return (
        f"SIMULATED, seed {question.run.seed}: jobs that call a server make {gain:.3f} times "
        f"the events of jobs that do all themselves, while the server has room. One server feeds "
        f"{knee.fed:.0f} jobs with at least {ENOUGH:.0%} of the throughput of one that waits for "
        f"nobody; the knee, where the line of such jobs reaches the largest throughput of all, is "
        f"at {knee.jobs:.0f} jobs, and {answer.bound:.0f} would need all that it can do. "
        f"{question.n_jobs} jobs ({start}) need {answer.needed} servers: each has {fed:.1%} of the "
        f"throughput of one that waits for nobody. Without servers, a device in each node of "
        f"{question.cores} cores would make {answer.nodes} devices.\n\n"
        f"Through a day, a rule that wants servers at {rule.target:.0%} of what they can do (a "
        f"decision every {rule.every:.0f} s, {rule.start:.0f} s until a server answers, "
        f"{rule.hold:.0f} s before one is removed) takes {day.server_hours:.0f} server-hours "
        f"where {answer.needed} servers always take {always.server_hours:.0f}, and {day.done:.2%} "
        f"of the events are done that could have been."
    )


def _free(answer: Answer) -> Table:
    own = answer.free[Way.IN_JOB].per_job
    body = []
    for way, one in answer.free.items():
        rate = Spread(one.per_job, one.rate.error / one.n_jobs)
        ratio = f"{one.per_job / own:.3f}"
        body.append([_WAYS[way], rate.text, ratio, _ms(one.round_trip)])
    header = ("tracking", "events/s of a job", "ratio to in the job", "round trip, ms")
    return Table(header, body, "Simulated: jobs that wait for nobody.")


_WAYS = {
    Way.SERVED: "on a server with room",
    Way.IN_JOB: "in the job",
    Way.WITHOUT: "left out",
}
_COLUMNS = (
    *("events/s", "of a job", "its share", "wait, median, ms", "wait, 99 %, ms"),
    "device busy",
)
_SHARE = "The share is that of the throughput of a job that waits for nobody."


def _fed_row(first: str, one: Fed) -> list[str]:
    outcome = one.outcome
    return [
        first,
        outcome.rate.text,
        f"{outcome.per_job:.3g}",
        f"{one.share:.3f}",
        *map(_ms, outcome.wait),
        f"{outcome.utilisation:.2f}",
    ]


def _clients(answer: Answer) -> Table:
    body = [_fed_row(str(one.outcome.n_jobs), one) for one in answer.clients]
    return Table(("jobs", *_COLUMNS), body, f"Simulated: one server, more and more jobs. {_SHARE}")


def _servers(answer: Answer) -> Table:
    body = [_fed_row(str(n), one) for n, one in answer.servers.items()]
    n_jobs = answer.question.n_jobs
    caption = f"Simulated: {n_jobs} jobs, until the share is {ENOUGH:.0%}. {_SHARE}"
    return Table(("servers", *_COLUMNS), body, caption)


def _days(answer: Answer) -> Table:
    body = []
    for name, day in answer.days.items():
        body.append(
            [
                name,
                f"{day.servers.min():.0f} to {day.servers.max():.0f}",
                f"{day.server_hours:.0f}",
                f"{day.done:.2%}",
                f"{day.share.min():.3f}",
                f"{day.hours_below(ENOUGH):.1f}",
            ]
        )
    header = (
        *("servers", "number", "server-hours", "events done", "least share"),
        f"hours below {ENOUGH:.0%}",
    )
    return Table(header, body, "Simulated: a day of a load that changes.")


def _ms(seconds: float) -> str:
    return f"{_MS * seconds:.3g}" if math.isfinite(seconds) else "-"


def _draw(answer: Answer) -> Sequence[Drawn]:
    return [_draw_clients(answer), _draw_day(answer)]


def _draw_clients(answer: Answer) -> Drawn:
    figure, (left, right) = new_figure(1, 2)
    own, alone = (answer.free[way].per_job for way in (Way.IN_JOB, Way.SERVED))
    outcomes = [one.outcome for one in answer.clients]
    n = [one.n_jobs for one in outcomes]
    rates = [one.rate.value for one in outcomes]
    left.plot(n, rates, "o-", color=BLUE, ms=4, lw=1, label="one server, simulated")
    left.plot(n, [own * k for k in n], "--", color=GREY, lw=1, label="tracking in the job")
    top = max(rates)
    left.plot([0, top / alone], [0, top], ":", color=RED, lw=1.2, label="jobs that wait for nobody")
    left.axhline(top, color=RED, ls=":", lw=1.2)
    left.set(xlabel="client jobs", ylabel="events/s, all jobs")
    left.set_xlim(left=0)
    left.set_ylim(0, 1.25 * max(top, own * n[-1]))
    left.legend(fontsize=8, frameon=False)
    right.plot(n, [one.share * alone / own for one in answer.clients], "o-", color=BLUE, ms=4, lw=1)
    right.axhline(1.0, color=GREY, ls="--", lw=1)
    right.axvline(answer.knee.fed, color=RED, ls=":", lw=1.2)
    right.annotate(
        f"{answer.knee.fed:.0f} jobs fed",
        (answer.knee.fed, 0.05),
        xytext=(5, 0),
        textcoords="offset points",
        color=RED,
        fontsize=8,
    )
    right.set(xlabel="client jobs", ylabel="throughput of a job,\nratio to tracking in the job")
    right.set_ylim(bottom=0)
    caption = "Simulated: throughput of all jobs and of each, against jobs on one server."
    return Drawn("fleet-clients", figure, caption)


def _draw_day(answer: Answer) -> Drawn:
    figure, axes = new_figure(3, 1, 6.5)
    first = next(iter(answer.days.values()))
    axes[0].plot(first.hours, first.jobs, color=GREY, lw=1.2)
    axes[0].set(ylabel="jobs")
    for number, (name, day) in enumerate(answer.days.items()):
        look: dict[str, Any] = {"color": PALETTE[number], "lw": 1.2}
        axes[1].step(day.hours, day.servers, where="post", label=name, **look)
        axes[2].plot(day.hours, day.share, **look)
    axes[1].set(ylabel="servers")
    axes[1].legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[2].set(ylabel="throughput of a job,\nshare", xlabel="hour")
    axes[2].axhline(ENOUGH, color=GREY, ls=":", lw=1)
    for panel in axes:
        panel.set_xlim(0, 24)
        panel.set_xticks(range(0, 25, 3))
        panel.set_ylim(bottom=0)
    caption = (
        "Simulated: jobs through a day, the servers of each fleet, and what a job gets. Dotted: "
        f"{ENOUGH:.0%}."
    )
    return Drawn("fleet-day", figure, caption)
