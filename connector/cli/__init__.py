"""The command `mde-inventory`: its verbs and exit codes. The only `sys.exit` of the package is here.

A verb reads the configuration, asks `assembly` for the parts it needs, and prints what they answer through `output`.
Its module is imported when the verb is run or asked for its help, so that the list of verbs and shell completion need
none of the libraries behind them.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from connector import __version__
from connector.cli.streams import open_streams
from connector.errors import ConnectorError, fault_of

PROGRAM: Final = "mde-inventory"

GARBAGE_THRESHOLDS: Final = (50_000, 20, 20)
"""Messages and headers are many objects that live for a moment: the collector of cycles looks at them less often."""


class Verb(NamedTuple):
    """Where a verb is, and what the list of verbs says about it, which is the first paragraph of its own help.

    Attributes:
        module: in this package.
        name: of the function there; of a verb with subcommands, `app`.
        summary: what it does.
    """

    module: str
    name: str
    summary: str


VERBS: Final = {
    "demo": Verb(
        "demo", "demo", "See it work: a simulated fleet, an in-process Kafka; no accounts, no Docker, no Java."
    ),
    "simulate": Verb(
        "trial.simulate",
        "simulate",
        "Serve the simulated export API over HTTPS. A key on its terminal brings the next generation at once.",
    ),
    "init": Verb(
        "trial.init", "init", "Write a configuration, create the topics, register the schemas, and check all of it."
    ),
    "check": Verb(
        "polling",
        "check",
        "Check configuration, token, permission, API, topics and schema registry; failures come with a hint.",
    ),
    "setup": Verb(
        "polling", "setup", "Create the topics with the right settings and register the schemas; safe to rerun."
    ),
    "poll": Verb("polling", "poll", "Poll once: fetch the export, stage what changed, publish it."),
    "run": Verb(
        "polling",
        "run",
        "Poll until stopped, one tenant or several, with health and metrics over HTTP; SIGTERM finishes cleanly.",
    ),
    "status": Verb("polling", "status", "Show the last snapshots, the backlog, what is held and the age of the data."),
    "tail": Verb("polling", "tail", "Print the decoded messages of a topic as they arrive (read_committed)."),
    "changes": Verb(
        "journal",
        "changes",
        "Show past changes from the journal, newest last: a table on a terminal, NDJSON elsewhere.",
    ),
    "replay": Verb(
        "journal",
        "replay",
        "Publish past changes again, with their ids, times and order; the same command resumes after an interruption.",
    ),
    "explain": Verb(
        "journal",
        "explain",
        "Explain one change: both records, the rule behind it, its snapshot, and whether Kafka has it.",
    ),
    "inventory": Verb(
        "past.verbs",
        "inventory",
        "Show the inventory as it stood at any generation that the journal still covers.",
    ),
    "compare": Verb(
        "past.verbs",
        "compare",
        "Compare the inventories of two times: what was added, removed and changed between them, netted.",
    ),
    "exposure": Verb(
        "past.verbs",
        "exposure",
        "Show how long software out of support stood on each device, and how it ended; the longest first.",
    ),
    "prevalence": Verb(
        "past.verbs",
        "prevalence",
        "Show how many devices had each version of a product on each day; or what is new, the rarest first.",
    ),
    "console": Verb(
        "console",
        "console",
        "Show the state file in a browser: freshness, devices, products, exposure, changes, what is held. Read-only.",
    ),
    "mcp": Verb(
        "console",
        "mcp",
        "Let an AI agent read the state file over MCP: the console's pages as tools, on stdin and stdout. Read-only.",
    ),
    "held": Verb("held", "app", "Review what the guard holds: list, approve or discard it."),
    "state": Verb(
        "state", "app", "Verify the state file, export or import it, begin a new epoch, or rebuild a lost file."
    ),
    "schema": Verb("schema", "app", "Show the Avro schemas; register or check them in the schema registry."),
}


PLACEHOLDERS: Final = {"bool": "", "str": "TEXT", "list[str]": "TEXT", "int": "N", "int range": "N", "path": "PATH"}
"""What the help shows for the value of an option, by what typer calls its type."""

ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="Configuration file, or folder of *.toml; before or after the verb. Default: $MDE_INVENTORY_CONFIG, then"
        " ./connector.toml.",
    ),
]

OneTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        help="Of several configurations, that of this tenant: its source.tenant_name, tenant id, or file name.",
    ),
]


class _Command(TyperCommand):
    """A verb."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own
        """Print the help."""
        import_help()
        super().format_help(ctx, formatter)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own
        """Its parameters, `--help` included."""
        return _in_users_words(super().get_params(ctx), ctx)


