"""Whole polls of a large estate, from the simulator's HTTPS to Kafka, beside the plain decompression of the same files.

Every poll is a separate process, so that its CPU time and its peak of memory are the kernel's figures. Kafka is
librdkafka's in-process cluster of this process; what brokers cost is not measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, TextIO

from connector.kafka.mock import MockCluster
from connector.model import Inventory, Method, Topic
from connector.simulator import Fleet, Simulator
from tests.benchmarks.measuring import print_table

RECORDS_PER_DEVICE: Final = 96
POLLS: Final = 4
YARDSTICK: Final = "zcat | wc -l"
UNPACK: Final = ("sh", "-c", 'zcat "$@" | wc -l', "sh")
"""Followed by the files. Nothing is written, and both processes count."""
PREFIX: Final = "bench"

POLL: Final = """
import json, sys
from connector import config
from connector.assembly import Assembly
with Assembly(config.from_values(json.load(open(sys.argv[1])), {}, name="benchmark")) as assembly:
    (result,) = assembly.pipeline.poll()
    print(json.dumps(result.as_json()))
"""
FETCH: Final = """
import json, sys
from connector import config
from connector.assembly import Assembly
from connector.model import Inventory
with Assembly(config.from_values(json.load(open(sys.argv[1])), {}, name="benchmark")) as assembly:
    snapshot = assembly.source.fetch(Inventory.CPE, newer_than=None)
    print(json.dumps([str(part.path) for part in snapshot.parts]))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured process: seconds of wall clock and CPU, MiB at the peak, and what it said of itself."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_mib: int
    note: str


def read_whole(out: TextIO) -> str:
    """All that a process printed."""
    return out.read()


def measure_command(
    name: str, arguments: list[str], note: str = "", *, read: Callable[[TextIO], str] = read_whole
) -> tuple[Row, str]:
    """Run a process to its end. Returns its figures, and what it printed, or what `read` makes of it.

    What this process holds counts as the peak of those that it starts: where much is printed, `read` keeps little.
    """
    began = time.perf_counter()
    with TemporaryDirectory() as folder, (Path(folder) / "out").open("w+", encoding="utf-8") as out:
        with subprocess.Popen(arguments, stdout=out) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        printed = read(out)
    if process.returncode:
        raise SystemExit(f"{name} failed with exit code {process.returncode}")
    return Row(name, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, note), printed


def run(records: int) -> None:
    """Measure, and print the table; every ratio is to `zcat` of the same files, the median of what ran in between."""
    rows = list(measured(records))
    yardsticks = [row for row in rows if row.name == YARDSTICK]
    cpu_seconds, wall_seconds = (
        median(getattr(row, name) for row in yardsticks) for name in ("cpu_seconds", "wall_seconds")
    )
    print_table(
        f"whole polls: about {records:,} records over HTTPS from the simulator, each in a separate process",
        ("step", "CPU s", "clock s", "CPU x zcat", "clock x zcat", "peak MiB"),
        [
            (
                row.name,
                f"{row.cpu_seconds:.1f}",
                f"{row.wall_seconds:.1f}",
                f"{row.cpu_seconds / cpu_seconds:.2f}",
                f"{row.wall_seconds / wall_seconds:.2f}",
                row.peak_mib,
            )
            for row in rows
        ],
    )
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")


def measured(records: int) -> Iterator[Row]:
    """The rows: fetching alone, then a baseline and polls of some changes, with plain decompression in between."""
    fleet = Fleet(seed=3, devices=max(records // RECORDS_PER_DEVICE, 5), start=datetime(2026, 1, 1, tzinfo=UTC))
    topics = [topic.name_under(PREFIX) for topic in Topic]
    with TemporaryDirectory() as name, MockCluster(topics) as cluster, Simulator(fleet) as simulator:
        folder = Path(name)
        simulator.prepare(Inventory.CPE, Method.FILES)
        tables = _tables(simulator, cluster, folder)
        config = folder / "poll.json"
        apart = folder / "fetch.json"
        config.write_text(json.dumps(tables), encoding="utf-8")
        apart.write_text(json.dumps(tables | {"state": {"path": str(folder / "apart" / "s.duckdb")}}), encoding="utf-8")
        row, printed = measure_command("fetch and verify", [sys.executable, "-c", FETCH, str(apart)])
        yield row
        paths = json.loads(printed)
        yield measure_command(YARDSTICK, [*UNPACK, *paths])[0]
        for number in range(POLLS):
            if number:
                simulator.advance()
            row, printed = measure_command(
                "baseline" if not number else f"poll {number}", [sys.executable, "-c", POLL, str(config)]
            )
            yield _described(row, json.loads(printed), folder / "state.duckdb")
            yield measure_command(YARDSTICK, [*UNPACK, *paths])[0]


def _tables(simulator: Simulator, cluster: MockCluster, folder: Path) -> dict[str, Any]:
    return {
        "source": simulator.settings() | {"method": "files"},
        "state": {"path": str(folder / "state.duckdb")},
        "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": cluster.bootstrap_servers}},
        "schema_registry": {"url": "mock://bench", "auto_register": True},
    }


def _described(row: Row, result: dict[str, Any], state: Path) -> Row:
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["stages"].items() if seconds >= 0.05)
    changes = result["added"] + result["removed"] + result["changed"]
    note = f"{result['records']:,} records, {changes:,} changes; {stages}; state {state.stat().st_size >> 20} MiB"
    return Row(row.name, row.wall_seconds, row.cpu_seconds, row.peak_mib, note)
