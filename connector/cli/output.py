"""Prints results, tables and progress bars.

Results go to stdout, progress to stderr and only to a terminal. Text from outside (device names, products, versions,
paths) is shown with its control characters escaped and is never read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connector import telemetry
from connector.cli import poll_lines
from connector.cli.lines import held as held_lines
from connector.clock import moment_of
from connector.model import Check
from connector.redaction import escape
from connector.wording import counted, words

if TYPE_CHECKING:
    from connector.poll.result import PollResult

CHANGE_STYLES: Final = {"ADDED": "green", "REMOVED": "red", "CHANGED": "yellow", "BASELINE": "dim"}
ALERT_STYLES: Final = {"high": "bold red", "medium": "yellow", "low": "dim"}
CHANGE_SIGNS: Final = {"ADDED": "+", "REMOVED": "-", "CHANGED": "~", "BASELINE": "="}
OUTCOME_STYLES: Final = {"published": "green", "unchanged": "dim", "dry_run": "cyan", "held": "yellow", "staged": "red"}
MINUTE, HOUR, DAY = 60, 3600, 86_400
SHOWN_CHARACTERS_MAX: Final = 60
NARROW: Final = 100

out: Final = Console(highlight=False, soft_wrap=False)
err: Final = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """One JSON object on its own line, without colour, whatever the terminal's width. Times become ISO 8601."""
    print(as_json(value))  # noqa: T201 - this is the owner of stdout


def as_json(value: object) -> str:
    """A value as JSON. Characters that could drive a terminal become JSON escapes, which leaves the value the same."""
    text = (_JSON if _is_utf8() else _ASCII_JSON).encode(value)
    return text if escape(text) == text else "".join(map(_harmless, text))


def print_line(text: str, style: str = "") -> None:
    """A line for people, wrapped on a terminal only."""
    _show(out, Text(escape(text), style=style))


def print_link(address: str) -> None:
    """An address to open, on stdout at once and never wrapped, so that a terminal makes it a link."""
    print(address, flush=True)  # noqa: T201 - this is the owner of stdout


def print_rule(title: str) -> None:
    """A heading across the terminal."""
    out.print()
    out.rule(Text(escape(title), style="bold"), align="left")


def print_heading(title: str, counts: Text) -> None:
    """The heading of a paragraph, followed by counts."""
    out.print()
    out.print(Text.assemble((escape(title), "bold"), "  ", counts))


def print_toml(tables: Mapping[str, Mapping[str, object]]) -> None:
    """Tables as TOML, ready to copy: strings, numbers and lists of strings; at once, also into a file."""
    for name, table in tables.items():
        print(f"[{name}]")  # noqa: T201 - this is the owner of stdout
        for key, value in table.items():
            print(f"{key} = {json.dumps(value)}")  # noqa: T201 - JSON's strings, numbers and lists are TOML's too
    sys.stdout.flush()


def print_notice(text: str) -> None:
    """A line for people on stderr, such as the instructions of a device-code login; a line of a JSON log there."""
    if telemetry.writes_json():
        telemetry.announce(text)
    else:
        _show(err, Text(_lines(text)))


def print_command(label: str, command: str) -> None:
    """A command to copy, on stderr: never wrapped, so that it can be pasted as it is."""
    if telemetry.writes_json():
        telemetry.announce(f"{label}{command}")
    else:
        err.print(Text.assemble((label, "dim"), escape(command)), soft_wrap=True)


def print_failure(message: str, hint: str) -> None:
    """An error and what to do about it, on stderr."""
    _show(err, Text.assemble(("error: ", "bold red"), _lines(message)))
    if hint:
        _show(err, Text.assemble(("hint:  ", "bold cyan"), _lines(hint)))


def print_check(check: Check) -> None:
    """One line of `check` or `setup`: name, verdict and fact; below it what to do, or what would be better."""
    mark = ("FAIL  ", "bold red")
    if check.fine:
        mark = ("warn  ", "yellow") if check.hint else ("ok    ", "green")
    _show(out, Text.assemble(mark, (f"{check.name:<17} ", "bold"), _lines(check.text)))
    if check.hint:
        _show(out, Text.assemble(("      hint: ", "cyan"), _lines(check.hint)))


