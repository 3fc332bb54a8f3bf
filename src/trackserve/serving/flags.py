"""Options of Triton's command line that come from a user."""

from __future__ import annotations

from collections.abc import Sequence

from trackserve.errors import InputError

from .tls import Tls

CLOSED, SHARED_MEMORY = "model-repository,trace,logging", "shared-memory"
"""Services of Triton that nobody may use, and the one that only those may that know a secret."""

_OURS = (
    "model-repository",
    "model-store",
    "backend-directory",
    "model-control-mode",
    "load-model",
    "allow-client-shm",
    "allow-http",
    "allow-grpc",
    "allow-metrics",
    "http-restricted-api",
    "http-address",
    "http-port",
    "grpc-restricted-protocol",
    "grpc-address",
    "grpc-port",
    "grpc-use-ssl",
    "grpc-use-ssl-mutual",
    "grpc-server-cert",
    "grpc-server-key",
    "grpc-root-cert",
    "metrics-address",
    "metrics-port",
)
"""Options that a server sets itself: what is open, and where, does not depend on a user's flags."""


def checked_flags(flags: Sequence[str]) -> list[str]:
    """The flags, each as ``--NAME`` or ``--NAME=VALUE``.

    Raises:
        InputError: one has another form, or the server sets it itself.
    """
    for flag in flags:
        name = flag.partition("=")[0].removeprefix("--")
        if not flag.startswith("--") or not name:
            bound = "--NAME or --NAME=VALUE"
            raise InputError("no option of Triton", found=flag, bound=bound)
        if name in _OURS:
            raise InputError("trackserve sets this option of Triton itself", found=flag)
    return list(flags)


def tls_flags(tls: Tls) -> list[str]:
    """The options by which Triton's gRPC has TLS."""
    flags = [
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={tls.certificate}",
        f"--grpc-server-key={tls.key}",
    ]
    if tls.client_authority:
        flags += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={tls.client_authority}"]
    return flags
