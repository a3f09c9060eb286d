"""The verb `console`: pages about state files, until it is stopped; the same for agents; the console of `run`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from connector import telemetry
from connector.assembly import Assembly
from connector.cli import output
from connector.cli.options import stopped_by_signals

if TYPE_CHECKING:
    from connector.config import ConsoleConfig

log = telemetry.logger(__name__)

LISTEN: Final = "127.0.0.1:8787"


def console(
    context: typer.Context,
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Address; port 0: any free one. Default: [console], then loopback."),
    ] = "",
    allow_decisions: Annotated[
        bool, typer.Option("--allow-decisions", help="Let what is held be approved and discarded; else it only shows.")
    ] = False,
) -> None:
    """Show the state file in a browser: freshness, devices, products, exposure, changes, what is held. Read-only.

    It reads the file in short visits between polls. The link that it prints lets one in; Ctrl-C stops it.
    """
    from connector.config.tenants import console_of
    from connector.web import Console

    tenants, stop = context.obj.tenants(), threading.Event()
    settings = console_of(tenants)
    settings = settings.listening_on(listen or settings.listen or LISTEN)
    settings = settings.model_copy(update={"allow_decisions": settings.allow_decisions or allow_decisions})
    with ExitStack() as stack:
        assemblies = {tenant.name: stack.enter_context(Assembly(tenant.config, stop=stop)) for tenant in tenants}
        stack.enter_context(stopped_by_signals(stop))
        served = stack.enter_context(Console(assemblies, settings))
        output.print_link(served.access.link)
        output.print_notice("This link works until Ctrl-C; whoever has it sees the inventory.")
        if settings.allow_decisions:
            output.print_notice("Whoever has it can also approve and discard what is held, in the name of this user.")
        stop.wait()


def mcp(context: typer.Context) -> None:
    """Let an AI agent read the state file over MCP: the console's pages as tools, on stdin and stdout. Read-only.

    An MCP client starts it, and it ends when the client leaves. It reads the file in short visits between polls.
    """
    tenants = context.obj.tenants()
    from connector.agents.server import serve

    if sys.stdin.isatty():
        output.print_notice("This speaks MCP on stdin and stdout, for a client that starts it. Ctrl-C ends it.")
    # It only reads, so it may end anywhere; an orderly end would wait for the next line of stdin.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with ExitStack() as stack:
        serve({tenant.name: stack.enter_context(Assembly(tenant.config)) for tenant in tenants})


@contextmanager
def served_beside_polls(assemblies: Mapping[str, Assembly], settings: ConsoleConfig) -> Iterator[None]:
    """Serve the console of a `run` while the block runs, where it is to have one.

    The link is not logged, since logs are kept and shared: it is in a file that only this user can read, and on stdout
    where that is a terminal. The file goes with the process.

    Raises:
        ConfigError: the extra `console` is not installed, or it cannot listen there.
    """
    if not settings.listen:
        yield
        return
    from connector.web import Console
    from connector.web.link import link_file

    path = link_path(next(iter(assemblies.values())).config.state.path)
    with Console(assemblies, settings) as served, link_file(path, served.access.link):
        log.info("serving the console", url=served.access.origin, link_file=path)
        if sys.stdout.isatty():
            output.print_link(served.access.link)
        yield


def link_path(state_path: Path) -> Path:
    """The file beside a state file that has the link to the console of its `run`."""
    return state_path.with_name(f"{state_path.name}.console")
