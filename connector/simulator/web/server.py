"""HTTPS on loopback, in a thread with an event loop of its own.

Owns aiohttp. Two listeners, one for the API and the authority, one for storage. Answers are made in worker threads; the
faults that concern the connection rather than the answer are carried out here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from connector.errors import ConfigError
from connector.simulator.faults import Fault, FaultKind
from connector.simulator.web.answers import Answer, Asked

LOOPBACK: Final = "127.0.0.1"
_BODY_MAX: Final = 1 << 20
_WORKERS: Final = 4
_START_SECONDS: Final = 30
_CHECK_SECONDS: Final = 0.1
_SLICE_BYTES: Final = 1 << 18
_BLANKS: Final = b" " * (1 << 16)
_WRITTEN_BADLY: Final = frozenset(
    {FaultKind.SLOW_BODY, FaultKind.ENDLESS_BODY, FaultKind.RESET_IN_BODY, FaultKind.TRUNCATED_BODY}
)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Answering = tuple[Answer | None, tuple[Fault, ...]]
"""An answer and the faults that its sending meets; None: the connection is reset, or never answered."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on, and what answers there."""

    port: int
    context: ssl.SSLContext
    answer: Callable[[Asked], Answering]


class Server:
    """Serves listeners until it is stopped. `start` returns their ports."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        self._ports: list[int] = []
        self._error: OSError | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def start(self) -> tuple[int, ...]:
        """Listen. Returns the listeners' ports.

        Raises:
            ConfigError: a port is taken.
        """
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise ConfigError(f"the simulator did not listen within {_START_SECONDS} s", hint="Try again.")
        if self._error:
            self._thread.join(_START_SECONDS)
            raise ConfigError(
                f"cannot listen: {self._error}", hint="Choose another port, or 0 for a free one."
            ) from self._error
        return tuple(self._ports)

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop and self._stopping:
            with contextlib.suppress(RuntimeError):  # the loop is closed already: stopped before
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_START_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runners: list[web.ServerRunner] = []
        with ThreadPoolExecutor(_WORKERS, "simulator-answer") as workers:
            self._loop.set_default_executor(workers)
            try:
                for listener in self._listeners:
                    runner = await self._listen(listener)
                    runners.append(runner)
            except OSError as error:
                self._error = error
                self._stopping.set()
            self._ready.set()
            await self._stopping.wait()
            for runner in runners:
                await _close(runner)

    async def _listen(self, listener: Listener) -> web.ServerRunner:
        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            return await self._respond(request, listener.answer)

        runner = web.ServerRunner(web.Server(respond, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, listener.port, ssl_context=listener.context)
        await site.start()
        self._ports.append(int(runner.addresses[0][1]))
        return runner

    async def _respond(self, request: web.BaseRequest, answering: Callable[[Asked], Answering]) -> web.StreamResponse:
        asked = await _asked(request)
        answer, due = await asyncio.to_thread(answering, asked)
        kinds = {fault.kind: fault for fault in due}
        if FaultKind.HANG in kinds:
            await self._wait_for_end(request)
        if answer is None:
            _reset(request)
            return web.Response(status=500)
        bad = next((fault for fault in due if fault.kind in _WRITTEN_BADLY), None)
        if bad:
            return await self._respond_badly(request, answer, bad)
        if isinstance(answer.body, Path):
            return web.FileResponse(answer.body, status=answer.status, headers=answer.headers)
        if len(answer.body) > _SLICE_BYTES:
            return await _respond_in_slices(request, answer, answer.body)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _respond_badly(self, request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
        body = answer.body
        if isinstance(body, Path):
            body = await asyncio.to_thread(body.read_bytes)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if fault.kind is not FaultKind.ENDLESS_BODY:
            response.content_length = len(body)
        response.force_close()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if fault.kind is FaultKind.SLOW_BODY:
                await self._write_slowly(request, response, body, fault.seconds)
                return response
            if fault.kind is FaultKind.ENDLESS_BODY:
                await response.write(body)
                for _ in range(fault.size_bytes // len(_BLANKS)):
                    await response.write(_BLANKS)
                return response
            await response.write(body[: len(body) // 2])
        if fault.kind is FaultKind.RESET_IN_BODY:
            _reset(request)
        elif request.transport:
            request.transport.close()
        return response

    async def _write_slowly(
        self, request: web.BaseRequest, response: web.StreamResponse, body: bytes, seconds: float
    ) -> None:
        assert self._stopping  # noqa: S101 - set before the first request
        for place in range(len(body)):
            if self._stopping.is_set() or request.transport is None or request.transport.is_closing():
                return
            await response.write(body[place : place + 1])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _wait_for_end(self, request: web.BaseRequest) -> None:
        """Until the client gives up or the server is stopped."""
        assert self._stopping  # noqa: S101 - set before the first request
        while not self._stopping.is_set() and request.transport and not request.transport.is_closing():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _CHECK_SECONDS)


async def _respond_in_slices(request: web.BaseRequest, answer: Answer, body: bytes) -> web.StreamResponse:
    """A large body a slice at a time: TLS would otherwise hold several copies of the whole."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    await response.prepare(request)
    view = memoryview(body)
    for place in range(0, len(body), _SLICE_BYTES):
        await response.write(view[place : place + _SLICE_BYTES])
    return response


async def _asked(request: web.BaseRequest) -> Asked:
    """The request, with its raw query and a body of bounded size."""
    raw_query = request.raw_path.partition("?")[2]
    body = b""
    while request.body_exists and len(body) < _BODY_MAX:
        more = await request.content.readany()
        if not more:
            break
        body += more
    is_form = request.content_type == "application/x-www-form-urlencoded"
    return Asked(
        method=request.method,
        host=request.host,
        path=request.path,
        raw_query=raw_query,
        query=dict(request.query),
        headers=request.headers,
        form=_form(body) if is_form else {},
        body=body,
    )


def _form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _reset(request: web.BaseRequest) -> None:
    """Close the connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def _close(runner: web.ServerRunner) -> None:
    """Stop listening and abort what is still connected: TLS would wait long for a client's goodbye."""
    server = runner.server
    transports = [connection.transport for connection in server.connections] if server else []
    for site in list(runner.sites):
        await site.stop()
    for transport in transports:
        if transport is not None:
            transport.abort()
    await runner.cleanup()
    await asyncio.sleep(0)
