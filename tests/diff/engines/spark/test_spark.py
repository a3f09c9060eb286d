from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from connector.diff.engines import Comparer
from connector.errors import SourceMalformed
from connector.exports.software import SOFTWARE
from connector.source.repair import repair
from connector.staging import restore
from connector.staging.engines import COMPARER
from connector.state import portable
from connector.state.state import StateFile
from tests.support.bench import Bench, record, staging_rules
from tests.support.sparking import CHILD_SEED, ExportingComparer, SparkBench, history, spark_comparer

ROOT = Path(__file__).parents[4]
SEEDS = int(os.environ.get("MDE_TEST_EXAMPLES", "2"))


def described(dataset: Sequence[bytes]) -> dict[str, Any]:
    """What a version's commit says of its change dataset."""
    kinds = Counter(json.loads(line)["kind"] for line in dataset)
    digest = hashlib.sha256(b"".join(dataset)).hexdigest()
    counts = {kind: kinds[kind] for kind in ("added", "changed", "absent")}
    return {"digest": digest, "longest": max(map(len, dataset), default=0), **counts}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_changes_alerts_and_inventory_are_those_of_the_oracle_and_of_the_other_engine(
    spark: Any, seed: int, tmp_path: Path
) -> None:
    """Any history, in any flavour, order and spelling, with twins, holds and other rules: every field of everything.

    What each comparison found is the same change dataset, too: the same lines in the same order, byte for byte. Those
    of Spark, read from its table, have the counts and the digest that their commit says.
    """
    exporting = ExportingComparer()
    with (
        SparkBench(tmp_path / "spark", spark, random=Random(seed)) as bench,
        Bench(tmp_path / "duckdb", random=Random(seed)) as other,
    ):
        other.comparer = cast(Comparer, exporting)
        for lines, rules in history(seed):
            staged, again = (side.stage(lines, rules=rules) for side in (bench, other))
            assert bench.changes(staged) == other.changes(again)
            assert bench.alerts(staged) == other.alerts(again)
            assert replace(staged, content_digest="") == replace(again, content_digest="")
        versions = bench.versions()
        datasets = [bench.dataset(number) for number in range(len(versions))]
    assert datasets == exporting.datasets
    assert [described(dataset) for dataset in datasets] == [
        {name: version[name] for name in ("digest", "longest", "added", "changed", "absent")} for version in versions
    ]
    assert sum(map(len, datasets)) > len(versions)


def test_the_same_snapshot_gives_the_same_dataset_whoever_compares_it(spark: Any, tmp_path: Path) -> None:
    """Again, another process, another table, or the whole inventory instead of a version: one digest, one order."""
    lines = [record(f"d-{number}", "a", deviceName=f"n{number}") for number in range(20)]
    later = [record("d-3", "b"), *({**line, "deviceName": "x"} for line in lines[2:5]), *lines[5:]]
    with SparkBench(tmp_path, spark) as bench:
        bench.stage(lines)
        bench.stage(lines)
        snapshot = bench.snapshot(later)
        bench.take(snapshot, keep=False)
        bench.comparer = spark_comparer(spark, tmp_path / "elsewhere")
        bench.take(snapshot, keep=False)
        bench.comparer = spark_comparer(spark, tmp_path / "delta")
        staged = bench.take(snapshot)
        versions = [version for version in bench.versions() if version["snapshot_id"] == snapshot.snapshot_id]
        elsewhere = bench.versions("elsewhere")
    assert [version == versions[0] for version in [*versions, *elsewhere]] == [True] * 3
    counts = {name: versions[0][name] for name in ("lines", "records", "added", "changed", "absent")}
    assert counts == {"lines": 19, "records": 19, "added": 1, "changed": 3, "absent": 2}
    assert (staged.counts.added, staged.counts.removed, staged.counts.changed) == (1, 2, 3)


def test_a_dry_run_writes_nothing_to_the_table(spark: Any, tmp_path: Path) -> None:
    """No version and no file of one, whether there is a table or none yet; what it finds is what a poll does."""
    lines = [record(f"d-{number}", "a") for number in range(6)]
    with SparkBench(tmp_path, spark) as bench:
        bench.stage(lines)
        bench.number += 1
        first = bench.try_out(bench.snapshot(lines[1:]))
        assert not (tmp_path / "delta").exists()
        bench.number -= 2
        bench.stage(lines)
        table = sorted((tmp_path / "delta").rglob("*"))
        snapshot = bench.snapshot(lines[1:])
        second = bench.try_out(snapshot)
        assert sorted((tmp_path / "delta").rglob("*")) == table
        staged = bench.take(snapshot)
        assert sorted((tmp_path / "delta").rglob("*")) != table
    assert [first.counts.removed, first.counts, second.counts] == [1, staged.counts, staged.counts]


