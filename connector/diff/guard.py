"""Decides which removals are published and which are held for review.

The guard keeps the tables `held` and `missing_devices` of the state file, inside the staging transaction.

A record is absent when the snapshot lacks it. What becomes of it, first rule that applies:

    its other half is in `pairs`            a change of version, no removal to judge
    held as MASS_REMOVAL                    stays held until a person decides, whatever its device does; but one that is
                                            elsewhere while its device is present is held no longer
    its device group is gone, whole         held, SCOPE_LOST: the app registration sees less, nothing was uninstalled
    its device is absent                    waits; after `missing_device_snapshots` in a row due as DEVICE_MISSING
    its device is present                   due as UNINSTALLED (`diff.catalogue` and `diff.aged` may give another)
    due, and its device is doubted          held, REJECTED_LINES, until a snapshot whose unread lines are not about it
    due, and elsewhere                      removed, MOVED: it went to the other inventory, and counts for nothing here
    due, and too many are                   held, MASS_REMOVAL
    due                                     removed

Too many: the removals that are due, with those held as MASS_REMOVAL already and those of the last 24 hours, are more
than `max_removed_share` of the inventory as it would be without the latter. Fewer than `min_removed` are not too many,
unless they are more than half of the inventory. So an export that loses records step by step is not believed step by
step. Hours are those between generations; what a person approved, what moved and what became another version is not
counted, and an approval settles the removals before it.

A device is doubted where lines of the snapshot could not be read and may be about it: they name it, or one of them does
not say what device it is about; then every device is doubted.

A held record that comes back is forgotten quietly, as is the absence of a device that comes back. A snapshot does not
count as one without a device that it makes doubted. A generation that is staged twice counts once, and what it was held
for at first is judged again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from connector.diff.tables import Difference, Moves, Relation, Workspace
from connector.model import Reason
from connector.state.sql import literal

_GROUP: Final = "coalesce('#' || rbac_group_id, rbac_group_name)"
"""A device group: by its number, or by its name where the export gives no number; NULL for none."""

WINDOW_MILLISECONDS: Final = 24 * 3_600_000
"""So long removals are judged together, whichever snapshots they come with; in times of generations."""

HALF: Final = 0.5
"""More than this share of the inventory is too much, however few records that is."""

_IS_MOVED: Final = f"reason = {literal(Reason.MOVED)}"


class HoldReason(StrEnum):
    """Why removals are held, or, for the last four, values of a field or additions (`distrust`, `growth`)."""

    MASS_REMOVAL = "MASS_REMOVAL"
    SCOPE_LOST = "SCOPE_LOST"
    REJECTED_LINES = "REJECTED_LINES"
    EMPTIED_FIELD = "EMPTIED_FIELD"
    MASS_CHANGE = "MASS_CHANGE"
    KEYS_CHANGED = "KEYS_CHANGED"
    MASS_ADDITION = "MASS_ADDITION"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """The limits of `[guard]`: a share of 0 to 1 of the inventory's records, numbers of records and snapshots."""

    max_removed_share: float
    min_removed: int
    missing_device_snapshots: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """The snapshot whose absences are judged.

    Attributes:
        snapshot_no: holds and missing devices remember it.
        generated_at: time of the generation, in milliseconds since 1970.
        doubted: the devices (device_no) that unreadable lines of it may be about; None: it has no such lines.
        is_repeat: whether its generation was counted already: it says nothing more of a device that is missing.
    """

    snapshot_no: int
    generated_at: int
    doubted: Relation | None = None
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard decided.

    Attributes:
        removals: what may be published as REMOVED: (device_no, software_no, previous_row, reason). None: nothing was
            judged.
        held: records that it began to hold with this snapshot.
        reason: why; None where there are none.
    """

    removals: Relation | None = None
    held: int = 0
    reason: HoldReason | None = None


@dataclass(frozen=True, slots=True)
class Absences:
    """What the guard judges: the comparison's result, with the moves and pairs found in it."""

    difference: Difference
    moves: Moves
    pairs: Relation

    @property
    def elsewhere(self) -> str:
        """A subquery: the keys of absent records that the other inventory has."""
        return f"(SELECT (device_no, software_no) FROM {self.moves.elsewhere})"


