"""The state file: inventory, changes (outbox and journal), snapshots, and how far Kafka has confirmed them.

Owns the file and its transactions: what is done inside them is written down in `staging`, `guard`, `journal`, `upkeep`,
`audit`, `history` and `migrations`, and runs on `engine`. Must not fetch, encode or publish.

Open it for a poll, not for the life of a daemon: one process holds the file, and other commands wait or say so. Sets
are deleted and inserted, never upserted, and every staged snapshot ends in a CHECKPOINT.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from connector.diff import guard, transfers
from connector.diff.guard import GuardRules
from connector.errors import StateCorrupt, StateError
from connector.exports.fields import FIELDS, KEY_FIELDS
from connector.history.query import History
from connector.model import Checkpoint, Inventory, Snapshot
from connector.staging import audit, maintenance, stage
from connector.staging.inventory_topic import Mirror
from connector.staging.stage import Occasion, StagingRules
from connector.state import engine, file, journal, meta
from connector.state.engine import Engine
from connector.state.journal import Hold, Position, StagedSnapshot
from connector.state.reconcile import Standing, standing, stop_unless_fine
from connector.state.schema import migrate

__all__ = ["GuardRules", "Hold", "Position", "StagedSnapshot", "StagingRules", "State"]

FETCH_ROWS: Final = 2_000
"""Changes that are Python objects at a time while a batch is read."""

BASELINE_DISK_SHARE: Final = 0.5
"""Free disk space asked for before a first snapshot is staged, as a share of its decompressed size."""

SNAPSHOT_DISK_SHARE: Final = 0.1
"""The same for later snapshots."""

SCRATCH_TABLES: Final = (
    "meta", "position", "devices", "software", "contents", "missing_devices", "held", "snapshots", "first_seen",
    "crossings",
)  # fmt: skip
"""What a scratch state copies into memory; the inventory is read where it is."""


class State:
    """The open state file. Use `State.open`, as a context manager."""

    def __init__(self, opened: Engine, path: Path, *, scratch: bool) -> None:
        self._engine = opened
        self._path = path
        self._scratch = scratch

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        memory_limit_mib: int = 1024,
        threads: int = 0,
        read_only: bool = False,
        scratch: bool = False,
        wait_seconds: float = 0.0,
    ) -> Self:
        """Open the file, making it (mode 0600) where it is missing, and bring its schema up to date.

        Args:
            path: the file.
            memory_limit_mib: memory of a comparison.
            threads: of a comparison; 0: one for each core.
            read_only: nothing is written; several processes may read at once.
            scratch: for a dry run. The file is only read; what is staged goes to memory and is gone on `close`.
                Without a file the inventory is empty, and none is made.
            wait_seconds: how long to wait for another process to let go of the file.

        Raises:
            StateLocked: another process has it open, or this one has.
            StateCorrupt: not a state file, damaged, or a symbolic link.
            StateVersionUnknown: written by a newer connector.
            StateError: the folder or the file cannot be used, or is on a network file system.
        """
        exists = file.check_place(path)
        if read_only and not exists:
            raise StateError(f"{path} does not exist", hint="Run `mde-inventory poll` once, or check state.path.")
        options: dict[str, Any] = {"memory_limit_mib": memory_limit_mib, "threads": threads}
        if not exists and not scratch:
            _make(path, options)
        opened = Engine.open(path, **options, read_only=read_only, scratch=scratch, wait_seconds=wait_seconds)
        try:
            if scratch:
                _copy(opened, path, exists=exists)
            else:
                migrate(opened, path, fresh=False, read_only=read_only)
        except BaseException:
            opened.close()
            raise
        return cls(opened, path, scratch=scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; other processes may open it then."""
        self._engine.close()

    # ---- reading

    def position(self) -> Position:
        """Where the file is."""
        return journal.position(self._engine)

    def tenant_id(self) -> str | None:
        """The tenant whose inventory the file holds; None before the first snapshot."""
        return self.recall("tenant_id")

    def recall(self, name: str) -> str | None:
        """What `remember` kept under a name."""
        return meta.remembered(self._engine, name)

    def is_staged(self, snapshot_id: str, *, epoch: int) -> bool:
        """Whether a snapshot of that id was staged in an epoch, as far back as the journal goes."""
        return bool(journal.snapshots(self._engine, "snapshot_id = $1 AND epoch = $2", [snapshot_id, epoch]))

    def latest_snapshot(self, inventory: Inventory) -> StagedSnapshot | None:
        """The newest staged snapshot of an inventory in this epoch."""
        return journal.latest_snapshot(self._engine, inventory)

    def recent_snapshots(self, limit: int) -> list[StagedSnapshot]:
        """The newest staged snapshots, newest first."""
        return journal.snapshots(self._engine, "true ORDER BY snapshot_no DESC LIMIT $1", [limit])

    def unsealed_snapshots(self) -> list[StagedSnapshot]:
        """Staged snapshots that Kafka has not sealed yet, oldest first."""
        return journal.snapshots(
            self._engine, "snapshot_no > (SELECT published_snapshot FROM position) ORDER BY snapshot_no"
        )

    def sealed_snapshot(self) -> StagedSnapshot | None:
        """The last snapshot of this epoch that Kafka has sealed."""
        position = self.position()
        found = journal.numbered_snapshot(self._engine, position.published_snapshot)
        return found if found is not None and found.epoch == position.epoch else None

    def mirror(self) -> Mirror:
        """How far the inventory topic mirrors the inventory."""
        return Mirror(self._engine)

    def changes(self, snapshot: StagedSnapshot, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Changes of a snapshot beyond sequence `after`, at most `limit`, in order, as `SoftwareChange` mappings."""
        tenant_id = self.tenant_id()
        begin = max(after, (snapshot.first_sequence or 1) - 1)
        end = min(begin + limit, snapshot.last_sequence or 0)
        for block in self._engine.blocks(journal.CHANGES, [snapshot.epoch, begin, end], FETCH_ROWS):
            yield from journal.as_changes(block, snapshot, tenant_id)

    def alerts(self, snapshot: StagedSnapshot, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Alerts of a snapshot beyond number `after`, at most `limit`, in order, as `EndOfSupportAlert` mappings."""
        tenant_id = self.tenant_id()
        begin = max(after, snapshot.alert_before)
        end = min(begin + limit, snapshot.alert_after)
        if begin < end:
            for block in self._engine.blocks(journal.ALERTS, [snapshot.epoch, begin, end], FETCH_ROWS):
                yield from journal.as_alerts(block, snapshot, tenant_id)

    def alert_upto(self, snapshot: StagedSnapshot, sequence: int) -> int:
        """The number of the last alert of a snapshot that a change up to a sequence raised, or of the last before."""
        return journal.alert_upto(self._engine, snapshot, sequence)

    def alert_types(self, snapshot: StagedSnapshot) -> dict[str, int]:
        """How many alerts of each type a snapshot has, where it has any."""
        return journal.alert_types(self._engine, snapshot) if snapshot.alerts else {}

    @property
    def history(self) -> History:
        """Past changes and alerts."""
        return History(self._engine, self.tenant_id())

    def holds(self) -> list[Hold]:
        """What the guard holds: a row for each inventory, reason and snapshot since which it does, oldest first."""
        return journal.holds(self._engine)

    def held_count(self, inventory: Inventory | None = None) -> int:
        """Records whose removal is held, in one inventory or in both."""
        which = [found.value for found in ([inventory] if inventory else Inventory)]
        return self._engine.number("SELECT count(*) FROM held WHERE inventory IN (SELECT unnest($1))", [which])

    def missing_devices(self) -> int:
        """Devices that the last snapshots lack, and whose software is still in the inventory."""
        return self._engine.number(
            "SELECT count(DISTINCT (inventory, device_no)) FROM inventory SEMI JOIN missing_devices"
            " USING (inventory, device_no)"
        )

    def inventory_count(self, inventory: Inventory) -> int:
        """Records in an inventory."""
        return self._engine.number("SELECT count(*) FROM inventory WHERE inventory = $1", [inventory.value])

    def records(self, inventory: Inventory) -> list[dict[str, Any]]:
        """An inventory's records with the names of `SoftwareRecord`, ordered by key: for inventories that fit."""
        columns, order = (", ".join(field.column for field in fields) for fields in (FIELDS, KEY_FIELDS))
        found = self._engine.rows(f"SELECT {columns} FROM {audit.stored_records(inventory)} ORDER BY {order}")
        return [dict(zip((field.name for field in FIELDS), row, strict=True)) for row in found]

    def verify(self) -> list[str]:
        """Count the inventory and work out its digest anew. Returns what is not as it was noted, in words."""
        return audit.problems(self._engine, engine.NAME)

    def export(self, path: Path) -> int:
        """Write the inventory to a new file; `.parquet`, `.ndjson` or `.csv`. Returns the number of records."""
        return maintenance.export(self._engine, path)

    # ---- what Kafka confirmed

    def compare(self, checkpoint: Checkpoint | None) -> Standing:
        """How Kafka's checkpoint stands to the file. Writes nothing.

        Raises:
            StateBehindCheckpoint: the checkpoint is ahead of the file.
            CheckpointLost: the checkpoint is behind what the file knows as published, or gone.
            StateError: the checkpoint belongs to another file.
        """
        position = self.position()
        sealed, unsealed = (
            (journal.numbered_snapshot(self._engine, checkpoint.sealed + more) if checkpoint else None)
            for more in (0, 1)
        )
        alert_upto = self.alert_upto(unsealed, checkpoint.sequence) if checkpoint and unsealed else 0
        found = standing(
            position,
            checkpoint,
            tenant_id=self.tenant_id(),
            sealed=sealed,
            unsealed=unsealed,
            alert_upto=alert_upto,
        )
        stop_unless_fine(found, position, checkpoint, self._path)
        return found

    def reconcile(self, checkpoint: Checkpoint | None) -> Position:
        """Bring the file in line with Kafka's checkpoint. Returns the position to publish from. Raises as `compare`."""
        if self.compare(checkpoint) is Standing.WITHIN and checkpoint is not None:
            self.confirm(checkpoint)
        return self.position()

    def confirm(self, checkpoint: Checkpoint) -> None:
        """Note that Kafka has committed everything up to a checkpoint."""
        journal.confirm(self._engine, checkpoint)

    def remember(self, name: str, value: str | None) -> None:
        """Keep a small text under a name, in place of what was there; None: nothing any more."""
        if self.recall(name) == value:
            return
        with self._engine.transaction():
            if value is None:
                meta.forget(self._engine, name)
            else:
                meta.remember(self._engine, name, value)

    # ---- staging

    def check_room(self, rules: StagingRules) -> None:
        """Refuse to take more in than may wait for Kafka. Raises StateFull."""
        stage.check_room(self.position(), rules)

    def stage(
        self,
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
            snapshot: complete and verified.
            rules: the configuration's part in it.
            started_at: when the poll began.
            now: when the changes are staged; becomes their `emittedAt`.
            rejected: lines of the snapshot that could not be read and were set aside, if more than its parts tell.
            beside: a snapshot of the other inventory that is staged next: what moved there is not removed here.
            keep: false: the result is worked out and thrown away. In a scratch state it stays in memory all the same,
                where `changes` reads it; the inventory is left as it was.

        Raises:
            SnapshotIncomplete: the snapshot is empty where the inventory is not, or its files changed.
            SourceMalformed: a line cannot be read, or has no device; `lines.repair` and stage again.
            StateFull: `max_pending` would be exceeded, or the disk is full.
        """
        self.check_room(rules)
        share = SNAPSHOT_DISK_SHARE if self.latest_snapshot(snapshot.inventory) else BASELINE_DISK_SHARE
        if not self._scratch:
            file.check_free(self._path, int(snapshot.size_bytes * share))
        elif self.latest_snapshot(snapshot.inventory) is None:
            # A baseline is written as a whole; the file's own table is only read, and this one is found first.
            self._engine.rows("CREATE TABLE IF NOT EXISTS memory.inventory AS SELECT * FROM inventory WHERE false")
        lines = max(rejected, snapshot.rejected)
        occasion = Occasion(started_at, now, engine.NAME, rejected=lines, stores=not self._scratch, beside=beside)
        reads = [part.path for each in (snapshot, beside) if each for part in each.parts]
        with self._engine.transaction(keep=keep or self._scratch, reads=reads):
            staged = stage.stage(self._engine, snapshot, rules, occasion)
        self._engine.checkpoint()
        return staged

    def approve_held(self, rules: StagingRules, *, now: datetime) -> list[StagedSnapshot]:
        """Stage everything that the guard holds as REMOVED, reason APPROVED: a snapshot of its own an inventory."""
        occasion = Occasion(now, now, engine.NAME)
        with self._engine.transaction():
            staged = [stage.approve(self._engine, inventory, rules, occasion) for inventory in Inventory]
        self._engine.checkpoint()
        return [snapshot for snapshot in staged if snapshot is not None]

    def stage_due_alerts(self, inventory: Inventory, rules: StagingRules, *, now: datetime) -> StagedSnapshot | None:
        """Stage the alerts that a new day brings without a new snapshot, as a snapshot of their own; None: no alert."""
        occasion = Occasion(now, now, engine.NAME, stores=not self._scratch)
        with self._engine.transaction():
            staged = stage.stage_due_alerts(self._engine, inventory, rules, occasion)
        if staged is not None:
            self._engine.checkpoint()
        return staged

    def discard_held(self) -> int:
        """Take what is held as missing data: nothing is removed, and the next snapshot is judged afresh.

        Returns the number of records that were held.
        """
        with self._engine.transaction():
            return sum(guard.discard_holds(self._engine, inventory) for inventory in Inventory)

    def rebaseline(self, checkpoint: Checkpoint | None = None) -> int:
        """Begin a new epoch: the next snapshot becomes the baseline. Returns the number of the epoch.

        Changes since the last snapshot are not published, nor is what is pending; it stays in the journal. Where Kafka
        can be asked, give its checkpoint: the new epoch is then beyond it.
        """
        with self._engine.transaction():
            epoch = maintenance.rebaseline(self._engine, checkpoint)
        self._engine.checkpoint()
        return epoch

    def retire(self, *, older_than: datetime) -> int:
        """Delete changes that Kafka has confirmed and that were staged before `older_than`, a bounded number.

        Returns how many; call it again while that is `journal.RETIRED_CHANGES_MAX`. Nothing pending is deleted.
        """
        if not journal.is_anything_retired(self._engine, older_than=older_than):
            return 0
        with self._engine.transaction():
            deleted = journal.retire(self._engine, older_than=older_than)
            maintenance.forget_unused_keys(self._engine)
        self._engine.checkpoint()
        return deleted


def _make(path: Path, options: dict[str, Any]) -> None:
    """Make an empty state file. It has its name only once it is whole, whenever the process may be stopped."""
    draft = file.draft_path(path)
    try:
        opened = Engine.open(draft, **options)
    except StateCorrupt:
        # A process was stopped as it made this one. A draft that another is making is locked, and refused.
        file.remove(draft)
        opened = Engine.open(draft, **options)
    try:
        migrate(opened, draft, fresh=False)
    finally:
        opened.close()
    file.put_in_place(draft, path)


def _copy(opened: Engine, path: Path, *, exists: bool) -> None:
    """Make the tables of a scratch state in memory, from those of the file where there is one."""
    if exists:
        opened.rows("USE stored")
        migrate(opened, path, fresh=False, read_only=True)
        opened.rows("USE memory")
    migrate(opened, path, fresh=True)
    if exists:
        for table in SCRATCH_TABLES:
            opened.rows(f"DELETE FROM {table}")
            opened.rows(f"INSERT INTO {table} SELECT * FROM stored.{table}")
        opened.rows(f"INSERT INTO changes BY NAME {transfers.RECENT}")
        opened.rows("DROP TABLE inventory")
        opened.rows("SET search_path = 'memory,stored'")