def print_poll(result: PollResult) -> None:
    """The result of a poll, in three lines, and what waits after it; its steps where the line has room for them."""
    style = OUTCOME_STYLES[result.outcome]
    out.print(
        Text.assemble(
            (poll_lines.headline(result), f"bold {style}"),
            f"  {result.snapshot_id or 'no snapshot yet'}"
            f"  {counted(result.counts.records, 'record')} on {counted(result.counts.devices, 'device')}",
        )
    )
    if result.is_staged or result.outcome == "dry_run":
        out.print(Text("  ").append_text(counts(result)))
    duration, published = f"  {result.duration_seconds:.1f} s", poll_lines.kafka_line(result)
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result.stages.items())
    line = f"{duration} ({steps}); {published}"
    out.print(Text(line if len(line) <= out.width else f"{duration}; {published}", style="dim"))
    if result.backfilled:
        out.print(Text(f"  {counted(result.backfilled, 'record')} added to the inventory topic", style="dim"))
    for line in (poll_lines.waiting_line(result), poll_lines.held_line(result)):
        if line:
            out.print(Text(f"  {line}", style="yellow"))


def counts(result: PollResult) -> Text:
    """The counts of a poll: `+12 added  -3 removed  ~5 changed`, and whatever else is not zero."""
    numbers, always = result.counts, not result.baseline
    parts = [
        (result.baseline, f"={result.baseline:,} baseline", "dim", False),
        (numbers.added, f"+{numbers.added:,} added", "green", always),
        (numbers.removed, f"-{numbers.removed:,} removed", "red", always),
        (numbers.changed, f"~{numbers.changed:,} changed", "yellow", always),
        (numbers.alerts, f"!{counted(numbers.alerts, 'alert')}", "magenta", False),
        (numbers.held, f"{counted(numbers.held, 'record')} held", "bold yellow", False),
        (numbers.duplicates, counted(numbers.duplicates, "repeated line"), "dim", False),
        (numbers.rejected, counted(numbers.rejected, "rejected line"), "bold red", False),
        (unread := sum(result.unreadable.values()), counted(unread, "unreadable value"), "bold yellow", False),
    ]
    return Text("  ").join(Text(text, style=style) for number, text, style, even_zero in parts if number or even_zero)


def change_line(change: Mapping[str, Any]) -> Text:
    """One change on one line: sign, device, product, version or what differs, end of support, reason."""
    kind = str(change["changeType"])
    style = CHANGE_STYLES.get(kind, "")
    product, version = _software(change)
    line = Text.assemble(
        (CHANGE_SIGNS.get(kind, "?") + " ", f"bold {style}"),
        (device(change), ""),
        "  ",
        (product, style),
        " ",
        (version, "bold"),
        "  ",
    )
    if change.get("isEndOfSupport"):
        since = change.get("endOfSupportDate")
        line.append(f"END OF SUPPORT{f' since {escape(str(since))}' if since else ''}  ", style="bold magenta")
    return line.append(_notes(change), style="dim")


def print_change(change: Mapping[str, Any]) -> None:
    """One change, cut at the terminal's width rather than wrapped."""
    out.print(change_line(change), no_wrap=True, overflow="ellipsis", crop=True)


def alert_line(alert: Mapping[str, Any]) -> Text:
    """One alert on one line: device, product, version, type, severity, end of support, how widespread."""
    severity = str(alert["severity"])
    product, version = _software(alert)
    line = Text.assemble(
        ("! ", ALERT_STYLES.get(severity, "")),
        device(alert),
        "  ",
        product,
        " ",
        (version, "bold"),
        "  ",
        (f"{str(alert['alertType']).replace('_', ' ')} {severity}", ALERT_STYLES.get(severity, "")),
    )
    days = alert.get("daysToEndOfSupport")
    if days is not None:
        ends = f"ended {counted(-days, 'day')} ago" if days < 0 else f"ends in {counted(days, 'day')}"
        line.append(f"  {ends}", style="magenta")
    new = ", new here" if alert["newToOrganisation"] else ""
    if (many := alert.get("summarizes")) is not None:
        return line.append(f"  {counted(many, 'alert')} summarized{new}", style="dim")
    notes = f"  on {counted(alert['devicesWithVersion'], 'device')}{new}"
    return line.append(notes, style="dim")


