"""What a running server says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trackserve.errors import ServerUnavailable
from trackserve.wire.address import Address

from . import prometheus
from .http import Http

_TIMEOUT = 5.0


class ModelStatus(NamedTuple):
    """One model's counts since the server started.

    ``outcomes`` are numbers of requests by how they ended: "ok" or the error's name. Times
    are means per request, in seconds. What is not known is None.
    """

    name: str
    version: str
    outcomes: Mapping[str, int]
    waiting: float | None = None
    in_work: float | None = None
    batch: float | None = None
    queue: float | None = None
    compute: float | None = None


class Status(NamedTuple):
    """A server's version, whether it is ready, and its models."""

    version: str
    ready: bool
    models: list[ModelStatus]
    has_metrics: bool


def read_status(address: Address, metrics: Http) -> Status:
    """Ask the server at ``address``, and its metrics' service for what Triton does not count.

    Raises:
        ServerUnavailable: nothing answers at ``address``.
    """
    ask = _ask_grpc if address.scheme == "grpc" else _ask_http
    version, ready, models = ask(address)
    try:
        samples = prometheus.parse(metrics.get("/metrics")[1])
    except OSError:
        return Status(version, ready, [_from_triton(model) for model in models], False)
    return Status(version, ready, [_from_all(model, samples) for model in models], True)


def _from_all(statistics: Mapping[str, Any], samples: list[prometheus.Sample]) -> ModelStatus:
    """From our metrics, or, for an alias, which has none, from Triton's."""
    outcomes = {
        sample.labels["outcome"]: int(sample.value)
        for sample in samples
        if sample.name == "trackserve_requests_total"
        and sample.labels["model"] == statistics["name"]
    }
    if outcomes:
        return _from_metrics(statistics, outcomes, samples)
    return _from_triton(statistics)


def _from_triton(statistics: Mapping[str, Any]) -> ModelStatus:
    counts = statistics.get("inference_stats", {})
    answered, failed = (int(counts.get(k, {}).get("count", 0)) for k in ("success", "fail"))
    return ModelStatus(
        statistics["name"], statistics["version"], {"ok": answered, "failed": failed}
    )


def _from_metrics(
    statistics: Mapping[str, Any],
    outcomes: Mapping[str, int],
    samples: list[prometheus.Sample],
) -> ModelStatus:
    name = statistics["name"]

    def total(metric: str) -> float:
        return prometheus.total(samples, f"trackserve_{metric}", model=name)

    def mean(metric: str, number: float) -> float | None:
        return total(metric) / number if number else None

    batched = total("batched_requests_total")
    return ModelStatus(
        name,
        statistics["version"],
        outcomes,
        total("waiting"),
        total("held") - total("waiting"),
        mean("batched_requests_total", total("batches_total")),
        mean("queue_seconds_total", batched),
        mean("compute_seconds_total", batched),
    )


def _ask_http(address: Address) -> tuple[str, bool, list[Any]]:
    service = Http(address.host, address.port)
    try:
        ready = service.get("/v2/health/ready")[0] == 200
        metadata, statistics = service.get_json("/v2"), service.get_json("/v2/models/stats")
    except OSError as error:
        url = f"http://{address.target}"
        raise ServerUnavailable("no answer", url=url, reason=str(error)) from error
    return metadata["version"], ready, statistics["model_stats"]


def _ask_grpc(address: Address) -> tuple[str, bool, list[Any]]:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    try:
        with InferenceServerClient(address.target) as triton:
            ready = bool(triton.is_server_ready(client_timeout=_TIMEOUT))
            metadata = triton.get_server_metadata(client_timeout=_TIMEOUT)
            statistics = triton.get_inference_statistics(as_json=True, client_timeout=_TIMEOUT)
    except InferenceServerException as error:
        url = f"grpc://{address.target}"
        raise ServerUnavailable("no answer", url=url, reason=error.message()) from error
    return metadata.version, ready, statistics.get("model_stats", [])
