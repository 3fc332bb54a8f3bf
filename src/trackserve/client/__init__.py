"""The clients of servers."""

from trackserve.device.heap import keep_freed_memory
from trackserve.wire.access import Access

from .asynchronous import AsyncClient
from .client import Client
from .exchange import Timings
from .local import Recipe

__all__ = ["Access", "AsyncClient", "Client", "Recipe", "Timings", "keep_freed_memory"]
