"""The rows of the state file as the rest of the connector sees them: position, snapshots, changes, alerts, holds.

`Journal` reads them, notes what Kafka confirmed, and deletes what has grown old. Nothing is staged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from connector.clock import MILLISECOND, SKEW_MAX, milliseconds_of, moment_of
from connector.exports.fields import Export
from connector.model import Checkpoint, Counts, Hold, Inventory, Position, StagedSnapshot
from connector.state import meta
from connector.state.encoded import Encoded, RowEncoder, Table, read_encoded
from connector.state.engine import Engine
from connector.state.reconcile import Standing, standing, stop_unless_fine

RETIRED_CHANGES_MAX: Final = 1_000_000
"""Changes that one call of `Journal.retire` deletes at most."""

FETCH_ROWS: Final = 2_000
"""Changes that are Python objects at a time while a batch is read."""

POSITION_COLUMNS: Final = tuple(Position.__dataclass_fields__)
COUNT_COLUMNS: Final = tuple(Counts.__dataclass_fields__)
SNAPSHOT_COLUMNS: Final = (*(name for name in StagedSnapshot.__dataclass_fields__ if name != "counts"), *COUNT_COLUMNS)
_HELD: Final = """
    holds AS (
        SELECT inventory,
               reason,
               NULL AS field,
               since_snapshot,
               count(*) AS records,
               count(DISTINCT device_no) AS devices,
               true AS is_of_removals
        FROM held
        GROUP BY inventory, reason, since_snapshot
        UNION ALL
        SELECT inventory, reason, field, since_snapshot, records, devices, false
        FROM distrusted
        WHERE NOT approved
    )
"""
"""A CTE: everything that the guard holds, in numbers."""

_HOLDS: Final = f"""
    WITH stored AS (
        SELECT inventory, count(*) AS total
        FROM inventory
        GROUP BY inventory
    ),
    since AS (
        SELECT snapshot_no AS since_snapshot, snapshot_id, staged_at
        FROM snapshots
    ),
    {_HELD.strip()}
    SELECT inventory,
           reason,
           records,
           devices,
           records / total,
           since_snapshot,
           coalesce(snapshot_id, ''),
           coalesce(staged_at, 0),
           is_of_removals,
           field
    FROM holds
    JOIN stored USING (inventory)
    LEFT JOIN since USING (since_snapshot)
    ORDER BY since_snapshot, inventory, reason, field
