"""The comparison on DuckDB, the state file's own engine.

Devices and product versions are numbered in two small tables, so that keys are compared exactly, as two integers, and
no hash collision can merge two records.

Why it costs less than unpacking the files once more: lines that are as they were are not read (`lines`). Of those that
are, the wide columns leave the one pass only for rows whose digest differs, and only those are brought to normal form
and compared value by value; and the stored side, (device, product, digest) of each record, is the one that the join
holds in memory: it stands on the right, where `engine` leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.diff.engines.differing import Differing, check_devices, check_spellings, number_arrivals, settle
from connector.diff.engines.line_digests import (
    LineDigests,
    digested_scans,
    expect_lines,
    lines_read,
    miscount,
    numbered,
    store_lines,
)
from connector.diff.engines.lines import Reading, find_unpaired, read_all
from connector.diff.keys import number_keys
from connector.diff.scan import normal_forms, scan
from connector.diff.tables import Difference, Relation, Workspace, no_difference
from connector.exports.fields import Field, columns_of
from connector.model import Snapshot
from connector.state.sql import literal


class DuckDBComparer:
    """The `Comparer` that runs where the state file is.

    Args:
        digests: how lines are digested.
    """

    def __init__(self, digests: LineDigests | None = None) -> None:
        self._digests = digests or LineDigests()

    def take_baseline(self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field]) -> Difference:
        """As `Comparer.take_baseline`.

        Two passes over the files, since numbering the keys first is far cheaper than numbering every row afterwards.
        """
        database, export = workspace.database, workspace.export
        number_keys(database, export, scan(export, snapshot.parts, export.keys))
        check_devices(workspace, "devices", snapshot)
        if snapshot.is_repaired:
            records = scan(export, snapshot.parts, marked=bool(snapshot.unreadable))
            records = numbered(export, records, tracked, marked=bool(snapshot.unreadable))
            read = database.number(_store_all(workspace, records, digested=False))
        else:
            read = self._store_digested(workspace, snapshot, tracked)
        if read != snapshot.lines:
            raise miscount(snapshot, read=read)
        duplicates = _keep_one_of_each(workspace)
        devices = database.number(
            f"SELECT count(DISTINCT device_no) FROM inventory WHERE inventory = {literal(workspace.inventory)}"
        )
        return no_difference(workspace)._replace(
            records=snapshot.lines - duplicates, devices=devices, duplicates=duplicates
        )

    def _store_digested(self, workspace: Workspace, snapshot: Snapshot, tracked: Sequence[Field]) -> int:
        """Store all records with the digests of their lines. Returns the number of lines."""
        database, export = workspace.database, workspace.export
        expect_lines(database, self._digests.definition(export, tracked))
        threads = database.number("SELECT current_setting('threads')")
        # Several threads would leave row groups half empty, which are then written again, and the file is twice as
        # large.
        database.rows("SET threads = 1")
        read = sum(
            database.number(_store_all(workspace, numbered(export, records, tracked), digested=True))
            for records in digested_scans(export, snapshot.parts, self._digests)
        )
        database.rows(f"SET threads = {threads}")
        # Where there are fewer records than lines.
        which = f"inventory = {literal(workspace.inventory)}"
        return read - workspace.count(f"inventory WHERE {which} AND device_no IS NULL")

    def compare(
        self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field], known: Sequence[Field], folds: bool
    ) -> Difference:
        """As `Comparer.compare`."""
        stored = workspace.count(f"inventory WHERE inventory = {literal(workspace.inventory)}")
        unpaired = find_unpaired(workspace, snapshot, tracked, self._digests, stored=stored)
        reading = unpaired or read_all(workspace, snapshot, stored=stored)
        differing = _find_differing(workspace, reading, tracked)
        check_devices(workspace, differing, snapshot)
        absent = workspace.make(
            "absent",
            f"""
            SELECT previous_row,
                   previous_device_no AS device_no,
                   previous_software_no AS software_no
            FROM {differing}
            WHERE device_id IS NULL
            """,
        )
        arrivals = number_arrivals(workspace, differing)
        if not snapshot.unreadable:
            workspace.database.rows(f"DROP TABLE {differing}")
        check_spellings(workspace, snapshot, arrivals, absent)
        hidden = _count_hidden(workspace, snapshot, reading, arrivals, absent)
        read = numbered(workspace.export, reading.records, tracked, marked=reading.marked)
        duplicates = _resolve_duplicates(workspace, snapshot, read, arrivals, hidden=hidden)
        difference = settle(
            workspace, snapshot, Differing(differing, arrivals, absent, duplicates), (tracked, known), folds=folds
        )
        lines = lines_read(workspace.export, reading.records, tracked) if unpaired else None
        return difference._replace(lines=lines)

    def store_lines(
        self, workspace: Workspace, snapshot: Snapshot, difference: Difference, *, tracked: Sequence[Field]
    ) -> None:
        """As `Comparer.store_lines`."""
        store_lines(workspace, snapshot, tracked, self._digests, difference.lines)


def _store_all(workspace: Workspace, records: str, *, digested: bool) -> str:
    """A statement that makes numbered records, a SELECT of them as they are written, a part of the inventory."""
    attributes = workspace.export.attributes
    return f"""
        INSERT INTO inventory (
            inventory, device_no, software_no, digest, line_1, line_2, {columns_of(attributes)}
        )
        SELECT {literal(workspace.inventory)},
               device_no,
               software_no,
               digest,
               {"line_1, line_2" if digested else "NULL, NULL"},
               {normal_forms(attributes)}
        FROM ({records})
    """


def _find_differing(workspace: Workspace, reading: Reading, tracked: Sequence[Field]) -> Relation:
    """Records whose digest is not the stored one, and stored records that the snapshot lacks (without a device).

    The records are as they are written: among the many that are dropped here, each would pay for the normal forms.
    """
    return workspace.make(
        "differing",
        f"""
        WITH current AS ({numbered(workspace.export, reading.records, tracked, marked=reading.marked)}),
        previous AS (
            SELECT device_no, software_no, digest, rowid AS previous_row
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}{reading.condition}
        )
        SELECT {columns_of(workspace.export.fields, of="c")},
               {"c.unreadable" if reading.marked else "NULL::VARCHAR[] AS unreadable"},
               c.digest,
               c.device_no,
               c.software_no,
               p.previous_row,
               p.device_no AS previous_device_no,
               p.software_no AS previous_software_no
        FROM current c
        FULL JOIN previous p ON p.device_no = c.device_no AND p.software_no = c.software_no
        WHERE c.digest IS DISTINCT FROM p.digest OR c.device_id IS NULL
        """,
    )


def _count_hidden(
    workspace: Workspace, snapshot: Snapshot, reading: Reading, arrivals: Relation, absent: Relation
) -> int:
    """Lines that the join dropped beyond one for each stored record that is as it was: repeated lines, then.

    Raises:
        SnapshotIncomplete: fewer lines were dropped than there are such records.
    """
    arrived, kept = workspace.database.rows(f"SELECT count(*), count(DISTINCT previous_row) FROM {arrivals}")[0]
    hidden: int = (reading.lines - arrived) - (reading.rows - workspace.count(absent) - kept)
    if hidden < 0:
        raise miscount(snapshot, read=snapshot.lines - hidden)
    return hidden


def _resolve_duplicates(workspace: Workspace, snapshot: Snapshot, read: str, arrivals: Relation, *, hidden: int) -> int:
    """Leave one row a key in `arrivals`, and count the lines beyond it.

    Which row stays is a function of the snapshot alone, whatever the order of its rows: the first by all its columns.
    Where lines are `hidden`, the keys are read once more. A key that is repeated gets no digest, so that next time all
    of its lines arrive here.
    """
    export, database = workspace.export, workspace.database
    arrived, keys = database.rows(f"SELECT count(*), count(DISTINCT (device_no, software_no)) FROM {arrivals}")[0]
    expected: int = hidden + arrived - keys
    if not expected:
        return 0
    repeated, duplicates = _find_repeated(workspace, f"({read})" if hidden else arrivals)
    if duplicates != expected:
        raise miscount(snapshot, read=snapshot.lines - expected + duplicates)
    lines = f"(SELECT {normal_forms(export.fields)}, device_no, software_no FROM ({read}))" if hidden else arrivals
    kept = workspace.make(
        "kept",
        f"""
        SELECT {export.columns}, device_no, software_no
        FROM {lines}
        SEMI JOIN {repeated} USING (device_no, software_no)
        QUALIFY {_first_of_key(export.columns)}
        """,
    )
    database.rows(
        f"""
        DELETE FROM {arrivals}
        USING {repeated}
        WHERE {arrivals}.device_no = {repeated}.device_no AND {arrivals}.software_no = {repeated}.software_no
        """
    )
    database.rows(
        f"""
        WITH stored AS (
            SELECT device_no, software_no, rowid AS previous_row
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}
        )
        INSERT INTO {arrivals}
        SELECT {export.columns}, NULL, device_no, software_no, previous_row
        FROM stored
        RIGHT JOIN {kept} USING (device_no, software_no)
        """
    )
    return duplicates


def _keep_one_of_each(workspace: Workspace) -> int:
    """Leave one row a key in an inventory that was just stored. Returns the number of rows that went."""
    database, attributes = workspace.database, workspace.export.attribute_columns
    stored = f"(SELECT rowid, * FROM inventory WHERE inventory = {literal(workspace.inventory)})"
    repeated, duplicates = _find_repeated(workspace, stored)
    if not duplicates:
        return 0
    # Only attributes can tell rows of one key apart.
    kept = workspace.make(
        "kept",
        f"""
        SELECT rowid AS kept_row
        FROM {stored}
        SEMI JOIN {repeated} USING (device_no, software_no)
        QUALIFY {_first_of_key(attributes)}
        """,
    )
    database.rows(
        f"""
        DELETE FROM inventory
        WHERE rowid IN (SELECT rowid FROM {stored} SEMI JOIN {repeated} USING (device_no, software_no))
          AND rowid NOT IN (SELECT kept_row FROM {kept})
        """
    )
    database.rows(
        f"UPDATE inventory SET digest = NULL, line_1 = NULL, line_2 = NULL WHERE rowid IN (SELECT kept_row FROM {kept})"
    )
    return duplicates


def _find_repeated(workspace: Workspace, records: Relation) -> tuple[Relation, int]:
    """The keys that `records` has more than once, and the number of rows beyond the first of each."""
    repeated = workspace.make(
        "repeated",
        f"""
        SELECT device_no, software_no, count(*) AS lines
        FROM {records}
        GROUP BY device_no, software_no
        HAVING count(*) > 1
        """,
    )
    return repeated, workspace.database.number(f"SELECT sum(lines - 1)::BIGINT FROM {repeated}")


def _first_of_key(columns: str) -> str:
    return f"row_number() OVER (PARTITION BY device_no, software_no ORDER BY {columns}) = 1"
