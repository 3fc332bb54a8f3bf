"""Finds trackers by name.

A package offers a tracker as an entry point of the group ``trackserve.trackers``. The name of the
entry point is the name of the tracker. Its value is the place of an instance of
:class:`.base.Tracker`, which is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from trackserve.errors import InputError, TrackserveError
from trackserve.wire.identity import ALIAS_PARAMETER, TRACKER_PARAMETER

from .base import Tracker

GROUP = "trackserve.trackers"


def tracker_names() -> list[str]:
    """Names of the trackers that are installed, sorted."""
    return sorted(_found())


@cache
def find_tracker(name: str) -> Tracker[Any, Any]:
    """The tracker called ``name``.

    Raises:
        InputError: no such tracker is installed, or its package does not hold a tracker.
        TrackserveError: its package cannot be imported.
    """
    entry = _found().get(name)
    if entry is None:
        raise InputError("no such tracker is installed", found=name, bound=tracker_names())
    try:
        tracker = entry.load()
    except TrackserveError:
        raise
    except Exception as error:
        raise TrackserveError(
            f"the tracker cannot be imported: {type(error).__name__}: {error}",
            tracker=name,
            place=entry.value,
        ) from error
    if not isinstance(tracker, Tracker) or tracker.name != name:
        raise InputError("this is not a tracker of that name", found=name, place=entry.value)
    return tracker


def tracker_of(parameters: Mapping[str, str], **where: Any) -> Tracker[Any, Any]:
    """The tracker of a served model.

    Args:
        parameters: parameters of the model's configuration.
        where: fields of the error, as ``model``.

    Raises:
        InputError: the parameters name no tracker, or a tracker that is not installed here.
        TrackserveError: its package cannot be imported.
    """
    if ALIAS_PARAMETER in parameters:
        reason = "this is a published name, for other clients: ask for the model itself"
        raise InputError(reason, **where, bound=parameters[ALIAS_PARAMETER])
    if TRACKER_PARAMETER not in parameters:
        reason = "the model does not say which tracker it is: trackserve did not write it"
        raise InputError(reason, **where)
    return find_tracker(parameters[TRACKER_PARAMETER])


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
