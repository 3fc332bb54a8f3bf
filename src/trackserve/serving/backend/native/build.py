"""The library in C: from the wheel, or compiled from its sources and kept.

It needs a C compiler and glibc, no headers of Python or Triton. The kept file bears the hash of the
sources in its name. This module uses the standard library only: the build of the wheel runs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "libtriton_trackserve_native.so"
"""Name that Triton expects of the library of the backend ``trackserve_native``."""
SOURCES = Path(__file__).parent
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread"]
_TIMEOUT = 120.0


class BuildError(Exception):
    """The library cannot be built; the text says why."""


def find_library() -> Path:
    """The file of the library; it is compiled if there is none yet.

    Raises:
        BuildError: there is none, and it cannot be compiled here.
    """
    brought = SOURCES / LIBRARY
    if brought.exists():
        return brought
    name = library_name()
    for place in _places():
        if (place / name).exists():
            return place / name
    for place in _places():
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place) as folder:
                made = Path(folder) / name
                compile_library(made)
                return made.replace(place / name)
    raise BuildError("no folder for it can be written")


def compile_library(file: Path) -> None:
    """Compile the library to ``file``.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    if platform.system() != "Linux":
        raise BuildError("Triton runs on Linux only")
    command = [*compiler(), *FLAGS, "-o", str(file), *map(str, sorted(SOURCES.glob("*.c"))), "-ldl"]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"status {error.returncode}"]
        raise BuildError(f"{command[0]} fails: {lines[0]}") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} does not end") from None


def compiler() -> list[str]:
    """The command of the C compiler: ``CC``, else the first of cc, gcc and clang.

    Raises:
        BuildError: there is none.
    """
    given = shlex.split(os.environ.get("CC", ""))
    for command in (given, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    raise BuildError("no C compiler: install gcc or clang, or set CC")


def library_name() -> str:
    """Name of the compiled library of these sources on a machine like this one."""
    digest = hashlib.sha256(f"{platform.machine()} {FLAGS}".encode())
    for file in sorted(SOURCES.glob("*.[ch]")):
        digest.update(file.read_bytes())
    return f"trackserve-native-{digest.hexdigest()[:16]}.so"


def _places() -> Iterator[Path]:
    """Folders for the library, the first that can be written to is used."""
    yield SOURCES / "__pycache__"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        yield Path(cache) / "trackserve"
    elif (home := Path("~").expanduser()).is_absolute():
        yield home / ".cache" / "trackserve"
    with contextlib.suppress(OSError):  # there may be no folder for temporary files
        temporary = Path(tempfile.gettempdir()) / f"trackserve-native-{os.getuid()}"
        temporary.mkdir(mode=0o700, exist_ok=True)
        found = temporary.lstat()
        # code is loaded from it, so nobody else may write to it
        if found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o77:
            yield temporary
