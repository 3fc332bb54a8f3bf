"""The transport to a server on this host: large tensors in shared memory, the rest by gRPC."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.utils import triton_to_np_dtype

from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    InputError,
    ServerError,
    ServerUnavailable,
    TrackserveError,
)
from trackserve.wire.address import Address
from trackserve.wire.tensors import Tensors

from .grpc import (
    GrpcTransport,
    add_input,
    new_message,
    to_message,
    to_tensors,
)
from .regions import Region, Regions
from .transport import LOST_REGION, Call, ModelConfig, Request

_LARGE = 4096
"""Bytes; a smaller tensor travels in the gRPC message."""
_WORTH_IT = 1 << 18
"""Bytes of all inputs and outputs; with fewer, all travels in the message. It is as fast then,
because a region must be filled, described and read."""
_ALIGNMENT = 64
_MARGIN = 2
_SMALLEST = 1 << 16
_GIVEN_UP = (Cancelled, DeadlineExceeded, ServerUnavailable)
"""Errors after which the server may still work on the request."""


class _Place(NamedTuple):
    """The place of a tensor in a region."""

    offset: int
    size: int


class _Layout(NamedTuple):
    """The places of the large inputs and outputs of a request."""

    inputs: dict[str, _Place]
    outputs: dict[str, _Place]
    size: int


class _Loan(NamedTuple):
    """A request in a region."""

    request: Request
    message: ModelInferRequest
    region: Region
    outputs: dict[str, _Place]


class SharedMemoryTransport:
    """A gRPC channel and a pool of shared memory.

    It learns the sizes of outputs from earlier replies. If outputs do not fit, or shared memory
    fails, the request is sent again by gRPC alone.
    """

    def __init__(self, address: Address, *, own: bool = False) -> None:
        self._grpc = GrpcTransport(address, own=own)
        self._regions = Regions(address, own=own)
        self._sizes = OutputSizes()

    @property
    def name(self) -> str:
        """Name of the transport: ``"shm"``, or ``"grpc"`` if shared memory cannot be used."""
        return "shm" if self._regions.available else "grpc"

    def call(self, request: Request, timeout: float) -> Tensors:
        deadline = time.monotonic() + timeout
        loan = self._place(request)
        if loan is not None:
            try:
                reply = self._grpc.infer(loan.message, timeout)
            except TrackserveError as error:
                if not self._end(loan, error):
                    raise
            except BaseException:
                self._regions.retire(loan.region)
                raise
            else:
                return self._read(loan, reply)
        return self._learn(request, self._grpc.call(request, deadline - time.monotonic()))

    def submit(self, request: Request, timeout: float) -> Call:
        deadline = time.monotonic() + timeout
        call = Call()
        loan = self._place(request)

        def done(reply: ModelInferResponse | TrackserveError) -> None:
            if isinstance(reply, TrackserveError):
                call.settle(reply)
            else:
                call.settle(self._learn(request, to_tensors(reply)))

        def send() -> None:
            left = deadline - time.monotonic()
            self._grpc.start(call, to_message(request), left, done)

        def done_in_region(reply: ModelInferResponse | TrackserveError) -> None:
            assert loan is not None
            if not isinstance(reply, TrackserveError):
                call.settle(self._read(loan, reply))
            elif self._end(loan, reply):
                send()
            else:
                call.settle(reply)

        if loan is None:
            send()
        else:
            self._grpc.start(call, loan.message, timeout, done_in_region)
        return call

    def config(self, model: str, timeout: float) -> ModelConfig:
        return self._grpc.config(model, timeout)

    def models(self, timeout: float) -> list[str]:
        return self._grpc.models(timeout)

    def ready(self, timeout: float) -> bool:
        return self._grpc.ready(timeout)

    def close(self) -> None:
        self._grpc.close()
        self._regions.close()

    def _place(self, request: Request) -> _Loan | None:
        """The request in a region; None if it travels in a message."""
        layout = self._sizes.layout(request)
        region = self._regions.lend(layout.size) if layout else None
        if layout is None or region is None:
            return None
        message = new_message(request)
        for name, array in request.inputs.items():
            declared = add_input(message, name, array)
            place = layout.inputs.get(name)
            if place is None:
                message.raw_input_contents.append(array.tobytes())
                continue
            target: Array = np.ndarray(array.shape, array.dtype, region.memory, place.offset)
            target[...] = array
            _point(declared, region, place)
        for name in request.outputs:
            declared = message.outputs.add(name=name)
            if name in layout.outputs:
                _point(declared, region, layout.outputs[name])
        return _Loan(request, message, region, layout.outputs)

    def _read(self, loan: _Loan, reply: ModelInferResponse) -> Tensors:
        """Copies of the output tensors, read-only; the region is free again."""
        tensors = to_tensors(reply, leave=loan.outputs)
        for output in reply.outputs:
            if output.name in loan.outputs:
                shape, dtype = tuple(output.shape), triton_to_np_dtype(output.datatype)
                offset = loan.outputs[output.name].offset
                array: Array = np.ndarray(shape, dtype, loan.region.memory, offset).copy()
                array.setflags(write=False)
                tensors[output.name] = array
        self._regions.give_back(loan.region)
        return self._learn(loan.request, tensors)

    def _end(self, loan: _Loan, error: TrackserveError) -> bool:
        """Take the region back after an error.

        Returns:
            whether to ask again without it: the error is Triton's own, not the model's.
        """
        if isinstance(error, _GIVEN_UP):
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


class OutputSizes:
    """Largest sizes of the outputs of each model, in bytes per byte of input."""

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, str], float] = {}

    def learn(self, request: Request, tensors: Tensors) -> None:
        """Take the sizes of output tensors into account."""
        weight = _weight(request)
        for name, array in tensors.items():
            known = self._ratios.get((request.model, name), 0.0)
            self._ratios[request.model, name] = max(known, array.nbytes / weight)

    def layout(self, request: Request) -> _Layout | None:
        """Places for all large tensors; None if they are small or an output's size is unknown."""
        weight = _weight(request)
        ratios = [self._ratios.get((request.model, name)) for name in request.outputs]
        if None in ratios:
            return None
        given = {name: array.nbytes for name, array in request.inputs.items()}
        expected = [math.ceil(ratio * weight) for ratio in ratios if ratio is not None]
        if sum(given.values()) + sum(expected) < _WORTH_IT:
            return None
        inputs, end = _allot(given.items(), 0)
        needed = [_MARGIN * size for size in expected]
        outputs, end = _allot(zip(request.outputs, needed, strict=True), end)
        return _Layout(inputs, outputs, end)


def _allot(sizes: Iterable[tuple[str, int]], end: int) -> tuple[dict[str, _Place], int]:
    """Places for large tensors from byte ``end`` on, one after the other, and their end."""
    places = {}
    for name, size in sizes:
        if size >= _LARGE:
            places[name] = _Place(end, size)
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, end


def _weight(request: Request) -> int:
    """Bytes of input, at least 64 KiB; below, the fixed parts of the outputs prevail."""
    return max(_SMALLEST, sum(array.nbytes for array in request.inputs.values()))


def _point(tensor: object, region: Region, place: _Place) -> None:
    """Tell Triton that ``tensor`` lies at ``place`` in ``region``."""
    parameters = tensor.parameters  # type: ignore[attr-defined]
    parameters["shared_memory_region"].string_param = region.name
    parameters["shared_memory_byte_size"].int64_param = place.size
    parameters["shared_memory_offset"].int64_param = place.offset
