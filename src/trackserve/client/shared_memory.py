"""The transport to a server on this host: tensors in shared memory, and an HTTP doorbell.

gRPC registers the memory, and carries requests for which there is none.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    EventError,
    InputError,
    ServerError,
    ServerUnavailable,
    TrackserveError,
    parse_json,
)
from trackserve.serving.local import find
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address
from trackserve.wire.tensors import Pieces, Tensors
from trackserve.wire.ticket import TICKET_PARAMETER, Ticket

from .bell import Bell, Ear, Reply
from .grpc import GrpcTransport
from .http import check_status
from .regions import Region, Regions
from .tickets import Tickets
from .transport import LOST_REGION, Call, ModelConfig, Request

_ALIGNMENT = 64
_MARGIN = 2
_OK = 200
_SMALLEST_INPUT = 1 << 16
_COPIED_BELOW = 1 << 16
"""Bytes. An answer of fewer is copied out of the shared memory; it would keep a whole region."""
_SMALLEST_PLACE = 1 << 12
"""Bytes; room for outputs whose size does not follow that of the inputs."""
_GIVEN_UP = (Cancelled, DeadlineExceeded, ServerUnavailable)
"""Errors after which the server may still work on the request."""


class _Place(NamedTuple):
    """The place of a tensor in a region."""

    offset: int
    size: int


class _Layout(NamedTuple):
    """The places of the inputs and outputs of a request."""

    inputs: dict[str, _Place]
    outputs: dict[str, _Place]
    size: int


class _Loan(NamedTuple):
    """A request in a region."""

    request: Request
    message: bytes
    region: Region
    outputs: dict[str, _Place]
    ticket: Ticket | None
    bell: Bell


class SharedMemoryTransport:
    """A pool of shared memory, a doorbell and a gRPC channel.

    It learns the sizes of outputs from earlier replies. If outputs do not fit, or shared memory
    fails, the request is sent again by gRPC.
    """

    def __init__(self, address: Address, access: Access = NO_ACCESS, *, own: bool = False) -> None:
        self._address = address
        self._grpc = GrpcTransport(address, access, own=own)
        self._regions = Regions(address, access, own=own)
        self._sizes = OutputSizes()
        self._tickets = Tickets()
        self._lock = threading.Lock()
        self._bells: dict[int, Bell] = {}
        self._port: int | None = None
        self._closed = False
        own_parts = self._tickets, self._bells, self._grpc, self._regions
        self._dropped = weakref.finalize(self, _drop, os.getpid(), *own_parts)
        self._dropped.atexit = False

    @property
    def name(self) -> str:
        """Name of the transport: ``"shm"``, or ``"grpc"`` if shared memory cannot be used."""
        return "shm" if self._regions.available else "grpc"

    def call(self, request: Request, timeout: float) -> Tensors:
        deadline = time.monotonic() + timeout
        loan = self._place(request)
        if loan is not None:
            try:
                tensors = self._read(loan, loan.bell.call(loan.message, deadline))
            except TrackserveError as error:
                if not self._end(loan, error):
                    raise
            except BaseException:
                self._regions.retire(loan.region)
                self._tickets.end(loan.ticket)
                raise
            else:
                return tensors
        return self._learn(request, self._grpc.call(request, deadline - time.monotonic()))

    def submit(self, request: Request, timeout: float, ear: Ear | None = None) -> Call:
        """Start a request; ``ear`` hears of the reply, or a thread if it is None."""
        deadline = time.monotonic() + timeout
        loan = self._place(request)
        if loan is None:
            return self._submit_by_grpc(Call(), request, timeout)
        call = Call()

        def done(reply: Reply | TrackserveError) -> None:
            try:
                if isinstance(reply, TrackserveError):
                    raise reply
                call.settle(self._read(loan, reply))
            except TrackserveError as error:
                if self._end(loan, error):
                    self._submit_by_grpc(call, request, deadline - time.monotonic())
                else:
                    call.settle(error)
            except Exception as error:  # or nobody would ever learn of it
                self._end(loan, ServerUnavailable(str(error)))
                call.settle(ServerError(f"the request failed: {error!r}", url=loan.bell.url))

        ring = loan.bell.submit(loan.message, deadline, done, ear)

        def give_up() -> None:
            self._tickets.end(loan.ticket)
            ring.ear.hang_up(ring)

        call.on_cancel(give_up)
        return call

    def config(self, model: str, timeout: float) -> ModelConfig:
        return self._grpc.config(model, timeout)

    def models(self, timeout: float) -> list[str]:
        return self._grpc.models(timeout)

    def ready(self, timeout: float) -> bool:
        return self._grpc.ready(timeout)

    def close(self) -> None:
        self._dropped.detach()
        with self._lock:
            self._closed = True
        _close(self._tickets, self._bells, self._grpc, self._regions)

    def _submit_by_grpc(self, call: Call, request: Request, timeout: float) -> Call:
        def done(reply: Tensors | TrackserveError) -> None:
            if not isinstance(reply, TrackserveError):
                self._sizes.learn(request, reply)
            call.settle(reply)

        return self._grpc.start(call, request, timeout, done)

    def _place(self, request: Request) -> _Loan | None:
        """The request in a region; None if it travels in a message."""
        layout = self._sizes.layout(request)
        region = self._regions.lend(layout.size) if layout else None
        bell = self._bell() if region else None
        if layout is None or region is None or bell is None:
            if region is not None:
                self._regions.give_back(region)
            return None
        for name, array in request.inputs.items():
            place = layout.inputs[name]
            if isinstance(array, Pieces):
                array.write(memoryview(region.memory)[place.offset :])
                continue
            target: Array = np.ndarray(array.shape, array.dtype, region.memory, place.offset)
            target[...] = array
        ticket = self._tickets.take()
        message = _message(request, region.name, layout, ticket)
        return _Loan(request, message, region, layout.outputs, ticket, bell)

    def _bell(self) -> Bell | None:
        """The doorbell of the server; None if the server is not found."""
        port = self._port
        if port in self._bells:
            return self._bells[port]
        if port is None:
            found = find(self._address.port)
            if found is None:
                return None
            port = self._port = found.http_port
        with self._lock:
            if self._closed:
                return None
            if port not in self._bells:
                self._bells[port] = Bell(self._address.host, port)
            return self._bells[port]

    def _read(self, loan: _Loan, reply: Reply) -> Tensors:
        """The output tensors, read-only.

        Small ones are copies, and the region is free again; large ones lie in the region until
        the user drops them.
        """
        if reply.status != _OK:
            check_status(reply.status, reply.body, loan.bell.url)
        tensors: Tensors = {}
        memory, size = loan.region.memory, 0
        try:
            for output in parse_json(reply.body, dict)["outputs"]:
                name, shape = output["name"], output["shape"]
                dtype, offset = _dtype(output["datatype"]), loan.outputs[name].offset
                array: Array = np.ndarray(shape, dtype, memory, offset)
                tensors[name] = array
                size += array.nbytes
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"malformed reply: {error!r}", url=loan.bell.url) from error
        handed = self._regions.hand_out(loan.region) if size >= _COPIED_BELOW else None
        for name, array in tensors.items():
            if handed is None:
                tensors[name] = array.copy()
                tensors[name].setflags(write=False)
            else:
                place = loan.outputs[name]
                tensors[name] = np.ndarray(array.shape, array.dtype, handed, place.offset)
        if handed is None:
            self._regions.give_back(loan.region)
        self._tickets.end(loan.ticket)
        return self._learn(loan.request, tensors)

    def _end(self, loan: _Loan, error: TrackserveError) -> bool:
        """Take the region back after an error.

        Returns:
            whether to ask again without it: the error is Triton's own, not the model's.
        """
        self._tickets.end(loan.ticket)
        if isinstance(error, _GIVEN_UP) and not isinstance(error, EventError):
            self._port = None  # the next server may have another one
            self._regions.retire(loan.region)
            return False
        if LOST_REGION in error.message:
            self._regions.forget()
        else:
            self._regions.give_back(loan.region)
        return type(error) in (ServerError, InputError) and "status" in error.fields

    def _learn(self, request: Request, tensors: Tensors) -> Tensors:
        self._sizes.learn(request, tensors)
        return tensors


def _close(tickets: Tickets, bells: dict[int, Bell], grpc: GrpcTransport, regions: Regions) -> None:
    """Close the parts of a transport."""
    tickets.close()
    for bell in bells.values():
        bell.close()
    grpc.close()
    regions.close()


def _drop(process: int, *parts: Any) -> None:
    """Close the parts of a transport that nobody has closed, unless it is another process's.

    A thread does it: this one may have stopped anywhere, with any lock.
    """
    if os.getpid() == process:
        threading.Thread(target=_close, args=parts, daemon=True).start()


class OutputSizes:
    """Largest sizes of the outputs of each model, in bytes per byte of input."""

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, str], float] = {}

    def learn(self, request: Request, tensors: Tensors) -> None:
        """Take the sizes of output tensors into account."""
        weight = _weight(array.nbytes for array in request.inputs.values())
        for name, array in tensors.items():
            ratio = array.nbytes / weight
            if ratio > self._ratios.get((request.model, name), -1.0):
                self._ratios[request.model, name] = ratio

    def layout(self, request: Request) -> _Layout | None:
        """Places for all tensors; None if an input is empty or an output's size is unknown."""
        sizes = {name: array.nbytes for name, array in request.inputs.items()}
        weight = _weight(sizes.values())
        if not all(sizes.values()):
            return None
        inputs, end = _allot(sizes, 0)
        sizes = {}
        for name in request.outputs:
            ratio = self._ratios.get((request.model, name))
            if ratio is None:
                return None
            sizes[name] = max(_MARGIN * math.ceil(ratio * weight), _SMALLEST_PLACE)
        outputs, end = _allot(sizes, end)
        return _Layout(inputs, outputs, end)


