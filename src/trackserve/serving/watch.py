"""The watch over a server, and the removal of shared memory of dead clients.

Triton reports that it is healthy even if a backend's process has died. So only an answered request
proves that a server is alive.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from trackserve.errors import InputError, ServerBusy, decode, parse_json

from . import local, prometheus
from .guard import SHARED_MEMORY
from .http import Http
from .repository import PROBE

_SECOND_LOOK = 0.2


class Life(Enum):
    """The result of a probe of a server."""

    ANSWERS = "answers"
    BUSY = "busy, but no batch is taken"
    SILENT = "a request is not answered, and no batch is taken"
    DEAD = "a request failed inside Triton"


class Watch:
    """The watch over a server; it finds out when the server must be restarted.

    Args:
        service: HTTP service of Triton.
        metrics: service of its metrics.
        models: ``models/`` of the repository.
        patience: seconds after which a model that neither answers nor takes a batch is dead.
    """

    def __init__(self, service: Http, metrics: Http, models: Path, patience: float) -> None:
        self._service = service
        self._metrics = metrics
        self._probes = {
            probe.parent.name: probe.read_text() for probe in sorted(models.glob(f"*/{PROBE}"))
        }
        self._patience = patience
        self._alive = dict.fromkeys(self._probes, time.monotonic())
        self._batches: dict[str, float] = {}

    def look(self) -> str | None:
        """Probe every model.

        A failure counts only if it happens twice, because one may be an accident. A model that is
        only busy takes batches, so it is alive.

        Returns:
            the reason to restart the server; None if it is alive.
        """
        now = time.monotonic()
        lives = self._probe_all()
        if Life.DEAD in lives.values():
            time.sleep(_SECOND_LOOK)
            lives = self._probe_all()
        batches = count_batches(self._metrics)
        before, self._batches = self._batches, batches
        for name, life in lives.items():
            if life is Life.ANSWERS or batches.get(name) != before.get(name):
                self._alive[name] = now
            if life is Life.DEAD or now - self._alive[name] > self._patience:
                return f"{name}: {life.value}"
        return None

    def _probe_all(self) -> dict[str, Life]:
        return {name: probe(self._service, name, body) for name, body in self._probes.items()}


def probe(service: Http, model: str, body: str) -> Life:
    """Send a model the tiny request ``body``; return how it ended."""
    try:
        status, text = service.post(f"/v2/models/{model}/infer", body)
    except TimeoutError:
        return Life.SILENT
    except OSError:
        return Life.DEAD
    if status == 200:
        return Life.ANSWERS
    return Life.BUSY if _is_busy(text) else Life.DEAD


def _is_busy(text: str) -> bool:
    """Whether a backend refused the request; Triton itself refuses if a backend is dead."""
    try:
        return isinstance(decode(str(parse_json(text, dict)["error"])), ServerBusy)
    except (InputError, KeyError):
        return False


def count_batches(metrics: Http) -> dict[str, float]:
    """Number of batches that each model has taken; nothing if there are no metrics."""
    try:
        samples = prometheus.parse(metrics.get("/metrics")[1])
    except (OSError, ValueError):
        return {}
    name = "trackserve_batches_total"
    models = {one.labels["model"] for one in samples if one.name == name and "model" in one.labels}
    return {model: prometheus.total(samples, name, model=model) for model in models}


def sweep(service: Http, secret: Mapping[str, str]) -> None:
    """Remove the shared memory of clients that died.

    Triton keeps a region that a request uses; the next sweep tries again.
    """
    with suppress(OSError):
        regions: list[Any] = service.get_json("/v2/systemsharedmemory/status", list, secret)
        for region in regions:
            name = str(region.get("name")) if isinstance(region, dict) else ""
            if local.abandoned(name):
                service.post(f"/v2/systemsharedmemory/region/{name}/unregister", headers=secret)
    for file in SHARED_MEMORY.glob("*"):
        if local.abandoned(file.name):
            with suppress(OSError):
                file.unlink()
