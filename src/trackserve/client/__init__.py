"""Talking to a server."""

from .client import Client

__all__ = ["Client"]
