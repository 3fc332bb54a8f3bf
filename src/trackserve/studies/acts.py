"""From measurements to fitted tracks in ACTS: each step, direct and served, beside ACTS' own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trackserve.errors import InputError
from trackserve.physics.points.fits import (
    HIGH_PT,
    PARAMETERS,
    Fitted,
    FoundTracks,
    judge_fits,
    judge_tracks,
    pool_tracks,
    summarize_fits,
    true_candidates,
)
from trackserve.physics.statistics import Fraction, Width, with_error
from trackserve.report.drawing import PALETTE, new_figure
from trackserve.report.page import Table

from .lab import Lab, input_bytes, output_bytes, size_of
from .samples import Sample
from .spread import mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

if TYPE_CHECKING:
    from trackserve.edm import FittedTracks, Measurements

TRACKER = "exatrkx"
SERVED, CKF, TRUTH, UNFITTED = "served", "ACTS", "truth", "candidates"
"""Ways: the tracker on a server; ACTS' seeds and combinatorial Kalman filter; the candidates of a
perfect tracker, fitted; those of the tracker, not fitted."""
FINDING = "track finding"
"""The step that is the tracker's."""
AROUND = "around the tracker"
"""What the algorithm adds to the tracker: containers to nouns and back; it is part of
:data:`FINDING`."""
ALL = "all"
_MOST_COLOURS = len(PALETTE) - 1
"""Steps that have a colour of their own in the figure."""


def plan(how: How) -> list[Point]:
    """Each way on each sample, in turns; ACTS' own not on single, huge events."""
    points = []
    samples = how.of(TRACKER)
    for sample in samples[:1] if how.quick else samples:
        ways = [direct("cpu"), SERVED]
        if how.device != "cpu":
            ways.insert(1, direct(how.device))
        if sample.events != 1:
            ways.append(CKF)
        for way in ways:
            points.append(
                Point({"tracker": TRACKER, "sample": sample.name, "way": way}, sample.name)
            )
    return points


def direct(device: str) -> str:
    """Name of the way on a device of this machine."""
    return f"direct, {device}"


