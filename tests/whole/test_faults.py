"""Hostile records from the export to the state file, a storm of throttling, and the table of faults itself."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connector.errors import SourceMalformed
from connector.model import Inventory, StagedSnapshot
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, RateLimits, Simulator
from connector.staging.stage import stage_snapshot
from connector.state.state import StateFile
from tests.support.configured import default_rules
from tests.support.fetching import START, QuickTimer, SourceBench, got, open_bench, records_of
from tests.support.plain_client import in_order
from tests.support.stored import stored_records

TESTS = Path(__file__).parents[1]
KEY = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
RULES = replace(default_rules(), tenant_id="tenant", emit_baseline=True)
ODD_NAMES = [
    "\0",
    "a\0b",
    "\x1b]0;owned\x07\x1b[2J",
    "a\r\nlevel=error forged=1",
    "'; DROP TABLE inventory; --",
    '" | delete index=main | "',
    "=cmd|' /C calc'!A1",
    "../../../../etc/passwd",
    "%s%n{0}${jndi:x}",
    "\u202egpj.exe",
    "\U0001f600\U000e0041",
]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A small tenant with several files."""
    with Simulator(Fleet(seed=5, devices=5, start=START), records_of_part_max=150) as simulator:
        yield simulator


def stage_next(bench: SourceBench, state: StateFile) -> StagedSnapshot:
    """Fetch a snapshot and stage it as a poll does."""
    latest = state.journal.latest_snapshot(Inventory.CPE)
    snapshot = got(bench.source.fetch(Inventory.CPE, newer_than=latest.observed_at if latest else None))
    now = START + timedelta(minutes=1)
    try:
        staged = stage_snapshot(state, snapshot, RULES, started_at=START, now=now)
    except SourceMalformed:
        repaired, rejected = bench.source.repair(snapshot)
        staged = stage_snapshot(state, repaired, RULES, started_at=START, now=now, rejected=rejected)
    bench.source.discard(snapshot)
    return staged


def test_odd_names_come_through_byte_for_byte(simulator: Simulator, tmp_path: Path) -> None:
    """Escapes, line breaks, SQL, formulas, paths, NUL: text like any other in state file and changes."""
    lines = tuple(
        json.dumps({"DeviceId": f"odd-{number}", "DeviceName": text, "SoftwareName": text, "DiskPaths": [text]})
        for number, text in enumerate(ODD_NAMES)
    )
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=lines, times=None))
    with (
        open_bench(simulator, tmp_path) as bench,
        StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256) as state,
    ):
        staged = stage_next(bench, state)
        stored = {
            record["deviceId"]: record
            for record in stored_records(state, Inventory.CPE)
            if record["deviceId"].startswith("odd-")
        }
        changes = {change["deviceId"]: change for change in state.journal.changes(staged, after=0, limit=10**9)}
    expected = {f"odd-{number}": (text, text, [text]) for number, text in enumerate(ODD_NAMES)}
    assert (staged.counts.rejected, len(stored)) == (0, len(ODD_NAMES))
    for place in (stored, changes):
        texts = {
            name: tuple(place[name][of] for of in ("deviceName", "softwareName", "diskPaths")) for name in expected
        }
        assert texts == expected


UNREAD = "deep, where nobody reads"
"""What an undocumented property holds is skipped; the record is as good as any."""

