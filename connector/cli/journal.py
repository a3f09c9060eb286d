"""The verbs of the journal: `changes`, `replay`, `explain`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import typer

from connector.assembly import Assembly
from connector.cli import changes_table, output
from connector.cli.filtering import filtered
from connector.cli.options import Json, stopped_by_signals
from connector.cli.streams import until_the_reader_leaves
from connector.errors import ConfigError, Stopped
from connector.history.blocks import PastChanges
from connector.history.explain import Setting
from connector.history.explain import explain as explain_event
from connector.history.filters import Filters
from connector.history.query import Scope
from connector.history.replay import ReplayResult

LIMIT_ON_A_TERMINAL = 500


@filtered
def changes(
    context: typer.Context,
    filters: Filters,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest N changes or rows.", metavar="N")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON; the default unless stdout is a terminal.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a heading.")] = False,
    fold: Annotated[
        bool,
        typer.Option("--fold", help="A table of what happened, and on how many devices."),
    ] = False,
) -> None:
    """Show past changes from the journal, newest last: a table on a terminal, NDJSON elsewhere."""
    if as_json + as_csv + fold > 1:
        raise ConfigError("--json, --csv and --fold exclude each other", hint="Use one of them.")
    table = fold or (not (as_json or as_csv) and sys.stdout.isatty())
    with context.obj.assembly() as assembly, stopped_by_signals(assembly.stop), until_the_reader_leaves():
        past_changes = assembly.past_changes
        scope = past_changes.narrow(filters.at(assembly.clock()))
        if scope.cut:
            changes_table.print_cut(
                scope.beginning and scope.beginning.snapshot_id, assembly.config.state.journal_retention_days
            )
        number = limit or (LIMIT_ON_A_TERMINAL if table else None)
        if fold:
            shown = _show_folded(past_changes, scope, number)
            more = shown == number
        else:
            blocks, more = past_changes.read_newest(scope, number) if number else (past_changes.read(scope), False)
            shown = _show(blocks, table=table, as_csv=as_csv)
        if table and (more or not shown):
            changes_table.print_ending(shown)


@filtered
def replay(
    context: typer.Context,
    filters: Filters,
    topic: Annotated[str, typer.Option(help="Full name of another topic; default: the topic of changes.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the changes; publish nothing.")] = False,
    rate: Annotated[int, typer.Option(min=0, help="Maximum changes per second; 0: no limit.")] = 0,
    as_json: Json = False,
) -> None:
    """Publish past changes again, with their ids, times and order; the same command resumes after an interruption."""
    with context.obj.assembly() as assembly, stopped_by_signals(assembly.stop):
        replaying = assembly.replay(filters, topic=topic, rate=rate)
        report = partial(_report, assembly, as_json)
        if dry_run:
            report(replaying.dry_run())
            return
        with changes_table.ReplayProgress() as progress:

            def finish(result: ReplayResult) -> None:
                progress.end()
                report(result)

            try:
                replaying.run(finish, progress=progress.show if progress.wanted else None)
            except Stopped as error:
                raise Stopped(f"{error}; the same command resumes the replay") from error


def explain(
    context: typer.Context,
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="An eventId, or at least its first 8 characters.")
    ],
    as_json: Json = False,
) -> None:
    """Explain one change: both records, the rule behind it, its snapshot, and whether Kafka has it."""
    with context.obj.assembly() as assembly:
        config = assembly.config.state
        with assembly.read_state() as state:
            explanation = explain_event(state, event_id, Setting(config.rejected_path, config.journal_retention_days))
    if as_json:
        output.print_json(explanation)
    else:
        changes_table.print_explanation(explanation)


def _show_folded(past_changes: PastChanges, scope: Scope, number: int | None) -> int:
    """Show campaigns, snapshot by snapshot. Returns their number."""
    shown, rows = 0, changes_table.ChangesTable()
    for snapshot, campaigns, left in past_changes.fold(scope, number):
        if campaigns:
            rows.print_campaigns(snapshot, campaigns, left)
        shown += len(campaigns)
    return shown


def _show(blocks: Iterable[list[dict[str, Any]]], *, table: bool, as_csv: bool) -> int:
    """Show block after block. Returns the number of changes."""
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
    """Print the result of a replay, and flush it: the caller marks the replay as finished next."""
    if result.cut:
        changes_table.print_cut(result.journal_from, assembly.config.state.journal_retention_days)
    if as_json:
        output.print_json(changes_table.replay_as_json(result))
    else:
        changes_table.print_replay(result)
    sys.stdout.flush()
