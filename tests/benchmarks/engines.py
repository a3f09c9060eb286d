"""Spark beside DuckDB on the same snapshots: `python -m tests.benchmarks.engines [--records N] [--masters M ...]`.

Each engine stages the same two later snapshots, each with one record in a hundred changed, in a process of its own: the
first comparison of a process and the next one, which finds a session that runs and, with Spark, the version of its
table. CPU and memory are those of the process and of whatever it started, Spark's JVMs too. Needs what `make
test-spark` needs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from connector.diff.engines import Comparer
from connector.diff.engines.duckdb import DuckDBComparer
from connector.diff.engines.spark import SparkComparer
from connector.diff.engines.spark.session import open_session
from connector.model import Snapshot
from connector.staging.stage import stage_snapshot
from connector.state.state import StateFile
from tests.benchmarks.measuring import measure, print_table
from tests.benchmarks.snapshots import Size, write_snapshot
from tests.benchmarks.staging import NOW, PART_RECORDS, RULES
from tests.support.sparking import find_java, settings

MEMORY_LIMIT_MIB: Final = 1024
DRIVER_MEMORY: Final = "2g"
STEPS: Final = ("the first comparison of a process", "the next one")
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """What processes have used so far: seconds of processor and clock, and the peak of resident memory in MiB."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: int


class Row(NamedTuple):
    """One comparison, or the start of a session."""

    engine: str
    step: str
    cpu_seconds: float
    wall_seconds: float
    peak_mib: int
    changes: int


def run(records: int, masters: Sequence[str], threads: Sequence[int]) -> None:
    """Measure, and print the table."""
    size = Size(records, parts=max(8, records // PART_RECORDS))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        snapshots = [write_snapshot(folder / f"{number}", size, number) for number in range(3)]
        measure(stage_all, folder / "baseline.duckdb", snapshots[:1], None, 1)
        rows: list[Row] = []
        for engine in (*(f"DuckDB, {number} threads" for number in threads), *(f"Spark, {name}" for name in masters)):
            state = folder / "state.duckdb"
            shutil.copy(folder / "baseline.duckdb", state)
            kind, _, setting = engine.partition(", ")
            master, number = (setting, 1) if kind == "Spark" else (None, int(setting.split()[0]))
            measured = [Row(engine, *row) for row in measure(stage_all, state, snapshots[1:], master, number).result]
            print(*measured, sep="\n", flush=True)
            rows += measured
            shutil.rmtree(folder / "spark", ignore_errors=True)
        print_table(
            f"engines: {records:,} records, {size.parts} gzip parts, memory_limit_mib {MEMORY_LIMIT_MIB},"
            f" spark.driver.memory {DRIVER_MEMORY}",
            ("engine", "step", "CPU s", "clock s", "peak MiB", "changes"),
            [
                (row.engine, row.step, f"{row.cpu_seconds:.1f}", f"{row.wall_seconds:.1f}", row.peak_mib, row.changes)
                for row in rows
            ],
        )


def stage_all(
    path: Path, snapshots: Sequence[Snapshot], master: str | None, threads: int
) -> list[tuple[str, float, float, int, int]]:
    """Stage snapshots one after the other, on Spark where a master is given. Returns what each took."""
    rows = []
    before = used()
    comparer: Comparer = DuckDBComparer()
    if master is not None:
        session = start_session(path.parent / "spark", master)
        comparer = SparkComparer(
            f"file:{path.parent / 'spark' / 'delta'}", {}, first=comparer, opened=lambda _: session
        )
        rows.append(row_of("the start of Spark", before, 0))
    for step, snapshot in zip(STEPS, snapshots, strict=False):
        before = used()
        with StateFile.open(path, memory_limit_mib=MEMORY_LIMIT_MIB, threads=threads) as state:
            staged = stage_snapshot(
                state, snapshot, replace(RULES, comparer=comparer), started_at=NOW, now=snapshot.generated_at
            )
        rows.append(row_of(step, before, staged.counts.changes))
    return rows


def start_session(folder: Path, master: str) -> Any:
    """A session as it is in production: its JVM compiles what it runs often."""
    find_java()
    return open_session(
        settings(folder, master=master)
        | {
            "spark.driver.memory": DRIVER_MEMORY,
            "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
            "spark.sql.shuffle.partitions": "4",
            "spark.log.level": "ERROR",
        }
    )


def row_of(step: str, before: Used, changes: int) -> tuple[str, float, float, int, int]:
    """What a step took, from its begin until now; the peak is that of the whole process so far."""
    now = used()
    return step, now.cpu_seconds - before.cpu_seconds, now.wall_seconds - before.wall_seconds, now.peak_mib, changes


def used() -> Used:
    """What this process and all below it have used."""
    cpu_seconds, peak_kib = 0.0, 0
    for pid in [os.getpid(), *below(os.getpid())]:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu_seconds += sum(map(int, fields[11:15])) / TICKS
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        peak_kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Used(cpu_seconds, time.perf_counter(), peak_kib >> 10)


def below(ancestor: int) -> list[int]:
    """The processes that a process and those below it have started, and that live."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may have ended
            parents[int(path.parent.name)] = int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    children = [pid for pid, parent in parents.items() if parent == ancestor]
    return [*children, *(number for child in children for number in below(child))]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engines", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="records in a snapshot (default: 2,000,000)")
    parser.add_argument("--masters", nargs="*", default=["local[1]", "local[2]"], help="of Spark")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2], help="of DuckDB")
    options = parser.parse_args()
    run(options.records, options.masters, options.threads)


if __name__ == "__main__":
    main()
