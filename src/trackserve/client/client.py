"""The client: reconstruct events on a server as if the pipeline were here."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from ..edm import PatatrackResult, RawEvent
from ..edm.columns import Array
from ..errors import InputError, ServerError, TrackserveError, decode
from ..serving import wire

_UNLIMITED = -1


class Client:
    """A connection to one Triton server; a context manager.

    Args:
        url: ``grpc://host:port``.
        timeout: seconds that a call may take.

    Raises:
        InputError: the url has another form.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = url
        self.timeout = timeout
        sizes = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        options = [(size, _UNLIMITED) for size in sizes]
        self._triton = InferenceServerClient(_address(url), channel_args=options)

    def ready(self) -> bool:
        """Whether the server answers and has loaded its models."""
        try:
            return bool(self._triton.is_server_ready(client_timeout=self.timeout))
        except InferenceServerException:
            return False

    def reconstruct(
        self, model: str, event: RawEvent, keep: Collection[str] = ()
    ) -> PatatrackResult:
        """Reconstruct one event; the arrays of the result are read-only.

        Args:
            model: ``"patatrack"``.
            event: the event; of the beam spot, its position is sent.
            keep: parts of :data:`trackserve.edm.INTERMEDIATE` to return as well.

        Raises:
            InputError: unknown model or part, or malformed event.
            EventError: the event cannot be reconstructed; as the pipeline itself reports it.
            ServerError: the server cannot be reached, is too slow or failed (``url``,
                ``status``).
        """
        if model != wire.MODEL:
            raise InputError("unknown model", found=model, bound=wire.MODEL)
        inputs = wire.encode_event(event)
        names = wire.output_names(keep)
        try:
            reply = self._triton.infer(
                model,
                [_input(spec, inputs[spec.name]) for spec in wire.INPUTS],
                outputs=[InferRequestedOutput(name) for name in names],
                client_timeout=self.timeout,
            )
        except InferenceServerException as error:
            raise self._error(error) from error
        try:
            return wire.decode_result(_tensors(reply.get_response()), event.event, keep)
        except InputError as error:
            raise ServerError(error.message, url=self.url, **error.fields) from error

    def close(self) -> None:
        self._triton.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _error(self, error: InferenceServerException) -> TrackserveError:
        text = error.message() or ""
        status = (error.status() or "").removeprefix("StatusCode.")
        return decode(text) or ServerError(text, url=self.url, status=status)


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        complete = parts.scheme == "grpc" and parts.hostname and parts.port
    except ValueError:
        complete = False
    if not complete or url != f"grpc://{parts.netloc}" or "@" in parts.netloc:
        raise InputError("malformed url", found=url, bound="grpc://host:port")
    return parts.netloc


def _tensors(response: Any) -> dict[str, Array]:
    """The output tensors of a reply; one pass, where ``as_numpy`` searches for each name."""
    outputs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {
        output.name: np.frombuffer(content, triton_to_np_dtype(output.datatype)).reshape(
            output.shape
        )
        for output, content in outputs
    }


def _input(spec: wire.TensorSpec, array: Any) -> InferInput:
    tensor = InferInput(spec.name, list(array.shape), spec.triton_type)
    tensor.set_data_from_numpy(array)
    return tensor
