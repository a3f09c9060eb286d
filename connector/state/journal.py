"""Reads what was staged: position, snapshots, changes, alerts, holds. And shortens the journal by age.

Owns the rows of `position`, `snapshots`, `changes` and `alerts` as the rest of the connector sees them. Must not stage:
that is `staging`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector.clock import milliseconds_of, moment_of
from connector.exports.fields import FIELDS
from connector.model import Checkpoint, Inventory, SnapshotStatus
from connector.state import meta
from connector.state.sql import Database

RETIRED_CHANGES_MAX: Final = 1_000_000
"""Changes that one call of `retire` deletes at most."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the state file is.

    Attributes:
        epoch: 1 at first; a rebaseline begins the next.
        last_sequence: of the newest change staged in this epoch; 0 before the first.
        last_snapshot: number of the newest staged snapshot, counted over all epochs; 0 before the first.
        published_sequence: changes of this epoch up to here are confirmed by Kafka.
        published_snapshot: snapshots up to here are sealed in Kafka, or were given up by a rebaseline.
        epoch_snapshot: number of the last snapshot before this epoch; 0 in the first.
        published_at: when Kafka last confirmed something, milliseconds since 1970; None before the first time.
        last_alert: number of the newest alert staged in this epoch; 0 before the first.
        published_alert: alerts of this epoch up to here are confirmed by Kafka.
    """

    epoch: int
    last_sequence: int
    last_snapshot: int
    published_sequence: int
    published_snapshot: int
    epoch_snapshot: int
    published_at: int | None
    last_alert: int
    published_alert: int

    @property
    def pending(self) -> int:
        """Changes staged and not yet confirmed."""
        return self.last_sequence - self.published_sequence

    @property
    def drained(self) -> bool:
        """Whether nothing is left to publish, neither a change nor a seal."""
        return not self.pending and self.published_snapshot == self.last_snapshot


@dataclass(frozen=True, slots=True)
class StagedSnapshot:
    """One row of `snapshots`: a staged snapshot and its counts. Times are milliseconds since 1970, in UTC.

    An approval of held removals is a row of its own, with the generation of the snapshot before it.

    Attributes:
        snapshot_no: counts from 1 over the whole state file.
        generated_at: time of the generation, or of the walk where the API does not tell (`generation_known`).
        baseline: whether it is the first of its inventory in this epoch.
        records, devices: distinct ones in the snapshot.
        stored: records in the inventory after it; more than `records` where absences are not believed yet.
        held: removals that the guard began to hold with this snapshot.
        duplicates: lines beyond the first of their key.
        rejected: lines that could not be read.
        first_sequence, last_sequence: of its changes; None where it has none.
        sequence_after: of the epoch's last change once this snapshot is staged.
        alert_after: number of the epoch's last alert once this snapshot is staged; its own are the `alerts` up to it.
    """

    snapshot_no: int
    epoch: int
    inventory: Inventory
    snapshot_id: str
    previous_snapshot_id: str | None
    method: str
    generated_at: int
    generation_known: bool
    content_digest: str
    started_at: int
    staged_at: int
    baseline: bool
    records: int
    devices: int
    stored: int
    added: int
    removed: int
    changed: int
    baselined: int
    alerts: int
    held: int
    hold_reason: str | None
    duplicates: int
    rejected: int
    first_sequence: int | None
    last_sequence: int | None
    sequence_after: int
    connector_version: str
    alert_after: int

    @property
    def alert_before(self) -> int:
        """Number of the epoch's last alert before this snapshot."""
        return self.alert_after - self.alerts

    @property
    def changes(self) -> int:
        """Changes of all types."""
        return self.added + self.removed + self.changed + self.baselined

    @property
    def status(self) -> SnapshotStatus:
        """HELD where the guard began to hold removals, else COMPLETE."""
        return SnapshotStatus.HELD if self.held else SnapshotStatus.COMPLETE

    @property
    def observed_at(self) -> datetime:
        """`generated_at` as a moment in UTC."""
        return moment_of(self.generated_at)


@dataclass(frozen=True, slots=True)
class Hold:
    """Removals that are held for one reason since one snapshot; `share` is of the inventory's records, 0 to 1."""

    inventory: Inventory
    reason: str
    records: int
    devices: int
    share: float
    since_snapshot_no: int
    since_snapshot_id: str
    since: int


