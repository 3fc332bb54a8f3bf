"""How a client shows who it is, and finds out who the server is, before a server of the test."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Pair
from command_line import says

from trackserve.cli.serve import split_flags
from trackserve.client import Access, Client
from trackserve.client.servers import current, parse_servers
from trackserve.client.transport import failure
from trackserve.edm import PointsEvent
from trackserve.errors import AccessDenied, InputError, ServerUnavailable
from trackserve.serving.flags import checked_flags, tls_flags
from trackserve.serving.tls import Tls, exposure
from trackserve.trackers.registry import find_tracker
from trackserve.wire.address import parse_url

TOKEN = "0123456789abcdef-secret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("server", "localhost", "127.0.0.1")


class Answers(BaseHTTPRequestHandler):
    """A service that is ready, and refuses everything else."""

    seen: list[tuple[str, str | None]]
    status = 401

    def do_GET(self) -> None:
        ready = self.path == "/v2/health/ready"
        self.seen.append((self.path, self.headers.get("authorization")))
        self.send_response(200 if ready else self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def service(context: ssl.SSLContext | None = None, status: int = 401) -> Iterator[Any]:
    """A running :class:`Answers`; has ``port`` and ``seen``."""
    handler = type("Here", (Answers,), {"seen": [], "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.seen = handler.seen  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def ready(port: int, access: Access, host: str = "localhost") -> bool:
    with Client(f"https://{host}:{port}", access=access, timeout=5) as client:
        return client.ready()


def test_a_client_knows_its_server_by_the_authority(
    authority: Authority, pair: Pair, folder: Path
) -> None:
    """Neither a server that another authority has signed, nor one of another name, nor one whose
    certificate has expired."""
    right, wrong = Access(authority.file), Access(Authority(folder, "other").file)
    for signed, access, host, answers in (
        (pair, right, "localhost", True),
        (pair, right, "127.0.0.1", True),
        (pair, wrong, "localhost", False),
        (pair, Access(), "localhost", False),
        (authority.sign("elsewhere", "elsewhere"), right, "localhost", False),
        (authority.sign("old", "localhost", is_expired=True), right, "localhost", False),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*signed)
        with service(context) as running:
            assert ready(running.server_port, access, host) is answers
            assert bool(running.seen) is answers


def test_a_server_knows_its_clients_by_the_authority(
    authority: Authority, pair: Pair, folder: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.sign("client", "client.example")
    strange = Authority(folder, "strangers").sign("stranger", "client.example")
    with service(context) as running:
        assert ready(running.server_port, Access(authority.file, *mine))
        assert not ready(running.server_port, Access(authority.file, *strange))
        assert not ready(running.server_port, Access(authority.file))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_not_sent_again(status: int) -> None:
    with (
        service(status=status) as running,
        Client(f"http://127.0.0.1:{running.server_port}", access=Access(token=TOKEN)) as client,
    ):
        event = find_tracker("exatrkx").example()
        assert isinstance(event, PointsEvent)
        with pytest.raises(AccessDenied) as raised:
            client.reconstruct("exatrkx", event)
    assert len(running.seen) == 1
    assert running.seen[0][1] == f"Bearer {TOKEN}"
    assert TOKEN not in str(raised.value)


def test_refusals_of_grpc_are_told_apart_from_a_server_that_is_away() -> None:
    for status, text in (
        ("UNAUTHENTICATED", "Client authentication failed."),
        ("PERMISSION_DENIED", "this is open to nobody"),
        ("UNAVAILABLE", "This protocol is restricted, expecting header triton-grpc-..."),
    ):
        assert isinstance(failure(text, status=status, url="u"), AccessDenied)
    away = failure("failed to connect to all addresses", status="UNAVAILABLE", url="u")
    assert isinstance(away, ServerUnavailable)


def test_a_token_does_not_travel_where_others_can_read_it() -> None:
    access = Access(token=TOKEN)
    with pytest.raises(InputError, match="not sent where others can read it"):
        Client("grpc://tracking.example:8001", access=access)
    with pytest.raises(InputError, match="not sent where others can read it"):
        Client("grpc://localhost:8001,http://10.0.0.1:8000", access=access)
    Client("http://localhost:8000", access=access).close()
    assert TOKEN not in repr(access)


def test_a_new_token_in_the_file_takes_effect(tmp_path: Path) -> None:
    file = tmp_path / "token"
    access = Access(token_file=file)
    with pytest.raises(InputError, match="cannot be read"):
        access.headers()
    file.write_text(f"{TOKEN}\n")
    assert access.headers() == {"authorization": f"Bearer {TOKEN}"}
    file.write_text("another-token\n")
    assert access.headers() == {"authorization": "Bearer another-token"}
    file.write_text("two words")
    with pytest.raises(InputError, match="without spaces"):
        access.headers()


def test_the_environment_names_the_means_of_access(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    monkeypatch.setenv("TRACKSERVE_CA", str(authority.file))
    monkeypatch.setenv("TRACKSERVE_TOKEN", TOKEN)
    assert Access.from_environment() == Access(str(authority.file), token=TOKEN)
    with service() as running:
        with Client(f"http://127.0.0.1:{running.server_port}") as client:
            assert client.ready()
        assert running.seen == [("/v2/health/ready", f"Bearer {TOKEN}")]


def test_files_that_are_no_certificates_are_named(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    other = authority.sign("second", "localhost")
    for access, reason in (
        (Access(tmp_path / "none.pem"), "no usable certificate"),
        (Access(tmp_path / "missing.pem"), "missing.pem"),
        (Access(authority.file, pair.certificate), "go together"),
        (Access(authority.file, pair.certificate, other.key), "no usable certificate"),
    ):
        for scheme in ("grpcs", "https"):
            with pytest.raises(InputError, match=reason):
                Client(f"{scheme}://localhost:1", access=access)
    with pytest.raises(InputError, match="no usable certificate"):
        Tls(pair.certificate, other.key)
    with pytest.raises(InputError, match=r"missing\.pem"):
        Tls(tmp_path / "missing.pem", pair.key)
    assert "a certificate and its key go together" in says(
        "serve", "exatrkx", "--tls-cert", pair.certificate, status=1
    )


def test_urls_with_tls() -> None:
    for scheme, protocol in (("grpcs", "grpc"), ("https", "http")):
        found = parse_url(f"{scheme}://Host:8001")
        assert (found.protocol, found.is_encrypted, found.url) == (
            protocol,
            True,
            f"{scheme}://host:8001",
        )
    with pytest.raises(InputError, match=r"grpc\[s\]"):
        parse_url("ftps://host:1")


def test_servers_behind_one_name_are_known_by_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address of a name is a server; its certificate has the name, not the address."""
    places = [(2, 1, 6, "", (host, 0)) for host in ("10.0.0.1", "10.0.0.2")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **more: places)
    found = current(parse_servers("grpcs://tracking:8001,grpc://plain:8001"))
    assert [(one.host, one.name) for one in found] == [
        *((host, "tracking") for host in ("10.0.0.1", "10.0.0.2")),
        *((host, "") for host in ("10.0.0.1", "10.0.0.2")),
    ]


def test_an_open_server_is_told_what_it_is(pair: Pair, authority: Authority) -> None:
    plain, own = Tls(*pair), Tls(*pair, authority.file)
    assert exposure(True, None) == exposure(False, own) == exposure(False, plain, True) == ""
    assert "no TLS, no tokens" in exposure(False, None)
    assert "readable" in exposure(False, None, has_tokens=True)
    assert "no certificates of clients" in exposure(False, plain)


def test_flags_of_triton_follow_two_dashes(pair: Pair) -> None:
    assert split_flags(["exatrkx", "--log-verbose=1", "--x"]) == (
        ["exatrkx"],
        ["--log-verbose=1", "--x"],
    )
    assert split_flags(["--log-verbose=1"]) == (None, ["--log-verbose=1"])
    assert split_flags(None) == (None, [])
    assert checked_flags(["--log-verbose=1"]) == ["--log-verbose=1"]
    for flag in ("--grpc-port=1", "--model-control-mode=explicit", *tls_flags(Tls(*pair))):
        with pytest.raises(InputError, match="sets this option of Triton itself"):
            checked_flags([flag])
    with pytest.raises(InputError, match="no option of Triton"):
        checked_flags(["1"])
