"""Jobs: modules over events in flight, as a trigger runs them; tracking is one module."""

from .job import Job
from .module import ExternalModule, Module
from .scheduler import Processed, Schedule, run
from .timeline import Slice

__all__ = ["ExternalModule", "Job", "Module", "Processed", "Schedule", "Slice", "run"]