def judge(workspace: Workspace, absences: Absences, *, rules: GuardRules, sighting: Sighting) -> Verdict:
    """Decide about the absent records of a snapshot.

    Args:
        workspace: inside the staging transaction.
        absences: what the snapshot lacks.
        rules: the limits.
        sighting: the snapshot that is being staged.
    """
    snapshot_no = sighting.snapshot_no
    absent_devices = _find_absent_devices(workspace, absences.difference)
    _count_missing_devices(workspace, absent_devices, sighting)
    if sighting.is_repeat:
        _forget_holds_of_generation(workspace, sighting)
    _lift_holds(workspace, absences, absent_devices, sighting)
    lost = _hold_lost_groups(workspace, absences.difference, absent_devices, snapshot_no)
    due, unread = _find_due(workspace, absences, rules), 0
    if sighting.doubted:
        unread = _hold(
            workspace,
            snapshot_no,
            HoldReason.REJECTED_LINES,
            f"(FROM {due} SEMI JOIN {sighting.doubted} USING (device_no))",
        )
        due = _find_due(workspace, absences, rules)
    reason = _reason_to_hold(workspace, due, rules, sighting)
    believed = _IS_MOVED if reason else "true"
    held = _hold(workspace, snapshot_no, reason, f"(FROM {due} WHERE NOT ({believed}))") if reason else 0
    removals = workspace.make("removals", f"SELECT * FROM {due} WHERE {believed}")
    _note_believed(workspace, removals, sighting)
    reasons = (reason, HoldReason.REJECTED_LINES if unread else None, HoldReason.SCOPE_LOST if lost else None)
    return Verdict(removals, held=lost + unread + held, reason=next(filter(None, reasons), None))


def judge_approved(workspace: Workspace, absences: Absences, *, rules: GuardRules, sighting: Sighting) -> Verdict:
    """As `judge`, once a person approved that keys are written in another way: what is absent is REMOVED, APPROVED.

    Its devices were absent before, and its number says nothing, to this snapshot and to later ones.
    """
    verdict = judge(
        workspace, absences, rules=replace(rules, max_removed_share=1.0, missing_device_snapshots=1), sighting=sighting
    )
    workspace.database.rows(
        f"UPDATE {verdict.removals} SET reason = {literal(Reason.APPROVED)} WHERE NOT ({_IS_MOVED})"
    )
    workspace.database.rows(f"DELETE FROM believed_removals WHERE inventory = {literal(workspace.inventory)}")
    return verdict


def lift_answered(workspace: Workspace, absences: Absences) -> None:
    """Drop the holds of records that are back or became another version, where nothing else is judged."""
    workspace.database.rows(
        f"DELETE FROM held WHERE inventory = {literal(workspace.inventory)} AND {_is_answered(absences)}"
    )


def _find_absent_devices(workspace: Workspace, difference: Difference) -> Relation:
    """The devices of which the snapshot has no record at all."""
    return workspace.make(
        "absent_devices",
        f"""
        WITH stored AS (
            SELECT device_no, count(*) AS stored
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}
            GROUP BY device_no
        ),
        gone AS (
            SELECT device_no, count(*) AS gone
            FROM {difference.absent}
            GROUP BY device_no
        )
        SELECT device_no
        FROM stored
        JOIN gone USING (device_no)
        ANTI JOIN {difference.arrivals} USING (device_no)
        WHERE stored = gone
        """,
    )


