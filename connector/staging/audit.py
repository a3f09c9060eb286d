"""Does the state file add up? Keeps a count and a digest of each inventory, and holds everything against everything.

Owns the table `contents`: the number of records of an inventory and the sum of their digests, kept up from what each
staging takes away and adds. `problems` works both out anew, from the records themselves. Must not mend anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector.diff.scan import digest
from connector.exports.fields import FIELDS
from connector.model import ChangeType, Inventory
from connector.state import engine
from connector.state.sql import Database, literal, stored_records
from connector.state.state import StateFile

_MODULUS: Final = 2**64
_DIGEST: Final = digest(FIELDS)
_SUM: Final = f"SELECT count(*), coalesce(sum({_DIGEST}), 0) FROM "


def count(database: Database, inventory: Inventory) -> None:
    """Count an inventory whole: it is new, or was last counted by an engine or of fields whose digests differ."""
    database.rows("DELETE FROM contents WHERE inventory = $1", [inventory.value])
    records, total = database.rows(_SUM + stored_records(inventory))[0]
    database.rows(
        "INSERT INTO contents VALUES ($1, $2, $3, $4)", [inventory.value, _maker(), records, total % _MODULUS]
    )


def note(database: Database, inventory: Inventory, *, removed: str, added: str) -> None:
    """Note what is about to leave an inventory and to enter it: two FROM items with the columns of `fields`."""
    known = _contents(database, inventory)
    if known is None or known[0] != _maker():
        count(database, inventory)
    (gone, minus), (come, plus) = database.rows(_SUM + removed)[0], database.rows(_SUM + added)[0]
    _, records, total = _contents(database, inventory) or ("", 0, 0)
    database.rows(
        "UPDATE contents SET records = $1, total = $2 WHERE inventory = $3",
        [records - gone + come, (total - minus + plus) % _MODULUS, inventory.value],
    )


def verify(state: StateFile) -> list[str]:
    """Count the inventory and recompute its digest. Returns what does not add up, in words; nothing where all does."""
    return problems(state.database)


def problems(database: Database) -> list[str]:
    """What does not add up in the state file, in words; nothing where all is well."""
    counted = [text.format(found) for text, query in _COUNTS if (found := database.number(query))]
    return [*counted, *_position(database), *_journal(database), *_inventories(database)]


def _maker() -> str:
    """What a digest depends on beside the records: the engine, and which fields are digested how."""
    return f"{engine.NAME} {_DIGEST}"


def _contents(database: Database, inventory: Inventory) -> tuple[str, int, int] | None:
    rows = database.rows("SELECT engine, records, total FROM contents WHERE inventory = $1", [inventory.value])
    return rows[0] if rows else None


_COUNTS: Final = (
    (
        "{} records are stored more than once",
        "SELECT count(*) FROM (SELECT inventory, device_no, software_no FROM inventory GROUP BY ALL"
        " HAVING count(*) > 1)",
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
        "{} product versions have more or fewer than one number",
        "SELECT count(*) - least(count(DISTINCT software_no),"
        " count(DISTINCT (software_vendor, software_name, software_version))) FROM software",
    ),
    (
        "{} held removals are of records that are not stored",
        "SELECT count(*) FROM held ANTI JOIN (SELECT inventory, device_no, software_no FROM inventory SEMI JOIN held"
        " USING (inventory, device_no, software_no)) USING (inventory, device_no, software_no)",
    ),
)


def _position(database: Database) -> Iterator[str]:
    rows = database.rows(
        "SELECT epoch, last_sequence, last_snapshot, published_sequence, published_snapshot, last_alert,"
        " published_alert FROM position"
    )
    if len(rows) != 1:
        yield f"the position is noted {len(rows)} times"
        return
    epoch, last_sequence, last_snapshot, published_sequence, published_snapshot, last_alert, published_alert = rows[0]
    newest, sequence, alert = database.rows(
        "SELECT coalesce(max(snapshot_no), 0), coalesce(max(sequence_after) FILTER (epoch = $1), 0),"
        " coalesce(max(alert_after) FILTER (epoch = $1), 0) FROM snapshots",
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
    counts = ", ".join(
        f"count(*) FILTER (change_type = {literal(kind)})"
        for kind in (ChangeType.ADDED, ChangeType.REMOVED, ChangeType.CHANGED, ChangeType.BASELINE)
    )
    differing = database.rows(
        "SELECT snapshot_id FROM snapshots JOIN"
        f" (SELECT snapshot_no, [{counts}] AS found, min(sequence) AS first, max(sequence) AS last FROM changes"
        "  GROUP BY snapshot_no) USING (snapshot_no)"
        " WHERE snapshot_no > (SELECT min(snapshot_no) FROM changes) AND (found <> [added, removed, changed, baselined]"
        "  OR first <> first_sequence OR last <> last_sequence) ORDER BY snapshot_no"
    )
    yield from (f"the changes of {snapshot_id} are not those that were counted" for (snapshot_id,) in differing)


def _inventories(database: Database) -> Iterator[str]:
    for inventory in Inventory:
        known = _contents(database, inventory)
        if known is None:
            continue
        noted_by, noted, noted_total = known
        records, total = database.rows(_SUM + stored_records(inventory))[0]
        if records != noted:
            yield f"{inventory}: {records} records are stored, {noted} were noted"
        elif noted_by == _maker() and total % _MODULUS != noted_total:
            yield f"{inventory}: the digest of the records is not the one that was noted"
        staged = database.rows(
            "SELECT stored FROM snapshots WHERE inventory = $1 AND epoch = (SELECT epoch FROM position)"
            " ORDER BY snapshot_no DESC LIMIT 1",
            [inventory.value],
        )
        if staged and staged[0][0] != records:
            yield f"{inventory}: {records} records are stored, the last snapshot left {staged[0][0]}"
