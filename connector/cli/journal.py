"""The verbs of the journal: `changes`, `replay`, `explain`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer

from connector.assembly import Assembly
from connector.cli import changes_table, output
from connector.cli.filtering import filtered
from connector.cli.options import Json, show_error, stopped_by_signals
from connector.errors import ConfigError, Stopped
from connector.history.explain import Setting
from connector.history.explain import explain as explained
from connector.history.filters import Filters
from connector.history.replay import ReplayResult

LIMIT_ON_A_TERMINAL = 500


@filtered
def changes(
    context: typer.Context,
    filters: Filters,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON; the default where stdout is no terminal.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV.")] = False,
) -> None:
    """Show past changes from the journal, the newest last: a table on a terminal, else NDJSON."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other", hint="Give one of them.")
    table = not (as_json or as_csv) and sys.stdout.isatty()
    with context.obj.assembly() as assembly, stopped_by_signals(assembly.stop), _until_the_reader_leaves():
        scope = assembly.past.scope(filters.at(assembly.clock()))
        if scope.cut:
            changes_table.print_cut(
                scope.beginning and scope.beginning.snapshot_id, assembly.config.state.journal_retention_days
            )
        number = limit or (LIMIT_ON_A_TERMINAL if table else None)
        blocks, more = assembly.past.newest(scope, number) if number else (assembly.past.blocks(scope), False)
        shown = _show(blocks, table=table, as_csv=as_csv)
        if table and (more or not shown):
            changes_table.print_ending(shown)


@filtered
def replay(
    context: typer.Context,
    filters: Filters,
    topic: Annotated[str, typer.Option(help="Full name of another topic; default: the topic of the changes.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count; publish nothing.")] = False,
    rate: Annotated[int, typer.Option(min=0, help="Changes a second at most; 0: no limit.")] = 0,
    as_json: Json = False,
) -> None:
    """Publish past changes again, with their ids, times and order; after an interruption, the same command goes on."""
    with context.obj.assembly() as assembly, stopped_by_signals(assembly.stop):
        replaying = assembly.replay(filters, topic=topic, rate=rate)
        report = partial(_report, assembly, as_json)
        if dry_run:
            report(replaying.dry_run())
            return
        with changes_table.ReplayProgress() as progress:
            try:
                replaying.run(report, progress=progress.show if progress.wanted else None)
            except Stopped as error:
                show_error(error)
                raise typer.Exit(1) from error


def explain(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="An eventId, or its first 8 characters or more.")],
    as_json: Json = False,
) -> None:
    """Show one change: both records, the rule that fired, its snapshot, and what Kafka knows of it."""
    with context.obj.assembly() as assembly:
        config = assembly.config.state
        with assembly.read_state() as state:
            told = explained(state, event_id, Setting(config.rejected_path, config.journal_retention_days))
    if as_json:
        output.print_json(told)
    else:
        changes_table.print_explanation(told)


def _show(blocks: Iterable[list[dict[str, Any]]], *, table: bool, as_csv: bool) -> int:
    """Show block after block, and return how many changes there were."""
    shown, rows = 0, changes_table.ChangesTable()
    if as_csv:
        changes_table.write_csv_heading()
    for block in blocks:
        if table:
            rows.print(block)
        elif as_csv:
            changes_table.write_csv(block)
        else:
            changes_table.write_ndjson(block)
        shown += len(block)
    return shown


def _report(assembly: Assembly, as_json: bool, result: ReplayResult) -> None:
    """Say what a replay came to; it is on its way to whoever reads it before the replay is marked as finished."""
    if result.cut:
        changes_table.print_cut(result.journal_from, assembly.config.state.journal_retention_days)
    if as_json:
        output.print_json(changes_table.replay_told(result))
    else:
        changes_table.print_replay(result)
    sys.stdout.flush()


@contextmanager
def _until_the_reader_leaves() -> Iterator[None]:
    """Whoever reads stdout may have had enough, as `head` has: that is no failure."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered must not fail again as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