def _count_missing_devices(workspace: Workspace, absent_devices: Relation, sighting: Sighting) -> None:
    """Count this snapshot for every absent device; a device that is back is forgotten, and starts from 0 again."""
    which, database = literal(workspace.inventory), workspace.database
    database.rows(
        f"""
        DELETE FROM missing_devices
        WHERE inventory = {which} AND device_no NOT IN (SELECT device_no FROM {absent_devices})
        """
    )
    database.rows(
        f"""
        WITH known AS (
            SELECT device_no
            FROM missing_devices
            WHERE inventory = {which}
        )
        INSERT INTO missing_devices
        SELECT {which}, device_no, $1, 0
        FROM {absent_devices}
        ANTI JOIN known USING (device_no)
        """,
        [sighting.snapshot_no],
    )
    if not sighting.is_repeat:
        doubted = f"(SELECT device_no FROM {sighting.doubted})" if sighting.doubted else "(SELECT NULL WHERE false)"
        database.rows(
            f"""
            UPDATE missing_devices
            SET snapshots = snapshots + 1
            WHERE inventory = {which} AND device_no NOT IN {doubted}
            """
        )


def _forget_holds_of_generation(workspace: Workspace, sighting: Sighting) -> None:
    """Drop the holds that earlier content of this generation began: what it lacks is judged by what it has now."""
    which = literal(workspace.inventory)
    workspace.database.rows(
        f"""
        WITH earlier AS (
            SELECT snapshot_no
            FROM snapshots
            WHERE inventory = {which} AND generated_at = $1
        )
        DELETE FROM held
        WHERE inventory = {which} AND since_snapshot IN (SELECT snapshot_no FROM earlier)
        """,
        [sighting.generated_at],
    )


def _lift_holds(workspace: Workspace, absences: Absences, absent_devices: Relation, sighting: Sighting) -> None:
    """Drop the holds that this snapshot answers.

    Those are: a record that is back, or became another version; one held for lines that could not be read, unless its
    device is doubted still; and, where its device is seen, one held for a lost device group, or one of a mass that
    turned out to be in the other inventory.
    """
    doubted = f"device_no IN (SELECT device_no FROM {sighting.doubted})" if sighting.doubted else "false"
    workspace.database.rows(
        f"""
        DELETE FROM held
        WHERE inventory = {literal(workspace.inventory)}
          AND (
              (reason = {literal(HoldReason.REJECTED_LINES)} AND NOT {doubted})
              OR (
                  reason <> {literal(HoldReason.REJECTED_LINES)}
                  AND (
                      reason = {literal(HoldReason.SCOPE_LOST)}
                      OR (device_no, software_no) IN {absences.elsewhere}
                  )
                  AND device_no NOT IN (SELECT device_no FROM {absent_devices})
              )
              OR {_is_answered(absences)}
          )
        """
    )


def _is_answered(absences: Absences) -> str:
    """A condition: a held record is back, or became another version."""
    return f"""(device_no, software_no) NOT IN (
                  SELECT (device_no, software_no)
                  FROM {absences.difference.absent}
                  ANTI JOIN {absences.pairs} USING (previous_row)
              )"""


def _hold_lost_groups(workspace: Workspace, difference: Difference, absent_devices: Relation, snapshot_no: int) -> int:
    """Hold the records of device groups that vanished whole, with all their devices.

    A group is there where a record of the snapshot is in it: that a device was in it before says nothing.
    """
    which = literal(workspace.inventory)
    gone = workspace.make(
        "gone",
        f"""
        SELECT device_no, software_no, {_GROUP} AS device_group
        FROM inventory
        SEMI JOIN {absent_devices} USING (device_no)
        WHERE inventory = {which} AND device_group IS NOT NULL
        """,
    )
    if not workspace.count(gone):
        return 0
    workspace.database.rows(
        f"""
        WITH replaced AS (
            SELECT previous_row FROM {difference.absent}
            UNION ALL
            SELECT previous_row FROM {difference.arrivals}
        ),
        unchanged AS (
            SELECT {_GROUP} AS device_group, rowid AS previous_row
            FROM inventory
            WHERE inventory = {which}
        ),
        alive AS (
            SELECT device_group
            FROM unchanged
            ANTI JOIN replaced USING (previous_row)
            UNION ALL
            SELECT {_GROUP}
            FROM {difference.arrivals}
        )
        DELETE FROM {gone}
        WHERE device_group IN (SELECT device_group FROM alive WHERE device_group IS NOT NULL)
        """
    )
    return _hold(workspace, snapshot_no, HoldReason.SCOPE_LOST, gone)


