"""HTTP or HTTPS, in a thread with its own event loop, until it is stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self

from aiohttp import web

from connector.assembly import Assembly
from connector.config import ConsoleConfig
from connector.errors import ConfigError
from connector.web.access import Access
from connector.web.application import Application
from connector.web.encryption import encryption_of
from connector.web.visits import Visits

START_SECONDS_MAX: Final = 30.0
HEAD_BYTES_MAX: Final = 65_536
"""A name of 4 KB in an address is three times as long, quoted."""


class Console:
    """Serves the pages about the state files of one or several tenants while its block runs.

    Args:
        tenants: by the names that the pages show; one alone needs none.
        settings: where it listens, and who may come; port 0 takes a free one.
        visits: how a file is read; by default with the limits that leave room for a poll.

    Raises:
        ConfigError: the certificate cannot be used, or, on entering, the address is taken.
    """

    def __init__(
        self,
        tenants: Assembly | Mapping[str, Assembly],
        settings: ConsoleConfig,
        *,
        visits: Callable[[Assembly], Visits] = Visits,
    ) -> None:
        named = {"": tenants} if isinstance(tenants, Assembly) else tenants
        self._settings = settings
        self._visits = {name: visits(assembly) for name, assembly in named.items()}
        self._context = encryption_of(settings)
        self.access: Access
        self._error: OSError | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="console", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS_MAX):
            raise ConfigError(f"the console did not listen within {START_SECONDS_MAX:g} s", hint="Try again.")
        if self._error:
            self._thread.join(START_SECONDS_MAX)
            raise ConfigError(
                f"the console cannot listen on {self._settings.listen}: {self._error.strerror or self._error}",
                hint="Choose another port, or 0 for a free one.",
            ) from self._error
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._stopping:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_SECONDS_MAX)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        application: Application | None = None

        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            assert application is not None  # noqa: S101 - made before the first request
            return await application.respond(request)

        server = web.Server(respond, access_log=None, max_line_size=HEAD_BYTES_MAX, max_field_size=HEAD_BYTES_MAX)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            # The port is part of what access knows, so nothing is answered before it is known.
            site = web.TCPSite(runner, *self._settings.address, ssl_context=self._context)
            await site.start()
            self.access = Access(self._settings, int(runner.addresses[0][1]))
            application = Application(self._visits, self.access)
        except OSError as error:
            self._error = error
            self._stopping.set()
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()
        if application is not None:
            application.close()
