"""Prints past changes: a table, one change explained, the progress of a replay; NDJSON and CSV for programs.

The rules of `output` hold: results go to stdout, progress to stderr and only to a terminal, and no text from outside
drives the terminal.
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
from connector.cli.lines import campaigns
from connector.cli.output import CHANGE_SIGNS, CHANGE_STYLES, moment
from connector.exports.software import SOFTWARE
from connector.history.explain import with_times
from connector.history.replay import ReplayResult
from connector.model import StagedSnapshot
from connector.redaction import escape
from connector.wording import counted, not_a_formula

CSV_COLUMNS: Final = (
    "eventId", "observedAt", "emittedAt", "changeType", "reason", "changedFields", "isEndOfSupport",
    *(field.name for field in SOFTWARE.fields),
    "before", "inventory", "snapshotId", "previousSnapshotId", "epoch", "sequence", "entraTenantId", "connectorVersion",
)  # fmt: skip

WIDE: Final = 132
"""From this many columns on, a terminal has room for years and vendors."""
SHORT_ID: Final = 8
_LIMITS: Final = {"why": (15, 48), "device": (12, 28), "software": (20, 60)}
"""Minimum and maximum cells of a column; where room is short, the first column shrinks first."""


# ---- for programs


def write_ndjson(changes: Iterable[dict[str, Any]]) -> None:
    """One `SoftwareChange` a line; times in ISO 8601."""
    for change in changes:
        output.print_json({**change, **{name: _iso_8601(change[name]) for name in ("observedAt", "emittedAt")}})


def write_csv_heading() -> None:
    """A row with the names of the columns, `CSV_COLUMNS`."""
    csv.writer(sys.stdout).writerow(CSV_COLUMNS)


def write_csv(changes: Iterable[dict[str, Any]]) -> None:
    """One change a row; arrays and `before` as JSON. A text that begins like a formula gets a `'` in front of it."""
    writer = csv.writer(sys.stdout)
    for change in changes:
        values = {**change, **{name: _iso_8601(change[name]) for name in ("observedAt", "emittedAt")}}
        writer.writerow([as_cell(values[name]) for name in CSV_COLUMNS])


@lru_cache(maxsize=1024)
def _iso_8601(milliseconds: int) -> str:
    """A time such as `2026-11-23T08:00:00Z`; cached, as all changes of a snapshot share it."""
    return output.as_json(with_times({"observedAt": milliseconds})["observedAt"]).strip('"')


def as_cell(value: object) -> object:
    """A value as a CSV cell."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else output.as_json(value)
    if sys.stdout.isatty():
        text = escape(text)
    return not_a_formula(text)


# ---- a table


