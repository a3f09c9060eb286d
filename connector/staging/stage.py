"""Staging: everything that one snapshot changes in the state file, worked out inside one transaction.

Owns the order of it and what is written to `inventory`, `changes`, `snapshots` and `position`. What counts as a
difference is `diff`'s to say, which removals are believed `guard`'s, what raises an alert `alerts`'; the transaction
itself is `state`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from connector import __version__
from connector.clock import milliseconds_of
from connector.diff import changes, compare, guard, transfers
from connector.diff.compare import Comparison
from connector.diff.guard import GuardRules, Verdict
from connector.diff.scan import ATTRIBUTE_COLUMNS, COLUMNS, KEY_COLUMNS, stored_digest
from connector.errors import SnapshotIncomplete, StateError, StateFull
from connector.exports.fields import END_OF_SUPPORT_STATUSES, FIELDS, Field
from connector.exports.identity import event_id_expression, event_namespace
from connector.model import ChangeType, Inventory, Snapshot
from connector.staging import alerts, audit, first_seen, inventory_topic
from connector.staging.alerts import AlertRules
from connector.staging.audit import stored_records
from connector.state import journal
from connector.state.journal import SNAPSHOT_COLUMNS, Position, StagedSnapshot
from connector.state.meta import remember, remembered
from connector.state.sql import Database, literal

_APPROVED: Final = "-approved-"
_DATED: Final = "-dated-"


@dataclass(frozen=True, slots=True)
class StagingRules:
    """What staging needs of the configuration: `[diff]`, `[guard]`, `[alerts]` and `state.max_pending`."""

    tenant_id: str
    guard: GuardRules
    emit_baseline: bool = False
    pair_versions: bool = True
    ignore_fields: frozenset[str] = frozenset()
    max_pending: int = 50_000_000
    alerts: AlertRules = field(default_factory=AlertRules)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Circumstances of one staging.

    Attributes:
        started_at: when the poll began.
        staged_at: when the changes are staged; becomes their `emittedAt`.
        rejected: lines of the snapshot that could not be read and were set aside.
        engine: name and version of the engine, which digests depend on.
        stores: false for a dry run on an inventory that cannot be written.
        beside: a snapshot of the other inventory, fetched in the same poll and not staged yet.
    """

    started_at: datetime
    staged_at: datetime
    engine: str
    rejected: int = 0
    stores: bool = True
    beside: Snapshot | None = None


def check_room(position: Position, rules: StagingRules) -> None:
    """Refuse to take more in than may wait for Kafka.

    Raises:
        StateFull: `state.max_pending` is reached.
    """
    if position.pending >= rules.max_pending:
        raise StateFull(
            f"{position.pending:,} changes wait for Kafka, and state.max_pending is {rules.max_pending:,}",
            hint="Nothing is dropped; polls go on once Kafka has taken the backlog. See `mde-inventory status`.",
        )


def stage(database: Database, snapshot: Snapshot, rules: StagingRules, occasion: Occasion) -> StagedSnapshot:
    """Compare a snapshot with the inventory and write what changed. See `State.stage`."""
    inventory = snapshot.inventory
    position = journal.position(database)
    previous = journal.latest_snapshot(database, inventory)
    tracked = changes.tracked_fields(rules.ignore_fields)
    _check_tenant(database, rules.tenant_id)
    compare.check_readable(snapshot)
    if occasion.stores:
        refresh_digests(database, tracked, occasion.engine)
    if previous is None:
        found, verdict, stored = compare.take_baseline(database, snapshot, tracked=tracked), Verdict(), 0
        changes.stage_baseline(database, inventory, emit=rules.emit_baseline)
        if rules.emit_baseline and position.last_snapshot == position.epoch_snapshot:
            inventory_topic.begin_epoch(database, position.epoch)
    else:
        stored = _check_emptiness(database, snapshot)
        known = _known_fields(database, inventory, tracked)
        found = compare.compare(database, snapshot, tracked=tracked, known=known)
        verdict = _stage_changes(database, inventory, rules, snapshot_no=position.last_snapshot + 1, occasion=occasion)
    row = _snapshot_row(snapshot, previous, position, occasion, (found, verdict, _counts(database), stored))
    current = stored_records(inventory) if previous is None else "arrivals"
    _write_changes(database, row, rules.tenant_id, current=current)
    first_seen.note(database, row)
    alerts.note_unknown_statuses(database, row)
    row = _with_alerts(database, row, rules)
    if previous is None:
        audit.count(database, inventory, occasion.engine)
    elif occasion.stores:
        _write_inventory(database, inventory, occasion.engine)
    if database.number("SELECT count(*) FROM quiet") or (previous is None and not rules.emit_baseline):
        inventory_topic.fall_behind(database, inventory)
    note_tracked(database, inventory, tracked)
    return _write_snapshot(database, row)


