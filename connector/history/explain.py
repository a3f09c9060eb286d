"""Explains one change or one alert: both records, the rule behind it, its snapshot, and whether Kafka has it.

Everything comes from the state file. The words for the reasons stand here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector.clock import moment_of
from connector.errors import ConfigError, StateError
from connector.exports.fields import Export
from connector.history.filters import Selection
from connector.history.query import History
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.state.state import StateFile
from connector.wording import counted

ID_CHARACTERS_MIN: Final = 8
IDS_SHOWN: Final = 5
TIMES: Final = ("observedAt", "emittedAt", "productFirstSeenAt", "versionFirstSeenAt")
SNAPSHOT_NAMES: Final = (
    "inventory", "snapshot_id", "epoch", "baseline", "method", "records", "devices", "added", "removed", "changed",
    "baselined", "held", "hold_reason", "duplicates", "rejected", "first_sequence", "last_sequence",
    "connector_version", "generated_at", "started_at", "staged_at", "generation_known",
)  # fmt: skip
_ID: Final = re.compile(r"[0-9a-f-]{8,36}")

RULES: Final[dict[Reason, str]] = {
    Reason.FIRST_SNAPSHOT: "the first snapshot of this epoch has the record, and diff.baseline is emit",
    Reason.INSTALLED: "the record is new on a device that the previous snapshot already had",
    Reason.NEW_DEVICE: "the record is new, and so is its device: the previous snapshot did not have it",
    Reason.UNINSTALLED: "the record is gone, and its device is still in the snapshot",
    Reason.CATALOGUE: "the version left at least 10 devices, and 90 % of the present devices that had it, in one"
    " snapshot, and they have no other version of the product: most likely Defender's catalogue dropped it",
    Reason.AGED_OUT: "Defender had last seen the device 30 days before the snapshot, or earlier, so it reported no"
    " uninstallation (source.device_facts)",
    Reason.DEVICE_MISSING: "the device was absent from guard.missing_device_snapshots snapshots in a row, so its"
    " software counts as removed",
    Reason.UPGRADED: "one version of the product left the device and a later one appeared: one change"
    " (diff.pair_versions)",
    Reason.DOWNGRADED: "one version of the product left the device and an earlier one appeared: one change"
    " (diff.pair_versions)",
    Reason.VERSION_CHANGED: "one version of the product left the device and another appeared; which of the two is later"
    " is unclear",
    Reason.ATTRIBUTES_CHANGED: "the same version of the product on the same device, with other attributes",
    Reason.MOVED: "the product moved from one of the two exports to the other: nothing was installed or uninstalled",
    Reason.APPROVED: "the guard held this removal, and a person approved it (`mde-inventory held approve`)",
}
"""The rule of the comparison or of the guard that gives a reason, in words."""

ALERT_RULE: Final = "no change raised this alert: only the date did"
SUMMARY_RULE: Final = "a summary: its snapshot raised more alerts of this product and type than alerts.summarize_above"

ORIGIN: Final = (
    "not kept: a snapshot's files are deleted once it is staged, and its lines are compared as a set, in no order"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """The configuration's part in an explanation: where rejected lines are, and how long the journal keeps changes."""

    rejected_folder: Path
    retention_days: int


def explain(state: StateFile, id_or_beginning: str, setting: Setting) -> dict[str, Any]:
    """What `explain --json` prints. Times are aware datetimes in UTC.

    Args:
        state: open for reading.
        id_or_beginning: an `eventId` or `alertId`, or at least its first eight characters.
        setting: the configuration's part in it.

    Raises:
        ConfigError: it is not an id, or the beginning of several.
        StateError: the journal has no such change or alert.
    """
    beginning = id_or_beginning.strip().lower()
    if not _ID.fullmatch(beginning):
        raise ConfigError(
            f"{id_or_beginning!r} is not an event id",
            hint=f"Give an eventId, or at least its first {ID_CHARACTERS_MIN} characters.",
        )
    history = History(state)
    changes, alerts = history.find_changes(beginning), history.find_alerts(beginning)
    ids = {change["eventId"] for _, change in changes} | {alert["alertId"] for _, alert in alerts}
    if not ids:
        raise _unknown(state, beginning, setting)
    if len(ids) > 1:
        raise ConfigError(
            f"{beginning} is the beginning of several ids: {', '.join(sorted(ids)[:IDS_SHOWN])}",
            hint="Give more characters.",
        )
    if not changes:
        snapshot, alert = alerts[-1]
        raised_by = history.find_changes(alert["eventId"]) if alert["eventId"] else []
        changes = [(origin, change) for origin, change in raised_by if origin.snapshot_no == snapshot.snapshot_no]
        if not changes:
            return _explain_in(state, snapshot, None, [alert], setting) | {"other_epochs": _earlier_epochs(alerts)}
    snapshot, change = changes[-1]
    raised = history.alerts_of(snapshot, change["eventId"])
    return _explain_in(state, snapshot, change, raised, setting) | {"other_epochs": _earlier_epochs(changes)}


