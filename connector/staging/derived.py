"""Derived snapshots: staged without an export, of the generation before them.

An approval of held removals, and the alerts that a new day brings, each become a snapshot, so that they are published,
sealed and numbered as any other. Its id begins with the id of the snapshot it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from connector import __version__
from connector.clock import milliseconds_of
from connector.diff import changes
from connector.diff.tables import Outcome, Workspace, no_difference
from connector.errors import HoldChanged
from connector.model import ChangeType, Counts, Hold, Inventory, Position, Reason, StagedSnapshot
from connector.staging import alerts, holds, rows, support
from connector.staging.holds import EVERYTHING, Choice
from connector.staging.stage import StagingRules
from connector.state import decisions
from connector.state.decisions import Action, DecidedPart, Signature
from connector.state.state import StateFile

_APPROVED: Final = "-approved-"
_DATED: Final = "-dated-"
_RETURNED: Final = "-returned"
UNSIGNED: Final = Signature()


class _Approval(NamedTuple):
    """An approval as it was staged: what it is about, and the snapshot of its removals where there are some."""

    parts: list[DecidedPart]
    row: StagedSnapshot | None = None
    outcome: Outcome | None = None

    def signed_parts(self) -> list[DecidedPart]:
        """Its parts, with the snapshot that publishes the removals."""
        snapshot_id = self.row.snapshot_id if self.row else None
        return [part._replace(snapshot_id=snapshot_id) if part.is_of_removals else part for part in self.parts]


class Effect(NamedTuple):
    """What the approval of removals comes to.

    Attributes:
        removed: their number, and that of the ADDED changes when they return.
        alerts: that the approval raises.
        alerts_returning: that they raise when they return as they were.
    """

    removed: int
    alerts: int
    alerts_returning: int


def approve_held(
    state: StateFile,
    rules: StagingRules,
    *,
    now: datetime,
    choice: Choice = EVERYTHING,
    expected: Sequence[Hold] | None = None,
    signature: Signature = UNSIGNED,
) -> list[StagedSnapshot]:
    """Stage removals that the guard holds as REMOVED, reason APPROVED: a snapshot for each inventory with some.

    Held values and additions are believed as the next snapshot has them.

    Args:
        state: the open file.
        rules: the configuration's part in it.
        now: when it is approved.
        choice: what of it; by default, everything.
        expected: what was held when the person looked; None where nobody did.
        signature: who approves it, and why; noted with it.

    Raises:
        HoldChanged: something else is held by now; nothing was approved.
    """
    with state.transaction():
        check_unchanged(state, expected)
        approvals = [_approve(state, inventory, rules, now, choice) for inventory in choice.inventories]
        parts = [part for approval in approvals for part in approval.signed_parts()]
        decisions.note(state.database, Action.APPROVE, signature, choice.words(), parts, now=now)
    return [approval.row for approval in approvals if approval.row is not None]


def discard_held(
    state: StateFile,
    *,
    now: datetime,
    choice: Choice = EVERYTHING,
    expected: Sequence[Hold] | None = None,
    signature: Signature = UNSIGNED,
) -> int:
    """Take what is held as a fault of the export: nothing follows from it, and the next snapshot is judged afresh.

    Returns the number of records that were held. Arguments and errors as `approve_held`.
    """
    with state.transaction():
        check_unchanged(state, expected)
        workspaces = [Workspace(state.database, state.export, inventory) for inventory in choice.inventories]
        parts = [part for workspace in workspaces for part in holds.discard(workspace, choice)]
        decisions.note(state.database, Action.DISCARD, signature, choice.words(), parts, now=now)
    return sum(part.records for part in parts)


def check_unchanged(state: StateFile, expected: Sequence[Hold] | None) -> None:
    """Refuse a decision about something else than the person looked at.

    Raises:
        HoldChanged: a poll or another person was faster.
    """
    if expected is not None and state.journal.holds() != list(expected):
        raise HoldChanged(
            "what is held changed since it was counted; nothing was decided",
            hint="Look at what is held now, and decide again.",
        )


def foresee_approval(
    state: StateFile, inventory: Inventory, rules: StagingRules, choice: Choice, *, now: datetime
) -> Effect:
    """What the approval of removals would come to: it is tried in a scratch state, and taken back."""
    with state.transaction(keep=False):
        approval = _approve(state, inventory, rules, now, choice)
        if approval.row is None or approval.outcome is None:
            return Effect(0, 0, 0)
        returning = _return(state, approval.row, approval.outcome, rules, now)
    return Effect(approval.row.counts.removed, approval.row.counts.alerts, returning.counts.alerts)


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
        row = _following_row(previous, state.journal.position(), now, suffix)
        workspace = Workspace(database, state.export, inventory)
        difference = no_difference(workspace)
        row = alerts.stage(workspace, Outcome(difference, difference.quiet), row, rules.alerts, rules.tenant_id)
        return rows.write_snapshot(database, row) if row.counts.alerts else None


def _approve(state: StateFile, inventory: Inventory, rules: StagingRules, now: datetime, choice: Choice) -> _Approval:
    """Approve the part of what is held of an inventory that a choice names."""
    workspace, position = Workspace(state.database, state.export, inventory), state.journal.position()
    previous = state.journal.latest_snapshot(inventory)
    staged, parts = holds.approve(workspace, choice)
    removed = sum(part.records for part in parts if part.is_of_removals)
    if previous is None or not removed:
        return _Approval(parts)
    row = _following_row(previous, position, now, f"{_APPROVED}{position.last_snapshot + 1}", removed=removed)
    outcome = Outcome(no_difference(workspace), staged)
    rows.write_changes(workspace, outcome, row, rules.tenant_id, current=outcome.difference.arrivals)
    row = alerts.stage(workspace, outcome, row, rules.alerts, rules.tenant_id)
    support.remember(workspace, outcome, now.astimezone(UTC).date())
    if not state.scratch:
        rows.write_inventory(workspace, outcome)
    return _Approval(parts, rows.write_snapshot(state.database, row), outcome)


def _return(
    state: StateFile, previous: StagedSnapshot, approved: Outcome, rules: StagingRules, now: datetime
) -> StagedSnapshot:
    """Stage what a snapshot would bring that has all the records again whose removal was approved."""
    workspace = Workspace(state.database, state.export, previous.inventory)
    arrivals = workspace.make(
        "come_back",
        f"""
        SELECT * REPLACE (NULL::BIGINT AS previous_row), NULL::UBIGINT AS digest
        FROM {approved.difference.earlier}
        """,
    )
    staged = changes.stage_as(workspace, arrivals, ChangeType.ADDED, Reason.NEW_DEVICE)
    row = _following_row(previous, state.journal.position(), now, _RETURNED, added=previous.counts.removed)
    outcome = Outcome(no_difference(workspace)._replace(arrivals=arrivals), staged)
    rows.write_changes(workspace, outcome, row, rules.tenant_id, current=arrivals)
    return alerts.stage(workspace, outcome, row, rules.alerts, rules.tenant_id)


def _following_row(
    previous: StagedSnapshot, position: Position, now: datetime, suffix: str, *, added: int = 0, removed: int = 0
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
            stored=previous.counts.stored + added - removed,
            added=added,
            removed=removed,
        ),
        **rows.numbers_after(position, added + removed),
        hold_reason=None,
        connector_version=__version__,
    )
