from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.bench import EASY, START, Bench, brief, record, write_facts
from tests.support.oracle import Record

GENERATED_AT = START + timedelta(hours=12)
"""Of a bench's second snapshot."""

MONTH = timedelta(days=30)
SECOND = timedelta(seconds=1)
PATIENT = replace(EASY, missing_device_snapshots=2)


def removed(bench: Bench, lines: list[Record], last_seen: dict[str, datetime] | None) -> list[tuple[str, ...]]:
    """Stage a snapshot beside what Defender knows of devices: reason, device and product of each removal."""
    return [row[1:4] for row in brief(bench.changes(bench.stage(lines, last_seen=last_seen))) if row[0] == "REMOVED"]


@pytest.mark.parametrize(
    ("last_seen", "vanished", "present"),
    [
        pytest.param({"d": GENERATED_AT - MONTH}, "AGED_OUT", "AGED_OUT", id="silent for 30 days"),
        pytest.param({"d": GENERATED_AT - MONTH + SECOND}, "DEVICE_MISSING", "UNINSTALLED", id="a second less"),
        pytest.param({"other": GENERATED_AT - 2 * MONTH}, "DEVICE_MISSING", "UNINSTALLED", id="not listed"),
        pytest.param({"D": GENERATED_AT - 2 * MONTH}, "AGED_OUT", "AGED_OUT", id="listed in another case"),
        pytest.param({}, "DEVICE_MISSING", "UNINSTALLED", id="an empty list"),
        pytest.param(None, "DEVICE_MISSING", "UNINSTALLED", id="no list"),
    ],
)
def test_removals_on_a_device_that_was_silent_for_30_days_are_aged_out(
    last_seen: dict[str, datetime] | None, vanished: str, present: str, tmp_path: Path
) -> None:
    """Whether it vanished or lost one product; without that evidence the reasons are what they were."""
    stays = record("other", "a")
    for folder, after, expected in (
        ("vanished", [stays], [(vanished, "d", "a"), (vanished, "d", "b")]),
        ("present", [stays, record("d", "b")], [(present, "d", "a")]),
    ):
        with Bench(tmp_path / folder) as bench:
            bench.stage([stays, record("d", "a"), record("d", "b")])
            assert removed(bench, after, last_seen) == expected


def test_age_is_measured_when_a_missing_device_is_believed_to_be_gone(tmp_path: Path) -> None:
    """It is missing for two snapshots first, and may be seen again meanwhile."""
    for last_seen, reason in ((START - MONTH, "AGED_OUT"), (START, "DEVICE_MISSING")):
        with Bench(tmp_path / reason, rules=PATIENT) as bench:
            bench.stage([record("d", "a"), record("other", "a")])
            assert removed(bench, [record("other", "a")], {"d": START - MONTH}) == []
            assert removed(bench, [record("other", "a")], {"d": last_seen}) == [(reason, "d", "a")]


def test_age_explains_no_other_reason_and_no_other_change(tmp_path: Path) -> None:
    """What the catalogue dropped, what moved to another version, and what came stay what they are."""
    devices = [f"d{number:02}" for number in range(10)]
    silent = dict.fromkeys(devices, START - 2 * MONTH)
    with Bench(tmp_path) as bench:
        stays = [record(device, "stays") for device in devices]
        bench.stage([*stays, *(record(device, "dropped") for device in devices), record("d00", "old")])
        after = [*stays, record("d00", "old", "2"), record("d01", "new")]
        changes = brief(bench.changes(bench.stage(after, last_seen=silent)))
        assert sorted(changes, key=lambda row: row[2:]) == sorted(
            [
                ("CHANGED", "UPGRADED", "d00", "old", "2"),
                ("ADDED", "INSTALLED", "d01", "new", "1"),
                *(("REMOVED", "CATALOGUE", device, "dropped", "1") for device in devices),
            ],
            key=lambda row: row[2:],
        )


def test_the_later_sight_of_a_device_counts(tmp_path: Path) -> None:
    """A device that moves between two pages of the list while they are read comes twice."""
    for first, second in ((2 * MONTH, SECOND), (SECOND, 2 * MONTH)):
        folder = tmp_path / str(first.days)
        with Bench(folder) as bench:
            bench.stage([record("d", "a"), record("d", "b")])
            snapshot = bench.snapshot([record("d", "b")])
            facts = write_facts(folder / "facts", {"d": GENERATED_AT - first})
            facts.write_text(facts.read_text() + write_facts(folder / "more", {"d": GENERATED_AT - second}).read_text())
            staged = bench.take(replace(snapshot, device_facts=facts))
            assert brief(bench.changes(staged)) == [("REMOVED", "UNINSTALLED", "d", "a", "1")]


def test_the_log_says_what_is_known_of_devices_that_were_not_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Status by status, with how many devices have it; a device that aged out is not among them."""
    caplog.set_level(logging.INFO)
    with Bench(tmp_path) as bench:
        bench.stage([record(device, "a") for device in ("aged", "excluded", "unknown", "other", "stays")])
        facts = write_facts(tmp_path / "facts", {"aged": START - MONTH, "other": START})
        with facts.open("a") as file:
            file.write('{"device_id":"excluded","last_seen":null,"health":"Inactive","onboarding":"CanBeOnboarded"}\n')
        snapshot = replace(bench.snapshot([record("stays", "a")]), device_facts=facts)
        reasons = [row[1:3] for row in brief(bench.changes(bench.take(snapshot)))]
    assert reasons == [
        ("AGED_OUT", "aged"),
        ("DEVICE_MISSING", "excluded"),
        ("DEVICE_MISSING", "other"),
        ("DEVICE_MISSING", "unknown"),
    ]
    assert "CanBeOnboarded, Inactive: 1; not listed: 1; onboarding unknown, health unknown: 1" in caplog.text
