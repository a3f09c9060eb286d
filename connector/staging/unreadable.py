"""Attributes that could not be read: what the newest snapshot had of them, by name, in the log and for whoever asks.

Such a value says nothing: a record that is stored already keeps the value it had, a new one has null. So nothing is
changed, cleared or removed for it.
"""

from __future__ import annotations

import json

from connector.model import Inventory, Snapshot
from connector.state.meta import remember
from connector.state.sql import Database
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)


def note(database: Database, snapshot: Snapshot) -> None:
    """Log what could not be read of a snapshot, and remember it as that of its inventory's newest."""
    if snapshot.unreadable:
        log.warning(
            "attributes cannot be read, and count as unknown",
            inventory=snapshot.inventory.value,
            values=snapshot.unreadable,
            outcome="stored values stay; new records have null",
        )
    remember(database, _name(snapshot.inventory), json.dumps(snapshot.unreadable))


def noted(state: StateFile, inventory: Inventory) -> dict[str, int]:
    """Values that could not be read in an inventory's newest snapshot, counted by the name of the field."""
    counts: dict[str, int] = json.loads(state.recall(_name(inventory)) or "{}")
    return counts


def _name(inventory: Inventory) -> str:
    return f"unreadable {inventory}"
