"""The configuration of Envoy for a front: functions from settings to its JSON.

Names and meanings are those of Envoy's API, version 3. What is tuned, and why, stands in
docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from trackserve.errors import InputError
from trackserve.wire.access import NO_ACCESS, TOKEN_HEADER, TOKEN_SCHEME, Access
from trackserve.wire.address import Address

from ..tls import Tls

Json = dict[str, Any]

READY = "/ready"
"""Path that answers 200 while the front takes requests, and 503 while it drains."""

GRPC_OPEN = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ModelInfer",
)
"""Calls of Triton's gRPC service that pass."""

HTTP_OPEN = (
    r"/v2(/health/(live|ready)|/models/stats"
    r"|/models/[^/]+(/versions/[0-9]+)?(/(ready|config|stats|infer))?)?"
)
"""Paths of Triton's HTTP service that pass, as a regular expression."""

_TYPE = "type.googleapis.com/envoy"
_BUFFER = 64 << 20
"""Bytes of a request, or an answer, that Envoy holds: what it has not kept it cannot send again."""
_RETRIES = 10
_MOST_IN_FLIGHT = 100_000
_MOST_CONNECTIONS = 20_000
_BREAKERS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class FrontSettings:
    """What a front listens on, and whom it lets in.

    Attributes:
        host, port: where clients come to, by gRPC and HTTP alike.
        metrics_port: port of the metrics, on 127.0.0.1 unless ``metrics_host`` says otherwise.
        metrics_host: host of the metrics.
        tls: its encryption; None: none.
        tokens: tokens by name of the client; empty: none is asked for.
        max_request: most bytes of a request.
        log: file for a line of JSON about each request that was refused or failed.
        access: what the front shows to servers that have TLS.
    """

    host: str
    port: int
    metrics_port: int
    metrics_host: str = "127.0.0.1"
    tls: Tls | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_request: int = _BUFFER
    log: str = "/dev/stderr"
    access: Access = NO_ACCESS


def listeners(settings: FrontSettings, admin: Path, has_http: bool, stamp: str = "") -> list[Json]:
    """The listeners of a front: one for clients, one for Prometheus.

    Args:
        settings: the settings.
        admin: socket of Envoy's administration, which has the metrics.
        has_http: whether there are servers for HTTP.
        stamp: any text; another one has Envoy read certificates anew.
    """
    chain: Json = {"filters": [_manager("front", settings, _routes(settings, has_http))]}
    if settings.tls is not None:
        chain["transport_socket"] = _front_tls(settings.tls)
    front = _listener("front", settings.host, settings.port, chain)
    front["metadata"] = {"filter_metadata": {"trackserve": {"stamp": stamp}}}
    front["access_log"] = [_log(settings.log, _CONNECTION, None)]
    metrics = {
        "match": {"path": "/metrics"},
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"},
    }
    plain = {"filters": [_manager("metrics", None, [metrics, _refuse(404, "only /metrics")])]}
    return [front, _listener("metrics", settings.metrics_host, settings.metrics_port, plain)]


def clusters(settings: FrontSettings, servers: Sequence[Address], admin: Path) -> list[Json]:
    """The servers behind a front, by gRPC and by HTTP.

    Raises:
        InputError: there is no server for gRPC, or some have TLS and others have none.
    """
    grpc, http = (
        [server for server in servers if server.protocol == name] for name in ("grpc", "http")
    )
    if not grpc:
        bound = "grpc://HOST:PORT"
        raise InputError("a front needs the gRPC address of each server", bound=bound)
    found = [_cluster("grpc", grpc, settings.access, {"grpc_health_check": {}})]
    if http:
        health = {"http_health_check": {"path": "/v2/health/ready"}}
        found.append(_cluster("http", http, settings.access, health))
    place = {"address": {"pipe": {"path": str(admin)}}}
    found.append(
        {
            "@type": f"{_TYPE}.config.cluster.v3.Cluster",
            "name": "admin",
            "type": "STATIC",
            "load_assignment": _endpoints("admin", [{"endpoint": place}]),
        }
    )
    return found


def bootstrap(admin: Path, resources: Json) -> Json:
    """The configuration that Envoy is started with.

    Args:
        admin: socket of its administration, for this user only.
        resources: from :func:`static` or :func:`dynamic`.
    """
    return {
        "node": {"id": "front", "cluster": "trackserve"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": _MOST_CONNECTIONS,
                    },
                }
            ]
        },
        **resources,
    }


