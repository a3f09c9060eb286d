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
from connector.diff.engines.spark.session import open_session
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


def session(folder: Path, *, master: str = "local[2]") -> Any:
    """A session of its own.

    Raises:
        Missing: no Java, or no Delta Lake.
    """
    java = Path(shutil.which("java") or java_command(JAVA)[0])
    os.environ.setdefault("JAVA_HOME", str(java.resolve().parents[1]))
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
