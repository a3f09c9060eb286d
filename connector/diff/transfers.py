"""Products that move between the inventories of an export: gone from one, come to the other, nothing installed.

A removal of what is elsewhere is the guard's to judge; the reason of an addition is decided in `changes`. Keys are
compared as they are, all parts; a product that is spelled differently there is another product.
"""

from __future__ import annotations

from connector.diff.keys import same_subject
from connector.diff.scan import scan
from connector.diff.tables import Difference, Moves, Relation, Workspace
from connector.model import ChangeType, Snapshot
from connector.state.sql import literal


def find_moves(workspace: Workspace, difference: Difference, *, beside: Snapshot | None) -> Moves:
    """Find what moved between the inventories.

    Args:
        workspace: inside the staging transaction.
        difference: of the inventory that is being staged.
        beside: a snapshot of the other inventory that was fetched in the same poll and is staged next. Its lines that
            cannot be read are passed over here; its own staging reports them.
    """
    return Moves(_find_elsewhere(workspace, difference, beside), _find_moved_in(workspace, difference))


def _find_elsewhere(workspace: Workspace, difference: Difference, beside: Snapshot | None) -> Relation:
    """Absent records that the other inventory has under the same key: stored, or in the snapshot beside."""
    elsewhere = workspace.make(
        "elsewhere",
        f"""
        SELECT device_no, software_no
        FROM inventory
        SEMI JOIN {difference.absent} USING (device_no, software_no)
        WHERE inventory <> {literal(workspace.inventory)}
        """,
        grows=True,
    )
    if beside is not None and workspace.count(difference.absent):
        export = workspace.export
        workspace.database.rows(
            f"""
            WITH other AS ({scan(export, beside.parts, export.keys, lenient=True)})
            INSERT INTO {elsewhere}
            SELECT DISTINCT device_no, software_no
            FROM other r
            JOIN devices USING (device_id)
            JOIN software s ON {same_subject(export, "s", "r")}
            SEMI JOIN {difference.absent} USING (device_no, software_no)
            """
        )
    return elsewhere


def _find_moved_in(workspace: Workspace, difference: Difference) -> Relation:
    """New records that the other inventory has, or lost since the last snapshot of this one."""
    inventory, keys = literal(workspace.inventory), workspace.export.key_columns
    return workspace.make(
        "moved_in",
        f"""
        WITH added AS (
            SELECT *
            FROM {difference.arrivals}
            WHERE previous_row IS NULL
        ),
        since AS (
            SELECT snapshot_no
            FROM snapshots
            WHERE snapshot_no > (SELECT max(snapshot_no) FROM snapshots WHERE inventory = {inventory})
        ),
        lost AS (
            SELECT {keys}
            FROM changes
            WHERE change_type = {literal(ChangeType.REMOVED)} AND snapshot_no IN (SELECT snapshot_no FROM since)
        )
        SELECT device_no, software_no
        FROM inventory
        SEMI JOIN added USING (device_no, software_no)
        WHERE inventory <> {inventory}
        UNION
        SELECT device_no, software_no
        FROM added
        SEMI JOIN lost USING ({keys})
        """,
    )
