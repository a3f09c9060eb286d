"""A proxy before a broker that cuts a connection at a chosen request: before the broker sees it, or before its answer.

Knows of Kafka's protocol only how requests and answers are framed: length, then (requests) kind, version and a number
that the answer repeats.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable

When = Literal["before", "after"]


class Request(IntEnum):
    """Kinds of requests, by their number in the protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    FIND_COORDINATOR = 10
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    END_TRANSACTION = 26


@dataclass
class _Cut:
    request: Request
    when: When
    act: Callable[[], object]


@dataclass
class _Connection:
    client: socket.socket
    broker: socket.socket
    swallowed: dict[int, _Cut] = field(default_factory=dict)

    def close(self) -> None:
        for end in (self.client, self.broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class CuttingProxy:
    """Stands before a broker until closed. `done` lists the cuts that really happened."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.done: list[tuple[Request, When]] = []
        self._broker_port = broker_port
        self._cuts: list[_Cut] = []
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut(self, request: Request, when: When, act: Callable[[], object] = lambda: None) -> None:
        """Cut the connection at the next request of this kind, once; `act` is called just before."""
        with self._lock:
            self._cuts.append(_Cut(request, when, act))

    def close(self) -> None:
        """Cut everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                connection = _Connection(client, socket.create_connection(("127.0.0.1", self._broker_port)))
                with self._lock:
                    self._connections.append(connection)
                for pump in (self._pass_requests, self._pass_answers):
                    threading.Thread(target=pump, args=(connection,), daemon=True).start()

    def _pass_requests(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            while frame := _frame(connection.client):
                kind, _, number = struct.unpack_from(">hhi", frame, 4)
                cut = self._due(kind)
                if cut and cut.when == "before":
                    self._carry_out(cut, connection)
                    return
                if cut:
                    connection.swallowed[number] = cut
                connection.broker.sendall(frame)

    def _pass_answers(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            while frame := _frame(connection.broker):
                (number,) = struct.unpack_from(">i", frame, 4)
                if cut := connection.swallowed.get(number):
                    self._carry_out(cut, connection)
                    return
                connection.client.sendall(frame)

    def _due(self, kind: int) -> _Cut | None:
        with self._lock:
            for cut in self._cuts:
                if cut.request == kind:
                    self._cuts.remove(cut)
                    return cut
        return None

    def _carry_out(self, cut: _Cut, connection: _Connection) -> None:
        cut.act()
        connection.close()
        self.done.append((cut.request, cut.when))


def _frame(end: socket.socket) -> bytes:
    """One request or answer with its length; nothing once the other side has closed."""
    head = _exactly(end, 4)
    if not head:
        return b""
    (length,) = struct.unpack(">i", head)
    return head + _exactly(end, length)


def _exactly(end: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = end.recv(length - len(parts))
        if not part:
            return b""
        parts += part
    return bytes(parts)
