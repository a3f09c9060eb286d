"""What a consumer must have seen of a tenant, worked out the slow, obvious way, and what it did see held against it.

Knows the simulator's records and decoded messages; nothing of processes, Kafka or the connector's own comparison.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.support import alert_oracle, campaign_oracle

ROOT: Final = Path(__file__).parents[2]
KEY: Final = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
COUNTED: Final = {"baseline": "BASELINE", "added": "ADDED", "removed": "REMOVED", "changed": "CHANGED"}
"""Counts of a snapshot report, and the change type that each is of."""

CAMPAIGN_DEVICES: Final = 2
"""Devices of a campaign that is published, at least."""

MARKS: Final = ("STARTED", "COMPLETE")
UNSEALED: Final = frozenset({"FAILED", "STALE"})
DATED: Final = "-dated-"
"""In the id of a snapshot that has no export: alerts that the date alone raises."""

Key = tuple[str, ...]
Record = dict[str, Any]
Changes = dict[tuple[str, Key], tuple[Record, Record | None]]
Expected = dict[tuple[str, str, Key], tuple[Record, Record | None]]
"""By snapshot id, change type and key: the record, and the record before. In the order of the snapshots."""

RECORD_FIELDS: Final = tuple(
    item["name"]
    for item in json.loads((ROOT / "schemas" / "software-record.avsc").read_text(encoding="utf-8"))["fields"]
)


class Message(NamedTuple):
    """A message as a consumer saw it, decoded; a tombstone has no value."""

    key: str | None
    value: dict[str, Any] | None


class Staged(NamedTuple):
    """A generation that was staged, the records that are stored after it, and whether removals were held with it."""

    snapshot_id: str
    records: dict[Key, Record]
    held: bool = False

    @property
    def marks(self) -> list[tuple[str, str]]:
        """Its reports: STARTED first, COMPLETE last."""
        return [(self.snapshot_id, status) for status in (MARKS[0], *(["HELD"] if self.held else []), MARKS[1])]


def key_of(record: Mapping[str, Any]) -> Key:
    """The record's key; null is empty there."""
    return tuple(record[name] or "" for name in KEY)


def by_key(records: Iterable[Record]) -> dict[Key, Record]:
    """A snapshot as a plain dict, null key parts as the connector publishes them."""
    return {key_of(record): record | dict(zip(KEY, key_of(record), strict=True)) for record in records}


def plain_diff(before: dict[Key, Record] | None, after: dict[Key, Record]) -> Changes:
    """The slow, obvious oracle: {(change type, key): (record, record before)}; None before is the baseline."""
    if before is None:
        return {("BASELINE", key): (record, None) for key, record in after.items()}
    come, gone = after.keys() - before.keys(), before.keys() - after.keys()
    changes: Changes = {
        ("CHANGED", key): (after[key], before[key]) for key in after.keys() & before.keys() if after[key] != before[key]
    }
    products: dict[Key, tuple[list[Key], list[Key]]] = defaultdict(lambda: ([], []))
    for side, keys in enumerate((come, gone)):
        for key in keys:
            products[key[:3]][side].append(key)
    for new, old in products.values():
        if len(new) == len(old) == 1:
            changes["CHANGED", new[0]] = (after[new[0]], before[old[0]])
        else:
            changes |= {("ADDED", key): (after[key], None) for key in new}
            changes |= {("REMOVED", key): (before[key], None) for key in old}
    return changes


def expected(staged: Iterable[Staged]) -> Expected:
    """Every change of every snapshot."""
    due: Expected = {}
    before: dict[Key, Record] | None = None
    for snapshot in staged:
        changes = plain_diff(before, snapshot.records)
        due |= {(snapshot.snapshot_id, *place): change for place, change in changes.items()}
        before = snapshot.records
    return due


