"""The verbs of `schema`: Avro schemas and the schema registry."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import output
from connector.cli.options import show_checks
from connector.kafka import schemas
from connector.operations import check, setup

app = typer.Typer(help="Show the Avro schemas; register or check them in the schema registry.", no_args_is_help=True)


@app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="Name of one schema, such as SoftwareChange.")] = None,
    json_schema: Annotated[bool, typer.Option("--json-schema", help="JSON Schema instead of Avro.")] = False,
) -> None:
    """Print the Avro schemas, or the same as JSON Schema."""
    known = schemas.json_schemas() if json_schema else schemas.all_schemas()
    for schema in schemas.find(name, known) if name else known:
        output.print_json(schema)


@app.command("register")
def register(context: typer.Context) -> None:
    """Register the schemas and their compatibility; safe to rerun."""
    with context.obj.assembly() as assembly:
        exit_code = show_checks(setup.register_schemas(assembly))
    raise typer.Exit(exit_code)


@app.command("check")
def check_schemas(context: typer.Context) -> None:
    """Check that the registry has the schemas and that they are compatible."""
    with context.obj.assembly() as assembly:
        exit_code = show_checks(check.check_schemas(assembly))
    raise typer.Exit(exit_code)
