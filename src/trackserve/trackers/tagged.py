"""Conditions that change by run: several beside each other, and an event names its own by a tag.

The conditions of a tag are a folder of that name. A tag is read when an event first names it, so
a folder that is added is used without a new start. What a tag stands for does not change: other
conditions have another tag.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

from trackserve.edm import EventLimits
from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError, TagError, TrackserveError
from trackserve.wire.identity import Identity

from .base import Lap, Pipeline, only
from .batch import one_by_one

E = TypeVar("E")
R = TypeVar("R", bound=Result)

MOST_TAGS = 16
"""Tags whose pipelines are kept; the one that was used longest ago goes first."""
_NAME = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_MOST_NAMED = 20
"""Most tags that an error lists."""


class TaggedPipeline(Generic[E, R]):
    """A :class:`.base.Pipeline` of pipelines: one for each tag, and one for events without a tag.

    An event has its tag as the attribute ``conditions``. Each result has the identity of the
    pipeline that made it. Events of the same tag that follow each other are one batch.

    Args:
        default: the pipeline of events without a tag.
        folder: folder of the tags.
        build: builds the pipeline of the conditions in a folder.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(
        self, default: Pipeline[E, R], folder: str | Path, build: Callable[[Path], Pipeline[E, R]]
    ) -> None:
        self.identity: Identity = default.identity
        self.device: str = default.device
        self._default = default
        self._folder = Path(folder)
        self._build = build
        self._pipelines: OrderedDict[str, Pipeline[E, R]] = OrderedDict()
        self._lock = threading.Lock()
        self._building = threading.Lock()
        if not self._folder.is_dir():
            raise InputError("no folder of tags", directory=str(folder))

    def run(
        self,
        events: Iterable[E],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: EventLimits | None = None,
    ) -> list[R | EventError]:
        """Reconstruct a batch of events; see :meth:`.base.Pipeline.run`.

        An event whose tag is not there, or cannot be read, has a
        :class:`~trackserve.errors.TagError`.
        """
        found: list[R | EventError] = []
        for tag, group in groupby(one_by_one(events), _tag_of):
            found += self._run(tag, group, keep, lap, limits)
        return found

    def reconstruct(
        self, event: E, keep: Collection[str] = (), limits: EventLimits | None = None
    ) -> R:
        """Reconstruct one event; see :meth:`.base.Pipeline.reconstruct`."""
        return only(self.run([event], keep, limits=limits))

    def warm_up(self) -> None:
        """Compile or load all code; that of all tags is the same."""
        self._default.warm_up()

    def tags(self) -> list[str]:
        """The tags that events may name now, sorted."""
        try:
            folders = [one.name for one in self._folder.iterdir() if one.is_dir()]
        except OSError:
            return []
        return sorted(name for name in folders if _NAME.fullmatch(name))

    def _run(
        self,
        tag: str,
        events: Iterable[E | EventError],
        keep: Collection[str],
        lap: Lap | None,
        limits: EventLimits | None,
    ) -> Sequence[R | EventError]:
        """Reconstruct events of one tag."""
        try:
            pipeline = self._find(tag)
        except TagError as error:
            return [_failed(event, error) for event in events]
        given = map(_without_tag, events) if tag else events
        return pipeline.run(given, keep, lap, limits)  # type: ignore[arg-type]  # errors pass

    def _find(self, tag: str) -> Pipeline[E, R]:
        """The pipeline of a tag, which is built where it is not kept.

        Raises:
            TagError: the tag is not there, or its conditions cannot be read.
        """
        if not tag:
            return self._default
        if pipeline := self._kept(tag):
            return pipeline
        with self._building:
            if pipeline := self._kept(tag):
                return pipeline
            if not _NAME.fullmatch(tag) or not (self._folder / tag).is_dir():
                there = self.tags()[-_MOST_NAMED:]
                raise TagError("no conditions of this tag", found=tag[:80], bound=there)
            try:
                pipeline = self._build(self._folder / tag)
            except TrackserveError as error:
                reason = error.message
                text = "the conditions of this tag cannot be read"
                raise TagError(text, found=tag, reason=reason) from error
            with self._lock:
                self._pipelines[tag] = pipeline
                if len(self._pipelines) > MOST_TAGS:
                    self._pipelines.popitem(last=False)
            return pipeline

    def _kept(self, tag: str) -> Pipeline[E, R] | None:
        with self._lock:
            pipeline = self._pipelines.get(tag)
            if pipeline is not None:
                self._pipelines.move_to_end(tag)
            return pipeline


def _tag_of(event: Any) -> str:
    tag = getattr(event, "conditions", "")
    return tag if isinstance(tag, str) else ""  # the pipeline refuses another kind


def _without_tag(event: Any) -> Any:
    """The event for the pipeline of its tag, which knows no tags."""
    return event if isinstance(event, EventError) else replace(event, conditions="")


def _failed(event: Any, error: TagError) -> EventError:
    """The error of an event whose tag has failed."""
    if isinstance(event, EventError):
        return event
    return TagError(error.message, event=int(event.event), **error.fields)