def test_each_engine_goes_on_where_the_other_stopped(spark: Any, tmp_path: Path) -> None:
    """A tenant moves from one to the other and back, and no event comes of it; nor of a table that is gone."""
    lines = [record(f"d-{number}", "a") for number in range(6)]
    with SparkBench(tmp_path, spark) as bench:
        engines = {"spark": bench.comparer, "duckdb": COMPARER}
        for engine in ("duckdb", "spark", "spark", "duckdb", "spark"):
            bench.comparer = engines[engine]
            assert bench.stage(lines).counts.changes == 0
        shutil.rmtree(tmp_path / "delta")
        assert bench.stage(lines).counts.changes == 0
        assert bench.stage(lines[:-1]).counts.removed == 1


def carry(bench: SparkBench, folder: Path) -> None:
    """The bench has another state file from now on, made of what its own one was exported to."""
    manifest = portable.write(bench.state, folder)
    bench.state.close()
    bench.path = folder.with_suffix(".duckdb")
    with restore.imported(bench.path, {"memory_limit_mib": 256, "threads": 1}, SOFTWARE, folder, manifest):
        pass
    bench.state = StateFile.open(bench.path, memory_limit_mib=256, threads=1)


def test_a_tenant_is_carried_from_one_engine_to_the_other_and_back(spark: Any, tmp_path: Path) -> None:
    """By an export and an import: the same inventory, position and journal; no event, and one of the one change."""
    lines = [record(f"d-{number}", "a") for number in range(6)]
    with SparkBench(tmp_path, spark) as bench:
        engines = {"spark": bench.comparer, "duckdb": COMPARER}
        bench.comparer = COMPARER
        newest = bench.stage(lines)
        for number, engine in enumerate(("spark", "duckdb"), start=1):
            before = (bench.state.journal.position(), bench.changes(newest))
            carry(bench, tmp_path / f"exported-{number}")
            assert (bench.state.journal.position(), bench.changes(newest)) == before
            bench.comparer = engines[engine]
            assert bench.stage(lines).counts.changes == 0
            lines[number] = lines[number] | {"numberOfWeaknesses": number}
            newest = bench.stage(lines)
            assert (newest.epoch, newest.counts.changed, newest.counts.changes) == (1, 1, 1)
            assert [change["sequence"] for change in bench.changes(newest)] == [number]


def test_values_that_cannot_be_read_are_those_that_are_stored(spark: Any, tmp_path: Path) -> None:
    """A line that is refused is repaired, and its attribute stays as it was; so do the counts."""
    with SparkBench(tmp_path, spark) as bench:
        bench.stage([record("d", "a", numberOfWeaknesses=1), record("e", "a")])
        snapshot = bench.snapshot([record("d", "a", numberOfWeaknesses=2.5), record("e", "a")])
        with pytest.raises(SourceMalformed, match="whole number"):
            bench.take(snapshot)
        repaired = [repair(part, SOFTWARE, tmp_path / "rejected").part for part in snapshot.parts]
        staged = bench.take(replace(snapshot, parts=tuple(repaired)))
        assert (staged.counts.changes, staged.counts.records) == (0, 2)


def test_a_killed_executor_changes_nothing_and_a_killed_driver_is_made_up_for(spark: Any, tmp_path: Path) -> None:
    """One executor of two dies while it compares; then the driver, between its commit and the staging transaction.

    The next poll, by another process, compares with the version that the state file names, commits the same dataset
    again, and comes to the changes of the other engine.
    """
    snapshots = history(CHILD_SEED)[:3]
    with SparkBench(tmp_path, spark, random=Random(1)) as bench:
        for lines, rules in snapshots[:2]:
            bench.stage(lines, rules=rules)
    child = [sys.executable, "-m", "tests.support.spark_child", str(tmp_path)]
    ended = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[-2:]) == (-9, ["executor killed", "driver dies"]), ended.stderr
    with SparkBench(tmp_path, spark) as bench, Bench(tmp_path / "duckdb") as other:
        theirs = [other.stage(lines, rules=rules) for lines, rules in snapshots][-1]
        assert bench.state.journal.position().last_snapshot == 2
        bench.number = 2
        (lines, rules), before = snapshots[-1], bench.versions()
        ours = bench.take(bench.snapshot(lines), rules=staging_rules(rules))
        assert bench.changes(ours) == other.changes(theirs)
        assert bench.alerts(ours) == other.alerts(theirs)
        assert bench.versions() == [*before, before[-1]]
    assert [version["snapshot_id"] for version in before] == [theirs.previous_snapshot_id, theirs.snapshot_id]