def print_event(event: Mapping[str, Any]) -> None:
    """One change or one alert, cut at the terminal's width rather than wrapped."""
    line = alert_line(event) if "alertId" in event else change_line(event)
    out.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def print_message(place: Mapping[str, Any], value: Mapping[str, Any] | None) -> None:
    """One message of a topic: a change or an alert on one line, anything else by its fields that are not empty."""
    if value is not None and {"changeType", "eventId", "deviceId"} <= value.keys():
        print_event(value)
        return
    head = f"{place['topic']}[{place['partition']}]@{place['offset']} {place['key']}"
    fields = (
        "tombstone" if value is None else "  ".join(f"{name}={_short(item)}" for name, item in value.items() if item)
    )
    out.print(Text.assemble((escape(head), "dim"), "  ", escape(fields)))


def print_status(status: Mapping[str, Any]) -> None:
    """The answer of `status`: last snapshots, position, backlog, age of the data, what is held."""
    _print_snapshots(status["snapshots"])
    pending, records = counted(status["pending"], "change"), counted(status["inventory"], "record")
    print_line(
        f"epoch {status['epoch']}, sequence {status['last_sequence']:,}; {pending} pending;"
        f" {records} in {status['state']}"
    )
    if status["inventory_topic"] and status["inventory_topic"]["phase"] != "whole":
        remaining = counted(status["inventory_topic"]["remaining"], "record")
        print_line(f"inventory topic: being filled, {remaining} to go")
    for name, seconds in status["age_seconds"].items():
        stale = "; STALE: no newer generation since, see poll.stale_after_hours" if name in status["stale"] else ""
        when = f"{age(seconds)} ago" if seconds >= 0 else f"{age(-seconds)} ahead of this machine's clock"
        print_line(f"{name}: generated {when}{stale}", style="bold yellow" if stale else "")
    if status["certificate_ends"]:
        from connector.source.http.tokens import describe_end, ends_soon

        if ends_soon(end := datetime.fromisoformat(status["certificate_ends"])):
            print_line(f"the client certificate {describe_end(end)}: renew it", style="bold yellow")
    for name, counts_by_field in status["unreadable"].items():
        values = ", ".join(f"{field} {count:,}" for field, count in counts_by_field.items())
        print_line(f"{name}: values that cannot be read, and count as unknown: {values}", style="bold yellow")
    if status["held"]:
        print_texts(held_lines.headline(hold) for hold in status["held"])
        print_line("`mde-inventory held list` shows more of what is held, and what approving it would publish")


def _print_snapshots(snapshots: Sequence[Mapping[str, Any]]) -> None:
    """The last snapshots, a line each: ids are never broken, so a narrow terminal has signs for words."""
    narrow = out.width < NARROW
    headings = {
        "snapshot_id": "snapshot",
        "records": "records",
        **({} if narrow else {"devices": "devices"}),
        "added": "+" if narrow else "added",
        "removed": "-" if narrow else "removed",
        "changed": "~" if narrow else "changed",
        "alerts": "!" if narrow else "alerts",
        "held": "held",
    }
    table = Table(
        title="Last snapshots",
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0) if narrow else (0, 1),
    )
    for name, heading in headings.items():
        table.add_column(heading, justify="left" if name == "snapshot_id" else "right", no_wrap=True)
    table.add_column("Kafka", no_wrap=True)
    for snapshot in snapshots:
        cells = (snapshot[name] for name in headings)
        kafka = "sealed" if snapshot["sealed"] else "pending"
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else escape(cell)) for cell in cells), kafka)
    out.print(table)


def print_texts(texts: Iterable[Text]) -> None:
    """Lines with styles of their own, wrapped on a terminal only."""
    for text in texts:
        _show(out, text)


def print_cut_texts(texts: Iterable[Text]) -> None:
    """Lines with styles of their own, cut at the terminal's width rather than wrapped."""
    for text in texts:
        out.print(text, no_wrap=True, overflow="ellipsis", crop=True)


def print_tenants(answers: Mapping[str, Mapping[str, Any]]) -> None:
    """The answers of `status` for several tenants, a row for each: age of the data, backlog and what is held."""
    rows = []
    for tenant, status in answers.items():
        ages = status["age_seconds"].values()
        oldest = f"{age(max(ages))}{' STALE' if status['stale'] else ''}" if ages else "-"
        held = sum(hold["records"] for hold in status["held"])
        rows.append((tenant, oldest, status["inventory"], status["pending"], held))
    columns = [("tenant", False), ("age", True), ("records", True), ("pending", True), ("held", True)]
    print_table(counted(len(rows), "tenant"), columns, rows)


