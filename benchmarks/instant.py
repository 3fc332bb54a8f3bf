"""A model with the tensors of another one, whose answers are ready: what serving costs by itself.

It stands in the other's place, in a repository that was written for that one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trackserve.serving.backend.runtime import (
    Answer,
    Backend,
    Description,
    Reply,
    Request,
    Run,
)

_ANSWERS = "answers.npz"
_LOADER = """\
import sys
sys.path.insert(0, {folder})
from instant import Instant
from trackserve.serving.backend import {name}
from trackserve.serving.backend.triton import served

TritonPythonModel = served(Instant({name}))
"""


class Instant:
    """The backend. An event is known by its number."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def describe(self) -> Description:
        return self._backend.describe()

    def load(self, directory: Path, parameters: Mapping[str, str]) -> Callable[[], Run]:
        with np.load(directory / _ANSWERS) as file:
            tensors = {key: file[key] for key in file}
        answers: dict[int, dict[str, Any]] = {}
        for key, array in tensors.items():
            number, name = key.split(".")
            answers.setdefault(int(number), {})[name] = array

        def run(batch: Iterable[Request]) -> Iterator[Answer]:
            for request in batch:
                number = next(a for name, a in request.tensors.items() if name.lower() == "event")
                answer = answers[int(number[0])]
                yield Reply(
                    {k: a.copy() for k, a in answer.items() if k in request.outputs}, {}, {}
                )

        return lambda: run


def replace_by_instant(
    repository: Path, backend: ModuleType, wire: Any, results: Mapping[int, Any]
) -> None:
    """Let the models of ``backend`` in the repository answer with ``results``, by event number."""
    names = wire.output_names()
    answers = {
        f"{number}.{name}": array
        for number, result in results.items()
        for name, array in wire.encode_result(result, names).items()
    }
    name = backend.__name__.rpartition(".")[2]
    loader = _LOADER.format(folder=json.dumps(str(Path(__file__).resolve().parent)), name=name)
    (repository / "backends" / f"trackserve_{name}" / "model.py").write_text(loader)
    np.savez(repository / "models" / name / _ANSWERS, **answers)
