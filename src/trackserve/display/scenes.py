"""The results of any tracker as a scene: the kind of the events says how."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from trackserve.edm.result import Outcome, Result
from trackserve.errors import EventError, InputError
from trackserve.io import PixelEvents, PointsEvents, read_conditions
from trackserve.physics.points.truth import wanted_in
from trackserve.trackers.base import Tracker

from . import pixel, points
from .scene import Detector, Scene, SceneEvent

ToScene = Callable[[Any, Any], SceneEvent]
"""Takes an event and its result."""


def kept_for(tracker: Tracker[Any, Any]) -> list[str]:
    """Intermediates of a tracker that a scene shows."""
    shown = (*pixel.KEEP, *points.KEEP)
    return [name for name in tracker.result.intermediates() if name in shown]


def make_scene(
    tracker: Tracker[Any, Any],
    events: Any,
    which: Iterable[int],
    outcomes: Iterable[Outcome],
    options: Mapping[str, str] | None = None,
) -> Scene:
    """A scene of events; those that failed are left out.

    Args:
        tracker: made the results.
        events: what it opened.
        which: index of the event of each outcome.
        outcomes: results that have what :func:`kept_for` names, or errors.
        options: of the tracker; by their ``conditions`` modules lie elsewhere than by those of
            the events.

    Raises:
        InputError: no event is left, or no scene can be made of events of this kind, or of
            results that lack what is shown.
        ConditionsError: conditions or truth of the events are malformed.
    """
    detector, to_scene, needed = _kind(events, options or {})
    shown, identity = [], ""
    for index, outcome in zip(which, outcomes, strict=True):
        if isinstance(outcome, EventError):
            continue
        identity = outcome.identity
        _check(outcome, needed)
        shown.append(replace(to_scene(events[index], outcome), facts=asdict(outcome.counts)))
    if not shown:
        raise InputError("no event to show", events=events.name)
    title = f"{tracker.name} on {events.name}"
    return Scene(title, tracker.name, identity, detector, tuple(shown))


def _check(result: Result, needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if getattr(result, name, None) is None]
    if missing:
        kind = type(result).__name__
        raise InputError("the result lacks what is to be shown", result=kind, found=missing)


def _kind(events: Any, options: Mapping[str, str]) -> tuple[Detector, ToScene, tuple[str, ...]]:
    """The detector of events, what makes scenes of them, and the parts of a result it needs."""
    if isinstance(events, PixelEvents):
        conditions = read_conditions(options.get("conditions") or events.directory)
        geometry = pixel.geometry_of(conditions)
        truth = events.truth() if events.has_truth() else []

        def pixel_scene(event: Any, result: Any) -> SceneEvent:
            own = truth[event.event] if event.event < len(truth) else None
            return pixel.pixel_event(result, event.beam_spot.position(), geometry, own)

        return pixel.pixel_detector(geometry), pixel_scene, pixel.NEEDS
    if isinstance(events, PointsEvents):
        wanted = wanted_in(events.detector)
        to_scene = functools.partial(points.points_event, wanted=wanted)
        return points.points_detector(events.detector), to_scene, points.NEEDS
    kind = type(events).__name__
    raise InputError("events of this kind have no display", found=kind)