class ChangesTable:
    """A table printed block by block; its columns are as wide as the first block needs and the terminal allows."""

    def __init__(self) -> None:
        self._widths: dict[str, int] = {}
        self._wide = output.out.width >= WIDE
        self._gap = 2 if self._wide else 1
        self._time = len("2026-11-23 08:00" if self._wide else "11-23 08:00")

    def print(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """Print more changes, a row each, with the heading before the first of them."""
        self._print([self._row(change) for change in changes])

    def print_campaigns(self, snapshot: StagedSnapshot, folded: Sequence[Mapping[str, Any]], left: int) -> None:
        """Print the campaigns of a snapshot, a row each, and how many of its changes are in none of them."""
        rows = [self._campaign_row(snapshot, campaign) for campaign in folded]
        if left:
            more = Text(f"and {counted(left, 'more change')}")
            rows.append({"seen (UTC)": self._seen(snapshot.generated_at), "device": more})
        self._print(rows)

    def _print(self, rows: Sequence[dict[str, Text]]) -> None:
        if not self._widths:
            self._widths = self._measure(rows)
            self._print_row({name: Text(name) for name in ("seen (UTC)", "device", "software", "why", "event")}, "bold")
        for row in rows:
            self._print_row(row)

    def _row(self, change: Mapping[str, Any]) -> dict[str, Text]:
        kind = str(change["changeType"])
        style = CHANGE_STYLES.get(kind, "")
        event = str(change["eventId"])
        return {
            "seen (UTC)": self._seen(change["observedAt"]),
            "sign": Text(CHANGE_SIGNS.get(kind, "?"), f"bold {style}"),
            "device": Text(output.device(change)),
            "software": Text(output.software(change, with_vendor=self._wide), style),
            "why": output.why(change),
            "event": Text(event[:SHORT_ID], "dim"),
        }

    def _campaign_row(self, snapshot: StagedSnapshot, campaign: Mapping[str, Any]) -> dict[str, Text]:
        style = CHANGE_STYLES.get(str(campaign["changeType"]), "")
        product, version = campaigns.software(campaign)
        mark = ("EOS ", "bold magenta") if campaign["isEndOfSupport"] else ""
        shown = product if self._wide else product.rpartition("/")[2]
        return {
            "seen (UTC)": self._seen(snapshot.generated_at),
            "sign": Text(campaigns.sign(campaign), f"bold {style}"),
            "device": Text(campaigns.devices(campaign)),
            "software": Text(f"{shown} {version}".rstrip(), style),
            "why": Text.assemble(mark, (campaigns.why(campaign), "dim")),
            "event": Text(str(campaign["sampleEventId"])[:SHORT_ID], "dim"),
        }

    def _seen(self, milliseconds: int) -> Text:
        return Text(moment(milliseconds)[-self._time :], "dim")

    def _measure(self, rows: Sequence[Mapping[str, Text]]) -> dict[str, int]:
        """The cells of each column: what its contents need, where there is room."""
        fixed = {"seen (UTC)": self._time, "sign": 1, "event": SHORT_ID}
        flexible = {
            name: min(max([least, *(cell_len(row[name].plain) for row in rows if name in row)]), most)
            for name, (least, most) in _LIMITS.items()
        }
        room = output.out.width - sum(fixed.values()) - self._gap * (len(fixed) + len(flexible) - 1)
        for name, (least, _) in _LIMITS.items():
            flexible[name] -= min(max(sum(flexible.values()) - room, 0), flexible[name] - least)
        order = ("seen (UTC)", "sign", "device", "software", "why", "event")
        return {name: (fixed | flexible)[name] for name in order}

    def _print_row(self, row: Mapping[str, Text], style: str = "") -> None:
        line = Text(style=style)
        for name, width in self._widths.items():
            line.append_text(_fit(row.get(name, Text()), width))
            line.append(" " * self._gap)
        line.rstrip()
        output.out.print(line, no_wrap=True, overflow="ignore", crop=True)


def _fit(text: Text, width: int) -> Text:
    """A text in exactly `width` cells, cut with `…` where it is longer."""
    fitted = text.copy()
    if cell_len(text.plain) > width:
        fitted.plain = set_cell_size(text.plain, width - 1).rstrip() + "…"
    fitted.append(" " * (width - cell_len(fitted.plain)))
    return fitted


# ---- notes


def print_cut(beginning: str | None, retention_days: int) -> None:
    """On stderr: the selection asks for older changes than the journal has."""
    begins = f"begins with {beginning}" if beginning else "is empty"
    output.print_notice(
        f"note: the journal {begins}; older changes have expired (state.journal_retention_days = {retention_days})"
    )


def print_ending(shown: int) -> None:
    """On stderr, below a table: that there are more changes, or none."""
    output.print_notice(f"newest {shown:,}: use --limit to see more, or add a filter" if shown else "no changes")


# ---- one change


def print_explanation(explanation: Mapping[str, Any]) -> None:
    """The change, the rule behind it, its records side by side, its snapshot, and Kafka."""
    change, alerts = explanation["change"], explanation["alerts"]
    line = output.change_line(change) if change else output.alert_line(alerts[0])
    output.out.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    output.out.print()
    event = change or alerts[0]
    place = f", sequence {change['sequence']:,} of epoch {change['epoch']}" if change else ""
    _print_facts(
        ("event", f"{explanation['event_id'] or 'none'}{place}"),
        *(("alert", f"{alert['alertType']} {alert['severity']}, {alert['alertId']}") for alert in alerts),
        ("device", _describe_device(event)),
        ("rule", f"{change['reason']}: {explanation['rule']}" if change else explanation["rule"]),
        ("guard", explanation["guard"]),
        ("Kafka", _describe_kafka(explanation["kafka"])),
        *(("also", f"the same id in epoch {epoch}") for epoch in explanation["other_epochs"]),
    )
    output.out.print()
    output.out.print(_records_table(explanation["fields"]))
    output.out.print()
    _print_facts(*_describe_snapshot("snapshot", explanation["snapshot"]), ("origin", explanation["origin"]))
    if explanation["rejected"]:
        _print_facts(("rejected", explanation["rejected"]))
    output.out.print()
    if explanation["previous_snapshot"]:
        _print_facts(*_describe_snapshot("previous", explanation["previous_snapshot"]))
    else:
        gone = explanation["previous_snapshot_id"]
        _print_facts(("previous", f"{gone}, which has left the journal" if gone else "none: this is the first"))


def _describe_device(event: Mapping[str, Any]) -> str:
    if (many := event.get("summarizes")) is not None:
        return f"those of {counted(many, 'alert')}"
    return f"{event['deviceName'] or 'without a name'} ({event['deviceId']})"


def _records_table(fields: Sequence[Mapping[str, Any]]) -> Table:
    """Both records, field by field; `≠` marks the fields that differ, where there are two records."""
    two_records = any(not field["differs"] for field in fields)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("")
    table.add_column("field", no_wrap=True)
    for heading in ("before", "after"):
        table.add_column(heading, overflow="fold")
    for field in fields:
        marked = field["differs"] and two_records
        style = "bold yellow" if marked else ""
        cells = ["≠" if marked else "", field["name"], *(_value(field[side]) for side in ("before", "after"))]
        table.add_row(*(Text(cell, style) for cell in cells))
    return table


def _value(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return "\n".join(escape(str(item)) for item in value)
    return escape(str(value))


def _print_facts(*facts: tuple[str, str]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=9, style="bold")
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(name, Text(escape(text)))
    output.out.print(table)


def _describe_snapshot(name: str, snapshot: Mapping[str, Any]) -> list[tuple[str, str]]:
    times = {key: f"{snapshot[key]:%Y-%m-%d %H:%M:%S}" for key in ("generated_at", "started_at", "staged_at")}
    walk = "" if snapshot["generation_known"] else " (time of the walk)"
    size = f"{counted(snapshot['records'], 'record')} on {counted(snapshot['devices'], 'device')}"
    changes = f"+{snapshot['added']:,} added, -{snapshot['removed']:,} removed, ~{snapshot['changed']:,} changed"
    baseline = f", ={snapshot['baselined']:,} baseline" if snapshot["baselined"] else ""
    held = f", {snapshot['held']:,} held ({snapshot['hold_reason']})" if snapshot["held"] else ""
    lines = f"{counted(snapshot['duplicates'], 'repeated line')}, {counted(snapshot['rejected'], 'rejected line')}"
    return [
        (
            name,
            f"{snapshot['snapshot_id']}, {snapshot['inventory']}, {snapshot['method']},"
            f" generated {times['generated_at']}{walk}",
        ),
        ("", f"{size}; {changes}{baseline}{held}; {lines}"),
        ("", f"poll started {times['started_at']}, staged {times['staged_at']}"),
    ]


def _describe_kafka(kafka: Mapping[str, Any]) -> str:
    at = f" at {kafka['confirmed_at']:%Y-%m-%d %H:%M:%S}" if kafka["confirmed_at"] else ""
    sequence = kafka["published_sequence"]
    upto = f"; published up to sequence {sequence:,}" if sequence is not None else ""
    words = {
        "confirmed": f"confirmed{at or '; the time is not recorded'}",
        "unsealed": f"confirmed, its snapshot not yet sealed; last confirmation{at}",
        "pending": "pending: staged, not yet confirmed",
        "unknown": "of an earlier epoch; whether it was published before that epoch ended is not recorded",
    }
    return words[kafka["status"]] + upto


# ---- a replay


def replay_as_json(result: ReplayResult) -> dict[str, Any]:
    """What `replay --json` prints."""
    names = ("topic", "dry_run", "resumed", "begun_at", "changes", "types", "first", "last", "journal_from", "cut")
    return {name: getattr(result, name) for name in names} | {"duration_seconds": round(result.duration_seconds, 3)}


def print_replay(result: ReplayResult) -> None:
    """The result of a replay, or of its dry run."""
    types = ", ".join(f"{number:,} {kind}" for kind, number in sorted(result.types.items()))
    verb = "would replay" if result.dry_run else "replayed"
    changes = counted(result.changes, "more change" if result.resumed else "change")
    resumed = " (resumed after an earlier run)" if result.resumed else ""
    output.print_line(f"{verb} {changes} to {result.topic}{resumed}" + (f": {types}" if types else ""))
    for name, change in (("first", result.first), ("last", result.last)):
        if change:
            output.print_line(
                f"  {name:<5} {change['snapshot_id']}, sequence {change['sequence']:,} of epoch {change['epoch']}"
            )


class ReplayProgress:
    """A progress bar on a terminal; nothing elsewhere. A context."""

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
        self.end()

    def end(self) -> None:
        """Remove the bar, so that the result has the line to itself."""
        self._progress.stop()

    @property
    def wanted(self) -> bool:
        """Whether it is drawn."""
        return output.err.is_terminal

    def show(self, done: int, total: int) -> None:
        """`done` of `total` changes are published."""
        self._progress.update(self._task, completed=done, total=total)