POSITION_COLUMNS: Final = tuple(Position.__dataclass_fields__)
SNAPSHOT_COLUMNS: Final = tuple(StagedSnapshot.__dataclass_fields__)
CHANGE_COLUMNS: Final = {
    "eventId": "event_id",
    "changeType": "change_type",
    "reason": "reason",
    "changedFields": "changed_fields",
    "before": "before",
    "isEndOfSupport": "is_end_of_support",
    **{field.name: field.column for field in FIELDS},
    "sequence": "sequence",
}
"""Columns of `changes` by the names that `SoftwareChange` gives them."""

CHANGES: Final = (
    f"SELECT {', '.join(CHANGE_COLUMNS.values())} FROM changes WHERE epoch = $1 AND sequence > $2 AND sequence <= $3"
    " ORDER BY sequence"
)
"""A range of changes: bind the epoch, the sequence to begin after, and the one to end with."""

ALERT_COLUMNS: Final = {
    "alertId": "alert_id",
    "alertType": "alert_type",
    "severity": "severity",
    "daysToEndOfSupport": "days_to_end_of_support",
    "thresholdDays": "threshold_days",
    "eventId": "event_id",
    "changeType": "change_type",
    "decidedBy": "decided_by",
    "isEndOfSupport": "is_end_of_support",
    **{field.name: field.column for field in FIELDS},
    "productFirstSeenAt": "product_first_seen_at",
    "versionFirstSeenAt": "version_first_seen_at",
    "newToOrganisation": "new_to_organisation",
    "devicesWithVersion": "devices_with_version",
    "detectionLagSeconds": "detection_lag_seconds",
}
"""Columns of `alerts` by the names that `EndOfSupportAlert` gives them."""

ALERTS: Final = (
    f"SELECT {', '.join(ALERT_COLUMNS.values())} FROM alerts WHERE epoch = $1 AND alert_no > $2 AND alert_no <= $3"
    " ORDER BY alert_no"
)
"""A range of alerts: bind the epoch, the number to begin after, and the one to end with."""


def position(database: Database) -> Position:
    """Where the file is."""
    return Position(*database.rows(f"SELECT {', '.join(POSITION_COLUMNS)} FROM position")[0])


