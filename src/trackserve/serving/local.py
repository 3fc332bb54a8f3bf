"""The file by which a client finds a server of its user on its host; the owners of regions.

A process that registers shared memory with Triton can read and write it. So only requests with a
random header may do so. The server writes the header to a file that only its user can read. A
client that can read the file may use shared memory.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trackserve.errors import parse_json

_REGION = re.compile(r"trackserve-client-(\d+)-(\d+)-[0-9a-f]+")


class Local(NamedTuple):
    """The content of that file.

    Attributes:
        header, value: name and value of the gRPC header that opens shared memory.
        pid: process that runs the server.
        http_port: port of its HTTP service.
    """

    header: str
    value: str
    pid: int
    http_port: int


def publish(port: int, local: Local) -> bool:
    """Let clients of this user find the server on gRPC port ``port``.

    Returns:
        False if nothing was written: other users can use the directory, or it cannot be written.
    """
    directory = _directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(directory):
            return False
        draft = directory / f"{port}.{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as output:
            json.dump(local._asdict(), output)
        draft.rename(file(port))
    except OSError:
        return False
    return True


def withdraw(port: int) -> None:
    """Undo :func:`publish`."""
    with suppress(OSError):
        file(port).unlink(missing_ok=True)


def file(port: int) -> Path:
    """The file of the server on gRPC port ``port``."""
    return _directory() / f"{port}.json"


def find(port: int) -> Local | None:
    """The content of the file of the server on gRPC port ``port``.

    None if there is no file, or if another user owns it or can use it.
    """
    published = file(port)
    try:
        if not all(_is_private(path) for path in (published.parent, published)):
            return None
        entries = parse_json(published.read_text(), dict)
        numbers = int(entries["pid"]), int(entries["http_port"])
        return Local(str(entries["header"]), str(entries["value"]), *numbers)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def region_name() -> str:
    """A new name for a region of shared memory; it holds the process that owns the region."""
    pid = os.getpid()
    return f"trackserve-client-{pid}-{_start_time(pid)}-{secrets.token_hex(6)}"


def is_region(name: str) -> bool:
    """Whether ``name`` is one of :func:`region_name`."""
    return _REGION.fullmatch(name) is not None


def abandoned(region: str) -> bool:
    """Whether ``region`` belongs to a client whose process is gone."""
    match = _REGION.fullmatch(region)
    return match is not None and _start_time(int(match[1])) != int(match[2])


def _directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "trackserve"
    return Path(tempfile.gettempdir()) / f"trackserve-{os.getuid()}"


def _is_private(path: Path) -> bool:
    found = path.lstat()
    shared = found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return found.st_uid == os.getuid() and not shared and not stat.S_ISLNK(found.st_mode)


def _start_time(pid: int) -> int:
    """Start of process ``pid``, in clock ticks since boot; 0 if it is gone or a zombie.

    Fields 3 and 22 of /proc/PID/stat; the second, the name, may hold spaces and brackets.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