def approve(database: Database, inventory: Inventory, rules: StagingRules, occasion: Occasion) -> StagedSnapshot | None:
    """Stage what the guard holds of an inventory as REMOVED, reason APPROVED; None where it holds nothing.

    It becomes a snapshot of its own, so that it is published, sealed and numbered as any other: with the generation of
    the snapshot before it, whose id its own begins with.
    """
    position = journal.position(database)
    previous = journal.latest_snapshot(database, inventory)
    removed = guard.approve_holds(database, inventory)
    if previous is None or not removed:
        return None
    row = _following_row(previous, position, occasion, f"{_APPROVED}{position.last_snapshot + 1}", removed=removed)
    compare.expect_nothing(database, inventory)
    _write_changes(database, row, rules.tenant_id, current="arrivals")
    row = _with_alerts(database, row, rules)
    _write_inventory(database, inventory, occasion.engine)
    return _write_snapshot(database, row)


def stage_due_alerts(
    database: Database, inventory: Inventory, rules: StagingRules, occasion: Occasion
) -> StagedSnapshot | None:
    """Stage the alerts that the date alone raises, where no snapshot came; None where there are none.

    They become a snapshot of their own, as an approval does, so that they are published, sealed and numbered as any.
    """
    previous = journal.latest_snapshot(database, inventory)
    if previous is None or not alerts.is_due(database, inventory, rules.alerts, occasion.staged_at):
        return None
    suffix = f"{_DATED}{occasion.staged_at.astimezone(UTC):%Y%m%d}"
    row = _following_row(previous, journal.position(database), occasion, suffix, removed=0)
    compare.expect_nothing(database, inventory)
    database.rows("CREATE OR REPLACE TEMP TABLE staged AS SELECT previous_row FROM quiet")
    row = _with_alerts(database, row, rules)
    return _write_snapshot(database, row) if row.alerts else None


def _with_alerts(database: Database, row: StagedSnapshot, rules: StagingRules) -> StagedSnapshot:
    """Stage the alerts of a snapshot whose changes are written. Returns its row with their number."""
    raised = alerts.stage(database, row, rules.alerts, rules.tenant_id)
    return replace(row, alerts=raised, alert_after=row.alert_after + raised)


def _following_row(
    previous: StagedSnapshot, position: Position, occasion: Occasion, suffix: str, *, removed: int
) -> StagedSnapshot:
    """A row that no export stands for: of the generation before it, whose id its own begins with."""
    origin = previous.snapshot_id.split(_APPROVED)[0].split(_DATED)[0]
    return replace(
        previous,
        snapshot_no=position.last_snapshot + 1,
        snapshot_id=f"{origin}{suffix}",
        previous_snapshot_id=previous.snapshot_id,
        started_at=milliseconds_of(occasion.started_at),
        staged_at=milliseconds_of(occasion.staged_at),
        baseline=False,
        stored=previous.stored - removed,
        **_changes(position, {ChangeType.REMOVED: removed} if removed else {}),
        held=0,
        hold_reason=None,
        duplicates=0,
        rejected=0,
        connector_version=__version__,
    )


def _stage_changes(
    database: Database, inventory: Inventory, rules: StagingRules, *, snapshot_no: int, occasion: Occasion
) -> Verdict:
    """Fill `staged`: what arrived, and what the guard believes to be gone."""
    transfers.find_moves(database, inventory, beside=occasion.beside)
    changes.pair_versions(database, inventory, believed=not occasion.rejected)
    changes.stage_arrivals(database, inventory, paired=rules.pair_versions)
    verdict = guard.judge(database, inventory, rules=rules.guard, snapshot_no=snapshot_no, rejected=occasion.rejected)
    database.rows(
        "INSERT INTO staged SELECT device_no, software_no, previous_row,"
        f" {literal(ChangeType.REMOVED)}, reason FROM removals"
    )
    return verdict


