"""When each product and each version of it was first seen in the organisation: the table `first_seen`.

Owns its rows, which are never deleted. The time is that of the first snapshot that had the version, or the earliest
`softwareFirstSeenTimestamp` of its records where that is earlier. Runs inside the staging transaction. Both exports
fill the one table: a product that moves between them is not new.
"""

from __future__ import annotations

from typing import Final

from connector.diff.scan import SOFTWARE_COLUMNS
from connector.exports.fields import BY_NAME
from connector.model import StagedSnapshot
from connector.state.sql import Database, literal

_COLUMN: Final = BY_NAME["softwareFirstSeenTimestamp"].column


def first_seen_milliseconds(column: str) -> str:
    """An expression: a `softwareFirstSeenTimestamp` in normal form, in milliseconds; NULL where it is no time."""
    return f"CASE WHEN {column} LIKE '____-__-__T%Z' THEN epoch_ms(try_cast({column} AS TIMESTAMPTZ)) END"


def note(database: Database, row: StagedSnapshot) -> None:
    """Note the versions that a snapshot brought: those of `arrivals`, or all of a first snapshot.

    What a first snapshot has is not new to the organisation, only to the connector: its `snapshot_no` is NULL.
    """
    earliest = f"min({first_seen_milliseconds(_COLUMN)})"
    source = (
        f"(SELECT software_no, {earliest} AS earliest FROM inventory WHERE inventory = {literal(row.inventory)}"
        " GROUP BY software_no) JOIN software USING (software_no)"
        if row.baseline
        else f"(SELECT {SOFTWARE_COLUMNS}, {earliest} AS earliest FROM arrivals GROUP BY {SOFTWARE_COLUMNS})"
    )
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE sighted AS SELECT {SOFTWARE_COLUMNS}, least($1, earliest) AS seen_at"
        f" FROM {source}",
        [row.generated_at],
    )
    same = " AND ".join(f"first_seen.{column} = sighted.{column}" for column in SOFTWARE_COLUMNS.split(", "))
    database.rows(
        f"UPDATE first_seen SET first_seen_at = seen_at FROM sighted WHERE {same} AND seen_at < first_seen_at"
    )
    database.rows(
        f"INSERT INTO first_seen SELECT {SOFTWARE_COLUMNS}, seen_at, $1 FROM sighted"
        f" ANTI JOIN first_seen USING ({SOFTWARE_COLUMNS}) ORDER BY {SOFTWARE_COLUMNS}",
        [None if row.baseline else row.snapshot_no],
    )
