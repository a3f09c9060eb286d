"""May these removals be believed? Decides which absent records are published as REMOVED, and which are held.

Owns the tables `held` and `missing_devices` of the state file and the temporary table `removals`; runs inside the
staging transaction, after `comparison`, `moves` and `diff` have filled `absent`, `elsewhere` and `pairs`. Must not
touch the inventory or number changes.

A record is absent when the snapshot lacks it. What becomes of it, first rule that applies:

    its other half is in `pairs`            a change of version, no removal to judge
    held as MASS_REMOVAL                    stays held until a person decides, whatever its device does; but one that is
                                            elsewhere while its device is present is held no longer
    its device group is gone, whole         held, SCOPE_LOST: the app registration sees less, nothing was uninstalled
    its device is absent                    waits; after `missing_device_snapshots` in a row due as DEVICE_MISSING
    its device is present                   due as UNINSTALLED
    due, and the snapshot has unread lines  held, REJECTED_LINES, until the next snapshot without
    due, and elsewhere                      removed, MOVED: it went to the other inventory, and counts for nothing here
    due, and too many are                   held, MASS_REMOVAL
    due                                     removed

Too many: at least `min_removed` are due, and together with those that are held as MASS_REMOVAL already they are more
than `max_removed_share` of the inventory. So an export that loses records step by step is not believed step by step
while a person has still to look at the first of it.

A held record that comes back is forgotten quietly, as is the absence of a device that comes back. Snapshots with unread
lines do not count as snapshots without a device: its lines may be those.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from connector.model import Inventory, Reason
from connector.state.sql import Database, literal

_GROUP: Final = "coalesce('#' || rbac_group_id, rbac_group_name)"
"""A device group: by its number, or by its name where the export tells no number; NULL for none."""

_ELSEWHERE: Final = "(SELECT (device_no, software_no) FROM elsewhere)"
_IS_MOVED: Final = f"reason = {literal(Reason.MOVED)}"


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
    """What the guard decided: records that it began to hold with this snapshot, and why (None where there are none)."""

    held: int = 0
    reason: HoldReason | None = None


def judge(database: Database, inventory: Inventory, *, rules: GuardRules, snapshot_no: int, rejected: int) -> Verdict:
    """Fill `removals` (device_no, software_no, previous_row, reason) with what may be published as REMOVED.

    Args:
        database: inside the staging transaction, `absent`, `arrivals`, `elsewhere` and `pairs` filled.
        inventory: which inventory the snapshot is of.
        rules: the limits.
        snapshot_no: number of the snapshot being staged; holds and missing devices remember it.
        rejected: lines of the snapshot that could not be read.
    """
    which = literal(inventory)
    _find_absent_devices(database, which)
    _count_missing_devices(database, which, snapshot_no, counts=not rejected)
    _lift_holds(database, which)
    lost = _hold_lost_groups(database, which, snapshot_no)
    _find_due(database, which, rules)
    reason = _reason_to_hold(database, which, rules, rejected)
    believed = {None: "true", HoldReason.REJECTED_LINES: "false"}.get(reason, _IS_MOVED)
    held = _hold(database, which, snapshot_no, reason, f"(FROM due WHERE NOT ({believed}))") if reason else 0
    database.rows(f"CREATE OR REPLACE TEMP TABLE removals AS SELECT * FROM due WHERE {believed}")
    return Verdict(held=lost + held, reason=reason or (HoldReason.SCOPE_LOST if lost else None))


def discard_holds(database: Database, inventory: Inventory) -> int:
    """Take what is held as missing data: the holds are dropped, and absences are counted from nothing.

    Returns the number of records that were held. They stay in the inventory; the next snapshot is judged afresh.
    """
    which = literal(inventory)
    database.rows(
        f"DELETE FROM missing_devices WHERE inventory = {which}"
        f" AND device_no IN (SELECT device_no FROM held WHERE inventory = {which})"
    )
    return database.number(f"DELETE FROM held WHERE inventory = {which}")


def approve_holds(database: Database, inventory: Inventory) -> int:
    """Make `staged` of what is held, reason APPROVED, and hold it no longer. Returns the number of records."""
    which = literal(inventory)
    database.rows(
        "CREATE OR REPLACE TEMP TABLE staged AS SELECT device_no, software_no, i.rowid AS previous_row,"
        f" 'REMOVED' AS change_type, {literal(Reason.APPROVED)} AS reason FROM inventory i JOIN"
        f" (SELECT device_no, software_no FROM held WHERE inventory = {which}) USING (device_no, software_no)"
        f" WHERE inventory = {which}"
    )
    return database.number(f"DELETE FROM held WHERE inventory = {which}")


def _find_absent_devices(database: Database, which: str) -> None:
    """Make `absent_devices`: those of which the snapshot has no record at all."""
    database.rows(
        "CREATE OR REPLACE TEMP TABLE absent_devices AS SELECT device_no FROM"
        f" (SELECT device_no, count(*) AS stored FROM inventory WHERE inventory = {which} GROUP BY device_no)"
        " JOIN (SELECT device_no, count(*) AS gone FROM absent GROUP BY device_no) USING (device_no)"
        " ANTI JOIN arrivals USING (device_no) WHERE stored = gone"
    )


def _count_missing_devices(database: Database, which: str, snapshot_no: int, *, counts: bool) -> None:
    """Count this snapshot for every absent device; a device that is back is forgotten, and begins at 0 again."""
    database.rows(
        f"DELETE FROM missing_devices WHERE inventory = {which}"
        " AND device_no NOT IN (SELECT device_no FROM absent_devices)"
    )
    database.rows(
        f"INSERT INTO missing_devices SELECT {which}, device_no, $1, 0 FROM absent_devices"
        f" ANTI JOIN (SELECT device_no FROM missing_devices WHERE inventory = {which}) USING (device_no)",
        [snapshot_no],
    )
    if counts:
        database.rows(f"UPDATE missing_devices SET snapshots = snapshots + 1 WHERE inventory = {which}")


def _lift_holds(database: Database, which: str) -> None:
    """Drop the holds that this snapshot answers.

    Those are: a record that is back, or became another version; one held for lines that could not be read; and, where
    its device is seen, one held for a lost device group, or one of a mass that turned out to be in the other inventory.
    """
    database.rows(
        f"DELETE FROM held WHERE inventory = {which} AND (reason = {literal(HoldReason.REJECTED_LINES)}"
        f" OR ((reason = {literal(HoldReason.SCOPE_LOST)} OR (device_no, software_no) IN {_ELSEWHERE})"
        "  AND device_no NOT IN (SELECT device_no FROM absent_devices))"
        " OR (device_no, software_no) NOT IN (SELECT (device_no, software_no) FROM absent"
        "  ANTI JOIN pairs USING (previous_row)))"
    )


def _hold_lost_groups(database: Database, which: str, snapshot_no: int) -> int:
    """Hold the records of device groups that vanished whole, with all their devices."""
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE gone AS SELECT device_no, software_no, {_GROUP} AS device_group"
        " FROM inventory SEMI JOIN absent_devices USING (device_no)"
        f" WHERE inventory = {which} AND device_group IS NOT NULL"
    )
    if not database.number("SELECT count(*) FROM gone"):
        return 0
    database.rows(
        "DELETE FROM gone WHERE device_group IN"
        f" (SELECT {_GROUP} FROM inventory ANTI JOIN absent_devices USING (device_no)"
        f"  WHERE inventory = {which} AND {_GROUP} IS NOT NULL"
        f"  UNION ALL SELECT {_GROUP} FROM arrivals WHERE {_GROUP} IS NOT NULL)"
    )
    return _hold(database, which, snapshot_no, HoldReason.SCOPE_LOST, "gone")


def _find_due(database: Database, which: str, rules: GuardRules) -> None:
    """Make `due`: absent records that are neither held nor half of a change of version, and have waited enough."""
    database.rows(
        "CREATE OR REPLACE TEMP TABLE due AS SELECT a.device_no, a.software_no, a.previous_row,"
        f" CASE WHEN (a.device_no, a.software_no) IN {_ELSEWHERE} THEN {literal(Reason.MOVED)}"
        f" WHEN m.device_no IS NULL THEN {literal(Reason.UNINSTALLED)} ELSE {literal(Reason.DEVICE_MISSING)} END"
        " AS reason FROM absent a ANTI JOIN pairs ON pairs.previous_row = a.previous_row"
        f" ANTI JOIN (SELECT * FROM held WHERE inventory = {which}) h USING (device_no, software_no)"
        f" LEFT JOIN (SELECT * FROM missing_devices WHERE inventory = {which}) m ON m.device_no = a.device_no"
        f" WHERE m.device_no IS NULL OR m.snapshots >= {rules.missing_device_snapshots}"
    )


def _reason_to_hold(database: Database, which: str, rules: GuardRules, rejected: int) -> HoldReason | None:
    if rejected and database.number("SELECT count(*) FROM due"):
        return HoldReason.REJECTED_LINES
    gone = database.number(f"SELECT count(*) FROM due WHERE NOT {_IS_MOVED}")
    if not gone or gone < rules.min_removed:
        return None
    stored = database.number(f"SELECT count(*) FROM inventory WHERE inventory = {which}")
    held = database.number(
        f"SELECT count(*) FROM held WHERE inventory = {which} AND reason = {literal(HoldReason.MASS_REMOVAL)}"
    )
    return HoldReason.MASS_REMOVAL if gone + held > rules.max_removed_share * stored else None


def _hold(database: Database, which: str, snapshot_no: int, reason: HoldReason, records: str) -> int:
    """Hold the records (device_no, software_no) of a table that are not held yet."""
    return database.number(
        f"INSERT INTO held SELECT {which}, device_no, software_no, $1, {literal(reason)} FROM {records}"
        f" ANTI JOIN (SELECT * FROM held WHERE inventory = {which}) USING (device_no, software_no)",
        [snapshot_no],
    )