class _Group(TyperGroup):
    """A verb with subcommands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own
        """Print the help."""
        import_help()
        super().format_help(ctx, formatter)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own
        """Its parameters, `--help` included."""
        return _in_users_words(super().get_params(ctx), ctx)


def _in_users_words(parameters: list[Any], context: Any) -> list[Any]:  # noqa: ANN401 - typer's own
    """Parameters that the help shows without Python's names of their types."""
    for parameter in parameters:
        if not isinstance(parameter, TyperOption):
            # An argument is known by its name, which its `metavar` is.
            parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - as typer calls it
        elif parameter.metavar is None:
            kind = parameter.display_type(context).strip("<>")
            parameter.metavar = PLACEHOLDERS.get(kind, kind)
    return parameters


class _Verbs(_Group):
    """The verbs: listed from the table, and imported once one of them is named."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(**given)
        self.commands.update({name: TyperCommand(name, help=verb.summary) for name, verb in VERBS.items()})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - typer's own
        """The verb that the arguments begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_verb(name) if name in VERBS else command, rest


def import_help() -> None:
    """Import what draws the help, without what it never draws: Markdown and tracebacks, a third of its time."""
    unused = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
    absent = {name: attribute for name, attribute in unused.items() if name not in sys.modules}
    for name, attribute in absent.items():
        placeholder = ModuleType(name)
        setattr(placeholder, attribute, None)
        sys.modules[name] = placeholder
    try:
        import_module("typer.rich_utils")
    finally:
        for name in absent:
            del sys.modules[name]


def load_verb(name: str) -> Any:  # noqa: ANN401 - a command or a group of commands, whose types are typer's own
    """Import a verb and make its command."""
    verb = VERBS[name]
    part = getattr(import_module(f"connector.cli.{verb.module}"), verb.name)
    if not isinstance(part, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name, cls=_Command)(_with_config(part))
        return typer.main.get_command(app)
    verbs = typer.Typer(name=name, cls=_Group, help=part.info.help, no_args_is_help=True, add_completion=False)
    for command in part.registered_commands:
        assert command.callback is not None  # noqa: S101 - a decorator registered it
        verbs.command(command.name, cls=_Command)(_with_config(command.callback))
    return typer.main.get_group(verbs)


def _with_config(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb that reads the configuration take `--config` and `--tenant` too: they win over those before it."""
    from connector.cli.filtering import declared

    signature = inspect.signature(verb, eval_str=True)
    contexts = [name for name, parameter in signature.parameters.items() if parameter.annotation is typer.Context]
    if not contexts:
        return verb

    @wraps(verb)
    def verb_with_config(
        *,
        config_files: ConfigFiles = None,
        one_tenant: OneTenant = None,
        **given: Any,  # noqa: ANN401 - what typer read
    ) -> None:
        context = given[contexts[0]]
        if config_files:
            context.obj = replace(context.obj, config_files=tuple(config_files))
        if one_tenant:
            context.obj = replace(context.obj, tenant=one_tenant)
        verb(**given)

    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("config_files", ConfigFiles), ("one_tenant", OneTenant))
    ]
    return declared(verb_with_config, [*signature.parameters.values(), *own])


app = typer.Typer(
    name=PROGRAM,
    cls=_Verbs,
    help="Publishes what changed in Microsoft Defender for Endpoint's software inventory on Kafka, as Avro or JSON.",
    context_settings={"help_option_names": ["--help", "-h"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


@app.callback()
def before_verb(
    context: typer.Context,
    config_files: ConfigFiles = None,
    one_tenant: OneTenant = None,
    log_format: Annotated[Literal["console", "json"], typer.Option(help="Format of the logs on stderr.")] = "console",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Minimum level to log.")
    ] = "info",
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Read the options that every verb shares."""
    from connector import telemetry
    from connector.cli.options import Options

    telemetry.configure(log_format, log_level)
    context.obj = Options(tuple(config_files or ()), log_format, log_level, one_tenant or "")


def main() -> None:
    """The command `mde-inventory`. Whatever a verb raises becomes a sentence, a hint and an exit code."""
    open_streams()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    # pydantic would read the metadata of every installed package to find plugins for itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    exit_code = 0
    try:
        try:
            app(prog_name=PROGRAM)
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
    except ConnectorError as error:
        code = _show(error)
        exit_code = exit_code or code
        # The Kafka bindings may keep an error for good; its frames must not keep objects of other libraries alive.
        traceback.clear_frames(error.__traceback__)
    except Exception as error:  # noqa: BLE001 - the last place: whatever nothing expected is shown as a bug
        exit_code = _show(fault_of(error))
    sys.exit(exit_code)


def _show(error: ConnectorError) -> int:
    """Show an error; return its exit code."""
    from connector.cli.options import show_error

    show_error(error)
    return error.exit_code
