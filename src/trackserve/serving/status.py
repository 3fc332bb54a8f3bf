"""The status of a running server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from trackserve.errors import ServerError, ServerUnavailable
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address

from . import prometheus
from .http import Http

_TIMEOUT = 5.0
_RESULTS = ("ok", "partial")
"""Outcomes of events that have a result."""


class ModelStatus(NamedTuple):
    """The counts of one model since the server started; a value that is unknown is None.

    Attributes:
        name, version: name and version of the model.
        outcomes: number of events by outcome: "ok", or the name of the error.
        waiting: number of events that wait for a worker.
        in_work: number of events in work.
        batch: mean number of events in a batch.
        queue: mean wait for a worker per event, seconds.
        compute: mean work per event, seconds.
        identity: text of the identity of what the backend has loaded.
        events: number of events that workers took.
    """

    name: str
    version: str
    outcomes: Mapping[str, int]
    waiting: float | None = None
    in_work: float | None = None
    batch: float | None = None
    queue: float | None = None
    compute: float | None = None
    identity: str | None = None
    events: float | None = None


class Status(NamedTuple):
    """The status of a server.

    Attributes:
        version: version of Triton.
        ready: whether the server has loaded its models.
        models: status of each model.
        has_metrics: whether the service of metrics has answered.
        restarts: times that Triton was started anew; None: not known.
    """

    version: str
    ready: bool
    models: list[ModelStatus]
    has_metrics: bool
    restarts: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The status as JSON takes it."""
        models = [model._asdict() for model in self.models]
        return self._asdict() | {"models": models}


class Rates(NamedTuple):
    """What a model did between two looks.

    Attributes:
        events: answered events per second, errors too.
        errors: of these, those without a result.
        queue: mean wait for a worker, seconds; None if no event was taken.
        compute: mean work per event, seconds; None likewise.
        busy: mean number of workers at work; None if it is not known.
    """

    events: float
    errors: float
    queue: float | None = None
    compute: float | None = None
    busy: float | None = None


def rates(before: ModelStatus, after: ModelStatus, seconds: float) -> Rates:
    """The rates between two looks at a model, ``seconds`` apart.

    A server that was started anew meanwhile begins at 0: nothing is negative.
    """

    def change(one: float | None, other: float | None) -> float:
        return max(0.0, (other or 0.0) - (one or 0.0))

    def spent(model: ModelStatus, mean: float | None) -> float:
        return (mean or 0.0) * (model.events or 0.0)

    answered = change(sum(before.outcomes.values()), sum(after.outcomes.values()))
    good = sum(change(before.outcomes.get(name), after.outcomes.get(name)) for name in _RESULTS)
    per_second = answered / seconds, max(0.0, answered - good) / seconds
    if after.events is None:
        return Rates(*per_second)
    taken = change(before.events, after.events)
    queue = change(spent(before, before.queue), spent(after, after.queue))
    compute = change(spent(before, before.compute), spent(after, after.compute))
    if not taken:
        return Rates(*per_second, busy=0.0)
    return Rates(*per_second, queue / taken, compute / taken, compute / seconds)


def read_status(address: Address, metrics: Http, access: Access = NO_ACCESS) -> Status:
    """Ask the server at ``address``, and its service of metrics for our own counts.

    Args:
        address: address of the server.
        metrics: its service of metrics, perhaps.
        access: what is shown to the server.

    Raises:
        ServerUnavailable: nothing answers at ``address``.
        ServerError: the answer is not one of Triton.
    """
    access.check(address)
    ask = _ask_grpc if address.protocol == "grpc" else _ask_http
    version, ready, models = ask(address, access)
    samples: list[prometheus.MetricSample] | None = None
    with suppress(OSError, ValueError):
        samples = prometheus.parse(metrics.get("/metrics")[1])
    try:
        found = [
            _from_triton(model) if samples is None else _from_all(model, samples)
            for model in models
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ServerError("malformed statistics", url=address.url, reason=repr(error)) from error
    counts = [sample.value for sample in samples or () if sample.name == "trackserve_restarts"]
    restarts = None if samples is None else int(max(counts, default=0))
    return Status(version, ready, found, samples is not None, restarts)


def _from_all(statistics: Mapping[str, Any], samples: list[prometheus.MetricSample]) -> ModelStatus:
    """The status from our metrics; an alias has none, so its status is from Triton's."""
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
    samples: list[prometheus.MetricSample],
) -> ModelStatus:
    name = statistics["name"]

    def total(metric: str) -> float:
        return prometheus.total(samples, f"trackserve_{metric}", model=name)

    def mean(metric: str, number: float) -> float | None:
        return total(metric) / number if number else None

    batched = total("batched_requests_total")
    identities = (
        sample.labels["identity"]
        for sample in samples
        if sample.name == "trackserve_identity" and sample.labels["model"] == name
    )
    return ModelStatus(
        name,
        statistics["version"],
        outcomes,
        total("waiting"),
        total("held") - total("waiting"),
        mean("batched_requests_total", total("batches_total")),
        mean("queue_seconds_total", batched),
        mean("compute_seconds_total", batched),
        next(identities, None),
        batched,
    )


def _ask_http(address: Address, access: Access) -> tuple[str, bool, list[Any]]:
    context = access.context() if address.is_encrypted else None
    service = Http(address.host, address.port, context=context)
    headers = access.headers()
    try:
        ready = service.get("/v2/health/ready", headers)[0] == 200
        metadata = service.get_json("/v2", dict, headers)
        statistics = service.get_json("/v2/models/stats", dict, headers)
    except OSError as error:
        raise ServerUnavailable("no answer", url=address.url, reason=str(error)) from error
    return str(metadata.get("version", "")), ready, statistics.get("model_stats", [])


def _ask_grpc(address: Address, access: Access) -> tuple[str, bool, list[Any]]:
    import grpc
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    try:
        options: list[tuple[str, int | str]] = []
        if address.is_loopback:
            options.append(("grpc.enable_http_proxy", 0))
        if address.name:
            options.append(("grpc.ssl_target_name_override", address.name))
        credentials = None
        if address.is_encrypted:
            credentials = grpc.ssl_channel_credentials(*access.pem())
        how: dict[str, Any] = {"headers": access.headers(), "client_timeout": _TIMEOUT}
        with InferenceServerClient(
            address.target,
            ssl=address.is_encrypted,
            creds=credentials,
            channel_args=options,
        ) as triton:
            ready = bool(triton.is_server_ready(**how))
            metadata = triton.get_server_metadata(**how)
            statistics = triton.get_inference_statistics(as_json=True, **how)
    except InferenceServerException as error:
        raise ServerUnavailable("no answer", url=address.url, reason=error.message()) from error
    return metadata.version, ready, statistics.get("model_stats", [])
