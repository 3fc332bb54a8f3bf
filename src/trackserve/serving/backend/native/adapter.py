"""The backend of every model in Triton's own process.

``python.c`` starts Python there and asks :func:`callbacks` for the functions that ``backend.c``
calls. All models share one Python; each has a queue and workers. Only a request with a bundle, with
an identity that was not seen before, or with a line in the log of events calls Python in Triton's
thread. All others go from C to a worker.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.device.heap import keep_freed_memory, return_large_messages
from trackserve.edm.columns import Array
from trackserve.errors import InputError, ServerBusy, ServerError, TrackserveError, encode
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.identity import IDENTITY_PARAMETER
from trackserve.wire.ticket import TICKET_PARAMETER
from trackserve.wire.version import FIRST_WIRE, WIRE, WIRE_PARAMETER

from ...limits import Limits
from ..metrics import Counters, Series
from ..model import Expected, Reply, ServedModel, code_of, declared_tensors, parameters_of
from ..orphan import end_with_triton
from ..runtime import Answer, EncodedEvent, Job, full, stopping
from ..tickets import TicketReader
from ..tracker import load
from . import metrics
from .interface import CODES, FUNCTIONS, TYPES, Callbacks, Library, Settings, as_texts

_models: dict[int, _Model] = {}
"""By the address of the model in C."""
_tickets = TicketReader()
_kept: list[Any] = []
_MOST_DIMS = 8
_MOST_NAMES = 255
_MOST_WISHES = 64
"""Lists of outputs, by the numbers of their names, that are kept."""
_ROW_HEAD = 7
_REFUSALS: tuple[Callable[[Limits], Any], ...] = (
    lambda limits: None,
    lambda limits: stopping(),
    full,
)
"""By what C returns for a place: none, or the error of who finds no place."""
_DTYPES = {number: np.dtype(dtype) for dtype, number in TYPES.items()}


def callbacks(library: str) -> int:
    """The address of the table of functions that the library in the file ``library`` calls."""
    keep_freed_memory()
    end_with_triton(os.getpid())
    lib = Library(library)
    table = Callbacks(
        FUNCTIONS["open_model"](partial(_open_model, lib)),
        FUNCTIONS["add_workers"](_add_workers),
        FUNCTIONS["take"](_take),
        FUNCTIONS["close_model"](_close_model),
    )
    _kept.append(table)
    return ctypes.addressof(table)


class _Model:
    """A model and its way to C.

    Args:
        lib: the library.
        address: address of the model in C.
        name: name of the model.
        folder: folder of the model's version.
        parameters: parameters in its configuration.
    """

    load: Callable[..., Any] = staticmethod(load)

    def __init__(
        self, lib: Library, address: int, name: str, folder: Path, parameters: Mapping[str, str]
    ) -> None:
        inputs, outputs = declared_tensors(parameters)
        self.lib = lib
        self.input_names = [declared["name"] for declared in inputs]
        self.output_names = [declared["name"] for declared in outputs]
        if len(self.output_names) > _MOST_NAMES:
            bound, found = _MOST_NAMES, len(self.output_names)
            raise InputError("too many outputs for the native backend", found=found, bound=bound)
        self.output_numbers = {name: number for number, name in enumerate(self.output_names)}
        self._folder = folder
        self._parameters = parameters
        counters = Counters()
        self._limits = Limits.from_parameters(parameters)
        queue = _Queue(self, address, self._limits, counters)
        families = metrics.families()
        self.served = ServedModel(name, parameters, queue, counters, families, ask_after=0.0)
        self.is_logged = self.served.log is not None
        queue.configure(self.is_logged)
        counters.collect = queue.collect

    def add_workers(self, gpu: int | None) -> None:
        """Add the workers of one instance, on the GPU of this number if there is one."""
        self.served.add_workers(self.load(self._folder, self._parameters, gpu))
        return_large_messages()

    def read_inputs(self, row: Sequence[int]) -> dict[str, Array] | None:
        """The inputs of the request that ``row`` describes, copied.

        None if the copy failed; then the request has been answered.
        """
        _, _, request, _, size, n_inputs, _ = row[:_ROW_HEAD]
        memory = np.empty(size, np.uint8)
        if self.lib.copy(request, _address_of(memory)):
            return None
        tensors: dict[str, Array] = {}
        at = _ROW_HEAD
        for _ in range(n_inputs):
            name, kind, offset, _, n_dims = row[at : at + 5]
            shape = row[at + 5 : at + 5 + n_dims]
            tensors[self.input_names[name]] = np.ndarray(shape, _DTYPES[kind], memory, offset)
            at += 5 + n_dims
        return tensors

    def read_outputs(self, row: Sequence[int]) -> Sequence[str]:
        """The names of the outputs that the request in ``row`` wants."""
        return self._names_of(tuple(row[len(row) - row[_ROW_HEAD - 1] :]))

    @lru_cache(_MOST_WISHES)  # noqa: B019 - a model lives as long as its process
    def _names_of(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        names = (self.output_names[number] for number in numbers)
        return tuple(name for name in names if name != BUNDLE.name)

    def reply(self, request: int) -> Reply:
        """The way of the answer to a request."""
        return Reply(partial(self._send, request), partial(self._start, request))

    def id_of(self, request: int) -> str:
        """The id that the client gave to a request."""
        found: bytes = self.lib.id(request)
        return found.decode(errors="replace")

    def enqueue(self, address: int, request: int) -> None:
        """Put a request into the queue; without a place it is answered, and logged."""
        mine = self.id_of(request) if self.is_logged else ""
        place: int = self.lib.enqueue(address, request)
        if place:
            self.served.note_refusal(mine, _REFUSALS[place](self._limits))

    def fail(self, request: int, error: TrackserveError) -> None:
        """Answer a request with an error."""
        self.lib.fail(request, CODES[code_of(error)], encode(error).encode())

    def _start(self, request: int) -> bool:
        """Begin the work on a request; return whether nobody waits for the answer."""
        ticket: bytes | None = self.lib.start(request)
        if not ticket:
            return ticket is None
        return not _tickets.is_wanted(ticket.decode(errors="replace"))

    def _send(self, request: int, answer: Answer) -> None:
        if isinstance(answer, TrackserveError):
            self.fail(request, answer)
            return
        words: list[int] = []
        for name, array in answer.tensors.items():
            words += (self.output_numbers[name], TYPES[array.dtype.str[1:]], _address_of(array))
            words += (array.nbytes, array.ndim, *array.shape)
        self.lib.answer(request, (ctypes.c_int64 * len(words))(*words), len(answer.tensors))


class _Queue:
    """The queue of a model in C; see :class:`..runtime.Queue`."""

    def __init__(self, model: _Model, address: int, limits: Limits, counters: Counters) -> None:
        self._model = model
        self._lib = model.lib
        self._address = address
        self._limits = limits
        self._counters = counters
        self._bundled: dict[int, Job] = {}
        self._tokens = itertools.count(1)
        self._local = threading.local()
        self._counted = (0, 0)
        most_words = _ROW_HEAD + len(model.input_names) * (5 + _MOST_DIMS)
        self._capacity = limits.batch_events * (most_words + len(model.output_names))

    def configure(self, is_logged: bool) -> None:
        """Give C the settings of the model.

        Args:
            is_logged: whether each request passes :func:`_take_request`.
        """
        limits, model = self._limits, self._model
        settings = Settings(
            limits.queue,
            limits.batch_events,
            limits.batch_bytes,
            limits.when_full == "wait",
            is_logged,
            encode(full(limits)).encode(),
            encode(stopping()).encode(),
            BUNDLE.name.encode(),
            IDENTITY_PARAMETER.encode(),
            TICKET_PARAMETER.encode(),
            WIRE_PARAMETER.encode(),
            WIRE.encode(),
            FIRST_WIRE.encode(),
            as_texts(model.input_names),
            as_texts(model.output_names),
        )
        self._lib.configure(self._address, ctypes.byref(settings))

    @property
    def held(self) -> int:
        return self._counts()[0]

    def reserve(self) -> ServerBusy | None:
        place: int = self._lib.reserve(self._address)
        refusal: ServerBusy | None = _REFUSALS[place](self._limits)
        return refusal

    def put(self, job: Job) -> None:
        token = next(self._tokens)
        self._bundled[token] = job
        self._lib.put(self._address, token, job.bytes)

    def take(self, n_workers: int) -> list[Job]:
        rows = getattr(self._local, "rows", None)
        if rows is None:
            rows = self._local.rows = (ctypes.c_int64 * self._capacity)()
        batch: list[Job] = []
        while not batch:
            used = self._lib.take(self._address, n_workers, rows, self._capacity)
            if not used:
                return []
            words = rows[:used]
            at = 0
            while at < used:
                job = self._job(words[at : at + words[at]])
                if job is not None:
                    batch.append(job)
                at += words[at]
        return batch

    def _job(self, row: list[int]) -> Job | None:
        """The job that ``row`` describes; None if its inputs cannot be read."""
        if row[1]:
            return self._bundled.pop(row[1])
        request = row[2]
        try:
            tensors = self._model.read_inputs(row)
        except Exception as error:  # a broken request must not end the worker
            self._model.fail(request, ServerError("the inputs cannot be read", reason=repr(error)))
            tensors = None
        if tensors is None:
            self._counters.add(
                (Series("trackserve_requests_total", InputError.__name__), 1),
                (Series("trackserve_waiting"), -1),
                (Series("trackserve_held"), -1),
            )
            self.release()
            return None
        event = EncodedEvent(tensors, self._model.read_outputs(row))
        mine = self._model.id_of(request) if self._model.is_logged else ""
        send, unwanted = self._model.reply(request)
        return Job(event, send, unwanted, mine, arrived=1e-9 * row[3], bytes=row[4])

    def release(self) -> None:
        self._lib.release(self._address)

    def refuse_new(self) -> None:
        self._lib.refuse_new(self._address)

    def close(self) -> None:
        self._lib.close(self._address)

    def collect(self) -> None:
        """Add to the counters what C has taken and refused by itself."""
        _, arrived, refused = self._counts()
        new, busy = arrived - self._counted[0], refused - self._counted[1]
        self._counted = arrived, refused
        self._counters.add(
            (Series("trackserve_waiting"), new),
            (Series("trackserve_held"), new),
            (Series("trackserve_requests_total", ServerBusy.__name__), busy),
        )

    def _counts(self) -> list[int]:
        counts = (ctypes.c_int64 * 3)()
        self._lib.counts(self._address, counts)
        return counts[:]


def _address_of(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _tell(text: int, size: int, message: str) -> None:
    """Write ``message`` to memory of C, which has room for ``size`` bytes."""
    data = message.encode()[: size - 1] + b"\0"
    ctypes.memmove(text, data, len(data))


def _open_model(
    lib: Library, address: int, name: bytes, folder: bytes, config: bytes, text: int, size: int
) -> int:
    try:
        given = json.loads(config)
        parameters = parameters_of(given)
        inputs, outputs = declared_tensors(parameters)
        path = Path(folder.decode())
        _models[address] = _Model(lib, address, name.decode(), path, parameters)
        _tell(text, size, json.dumps(given | {"input": inputs, "output": outputs}))
        return 0
    except BaseException as error:
        _tell(text, size, f"{type(error).__name__}: {error}")
        return 1


def _add_workers(address: int, device: int, text: int, size: int) -> int:
    try:
        _models[address].add_workers(device if device >= 0 else None)
        return 0
    except BaseException as error:
        _tell(text, size, f"{type(error).__name__}: {error}")
        return 1


def _take(address: int, request: int) -> None:
    model = _models[address]
    try:
        refusal = _take_request(model, address, request)
    except BaseException as error:
        refusal = ServerError("the request cannot be read", reason=repr(error))
    if refusal is not None:
        model.served.note_refusal(model.id_of(request), refusal)
        model.fail(request, refusal)


def _take_request(model: _Model, address: int, request: int) -> TrackserveError | None:
    """Take a bundle, or a request that is logged or whose identity or version is to be compared.

    Returns:
        the error if it is refused; then nothing is sent.
    """
    text: bytes | None = model.lib.identity(request)
    expected = Expected(_decoded(text), _decoded(model.lib.wire(request)))
    words = (ctypes.c_int64 * 4096)()
    row = words[: model.lib.describe(request, words, len(words))]
    names = [model.input_names[number] for number in _inputs_of(row)]
    if BUNDLE.name in names:
        tensors = model.read_inputs(row)
        if tensors is None:
            return None
        reply = partial(model.reply, request)
        return model.served.take_bundle(tensors, expected, reply, model.id_of(request))
    mismatch = model.served.mismatch(expected, 1)
    if mismatch is None:
        if text is not None:
            model.lib.accept(address, text)
        model.enqueue(address, request)
    return mismatch


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode(errors="replace")


def _inputs_of(row: Sequence[int]) -> list[int]:
    """Numbers of the inputs of the request that ``row`` describes."""
    at, numbers = _ROW_HEAD, []
    for _ in range(row[5]):
        numbers.append(row[at])
        at += 5 + row[at + 4]
    return numbers


def _close_model(address: int) -> None:
    _models.pop(address).served.close()
