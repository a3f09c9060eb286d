"""Staging: everything that one snapshot changes in the state file, in one transaction.

    compare    the snapshot with the inventory: what arrived, what is absent (`diff`)
    doubt      which fields of what arrived, and which additions, are believed (`diff.distrust`, `diff.growth`)
    judge      which removals are believed, which are held (`diff.guard`)
    number     the changes, and append them to the journal (`rows`)
    alert      end-of-support alerts of those changes and of the calendar (`alerts`)
    store      the inventory as the changes say it is (`rows`)

Everything that an event needs is frozen here: publishing later, or again, yields the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from connector.clock import milliseconds_of, moment_of
from connector.config import Config
from connector.diff import aged, catalogue, changes, distrust, doubts, growth, guard, transfers
from connector.diff.distrust import TrustRules
from connector.diff.doubts import Doubt
from connector.diff.engines import Comparer
from connector.diff.growth import Arrived, GrowthRules
from connector.diff.guard import Absences, GuardRules, HoldReason, Sighting, Verdict
from connector.diff.scan import check_readable, stored_digest
from connector.diff.tables import Outcome, Relation, Workspace
from connector.errors import SnapshotIncomplete, StateError, StateFull
from connector.exports.fields import Field
from connector.model import ChangeType, Inventory, Position, Snapshot, StagedSnapshot
from connector.staging import alerts, audit, first_seen, inventory_topic, rows, support, unreadable, young_baseline
from connector.staging.alerts import AlertRules
from connector.staging.engines import COMPARER, comparer_of
from connector.staging.rows import StagingContext
from connector.state import engine, file
from connector.state.meta import recall, remember
from connector.state.sql import Database, literal
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

BASELINE_DISK_SHARE: Final = 0.5
"""Free disk space asked for before a first snapshot is staged, as a share of its decompressed size."""

SNAPSHOT_DISK_SHARE: Final = 0.1
"""The same for later snapshots."""


@dataclass(frozen=True, slots=True)
class StagingRules:
    """What staging needs of the configuration: `[engine]`, `[diff]`, `[guard]`, `[alerts]` and `state.max_pending`."""

    tenant_id: str
    guard: GuardRules
    max_baseline_rejected: int
    trust: TrustRules
    growth: GrowthRules
    emit_baseline: bool
    pair_versions: bool
    fold_lookalikes: bool
    ignore_fields: frozenset[str]
    max_pending: int
    alerts: AlertRules
    comparer: Comparer = COMPARER

    @classmethod
    def of(cls, config: Config) -> Self:
        """The rules that a configuration sets. Defaults are the configuration's: the rules themselves have none."""
        guard, alerts = config.guard, config.alerts
        return cls(
            tenant_id=config.source.tenant_id,
            guard=GuardRules(
                max_removed_share=guard.max_removed_share,
                min_removed=guard.min_removed,
                missing_device_snapshots=guard.missing_device_snapshots,
            ),
            max_baseline_rejected=guard.max_baseline_rejected,
            trust=TrustRules(min_changed=guard.min_changed, changed_shares=guard.changed_shares),
            growth=GrowthRules(max_added_share=guard.max_added_share, min_added=guard.min_added),
            emit_baseline=config.diff.baseline == "emit",
            pair_versions=config.diff.pair_versions,
            fold_lookalikes=config.diff.fold_lookalikes,
            ignore_fields=frozenset(config.diff.ignore_fields),
            max_pending=config.state.max_pending,
            comparer=comparer_of(config),
            alerts=AlertRules(
                enabled=alerts.enabled,
                on_baseline=alerts.on_baseline,
                date_thresholds_days=alerts.date_thresholds_days,
                summarize_above=alerts.summarize_above,
                severity={str(kind): str(level) for kind, level in alerts.severity.items()},
            ),
        )


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
    comparer: Comparer | None = None,
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
        comparer: who compares it with the inventory; by default, the engine of the configuration.

    Raises:
        SnapshotIncomplete: the snapshot is empty where the inventory is not, it is a first one with too many lines that
            could not be read, or its files changed.
        SourceMalformed: a line cannot be read, or has no device; `Source.repair` it and stage again.
        StateFull: `max_pending` would be exceeded, or the disk is full.
    """
    check_room(state.journal.position(), rules)
    _check_id(state, snapshot)
    previous = state.journal.latest_snapshot(snapshot.inventory)
    if not state.scratch:
        share = SNAPSHOT_DISK_SHARE if previous else BASELINE_DISK_SHARE
        file.check_free(state.path, int(snapshot.size_bytes * share))
    elif previous is None:
        # A baseline is written as a whole; the file's own table is only read, and this one is found first.
        state.database.rows("CREATE TABLE IF NOT EXISTS memory.inventory AS SELECT * FROM inventory WHERE false")
    unread = max(rejected, snapshot.rejected)
    chosen = comparer or rules.comparer
    context = StagingContext(started_at, now, chosen, unread, beside=beside)
    with state.transaction(keep=keep or state.scratch, reads=_files_of(snapshot, beside)):
        return _stage(state, snapshot, rules, context)


def _files_of(snapshot: Snapshot, beside: Snapshot | None) -> list[Path]:
    """The files that are read while a snapshot is staged."""
    parts = [part for read in (snapshot, beside) if read for part in read.parts]
    files = [snapshot.device_facts, *(part.path for part in parts), *(part.index for part in parts)]
    return [path for path in files if path]


def _stage(state: StateFile, snapshot: Snapshot, rules: StagingRules, context: StagingContext) -> StagedSnapshot:
    """The steps of `stage_snapshot`, inside its transaction."""
    workspace = Workspace(state.database, state.export, snapshot.inventory, scratch=state.scratch)
    position, previous = state.journal.position(), state.journal.latest_snapshot(snapshot.inventory)
    tracked = state.export.tracked(rules.ignore_fields)
    _check_tenant(state.database, rules.tenant_id)
    check_readable(state.export, snapshot)
    if not workspace.scratch:
        refresh_digests(state.database, tracked)
    if previous is None:
        _check_baseline(snapshot, rules, rejected=context.rejected)
        outcome, verdict, stored = *_take_baseline(workspace, snapshot, rules, tracked, context.comparer), 0
        if rules.emit_baseline and position.last_snapshot == position.epoch_snapshot:
            inventory_topic.begin_epoch(state.database, position.epoch)
    else:
        stored = _check_emptiness(workspace, snapshot)
        number = position.last_snapshot + 1
        outcome, verdict = _find_changes(workspace, snapshot, rules, tracked, (number, context, stored))
        if outcome.completing and not rules.emit_baseline:
            stored += workspace.count(outcome.completing)
    unreadable.note(workspace.database, snapshot)
    note_lookalikes(workspace, outcome.difference.lookalikes, folds=rules.fold_lookalikes)
    counts = _count_changes(workspace, outcome)
    row = rows.snapshot_row(snapshot, previous, position, context, (outcome.difference, verdict, counts, stored))
    row = _write(workspace, outcome, row, rules, tracked)
    if not (workspace.scratch or row.baseline):
        context.comparer.store_lines(workspace, snapshot, outcome.difference, tracked=tracked)
    return row


def _take_baseline(
    workspace: Workspace, snapshot: Snapshot, rules: StagingRules, tracked: Sequence[Field], comparer: Comparer
) -> tuple[Outcome, Verdict]:
    """Store a first snapshot, which the guard has nothing to say about."""
    difference = comparer.take_baseline(workspace, snapshot, tracked=tracked)
    young_baseline.note(workspace.database, workspace.inventory)
    return Outcome(difference, changes.stage_baseline(workspace, emit=rules.emit_baseline)), Verdict()


def _find_changes(
    workspace: Workspace,
    snapshot: Snapshot,
    rules: StagingRules,
    tracked: Sequence[Field],
    circumstances: tuple[int, StagingContext, int],
) -> tuple[Outcome, Verdict]:
    """Compare a later snapshot: what arrived, and what the guard believes to be gone, become staged changes."""
    number, context, stored = circumstances
    known = _known_fields(workspace, tracked)
    difference = context.comparer.compare(
        workspace, snapshot, tracked=tracked, known=known, folds=rules.fold_lookalikes
    )
    standing = doubts.standing_doubts(workspace.database, workspace.inventory)
    difference, held = distrust.judge_fields(
        workspace, difference, standing, rules.trust, fields=(tracked, known), snapshot_no=number
    )
    moves = transfers.find_moves(workspace, difference, beside=context.beside)
    doubted = _find_doubted_devices(workspace, snapshot, rejected=context.rejected)
    pairs = changes.pair_versions(workspace, difference, doubted=doubted)
    sighting = Sighting(
        number,
        milliseconds_of(snapshot.generated_at),
        doubted,
        is_repeat=_is_repeat(workspace, snapshot),
    )
    young = young_baseline.is_young(workspace.database, workspace.inventory)
    arrived = Arrived(difference, moves, pairs, stored, young)
    held_before = next((doubt for doubt in standing if doubt.field is None), None)
    waiting = growth.judge_additions(workspace, arrived, held_before, rules.growth, sighting)
    held += [waiting] if waiting else []
    doubts.replace_doubts(workspace.database, workspace.inventory, held)
    staged = changes.stage_arrivals(workspace, difference, moves, pairs, paired=rules.pair_versions)
    completing = None
    if waiting is None and not (held_before and held_before.approved):
        completing = young_baseline.complete(
            workspace, staged, pairs, stored=stored, added_min=rules.guard.min_removed, emit=rules.emit_baseline
        )
    verdict = _judge_removals(workspace, Absences(difference, moves, pairs), rules, sighting, (held_before, waiting))
    if verdict.removals:
        if snapshot.device_facts is not None:
            aged.mark_aged(workspace, verdict.removals, snapshot.device_facts, generated_at=sighting.generated_at)
        workspace.database.rows(
            f"""
            INSERT INTO {staged}
            SELECT device_no, software_no, previous_row, {literal(ChangeType.REMOVED)}, reason
            FROM {verdict.removals}
            """
        )
    return Outcome(difference, staged, completing), doubts.add_to(verdict, held, snapshot_no=number)


def _judge_removals(
    workspace: Workspace,
    absences: Absences,
    rules: StagingRules,
    sighting: Sighting,
    additions: tuple[Doubt | None, Doubt | None],
) -> Verdict:
    """Which removals are believed: none where keys changed, all where a person approved that they did.

    `additions` are those that were held before this snapshot, or approved, and those that are now.
    """
    before, now = additions
    if now and now.reason is HoldReason.KEYS_CHANGED:
        guard.lift_answered(workspace, absences)
        return Verdict()
    if before and before.approved and before.reason is HoldReason.KEYS_CHANGED:
        return guard.judge_approved(workspace, absences, rules=rules.guard, sighting=sighting)
    verdict = guard.judge(workspace, absences, rules=rules.guard, sighting=sighting)
    if verdict.removals:
        catalogue.mark_withdrawn(workspace, absences.difference, verdict.removals)
    return verdict


def _write(
    workspace: Workspace,
    outcome: Outcome,
    row: StagedSnapshot,
    rules: StagingRules,
    tracked: Sequence[Field],
) -> StagedSnapshot:
    """Write everything that the snapshot's changes come to. Returns its row."""
    database, arrivals = workspace.database, outcome.difference.arrivals
    rows.write_changes(workspace, outcome, row, rules.tenant_id, current=workspace.stored if row.baseline else arrivals)
    first_seen.note(workspace, row, arrivals, is_new=not row.baseline and outcome.completing is None)
    alerts.note_unknown_statuses(workspace, row, arrivals)
    row = alerts.stage(workspace, outcome, row, rules.alerts, rules.tenant_id)
    support.remember(workspace, outcome, moment_of(row.staged_at).date())
    if row.baseline:
        audit.count(workspace)
    elif not workspace.scratch:
        rows.write_inventory(workspace, outcome)
    is_silent = not rules.emit_baseline and (row.baseline or outcome.completing is not None)
    if workspace.count(outcome.difference.quiet) or is_silent:
        inventory_topic.fall_behind(database, row.inventory)
    note_tracked(database, row.inventory, tracked)
    return rows.write_snapshot(database, row)


