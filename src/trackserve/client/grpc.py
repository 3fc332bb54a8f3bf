"""The transport by gRPC messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelStatisticsRequest,
    ServerReadyRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from trackserve.errors import InputError, ServerError, TrackserveError
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address
from trackserve.wire.request_id import ID_HEADER
from trackserve.wire.tensors import Tensors, pieces_of

from .transport import (
    Call,
    ModelConfig,
    Request,
    closed,
    failure,
)

_UNLIMITED = -1
_OPTIONS = [
    ("grpc.max_send_message_length", _UNLIMITED),
    ("grpc.max_receive_message_length", _UNLIMITED),
    # a server that was restarted is found again within a second, not two minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_DIRECT = ("grpc.enable_http_proxy", 0)
_OWN = ("grpc.use_local_subchannel_pool", 1)

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_LENGTH_DELIMITED = 2
"""Protobuf's number for a field that says its length."""

Done = Callable[[Tensors | TrackserveError], None]


class GrpcTransport:
    """A gRPC channel to one server."""

    name = "grpc"

    def __init__(self, address: Address, access: Access = NO_ACCESS, *, own: bool = False) -> None:
        self.url = address.url
        self._access = access
        self._channel = make_channel(address, access, own=own)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._infer = self._channel.unary_unary(
            _INFER, request_serializer=None, response_deserializer=ModelInferResponse.FromString
        )

    def call(self, request: Request, timeout: float) -> Tensors:
        with self._asking():
            how = self._how(timeout, request.id)
            reply = self._infer(_to_message(request), **how)
        return _to_tensors(reply)

    def submit(self, request: Request, timeout: float) -> Call:
        call = Call()
        return self.start(call, request, timeout, call.settle)

    def start(self, call: Call, request: Request, timeout: float, done: Done) -> Call:
        """Send ``request`` for ``call``; do not wait.

        Args:
            call: gets a way to give the request up.
            request: the request.
            timeout: seconds until the request fails.
            done: called with the outputs or the error, mostly in a thread of gRPC.

        Returns:
            ``call``.
        """
        try:
            how = self._how(timeout, request.id)
            rpc = self._infer.future(_to_message(request), **how)
        except InputError as error:  # the token is gone
            done(error)
            return call
        except ValueError:
            done(closed(self.url))
            return call
        except grpc.RpcError as error:  # the message is too large
            done(self._failure(error))
            return call
        call.on_cancel(rpc.cancel)

        def ended(rpc: Any) -> None:
            try:
                done(self._outcome(rpc))
            except Exception as error:  # or nobody would ever learn of it
                call.settle(ServerError(f"malformed reply: {error}", url=self.url))

        rpc.add_done_callback(ended)
        return call

    def config(self, model: str, timeout: float) -> ModelConfig:
        deadline = time.monotonic() + timeout
        with self._asking():
            try:
                request = ModelConfigRequest(name=model)
                config = self._stub.ModelConfig(request, **self._how(timeout)).config
            except grpc.RpcError as error:
                if not _is_unknown(error):
                    raise
                left = self._how(max(0.0, deadline - time.monotonic()))
                metadata = self._stub.ModelMetadata(ModelMetadataRequest(name=model), **left)
                outputs, inputs = metadata.outputs, metadata.inputs
                return ModelConfig({}, [one.name for one in outputs], [one.name for one in inputs])
        return ModelConfig(
            {name: entry.string_value for name, entry in config.parameters.items()},
            [output.name for output in config.output],
            [input.name for input in config.input],
        )

    def models(self, timeout: float) -> list[str]:
        request = ModelStatisticsRequest()
        with self._asking():
            try:
                found = self._stub.ModelStatistics(request, **self._how(timeout))
            except grpc.RpcError as error:
                if not _is_unknown(error):
                    raise
                return []
        return sorted({model.name for model in found.model_stats})

    def ready(self, timeout: float) -> bool:
        try:
            return bool(self._stub.ServerReady(ServerReadyRequest(), **self._how(timeout)).ready)
        except (grpc.RpcError, ValueError):
            return False

    def close(self) -> None:
        self._channel.close()

    def _how(self, timeout: float, request_id: str = "") -> dict[str, Any]:
        """Timeout and metadata of a call."""
        metadata = [*self._access.headers().items()]
        if request_id:
            metadata.append((ID_HEADER, request_id))
        return {"timeout": _limit(timeout), "metadata": metadata or None}

    def _outcome(self, rpc: Any) -> Tensors | TrackserveError:
        try:
            return _to_tensors(rpc.result())
        except grpc.FutureCancelledError:
            return failure("cancelled", status="CANCELLED", url=self.url)
        except grpc.RpcError as error:
            return self._failure(error)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn gRPC's errors into ours."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._failure(error) from error
        except InputError:
            raise
        except ValueError:  # gRPC's answer to the use of a closed channel
            raise closed(self.url) from None

    def _failure(self, error: Any) -> TrackserveError:
        return failure(error.details() or "", status=error.code().name, url=self.url)


