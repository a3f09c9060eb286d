"""The past by hand: what was stored after each snapshot, kept as Python objects, and every question asked of those."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from connector.clock import milliseconds_of
from tests.support.oracle import Record, key_of

ENDED, SPEAKING = {"eos version", "eos software"}, {"none", "upcoming eos version", "upcoming eos software"}


@dataclass(frozen=True)
class Noted:
    """What was stored after the snapshot of a time."""

    at: datetime
    records: list[Record]


def differences(earlier: Sequence[Record], later: Sequence[Record]) -> set[tuple[Any, ...]]:
    """Rows of (change type, key, version before, changed fields)."""
    before, after = ({key_of(record): record for record in records} for records in (earlier, later))
    added, removed = defaultdict(list), defaultdict(list)
    rows = set()
    for key in before.keys() | after.keys():
        if key not in before:
            added[key[:3]].append(key)
        elif key not in after:
            removed[key[:3]].append(key)
        elif before[key] != after[key]:
            rows.add(_changed(before[key], after[key]))
    for product in added.keys() | removed.keys():
        if len(added[product]) == len(removed[product]) == 1:
            rows.add(_changed(before[removed[product][0]], after[added[product][0]]))
        else:
            rows |= {("ADDED", *key, None, ()) for key in added[product]}
            rows |= {("REMOVED", *key, None, ()) for key in removed[product]}
    return rows


def _changed(before: Record, after: Record) -> tuple[Any, ...]:
    fields = tuple(name for name in after if after[name] != before[name])
    return ("CHANGED", *key_of(after), before["softwareVersion"], fields)


def intervals(noted: Sequence[Noted], now: datetime) -> list[tuple[Any, ...]]:
    """Rows of (key, since, until, whether the version stayed), 0 for an unknown or open end.

    Each key is followed from snapshot to snapshot, and the day on which its support ends is looked for between them.
    """
    rows = []
    for key in {key_of(record) for note in noted for record in note.records}:
        begun: int | None = None
        said: str | None = None
        for number, note in enumerate(noted):
            record = next((record for record in note.records if key_of(record) == key), None)
            until = noted[number + 1].at if number + 1 < len(noted) else now
            if record is None:
                if begun is not None:
                    rows.append((*key, begun, milliseconds_of(note.at), False))
                begun, said = None, None
                continue
            since, said = _exposed(record, said, note.at, until)
            if since is None and begun is not None:
                rows.append((*key, begun, milliseconds_of(note.at), True))
                begun = None
            elif since is not None and begun is None:
                begun = 0 if number == 0 and since == note.at else milliseconds_of(since)
            elif since is not None and since > note.at and begun is not None:
                rows.append((*key, begun, milliseconds_of(note.at), True))
                begun = milliseconds_of(since)
        if begun is not None:
            rows.append((*key, begun, 0, False))
    return rows


def prevalences(noted: Sequence[Noted], group: str | None = None) -> list[dict[str, Any]]:
    """Devices of each version at the last generation of each day: of all, or of those in a device group then."""
    names = ("day", "softwareVendor", "softwareName", "softwareVersion", "devices")
    return [
        dict(zip(names, (str(day), *subject, devices), strict=True))
        for day, note in sorted({note.at.date(): note for note in noted}.items())
        for subject, devices in sorted(
            Counter(
                key_of(record)[1:] for record in note.records if group is None or record["rbacGroupName"] == group
            ).items()
        )
    ]


def _exposed(record: Record, said: str | None, at: datetime, until: datetime) -> tuple[datetime | None, str | None]:
    """From when on a record is out of support until a time, if at all; and what it has said by then."""
    status = " ".join((record["endOfSupportStatus"] or "").lower().split())
    ends = _day(record["endOfSupportDate"])
    by_date = max(at, datetime.combine(ends, time(), UTC)) if ends is not None and ends <= until.date() else None
    if status in ENDED:
        return at, "status"
    if status not in SPEAKING and (said == "status" or (said == "date" and ends is None)):
        return at, "date" if by_date else said
    if by_date:
        return by_date, "date"
    return None, "supported" if status in SPEAKING else said


def _day(text: str | None) -> date | None:
    if text is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", text) or not "1980-01-02" <= text < "9999":
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