def _explain_in(
    state: StateFile,
    snapshot: StagedSnapshot,
    change: dict[str, Any] | None,
    alerts: Sequence[dict[str, Any]],
    setting: Setting,
) -> dict[str, Any]:
    """A change of a snapshot with the alerts that it raised, or an alert that no change raised."""
    previous = History(state).previous_snapshot(snapshot)
    event = change or alerts[0]
    return {
        "event_id": event.get("eventId"),
        "change": with_times(change) if change else None,
        "alerts": [with_times(alert) for alert in alerts],
        "rule": _rule(change, event),
        "fields": _side_by_side(state.export, event),
        "snapshot": snapshot.facts(SNAPSHOT_NAMES),
        "previous_snapshot": previous.facts(SNAPSHOT_NAMES) if previous else None,
        "previous_snapshot_id": snapshot.previous_snapshot_id,
        "guard": _guard(snapshot, event),
        "origin": ORIGIN,
        "rejected": _rejected(snapshot, setting.rejected_folder),
        "kafka": _kafka(state, snapshot, change),
    }


def _rule(change: Mapping[str, Any] | None, event: Mapping[str, Any]) -> str:
    """What made the change or, without one, the alert."""
    if change is not None:
        return RULES.get(change["reason"], "this version does not know the reason")
    return ALERT_RULE if event["summarizes"] is None else SUMMARY_RULE


def _earlier_epochs(matches: Sequence[tuple[StagedSnapshot, dict[str, Any]]]) -> list[int]:
    """The other epochs that have the same id: a new epoch may begin with the same generation."""
    return [snapshot.epoch for snapshot, _ in matches[:-1]]


def with_times(event: Mapping[str, Any]) -> dict[str, Any]:
    """A `SoftwareChange` or `EndOfSupportAlert` mapping with datetimes in place of milliseconds."""
    times = [name for name in TIMES if event.get(name) is not None]
    return {**event, **{name: moment_of(event[name]) for name in times}}


def _side_by_side(export: Export, event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every field with its value before and after; all None on a side that has no record."""
    record = {field.name: event[field.name] for field in export.fields}
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
        for field in export.fields
    ]


def _guard(snapshot: StagedSnapshot, event: Mapping[str, Any]) -> str:
    """The guard's part in it, in words."""
    if event.get("reason") == Reason.APPROVED:
        return "held first, then approved: this snapshot is the approval, with the generation of the snapshot before"
    held = snapshot.counts.held
    if held:
        records, verb = counted(held, "record"), "was" if held == 1 else "were"
        return f"not held; {records} of the same snapshot {verb} ({snapshot.hold_reason})"
    return "not held"


def _rejected(snapshot: StagedSnapshot, folder: Path) -> str | None:
    """Where the snapshot's unreadable lines are; None where there were none."""
    if not snapshot.counts.rejected:
        return None
    lines = counted(snapshot.counts.rejected, "line")
    return f"{lines} of the snapshot could not be read: see {folder / snapshot.snapshot_id}.ndjson"


def _kafka(state: StateFile, snapshot: StagedSnapshot, change: Mapping[str, Any] | None) -> dict[str, Any]:
    """Whether Kafka confirmed it, and when: the time of the checkpoint that sealed its snapshot.

    `confirmed`; `pending`; `unsealed`: the change is confirmed, its snapshot not yet complete; `unknown`: a new epoch
    has begun since, and whether the change was published before that is not recorded.
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
    oldest = History(state).narrow(Selection()).beginning
    contents = f"The journal begins with {oldest.snapshot_id}" if oldest else "The journal is empty"
    return StateError(
        f"the journal has no change and no alert {beginning}",
        hint=f"{contents}; anything older than {counted(setting.retention_days, 'day')} (state.journal_retention_days)"
        " has expired. Is this the right tenant's state file?",
    )
