"""The verbs of `mde-inventory`, and the exit codes. Owns typer, and the only `sys.exit` of the package.

A verb reads the configuration, asks `assembly` for the parts it needs, and shows what they say through `console`.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from connector import __version__, checks, config, console, schemas, telemetry
from connector import demo as demonstration
from connector.assembly import Assembly, now
from connector.errors import ConfigError, ConnectorError
from connector.model import Topic
from connector.pipeline import EXIT_CODES
from connector.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from connector.config import Config
    from connector.model import Progress

app = typer.Typer(
    name="mde-inventory",
    help="Publishes what changed in Microsoft Defender for Endpoint's software inventory as Avro messages on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
state_app = typer.Typer(help="Check the state file, write it out, or begin a new epoch.", no_args_is_help=True)
held_app = typer.Typer(help="Removals that the guard holds until a person looks.", no_args_is_help=True)
schema_app = typer.Typer(help="The Avro schemas, and the schema registry.", no_args_is_help=True)
app.add_typer(state_app, name="state")
app.add_typer(held_app, name="held")
app.add_typer(schema_app, name="schema")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text for people.")]


HELD_EXIT_CODE = EXIT_CODES["held"]


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the verb."""

    config_file: Path | None
    log_format: telemetry.LogFormat
    log_level: telemetry.Level

    def config(self) -> Config:
        """The configuration, read and checked; from here on logs hide its secrets."""
        loaded = config.load(self.config_file)
        telemetry.configure(self.log_format, self.log_level, loaded.secrets)
        return loaded

    def assembly(self, progress: Progress | None = None) -> Assembly:
        """The parts that the configuration describes."""
        return Assembly(self.config(), progress=progress, prompt=console.print_notice)


def _show_version(asked: bool) -> None:
    if asked:
        console.print_line(f"mde-inventory {__version__}")
        raise typer.Exit


@app.callback()
def before_verb(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Default: $MDE_INVENTORY_CONFIG, then ./connector.toml."),
    ] = None,
    log_format: Annotated[telemetry.LogFormat, typer.Option(help="How logs are written to stderr.")] = "console",
    log_level: Annotated[telemetry.Level, typer.Option(help="What is less important is not logged.")] = "info",
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """What holds for every verb."""
    telemetry.configure(log_format, log_level)
    context.obj = Options(config_file, log_format, log_level)


