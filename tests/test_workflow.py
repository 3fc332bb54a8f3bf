"""A job of modules over events: what runs and in which order, and what a failure does."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve.errors import EventError, InputError, JobError, ModuleFailed
from trackserve.workflow import ExternalModule, Job, Module, Processed, Schedule, Slice, run
from trackserve.workflow.timeline import (
    EXTERNAL,
    MODULE,
    SEND,
    as_chrome_trace,
    write_chrome_trace,
)
from trackserve.workflow.timeline_text import text_timeline


class Made(Module):
    """A module made of a function."""

    def __init__(
        self,
        name: str,
        inputs: tuple[str, ...] = (),
        function: Callable[..., Any] = lambda *_: None,
        outputs: tuple[str, ...] | None = None,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = (name,) if outputs is None else outputs
        self.produce = function


class Sent(ExternalModule):
    """A module whose answer a function gives, in threads of another pool."""

    timeout = 60.0

    def __init__(self, name: str, inputs: tuple[str, ...], function: Callable[..., Any]) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = (name,)
        self._function = function

    def begin(self) -> None:
        self._pool = ThreadPoolExecutor(8)

    def end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def acquire(self, *inputs: Any) -> Future[Any]:
        return self._pool.submit(self._function, *inputs)

    def produce(self, answer: Any, *inputs: Any) -> Any:
        return answer


def outcomes(job: Job, events: Any, threads: int = 2, **how: Any) -> list[Processed]:
    return list(run(job, events, Schedule(threads, **how)))


def one_after_the_other(event: Any, index: int) -> int:
    return 10 * int(event)


def test_products_of_one_module_are_inputs_of_the_next() -> None:
    job = Job(
        [
            Made("sum", ("tens", "index"), lambda tens, index: tens + index),
            Made("tens", ("event", "index"), one_after_the_other),
        ]
    )
    found = outcomes(job, [3, 4], keep=("sum",))
    assert [one.products for one in found] == [{"sum": 30}, {"sum": 41}]


def test_a_module_may_make_several_products() -> None:
    job = Job(
        [
            Made("both", ("event",), lambda event: (event, -event), outputs=("plus", "minus")),
            Made("zero", ("plus", "minus"), lambda plus, minus: plus + minus),
        ]
    )
    assert [one.products["zero"] for one in outcomes(job, [1, 2], keep=("zero",))] == [0, 0]


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[bool, list[int]]]:
    """For each module whether its work is external, and the earlier ones that it takes."""
    modules = []
    for number in range(draw(st.integers(0, 8))):
        earlier = st.lists(st.integers(0, number - 1), unique=True) if number else st.just([])
        modules.append((draw(st.booleans()), draw(earlier)))
    return modules


@settings(max_examples=60)
@given(graphs(), st.integers(0, 9), st.integers(1, 3), st.integers(1, 5), st.randoms())
def test_every_module_runs_once_an_event_when_its_inputs_are_there(
    graph: list[tuple[bool, list[int]]], n_events: int, threads: int, in_flight: int, random: Any
) -> None:
    ran: Counter[tuple[int, int]] = Counter()
    lock = threading.Lock()

    def module(number: int, is_external: bool, earlier: list[int]) -> Module:
        def work(event: int, *inputs: Any) -> tuple[int, int]:
            assert list(inputs) == [(one, event) for one in earlier]
            with lock:
                ran[number, event] += 1
            return number, event

        names = ("event", *(f"product {one}" for one in earlier))
        made: Any = Sent if is_external else Made
        found: Module = made(f"product {number}", names, work)
        return found

    modules = [module(number, *one) for number, one in enumerate(graph)]
    random.shuffle(modules)
    keep = tuple(f"product {number}" for number in range(len(graph)))
    order = []
    for one in run(Job(modules), range(n_events), Schedule(threads, in_flight, keep)):
        assert one.error is None
        assert list(one.products.values()) == [(n, one.index) for n in range(len(graph))]
        order.append(one.index)
    assert order == list(range(n_events))
    assert ran == {(n, event): 1 for n in range(len(graph)) for event in range(n_events)}


def test_no_more_events_are_in_flight_than_allowed() -> None:
    running: set[int] = set()
    most: list[int] = []
    lock = threading.Lock()

    def begin(event: int) -> int:
        with lock:
            running.add(event)
            most.append(len(running))
        return event

    def end(answer: int) -> None:
        with lock:
            running.remove(answer)

    def wait(event: int) -> int:
        time.sleep(0.002)
        return event

    job = Job(
        [
            Made("begin", ("event",), begin),
            Sent("wait", ("begin",), wait),
            Made("end", ("wait",), end),
        ]
    )
    outcomes(job, range(40), threads=2, in_flight=3)
    assert max(most) == 3


def test_few_events_are_read_before_results_are_taken() -> None:
    read = []

    def events() -> Iterator[int]:
        for event in range(1000):
            read.append(event)
            yield event

    loop = run(Job([Made("a", ("event",))]), events(), Schedule(1, 2))
    next(loop)
    time.sleep(0.05)
    assert len(read) <= 1 + 4 * 2
    loop.close()


def test_work_goes_on_while_an_answer_is_awaited() -> None:
    """The answer is given by a module that runs beside it: a thread that waited would hang."""
    answers: dict[int, Future[str]] = {}

    class Asked(ExternalModule):
        inputs, outputs = ("index",), ("answer",)

        def acquire(self, index: int) -> Future[str]:
            answers[index] = Future()
            return answers[index]

        def produce(self, answer: str, index: int) -> str:
            return f"{answer} {index}"

    job = Job([Made("other", ("index",), lambda index: answers[index].set_result("yes")), Asked()])
    found = outcomes(job, "ab", threads=1, keep=("answer",))
    assert [one.products["answer"] for one in found] == ["yes 0", "yes 1"]


def fail_at_2(event: int) -> int:
    if event == 2:
        raise ValueError("it is two")
    return event


@pytest.mark.parametrize("kind", [Made, Sent])
def test_an_error_stays_with_its_event(kind: Any) -> None:
    after: list[int] = []
    job = Job(
        [kind("a", ("event",), fail_at_2), Made("b", ("a",), lambda event: after.append(event))]
    )
    found = outcomes(job, range(5), keep=("a",))
    assert [one.index for one in found if one.error is None] == [0, 1, 3, 4]
    assert sorted(after) == [0, 1, 3, 4]
    failed = found[2]
    assert isinstance(failed.error, ModuleFailed)
    assert failed.module == "a"
    assert str(failed.error) == "a module failed (event 2, module a, reason ValueError: it is two)"
    assert isinstance(failed.error.__cause__, ValueError)


def test_an_error_of_the_event_is_handed_out_as_it_is() -> None:
    error = EventError("damaged", event=7)

    def refuse(event: Any) -> None:
        raise error

    assert outcomes(Job([Made("a", ("event",), refuse)]), [0])[0].error is error


class Panic(BaseException):
    """As extensions in other languages raise; its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(SystemExit(0), "SystemExit: 0"), (Panic(), "Panic"), (OSError("caf\udce9"), r"caf\udce9")],
)
def test_whatever_a_module_raises_fails_its_event_alone(error: BaseException, reason: str) -> None:
    def refuse(event: int) -> None:
        if event == 1:
            raise error

    found = outcomes(Job([Made("a", ("event",), refuse)]), range(3))
    assert [one.error is None for one in found] == [True, False, True]
    assert reason in str(found[1].error)
    str(found[1].error).encode()


