"""`inventory`, `compare`, `exposure` and `prevalence` as processes: what goes where, in which form, how wide."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import toml
from tests.cli.test_journal import terminal
from tests.support.bench import EASY, START, TENANT, Bench, record
from tests.support.commands import run_command

GENERATIONS = [f"{START + timedelta(hours=6 * number):%Y-%m-%dT%H:%M}" for number in range(4)]
GROUP = {"rbacGroupId": 7, "rbacGroupName": "Clinic"}


def line(device: str, version: str, status: str | None = None, **more: Any) -> dict[str, Any]:
    """A record of one product."""
    return record(device, "jre", version, deviceName=f"{device}.x", endOfSupportStatus=status, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and a state file of three generations: an upgrade, an arrival, and one that stays exposed."""
    path = tmp_path_factory.mktemp("past")
    with Bench(path, rules=EASY) as bench:
        for lines in (
            [line("a", "7", "EOS Version"), line("b", "7", "EOS Version", **GROUP)],
            [line("a", "8"), line("b", "7", "EOS Version", **GROUP), line("=cmd", "8")],
            [line("a", "8"), line("b", "7", "EOS Version", **GROUP), line("=cmd", "8")],
        ):
            bench.take(bench.snapshot(lines))
            bench.confirm_baseline()
    tables = {
        "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "canary-1"},
        "state": {"path": str(bench.path)},
        "kafka": {"topic_prefix": "p"},
        "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
        "schema_registry": {"url": "mock://past"},
    }
    (path / "connector.toml").write_text(toml(tables), encoding="utf-8")
    return path


def rows(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What a verb writes to a pipe."""
    finished = run_command(*arguments, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(text) for text in finished.stdout.splitlines()]


def test_an_inventory_of_the_past_is_that_of_the_generation_before_the_time(folder: Path) -> None:
    """As NDJSON in a pipe, by device, product, group and support."""
    brief = [
        (row["deviceId"], row["softwareVersion"], row["isEndOfSupport"])
        for row in rows(folder, "inventory", "--at", GENERATIONS[1])
    ]
    assert brief == [("a", "7", True), ("b", "7", True)]
    assert [row["deviceId"] for row in rows(folder, "inventory", "--software", "v/jre")] == ["=cmd", "a", "b"]
    assert [row["deviceId"] for row in rows(folder, "inventory", "--group", "clinic")] == ["b"]
    assert [row["deviceId"] for row in rows(folder, "inventory", "--end-of-support", "--device", "*.x")] == ["b"]


def test_a_spreadsheet_takes_no_name_for_a_formula(folder: Path) -> None:
    """CSV has a heading, and an apostrophe before such a text."""
    finished = run_command("inventory", "--format", "csv", "--limit", "1", cwd=folder)
    (row,) = csv.DictReader(io.StringIO(finished.stdout))
    assert (row["deviceId"], row["deviceName"], row["softwareVersion"]) == ("'=cmd", "'=cmd.x", "8")


def test_two_times_are_compared(folder: Path) -> None:
    """The upgrade is one change with its reason."""
    brief = [
        (row["changeType"], row["reason"], row["deviceId"], row["before"] and row["before"]["softwareVersion"])
        for row in rows(folder, "compare", "--from", GENERATIONS[1], "--to", GENERATIONS[3])
    ]
    assert brief == [("ADDED", "NEW_DEVICE", "=cmd", None), ("CHANGED", "UPGRADED", "a", "7")]


def test_exposure_is_listed_and_summed(folder: Path) -> None:
    """What began before the journal has no beginning; totals count what is open and what was fixed."""
    brief = [(row["deviceId"], row["since"], row["until"], row["ended"]) for row in rows(folder, "exposure")]
    assert brief == [("b", None, None, None), ("a", None, f"{GENERATIONS[2]}:00Z", "UPGRADED")]
    (summary,) = rows(folder, "exposure", "--summary")
    assert (summary["open"], summary["openDevices"]) == (1, 1)
    assert summary["byProduct"] == [
        {"softwareVendor": "v", "softwareName": "jre", "open": 1, "fixed": 1, "medianSecondsToFix": None}
    ]
    assert [row["rbacGroupName"] for row in summary["byGroup"] if row["open"]] == ["Clinic"]
    assert [row["deviceId"] for row in rows(folder, "exposure", "--open", "--older-than", "10000d")] == ["b"]
    assert rows(folder, "exposure", "--device", "=cmd") == []


def test_prevalence_counts_devices_or_names_what_is_new(folder: Path) -> None:
    """One of the two is asked for."""
    brief = [
        (row["day"], row["softwareVersion"], row["devices"]) for row in rows(folder, "prevalence", "--software", "jre")
    ]
    assert brief == [("2026-11-23", "7", 1), ("2026-11-23", "8", 2), ("2026-11-24", "7", 1), ("2026-11-24", "8", 2)]
    (new,) = rows(folder, "prevalence", "--new-since", "2026-11-01")
    assert (new["softwareVersion"], new["isNewProduct"], new["devices"]) == ("8", False, 2)
    refused = run_command("prevalence", cwd=folder)
    assert (refused.returncode, "--new-since 30d" in refused.stderr) == (2, True)


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inventory",), ("weaknesses", "EOS Version", "as of cpe-")),
        (("compare", "--from", GENERATIONS[1]), ("new device", "7 → 8")),
        (("exposure",), ("before", "upgraded", "open")),
        (("exposure", "--summary"), ("v/jre", "Clinic", "1 version out of support on 1 device now")),
        (("prevalence", "--software", "jre"), ("2026-11-24", "v/jre 8")),
        (("prevalence", "--new-since", "2026-11-01"), ("first seen", "such as")),
    ],
)
def test_a_terminal_gets_a_table_within_its_width(
    folder: Path, arguments: tuple[str, ...], words: tuple[str, ...], columns: int
) -> None:
    """The heading, the values and the notes."""
    shown = terminal(folder, *arguments, columns=columns)
    assert max(map(len, shown)) <= columns
    assert [word for word in words if not any(word in text for text in shown)] == []


def test_a_time_that_is_not_known_is_refused_with_a_hint(folder: Path) -> None:
    """Exit code 1, and the time to ask for."""
    finished = run_command("inventory", "--at", "2026-11-01", cwd=folder)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "Ask for 2026-11-23T14:00:00Z or later" in finished.stderr
