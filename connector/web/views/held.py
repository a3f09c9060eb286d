"""What the guard holds: what, where, why, what follows from a decision, and the last decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from connector.diff.guard import HoldReason
from connector.operations.held import measure, try_decisions
from connector.state.decisions import newest
from connector.web.query import Query
from connector.web.visits import Facts, Visit

NAMES_MAX: Final = 5
"""Groups and devices that stand beside what is held."""

DECISIONS_SHOWN: Final = 20

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


def held_tried(visit: Visit, _query: Query) -> Facts:
    """What `held list --json` shows: what is held, and what follows from an approval, which is tried in a copy."""
    return _facts(visit, try_decisions(visit.assembly, visit.state, names_max=NAMES_MAX).parts)


def held(visit: Visit, _query: Query) -> Facts:
    """The same, where there is no time for a trial: what follows is not known."""
    unknown = {"if_approved": None, "if_it_returns": None}
    holds = visit.state.journal.holds()
    return _facts(visit, [measure(visit.state, hold, names_max=NAMES_MAX) | unknown for hold in holds])


def _facts(visit: Visit, parts: Iterable[dict[str, Any]]) -> Facts:
    """A part for each inventory, reason, field and snapshot since which it is held; and the last decisions."""
    return {
        "held": [
            part
            | {"why": WHY[HoldReason(part["reason"])]}
            | {place: _places(part[place]) for place in ("largest_groups", "largest_devices")}
            | {"options": f"--reason {part['reason']} --inventory {part['inventory']}"}
            for part in parts
        ],
        "decided": newest(visit.state.database, limit=DECISIONS_SHOWN),
    }


def _places(records: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": name or None, "records": number} for name, number in records.items()]
