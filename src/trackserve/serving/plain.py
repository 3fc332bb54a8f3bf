"""What a plain ``tritonserver`` needs beside a repository: its Python backend, and a start."""

from __future__ import annotations

import shutil
from pathlib import Path

from .flags import CLOSED, SHARED_MEMORY
from .installation import Triton

START = "start.sh"
_SCRIPT = f"""\
#!/bin/sh
# Starts a plain tritonserver on this repository, on 127.0.0.1, with all closed that trackserve
# closes. The python3 that is first on PATH has trackserve. Options of Triton may follow.
here=$(cd "$(dirname "$0")" && pwd)
secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
closed="{CLOSED},{SHARED_MEMORY}:$secret=$secret"
exec "${{TRITONSERVER:-tritonserver}}" \\
    --model-repository="$here/models" \\
    --backend-directory="$here/backends" \\
    --model-control-mode=none \\
    --grpc-restricted-protocol="$closed" \\
    --http-restricted-api="$closed" \\
    --grpc-address=127.0.0.1 --http-address=127.0.0.1 --metrics-address=127.0.0.1 \\
    "$@"
"""


def write_plain(directory: Path, triton: Triton) -> None:
    """Add to a repository the Python backend of ``triton``, and a script that starts it.

    Nothing watches a Triton that was started in this way, or drains it.
    """
    python = directory / "backends" / "python"
    python.mkdir(parents=True, exist_ok=True)
    for file in triton.python_backend:
        shutil.copy2(file, python)
    script = directory / START
    script.write_text(_SCRIPT)
    script.chmod(0o755)
