"""What `status` shows: position, backlog, recent snapshots, what is held, age of the data."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from connector.assembly import Assembly
from connector.errors import ConnectorError
from connector.model import StagedSnapshot
from connector.operations.held_rows import list_held
from connector.poll import reports
from connector.staging import unreadable
from connector.staging.inventory_topic import Mirror
from connector.state.state import StateFile

SNAPSHOTS_SHOWN: Final = 10
SNAPSHOT_NAMES: Final = (
    "snapshot_id", "inventory", "epoch", "baseline", "records", "devices", "added", "removed", "changed", "alerts",
    "held", "duplicates", "rejected", "method", "generated_at", "staged_at",
)  # fmt: skip


def read_status(assembly: Assembly, state: StateFile, *, at: datetime) -> dict[str, Any]:
    """What `status --json` prints; ages are seconds before `at`."""
    position = state.journal.position()
    latest = {inventory: state.journal.latest_snapshot(inventory) for inventory in assembly.inventories}
    return {
        "state": str(assembly.config.state.path),
        "tenant_id": state.journal.tenant_id(),
        "epoch": position.epoch,
        "last_sequence": position.last_sequence,
        "published_sequence": position.published_sequence,
        "pending": position.pending,
        "inventory": sum(state.journal.inventory_count(inventory) for inventory in assembly.inventories),
        "age_seconds": {
            inventory.value: round((at - snapshot.observed_at).total_seconds())
            for inventory, snapshot in latest.items()
            if snapshot
        },
        "stale": [
            inventory.value
            for inventory, snapshot in latest.items()
            if snapshot and reports.is_stale(snapshot, stale_after=assembly.stale_after, at=at)
        ],
        "inventory_topic": _inventory_topic(Mirror(state.database, state.export))
        if assembly.config.kafka.inventory_topic
        else None,
        "certificate_ends": _certificate_end(assembly),
        "unreadable": {
            inventory.value: counts
            for inventory in assembly.inventories
            if (counts := unreadable.noted(state, inventory))
        },
        "held": list_held(state),
        "snapshots": [
            _snapshot(snapshot, sealed=snapshot.snapshot_no <= position.published_snapshot)
            for snapshot in state.journal.recent_snapshots(SNAPSHOTS_SHOWN)
        ],
    }


def _certificate_end(assembly: Assembly) -> str | None:
    """When the client certificate ends; what is wrong with it is for `check` to say."""
    if assembly.config.source.auth != "certificate":
        return None
    from connector.source.http.tokens import certificate_end

    with suppress(ConnectorError):
        end = certificate_end(assembly.config.source)
        return end.isoformat() if end else None
    return None


def _snapshot(snapshot: StagedSnapshot, *, sealed: bool) -> dict[str, Any]:
    facts = snapshot.facts(SNAPSHOT_NAMES)
    return facts | {name: facts[name].isoformat() for name in ("generated_at", "staged_at")} | {"sealed": sealed}


def _inventory_topic(mirror: Mirror) -> dict[str, Any]:
    """How far it is filled up: `records`, `stale` (keys to be ended), or `whole`; and the remaining records."""
    return {"phase": mirror.cursor().phase, "remaining": mirror.remaining()}
