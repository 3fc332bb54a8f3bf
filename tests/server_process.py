"""A server in a process of its own, which a test can kill or freeze."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.processes import backend_of
from trackserve.serving.http import Http

PROGRAM = """
import signal, sys, time
from trackserve.serving.server import Server
signal.signal(signal.SIGTERM, signal.default_int_handler)
server = Server(sys.argv[1], grpc_port=int(sys.argv[2]), http_port=0, metrics_port=0)
server.start()
print(server.pid, server.ports.grpc, server.ports.http, flush=True)
try:
    time.sleep(1000)
except KeyboardInterrupt:
    server.stop()
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, repository: Path, port: int = 0) -> None:
        self._repository = repository
        command = [sys.executable, "-c", PROGRAM, str(repository), str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._ports: list[int] = []

    def wait(self) -> Process:
        """Wait until it is ready."""
        assert self._process.stdout
        if not self._ports:
            self._ports = [int(word) for word in self._process.stdout.readline().split()]
        return self

    @property
    def port(self) -> int:
        return self._ports[1]

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the process itself."""
        return self._process.pid

    @property
    def triton(self) -> int:
        """Process id of the Triton that it has started at first."""
        return self._ports[0]

    def answers(self, model: str) -> bool:
        """Whether a model answers, seen by a client of the test's own."""
        probe = (self._repository / f"models/{model}/probe.json").read_text()
        with suppress(OSError):
            service = Http("127.0.0.1", self._ports[2], 1)
            return service.post(f"/v2/models/{model}/infer", probe)[0] == 200
        return False

    def kill(self, what: str) -> None:
        """Kill the process itself, its Triton, or a backend of that, with SIGKILL."""
        pids = {"server": self._process.pid, "triton": self.triton}
        pid = pids.get(what) or backend_of(self.triton)
        os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        os.killpg(os.getpgid(self.triton), signal.SIGSTOP)

    def thaw(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(self.triton), signal.SIGCONT)

    def drain(self) -> None:
        """Tell it to stop, as an operator does: it answers what it has."""
        self._process.terminate()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
