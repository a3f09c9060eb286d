"""Derived snapshots: staged without an export, of the generation before them.

An approval of held removals, and the alerts that a new day brings, each become a snapshot, so that they are published,
sealed and numbered as any other. Its id begins with the id of the snapshot it follows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from connector import __version__
from connector.clock import milliseconds_of
from connector.diff import doubts, guard
from connector.diff.tables import Outcome, Workspace, no_difference
from connector.model import Counts, Inventory, Position, StagedSnapshot
from connector.staging import alerts, rows, support
from connector.staging.stage import StagingRules
from connector.state.state import StateFile

_APPROVED: Final = "-approved-"
_DATED: Final = "-dated-"


def approve_held(state: StateFile, rules: StagingRules, *, now: datetime) -> list[StagedSnapshot]:
    """Stage every removal that the guard holds as REMOVED, reason APPROVED: a snapshot for each inventory with some.

    Held values and additions are believed as the next snapshot has them.
    """
    with state.transaction():
        for inventory in Inventory:
            doubts.approve_doubts(state.database, inventory)
        approved = [_approve(state, inventory, rules, now) for inventory in Inventory]
    return [snapshot for snapshot in approved if snapshot is not None]


def discard_held(state: StateFile) -> int:
    """Take what is held as a fault of the export: nothing follows from it, and the next snapshot is judged afresh.

    Returns the number of records that were held.
    """
    with state.transaction():
        return sum(
            guard.discard_holds(state.database, inventory) + doubts.discard_doubts(state.database, inventory)
            for inventory in Inventory
        )


def stage_due_alerts(
    state: StateFile, inventory: Inventory, rules: StagingRules, *, now: datetime
) -> StagedSnapshot | None:
    """Stage the alerts that a new day brings without a new snapshot; None where there are none."""
    with state.transaction():
        database = state.database
        previous = state.journal.latest_snapshot(inventory)
        if previous is None or not alerts.is_due(database, inventory, rules.alerts, now):
            return None
        suffix = f"{_DATED}{now.astimezone(UTC):%Y%m%d}"
        row = _following_row(previous, state.journal.position(), now, suffix, removed=0)
        workspace = Workspace(database, state.export, inventory)
        difference = no_difference(workspace)
        row = alerts.stage(workspace, Outcome(difference, difference.quiet), row, rules.alerts, rules.tenant_id)
        return rows.write_snapshot(database, row) if row.counts.alerts else None


def _approve(state: StateFile, inventory: Inventory, rules: StagingRules, now: datetime) -> StagedSnapshot | None:
    """Approve what the guard holds of one inventory; None where it holds nothing."""
    workspace, position = Workspace(state.database, state.export, inventory), state.journal.position()
    previous = state.journal.latest_snapshot(inventory)
    staged, removed = guard.approve_holds(workspace)
    if previous is None or not removed:
        return None
    row = _following_row(previous, position, now, f"{_APPROVED}{position.last_snapshot + 1}", removed=removed)
    outcome = Outcome(no_difference(workspace), staged)
    rows.write_changes(workspace, outcome, row, rules.tenant_id, current=outcome.difference.arrivals)
    row = alerts.stage(workspace, outcome, row, rules.alerts, rules.tenant_id)
    support.remember(workspace, outcome, now.astimezone(UTC).date())
    rows.write_inventory(workspace, outcome)
    return rows.write_snapshot(state.database, row)


def _following_row(
    previous: StagedSnapshot, position: Position, now: datetime, suffix: str, *, removed: int
) -> StagedSnapshot:
    """The row of a derived snapshot, before its alerts are counted."""
    origin = previous.snapshot_id.split(_APPROVED)[0].split(_DATED)[0]
    return replace(
        previous,
        snapshot_no=position.last_snapshot + 1,
        snapshot_id=f"{origin}{suffix}",
        previous_snapshot_id=previous.snapshot_id,
        started_at=milliseconds_of(now),
        staged_at=milliseconds_of(now),
        baseline=False,
        counts=Counts(
            records=previous.counts.records,
            devices=previous.counts.devices,
            stored=previous.counts.stored - removed,
            removed=removed,
        ),
        **rows.numbers_after(position, removed),
        hold_reason=None,
        connector_version=__version__,
    )
