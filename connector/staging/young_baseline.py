"""A baseline that was not whole: what the next snapshots complete is part of it, and nothing that was installed.

A first snapshot has nothing to be compared with: if half of its lines could not be read, or a walk through the pages
ended early, it is believed all the same. So a baseline is young until a snapshot comes whose additions look like those
of an ordinary day. A mass of additions before that is what the baseline lacked: it is staged as the baseline was, as
BASELINE or silently, and raises alerts only where the baseline does. What moved here from the other inventory is known
already, and completes nothing.

Where a state file was rebuilt from Kafka, or written by an earlier version, the baseline counts as confirmed.
"""

from __future__ import annotations

from typing import Final

from connector.diff.tables import Relation, Workspace
from connector.model import ChangeType, Inventory, Reason
from connector.state.meta import forget, recall, remember
from connector.state.sql import Database, literal
from connector.telemetry import logger

log = logger(__name__)

ADDED_SHARE_MAX: Final = 0.2
"""More additions than this share of the young inventory complete it; an onboarding wave of a few hours is smaller."""


def note(database: Database, inventory: Inventory) -> None:
    """Remember that the baseline of an inventory was just taken."""
    remember(database, _name(inventory), "young")


def is_young(database: Database, inventory: Inventory) -> bool:
    """Whether no ordinary snapshot has confirmed the baseline of an inventory yet."""
    return recall(database, _name(inventory)) is not None


def confirm(database: Database, inventory: Inventory) -> None:
    """Take the baseline of an inventory as whole: from here on additions are additions."""
    forget(database, _name(inventory))


def complete(
    workspace: Workspace, staged: Relation, pairs: Relation, *, stored: int, added_min: int, emit: bool
) -> Relation | None:
    """Take a mass of additions to a young baseline as part of it; an ordinary snapshot confirms the baseline instead.

    Args:
        workspace: inside the staging transaction.
        staged: the changes to be, without removals; completed additions become BASELINE in it, or leave it.
        pairs: changes of version, whose later halves are no additions.
        stored: records in the inventory.
        added_min: fewer additions than this are ordinary, whatever their share.
        emit: whether the baseline is published.

    Returns the keys (device_no, software_no) of what completes the baseline; None where nothing does.
    """
    if not is_young(workspace.database, workspace.inventory):
        return None
    completing = workspace.make(
        "completing",
        f"""
        SELECT device_no, software_no
        FROM {staged}
        ANTI JOIN {pairs} USING (device_no, software_no)
        WHERE change_type = {literal(ChangeType.ADDED)}
          AND reason <> {literal(Reason.MOVED)}
        """,
    )
    added = workspace.count(completing)
    if not added or added <= ADDED_SHARE_MAX * stored or added < added_min:
        confirm(workspace.database, workspace.inventory)
        return None
    is_completing = f"(device_no, software_no) IN (SELECT (device_no, software_no) FROM {completing})"
    workspace.database.rows(
        f"""
        UPDATE {staged}
        SET change_type = {literal(ChangeType.BASELINE)}, reason = {literal(Reason.FIRST_SNAPSHOT)}
        WHERE {is_completing}
        """
        if emit
        else f"DELETE FROM {staged} WHERE {is_completing}"
    )
    log.warning("the first snapshot was not whole, and is completed", inventory=workspace.inventory, records=added)
    return completing


def _name(inventory: Inventory) -> str:
    return f"young baseline {inventory}"