def _allot(sizes: Mapping[str, int], end: int) -> tuple[dict[str, _Place], int]:
    """Places for tensors from byte ``end`` on, one after the other, and their end."""
    places = {}
    for name, size in sizes.items():
        places[name] = _Place(end, size)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, end


def _weight(sizes: Iterable[int]) -> int:
    """Bytes of input, at least 64 KiB; below, the fixed parts of the outputs prevail."""
    return max(_SMALLEST_INPUT, sum(sizes))


def _message(request: Request, region: str, layout: _Layout, ticket: Ticket | None) -> bytes:
    """The HTTP request that says where the tensors lie."""
    values: list[Any] = [request.id]
    if ticket is not None:
        values.append(ticket)
    kinds = []
    for (name, array), place in zip(request.inputs.items(), layout.inputs.values(), strict=True):
        kinds.append((name, array.dtype, array.ndim))
        values += array.shape
        values += (region, place.size, place.offset)
    for place in layout.outputs.values():
        values += (region, place.size, place.offset)
    parameters = tuple(request.parameters.items())
    wanted = tuple(request.outputs)
    head, form = _form(request.model, parameters, ticket is not None, tuple(kinds), wanted)
    body = form % tuple(values)
    return f"{head}{len(body)}\r\n\r\n{body}".encode("ascii")


