"""The seam of a comparison: the one heavy step of a poll, and who does it: `duckdb`, or `spark`.

A `Comparer` reads a snapshot's files and finds where it differs from the stored inventory. Everything that follows
(pairs of versions, the guard, moves, alerts, staging) reads the relations of its `Difference` and nothing else, and so
does not know which engine made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from connector.diff.tables import Difference, Workspace
from connector.exports.fields import Field
from connector.model import Snapshot


class Comparer(Protocol):
    """Compares a snapshot with the stored inventory of a workspace.

    The relations of the `Difference` that it returns can be read on `workspace.database` until its transaction ends.
    Rows have no order: every statement that needs one sorts. The columns, with their types:

        arrivals   records of the snapshot to be stored: new ones, and those whose tracked values are not as stored.
                   One row a key. The columns of `export.fields` in normal form (`scan.normal_forms`; types are
                   `COLUMN_TYPES`), `digest UBIGINT` (NULL where the snapshot has the key more than once),
                   `device_no INTEGER` and `software_no INTEGER` (rows of the tables `devices` and `software`, which
                   the comparer extends), and `previous_row BIGINT`: the row id of the stored record of that key, NULL
                   for a new one.
        earlier    what is stored under the keys of `arrivals`, and perhaps of what is absent: `stored_records`'
                   columns (`previous_row`, `export.fields`, `device_no`, `software_no`). Whoever needs a stored record
                   that is not in it fetches it.
        absent     stored records that the snapshot lacks: `previous_row`, `device_no`, `software_no`.
        quiet      those of `arrivals` that differ in no field that was tracked when the inventory was last compared:
                   they are stored, and make no change. `previous_row`.
        rewritten  stored records that the snapshot writes another way now and that mean the same: only their digest is
                   stored again. `previous_row`, `digest UBIGINT`. Not in `arrivals`.

    `lines` is for `store_lines` alone: an engine that remembers lines needs to know which it read.

    `records` and `devices` count distinct ones in the snapshot, `duplicates` the lines beyond the first of their key,
    `lookalikes` the new records whose key looks like that of an absent one, whether or not they continue it.
    Which line of a repeated key stays is a function of the snapshot alone, whatever the order of its rows: the first by
    all its columns. Keys are compared exactly: no hash collision may merge two records. The counts must add up: the
    lines that were verified on disk are those that were read.
    """

    def take_baseline(self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field]) -> Difference:
        """Store a first snapshot: every record becomes part of the inventory, which has none yet.

        Returns counts and empty relations: nothing differs from what is stored now.

        Raises:
            SourceMalformed: a line cannot be read, or has no device.
            SnapshotIncomplete: the reader saw another number of records than were verified on disk.
        """

    def compare(
        self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field], known: Sequence[Field], folds: bool
    ) -> Difference:
        """Find what differs. Writes no table of the state file other than `devices` and `software`.

        Args:
            workspace: inside the staging transaction; in a `scratch` one, the engine keeps nothing anywhere else.
            snapshot: readable in one spelling a part (`scan.check_readable`).
            tracked: the attributes whose difference makes a change.
            known: those that were tracked when the inventory was last compared; others may be stale or unknown in it.
            folds: whether a new record continues the absent one whose key looks like its own (`lookalikes`).

        Raises:
            SourceMalformed: a line cannot be read, has no device, or may spell a property in another way than its part.
            SnapshotIncomplete: the reader saw another number of records than were verified on disk.
        """

    def store_lines(
        self, workspace: Workspace, snapshot: Snapshot, difference: Difference, *, tracked: Sequence[Field]
    ) -> None:
        """Remember the lines of a snapshot with the records that they became, so that the next one is compared sooner.

        Called once the inventory is what the snapshot makes it. What is compared later is the same without it.
        """
