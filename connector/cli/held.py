"""The verbs of `held`: removals, values and additions that the guard holds, awaiting review."""

from __future__ import annotations

import typer

from connector.cli import output
from connector.cli.options import Json, Wait, Yes
from connector.operations import decisions, held
from connector.operations.decisions import WAIT_SECONDS, Decision
from connector.poll.result import EXIT_CODES
from connector.wording import counted

HELD_EXIT_CODE = EXIT_CODES["held"]

app = typer.Typer(help="Review what the guard holds: list, approve or discard it.", no_args_is_help=True)


@app.command("list")
def list_held(context: typer.Context, as_json: Json = False) -> None:
    """List what is held: how many records, on how many devices, why and since when; exit code 3 if anything is."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        holds = held.list_held(state)
    if as_json:
        output.print_json(holds)
    else:
        output.print_held(holds)
    raise typer.Exit(HELD_EXIT_CODE if holds else 0)


@app.command("approve")
def approve_held(context: typer.Context, yes: Yes = False, wait: Wait = WAIT_SECONDS) -> None:
    """Approve what is held: removals are published with reason APPROVED, the rest as the next snapshot has it."""
    if not yes and not typer.confirm("Approve everything that is held, and publish removals as REMOVED?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        decision = decisions.approve_held(assembly, wait_seconds=wait)
    output.print_line(_approval(decision))
    if decision.outage is not None:
        raise decision.outage


def _approval(decision: Decision) -> str:
    """What became of an approval, in words."""
    if not (decision.records or decision.believed):
        return "nothing is held"
    believed = f"{counted(decision.believed, 'record')} will be taken as the next snapshot has them"
    if not decision.records:
        return believed
    return f"{_publication(decision)}; {believed}" if decision.believed else _publication(decision)


def _publication(decision: Decision) -> str:
    """What became of the removals that were approved."""
    removals = counted(decision.records, "removal")
    if decision.outage is not None:
        return f"{removals} approved and staged; the next poll publishes them"
    if decision.publisher is None:
        return f"{removals} approved and published"
    when = "soon" if decision.publisher.lasts else "with its next poll"
    return f"{removals} approved and staged; {decision.publisher} publishes them {when}"


@app.command("discard")
def discard_held(context: typer.Context, yes: Yes = False, wait: Wait = WAIT_SECONDS) -> None:
    """Discard what is held as a fault: the records stay as they are, and the next snapshot is judged on its own."""
    if not yes and not typer.confirm("Discard what is held, and keep the records as they are?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        kept = decisions.discard_held(assembly, wait_seconds=wait).records
    output.print_line(f"{counted(kept, 'record')} kept in the inventory")
