"""One change, or one alert, explained: both records, the rule that fired, its snapshot, and what Kafka knows of it.

Owns the words for the reasons and what `explain --json` prints. Reads the state file only, and shows nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from connector.clock import moment_of
from connector.errors import ConfigError, StateError
from connector.exports.software import SOFTWARE
from connector.history.filters import Selection
from connector.history.query import History
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.state.state import StateFile

ID_CHARACTERS_MIN: Final = 8
IDS_SHOWN: Final = 5
TIMES: Final = ("observedAt", "emittedAt", "productFirstSeenAt", "versionFirstSeenAt")
_ID: Final = re.compile(r"[0-9a-f-]{8,36}")

RULES: Final[dict[Reason, str]] = {
    Reason.FIRST_SNAPSHOT: "the first snapshot of this epoch has the record, and diff.baseline is emit",
    Reason.INSTALLED: "the record is new on a device that the previous snapshot already had",
    Reason.NEW_DEVICE: "the record is new, and so is its device: the previous snapshot had nothing of it",
    Reason.UNINSTALLED: "the record is gone, and its device is still in the snapshot",
    Reason.DEVICE_MISSING: "the device was absent from as many snapshots in a row as guard.missing_device_snapshots"
    " says, so what it had counts as gone",
    Reason.UPGRADED: "one version of the product went from the device and a later one came: one change"
    " (diff.pair_versions)",
    Reason.DOWNGRADED: "one version of the product went from the device and an earlier one came: one change"
    " (diff.pair_versions)",
    Reason.VERSION_CHANGED: "one version of the product went from the device and another came, and which of the two is"
    " later cannot be told",
    Reason.ATTRIBUTES_CHANGED: "the same version of the product on the same device, with other attributes",
    Reason.MOVED: "the product left one of the two exports and is in the other: nothing was installed or uninstalled",
    Reason.APPROVED: "the guard held this removal, and a person approved it (`mde-inventory held approve`)",
}
"""Which rule of the comparison or of the guard gives a reason, in words."""

ALERT_RULE: Final = "no change raised this alert: the date alone did"

ORIGIN: Final = (
    "not kept: a snapshot's files are deleted once it is staged, and its lines are compared as a set, in no order"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What of the configuration stands in an explanation: where rejected lines are, and how long the journal goes."""

    rejected_folder: Path
    retention_days: int


def explain(state: StateFile, asked: str, setting: Setting) -> dict[str, Any]:
    """What `explain --json` prints. Times are aware datetimes in UTC.

    Args:
        state: open for reading.
        asked: an `eventId` or `alertId`, or at least its first eight characters.
        setting: the configuration's part in it.

    Raises:
        ConfigError: no id, or the beginning of several.
        StateError: the journal has no such change or alert.
    """
    beginning = asked.strip().lower()
    if not _ID.fullmatch(beginning):
        raise ConfigError(
            f"{asked!r} is no event id", hint=f"Give an eventId, or its first {ID_CHARACTERS_MIN} characters or more."
        )
    changes, alerts = History(state).find(beginning), History(state).find_alerts(beginning)
    ids = {change["eventId"] for _, change in changes} | {alert["alertId"] for _, alert in alerts}
    if not ids:
        raise _unknown(state, beginning, setting)
    if len(ids) > 1:
        raise ConfigError(
            f"{beginning} is the beginning of several ids: {', '.join(sorted(ids)[:IDS_SHOWN])}",
            hint="Give more of it.",
        )
    if not changes:
        snapshot, alert = alerts[-1]
        raised_by = History(state).find(alert["eventId"]) if alert["eventId"] else []
        changes = [found for found in raised_by if found[0].snapshot_no == snapshot.snapshot_no]
        if not changes:
            return _explained(state, snapshot, None, [alert], setting) | {"other_epochs": _epochs(alerts)}
    snapshot, change = changes[-1]
    raised = History(state).alerts_of(snapshot, change["eventId"])
    return _explained(state, snapshot, change, raised, setting) | {"other_epochs": _epochs(changes)}


def _explained(
    state: StateFile,
    snapshot: StagedSnapshot,
    change: dict[str, Any] | None,
    alerts: Sequence[dict[str, Any]],
    setting: Setting,
) -> dict[str, Any]:
    """A change with the alerts that it raised, or an alert that no change raised."""
    previous = History(state).previous(snapshot)
    event = change or alerts[0]
    return {
        "event_id": event.get("eventId"),
        "change": with_times(change) if change else None,
        "alerts": [with_times(alert) for alert in alerts],
        "rule": RULES.get(change["reason"], "a reason that this version does not know") if change else ALERT_RULE,
        "fields": _side_by_side(event),
        "snapshot": _told(snapshot),
        "previous_snapshot": _told(previous) if previous else None,
        "previous_snapshot_id": snapshot.previous_snapshot_id,
        "guard": _guard(snapshot, event),
        "origin": ORIGIN,
        "rejected": _rejected(snapshot, setting.rejected_folder),
        "kafka": _kafka(state, snapshot, change),
    }


