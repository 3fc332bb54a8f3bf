"""Patatrack: rule-based pixel tracking, from raw words to vertices."""

from .config import CONFIGS, REFERENCE, PatatrackConfig
from .pipeline import PatatrackPipeline

__all__ = ["CONFIGS", "REFERENCE", "PatatrackConfig", "PatatrackPipeline"]
