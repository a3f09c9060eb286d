from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import ConfigError
from connector.service.endpoint import CONNECTIONS_MAX, REQUEST_BYTES_MAX, START_SECONDS_MAX, ProbeResponse, ProbeServer

LOOPBACK = ("127.0.0.1", 0)
PATIENCE_SECONDS = 60


def fail() -> ProbeResponse:
    """An answer with a fault in it."""
    raise RuntimeError("a fault")


PATHS = {
    "/fine": lambda: ProbeResponse(HTTPStatus.OK, b'{"fine": true}\n'),
    "/not": lambda: ProbeResponse(HTTPStatus.SERVICE_UNAVAILABLE, b"no", "text/plain"),
    "/fault": fail,
}


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    """A server on a free port."""
    with ProbeServer(LOOPBACK, PATHS, request_seconds_max=PATIENCE_SECONDS) as server:
        yield server


@pytest.fixture
def impatient() -> Iterator[ProbeServer]:
    """A server that cuts off after half a second."""
    with ProbeServer(LOOPBACK, PATHS, request_seconds_max=0.5) as server:
        yield server


def ask(server: ProbeServer, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request with the standard library's client."""
    connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def ask_raw(server: ProbeServer, request: bytes) -> bytes:
    """Whatever comes back for these bytes, until the server closes."""
    with socket.create_connection(server.address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(request)
        received = b""
        try:
            while block := client.recv(65_536):
                received += block
        except ConnectionResetError:
            pass
        return received


def is_closed(client: socket.socket) -> bool:
    """Whether the server ends the connection without a word, now or within the client's time-out."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_path_answers_with_status_type_and_body(server: ProbeServer) -> None:
    """What a path says reaches the client as it is, whatever follows a question mark."""
    status, headers, body = ask(server, "GET", "/fine?probe=1")
    assert (status, body) == (200, b'{"fine": true}\n')
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": "15",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    assert ask(server, "GET", "/not")[::2] == (503, b"no")


def test_head_answers_without_a_body(server: ProbeServer) -> None:
    """HEAD gives the headers of GET and nothing else."""
    assert ask_raw(server, b"HEAD /fine HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\n")
    assert ask(server, "HEAD", "/fine")[:2] == ask(server, "GET", "/fine")[:2]


@pytest.mark.parametrize("target", ["/", "/fine/", "//fine", "/../fine", "/metrics%00", "http://evil/fine"])
def test_any_other_path_is_not_found(server: ProbeServer, target: str) -> None:
    """Paths are compared as they are: no normalising, no proxying."""
    assert ask(server, "GET", target)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "BREW"])
def test_any_other_method_is_refused(server: ProbeServer, method: str) -> None:
    """Only GET and HEAD, and the answer says so."""
    status, headers, _ = ask(server, method, "/fine")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "request_line", [b"", b"GET", b"GET /fine", b"GET  /fine HTTP/1.1", b"GET /fine HTTP/2", b"\xff\x00"]
)
def test_what_is_no_request_is_refused(server: ProbeServer, request_line: bytes) -> None:
    """Rubbish gets 400 and a closed connection."""
    assert ask_raw(server, request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="GETHADPOS /fine?%.:1\r\n", max_size=80).map(str.encode))
def test_any_bytes_get_a_status_or_a_closed_connection(impatient: ProbeServer, request_bytes: bytes) -> None:
    """Whatever is sent, what comes back is a whole response of a documented status, or nothing."""
    received = ask_raw(impatient, request_bytes + b"\r\n\r\n")
    assert received == b"" or re.match(rb"HTTP/1\.1 (200|400|404|405|431) [A-Za-z ]+\r\n", received)


def test_a_head_that_is_too_large_is_refused(server: ProbeServer) -> None:
    """Headers without end are cut off at the limit."""
    received = ask_raw(server, b"GET /fine HTTP/1.1\r\nX: " + b"x" * 2 * REQUEST_BYTES_MAX + b"\r\n\r\n")
    refused = not received or received.startswith(b"HTTP/1.1 431 ")  # a reset may overtake the answer
    assert (refused, ask(server, "GET", "/fine")[0]) == (True, 200)


def test_a_fault_in_an_answer_is_a_500_and_the_server_goes_on(server: ProbeServer) -> None:
    """One broken answer does not take the others with it."""
    assert (ask(server, "GET", "/fault")[0], ask(server, "GET", "/fine")[0]) == (500, 200)


def test_a_slow_client_is_cut_off(impatient: ProbeServer) -> None:
    """A byte now and then does not hold a connection: the whole request has one limit."""
    with socket.create_connection(impatient.address, timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /fine HT")
        assert is_closed(client)


def is_served(server: ProbeServer) -> bool:
    """Whether the server answers a client that may be too slow for it."""
    try:
        return ask(server, "GET", "/fine")[0] == HTTPStatus.OK
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return False


def test_more_connections_than_the_limit_are_closed_and_room_comes_back(impatient: ProbeServer) -> None:
    """Idle connections cannot use up threads, memory or descriptors; when they end, others are served."""
    with ExitStack() as clients:
        idle = [
            clients.enter_context(socket.create_connection(impatient.address, timeout=PATIENCE_SECONDS))
            for _ in range(CONNECTIONS_MAX + 20)
        ]
        assert [client for client in idle if not is_closed(client)] == []
    assert any(is_served(impatient) for _ in range(100))


def test_idle_connections_do_not_keep_a_probe_out(server: ProbeServer) -> None:
    """More than the limit are open and say nothing: each probe is answered, and the oldest connections are closed."""
    with ExitStack() as clients:
        idle = [
            clients.enter_context(socket.create_connection(server.address, timeout=PATIENCE_SECONDS))
            for _ in range(CONNECTIONS_MAX + 5)
        ]
        assert [ask(server, "GET", "/fine")[0] for _ in range(5)] == [200] * 5
        assert [client for client in idle[:6] if not is_closed(client)] == []
        idle[-1].sendall(b"GET /fine HTTP/1.1\r\n\r\n")
        assert idle[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_one_thread_serves_everybody(server: ProbeServer) -> None:
    """The number of threads does not grow with the number of clients."""
    before = threading.active_count()
    with ExitStack() as clients:
        for _ in range(20):
            clients.enter_context(socket.create_connection(server.address, timeout=PATIENCE_SECONDS))
        assert (ask(server, "GET", "/fine")[0], threading.active_count()) == (200, before)


def test_leaving_does_not_wait_for_idle_clients() -> None:
    """A client that says nothing cannot delay the end of the process."""
    with ProbeServer(LOOPBACK, PATHS, request_seconds_max=60) as endpoint:
        client = socket.create_connection(endpoint.address, timeout=PATIENCE_SECONDS)
        assert ask(endpoint, "GET", "/fine")[0] == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < START_SECONDS_MAX
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(endpoint.address, timeout=PATIENCE_SECONDS)


def test_a_busy_port_is_a_configuration_error_with_a_hint() -> None:
    """The message names the key, the address and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"^http.listen: cannot listen on 127.0.0.1:{port}: Address already"
        ) as caught:
            ProbeServer(("127.0.0.1", port), PATHS).__enter__()
    assert caught.value.hint == "Another process uses the port: stop it, or choose another port."


@pytest.mark.parametrize("host", ["192.0.2.1", "no host"])
def test_an_address_of_somewhere_else_is_a_configuration_error(host: str) -> None:
    """An address that is not of this machine, or does not exist, says what to name instead."""
    with pytest.raises(ConfigError) as caught:
        ProbeServer((host, 0), PATHS).__enter__()
    assert caught.value.hint == "Name an address of this machine, such as 127.0.0.1 or 0.0.0.0."


def test_ipv6_is_listened_on_where_it_is_named() -> None:
    """`[::1]:9464` works as well as an IPv4 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ProbeServer(("::1", 0), PATHS) as endpoint:
        assert ask(endpoint, "GET", "/fine")[0] == 200
