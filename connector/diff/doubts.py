"""What the guard holds beside removals: the table `distrusted`, a row for each field, and one for additions.

Held values and additions are not kept: a snapshot that is not believed in something is stored without it, and the next
one is judged by the same rules against the same stored records. A row only says since when something is held, on how
many records, and whether a person approved it: then it is not judged once, and the row goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from connector.diff.guard import HoldReason, Verdict
from connector.model import Inventory
from connector.state.decisions import DecidedPart
from connector.state.sql import Database

_CHOSEN: Final = """
    inventory = $1
    AND NOT approved
    AND reason IN (SELECT unnest($2::VARCHAR[]))
    AND ($3::VARCHAR IS NULL OR field = $3)
    AND ($4::BIGINT IS NULL OR since_snapshot = $4)
    RETURNING reason, field, since_snapshot, records, devices
"""


class Chosen(NamedTuple):
    """Which doubts a person decides about; None: whatever it is.

    Attributes:
        reasons: why something is held.
        field: whose values are held.
        since_snapshot: number of the snapshot that it is held since.
    """

    reasons: Collection[HoldReason]
    field: str | None = None
    since_snapshot: int | None = None


class Doubt(NamedTuple):
    """What is held of one field, or of additions where `field` is None.

    Attributes:
        records: on which it is held, of `devices` devices.
        since_snapshot: number of the snapshot that it is held since.
        approved: a person believes what the next snapshot has.
    """

    field: str | None
    reason: HoldReason
    records: int
    devices: int
    since_snapshot: int
    approved: bool = False


def standing_doubts(database: Database, inventory: Inventory) -> list[Doubt]:
    """What the last snapshot of an inventory left held, or was approved since."""
    rows = database.rows(
        """
        SELECT field, reason, records, devices, since_snapshot, approved
        FROM distrusted
        WHERE inventory = $1
        ORDER BY field
        """,
        [inventory.value],
    )
    return [Doubt(field, HoldReason(reason), *numbers) for field, reason, *numbers in rows]


def replace_doubts(database: Database, inventory: Inventory, doubts: Iterable[Doubt]) -> None:
    """Let these be what is held of an inventory."""
    database.rows("DELETE FROM distrusted WHERE inventory = $1", [inventory.value])
    for doubt in doubts:
        database.rows(
            "INSERT INTO distrusted VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                inventory.value,
                doubt.field,
                doubt.reason.value,
                doubt.since_snapshot,
                doubt.records,
                doubt.devices,
                doubt.approved,
            ],
        )


def add_to(verdict: Verdict, doubts: Iterable[Doubt], *, snapshot_no: int) -> Verdict:
    """The verdict about removals, with what else the snapshot begins to hold. Removals give the reason."""
    fresh = [doubt for doubt in doubts if doubt.since_snapshot == snapshot_no]
    if not fresh:
        return verdict
    return replace(
        verdict,
        held=verdict.held + sum(doubt.records for doubt in fresh),
        reason=verdict.reason or fresh[0].reason,
    )


def approve_doubts(database: Database, inventory: Inventory, chosen: Chosen) -> list[DecidedPart]:
    """Believe the next snapshot in what is chosen of an inventory. Returns what that is."""
    return _decide(database, "UPDATE distrusted SET approved = true", inventory, chosen)


def discard_doubts(database: Database, inventory: Inventory, chosen: Chosen) -> list[DecidedPart]:
    """Forget what is chosen of an inventory: the next snapshot is judged afresh. Returns what that was."""
    return _decide(database, "DELETE FROM distrusted", inventory, chosen)


def _decide(database: Database, statement: str, inventory: Inventory, chosen: Chosen) -> list[DecidedPart]:
    rows = database.rows(
        f"{statement} WHERE {_CHOSEN}",
        [inventory.value, [reason.value for reason in chosen.reasons], chosen.field, chosen.since_snapshot],
    )
    return [
        DecidedPart(inventory, reason, field, since, records, devices, is_of_removals=False)
        for reason, field, since, records, devices in rows
    ]
