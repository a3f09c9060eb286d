"""Many tenants in one `run` with one budget of memory: `python -m tests.benchmarks.tenants [--tenants N] …`.

A round is one process that polls every tenant once: first snapshots, then a new generation, then nothing new. Of each
it prints CPU and clock, the resident memory at its peak and at its end, threads, and series of `/metrics`, all as the
kernel and the process say. The export of all tenants is one simulator's and Kafka is librdkafka's, both in this
process, whose own CPU is printed beside it: on a busy machine, believe the CPU seconds and not the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from connector.kafka.mock import MockCluster
from connector.model import Inventory, Method, Topic
from connector.simulator import Fleet, Simulator
from tests.benchmarks.measuring import print_table
from tests.support.broker import free_ports
from tests.support.daemon import Daemon

RECORDS_PER_DEVICE: Final = 96
"""Of the simulated fleet, about."""

ROUNDS: Final = ("first snapshots", "a new generation", "nothing new")
SUCCESS: Final = "mde_inventory_last_success_timestamp_seconds{"
LOOK_SECONDS: Final = 1.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Round:
    """One process that polled every tenant once.

    Attributes:
        name: what there was to poll.
        cpu_seconds: of the process, its start included.
        own_cpu_seconds: of this one meanwhile: the simulator and Kafka.
        wall_seconds: until the last tenant had succeeded.
        peak_mib, end_mib: resident memory.
        threads: the most at once, and at the end.
        series: on `/metrics`.
        failed: polls that failed and were tried again.
    """

    name: str
    cpu_seconds: float = 0.0
    own_cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_mib: int = 0
    end_mib: int = 0
    threads: tuple[int, int] = (0, 0)
    series: int = 0
    failed: int = 0


def run(tenants: int, records: int, budget_mib: int, limit_mib: int) -> None:
    """Measure, and print the table."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        rows = list(measured(Path(name), tenants, records, budget_mib, limit_mib))
    print_table(
        f"{tenants} tenants of about {records:,} records in one process, memory_limit_mib {limit_mib},"
        f" memory_budget_mib {budget_mib}",
        ("round", "CPU s", "CPU s a tenant", "clock s", "peak MiB", "end MiB", "threads", "end", "series", "failed",
         "own CPU s"),
        [
            (row.name, f"{row.cpu_seconds:.1f}", f"{row.cpu_seconds / tenants:.2f}", f"{row.wall_seconds:.1f}",
             row.peak_mib, row.end_mib, *row.threads, row.series, row.failed, f"{row.own_cpu_seconds:.1f}")
            for row in rows
        ],
    )  # fmt: skip


def measured(folder: Path, tenants: int, records: int, budget_mib: int, limit_mib: int) -> Iterator[Round]:
    """The rounds, one after the other."""
    fleet = Fleet(seed=3, devices=max(records // RECORDS_PER_DEVICE, 5), start=datetime(2026, 1, 1, tzinfo=UTC))
    prefixes = [f"tenant-{number:03}" for number in range(tenants)]
    topics = [topic.name_under(prefix) for prefix in prefixes for topic in Topic]
    with MockCluster(topics) as cluster, Simulator(fleet) as simulator:
        (port,) = free_ports(1)
        write_configurations(folder, prefixes, simulator.settings(method="files"), cluster.bootstrap_servers)
        defaults: dict[str, dict[str, Any]] = {
            "state": {"memory_limit_mib": limit_mib, "memory_budget_mib": budget_mib, "threads": 1},
            # Each process polls each tenant once.
            "poll": {"interval_seconds": 604_800, "stale_after_hours": 1_000_000},
            "http": {"listen": f"127.0.0.1:{port}"},
        }
        (folder / "tenants" / "defaults.toml").write_text(toml(defaults), encoding="utf-8")
        for name in ROUNDS:
            if name == "a new generation":
                simulator.advance()
            simulator.prepare(Inventory.CPE, Method.FILES)
            yield polled_once(Round(name), folder / "tenants", tenants, f"http://127.0.0.1:{port}/metrics")


def write_configurations(folder: Path, prefixes: list[str], source: dict[str, Any], bootstrap_servers: str) -> None:
    """A configuration for each tenant: what is its own, and what tells it apart from the others."""
    (folder / "tenants").mkdir()
    for prefix in prefixes:
        tables: dict[str, dict[str, Any]] = {
            "source": source | {"tenant_name": prefix},
            "state": {"path": str(folder / prefix / "state.duckdb")},
            "kafka": {"topic_prefix": prefix, "value_format": "json"},
            "kafka.client": {"bootstrap.servers": bootstrap_servers},
        }
        (folder / "tenants" / f"{prefix}.toml").write_text(toml(tables), encoding="utf-8")


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Tables as TOML; JSON's texts, numbers, booleans and lists are TOML's too."""
    return "".join(
        f"[{name}]\n" + "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def polled_once(row: Round, config: Path, tenants: int, url: str) -> Round:
    """Start a `run`, wait until every tenant was polled, and end it."""
    own, begun = sum(os.times()[:2]), time.perf_counter()
    with Daemon.started(config) as daemon:
        done = 0
        while done < tenants:
            time.sleep(LOOK_SECONDS)
            assert daemon.exit_code is None, daemon.logged[-5:]
            lines = metrics(url)
            done = sum(line.startswith(SUCCESS) and float(line.rpartition(" ")[2]) > 0 for line in lines)
            look(row, daemon.pid, lines)
        row.wall_seconds = time.perf_counter() - begun
        row.own_cpu_seconds = sum(os.times()[:2]) - own
        row.failed = sum(line["event"] == "poll failed" for line in daemon.logged)
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0, daemon.logged[-5:]
    return row


def look(row: Round, pid: int, lines: list[str]) -> None:
    """Note what the process needs now."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    threads = int(status["Threads"])
    used = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    row.cpu_seconds = (int(used[11]) + int(used[12])) / TICKS
    row.peak_mib, row.end_mib = (int(status[name].split()[0]) >> 10 for name in ("VmHWM", "VmRSS"))
    row.threads = max(row.threads[0], threads), threads
    row.series = len(lines)


def metrics(url: str) -> list[str]:
    """The series of a process; none while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of our own
            text = answer.read().decode()
    except OSError:
        return []
    return [line for line in text.splitlines() if line.startswith("mde_inventory_")]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tenants", description=__doc__)
    parser.add_argument("--tenants", type=int, default=100, help="tenants of one process (default: 100)")
    parser.add_argument("--records", type=int, default=100_000, help="records of a tenant (default: 100,000)")
    parser.add_argument("--budget", type=int, default=512, help="state.memory_budget_mib (default: 512)")
    parser.add_argument("--limit", type=int, default=256, help="state.memory_limit_mib (default: 256)")
    options = parser.parse_args()
    run(options.tenants, options.records, options.budget, options.limit)


if __name__ == "__main__":
    main()
