"""Connections for urllib3 that can be cut from outside, and that send request targets unchanged.

A `TimedRequest` is one request and its response under a deadline, a minimum rate and a stop. Any of them ends whatever
is blocking: the name look-up, connecting, the TLS handshake, headers or a body that trickles in.

Targets are sent byte for byte: urllib3 would put percent-encodings into upper case, and a pre-signed URL is signed as
it is spelled.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError

from connector.clock import stop_error
from connector.errors import SourceUnavailable

FAILURES: Final = (HTTPError, OSError)
"""What urllib3 raises while a body is read."""

CHECK_SECONDS: Final = 0.1
"""How often a blocked request is checked, and so how soon a stop takes effect."""

GRACE_SECONDS: Final = 120.0
RATE_BYTES_MIN: Final = 1024
"""Bytes per second, on average and after the grace period, below which a body counts as hanging."""

Addresses = list[tuple[Any, ...]]


class TimedRequest:
    """One request and its response, from the name look-up to the last byte.

    Args:
        host: names the request in errors; never a URL.
        seconds_max: how long the whole of it may take.
        stop: when set, ends it at once.
        grace_seconds: how long it may be slower than `RATE_BYTES_MIN`.

    Attributes:
        connected: whether a connection was established, TLS included.
    """

    def __init__(
        self, host: str, *, seconds_max: float, stop: threading.Event, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.connected = False
        self.host = host
        self._begun = time.monotonic()
        self._seconds_max = seconds_max
        self._grace_seconds = grace_seconds
        self._stop = stop
        self._received_bytes = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        threading.Thread(target=self._cut_when_over, name=f"limit {host}", daemon=True).start()

    def check(self) -> None:
        """Raise if the request must end.

        Raises:
            Stopped: asked to stop.
            SourceUnavailable: it takes too long.
        """
        if self._stop.is_set():
            raise stop_error()
        if self._is_overdue():
            raise SourceUnavailable(
                f"{self.host} is too slow: {self._received_bytes} bytes in {self.seconds:.0f} s",
                hint="The next poll tries again. Does a proxy hold responses back?",
            )

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begun

    @property
    def seconds_left(self) -> float:
        """How long it may still take."""
        return max(self._seconds_max - self.seconds, 0.0)

    def add_bytes(self, size_bytes: int) -> None:
        """Count bytes of the body."""
        self._received_bytes += size_bytes

    def attach(self, connection: socket.socket) -> None:
        """Set the connection to cut. A duplicate is kept, since TLS replaces the socket object during its handshake."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = socket.socket(fileno=os.dup(connection.fileno()))

    def end(self) -> None:
        """End the request; its connection is no longer watched."""
        self._over.set()
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None

    def _is_overdue(self) -> bool:
        seconds = self.seconds
        measured_seconds = seconds - self._grace_seconds
        is_slow = measured_seconds > 0 and self._received_bytes < RATE_BYTES_MIN * measured_seconds
        return is_slow or seconds > self._seconds_max

    def _cut_when_over(self) -> None:
        """Cut the connection when a stop or a limit requires it: whatever blocks on it fails with an error."""
        while not self._over.wait(CHECK_SECONDS):
            if self._stop.is_set() or self._is_overdue():
                with self._lock, suppress(OSError):
                    if self._handle is not None:
                        self._handle.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    request: TimedRequest | None = None
    target: str = ""


_current: Final = _Current()


@contextmanager
def bind_connections(request: TimedRequest) -> Iterator[None]:
    """Connections that this thread opens or reuses in the block belong to the request."""
    _current.request = request
    try:
        yield
    finally:
        _current.request = None


class _TimedConnection(HTTPConnection):
    """A connection that its `TimedRequest` can cut at any moment."""

    def _new_conn(self) -> socket.socket:
        request = _current.request
        if request is None:
            return super()._new_conn()
        failure: OSError | None = None
        for family, kind, protocol, _, address in self._look_up(request):
            try:
                return self._connect(request, (family, kind, protocol), address)
            except OSError as error:
                request.check()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} within {self.timeout} s") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure

    def _look_up(self, request: TimedRequest) -> Addresses:
        """Look up the addresses of the name in a separate thread: the resolver has no time-out."""
        addresses: Addresses = []
        failures: list[OSError] = []
        done = threading.Event()

        def look_up() -> None:
            try:
                addresses.extend(socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                failures.append(error if isinstance(error, OSError) else socket.gaierror(str(error)))
            finally:
                done.set()

        threading.Thread(target=look_up, name="name look-up", daemon=True).start()
        begun = time.monotonic()
        while not done.wait(CHECK_SECONDS):
            request.check()
            if self.timeout is not None and time.monotonic() - begun > self.timeout:
                raise ConnectTimeoutError(self, f"no address of {self.host} within {self.timeout} s")
        if failures:
            raise NameResolutionError(self.host, self, cast("socket.gaierror", failures[0])) from failures[0]
        return list(addresses)

    def _connect(self, request: TimedRequest, kind: tuple[int, int, int], address: Any) -> socket.socket:  # noqa: ANN401 - as getaddrinfo gives it
        request.check()
        connection = socket.socket(*kind)
        try:
            for option in self.socket_options or ():
                connection.setsockopt(*option)
            connection.settimeout(min(self.timeout or request.seconds_left, request.seconds_left) or CHECK_SECONDS)
            request.attach(connection)
            connection.connect(address)
            request.check()
        except BaseException:
            connection.close()
            raise
        return connection

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as urllib3 defines it
        """Send a request. By now the connection is established, TLS included, or reused from the pool."""
        if _current.request is not None and self.sock is not None:
            _current.request.connected = True
            _current.request.attach(self.sock)
        super().request(*args, **options)


class _TimedHttpsConnection(_TimedConnection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    """Sends targets byte for byte."""

    ConnectionCls = _TimedConnection

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as urllib3 defines it
        """Remember the target as given, before urllib3 encodes it."""
        _current.target = url
        return super().urlopen(method, url, *args, **options)

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as urllib3 defines it
        target = _current.target if _current.target.startswith("/") else url
        return super()._make_request(conn, method, target, *args, **options)


class _HttpsPool(_Pool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _TimedHttpsConnection


POOLS: Final = {"http": _Pool, "https": _HttpsPool}

_QUERY: Final = re.compile(r"\?[^\s'\"<>)]*")
_USER: Final = re.compile(r"(?<=//)[^\s/@'\"]+@")
_LOGGERS: Final = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.poolmanager")


def remove_queries(text: str) -> str:
    """Remove queries and user names from the URLs in a text."""
    return _USER.sub("", _QUERY.sub("?[removed]", text))


class _QueryFilter(logging.Filter):
    """Removes queries from urllib3's log lines, whichever handler receives them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = remove_queries(record.getMessage()), ()
        record.exc_info = None
        return True


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_QueryFilter())
