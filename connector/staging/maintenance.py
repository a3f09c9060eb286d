"""Rebaseline, export, and clean-up of the state file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from connector.errors import StateError
from connector.exports.fields import COLUMN_TYPES, Field
from connector.model import Checkpoint
from connector.state import decisions
from connector.state.sql import Database, identifier, literal
from connector.state.state import StateFile
from connector.wording import FORMULA_SIGNS

FORMATS: Final = {".parquet": "FORMAT parquet", ".ndjson": "FORMAT json", ".csv": "FORMAT csv"}


def rebaseline(state: StateFile, checkpoint: Checkpoint | None = None) -> int:
    """Forget the inventory and begin a new epoch, whose numbers are beyond those of a checkpoint. Returns the epoch.

    The next snapshot becomes the baseline; what changed since the last one is not published. What is pending is given
    up: it stays in the journal, and no consumer is owed it, since a new epoch's baseline stands for the whole. Where
    Kafka can be asked, give its checkpoint: the new epoch is then beyond it.
    """
    with state.transaction():
        return _begin_epoch(state.database, checkpoint)


def retire(state: StateFile, *, older_than: datetime) -> int:
    """Delete changes that Kafka has confirmed and that were staged before `older_than`, a bounded number.

    Returns how many; call it again while that is `journal.RETIRED_CHANGES_MAX`. Nothing pending is deleted. What was
    decided before then goes too.
    """
    if decisions.has_older(state.database, than=older_than):
        with state.transaction():
            decisions.retire(state.database, older_than=older_than)
    if not state.journal.has_retirable(older_than=older_than):
        return 0
    with state.transaction():
        deleted = state.journal.retire(older_than=older_than)
        _forget_unused_keys(state.database)
    return deleted


def _begin_epoch(database: Database, checkpoint: Checkpoint | None) -> int:
    for table in ("inventory", "contents", "held", "missing_devices", "believed_removals", "last_said", "distrusted"):
        database.rows(f"DELETE FROM {table}")
    database.rows(
        "DELETE FROM meta WHERE name LIKE 'tracked %' OR name LIKE 'alerts day %' OR name LIKE 'lines missed %'"
    )
    epoch, snapshot = (checkpoint.epoch, checkpoint.sealed) if checkpoint else (0, 0)
    database.rows(
        """
        UPDATE position
        SET epoch = greatest(epoch, $1) + 1,
            last_sequence = 0,
            published_sequence = 0,
            last_alert = 0,
            published_alert = 0,
            last_snapshot = greatest(last_snapshot, $2),
            published_snapshot = greatest(last_snapshot, $2),
            epoch_snapshot = greatest(last_snapshot, $2)
        """,
        [epoch, snapshot],
    )
    return database.number("SELECT epoch FROM position")


def export(state: StateFile, path: Path) -> int:
    """Write both inventories to a new file, one record a row with the names of `SoftwareRecord`; returns the number.

    In CSV, a text that begins like a formula gets a `'` in front of it.

    Raises:
        StateError: the file exists, or its name does not end in a known format.
    """
    if path.suffix not in FORMATS:
        raise StateError(
            f"{path} does not end in .parquet, .ndjson or .csv",
            hint="The end of the name says which format is written; a folder, for the whole state, has none.",
        )
    if path.exists() or path.is_symlink():
        raise StateError(f"{path} exists already", hint="Name a new file.")
    in_csv = path.suffix == ".csv"
    columns = ", ".join(
        f"{_without_formula(field) if in_csv else field.column} AS {identifier(field.name)}"
        for field in state.export.fields
    )
    return state.database.number(
        f"""
        COPY (
            SELECT inventory, {columns}
            FROM inventory
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
            ORDER BY inventory, {state.export.key_columns}
        )
        TO {literal(str(path))} ({FORMATS[path.suffix]})
        """
    )


def _without_formula(field: Field) -> str:
    """A column as SQL whose texts no spreadsheet takes for a formula; arrays begin with a bracket, and are none."""
    if COLUMN_TYPES[field.kind] != "VARCHAR":
        return field.column
    column, signs, apostrophe = field.column, ", ".join(map(literal, FORMULA_SIGNS)), literal("'")
    return f"CASE WHEN left({column}, 1) IN ({signs}) THEN {apostrophe} || {column} ELSE {column} END"


def _forget_unused_keys(database: Database) -> None:
    """Delete the numbers of devices and product versions that no record has any more."""
    for table, number in (("devices", "device_no"), ("software", "software_no")):
        database.rows(f"DELETE FROM {table} WHERE {number} NOT IN (SELECT DISTINCT {number} FROM inventory)")