def static(listeners: list[Json], clusters: list[Json]) -> Json:
    """Listeners and clusters that do not change, for :func:`bootstrap`."""
    each = {"listeners": listeners, "clusters": clusters}
    return {
        "static_resources": {
            name: [{k: v for k, v in one.items() if k != "@type"} for one in found]
            for name, found in each.items()
        }
    }


def dynamic(listeners: Path, clusters: Path) -> Json:
    """Listeners and clusters in files that Envoy reads when they are replaced."""

    def source(file: Path) -> Json:
        return {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}

    return {"dynamic_resources": {"lds_config": source(listeners), "cds_config": source(clusters)}}


def _listener(name: str, host: str, port: int, chain: Json) -> Json:
    return {
        "@type": f"{_TYPE}.config.listener.v3.Listener",
        "name": name,
        "address": _socket(host, port),
        "per_connection_buffer_limit_bytes": _BUFFER,
        "filter_chains": [chain],
    }


def _manager(name: str, settings: FrontSettings | None, routes: list[Json]) -> Json:
    """The filter that takes HTTP/2, and so gRPC, and HTTP/1.1."""
    kind = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    config: Json = {
        "@type": kind,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",  # a client's own deadline counts
        "preserve_external_request_id": True,
        "route_config": {
            "name": name,
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
            # a token ends here
            "request_headers_to_remove": [TOKEN_HEADER],
        },
        "http_filters": [*(_filters(settings) if settings else ()), _filter("router")],
    }
    if settings is not None:
        config["access_log"] = [_log(settings.log, _REQUEST, _NOT_OK)]
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _filters(settings: FrontSettings) -> list[Json]:
    ready = {"name": ":path", "string_match": {"exact": READY}}
    found = [_filter("health_check", "HealthCheck", pass_through_mode=False, headers=[ready])]
    if settings.tokens:
        rules = {"action": "ALLOW", "policies": _policies(settings.tokens)}
        # the shadow says which token it was, for the log
        found.append(_filter("rbac", "RBAC", rules=rules, shadow_rules=rules))
    return [*found, _filter("buffer", "Buffer", max_request_bytes=settings.max_request)]


def _policies(tokens: Mapping[str, str]) -> Json:
    """A policy for each client: its token, for everything."""
    return {
        name: {
            "permissions": [{"any": True}],
            "principals": [
                {
                    "header": {
                        "name": TOKEN_HEADER,
                        "string_match": {"exact": f"{TOKEN_SCHEME}{token}"},
                    }
                }
            ],
        }
        for name, token in tokens.items()
    }


def _filter(name: str, kind: str = "Router", **config: Any) -> Json:
    where = f"{_TYPE}.extensions.filters.http.{name}.v3.{kind}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": where, **config}}


def _routes(settings: FrontSettings, has_http: bool) -> list[Json]:
    """What passes; everything else is refused."""
    calls = "|".join(GRPC_OPEN)
    service = rf"/inference\.GRPCInferenceService/({calls})"
    open_to_all: Json = {}
    if settings.tokens:
        off = {"@type": f"{_TYPE}.config.route.v3.FilterConfig", "disabled": True}
        open_to_all = {"typed_per_filter_config": {"envoy.filters.http.rbac": off}}
    health = {"path": "/grpc.health.v1.Health/Check", "grpc": {}}
    ready = {"safe_regex": {"regex": "/v2/health/(live|ready)"}}
    routes = [
        _route(health, "grpc") | open_to_all,
        _route({"safe_regex": {"regex": service}, "grpc": {}}, "grpc"),
    ]
    if has_http:
        routes += [
            _route(ready, "http") | open_to_all,
            _route({"safe_regex": {"regex": HTTP_OPEN}}, "http"),
        ]
    return [*routes, _refuse(403, "this is open to nobody")]


