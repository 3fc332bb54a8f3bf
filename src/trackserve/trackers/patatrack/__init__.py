"""Patatrack: rule-based pixel tracking, from raw words to vertices."""

from .config import (
    CONFIGS,
    DEFAULT,
    REFERENCE,
    PatatrackConfig,
)
from .pipeline import PatatrackPipeline

__all__ = ["CONFIGS", "DEFAULT", "REFERENCE", "PatatrackConfig", "PatatrackPipeline"]
