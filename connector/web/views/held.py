"""What the guard holds: what, where, why, and the commands that decide."""

from __future__ import annotations

from typing import Any, Final

from connector.diff.guard import HoldReason
from connector.model import Hold
from connector.operations.held import list_held
from connector.staging.holds import EVERYTHING, measure
from connector.web.query import Query
from connector.web.visits import Facts, Visit

NAMES_MAX: Final = 5
"""Groups and devices that stand beside what is held."""

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
            | _places(visit, hold)
            | {"options": f"--reason {hold.reason} --inventory {hold.inventory}"}
        )
    return {"held": parts}


def _places(visit: Visit, hold: Hold) -> dict[str, list[dict[str, Any]]]:
    """The device groups and devices with the most held removals; nothing for values and additions."""
    largest: dict[str, tuple[tuple[str, int], ...]] = {"largest_groups": (), "largest_devices": ()}
    if hold.is_of_removals:
        extent = measure(visit.state, hold.inventory, EVERYTHING.of(hold), names_max=NAMES_MAX)
        largest = {"largest_groups": extent.largest_groups, "largest_devices": extent.largest_devices}
    return {
        place: [{"name": name or None, "records": records} for name, records in names]
        for place, names in largest.items()
    }
