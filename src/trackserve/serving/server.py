"""Start and stop a Triton server over a repository written by :mod:`.repository`."""

from __future__ import annotations

import http.client
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ..errors import ServerError

_CLOSED = "model-repository,shared-memory,trace,logging"
_POLL = 0.05
_KILL_TIMEOUT = 5.0
_LOG_TAIL = 30
_SHARED_MEMORY = Path("/dev/shm")


class _Triton(NamedTuple):
    binary: Path
    python_backend: list[Path]
    libraries: list[Path]


class Server:
    """A running Triton server; use it as a context manager.

    Started by ``with``, it is ready when the block begins and gone, with all its processes
    and shared memory, when the block ends. Clients may infer, read metadata, statistics and
    health; loading models, shared memory, tracing and log settings are closed to them.

    Args:
        repository: directory written by :func:`trackserve.serving.repository.write_repository`.
        host: address to listen on.
        grpc_port: port of the gRPC service; 0 takes a free one, as for the next two.
        http_port: port of the HTTP service.
        metrics_port: port of the Prometheus metrics.
        log: file for Triton's log; by default it lasts as long as the server.
        start_timeout: seconds until the server must be ready; 3 s are usual, 40 s where
            Numba has yet to compile.
        stop_timeout: seconds that requests in flight get before the server is killed.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 8001,
        http_port: int = 8000,
        metrics_port: int = 8002,
        log: str | Path | None = None,
        start_timeout: float = 120.0,
        stop_timeout: float = 10.0,
    ) -> None:
        self.host = host
        self._repository = Path(repository).resolve()
        self._wanted_ports = (grpc_port, http_port, metrics_port)
        self._ports = self._wanted_ports
        self._log = None if log is None else Path(log)
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    @property
    def grpc_url(self) -> str:
        """``grpc://host:port``, as :class:`trackserve.client.Client` takes it."""
        return f"grpc://{self.host}:{self._ports[0]}"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self._ports[1]}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.host}:{self._ports[2]}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of Triton and id of its process group; None when it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start and wait until ready.

        Raises:
            ServerError: Triton is not installed, the repository is not there, a port is
                taken, or the server died or was not ready in time (with the end of its log).
        """
        if self._process:
            raise ServerError("the server runs already", url=self.grpc_url)
        triton = _find_triton()
        if not (self._repository / "models").is_dir():
            raise ServerError("no model repository", directory=str(self._repository))
        self._ports = _claim_ports(self.host, self._wanted_ports)
        with ExitStack() as cleanup:
            work = Path(tempfile.mkdtemp(prefix="trackserve-"))
            cleanup.callback(shutil.rmtree, work, ignore_errors=True)
            backends = _assemble_backends(work / "backends", triton, self._repository / "backends")
            log = self._log or work / "triton.log"
            shared_memory = f"trackserve-{secrets.token_hex(8)}"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    self._command(triton.binary, backends, shared_memory),
                    env=_environment(triton),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            cleanup.callback(_remove_shared_memory, shared_memory)
            cleanup.callback(_end, process, self._stop_timeout)
            self._wait_ready(process, log)
            self._process = process
            self._cleanup = cleanup.pop_all()

    def stop(self) -> None:
        """End the server and all its processes, and remove its shared memory."""
        self._process = None
        self._cleanup.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _command(self, binary: Path, backends: Path, shared_memory: str) -> list[str]:
        grpc_port, http_port, metrics_port = self._ports
        secret = f"{secrets.token_hex(16)}={secrets.token_hex(16)}"
        return [
            str(binary),
            f"--model-repository={self._repository / 'models'}",
            f"--backend-directory={backends}",
            "--model-control-mode=none",
            f"--grpc-restricted-protocol={_CLOSED}:{secret}",
            f"--http-restricted-api={_CLOSED}:{secret}",
            f"--http-address={self.host}",
            f"--grpc-address={self.host}",
            f"--metrics-address={self.host}",
            f"--grpc-port={grpc_port}",
            f"--http-port={http_port}",
            f"--metrics-port={metrics_port}",
            f"--exit-timeout-secs={max(1, round(self._stop_timeout))}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
        ]

    def _wait_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + self._start_timeout
        paths = ((self._ports[1], "/v2/health/ready"), (self._ports[2], "/metrics"))
        while process.poll() is None:
            if all(_answers(self.host, port, path) for port, path in paths):
                return
            if time.monotonic() > deadline:
                problem = f"not ready after {self._start_timeout:g} s"
                break
            time.sleep(_POLL)
        else:
            problem = "died while starting"
        raise ServerError(f"Triton {problem}; its log ends:\n{_tail(log)}", url=self.grpc_url)


def _find_triton() -> _Triton:
    """The nvidia-pytriton wheel's server, else the ``tritonserver`` on PATH."""
    package = importlib.util.find_spec("pytriton")
    if package and package.origin:
        root = Path(package.origin).parent / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
        files = [*(root / "backends" / "python").glob("*triton_python*"), stub]
        return _Triton(
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
    return _Triton(binary, list(python_backend.iterdir()), [])


def _assemble_backends(directory: Path, triton: _Triton, ours: Path) -> Path:
    """Triton's Python backend (copied: Triton refuses links that leave the folder) and ours."""
    python = directory / "python"
    python.mkdir(parents=True)
    for file in triton.python_backend:
        shutil.copy2(file, python)
    for backend in ours.iterdir():
        (directory / backend.name).symlink_to(backend)
    return directory


def _environment(triton: _Triton) -> dict[str, str]:
    """This process's environment, where the backend's Python is this one.

    The backend's process embeds Python: it takes its packages from the ``python3`` that
    comes first on PATH and needs the shared libpython.
    """
    python = [Path(sys.base_prefix) / "lib"]
    if directory := sysconfig.get_config_var("LIBDIR"):
        python.insert(0, Path(directory))
    paths = {
        "PATH": [Path(sys.executable).parent],
        "LD_LIBRARY_PATH": [*triton.libraries, *python],
    }
    environment = dict(os.environ)
    for name, first in paths.items():
        rest = os.environ.get(name)
        environment[name] = os.pathsep.join([*map(str, first), *([rest] if rest else [])])
    return environment


def _claim_ports(host: str, wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    """The ports asked for, or free ones for 0; nothing listens on them."""
    with ExitStack() as stack:
        first, second, third = (_claim(stack, host, port) for port in wanted)
    return first, second, third


def _claim(stack: ExitStack, host: str, port: int) -> int:
    probe = stack.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
    except OSError as error:
        raise ServerError(f"cannot listen: {error.strerror}", url=f"{host}:{port}") from None
    return int(probe.getsockname()[1])


def _answers(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path) -> str:
    """The last lines of the log, without Triton's tables of settings."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if line and line[0] not in "+|"][-_LOG_TAIL:])


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Ask Triton to end, give it ``timeout`` seconds, then kill what is left of its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    deadline = time.monotonic() + _KILL_TIMEOUT
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(_POLL)


def _remove_shared_memory(prefix: str) -> None:
    for region in _SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
