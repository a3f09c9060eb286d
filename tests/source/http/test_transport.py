from __future__ import annotations

import gzip
import itertools
import logging
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import connector
from connector.config import Config
from connector.errors import ConnectorError, SourceMalformed, SourceUnavailable, SourceUnreachable, Stopped
from connector.simulator import Certificate, Fleet, Simulator
from connector.source.http.hosts import Hosts, Link
from connector.source.http.transport import CONNECT_SECONDS_MAX, HEADER_BYTES_MAX, USER_AGENT, Response, Transport
from tests.support.raw_server import OK, RawServer, Serve, answer

SECRET = "c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5"
"""Far less than any time-out, far more than a stop needs."""


def link_to(url: str) -> Link:
    """A link to any host."""
    return Hosts(api_url=url.partition("?")[0], storage_suffix="x", allowed=[]).file(url)


@contextmanager
def met(serve: Serve, folder: Path, *, tls: bool = True, **options: Any) -> Iterator[tuple[RawServer, Transport]]:
    """A server that serves so, and a transport that trusts it."""
    with (
        RawServer(serve, folder, tls=tls) as server,
        Transport(ca_bundle=str(server.ca_bundle), **options) as transport,
    ):
        yield server, transport


def fetch(transport: Transport, url: str, *, seconds_max: float = 20.0) -> bytes:
    """The whole body."""
    with transport.get(link_to(url), {}, seconds_max=seconds_max) as response:
        return bytes(response.body(2**20))


@pytest.mark.parametrize(
    "target",
    [
        "/part-0.json.gz?sv=2025-01-05&sig=a%2fb%2Bc%3d&se=2026-11-23T08%3A00%3A00Z",
        "/a%7Eb/c~d//e/./f/../g?x=1&x=2&y",
        "/$web/[x]|{y}^`'\"<>?sig=+/=&%zz",
        "//double?",
        "/",
    ],
)
def test_a_target_goes_out_byte_for_byte(tmp_path: Path, target: str) -> None:
    """Nothing is quoted, unquoted, put into upper case, normalised or left out: a signature stands in it."""
    with met(answer, tmp_path) as (server, transport):
        assert fetch(transport, server.url + target) == b"{}"
    assert server.heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


def test_a_request_has_the_headers_it_was_given_and_no_others_of_note(tmp_path: Path) -> None:
    """No cookie, no authorization, no referrer: only what the caller said, and who asks."""
    with (
        met(answer, tmp_path) as (server, transport),
        transport.get(link_to(server.url), {"Accept-Encoding": "identity"}, seconds_max=20) as response,
    ):
        assert response.status == 200
        assert response.headers["content-length"] == "2"
    names = sorted(line.partition(b":")[0].decode() for line in server.heads[0].split(b"\r\n")[1:] if line)
    assert names == ["Accept-Encoding", "Host", "User-Agent"]
    assert USER_AGENT.encode() in server.heads[0]


def test_there_is_no_switch_to_turn_verification_off() -> None:
    """No key of the configuration names it, and no code says it."""
    tables = {table: getattr(field.annotation, "model_fields", {}) for table, field in Config.model_fields.items()}
    keys = {f"{table}.{key}" for table, fields in tables.items() for key in fields}
    assert "source.ca_bundle" in keys
    # The console's are its own certificate: what it shows to others.
    shown = {"console.tls_certificate_path", "console.tls_key_path"}
    assert {key for key in keys if re.search("verif|insecure|tls|ssl|check_host", key)} == shown
    package = Path(connector.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    off = r"verify\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False|disable_warnings|_create_unverified"
    assert [name for name, text in texts.items() if re.search(off, text)] == []


def test_a_planted_netrc_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the host in `.netrc` go nowhere, whichever session asks."""
    (tmp_path / ".netrc").write_text(f"machine localhost login canary password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with met(answer, tmp_path) as (server, transport):
        fetch(transport, server.url)
        transport.login_session.get(server.url)
        transport.local_session.get(server.url)
    assert len(server.heads) == 3
    assert not any(b"authorization" in head.lower() for head in server.heads)


def test_cookies_are_not_kept(tmp_path: Path) -> None:
    """What one host sets goes back to none."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: track=1; Path=/\r\n\r\n"))
        connection.shutdown(socket.SHUT_RDWR)

    with met(serve, tmp_path) as (server, transport):
        fetch(transport, server.url)
        fetch(transport, server.url)
    assert len(server.heads) == 2
    assert not any(b"cookie" in head.lower() for head in server.heads)