def snapshots(database: Database, condition: str, parameters: Sequence[object] = ()) -> list[StagedSnapshot]:
    """The staged snapshots that meet a SQL condition, in the order that it may end in."""
    found = database.rows(f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE {condition}", parameters)
    rows = (dict(zip(SNAPSHOT_COLUMNS, row, strict=True)) for row in found)
    return [StagedSnapshot(**row | {"inventory": Inventory(row["inventory"])}) for row in rows]


def latest_snapshot(database: Database, inventory: Inventory) -> StagedSnapshot | None:
    """The newest staged snapshot of an inventory in this epoch."""
    condition = "inventory = $1 AND epoch = (SELECT epoch FROM position) ORDER BY snapshot_no DESC LIMIT 1"
    found = snapshots(database, condition, [inventory.value])
    return found[0] if found else None


def numbered_snapshot(database: Database, snapshot_no: int) -> StagedSnapshot | None:
    """The staged snapshot of that number; None where there is none, or the journal has forgotten it."""
    found = snapshots(database, "snapshot_no = $1", [snapshot_no])
    return found[0] if found else None


def holds(database: Database) -> list[Hold]:
    """What the guard holds, oldest first."""
    found = database.rows(
        "SELECT inventory, reason, count(*), count(DISTINCT device_no), count(*) / any_value(stored), since_snapshot,"
        " coalesce(any_value(snapshot_id), ''), coalesce(any_value(staged_at), 0) FROM held"
        " JOIN (SELECT inventory, count(*) AS stored FROM inventory GROUP BY inventory) USING (inventory)"
        " LEFT JOIN (SELECT snapshot_no AS since_snapshot, snapshot_id, staged_at FROM snapshots)"
        "  USING (since_snapshot)"
        " GROUP BY inventory, reason, since_snapshot ORDER BY since_snapshot, inventory, reason"
    )
    return [Hold(Inventory(row[0]), *row[1:]) for row in found]


def as_changes(
    rows: Iterable[tuple[Any, ...]], snapshot: StagedSnapshot, tenant_id: str | None
) -> Iterable[dict[str, Any]]:
    """Rows of `CHANGES` as `SoftwareChange` mappings."""
    constants = _constants(snapshot, tenant_id) | {"previousSnapshotId": snapshot.previous_snapshot_id}
    return (dict(zip(CHANGE_COLUMNS, row, strict=True)) | constants for row in rows)


def as_alerts(
    rows: Iterable[tuple[Any, ...]], snapshot: StagedSnapshot, tenant_id: str | None
) -> Iterable[dict[str, Any]]:
    """Rows of `ALERTS` as `EndOfSupportAlert` mappings."""
    constants = _constants(snapshot, tenant_id)
    return (dict(zip(ALERT_COLUMNS, row, strict=True)) | constants for row in rows)


def _constants(snapshot: StagedSnapshot, tenant_id: str | None) -> dict[str, Any]:
    """What all changes and alerts of a snapshot have in common."""
    return {
        "entraTenantId": tenant_id,
        "inventory": snapshot.inventory.value,
        "snapshotId": snapshot.snapshot_id,
        "observedAt": snapshot.generated_at,
        "emittedAt": snapshot.staged_at,
        "epoch": snapshot.epoch,
        "replayed": False,
        "connectorVersion": snapshot.connector_version,
    }


def alert_upto(database: Database, snapshot: StagedSnapshot, sequence: int) -> int:
    """The number of the last alert of a snapshot that a change up to a sequence raised, or of the last before it."""
    if not snapshot.alerts:
        return snapshot.alert_after
    found = database.number(
        "SELECT max(alert_no) FROM alerts WHERE snapshot_no = $1 AND sequence <= $2", [snapshot.snapshot_no, sequence]
    )
    return max(found, snapshot.alert_before)


def alert_types(database: Database, snapshot: StagedSnapshot) -> dict[str, int]:
    """How many alerts of each type a snapshot has, where it has any."""
    return dict(
        database.rows(
            "SELECT alert_type, count(*) FROM alerts WHERE snapshot_no = $1 GROUP BY alert_type ORDER BY alert_type",
            [snapshot.snapshot_no],
        )
    )


def confirm(database: Database, checkpoint: Checkpoint) -> None:
    """Note how far Kafka has confirmed, and first, when, for each snapshot that a checkpoint is the first to seal.

    Stopped in between, the next reconciliation notes all of it again.
    """
    sealed = database.rows(
        "SELECT snapshot_no FROM snapshots WHERE snapshot_no > (SELECT published_snapshot FROM position)"
        " AND snapshot_no <= $1",
        [checkpoint.sealed],
    )
    for (number,) in sealed:
        meta.remember(database, f"{_SEALED}{number}", str(checkpoint.written_at))
    database.rows(
        "UPDATE position SET published_sequence = $1, published_snapshot = $2, published_at = $3, published_alert = $4",
        [checkpoint.sequence, checkpoint.sealed, checkpoint.written_at, checkpoint.alert_sequence],
    )


def confirmed_at(database: Database, snapshot_no: int) -> int | None:
    """When the checkpoint that sealed a snapshot was written; None where that is not noted."""
    noted = meta.remembered(database, f"{_SEALED}{snapshot_no}")
    return None if noted is None else int(noted)


def retire(database: Database, *, older_than: datetime, changes_max: int = RETIRED_CHANGES_MAX) -> int:
    """Delete changes of snapshots staged before `older_than` and sealed in Kafka, oldest first, a bounded number.

    Returns how many were deleted; `changes_max` means that there may be more. Their alerts go once all the changes are
    gone. What is pending stays, whatever its age, and so does the newest snapshot of each inventory.
    """
    parameters = [milliseconds_of(older_than)]
    deleted = database.number(
        f"DELETE FROM changes WHERE rowid IN (SELECT rowid FROM changes WHERE snapshot_no IN {_RETIRED}"
        " ORDER BY snapshot_no, sequence LIMIT $2)",
        [*parameters, changes_max],
    )
    for table in ("alerts", "snapshots"):
        gone = database.rows(
            f"DELETE FROM {table} WHERE snapshot_no IN {_RETIRED} AND snapshot_no NOT IN"
            " (SELECT DISTINCT snapshot_no FROM changes) RETURNING snapshot_no",
            parameters,
        )
    for (number,) in gone:
        meta.forget(database, f"{_SEALED}{number}")
    return deleted


def is_anything_retired(database: Database, *, older_than: datetime) -> bool:
    """Whether there is a snapshot that `retire` would delete changes of, or itself."""
    return database.number(f"SELECT count(*) FROM {_RETIRED}", [milliseconds_of(older_than)]) > 0


_SEALED: Final = "sealed "
"""What a note is called: so, and the number of the snapshot."""

_RETIRED: Final = (
    "(SELECT snapshot_no FROM snapshots WHERE staged_at < $1"
    " AND snapshot_no < (SELECT published_snapshot FROM position)"
    " AND snapshot_no NOT IN (SELECT max(snapshot_no) FROM snapshots GROUP BY inventory)"
    " AND snapshot_no NOT IN (SELECT DISTINCT since_snapshot FROM held))"
)
