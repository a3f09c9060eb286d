"""Previous and current -> changes: the SQL, generated from `fields`.

Owns what counts as a difference. Runs inside the transaction that `state` opened, on the tables that `state` owns, and
leaves its results in temporary tables that `guard` and `state` read:

    differs   records of the snapshot that are new or not as stored, and stored records that the snapshot lacks
    repeated  keys that occur more than once in the snapshot
    absent    stored records that the snapshot lacks
    pairs     one version gone and one version come of the same product on the same device
    staged    the changes to be: one row a change, without the wide columns

Must not decide which removals are believed (that is `guard`), number changes or write a table of the state file other
than `devices` and `software` (those two give every device and every product version a number, so that keys are
compared exactly, as two integers, and no hash collision can merge two records).

Why it costs little more than reading the files: one pass; the wide columns leave it only for rows that differ; and
the stored side, (device, product, digest) of each record, is the one that the join holds in memory. The optimizer
would choose the other, for it guesses some hundreds of rows for a file: so its choice is switched off here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from connector.errors import SnapshotIncomplete
from connector.fields import ATTRIBUTE_FIELDS, FIELDS, KEY_FIELDS, Field
from connector.model import ChangeType, Inventory, Reason, Snapshot
from connector.scan import KEY_COLUMNS, digest, literal, scan
from connector.versions import version_reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    Parameters = Sequence[object] | Mapping[str, object]

TEMPORARY_TABLES: Final = ("differs", "repeated", "absent", "pairs", "version_steps", "staged")
COLUMNS: Final = ", ".join(field.column for field in FIELDS)
SOFTWARE_COLUMNS: Final = ", ".join(field.column for field in KEY_FIELDS[1:])
ATTRIBUTE_COLUMNS: Final = ", ".join(field.column for field in ATTRIBUTE_FIELDS)


class Database(Protocol):
    """What this module needs of a database connection; `state` provides it."""

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[object, ...]]:
        """Run one statement and return all its rows."""

    def number(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement that yields one integer (NULL is 0)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one snapshot is, beside the inventory: counts of records.

    Attributes:
        records: distinct records in the snapshot.
        devices: distinct devices in the snapshot.
        duplicates: lines beyond the first of their key.
        previous: records in the inventory before.
        absent: records of the inventory that the snapshot lacks.
    """

    records: int
    devices: int
    duplicates: int
    previous: int
    absent: int


def tracked_fields(ignored: Collection[str]) -> tuple[Field, ...]:
    """The attributes whose difference makes a change."""
    return tuple(field for field in ATTRIBUTE_FIELDS if field.name not in ignored)


def compare(database: Database, snapshot: Snapshot, *, ignored: Collection[str]) -> Comparison:
    """Fill `differs` and `absent`, one row a key.

    Raises:
        SnapshotIncomplete: the reader saw another number of records than were verified on disk.
    """
    inventory = snapshot.inventory
    tracked = tracked_fields(ignored)
    previous = database.number("SELECT count(*) FROM inventory WHERE inventory = $1", [inventory.value])
    for table in TEMPORARY_TABLES:
        database.rows(f"DROP TABLE IF EXISTS {table}")
    if not previous:
        # Every key is new: numbering them in a pass of their own is far cheaper than updating every row afterwards.
        _remember_keys(database, scan(snapshot.parts, KEY_FIELDS))
    database.rows(_differs(snapshot, tracked))
    arrived, absent = _counts(database)
    # What matched and is equal was dropped by the join; without duplicates, every line is accounted for exactly once.
    excess = (snapshot.lines - arrived) - (previous - absent)
    if excess < 0:
        raise _miscount(snapshot, read=snapshot.lines - excess)
    _number_newcomers(database)
    duplicates = _resolve_duplicates(database, snapshot, tracked, excess=excess)
    database.rows(
        "CREATE TEMP TABLE absent AS SELECT previous_row, previous_device_no AS device_no,"
        " previous_software_no AS software_no FROM differs WHERE device_id IS NULL"
    )
    return Comparison(
        records=snapshot.lines - duplicates,
        devices=_count_devices(database, inventory),
        duplicates=duplicates,
        previous=previous,
        absent=absent,
    )


