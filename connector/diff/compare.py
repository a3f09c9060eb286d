"""A snapshot beside the inventory: which records are new, different, the same, or absent. The SQL of the comparison.

Runs inside the transaction that `state` opened, on the tables that `migrations` draws, and leaves its results in
temporary tables that `diff`, `guard` and `staging` read:

    arrivals   records of the snapshot to be stored: new, or not as stored; one row a key, in normal form
    earlier    what is stored under the keys of arrivals, and may be of what is absent
    quiet      arrivals that differ only in fields not tracked so far: stored, but no change
    rewritten  stored records that are written another way now, and mean the same: only their digest is stored anew
    absent     stored records that the snapshot lacks

Must not say what a difference means. Writes no table of the state file other than `devices` and `software`, and
`inventory` for a baseline. Those two give every device and every product version a number, so that keys are compared
exactly, as two integers, and no hash collision can merge two records.

Why it costs little more than reading the files: one pass; the wide columns leave it only for rows whose digest
differs, and only those are brought to normal form and compared value by value; and the stored side, (device, product,
digest) of each record, is the one that the join holds in memory: it stands on the right, where `engine` leaves it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from connector.diff.scan import (
    ATTRIBUTE_COLUMNS,
    COLUMNS,
    KEY_COLUMNS,
    SOFTWARE_COLUMNS,
    digest,
    mixed_spellings,
    normal_forms,
    scan,
)
from connector.errors import SnapshotIncomplete, SourceMalformed
from connector.exports.fields import ATTRIBUTE_FIELDS, KEY_FIELDS, SOFTWARE_KEY_FIELDS, Field
from connector.model import Inventory, Snapshot
from connector.state.sql import Database, literal, stored_records

_SAME_SOFTWARE: Final = " AND ".join(f"s.{field.column} = r.{field.column}" for field in SOFTWARE_KEY_FIELDS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one snapshot is, beside the inventory.

    Attributes:
        records: distinct records in the snapshot.
        devices: distinct devices in the snapshot.
        duplicates: lines beyond the first of their key.
    """

    records: int
    devices: int
    duplicates: int


def check_readable(snapshot: Snapshot) -> None:
    """Refuse a snapshot that has to be repaired before it can be read.

    Raises:
        SourceMalformed: a part spells one property in two ways.
    """
    for part in snapshot.parts:
        if mixed := mixed_spellings(part):
            raise SourceMalformed(
                f"part {part.name} of {snapshot.snapshot_id} spells a property in several ways: {', '.join(mixed)}",
                hint="Nothing was staged.",
            )


def take_baseline(database: Database, snapshot: Snapshot, *, tracked: Collection[Field]) -> Comparison:
    """Store a first snapshot: every record becomes part of the inventory, which has none yet.

    Two passes over the files, since numbering the keys first is far cheaper than numbering every row afterwards.

    Raises:
        SourceMalformed: a line cannot be read, or has no device.
        SnapshotIncomplete: the reader saw another number of records than were verified on disk.
    """
    number_keys(database, scan(snapshot.parts, KEY_FIELDS))
    _check_devices(database, "SELECT device_id FROM devices", snapshot)
    inventory = literal(snapshot.inventory)
    read = database.number(
        f"INSERT INTO inventory (inventory, device_no, software_no, digest, {ATTRIBUTE_COLUMNS})"
        f" SELECT {inventory}, device_no, software_no, digest,"
        f" {normal_forms(ATTRIBUTE_FIELDS)} FROM ({_numbered(snapshot, tracked)})"
    )
    if read != snapshot.lines:
        raise _miscount(snapshot, read=read)
    stored = f"(SELECT rowid, * FROM inventory WHERE inventory = {inventory})"
    duplicates = _find_repeated(database, stored)
    if duplicates:
        # Only attributes can tell rows of one key apart.
        database.rows(
            f"CREATE OR REPLACE TEMP TABLE kept AS SELECT rowid AS kept_row FROM {stored} SEMI JOIN repeated"
            f" USING (device_no, software_no) QUALIFY {_first_of_key(ATTRIBUTE_COLUMNS)}"
        )
        database.rows(
            f"DELETE FROM inventory WHERE rowid IN (SELECT rowid FROM {stored} SEMI JOIN repeated"
            " USING (device_no, software_no)) AND rowid NOT IN (SELECT kept_row FROM kept)"
        )
        database.rows("UPDATE inventory SET digest = NULL WHERE rowid IN (SELECT kept_row FROM kept)")
    return Comparison(
        records=snapshot.lines - duplicates,
        devices=database.number(f"SELECT count(DISTINCT device_no) FROM {stored}"),
        duplicates=duplicates,
    )


