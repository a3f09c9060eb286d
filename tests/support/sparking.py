"""Spark for the tests, with Delta Lake from Maven Central: pinned by digests, fetched once, started once a run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

from connector.diff.engines import Comparer
from connector.diff.engines.duckdb import DuckDBComparer
from connector.diff.engines.spark import SparkComparer
from connector.diff.engines.spark.job import Table
from connector.diff.engines.spark.session import open_session
from connector.diff.scan import scan
from connector.diff.tables import Difference, Workspace
from connector.exports.fields import Field, columns_of
from connector.exports.software import SOFTWARE
from connector.model import Snapshot
from tests.support.bench import Bench
from tests.support.broker import Missing, java_command, unpacked
from tests.support.estate import VALUES, Estate
from tests.support.oracle import Record, Rules

JAVA: Final = 17
"""What this Spark needs at least."""

QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Most of what a short run takes is compiling: code that runs once, for records that are few."""

DIGESTS: Final = {
    "delta-kernel-api-4.4.0.jar": "ee9b5a14ac3b7efdff4d61a58478fe8eb0e5a3fbca43889dca7290795fe79a11",
    "delta-kernel-defaults-4.4.0.jar": "225c975199e4718b38ee5b7e6da7f19e9585024262b2cec2656b32151a856b0b",
    "delta-spark_4.2_2.13-4.4.0.jar": "27d4fd8b1f879535c573ed1c718177d6a27f24d3e626ba02e216369725721ead",
    "delta-storage-4.4.0.jar": "c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc",
}
"""SHA-256 of the jars that `delta/pom.xml` names."""


CHILD_SEED: Final = 4
"""Of the history that `spark_child` stages."""


def history(seed: int) -> list[tuple[list[Record], Rules]]:
    """Snapshots of an estate that evolves, loses devices and groups, and is looked at by other rules now and then."""
    random = Random(seed)
    estate = Estate(random, devices=8, per_device=6)
    rules = Rules(max_removed_share=random.choice((0.1, 1.0)), min_removed=5, missing_device_snapshots=2)
    snapshots = []
    for _ in range(4):
        lines = estate.lines()
        if random.random() < 0.5:
            lines += estate.twins()
            random.shuffle(lines)
        snapshots.append((lines, rules))
        if random.random() < 0.5:
            ignored = frozenset(random.sample(sorted(VALUES), random.randint(0, 3)))
            rules = replace(rules, ignore_fields=ignored, fold_lookalikes=random.random() < 0.5)
        random.choice((estate.evolve, estate.leave_or_return, estate.lose_group))()
        estate.evolve()
    return snapshots


def jars() -> Sequence[Path]:
    """Delta Lake's jars, as they were when their digests were written down.

    Raises:
        Missing: they cannot be fetched, or are others.
    """
    found = {path.name: path for path in unpacked("delta").glob("*.jar")}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    if digests != DIGESTS:
        raise Missing(f"Delta Lake's jars are not those that are pinned: {sorted(digests.items() ^ DIGESTS.items())}")
    return sorted(found.values())