def _snapshot_row(
    snapshot: Snapshot,
    previous: StagedSnapshot | None,
    position: Position,
    occasion: Occasion,
    outcome: tuple[Comparison, Verdict, Mapping[str, int], int],
) -> StagedSnapshot:
    found, verdict, counts, stored = outcome
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
        started_at=milliseconds_of(occasion.started_at),
        staged_at=milliseconds_of(occasion.staged_at),
        baseline=previous is None,
        records=found.records,
        devices=found.devices,
        stored=stored + counts.get(ChangeType.ADDED, 0) - counts.get(ChangeType.REMOVED, 0)
        if previous
        else found.records,
        **_changes(position, counts),
        held=verdict.held,
        hold_reason=verdict.reason,
        duplicates=found.duplicates,
        rejected=occasion.rejected,
        connector_version=__version__,
    )


def _changes(position: Position, counts: Mapping[str, int]) -> dict[str, Any]:
    """What a row of `snapshots` says about its changes."""
    total = sum(counts.values())
    return {
        "added": counts.get(ChangeType.ADDED, 0),
        "removed": counts.get(ChangeType.REMOVED, 0),
        "changed": counts.get(ChangeType.CHANGED, 0),
        "baselined": counts.get(ChangeType.BASELINE, 0),
        "alerts": 0,
        "alert_after": position.last_alert,
        "first_sequence": position.last_sequence + 1 if total else None,
        "last_sequence": position.last_sequence + total if total else None,
        "sequence_after": position.last_sequence + total,
    }


def _counts(database: Database) -> dict[str, int]:
    return dict(database.rows("SELECT change_type, count(*) FROM staged GROUP BY change_type"))


def _check_tenant(database: Database, tenant_id: str) -> None:
    known = remembered(database, "tenant_id")
    if known is None:
        remember(database, "tenant_id", tenant_id)
    elif known != tenant_id:
        raise StateError(
            f"the state file holds the inventory of tenant {known}, not of {tenant_id}",
            hint="Give every tenant a state file of its own (state.path).",
        )


def _check_emptiness(database: Database, snapshot: Snapshot) -> int:
    """The number of stored records. An empty snapshot is refused where there are any."""
    stored = database.number("SELECT count(*) FROM inventory WHERE inventory = $1", [snapshot.inventory.value])
    if stored and not snapshot.lines:
        raise SnapshotIncomplete(
            f"snapshot {snapshot.snapshot_id} has no records where the inventory has {stored}",
            hint="Nothing was staged. An empty export is a fault of the export or of its permissions, not news.",
        )
    return stored


def refresh_digests(database: Database, tracked: Collection[Field], engine: str) -> None:
    """Work out the stored digests anew where they were made by another engine or of other fields.

    An engine does not promise that its hash stays the same between versions. The comparison would be right all the
    same, since it compares values where digests differ; but every record would differ once, and that takes long.
    """
    expression = stored_digest(tracked)
    definition = f"{engine} {expression}"
    if remembered(database, "digest") != definition:
        # NULL marks a record that the snapshot had more than once, and stays.
        database.rows(f"UPDATE inventory SET digest = {expression} WHERE digest IS NOT NULL")
        remember(database, "digest", definition)


def note_tracked(database: Database, inventory: Inventory, tracked: Collection[Field]) -> None:
    """Remember the fields that an inventory was compared by."""
    remember(database, f"tracked {inventory}", " ".join(each.name for each in tracked))


def _known_fields(database: Database, inventory: Inventory, tracked: Collection[Field]) -> tuple[Field, ...]:
    """The fields that were tracked when this inventory was last compared: others are stale in it, or missing."""
    names = remembered(database, f"tracked {inventory}")
    return tuple(tracked) if names is None else tuple(each for each in tracked if each.name in names.split())


