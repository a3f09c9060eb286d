"""A small HTTP server for health and metrics: GET and HEAD of a few paths, and nothing else.

Clients are not trusted: the number of connections, the size of a request and the time it may take are limited; a
request body is never read; every connection serves one request.

Why not the standard library's `http.server`: it gives each connection a thread and each read its own time-out, so a few
clients that send a byte now and then occupy every thread, and probes fail. Limiting threads, whole requests and the
shutdown would take as many lines as this server, which has one thread and one deadline for a whole request.
prometheus_client's server is built on `http.server`; aiohttp would be a dependency of the connector for three paths.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Self

from connector.errors import ConfigError
from connector.telemetry import logger

log = logger(__name__)

REQUEST_BYTES_MAX: Final = 8_192
REQUEST_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 32
START_SECONDS_MAX: Final = 10.0
METHODS: Final = ("GET", "HEAD")
REQUEST_WORDS: Final = 3
"""Method, target, version."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """The response of a path."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


class ProbeServer:
    """Serves health and metrics while its block runs.

    Args:
        listen: host and port; port 0 takes a free one.
        paths: makes the response of each path. Called in the server's thread, one after the other, so none should take
            long.
        request_seconds_max: from accepting a connection to having responded.

    Raises:
        ConfigError: on entering, where it cannot listen on the address.
    """

    def __init__(
        self,
        listen: Address,
        paths: Mapping[str, Callable[[], ProbeResponse]],
        *,
        request_seconds_max: float = REQUEST_SECONDS_MAX,
    ) -> None:
        self.address = listen
        self._paths = paths
        self._request_seconds_max = request_seconds_max
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        listener = _listener(self.address)
        host, port, *_ = listener.getsockname()
        self.address = (host, port)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener)), name="http", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS_MAX):
            raise ConfigError("http.listen: the server did not start", hint="The log says why.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_SECONDS_MAX)

    async def _serve(self, listener: socket.socket) -> None:
        """Serve until stopped, then close the connections that are still open."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, sock=listener, limit=REQUEST_BYTES_MAX)
        self._started.set()
        await self._stop.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection in its own task. Where there are too many, the oldest one makes room.

        A probe sends its request at once, and has its response before others can come. What is old is idle or slow.
        """
        if len(self._connections) >= CONNECTIONS_MAX:
            oldest = next(iter(self._connections))
            self._connections.pop(oldest).transport.abort()
            oldest.cancel()
        connection = asyncio.ensure_future(self._serve_one(reader, writer))
        self._connections[connection] = writer
        connection.add_done_callback(lambda ended: self._connections.pop(ended, None))

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request. A client that breaks the limits gets no response."""
        try:
            with suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self._request_seconds_max):
                    writer.write(await self._respond(reader))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of a request and make the whole response to it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _encode(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != REQUEST_WORDS or not words[2].startswith("HTTP/1."):
            return _encode(_plain(HTTPStatus.BAD_REQUEST))
        method, target, _ = words
        make = self._paths.get(target.partition("?")[0])
        if make is None:
            return _encode(_plain(HTTPStatus.NOT_FOUND), head_only=method == "HEAD")
        if method not in METHODS:
            return _encode(_plain(HTTPStatus.METHOD_NOT_ALLOWED))
        return _encode(self._make(make), head_only=method == "HEAD")

    def _make(self, make: Callable[[], ProbeResponse]) -> ProbeResponse:
        try:
            return make()
        except Exception as error:
            log.exception("a health or metrics response failed", exc_info=error)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


def _listener(listen: Address) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the port is in use, or the address is not one of this machine's.
    """
    host, port = listen
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(listen, family=family, backlog=CONNECTIONS_MAX)
    except OSError as error:
        hints = {
            errno.EADDRINUSE: "Another process uses the port: stop it, or choose another port.",
            errno.EACCES: "Ports below 1024 need privileges: choose a higher one.",
        }
        raise ConfigError(
            f"http.listen: cannot listen on {host}:{port}: {error.strerror or error}",
            hint=hints.get(error.errno or 0, "Name an address of this machine, such as 127.0.0.1 or 0.0.0.0."),
        ) from error


def _plain(status: HTTPStatus) -> ProbeResponse:
    return ProbeResponse(status, f"{status.phrase}\n".encode(), "text/plain; charset=utf-8")


def _encode(response: ProbeResponse, *, head_only: bool = False) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if response.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(f"Allow: {', '.join(METHODS)}")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head_only else response.body)
