"""The wire: what urllib3 is given so that requests can be ended from outside and targets go out as they are.

Owns urllib3. An `Exchange` is one request and its answer under a deadline, a least rate and a stop; whatever is blocked
(the name look-up, connecting, the TLS handshake, headers or a body that drips) ends when one of them says so. Must not
know what is asked for.

Targets are written byte for byte: urllib3 would put percent-encodings into upper case, and a pre-signed URL is a text
that was signed.
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

from connector.clock import stopped
from connector.errors import SourceUnavailable

FAILURES: Final = (HTTPError, OSError)
"""What urllib3 raises while a body is read."""

GLANCE_SECONDS: Final = 0.1
"""How often a blocked exchange is looked at: how soon a stop is felt."""

GRACE_SECONDS: Final = 120.0
RATE_BYTES_MIN: Final = 1024
"""Bytes a second, on average and after the grace, below which a body counts as hanging."""

Addresses = list[tuple[Any, ...]]


class Exchange:
    """One request and its answer, from the look-up of the name to the last byte.

    Args:
        what: names it in errors; a host, never a URL.
        seconds_max: how long all of it may take.
        stop: ends it at once.
        grace_seconds: how long it may be slower than `RATE_BYTES_MIN`.
    """

    def __init__(
        self, what: str, *, seconds_max: float, stop: threading.Event, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.connected = False
        self.what = what
        self._begun = time.monotonic()
        self._seconds_max = seconds_max
        self._grace_seconds = grace_seconds
        self._stop = stop
        self._received_bytes = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        threading.Thread(target=self._watch, name=f"watch {what}", daemon=True).start()

    def check(self) -> None:
        """Go on.

        Raises:
            Stopped: asked to stop.
            SourceUnavailable: it takes too long.
        """
        if self._stop.is_set():
            raise stopped()
        if self._is_overdue():
            raise SourceUnavailable(
                f"{self.what} is too slow: {self._received_bytes} bytes in {self.seconds:.0f} s",
                hint="The next poll tries again. Is a proxy between that holds answers back?",
            )

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begun

    @property
    def seconds_left(self) -> float:
        """How long it may still take."""
        return max(self._seconds_max - self.seconds, 0.0)

    def received(self, size_bytes: int) -> None:
        """So much more of the body is there."""
        self._received_bytes += size_bytes

    def attach(self, connection: socket.socket) -> None:
        """This is the connection to cut. A copy of it is kept: TLS takes the socket over in the middle."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = socket.socket(fileno=os.dup(connection.fileno()))

    def end(self) -> None:
        """It is over; nothing is watched any more."""
        self._over.set()
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None

    def _is_overdue(self) -> bool:
        seconds = self.seconds
        slow = seconds > self._grace_seconds and self._received_bytes < RATE_BYTES_MIN * (seconds - self._grace_seconds)
        return slow or seconds > self._seconds_max

    def _watch(self) -> None:
        """Cut the connection once a stop or the deadline says so: what is blocked on it wakes with an error."""
        while not self._over.wait(GLANCE_SECONDS):
            if self._stop.is_set() or self._is_overdue():
                with self._lock, suppress(OSError):
                    if self._handle is not None:
                        self._handle.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    exchange: Exchange | None = None
    target: str = ""


_current: Final = _Current()


@contextmanager
def bound(exchange: Exchange) -> Iterator[None]:
    """Connections that this thread opens or takes up inside belong to the exchange."""
    _current.exchange = exchange
    try:
        yield
    finally:
        _current.exchange = None


class _Watched(HTTPConnection):
    """A connection that its exchange can cut at any moment."""

    def _new_conn(self) -> socket.socket:
        exchange = _current.exchange
        if exchange is None:
            return super()._new_conn()
        failure: OSError | None = None
        for family, kind, protocol, _, address in self._look_up(exchange):
            try:
                return self._connect(exchange, (family, kind, protocol), address)
            except OSError as error:
                exchange.check()
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} within {self.timeout} s") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure

    def _look_up(self, exchange: Exchange) -> Addresses:
        """Ask for the addresses of the name in a thread of its own: the resolver has no time-out."""
        found: Addresses = []
        failed: list[OSError] = []
        done = threading.Event()

        def ask() -> None:
            try:
                found.extend(socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                failed.append(error if isinstance(error, OSError) else socket.gaierror(str(error)))
            finally:
                done.set()

        threading.Thread(target=ask, name="name look-up", daemon=True).start()
        begun = time.monotonic()
        while not done.wait(GLANCE_SECONDS):
            exchange.check()
            if self.timeout is not None and time.monotonic() - begun > self.timeout:
                raise ConnectTimeoutError(self, f"no address of {self.host} within {self.timeout} s")
        if failed:
            raise NameResolutionError(self.host, self, cast("socket.gaierror", failed[0])) from failed[0]
        return list(found)

    def _connect(self, exchange: Exchange, kind: tuple[int, int, int], address: Any) -> socket.socket:  # noqa: ANN401 - as getaddrinfo gives it
        exchange.check()
        connection = socket.socket(*kind)
        try:
            for option in self.socket_options or ():
                connection.setsockopt(*option)
            connection.settimeout(min(self.timeout or exchange.seconds_left, exchange.seconds_left) or GLANCE_SECONDS)
            exchange.attach(connection)
            connection.connect(address)
            exchange.check()
        except BaseException:
            connection.close()
            raise
        return connection

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as urllib3 defines it
        """A new connection stands, TLS included, or one of the pool is taken up."""
        if _current.exchange is not None and self.sock is not None:
            _current.exchange.connected = True
            _current.exchange.attach(self.sock)
        super().request(*args, **options)


class _WatchedHttps(_Watched, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    """Writes targets byte for byte."""

    ConnectionCls = _Watched

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as urllib3 defines it
        """Remember the target as it came, before it is encoded anew."""
        _current.target = url
        return super().urlopen(method, url, *args, **options)

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as urllib3 defines it
        target = _current.target if _current.target.startswith("/") else url
        return super()._make_request(conn, method, target, *args, **options)


class _PoolHttps(_Pool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _WatchedHttps


POOLS: Final = {"http": _Pool, "https": _PoolHttps}

_QUERY: Final = re.compile(r"\?[^\s'\"<>)]*")
_USER: Final = re.compile(r"(?<=//)[^\s/@'\"]+@")
_LOGGERS: Final = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "urllib3.poolmanager")


def without_queries(text: str) -> str:
    """A text whose URLs have lost their queries and user names."""
    return _USER.sub("", _QUERY.sub("?[removed]", text))


class _WithoutQueries(logging.Filter):
    """Takes queries out of urllib3's own log lines, for whichever handler they go to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_queries(record.getMessage()), ()
        record.exc_info = None
        return True


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_WithoutQueries())
