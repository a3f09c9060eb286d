"""What staging costs beside decompressing and parsing the same files: a first snapshot, one in a hundred changed, none.

The yardsticks are taken in the same run and by the same means: `zcat FILES | wc -c`, and DuckDB's own parse of all the
documented columns. All of it is repeated, and the quickest of each counts.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from connector.exports.fields import COLUMN_TYPES
from connector.exports.software import SOFTWARE
from connector.model import LINE_BYTES_MAX, Inventory, Snapshot
from connector.staging import derived
from connector.staging.stage import StagingRules, stage_snapshot
from connector.state.state import StateFile
from tests.benchmarks.measuring import best, measure, print_table
from tests.benchmarks.snapshots import Size, write_snapshot
from tests.support.configured import default_rules

ROUNDS: Final = 3
POLLS: Final = 10
PART_RECORDS: Final = 250_000
NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
RULES: Final = replace(default_rules(), guard=replace(default_rules().guard, max_removed_share=1))


def run(records: int, *, memory_limit_mib: int = 1024, rounds: int = ROUNDS, polls: int = POLLS) -> None:
    """Measure, and print the table."""
    size = Size(records, parts=max(8, records // PART_RECORDS))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        first, second = (write_snapshot(folder / f"{number}", size, number) for number in (0, 1))
        state, baseline = folder / "state.duckdb", folder / "baseline.duckdb"
        measured: dict[str, list[Any]] = {
            step: []
            for step in ("zcat | wc -c", "parse", "baseline", "1 % diff", "1 % diff, no alerts", "a new day", "no diff")
        }
        for _ in range(rounds):
            measured["zcat | wc -c"].append(measure(zcat, second))
            measured["parse"].append(measure(parse, second, memory_limit_mib))
            baseline.unlink(missing_ok=True)
            measured["baseline"].append(measure(stage, baseline, first, memory_limit_mib))
            shutil.copy(baseline, state)
            measured["no diff"].append(measure(stage, state, first, memory_limit_mib))
            shutil.copy(baseline, state)
            measured["1 % diff"].append(measure(stage, state, second, memory_limit_mib))
            # Nothing new, and a day later: the only step that looks at every date.
            measured["a new day"].append(measure(look_at_dates, state, memory_limit_mib))
            shutil.copy(baseline, state)
            measured["1 % diff, no alerts"].append(measure(stage_without_alerts, state, second, memory_limit_mib))
        quickest = {step: best(figures) for step, figures in measured.items()}
        parsing, unpacking = quickest["parse"].cpu_seconds, quickest["zcat | wc -c"].cpu_seconds
        print_table(
            f"staging: {records:,} records, {first.size_bytes / records:.0f} bytes each, {size.parts} gzip parts,"
            f" memory_limit_mib {memory_limit_mib}, best of {rounds}",
            ("step", "CPU s", "clock s", "x parse", "x zcat", "peak MiB", "changes"),
            [
                (step, f"{figure.cpu_seconds:.2f}", f"{figure.wall_seconds:.2f}", f"{figure.cpu_seconds / parsing:.2f}",
                 f"{figure.cpu_seconds / unpacking:.2f}", figure.peak_mib, figure.result)
                for step, figure in quickest.items()
            ],
        )  # fmt: skip
        _print_growth(folder, size, second, state, memory_limit_mib, polls)


def zcat(snapshot: Snapshot) -> str:
    """Decompress everything, one file after another."""
    paths = [str(part.path) for part in snapshot.parts]
    with subprocess.Popen(["zcat", *paths], stdout=subprocess.PIPE) as unpacking:
        subprocess.run(["wc", "-c"], stdin=unpacking.stdout, stdout=subprocess.DEVNULL, check=True)
    return ""


def parse(snapshot: Snapshot, memory_limit_mib: int) -> str:
    """Parse every documented column of every record."""
    names = [(field.file_names[0], COLUMN_TYPES[field.kind]) for field in SOFTWARE.fields]
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in names)
    counts = ", ".join(f'count("{name}")' for name, _ in names)
    with duckdb.connect(config={"memory_limit": f"{memory_limit_mib}MiB"}) as database:
        database.execute(
            f"SELECT {counts} FROM read_ndjson($1, columns = {{{columns}}}, maximum_object_size = {LINE_BYTES_MAX})",
            [[str(part.path) for part in snapshot.parts]],
        ).fetchall()
    return ""


def stage(path: Path, snapshot: Snapshot, memory_limit_mib: int, rules: StagingRules = RULES) -> str:
    """Open the state file, stage, close."""
    with StateFile.open(path, memory_limit_mib=memory_limit_mib) as state:
        staged = stage_snapshot(state, snapshot, rules, started_at=NOW, now=NOW)
    return f"{staged.counts.changes:,}" + (f", {staged.counts.alerts:,} alerts" if staged.counts.alerts else "")


def stage_without_alerts(path: Path, snapshot: Snapshot, memory_limit_mib: int) -> str:
    """The same, with alerts turned off."""
    return stage(path, snapshot, memory_limit_mib, replace(RULES, alerts=replace(RULES.alerts, enabled=False)))


def look_at_dates(path: Path, memory_limit_mib: int) -> str:
    """A poll finds nothing new, a day later."""
    with StateFile.open(path, memory_limit_mib=memory_limit_mib) as state:
        staged = derived.stage_due_alerts(state, Inventory.CPE, RULES, now=NOW + timedelta(days=1))
    return f"{staged.counts.alerts if staged else 0:,} alerts"


def copy(state: Path, target: Path) -> str:
    """Write everything that a state file holds into a new file: its size without what was ever deleted."""
    with duckdb.connect() as database:
        database.execute(f"ATTACH '{state}' AS state (READ_ONLY)")
        database.execute(f"ATTACH '{target}' AS target")
        database.execute("COPY FROM DATABASE state TO target")
    return ""


def _print_growth(folder: Path, size: Size, snapshot: Snapshot, state: Path, memory_limit_mib: int, polls: int) -> None:
    """The size of the file after several polls, beside that of a new file of the same content."""
    sizes = [state.stat().st_size]
    for number in range(2, polls + 1):
        snapshot = write_snapshot(folder / f"{number}", size, number)
        measure(stage, state, snapshot, memory_limit_mib)
        sizes.append(state.stat().st_size)
        shutil.rmtree(folder / f"{number - 1}")
    fresh, live = folder / "fresh.duckdb", folder / "live.duckdb"
    measure(stage, fresh, snapshot, memory_limit_mib)
    measure(copy, state, live)
    with StateFile.open(state, memory_limit_mib=memory_limit_mib) as opened:
        journal = opened.journal.position().last_sequence
    print_table(
        f"state file after {polls} polls with 1 % of the records changed in each",
        ("file", "MiB", "x live"),
        [
            (name, f"{size_bytes / 2**20:.1f}", f"{size_bytes / live.stat().st_size:.2f}")
            for name, size_bytes in (
                ("a new file of the last snapshot alone", fresh.stat().st_size),
                ("after the first poll", sizes[0]),
                ("after the last poll", sizes[-1]),
                (f"live: the same written again, {journal:,} changes included", live.stat().st_size),
            )
        ],
    )