def test_an_event_that_could_not_be_read_is_its_own_outcome() -> None:
    error = EventError("damaged", event=1)
    found = outcomes(Job([Made("a", ("event",))]), [0, error, 2])
    assert [one.error for one in found] == [None, error, None]


def test_an_error_of_the_source_is_raised_behind_the_events_before_it() -> None:
    def events() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("the disk is gone")

    loop = run(Job([Made("a", ("event",))]), events())
    assert [next(loop).index, next(loop).index] == [0, 1]
    with pytest.raises(OSError, match="disk"):
        next(loop)


def test_a_wrong_number_of_products_is_an_error_of_the_event() -> None:
    job = Job([Made("a", (), lambda: (1, 2, 3), outputs=("x", "y"))])
    assert "no tuple of 2 products" in str(outcomes(job, [0])[0].error)


def test_an_answer_that_never_comes_fails_its_event_alone() -> None:
    class Lost(ExternalModule):
        inputs, outputs, timeout = ("event",), ("answer",), 0.1

        def acquire(self, event: int) -> Future[int]:
            answer: Future[int] = Future()
            asked.append(answer)
            if event != 1:
                answer.set_result(event)
            return answer

        def produce(self, answer: int, event: int) -> int:
            return answer

    asked: list[Future[int]] = []
    found = outcomes(Job([Lost()]), range(3), keep=("answer",))
    assert [one.products["answer"] for one in found] == [0, None, 2]
    assert "no answer in 0.1 s" in str(found[1].error)
    assert asked[1].cancelled()


def test_leaving_the_loop_cancels_work_elsewhere_and_ends_modules() -> None:
    asked: list[Future[int]] = []
    ended = []

    class Slow(ExternalModule):
        inputs = ("event",)

        def acquire(self, event: int) -> Future[int]:
            answer: Future[int] = Future()
            if event == 0:
                answer.set_result(0)
            asked.append(answer)
            return answer

        def produce(self, answer: int, event: int) -> None:
            pass

        def end(self) -> None:
            ended.append(True)

    before = threading.active_count()
    loop = run(Job([Slow()]), range(3), Schedule(1, 3))
    next(loop)
    loop.close()
    assert ended == [True]
    assert all(answer.cancelled() for answer in asked[1:])
    assert threading.active_count() == before


