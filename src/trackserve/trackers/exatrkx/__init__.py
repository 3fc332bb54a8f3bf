"""Exa.TrkX: a learned pipeline, from space points to track candidates."""

from .model import Model, load_model, save_model
from .pipeline import ExatrkxPipeline

__all__ = ["ExatrkxPipeline", "Model", "load_model", "save_model"]
