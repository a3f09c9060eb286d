"""Which alerts there must be, worked out slowly and obviously from two inventories, the changes between them, and days.

Plain Python over plain dicts; nothing of it is shared with the connector.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.support.oracle import Key, Record, event_id, key_of

ENDED = {"eos version", "eos software"}
UPCOMING = {"upcoming eos version", "upcoming eos software"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECORD_NAMES = (
    "deviceId", "deviceName", "osPlatform", "rbacGroupId", "rbacGroupName", "softwareVendor", "softwareName",
    "softwareVersion", "numberOfWeaknesses", "diskPaths", "registryPaths", "softwareFirstSeenTimestamp",
    "endOfSupportStatus", "endOfSupportDate",
)  # fmt: skip

Raised = tuple["Mapping[str, Any]", str, str, int | None, "Mapping[str, Any] | None"]
"""Record, alert type, what decided, threshold, and the change that raised it."""


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def end_of(record: Mapping[str, Any]) -> date | None:
    """The day that support ends; None where the record does not say, or not readably."""
    text = record["endOfSupportDate"] or ""
    if text < "1980-01-02" or text.startswith("9999"):
        return None
    try:
        return date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
    except ValueError:
        return None


def seen_on_device(record: Mapping[str, Any]) -> int | None:
    """When the version was first seen on the device, in milliseconds."""
    text = record["softwareFirstSeenTimestamp"] or ""
    if text < "1980-01-02" or text.startswith("9999"):
        return None
    try:
        return milliseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError):
        return None


def status_of(record: Mapping[str, Any]) -> str:
    """The status without the case and the blanks that do not count."""
    return " ".join((record["endOfSupportStatus"] or "").split()).lower()


def says(record: Mapping[str, Any], day: date) -> str | None:
    """What the record says of its support on a day; None where it says nothing."""
    ends, status = end_of(record), status_of(record)
    if status in ENDED:
        return "status"
    if ends is not None and ends <= day:
        return "date"
    return "upcoming" if status in UPCOMING else "supported" if status == "none" else None


def ended_by(record: Mapping[str, Any], day: date) -> str | None:
    """What says that the record is out of support on a day."""
    return _ended(says(record, day))


def stands(record: Mapping[str, Any], day: date, stood: str | None) -> str | None:
    """The same record's support, from what it says or, where that is nothing, from what stood before."""
    said = says(record, day)
    return stood if said is None and not (stood == "date" and end_of(record)) else said


def _ended(said: str | None) -> str | None:
    return said if said in {"status", "date"} else None


def of_change(
    change: Mapping[str, Any], day: date, *, on_baseline: bool = False, last: str | None = None
) -> tuple[str, str] | None:
    """Type of the alert that a change raises, and what decided; None, or DATE_THRESHOLD is looked for.

    `last` is what the earlier record said last, where it says nothing.
    """
    kind, before = change["changeType"], change["before"]
    stood = says(before or change, day) or last if before or kind == "REMOVED" else None
    is_same = bool(before) and key_of(before) == key_of(change)
    is_now = stands(change, day, stood) if is_same else says(change, day)
    now, then = _ended(stood if kind == "REMOVED" else is_now), _ended(stood)
    if kind in {"REMOVED", "BASELINE"}:
        alert_type = "CLEARED" if kind == "REMOVED" else "INSTALLED"
        return (alert_type, now) if now and (kind == "REMOVED" or on_baseline) else None
    if now and (kind == "ADDED" or key_of(before) != key_of(change)):
        return "INSTALLED", now
    if now:
        return None if then and not (now == "status" and then == "date") else ("REACHED", now)
    if then:
        return "CLEARED", then
    return ("UPCOMING", "status") if is_now == "upcoming" and stood != "upcoming" else None


def severity(alert_type: str, record: Mapping[str, Any], days: int | None) -> str:
    """By the documented rule."""
    if alert_type in {"INSTALLED", "REACHED"}:
        return "high" if (record["numberOfWeaknesses"] or 0) > 0 else "medium"
    return "medium" if alert_type == "DATE_THRESHOLD" and days is not None and days <= 7 else "low"