def _find_due(workspace: Workspace, absences: Absences, rules: GuardRules) -> Relation:
    """Absent records that are neither held nor half of a change of version, and have been absent long enough."""
    which = literal(workspace.inventory)
    return workspace.make(
        "due",
        f"""
        WITH held_here AS (
            SELECT device_no, software_no
            FROM held
            WHERE inventory = {which}
        ),
        missing AS (
            SELECT device_no, snapshots
            FROM missing_devices
            WHERE inventory = {which}
        )
        SELECT a.device_no,
               a.software_no,
               a.previous_row,
               CASE
                   WHEN (a.device_no, a.software_no) IN {absences.elsewhere} THEN {literal(Reason.MOVED)}
                   WHEN m.device_no IS NULL THEN {literal(Reason.UNINSTALLED)}
                   ELSE {literal(Reason.DEVICE_MISSING)}
               END AS reason
        FROM {absences.difference.absent} a
        ANTI JOIN {absences.pairs} p ON p.previous_row = a.previous_row
        ANTI JOIN held_here h ON h.device_no = a.device_no AND h.software_no = a.software_no
        LEFT JOIN missing m ON m.device_no = a.device_no
        WHERE m.device_no IS NULL OR m.snapshots >= {rules.missing_device_snapshots}
        """,
    )


def _reason_to_hold(workspace: Workspace, due: Relation, rules: GuardRules, sighting: Sighting) -> HoldReason | None:
    gone = workspace.count(f"{due} WHERE NOT {_IS_MOVED}")
    if not gone:
        return None
    which = literal(workspace.inventory)
    earlier = workspace.database.number(
        f"SELECT sum(records)::BIGINT FROM believed_removals WHERE inventory = {which} AND generated_at > $1",
        [sighting.generated_at - WINDOW_MILLISECONDS],
    )
    held = workspace.count(f"held WHERE inventory = {which} AND reason = {literal(HoldReason.MASS_REMOVAL)}")
    stored = workspace.count(f"inventory WHERE inventory = {which}")
    share = (gone + held + earlier) / (stored + earlier)
    many = gone + earlier >= rules.min_removed or share > HALF
    return HoldReason.MASS_REMOVAL if many and share > rules.max_removed_share else None


def _note_believed(workspace: Workspace, removals: Relation, sighting: Sighting) -> None:
    """Note how many removals are believed, for the snapshots of the next 24 hours; what is older is forgotten."""
    which = literal(workspace.inventory)
    workspace.database.rows(
        f"DELETE FROM believed_removals WHERE inventory = {which} AND generated_at <= $1",
        [sighting.generated_at - WINDOW_MILLISECONDS],
    )
    workspace.database.rows(
        f"""
        INSERT INTO believed_removals
        SELECT {which}, $1, $2, count(*)
        FROM {removals}
        WHERE NOT {_IS_MOVED}
        HAVING count(*) > 0
        """,
        [sighting.snapshot_no, sighting.generated_at],
    )


def _hold(workspace: Workspace, snapshot_no: int, reason: HoldReason, records: Relation) -> int:
    """Hold those records (device_no, software_no) that are not held yet. Returns how many those are."""
    which = literal(workspace.inventory)
    return workspace.database.number(
        f"""
        WITH held_here AS (
            SELECT device_no, software_no
            FROM held
            WHERE inventory = {which}
        )
        INSERT INTO held
        SELECT {which}, device_no, software_no, $1, {literal(reason)}
        FROM {records}
        ANTI JOIN held_here USING (device_no, software_no)
        """,
        [snapshot_no],
    )
