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

__all__ = [
    "ReferenceCounts",
    "read_conditions",
    "read_events",
    "read_reference_counts",
    "write_conditions",
    "write_events",
    "write_reference_counts",
]
