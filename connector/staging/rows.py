"""What a staging writes: the snapshot's row, its numbered changes, and the inventory as they leave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector import __version__
from connector.clock import milliseconds_of
from connector.diff import changes
from connector.diff.engines import Comparer
from connector.diff.guard import Verdict
from connector.diff.tables import Difference, Outcome, Relation, Workspace
from connector.exports.fields import Export, columns_of
from connector.exports.identity import event_id_expression, event_namespace
from connector.model import CHANGE_COUNTS, ChangeType, Counts, Position, Snapshot, StagedSnapshot
from connector.staging import audit, support
from connector.state.journal import SNAPSHOT_COLUMNS, as_row
from connector.state.sql import Database, literal


@dataclass(frozen=True, slots=True)
class StagingContext:
    """The circumstances of one staging.

    Attributes:
        started_at: when the poll began.
        staged_at: when the changes are staged; becomes their `emittedAt`.
        rejected: lines of the snapshot that could not be read and were set aside.
        beside: a snapshot of the other inventory, fetched in the same poll and not staged yet.
        comparer: who compares the snapshot with the inventory.
    """

    started_at: datetime
    staged_at: datetime
    comparer: Comparer
    rejected: int = 0
    beside: Snapshot | None = None


def snapshot_row(
    snapshot: Snapshot,
    previous: StagedSnapshot | None,
    position: Position,
    context: StagingContext,
    outcome: tuple[Difference, Verdict, Mapping[str, int], int],
) -> StagedSnapshot:
    """The row of a snapshot, before its alerts are counted."""
    difference, verdict, types, stored = outcome
    kinds = (ChangeType.BASELINE, ChangeType.ADDED, ChangeType.REMOVED)
    baselined, added, removed = (types.get(kind, 0) for kind in kinds)
    counts = Counts(
        records=difference.records,
        devices=difference.devices,
        stored=difference.records if previous is None else stored + baselined + added - removed,
        **{name: types.get(kind, 0) for kind, name in CHANGE_COUNTS.items()},
        held=verdict.held,
        duplicates=difference.duplicates,
        rejected=context.rejected,
    )
    return StagedSnapshot(
        snapshot_no=position.last_snapshot + 1,
        epoch=position.epoch,
        inventory=snapshot.inventory,
        snapshot_id=snapshot.snapshot_id,
        previous_snapshot_id=previous.snapshot_id if previous else None,
        method=snapshot.method.value,
        generated_at=milliseconds_of(snapshot.generated_at),
        generation_known=snapshot.generation_known,
        content_digest=snapshot.content_digest,
        started_at=milliseconds_of(context.started_at),
        staged_at=milliseconds_of(context.staged_at),
        baseline=previous is None,
        counts=counts,
        **numbers_after(position, counts.changes),
        hold_reason=verdict.reason,
        connector_version=__version__,
    )


def numbers_after(position: Position, changes: int) -> dict[str, Any]:
    """The columns of a row of `snapshots` that number its changes, before its alerts are counted."""
    return {
        "alert_after": position.last_alert,
        "first_sequence": position.last_sequence + 1 if changes else None,
        "last_sequence": position.last_sequence + changes if changes else None,
        "sequence_after": position.last_sequence + changes,
    }


def write_changes(
    workspace: Workspace, outcome: Outcome, row: StagedSnapshot, tenant_id: str, *, current: Relation
) -> None:
    """Number the staged changes, and append them to the journal with the records before and after.

    The order is per device, product by product, removals first. `current` holds the records that arrived.
    """
    if not row.counts.changes:
        return
    export = workspace.export
    _complete_earlier(workspace, outcome)
    keys = [field.column for field in export.keys]
    workspace.database.rows(
        f"""
        WITH numbered AS ({_numbered(export, outcome.staged)}),
        described AS ({_described(export, current, outcome.difference.earlier)})
        INSERT INTO changes (
            sequence, epoch, snapshot_no, event_id, change_type, reason, changed_fields, is_end_of_support,
            {export.columns}, before
        )
        SELECT sequence,
               $epoch,
               $number,
               {event_id_expression("$tenant", "$snapshot", "change_type", "$inventory", *keys)},
               change_type,
               reason,
               changed_fields,
               {support.has_ended("end_of_support_status")},
               {export.columns},
               before
        FROM described
        ORDER BY sequence
        """,
        {
            "before": row.sequence_after - row.counts.changes,
            "tenant": tenant_id,
            "snapshot": row.snapshot_id,
            "inventory": row.inventory.value,
            "epoch": row.epoch,
            "number": row.snapshot_no,
            "namespace": event_namespace(),
        },
    )


def _numbered(export: Export, staged: Relation) -> str:
    """A SELECT of the staged changes with their sequence numbers."""
    version = f", {export.version_column}" if export.version_column else ""
    return f"""
            SELECT $before + row_number() OVER (
                       ORDER BY {export.column(export.device)},
                                {columns_of(export.product)},
                                change_type <> {literal(ChangeType.REMOVED)}{version}
                   ) AS sequence,
                   s.*
            FROM {staged} s
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
    """


def _described(export: Export, current: Relation, earlier: Relation) -> str:
    """A SELECT of the `numbered` changes with the record each is about, and what a CHANGED one was before."""
    removed = f"n.change_type = {literal(ChangeType.REMOVED)}"
    changed = f"n.change_type = {literal(ChangeType.CHANGED)}"
    record = ",\n                   ".join(
        f"CASE WHEN {removed} THEN b.{field.column} ELSE c.{field.column} END AS {field.column}"
        for field in export.fields
    )
    before = ", ".join(f'"{field.name}": b.{field.column}' for field in export.fields)
    values = {field.name: (f"b.{field.column}", f"c.{field.column}") for field in export.fields}
    return f"""
            SELECT n.sequence,
                   n.change_type,
                   n.reason,
                   {record},
                   CASE WHEN {changed} THEN {changes.changed_fields(values)} ELSE []::VARCHAR[] END
                       AS changed_fields,
                   CASE WHEN {changed} THEN {{{before}}} END AS before
            FROM numbered n
            LEFT JOIN {current} c USING (device_no, software_no)
            LEFT JOIN {earlier} b ON b.previous_row = n.previous_row
    """


def _complete_earlier(workspace: Workspace, outcome: Outcome) -> None:
    """Fetch the stored records of staged changes that `earlier` does not have yet."""
    earlier = outcome.difference.earlier
    unknown = f"{outcome.staged} ANTI JOIN {earlier} USING (previous_row) WHERE previous_row IS NOT NULL"
    if workspace.count(unknown):
        workspace.database.rows(
            f"""
            WITH wanted AS (SELECT previous_row FROM {unknown})
            INSERT INTO {earlier}
            SELECT *
            FROM {workspace.stored_among("wanted")}
            """
        )


def write_inventory(workspace: Workspace, outcome: Outcome) -> None:
    """Make the inventory what the changes say: removed and changed records go, those that arrived come."""
    database, difference = workspace.database, outcome.difference
    attributes = workspace.export.attribute_columns
    audit.note(
        workspace,
        removed=f"{difference.earlier} SEMI JOIN ({outcome.leaving}) USING (previous_row)",
        added=difference.arrivals,
    )
    database.rows(f"DELETE FROM inventory WHERE rowid IN ({outcome.leaving})")
    # What means the same as before and is written another way now.
    database.rows(
        f"""
        UPDATE inventory
        SET digest = r.digest, line_1 = NULL, line_2 = NULL
        FROM {difference.rewritten} r
        WHERE inventory.rowid = r.previous_row
        """
    )
    database.rows(
        f"""
        INSERT INTO inventory (inventory, device_no, software_no, digest, {attributes})
        SELECT {literal(workspace.inventory)}, device_no, software_no, digest, {attributes}
        FROM {difference.arrivals}
        ORDER BY device_no, software_no
        """
    )


def write_snapshot(database: Database, row: StagedSnapshot) -> StagedSnapshot:
    """Append the row to `snapshots`, and move the position to it. Returns the row."""
    insert_snapshot(database, row)
    database.rows(
        "UPDATE position SET last_snapshot = $1, last_sequence = $2, last_alert = $3",
        [row.snapshot_no, row.sequence_after, row.alert_after],
    )
    return row


def insert_snapshot(database: Database, row: StagedSnapshot) -> None:
    """Append a row to `snapshots`."""
    placeholders = ", ".join(f"${number}" for number in range(1, len(SNAPSHOT_COLUMNS) + 1))
    database.rows(f"INSERT INTO snapshots ({', '.join(SNAPSHOT_COLUMNS)}) VALUES ({placeholders})", as_row(row))
