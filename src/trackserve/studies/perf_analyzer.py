"""NVIDIA's load generator ``perf_analyzer``: fetched on first use, given our events, read.

It came with the Python client of Triton until version 2.60. The last release that runs with glibc
2.35 is fetched by pip and checked by hash; its two libraries are in the server's wheel.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import platform
import shlex
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.errors import InputError, ServerError
from trackserve.io.files import complete, writable
from trackserve.serving.installation import find_triton
from trackserve.wire.codec import Codec

VERSION = "2.51.0"
_WHEEL = "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52"
"""SHA-256 of the wheel tritonclient 2.51.0 for Linux on x86-64."""
_MEMBER = f"tritonclient-{VERSION}.data/data/bin/perf_analyzer"
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
_FETCH_TIMEOUT = 120.0
_REASON = 120
"""Most characters of its output that an error has."""
_WINDOWS = 3
"""Windows of each measurement; perf_analyzer averages over them."""
_TIMEOUT = 120.0
_REASON = 120
"""Most characters of its output that an error has."""


class Analyzer(NamedTuple):
    """The program, and the folder of its libraries."""

    program: Path
    libraries: Path


def find_analyzer() -> Analyzer:
    """The program in the user's cache; fetched by pip if it is not there.

    Raises:
        ServerError: it cannot be had here; the error says why.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ServerError("perf_analyzer is there for Linux on x86-64 alone")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "trackserve" / f"perf_analyzer-{VERSION}"
    program = folder / "perf_analyzer"
    if not program.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(program)
        except OSError as error:
            raise ServerError("perf_analyzer cannot be kept", reason=str(error)) from error
    for name, pattern in _LIBRARIES.items():
        link = folder / name
        found = [one for place in find_triton().libraries for one in place.glob(pattern)]
        if not found:
            raise ServerError("a library of perf_analyzer is missing", found=name)
        link.unlink(missing_ok=True)
        link.symlink_to(found[0])
    return Analyzer(program, folder)


def _fetch(program: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wanted.txt").write_text(f"tritonclient=={VERSION} --hash=sha256:{_WHEEL}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--platform=manylinux1_x86_64"),
            *("--require-hashes", "--dest", name, "-r", str(folder / "wanted.txt")),
        ]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=_FETCH_TIMEOUT
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise ServerError("perf_analyzer cannot be fetched", reason=reason[:200]) from None
        except subprocess.TimeoutExpired:
            reason = f"no answer in {_FETCH_TIMEOUT:.0f} s"
            raise ServerError("perf_analyzer cannot be fetched", reason=reason) from None
        (wheel,) = folder.glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != _WHEEL:
            raise ServerError("the wheel of perf_analyzer has another hash", file=wheel.name)
        with zipfile.ZipFile(wheel) as archive, complete(program) as partial:
            partial.write_bytes(archive.read(_MEMBER))
            partial.chmod(partial.stat().st_mode | stat.S_IXUSR)


def write_input(file: Path, codec: Codec[Any, Any], events: Sequence[Any]) -> None:
    """Write events in the form of ``--input-data``.

    Raises:
        InputError: the file cannot be written.
    """
    data = []
    for event in events:
        entry = {}
        for name, array in codec.encode_event(event).items():
            content = base64.b64encode(array.tobytes()).decode("ascii")
            entry[name] = {"b64": content, "shape": list(array.shape)}
        data.append(entry)
    with writable(file):
        file.write_text(json.dumps({"data": data}), encoding="utf-8")


def run_analyzer(
    analyzer: Analyzer, target: str, model: str, data: Path, in_flight: int, seconds: float
) -> tuple[dict[str, float], str]:
    """Measure with a number of requests in flight.

    Args:
        analyzer: the program.
        target: host and port of the gRPC service.
        model: name of the model.
        data: file of :func:`write_input`.
        in_flight: number of requests in flight.
        seconds: length of each of its three windows.

    Returns:
        the row of its CSV by column (times in us), and its command line, with names in place of
        this run's address and folders.

    Raises:
        ServerError: it failed.
    """
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out.csv"
        arguments = [
            *("-m", model, "-i", "grpc", "-u", target, "--input-data", str(data), "--async"),
            *("--concurrency-range", f"{in_flight}:{in_flight}:1"),
            *("-p", str(max(1, round(1e3 * seconds))), "-s", "999", "-r", str(_WINDOWS)),
            *("--verbose-csv", "-f", str(out)),
        ]
        shown = {target: "HOST:PORT", str(data): data.name, str(out): out.name}
        line = shlex.join(["perf_analyzer", *(shown.get(one, one) for one in arguments)])
        try:
            done = subprocess.run(
                [str(analyzer.program), *arguments],
                env=os.environ | {"LD_LIBRARY_PATH": str(analyzer.libraries)},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT + 10 * seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError("perf_analyzer failed", reason=str(error)) from error
        if done.returncode or not out.exists():
            reason = " ".join((done.stdout + done.stderr).split())[-_REASON:]
            raise ServerError("perf_analyzer failed", reason=reason)
        return read_row(out), line


def read_row(file: Path) -> dict[str, float]:
    """The first row of a CSV of perf_analyzer, without what is no number.

    Raises:
        InputError: it has no row.
    """
    with file.open(newline="") as source:
        row = next(csv.DictReader(source), None)
    if row is None:
        raise InputError("perf_analyzer has written no row", file=file.name)
    found = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):
            continue
    return found