HOSTILE = {
    UNREAD: '{"DeviceId":"x","y":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep": '{"DeviceId":"x","NumberOfWeaknesses":' + "[" * 100_000 + "]" * 100_000 + "}",
    "digits": '{"DeviceId":"x","NumberOfWeaknesses":' + "9" * 5_000 + "}",
    "NaN": '{"DeviceId":"x","NumberOfWeaknesses":NaN}',
    "escaped surrogate": '{"DeviceId":"x","DeviceName":"\\ud800"}',
    "surrogate in UTF-8": '{"DeviceId":"x","DeviceName":"\ud800"}',
    "NUL": '{"DeviceId":"x\0"}',
    "long": '{"DeviceId":"x","DeviceName":"' + "y" * (40 << 20) + '"}',
    "not an object": "[" + "1," * 1_000 + "1]",
}

UNREADABLE_VALUES = ("digits", "surrogate in UTF-8")
"""What is no JSON value, or none of its field, in a line that is a JSON object: it is null, and the record is kept."""

NAMELESS = ("deep", "long", "not an object")
"""Lines that may be about any device."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_set_aside_and_its_neighbours_are_kept(
    simulator: Simulator, tmp_path: Path, name: str
) -> None:
    """Too deep, too long, no number, no text: every other record is as it was served.

    What is absent is not removed where the line may be about it.
    """
    with (
        open_bench(simulator, tmp_path) as bench,
        StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256) as state,
    ):
        stage_next(bench, state)
        simulator.advance()
        fault = Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=(HOSTILE[name],), times=None)
        simulator.faults.add(fault)
        staged = stage_next(bench, state)
        stored = {tuple(line[part] for part in KEY): line for line in stored_records(state, Inventory.CPE)}
    assert staged.counts.rejected == (0 if name in (UNREAD, *UNREADABLE_VALUES) else 1)
    assert (staged.counts.removed, staged.counts.held) == ((0, 1) if name in NAMELESS else (1, 0))
    served = {tuple(line[part] or "" for part in KEY): line for line in simulator.records()}
    assert {key: stored.get(key) for key in served} == {
        key: record | dict(zip(KEY, key, strict=True)) for key, record in served.items()
    }


def test_a_million_elements_in_an_array_are_a_value_like_any_other(simulator: Simulator, tmp_path: Path) -> None:
    """They are stored, all of them, and nothing else changes."""
    line = json.dumps({"DeviceId": "many", "DiskPaths": [f"p{number:07}" for number in range(10**6)]})
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=0, lines=(line,), times=None))
    with (
        open_bench(simulator, tmp_path) as bench,
        StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256) as state,
    ):
        staged = stage_next(bench, state)
        (stored,) = (record for record in stored_records(state, Inventory.CPE) if record["deviceId"] == "many")
    assert (staged.counts.rejected, len(stored["diskPaths"]), stored["diskPaths"][-1]) == (0, 10**6, "p0999999")


@pytest.mark.parametrize("method", ["files", "json"])
def test_a_storm_of_throttling_costs_no_record(simulator: Simulator, tmp_path: Path, method: str) -> None:
    """429 at every third call, announced in each way: waits are bounded, no page is skipped."""
    where = Endpoint.PAGES if method == "json" else Endpoint.EXPORT
    for number, text in enumerate((None, "0", "7", "date 30", "-5", "soon", "")):
        simulator.faults.add(Fault(where, FaultKind.STATUS, status=429, after=2 * number, retry_after=text))
    timer = QuickTimer(begin=datetime.now(UTC))
    with open_bench(simulator, tmp_path, timer=timer, method=method, page_size=60) as bench:
        snapshot = bench.source.fetch(Inventory.CPE, newer_than=None)
        assert records_of(snapshot) == in_order(simulator.records())
    assert 0 < sum(timer.waits) < 3600


def test_no_published_limit_is_broken_while_everything_goes_wrong(tmp_path: Path) -> None:
    """A server that keeps the published limits itself never has to say 429."""
    fleet = Fleet(seed=5, devices=5, start=START)
    with Simulator(fleet, records_of_part_max=150, rate_limits=RateLimits()) as simulator:
        simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=1, times=2))
        simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=503, times=2))
        with open_bench(simulator, tmp_path) as bench:
            assert records_of(bench.source.fetch(Inventory.CPE, newer_than=None)) == in_order(simulator.records())
        assert 429 not in {request.status for request in simulator.requests}


def named() -> list[tuple[str, str]]:
    """File and test of every row of the table of faults."""
    text = (TESTS / "FAULTS.md").read_text(encoding="utf-8")
    return re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    """A renamed test must be renamed in the table too."""
    rows = named()
    files = {file for file, _ in rows}
    there = {
        (file, node.name)
        for file in files
        for node in ast.walk(ast.parse((TESTS / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert sorted(set(rows) - there) == []
    assert len(rows) > 50


def test_every_row_of_the_table_of_faults_names_a_test() -> None:
    """No case is there for show; the numbers are without a gap."""
    lines = (TESTS / "FAULTS.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| case", "| no", "|--"))]
    assert [row for row in rows if "::test_" not in row] == []
    numbers = {int(number) for row in rows for number in re.findall(r"^\| (\d{1,2}) ", row)}
    assert numbers == set(range(1, 43))
