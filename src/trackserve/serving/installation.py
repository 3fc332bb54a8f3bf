"""The installation of Triton on this machine, and its environment and ports."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from trackserve.errors import ServerError

_HEAP = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""Settings of glibc's allocator, mallopt(3). Triton has many threads; each would keep a heap as
large as its largest burst. Blocks of more than a MiB go back to the system. Otherwise glibc raises
that bound to the largest block that was freed, up to 32 MiB, and such messages leave holes in the
heaps."""


ALLOW_SHARED_MEMORY = "allow-client-shm"
"""Option of Triton."""
_HELP_TIMEOUT = 20.0
_CONNECTION_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT, _FIRST_CONNECTION_PORT = 10000, 32768
"""The first port that is tried for a server, and Linux's default for connections."""
_TRIES = 20


class Triton(NamedTuple):
    """Files of an installation."""

    binary: Path
    python_backend: list[Path]
    libraries: list[Path]

    @property
    def forbids_shared_memory(self) -> bool:
        """Whether this Triton allows shared memory to clients only if it is told to; 2.68 does."""
        return ALLOW_SHARED_MEMORY in _help(self.binary, environment(self)["LD_LIBRARY_PATH"])


class Ports(NamedTuple):
    """Ports of the three services of a server; 0 is any free port."""

    grpc: int
    http: int
    metrics: int


def find_triton() -> Triton:
    """The nvidia-pytriton wheel's server, else the ``tritonserver`` on PATH.

    Raises:
        ServerError: there is neither, or it lacks its Python backend.
    """
    package = importlib.util.find_spec("pytriton")
    if package and package.origin:
        root = Path(package.origin).parent / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
        files = [*(root / "backends" / "python").glob("*triton_python*"), stub]
        return Triton(
            root / "bin" / "tritonserver",
            files,
            [root.parent.parent / "nvidia_pytriton.libs"],
        )
    found = shutil.which("tritonserver")
    if found is None:
        raise ServerError("no Triton: install trackserve[server], or put tritonserver on PATH")
    binary = Path(found).resolve()
    python_backend = binary.parents[1] / "backends" / "python"
    if not python_backend.is_dir():
        raise ServerError("this Triton lacks its Python backend", directory=str(python_backend))
    return Triton(binary, list(python_backend.iterdir()), [])


def assemble_backends(directory: Path, triton: Triton, ours: Path) -> Path:
    """Copy Triton's Python backend and ours into ``directory``, and return ``directory``.

    The copies are needed: Triton refuses libraries that are links out of the folder.
    """
    python = directory / "python"
    python.mkdir(parents=True)
    for file in triton.python_backend:
        shutil.copy2(file, python)
    for backend in ours.iterdir():
        shutil.copytree(backend, directory / backend.name)
    return directory


def environment(triton: Triton) -> dict[str, str]:
    """The environment of this process, changed so that backends use the Python of this process.

    A backend embeds Python. It takes its packages from the ``python3`` that is first on PATH, and
    it needs the shared libpython.
    """
    python = [Path(sys.base_prefix) / "lib"]
    if directory := sysconfig.get_config_var("LIBDIR"):
        python.insert(0, Path(directory))
    paths = {
        "PATH": [Path(sys.executable).parent],
        "LD_LIBRARY_PATH": [*triton.libraries, *python],
    }
    variables = _HEAP | os.environ
    if directory and (library := sysconfig.get_config_var("INSTSONAME")):
        variables["TRACKSERVE_LIBPYTHON"] = str(Path(directory) / library)
    for name, first in paths.items():
        rest = os.environ.get(name)
        variables[name] = os.pathsep.join([*map(str, first), *([rest] if rest else [])])
    return variables


@cache
def _help(binary: Path, libraries: str) -> str:
    """The text of ``tritonserver --help``; "" if there is none."""
    variables = os.environ | {"LD_LIBRARY_PATH": libraries}
    try:
        done = subprocess.run(
            [binary, "--help"],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_HELP_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).decode(errors="replace")


def find_address(host: str) -> str:
    """The IPv4 address of ``host``, an address or a name: Triton takes no name.

    Raises:
        ServerError: there is none, or none to listen on.
    """
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
        address = IPv4Address(found[0][4][0])
    except (OSError, ValueError) as error:
        raise ServerError("the host has no IPv4 address", host=host, reason=str(error)) from None
    if address.is_multicast or address.is_reserved:
        raise ServerError("cannot listen on this address", host=host, found=str(address))
    return str(address)


def claim_ports(host: str, wanted: Ports) -> Ports:
    """The ports in ``wanted``, with a free port for each 0.

    A port is not held until the server listens on it. So a free one is none of those that the
    system gives to connections, of which one may be taken at any moment.

    Raises:
        ServerError: a port is taken or wanted twice, or there is no such address.
    """
    claimed: list[int] = []
    with ExitStack() as stack:
        for port in wanted:
            claimed.append(_claim(stack, host, port, claimed))
    return Ports(*claimed)


def _claim(stack: ExitStack, host: str, port: int, others: list[int]) -> int:
    tries = [port] if port else [*random.sample(_ports_of_servers(), _TRIES), 0]
    reason: str | None = "the port is wanted twice"
    for number in tries:
        if number in others:  # the system would allow it, since nobody listens yet
            continue
        probe = stack.enter_context(socket.socket())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            reason = error.strerror
        else:
            return int(probe.getsockname()[1])
    raise ServerError(f"cannot listen: {reason}", url=f"{host}:{port}")


def _ports_of_servers() -> range:
    """Ports that any user may listen on, and that the system gives to no connection."""
    try:
        first = int(_CONNECTION_PORTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = _FIRST_CONNECTION_PORT
    return range(_FIRST_PORT, max(first, _FIRST_PORT + _TRIES))
