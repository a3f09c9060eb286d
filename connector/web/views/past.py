"""Every snapshot that is on record, and two days side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from connector.history.comparison import compare as compare_snapshots
from connector.history.comparison import pair_up
from connector.history.directory import count_groups
from connector.history.past import Past
from connector.model import StagedSnapshot
from connector.web.query import Query
from connector.web.views.held import WHY
from connector.web.visits import Facts, Visit

GROUPS_MAX: Final = 200
REJECTED_SNAPSHOTS_MAX: Final = 5
REJECTED_BYTES_MAX: Final = 1 << 20
REASONS_MAX: Final = 10
SNAPSHOT_NAMES: Final = (
    "snapshot_id", "inventory", "epoch", "baseline", "method", "generated_at", "started_at", "staged_at", "records",
    "devices", "stored", "added", "removed", "changed", "alerts", "held", "hold_reason", "duplicates", "rejected",
    "connector_version",
)  # fmt: skip
DIFFERENCE_NAMES: Final = (
    "inventory", "changeType", "reason", "changedFields", "isEndOfSupport", "deviceId", "deviceName", "rbacGroupName",
    "softwareVendor", "softwareName", "softwareVersion",
)  # fmt: skip


def polls(visit: Visit, query: Query) -> Facts:
    """Snapshots, the newest first, with their counts and why the guard began to hold something."""
    snapshots = visit.state.journal.recent_snapshots(query.rows_max + 1)
    sealed = visit.state.journal.position().published_snapshot
    return {
        "snapshots": [_snapshot(snapshot, sealed) for snapshot in snapshots[: query.rows_max]],
        "more": len(snapshots) > query.rows_max,
        "groups": count_groups(visit.state, GROUPS_MAX),
        "rejected": list(_rejected(visit.assembly.config.state.rejected_path, snapshots)),
    }


def compare(visit: Visit, query: Query) -> Facts:
    """What differs between two days, netted; nothing yet where no first day is named."""
    past = Past(visit.state)
    facts: Facts = {
        "known_since": min((coverage.oldest.observed_at for coverage in past.coverages), default=None),
        "pairs": [],
        "left_out": [],
        "differences": None,
        "more": False,
    }
    if not query.text("from") or not past.coverages:
        return facts
    selection = query.filters().at(visit.now)
    pairs = pair_up(past, query.time("from", visit.now), query.time("to", visit.now), selection)
    rows = (row for pair in pairs.known for block in compare_snapshots(visit.state, *pair, selection) for row in block)
    differences = [_difference(row) for row in islice(rows, query.rows_max + 1)]
    return facts | {
        "pairs": [{"from": begin.snapshot_id, "to": end.snapshot_id} for begin, end in pairs.known],
        "left_out": [inventory.value for inventory in pairs.left_out],
        "differences": differences[: query.rows_max],
        "more": len(differences) > query.rows_max,
    }


def _rejected(folder: Path, snapshots: list[StagedSnapshot]) -> Iterator[dict[str, Any]]:
    """Why lines of the last snapshots that had such could not be read, the most frequent reason first.

    The lines themselves stay in their files; of a large one, the beginning counts.
    """
    for snapshot in [snapshot for snapshot in snapshots if snapshot.counts.rejected][:REJECTED_SNAPSHOTS_MAX]:
        reasons = Counter[str]()
        with suppress(OSError), (folder / f"{snapshot.snapshot_id}.ndjson").open("rb") as lines:
            for line in lines.read(REJECTED_BYTES_MAX).splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    reasons[str(json.loads(line)["reason"])] += 1
        for reason, number in reasons.most_common(REASONS_MAX):
            yield {"snapshot_id": snapshot.snapshot_id, "reason": reason, "lines": number}


def _difference(row: dict[str, Any]) -> dict[str, Any]:
    before = row["before"]
    return {name: row[name] for name in DIFFERENCE_NAMES} | {
        "previousVersion": before["softwareVersion"] if before else None
    }


def _snapshot(snapshot: StagedSnapshot, sealed: int) -> dict[str, Any]:
    return snapshot.facts(SNAPSHOT_NAMES) | {
        "seconds": (snapshot.staged_at - snapshot.started_at) // 1000,
        "why_held": WHY.get(snapshot.hold_reason or ""),
        "sealed": snapshot.snapshot_no <= sealed,
    }
