"""Readers and writers."""

from .candidates import CandidatesFile
from .colliderml import predictions_of, write_colliderml
from .measurements import MeasurementsFile, write_measurements
from .pixel import PixelEvents, open_pixel, read_events
from .pixel_directory import (
    ReferenceCounts,
    read_conditions,
    read_reference_counts,
    write_conditions,
    write_events,
    write_reference_counts,
)
from .pixel_truth import read_truth, write_truth
from .points import PointsEvents, open_points
from .points_directory import write_points

__all__ = [
    "CandidatesFile",
    "MeasurementsFile",
    "PixelEvents",
    "PointsEvents",
    "ReferenceCounts",
    "open_pixel",
    "open_points",
    "predictions_of",
    "read_conditions",
    "read_events",
    "read_reference_counts",
    "read_truth",
    "write_colliderml",
    "write_conditions",
    "write_events",
    "write_measurements",
    "write_points",
    "write_reference_counts",
    "write_truth",
]
