"""Start, watch and stop a Triton server over a repository written by :mod:`.repository`."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from trackserve.errors import ServerError
from trackserve.wire.timeout import checked_timeout

from . import drain, guard, local, readiness, restarts
from .backend import event_log, orphan
from .compilation import CompilationLog
from .flags import CLOSED, SHARED_MEMORY, checked_flags, tls_flags
from .guarded import Guarded, start_guarded
from .http import Http
from .installation import (
    ALLOW_SHARED_MEMORY,
    Ports,
    Triton,
    assemble_backends,
    claim_ports,
    environment,
    find_address,
    find_triton,
)
from .log import TEXT, checked_format
from .readiness import Readiness
from .tls import Tls
from .watch import Watch, sweep

_HEADER_PREFIX = "triton-grpc-protocol-"
_POLL = 0.05
_WATCH_PERIOD = 1.0
_PATIENCE = 60.0
"""Seconds that a server may neither answer nor take a batch."""
_PROBE_TIMEOUT = 15.0
"""Seconds. Triton may need 13 s to say that a backend's process with requests has died."""

_RESTARTS = 3
"""Restarts in a row that may fail."""

_STUB_TIMEOUT = 86_400
"""Seconds for a process of the Python backend to begin: ``start_timeout`` ends a start. Triton
waits without an end for a process that has passed its own limit, which is 30 s, and lives."""

_LAST_REPLIES = 0.2
"""Seconds for Triton to put replies on the wire after its backends are done."""

_LOG_TAIL = 30
_LOG_TAIL_BYTES = 1 << 16
_LOOPBACK = "127.0.0.1"


class _Launch(NamedTuple):
    """The settings with which Triton is started, and started again."""

    triton: Triton
    work: Path
    backends: Path
    ports: Ports
    log: Path
    shared_memory: str
    key: str
    value: str
    event_log: int | None = None


