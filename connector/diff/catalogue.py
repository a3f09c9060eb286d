"""Finds product versions that the catalogue dropped, among the removals that the guard lets through.

Defender's catalogue of products changes: a version that it no longer recognizes disappears from every device at once,
and nobody uninstalled it. That is CATALOGUE: in one snapshot, a version left at least `DEVICES_MIN` devices and at
least `SHARE_MIN` of the present devices that had it. A device that has another version of the product now does not
count: its version was replaced. Software that was uninstalled everywhere between two snapshots looks the same.
"""

from __future__ import annotations

from typing import Final

from connector.diff.tables import Difference, Relation, Workspace
from connector.exports.fields import columns_of
from connector.model import Reason
from connector.state.sql import literal

DEVICES_MIN: Final = 10
"""Fewer devices are no evidence: a team may have uninstalled something."""

SHARE_MIN: Final = 0.9
"""Of the present devices that had the version; a few may have sent their last report before the catalogue changed."""


def mark_withdrawn(workspace: Workspace, difference: Difference, removals: Relation) -> None:
    """Give the removals of a version that left nearly all of its devices at once the reason CATALOGUE.

    The inventory is read only where a version left that many devices, and then by its two numbers.
    """
    candidates = workspace.make(
        "withdrawal_candidates",
        f"""
        SELECT software_no
        FROM {removals}
        WHERE reason = {literal(Reason.UNINSTALLED)}
        GROUP BY software_no
        HAVING count(*) >= {DEVICES_MIN}
        """,
    )
    if not workspace.count(candidates):
        return
    withdrawn = workspace.make("withdrawn", _withdrawn(workspace, difference, removals, candidates))
    workspace.database.rows(
        f"""
        UPDATE {removals}
        SET reason = {literal(Reason.CATALOGUE)}
        WHERE (device_no, software_no) IN (SELECT (device_no, software_no) FROM {withdrawn})
        """
    )


def _withdrawn(workspace: Workspace, difference: Difference, removals: Relation, candidates: Relation) -> str:
    """A SELECT of the removals (device_no, software_no) that the catalogue explains."""
    which = literal(workspace.inventory)
    return f"""
        WITH replaced AS ({_replaced(workspace, difference, candidates)}),
        gone AS (
            SELECT device_no, software_no
            FROM {removals}
            SEMI JOIN {candidates} USING (software_no)
            ANTI JOIN replaced USING (device_no, software_no)
            WHERE reason = {literal(Reason.UNINSTALLED)}
        ),
        missing AS (
            SELECT device_no
            FROM missing_devices
            WHERE inventory = {which}
        ),
        spread AS (
            SELECT software_no, count(*) AS devices
            FROM inventory
            SEMI JOIN {candidates} USING (software_no)
            ANTI JOIN missing USING (device_no)
            WHERE inventory = {which}
            GROUP BY software_no
        ),
        dropped AS (
            SELECT software_no
            FROM gone
            JOIN spread USING (software_no)
            GROUP BY software_no, devices
            HAVING count(*) >= {DEVICES_MIN} AND count(*) >= {SHARE_MIN} * devices
        )
        SELECT device_no, software_no
        FROM gone
        SEMI JOIN dropped USING (software_no)
    """


def _replaced(workspace: Workspace, difference: Difference, candidates: Relation) -> str:
    """A SELECT of the candidates on devices that have another version of the product: (device_no, software_no)."""
    product = columns_of(workspace.export.product)
    return f"""
        WITH wanted AS (
            SELECT software_no, {product}
            FROM software
            SEMI JOIN {candidates} USING (software_no)
        ),
        siblings AS (
            SELECT wanted.software_no, other.software_no AS other_no
            FROM wanted
            JOIN software other USING ({product})
            WHERE other.software_no <> wanted.software_no
        ),
        present AS (
            SELECT device_no, software_no AS other_no
            FROM inventory
            ANTI JOIN {difference.absent} USING (device_no, software_no)
            WHERE inventory = {literal(workspace.inventory)}
            UNION ALL
            SELECT device_no, software_no
            FROM {difference.arrivals}
        )
        SELECT device_no, siblings.software_no
        FROM present
        JOIN siblings USING (other_no)
    """
