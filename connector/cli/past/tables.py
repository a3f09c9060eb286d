"""Tables, CSV and JSON of the past. The rules of `output` hold."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connector.cli import output
from connector.cli.changes_table import as_cell
from connector.clock import moment_of
from connector.exports.software import SOFTWARE
from connector.wording import counted, words

Row = Mapping[str, Any]

TIMES: Final = ("since", "until", "firstSeenAt")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people."""

    heading: str
    text: Callable[[Row], object]
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """What of the rows is shown: to people, and to programs by name."""

    for_people: tuple[Column, ...]
    names: tuple[str, ...]

    def plain(self, row: Row) -> dict[str, Any]:
        """A row for programs; times become ISO 8601."""
        return {name: _with_time(name, row[name]) for name in self.names}


def print_rows(columns: Columns, rows: Iterable[Row]) -> int:
    """A table. Returns the number of rows."""
    texts = [tuple(column.text(row) for column in columns.for_people) for row in rows]
    if texts:
        output.print_table("", [(column.heading, column.is_number) for column in columns.for_people], texts)
    else:
        output.print_notice("nothing matches")
    return len(texts)


def write_csv(columns: Columns, rows: Iterable[Row]) -> None:
    """A heading, and one row a line; arrays and records as JSON. A text that begins like a formula gets a `'`."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns.names)
    for row in rows:
        plain = columns.plain(row)
        writer.writerow([as_cell(plain[name]) for name in columns.names])


def print_summary(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """Totals of exposure: now, by product, by device group, by week."""
    if as_json:
        output.print_json(summary)
        return
    longest = summary["longestSeconds"]
    output.print_line(
        f"{counted(summary['open'], 'version')} out of support on {counted(summary['openDevices'], 'device')} now"
        + (f"; the longest for at least {output.age(longest)}" if longest else "")
    )
    groups = (
        ("product", "byProduct", ("softwareVendor", "softwareName")),
        ("device group", "byGroup", ("rbacGroupName",)),
    )
    for heading, name, parts in groups:
        rows = [
            (
                "/".join(str(row[part] or "-") for part in parts),
                row["open"],
                row["fixed"],
                _lasting(row["medianSecondsToFix"]),
            )
            for row in summary[name][:TOTALS_SHOWN]
        ]
        if rows:
            output.print_table(
                "", [(heading, False), ("open", True), ("fixed", True), ("median time to fix", True)], rows
            )
    weeks = [(row["week"], row["began"], row["fixed"]) for row in summary["byWeek"]]
    if weeks:
        output.print_table("", [("week of", False), ("newly exposed", True), ("fixed", True)], weeks)


def _with_time(name: str, value: object) -> object:
    return moment_of(value) if name in TIMES and isinstance(value, int) else value


def _lasting(seconds: float | None) -> str:
    return "-" if seconds is None else output.age(seconds)


def _software(row: Row) -> str:
    return output.software(row, with_vendor=output.out.width >= WIDE)


def _support(row: Row) -> str:
    return " ".join(str(row[name]) for name in ("endOfSupportStatus", "endOfSupportDate") if row[name]) or "-"


def _ended(row: Row) -> str:
    return words(row["ended"]) or "open"


TOTALS_SHOWN: Final = 20
"""Products and device groups of a summary that a table has; JSON has all of them."""

WIDE: Final = 120
_FIELDS: Final = tuple(field.name for field in SOFTWARE.fields)
_DEVICE: Final = Column("device", output.device)
_SOFTWARE: Final = Column("software", _software)
_GROUP: Final = Column("group", lambda row: row["rbacGroupName"] or "-")

INVENTORY: Final = Columns(
    (
        _DEVICE,
        _SOFTWARE,
        _GROUP,
        Column("weaknesses", lambda row: row["numberOfWeaknesses"] or 0, is_number=True),
        Column("support", _support),
    ),
    ("inventory", *_FIELDS, "isEndOfSupport"),
)
COMPARISON: Final = Columns(
    (
        Column("", lambda row: output.CHANGE_SIGNS.get(row["changeType"], "?")),
        _DEVICE,
        _SOFTWARE,
        Column("why", lambda row: output.why(row).plain),
    ),
    ("inventory", "changeType", "reason", "changedFields", "isEndOfSupport", *_FIELDS, "before"),
)
EXPOSURE: Final = Columns(
    (
        _DEVICE,
        _SOFTWARE,
        Column("since", lambda row: output.moment(row["since"]) if row["since"] else "before"),
        Column("lasted", lambda row: output.age(row["seconds"]), is_number=True),
        Column("ended", _ended),
    ),
    (
        "inventory",
        *(field.name for field in SOFTWARE.keys),
        "deviceName",
        "osPlatform",
        "rbacGroupId",
        "rbacGroupName",
        "endOfSupportStatus",
        "endOfSupportDate",
        "since",
        "until",
        "ended",
        "seconds",
    ),
)
PREVALENCE: Final = Columns(
    (
        Column("day", lambda row: row["day"]),
        Column("software", lambda row: f"{row['softwareVendor']}/{row['softwareName']} {row['softwareVersion']}"),
        Column("devices", lambda row: row["devices"], is_number=True),
    ),
    ("day", *(field.name for field in SOFTWARE.subject), "devices"),
)
NEWCOMERS: Final = Columns(
    (
        Column("first seen", lambda row: f"{row['firstSeenAt']:%Y-%m-%d}"),
        Column("software", lambda row: f"{row['softwareVendor']}/{row['softwareName']} {row['softwareVersion']}"),
        Column("new", lambda row: "product" if row["isNewProduct"] else "version"),
        Column("devices", lambda row: row["devices"], is_number=True),
        Column("such as", lambda row: ", ".join(name.partition(".")[0] for name in row["sample"])),
    ),
    (*(field.name for field in SOFTWARE.subject), "firstSeenAt", "isNewProduct", "devices", "sample"),
)
