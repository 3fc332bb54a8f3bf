"""The tensors of the learned tracker: space points there, labels and candidates back.

``FEATURES`` and ``LABELS`` are those of the published service, whose
clients work unchanged; the others are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields

import numpy as np

from trackserve.edm import (
    ExatrkxResult,
    GraphCounts,
    PointsEvent,
    TrackCandidates,
)
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.wire.tensors import TensorSpec, checked, timing

FEATURES = TensorSpec("FEATURES", np.dtype(np.float32), (-1, 3), optional=True)
POINTS = TensorSpec("POINTS", np.dtype(np.float32), (-1, 3), optional=True)
_EVENT = TensorSpec("EVENT", np.dtype(np.int64), (1,), optional=True)
LABELS = TensorSpec("LABELS", np.dtype(np.int64), (-1,))
_OFFSETS = TensorSpec("CANDIDATE_OFFSETS", np.dtype(np.int64), (-1,))
_POINTS = TensorSpec("CANDIDATE_POINTS", np.dtype(np.int32), (-1,))
_SCORES = TensorSpec("CANDIDATE_SCORES", np.dtype(np.float32), (-1,))
_COUNTS = TensorSpec("COUNTS", np.dtype(np.int64), (len(fields(GraphCounts)),))
TIMING = timing("TIMING")

INPUTS = (FEATURES, POINTS, _EVENT)
"""One event: r, phi and z as the model scales them, or x, y and z in mm, which the model scales
itself; exactly one of the two. And, optionally, its number."""

OUTPUTS = (LABELS, _OFFSETS, _POINTS, _SCORES, _COUNTS, TIMING)
"""The columns of :class:`trackserve.edm.ExatrkxResult` and the timing."""


def output_names(keep: Collection[str] = ()) -> list[str]:
    """The outputs to ask for.

    Raises:
        InputError: ``keep`` is not empty: graphs are many times larger than what is found in
            them, and do not travel.
    """
    if keep:
        raise InputError("a server does not send graphs", found=sorted(keep), bound=[])
    return [spec.name for spec in OUTPUTS if spec is not TIMING]


def encode_event(event: PointsEvent) -> dict[str, Array]:
    """The input tensors of one event.

    Raises:
        InputError: its points are not float32[n, 3].
    """
    points = checked({POINTS.name: event.points.position}, POINTS)
    return {
        POINTS.name: np.ascontiguousarray(points),
        _EVENT.name: np.array([event.event], np.int64),
    }


def decode_event(
    tensors: Mapping[str, Array], scale: Callable[[Array], Array]
) -> tuple[Array, int]:
    """The scaled features float32[n, 3] and the number of the event that the tensors hold.

    Without ``EVENT`` the number is 0.

    Args:
        tensors: the inputs.
        scale: makes features of points float32[n, 3], as the model does.

    Raises:
        InputError: a tensor has the wrong dtype or shape, or there is not one of
            ``FEATURES`` and ``POINTS``.
    """
    number = int(checked(tensors, _EVENT)[0]) if _EVENT.name in tensors else 0
    given = [spec.name for spec in (FEATURES, POINTS) if spec.name in tensors]
    if len(given) != 1:
        raise InputError(
            "give exactly one of two tensors", found=given, bound=[FEATURES.name, POINTS.name]
        )
    if given == [FEATURES.name]:
        return checked(tensors, FEATURES), number
    return scale(checked(tensors, POINTS)), number


def encode_result(result: ExatrkxResult, names: Iterable[str]) -> dict[str, Array]:
    """The output tensors ``names`` of one result, C-contiguous; the timing is not among them."""
    found = {
        LABELS: result.labels,
        _OFFSETS: result.candidates.offsets,
        _POINTS: result.candidates.points,
        _SCORES: result.candidates.scores,
        _COUNTS: result.counts.as_array(),
    }
    return {
        spec.name: np.ascontiguousarray(checked({spec.name: array}, spec))
        for spec, array in found.items()
        if spec.name in names
    }


def decode_result(
    tensors: Mapping[str, Array], event: int, keep: Collection[str] = ()
) -> ExatrkxResult:
    """The result of event number ``event`` that the output tensors hold.

    Raises:
        InputError: a tensor is missing, has the wrong dtype or shape or a length that
            contradicts another's, or ``keep`` is not empty.
    """
    output_names(keep)
    counts = GraphCounts(*checked(tensors, _COUNTS).tolist())
    labels = _of_length(tensors, LABELS, counts.points)
    offsets = _of_length(tensors, _OFFSETS, max(counts.candidates, 0) + 1)
    points = _of_length(tensors, _POINTS, int(offsets[-1]))
    scores = _of_length(tensors, _SCORES, counts.candidates)
    return ExatrkxResult(event, counts, labels, TrackCandidates(offsets, points, scores))


def _of_length(tensors: Mapping[str, Array], spec: TensorSpec, length: int) -> Array:
    return checked(tensors, spec._replace(shape=(length,)))
