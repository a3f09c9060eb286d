"""HTTPS on loopback, in a thread with its own event loop.

One listener is for the API and the authority, one for storage. Responses are computed in worker threads; faults of the
connection, rather than the response, are applied here.
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
from connector.simulator.web.answers import ServerRequest, ServerResponse

LOOPBACK: Final = "127.0.0.1"
_BODY_MAX: Final = 1 << 20
_WORKERS: Final = 4
_START_SECONDS: Final = 30
_CHECK_SECONDS: Final = 0.1
_SLICE_BYTES: Final = 1 << 18
_BLANKS: Final = b" " * (1 << 16)
_BODY_FAULTS: Final = frozenset(
    {FaultKind.SLOW_BODY, FaultKind.ENDLESS_BODY, FaultKind.RESET_IN_BODY, FaultKind.TRUNCATED_BODY}
)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

ResponsePlan = tuple[ServerResponse | None, tuple[Fault, ...]]
"""A response and the faults to apply when it is sent; None: the connection is reset, or hangs."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A port to listen on, and the function that responds there."""

    port: int
    context: ssl.SSLContext
    answer: Callable[[ServerRequest], ResponsePlan]


class Server:
    """Serves listeners until it is stopped."""

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
            with contextlib.suppress(RuntimeError):  # the loop is closed: it was stopped before
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

    async def _respond(
        self, request: web.BaseRequest, answer: Callable[[ServerRequest], ResponsePlan]
    ) -> web.StreamResponse:
        server_request = await _read_request(request)
        response, faults = await asyncio.to_thread(answer, server_request)
        kinds = {fault.kind: fault for fault in faults}
        if FaultKind.HANG in kinds:
            await self._wait_for_end(request)
        if response is None:
            _reset(request)
            return web.Response(status=500)
        body_fault = next((fault for fault in faults if fault.kind in _BODY_FAULTS), None)
        if body_fault:
            return await self._respond_badly(request, response, body_fault)
        if isinstance(response.body, Path):
            return web.FileResponse(response.body, status=response.status, headers=response.headers)
        if len(response.body) > _SLICE_BYTES:
            return await _respond_in_slices(request, response, response.body)
        return web.Response(status=response.status, body=response.body, headers=response.headers)

    async def _respond_badly(
        self, request: web.BaseRequest, response: ServerResponse, fault: Fault
    ) -> web.StreamResponse:
        body = response.body
        if isinstance(body, Path):
            body = await asyncio.to_thread(body.read_bytes)
        stream = web.StreamResponse(status=response.status, headers=response.headers)
        if fault.kind is not FaultKind.ENDLESS_BODY:
            stream.content_length = len(body)
        stream.force_close()
        await stream.prepare(request)
        with contextlib.suppress(ConnectionError):
            if fault.kind is FaultKind.SLOW_BODY:
                await self._write_slowly(request, stream, body, fault.seconds)
                return stream
            if fault.kind is FaultKind.ENDLESS_BODY:
                await stream.write(body)
                for _ in range(fault.size_bytes // len(_BLANKS)):
                    await stream.write(_BLANKS)
                return stream
            await stream.write(body[: len(body) // 2])
        if fault.kind is FaultKind.RESET_IN_BODY:
            _reset(request)
        elif request.transport:
            request.transport.close()
        return stream

    async def _write_slowly(
        self, request: web.BaseRequest, response: web.StreamResponse, body: bytes, seconds: float
    ) -> None:
        assert self._stopping  # noqa: S101 - set before the first request
        for index in range(len(body)):
            if self._stopping.is_set() or request.transport is None or request.transport.is_closing():
                return
            await response.write(body[index : index + 1])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _wait_for_end(self, request: web.BaseRequest) -> None:
        """Wait until the client gives up or the server is stopped."""
        assert self._stopping  # noqa: S101 - set before the first request
        while not self._stopping.is_set() and request.transport and not request.transport.is_closing():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _CHECK_SECONDS)


async def _respond_in_slices(request: web.BaseRequest, response: ServerResponse, body: bytes) -> web.StreamResponse:
    """Send a large body in slices: TLS would otherwise hold several copies of the whole."""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    view = memoryview(body)
    for begin in range(0, len(body), _SLICE_BYTES):
        await stream.write(view[begin : begin + _SLICE_BYTES])
    return stream


async def _read_request(request: web.BaseRequest) -> ServerRequest:
    """Read a request, with its raw query and a body of limited size."""
    raw_query = request.raw_path.partition("?")[2]
    body = b""
    while request.body_exists and len(body) < _BODY_MAX:
        chunk = await request.content.readany()
        if not chunk:
            break
        body += chunk
    is_form = request.content_type == "application/x-www-form-urlencoded"
    return ServerRequest(
        method=request.method,
        host=request.host,
        path=request.path,
        raw_query=raw_query,
        query=dict(request.query),
        headers=request.headers,
        form=_read_form(body) if is_form else {},
        body=body,
    )


def _read_form(body: bytes) -> dict[str, str]:
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
    """Stop listening and abort open connections: TLS would wait long for a client to close."""
    server = runner.server
    transports = [connection.transport for connection in server.connections] if server else []
    for site in list(runner.sites):
        await site.stop()
    for transport in transports:
        if transport is not None:
            transport.abort()
    await runner.cleanup()
    await asyncio.sleep(0)
