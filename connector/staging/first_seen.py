"""When each product and each version of it was first seen in the organisation: the table `first_seen`.

Its rows are never deleted. The time is that of the first snapshot that had the version, or the earliest
`softwareFirstSeenTimestamp` of its records where that is earlier. Both exports fill the one table: a product that moves
between them is not new.
"""

from __future__ import annotations

from connector.diff.keys import same_subject
from connector.diff.tables import Relation, Workspace
from connector.model import StagedSnapshot
from connector.staging import support
from connector.state.sql import literal


def first_seen_milliseconds(column: str) -> str:
    """An expression: a `softwareFirstSeenTimestamp` in normal form, in milliseconds; NULL where it says no time."""
    is_time = f"{column} LIKE '____-__-__T%Z' AND {support.is_plausible(column)}"
    return f"CASE WHEN {is_time} THEN epoch_ms(try_cast({column} AS TIMESTAMPTZ)) END"


def note(workspace: Workspace, row: StagedSnapshot, arrivals: Relation, *, is_new: bool) -> None:
    """Note the versions that a snapshot brought: those of `arrivals`, or all of a first snapshot.

    What a first snapshot has, or completes it, is not new (`is_new`) to the organisation: its `snapshot_no` is NULL.
    """
    subject = workspace.export.subject_columns
    earliest = f"min({first_seen_milliseconds(workspace.export.column('softwareFirstSeenTimestamp'))})"
    seen = (
        f"""
            SELECT software_no, {earliest} AS earliest
            FROM inventory
            WHERE inventory = {literal(row.inventory)}
            GROUP BY software_no
        """
        if row.baseline
        else f"""
            SELECT {subject}, {earliest} AS earliest
            FROM {arrivals}
            GROUP BY {subject}
        """
    )
    sighted = workspace.make(
        "sighted",
        f"""
        WITH seen AS ({seen})
        SELECT {subject}, least($1, earliest) AS seen_at
        FROM seen
        {"JOIN software USING (software_no)" if row.baseline else ""}
        """,
        [row.generated_at],
    )
    same = same_subject(workspace.export, "first_seen", "s")
    workspace.database.rows(
        f"""
        UPDATE first_seen
        SET first_seen_at = seen_at
        FROM {sighted} s
        WHERE {same} AND seen_at < first_seen_at
        """
    )
    workspace.database.rows(
        f"""
        INSERT INTO first_seen
        SELECT {subject}, seen_at, $1
        FROM {sighted}
        ANTI JOIN first_seen USING ({subject})
        ORDER BY {subject}
        """,
        [row.snapshot_no if is_new else None],
    )