def open_incidents(alerts: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """What a consumer has open who applied alerts in order, by the rule of the page about them: keys and versions."""
    incidents: dict[str, set[str]] = defaultdict(set)
    for alert in alerts:
        if alert["summarizes"] is not None:
            continue
        version, previous = alert["softwareVersion"], alert["previousVersion"]
        if alert["alertType"] in {"INSTALLED", "REACHED"}:
            incidents[alert["incidentKey"]] -= {previous}
            incidents[alert["incidentKey"]] |= {version}
        elif alert["alertType"] == "CLEARED":
            incidents[alert["incidentKey"]] -= {version if previous is None else previous}
    return {key: versions for key, versions in incidents.items() if versions}


def wrong(changes: Sequence[Record], alerts: Sequence[Record], *, repeats: bool) -> list[str]:
    """What differs between the alerts that a consumer saw and those of the changes it saw, the calendar's aside.

    With `repeats`, the same alert again is none.
    """
    alerts = [alert for alert in alerts if alert["summarizes"] is None]
    if repeats:
        alerts = list({alert["alertId"]: alert for alert in alerts}.values())
    due = {change["eventId"]: raised for change in changes if (raised := of_change(change, change["emittedAt"].date()))}
    seen = Counter(alert["eventId"] for alert in alerts)
    problems = [f"{seen[event]} alerts of {event}, expected {int(event in due)}" for event in seen.keys() | due.keys()
             if seen[event] != (event in due)]  # fmt: skip
    return problems + [
        f"{alert['alertId']} says something else"
        for alert in alerts
        if (alert["alertType"], alert["decidedBy"]) != due.get(alert["eventId"])
    ]


@dataclass
class AlertModel:
    """What must have been raised, one staging after another.

    Attributes:
        looks: the days of the last looks at all dates, the latest look last.
        crossed: record, date and threshold of what was raised by a date; 'end' for the end itself.
        last: what records said of their support before they came to say nothing.
        seen: of each version, when it was first seen, and by which snapshot; None: by a first one.
    """

    tenant_id: str
    thresholds: Sequence[int] = (90, 30, 7, 0)
    on_baseline: bool = False
    summarize_above: int = 100
    inventory: str = "CPE"
    looks: list[date] = field(default_factory=list)
    crossed: set[tuple[Key, date, int | str]] = field(default_factory=set)
    seen: dict[tuple[str, ...], tuple[int, str | None]] = field(default_factory=dict)
    last: dict[Key, str] = field(default_factory=dict)

    def see(
        self, records: Iterable[Mapping[str, Any]], generated_at: datetime, snapshot_id: str, *, baseline: bool
    ) -> None:
        """Take in what a snapshot has."""
        latest = milliseconds(generated_at)
        for record in records:
            on_device = seen_on_device(record)
            at = latest if on_device is None else min(latest, on_device)
            known = self.seen.get(key_of(record)[1:], (at, None if baseline else snapshot_id))
            self.seen[key_of(record)[1:]] = (min(at, known[0]), known[1])

    def stage(
        self,
        now: datetime,
        snapshot_id: str,
        *,
        before: dict[Key, Record] | None,
        after: dict[Key, Record],
        changes: Sequence[Record] = (),
        completing: Collection[Key] = (),
        enabled: bool = True,
    ) -> list[Record]:
        """The alerts of one staging, in order; without changes, those of a day without a new snapshot.

        `completing` are the keys of what completes a silent baseline: no change says so.
        """
        day, last = now.astimezone(UTC).date(), dict(self.last)
        self._remember(changes, day)
        if not enabled:
            self.looks = []
            return []
        looked = self._looked(day, is_first=before is None)
        raised: list[Raised] = []
        for change in changes:
            due = of_change(
                change, day, on_baseline=self.on_baseline, last=last.get(key_of(change["before"] or change))
            )
            crossed = self._moved(change, day, looked)
            if due:
                if not (due[0] == "REACHED" and self._is_known(change, day, due[1])):
                    raised.append((change, *due, None, change))
            elif crossed is not None and self._first_time(change, crossed):
                raised.append((change, "DATE_THRESHOLD", "date", crossed, change))
        silent = after.values() if before is None and not changes else [after[key] for key in completing]
        if self.on_baseline:
            cause = {"eventId": None, "changeType": "BASELINE", "reason": "FIRST_SNAPSHOT", "before": None}
            ended = [(record, ended_by(record, day)) for record in silent]
            raised += [(record, "INSTALLED", decided, None, cause) for record, decided in ended if decided]
        raised += [
            (record, "REACHED" if crossed == "end" else "DATE_THRESHOLD", "date",
             None if crossed == "end" else int(crossed), None)
            for record, crossed in self._came(before or {}, after, changes, day, looked, last)
            if self._first_time(record, crossed)
        ]  # fmt: skip
        self.looks = ([look for look in self.looks if look != day] + [day])[-32:]
        # Those of changes come first, in their order; the others follow by device, product and version.
        raised.sort(key=lambda raising: ((raising[4] or {}).get("sequence", 10**12), key_of(raising[0]), raising[1]))
        devices, products = Counter(key[1:] for key in after), self._products() if raised else {}
        alerts = [
            self._alert(now, snapshot_id, raising)
            | {
                "devicesWithVersion": devices[key_of(raising[0])[1:]],
                "productFirstSeenAt": min(at for at, _ in products[key_of(raising[0])[1:3]]),
                "newToOrganisation": {name for _, name in products[key_of(raising[0])[1:3]]} == {snapshot_id},
            }
            for raising in raised
        ]
        return alerts + self._summaries(snapshot_id, alerts)

    def _summaries(self, snapshot_id: str, alerts: Sequence[Record]) -> list[Record]:
        """The summaries of one staging, whose ids the single alerts are given."""
        groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
        for alert in alerts:
            groups[alert["alertType"], alert["softwareVendor"], alert["softwareName"]].append(alert)
        summaries = []
        for (alert_type, *product), singles in sorted(groups.items()):
            if not 0 < self.summarize_above < len(singles):
                continue
            name = event_id(self.tenant_id, snapshot_id, "summary", alert_type, self.inventory, *product)
            common = {
                key: value for key, value in singles[0].items() if all(single[key] == value for single in singles)
            }
            summary = dict.fromkeys(singles[0]) | common
            levels = {single["severity"] for single in singles}
            summary |= {
                "alertId": name,
                "incidentKey": event_id(self.tenant_id, "incident", "", *product),
                "summarizes": len(singles),
                "severity": next(level for level in ("high", "medium", "low") if level in levels),
                "deviceId": "",
                "eventId": None,
                "diskPaths": [],
                "registryPaths": [],
                "isEndOfSupport": all(single["isEndOfSupport"] for single in singles),
                "newToOrganisation": all(single["newToOrganisation"] for single in singles),
                "devicesWithVersion": summary["devicesWithVersion"] if "softwareVersion" in common else 0,
            }
            summaries.append(summary)
            for single in singles:
                single["summaryId"] = name
        return summaries

    def is_ended(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is out of support on the day of the last staging."""
        return _ended(says(record, self.looks[-1]) or self.last.get(key_of(record))) is not None

    def _looked(self, day: date, *, is_first: bool) -> date:
        """The last day of a look before today; today, where there was none, or the last look was today."""
        if is_first or not self.looks or self.looks[-1] == day:
            return day
        return max((look for look in self.looks if look < day), default=day)

    def _is_known(self, change: Record, day: date, decided: str) -> bool:
        """Whether a status says what was raised for the date before; what is raised for a date is remembered."""
        before = change["before"]
        if decided == "date":
            self._first_time(change, "end")
            return False
        if not before or says(before, day) != "date":
            return False
        return not self._first_time(before, "end")

    def _remember(self, changes: Sequence[Record], day: date) -> None:
        for change in changes:
            before = change["before"] or change
            stood = says(before, day) or self.last.get(key_of(before))
            self.last.pop(key_of(before), None)
            if change["changeType"] == "CHANGED" and key_of(before) == key_of(change) and says(change, day) is None:
                stood = stands(change, day, stood)
                if stood and stood != "supported":
                    self.last[key_of(change)] = stood

    def _products(self) -> dict[tuple[str, ...], list[tuple[int, str | None]]]:
        """When the versions of each product were first seen."""
        versions: dict[tuple[str, ...], list[tuple[int, str | None]]] = defaultdict(list)
        for version, seen in self.seen.items():
            versions[version[:2]].append(seen)
        return versions

    def _moved(self, change: Record, day: date, looked: date) -> int | None:
        """The tightest threshold that a changed date came within."""
        before, ends = change["before"], end_of(change)
        if change["changeType"] != "CHANGED" or ends is None:
            return None
        same = key_of(before) == key_of(change) and before["endOfSupportDate"] == change["endOfSupportDate"]
        if same or ended_by(change, day):
            return None
        was = end_of(before)
        within = [days for days in self.thresholds if (ends - day).days <= days
                  and (was is None or (was - looked).days > days)]  # fmt: skip
        return min(within, default=None)

    def _came(
        self,
        before: dict[Key, Record],
        after: dict[Key, Record],
        changes: Sequence[Record],
        day: date,
        looked: date,
        last: Mapping[Key, str],
    ) -> list[tuple[Record, int | str]]:
        """Records that were there before, whose date did not move, and came within a threshold, or came, since then."""
        moved = {key_of(change) for change in changes if change["changeType"] in {"CHANGED", "REMOVED"}}
        reached: list[tuple[Record, int | str]] = []
        for key, record in after.items():
            ends = end_of(record)
            if ends is None or key not in before:
                continue
            if key in moved and before[key]["endOfSupportDate"] != record["endOfSupportDate"]:
                continue
            within = [days for days in self.thresholds if (ends - day).days <= days < (ends - looked).days]
            if within:
                reached.append((record, min(within)))
            was_ended = {status_of(record), status_of(before[key])} & ENDED or _ended(last.get(key))
            if looked < ends <= day and not was_ended:
                reached.append((record, "end"))
        return reached

    def _first_time(self, record: Mapping[str, Any], threshold: int | str) -> bool:
        ends = end_of(record)
        assert ends is not None
        place = (key_of(record), ends, threshold)
        is_first = place not in self.crossed
        self.crossed.add(place)
        return is_first

    def _alert(self, now: datetime, snapshot_id: str, raised: Raised) -> Record:
        record, alert_type, decided_by, threshold, change = raised
        key, ends, first_seen = key_of(record), end_of(record), seen_on_device(record)
        days = (ends - now.astimezone(UTC).date()).days if ends else None
        by_date = threshold is not None or change is None
        name = (alert_type,) if by_date else (snapshot_id, alert_type)
        more = ((str(ends),) if by_date else ()) + (() if threshold is None else (str(threshold),))
        before = change and change["before"]
        replaced = before["softwareVersion"] if before and key_of(before) != key_of(record) else None
        return {
            "alertId": event_id(self.tenant_id, *name, self.inventory, *key, *more),
            "incidentKey": event_id(self.tenant_id, "incident", *key[:3]),
            "summaryId": None,
            "summarizes": None,
            "alertType": alert_type,
            "severity": severity(alert_type, record, days),
            "daysToEndOfSupport": days,
            "thresholdDays": threshold,
            "eventId": change and change["eventId"],
            "changeType": change and change["changeType"],
            "reason": change and change["reason"],
            "previousVersion": replaced,
            "decidedBy": decided_by,
            "isEndOfSupport": status_of(record) in ENDED,
            **{column: record[column] for column in RECORD_NAMES},
            "versionFirstSeenAt": self.seen[key[1:]][0],
            "detectionLagSeconds": None if first_seen is None else (milliseconds(now) - first_seen) // 1000,
        }
