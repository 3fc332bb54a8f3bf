"""The pixel volumes of GenericDetector as a detector of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from trackserve.detectors.generic import PIXEL_VOLUMES
from trackserve.edm.points import GENERIC_DETECTOR, GENERIC_PIXELS, PointsEvent
from trackserve.edm.truth import PointsTruth
from trackserve.errors import InputError

from .points import PointsEvents
from .points_directory import write_points


def in_pixels(event: PointsEvent) -> PointsEvent:
    """The event with only its points in the pixel volumes; all particles stay.

    Raises:
        InputError: it has no truth, which says the volume of a point.
    """
    truth = event.truth
    if truth is None:
        raise InputError("the event has no truth, which says where points are", event=event.event)
    kept = np.isin(truth.points.volume, PIXEL_VOLUMES)
    points = PointsTruth(truth.points.take(kept), truth.particles)
    return PointsEvent(event.points.take(kept), event.event, points)


def write_pixels(
    source: PointsEvents, directory: str | Path, progress: Callable[[int, int], None]
) -> None:
    """Write the points of events in the pixel volumes as events of the detector
    :data:`.GENERIC_PIXELS`.

    Args:
        source: events of GenericDetector, with truth.
        directory: see :func:`.write_points`.
        progress: called with the number of events done, and of all events.

    Raises:
        InputError: the events are of another detector or have no truth, or the directory cannot
            be written.
        EventError: an event is damaged.
    """
    if source.detector != GENERIC_DETECTOR:
        raise InputError(
            "only GenericDetector's pixel volumes are known",
            path=source.name,
            found=source.detector,
            bound=GENERIC_DETECTOR,
        )

    def events() -> Iterator[PointsEvent]:
        for done, event in enumerate(source, 1):
            yield in_pixels(event)
            progress(done, len(source))

    write_points(directory, events(), GENERIC_PIXELS)
