"""The two streams of a terminal."""

from __future__ import annotations

from rich.console import Console

console = Console()
messages = Console(stderr=True)
"""For what is not the answer of a command: progress, and why it ended early."""
