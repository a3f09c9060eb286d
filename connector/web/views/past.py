"""Every snapshot that is on record, the inventory of any day, and two days side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from connector.clock import milliseconds_of
from connector.exports.fields import Export, Kind
from connector.exports.software import SOFTWARE
from connector.history.comparison import compare as compare_snapshots
from connector.history.comparison import pair_up
from connector.history.directory import count_groups
from connector.history.filters import Selection
from connector.history.past import Past, order_of_keys
from connector.model import Inventory, StagedSnapshot
from connector.state.lists.paging import NUMBER, TEXT, Place
from connector.web.query import Query, turn
from connector.web.views.held import WHY
from connector.web.visits import Facts, Visit

CSV_ROWS_MAX: Final = 50_000
CSV_NAMES: Final = (
    "inventory", *(field.name for field in SOFTWARE.fields if field.kind is not Kind.TEXT_SET), "isEndOfSupport",
)  # fmt: skip
RECORD_NAMES: Final = (
    "inventory", "deviceId", "deviceName", "osPlatform", "rbacGroupName", "softwareVendor", "softwareName",
    "softwareVersion", "numberOfWeaknesses", "endOfSupportStatus", "endOfSupportDate", "isEndOfSupport",
)  # fmt: skip
SNAPSHOTS: Final = (NUMBER,)
"""The kinds of a snapshot's place: its number."""
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
    snapshots, end = read_snapshots(visit, query)
    sealed = visit.state.journal.position().published_snapshot
    return {
        "snapshots": [_snapshot(snapshot, sealed) for snapshot in snapshots[: query.rows_max]],
        **turn(end),
        "groups": count_groups(visit.state, GROUPS_MAX),
        "rejected": list(_rejected(visit.assembly.config.state.rejected_path, snapshots)),
    }


def read_snapshots(visit: Visit, query: Query) -> tuple[list[StagedSnapshot], Place | None]:
    """The snapshots of a page, the newest first, and one more where it is not the last; and where it ends then."""
    after = query.after(SNAPSHOTS)
    snapshots = visit.state.journal.recent_snapshots(query.rows_max + 1, int(after[0] or 0) if after else None)
    return snapshots, (snapshots[-2].snapshot_no,) if len(snapshots) > query.rows_max else None


class Begun(NamedTuple):
    """What later pages of a list about the past keep, so that they are about what the first page was about.

    Attributes:
        now: when the first page was shown.
        selection: what is wanted, of the snapshots that there were then.
        after: the inventory and the keys that the page before ended with; None on the first page.
    """

    now: datetime
    selection: Selection
    after: Place | None

    @classmethod
    def of(cls, visit: Visit, query: Query) -> Self:
        """From the query of a page.

        Raises:
            ConfigError: no page ended there.
        """
        after = query.after((NUMBER, NUMBER, TEXT, *order_of_keys(visit.state.export).kinds))
        now = query.since_the_first_page(after, visit.now)
        newest = int(after[1] or 0) if after else visit.state.journal.position().last_snapshot
        return cls(now, replace(query.filters().at(now), upto_snapshot=newest), after[2:] if after else None)

    def beyond(self, inventory: Inventory) -> Place | None:
        """The keys that the page before ended with, where it ended in that inventory."""
        return self.after[1:] if self.after and self.after[0] == inventory.value else None

    def is_done(self, inventory: Inventory) -> bool:
        """Whether earlier pages had all of an inventory."""
        order = [known.value for known in Inventory]
        ended = order.index(str(self.after[0])) if self.after and self.after[0] in order else 0
        return order.index(inventory.value) < ended

    def end(self, export: Export, row: Mapping[str, Any]) -> Place:
        """The place of the last row of a page."""
        keys = (row[field.name] for field in export.keys)
        return (milliseconds_of(self.now), self.selection.upto_snapshot, row["inventory"], *keys)


def compare(visit: Visit, query: Query) -> Facts:
    """What differs between two days, netted; nothing yet where no first day is named."""
    past = Past(visit.state)
    facts: Facts = {
        "known_since": _known_since(past),
        "pairs": [],
        "left_out": [],
        "differences": None,
        **turn(None),
    }
    if not query.text("from") or not past.coverages:
        return facts
    begun = Begun.of(visit, query)
    pairs = pair_up(past, query.time("from", begun.now), query.time("to", begun.now), begun.selection)
    rows = (
        row
        for earlier, later in pairs.known
        if not begun.is_done(later.inventory)
        for block in compare_snapshots(visit.state, earlier, later, begun.selection, begun.beyond(later.inventory))
        for row in block
    )
    differences = list(islice(rows, query.rows_max + 1))
    end = begun.end(visit.state.export, differences[-2]) if len(differences) > query.rows_max else None
    return facts | {
        "pairs": [{"from": begin.snapshot_id, "to": end.snapshot_id} for begin, end in pairs.known],
        "left_out": [inventory.value for inventory in pairs.left_out],
        "differences": [_difference(row) for row in differences[: query.rows_max]],
        **turn(end),
    }


def inventory(visit: Visit, query: Query) -> Facts:
    """The inventory of the whole fleet as it was at a time, in the order of devices and products."""
    past = Past(visit.state)
    begun = Begun.of(visit, query)
    snapshots = past.at(query.time("at", begun.now), begun.selection) if past.coverages else []
    rows, end = _records(visit, past, snapshots, begun, query.rows_max)
    return {
        "at": query.time("at", begun.now) if query.text("at") else None,
        "as_of": [snapshot.snapshot_id for snapshot in snapshots],
        "known_since": _known_since(past),
        "records": [{name: row[name] for name in RECORD_NAMES} for row in rows],
        **turn(end),
        "inventories": [inventory.value for inventory in Inventory],
    }


def inventory_rows(visit: Visit, query: Query) -> Facts:
    """Its records alone, for a spreadsheet."""
    past = Past(visit.state)
    begun = Begun.of(visit, query)
    snapshots = past.at(query.time("at", begun.now), begun.selection)
    return {"rows": _records(visit, past, snapshots, begun, CSV_ROWS_MAX)[0]}


def _records(
    visit: Visit, past: Past, snapshots: list[StagedSnapshot], begun: Begun, rows_max: int
) -> tuple[list[dict[str, Any]], Place | None]:
    """A page of the records of some snapshots, one inventory after the other; and where it ends, if others follow."""
    rows: list[dict[str, Any]] = []
    for snapshot in snapshots:
        if len(rows) <= rows_max and not begun.is_done(snapshot.inventory):
            beyond = begun.beyond(snapshot.inventory)
            rows += past.page(snapshot, begun.selection, rows_max + 1 - len(rows), beyond).rows
    shown = rows[:rows_max]
    return shown, begun.end(visit.state.export, shown[-1]) if len(rows) > rows_max else None


def _known_since(past: Past) -> datetime | None:
    return min((coverage.oldest.observed_at for coverage in past.coverages), default=None)


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