def _maker(way: str, device: str) -> str:
    """What makes the bits of a way's tracks: ACTS, or the tracker on a device."""
    return direct(device) if way == SERVED else way


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Time of each step of each event; once, what came out of it beside the truth."""
    sample, way = lab.how.find(TRACKER, values["sample"]), str(values["way"])
    try:
        chain = lab.keep(("acts", sample), partial(_kept, _Chain, lab, sample))
    except InputError as error:
        lab.note(f"{sample.name} is not fitted: {error}")
        return
    result = chain.run(way, lab.is_warming)
    if lab.is_warming:
        return
    first = lab.keep(("acts tracks", sample), partial(_kept, dict))
    expected = first.setdefault(_maker(way, lab.how.device), result.tracks)
    for event, seconds in enumerate(result.seconds):
        for step, spent in seconds.items():
            row: Row = {"what": "step", "step": step, "n": event, "ms": 1e3 * spent}
            if step in result.processor[event]:
                row["processor_ms"] = 1e3 * result.processor[event][step]
            yield row
    different = sum(result.tracks[n] != expected[n] for n in result.tracks)
    yield {"what": "answers", "answered": len(result.tracks), "different": different}
    if way != SERVED and way not in chain.judged:
        chain.judged.add(way)
        yield from chain.physics(way, result.tracks)
    if way == SERVED:
        yield chain.payload()


@contextmanager
def _kept(make: Any, *arguments: Any) -> Iterator[Any]:
    yield make(*arguments)


class _Run(NamedTuple):
    """One pass over the events.

    Attributes:
        seconds: of each event, seconds by step.
        processor: of each event, the processor's seconds here, by step.
        tracks: fitted tracks of each event, by its place in the sample.
    """

    seconds: list[dict[str, float]]
    processor: list[dict[str, float]]
    tracks: dict[int, FittedTracks]


class _Chain:
    """The chain of ACTS on the events of a sample."""

    def __init__(self, lab: Lab, sample: Sample) -> None:
        from trackserve.integration.acts import chain
        from trackserve.io import MeasurementsFile

        self.judged: set[str] = set()
        self._lab, self._sample = lab, sample
        self._events = lab.events(sample)
        file = MeasurementsFile(sample.path)
        self._measured: list[Measurements] = [file.of(event.event) for event in self._events]
        self._geometry = chain.make_geometry()
        self._field = chain.make_field()

    def run(self, way: str, only_first: bool) -> _Run:
        """Run a way over all events, or over the first alone."""
        from trackserve.integration.acts import chain
        from trackserve.integration.acts.steps import Stopwatch, run_steps

        watch = Stopwatch()
        around: dict[int, float] = {}
        if way == CKF:
            steps = chain.ckf_steps(self._geometry, self._field)
        else:
            steps = self._tracker(way, around)
        measured = self._measured[:1] if only_first else self._measured
        tracks = run_steps(measured, watch.around(steps))
        seconds, processor = (
            [each[event] | {ALL: sum(each[event].values())} for event in range(len(measured))]
            for each in (watch.seconds, watch.processor)
        )
        for event, spent in around.items():
            seconds[event][AROUND] = spent
        return _Run(seconds, processor, tracks)

    def _tracker(self, way: str, around: dict[int, float]) -> dict[str, Any]:
        from trackserve.integration.acts import TrackFinder, chain

        if way == SERVED:
            served = self._lab.served(self._sample)
            finder = TrackFinder(
                TRACKER, url=self._lab.client(served.url).client, served=served.model
            )
        else:
            finder = TrackFinder(TRACKER, device=way.removeprefix(direct("")))
        self._lab.identities[f"{TRACKER} {way}"] = finder.identity
        finder.on_times = lambda times: around.update({times.event: times.total - times.tracker})
        return chain.candidate_steps(self._geometry, self._field, {FINDING: finder})

    def physics(self, way: str, tracks: Mapping[int, FittedTracks]) -> Iterator[Row]:
        """Fits beside the truth, by quantity; with those of a perfect tracker once."""
        from trackserve.integration.acts import TrackFitter, chain

        least = chain.MIN_MEASUREMENTS
        results = self._lab.expected(self._sample) if way != CKF else {}
        judged = [
            judge_fits(
                event,
                results[event.event].candidates if results else None,
                tracks[n],
                least,
            )
            for n, event in enumerate(self._events)
        ]
        if UNFITTED not in self.judged and results:
            self.judged.add(UNFITTED)
            points = ((event, results[event.event].candidates.points) for event in self._events)
            found = [judge_tracks(event, rows, least) for event, rows in points]
            yield from _rows(UNFITTED, _shares(pool_tracks(found)))
        yield from _quality(way, summarize_fits(judged))
        if TRUTH not in self.judged:
            self.judged.add(TRUTH)
            fitter = TrackFitter(least)
            perfect = []
            for event, measured in zip(self._events, self._measured, strict=True):
                candidates = true_candidates(event, least)
                fits = fitter.fit(measured, candidates, event.event)
                perfect.append(judge_fits(event, candidates, fits, least))
            yield from _quality(TRUTH, summarize_fits(perfect))

    def payload(self) -> Row:
        """Bytes of an event and of its answer."""
        results = self._lab.expected(self._sample)
        return {
            "what": "bytes",
            "size": size_of(self._sample, results),
            "input_bytes": input_bytes(self._sample, self._events),
            "output_bytes": output_bytes(self._sample, results),
        }


def _quality(way: str, fitted: Fitted) -> Iterator[Row]:
    """A row for each quantity of physics."""
    found: dict[str, Fraction | Width] = {
        **_shares(fitted),
        "matched candidates that are fitted": fitted.fitted,
        "resolution of pT": fitted.widths.relative_pt,
    }
    units = ("mm", "mm", "rad", "rad", "1/GeV")
    for name, unit in zip(PARAMETERS, units, strict=True):
        found[f"resolution of {name}, {unit}"] = fitted.widths.residual[name]
    for name in PARAMETERS:
        found[f"pull of {name}"] = fitted.widths.pull[name]
    for name in PARAMETERS:
        found[f"pull of {name}, no foreign point"] = fitted.widths.pure_pull[name]
    yield from _rows(way, found)


def _shares(found: Fitted | FoundTracks) -> dict[str, Fraction]:
    return {
        "efficiency": found.efficiency,
        f"efficiency above {HIGH_PT:g} GeV": found.high_efficiency,
        "fakes": found.fake_rate,
        "duplicates": found.duplicate_rate,
    }


def _rows(way: str, found: Mapping[str, Fraction | Width]) -> Iterator[Row]:
    for name, value in found.items():
        of = value.total if isinstance(value, Fraction) else value.count
        if of:
            yield {
                "what": "physics",
                "variant": way,
                "quantity": name,
                "value": value.value,
                "error": value.error,
                "of": str(of),
            }


def show(rows: list[Row]) -> Shown:
    tables = []
    for (sample,), some in groups(rows, "sample").items():
        tables += [_times(str(sample), some), _physics(str(sample), some)]
    if tables:
        tables.append(_payloads(rows))
    wrong = sum(numbers(rows, "different"))
    answered = sum(numbers(rows, "answered"))
    others = {str(row["way"]) for row in rows} - {direct("cpu"), SERVED, CKF}
    missing = "" if others else " No device beside the CPU was there: --device cuda measures one."
    text = (
        f"In {wrong:.0f} of {answered:.0f} events the fitted tracks differ in any bit between "
        f"rounds, or between direct and served on one device.{missing} The Sequencer runs one "
        "event at a time on one thread. Times are means over events and rounds; behind them stands "
        f"the standard deviation over events. {AROUND!r} is the part of {FINDING!r} in which "
        "containers of ACTS become arrays and candidates become proto tracks."
    )
    return Shown(text, tables, partial(_draw, rows))


def _of_events(rows: Sequence[Row]) -> list[float]:
    """Mean time of each event over the rounds, ms."""
    return [mean(numbers(some, "ms")).value for some in groups(rows, "n").values()]


def _times(sample: str, rows: Sequence[Row]) -> Table:
    steps = chosen(rows, what="step")
    ways = list(groups(steps, "way"))
    names = [name for name in dict.fromkeys(str(row["step"]) for row in steps) if name != ALL]
    names.sort(key=lambda name: name == AROUND)
    body = []
    for name in (*names, ALL):
        cells = []
        for (way,) in ways:
            each = _of_events(chosen(steps, way=way, step=name))
            cells.append(f"{np.mean(each):.1f} ± {np.std(each):.1f}" if each else "-")
        body.append([name, *cells])
    for name in (FINDING, ALL):
        cells = [_processor(steps, way, name) for (way,) in ways]
        body.append([f"{name}, processor here", *cells])
    for name in (FINDING, ALL):
        cells = [_to_direct(steps, way, name) for (way,) in ways]
        body.append([f"{name} / direct", *cells])
    cells = [_share(steps, way) for (way,) in ways]
    body.append([f"{AROUND}, % of {FINDING}", *cells])
    n = len(groups(steps, "n"))
    return Table(("step", *(f"{way}, ms" for (way,) in ways)), body, f"{sample}: {n} events")


def _processor(steps: Sequence[Row], way: Any, name: str) -> str:
    """Mean processor time of an event in this process, ms."""
    spent = numbers(chosen(steps, way=way, step=name), "processor_ms")
    return f"{np.mean(spent):.1f}" if spent else "-"


def _per_round(rows: Sequence[Row]) -> list[float]:
    """Mean time of an event in each round, ms."""
    return [float(np.mean(numbers(some, "ms"))) for some in groups(rows, "round").values()]


def _to_direct(steps: Sequence[Row], way: Any, name: str) -> str:
    """The time of a step over that of the direct way."""
    mine, theirs = (_per_round(chosen(steps, way=one, step=name)) for one in (way, direct("cpu")))
    return ratio(mine, theirs).text if mine and len(mine) == len(theirs) else "-"


def _share(steps: Sequence[Row], way: Any) -> str:
    around, finding = (_per_round(chosen(steps, way=way, step=name)) for name in (AROUND, FINDING))
    return f"{100 * sum(around) / sum(finding):.2f}" if around else "-"


def _physics(sample: str, rows: Sequence[Row]) -> Table:
    found = chosen(rows, what="physics")
    ways = [way for (way,) in groups(found, "variant")]
    ways.sort(key=lambda way: way == TRUTH)
    body = []
    for (quantity,), some in groups(found, "quantity").items():
        cells = []
        for way in ways:
            each = chosen(some, variant=way)
            cells.append(_text(each[0]) if each else "-")
        body.append([str(quantity), *cells])
    caption = (
        f"{sample}: fitted tracks beside the truth. Efficiency: pT > 1 GeV, |η| < 3, as many "
        "points as a track needs measurements; by double majority. candidates: before the fit, of "
        "as many points. truth: the points of each such particle, fitted."
    )
    return Table(("quantity", *map(str, ways)), body, caption)


def _text(row: Row) -> str:
    return with_error(float(row["value"] or 0), float(row["error"] or 0))


def _payloads(rows: Sequence[Row]) -> Table:
    body = []
    for (sample,), some in groups(chosen(rows, what="bytes"), "sample").items():
        size, sent, answered = (
            numbers(some, name)[0] for name in ("size", "input_bytes", "output_bytes")
        )
        row = [str(sample), f"{size:.0f}", f"{sent / 1e6:.2f}", f"{answered / 1e6:.2f}"]
        for way in (direct("cpu"), SERVED):
            here = chosen(rows, what="step", sample=sample, way=way, step=FINDING)
            row.append(f"{1e3 * mean(numbers(here, 'ms')).value / size:.1f}")
        body.append(row)
    header = (
        *("events", "points", "event, MB", "answer, MB"),
        *(f"{FINDING}, µs per point, {way}" for way in (direct("cpu"), SERVED)),
    )
    return Table(header, body, "Payloads, and time per space point")


def _draw(rows: list[Row]) -> list[Drawn]:
    steps = [row for row in chosen(rows, what="step") if row["step"] not in (ALL, AROUND)]
    places = list(groups(steps, "sample", "way").items())
    if not places:
        return []
    means = {
        str(step): np.array([_mean_ms(chosen(some, step=step)) for _, some in places])
        for (step,) in groups(steps, "step")
    }
    heavy = sorted(means, key=lambda step: -means[step].max())[:_MOST_COLOURS]
    bars = {step: values for step, values in means.items() if step in heavy}
    if small := [values for step, values in means.items() if step not in heavy]:
        bars["the other steps"] = np.sum(small, axis=0)
    figure, axes = new_figure(1, 1, 1.2 + 0.4 * len(places))
    left = np.zeros(len(places))
    at = -np.arange(len(places))
    for number, (name, values) in enumerate(bars.items()):
        axes.barh(at, values, left=left, color=PALETTE[number], label=name, height=0.66)
        left += values
    axes.set_yticks(at, [f"{sample} {way}" for (sample, way), _ in places])
    axes.set(xlabel="time of an event, ms")
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    caption = "Time of the steps from measurements to fitted tracks, in the Sequencer of ACTS."
    return [Drawn("acts", figure, caption)]


def _mean_ms(rows: Sequence[Row]) -> float:
    return float(np.mean(numbers(rows, "ms") or [0.0]))


STUDY = Study(
    "acts",
    "In ACTS: from measurements to fitted tracks",
    "What does each step of the chain of ACTS cost, and how good are the fitted tracks (Table 1 of "
    "the paper)? The learned tracker is an algorithm of the Sequencer, direct and served. ACTS' "
    "own seeds and combinatorial Kalman filter are beside it. All ways run in turns on the same "
    "events, and all tracks need the same least number of measurements.",
    plan,
    measure,
    show,
)
