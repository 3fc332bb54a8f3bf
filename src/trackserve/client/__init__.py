"""The clients of a server."""

from trackserve.device.heap import keep_freed_memory

from .asynchronous import AsyncClient
from .client import Client
from .exchange import Timings

__all__ = ["AsyncClient", "Client", "Timings", "keep_freed_memory"]
