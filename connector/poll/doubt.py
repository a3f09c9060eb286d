"""Whether the newest generation may not have been whole when it was fetched.

A listing without one of its parts, or a walk that ended early, looks like software that went; the guard holds that, and
the next poll may see the same generation whole. So a generation in doubt is fetched again while it is the newest, and
compared again where its content differs. That costs no call more than any poll does for files, and a walk for pages.
"""

from __future__ import annotations

from connector.diff.guard import HALF, GuardRules, HoldReason
from connector.model import StagedSnapshot
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)


def is_doubted(state: StateFile, newest: StagedSnapshot, rules: GuardRules) -> bool:
    """Whether removals are held, lines could not be read, or more of the inventory is absent than the guard believes.

    The latter are devices that wait for `missing_device_snapshots`: a walk that ended early lacks whole devices.
    """
    if newest.counts.rejected or state.journal.held_count(newest.inventory):
        return True
    stored = newest.counts.stored
    absent = stored - newest.counts.records
    many = absent >= rules.min_removed or absent > HALF * stored
    return many and absent > rules.max_removed_share * stored


def report_lasting_holds(state: StateFile, staged: StagedSnapshot) -> None:
    """Say so, at each snapshot, where lines that cannot be read hold removals since an earlier one."""
    for hold in state.journal.holds():
        is_lasting = hold.since_snapshot_no < staged.snapshot_no
        if hold.inventory is staged.inventory and hold.reason == HoldReason.REJECTED_LINES and is_lasting:
            log.error(
                "removals stay held, since lines cannot be read in one snapshot after another",
                inventory=hold.inventory.value,
                records=hold.records,
                devices=hold.devices,
                since=hold.since_snapshot_id,
                hint="The lines are in the folder rejected/ beside the state file. If they stay as they are, decide:"
                " `mde-inventory held approve` publishes the removals, `held discard` keeps the records.",
            )