def compare(
    database: Database, snapshot: Snapshot, *, tracked: Collection[Field], known: Collection[Field]
) -> Comparison:
    """Fill `arrivals`, `quiet`, `rewritten` and `absent`.

    Args:
        database: inside the staging transaction.
        snapshot: readable (`check_readable`).
        tracked: the attributes whose difference makes a change.
        known: those that were tracked when the inventory was last compared; others may be stale or unknown in it.

    Raises:
        SourceMalformed: a line cannot be read, has no device, or may spell a property in another way than its part.
        SnapshotIncomplete: the reader saw another number of records than were verified on disk.
    """
    inventory = snapshot.inventory
    previous = database.number("SELECT count(*) FROM inventory WHERE inventory = $1", [inventory.value])
    _find_differing(database, snapshot, tracked)
    _check_devices(database, "SELECT device_id FROM differing", snapshot)
    database.rows(
        "CREATE OR REPLACE TEMP TABLE absent AS SELECT previous_row, previous_device_no AS device_no,"
        " previous_software_no AS software_no FROM differing WHERE device_id IS NULL"
    )
    _number_arrivals(database)
    _check_spellings(database, snapshot)
    duplicates = _resolve_duplicates(database, snapshot, tracked, previous=previous)
    _set_aside_unchanged(database, inventory, tracked, known)
    return Comparison(
        records=snapshot.lines - duplicates,
        devices=_count_devices(database, inventory),
        duplicates=duplicates,
    )


def expect_nothing(database: Database, inventory: Inventory) -> None:
    """Make `arrivals`, `earlier`, `quiet` and `rewritten` empty: nothing was compared."""
    for table, more in (("earlier", ""), ("arrivals", ", 0 AS digest"), ("quiet", ""), ("rewritten", ", 0 AS digest")):
        database.rows(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT *{more} FROM {stored_records(inventory)} WHERE false"
        )


def _numbered(snapshot: Snapshot, tracked: Collection[Field]) -> str:
    """The records as they are written, with their digest and, where already known, their two numbers."""
    return (
        f"SELECT r.*, {digest(tracked)} AS digest, d.device_no, s.software_no FROM ({scan(snapshot.parts)}) r"
        f" LEFT JOIN devices d ON d.device_id = r.device_id LEFT JOIN software s ON {_SAME_SOFTWARE}"
    )


def _find_differing(database: Database, snapshot: Snapshot, tracked: Collection[Field]) -> None:
    """Make `differing`: records whose digest is not the stored one, and stored records that the snapshot lacks.

    The records are as they are written: among the many that are dropped here, each would pay for the normal forms.
    """
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE differing AS SELECT {COLUMNS}, digest, device_no, software_no,"
        " previous_row, previous_device_no, previous_software_no FROM"
        f" (SELECT c.*, p.previous_row, p.device_no AS previous_device_no, p.software_no AS previous_software_no"
        f"  FROM ({_numbered(snapshot, tracked)}) c"
        "  FULL JOIN (SELECT device_no, software_no, digest, rowid AS previous_row FROM inventory"
        f"   WHERE inventory = {literal(snapshot.inventory)}) p"
        "  ON p.device_no = c.device_no AND p.software_no = c.software_no"
        "  WHERE c.digest IS DISTINCT FROM p.digest OR c.device_id IS NULL)"
    )


def _check_devices(database: Database, devices: str, snapshot: Snapshot) -> None:
    """Refuse records without a device: nobody could tell whose software that is."""
    nameless = database.number(f"SELECT count(*) FROM ({devices}) WHERE device_id = ''")
    if nameless:
        raise SourceMalformed(
            f"snapshot {snapshot.snapshot_id} has lines without a DeviceId",
            hint="Nothing was staged.",
        )


