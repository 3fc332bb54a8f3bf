"""The model repository that Triton loads."""

from __future__ import annotations

from pathlib import Path

from ..io import read_conditions, write_conditions
from .wire import MODEL

BACKEND = "trackserve_patatrack"
"""Name of the backend; Triton looks for a folder of this name."""

_CONDITIONS = "1/conditions"
"""In the folder of the model's version, which Triton wants and copies may drop when empty."""

_CONFIG = """\
name: "{model}"
backend: "{backend}"
max_batch_size: 0
instance_group [ {{ count: {instances} }} ]
parameters {{ key: "conditions" value {{ string_value: "{conditions}" }} }}
parameters {{ key: "config" value {{ string_value: "{config}" }} }}
"""

_LOADER = "from trackserve.serving.backend.model import TritonPythonModel as TritonPythonModel\n"


def write_repository(
    directory: str | Path,
    conditions: str | Path,
    *,
    config: str = "default",
    instances: int = 1,
) -> None:
    """Write the models and the backend that a Triton server needs.

    The tree holds a copy of the conditions and no absolute path: it can be moved, or
    mounted into a container. Files of an earlier tree in ``directory`` are replaced.

    Args:
        directory: where to write ``models/`` and ``backends/``; made where needed.
        conditions: directory of the five conditions files.
        config: name of the pipeline's configuration.
        instances: backend processes of the model.

    Raises:
        ConditionsError: the conditions are missing or malformed.
    """
    model = Path(directory) / "models" / MODEL
    backend = Path(directory) / "backends" / BACKEND
    write_conditions(model / _CONDITIONS, read_conditions(conditions))
    text = _CONFIG.format(
        model=MODEL,
        backend=BACKEND,
        conditions=_CONDITIONS,
        config=config,
        instances=instances,
    )
    (model / "config.pbtxt").write_text(text)
    backend.mkdir(parents=True, exist_ok=True)
    (backend / "model.py").write_text(_LOADER)
