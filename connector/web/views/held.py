"""What the guard holds: what, where, why, and the commands that decide."""

from __future__ import annotations

from typing import Final

from connector.diff.guard import HoldReason
from connector.history.directory import where_held
from connector.operations.held import list_held
from connector.web.query import Query
from connector.web.visits import Facts, Visit

WHY: Final[dict[str, str]] = {
    HoldReason.MASS_REMOVAL: "more records than guard.max_removed_share allows would go within 24 hours",
    HoldReason.SCOPE_LOST: "a device group vanished whole: this is what a changed permission looks like",
    HoldReason.REJECTED_LINES: "lines could not be read, and an unreadable record is not an uninstalled one",
    HoldReason.EMPTIED_FIELD: "a field lost its value on nearly all records",
    HoldReason.MASS_CHANGE: "a field changed on more than its share of all records in one snapshot",
    HoldReason.KEYS_CHANGED: "new records come with about as many absences, or names are empty nearly everywhere",
    HoldReason.MASS_ADDITION: "more records are new than guard.max_added_share allows; the next generation confirms",
}
"""Why something is held, in words; the probable cause is among them."""


def held(visit: Visit, _query: Query) -> Facts:
    """A part for each inventory, reason, field and snapshot since which it is held."""
    parts = []
    for row, hold in zip(list_held(visit.state), visit.state.journal.holds(), strict=True):
        parts.append(
            row
            | {"why": WHY[HoldReason(hold.reason)]}
            | where_held(visit.state, hold)
            | {"options": f"--reason {hold.reason} --inventory {hold.inventory}"}
        )
    return {"held": parts}
