"""The comparison on Spark, for snapshots that one machine does not get through: the engine computes, we publish.

What is compared is what DuckDB compares: the snapshot with the stored inventory. Spark cannot read the state file, so
it has the inventory as a version of a Delta table, `job.Table`: the last snapshot. Under some keys the inventory is not
what the last snapshot said (what is held, or continues another key); the state file keeps those keys in `diverging`,
and their records go to Spark as a small file. Where there is no such version (the first comparison, another engine
since, another state file, a table that is gone) all records go to Spark as a file, which comes to the same.

The version that is committed here becomes the previous one with the staging transaction, in `store_lines`. A process
that dies between the two leaves a version that nothing names: the next poll compares with the one that is named. A dry
run commits none.

The inventory itself is still in the state file: a first snapshot is stored by DuckDB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from connector.diff.engines import Comparer
from connector.diff.engines.differing import Differing, check_devices, check_spellings, number_arrivals, settle
from connector.diff.engines.line_digests import temporary_folder
from connector.diff.engines.spark.job import Manifest, Stored, Table, Version, manifest_of
from connector.diff.engines.spark.session import open_session
from connector.diff.scan import stored_digest
from connector.diff.tables import Difference, Relation, Workspace
from connector.errors import SnapshotError, SnapshotIncomplete
from connector.exports.fields import COLUMN_TYPES, Field
from connector.model import Inventory, Snapshot
from connector.state.meta import forget, recall, remember
from connector.state.sql import file_pattern, identifier, literal
from connector.telemetry import logger

log = logger(__name__)

DATASET: Final = "change_dataset"
"""The table of the change dataset, with the numbers of its keys."""


LINE_BYTES_LEAST: Final = 2**20
"""The reader is given room for the longest line of the dataset, and for no less than this."""


class SparkComparer:
    """The `Comparer` that runs on Spark.

    Args:
        path: the folder or address of the Delta tables of one tenant.
        settings: of Spark's session, where this process has none.
        first: who stores a first snapshot, and compares an empty one.
        opened: returns the session; for tests that share one.
    """

    def __init__(
        self,
        path: str,
        settings: Mapping[str, Any],
        *,
        first: Comparer,
        opened: Callable[[Mapping[str, Any]], Any] = open_session,
    ) -> None:
        self._path = path.rstrip("/")
        self._settings = settings
        self._first = first
        self._opened = opened
        self._session: Any = None
        self._committed: dict[Inventory, Version] = {}

    def take_baseline(self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field]) -> Difference:
        """As `Comparer.take_baseline`."""
        forget(workspace.database, _note(workspace.inventory))
        return self._first.take_baseline(workspace, snapshot, tracked=tracked)

    def compare(
        self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field], known: Sequence[Field], folds: bool
    ) -> Difference:
        """As `Comparer.compare`."""
        # What an attempt committed that failed later stands for nothing.
        self._committed.pop(workspace.inventory, None)
        if not snapshot.lines:
            return self._first.compare(workspace, snapshot, tracked=tracked, known=known, folds=folds)
        if self._session is None:
            self._session = self._opened(self._settings)
        table = Table(self._session, f"{self._path}/{workspace.inventory.label}", workspace.export)
        with temporary_folder(snapshot.parts) as folder:
            manifest = self._run(workspace, snapshot, table, tracked, folder)
            _read_dataset(workspace, folder / "changes.json", manifest, snapshot)
        return _conclude(workspace, snapshot, manifest, (tracked, known), folds=folds)

    def store_lines(
        self, workspace: Workspace, snapshot: Snapshot, difference: Difference, *, tracked: Sequence[Field]
    ) -> None:
        """Name the version that was committed as the previous one, and the keys under which it may not be stored."""
        database, which = workspace.database, literal(workspace.inventory)
        version = self._committed.pop(workspace.inventory, None)
        if version is None:
            forget(database, _note(workspace.inventory))
            self._first.store_lines(workspace, snapshot, difference, tracked=tracked)
            return
        database.rows(f"DELETE FROM diverging WHERE inventory = {which}")
        database.rows(
            f"""
            INSERT INTO diverging
            SELECT DISTINCT {which}, device_no, software_no
            FROM {difference.lines}
            """
        )
        remember(database, _note(workspace.inventory), json.dumps(asdict(version)))

    def _run(
        self, workspace: Workspace, snapshot: Snapshot, table: Table, tracked: Sequence[Field], folder: Path
    ) -> Manifest:
        """Let Spark compare, from the version that the state file names where it can. The file is written."""
        named = _named_version(workspace, tracked)
        path, commits = folder / "changes.json", not workspace.scratch
        compared: tuple[Manifest, int | None] | None = None
        if named is not None and table.has(named):
            try:
                stored = _diverging_records(workspace, folder, named.number)
                compared = table.compare(snapshot, stored, path, tracked=tracked, commits=commits)
            except SnapshotIncomplete:
                raise
            except SnapshotError as error:
                # Files of the version may be gone, as after a copy of the state file was brought back.
                log.warning("comparing with the whole inventory instead", error=str(error), version=named.number)
                path.unlink(missing_ok=True)
        if compared is None:
            stored = _all_records(workspace, folder)
            compared = table.compare(snapshot, stored, path, tracked=tracked, commits=commits)
        manifest, number = compared
        if number is not None:
            self._committed[workspace.inventory] = Version(number, manifest)
        log.info("Spark compared", version=number, **asdict(manifest))
        return manifest


def _note(inventory: Inventory) -> str:
    return f"spark {inventory}"


def _named_version(workspace: Workspace, tracked: Sequence[Field]) -> Version | None:
    """The version that stands for the inventory; None where there is none, or another engine compared since."""
    note = recall(workspace.database, _note(workspace.inventory))
    newest = workspace.database.rows(
        """
        SELECT snapshot_id
        FROM snapshots
        WHERE inventory = $1 AND epoch = (SELECT epoch FROM position)
        ORDER BY snapshot_no DESC
        LIMIT 1
        """,
        [workspace.inventory.value],
    )
    if note is None or not newest:
        return None
    values = json.loads(note)
    version = Version(values["number"], manifest_of(values["manifest"]))
    # What is derived from a snapshot, such as an approval, has its id and a suffix.
    is_newest = str(newest[0][0]).startswith(version.manifest.snapshot_id)
    is_same = version.manifest.tracked == " ".join(field.name for field in tracked)
    return version if is_newest and is_same else None


def _all_records(workspace: Workspace, folder: Path) -> Stored:
    """The whole inventory, as a file."""
    path = folder / "stored.parquet"
    _write(workspace, f"SELECT {workspace.export.columns} FROM {workspace.stored}", path)
    return Stored(path)


def _diverging_records(workspace: Workspace, folder: Path, version: int) -> Stored:
    """What is stored under the keys under which the version may not have it, and those keys, as files."""
    export, keys, records = workspace.export, folder / "keys.parquet", folder / "diverging.parquet"
    which = f"(SELECT device_no, software_no FROM diverging WHERE inventory = {literal(workspace.inventory)})"
    _write(
        workspace,
        f"SELECT {export.key_columns} FROM {which} JOIN devices USING (device_no) JOIN software USING (software_no)",
        keys,
    )
    diverging = f"{workspace.stored} SEMI JOIN {which} USING (device_no, software_no)"
    _write(workspace, f"SELECT {export.columns} FROM {diverging}", records)
    return Stored(records, version, keys)


def _write(workspace: Workspace, query: str, path: Path) -> None:
    workspace.database.rows(f"COPY ({query}) TO {literal(str(path.absolute()))} (FORMAT parquet)")


def _read_dataset(workspace: Workspace, path: Path, manifest: Manifest, snapshot: Snapshot) -> None:
    """Read the change dataset into a table, with the numbers of its keys, where those are known.

    Raises:
        SnapshotIncomplete: it is not what its manifest says, or not about what is stored.
    """
    export = workspace.export
    types = {
        "kind": "VARCHAR",
        "lines": "BIGINT",
        "unreadable": "VARCHAR[]",
        **{field.name: COLUMN_TYPES[field.kind] for field in export.fields},
    }
    columns = ", ".join(f"{identifier(name)}: {literal(kind)}" for name, kind in types.items())
    fields = ", ".join(f"{identifier(field.name)} AS {field.column}" for field in export.fields)
    same = " AND ".join(f"s.{field.column} = r.{field.column}" for field in export.subject)
    size = max(manifest.longest, LINE_BYTES_LEAST)
    workspace.make(
        DATASET,
        f"""
        WITH read AS (
            SELECT kind, {fields}, unreadable, lines
            FROM read_json([{literal(file_pattern(path))}], format = 'newline_delimited', compression = 'none',
                hive_partitioning = false, maximum_object_size = {size}, columns = {{{columns}}})
        ),
        stored AS (
            SELECT device_no, software_no, rowid AS previous_row
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}
        )
        SELECT r.*, d.device_no, s.software_no, i.previous_row
        FROM read r
        LEFT JOIN devices d ON d.device_id = r.device_id
        LEFT JOIN software s ON {same}
        LEFT JOIN stored i ON i.device_no = d.device_no AND i.software_no = s.software_no
        """,
    )
    kinds = dict(workspace.database.rows(f"SELECT kind, count(*) FROM {DATASET} GROUP BY kind"))
    expected = {kind: count for kind in ("added", "changed", "absent") if (count := getattr(manifest, kind))}
    strangers = workspace.count(f"{DATASET} WHERE (kind = 'added') <> (previous_row IS NULL)")
    if kinds != expected or strangers:
        raise SnapshotIncomplete(
            f"the change dataset of {snapshot.snapshot_id} has {kinds} where its manifest says {expected}, and"
            f" {strangers} of its keys do not fit the inventory",
            hint="Nothing was staged. Does another process write to the table?",
        )


def _conclude(
    workspace: Workspace,
    snapshot: Snapshot,
    manifest: Manifest,
    fields: tuple[Sequence[Field], Sequence[Field]],
    *,
    folds: bool,
) -> Difference:
    """The relations of a `Difference`, from the change dataset."""
    tracked, _ = fields
    differing = workspace.make(
        "differing",
        f"""
        SELECT {workspace.export.columns},
               unreadable,
               CASE WHEN lines = 1 AND unreadable IS NULL THEN {stored_digest(tracked)} END AS digest,
               device_no,
               software_no,
               previous_row
        FROM {DATASET}
        WHERE kind <> 'absent'
        """,
    )
    check_devices(workspace, differing, snapshot)
    absent = workspace.make(
        "absent",
        f"""
        SELECT previous_row, device_no, software_no
        FROM {DATASET}
        WHERE kind = 'absent'
        """,
    )
    workspace.database.rows(f"DROP TABLE {DATASET}")
    arrivals = number_arrivals(workspace, differing)
    check_spellings(workspace, snapshot, arrivals, absent)
    touched = workspace.make("touched", f"{_numbers(arrivals)} UNION ALL {_numbers(absent)}", grows=True)
    found = Differing(differing, arrivals, absent, snapshot.lines - manifest.records)
    difference = settle(workspace, snapshot, found, fields, folds=folds)
    # A record that continues another key is stored under that one.
    workspace.database.rows(f"INSERT INTO {touched} {_numbers(arrivals)}")
    return difference._replace(lines=touched)


def _numbers(relation: Relation) -> str:
    return f"SELECT device_no, software_no FROM {relation}"