class Server:
    """A running Triton server; use it as a context manager.

    The server is ready when the ``with`` block begins. At the end of the block, or if this process
    is killed, the server ends with all its processes and shared memory. Clients may infer, and read
    metadata, statistics and health. Nobody may load models, trace or change log settings. Only
    clients that can read this user's files may use shared memory (:mod:`.local`).

    A thread sends each model a tiny request every second. If Triton or a backend has died, the
    thread starts Triton anew, on the same ports. It also removes the shared memory of dead clients.

    Args:
        repository: directory written by :mod:`trackserve.serving.repository`.
        host: IPv4 address to listen on, or a name that has one.
        grpc_port: port of the gRPC service; 0 takes a free one, as for the next two.
        http_port: port of the HTTP service.
        metrics_port: port of the Prometheus metrics.
        log: file for Triton's log, which is added to it; by default a file that is removed with
            the server.
        event_log: file for a line about each event (:mod:`.backend.event_log`), which is added to
            it, or the number of an open file; None: no line is written.
        log_format: form of these lines: "text" or "json".
        start_timeout: seconds until the server must be ready; 3 s are usual, 40 s if Numba must
            compile first. None or infinity: until Triton is ready or ends.
        stop_timeout: most seconds for requests in flight when the server stops. None or infinity:
            until all are answered.
        notice: called with a line of text after Triton was started anew.
        tls: encryption of gRPC. Triton has none for HTTP and metrics, which then listen on
            127.0.0.1 alone.
        flags: more options of Triton, as ``--log-verbose=1``.
        ready_port: port of the page ``/ready`` (:mod:`.readiness`), on ``host``; 0 takes a free
            one; None: there is no such page.
        drain_delay: seconds at a stop in which the page says that the server takes no requests,
            while it still does: so that a load balancer goes elsewhere before one is refused.
        is_temporary: whether the repository is removed if this process is killed.

    Raises:
        InputError: a timeout is negative, NaN or no number, a flag is one that the server sets, or
            there is no such form of a log.
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
        event_log: str | Path | int | None = None,
        log_format: str = TEXT,
        start_timeout: float | None = 600.0,
        stop_timeout: float | None = 10.0,
        notice: Callable[[str], None] = lambda text: None,
        tls: Tls | None = None,
        flags: Sequence[str] = (),
        ready_port: int | None = None,
        drain_delay: float = 0.0,
        is_temporary: bool = False,
    ) -> None:
        self.host = host
        self.failure: ServerError | None = None
        """The error that ended the server; None if there was none."""
        self.restarts = 0
        """Times that Triton was started anew."""
        self._repository = Path(repository).resolve()
        self._wanted_ports = Ports(grpc_port, http_port, metrics_port)
        self._ports = self._wanted_ports
        self._log = None if log is None else Path(log)
        self._event_log = event_log
        self._log_format = checked_format(log_format)
        self._start_timeout = checked_timeout(start_timeout, "start_timeout")
        self._stop_timeout = checked_timeout(stop_timeout, "stop_timeout")
        self._notice = notice
        self._tls = tls
        self._flags = checked_flags(flags)
        self._ready_port = ready_port
        self._drain_delay = checked_timeout(drain_delay, "drain_delay")
        self._is_temporary = is_temporary
        self._readiness: Readiness | None = None
        self._guarded: Guarded | None = None
        self._stopping = threading.Event()
        self._is_watched = False
        self._starting = threading.Lock()
        self._cleanup = ExitStack()

    @property
    def ports(self) -> Ports:
        """Ports of the services; before the start, the ports that were asked for."""
        return self._ports

    @property
    def models(self) -> list[str]:
        """Names of the models in the repository."""
        return sorted(path.parent.name for path in self._repository.glob("models/*/config.pbtxt"))

    @property
    def grpc_url(self) -> str:
        """``grpc://host:port``, as :class:`trackserve.client.Client` takes it."""
        return f"grpc{'s' if self._tls else ''}://{self.host}:{self._ports.grpc}"

    @property
    def http_host(self) -> str:
        """Host of the services of HTTP and of metrics, which have no TLS."""
        return _LOOPBACK if self._tls else self.host

    @property
    def http_url(self) -> str:
        """``http://host:port`` of the HTTP service."""
        return f"http://{self.http_host}:{self._ports.http}"

    @property
    def metrics_url(self) -> str:
        """Address of the page of Prometheus metrics."""
        return f"http://{self.http_host}:{self._ports.metrics}/metrics"

    @property
    def ready_url(self) -> str:
        """Address of the page that says whether the server takes requests; empty: there is none."""
        page = self._readiness
        return f"http://{self.host}:{page.port}{readiness.PATH}" if page else ""

    @property
    def pid(self) -> int | None:
        """Process id of Triton, and id of its process group; None if it does not run."""
        return self._guarded.pid if self._guarded else None

    def start(self, compiles: Callable[[str], None] = lambda name: None) -> None:
        """Start and wait until ready. An exception, as that of Ctrl-C, ends Triton at once.

        Args:
            compiles: called with the name of each loop that the models compile.

        Raises:
            ServerError: Triton is not installed, the repository is not there, the host is no
                address of this machine, a port is taken, the log cannot be written, there is no
                temporary folder, or the server died or was not ready in time (with the end of
                its log).
        """
        if self._guarded:
            raise ServerError("the server runs already", url=self.grpc_url)
        triton = find_triton()
        if not (self._repository / "models").is_dir():
            raise ServerError("no model repository", directory=str(self._repository))
        self.host = find_address(self.host)
        self._ports = claim_ports(self.host, self._wanted_ports)
        self._stopping = threading.Event()
        self.failure = None
        self.restarts = 0
        with ExitStack() as cleanup:
            try:
                work = Path(tempfile.mkdtemp(prefix="trackserve-"))
            except OSError as error:
                raise ServerError(f"no temporary folder: {error.strerror}") from error
            cleanup.callback(shutil.rmtree, work, ignore_errors=True)
            launch = _Launch(
                triton,
                work,
                assemble_backends(work / "backends", triton, self._repository / "backends"),
                self._ports,
                self._log or work / "triton.log",
                f"trackserve-{secrets.token_hex(8)}",
                secrets.token_hex(16),
                secrets.token_hex(16),
                self._open_event_log(cleanup),
            )
            try:
                launch.log.open("ab").close()
            except OSError as error:
                reason = f"the log cannot be written: {error.strerror}"
                raise ServerError(reason, file=str(launch.log)) from None
            if self._ready_port is not None:
                self._readiness = Readiness(self.host, self._ready_port, self._why_not_ready)
                cleanup.callback(self._readiness.close)
            cleanup.callback(self._end, launch)
            self._launch(launch, compiles)
            header = _HEADER_PREFIX + launch.key
            cleanup.callback(local.withdraw, self._ports.grpc)
            found = local.Local(header, launch.value, os.getpid(), self._ports.http)
            local.publish(self._ports.grpc, found)
            watch = threading.Thread(
                target=self._watch, args=(launch, self._stopping), name="watch", daemon=True
            )
            watch.start()
            self._is_watched = True
            self._cleanup = cleanup.pop_all()

    def stop(self) -> None:
        """Wait for requests in flight, then end the server and all its processes."""
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

    def _launch(self, launch: _Launch, compiles: Callable[[str], None] = lambda name: None) -> None:
        """Start Triton under a guard and wait until it is ready."""
        with self._starting:
            if self._stopping.is_set():
                return
            drained = launch.work / "drain"
            shutil.rmtree(drained, ignore_errors=True)
            drained.mkdir()
            left = [str(launch.work), str(local.file(self._ports.grpc))]
            if self._is_temporary:
                left.append(str(self._repository))
            regions = str(guard.SHARED_MEMORY / f"{launch.shared_memory}*")
            variables = {
                drain.VARIABLE: str(drained),
                restarts.VARIABLE: str(self.restarts),
                **self._variables_of_log(launch),
                orphan.VARIABLE: orphan.settings([*left, regions]),
            }
            settings = {
                "command": self._command(launch),
                "shared_memory": launch.shared_memory,
                "orphaned": left,
                "kept": [] if launch.event_log is None else [launch.event_log],
            }
            compilation = CompilationLog(launch.log)
            with launch.log.open("ab") as log:
                guarded = start_guarded(settings, environment(launch.triton) | variables, log)
            self._guarded = guarded
        self._wait_ready(guarded, compilation, launch.log, compiles)

    def _open_event_log(self, cleanup: ExitStack) -> int | None:
        """The number of the open file for lines about events; it is closed with the server."""
        log = self._event_log
        if log is None or isinstance(log, int):
            return log
        try:
            descriptor = event_log.open_to_append(log)
        except OSError as error:
            reason = f"the log of events cannot be written: {error.strerror}"
            raise ServerError(reason, file=str(log)) from None
        cleanup.callback(os.close, descriptor)
        return descriptor

    def _variables_of_log(self, launch: _Launch) -> dict[str, str]:
        if launch.event_log is None:
            return {}
        return {
            event_log.VARIABLE: str(launch.event_log),
            event_log.FORMAT_VARIABLE: self._log_format,
        }

    def _end(self, launch: _Launch) -> None:
        """Wait for the backends, then end Triton; an exception in the wait ends it at once."""
        self._stopping.set()
        with self._starting:
            try:
                if self._guarded and not self._guarded.has_ended:
                    time.sleep(self._drain_delay)
                    self._drain(launch.work / "drain")
            finally:
                self._kill()

    def _why_not_ready(self) -> str:
        """The reason why requests are to go elsewhere; empty if there is none."""
        if self._stopping.is_set():
            return "stopping"
        if not self._is_watched or not self._ready():
            return "starting"
        return ""

    def _drain(self, directory: Path) -> None:
        """Refuse new requests, and wait until the backends have answered the others.

        On SIGTERM, Triton itself unloads the models first. For seconds it answers new requests
        with "no such model", and a client would believe that.
        """
        deadline = time.monotonic() + self._stop_timeout
        with suppress(OSError):  # the folder for temporary files was cleaned
            drain.order(directory)
            while not drain.done(directory) and time.monotonic() < deadline:
                time.sleep(_POLL)
        time.sleep(_LAST_REPLIES)

    def _kill(self) -> None:
        if self._guarded:
            self._guarded.end()
        self._guarded = None

    def _command(self, launch: _Launch) -> list[str]:
        nobody_knows = f"{secrets.token_hex(16)}={secrets.token_hex(16)}"
        closed = f"{CLOSED}:{nobody_knows}"
        shared = f"{SHARED_MEMORY}:{launch.key}={launch.value}"
        options = [f"--{ALLOW_SHARED_MEMORY}=true"] if launch.triton.forbids_shared_memory else []
        return [
            str(launch.triton.binary),
            *options,
            f"--model-repository={self._repository / 'models'}",
            f"--backend-directory={launch.backends}",
            "--model-control-mode=none",
            f"--grpc-restricted-protocol={closed}",
            f"--grpc-restricted-protocol={shared}",
            f"--http-restricted-api={closed}",
            f"--http-restricted-api={shared}",
            f"--http-address={self.http_host}",
            f"--grpc-address={self.host}",
            f"--metrics-address={self.http_host}",
            f"--grpc-port={launch.ports.grpc}",
            f"--http-port={launch.ports.http}",
            f"--metrics-port={launch.ports.metrics}",
            f"--backend-config=python,shm-region-prefix-name={launch.shared_memory}",
            f"--backend-config=python,stub-timeout-seconds={_STUB_TIMEOUT}",
            *(tls_flags(self._tls) if self._tls else ()),
            *self._flags,
        ]

    def _wait_ready(
        self,
        guarded: Guarded,
        compilation: CompilationLog,
        log: Path,
        compiles: Callable[[str], None],
    ) -> None:
        deadline = time.monotonic() + self._start_timeout
        while not guarded.has_ended:
            for name in compilation.new():
                compiles(name)
            if self._ready() or self._stopping.is_set():
                return
            if time.monotonic() > deadline:
                problem = f"not ready after {self._start_timeout:g} s"
                break
            time.sleep(_POLL)
        else:
            problem = "died while starting"
        raise ServerError(f"Triton {problem}; its log ends:\n{_tail(log)}", url=self.grpc_url)

    def _ready(self) -> bool:
        services = ((self._ports.http, "/v2/health/ready"), (self._ports.metrics, "/metrics"))
        try:
            return all(Http(self.http_host, port).get(path)[0] == 200 for port, path in services)
        except OSError:
            return False

    def _watch(self, launch: _Launch, stopping: threading.Event) -> None:
        """Watch Triton until the server stops; keep an error as :attr:`failure`."""
        try:
            self._keep_alive(launch, stopping)
        except ServerError as error:
            self.failure = error
        except Exception as error:
            self.failure = ServerError("the watch over the server failed", reason=repr(error))

    def _keep_alive(self, launch: _Launch, stopping: threading.Event) -> None:
        service = Http(self.http_host, launch.ports.http, timeout=_PROBE_TIMEOUT)
        metrics = Http(self.http_host, launch.ports.metrics)
        secret = {launch.key: launch.value}
        models = self._repository / "models"
        watch = Watch(service, metrics, models, _PATIENCE)
        failures = 0
        while not stopping.wait(_WATCH_PERIOD):
            guarded = self._guarded
            ended = guarded is not None and guarded.has_ended
            reason = "Triton ended" if ended else watch.look()
            if reason and not stopping.is_set():
                try:
                    self._restart(launch)
                except ServerError:
                    failures += 1
                    if failures == _RESTARTS:
                        raise
                    continue
                failures = 0
                if stopping.is_set():
                    return
                self._notice(f"{reason}; Triton was started anew")
                watch = Watch(service, metrics, models, _PATIENCE)
            sweep(service, secret)

    def _restart(self, launch: _Launch) -> None:
        """Start Triton anew.

        To load only the dead model again would spare the others. But its requests in flight would
        hang until their deadline. A broken connection tells their clients at once.
        """
        with self._starting:
            if not self._stopping.is_set():
                self._kill()
                self.restarts += 1
        self._launch(launch)


def _tail(log: Path) -> str:
    """The last lines of the log, without Triton's tables of settings."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if line and line[0] not in "+|"][-_LOG_TAIL:])