def test_a_redirect_is_refused_and_its_target_is_not_asked(tmp_path: Path) -> None:
    """Neither the API's session nor msal's follows one."""
    (tmp_path / "x").mkdir()
    with RawServer(answer, tmp_path) as other:

        def serve(connection: socket.socket, _: bytes) -> None:
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {other.url}/x\r\nContent-Length: 0\r\n\r\n".encode())

        with RawServer(serve, tmp_path / "x") as server, Transport(ca_bundle=str(server.ca_bundle)) as transport:
            with pytest.raises(SourceMalformed, match="redirect"):
                fetch(transport, f"{server.url}/?sig={SECRET}")
            assert transport.login_session.get(server.url).status_code == 302
        assert other.connections == 0


def test_only_https_leaves_the_machine(tmp_path: Path) -> None:
    """A login cannot be talked into sending a credential in the clear; a managed identity's endpoint may be plain."""
    with Transport() as transport:
        with pytest.raises(SourceUnreachable):
            transport.login_session.post("http://localhost:1/token", data={"client_secret": SECRET})
        with RawServer(lambda connection, _: connection.sendall(OK), tmp_path, tls=False) as server:
            assert transport.local_session.get(f"http://localhost:{server.port}/").text == "{}"


# ---- trust


def test_a_configured_ca_bundle_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that requests reads silently do not override the configuration."""
    (tmp_path / "x").mkdir()
    with RawServer(answer, tmp_path) as server, RawServer(answer, tmp_path / "x") as other:
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(variable, str(other.ca_bundle))
        with Transport(ca_bundle=str(server.ca_bundle)) as transport:
            assert fetch(transport, server.url) == b"{}"
            with pytest.raises(SourceUnreachable):
                fetch(transport, other.url)
        with Transport() as transport:
            assert fetch(transport, other.url) == b"{}"
            with pytest.raises(SourceUnreachable):
                fetch(transport, server.url)


@pytest.mark.parametrize("certificate", [kind for kind in Certificate if kind is not Certificate.VALID])
def test_a_certificate_that_is_not_good_is_refused(certificate: Certificate) -> None:
    """Self-signed, of an unknown authority, for another name, expired: no request is made, and the hint says what."""
    fleet = Fleet(seed=1, devices=1, start=datetime(2026, 1, 1, tzinfo=UTC))
    with Simulator(fleet, certificate=certificate) as simulator:
        with Transport(ca_bundle=str(simulator.ca_bundle)) as transport:
            with pytest.raises(SourceUnreachable, match=r"(?i)certificate") as caught:
                fetch(transport, f"{simulator.api_url}/?sig={SECRET}")
            assert "source.ca_bundle" in caught.value.hint
        assert simulator.requests == ()


def test_a_private_authority_needs_no_critical_constraints(tmp_path: Path) -> None:
    """What proxies that inspect TLS have; Python 3.13 refuses it unless that authority was named by the operator."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("authority", "localhost")]
    now = datetime.now(UTC)

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(names[0]).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    authority = signed(names[0], authority_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    leaf = signed(names[1], key.public_key(), x509.SubjectAlternativeName([x509.DNSName("localhost")]))
    (tmp_path / "own-ca.pem").write_bytes(authority)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with RawServer(answer, tmp_path, context=context) as server:
        with Transport(ca_bundle=str(tmp_path / "own-ca.pem")) as transport:
            assert fetch(transport, server.url) == b"{}"
        with Transport() as transport, pytest.raises(SourceUnreachable):
            fetch(transport, server.url)


def test_a_socks_proxy_is_refused_with_what_to_name_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback; a host of NO_PROXY is reached without it."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    with met(answer, tmp_path) as (server, transport):
        with pytest.raises(SourceUnreachable) as caught:
            fetch(transport, server.url)
        assert caught.value.hint.startswith("SOCKS proxies are not supported")
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert fetch(transport, server.url) == b"{}"


# ---- proxies


def test_the_usual_proxy_variables_are_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is asked for a tunnel; NO_PROXY and the managed identity's session go straight."""
    asked: list[bytes] = []

    def tunnel(connection: socket.socket, _: bytes) -> None:
        asked.append(connection.recv(4096).split(b"\r\n")[0])
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            pipe = threading.Thread(target=copy, args=(onward, connection), daemon=True)
            pipe.start()
            copy(connection, onward)
            pipe.join(10)

    with RawServer(answer, tmp_path) as server, RawServer(tunnel, tmp_path / "..", tls=False) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with Transport(ca_bundle=str(server.ca_bundle)) as transport:
            assert fetch(transport, f"{server.url}/a?sig=%2f") == b"{}"
            assert transport.local_session.get(server.url).text == "{}"
            monkeypatch.setenv("NO_PROXY", "localhost")
            assert fetch(transport, server.url) == b"{}"
    assert asked == [f"CONNECT localhost:{server.port} HTTP/1.0".encode()]
    assert server.heads[0].startswith(b"GET /a?sig=%2f HTTP/1.1\r\n")


def copy(source: socket.socket, target: socket.socket) -> None:
    """Until one of them ends."""
    try:
        while piece := source.recv(4096):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_proxy_that_is_not_there_or_refuses_is_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the variables, and the proxy's password is not shown."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def refuse(connection: socket.socket, _: bytes) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    with RawServer(refuse, tmp_path, tls=False) as proxy, Transport() as transport:
        for port in (proxy.port, 1):
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@localhost:{port}")
            with pytest.raises(SourceUnreachable) as caught:
                fetch(transport, "https://localhost:1/")
            assert "HTTPS_PROXY" in caught.value.hint
            assert SECRET not in all_texts_of(caught.value)


# ---- failures


def test_a_name_that_does_not_resolve_is_no_connection() -> None:
    """The error names the host and the cause."""
    with Transport() as transport, pytest.raises(SourceUnreachable, match=r"nowhere\.invalid"):
        fetch(transport, "https://nowhere.invalid/x")


def test_a_port_that_nobody_listens_on_is_no_connection() -> None:
    """Refused is refused at once."""
    with Transport() as transport, pytest.raises(SourceUnreachable, match="refused"):
        fetch(transport, "https://localhost:1/x")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_an_answer_that_ends_early_or_is_none_is_unavailable(tmp_path: Path, said: bytes) -> None:
    """Cut, reset, no HTTP, a length that is not met, headers without end: a connection, but no answer."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    with met(serve, tmp_path) as (server, transport):
        with pytest.raises(SourceUnavailable) as caught:
            fetch(transport, f"{server.url}/x?sig={SECRET}")
        assert not isinstance(caught.value, SourceUnreachable)
        assert SECRET not in all_texts_of(caught.value)


def test_headers_without_measure_are_refused(tmp_path: Path) -> None:
    """Many headers that are each short enough are still too much."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(
            OK.replace(b"\r\n\r\n", (b"\r\nX: " + b"y" * 8_000) * (HEADER_BYTES_MAX // 8_000 + 1) + b"\r\n\r\n")
        )

    with met(serve, tmp_path) as (server, transport), pytest.raises(SourceMalformed, match="headers"):
        fetch(transport, server.url)


def test_a_body_beyond_its_limit_is_refused_also_where_it_is_packed(tmp_path: Path) -> None:
    """A plain body without end, and a small one that unpacks without end."""
    packed = gzip.compress(b" " * 2**26)
    bodies = itertools.cycle(
        [
            b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2**22,
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed),
        ]
    )

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(next(bodies))
        connection.shutdown(socket.SHUT_RDWR)

    with met(serve, tmp_path) as (server, transport):
        for _ in range(2):
            with pytest.raises(SourceMalformed, match="longer than 1048576 bytes"):
                fetch(transport, server.url)


def test_a_packed_answer_is_unpacked_and_counted_as_it_came(tmp_path: Path) -> None:
    """What is counted is what went over the network."""
    packed = gzip.compress(b'{"value":[]}' + b" " * 10_000)
    said = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    sizes: list[int] = []

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(said)

    with (
        met(serve, tmp_path) as (server, transport),
        transport.get(link_to(server.url), {}, seconds_max=20) as response,
    ):
        assert response.body(2**20, sizes.append).rstrip() == b'{"value":[]}'
    assert sum(sizes) == len(packed)


# ---- deadlines and stops


def drip_body(connection: socket.socket, _: bytes) -> None:
    """A byte now and then, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    drip(connection)


def drip_headers(connection: socket.socket, _: bytes) -> None:
    """Headers that do not end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    drip(connection)


def drip(connection: socket.socket) -> None:
    """A byte each 50 ms until the other side leaves."""
    wait = threading.Event()
    while not wait.wait(0.05):
        connection.sendall(b"y")


def hang(connection: socket.socket, _: bytes) -> None:
    """Say nothing until the other side leaves."""
    connection.recv(1)


def hang_in_handshake(connection: socket.socket, _: bytes) -> None:
    """Take what comes and say nothing."""
    while connection.recv(4096):
        continue


SLOW = {"body": drip_body, "headers": drip_headers, "silence": hang, "handshake": hang_in_handshake}


@pytest.mark.parametrize("where", SLOW)
def test_a_deadline_ends_whatever_hangs_or_drips(tmp_path: Path, where: str) -> None:
    """The handshake, the headers, a body of one byte now and then: none outlives the deadline."""
    with met(SLOW[where], tmp_path, tls=where != "handshake") as (server, transport):
        begun = time.monotonic()
        with pytest.raises(SourceUnavailable, match="too slow"):
            fetch(transport, server.url, seconds_max=0.5)
        assert time.monotonic() - begun > 0.4


def test_a_body_below_the_least_rate_ends_long_before_its_deadline(tmp_path: Path) -> None:
    """One byte a second is no download, even where a day would be allowed."""
    with (
        met(drip_body, tmp_path, grace_seconds=0.5) as (server, transport),
        pytest.raises(SourceUnavailable, match="too slow"),
    ):
        fetch(transport, server.url, seconds_max=86_400)


def test_a_silent_connection_ends(tmp_path: Path) -> None:
    """A server that says nothing is left after the time-out."""
    with met(hang, tmp_path, silence_seconds_max=0.3) as (server, transport), pytest.raises(SourceUnavailable):
        fetch(transport, server.url)


@pytest.mark.parametrize("session", ["get", "login", "local"])
@pytest.mark.parametrize("where", SLOW)
def test_a_stop_ends_whatever_is_under_way(tmp_path: Path, where: str, session: str) -> None:
    """Within moments, wherever the request is, and whoever makes it."""
    stop = threading.Event()
    with met(SLOW[where], tmp_path, tls=where != "handshake", stop=stop) as (server, transport):
        threading.Timer(0.3, stop.set).start()
        begun = time.monotonic()
        asks: dict[str, Callable[[str], object]] = {
            "get": partial(fetch, transport),
            "login": transport.login_session.get,
            "local": transport.local_session.get,
        }
        with pytest.raises(Stopped):
            asks[session](server.url)
        assert time.monotonic() - begun < CONNECT_SECONDS_MAX


def test_a_stop_ends_a_name_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver has no time-out; we do."""
    stop, release = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        release.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        with Transport(stop=stop) as transport:
            with pytest.raises(SourceUnavailable, match="too slow"):
                fetch(transport, "https://slow.example/", seconds_max=0.3)
            threading.Timer(0.2, stop.set).start()
            with pytest.raises(Stopped):
                fetch(transport, "https://slow.example/")
    finally:
        release.set()


def test_a_stop_that_is_set_before_begins_nothing(tmp_path: Path) -> None:
    """No connection is made any more."""
    stop = threading.Event()
    stop.set()
    with met(answer, tmp_path, stop=stop) as (server, transport):
        with pytest.raises(Stopped):
            fetch(transport, server.url)
        assert server.heads == []


def test_a_connection_is_used_again_and_can_still_be_cut(tmp_path: Path) -> None:
    """Keep-alive works, and a deadline holds on a connection that an earlier request opened."""
    calls = itertools.count()

    def serve(connection: socket.socket, head: bytes) -> None:
        if next(calls) < 2:
            connection.sendall(OK.replace(b"Connection: close\r\n", b""))
        else:
            hang(connection, head)

    with met(serve, tmp_path) as (server, transport):
        fetch(transport, server.url)
        fetch(transport, server.url)
        with pytest.raises(SourceUnavailable, match="too slow"):
            fetch(transport, server.url, seconds_max=0.4)
        assert server.connections == 1


# ---- secrets


def all_texts_of(error: BaseException) -> str:
    """Every text of an exception and its causes, including attributes and traceback."""
    texts = ["".join(traceback.format_exception(error))]
    ahead: list[BaseException | None] = [error]
    seen: set[int] = set()
    while ahead:
        link = ahead.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        texts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        ahead += [link.__cause__, link.__context__, *(arg for arg in link.args if isinstance(arg, BaseException))]
        ahead += [value for value in vars(link).values() if isinstance(value, BaseException)]
    return "\n".join(texts)


def reset(connection: socket.socket, _: bytes) -> None:
    """End the connection without a word."""
    connection.shutdown(socket.SHUT_RDWR)


def cut_in_body(connection: socket.socket, _: bytes) -> None:
    """End the connection in the middle of a body."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("serve", [answer, reset, cut_in_body, drip_body, drip_headers, hang])
def test_no_failure_and_no_log_shows_a_query_or_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, serve: Serve
) -> None:
    """Whatever goes wrong, at debug level too: no signature and no token in any text of it."""
    caplog.set_level(logging.DEBUG)
    with met(serve, tmp_path) as (server, transport):
        link = link_to(f"{server.url}/part.json.gz?sv=1&sig={SECRET}")
        try:
            with transport.get(link, {"Authorization": f"Bearer {TOKEN}"}, seconds_max=0.5) as response:
                body_of(response)
        except ConnectorError as error:
            said = all_texts_of(error)
            assert SECRET not in said
            assert TOKEN not in said
        assert serve is not answer or "GET /part.json.gz?[removed]" in caplog.text
    logged = "\n".join(f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records)
    assert SECRET not in logged + caplog.text
    assert TOKEN not in logged + caplog.text


def body_of(response: Response) -> bytes:
    """The body, piece by piece."""
    return b"".join(response.chunks())


def test_an_unreachable_host_shows_no_query_either(caplog: pytest.LogCaptureFixture) -> None:
    """The longest chain of exceptions there is: requests', urllib3's, the socket's."""
    caplog.set_level(logging.DEBUG)
    with Transport() as transport:
        for url in (f"https://localhost:1/x?sig={SECRET}", f"https://nowhere.invalid/x?sig={SECRET}"):
            with pytest.raises(SourceUnreachable) as caught:
                fetch(transport, url)
            assert SECRET not in all_texts_of(caught.value)
            assert str(urlsplit(url).hostname) in str(caught.value)
    assert SECRET not in caplog.text
