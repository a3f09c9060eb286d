"""Consistency checks of the state file.

The table `contents` keeps the number of records of each inventory and the sum of their digests, updated by what each
staging removes and adds. `verify` recomputes both from the records themselves, and compares the other tables with one
another. Nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector.diff.scan import digest
from connector.diff.tables import Relation, Workspace
from connector.exports.fields import Export
from connector.model import CHANGE_COUNTS, Inventory
from connector.state import engine
from connector.state.sql import Database, literal, stored_records
from connector.state.state import StateFile

_MODULUS: Final = 2**64


def count(workspace: Workspace) -> None:
    """Count an inventory whole: it is new, or was last counted by an engine or of fields whose digests differ."""
    inventory = workspace.inventory.value
    workspace.database.rows("DELETE FROM contents WHERE inventory = $1", [inventory])
    records, total = _sum(workspace.database, workspace.export, workspace.stored)
    workspace.database.rows(
        "INSERT INTO contents VALUES ($1, $2, $3, $4)",
        [inventory, _maker(workspace.export), records, total % _MODULUS],
    )


def note(workspace: Workspace, *, removed: Relation, added: Relation) -> None:
    """Note what is about to leave an inventory and to enter it: two relations with the columns of the export."""
    database, export, inventory = workspace.database, workspace.export, workspace.inventory
    known = _contents(database, inventory)
    if known is None or known[0] != _maker(export):
        count(workspace)
        known = _contents(database, inventory)
    _, records, total = known or ("", 0, 0)
    moving = database.rows(
        f"""
        WITH moving AS (
            SELECT -1 AS direction, {export.columns}
            FROM {removed}
            UNION ALL
            SELECT 1, {export.columns}
            FROM {added}
        )
        SELECT direction, count(*), sum({digest(export.fields)})
        FROM moving
        GROUP BY direction
        """
    )
    records += sum(direction * number for direction, number, _ in moving)
    total += sum(direction * digests for direction, _, digests in moving)
    database.rows(
        "UPDATE contents SET records = $1, total = $2 WHERE inventory = $3",
        [records, total % _MODULUS, inventory.value],
    )


def verify(state: StateFile) -> list[str]:
    """Count the inventory and recompute its digest. Returns what does not add up, in words; nothing where all does."""
    return problems(state.database, state.export)


def problems(database: Database, export: Export) -> list[str]:
    """What does not add up in the state file, in words; nothing where all is well."""
    counts = (*_COUNTS, _repeated_subjects(export))
    counted = [text.format(number) for text, query in counts if (number := database.number(query))]
    return [*counted, *_position(database), *_journal(database), *_inventories(database, export)]


def _maker(export: Export) -> str:
    """What a digest depends on beside the records: the engine, and which fields are digested how."""
    return f"{engine.NAME} {digest(export.fields)}"


def _sum(database: Database, export: Export, records: Relation) -> tuple[int, int]:
    """The number of records, and the sum of their digests."""
    counted, total = database.rows(f"SELECT count(*), coalesce(sum({digest(export.fields)}), 0) FROM {records}")[0]
    return counted, total


def _contents(database: Database, inventory: Inventory) -> tuple[str, int, int] | None:
    rows = database.rows("SELECT engine, records, total FROM contents WHERE inventory = $1", [inventory.value])
    return rows[0] if rows else None


_COUNTS: Final = (
    (
        "{} records are stored more than once",
        """
        WITH repeated AS (
            SELECT inventory, device_no, software_no
            FROM inventory
            GROUP BY ALL
            HAVING count(*) > 1
        )
        SELECT count(*)
        FROM repeated
        """,
    ),
    (
        "{} records are of a device without a number",
        "SELECT count(*) FROM inventory ANTI JOIN devices USING (device_no)",
    ),
    (
        "{} records are of software without a number",
        "SELECT count(*) FROM inventory ANTI JOIN software USING (software_no)",
    ),
    (
        "{} devices have more or fewer than one number",
        "SELECT count(*) - least(count(DISTINCT device_no), count(DISTINCT device_id)) FROM devices",
    ),
    (
        "{} held removals are of records that are not stored",
        """
        WITH stored AS (
            SELECT inventory, device_no, software_no
            FROM inventory
            SEMI JOIN held USING (inventory, device_no, software_no)
        )
        SELECT count(*)
        FROM held
        ANTI JOIN stored USING (inventory, device_no, software_no)
        """,
    ),
)


def _repeated_subjects(export: Export) -> tuple[str, str]:
    """As one of `_COUNTS`: what is on devices has a number each, which its inventory refers to."""
    query = f"""
        SELECT count(*) - least(
                   count(DISTINCT software_no),
                   count(DISTINCT ({export.subject_columns}))
               )
        FROM software
        """
    return "{} product versions have more or fewer than one number", query


def _position(database: Database) -> Iterator[str]:
    rows = database.rows(
        """
        SELECT epoch,
               last_sequence,
               last_snapshot,
               published_sequence,
               published_snapshot,
               last_alert,
               published_alert
        FROM position
        """
    )
    if len(rows) != 1:
        yield f"the position is noted {len(rows)} times"
        return
    epoch, last_sequence, last_snapshot, published_sequence, published_snapshot, last_alert, published_alert = rows[0]
    newest, sequence, alert = database.rows(
        """
        SELECT coalesce(max(snapshot_no), 0),
               coalesce(max(sequence_after) FILTER (epoch = $1), 0),
               coalesce(max(alert_after) FILTER (epoch = $1), 0)
        FROM snapshots
        """,
        [epoch],
    )[0]
    if newest > last_snapshot or (sequence, alert) != (last_sequence, last_alert):
        yield (
            f"the position says snapshot {last_snapshot}, sequence {last_sequence} and alert {last_alert}; the"
            f" snapshots say {newest}, {sequence} and {alert}"
        )
    if published_sequence > last_sequence or published_snapshot > last_snapshot or published_alert > last_alert:
        yield "more is noted as published than was staged"
    pending = database.number(
        "SELECT count(DISTINCT sequence) FROM changes WHERE epoch = $1 AND sequence > $2 AND sequence <= $3",
        [epoch, published_sequence, last_sequence],
    )
    if pending != last_sequence - published_sequence:
        yield f"{last_sequence - published_sequence} changes are pending, and {pending} are there"
    alerts = database.number(
        "SELECT count(DISTINCT alert_no) FROM alerts WHERE epoch = $1 AND alert_no > $2 AND alert_no <= $3",
        [epoch, published_alert, last_alert],
    )
    if alerts != last_alert - published_alert:
        yield f"{last_alert - published_alert} alerts are pending, and {alerts} are there"


def _journal(database: Database) -> Iterator[str]:
    """Snapshots whose changes are not those that they count; the oldest may be retired in part."""
    counts = ", ".join(f"count(*) FILTER (change_type = {literal(kind)})" for kind in CHANGE_COUNTS)
    differing = database.rows(
        f"""
        WITH counted AS (
            SELECT snapshot_no, [{counts}] AS counts, min(sequence) AS first, max(sequence) AS last
            FROM changes
            GROUP BY snapshot_no
        )
        SELECT snapshot_id
        FROM snapshots
        JOIN counted USING (snapshot_no)
        WHERE snapshot_no > (SELECT min(snapshot_no) FROM changes)
          AND (
              counts <> [{", ".join(CHANGE_COUNTS.values())}]
              OR first <> first_sequence
              OR last <> last_sequence
          )
        ORDER BY snapshot_no
        """
    )
    yield from (f"the changes of {snapshot_id} are not those that were counted" for (snapshot_id,) in differing)


def _inventories(database: Database, export: Export) -> Iterator[str]:
    for inventory in Inventory:
        known = _contents(database, inventory)
        if known is None:
            continue
        noted_by, noted, noted_total = known
        records, total = _sum(database, export, stored_records(export, inventory))
        if records != noted:
            yield f"{inventory}: {records} records are stored, {noted} were noted"
        elif noted_by == _maker(export) and total % _MODULUS != noted_total:
            yield f"{inventory}: the digest of the records is not the one that was noted"
        staged = database.rows(
            """
            SELECT stored
            FROM snapshots
            WHERE inventory = $1 AND epoch = (SELECT epoch FROM position)
            ORDER BY snapshot_no DESC
            LIMIT 1
            """,
            [inventory.value],
        )
        if staged and staged[0][0] != records:
            yield f"{inventory}: {records} records are stored, the last snapshot left {staged[0][0]}"
