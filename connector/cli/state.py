"""The verbs of `state`: check the state file, write it out, begin a new epoch."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import Annotated

import typer

from connector import console
from connector.cli.options import Yes

app = typer.Typer(help="Check the state file, write it out, or begin a new epoch.", no_args_is_help=True)


@app.command("verify")
def verify(context: typer.Context) -> None:
    """Count the inventory and work out its digests anew, and say what differs from what is stored."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        problems = state.verify()
    for problem in problems:
        console.print_check("state", fine=False, text=problem)
    if not problems:
        console.print_check("state", fine=True, text="counts, keys and digests are as stored")
    raise typer.Exit(1 if problems else 0)


@app.command("export")
def export(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A new file; .parquet or .ndjson.")],
) -> None:
    """Write the inventory to a file, one record a row."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        records = state.export(path)
    console.print_line(f"{records:,} records written to {path}")


@app.command("rebaseline")
def rebaseline(context: typer.Context, yes: Yes = False) -> None:
    """Begin a new epoch: the next snapshot becomes the baseline, and what changed in between is not published."""
    console.print_notice(
        "A new epoch forgets the stored inventory. The next poll takes its snapshot as the baseline: changes since the"
        " last one are not published, and pending changes are dropped. Consumers see a new epoch, and should take its"
        " baseline as the whole."
    )
    if not yes and not typer.confirm("Begin a new epoch?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        epoch = assembly.pipeline.rebaseline()
    console.print_line(f"epoch {epoch} begins with the next poll")