def make_channel(
    address: Address, access: Access = NO_ACCESS, *, own: bool = False
) -> grpc.Channel:
    """A channel to a server.

    A server on this machine is reached directly. On the way to another one gRPC takes the proxy
    that the environment names, and respects ``no_proxy``.

    Args:
        address: address of the server.
        access: means of access of the client.
        own: whether its connection is a new one; else channels of this process may share it.

    Raises:
        InputError: a certificate or key that ``access`` names is not usable.
    """
    options: list[tuple[str, int | str]] = [*_OPTIONS]
    if address.is_loopback:
        options.append(_DIRECT)
    if own:
        options.append(_OWN)
    if not address.is_encrypted:
        return grpc.insecure_channel(address.target, options)
    if address.name:
        options.append(("grpc.ssl_target_name_override", address.name))
    credentials = grpc.ssl_channel_credentials(*access.pem())
    return grpc.secure_channel(address.target, credentials, options)


def _tag(field: str) -> bytes:
    """What stands before the length and the content of a field of a request."""
    number: int = ModelInferRequest.DESCRIPTOR.fields_by_name[field].number
    return _varint(number << 3 | _LENGTH_DELIMITED)


def _is_unknown(error: Any) -> bool:
    """Whether a server has no such call: it is an extension of Triton's."""
    return bool(error.code() is grpc.StatusCode.UNIMPLEMENTED)


def _limit(timeout: float) -> float | None:
    """The timeout as gRPC takes it."""
    return None if timeout == math.inf else timeout


def _to_message(request: Request) -> bytes:
    """The gRPC message of a request, with all its tensors.

    The contents of the tensors are joined to it once; protobuf would copy them four times.
    """
    message = ModelInferRequest(model_name=request.model, id=request.id)
    for name, value in request.parameters.items():
        message.parameters[name].string_param = value
    for name, array in request.inputs.items():
        kind = np_to_triton_dtype(array.dtype)
        message.inputs.add(name=name, datatype=kind, shape=array.shape)
    for name in request.outputs:
        message.outputs.add(name=name)
    pieces: list[Any] = [message.SerializeToString()]
    for array in request.inputs.values():
        pieces.append(_CONTENTS_TAG + _varint(array.nbytes))
        pieces += pieces_of(array)
    return b"".join(pieces)


def _varint(value: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _to_tensors(reply: ModelInferResponse) -> Tensors:
    """The output tensors in the reply; they are read-only.

    Raises:
        ServerError: the reply contradicts itself.
    """
    try:
        return {
            output.name: np.frombuffer(content, triton_to_np_dtype(output.datatype)).reshape(
                output.shape
            )
            for output, content in zip(reply.outputs, reply.raw_output_contents, strict=True)
        }
    except (ValueError, TypeError) as error:
        raise ServerError(f"malformed reply: {error}") from error


_CONTENTS_TAG = _tag("raw_input_contents")
