"""A TLS server for what no HTTP server would do: it hands each connection to a function, as raw bytes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import trustme

Serve = Callable[[socket.socket, bytes], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def answer(connection: socket.socket, _: bytes) -> None:
    """Send a minimal response."""
    connection.sendall(OK)


class RawServer:
    """Listens on localhost while it is entered; every request head it read is in `heads`.

    Args:
        serve: given a connection and the head of the request it read.
        folder: where the authority's certificate is written.
        context: the server's certificate; by default one of an authority of its own.
        tls: None: plain TCP, and nothing is read before `serve` is called.
    """

    def __init__(self, serve: Serve, folder: Path, *, tls: bool = True, context: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = threading.Event()
        self._serve = serve
        self._tls = tls
        self.ca_bundle = folder / "raw-ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_bundle)
        self._context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if context is None:
            authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Listen."""
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection and thread."""
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._spawn(self._meet, connection)

    def _meet(self, connection: socket.socket) -> None:
        try:
            if not self._tls:
                self._serve(connection, b"")
                return
            with self._context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=True) as secured:
                self._open.append(secured)
                while head := read_head(secured):
                    self.heads.append(head)
                    self._serve(secured, head)
                    if b"Connection: close" in OK and self._serve is answer:
                        return
        except (OSError, ValueError):
            return


def read_head(connection: socket.socket) -> bytes:
    """Everything up to the empty line; nothing where the other side left."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        if not piece:
            return b""
        head += piece
    return head
