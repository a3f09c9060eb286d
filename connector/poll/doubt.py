"""Whether the newest generation may not have been whole when it was fetched.

A listing without one of its parts, or a walk that ended early, looks like software that went; the guard holds that, and
the next poll may see the same generation whole. So a generation in doubt is fetched again while it is the newest, and
compared again where its content differs. That costs no call more than any poll does for files, and a walk for pages.
"""

from __future__ import annotations

from connector.diff.guard import HALF, GuardRules
from connector.model import StagedSnapshot
from connector.state.state import StateFile


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