def pair_versions(database: Database, *, enabled: bool) -> None:
    """Fill `pairs`: exactly one removed and one added version of a product on a device are one change of version."""
    database.rows(
        "CREATE TEMP TABLE pairs AS"
        " WITH added AS (SELECT device_no, software_vendor, software_name, any_value(software_no) AS software_no,"
        "  any_value(software_version) AS software_version FROM differs"
        "  WHERE device_id IS NOT NULL AND previous_row IS NULL GROUP BY ALL HAVING count(*) = 1),"
        " removed AS (SELECT device_no, software_vendor, software_name, any_value(absent.software_no) AS software_no,"
        "  any_value(software_version) AS software_version, any_value(previous_row) AS previous_row"
        "  FROM absent JOIN software USING (software_no) GROUP BY ALL HAVING count(*) = 1)"
        " SELECT device_no, added.software_no, removed.software_no AS previous_software_no, removed.previous_row,"
        "  removed.software_version AS version_before, added.software_version AS version_after"
        " FROM added JOIN removed USING (device_no, software_vendor, software_name)"
        + ("" if enabled else " WHERE false")
    )
    # Version strings are few beside records: their order is told once for each pair of strings, in Python.
    steps = database.rows("SELECT DISTINCT version_before, version_after FROM pairs")
    reasons = [version_reason(str(before), str(after)).value for before, after in steps]
    database.rows(
        "CREATE TEMP TABLE version_steps AS SELECT unnest($1::VARCHAR[]) AS version_before,"
        " unnest($2::VARCHAR[]) AS version_after, unnest($3::VARCHAR[]) AS reason",
        [[before for before, _ in steps], [after for _, after in steps], reasons],
    )


def stage_arrivals(database: Database, inventory: Inventory) -> None:
    """Begin `staged` with the changes that need no guard: ADDED and CHANGED.

    A device is new where the inventory has no record of it at all.
    """
    database.rows(
        "CREATE TEMP TABLE staged AS"
        " WITH known AS (SELECT DISTINCT device_no FROM inventory WHERE inventory = $1)"
        " SELECT d.device_no, d.software_no, NULL::BIGINT AS previous_row,"
        f"  {literal(ChangeType.ADDED)} AS change_type,"
        f"  CASE WHEN k.device_no IS NULL THEN {literal(Reason.NEW_DEVICE)} ELSE {literal(Reason.INSTALLED)} END"
        "   AS reason"
        " FROM differs d LEFT JOIN known k USING (device_no) ANTI JOIN pairs p USING (device_no, software_no)"
        " WHERE d.device_id IS NOT NULL AND d.previous_row IS NULL"
        " UNION ALL"
        f" SELECT device_no, software_no, previous_row, {literal(ChangeType.CHANGED)},"
        f"  {literal(Reason.ATTRIBUTES_CHANGED)} FROM differs WHERE device_id IS NOT NULL AND previous_row IS NOT NULL"
        " UNION ALL"
        f" SELECT device_no, software_no, previous_row, {literal(ChangeType.CHANGED)}, reason"
        " FROM pairs JOIN version_steps USING (version_before, version_after)",
        [inventory.value],
    )


def stage_baseline(database: Database) -> None:
    """Make `staged` one BASELINE change a record: the first snapshot of an inventory."""
    database.rows(
        "CREATE TEMP TABLE staged AS SELECT device_no, software_no, NULL::BIGINT AS previous_row,"
        f" {literal(ChangeType.BASELINE)} AS change_type, {literal(Reason.FIRST_SNAPSHOT)} AS reason FROM differs"
    )


def changed_fields(before: str, after: str) -> str:
    """An expression: names of the fields that differ between two row aliases, in the order of `fields`."""
    names = ", ".join(
        f"CASE WHEN {before}.{field.column} IS DISTINCT FROM {after}.{field.column} THEN {literal(field.name)} END"
        for field in FIELDS
    )
    return f"list_filter([{names}], lambda name: name IS NOT NULL)"


def _differs(snapshot: Snapshot, tracked: Collection[Field]) -> str:
    return (
        "CREATE TEMP TABLE differs AS"
        " SELECT c.*, p.previous_row, p.device_no AS previous_device_no, p.software_no AS previous_software_no"
        f" FROM ({_numbered(snapshot, tracked)}) c"
        " FULL JOIN (SELECT device_no, software_no, digest, rowid AS previous_row FROM inventory"
        f"  WHERE inventory = {literal(snapshot.inventory)}) p"
        " ON p.device_no = c.device_no AND p.software_no = c.software_no"
        " WHERE c.digest IS DISTINCT FROM p.digest"
    )


def _numbered(snapshot: Snapshot, tracked: Collection[Field]) -> str:
    """The normalised records with their digest and, where already known, their two numbers."""
    same_software = " AND ".join(f"s.{field.column} = r.{field.column}" for field in KEY_FIELDS[1:])
    return (
        f"SELECT r.*, {digest(tracked)} AS digest, d.device_no, s.software_no FROM ({scan(snapshot.parts)}) r"
        f" LEFT JOIN devices d ON d.device_id = r.device_id LEFT JOIN software s ON {same_software}"
    )


def _counts(database: Database) -> tuple[int, int]:
    """Rows of `differs` whose key is not stored, and stored keys that the snapshot lacks."""
    return (
        database.number("SELECT count(*) FROM differs WHERE previous_row IS NULL"),
        database.number("SELECT count(*) FROM differs WHERE device_id IS NULL"),
    )


