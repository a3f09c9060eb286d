"""What is held, as a person decides about it: all of it, or the part that a choice names.

Held removals are records, so that a part of them may be one device or one group. Held values and additions are not
kept: they are decided about by reason and inventory alone, and a choice of devices or groups never has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from connector.diff import changes, doubts
from connector.diff.doubts import Chosen
from connector.diff.guard import HoldReason
from connector.diff.tables import Relation, Workspace
from connector.model import ChangeType, Hold, Inventory, Reason
from connector.state.decisions import DecidedPart
from connector.state.lists import patterns
from connector.state.lists.patterns import Bound
from connector.state.sql import literal
from connector.state.state import StateFile

NAMES_MAX: Final = 2
"""Devices and groups that are named of a hold: those with the most records."""

_GROUP_NAME: Final = "coalesce(rbac_group_name, rbac_group_id::VARCHAR, '')"


@dataclass(frozen=True, slots=True)
class Choice:
    """A part of what is held; of several words for one thing, one has to match. Without any: everything.

    Attributes:
        reasons: why it is held.
        inventory: of which export.
        groups: patterns of a device group's name, or its number.
        devices: patterns of a device's id, its name, or its name without its domain.
        since_snapshot: number of the snapshot that it is held since.
        field: whose values are held.
    """

    reasons: tuple[HoldReason, ...] = ()
    inventory: Inventory | None = None
    groups: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    since_snapshot: int | None = None
    field: str | None = None

    @property
    def inventories(self) -> tuple[Inventory, ...]:
        """The inventories that it is about."""
        return (self.inventory,) if self.inventory else tuple(Inventory)

    @property
    def doubts(self) -> Chosen:
        """The held values and additions that are chosen."""
        reasons = () if self.groups or self.devices else self.reasons or tuple(HoldReason)
        return Chosen(reasons, self.field, self.since_snapshot)

    def admits(self, hold: Hold) -> bool:
        """Whether a hold may be of the part; of removals on some devices, only its records can say."""
        reason = HoldReason(hold.reason)
        return (
            (not self.reasons or reason in self.reasons)
            and hold.inventory in self.inventories
            and self.since_snapshot in {None, hold.since_snapshot_no}
            and self.field in {None, hold.field}
            and (hold.is_of_removals or reason in self.doubts.reasons)
        )

    def of(self, hold: Hold) -> Choice:
        """What it names of one hold."""
        return replace(
            self,
            reasons=(HoldReason(hold.reason),),
            inventory=hold.inventory,
            since_snapshot=hold.since_snapshot_no,
            field=hold.field,
        )

    def words(self) -> dict[str, Any]:
        """What is chosen, by the names of the options that choose it; nothing for everything."""
        words = {
            "reason": [reason.value for reason in self.reasons],
            "inventory": self.inventory.value if self.inventory else None,
            "field": self.field,
            "group": list(self.groups),
            "device": list(self.devices),
        }
        return {name: word for name, word in words.items() if word}

    def condition(self) -> tuple[str, dict[str, object]]:
        """The condition that a held record has to meet, and its named parameters."""
        bind = Bound()
        parts = [
            patterns.any_of(f"reason = {bind(reason.value)}" for reason in self.reasons),
            patterns.any_of(patterns.is_group(pattern, bind) for pattern in self.groups),
            patterns.any_of(patterns.is_device(pattern, bind) for pattern in self.devices),
            "" if self.since_snapshot is None else f"since_snapshot = {bind(self.since_snapshot)}",
        ]
        return patterns.all_of(parts), bind.parameters


EVERYTHING: Final = Choice()


class Extent(NamedTuple):
    """How far removals reach; `largest_…` are the names with the most records, and how many those are."""

    records: int
    devices: int
    groups: int
    largest_groups: tuple[tuple[str, int], ...]
    largest_devices: tuple[tuple[str, int], ...]


def find_chosen(workspace: Workspace, choice: Choice) -> Relation:
    """The held records of an inventory that a choice names: keys, row ids, names of device and group, and why."""
    condition, parameters = choice.condition()
    which = literal(workspace.inventory)
    return workspace.make(
        "chosen",
        f"""
        WITH held_here AS (
            SELECT device_no, software_no, reason, since_snapshot
            FROM held
            WHERE inventory = {which}
        ),
        stored AS (
            SELECT i.rowid AS previous_row, device_no, software_no, device_id, device_name, rbac_group_id,
                   rbac_group_name
            FROM inventory i
            JOIN devices USING (device_no)
            WHERE inventory = {which}
        )
        SELECT previous_row, device_no, software_no, device_id, device_name, rbac_group_id, rbac_group_name,
               reason, since_snapshot
        FROM held_here
        JOIN stored USING (device_no, software_no)
        WHERE {condition}
        """,
        parameters,
    )


def measure(state: StateFile, inventory: Inventory, choice: Choice, *, names_max: int = NAMES_MAX) -> Extent:
    """How far the held removals reach that a choice names; `names_max` devices and groups are named."""
    with state.transaction(keep=False):
        workspace = Workspace(state.database, state.export, inventory)
        chosen = find_chosen(workspace, choice)
        ((records, devices, groups),) = state.database.rows(
            f"SELECT count(*), count(DISTINCT device_no), count(DISTINCT {_GROUP_NAME}) FROM {chosen}"
        )
        largest_groups, largest_devices = (
            state.database.rows(
                f"""
                SELECT {name} AS name, count(*) AS records
                FROM {chosen}
                GROUP BY name
                ORDER BY records DESC, name
                LIMIT {names_max}
                """
            )
            for name in (_GROUP_NAME, "coalesce(device_name, device_id)")
        )
    return Extent(records, devices, groups, tuple(largest_groups), tuple(largest_devices))


def approve(workspace: Workspace, choice: Choice) -> tuple[Relation, list[DecidedPart]]:
    """Believe what a choice names: removals are held no longer, and are REMOVED with reason APPROVED.

    Once no removal of the inventory is held any more, those of the last 24 hours are settled too: a person who decides
    about a part has not looked at the rest.

    Returns the changes to be, as `changes.stage_arrivals` does, and what was approved.
    """
    database, which = workspace.database, literal(workspace.inventory)
    believed = doubts.approve_doubts(database, workspace.inventory, choice.doubts)
    chosen = find_chosen(workspace, choice)
    staged = changes.stage_as(workspace, chosen, ChangeType.REMOVED, Reason.APPROVED)
    approved = _release(workspace, chosen)
    if approved and not workspace.count(f"held WHERE inventory = {which}"):
        database.rows(f"DELETE FROM believed_removals WHERE inventory = {which}")
    return staged, approved + believed


def discard(workspace: Workspace, choice: Choice) -> list[DecidedPart]:
    """Take what a choice names as missing data: it is held no longer, and absences are counted from nothing.

    Returns what was held. The records stay in the inventory; the next snapshot is judged afresh.
    """
    chosen = find_chosen(workspace, choice)
    workspace.database.rows(
        f"""
        DELETE FROM missing_devices
        WHERE inventory = {literal(workspace.inventory)} AND device_no IN (SELECT device_no FROM {chosen})
        """
    )
    discarded = doubts.discard_doubts(workspace.database, workspace.inventory, choice.doubts)
    return _release(workspace, chosen) + discarded


def _release(workspace: Workspace, chosen: Relation) -> list[DecidedPart]:
    """Hold those removals no longer. Returns what they are, by reason and snapshot."""
    workspace.database.rows(
        f"""
        DELETE FROM held
        WHERE inventory = {literal(workspace.inventory)}
          AND (device_no, software_no) IN (SELECT (device_no, software_no) FROM {chosen})
        """
    )
    rows = workspace.database.rows(
        f"""
        SELECT reason, NULL AS field, since_snapshot, count(*) AS records, count(DISTINCT device_no) AS devices
        FROM {chosen}
        GROUP BY reason, since_snapshot
        ORDER BY since_snapshot, reason
        """
    )
    return [
        DecidedPart(workspace.inventory, reason, field, since, records, devices, is_of_removals=True)
        for reason, field, since, records, devices in rows
    ]
