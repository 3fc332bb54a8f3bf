"""Servers that only wait: any KServe-v2 server by gRPC, of a known speed, for tests and studies.

Such a server answers each event after a time of waiting, with a result that was made before. It
computes nothing, so it takes nearly no processor time: many of them on one machine are like many
servers with a machine each. What is measured with them must be labelled so.

Of the protocol it has health, metadata and inference alone, and of ours what its model declares.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from trackserve.edm.columns import Array
from trackserve.edm.result import Result
from trackserve.errors import ServerBusy, TrackserveError, encode
from trackserve.trackers.base import Tracker
from trackserve.wire.bundle import BUNDLE, join_answers, split_events
from trackserve.wire.codec import IDENTITY, TIMING
from trackserve.wire.identity import IDENTITY_PARAMETER, check_identity
from trackserve.wire.tensors import TensorSpec, encode_timing

_THREADS = 64
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Emulation(NamedTuple):
    """What an emulated model does.

    Attributes:
        tracker: tracker of the model.
        result: what it answers to each event; its identity is the model's.
        seconds: waiting for each event.
        workers: events that wait at the same time.
        queue: most events that the model holds.
        is_plain: whether it has only the tensors of events and results: no identity, no times and
            no bundles, as a server that others have written.
    """

    tracker: Tracker[Any, Any]
    result: Result
    seconds: float
    workers: int = 1
    queue: int = 256
    is_plain: bool = False


class EmulatedServer:
    """Emulated models behind a port of this machine; a context manager.

    Args:
        models: what each model does, by its name.
        port: the port; 0: a free one.
        host: address of this machine.
    """

    def __init__(
        self, models: Mapping[str, Emulation], port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self._models = {name: _Model(name, emulation) for name, emulation in models.items()}
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS), options=[("grpc.so_reuseport", 0), *_UNLIMITED]
        )
        self._server.add_generic_rpc_handlers([_Service(self._models).handlers()])
        self.port = self._server.add_insecure_port(f"{host}:{port}")
        self.url = f"grpc://{host}:{self.port}"

    @property
    def answered(self) -> int:
        """Events that were answered so far, the probes of clients too."""
        return sum(model.answered for model in self._models.values())

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(0).wait()


class _Model:
    """A model: its tensors, and its workers, which wait."""

    def __init__(self, name: str, emulation: Emulation) -> None:
        codec = emulation.tracker.codec
        extra = () if emulation.is_plain else (BUNDLE,)
        special = {TIMING.name, IDENTITY.name} if emulation.is_plain else set()
        self.name = name
        self.inputs = (*codec.inputs, *extra)
        self.outputs = (*(spec for spec in codec.outputs if spec.name not in special), *extra)
        self.answered = 0
        self._emulation = emulation
        self._codec = codec
        self._workers = threading.Semaphore(emulation.workers)
        self._places = threading.Semaphore(emulation.queue)
        self._lock = threading.Lock()

    def infer(
        self, tensors: Mapping[str, Array], outputs: list[str], expected: str | None
    ) -> dict[str, Array]:
        """The outputs for a request, after the time that its events take.

        Raises:
            TrackserveError: another identity is expected, the queue is full, or the request is
                malformed.
        """
        if expected is not None and not self._emulation.is_plain:
            check_identity(expected, self._emulation.result.identity, model=self.name)
        if BUNDLE.name not in tensors:
            return self._answer(tensors, outputs)
        events, names, _ = split_events(tensors, self._codec.inputs, self._codec.outputs)
        with ThreadPoolExecutor(len(events)) as pool:
            answers = list(pool.map(lambda event: self._answer(event, names), events))
        return {BUNDLE.name: join_answers(answers, self._emulation.workers)}

    def _answer(self, tensors: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
        self._codec.decode_event(tensors)
        if not self._places.acquire(blocking=False):
            bound = self._emulation.queue
            raise ServerBusy("the server's queue is full", found=bound, bound=bound)
        try:
            arrived = time.perf_counter()
            with self._workers:
                begun = time.perf_counter()
                time.sleep(self._emulation.seconds)
                done = time.perf_counter()
        finally:
            self._places.release()
        found = self._codec.encode_result(self._emulation.result, names)
        if TIMING.name in names:
            found[TIMING.name] = encode_timing(begun - arrived, done - begun)
        with self._lock:
            self.answered += 1
        return found


class _Service:
    """The calls of the protocol."""

    def __init__(self, models: Mapping[str, _Model]) -> None:
        self._models = models

    def handlers(self) -> grpc.GenericRpcHandler:
        """The calls by name; gRPC answers that all others are unimplemented."""
        calls = {
            "ServerLive": (lambda request, context: pb.ServerLiveResponse(live=True)),
            "ServerReady": (lambda request, context: pb.ServerReadyResponse(ready=True)),
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        return grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    call,
                    request_deserializer=getattr(pb, f"{name}Request").FromString,
                    response_serializer=getattr(pb, f"{name}Response").SerializeToString,
                )
                for name, call in calls.items()
            },
        )

    def _model_ready(self, request: Any, context: Any) -> Any:
        return pb.ModelReadyResponse(ready=request.name in self._models)

    def _server_metadata(self, request: Any, context: Any) -> Any:
        return pb.ServerMetadataResponse(name="emulated", version="1")

    def _model_metadata(self, request: Any, context: Any) -> Any:
        model = self._find(request.name, context)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=["1"],
            platform="emulated",
            inputs=[_described(spec) for spec in model.inputs],
            outputs=[_described(spec) for spec in model.outputs],
        )

    def _model_infer(self, request: Any, context: Any) -> Any:
        model = self._find(request.model_name, context)
        tensors = {
            one.name: np.frombuffer(content, triton_to_np_dtype(one.datatype)).reshape(one.shape)
            for one, content in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        expected = None
        if IDENTITY_PARAMETER in request.parameters:
            expected = request.parameters[IDENTITY_PARAMETER].string_param
        try:
            found = model.infer(tensors, [one.name for one in request.outputs], expected)
        except TrackserveError as error:
            is_busy = isinstance(error, ServerBusy)
            code = grpc.StatusCode.UNAVAILABLE if is_busy else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, encode(error))
        reply = pb.ModelInferResponse(model_name=model.name, model_version="1")
        for name, array in found.items():
            reply.outputs.add(
                name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape
            )
            reply.raw_output_contents.append(array.tobytes())
        return reply

    def _find(self, name: str, context: Any) -> _Model:
        if name not in self._models:
            text = f"Request for unknown model: '{name}' is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        return self._models[name]


def _described(spec: TensorSpec) -> Any:
    kind = np_to_triton_dtype(spec.dtype)
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=kind, shape=spec.shape)