def _remember_keys(database: Database, source: str) -> None:
    """Give numbers to the devices and product versions of `source` (a SELECT of records) that have none."""
    database.rows(
        "INSERT INTO devices SELECT (SELECT coalesce(max(device_no), 0) FROM devices)"
        " + row_number() OVER (ORDER BY device_id), device_id"
        f" FROM (SELECT DISTINCT device_id FROM ({source}) ANTI JOIN devices USING (device_id))"
    )
    database.rows(
        "INSERT INTO software SELECT (SELECT coalesce(max(software_no), 0) FROM software)"
        f" + row_number() OVER (ORDER BY {SOFTWARE_COLUMNS}), {SOFTWARE_COLUMNS}"
        f" FROM (SELECT DISTINCT {SOFTWARE_COLUMNS} FROM ({source}) ANTI JOIN software USING ({SOFTWARE_COLUMNS}))"
    )


def _number_newcomers(database: Database) -> None:
    """Give numbers to devices and product versions seen for the first time, and to their rows in `differs`."""
    _remember_keys(
        database,
        f"SELECT {', '.join(KEY_COLUMNS)} FROM differs"
        " WHERE device_id IS NOT NULL AND (device_no IS NULL OR software_no IS NULL)",
    )
    same_software = " AND ".join(f"software.{field.column} = differs.{field.column}" for field in KEY_FIELDS[1:])
    database.rows(
        "UPDATE differs SET device_no = devices.device_no FROM devices"
        " WHERE devices.device_id = differs.device_id AND differs.device_no IS NULL"
    )
    database.rows(
        f"UPDATE differs SET software_no = software.software_no FROM software WHERE {same_software}"
        " AND differs.software_no IS NULL AND differs.device_id IS NOT NULL"
    )


def _resolve_duplicates(database: Database, snapshot: Snapshot, tracked: Collection[Field], *, excess: int) -> int:
    """Leave one row a key in `differs`, and count the lines beyond it.

    Which row stays is a function of the snapshot alone, whatever the order of its rows: the smallest by all its
    columns. `excess` counts repeated lines of stored keys; the join dropped those equal to the stored record, so where
    there are any, the files are read again for the rows of repeated keys. That is rare: devices that moved between
    device groups while the export was written.
    """
    source = _numbered(snapshot, tracked) if excess else "SELECT * FROM differs WHERE device_id IS NOT NULL"
    database.rows(
        "CREATE TEMP TABLE repeated AS SELECT device_no, software_no, count(*) AS lines"
        f" FROM ({source}) GROUP BY ALL HAVING count(*) > 1"
    )
    duplicates = database.number("SELECT sum(lines - 1)::BIGINT FROM repeated")
    if not duplicates:
        if excess:
            raise _miscount(snapshot, read=snapshot.lines - excess)
        return 0
    within = database.number(
        "SELECT (count(*) - count(DISTINCT (device_no, software_no)))::BIGINT FROM differs WHERE previous_row IS NULL"
    )
    if duplicates != excess + within:
        raise _miscount(snapshot, read=snapshot.lines - excess - within + duplicates)
    kept = f"{COLUMNS}, digest, device_no, software_no"
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE kept AS SELECT {kept} FROM ({source}) SEMI JOIN repeated"
        f" USING (device_no, software_no) QUALIFY row_number() OVER (PARTITION BY device_no, software_no"
        f" ORDER BY {COLUMNS}) = 1"
    )
    database.rows(
        "DELETE FROM differs USING repeated WHERE differs.device_no = repeated.device_no"
        " AND differs.software_no = repeated.software_no"
    )
    database.rows(
        f"INSERT INTO differs SELECT {_prefixed('k', kept)}, p.rowid, p.device_no, p.software_no FROM kept k"
        f" LEFT JOIN (SELECT rowid, * FROM inventory WHERE inventory = {literal(snapshot.inventory)}) p"
        " ON p.device_no = k.device_no AND p.software_no = k.software_no WHERE k.digest IS DISTINCT FROM p.digest"
    )
    database.rows("DROP TABLE kept")
    return duplicates


def _count_devices(database: Database, inventory: Inventory) -> int:
    """Distinct devices of the snapshot: those with a stored record that is not absent, and those that arrived."""
    return database.number(
        "SELECT count(DISTINCT device_no) FROM ("
        " SELECT device_no FROM differs WHERE device_id IS NOT NULL UNION ALL"
        " (SELECT device_no FROM (SELECT device_no, count(*) AS stored FROM inventory WHERE inventory = $1"
        "   GROUP BY device_no) LEFT JOIN (SELECT device_no, count(*) AS gone FROM absent GROUP BY device_no)"
        "   USING (device_no) WHERE stored > coalesce(gone, 0)))",
        [inventory.value],
    )


def _prefixed(alias: str, columns: str) -> str:
    return ", ".join(f"{alias}.{column.strip()}" for column in columns.split(","))


def _miscount(snapshot: Snapshot, *, read: int) -> SnapshotIncomplete:
    return SnapshotIncomplete(
        f"snapshot {snapshot.snapshot_id}: {read} records were read where {snapshot.lines} lines were verified on disk",
        hint="Nothing was staged. The next poll fetches the snapshot anew; is another program changing the staging"
        " folder?",
    )
