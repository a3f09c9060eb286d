"""Small facts that the state file keeps by name: the table `meta`. `schema_version` belongs to `schema`."""

from __future__ import annotations

from connector.state.sql import Database


def recall(database: Database, name: str) -> str | None:
    """The value kept under a name; None where there is none."""
    rows = database.rows("SELECT value FROM meta WHERE name = $1", [name])
    return str(rows[0][0]) if rows else None


def remember(database: Database, name: str, value: str) -> None:
    """Keep a value under a name, in place of what was there."""
    if recall(database, name) != value:
        forget(database, name)
        database.rows("INSERT INTO meta VALUES ($1, $2)", [name, value])


def forget(database: Database, name: str) -> None:
    """Keep nothing under a name."""
    database.rows("DELETE FROM meta WHERE name = $1", [name])
