"""What Spark does: reads the parts, compares them with what is stored, and commits both in one version of a table.

A version of the table is a snapshot and the change dataset that led to it, told apart by `kind`:

    same      a record that is as it is stored
    changed   a record of which a tracked attribute differs; `before` has what is stored
    added     a record that is not stored
    absent    a stored record that the snapshot lacks; its values are in `before`

Delta Lake commits a version whole or not at all, so the two cannot come apart. The dataset's lines are ordered by key
and depend on nothing but the records: who runs the job again, on whatever number of machines, gets the same bytes. Its
counts and its digest stand in the commit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

from connector import private_files
from connector.diff.engines.line_digests import miscount
from connector.diff.engines.spark import dialect
from connector.diff.engines.spark.session import translated
from connector.diff.scan import Spelling, spelling_of
from connector.exports.fields import Export, Field
from connector.model import Part, Snapshot

RETENTION: Final = "interval 24 hours"
"""How long the files of earlier versions stay; the one that the state file names is needed until the next."""

VACUUM_EVERY: Final = 24
"""Versions between two clearances of files that no version needs any more."""

_PATTERN: Final = re.compile(r"[\\*?\[\]{}]")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version's commit says of its change dataset.

    Attributes:
        snapshot_id: of the snapshot that was compared.
        tracked: the fields that were compared, by name.
        lines: of the snapshot.
        records: of the snapshot; distinct keys.
        changed: records that differ.
        added: records that were not stored.
        absent: stored records that the snapshot lacks.
        longest: bytes of the dataset's longest line.
        digest: hex SHA-256 of the dataset's lines.
    """

    snapshot_id: str
    tracked: str
    lines: int
    records: int
    changed: int
    added: int
    absent: int
    longest: int
    digest: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the table, and what its commit says."""

    number: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Stored:
    """What the state file has, as files that Spark can read.

    Attributes:
        records: Parquet of whole records: all that are stored, or those of `keys`.
        version: of the table, which has all the others; None where `records` has all.
        keys: Parquet of the keys under which the version does not have what is stored.
    """

    records: Path
    version: int | None = None
    keys: Path | None = None


class Table:
    """The Delta table of one inventory.

    Args:
        session: Spark's.
        path: where it is: a folder, or an address that Spark can write to.
        export: what it holds.
    """

    def __init__(self, session: Any, path: str, export: Export) -> None:
        self._session = session
        self._path = path
        self._export = export
        self._keys = [field.column for field in export.keys]

    def has(self, version: Version) -> bool:
        """Whether the table has a version that says the same of itself: another file may write to it, too."""
        from delta.tables import DeltaTable

        with translated():
            if not DeltaTable.isDeltaTable(self._session, self._path):
                return False
            history = DeltaTable.forPath(self._session, self._path).history()
            rows = history.where(f"version = {version.number}").select("userMetadata").collect()
        return [row.userMetadata for row in rows] == [_metadata(version.manifest)]

    def compare(
        self, snapshot: Snapshot, stored: Stored, path: Path, *, tracked: Sequence[Field], commits: bool
    ) -> tuple[Manifest, int | None]:
        """Compare parts with what is stored, write the change dataset to a file, and commit both where that is asked.

        Returns what there is to say of the dataset, and the number of the version; None where none was committed.

        Raises:
            SourceMalformed: a line was refused.
            SnapshotError: Spark failed.
            SnapshotIncomplete: another number of lines was read than were verified; nothing was committed.
        """
        from pyspark import StorageLevel

        with translated():
            compared = self._compared(self._current(snapshot.parts), self._previous(stored), tracked)
            compared = compared.persist(StorageLevel.MEMORY_AND_DISK)
            try:
                number = _count(compared, snapshot)
                longest, digest = self._write_changes(compared, path)
                manifest = Manifest(
                    snapshot_id=snapshot.snapshot_id,
                    tracked=" ".join(field.name for field in tracked),
                    lines=snapshot.lines,
                    records=number["same"] + number["changed"] + number["added"],
                    changed=number["changed"],
                    added=number["added"],
                    absent=number["absent"],
                    longest=longest,
                    digest=digest,
                )
                return manifest, self._commit(compared, manifest) if commits else None
            finally:
                compared.unpersist()

    def _current(self, parts: Sequence[Part]) -> Any:
        """The records of the parts, one a key, in normal form; `lines` is how many there are of the key."""
        groups: dict[tuple[Spelling, bool], list[str]] = {}
        for part in parts:
            if part.lines:
                key = spelling_of(self._export, part.spellings), bool(part.unreadable)
                groups.setdefault(key, []).append(local(part.path))
        frames = [self._read(spelling, paths, marked=marked) for (spelling, marked), paths in groups.items()]
        if not frames:
            frames = [self._session.createDataFrame([], self._schema("unreadable ARRAY<STRING>"))]
        keys = ", ".join(self._keys)
        order = ", ".join(f"{field.column} ASC NULLS LAST" for field in self._export.attributes)
        return (
            reduce(lambda left, right: left.unionByName(right), frames)
            .selectExpr(
                *(field.column for field in self._export.fields),
                *(
                    [f"array_sort(array_distinct(flatten(collect_list(unreadable) OVER ({_by(keys)})))) AS unreadable"]
                    if any(marked for _, marked in groups)
                    else ["unreadable"]
                ),
                f"count(*) OVER ({_by(keys)}) AS lines",
                f"row_number() OVER ({_by(keys)} ORDER BY {order}) AS place",
            )
            .where("place = 1")
            .drop("place")
        )

    def _read(self, spelling: Spelling, paths: list[str], *, marked: bool) -> Any:
        """The records of parts of one spelling. A generator, so that each line is parsed once."""
        schema = dialect.schema(self._export, spelling, marked=marked).replace("'", "\\'")
        options = ", ".join(f"'{name}', '{value}'" for name, value in dialect.READER.items())
        return (
            self._session.read.option("lineSep", "\n")
            .text(paths)
            .where(f"NOT {dialect.BLANK}")
            .selectExpr("value", f"inline(array(from_json(value, '{schema}', map({options}))))")
            .selectExpr(*dialect.record(self._export, spelling, marked=marked))
        )

    def _previous(self, stored: Stored) -> Any:
        """The records that are stored."""
        read, columns = self._session.read, [field.column for field in self._export.fields]
        records = read.parquet(local(stored.records)).select(*columns)
        if stored.version is None or stored.keys is None:
            return records
        table = read.format("delta").option("versionAsOf", stored.version).load(self._path)
        others = table.where("kind <> 'absent'").select(*columns)
        keys = read.parquet(local(stored.keys))
        return others.join(keys, on=self._keys, how="left_anti").unionByName(records)

    def _compared(self, current: Any, previous: Any, tracked: Sequence[Field]) -> Any:
        """Both side by side, as the table has them."""
        names = {field.column: f"stored_{field.column}" for field in self._export.attributes}
        renamed = [f"{column} AS {name}" for column, name in names.items()]
        before = previous.selectExpr(*self._keys, *renamed, "true AS is_stored")
        differs = " OR ".join(f"NOT ({field.column} <=> {names[field.column]})" for field in tracked) or "false"
        values = ", ".join(
            f"'{field.name}', {names[field.column] if field in tracked else f'CAST(NULL AS {_type(field)})'}"
            for field in self._export.attributes
        )
        kind = (
            "CASE WHEN is_stored IS NULL THEN 'added' WHEN lines IS NULL THEN 'absent'"
            f" WHEN {differs} THEN 'changed' ELSE 'same' END AS kind"
        )
        return (
            current.join(before, on=self._keys, how="full")
            .selectExpr("*", kind)
            .selectExpr(
                "kind",
                *(field.column for field in self._export.fields),
                "unreadable",
                "lines",
                f"CASE WHEN kind IN ('changed', 'absent') THEN named_struct({values}) END AS before",
            )
        )

    def _write_changes(self, compared: Any, path: Path) -> tuple[int, str]:
        """Write the lines of the change dataset to a file. Returns the bytes of the longest, and their digest."""
        digest, longest = hashlib.sha256(), 0
        with private_files.translate_errors(path), private_files.create(path) as file:
            for line in self._lines(compared):
                longest = max(longest, len(line))
                digest.update(line)
                file.write(line)
        return longest, digest.hexdigest()

    def _lines(self, compared: Any) -> Iterator[bytes]:
        """The lines of the change dataset, ordered by key: JSON, as bytes that depend on the records alone."""
        values = ", ".join(f"'{field.name}', {field.column}" for field in self._export.fields)
        line = (
            f"to_json(named_struct('kind', kind, {values}, 'unreadable', unreadable, 'lines', lines, 'before', before),"
            " map('ignoreNullFields', 'false')) AS line"
        )
        lines = compared.where("kind <> 'same'").orderBy(*self._keys).selectExpr(line)
        for row in lines.toLocalIterator(prefetchPartitions=True):
            yield row.line.encode() + b"\n"

    def _commit(self, compared: Any, manifest: Manifest) -> int:
        """Make it a version of the table. Returns its number."""
        from delta.tables import DeltaTable

        (
            compared.write.format("delta")
            .mode("overwrite")
            .partitionBy("kind")
            .option("overwriteSchema", "true")
            .option("delta.deletedFileRetentionDuration", RETENTION)
            .option("userMetadata", _metadata(manifest))
            .save(self._path)
        )
        table = DeltaTable.forPath(self._session, self._path)
        number = int(table.history(1).first().version)
        if number % VACUUM_EVERY == VACUUM_EVERY - 1:
            table.vacuum()
        return number

    def _schema(self, more: str) -> str:
        fields = ", ".join(f"{field.column} {_type(field)}" for field in self._export.fields)
        return f"{fields}, {more}"


def local(path: Path) -> str:
    """The address of one file or folder that the connector wrote, as no pattern; executors must see it, too."""
    return "file:" + _PATTERN.sub(r"\\\g<0>", str(path.absolute()))


def manifest_of(values: Mapping[str, Any]) -> Manifest:
    """A manifest from what it was written as."""
    return Manifest(**values)


def _count(compared: Any, snapshot: Snapshot) -> dict[str, int]:
    """Records of each kind, once the lines that were read are those that were verified."""
    sums = _expressions("count(*) AS records", "sum(lines) AS lines")
    rows = compared.groupBy("kind").agg(*sums).collect()
    lines = sum(int(row.lines or 0) for row in rows)
    if lines != snapshot.lines:
        raise miscount(snapshot, read=lines)
    return dict.fromkeys(("same", "changed", "added", "absent"), 0) | {row.kind: row.records for row in rows}


def _metadata(manifest: Manifest) -> str:
    return json.dumps(asdict(manifest))


def _type(field: Field) -> str:
    return dialect.COLUMN_TYPES[field.kind]


def _by(keys: str) -> str:
    return f"PARTITION BY {keys}"


def _expressions(*texts: str) -> list[Any]:
    from pyspark.sql.functions import expr

    return [expr(text) for text in texts]
