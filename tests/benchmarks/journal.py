"""How long the verbs of the journal take on a large one, each a separate process, as a user would run it.

The journal is written with SQL: snapshots two hours apart, each with ten thousand changes of a hundred thousand devices
and five thousand products, half of them with the record before. Times include the start of Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb

from connector.exports.software import SOFTWARE
from connector.state.state import StateFile
from tests.benchmarks.measuring import measure, measure_command, print_table

PER_SNAPSHOT: Final = 10_000
CHUNK: Final = 1_000_000
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)

RECORD: Final = {
    "deviceId": "sha1((i * 7919 % 100000)::VARCHAR)",
    "deviceName": "'lt-' || (i * 7919 % 100000) || '.corp.example'",
    "osPlatform": "'Windows11'",
    "rbacGroupId": "(i % 20)::BIGINT",
    "rbacGroupName": "'Group ' || (i % 20)",
    "softwareVendor": "'vendor-' || (i % 300)",
    "softwareName": "'product-' || (i * 31 % 5000)",
    "softwareVersion": "'1.' || (i % 50) || '.' || (i % 1000)",
    "numberOfWeaknesses": "(i % 30)::BIGINT",
    "diskPaths": r"['C:\Program Files\vendor\product-' || (i * 31 % 5000) || '\app.exe']",
    "registryPaths": r"['HKEY_LOCAL_MACHINE\SOFTWARE\product-' || (i * 31 % 5000)]",
    "softwareFirstSeenTimestamp": "'2026-01-02T11:07:15Z'",
    "endOfSupportStatus": "CASE WHEN i % 17 = 0 THEN 'EOS Version' END",
    "endOfSupportDate": "CASE WHEN i % 17 = 0 THEN '2026-06-01' END",
}
"""An expression over the number of a change, for each field of its record."""


def run(changes: int) -> None:
    """Write the journal, measure, and print the table."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        path = folder / "state.duckdb"
        event_id = measure(write_journal, path, changes).result
        config = folder / "connector.toml"
        config.write_text(_toml(path), encoding="utf-8")
        rows = []
        for title, arguments in questions(event_id, changes):
            command = [sys.executable, "-m", "connector", "--config", str(config), *arguments]
            row, lines = measure_command(title, command, read=lambda out: str(sum(1 for _ in out)))
            rows.append((title, f"{row.wall_seconds:.1f}", f"{row.cpu_seconds:.1f}", row.peak_mib, lines))
        print_table(
            f"a journal of {changes:,} changes, {path.stat().st_size >> 20:,} MiB",
            ("command", "clock s", "CPU s", "peak MiB", "lines"),
            rows,
        )


def questions(event_id: str, changes: int) -> Iterator[tuple[str, list[str]]]:
    """What is asked: a title, and the arguments."""
    last = FIRST + timedelta(hours=2 * (changes // PER_SNAPSHOT))
    day = f"{last - timedelta(days=1):%Y-%m-%dT%H:%M}"
    yield "--version (the start of Python)", ["--version"]
    yield "changes --limit 500", ["changes", "--limit", "500"]
    yield "changes --since (one day)", ["changes", "--since", day]
    yield "changes --since (one day) --software", ["changes", "--since", day, "--software", "vendor-3/product-1*"]
    yield "changes --device NAME", ["changes", "--device", "lt-77"]
    yield "changes --device NAME --limit 50", ["changes", "--device", "lt-77", "--limit", "50"]
    yield "changes --device 'NAM*'", ["changes", "--device", "lt-7777*"]
    yield "changes --software VENDOR/PRODUCT", ["changes", "--software", "vendor-3/product-1153"]
    yield (
        "changes --end-of-support --type --limit",
        ["changes", "--end-of-support", "--type", "ADDED", "--limit", "500"],
    )
    yield "changes --software (none)", ["changes", "--software", "nothing"]
    yield "changes (a million lines)", ["changes", "--limit", "1000000"]
    yield "explain EVENT_ID", ["explain", event_id]
    yield "replay --dry-run", ["replay", "--dry-run"]


def write_journal(path: Path, changes: int) -> str:
    """A state file with that number of past changes, all of them sealed. Returns the id of the one in the middle."""
    with StateFile.open(path, memory_limit_mib=1024):
        pass
    record = ", ".join(f"{RECORD[field.name]} AS {field.column}" for field in SOFTWARE.fields)
    before = ", ".join(f"'{field.name}': {RECORD[field.name]}" for field in SOFTWARE.fields)
    snapshots = changes // PER_SNAPSHOT
    with duckdb.connect(str(path), config={"memory_limit": "2GiB"}) as database:
        database.execute("SET enable_progress_bar = false")
        for begin in range(0, changes, CHUNK):
            database.execute(
                "INSERT INTO changes BY NAME SELECT i + 1 AS sequence, 1 AS epoch, i // $1 + 1 AS snapshot_no,"
                " uuid()::VARCHAR AS event_id, ['ADDED', 'REMOVED', 'CHANGED', 'CHANGED'][1 + i % 4] AS change_type,"
                " ['INSTALLED', 'UNINSTALLED', 'UPGRADED', 'ATTRIBUTES_CHANGED'][1 + i % 4] AS reason,"
                " CASE WHEN i % 4 >= 2 THEN ['numberOfWeaknesses'] ELSE [] END AS changed_fields,"
                f" i % 17 = 0 AS is_end_of_support, {record}, CASE WHEN i % 4 >= 2 THEN {{{before}}} END AS before"
                " FROM range($2, $3) numbers(i)",
                [PER_SNAPSHOT, begin, min(begin + CHUNK, changes)],
            )
        database.execute(
            "INSERT INTO snapshots BY NAME SELECT n AS snapshot_no, 1 AS epoch, 'CPE' AS inventory,"
            " 'cpe-' || strftime(t, '%Y%m%dT%H%M%SZ') AS snapshot_id, 'files' AS method, epoch_ms(t) AS generated_at,"
            " true AS generation_known, '' AS content_digest, epoch_ms(t) + 60000 AS started_at,"
            " epoch_ms(t) + 120000 AS staged_at, n = 1 AS baseline, 1000000 AS records, 100000 AS devices,"
            " 1000000 AS stored, $2 // 4 AS added, $2 // 4 AS removed, $2 // 2 AS changed, 0 AS baselined, 0 AS alerts,"
            " 0 AS held, 0 AS duplicates, 0 AS rejected, (n - 1) * $2 + 1 AS first_sequence, n * $2 AS last_sequence,"
            " n * $2 AS sequence_after, '0.1.0' AS connector_version"
            " FROM (SELECT n, $1 + INTERVAL 2 HOUR * n::INTEGER AS t FROM range(1, $3 + 1) numbers(n))",
            [FIRST.replace(tzinfo=None), PER_SNAPSHOT, snapshots],
        )
        database.execute(
            "UPDATE position SET last_sequence = $1, published_sequence = $1, last_snapshot = $2,"
            " published_snapshot = $2",
            [changes, snapshots],
        )
        database.execute("CHECKPOINT")
        rows = database.execute("SELECT event_id FROM changes WHERE sequence = $1", [changes // 2]).fetchall()
    return str(rows[0][0])


def _toml(path: Path) -> str:
    """A configuration of which only the state file is used."""
    tables = {
        "source": {"tenant_id": "00000000-0000-0000-0000-000000000000", "client_id": "c", "client_secret": "s"},
        "state": {"path": str(path)},
        "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
        "schema_registry": {"url": "mock://benchmark"},
    }
    return "\n".join(
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()))
    )
