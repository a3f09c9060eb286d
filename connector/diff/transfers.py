"""Products that move between the two exports: gone from one, come to the other, and nothing was installed or removed.

Runs inside the staging transaction, after `comparison`, and leaves two temporary tables of (device_no, software_no):

    elsewhere   absent records that the other inventory has under the same key: stored, or in a snapshot of it that was
                fetched in the same poll and is staged next
    moved_in    new records that the other inventory has, or had until after the last snapshot of this one

Must not say what becomes of them: a removal of what is elsewhere is `guard`'s to judge, the reason of an addition
`diff`'s. Keys are compared as they are, all four parts; a product that is spelled differently there is another product.
"""

from __future__ import annotations

from typing import Final

from connector.diff.scan import KEY_COLUMNS, scan
from connector.exports.fields import KEY_FIELDS, SOFTWARE_KEY_FIELDS
from connector.model import ChangeType, Inventory, Snapshot
from connector.state.sql import Database, literal

_SAME_SOFTWARE: Final = " AND ".join(f"s.{field.column} = r.{field.column}" for field in SOFTWARE_KEY_FIELDS)

RECENT: Final = (
    f"FROM stored.changes WHERE change_type = {literal(ChangeType.REMOVED)} AND snapshot_no >"
    " (SELECT min(newest) FROM (SELECT max(snapshot_no) AS newest FROM stored.snapshots GROUP BY inventory))"
)
"""Of an attached state file's journal, all that `moved_in` may need: what one inventory lost since the other's last."""


def find_moves(database: Database, inventory: Inventory, *, beside: Snapshot | None) -> None:
    """Fill `elsewhere` and `moved_in`.

    Args:
        database: inside the staging transaction, `absent` and `arrivals` filled.
        inventory: which inventory is being staged.
        beside: a snapshot of the other one that was fetched and is not staged yet. Its lines that cannot be read are
            passed over here; whoever stages it will say so.
    """
    others = f"inventory <> {literal(inventory)}"
    database.rows(
        "CREATE OR REPLACE TEMP TABLE elsewhere AS SELECT device_no, software_no FROM inventory"
        f" SEMI JOIN absent USING (device_no, software_no) WHERE {others}"
    )
    if beside is not None and database.number("SELECT count(*) FROM absent"):
        database.rows(
            "INSERT INTO elsewhere SELECT DISTINCT device_no, software_no FROM"
            f" ({scan(beside.parts, KEY_FIELDS, lenient=True)}) r JOIN devices USING (device_id)"
            f" JOIN software s ON {_SAME_SOFTWARE} SEMI JOIN absent USING (device_no, software_no)"
        )
    database.rows(
        "CREATE OR REPLACE TEMP TABLE moved_in AS WITH added AS (SELECT * FROM arrivals WHERE previous_row IS NULL)"
        f" SELECT device_no, software_no FROM inventory SEMI JOIN added USING (device_no, software_no) WHERE {others}"
        f" UNION SELECT device_no, software_no FROM added SEMI JOIN (SELECT {KEY_COLUMNS} FROM changes"
        f"  WHERE change_type = {literal(ChangeType.REMOVED)} AND snapshot_no IN (SELECT snapshot_no FROM snapshots"
        f"   WHERE {others} AND epoch = (SELECT epoch FROM position) AND snapshot_no > (SELECT max(snapshot_no)"
        f"    FROM snapshots WHERE inventory = {literal(inventory)}))) USING ({KEY_COLUMNS})"
    )