def _write_changes(database: Database, row: StagedSnapshot, tenant_id: str, *, current: str) -> None:
    """Number what is in `staged`, and append it to the journal with the records before and after.

    The order is per device, product by product, removals first. `current` is a FROM item with the records that arrived.
    """
    if not row.changes:
        return
    unknown = "FROM staged ANTI JOIN earlier USING (previous_row) WHERE previous_row IS NOT NULL"
    if database.number(f"SELECT count(*) {unknown}"):
        database.rows(
            f"INSERT INTO earlier SELECT * FROM {stored_records(row.inventory)}"
            f" SEMI JOIN (SELECT previous_row {unknown}) USING (previous_row)"
        )
    removed = f"n.change_type = {literal(ChangeType.REMOVED)}"
    changed = f"n.change_type = {literal(ChangeType.CHANGED)}"
    record = ", ".join(
        f"CASE WHEN {removed} THEN b.{each.column} ELSE c.{each.column} END AS {each.column}" for each in FIELDS
    )
    before = ", ".join(f'"{each.name}": b.{each.column}' for each in FIELDS)
    statuses = ", ".join(literal(status) for status in END_OF_SUPPORT_STATUSES)
    event_id = event_id_expression("$tenant", "$snapshot", "change_type", "$inventory", *KEY_COLUMNS.split(", "))
    database.rows(
        "WITH numbered AS (SELECT $before + row_number() OVER (ORDER BY device_id, software_vendor, software_name,"
        f"  change_type <> {literal(ChangeType.REMOVED)}, software_version) AS sequence, staged.*"
        "  FROM staged JOIN devices USING (device_no) JOIN software USING (software_no))"
        " INSERT INTO changes (sequence, epoch, snapshot_no, event_id, change_type, reason, changed_fields,"
        f" is_end_of_support, {COLUMNS}, before)"
        f" SELECT sequence, $epoch, $number, {event_id}, change_type, reason, changed_fields,"
        f" coalesce(end_of_support_status IN ({statuses}), false), {COLUMNS}, before FROM"
        f" (SELECT n.sequence, n.change_type, n.reason, {record},"
        f" CASE WHEN {changed} THEN {changes.changed_fields('b', 'c')} ELSE []::VARCHAR[] END AS changed_fields,"
        f" CASE WHEN {changed} THEN {{{before}}} END AS before FROM numbered n"
        f" LEFT JOIN {current} c USING (device_no, software_no)"
        " LEFT JOIN earlier b ON b.previous_row = n.previous_row) ORDER BY sequence",
        {
            "before": row.sequence_after - row.changes,
            "tenant": tenant_id,
            "snapshot": row.snapshot_id,
            "inventory": row.inventory.value,
            "epoch": row.epoch,
            "number": row.snapshot_no,
            "namespace": event_namespace(),
        },
    )


def _write_inventory(database: Database, inventory: Inventory, engine: str) -> None:
    """Make the inventory what the changes say: removed and changed records go, those that arrived come."""
    leaving = "SELECT previous_row FROM staged UNION ALL SELECT previous_row FROM quiet"
    audit.note(
        database,
        inventory,
        engine,
        removed=f"earlier SEMI JOIN ({leaving}) USING (previous_row)",
        added="arrivals",
    )
    database.rows(f"DELETE FROM inventory WHERE rowid IN ({leaving})")
    # What means the same as before and is written another way now.
    database.rows(
        "UPDATE inventory SET digest = rewritten.digest FROM rewritten WHERE inventory.rowid = rewritten.previous_row"
    )
    database.rows(
        f"INSERT INTO inventory (inventory, device_no, software_no, digest, {ATTRIBUTE_COLUMNS})"
        f" SELECT {literal(inventory)}, device_no, software_no, digest, {ATTRIBUTE_COLUMNS}"
        " FROM arrivals ORDER BY device_no, software_no"
    )


def _write_snapshot(database: Database, row: StagedSnapshot) -> StagedSnapshot:
    placeholders = ", ".join(f"${number}" for number in range(1, len(SNAPSHOT_COLUMNS) + 1))
    database.rows(
        f"INSERT INTO snapshots ({', '.join(SNAPSHOT_COLUMNS)}) VALUES ({placeholders})",
        [getattr(row, name) for name in SNAPSHOT_COLUMNS],
    )
    database.rows(
        "UPDATE position SET last_snapshot = $1, last_sequence = $2, last_alert = $3",
        [row.snapshot_no, row.sequence_after, row.alert_after],
    )
    return row
