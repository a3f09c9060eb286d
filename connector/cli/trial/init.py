"""The verb `init`: asks, or takes options, writes a configuration, sets up Kafka, and checks all of it."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from connector.cli import output
from connector.cli.options import Options, show_checks
from connector.cli.trial.simulate import PORT, command_name, import_simulator
from connector.config import shipped
from connector.config.loading import CONFIG_VARIABLE, DEFAULT_FILE
from connector.errors import ConfigError
from connector.operations.check import check_everything
from connector.operations.init import check_absent, write_configuration
from connector.operations.setup import set_up

SECRET_VARIABLE: Final = "MDE_INVENTORY_SOURCE__CLIENT_SECRET"  # noqa: S105 - its name
BROKERS: Final = "localhost:9092"
REGISTRY: Final = "http://localhost:8081"


class ValueFormat(StrEnum):
    """`kafka.value_format`."""

    AVRO = "avro"
    JSON = "json"


def init(  # noqa: PLR0913 - an option for each answer
    context: typer.Context,
    *,
    simulator: Annotated[
        bool, typer.Option("--simulator", help="For a running `mde-inventory simulate` in place of a tenant.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the simulator.")] = PORT,
    tenant_id: Annotated[str, typer.Option(metavar="GUID", help="Microsoft Entra tenant.")] = "",
    client_id: Annotated[str, typer.Option(metavar="GUID", help="Application (client) id.")] = "",
    client_secret_file: Annotated[
        str, typer.Option(metavar="FILE", help="File with the client secret; asked for otherwise.")
    ] = "",
    bootstrap_servers: Annotated[str, typer.Option(metavar="HOST:PORT", help="Kafka brokers.")] = "",
    schema_registry: Annotated[str, typer.Option(metavar="URL", help="Schema registry.")] = "",
    value_format: Annotated[ValueFormat, typer.Option(help="json: no schema registry is needed.")] = ValueFormat.AVRO,
    topic_prefix: Annotated[str, typer.Option(metavar="PREFIX", help="Prefix of the topics.")] = "",
    example: Annotated[
        bool, typer.Option("--example", help="Only print the example of a configuration, with every key.")
    ] = False,
    unit: Annotated[bool, typer.Option("--unit", help="Only print the systemd unit.")] = False,
) -> None:
    """Write a configuration, create the topics, register the schemas, and check all of it.

    Asks for what no option gives. The file has mode 0600, and a comment for every key.
    """
    if example or unit:
        typer.echo(shipped.read(shipped.UNIT if unit else shipped.EXAMPLE), nl=False)
        return
    file = _target(context.obj)
    check_absent(file)
    tables = _source(simulator, port, tenant_id, client_id, client_secret_file)
    tables["kafka.client"] = {"bootstrap.servers": bootstrap_servers or _ask("Kafka brokers", BROKERS)}
    kafka = {"value_format": value_format.value} | ({"topic_prefix": topic_prefix} if topic_prefix else {})
    tables["kafka"] = kafka
    if value_format is ValueFormat.AVRO:
        tables["schema_registry"] = {"url": schema_registry or _ask("Schema registry", REGISTRY)}
    write_configuration(file, tables)
    output.print_line(f"{file} written, readable by you alone")
    raise typer.Exit(_set_up_and_check(context.obj, file))


def _target(options: Options) -> Path:
    """The file to write: the one that other verbs would read."""
    if len(options.config_files) > 1:
        raise ConfigError("init writes one file", hint="Name one with --config.")
    named = options.config_files[0] if options.config_files else os.environ.get(CONFIG_VARIABLE)
    return Path(named or DEFAULT_FILE)


def _source(simulator: bool, port: int, tenant_id: str, client_id: str, secret_file: str) -> dict[str, dict[str, Any]]:
    """The table `[source]`: the simulator's, or of a tenant, whose secret no option takes: others could see it."""
    if simulator:
        return {"source": import_simulator().source_settings(port)}
    source = {
        "tenant_id": tenant_id or _ask("Microsoft Entra tenant id"),
        "client_id": client_id or _ask("Application (client) id"),
    }
    if secret_file:
        source["client_secret_file"] = secret_file
    elif SECRET_VARIABLE not in os.environ:
        source["client_secret"] = typer.prompt("Client secret (not shown)", hide_input=True, err=True)
    return {"source": source}


def _ask(question: str, default: str | None = None) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def _set_up_and_check(options: Options, file: Path) -> int:
    """Set up Kafka, then check everything. Returns the exit code."""
    output.print_rule("setup")
    with replace(options, config_files=(file,)).assembly() as assembly:
        exit_code = show_checks(set_up(assembly))
        output.print_rule("check")
        exit_code = max(exit_code, show_checks(check_everything(assembly, file)))
    named = "" if file == Path(DEFAULT_FILE) else f"--config {file} "
    command = f"{command_name()} {named}"
    if exit_code:
        output.print_line(f"Mend what failed in {file}, then: `{command}setup` and `{command}check`", style="yellow")
    else:
        output.print_line(f"Next: `{command}poll` takes the baseline; the polls after it publish what changed")
    return exit_code