def _find_doubted_devices(workspace: Workspace, snapshot: Snapshot, *, rejected: int) -> Relation | None:
    """The devices that lines may be about that could not be read; None where there are no such lines."""
    if not rejected:
        return None
    if rejected > snapshot.rejected or snapshot.nameless or not snapshot.rejected_devices:
        which = literal(workspace.inventory)
        return workspace.make("doubted", f"SELECT DISTINCT device_no FROM inventory WHERE inventory = {which}")
    return workspace.make(
        "doubted",
        "SELECT device_no FROM devices WHERE device_id IN (SELECT unnest($1::VARCHAR[]))",
        [sorted(snapshot.rejected_devices)],
    )


def _is_repeat(workspace: Workspace, snapshot: Snapshot) -> bool:
    """Whether a snapshot of that generation was staged in this epoch before."""
    earlier = workspace.database.number(
        """
        SELECT count(*)
        FROM snapshots
        WHERE inventory = $1
          AND epoch = (SELECT epoch FROM position)
          AND generation_known
          AND generated_at = $2
        """,
        [snapshot.inventory.value, milliseconds_of(snapshot.generated_at)],
    )
    return snapshot.generation_known and earlier > 0


def _count_changes(workspace: Workspace, outcome: Outcome) -> dict[str, int]:
    return dict(workspace.database.rows(f"SELECT change_type, count(*) FROM {outcome.staged} GROUP BY change_type"))


