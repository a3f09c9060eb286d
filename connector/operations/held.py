"""What the guard holds, as `held list` shows it."""

from __future__ import annotations

from typing import Any

from connector.clock import moment_of
from connector.state.state import StateFile


def list_held(state: StateFile) -> list[dict[str, Any]]:
    """What `held list --json` prints: a row for each inventory, reason, field and snapshot since which it is held."""
    return [
        {
            "inventory": hold.inventory.value,
            "reason": hold.reason,
            "field": hold.field,
            "records": hold.records,
            "devices": hold.devices,
            "share": round(hold.share, 4),
            "since_snapshot_id": hold.since_snapshot_id,
            "since": moment_of(hold.since).isoformat(),
        }
        for hold in state.journal.holds()
    ]
