"""What happened to many devices at once: the changes of each of the last snapshots, folded."""

from __future__ import annotations

from typing import Any, Final

from connector.errors import StateError
from connector.history.campaigns import fold, without_keys
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.state.lists.paging import NUMBER
from connector.web.query import Query, turn
from connector.web.visits import Facts, Visit

SNAPSHOTS_FOLDED: Final = 8
DEVICES_MIN: Final = 2
DEVICES_MOST: Final = 10_000_000
FOLDED: Final = (NUMBER, NUMBER)
"""The kinds of a campaign's place: the number of its snapshot, and how many campaigns of it are wider."""


def campaigns(visit: Visit, query: Query) -> Facts:
    """The campaigns of one snapshot, or of the last ones, the newest first and in each the widest first."""
    selection = query.filters().at(visit.now)
    devices_min = query.number("min_devices", DEVICES_MIN, DEVICES_MOST)
    begin, wider = query.after(FOLDED) or (None, 0)
    known = [snapshot for snapshot in _snapshots(visit, query.text("snapshot"), begin) if selection.admits(snapshot)]
    rows: list[dict[str, Any]] = []
    places, left = [], 0
    for snapshot in known[:SNAPSHOTS_FOLDED]:
        folded, rest = fold(visit.state, snapshot, selection, devices_min=devices_min)
        left += rest
        about = snapshot.facts(("snapshot_id", "inventory", "generated_at"))
        skipped = int(wider or 0) if snapshot.snapshot_no == begin else 0
        rows += [about | campaign for campaign in without_keys(folded)[skipped:]]
        places += [(snapshot.snapshot_no, place) for place in range(skipped + 1, len(folded) + 1)]
        if len(rows) > query.rows_max:
            break
    older = known[SNAPSHOTS_FOLDED:]
    end = places[query.rows_max - 1] if len(rows) > query.rows_max else (older[0].snapshot_no, 0) if older else None
    return {
        "snapshots": [snapshot.snapshot_id for snapshot in known[:SNAPSHOTS_FOLDED]],
        "campaigns": rows[: query.rows_max],
        **turn(end),
        "in_none": left,
        "devices_min": devices_min,
        "types": [kind.value for kind in ChangeType],
        "reasons": [reason.value for reason in Reason],
    }


def _snapshots(visit: Visit, snapshot_id: str, begin: object) -> list[StagedSnapshot]:
    """The snapshot of an id, or those from a number back, or all; the newest first.

    Raises:
        StateError: there is none of that id.
    """
    if not snapshot_id:
        condition = "($1::BIGINT IS NULL OR snapshot_no <= $1) ORDER BY snapshot_no DESC"
        return visit.state.journal.snapshots(condition, [begin])
    named = visit.state.journal.snapshots("snapshot_id = $1 ORDER BY snapshot_no DESC LIMIT 1", [snapshot_id])
    if not named:
        raise StateError(f"there is no snapshot {snapshot_id}", hint="The page of polls has every snapshot.")
    return named