def _check_spellings(database: Database, snapshot: Snapshot) -> None:
    """Refuse new records that are absent ones without a part of their key, where not every line was looked into.

    A property that is spelled differently on one line beyond the sample reads as null there. Of most properties that
    makes a change that was none; of a product's name or version it would make a removal, and that is worth a look at
    each line.
    """
    if not any(part.sampled for part in snapshot.parts):
        return
    empty = " OR ".join(f"{field.column} = ''" for field in SOFTWARE_KEY_FIELDS)
    same = " AND ".join(f"a.{field.column} IN ('', s.{field.column})" for field in SOFTWARE_KEY_FIELDS)
    if database.number(
        f"SELECT count(*) FROM (SELECT * FROM arrivals WHERE previous_row IS NULL AND ({empty})) a"
        " JOIN absent b ON b.device_no = a.device_no"
        f" JOIN software s ON s.software_no = b.software_no WHERE {same}"
    ):
        raise SourceMalformed(
            f"{snapshot.snapshot_id} has records without vendor, name or version that had one: a line may spell it"
            " differently",
            hint="Nothing was staged.",
        )


def number_keys(database: Database, source: str) -> None:
    """Give numbers to the devices and product versions of `source` (a SELECT of records) that have none."""
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE newcomers AS SELECT {KEY_COLUMNS}, grouping(device_id) AS is_software"
        f" FROM ({source}) GROUP BY GROUPING SETS ((device_id), ({SOFTWARE_COLUMNS}))"
    )
    database.rows(
        "INSERT INTO devices SELECT (SELECT coalesce(max(device_no), 0) FROM devices)"
        " + row_number() OVER (ORDER BY device_id), device_id"
        " FROM newcomers ANTI JOIN devices USING (device_id) WHERE is_software = 0"
    )
    database.rows(
        "INSERT INTO software SELECT (SELECT coalesce(max(software_no), 0) FROM software)"
        f" + row_number() OVER (ORDER BY {SOFTWARE_COLUMNS}), {SOFTWARE_COLUMNS}"
        f" FROM newcomers ANTI JOIN software USING ({SOFTWARE_COLUMNS}) WHERE is_software = 1"
    )
    database.rows("DROP TABLE newcomers")


def _number_arrivals(database: Database) -> None:
    """Make `arrivals` of the records in `differing`, in normal form and all of them numbered."""
    number_keys(
        database,
        f"SELECT {KEY_COLUMNS} FROM differing WHERE device_id IS NOT NULL"
        " AND (device_no IS NULL OR software_no IS NULL)",
    )
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE arrivals AS SELECT {_prefixed('r', COLUMNS)}, digest, d.device_no,"
        f" s.software_no, previous_row FROM (SELECT {normal_forms()}, digest, previous_row FROM differing"
        f"  WHERE device_id IS NOT NULL) r JOIN devices d USING (device_id) JOIN software s ON {_SAME_SOFTWARE}"
    )
    database.rows("DROP TABLE differing")


def _resolve_duplicates(database: Database, snapshot: Snapshot, tracked: Collection[Field], *, previous: int) -> int:
    """Leave one row a key in `arrivals`, and count the lines beyond it.

    Which row stays is a function of the snapshot alone, whatever the order of its rows: the first by all its columns.
    The join dropped lines equal to the stored record; those are repeated too where they are more than the stored
    records they can be of, and then the keys are read once more. A key that is found repeated gets no digest, so that
    next time all of its lines arrive here.
    """
    arrived, keys, stored = database.rows(
        "SELECT count(*), count(DISTINCT (device_no, software_no)), count(DISTINCT previous_row) FROM arrivals"
    )[0]
    absent = database.number("SELECT count(*) FROM absent")
    hidden = (snapshot.lines - arrived) - (previous - absent - stored)
    if hidden < 0:
        raise _miscount(snapshot, read=snapshot.lines - hidden)
    expected = hidden + arrived - keys
    if not expected:
        return 0
    numbered = _numbered(snapshot, tracked)
    lines = f"SELECT {normal_forms()}, device_no, software_no FROM ({numbered})" if hidden else "FROM arrivals"
    duplicates = _find_repeated(database, f"({numbered})" if hidden else "arrivals")
    if duplicates != expected:
        raise _miscount(snapshot, read=snapshot.lines - expected + duplicates)
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE kept AS SELECT {COLUMNS}, device_no, software_no FROM ({lines})"
        f" SEMI JOIN repeated USING (device_no, software_no) QUALIFY {_first_of_key(COLUMNS)}"
    )
    database.rows(
        "DELETE FROM arrivals USING repeated WHERE arrivals.device_no = repeated.device_no"
        " AND arrivals.software_no = repeated.software_no"
    )
    database.rows(
        f"INSERT INTO arrivals SELECT {COLUMNS}, NULL, device_no, software_no, previous_row FROM"
        " (SELECT device_no, software_no, rowid AS previous_row FROM inventory"
        f"  WHERE inventory = {literal(snapshot.inventory)}) RIGHT JOIN kept USING (device_no, software_no)"
    )
    return duplicates


