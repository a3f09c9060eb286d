"""The verbs of `held`: removals, values and additions that the guard holds, awaiting review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from connector.assembly import STATE_WAIT_SECONDS, Assembly
from connector.cli import output
from connector.cli.filtering import with_options
from connector.cli.lines import held as lines
from connector.cli.options import Json, Wait, Yes
from connector.model import Hold
from connector.operations import decisions, held
from connector.operations.decisions import WAIT_SECONDS
from connector.poll.result import EXIT_CODES
from connector.staging.holds import EVERYTHING, Choice
from connector.state.decisions import Action, Signature
from connector.wording import counted

if TYPE_CHECKING:
    from connector.config.tenants import Tenant

HELD_EXIT_CODE = EXIT_CODES["held"]

app = typer.Typer(help="Review what the guard holds: list, approve or discard it.", no_args_is_help=True)


def _make_choice(
    *,
    reason: Annotated[
        list[str] | None,
        typer.Option(metavar="REASON", help="Only what is held for it: MASS_REMOVAL, SCOPE_LOST, … Repeatable."),
    ] = None,
    inventory: Annotated[str, typer.Option(metavar="CPE|NON_CPE", help="Only one of the two exports.")] = "",
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Only removals on a device group: name or number; * and ?. Repeatable."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE", help="Only removals on a device: name or id; * and ?. Repeatable."),
    ] = None,
) -> Choice:
    """The part of what is held that the command line names."""
    return held.choose(reason or (), inventory, group or (), device or ())


choosing = with_options(_make_choice, "choice")
Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="Why: kept with the decision for `held list --decided`.")
]


@app.command("list")
@choosing
def list_held(
    context: typer.Context,
    choice: Choice,
    decided: Annotated[
        bool, typer.Option("--decided", help="List past decisions instead: when, by whom, why, about how much.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is held, why, since when, where, and what approving it would publish; exit code 3 if anything is."""
    if decided:
        _list_decided(context, choice, as_json=as_json)
    several = context.obj.has_several()

    def show(tenant: Tenant, examined: held.Examined) -> int:
        if as_json:
            output.print_json({"tenant": tenant.name, "held": examined.parts} if several else examined.parts)
        elif not examined.parts:
            output.print_line(_nothing(choice, examined.holds))
        else:
            output.print_texts(lines.describe(examined.parts))
            output.print_line(lines.DECISIONS)
        return HELD_EXIT_CODE if examined.parts else 0

    def examine(_tenant: Tenant, assembly: Assembly) -> held.Examined:
        return held.examine(assembly, choice, wait_seconds=STATE_WAIT_SECONDS)

    raise typer.Exit(context.obj.for_each_tenant(examine, show, heading=not as_json))


def _list_decided(context: typer.Context, choice: Choice, *, as_json: bool) -> NoReturn:
    """List what was decided, and end the verb."""
    several = context.obj.has_several()

    def show(tenant: Tenant, decided: list[dict[str, Any]]) -> int:
        if as_json:
            output.print_json({"tenant": tenant.name, "decided": decided} if several else decided)
        elif decided:
            output.print_texts(lines.describe_decided(decided))
        else:
            output.print_line("no decision is on record")
        return 0

    def read(_tenant: Tenant, assembly: Assembly) -> list[dict[str, Any]]:
        return held.list_decided(assembly, choice)

    raise typer.Exit(context.obj.for_each_tenant(read, show, heading=not as_json))


@app.command("approve")
@choosing
def approve_held(
    context: typer.Context,
    choice: Choice,
    why: Why = "",
    yes: Yes = False,
    wait: Wait = WAIT_SECONDS,
) -> None:
    """Approve what is held: removals are published with reason APPROVED, the rest as the next snapshot has it.

    Shows what it would publish, and asks. With options, approves that part only.
    """
    with context.obj.assembly() as assembly:
        expected = None if yes else _ask(assembly, choice, "Approve", wait)
        decision = decisions.approve_held(
            assembly, choice, expected=expected, signature=_signature(why), wait_seconds=wait
        )
    output.print_line(decisions.describe(Action.APPROVE, decision))
    if decision.outage is not None:
        raise decision.outage


def _signature(why: str) -> Signature:
    """Who decides here, and why."""
    return Signature(decisions.operator(), why.strip())


def _ask(assembly: Assembly, choice: Choice, verb: str, wait: float) -> list[Hold]:
    """Show what a decision is about, and ask for it; ends the verb where there is nothing to decide, or at a no."""
    examined = held.examine(assembly, choice, wait_seconds=wait)
    if not examined.parts:
        output.print_line(_nothing(choice, examined.holds))
        raise typer.Exit
    output.print_texts(lines.describe(examined.parts))
    records = counted(sum(part["records"] for part in examined.parts), "held record")
    if not typer.confirm(f"{verb} {records}?", err=True):
        raise typer.Exit(1)
    return examined.holds


def _nothing(choice: Choice, holds: list[Hold]) -> str:
    """Why there is nothing to decide about."""
    if choice == EVERYTHING or not holds:
        return "nothing is held"
    return "nothing that is held matches; without options, `mde-inventory held list` shows all of it"


@app.command("discard")
@choosing
def discard_held(
    context: typer.Context,
    choice: Choice,
    why: Why = "",
    yes: Yes = False,
    wait: Wait = WAIT_SECONDS,
) -> None:
    """Discard what is held as a fault: the records stay as they are, and the next snapshot is judged on its own."""
    with context.obj.assembly() as assembly:
        expected = None if yes else _ask(assembly, choice, "Discard, and keep as stored,", wait)
        decision = decisions.discard_held(
            assembly, choice, expected=expected, signature=_signature(why), wait_seconds=wait
        )
    output.print_line(decisions.describe(Action.DISCARD, decision))
