"""What is stored, as Python objects: for inventories that fit into memory."""

from __future__ import annotations

from typing import Any

from connector.exports.software import SOFTWARE
from connector.model import Inventory
from connector.state import sql
from connector.state.state import StateFile


def stored_records(state: StateFile, inventory: Inventory) -> list[dict[str, Any]]:
    """An inventory's records with the names of `SoftwareRecord`, ordered by key."""
    columns, order = (", ".join(field.column for field in fields) for fields in (SOFTWARE.fields, SOFTWARE.keys))
    rows = state.database.rows(f"SELECT {columns} FROM {sql.stored_records(state.export, inventory)} ORDER BY {order}")
    return [dict(zip((field.name for field in SOFTWARE.fields), row, strict=True)) for row in rows]


def missing_devices(state: StateFile) -> int:
    """Devices that the last snapshots lack, and whose software is still in the inventory."""
    return state.database.number(
        """
        SELECT count(DISTINCT (inventory, device_no))
        FROM inventory
        SEMI JOIN missing_devices USING (inventory, device_no)
        """
    )
