"""A model whose answers are ready, which shows the cost of serving alone.

It takes the place of another model in that model's repository, and has its tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trackserve.serving.backend.runtime import Answer, EncodedEvent, EncodedResult, RunBatch
from trackserve.wire.codec import IDENTITY, Codec
from trackserve.wire.events import number_of

_ANSWERS = "answers.npz"
_LOADER = """\
import sys
sys.path.insert(0, {root})
from benchmarks.instant import load
from trackserve.serving.backend import triton


class TritonPythonModel(triton.TritonPythonModel):
    load = staticmethod(load)
"""


def load(folder: Path, parameters: Mapping[str, str]) -> Callable[[], RunBatch]:
    """Return a function that makes what a worker runs; an event is known by its number."""
    with np.load(folder / _ANSWERS) as file:
        tensors = {key: file[key] for key in file}
    answers: dict[int, dict[str, Any]] = {}
    for key, array in tensors.items():
        number, name = key.split(".")
        answers.setdefault(int(number), {})[name] = array

    def run(batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        for request in batch:
            answer = answers[number_of(request.tensors)]
            yield EncodedResult(
                {k: a.copy() for k, a in answer.items() if k in request.outputs}, {}, {}
            )

    return lambda: run


def replace_by_instant(
    repository: Path, model: str, codec: Codec[Any, Any], results: Mapping[int, Any]
) -> None:
    """Let the models of the repository answer with ``results``, by event number."""
    names = [*codec.output_names(), IDENTITY.name]
    answers = {
        f"{number}.{name}": array
        for number, result in results.items()
        for name, array in codec.encode_result(result, names).items()
    }
    loader = _LOADER.format(root=json.dumps(str(Path(__file__).resolve().parents[1])))
    (repository / "backends" / "trackserve" / "model.py").write_text(loader)
    np.savez(repository / "models" / model / "1" / _ANSWERS, **answers)
