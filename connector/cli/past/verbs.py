"""The verbs of the past: `inventory`, `compare`, `exposure`, `prevalence`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import Annotated, Any, Literal

import typer

from connector.cli import output
from connector.cli.filtering import with_options
from connector.cli.options import stopped_by_signals
from connector.cli.past import tables
from connector.cli.streams import until_the_reader_leaves
from connector.errors import ConfigError
from connector.history.comparison import compare as compare_snapshots
from connector.history.comparison import pair_up
from connector.history.exposure import Exposure, Wanted
from connector.history.filters import Filters, parse_time
from connector.history.fleet import newcomers
from connector.history.fleet import prevalence as count_devices
from connector.history.past import Past
from connector.state.state import StateFile

LIMIT_ON_A_TERMINAL = 500


@dataclass(frozen=True, slots=True)
class Shown:
    """Which rows are shown, and how."""

    filters: Filters
    limit: int | None
    form: str

    def print(self, columns: tables.Columns, blocks: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Print blocks of rows: at most `limit` rows, or what fits a person on a terminal."""
        rows = chain.from_iterable(blocks)
        number = self.limit or (LIMIT_ON_A_TERMINAL if self.form == "table" else None)
        first = islice(rows, number) if number else rows
        if self.form == "table":
            count = tables.print_rows(columns, first)
            if next(rows, None) is not None:
                output.print_notice(f"first {count:,}: use --limit to see more, or add a filter")
        elif self.form == "csv":
            tables.write_csv(columns, first)
        else:
            for row in first:
                output.print_json(columns.plain(row))


def make_shown(
    *,
    device: Annotated[
        list[str] | None, typer.Option(help="Name (with or without domain) or id; * and ? as wildcards. Repeatable.")
    ] = None,
    software: Annotated[
        list[str] | None, typer.Option(help="vendor/product or product; * and ? as wildcards. Repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Name or number of a device group; * and ? as wildcards. Repeatable.")
    ] = None,
    inventory: Annotated[str, typer.Option(metavar="CPE|NON_CPE", help="Only one of the two exports.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows.", metavar="N")] = None,
    form: Annotated[
        Literal["table", "ndjson", "csv"] | None,
        typer.Option("--format", help="Default: a table on a terminal, NDJSON elsewhere."),
    ] = None,
) -> Shown:
    """Which rows, and how, as given on the command line."""
    filters = Filters(
        devices=tuple(device or ()), software=tuple(software or ()), groups=tuple(group or ()), inventory=inventory
    )
    return Shown(filters, limit, form or ("table" if sys.stdout.isatty() else "ndjson"))


showing = with_options(make_shown, "shown")


@showing
def inventory(
    context: typer.Context,
    shown: Shown,
    at: Annotated[str, typer.Option(metavar="TIME", help="A time, as for `changes`; default: now.")] = "",
    end_of_support: Annotated[
        bool, typer.Option("--end-of-support", help="Only software that was out of support then.")
    ] = False,
) -> None:
    """Show the inventory as it stood at any generation that the journal still covers."""
    with _reading(context) as (state, now):
        selection = replace(shown.filters, end_of_support=end_of_support).at(now)
        past = Past(state)
        snapshots = past.at(_time("--at", at, now), selection)
        output.print_notice("as of " + ", ".join(snapshot.snapshot_id for snapshot in snapshots))
        shown.print(tables.INVENTORY, (block for snapshot in snapshots for block in past.records(snapshot, selection)))


@showing
def compare(
    context: typer.Context,
    shown: Shown,
    earlier: Annotated[str, typer.Option("--from", metavar="TIME", help="The earlier time, as for `changes`.")],
    later: Annotated[str, typer.Option("--to", metavar="TIME", help="The later time; default: now.")] = "",
) -> None:
    """Compare the inventories of two times: what was added, removed and changed between them, netted."""
    with _reading(context) as (state, now):
        selection = shown.filters.at(now)
        pairs = pair_up(Past(state), _time("--from", earlier, now), _time("--to", later, now), selection)
        for begin, end in pairs.known:
            output.print_notice(f"{begin.snapshot_id} to {end.snapshot_id}")
        for which in pairs.left_out:
            output.print_notice(f"note: {which} is left out: its past begins later")
        blocks = (block for pair in pairs.known for block in compare_snapshots(state, *pair, selection))
        shown.print(tables.COMPARISON, blocks)


@showing
def exposure(
    context: typer.Context,
    shown: Shown,
    is_open: Annotated[bool, typer.Option("--open", help="Only what has not ended.")] = False,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Only what has lasted this long: 30d, 12h.")] = "",
    summary: Annotated[
        bool, typer.Option("--summary", help="Totals: open now, median time to fix, new and fixed a week.")
    ] = False,
) -> None:
    """Show how long software out of support stood on each device, and how it ended; the longest first."""
    with _reading(context) as (state, now):
        lasted = now - parse_time(older_than, now, option="--older-than") if older_than else None
        wanted = Wanted(shown.filters.at(now), is_open=is_open, older_than=lasted)
        exposures = Exposure(state, now)
        for name, begins in exposures.begins.items():
            output.print_notice(f"the past of {name} begins at {begins:%Y-%m-%d %H:%M}; what was so then was so before")
        if summary:
            tables.print_summary(exposures.summary(wanted), as_json=shown.form != "table")
        else:
            shown.print(tables.EXPOSURE, exposures.intervals(wanted))


@showing
def prevalence(
    context: typer.Context,
    shown: Shown,
    new_since: Annotated[
        str, typer.Option("--new-since", metavar="TIME", help="Instead: what the organisation first had since then.")
    ] = "",
) -> None:
    """Show how many devices had each version of a product on each day; or what is new, the rarest first."""
    if bool(shown.filters.software) == bool(new_since):
        raise ConfigError(
            "name a product with --software, or a time with --new-since",
            hint="`mde-inventory prevalence --software chrome`, or `mde-inventory prevalence --new-since 30d`.",
        )
    with _reading(context) as (state, now):
        selection = shown.filters.at(now)
        if new_since:
            since = parse_time(new_since, now, option="--new-since")
            shown.print(tables.NEWCOMERS, [newcomers(state, since, selection)])
        else:
            shown.print(tables.PREVALENCE, [count_devices(state, selection)])


@contextmanager
def _reading(context: typer.Context) -> Iterator[tuple[StateFile, datetime]]:
    """The state file, open for reading, and the time."""
    with context.obj.assembly() as assembly, stopped_by_signals(assembly.stop), until_the_reader_leaves():
        now = assembly.clock()
        with assembly.read_state() as state:
            yield state, now


def _time(option: str, text: str, now: datetime) -> datetime:
    """A time in the user's words; a date stands for its end."""
    return parse_time(text, now, option=option, end=True) if text else now
