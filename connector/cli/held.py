"""The verbs of `held`: removals that the guard holds."""

from __future__ import annotations

import typer

from connector.cli import output
from connector.cli.options import Json, Yes
from connector.operations import held
from connector.poll.result import EXIT_CODES
from connector.staging import derived

HELD_EXIT_CODE = EXIT_CODES["held"]

app = typer.Typer(help="Removals that the guard holds until a person looks.", no_args_is_help=True)


@app.command("list")
def list_held(context: typer.Context, as_json: Json = False) -> None:
    """Show the removals that the guard holds: how many, on how many devices, why and since when."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        holds = held.list_held(state)
    if as_json:
        output.print_json(holds)
    else:
        output.print_held(holds)
    raise typer.Exit(HELD_EXIT_CODE if holds else 0)


@app.command("approve")
def approve_held(context: typer.Context, yes: Yes = False) -> None:
    """Believe the held removals: publish them as REMOVED, reason APPROVED."""
    if not yes and not typer.confirm("Publish all held removals as REMOVED?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        removed = assembly.pipeline.approve_held()
    output.print_line(f"{removed:,} removals approved and published")


@app.command("discard")
def discard_held(context: typer.Context, yes: Yes = False) -> None:
    """Take the held removals as missing data: the records stay, and the next snapshot is judged afresh."""
    if not yes and not typer.confirm("Drop the hold and keep the records?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly, assembly.open_state() as state:
        kept = derived.discard_held(state)
    output.print_line(f"{kept:,} records stay in the inventory")