@lru_cache
def _form(
    model: str,
    parameters: Sequence[tuple[str, str]],
    has_ticket: bool,
    inputs: Sequence[tuple[str, np.dtype[Any], int]],
    outputs: Sequence[str],
) -> tuple[str, str]:
    """The head of a request up to the length of its body, and the body, to be filled in by ``%``.

    It is kept: a request is made while nothing of this is in the processor's caches, where
    ``json.dumps`` of a dictionary takes 0.1 ms.
    """
    point = (
        '"parameters":{"shared_memory_region":"%s",'
        '"shared_memory_byte_size":%d,"shared_memory_offset":%d}'
    )
    given = [f"{_text(name)}:{_text(value)}" for name, value in parameters]
    if has_ticket:
        given.append(f'"{TICKET_PARAMETER}":"%s"')
    sent = [
        f'{{"name":{_text(name)},"shape":[{",".join(["%d"] * n_dims)}],'
        f'"datatype":"{np_to_triton_dtype(dtype)}",{point}}}'
        for name, dtype, n_dims in inputs
    ]
    asked = [f'{{"name":{_text(name)},{point}}}' for name in outputs]
    head = (
        f"POST /v2/models/{quote(model, safe='')}/infer HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    form = (
        f'{{"id":"%s","parameters":{{{",".join(given)}}},'
        f'"inputs":[{",".join(sent)}],"outputs":[{",".join(asked)}]}}'
    )
    return head, form


def _text(text: str) -> str:
    """A text in JSON, in a form for ``%``."""
    return json.dumps(text).replace("%", "%%")


@lru_cache
def _dtype(triton_type: str) -> np.dtype[Any]:
    found = triton_to_np_dtype(triton_type)
    if found is None:
        raise ValueError(f"datatype {triton_type}")
    return np.dtype(found)
