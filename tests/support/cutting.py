"""A proxy in front of a broker that cuts the connection at a chosen request, before the broker sees it or answers it.

It can also answer in the broker's place, with an error. Of Kafka's protocol it knows only how requests and answers are
framed (length, then, in requests, kind, version and a number that the answer repeats), and two answers.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, Self

When = Literal["before", "after"]


class Request(IntEnum):
    """Kinds of requests, by their numbers in the protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    FIND_COORDINATOR = 10
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    END_TRANSACTION = 26


FLEXIBLE: Final = {Request.INIT_PRODUCER_ID: 2, Request.END_TRANSACTION: 3}
"""From which version on the headers and bodies of these have room for tags. Source: Kafka's protocol guide."""

NO_PRODUCER: Final = struct.pack(">qh", -1, -1)


@dataclass
class _Cut:
    request: Request
    when: When
    act: Callable[[], object]


@dataclass
class _Refusal:
    request: Request
    code: int
    heard: bool

    def frame(self, version: int, number: int) -> bytes:
        """The answer: no throttling, the code, and no producer if one was asked for."""
        tags = b"\0" if version >= FLEXIBLE[self.request] else b""
        rest = NO_PRODUCER if self.request is Request.INIT_PRODUCER_ID else b""
        body = struct.pack(">i", number) + tags + struct.pack(">ih", 0, self.code) + rest + tags
        return struct.pack(">i", len(body)) + body


@dataclass
class _Connection:
    client: socket.socket
    broker: socket.socket
    swallowed: dict[int, _Cut] = field(default_factory=dict)
    replaced: dict[int, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, frame: bytes) -> None:
        """Write one answer; both sides of the proxy may do so."""
        with self.lock:
            self.client.sendall(frame)

    def close(self) -> None:
        for end in (self.client, self.broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class CuttingProxy:
    """Stands in front of a broker until closed. `done` lists the cuts that happened, `refused` the errors given."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.done: list[tuple[Request, When]] = []
        self.refused: list[tuple[Request, int]] = []
        self._refusals: list[_Refusal] = []
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
        """Cut the connection at the next request of this kind, once; `act` is called just before that."""
        with self._lock:
            self._cuts.append(_Cut(request, when, act))

    def refuse(self, request: Request, code: int, *, heard: bool = False) -> None:
        """Answer the next request of this kind with an error, once. `heard`: the broker gets it too."""
        with self._lock:
            self._refusals.append(_Refusal(request, code, heard))

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
                kind, version, number = struct.unpack_from(">hhi", frame, 4)
                if refusal := self._refusal_due(kind):
                    answer = refusal.frame(version, number)
                    if not refusal.heard:
                        connection.answer(answer)
                        continue
                    connection.replaced[number] = answer
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
                connection.answer(connection.replaced.pop(number, frame))

    def _due(self, kind: int) -> _Cut | None:
        with self._lock:
            for cut in self._cuts:
                if cut.request == kind:
                    self._cuts.remove(cut)
                    return cut
        return None

    def _refusal_due(self, kind: int) -> _Refusal | None:
        with self._lock:
            for refusal in self._refusals:
                if refusal.request == kind:
                    self._refusals.remove(refusal)
                    self.refused.append((refusal.request, refusal.code))
                    return refusal
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