def test_an_interrupt_ends_a_job_that_waits_for_an_answer() -> None:
    asked: list[Future[int]] = []

    class Never(ExternalModule):
        inputs = ("event",)

        def acquire(self, event: int) -> Future[int]:
            asked.append(Future())
            return asked[-1]

        def produce(self, answer: int, event: int) -> None:
            pass

    before = threading.active_count()
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    loop = run(Job([Never()]), range(9), Schedule(2, 4))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        next(loop)
    interrupt.join()
    assert [answer.cancelled() for answer in asked] == [True] * 4
    assert threading.active_count() == before


def test_modules_that_fail_to_begin_leave_the_others_ended() -> None:
    ended = []

    class Refuses(Module):
        inputs = ("a",)

        def begin(self) -> None:
            raise InputError("no such server")

        def end(self) -> None:
            ended.append("refuses")

        def produce(self, a: Any) -> None:
            pass

    first = Made("a")
    first.end = lambda: ended.append("a")  # type: ignore[method-assign]
    with pytest.raises(InputError, match="no such server"):
        outcomes(Job([Refuses(), first]), [0])
    assert sorted(ended) == ["a", "refuses"]


class Impatient(Sent):
    timeout = None  # type: ignore[assignment]


WRONG = {
    "two modules have one name": [Made("a"), Made("a", outputs=("b",))],
    "two modules make one product": [Made("a"), Made("b", outputs=("a",))],
    "no module makes this": [Made("a", ("b",))],
    "modules wait for one another": [Made("a", ("c",)), Made("b", ("a",)), Made("c", ("b",))],
    "this is there already": [Made("a", outputs=("event",))],
    "wrong inputs": [Made("a", "event")],  # type: ignore[arg-type]
    "a method is missing": [Module()],
    "this is not a module": ["a"],
    "a timeout is a number": [Impatient("a", ("event",), int)],
}


@pytest.mark.parametrize("message", WRONG)
def test_modules_that_do_not_fit_together_are_refused(message: str) -> None:
    with pytest.raises(JobError, match=message):
        Job(WRONG[message])  # type: ignore[arg-type]


def test_the_error_of_a_cycle_names_its_modules() -> None:
    with pytest.raises(JobError) as caught:
        Job(WRONG["modules wait for one another"])  # type: ignore[arg-type]
    assert sorted(set(caught.value.found)) == ["a", "b", "c"]


@pytest.mark.parametrize("how", [Schedule(0), Schedule(1, 0), Schedule(1, 1, ("nothing",))])
def test_a_wrong_schedule_is_refused_at_once(how: Schedule) -> None:
    with pytest.raises(InputError):
        run(Job([Made("a")]), [], how)


def test_the_timeline_has_every_module_and_the_wait_for_an_answer(tmp_path: Path) -> None:
    slices: list[Slice] = []
    job = Job(
        [
            Sent("served", ("event",), lambda event: time.sleep(0.02)),
            Made("decide", ("served",), lambda _: time.sleep(0.01)),
        ]
    )
    list(run(job, range(3), Schedule(1), slices.append))
    ran = Counter((one.kind, one.name, one.event) for one in slices)
    assert all(ran[MODULE, name, event] == 1 for name in ("served", "decide") for event in range(3))
    waits = [one for one in slices if one.kind == EXTERNAL]
    sent = {one.event: one.start for one in slices if one.kind == SEND}
    assert all(one.end - sent[one.event] >= 20_000_000 for one in waits)
    assert [one.thread for one in waits] == [-1] * 3
    write_chrome_trace(tmp_path / "trace.json", slices)
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    decided = [one for one in trace if one.get("name") == "decide"]
    assert [one["ph"] for one in decided] == ["X"] * 3
    assert all(one["dur"] >= 1e4 for one in decided)
    assert Counter(one["ph"] for one in trace if one.get("cat") == EXTERNAL) == {"b": 3, "e": 3}
    assert as_chrome_trace([])["traceEvents"] == []


def test_the_timeline_as_text_has_the_letter_of_the_module_that_ran() -> None:
    slices = [
        Slice(MODULE, "calorimeter", 0, 0, 0, 50_000_000),
        Slice(MODULE, "muons", 0, 0, 50_000_000, 100_000_000),
        Slice(EXTERNAL, "tracking", 0, -1, 0, 20_000_000),
    ]
    assert text_timeline(slices, 20) == [
        "thread 0  cccccmmmmm",
        "elsewhere 11........",
        "a character is 10 ms; c calorimeter, m muons",
    ]
    assert text_timeline([], 20) == []