"""

_SEALED: Final = "sealed "
"""The name of a note: this, and the number of the snapshot."""

_RETIRED: Final = """(
    SELECT snapshot_no
    FROM snapshots
    WHERE staged_at < $1
      AND snapshot_no < (SELECT published_snapshot FROM position)
      AND snapshot_no NOT IN (SELECT max(snapshot_no) FROM snapshots GROUP BY inventory, generation_known)
      AND snapshot_no NOT IN (SELECT since_snapshot FROM held UNION SELECT since_snapshot FROM distrusted)
)"""


def change_columns(export: Export) -> dict[str, str]:
    """Columns of `changes` by the names that `SoftwareChange` gives them."""
    return {
        "eventId": "event_id",
        "changeType": "change_type",
        "reason": "reason",
        "changedFields": "changed_fields",
        "before": "before",
        "isEndOfSupport": "is_end_of_support",
        **{field.name: field.column for field in export.fields},
        "sequence": "sequence",
    }


def alert_columns(export: Export) -> dict[str, str]:
    """Columns of `alerts` by the names that `EndOfSupportAlert` gives them."""
    return {
        "alertId": "alert_id",
        "incidentKey": "incident_key",
        "summaryId": "summary_id",
        "summarizes": "summarizes",
        "alertType": "alert_type",
        "severity": "severity",
        "daysToEndOfSupport": "days_to_end_of_support",
        "thresholdDays": "threshold_days",
        "eventId": "event_id",
        "changeType": "change_type",
        "reason": "reason",
        "previousVersion": "previous_version",
        "decidedBy": "decided_by",
        "isEndOfSupport": "is_end_of_support",
        **{field.name: field.column for field in export.fields},
        "productFirstSeenAt": "product_first_seen_at",
        "versionFirstSeenAt": "version_first_seen_at",
        "newToOrganisation": "new_to_organisation",
        "devicesWithVersion": "devices_with_version",
        "detectionLagSeconds": "detection_lag_seconds",
    }


class Journal:
    """The rows of an open state file.

    Args:
        database: the open file.
        path: the file's path, for errors.
        export: what the file holds.
    """

    def __init__(self, database: Engine, path: Path, export: Export) -> None:
        self._database = database
        self._path = path
        self._change_columns = change_columns(export)
        self._alert_columns = alert_columns(export)

    def position(self) -> Position:
        """How far the file has staged and Kafka has confirmed."""
        return Position(*self._database.rows(f"SELECT {', '.join(POSITION_COLUMNS)} FROM position")[0])

    def tenant_id(self) -> str | None:
        """The tenant whose inventory the file holds; None before the first snapshot."""
        return meta.recall(self._database, "tenant_id")

    # ---- snapshots

    def snapshots(self, condition: str, parameters: Sequence[object] = ()) -> list[StagedSnapshot]:
        """The staged snapshots that meet a SQL condition, in the order that the condition may end in."""
        rows = self._database.rows(f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE {condition}", parameters)
        return [_as_snapshot(row) for row in rows]

    def is_staged(self, snapshot_id: str, *, epoch: int) -> bool:
        """Whether a snapshot of that id was staged in an epoch, as far back as the journal goes."""
        return bool(self.snapshots("snapshot_id = $1 AND epoch = $2", [snapshot_id, epoch]))

    def is_taken(self, snapshot_id: str) -> bool:
        """Whether this epoch has a snapshot of that id, or one whose id is that and a suffix."""
        return bool(
            self._database.number(
                """
                SELECT count(*)
                FROM snapshots
                WHERE epoch = (SELECT epoch FROM position)
                  AND (snapshot_id = $1 OR starts_with(snapshot_id, $1 || '-'))
                """,
                [snapshot_id],
            )
        )

    def latest_snapshot(self, inventory: Inventory) -> StagedSnapshot | None:
        """The newest staged snapshot of an inventory in this epoch."""
        condition = "inventory = $1 AND epoch = (SELECT epoch FROM position) ORDER BY snapshot_no DESC LIMIT 1"
        return next(iter(self.snapshots(condition, [inventory.value])), None)

    def newest_generation(self, inventory: Inventory, *, now: datetime) -> datetime | None:
        """The newest generation of an inventory staged in this epoch, whichever flavour it came through.

        Those dated further ahead than clocks differ, when they were staged or now, do not count: earlier versions took
        them, and true generations are older than they are. None where no generation is known.
        """
        rows = self._database.rows(
            """
            WITH generations AS (
                SELECT generated_at
                FROM snapshots
                WHERE inventory = $1
                  AND epoch = (SELECT epoch FROM position)
                  AND generation_known
                GROUP BY generated_at
                HAVING generated_at <= least(min(staged_at), $2) + $3
            )
            SELECT max(generated_at)
            FROM generations
            """,
            [inventory.value, milliseconds_of(now), SKEW_MAX // MILLISECOND],
        )
        return None if rows[0][0] is None else moment_of(rows[0][0])

    def recent_snapshots(self, limit: int, before: int | None = None) -> list[StagedSnapshot]:
        """The newest staged snapshots, newest first; those before a number, where one is given."""
        condition = "($2::BIGINT IS NULL OR snapshot_no < $2) ORDER BY snapshot_no DESC LIMIT $1"
        return self.snapshots(condition, [limit, before])

    def numbered_snapshot(self, snapshot_no: int) -> StagedSnapshot | None:
        """The staged snapshot of that number; None where there is none, or its row has been retired."""
        return next(iter(self.snapshots("snapshot_no = $1", [snapshot_no])), None)

    def unsealed_snapshots(self) -> list[StagedSnapshot]:
        """Staged snapshots that Kafka has not sealed yet, oldest first."""
        return self.snapshots("snapshot_no > (SELECT published_snapshot FROM position) ORDER BY snapshot_no")

    def sealed_snapshot(self) -> StagedSnapshot | None:
        """The last snapshot of this epoch that Kafka has sealed."""
        position = self.position()
        snapshot = self.numbered_snapshot(position.published_snapshot)
        return snapshot if snapshot is not None and snapshot.epoch == position.epoch else None

    # ---- changes and alerts

    def changes(self, snapshot: StagedSnapshot, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Changes of a snapshot beyond sequence `after`, at most `limit`, in order, as `SoftwareChange` mappings."""
        begin, end = _bounds_of_changes(snapshot, after, limit)
        statement = f"""
            SELECT {", ".join(self._change_columns.values())}
            FROM changes
            WHERE epoch = $1 AND sequence > $2 AND sequence <= $3
            ORDER BY sequence
        """
        blocks = self._database.blocks(statement, [snapshot.epoch, begin, end], FETCH_ROWS)
        yield from self.as_changes(chain.from_iterable(blocks), snapshot)

    def alerts(self, snapshot: StagedSnapshot, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Alerts of a snapshot beyond number `after`, at most `limit`, in order, as `EndOfSupportAlert` mappings."""
        begin, end = _bounds_of_alerts(snapshot, after, limit)
        statement = f"""
            SELECT {", ".join(self._alert_columns.values())}
            FROM alerts
            WHERE epoch = $1 AND alert_no > $2 AND alert_no <= $3
            ORDER BY alert_no
        """
        if begin < end:
            blocks = self._database.blocks(statement, [snapshot.epoch, begin, end], FETCH_ROWS)
            yield from self.as_alerts(chain.from_iterable(blocks), snapshot)

    def encoded_changes(
        self, snapshot: StagedSnapshot, *, after: int, limit: int, encoder: RowEncoder[Encoded]
    ) -> Iterator[Encoded]:
        """As `changes`, encoded."""
        bounds = (snapshot.snapshot_no, *_bounds_of_changes(snapshot, after, limit))
        table = Table("changes", "sequence", ", ".join(self._change_columns.values()))
        common, as_mappings = self.common_of_changes(snapshot), partial(self.as_changes, snapshot=snapshot)
        return read_encoded(self._database, table, encoder, bounds, common, as_mappings, block_rows=FETCH_ROWS)

    def encoded_alerts(
        self, snapshot: StagedSnapshot, *, after: int, limit: int, encoder: RowEncoder[Encoded]
    ) -> Iterator[Encoded]:
        """As `alerts`, encoded."""
        bounds = (snapshot.snapshot_no, *_bounds_of_alerts(snapshot, after, limit))
        table = Table("alerts", "alert_no", ", ".join(self._alert_columns.values()))
        common, as_mappings = self.common_of_alerts(snapshot), partial(self.as_alerts, snapshot=snapshot)
        return read_encoded(self._database, table, encoder, bounds, common, as_mappings, block_rows=FETCH_ROWS)

    def as_changes(self, rows: Iterable[tuple[Any, ...]], snapshot: StagedSnapshot) -> Iterator[dict[str, Any]]:
        """Rows of `change_columns` as `SoftwareChange` mappings."""
        constants = self.common_of_changes(snapshot)
        return (dict(zip(self._change_columns, row, strict=True)) | constants for row in rows)

    def as_alerts(self, rows: Iterable[tuple[Any, ...]], snapshot: StagedSnapshot) -> Iterator[dict[str, Any]]:
        """Rows of `alert_columns` as `EndOfSupportAlert` mappings."""
        constants = self.common_of_alerts(snapshot)
        return (dict(zip(self._alert_columns, row, strict=True)) | constants for row in rows)

    def common_of_changes(self, snapshot: StagedSnapshot) -> dict[str, Any]:
        """What all changes of a snapshot have in common."""
        return self.common_of_alerts(snapshot) | {"previousSnapshotId": snapshot.previous_snapshot_id}

    def common_of_alerts(self, snapshot: StagedSnapshot) -> dict[str, Any]:
        """What all alerts of a snapshot have in common."""
        return {
            "entraTenantId": self.tenant_id(),
            "inventory": snapshot.inventory.value,
            "snapshotId": snapshot.snapshot_id,
            "observedAt": snapshot.generated_at,
            "emittedAt": snapshot.staged_at,
            "epoch": snapshot.epoch,
            "replayed": False,
            "connectorVersion": snapshot.connector_version,
        }

    def alert_upto(self, snapshot: StagedSnapshot, sequence: int) -> int:
        """The number of a snapshot's last alert raised by a change up to `sequence`, or of the last one before it."""
        if not snapshot.counts.alerts:
            return snapshot.alert_after
        last = self._database.number(
            "SELECT max(alert_no) FROM alerts WHERE snapshot_no = $1 AND sequence <= $2",
            [snapshot.snapshot_no, sequence],
        )
        return max(last, snapshot.alert_before)

    def alert_types(self, snapshot: StagedSnapshot) -> dict[str, int]:
        """Alerts of a snapshot, counted by type; only types that occur."""
        if not snapshot.counts.alerts:
            return {}
        return dict(
            self._database.rows(
                """
                SELECT alert_type, count(*)
                FROM alerts
                WHERE snapshot_no = $1
                GROUP BY alert_type
                ORDER BY alert_type
                """,
                [snapshot.snapshot_no],
            )
        )

    # ---- the inventory, and what is held

    def inventory_count(self, inventory: Inventory) -> int:
        """Records in an inventory."""
        return self._database.number("SELECT count(*) FROM inventory WHERE inventory = $1", [inventory.value])

    def holds(self) -> list[Hold]:
        """What the guard holds: a row for each inventory, reason, field and first snapshot, oldest first."""
        return [Hold(Inventory(row[0]), *row[1:]) for row in self._database.rows(_HOLDS)]

    def held_count(self, inventory: Inventory | None = None) -> int:
        """Records that `holds` counts, in one inventory or in both."""
        inventories = [which.value for which in ([inventory] if inventory else Inventory)]
        return self._database.number(
            f"""
            WITH {_HELD.strip()}
            SELECT sum(records)::BIGINT
            FROM holds
            WHERE inventory IN (SELECT unnest($1))
            """,
            [inventories],
        )

    # ---- what Kafka confirmed

    def compare(self, checkpoint: Checkpoint | None) -> Standing:
        """How Kafka's checkpoint stands to the file. Writes nothing.

        Raises:
            StateBehindCheckpoint: the checkpoint is ahead of the file.
            CheckpointLost: the checkpoint is behind what the file knows as published, or gone.
            StateError: the checkpoint belongs to another file.
        """
        position = self.position()
        sealed, unsealed = (self.numbered_snapshot(checkpoint.sealed + more) if checkpoint else None for more in (0, 1))
        verdict = standing(
            position,
            checkpoint,
            tenant_id=self.tenant_id(),
            sealed=sealed,
            unsealed=unsealed,
            alert_upto=self.alert_upto(unsealed, checkpoint.sequence) if checkpoint and unsealed else 0,
        )
        stop_unless_fine(verdict, position, checkpoint, self._path)
        return verdict

    def reconcile(self, checkpoint: Checkpoint | None) -> Position:
        """Bring the file in line with Kafka's checkpoint. Returns the position to publish from. Raises as `compare`."""
        if self.compare(checkpoint) is Standing.WITHIN and checkpoint is not None:
            self.confirm(checkpoint)
        return self.position()

    def confirm(self, checkpoint: Checkpoint) -> None:
        """Note that Kafka has committed everything up to a checkpoint.

        First, for each snapshot that this checkpoint is the first to seal, when. Stopped in between, the next
        reconciliation notes all of it again.
        """
        sealed = self._database.rows(
            """
            SELECT snapshot_no
            FROM snapshots
            WHERE snapshot_no > (SELECT published_snapshot FROM position) AND snapshot_no <= $1
            """,
            [checkpoint.sealed],
        )
        for (number,) in sealed:
            meta.remember(self._database, f"{_SEALED}{number}", str(checkpoint.written_at))
        self._database.rows(
            """
            UPDATE position
            SET published_sequence = $1, published_snapshot = $2, published_at = $3, published_alert = $4
            """,
            [checkpoint.sequence, checkpoint.sealed, checkpoint.written_at, checkpoint.alert_sequence],
        )

    def confirmed_at(self, snapshot_no: int) -> int | None:
        """When the checkpoint that sealed a snapshot was written, milliseconds since 1970; None where not noted."""
        noted = meta.recall(self._database, f"{_SEALED}{snapshot_no}")
        return None if noted is None else int(noted)

    def confirmations(self) -> dict[int, int]:
        """As `confirmed_at`, of every snapshot of which it is noted, by number."""
        noted = self._database.rows(
            "SELECT name, value FROM meta WHERE starts_with(name, $1) AND value IS NOT NULL", [_SEALED]
        )
        return {int(name.removeprefix(_SEALED)): int(value) for name, value in noted}

    # ---- age

    def has_retirable(self, *, older_than: datetime) -> bool:
        """Whether there is a snapshot that `retire` would delete changes of, or itself."""
        return self._database.number(f"SELECT count(*) FROM {_RETIRED}", [milliseconds_of(older_than)]) > 0

    def retire(self, *, older_than: datetime, changes_max: int = RETIRED_CHANGES_MAX) -> int:
        """Delete changes of snapshots staged before `older_than` and sealed in Kafka, oldest first, a bounded number.

        Returns how many were deleted; `changes_max` means that there may be more. Their alerts go once all the changes
        are gone. What is pending stays, whatever its age, and so do the newest snapshot of each inventory and the
        newest of a known generation.
        """
        parameters = [milliseconds_of(older_than)]
        deleted = self._database.number(
            f"""
            DELETE FROM changes
            WHERE rowid IN (
                SELECT rowid
                FROM changes
                WHERE snapshot_no IN {_RETIRED}
                ORDER BY snapshot_no, sequence
                LIMIT $2
            )
            """,
            [*parameters, changes_max],
        )
        for table in ("alerts", "snapshots"):
            retired = self._database.rows(
                f"""
                DELETE FROM {table}
                WHERE snapshot_no IN {_RETIRED} AND snapshot_no NOT IN (SELECT DISTINCT snapshot_no FROM changes)
                RETURNING snapshot_no
                """,
                parameters,
            )
        for (number,) in retired:
            meta.forget(self._database, f"{_SEALED}{number}")
        return deleted


def as_row(snapshot: StagedSnapshot) -> list[Any]:
    """A staged snapshot as the values of `SNAPSHOT_COLUMNS`."""
    values = {name: getattr(snapshot, name) for name in StagedSnapshot.__dataclass_fields__} | asdict(snapshot.counts)
    return [values[name] for name in SNAPSHOT_COLUMNS]


def _bounds_of_changes(snapshot: StagedSnapshot, after: int, limit: int) -> tuple[int, int]:
    """The sequences to begin after, and to end with."""
    begin = max(after, (snapshot.first_sequence or 1) - 1)
    return begin, min(begin + limit, snapshot.last_sequence or 0)


def _bounds_of_alerts(snapshot: StagedSnapshot, after: int, limit: int) -> tuple[int, int]:
    """The numbers of alerts to begin after, and to end with."""
    begin = max(after, snapshot.alert_before)
    return begin, min(begin + limit, snapshot.alert_after)


def _as_snapshot(row: tuple[Any, ...]) -> StagedSnapshot:
    values = dict(zip(SNAPSHOT_COLUMNS, row, strict=True))
    counts = Counts(**{name: values.pop(name) for name in COUNT_COLUMNS})
    return StagedSnapshot(**values | {"inventory": Inventory(values["inventory"]), "counts": counts})
