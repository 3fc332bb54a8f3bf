"""Regions of shared memory that a server on this host has mapped too."""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from shutil import disk_usage
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import (
    SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryUnregisterRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from trackserve.edm.columns import Array
from trackserve.serving.guard import SHARED_MEMORY
from trackserve.serving.local import find, region_name
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address

from .grpc import make_channel

_HEADROOM = 1.5
_PAGE = 4096
_MAX_TOTAL = 1 << 30
"""Bytes that the regions of one client may take together."""
_MAX_HANDED = 1 << 26
"""Bytes of regions that users may have together, by results that they keep; but no more than"""
_HANDED_SHARE = 0.25
"""of all shared memory, which is 64 MiB in a container by default: or none is left for requests."""
_RPC_TIMEOUT = 5.0
_PAUSE = 5.0
"""Seconds without shared memory after it was refused."""
_IDLE = 10.0
"""Seconds; a region that was free for longer is given up."""
_CLOSE_TIMEOUT = 2.0
_CLOSE_POLL = 0.02
_FORBIDDEN = ("shm", "shared memory", "shared_memory", "shared-memory")
_log = logging.getLogger("trackserve.client")


@dataclass(frozen=True, eq=False)
class Region:
    """Memory of so many bytes that client and server share; its file is gone once both have
    mapped it."""

    name: str
    memory: mmap.mmap
    size: int


class _Handed(np.ndarray[Any, Any]):
    """The memory of a region in a user's hands; the region comes back with the last view of it.

    It comes back in any thread, which may hold any lock, so it is only noted here.
    """

    note: Callable[[], None] = staticmethod(lambda: None)
    """Takes note that the region has come back; does nothing for views and copies of it that NumPy
    makes of the same class."""

    def __del__(self) -> None:
        self.note()


class _Forks:
    """The number of forks of this process."""

    count = 0

    @classmethod
    def add(cls) -> None:
        cls.count += 1


os.register_at_fork(before=_Forks.add)


class Regions:
    """The regions of one client, lent to one request at a time.

    A region with a large answer is handed out to the user, who has views of it; it is free again
    when he drops them. After a fork it is not, because the other process may have some too.

    Only :meth:`close` blocks. If no region is free, a request travels without one, and a new
    region is registered for the next request. If a request was given up, its region is retired,
    because the server may still read and write it. Triton does not unregister a region in use.
    """

    def __init__(self, address: Address, access: Access = NO_ACCESS, *, own: bool = False) -> None:
        self._port = address.port
        self._channel = make_channel(address, access, own=own)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._lock = threading.Lock()
        self._all: set[Region] = set()
        self._free: dict[Region, float] = {}
        """Time since which each region is free; the longest free region is first."""
        self._retired: set[Region] = set()
        self._handed = 0
        """Bytes of the regions that users have."""
        self._back: deque[tuple[Region, int]] = deque()
        """Regions that users have dropped, and the number of forks when they got them."""
        self._registering: set[Any] = set()
        self._closed = False
        self._explained = False
        self._paused_until = 0.0

    @property
    def available(self) -> bool:
        """Whether the server lets this user share memory with it."""
        return find(self._port) is not None

    def lend(self, size: int) -> Region | None:
        """A region of at least ``size`` bytes, if one is free."""
        with self._lock:
            self._take_back()
            found = None
            for region in reversed(self._free):
                if region.size >= size and (found is None or region.size < found.size):
                    found = region
            if found:
                del self._free[found]
            elif self._closed or time.monotonic() < self._paused_until:
                return None
            given_up = self._give_up(none_fits=found is None)
        if given_up:
            self._release_retired()
        if found:
            return found
        self._add(size)
        return None

    def give_back(self, region: Region) -> None:
        """Take back a region that the server is done with."""
        with self._lock:
            if region in self._all:
                self._free[region] = time.monotonic()

    def hand_out(self, region: Region) -> Array | None:
        """The memory of a region for the user, who may keep views of it, uint8[size], read-only.

        The region comes back by itself. None: users have too many, so the answer is to be copied.
        """
        with self._lock:
            if self._handed + region.size > self._most_handed:
                return None
            self._handed += region.size
        handed = _Handed(region.size, np.uint8, region.memory)
        handed.note = partial(self._back.append, (region, _Forks.count))
        handed.setflags(write=False)
        return handed

    @cached_property
    def _most_handed(self) -> float:
        return min(_MAX_HANDED, _HANDED_SHARE * disk_usage(SHARED_MEMORY).total)

    def retire(self, region: Region) -> None:
        """Take back a region that is not to be used again."""
        with self._lock:
            self._retired.add(region)

    def forget(self) -> None:
        """Drop all regions: the server that knew them is gone."""
        with self._lock:
            self._all.clear()
            self._free.clear()
            self._retired.clear()

    def close(self) -> None:
        """Unregister all regions; wait for those in use, 2 s at most."""
        with self._lock:
            self._closed = True
            registering = list(self._registering)
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        _wait(registering, deadline)
        while True:
            with self._lock:
                left = list(self._all)
            _wait([self._unregister(region) for region in left], deadline)
            with self._lock:
                is_done = not self._all
            if is_done or time.monotonic() > deadline:
                break
            time.sleep(_CLOSE_POLL)
        for region in left:
            _unlink(region)
        self._channel.close()

    def _take_back(self) -> None:
        """Free the regions that users have dropped. The caller holds the lock."""
        while self._back:
            region, n_forks = self._back.popleft()
            self._handed -= region.size
            if region not in self._all:
                continue
            if n_forks == _Forks.count:
                self._free[region] = time.monotonic()
            else:
                self._retired.add(region)

    def _give_up(self, none_fits: bool) -> bool:
        """Retire the longest free region if it is free for long, or if ``none_fits``.

        The caller holds the lock.

        Returns:
            whether the caller must release retired regions.
        """
        longest = next(iter(self._free), None)
        if longest and (none_fits or time.monotonic() - self._free[longest] > _IDLE):
            del self._free[longest]
            self._retired.add(longest)
        return bool(self._retired) and (none_fits or longest in self._retired)

    def _add(self, size: int) -> None:
        """Make a region and register it; it is free once the server has mapped it."""
        local = find(self._port)
        size = -int(-size * _HEADROOM // _PAGE) * _PAGE
        with self._lock:
            fits = sum(region.size for region in self._all) + size <= _MAX_TOTAL
        region = _create(size) if local and fits else None
        if local is None or region is None:
            self._pause()
            return
        try:
            rpc = self._stub.SystemSharedMemoryRegister.future(
                SystemSharedMemoryRegisterRequest(
                    name=region.name, key=f"/{region.name}", byte_size=region.size
                ),
                timeout=_RPC_TIMEOUT,
                metadata=[(local.header, local.value)],
            )
        except ValueError:  # closed meanwhile
            _unlink(region)
            return
        with self._lock:
            self._all.add(region)
            self._registering.add(rpc)
        rpc.add_done_callback(lambda rpc: self._added(region, rpc))

    def _added(self, region: Region, rpc: Any) -> None:
        _unlink(region)
        with self._lock:
            self._registering.discard(rpc)
        if _succeeded(rpc):
            self.give_back(region)
        else:
            with self._lock:
                self._all.discard(region)
            self._pause()
            if not rpc.cancelled():
                self._explain(rpc.details() or "")

    def _explain(self, reason: str) -> None:
        """Say once that the server does not allow shared memory to its clients."""
        if self._explained or not any(word in reason for word in _FORBIDDEN):
            return
        self._explained = True
        _log.warning(
            "the server on port %d refuses shared memory, so gRPC carries all tensors: %s; "
            "a Triton from 2.68 on allows it with --allow-client-shm=true",
            self._port,
            reason,
        )

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + _PAUSE

    def _release_retired(self) -> None:
        with self._lock:
            retired, self._retired = self._retired, set()
        for region in retired:
            self._unregister(region)

    def _unregister(self, region: Region) -> Any:
        local = find(self._port)
        rpc = self._stub.SystemSharedMemoryUnregister.future(
            SystemSharedMemoryUnregisterRequest(name=region.name),
            timeout=_RPC_TIMEOUT,
            metadata=[(local.header, local.value)] if local else None,
        )
        rpc.add_done_callback(lambda rpc: self._unregistered(region, rpc))
        return rpc

    def _unregistered(self, region: Region, rpc: Any) -> None:
        in_use = not _succeeded(rpc) and rpc.code() is grpc.StatusCode.INTERNAL
        with self._lock:
            if in_use:
                self._retired.add(region)
            else:
                self._all.discard(region)


def _wait(rpcs: list[Any], deadline: float) -> None:
    """Wait until all have ended or failed, or until the deadline."""
    for rpc in rpcs:
        with suppress(grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
            rpc.result(max(0.0, deadline - time.monotonic()))


def _succeeded(rpc: Any) -> bool:
    return not rpc.cancelled() and rpc.exception() is None


def _create(size: int) -> Region | None:
    """A new region with reserved memory; None if there is not enough memory.

    Without reserved memory, a process that writes beyond the rest of the memory file system
    (64 MiB in a container) is killed.
    """
    region = None
    path = SHARED_MEMORY / region_name()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None
    try:
        os.posix_fallocate(descriptor, 0, size)
        region = Region(path.name, mmap.mmap(descriptor, size), size)
    except OSError:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return region


def _unlink(region: Region) -> None:
    (SHARED_MEMORY / region.name).unlink(missing_ok=True)