def _find_repeated(database: Database, records: str) -> int:
    """Make `repeated`: the keys that a FROM item has more than once. Returns the lines beyond the first of each."""
    database.rows(
        "CREATE OR REPLACE TEMP TABLE repeated AS SELECT device_no, software_no, count(*) AS lines"
        f" FROM {records} GROUP BY device_no, software_no HAVING count(*) > 1"
    )
    return database.number("SELECT sum(lines - 1)::BIGINT FROM repeated")


def _set_aside_unchanged(
    database: Database, inventory: Inventory, tracked: Collection[Field], known: Collection[Field]
) -> None:
    """Move what is stored already from `arrivals` to `rewritten`, and note in `quiet` what makes no change."""
    # With what is stored under the keys of arrivals, some of what is absent is fetched: one pass serves for both, as a
    # rule, and a whole device group that is absent is not held in memory all the same.
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE earlier AS SELECT * FROM {stored_records(inventory)}"
        " SEMI JOIN (SELECT previous_row FROM arrivals UNION ALL (SELECT previous_row FROM absent"
        "  LIMIT (SELECT count(*) FROM arrivals))) USING (previous_row)"
    )
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE compared AS SELECT previous_row, digest, {_differ(tracked)} AS differs,"
        f" {_differ([field for field in tracked if field in known])} AS changed"
        " FROM earlier b JOIN arrivals a USING (previous_row)"
    )
    database.rows(
        "CREATE OR REPLACE TEMP TABLE rewritten AS SELECT previous_row, digest FROM compared WHERE NOT differs"
    )
    database.rows(
        "CREATE OR REPLACE TEMP TABLE quiet AS SELECT previous_row FROM compared WHERE differs AND NOT changed"
    )
    database.rows("DELETE FROM arrivals WHERE previous_row IN (SELECT previous_row FROM rewritten)")


def _differ(fields: Collection[Field]) -> str:
    """Whether earlier record `b` and arrival `a` differ in any of the fields."""
    return " OR ".join(f"b.{field.column} IS DISTINCT FROM a.{field.column}" for field in fields) or "false"


def _count_devices(database: Database, inventory: Inventory) -> int:
    """Distinct devices of the snapshot: those with a stored record that is not absent, and those that arrived."""
    return database.number(
        "SELECT count(DISTINCT device_no) FROM (SELECT device_no FROM inventory"
        " ANTI JOIN absent USING (device_no, software_no) WHERE inventory = $1"
        " UNION ALL SELECT device_no FROM arrivals)",
        [inventory.value],
    )


def _first_of_key(columns: str) -> str:
    return f"row_number() OVER (PARTITION BY device_no, software_no ORDER BY {columns}) = 1"


def _prefixed(alias: str, columns: str) -> str:
    return ", ".join(f"{alias}.{column}" for column in columns.split(", "))


def _miscount(snapshot: Snapshot, *, read: int) -> SnapshotIncomplete:
    return SnapshotIncomplete(
        f"snapshot {snapshot.snapshot_id}: {read} records were read where {snapshot.lines} lines were verified on disk",
        hint="Nothing was staged. The next poll fetches the snapshot anew; is another program changing the staging"
        " folder?",
    )