def _epochs(found: Sequence[tuple[StagedSnapshot, dict[str, Any]]]) -> list[int]:
    """The epochs that the same id is in beside the newest: a new one may begin with the same generation."""
    return [snapshot.epoch for snapshot, _ in found[:-1]]


def with_times(event: Mapping[str, Any]) -> dict[str, Any]:
    """A `SoftwareChange` or `EndOfSupportAlert` mapping with datetimes in place of milliseconds."""
    times = [name for name in TIMES if event.get(name) is not None]
    return {**event, **{name: moment_of(event[name]) for name in times}}


def _side_by_side(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every property with its value before and after: null throughout where there is no such record."""
    record = {field.name: event[field.name] for field in SOFTWARE.fields}
    kind = event["changeType"]
    before = event.get("before") or (record if kind == ChangeType.REMOVED else {})
    after = {} if kind == ChangeType.REMOVED else record
    one_sided = not before or not after
    return [
        {
            "name": field.name,
            "before": before.get(field.name),
            "after": after.get(field.name),
            "differs": one_sided or before.get(field.name) != after.get(field.name),
        }
        for field in SOFTWARE.fields
    ]


def _told(snapshot: StagedSnapshot) -> dict[str, Any]:
    columns = {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__} | asdict(snapshot.counts)
    names = (
        "snapshot_id", "epoch", "baseline", "method", "records", "devices", "added", "removed", "changed", "baselined",
        "held", "hold_reason", "duplicates", "rejected", "first_sequence", "last_sequence", "connector_version",
    )  # fmt: skip
    times = ("generated_at", "started_at", "staged_at")
    return (
        {"inventory": snapshot.inventory.value}
        | {name: columns[name] for name in names}
        | {name: moment_of(columns[name]) for name in times}
        | {"generation_known": snapshot.generation_known}
    )


def _guard(snapshot: StagedSnapshot, event: Mapping[str, Any]) -> str:
    """What the guard had to do with it, in words."""
    if event.get("reason") == Reason.APPROVED:
        return "held first, then approved: this snapshot is the approval, with the generation of the one before it"
    if snapshot.counts.held:
        return f"not held; {snapshot.counts.held:,} removals of the same snapshot were ({snapshot.hold_reason})"
    return "not held"


def _rejected(snapshot: StagedSnapshot, folder: Path) -> str | None:
    """Where the lines are that could not be read; None where there were none."""
    rejected = snapshot.counts.rejected
    if not rejected:
        return None
    return f"{rejected:,} lines of the snapshot could not be read: see {folder / snapshot.snapshot_id}.ndjson"


def _kafka(state: StateFile, snapshot: StagedSnapshot, change: Mapping[str, Any] | None) -> dict[str, Any]:
    """Whether Kafka confirmed it, and when: the moment at which the checkpoint was written that sealed it.

    `confirmed`; `pending`; `unsealed`: the change is confirmed, and its snapshot not yet complete; `unknown`: a new
    epoch began since, and it is not noted whether the change was published before.
    """
    position = state.journal.position()
    at = History(state).confirmed_at(snapshot)
    status = "confirmed"
    if at is None and snapshot.epoch < position.epoch:
        status = "unknown"
    elif at is None and snapshot.snapshot_no > position.published_snapshot:
        confirmed = change is not None and change["sequence"] <= position.published_sequence
        status, at = ("unsealed", position.published_at) if confirmed else ("pending", None)
    return {
        "status": status,
        "confirmed_at": None if at is None else moment_of(at),
        "published_sequence": position.published_sequence if snapshot.epoch == position.epoch else None,
    }


def _unknown(state: StateFile, beginning: str, setting: Setting) -> StateError:
    oldest = History(state).scope(Selection()).beginning
    since = f"It begins with {oldest.snapshot_id}; " if oldest else "It is empty; "
    return StateError(
        f"the journal has no change and no alert {beginning}",
        hint=f"{since}what is older than {setting.retention_days} days (state.journal_retention_days) has left it."
        " Is this the state file of the event's tenant?",
    )
