"""The verbs of `state`: verify the state file, export and import it, begin a new epoch, rebuild a lost file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connector.cli import output
from connector.cli.options import Wait, Yes, show_checks
from connector.operations import decisions, moving
from connector.operations.decisions import WAIT_SECONDS
from connector.operations.rebaseline import rebaseline_notice
from connector.operations.verify import verify as verify_state
from connector.poll.rebuild import NOTICE
from connector.staging import maintenance
from connector.state import portable
from connector.wording import counted

app = typer.Typer(
    help="Verify the state file, export or import it, begin a new epoch, or rebuild a lost file.",
    no_args_is_help=True,
)


@app.command("verify")
def verify(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Check the file alone, without asking Kafka.")] = False,
) -> None:
    """Count the inventory, recompute its digests and compare the file with Kafka's checkpoint."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        exit_code = show_checks(verify_state(assembly, state, offline=offline))
    raise typer.Exit(exit_code)


@app.command("export")
def export(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            help="A new file for the inventory, .parquet, .ndjson or .csv; a new folder for the whole state."
        ),
    ],
) -> None:
    """Write the inventory to a file, one record per row; or the whole state to a folder, for `state import`."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        if path.suffix:
            written = counted(maintenance.export(state, path), "record")
        else:
            written = _described(portable.write(state, path))
    output.print_line(f"{written} written to {path}")


@app.command("import")
def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A folder that `state export` wrote.")],
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Kafka for its checkpoint.")] = False,
    yes: Yes = False,
) -> None:
    """Make the state file of an exported state, so that polls go on where it stopped, without an event."""
    with context.obj.assembly() as assembly:
        moving.check(assembly, folder)
        output.print_notice(moving.NOTICE)
        if not yes and not typer.confirm("Import the state?", err=True):
            raise typer.Exit(1)
        manifest = moving.import_state(assembly, folder, offline=offline)
    output.print_line(f"{_described(manifest)} imported; poll as usual")


def _described(manifest: portable.Manifest) -> str:
    records = counted(manifest.tables["inventory"].rows, "record")
    return f"{records} at epoch {manifest.epoch}, sequence {manifest.sequence:,}, snapshot {manifest.snapshot}"


@app.command("rebaseline")
def rebaseline(context: typer.Context, yes: Yes = False, wait: Wait = WAIT_SECONDS) -> None:
    """Begin a new epoch: the next snapshot becomes the baseline, and changes until then are not published."""
    with context.obj.assembly() as assembly:
        output.print_notice(rebaseline_notice(assembly, wait_seconds=wait))
        if not yes and not typer.confirm("Begin a new epoch?", err=True):
            raise typer.Exit(1)
        epoch = decisions.rebaseline(assembly, wait_seconds=wait)
    output.print_line(f"epoch {epoch} begins with the next poll")


@app.command("rebuild")
def rebuild(context: typer.Context, yes: Yes = False) -> None:
    """Restore a lost state file from Kafka, so that the next poll publishes only the true difference."""
    with context.obj.assembly(output.FetchProgress()) as assembly:
        assembly.rebuild.check_absent()
        output.print_notice(NOTICE)
        if not yes and not typer.confirm("Rebuild the state file?", err=True):
            raise typer.Exit(1)
        with assembly.publisher_lock("state rebuild"):
            rebuilt = assembly.rebuild.run()
    records = [f"{counted(number, 'record')} of {inventory}" for inventory, number in sorted(rebuilt.records.items())]
    output.print_line(f"restored from {rebuilt.topic}: {', '.join(records) or 'no records'}")
    output.print_line(f"epoch {rebuilt.checkpoint.epoch}, sequence {rebuilt.checkpoint.sequence:,}; poll as usual")
