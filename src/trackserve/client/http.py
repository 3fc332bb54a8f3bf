"""The transport by HTTP, in the binary form of Triton's protocol: a JSON header, then bytes."""

from __future__ import annotations

import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from trackserve.errors import (
    DeadlineExceeded,
    InputError,
    ServerError,
    ServerUnavailable,
    TrackserveError,
    parse_json,
)
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address
from trackserve.wire.request_id import ID_HEADER
from trackserve.wire.tensors import Tensors, pieces_of

from .transport import (
    CONNECT_TIMEOUT,
    Call,
    ModelConfig,
    Request,
    closed,
    failure,
    socket_timeout,
    time_left,
)

_HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_THREADS = 256
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",  # a front's limit on the size of a request
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}

_OF_FRONTS = {status: _STATUS[status] for status in (401, 403, 413, 503)}
"""Status of what stands in front of servers, and answers with a text that is no JSON."""
_MOST_TEXT = 200
_NOT_FOUND = 404
_UNKNOWN = (_NOT_FOUND, 405, 501)
"""Status of a path that a server does not have, perhaps because it is an extension of Triton's."""
_READ_AHEAD = 1 << 16
"""Bytes that are read at once where they are there."""


class _Message(NamedTuple):
    """An HTTP request."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


class _Reply(NamedTuple):
    """An HTTP response: a JSON header, and the body behind it; without tensors the body is all."""

    status: int
    header: bytes
    body: bytes


class HttpTransport:
    """Connections to one server that stay open; a request takes one, or opens another."""

    name = "http"

    def __init__(self, address: Address, access: Access = NO_ACCESS) -> None:
        self.url = address.url
        self._address = address
        self._access = access
        self._context = access.context() if address.is_encrypted else None
        self._lock = threading.Lock()
        self._closed = False
        self._idle: list[HTTPConnection] = []
        self._busy: set[HTTPConnection] = set()
        self._threads = ThreadPoolExecutor(_MAX_THREADS, "trackserve-http")

    def call(self, request: Request, timeout: float) -> Tensors:
        return self._call(request, time.monotonic() + timeout, Call())

    def submit(self, request: Request, timeout: float) -> Call:
        call = Call()
        deadline = time.monotonic() + timeout

        def work() -> None:
            try:
                call.settle(self._call(request, deadline, call))
            except TrackserveError as error:
                call.settle(error)
            except Exception as error:  # or nobody would ever learn of it
                call.settle(ServerError(f"the request failed: {error!r}", url=self.url))

        def dropped(job: Future[None]) -> None:
            if job.cancelled():
                call.settle(closed(self.url))

        try:
            self._threads.submit(work).add_done_callback(dropped)
        except RuntimeError:  # the executor's answer after shutdown
            call.settle(closed(self.url))
        return call

    def config(self, model: str, timeout: float) -> ModelConfig:
        path, deadline = f"/v2/models/{quote(model, safe='')}", time.monotonic() + timeout
        reply = self._get(f"{path}/config", deadline)
        if reply.status in _UNKNOWN:
            reply = self._get(path, deadline)
            if reply.status == _NOT_FOUND:
                status = _STATUS[_NOT_FOUND]
                raise InputError("no such model", found=model, url=self.url, status=status)
            with self._content(reply) as found:
                outputs, inputs = _names(found["outputs"]), _names(found["inputs"])
                return ModelConfig({}, outputs, inputs)
        with self._content(reply) as found:
            entries = found.get("parameters", {})
            parameters = {name: str(entry["string_value"]) for name, entry in entries.items()}
            outputs, inputs = _names(found.get("output", [])), _names(found.get("input", []))
            return ModelConfig(parameters, outputs, inputs)

    def models(self, timeout: float) -> list[str]:
        reply = self._get("/v2/models/stats", time.monotonic() + timeout)
        if reply.status in _UNKNOWN:
            return []
        with self._content(reply) as found:
            return sorted({str(model["name"]) for model in found["model_stats"]})

    def ready(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        try:
            return self._exchange(_Message("GET", "/v2/health/ready"), deadline).status == 200
        except TrackserveError:
            return False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            _hang_up(connection)
        self._threads.shutdown(cancel_futures=True)

    def _get(self, path: str, deadline: float) -> _Reply:
        return self._exchange(_Message("GET", path), deadline)

    @contextmanager
    def _content(self, reply: _Reply) -> Iterator[Any]:
        """The JSON content of a reply; what is missing from it is an error of the server."""
        check_status(reply.status, reply.body, self.url)
        try:
            yield parse_json(reply.body, dict)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerError(f"malformed reply: {error}", url=self.url) from error

    def _call(self, request: Request, deadline: float, call: Call) -> Tensors:
        body, header_length = _encode(request)
        headers = {
            "Content-Type": "application/octet-stream",
            _HEADER_LENGTH: str(header_length),
        }
        if request.id:
            headers[ID_HEADER] = request.id
        path = f"/v2/models/{quote(request.model, safe='')}/infer"
        reply = self._exchange(_Message("POST", path, body, headers), deadline, call)
        check_status(reply.status, reply.body, self.url)
        return _decode(reply)

    def _exchange(self, message: _Message, deadline: float, call: Call | None = None) -> _Reply:
        """Send and receive; once more if an idle connection turns out to be closed."""
        while True:
            connection, is_new = self._take()
            if call is not None:
                call.on_cancel(partial(_hang_up, connection))
            broken = True
            try:
                reply = self._send(connection, message, deadline)
                broken = False
                return reply
            except TimeoutError:
                raise DeadlineExceeded("no answer in time", url=self.url) from None
            except (OSError, HTTPException) as error:
                if self._closed:
                    raise closed(self.url) from error
                if is_new or (call is not None and call.cancelled()):
                    text = f"no answer: {str(error) or type(error).__name__}"
                    raise ServerUnavailable(text, url=self.url) from error
            finally:
                self._give_back(connection, broken)

    def _send(self, connection: HTTPConnection, message: _Message, deadline: float) -> _Reply:
        if connection.sock is None:
            connection.timeout = min(time_left(deadline), CONNECT_TIMEOUT)
            connection.connect()
            if self._closed:  # too late for close() to hang up
                raise closed(self.url)
        _limit(connection, deadline)
        headers = {**message.headers, **self._access.headers()}
        connection.request(message.method, message.path, message.body, headers)
        connection.response_class = partial(  # type: ignore[assignment]
            _Response, deadline=deadline
        )
        reply = connection.getresponse()
        length = reply.getheader(_HEADER_LENGTH) or "0"
        if not length.isdecimal():
            raise HTTPException(f"{_HEADER_LENGTH} is {length}")
        header = reply.read(int(length))  # by itself: so the tensors are aligned, and not copied
        return _Reply(reply.status, header, reply.read())

    def _take(self) -> tuple[HTTPConnection, bool]:
        with self._lock:
            if self._closed:
                raise closed(self.url)
            is_new = not self._idle
            connection = self._new() if is_new else self._idle.pop()
            self._busy.add(connection)
        return connection, is_new

    def _new(self) -> HTTPConnection:
        """A connection that is not open yet."""
        host, port, name = self._address.host, self._address.port, self._address.name
        if self._context is None:
            return HTTPConnection(host, port)
        return _Encrypted(host, port, self._context, name or host)

    def _give_back(self, connection: HTTPConnection, broken: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if not broken and not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def check_status(status: int, body: bytes, url: str) -> None:
    """Raise the error of a reply of Triton that has no outputs."""
    if status != 200:
        text, name = "the server failed", _OF_FRONTS.get(status, str(status))
        if status in _OF_FRONTS and body:
            text = body[:_MOST_TEXT].decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            text = str(parse_json(body, dict)["error"])
            name = _STATUS.get(status, name)
        raise failure(text, status=name, url=url)


class _Encrypted(HTTPConnection):
    """A connection with TLS to a server whose certificate has ``name``."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port)
        self._context = context
        self._name = name

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


