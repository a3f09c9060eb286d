"""What the guard holds beside removals: the table `distrusted`, a row for each field, and one for additions.

Held values and additions are not kept: a snapshot that is not believed in something is stored without it, and the next
one is judged by the same rules against the same stored records. A row only says since when something is held, on how
many records, and whether a person approved it: then it is not judged once, and the row goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from connector.diff.guard import HoldReason, Verdict
from connector.model import Inventory
from connector.state.sql import Database


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


def approve_doubts(database: Database, inventory: Inventory, reasons: Collection[HoldReason]) -> None:
    """Believe the next snapshot in what is held of an inventory for one of these reasons."""
    database.rows(
        "UPDATE distrusted SET approved = true WHERE inventory = $1 AND reason IN (SELECT unnest($2::VARCHAR[]))",
        [inventory.value, [reason.value for reason in reasons]],
    )


def discard_doubts(database: Database, inventory: Inventory, reasons: Collection[HoldReason]) -> int:
    """Forget what is held of an inventory for one of these reasons: the next snapshot is judged afresh.

    Returns the number of records.
    """
    chosen = "inventory = $1 AND NOT approved AND reason IN (SELECT unnest($2::VARCHAR[]))"
    parameters = [inventory.value, [reason.value for reason in reasons]]
    records = database.number(f"SELECT sum(records)::BIGINT FROM distrusted WHERE {chosen}", parameters)
    database.rows(f"DELETE FROM distrusted WHERE {chosen}", parameters)
    return records