def print_table(title: str, columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[object]]) -> None:
    """A table: columns as (heading, is a number). Long cells are folded at the terminal's width."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for heading, number in columns:
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else escape(str(cell))) for cell in row))
    out.print(table)


def age(seconds: float) -> str:
    """A duration in one unit: `45 s`, `12 min`, `5.0 h`, `3.2 days`."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"


def moment(milliseconds: int | None) -> str:
    """A time in UTC: `2026-11-23 08:00`."""
    return "-" if milliseconds is None else f"{moment_of(milliseconds):%Y-%m-%d %H:%M}"


class FetchProgress:
    """A `source.progress.Progress` drawn as one line on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._records = 0

    def begin(self, label: str, *, parts: int | None) -> None:
        """Draw a new bar for a fetch that begins."""
        self.end()
        self._records = 0
        if not err.is_terminal:
            return
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[parts]}"),
            DownloadColumn(),
            TextColumn("{task.fields[records]:,} records"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
        )
        self._task = self._progress.add_task(escape(label), total=None, parts="", records=0)
        self._total, self._parts, self._bytes = parts, 0, 0
        self._progress.start()

    def advance(self, *, parts: int = 0, size_bytes: int = 0, records: int = 0) -> None:
        """Add what has arrived."""
        if self._progress is None:
            return
        self._parts += parts
        self._bytes += size_bytes
        self._records += records
        # The total size is not known: the remaining parts are taken to be as large as those that have arrived.
        total = self._bytes * self._total / self._parts if self._total is not None and self._parts else None
        of = f"{self._parts}/{self._total}" if self._total is not None else f"{self._parts}"
        self._progress.update(
            self._task, completed=self._bytes, total=total, parts=f"{of} parts", records=self._records
        )

    def end(self) -> None:
        """Remove the bar: the fetch has ended."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def software(change: Mapping[str, Any], *, with_vendor: bool) -> str:
    """The product of a change with its version, or with both versions: `oracle/jre 7.0.790 → 7.0.800`."""
    product, version = _software(change)
    return f"{product if with_vendor else product.partition('/')[2]} {version}"


def why(change: Mapping[str, Any]) -> Text:
    """The reason of a change, or the fields that differ; `EOS` first where the record is out of support."""
    mark = ("EOS ", "bold magenta") if change.get("isEndOfSupport") else ""
    return Text.assemble(mark, (_notes(change), "dim"))


def device(change: Mapping[str, Any]) -> str:
    """The device's name without its domain, or the beginning of its id where it has no name."""
    name = change.get("deviceName")
    if change.get("summarizes") is not None:
        return "many devices"
    return escape(str(name).split(".", maxsplit=1)[0] if name else f"{str(change['deviceId'])[:12]}…")


def _software(change: Mapping[str, Any]) -> tuple[str, str]:
    """Product and version, or both versions."""
    before = change.get("before") or {}
    version = escape(str(change.get("softwareVersion") or ""))
    if before and before.get("softwareVersion") != change.get("softwareVersion"):
        version = f"{escape(str(before.get('softwareVersion') or ''))} → {version}"
    return "/".join(escape(str(change.get(name) or "?")) for name in ("softwareVendor", "softwareName")), version


def _notes(change: Mapping[str, Any]) -> str:
    """The reason in lower case; for changed attributes, two of them with their values."""
    fields = [name for name in change.get("changedFields") or [] if name != "softwareVersion"]
    if change.get("reason") == "ATTRIBUTES_CHANGED" and fields:
        before = change.get("before") or {}
        return ", ".join(_field_step(name, before, change) for name in fields[:2])
    return words(change.get("reason", ""))


def _lines(text: str) -> str:
    return "\n".join(escape(line) for line in text.splitlines())


def _field_step(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    old, new = before.get(name), after.get(name)
    if isinstance(old, list) or isinstance(new, list):
        return name
    return f"{name} {escape(str(old))} → {escape(str(new))}"


def _show(console: Console, text: Text) -> None:
    """Print a text. Only a terminal has a width to wrap it at: a pipe gets its lines whole."""
    console.print(text, soft_wrap=not console.is_terminal)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=_plain) if not isinstance(value, str) else value
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…"


def _harmless(character: str) -> str:
    return character if escape(character) == character else json.dumps(character)[1:-1]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    raise TypeError(f"{type(value).__name__} is not JSON")


def _is_utf8() -> bool:
    """Whether stdout can show every character; JSON escapes what a terminal with another encoding has not."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")


_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=_plain)
_ASCII_JSON: Final = json.JSONEncoder(default=_plain)