def _route(match: Json, cluster: str) -> Json:
    # what may be sent again: nothing that a server has answered, but for "busy" and "no such
    # model", which a server says while it stops
    predicate = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retry = {
        "retry_on": "unavailable,reset,connect-failure,refused-stream,gateway-error,"
        "retriable-headers",
        "num_retries": _RETRIES,
        "retriable_headers": [{"name": "grpc-status", "string_match": {"exact": "5"}}],
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{predicate}"},
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    return {"match": match, "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retry}}


def _refuse(status: int, text: str) -> Json:
    body = {"inline_string": text}
    return {"match": {"prefix": "/"}, "direct_response": {"status": status, "body": body}}


def _cluster(name: str, servers: Sequence[Address], access: Access, health: Json) -> Json:
    encrypted = {server.is_encrypted for server in servers}
    if len(encrypted) > 1:
        urls = [server.url for server in servers]
        raise InputError("either all servers have TLS, or none", found=urls)
    version = "http2_protocol_options" if name == "grpc" else "http_protocol_options"
    kind = f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": kind, "explicit_http_config": {version: {}}}
    often = {"timeout": "2s", "interval": "1s", "no_traffic_interval": "1s"}
    found: Json = {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "1s",
        "load_balancing_policy": {"policies": [_FEWEST]},
        # if all are unhealthy, none gets requests
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "per_connection_buffer_limit_bytes": _BUFFER,
        "health_checks": [{**often, "unhealthy_threshold": 2, "healthy_threshold": 1, **health}],
        # what waits at a server that has stopped is sent to another
        "close_connections_on_host_health_failure": True,
        "outlier_detection": _OUTLIERS,
        # the default of three retries at a time loses requests when a server dies
        "circuit_breakers": {"thresholds": [dict.fromkeys(_BREAKERS, _MOST_IN_FLIGHT)]},
        "track_cluster_stats": {"per_endpoint_stats": True},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": _endpoints(
            name, [{"endpoint": {"address": _socket(s.host, s.port)}} for s in servers]
        ),
    }
    if True in encrypted:
        found["transport_socket"] = _server_tls(servers, access)
    return found


_FEWEST = {
    # by request: gRPC keeps one connection, and events differ
    "typed_extension_config": {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.load_balancing_policies.least_request.v3.LeastRequest",
            "selection_method": "FULL_SCAN",
        },
    }
}

_OUTLIERS = {
    # a connection that breaks or is refused; "busy" is an answer of a server that is well
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_success_rate": 0,
    "interval": "1s",
    "base_ejection_time": "1s",
    "max_ejection_time": "10s",
    "max_ejection_percent": 100,
}


def _endpoints(name: str, places: list[Json]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": places}]}


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _front_tls(tls: Tls) -> Json:
    common: Json = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [_pair(tls.certificate, tls.key)],
    }
    if tls.client_authority:
        common["validation_context"] = {"trusted_ca": _file(tls.client_authority)}
    return _transport(
        "DownstreamTlsContext",
        {
            "common_tls_context": common,
            "require_client_certificate": tls.client_authority is not None,
        },
    )


def _server_tls(servers: Sequence[Address], access: Access) -> Json:
    names = dict.fromkeys(server.name or server.host for server in servers)
    context = {
        "trusted_ca": _file(access.authority or _SYSTEM_AUTHORITIES),
        "match_typed_subject_alt_names": [
            {"san_type": _kind_of_name(name), "matcher": {"exact": name}} for name in names
        ],
    }
    common: Json = {"alpn_protocols": ["h2", "http/1.1"], "validation_context": context}
    if access.certificate and access.key:
        common["tls_certificates"] = [_pair(access.certificate, access.key)]
    return _transport("UpstreamTlsContext", {"common_tls_context": common})


def _kind_of_name(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        return "DNS"
    return "IP_ADDRESS"


def _transport(kind: str, config: Json) -> Json:
    where = f"{_TYPE}.extensions.transport_sockets.tls.v3.{kind}"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": where, **config}}


def _pair(certificate: str | Path, key: str | Path) -> Json:
    return {"certificate_chain": _file(certificate), "private_key": _file(key)}


def _file(path: str | Path) -> Json:
    return {"filename": str(Path(path).resolve())}


_CONNECTION = {
    "time": "%START_TIME%",
    "from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "refused": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""What is logged of a connection that came to nothing."""

_REQUEST = {
    "time": "%START_TIME%",
    "from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "client": "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)%",
    "certificate": "%DOWNSTREAM_PEER_SUBJECT%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS%",
    "reason": "%RESPONSE_CODE_DETAILS%",
    "server": "%UPSTREAM_HOST%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes": "%BYTES_RECEIVED%",
    "ms": "%DURATION%",
    "request": "%REQ(X-REQUEST-ID)%",
}
"""What is logged of a request."""

_NOT_OK = {
    "or_filter": {
        "filters": [
            {
                "status_code_filter": {
                    "comparison": {
                        "op": "GE",
                        "value": {"default_value": 400, "runtime_key": "front.log_from"},
                    }
                }
            },
            {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}},
        ]
    }
}


def _log(path: str, fields: Mapping[str, str], which: Json | None) -> Json:
    kind = f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog"
    config = {"@type": kind, "path": path, "log_format": {"json_format": dict(fields)}}
    found: Json = {"name": "envoy.access_loggers.file", "typed_config": config}
    return found | ({"filter": which} if which else {})
