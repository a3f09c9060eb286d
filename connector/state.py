"""The state file: inventory, changes (outbox and journal), snapshots, and how far Kafka has confirmed them.

Owns duckdb and the one transaction a snapshot is staged in. Must not fetch, encode or publish, nor decide what counts
as a difference (`diff`) or which removals are believed (`guard`).

Open it for a poll, not for the life of a daemon: one process holds the file, and other commands wait or say so.
No table has a key, an index or a constraint, and nothing is upserted: reports of DuckDB files that would not open
nearly all involve those. Sets are deleted and inserted, and every staged snapshot ends in a CHECKPOINT.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb

from connector import __version__, diff, guard
from connector.diff import COLUMNS, Comparison
from connector.errors import (
    CheckpointLost,
    SnapshotIncomplete,
    SourceMalformed,
    StateBehindCheckpoint,
    StateCorrupt,
    StateError,
    StateFull,
    StateLocked,
)
from connector.fields import ATTRIBUTE_FIELDS, END_OF_SUPPORT_STATUSES, FIELDS, KEY_FIELDS
from connector.identity import event_id_expression, event_namespace
from connector.migrations import migrate
from connector.model import ChangeType, Checkpoint, Inventory, SnapshotStatus
from connector.scan import digest, literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from connector.diff import Parameters
    from connector.guard import GuardRules, Verdict
    from connector.model import Snapshot

FETCH_ROWS: Final = 2_000
"""Changes that are Python objects at a time while a batch is read."""


@dataclass(frozen=True, slots=True)
class StagingRules:
    """What staging needs of the configuration: `[diff]`, `[guard]` and `state.max_pending`."""

    tenant_id: str
    guard: GuardRules
    emit_baseline: bool = False
    pair_versions: bool = True
    ignore_fields: frozenset[str] = frozenset()
    max_pending: int = 50_000_000


@dataclass(frozen=True, slots=True)
class Position:
    """Where the state file is.

    Attributes:
        epoch: 1 at first; a rebaseline begins the next.
        last_sequence: of the newest staged change; 0 before the first.
        last_snapshot: number of the newest staged snapshot; 0 before the first.
        published_sequence: changes up to here are confirmed by Kafka.
        published_snapshot: snapshots up to here are sealed in Kafka.
    """

    epoch: int
    last_sequence: int
    last_snapshot: int
    published_sequence: int
    published_snapshot: int

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
    """One row of `snapshots`: a staged snapshot and its counts. Times are milliseconds since 1970, in UTC."""

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
    connector_version: str

    @property
    def changes(self) -> int:
        """Changes of all types."""
        return self.added + self.removed + self.changed + self.baselined

    @property
    def status(self) -> SnapshotStatus:
        """HELD where the guard held removals, else COMPLETE."""
        return SnapshotStatus.HELD if self.held else SnapshotStatus.COMPLETE


SNAPSHOT_COLUMNS: Final = tuple(StagedSnapshot.__dataclass_fields__)


class State:
    """The open state file. Use `State.open`, as a context manager."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, path: Path, *, memory_limit_mib: int = 1024, threads: int = 0, read_only: bool = False) -> Self:
        """Open the file, making it (mode 0600) where it is missing, and bring its schema up to date.

        Raises:
            StateLocked: another process has it open.
            StateCorrupt: not a state file, damaged, or a symbolic link.
            StateVersionUnknown: written by a newer connector.
            StateError: the folder or the file cannot be used.
        """
        exists = _check_file(path, read_only=read_only)
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_mib}MiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "temp_directory": str(path.with_name(path.name + ".spill")),
        }
        if threads:
            options["threads"] = threads
        mask = os.umask(0o077)
        try:
            connection = duckdb.connect(str(path), read_only=read_only, config=options)
        except duckdb.Error as error:
            raise _opening_error(path, error) from error
        finally:
            os.umask(mask)
        state = cls(connection, path)
        try:
            state.rows("SET TimeZone = 'UTC'")
            migrate(state, path, fresh=not exists)
        except BaseException:
            state.close()
            raise
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; other processes may open it then."""
        self._connection.close()

    # ---- what `diff`, `guard` and `migrations` run on

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with _translated(self._path):
            return self._connection.execute(statement, parameters).fetchall()

    def number(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement that yields one integer; NULL and no row are 0."""
        rows = self.rows(statement, parameters)
        return int(rows[0][0] or 0) if rows else 0

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """All of the block or nothing of it; with `keep` false, nothing in any case."""
        self.rows("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self.rows("COMMIT" if keep else "ROLLBACK")

    def _roll_back(self) -> None:
        # After a fatal error the database refuses even this, and has rolled back by itself.
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.Error:
            return

    # ---- reading

    def position(self) -> Position:
        """Where the file is."""
        row = self.rows(
            "SELECT epoch, last_sequence, last_snapshot, published_sequence, published_snapshot FROM position"
        )[0]
        return Position(*row)

    def tenant_id(self) -> str | None:
        """The tenant whose inventory the file holds; None before the first snapshot."""
        rows = self.rows("SELECT value FROM meta WHERE name = 'tenant_id'")
        return str(rows[0][0]) if rows else None

    def latest_snapshot(self, inventory: Inventory) -> StagedSnapshot | None:
        """The newest staged snapshot of an inventory in this epoch."""
        found = self._snapshots(
            "inventory = $1 AND epoch = (SELECT epoch FROM position) ORDER BY snapshot_no DESC LIMIT 1", [inventory]
        )
        return found[0] if found else None

    def recent_snapshots(self, limit: int) -> list[StagedSnapshot]:
        """The newest staged snapshots, newest first."""
        return self._snapshots("true ORDER BY snapshot_no DESC LIMIT $1", [limit])

    def unsealed_snapshots(self) -> list[StagedSnapshot]:
        """Staged snapshots that Kafka has not sealed yet, oldest first."""
        return self._snapshots("snapshot_no > (SELECT published_snapshot FROM position) ORDER BY snapshot_no", [])

    def changes(self, snapshot: StagedSnapshot, *, after: int, limit: int) -> Iterator[dict[str, Any]]:
        """Changes of a snapshot beyond sequence `after`, at most `limit`, in order, as `SoftwareChange` mappings."""
        constants = {
            "entraTenantId": self.tenant_id(),
            "inventory": snapshot.inventory.value,
            "snapshotId": snapshot.snapshot_id,
            "previousSnapshotId": snapshot.previous_snapshot_id,
            "observedAt": snapshot.generated_at,
            "emittedAt": snapshot.staged_at,
            "epoch": snapshot.epoch,
            "replayed": False,
            "connectorVersion": snapshot.connector_version,
        }
        with _translated(self._path):
            cursor = self._connection.cursor()
            try:
                cursor.execute(
                    f"SELECT {_CHANGE_SELECT} FROM changes WHERE epoch = $1 AND sequence > $2 AND sequence <= $3"
                    " ORDER BY sequence",
                    [snapshot.epoch, after, min(snapshot.last_sequence or 0, after + limit)],
                )
                while block := cursor.fetchmany(FETCH_ROWS):
                    for row in block:
                        yield dict(zip(_CHANGE_NAMES, row, strict=True)) | constants
            finally:
                cursor.close()

    def held_count(self) -> int:
        """Records whose removal is held."""
        return self.number("SELECT count(*) FROM held")

    def inventory_count(self, inventory: Inventory) -> int:
        """Records in an inventory."""
        return self.number("SELECT count(*) FROM inventory WHERE inventory = $1", [inventory.value])

    def records(self, inventory: Inventory) -> list[dict[str, Any]]:
        """The inventory's records with the Avro field names, ordered by key. For tests and small exports."""
        columns = ", ".join(f"{field.column}" for field in FIELDS)
        found = self.rows(
            f"SELECT {columns} FROM inventory JOIN devices USING (device_no) JOIN software USING (software_no)"
            f" WHERE inventory = $1 ORDER BY {', '.join(field.column for field in KEY_FIELDS)}",
            [inventory.value],
        )
        return [dict(zip((field.name for field in FIELDS), row, strict=True)) for row in found]

    def _snapshots(self, condition: str, parameters: Sequence[object]) -> list[StagedSnapshot]:
        found = self.rows(f"SELECT {', '.join(SNAPSHOT_COLUMNS)} FROM snapshots WHERE {condition}", parameters)
        return [
            StagedSnapshot(**dict(zip(SNAPSHOT_COLUMNS, row, strict=True)) | {"inventory": Inventory(row[2])})
            for row in found
        ]

    # ---- what Kafka confirmed

    def reconcile(self, checkpoint: Checkpoint | None) -> Position:
        """Bring the file in line with Kafka's checkpoint: the table of the README, a total function.

        Returns the position to publish from.

        Raises:
            StateBehindCheckpoint: the checkpoint is ahead of the file.
            CheckpointLost: the checkpoint is behind what the file knows as published, or gone.
        """
        position = self.position()
        if checkpoint is None:
            if position.published_snapshot:
                raise CheckpointLost(
                    f"{self._path} knows snapshots up to number {position.published_snapshot} as published, but Kafka"
                    " has no checkpoint",
                    hint="Was the checkpoints topic deleted, or transactional_id or topic_prefix changed? Restore it,"
                    " or begin a new epoch with `mde-inventory state rebaseline`.",
                )
            return position
        known = (position.epoch, position.last_sequence, position.last_snapshot)
        there = (checkpoint.epoch, checkpoint.sequence, checkpoint.sealed)
        published = (position.epoch, position.published_sequence, position.published_snapshot)
        if any(theirs > ours for theirs, ours in zip(there, known, strict=True)):
            raise StateBehindCheckpoint(
                f"Kafka's checkpoint (epoch {there[0]}, sequence {there[1]}, snapshot {there[2]}) is ahead of"
                f" {self._path} (epoch {known[0]}, sequence {known[1]}, snapshot {known[2]})",
                hint="An old copy of the state file, or a new one. Restore the newest, restore it from Kafka with"
                " `mde-inventory state rebuild`, or begin a new epoch with `mde-inventory state rebaseline`.",
            )
        if checkpoint.epoch == position.epoch and any(
            theirs < ours for theirs, ours in zip(there, published, strict=True)
        ):
            raise CheckpointLost(
                f"Kafka's checkpoint (sequence {there[1]}, snapshot {there[2]}) is behind what {self._path} knows as"
                f" published (sequence {published[1]}, snapshot {published[2]})",
                hint="Was the checkpoints topic deleted or restored, or transactional_id changed? Begin a new epoch"
                " with `mde-inventory state rebaseline`.",
            )
        if checkpoint.epoch == position.epoch and there != published:
            self.confirm(checkpoint)
        return self.position()

    def confirm(self, checkpoint: Checkpoint) -> None:
        """Note that Kafka has committed everything up to a checkpoint."""
        self.rows(
            "UPDATE position SET published_sequence = $1, published_snapshot = $2, published_at = $3",
            [checkpoint.sequence, checkpoint.sealed, checkpoint.written_at],
        )

    # ---- staging

    def stage(
        self,
        snapshot: Snapshot,
        rules: StagingRules,
        *,
        started_at: datetime,
        now: datetime,
        rejected: int = 0,
        keep: bool = True,
    ) -> StagedSnapshot:
        """Compare a snapshot with the inventory and store what changed: all of it in one transaction, or nothing.

        Args:
            snapshot: complete and verified.
            rules: the configuration's part in it.
            started_at: when the poll began.
            now: when the changes are staged; becomes their `emittedAt`.
            rejected: lines of the snapshot that could not be read and were set aside.
            keep: false for a dry run: the result is worked out and thrown away.

        Raises:
            SnapshotIncomplete: the snapshot is empty where the inventory is not, or its files changed.
            SourceMalformed: a line cannot be read.
            StateFull: `max_pending` would be exceeded, or the disk is full.
        """
        self._check_room(rules)
        with self.transaction(keep=keep):
            staged = self._stage(snapshot, rules, _Times(_millis(started_at), _millis(now)), rejected)
        for table in (*diff.TEMPORARY_TABLES, *guard.TEMPORARY_TABLES, *_TEMPORARY_TABLES):
            self.rows(f"DROP TABLE IF EXISTS {table}")
        if keep:
            self.rows("CHECKPOINT")
        return staged

    def _check_room(self, rules: StagingRules) -> None:
        pending = self.position().pending
        if pending >= rules.max_pending:
            raise StateFull(
                f"{pending} changes wait for Kafka, and state.max_pending is {rules.max_pending}",
                hint="Nothing is dropped; polls go on once Kafka has taken the backlog. See `mde-inventory status`.",
            )

    def _stage(self, snapshot: Snapshot, rules: StagingRules, times: _Times, rejected: int) -> StagedSnapshot:
        position = self.position()
        previous = self.latest_snapshot(snapshot.inventory)
        self._check_tenant(rules.tenant_id)
        self._check_emptiness(snapshot)
        self._refresh_digests(rules.ignore_fields)
        # The optimizer guesses some hundreds of rows for a file, and would hold every wide row in memory.
        self.rows("SET disabled_optimizers = 'build_side_probe_side,join_order'")
        try:
            comparison = diff.compare(self, snapshot, ignored=rules.ignore_fields)
        finally:
            self.rows("SET disabled_optimizers = ''")
        snapshot_no = position.last_snapshot + 1
        verdict = self._stage_changes(snapshot.inventory, previous, rules, snapshot_no=snapshot_no, rejected=rejected)
        row = self._snapshot_row(snapshot, previous, position, times, (comparison, verdict, rejected))
        self._number_changes(position.last_sequence)
        self._write_changes(row, rules.tenant_id)
        self._write_inventory(snapshot.inventory)
        placeholders = ", ".join(f"${number}" for number in range(1, len(SNAPSHOT_COLUMNS) + 1))
        self.rows(
            f"INSERT INTO snapshots ({', '.join(SNAPSHOT_COLUMNS)}) VALUES ({placeholders})",
            [getattr(row, name) for name in SNAPSHOT_COLUMNS],
        )
        self.rows(
            "UPDATE position SET last_snapshot = $1, last_sequence = $2",
            [snapshot_no, row.last_sequence or position.last_sequence],
        )
        return row

    def _stage_changes(
        self,
        inventory: Inventory,
        previous: StagedSnapshot | None,
        rules: StagingRules,
        *,
        snapshot_no: int,
        rejected: int,
    ) -> Verdict:
        """Fill `staged`: a baseline, or what arrived and what the guard believes to be gone."""
        if previous is None:
            diff.stage_baseline(self)
            if not rules.emit_baseline:
                self.rows("DELETE FROM staged")
            return guard.Verdict(held=0, reason=None)
        diff.pair_versions(self, enabled=rules.pair_versions)
        diff.stage_arrivals(self, inventory)
        verdict = guard.judge(self, inventory, rules=rules.guard, snapshot_no=snapshot_no, rejected=rejected)
        self.rows(
            "INSERT INTO staged SELECT device_no, software_no, previous_row,"
            f" {literal(ChangeType.REMOVED)}, reason FROM removals"
        )
        return verdict

    def _snapshot_row(
        self,
        snapshot: Snapshot,
        previous: StagedSnapshot | None,
        position: Position,
        times: _Times,
        outcome: tuple[Comparison, Verdict, int],
    ) -> StagedSnapshot:
        comparison, verdict, rejected = outcome
        counts = dict(self.rows("SELECT change_type, count(*) FROM staged GROUP BY change_type"))
        total = sum(counts.values())
        return StagedSnapshot(
            snapshot_no=position.last_snapshot + 1,
            epoch=position.epoch,
            inventory=snapshot.inventory,
            snapshot_id=snapshot.snapshot_id,
            previous_snapshot_id=previous.snapshot_id if previous else None,
            method=snapshot.method.value,
            generated_at=_millis(snapshot.generated_at),
            generation_known=snapshot.generation_known,
            content_digest=snapshot.content_digest,
            started_at=times.started_at,
            staged_at=times.staged_at,
            baseline=previous is None,
            records=comparison.records,
            devices=comparison.devices,
            added=counts.get(ChangeType.ADDED, 0),
            removed=counts.get(ChangeType.REMOVED, 0),
            changed=counts.get(ChangeType.CHANGED, 0),
            baselined=counts.get(ChangeType.BASELINE, 0),
            alerts=0,
            held=verdict.held,
            hold_reason=verdict.reason,
            duplicates=comparison.duplicates,
            rejected=rejected,
            first_sequence=position.last_sequence + 1 if total else None,
            last_sequence=position.last_sequence + total if total else None,
            connector_version=__version__,
        )

    def _check_tenant(self, tenant_id: str) -> None:
        known = self.tenant_id()
        if known is None:
            self.rows("INSERT INTO meta VALUES ('tenant_id', $1)", [tenant_id])
        elif known != tenant_id:
            raise StateError(
                f"{self._path} holds the inventory of tenant {known}, not of {tenant_id}",
                hint="Give every tenant a state file of its own (state.path).",
            )

    def _check_emptiness(self, snapshot: Snapshot) -> None:
        stored = self.inventory_count(snapshot.inventory)
        if stored and not snapshot.lines:
            raise SnapshotIncomplete(
                f"snapshot {snapshot.snapshot_id} has no records where the inventory has {stored}",
                hint="Nothing was staged. An empty export is a fault of the export or of its permissions, not news.",
            )

    def _refresh_digests(self, ignored: Collection[str]) -> None:
        """Work out the stored digests anew where they were made by another engine or of other fields.

        DuckDB does not promise that `hash()` stays the same between versions; and a digest of other fields would make
        every record look changed.
        """
        expression = digest(diff.tracked_fields(ignored))
        definition = f"{duckdb.__version__} {expression}"
        known = self.rows("SELECT value FROM meta WHERE name = 'digest'")
        if known and known[0][0] == definition:
            return
        self.rows(f"UPDATE inventory SET digest = {expression}")
        self.rows("DELETE FROM meta WHERE name = 'digest'")
        self.rows("INSERT INTO meta VALUES ('digest', $1)", [definition])

    def _number_changes(self, last_sequence: int) -> None:
        """Make `numbered`: the changes in their order, per device, product by product, removals first."""
        self.rows(
            "CREATE TEMP TABLE numbered AS SELECT $1 + row_number() OVER (ORDER BY device_id, software_vendor,"
            f" software_name, change_type <> {literal(ChangeType.REMOVED)}, software_version) AS sequence, staged.*"
            " FROM staged JOIN devices USING (device_no) JOIN software USING (software_no)",
            [last_sequence],
        )

    def _write_changes(self, row: StagedSnapshot, tenant_id: str) -> None:
        self.rows(
            f"CREATE TEMP TABLE earlier AS SELECT i.rowid AS previous_row, {COLUMNS} FROM inventory i"
            " JOIN devices USING (device_no) JOIN software USING (software_no)"
            " WHERE i.rowid IN (SELECT previous_row FROM staged)"
        )
        removed = f"n.change_type = {literal(ChangeType.REMOVED)}"
        columns = ", ".join(
            f"CASE WHEN {removed} THEN b.{field.column} ELSE c.{field.column} END AS {field.column}" for field in FIELDS
        )
        before = ", ".join(f'"{field.name}": b.{field.column}' for field in FIELDS)
        changed = f"n.change_type = {literal(ChangeType.CHANGED)}"
        statuses = ", ".join(literal(status) for status in END_OF_SUPPORT_STATUSES)
        event_id = event_id_expression(
            "to_json([$tenant, $snapshot, change_type, $inventory, device_id, software_vendor, software_name,"
            " software_version])::VARCHAR"
        )
        self.rows(
            "INSERT INTO changes SELECT sequence, $epoch, $number,"
            f" {event_id}, change_type, reason, changed_fields, coalesce(end_of_support_status IN ({statuses}), false),"
            f" {COLUMNS}, before FROM (SELECT n.sequence, n.change_type, n.reason,"
            f" CASE WHEN {changed} THEN {diff.changed_fields('b', 'c')} ELSE []::VARCHAR[] END AS changed_fields,"
            f" {columns}, CASE WHEN {changed} THEN {{{before}}} END AS before FROM numbered n"
            " LEFT JOIN (SELECT * FROM differs WHERE device_id IS NOT NULL) c USING (device_no, software_no)"
            " LEFT JOIN earlier b ON b.previous_row = n.previous_row) ORDER BY sequence",
            {
                "tenant": tenant_id,
                "snapshot": row.snapshot_id,
                "inventory": row.inventory.value,
                "epoch": row.epoch,
                "number": row.snapshot_no,
                "namespace": event_namespace(),
            },
        )

    def _write_inventory(self, inventory: Inventory) -> None:
        """Make the inventory what the published changes say: removed and changed records go, new ones come."""
        self.rows("DELETE FROM inventory WHERE rowid IN (SELECT previous_row FROM staged)")
        attributes = ", ".join(field.column for field in ATTRIBUTE_FIELDS)
        self.rows(
            f"INSERT INTO inventory SELECT $1, device_no, software_no, digest, {attributes} FROM differs"
            " WHERE device_id IS NOT NULL ORDER BY device_no, software_no",
            [inventory.value],
        )


@dataclass(frozen=True, slots=True)
class _Times:
    started_at: int
    staged_at: int


_TEMPORARY_TABLES: Final = ("numbered", "earlier")

_CHANGE_COLUMNS: Final = {
    "eventId": "event_id",
    "changeType": "change_type",
    "reason": "reason",
    "changedFields": "changed_fields",
    "before": "before",
    "isEndOfSupport": "is_end_of_support",
    **{field.name: field.column for field in FIELDS},
    "sequence": "sequence",
}
_CHANGE_NAMES: Final = tuple(_CHANGE_COLUMNS)
_CHANGE_SELECT: Final = ", ".join(_CHANGE_COLUMNS.values())


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _check_file(path: Path, *, read_only: bool) -> bool:
    """Whether the file exists. Refuses symbolic links and makes the folder private where it makes it."""
    if path.is_symlink():
        raise StateCorrupt(f"{path} is a symbolic link", hint="Name the file itself in state.path.")
    if path.exists():
        if not stat.S_ISREG(path.stat().st_mode):
            raise StateCorrupt(f"{path} is not a regular file", hint="Name a file in state.path.")
        return True
    if read_only:
        raise StateError(f"{path} does not exist", hint="Run `mde-inventory poll` once, or check state.path.")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot make the folder {path.parent}: {error.strerror}", hint="Check state.path.") from error
    return False


def _opening_error(path: Path, error: duckdb.Error) -> StateError:
    text = str(error)
    if "lock" in text.lower():
        return StateLocked(
            f"another process has {path} open ({text.splitlines()[0]})",
            hint="A daemon or another command is using it: wait for its poll to end. Across containers the process id"
            " means nothing.",
        )
    if isinstance(error, duckdb.IOException) and ("Permission denied" in text or "Read-only" in text):
        return StateError(f"cannot open {path}: {text.splitlines()[0]}", hint="Check the owner and mode of the file.")
    return StateCorrupt(
        f"{path} cannot be opened as a state file: {text.splitlines()[0]}",
        hint="Restore it from a copy or from Kafka (`mde-inventory state rebuild`); keep the damaged file.",
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn DuckDB's exceptions into ours."""
    try:
        yield
    except duckdb.InvalidInputException as error:
        if "JSON" not in str(error):
            raise StateError(f"{path}: {str(error).splitlines()[0]}") from error
        raise SourceMalformed(
            f"a line of the snapshot cannot be read: {str(error).splitlines()[0]}",
            hint="Nothing was staged.",
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise StateError(
            f"the memory given by state.memory_limit_mib is not enough: {str(error).splitlines()[0]}",
            hint="Raise state.memory_limit_mib, or free disk space beside the state file for spilling.",
        ) from error
    except duckdb.IOException as error:
        raise _disk_error(path, error) from error
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        if "No space left" in str(error) or "disk" in text.lower():
            raise _disk_error(path, error) from error
        raise StateCorrupt(
            f"{path}: {text}", hint="Restore it from a copy or from Kafka (`mde-inventory state rebuild`)."
        ) from error


def _disk_error(path: Path, error: duckdb.Error) -> StateError:
    text = str(error).splitlines()[0]
    if "No space left" in str(error) or "max_temp_directory_size" in str(error):
        return StateFull(
            f"no space left on the disk of {path}: {text}", hint="Free space; the state is as before the poll."
        )
    return StateError(f"{path}: {text}", hint="Check the disk; the state is as before the poll.")
