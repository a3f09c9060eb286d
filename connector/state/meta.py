"""Small facts that the state file remembers by name: the table `meta`.

Owns its rows, but for `schema_version`, which is `migrations`'. Must not know what a fact means.
"""

from __future__ import annotations

from connector.state.sql import Database


def remembered(database: Database, name: str) -> str | None:
    """What is noted under a name; None where nothing is."""
    rows = database.rows("SELECT value FROM meta WHERE name = $1", [name])
    return str(rows[0][0]) if rows else None


def remember(database: Database, name: str, value: str) -> None:
    """Note a value under a name, in place of what was there."""
    if remembered(database, name) != value:
        forget(database, name)
        database.rows("INSERT INTO meta VALUES ($1, $2)", [name, value])


def forget(database: Database, name: str) -> None:
    """Have nothing noted under a name."""
    database.rows("DELETE FROM meta WHERE name = $1", [name])
