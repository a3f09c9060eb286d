"""How past changes look: a table, one change explained, a replay under way; and NDJSON or CSV for programs.

Shares rich with `console`, and its rules: results on stdout, progress on stderr and only on a terminal, and nothing
that came from outside drives the terminal. Must not decide anything.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Self

from rich.cells import cell_len, set_cell_size
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connector.cli import output
from connector.cli.output import CHANGE_SIGNS, CHANGE_STYLES, moment
from connector.exports.software import SOFTWARE
from connector.history.explain import with_times
from connector.history.replay import ReplayResult
from connector.redaction import escape

CSV_COLUMNS: Final = (
    "eventId", "observedAt", "emittedAt", "changeType", "reason", "changedFields", "isEndOfSupport",
    *(field.name for field in SOFTWARE.fields),
    "before", "inventory", "snapshotId", "previousSnapshotId", "epoch", "sequence", "entraTenantId", "connectorVersion",
)  # fmt: skip
FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula."""

WIDE: Final = 132
"""Columns of a terminal from which on years, vendors and whole event ids have room."""
SHORT_ID: Final = 8
_LIMITS: Final = {"why": (15, 48), "device": (12, 28), "software": (20, 60)}
"""Cells of a column at least, and at most; where there is no room, the first gives way first."""


# ---- for programs


def write_ndjson(changes: Iterable[dict[str, Any]]) -> None:
    """One `SoftwareChange` a line; times in ISO 8601."""
    for change in changes:
        output.print_json({**change, **{name: _iso_8601(change[name]) for name in ("observedAt", "emittedAt")}})


def write_csv_heading() -> None:
    """The names of the columns, `CSV_COLUMNS`."""
    csv.writer(sys.stdout).writerow(CSV_COLUMNS)


def write_csv(changes: Iterable[dict[str, Any]]) -> None:
    """One change a row; arrays and `before` as JSON. A text that begins like a formula gets a `'` in front of it."""
    writer = csv.writer(sys.stdout)
    for change in changes:
        whole = {**change, **{name: _iso_8601(change[name]) for name in ("observedAt", "emittedAt")}}
        writer.writerow([_cell(whole[name]) for name in CSV_COLUMNS])


@lru_cache(maxsize=1024)
def _iso_8601(milliseconds: int) -> str:
    """A time as all changes of a snapshot have it, `2026-11-23T08:00:00Z`."""
    return output.as_json(with_times({"observedAt": milliseconds})["observedAt"]).strip('"')