def _check_id(state: StateFile, snapshot: Snapshot) -> None:
    """Refuse an id that this epoch has: ids of events are made of it."""
    if state.journal.is_staged(snapshot.snapshot_id, epoch=state.journal.position().epoch):
        raise StateError(
            f"{snapshot.snapshot_id} was staged already: two snapshots of one id would give two changes the same",
            hint="Nothing was staged. The next poll fetches the snapshot again.",
        )


def _check_tenant(database: Database, tenant_id: str) -> None:
    known = recall(database, "tenant_id")
    if known is None:
        remember(database, "tenant_id", tenant_id)
    elif known != tenant_id:
        raise StateError(
            f"the state file holds the inventory of tenant {known}, not of {tenant_id}",
            hint="Give every tenant its own state file (state.path).",
        )


def _check_baseline(snapshot: Snapshot, rules: StagingRules, *, rejected: int) -> None:
    """Refuse a first snapshot of which lines could not be read: what they hide would look like news later."""
    if rejected > rules.max_baseline_rejected:
        raise SnapshotIncomplete(
            f"{rejected} lines of the first snapshot, {snapshot.snapshot_id}, cannot be read, and"
            f" guard.max_baseline_rejected is {rules.max_baseline_rejected}",
            hint="Nothing was staged: there is no inventory yet, and the next poll tries again. The lines are in the"
            " folder rejected/ beside the state file. If they are to stay as they are, raise"
            " guard.max_baseline_rejected.",
        )