class _Response(HTTPResponse):
    """A response whose every byte must be there at the deadline, however it trickles."""

    def __init__(self, sock: socket.socket, *arguments: Any, deadline: float, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_Incoming(sock, deadline), _READ_AHEAD)


class _Incoming(io.RawIOBase):
    """The bytes that a socket receives until the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(socket_timeout(self._deadline))
        return self._sock.recv_into(buffer)


def _names(tensors: Iterable[Mapping[str, Any]]) -> list[str]:
    return [str(tensor["name"]) for tensor in tensors]


def _limit(connection: HTTPConnection, deadline: float) -> None:
    """Let the next step of ``connection`` take until ``deadline``."""
    if connection.sock is not None:
        connection.sock.settimeout(socket_timeout(deadline))


def _hang_up(connection: HTTPConnection) -> None:
    """End what ``connection`` does, from any thread."""
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _encode(request: Request) -> tuple[bytes, int]:
    """The body of a request, and the length of the JSON header in front of its tensors."""
    header: dict[str, Any] = {
        "inputs": [
            {
                "name": name,
                "shape": array.shape,
                "datatype": np_to_triton_dtype(array.dtype),
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in request.inputs.items()
        ],
        "outputs": [
            {"name": name, "parameters": {"binary_data": True}} for name in request.outputs
        ],
    }
    if request.id:
        header["id"] = request.id
    if request.parameters:
        header["parameters"] = dict(request.parameters)
    pieces: list[Any] = [json.dumps(header).encode()]
    for array in request.inputs.values():
        pieces += pieces_of(array)
    return b"".join(pieces), len(pieces[0])


def _decode(reply: _Reply) -> Tensors:
    """The output tensors in a reply; they are read-only.

    Raises:
        ServerError: the reply contradicts itself.
    """
    tensors: Tensors = {}
    start = 0
    try:
        for output in parse_json(reply.header, dict)["outputs"]:
            end = start + output["parameters"]["binary_data_size"]
            flat = np.frombuffer(reply.body[start:end], triton_to_np_dtype(output["datatype"]))
            tensors[output["name"]] = flat.reshape(output["shape"])
            start = end
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(f"malformed reply: {error}") from error
    return tensors
