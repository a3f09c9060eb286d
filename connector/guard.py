"""May these removals be believed? Decides which absent records are published as REMOVED, and which are held.

Owns the tables `held` and `missing_devices` of the state file and the temporary table `removals`; runs inside the
staging transaction, after `diff` has filled `absent` and `pairs`. Must not touch the inventory or number changes.

A record is absent when the snapshot lacks it. What becomes of it, first rule that applies:

    its other half is in `pairs`            a change of version, no removal
    held already                            stays held, whatever its device does
    its whole device group is gone          held, SCOPE_LOST: the app registration sees less, nothing was uninstalled
    its device is absent                    waits; after `missing_device_snapshots` in a row due as DEVICE_MISSING
    its device is present                   due as UNINSTALLED
    due, and the snapshot has unread lines  held, REJECTED_LINES, until the next snapshot without
    due, and too many are                   held, MASS_REMOVAL
    due                                     removed

A held record that comes back is forgotten quietly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from connector.model import Inventory, Reason
from connector.scan import literal

if TYPE_CHECKING:
    from connector.diff import Database

TEMPORARY_TABLES: Final = ("absent_devices", "due", "removals")


class HoldReason(StrEnum):
    """Why removals are held."""

    MASS_REMOVAL = "MASS_REMOVAL"
    SCOPE_LOST = "SCOPE_LOST"
    REJECTED_LINES = "REJECTED_LINES"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """The limits of `[guard]`: a share of 0 to 1 of the inventory's records, numbers of records and snapshots."""

    max_removed_share: float = 0.15
    min_removed: int = 100
    missing_device_snapshots: int = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard decided: records it held in this snapshot, and why (None where it held nothing)."""

    held: int
    reason: HoldReason | None


def judge(database: Database, inventory: Inventory, *, rules: GuardRules, snapshot_no: int, rejected: int) -> Verdict:
    """Fill `removals` (device_no, software_no, previous_row, reason) with what may be published as REMOVED.

    Args:
        database: inside the staging transaction, `absent` and `pairs` filled.
        inventory: which inventory the snapshot is of.
        rules: the limits.
        snapshot_no: number of the snapshot being staged; holds and missing devices remember it.
        rejected: lines of the snapshot that could not be read.
    """
    which = literal(inventory)
    for table in TEMPORARY_TABLES:
        database.rows(f"DROP TABLE IF EXISTS {table}")
    database.rows(
        "CREATE TEMP TABLE absent_devices AS SELECT device_no FROM"
        f" (SELECT device_no, count(*) AS stored FROM inventory WHERE inventory = {which} GROUP BY device_no)"
        " JOIN (SELECT device_no, count(*) AS gone FROM absent GROUP BY device_no) USING (device_no)"
        " ANTI JOIN (SELECT device_no FROM differs WHERE device_id IS NOT NULL) USING (device_no)"
        " WHERE stored = gone"
    )
    _count_missing_devices(database, which, snapshot_no)
    _forget_returned(database, which)
    lost = _hold_lost_groups(database, which, snapshot_no)
    database.rows(
        "CREATE TEMP TABLE due AS SELECT a.device_no, a.software_no, a.previous_row,"
        f" CASE WHEN m.device_no IS NULL THEN {literal(Reason.UNINSTALLED)} ELSE {literal(Reason.DEVICE_MISSING)} END"
        " AS reason FROM absent a ANTI JOIN pairs ON pairs.previous_row = a.previous_row"
        f" ANTI JOIN (SELECT * FROM held WHERE inventory = {which}) h USING (device_no, software_no)"
        f" LEFT JOIN (SELECT * FROM missing_devices WHERE inventory = {which}) m ON m.device_no = a.device_no"
        f" WHERE m.device_no IS NULL OR m.snapshots >= {rules.missing_device_snapshots}"
    )
    reason = _reason_to_hold(database, which, rules, rejected)
    if reason is not None:
        _hold(database, which, snapshot_no, reason, "SELECT device_no, software_no FROM due")
    database.rows("CREATE TEMP TABLE removals AS SELECT * FROM due" + (" WHERE false" if reason else ""))
    held_due = database.number("SELECT count(*) FROM due") if reason else 0
    return Verdict(held=lost + held_due, reason=reason or (HoldReason.SCOPE_LOST if lost else None))


def _count_missing_devices(database: Database, which: str, snapshot_no: int) -> None:
    """Count this snapshot for every absent device; a device that is back is forgotten, and begins at 0 again."""
    database.rows(
        f"DELETE FROM missing_devices WHERE inventory = {which}"
        " AND device_no NOT IN (SELECT device_no FROM absent_devices)"
    )
    database.rows(f"UPDATE missing_devices SET snapshots = snapshots + 1 WHERE inventory = {which}")
    database.rows(
        f"INSERT INTO missing_devices SELECT {which}, device_no, $1, 1 FROM absent_devices"
        f" ANTI JOIN (SELECT device_no FROM missing_devices WHERE inventory = {which}) USING (device_no)",
        [snapshot_no],
    )


def _forget_returned(database: Database, which: str) -> None:
    """Drop holds whose record is back, became another version, or was held only for lines that could not be read."""
    database.rows(
        f"DELETE FROM held WHERE inventory = {which} AND (reason = {literal(HoldReason.REJECTED_LINES)}"
        " OR (device_no, software_no) NOT IN (SELECT (device_no, software_no) FROM absent"
        "  ANTI JOIN pairs USING (previous_row)))"
    )


def _hold_lost_groups(database: Database, which: str, snapshot_no: int) -> int:
    """Hold the records of device groups that vanished whole, with all their devices, while others stayed."""
    lost = database.rows(
        "WITH stored AS (SELECT rbac_group_id, count(*) AS records FROM inventory"
        f" WHERE inventory = {which} AND rbac_group_id IS NOT NULL GROUP BY rbac_group_id),"
        " gone AS (SELECT rbac_group_id, count(*) AS records FROM inventory"
        " JOIN absent ON absent.previous_row = inventory.rowid"
        " SEMI JOIN absent_devices ON absent_devices.device_no = inventory.device_no GROUP BY rbac_group_id)"
        " SELECT rbac_group_id FROM stored JOIN gone USING (rbac_group_id) WHERE stored.records = gone.records"
        " AND rbac_group_id NOT IN"
        "  (SELECT rbac_group_id FROM differs WHERE device_id IS NOT NULL AND rbac_group_id IS NOT NULL)"
    )
    if not lost:
        return 0
    return _hold(
        database,
        which,
        snapshot_no,
        HoldReason.SCOPE_LOST,
        "SELECT inventory.device_no, inventory.software_no FROM inventory"
        " JOIN absent ON absent.previous_row = inventory.rowid"
        f" WHERE rbac_group_id IN ({', '.join(str(row[0]) for row in lost)})",
    )


def _reason_to_hold(database: Database, which: str, rules: GuardRules, rejected: int) -> HoldReason | None:
    due = database.number("SELECT count(*) FROM due")
    if due and rejected:
        return HoldReason.REJECTED_LINES
    stored = database.number(f"SELECT count(*) FROM inventory WHERE inventory = {which}")
    if due >= rules.min_removed and due > rules.max_removed_share * stored:
        return HoldReason.MASS_REMOVAL
    return None


def _hold(database: Database, which: str, snapshot_no: int, reason: HoldReason, keys: str) -> int:
    """Hold the records that `keys` (a SELECT of device_no, software_no) names and that are not held yet."""
    return database.number(
        f"INSERT INTO held SELECT {which}, device_no, software_no, $1, {literal(reason)} FROM ({keys})"
        f" ANTI JOIN (SELECT * FROM held WHERE inventory = {which}) USING (device_no, software_no)",
        [snapshot_no],
    )
