"""The verbs of `state`: check the state file, write it out, begin a new epoch, rebuild a lost one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli import output
from connector.cli.options import Yes, show_checks
from connector.operations.rebaseline import rebaseline_notice
from connector.operations.verify import verify as verify_state
from connector.poll.rebuild import NOTICE
from connector.staging import maintenance

app = typer.Typer(
    help="Check the state file, write it out, begin a new epoch, or rebuild a lost file.", no_args_is_help=True
)


@app.command("verify")
def verify(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Kafka: look at the file alone.")] = False,
) -> None:
    """Count the inventory and work out its digests anew, and hold the file against Kafka's checkpoint."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        exit_code = show_checks(verify_state(assembly, state, offline=offline))
    raise typer.Exit(exit_code)


@app.command("export")
def export(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A new file; .parquet, .ndjson or .csv.")],
) -> None:
    """Write the inventory to a file, one record a row."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        records = maintenance.export(state, path)
    output.print_line(f"{records:,} records written to {path}")


@app.command("rebaseline")
def rebaseline(context: typer.Context, yes: Yes = False) -> None:
    """Begin a new epoch: the next snapshot becomes the baseline, and what changed in between is not published."""
    with context.obj.assembly() as assembly:
        output.print_notice(rebaseline_notice(assembly))
        if not yes and not typer.confirm("Begin a new epoch?", err=True):
            raise typer.Exit(1)
        epoch = assembly.pipeline.rebaseline()
    output.print_line(f"epoch {epoch} begins with the next poll")


@app.command("rebuild")
def rebuild(context: typer.Context, yes: Yes = False) -> None:
    """Restore a lost state file from Kafka, so that the next poll publishes only the true difference."""
    with context.obj.assembly(output.FetchProgress()) as assembly:
        assembly.rebuild.check_absent()
        output.print_notice(NOTICE)
        if not yes and not typer.confirm("Rebuild the state file?", err=True):
            raise typer.Exit(1)
        found = assembly.rebuild.run()
    told = ", ".join(f"{inventory} {records:,}" for inventory, records in sorted(found.records.items()))
    output.print_line(f"restored from {found.topic}: {told or 'no'} records")
    output.print_line(f"epoch {found.checkpoint.epoch}, sequence {found.checkpoint.sequence:,}; poll as usual")
