"""The stages of the pipeline, on every device."""

from __future__ import annotations

STAGES = ("features", "embedding", "radius", "filter", "gnn", "components", "finish")
"""Names of the stages, in their order."""
