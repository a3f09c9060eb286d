"""The verbs of `held`: removals that the guard holds, awaiting review."""

from __future__ import annotations

import typer

from connector.cli import output
from connector.cli.options import Json, Wait, Yes
from connector.operations import decisions, held
from connector.operations.decisions import WAIT_SECONDS, Decision
from connector.poll.result import EXIT_CODES
from connector.wording import counted

HELD_EXIT_CODE = EXIT_CODES["held"]

app = typer.Typer(help="Review the removals that the guard holds: list, approve or discard them.", no_args_is_help=True)


@app.command("list")
def list_held(context: typer.Context, as_json: Json = False) -> None:
    """List the held removals: how many, on how many devices, why and since when; exit code 3 if there are any."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        holds = held.list_held(state)
    if as_json:
        output.print_json(holds)
    else:
        output.print_held(holds)
    raise typer.Exit(HELD_EXIT_CODE if holds else 0)


@app.command("approve")
def approve_held(context: typer.Context, yes: Yes = False, wait: Wait = WAIT_SECONDS) -> None:
    """Approve the held removals: publish them as REMOVED with reason APPROVED."""
    if not yes and not typer.confirm("Publish all held removals as REMOVED?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        decision = decisions.approve_held(assembly, wait_seconds=wait)
    output.print_line(_approval(decision))
    if decision.outage is not None:
        raise decision.outage


def _approval(decision: Decision) -> str:
    """What became of an approval, in words."""
    removals = counted(decision.records, "removal")
    if not decision.records:
        return "nothing is held"
    if decision.outage is not None:
        return f"{removals} approved and staged; the next poll publishes them"
    if decision.publisher is None:
        return f"{removals} approved and published"
    when = "soon" if decision.publisher.lasts else "with its next poll"
    return f"{removals} approved and staged; {decision.publisher} publishes them {when}"


@app.command("discard")
def discard_held(context: typer.Context, yes: Yes = False, wait: Wait = WAIT_SECONDS) -> None:
    """Discard the held removals as missing data: the records stay, and the next snapshot is judged on its own."""
    if not yes and not typer.confirm("Discard the held removals and keep the records?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        kept = decisions.discard_held(assembly, wait_seconds=wait).records
    output.print_line(f"{counted(kept, 'record')} kept in the inventory")