def _check_emptiness(workspace: Workspace, snapshot: Snapshot) -> int:
    """The number of stored records. An empty snapshot is refused where there are any."""
    stored = workspace.count(f"inventory WHERE inventory = {literal(snapshot.inventory)}")
    if stored and not snapshot.lines:
        raise SnapshotIncomplete(
            f"snapshot {snapshot.snapshot_id} has no records where the inventory has {stored}",
            hint="Nothing was staged. An empty export is a fault of the export or of its permissions, not news.",
        )
    return stored


def refresh_digests(database: Database, tracked: Sequence[Field]) -> None:
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


def note_tracked(database: Database, inventory: Inventory, tracked: Sequence[Field]) -> None:
    """Remember the fields that an inventory was compared by."""
    remember(database, f"tracked {inventory}", " ".join(field.name for field in tracked))


def note_lookalikes(workspace: Workspace, lookalikes: int, *, folds: bool) -> None:
    """Log how many keys came back written in another way, and remember the number for the poll's result."""
    if lookalikes:
        log.warning(
            "keys came back that differ only in case, blanks or Unicode form",
            inventory=workspace.inventory.value,
            records=lookalikes,
            outcome="taken as the same records" if folds else "REMOVED and ADDED; see diff.fold_lookalikes",
        )
    remember(workspace.database, _lookalikes_note(workspace.inventory), str(lookalikes))


def noted_lookalikes(state: StateFile, inventory: Inventory) -> int:
    """How many keys of an inventory's newest snapshot look like absent ones."""
    return int(state.recall(_lookalikes_note(inventory)) or 0)


def _lookalikes_note(inventory: Inventory) -> str:
    return f"lookalikes {inventory}"


def _known_fields(workspace: Workspace, tracked: Sequence[Field]) -> tuple[Field, ...]:
    """The fields that were tracked when this inventory was last compared: others are stale in it, or missing."""
    names = recall(workspace.database, f"tracked {workspace.inventory}")
    return tuple(tracked) if names is None else tuple(field for field in tracked if field.name in names.split())
