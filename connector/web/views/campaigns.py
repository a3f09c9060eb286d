"""What happened to many devices at once: the changes of each of the last snapshots, folded."""

from __future__ import annotations

from typing import Any, Final

from connector.errors import StateError
from connector.history.campaigns import fold, without_keys
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.web.query import Query
from connector.web.visits import Facts, Visit

SNAPSHOTS_FOLDED: Final = 8
DEVICES_MIN: Final = 2
DEVICES_MOST: Final = 10_000_000


def campaigns(visit: Visit, query: Query) -> Facts:
    """The campaigns of one snapshot, or of the last ones, the newest first and in each the widest first."""
    selection = query.filters().at(visit.now)
    devices_min = query.number("min_devices", DEVICES_MIN, DEVICES_MOST)
    rows: list[dict[str, Any]] = []
    left = 0
    snapshots = [snapshot for snapshot in _snapshots(visit, query.text("snapshot")) if selection.admits(snapshot)]
    for snapshot in snapshots:
        folded, rest = fold(visit.state, snapshot, selection, devices_min=devices_min)
        left += rest
        about = snapshot.facts(("snapshot_id", "inventory", "generated_at"))
        rows += [about | campaign for campaign in without_keys(folded)]
    return {
        "snapshots": [snapshot.snapshot_id for snapshot in snapshots],
        "campaigns": rows[: query.rows_max],
        "more": len(rows) > query.rows_max,
        "in_none": left,
        "devices_min": devices_min,
        "types": [kind.value for kind in ChangeType],
        "reasons": [reason.value for reason in Reason],
    }


def _snapshots(visit: Visit, snapshot_id: str) -> list[StagedSnapshot]:
    """The snapshot of an id, or the last ones.

    Raises:
        StateError: there is none of that id.
    """
    if not snapshot_id:
        return visit.state.journal.recent_snapshots(SNAPSHOTS_FOLDED)
    named = visit.state.journal.snapshots("snapshot_id = $1 ORDER BY snapshot_no DESC LIMIT 1", [snapshot_id])
    if not named:
        raise StateError(f"there is no snapshot {snapshot_id}", hint="The page of polls has every snapshot.")
    return named