def settings(folder: Path, *, master: str = "local[2]") -> dict[str, Any]:
    """The settings of a small session, whose files are in a folder."""
    return {
        "spark.master": master,
        "spark.jars": ",".join(map(str, jars())),
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": QUICK,
        "spark.executor.extraJavaOptions": QUICK,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(folder / "spark"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
    }


def find_java() -> None:
    """Let Spark find Java, in this process and in those that it starts.

    Raises:
        Missing: there is none.
    """
    java = Path(shutil.which("java") or java_command(JAVA)[0])
    os.environ.setdefault("JAVA_HOME", str(java.resolve().parents[1]))


def engine_table(folder: Path) -> dict[str, Any]:
    """`[engine]` of a connector that compares on Spark, with its tables in a folder.

    Raises:
        Missing: no Java, or no Delta Lake.
    """
    find_java()
    return {"name": "spark", "path": f"file:{folder / 'delta'}", "spark": settings(folder)}


def session(folder: Path, *, master: str = "local[2]") -> Any:
    """A session of its own.

    Raises:
        Missing: no Java, or no Delta Lake.
    """
    find_java()
    spark = open_session(settings(folder, master=master))
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def spark_comparer(spark: Any, folder: Path) -> SparkComparer:
    """An engine on that session, whose tables are in a folder."""
    return SparkComparer(f"file:{folder}", {}, first=DuckDBComparer(), opened=lambda _: spark)


class SparkBench(Bench):
    """A bench whose snapshots are compared by Spark. `comparer` may be replaced, as by another process."""

    def __init__(self, folder: Path, spark: Any, **more: Any) -> None:
        super().__init__(folder, **more)
        self.spark = spark
        self.comparer: Comparer = spark_comparer(spark, folder / "delta")

    def versions(self, folder_name: str = "delta") -> list[dict[str, Any]]:
        """What the commits of the table say of themselves, the first one first."""
        folder = self.folder / folder_name / "cpe" / "_delta_log"
        commits = sorted(path for path in folder.glob("*.json") if re.fullmatch(r"\d+\.json", path.name))
        lines = [json.loads(line) for path in commits for line in path.read_bytes().split(b"\n") if line]
        return [json.loads(line["commitInfo"]["userMetadata"]) for line in lines if "commitInfo" in line]

    def dataset(self, version: int) -> list[bytes]:
        """The change dataset of a version, read from the table: its lines in their order."""
        path = f"file:{self.folder / 'delta' / 'cpe'}"
        committed = self.spark.read.format("delta").option("versionAsOf", version).load(path)
        return list(Table(self.spark, path, SOFTWARE)._lines(committed))


class ExportingComparer:
    """DuckDB's engine, with what each of its comparisons found as the lines of a change dataset.

    Attributes:
        datasets: one for each comparison, in the form and the order of Spark's.
    """

    def __init__(self) -> None:
        self._comparer = DuckDBComparer()
        self.datasets: list[list[bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comparer, name)

    def compare(
        self, workspace: Workspace, snapshot: Snapshot, *, tracked: Sequence[Field], known: Sequence[Field], folds: bool
    ) -> Difference:
        """As `Comparer.compare`. Records that continue another key are two lines of a dataset: it is made before."""
        difference = self._comparer.compare(workspace, snapshot, tracked=tracked, known=known, folds=False)
        rows = workspace.database.rows(_dataset(workspace, snapshot, difference))
        self.datasets.append([_line(row, tracked) for row in rows])
        if not folds:
            return difference
        return self._comparer.compare(workspace, snapshot, tracked=tracked, known=known, folds=True)


def _dataset(workspace: Workspace, snapshot: Snapshot, difference: Difference) -> str:
    """A SELECT of what differs, ordered by key: kind, values, number of lines, and the stored values."""
    export = workspace.export
    nothing = ", ".join(f"NULL AS {field.column}" for field in export.attributes)
    return f"""
        WITH counted AS (
            SELECT {export.key_columns}, count(*) AS lines
            FROM ({scan(export, snapshot.parts, export.keys)})
            GROUP BY ALL
        ),
        differing AS (
            SELECT if(previous_row IS NULL, 'added', 'changed') AS kind, {export.columns}, previous_row
            FROM {difference.arrivals}
            UNION ALL BY NAME
            SELECT 'absent' AS kind, {export.key_columns}, {nothing}, previous_row
            FROM {difference.absent}
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
        )
        SELECT kind,
               {columns_of(export.fields, of="d")},
               lines,
               d.previous_row IS NOT NULL,
               {columns_of(export.attributes, of="s")}
        FROM differing d
        LEFT JOIN counted USING ({export.key_columns})
        LEFT JOIN {workspace.stored} s USING (previous_row)
        ORDER BY {columns_of(export.keys, of="d")}
    """


def _line(row: tuple[Any, ...], tracked: Sequence[Field]) -> bytes:
    """One row of `_dataset` as JSON: compact, null where there is no value, as Spark writes it."""
    kind, *values = row
    fields, attributes = SOFTWARE.fields, SOFTWARE.attributes
    after, (lines, is_stored), stored = values[: len(fields)], values[len(fields) :][:2], values[len(fields) + 2 :]
    before = {field.name: value if field in tracked else None for field, value in zip(attributes, stored, strict=True)}
    value = {
        "kind": kind,
        **{field.name: value for field, value in zip(fields, after, strict=True)},
        "unreadable": None,
        "lines": lines,
        "before": before if is_stored else None,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