@app.command()
def demo(
    devices: Annotated[int, typer.Option(min=5, max=5_000, help="Devices of the simulated fleet.")] = 40,
    generations: Annotated[int, typer.Option(min=2, max=100, help="Snapshots to poll.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 7,
) -> None:
    """See it work: a simulated fleet, an in-process Kafka; no accounts, no Docker, no Java."""
    telemetry.configure("console", "warning")
    raise typer.Exit(demonstration.run(devices=devices, generations=generations, seed=seed))


@app.command()
def simulate(
    devices: Annotated[int, typer.Option(min=5, max=100_000, help="Devices of the fleet.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0: a free one.")] = 8443,
    interval_seconds: Annotated[int, typer.Option(min=1, help="Time between two generations.")] = 60,
    faults: Annotated[Path | None, typer.Option(help="JSON file of faults to play.")] = None,
) -> None:
    """Serve the simulated export API over HTTPS, for trying the connector against it."""
    stop = threading.Event()
    with _stopped_by_signals(stop):
        demonstration.simulate(
            devices=devices, seed=seed, port=port, interval_seconds=interval_seconds, faults_file=faults, stop=stop
        )


@app.command()
def check(context: typer.Context) -> None:
    """Check configuration, token, permission, API, topics and schema registry: one line each, with a hint."""
    with context.obj.assembly() as assembly:
        failed = [found for found in map(_shown, checks.checks(assembly)) if not found.fine]
    raise typer.Exit(max((found.exit_code for found in failed), default=0))


@app.command()
def setup(context: typer.Context) -> None:
    """Create the topics with the right settings and register the schemas; as often as you like."""
    with context.obj.assembly() as assembly:
        failed = [found for found in map(_shown, checks.set_up(assembly)) if not found.fine]
    raise typer.Exit(max((found.exit_code for found in failed), default=0))


@app.command()
def poll(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes; write and publish nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Poll once: fetch the export, stage what changed, publish it."""
    exit_code = 0
    with context.obj.assembly(console.FetchProgress()) as assembly, _stopped_by_signals(assembly.stop):
        show = None if as_json else console.print_change
        for result in assembly.pipeline.dry_run(show) if dry_run else assembly.pipeline.poll():
            if as_json:
                console.print_json(result.as_json())
            else:
                console.print_poll(result)
            if result.outage:
                _show_error(result.outage)
            exit_code = max(exit_code, result.exit_code)
    raise typer.Exit(exit_code)


@app.command()
def run(context: typer.Context) -> None:
    """Poll for ever, with health and metrics over HTTP; SIGTERM finishes cleanly."""
    with context.obj.assembly() as assembly:
        settings = assembly.config
        service = Service(
            assembly.pipeline.poll,
            interval_seconds=settings.poll.interval_seconds,
            listen=settings.http.address,
            metrics=telemetry.Metrics(),
            stop=assembly.stop,
        )
        raise typer.Exit(service.run())


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the last snapshots, the backlog, held removals and the age of the data."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        found = checks.status(assembly, state, at=now())
    if as_json:
        console.print_json(found)
    else:
        console.print_status(found)


@app.command()
def tail(
    context: typer.Context,
    topic: Annotated[str, typer.Option(help="changes, alerts, snapshots, checkpoints, inventory, or a full name.")] = (
        Topic.CHANGES.value
    ),
    begin: Annotated[str, typer.Option("--from", help="beginning or end.")] = "end",
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Stop after this many messages.")] = None,
    as_json: Json = False,
) -> None:
    """Print decoded messages of a topic, as they come; read_committed."""
    if begin not in ("beginning", "end"):
        raise ConfigError(f"--from {begin}: must be beginning or end", hint="The default is end.")
    with context.obj.assembly() as assembly:
        name = assembly.topic(Topic(topic)) if topic in list(Topic) else topic
        for message in assembly.reader().follow(name, from_beginning=begin == "beginning", limit=limit):
            value = None if message.value is None else assembly.codec.decode(message.value)
            if as_json:
                console.print_json(message.place | {"value": value})
            else:
                console.print_message(message.place, value)


@state_app.command("verify")
def verify(context: typer.Context) -> None:
    """Count the inventory and work out its digests anew, and say what differs from what is stored."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        problems = state.verify()
    for problem in problems:
        console.print_check("state", fine=False, text=problem)
    if not problems:
        console.print_check("state", fine=True, text="counts, keys and digests are as stored")
    raise typer.Exit(1 if problems else 0)


@state_app.command("export")
def export(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A new file; .parquet or .ndjson.")],
) -> None:
    """Write the inventory to a file, one record a row."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        records = state.export(path)
    console.print_line(f"{records:,} records written to {path}")


@state_app.command("rebaseline")
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


@held_app.command("list")
def list_held(context: typer.Context, as_json: Json = False) -> None:
    """Show the removals that the guard holds: how many, on how many devices, why and since when."""
    with context.obj.assembly() as assembly, assembly.read_state() as state:
        found = checks.held(state)
    if as_json:
        console.print_json(found)
    else:
        console.print_held(found)
    raise typer.Exit(HELD_EXIT_CODE if found else 0)


@held_app.command("approve")
def approve_held(context: typer.Context, yes: Yes = False) -> None:
    """Believe the held removals: publish them as REMOVED, reason APPROVED."""
    if not yes and not typer.confirm("Publish all held removals as REMOVED?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly:
        removed = assembly.pipeline.approve_held()
    console.print_line(f"{removed:,} removals approved and published")


@held_app.command("discard")
def discard_held(context: typer.Context, yes: Yes = False) -> None:
    """Take the held removals as missing data: the records stay, and the next snapshot is judged afresh."""
    if not yes and not typer.confirm("Drop the hold and keep the records?", err=True):
        raise typer.Exit(1)
    with context.obj.assembly() as assembly, assembly.open_state() as state:
        kept = state.discard_held()
    console.print_line(f"{kept:,} records stay in the inventory")


@schema_app.command("show")
def show(name: Annotated[str | None, typer.Argument(help="One of them, such as SoftwareChange.")] = None) -> None:
    """Print the Avro schemas."""
    for schema in schemas.named(name) if name else schemas.all_schemas():
        console.print_json(schema)


@schema_app.command("register")
def register(context: typer.Context) -> None:
    """Register the schemas and their compatibility."""
    with context.obj.assembly() as assembly:
        failed = [found for found in map(_shown, checks.register_schemas(assembly)) if not found.fine]
    raise typer.Exit(max((found.exit_code for found in failed), default=0))


@schema_app.command("check")
def check_schemas(context: typer.Context) -> None:
    """Ask the registry whether the schemas are registered and compatible."""
    with context.obj.assembly() as assembly:
        failed = [found for found in map(_shown, checks.check_schemas(assembly)) if not found.fine]
    raise typer.Exit(max((found.exit_code for found in failed), default=0))


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets `stop`; a second one ends the process as it always did."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in former:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()


def _show_error(error: ConnectorError) -> None:
    message = "\n".join(str(telemetry.without_secrets(line)) for line in str(error).splitlines())
    console.print_failure(message, error.hint)


def _shown(found: checks.Check) -> checks.Check:
    console.print_check(found.name, fine=found.fine, text=found.text, hint=found.hint)
    return found


def main() -> None:
    """The command `mde-inventory`."""
    try:
        app()
    except ConnectorError as error:
        _show_error(error)
        sys.exit(error.exit_code)