def _cell(value: object) -> object:
    """A value as a cell of CSV."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else output.as_json(value)
    if sys.stdout.isatty():
        text = escape(text)
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


# ---- a table


class ChangesTable:
    """A table that grows block by block; its columns are as wide as the first block needs and the terminal allows."""

    def __init__(self) -> None:
        self._widths: dict[str, int] = {}
        self._wide = output.out.width >= WIDE
        self._gap = 2 if self._wide else 1
        self._time = len("2026-11-23 08:00" if self._wide else "11-23 08:00")

    def print(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """More rows; the heading before the first of them."""
        rows = [self._row(change) for change in changes]
        if not self._widths:
            self._widths = self._measured(rows)
            self._print({name: Text(name) for name in ("seen (UTC)", "device", "software", "why", "event")}, "bold")
        for row in rows:
            self._print(row)

    def _row(self, change: Mapping[str, Any]) -> dict[str, Text]:
        kind = str(change["changeType"])
        style = CHANGE_STYLES.get(kind, "")
        event = str(change["eventId"])
        return {
            "seen (UTC)": Text(moment(change["observedAt"])[-self._time :], "dim"),
            "sign": Text(CHANGE_SIGNS.get(kind, "?"), f"bold {style}"),
            "device": Text(output.device(change)),
            "software": Text(output.software(change, with_vendor=self._wide), style),
            "why": output.why(change),
            "event": Text(event if self._wide else event[:SHORT_ID], "dim"),
        }

    def _measured(self, rows: Sequence[Mapping[str, Text]]) -> dict[str, int]:
        """Cells of each column: as many as its contents need, where there is room."""
        fixed = {"seen (UTC)": self._time, "sign": 1, "event": 36 if self._wide else SHORT_ID}
        needed = {
            name: min(max([least, *(cell_len(row[name].plain) for row in rows)]), most)
            for name, (least, most) in _LIMITS.items()
        }
        room = output.out.width - sum(fixed.values()) - self._gap * (len(fixed) + len(needed) - 1)
        for name, (least, _) in _LIMITS.items():
            needed[name] -= min(max(sum(needed.values()) - room, 0), needed[name] - least)
        order = ("seen (UTC)", "sign", "device", "software", "why", "event")
        return {name: (fixed | needed)[name] for name in order}

    def _print(self, row: Mapping[str, Text], style: str = "") -> None:
        line = Text(style=style)
        for name, width in self._widths.items():
            line.append_text(_fitted(row.get(name, Text()), width))
            line.append(" " * self._gap)
        line.rstrip()
        output.out.print(line, no_wrap=True, overflow="ignore", crop=True)


def _fitted(text: Text, width: int) -> Text:
    """A text in exactly so many cells, `…` for what has no room."""
    found = text.copy()
    if cell_len(text.plain) > width:
        found.plain = set_cell_size(text.plain, width - 1).rstrip() + "…"
    found.append(" " * (width - cell_len(found.plain)))
    return found


# ---- notes


def print_cut(beginning: str | None, retention_days: int) -> None:
    """On stderr: what is asked for is older than what the journal has, or partly so."""
    begins = f"begins with {beginning}" if beginning else "is empty"
    output.print_notice(
        f"note: the journal {begins}; what was before has left it (state.journal_retention_days = {retention_days})"
    )


def print_ending(shown: int) -> None:
    """On stderr, below a table: that it is not all, or that there is nothing."""
    text = (
        f"the newest {shown:,}; there are more: raise --limit, or narrow what is asked for" if shown else "no changes"
    )
    output.print_notice(text)


# ---- one change


def print_explanation(told: Mapping[str, Any]) -> None:
    """The change, why it is one, its records side by side, its snapshot, and Kafka."""
    change, alerts = told["change"], told["alerts"]
    line = output.change_line(change) if change else output.alert_line(alerts[0])
    output.out.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    output.out.print()
    event = change or alerts[0]
    place = f", sequence {change['sequence']:,} of epoch {change['epoch']}" if change else ""
    _facts(
        ("event", f"{told['event_id'] or 'none'}{place}"),
        *(("alert", f"{each['alertType']} {each['severity']}, {each['alertId']}") for each in alerts),
        ("device", f"{event['deviceName'] or 'without a name'} ({event['deviceId']})"),
        ("rule", f"{change['reason']}: {told['rule']}" if change else told["rule"]),
        ("guard", told["guard"]),
        ("Kafka", _kafka(told["kafka"])),
        *(("also", f"the same id in epoch {epoch}") for epoch in told["other_epochs"]),
    )
    output.out.print()
    output.out.print(_records(told["fields"]))
    output.out.print()
    _facts(*_snapshot("snapshot", told["snapshot"]), ("origin", told["origin"]))
    if told["rejected"]:
        _facts(("rejected", told["rejected"]))
    output.out.print()
    if told["previous_snapshot"]:
        _facts(*_snapshot("previous", told["previous_snapshot"]))
    else:
        gone = told["previous_snapshot_id"]
        _facts(("previous", f"{gone}, which has left the journal" if gone else "none: this is the first"))


def _records(fields: Sequence[Mapping[str, Any]]) -> Table:
    """Both records, field by field; `≠` marks what differs between two of them."""
    both = any(not each["differs"] for each in fields)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("")
    table.add_column("field", no_wrap=True)
    for heading in ("before", "after"):
        table.add_column(heading, overflow="fold")
    for each in fields:
        marked = each["differs"] and both
        style = "bold yellow" if marked else ""
        cells = [_value(each[side]) for side in ("before", "after")]
        table.add_row(
            Text("≠" if marked else "", style), Text(each["name"], style), *(Text(cell, style) for cell in cells)
        )
    return table


def _value(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return "\n".join(escape(str(item)) for item in value)
    return escape(str(value))


def _facts(*facts: tuple[str, str]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=9, style="bold")
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(name, Text(escape(text)))
    output.out.print(table)


def _snapshot(name: str, told: Mapping[str, Any]) -> list[tuple[str, str]]:
    generated = f"{told['generated_at']:%Y-%m-%d %H:%M:%S}" + (
        "" if told["generation_known"] else " (time of the walk)"
    )
    held = f", {told['held']:,} held ({told['hold_reason']})" if told["held"] else ""
    counted = f"+{told['added']:,} added, -{told['removed']:,} removed, ~{told['changed']:,} changed"
    baseline = f", ={told['baselined']:,} baseline" if told["baselined"] else ""
    lines = f"{told['duplicates']:,} repeated lines, {told['rejected']:,} rejected lines"
    return [
        (name, f"{told['snapshot_id']}, {told['inventory']}, {told['method']}, generated {generated}"),
        ("", f"{told['records']:,} records on {told['devices']:,} devices; {counted}{baseline}{held}; {lines}"),
        ("", f"poll begun {told['started_at']:%Y-%m-%d %H:%M:%S}, staged {told['staged_at']:%Y-%m-%d %H:%M:%S}"),
    ]


def _kafka(told: Mapping[str, Any]) -> str:
    at = f" at {told['confirmed_at']:%Y-%m-%d %H:%M:%S}" if told["confirmed_at"] else ""
    upto = (
        f"; published up to sequence {told['published_sequence']:,}" if told["published_sequence"] is not None else ""
    )
    words = {
        "confirmed": f"confirmed{at or ', when is not noted'}",
        "unsealed": f"confirmed, its snapshot not yet sealed; last confirmation{at}",
        "pending": "pending: staged, not yet confirmed",
        "unknown": "of an earlier epoch; whether it was published before that ended is not noted",
    }
    return words[told["status"]] + upto


# ---- a replay


def replay_told(result: ReplayResult) -> dict[str, Any]:
    """What `replay --json` prints."""
    names = ("topic", "dry_run", "resumed", "begun_at", "changes", "types", "first", "last", "journal_from", "cut")
    return {name: getattr(result, name) for name in names} | {"duration_seconds": round(result.duration_seconds, 3)}


def print_replay(result: ReplayResult) -> None:
    """What a replay came to, or would."""
    counted = ", ".join(f"{number:,} {kind}" for kind, number in sorted(result.types.items()))
    verb = "would replay" if result.dry_run else "replayed"
    more = " more, after what an earlier run had replayed" if result.resumed else ""
    output.print_line(
        f"{verb} {result.changes:,} changes{more} to {result.topic}" + (f": {counted}" if counted else "")
    )
    for name, change in (("first", result.first), ("last", result.last)):
        if change:
            output.print_line(
                f"  {name:<5} {change['snapshot_id']}, sequence {change['sequence']:,} of epoch {change['epoch']}"
            )


class ReplayProgress:
    """Drawn as one line on a terminal, and nothing elsewhere. A context."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("changes"),
            TimeElapsedColumn(),
            console=output.err,
            transient=True,
            disable=not output.err.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("replay", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def wanted(self) -> bool:
        """Whether anybody sees it."""
        return output.err.is_terminal

    def show(self, done: int, total: int) -> None:
        """So many of so many changes are published."""
        self._progress.update(self._task, completed=done, total=total)
