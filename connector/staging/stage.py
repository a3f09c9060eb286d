"""Staging: everything that one snapshot changes in the state file, in one transaction.

    compare    the snapshot with the inventory: what arrived, what is absent (`diff`)
    judge      which removals are believed, which are held (`diff.guard`)
    number     the changes, and append them to the journal (`rows`)
    alert      end-of-support alerts of those changes and of the calendar (`alerts`)
    store      the inventory as the changes say it is (`rows`)

Everything that an event needs is frozen here: publishing later, or again, yields the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from connector.diff import changes, compare, guard, transfers
from connector.diff.guard import GuardRules, Verdict
from connector.diff.scan import stored_digest
from connector.errors import SnapshotIncomplete, StateError, StateFull
from connector.exports.fields import Field
from connector.model import ChangeType, Inventory, Position, Snapshot, StagedSnapshot
from connector.staging import alerts, audit, first_seen, inventory_topic, rows
from connector.staging.alerts import AlertRules
from connector.staging.rows import StagingContext
from connector.state import engine, file
from connector.state.meta import recall, remember
from connector.state.sql import Database, literal, stored_records
from connector.state.state import StateFile

BASELINE_DISK_SHARE: Final = 0.5
"""Free disk space asked for before a first snapshot is staged, as a share of its decompressed size."""

SNAPSHOT_DISK_SHARE: Final = 0.1
"""The same for later snapshots."""


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


def stage_snapshot(  # noqa: PLR0913 - what a poll knows of a snapshot, each named at the one call
    state: StateFile,
    snapshot: Snapshot,
    rules: StagingRules,
    *,
    started_at: datetime,
    now: datetime,
    rejected: int = 0,
    beside: Snapshot | None = None,
    keep: bool = True,
) -> StagedSnapshot:
    """Compare a snapshot with the inventory and store what changed: all of it in one transaction, or nothing.

    Args:
        state: the open file.
        snapshot: complete and verified.
        rules: the configuration's part in it.
        started_at: when the poll began.
        now: when the changes are staged; becomes their `emittedAt`.
        rejected: lines of the snapshot that could not be read and were set aside, if more than its parts count.
        beside: a snapshot of the other inventory that is staged next: what moved there is not removed here.
        keep: false: the result is computed and rolled back. In a scratch state it stays in memory all the same, where
            `Journal.changes` reads it; the inventory is left as it was.

    Raises:
        SnapshotIncomplete: the snapshot is empty where the inventory is not, or its files changed.
        SourceMalformed: a line cannot be read, or has no device; `lines.repair` and stage again.
        StateFull: `max_pending` would be exceeded, or the disk is full.
    """
    check_room(state.journal.position(), rules)
    previous = state.journal.latest_snapshot(snapshot.inventory)
    if not state.scratch:
        share = SNAPSHOT_DISK_SHARE if previous else BASELINE_DISK_SHARE
        file.check_free(state.path, int(snapshot.size_bytes * share))
    elif previous is None:
        # A baseline is written as a whole; the file's own table is only read, and this one is found first.
        state.database.rows("CREATE TABLE IF NOT EXISTS memory.inventory AS SELECT * FROM inventory WHERE false")
    context = StagingContext(
        started_at,
        now,
        rejected=max(rejected, snapshot.rejected),
        stores=not state.scratch,
        beside=beside,
    )
    reads = [part.path for read in (snapshot, beside) if read for part in read.parts]
    with state.transaction(keep=keep or state.scratch, reads=reads):
        return _stage(state, snapshot, rules, context)


def _stage(state: StateFile, snapshot: Snapshot, rules: StagingRules, context: StagingContext) -> StagedSnapshot:
    """The steps of `stage_snapshot`, inside its transaction."""
    database, inventory = state.database, snapshot.inventory
    position = state.journal.position()
    previous = state.journal.latest_snapshot(inventory)
    tracked = changes.tracked_fields(rules.ignore_fields)
    _check_tenant(database, rules.tenant_id)
    compare.check_readable(snapshot)
    if context.stores:
        refresh_digests(database, tracked)
    if previous is None:
        comparison, verdict, stored = compare.take_baseline(database, snapshot, tracked=tracked), Verdict(), 0
        changes.stage_baseline(database, inventory, emit=rules.emit_baseline)
        if rules.emit_baseline and position.last_snapshot == position.epoch_snapshot:
            inventory_topic.begin_epoch(database, position.epoch)
    else:
        stored = _check_emptiness(database, snapshot)
        known = _known_fields(database, inventory, tracked)
        comparison = compare.compare(database, snapshot, tracked=tracked, known=known)
        verdict = _stage_changes(database, inventory, rules, snapshot_no=position.last_snapshot + 1, context=context)
    row = rows.snapshot_row(snapshot, previous, position, context, (comparison, verdict, _counts(database), stored))
    current = stored_records(inventory) if previous is None else "arrivals"
    rows.write_changes(database, row, rules.tenant_id, current=current)
    first_seen.note(database, row)
    alerts.note_unknown_statuses(database, row)
    row = alerts.stage(database, row, rules.alerts, rules.tenant_id)
    if previous is None:
        audit.count(database, inventory)
    elif context.stores:
        rows.write_inventory(database, inventory)
    if database.number("SELECT count(*) FROM quiet") or (previous is None and not rules.emit_baseline):
        inventory_topic.fall_behind(database, inventory)
    note_tracked(database, inventory, tracked)
    return rows.write_snapshot(database, row)


def _stage_changes(
    database: Database, inventory: Inventory, rules: StagingRules, *, snapshot_no: int, context: StagingContext
) -> Verdict:
    """Fill `staged`: what arrived, and what the guard believes to be gone."""
    transfers.find_moves(database, inventory, beside=context.beside)
    changes.pair_versions(database, inventory, believed=not context.rejected)
    changes.stage_arrivals(database, inventory, paired=rules.pair_versions)
    verdict = guard.judge(database, inventory, rules=rules.guard, snapshot_no=snapshot_no, rejected=context.rejected)
    database.rows(
        "INSERT INTO staged SELECT device_no, software_no, previous_row,"
        f" {literal(ChangeType.REMOVED)}, reason FROM removals"
    )
    return verdict


def _counts(database: Database) -> dict[str, int]:
    return dict(database.rows("SELECT change_type, count(*) FROM staged GROUP BY change_type"))


def _check_tenant(database: Database, tenant_id: str) -> None:
    known = recall(database, "tenant_id")
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


def refresh_digests(database: Database, tracked: Collection[Field]) -> None:
    """Recompute the stored digests where another engine made them, or from other fields.

    An engine does not promise that its hash stays the same between versions. The comparison would be right all the
    same, since it compares values where digests differ; but every record would differ once, and that takes long.
    """
    expression = stored_digest(tracked)
    definition = f"{engine.NAME} {expression}"
    if recall(database, "digest") != definition:
        # NULL marks a record that the snapshot had more than once, and stays.
        database.rows(f"UPDATE inventory SET digest = {expression} WHERE digest IS NOT NULL")
        remember(database, "digest", definition)


def note_tracked(database: Database, inventory: Inventory, tracked: Collection[Field]) -> None:
    """Remember the fields that an inventory was compared by."""
    remember(database, f"tracked {inventory}", " ".join(each.name for each in tracked))


def _known_fields(database: Database, inventory: Inventory, tracked: Collection[Field]) -> tuple[Field, ...]:
    """The fields that were tracked when this inventory was last compared: others are stale in it, or missing."""
    names = recall(database, f"tracked {inventory}")
    return tuple(tracked) if names is None else tuple(each for each in tracked if each.name in names.split())
