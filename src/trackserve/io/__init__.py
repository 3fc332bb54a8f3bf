"""Readers and writers."""

from .pixel_directory import (
    ReferenceCounts,
    read_conditions,
    read_events,
    read_reference_counts,
    write_conditions,
    write_events,
    write_reference_counts,
)
from .points import PointsEvents, open_points
from .points_directory import write_points

__all__ = [
    "PointsEvents",
    "ReferenceCounts",
    "open_points",
    "read_conditions",
    "read_events",
    "read_reference_counts",
    "write_conditions",
    "write_events",
    "write_points",
    "write_reference_counts",
]
