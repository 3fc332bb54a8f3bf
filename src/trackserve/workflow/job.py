"""A job: modules, and the order that follows from what they take and make."""

from __future__ import annotations

import graphlib
from collections.abc import Sequence
from typing import NamedTuple

from trackserve.errors import JobError

from .module import ExternalModule, Module

EVENT, INDEX = "event", "index"
SOURCE = (EVENT, INDEX)
"""Products that are there from the start: the event, and its place in the stream, from 0."""


class Step(NamedTuple):
    """A module in its job. Products have places, steps have ranks.

    Attributes:
        module: the module.
        inputs: places of the products that it takes.
        outputs: places of those that it makes.
        consumers: ranks of the steps that take one of these.
        n_waits: number of steps that make what it takes.
        is_external: whether its work is done elsewhere.
        is_urgent: whether it, or a step behind it, sends work elsewhere: it goes before others, so
            that the answer is there in time.
    """

    module: Module
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    consumers: tuple[int, ...]
    n_waits: int
    is_external: bool
    is_urgent: bool


class Job:
    """Modules that fit together; each runs once for an event, when its inputs are there.

    Args:
        modules: in any order.

    Attributes:
        steps: the modules, each behind those that make what it takes.
        products: names of all products, by place.

    Raises:
        JobError: two modules have one name, a product is made by two or by none, or modules wait
            for one another.
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        producers = _producers(modules)
        ordered = _in_order(modules, producers)
        self.products = (*SOURCE, *(name for one in ordered for name in one.outputs))
        place = {name: number for number, name in enumerate(self.products)}
        rank = {one.name: number for number, one in enumerate(ordered)}
        before = [
            {rank[producers[name].name] for name in one.inputs if name not in SOURCE}
            for one in ordered
        ]
        urgent = [isinstance(one, ExternalModule) for one in ordered]
        for number in reversed(range(len(ordered))):
            for earlier in before[number] if urgent[number] else ():
                urgent[earlier] = True
        self.steps = tuple(
            Step(
                one,
                tuple(place[name] for name in one.inputs),
                tuple(place[name] for name in one.outputs),
                tuple(later for later in range(len(ordered)) if number in before[later]),
                len(before[number]),
                isinstance(one, ExternalModule),
                urgent[number],
            )
            for number, one in enumerate(ordered)
        )

    @property
    def modules(self) -> list[Module]:
        """The modules, each behind those that make what it takes."""
        return [step.module for step in self.steps]

    def places(self, names: Sequence[str]) -> dict[str, int]:
        """Places of products, by name.

        Raises:
            JobError: no module makes one of them.
        """
        for name in names:
            if name not in self.products:
                raise JobError("no module makes this", product=name, bound=sorted(self.products))
        return {name: self.products.index(name) for name in names}


def _producers(modules: Sequence[Module]) -> dict[str, Module]:
    """The module that makes each product."""
    names: set[str] = set()
    producers: dict[str, Module] = {}
    for module in modules:
        _check(module)
        if module.name in names:
            raise JobError("two modules have one name", module=module.name)
        names.add(module.name)
        for product in module.outputs:
            if product in SOURCE:
                raise JobError("this is there already", module=module.name, product=product)
            if product in producers:
                found = [producers[product].name, module.name]
                raise JobError("two modules make one product", product=product, found=found)
            producers[product] = module
    return producers


def _check(module: Module) -> None:
    """Refuse what is no module.

    Raises:
        JobError: it is none, its names are no tuple of texts, it cannot produce, or its timeout is
            no number of seconds.
    """
    if not isinstance(module, Module):
        raise JobError("this is not a module", found=repr(module)[:80])
    for what in ("inputs", "outputs"):
        names = getattr(module, what)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            bound = "a tuple of names"
            raise JobError(f"wrong {what}", module=module.name, found=repr(names)[:80], bound=bound)
    needed = ("acquire", "produce") if isinstance(module, ExternalModule) else ("produce",)
    for method in needed:
        if not callable(getattr(module, method, None)):
            raise JobError("a method is missing", module=module.name, bound=method)
    if isinstance(module, ExternalModule):
        seconds: object = module.timeout
        if not isinstance(seconds, int | float) or not seconds >= 0:
            found = repr(seconds)[:80]
            raise JobError("a timeout is a number from 0 on", module=module.name, found=found)


def _in_order(modules: Sequence[Module], producers: dict[str, Module]) -> list[Module]:
    """The modules, each behind those that make what it takes."""
    by_name = {module.name: module for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        graph[module.name] = set()
        for product in module.inputs:
            if product in SOURCE:
                continue
            if product not in producers:
                bound = sorted([*SOURCE, *producers])
                raise JobError(
                    "no module makes this", module=module.name, product=product, bound=bound
                )
            graph[module.name].add(producers[product].name)
    try:
        return [by_name[name] for name in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        raise JobError("modules wait for one another", found=error.args[1]) from None
