"""The verb `console`: pages about one state file on loopback, until it is stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import output
from connector.cli.options import stopped_by_signals


def console(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address on loopback; port 0: any free port.")
    ] = "127.0.0.1:8787",
    allow_decisions: Annotated[
        bool, typer.Option("--allow-decisions", help="Let what is held be approved and discarded; else it only shows.")
    ] = False,
) -> None:
    """Show the state file in a browser: freshness, devices, products, exposure, changes, what is held. Read-only.

    It reads the file in short visits between polls. The link that it prints lets one in; Ctrl-C stops it.
    """
    from connector.web import Console

    with (
        context.obj.assembly() as assembly,
        stopped_by_signals(assembly.stop),
        Console(assembly, listen, allow_decisions=allow_decisions) as served,
    ):
        output.print_link(served.access.link)
        output.print_notice("This link is for this machine and until Ctrl-C; whoever has it sees the inventory.")
        if allow_decisions:
            output.print_notice("Whoever has it can also approve and discard what is held, in the name of this user.")
        assembly.stop.wait()