def fold(changes: Iterable[Mapping[str, Any]]) -> dict[Key, Record]:
    """The inventory that follows from changes in their order, by whoever applies them strictly."""
    records: dict[Key, Record] = {}
    for change in changes:
        record = {name: change[name] for name in RECORD_FIELDS}
        if change["before"] is not None:
            records.pop(key_of(change["before"]))
        if change["changeType"] == "REMOVED":
            records.pop(key_of(record))
        else:
            records[key_of(record)] = record
    return records


@dataclass(frozen=True)
class Verdict:
    """What the consumer saw, held against the oracle.

    Attributes:
        events: changes expected.
        lost: those never seen.
        duplicated: messages beyond the first of a change, and changes that nobody expected.
        wrong: everything else that is not as it must be, in words.
        alerts: seen, each counted once; whether they are the right ones is in `wrong`.
    """

    events: int
    lost: int
    duplicated: int
    wrong: tuple[str, ...]
    alerts: int = field(default=0, compare=False)

    @property
    def exact(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong."""
        return not (self.lost or self.duplicated or self.wrong)


def judge(staged: Sequence[Staged], topics: Mapping[str, Sequence[Message]], *, repeats: bool) -> Verdict:
    """Hold what was seen on each topic against the generations that were staged.

    Args:
        staged: in their order; the first is the baseline, and was published.
        topics: what was seen, by topic without its prefix, in order per partition.
        repeats: the same message again, with the same id and contents, is no duplicate.
    """
    due = expected(staged)
    messages, wrong = _once(topics["changes"], "eventId", repeats=repeats)
    alerts, wrong_alerts = _once(topics["alerts"], "alertId", repeats=repeats)
    seen = Counter((m["snapshotId"], m["changeType"], key_of(m)) for m in messages)
    lost = sum(place not in seen for place in due)
    duplicated = sum(number - (place in due) for place, number in seen.items())
    if not (lost or duplicated):
        wrong += _wrong_changes(due, messages, staged[-1].records)
        wrong += _wrong_reports(staged, due, topics["snapshots"], repeats=repeats)
        wrong += wrong_alerts + _wrong_alerts(messages, alerts, topics["snapshots"])
        if "inventory" in topics:
            wrong += _wrong_inventory(topics["inventory"], staged[-1].records)
        if "campaigns" in topics:
            wrong += _wrong_campaigns(messages, topics["campaigns"], repeats=repeats)
    return Verdict(len(due), lost, duplicated, tuple(wrong), len(alerts))


def _once(seen: Sequence[Message], name: str, *, repeats: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Messages and what is wrong with their ids. With `repeats` each message once, where it was seen first."""
    messages = [message.value for message in seen if message.value is not None]
    known: dict[str, dict[str, Any]] = {}
    wrong = [
        f"{message[name]} came back otherwise"
        for message in messages
        if known.setdefault(message[name], message) != message
    ]
    if repeats:
        return list(known.values()), wrong
    counted = Counter(message[name] for message in messages)
    return messages, wrong + [f"{what} seen {number} times" for what, number in counted.items() if number > 1]


def _wrong_changes(due: Expected, messages: Sequence[dict[str, Any]], last: dict[Key, Record]) -> list[str]:
    """Contents, numbers and order of changes that are all there."""
    wrong = [
        f"{message['eventId']} says something else"
        for message in messages
        if due[message["snapshotId"], message["changeType"], key_of(message)]
        != ({name: message[name] for name in RECORD_FIELDS}, message["before"])
    ]
    numbered = sorted(messages, key=lambda message: message["sequence"])
    if [message["sequence"] for message in numbered] != list(range(1, len(due) + 1)):
        wrong.append("the sequence has gaps")
    of_device: dict[str, int] = {}
    for message in messages:
        if message["sequence"] <= of_device.get(message["deviceId"], 0):
            wrong.append(f"{message['deviceId']} is out of order")
        of_device[message["deviceId"]] = message["sequence"]
    if fold(numbered) != last:
        wrong.append("the fold is not the inventory")
    return wrong


def _wrong_reports(staged: Sequence[Staged], due: Expected, seen: Sequence[Message], *, repeats: bool) -> list[str]:
    """STARTED first and COMPLETE last of each snapshot, with the counts of its changes.

    What is said of polls that failed, and of an export that is old, belongs to no snapshot.
    """
    reports = [message.value for message in seen if message.value and message.value["status"] not in UNSEALED]
    marks = [(report["snapshotId"], report["status"]) for report in reports]
    if repeats:
        marks = list(dict.fromkeys(marks))
    # Alerts that the date alone raises are reported as separate snapshots, between those of the export.
    names = dict.fromkeys([name for name, _ in marks if DATED in name])
    wanted = [mark for snapshot in staged for mark in snapshot.marks]
    wrong = []
    if [mark for mark in marks if mark[0] not in names] != wanted:
        wrong.append(f"reports {marks}")
    if [mark for mark in marks if mark[0] in names] != [(name, status) for name in names for status in MARKS]:
        wrong.append(f"reports of dates {marks}")
    counted = Counter((snapshot_id, kind) for snapshot_id, kind, _ in due)
    return wrong + [
        f"counts of {report['snapshotId']}"
        for report in reports
        if any(report[name] != counted[report["snapshotId"], kind] for name, kind in COUNTED.items())
    ]


def _wrong_alerts(
    changes: Sequence[dict[str, Any]], alerts: Sequence[dict[str, Any]], reports: Sequence[Message]
) -> list[str]:
    """As many as each snapshot's report says, none without its change, and those that each change must raise.

    What a date raises depends on when polls looked: of that only the number is judged.
    """
    counted = Counter(alert["snapshotId"] for alert in alerts)
    reported = {
        report.value["snapshotId"]: report.value["alerts"]
        for report in reports
        if report.value and report.value["status"] not in UNSEALED
    }
    wrong = [
        f"{counted[name]} alerts of {name}, not {reported.get(name, 0)}"
        for name in reported.keys() | counted.keys()
        if counted[name] != reported.get(name, 0)
    ]
    raised: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for alert in alerts:
        if alert["eventId"] is not None:
            raised[alert["snapshotId"], alert["eventId"]].append((alert["alertType"], alert["decidedBy"]))
    for change in changes:
        day = datetime.fromtimestamp(change["emittedAt"] / 1000, UTC).date()
        due = alert_oracle.of_change(change, day)
        seen = raised.pop((change["snapshotId"], change["eventId"]), [])
        if seen != ([due] if due else []) and (due or [kind for kind, _ in seen] != ["DATE_THRESHOLD"]):
            wrong.append(f"{change['eventId']} raised {seen}, expected {due}")
    return wrong + [f"alerts without their change: {event}" for _, event in raised]


def _wrong_campaigns(changes: Sequence[dict[str, Any]], seen: Sequence[Message], *, repeats: bool) -> list[str]:
    """The campaigns of each snapshot are those that its changes come to, each once."""
    campaigns, wrong = _once(seen, "campaignId", repeats=repeats)
    of_snapshot: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for change in changes:
        of_snapshot[change["snapshotId"]].append(change)
    due = [
        campaign | {"snapshotId": name}
        for name, its_changes in of_snapshot.items()
        for campaign in campaign_oracle.campaigns_of(its_changes, CAMPAIGN_DEVICES)
    ]
    brief = [{name: campaign[name] for name in due[0]} for campaign in campaigns] if due else campaigns
    by_event = [sorted(some, key=lambda campaign: campaign["sampleEventId"]) for some in (brief, due)]
    return wrong if by_event[0] == by_event[1] else [*wrong, f"{len(brief)} campaigns are not the {len(due)} expected"]


def _wrong_inventory(seen: Sequence[Message], last: dict[Key, Record]) -> list[str]:
    """The newest message of each key is the record that the inventory has; a tombstone, where it has none."""
    records: dict[Key, Record] = {}
    for key, value in seen:
        _, *parts = json.loads(key or "[]")
        if value is None:
            records.pop(tuple(parts), None)
        else:
            records[tuple(parts)] = value
    return [] if records == last else ["the inventory topic is not the inventory"]
