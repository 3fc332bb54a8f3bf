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
from .tracker import TrackerEvents, open_tracker
from .tracker_directory import write_tracker

__all__ = [
    "ReferenceCounts",
    "TrackerEvents",
    "open_tracker",
    "read_conditions",
    "read_events",
    "read_reference_counts",
    "write_conditions",
    "write_events",
    "write_reference_counts",
    "write_tracker",
]
