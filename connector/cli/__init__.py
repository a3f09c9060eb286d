"""The command `mde-inventory`: its verbs and exit codes. The only `sys.exit` of the package is here.

A verb reads the configuration, asks `assembly` for the parts it needs, and prints what they answer through `output`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from connector import __version__, telemetry
from connector.cli import demo, held, journal, output, polling, schema, state
from connector.cli.options import Options, show_error
from connector.cli.streams import open_streams
from connector.errors import ConnectorError, fault_of

app = typer.Typer(
    name="mde-inventory",
    help="Publishes what changed in Microsoft Defender for Endpoint's software inventory as Avro messages on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
VERBS: Final[tuple[Callable[..., None], ...]] = (
    demo.demo,
    demo.simulate,
    polling.check,
    polling.setup,
    polling.poll,
    polling.run,
    polling.status,
    polling.tail,
    journal.changes,
    journal.replay,
    journal.explain,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(held.app, name="held")
app.add_typer(state.app, name="state")
app.add_typer(schema.app, name="schema")


def _show_version(wanted: bool) -> None:
    if wanted:
        output.print_line(f"mde-inventory {__version__}")
        raise typer.Exit


@app.callback()
def before_verb(
    context: typer.Context,
    config_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            metavar="PATH",
            help="Configuration file, or folder of *.toml; `run` takes several. Default: $MDE_INVENTORY_CONFIG, then"
            " ./connector.toml.",
        ),
    ] = None,
    log_format: Annotated[telemetry.LogFormat, typer.Option(help="Format of the logs on stderr.")] = "console",
    log_level: Annotated[telemetry.Level, typer.Option(help="Minimum level to log.")] = "info",
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Read the options that every verb shares."""
    telemetry.configure(log_format, log_level)
    context.obj = Options(tuple(config_files or ()), log_format, log_level)


def main() -> None:
    """The command `mde-inventory`. Whatever a verb raises becomes a sentence, a hint and an exit code."""
    open_streams()
    exit_code = 0
    try:
        try:
            app()
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
    except ConnectorError as error:
        show_error(error)
        exit_code = exit_code or error.exit_code
        # The Kafka bindings may keep an error for good; its frames must not keep objects of other libraries alive.
        traceback.clear_frames(error.__traceback__)
    except Exception as error:  # noqa: BLE001 - the last place: whatever nothing expected is shown as a bug
        fault = fault_of(error)
        show_error(fault)
        exit_code = fault.exit_code
    sys.exit(exit_code)
