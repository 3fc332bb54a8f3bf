"""Malformed requests of many kinds; a server must survive them all.

Used by the tests and by :mod:`.serving_server`.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from trackserve.edm import RawEvent
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.wire.address import Address
from trackserve.wire.bundle import BUNDLE, join_events

from .raw_words import payload, stream

TYPES = {
    np.dtype(kind): name
    for kind, name in (
        ("u1", "UINT8"),
        ("i1", "INT8"),
        ("u4", "UINT32"),
        ("i8", "INT64"),
        ("f4", "FP32"),
        ("f8", "FP64"),
        ("?", "BOOL"),
    )
}
_words = st.integers(0, 2**32 - 1)
_sizes = st.sampled_from([0, 1, 3, 4, 5, 1000, 2**20])
_dtypes = st.sampled_from(sorted(TYPES, key=str))
_names = st.sampled_from(
    ["raw", "beam_spot", "event", "timing", "BUNDLE", "", "RAW", "a" * 3000, "é\0"]
)
_floats = st.floats(width=32)


class Tensors(NamedTuple):
    """A request by named arrays; ``claimed`` are shapes that differ from what is sent."""

    arrays: dict[str, Any]
    outputs: list[str]
    claimed: dict[str, list[int]] = {}  # noqa: RUF012
    model: str = "patatrack"


REFUSALS = (
    "StatusCode.INVALID_ARGUMENT",
    "StatusCode.NOT_FOUND",
    "400",
    "404",
    "500 Unable to parse",
    "500 failed to parse",
)
"""How an answer to a malformed request begins; Triton's HTTP service has 500 for wrong JSON."""


class Body(NamedTuple):
    """The body of an HTTP request, and the length that it gives for its JSON."""

    content: bytes
    header_length: str | None


@st.composite
def _feds(draw: st.DrawFn) -> RawEvent:
    """The raw format with wrong contents: ids, lengths, links, ROCs and pixels at random."""
    feds = draw(
        st.lists(
            st.tuples(
                st.one_of(st.integers(1200, 1350), _words),
                st.lists(_words, max_size=12),
                st.one_of(st.none(), st.integers(0, 2**20)),
            ),
            max_size=4,
        )
    )
    return stream([(fed, payload(words, fed & 0xFFFF, length=n)) for fed, words, n in feds])


def mutations(good: RawEvent) -> st.SearchStrategy[RawEvent]:
    """``good`` with a few of its bytes or its end changed."""

    def mutate(changes: list[tuple[int, int]], length: int) -> RawEvent:
        data = good.data[:length].copy()
        for place, value in changes:
            data[place % len(data)] = value
        return RawEvent(data, good.beam_spot)

    changes = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), max_size=8)
    return st.builds(mutate, changes, st.integers(1, len(good.data)))


def _as_tensors(event: RawEvent) -> Tensors:
    return Tensors(CODEC.encode_event(event), ["counts", "tracks_state"])


def _as_bundle(
    events: list[dict[str, Any]], changes: list[tuple[int, int]], length: int | None
) -> Tensors:
    bundle = join_events(events, ["counts"]).join()[:length].copy()
    for place, value in changes if len(bundle) else []:
        bundle[place % len(bundle)] = value
    return Tensors({BUNDLE.name: bundle}, [BUNDLE.name])


def requests(good: RawEvent) -> st.SearchStrategy[Tensors | Body]:
    """Requests of all kinds; a few of them may be right by chance."""
    noise = st.builds(
        lambda n, seed: RawEvent(np.random.default_rng(seed).integers(0, 256, n, np.uint8)),
        _sizes,
        st.integers(0, 2**31),
    )
    events = st.one_of(_feds(), noise, mutations(good)).map(_as_tensors)
    beam_spots = st.lists(_floats, min_size=3, max_size=3).map(
        lambda xyz: Tensors(
            CODEC.encode_event(good) | {"beam_spot": np.array(xyz, np.float32)}, ["counts"]
        )
    )
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 64]), max_size=4)
    arrays = st.builds(np.zeros, shapes, _dtypes)
    wrong = st.builds(
        lambda extra, outputs, model: Tensors(
            CODEC.encode_event(good) | extra, outputs, model=model
        ),
        st.dictionaries(_names, arrays, max_size=3),
        st.lists(st.sampled_from(["counts", "tracks_state", "hits_x", "no_such"]), max_size=3),
        st.sampled_from(["patatrack"] * 6 + ["exatrkx", "", "../patatrack"]),
    )
    missing = st.sets(st.sampled_from(["raw", "beam_spot", "event"])).map(
        lambda names: Tensors(
            {n: a for n, a in CODEC.encode_event(good).items() if n not in names}, ["counts"]
        )
    )
    bundles = st.builds(
        lambda events, changes, length: _as_bundle(
            [CODEC.encode_event(event) for event in events], changes, length
        ),
        st.lists(st.one_of(_feds(), mutations(good)), max_size=3),
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=3),
        st.one_of(st.none(), st.integers(0, 500)),
    )
    huge = st.sampled_from([-1, 0, 2**31, 2**40, 2**62, 2**63 - 1]).map(
        lambda n: Tensors(CODEC.encode_event(good), ["counts"], {"raw": [n]})
    )
    bodies = st.builds(
        Body,
        st.one_of(
            st.binary(max_size=200),
            st.recursive(
                st.none() | st.booleans() | _words | st.text(max_size=5),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
                max_leaves=6,
            ).map(lambda value: json.dumps({"inputs": value, "outputs": value}).encode()),
        ),
        st.sampled_from([None, "0", "7", "-1", "99999999999", "x"]),
    )
    return st.one_of(events, beam_spots, wrong, missing, bundles, huge, bodies)


def send(request: Tensors | Body, triton: Any, http: Any, address: Address) -> str | None:
    """The error that a request gets, beginning with its status; None if it is answered.

    Args:
        request: what to send; a body goes by HTTP whatever the clients.
        triton: a gRPC client of Triton's, or None to send by HTTP.
        http: an HTTP client of Triton's.
        address: the HTTP service.
    """
    if isinstance(request, Body):
        return _send_body(address, request)
    if triton is None:
        return _send(triton_http, http, request)
    return _send(triton_grpc, triton, request)


def _send_body(address: Address, request: Body) -> str | None:
    connection = HTTPConnection(address.host, address.port, timeout=30)
    headers = {}
    if request.header_length is not None:
        headers["Inference-Header-Content-Length"] = request.header_length
    try:
        connection.request("POST", "/v2/models/patatrack/infer", request.content, headers)
        reply = connection.getresponse()
        text = reply.read()
        return None if reply.status == 200 else f"{reply.status} {json.loads(text)['error']}"
    finally:
        connection.close()


def _send(library: Any, client: Any, request: Tensors) -> str | None:
    inputs = []
    for name, array in request.arrays.items():
        tensor = library.InferInput(name, list(array.shape), TYPES[array.dtype])
        tensor.set_data_from_numpy(array)
        if name in request.claimed:
            tensor.set_shape(request.claimed[name])
        inputs.append(tensor)
    outputs = [library.InferRequestedOutput(name) for name in request.outputs]
    try:
        client.infer(request.model, inputs, outputs=outputs or None)
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}"
    return None
