from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.diff.versions import version_reason
from connector.errors import ConfigError
from connector.model import Inventory, Method, Reason
from connector.simulator import Fleet, normal_records
from connector.simulator.export import Exports
from tests.support.plain_client import key_of

START = datetime(2026, 1, 1, tzinfo=UTC)
Key = tuple[str, str, str, str]


def snapshot(fleet: Fleet, generation: int, inventory: Inventory = Inventory.CPE) -> dict[Key, dict[str, Any]]:
    """The records of a generation by key; fails where two have the same."""
    records = {}
    for record in normal_records(fleet, generation, inventory):
        assert key_of(record) not in records
        records[key_of(record)] = record
    return records


def happenings(before: dict[Key, dict[str, Any]], after: dict[Key, dict[str, Any]]) -> Counter[str]:
    """What happened between two generations, by kind, derived from the records alone."""
    counts: Counter[str] = Counter()
    devices_before, devices_after = {key[0] for key in before}, {key[0] for key in after}
    counts["device joined or came back"] = len(devices_after - devices_before)
    counts["device left"] = len(devices_before - devices_after)
    stayed = devices_before & devices_after
    added: dict[tuple[str, ...], list[str]] = {}
    removed: dict[tuple[str, ...], list[str]] = {}
    for keys, gathered in ((after.keys() - before.keys(), added), (before.keys() - after.keys(), removed)):
        for device, vendor, name, version in keys:
            if device in stayed:
                gathered.setdefault((device, vendor, name), []).append(version)
    had = {key[:3] for key in before}
    for product, versions in added.items():
        pairs = len(versions) == len(removed.get(product, ())) == 1
        reason = version_reason(removed[product][0], versions[0]) if pairs else None
        beside = "another version beside" if product in had else "installed"
        counts[{Reason.UPGRADED: "upgraded", Reason.DOWNGRADED: "downgraded", None: beside}[reason]] += 1
    counts["removed"] = len(removed.keys() - added.keys())
    for key in before.keys() & after.keys():
        for name in after[key]:
            if before[key][name] != after[key][name]:
                counts[f"{name} changed"] += 1
    return counts


def test_the_same_seed_is_the_same_fleet() -> None:
    """Two fleets of one seed give equal records in every generation; another seed gives others."""
    fleet, same, other = (Fleet(seed=seed, devices=12, start=START) for seed in (7, 7, 8))
    for generation in (0, 1, 9):
        assert list(normal_records(fleet, generation, Inventory.CPE)) == list(
            normal_records(same, generation, Inventory.CPE)
        )
    assert snapshot(fleet, 0).keys().isdisjoint(snapshot(other, 0).keys())


def test_a_generation_does_not_depend_on_those_before_it() -> None:
    """Generations asked for in any order, or alone, are the same."""
    forwards, backwards = (Fleet(seed=3, devices=8, start=START, churn=5) for _ in range(2))
    there = [snapshot(forwards, generation) for generation in range(6)]
    back = [snapshot(backwards, generation) for generation in reversed(range(6))]
    assert there == back[::-1]


def test_a_device_does_not_depend_on_the_size_of_the_fleet() -> None:
    """The first devices of a large fleet are those of a small one."""
    small, large = (Fleet(seed=5, devices=devices, start=START) for devices in (4, 100_000))
    installs = []
    for fleet in (small, large):
        devices = [device for number in range(4) if (device := fleet.device(number, 3))]
        installs.append(
            [
                (
                    device.device_id,
                    device.name,
                    device.group_id,
                    track.product.key,
                    track.branch.version(release),
                    arrived,
                )
                for device in devices
                for track, release, arrived, _ in fleet.installs(device, 3, Inventory.CPE)
            ]
        )
    assert installs[0] == installs[1]
    assert len(installs[0]) > 100


def test_records_are_unique_by_key_and_about_a_hundred_for_each_device() -> None:
    """No generation has two records of one device, vendor, product and version, in either inventory."""
    fleet = Fleet(seed=11, devices=50, start=START)
    for inventory in Inventory:
        for generation in (0, 40, 400):
            snapshot(fleet, generation, inventory)
    records = snapshot(fleet, 0)
    assert 80 <= len(records) / len({key[0] for key in records}) <= 120


def test_everything_that_happens_to_a_fleet_happens_within_some_generations() -> None:
    """Installs, upgrades, downgrades, removals, versions side by side, devices that come and go, groups, weaknesses."""
    fleet = Fleet(seed=1, devices=60, start=START, churn=8)
    snapshots = [snapshot(fleet, generation) for generation in range(14)]
    total = sum((happenings(*pair) for pair in itertools.pairwise(snapshots)), Counter[str]())
    expected = {
        *("installed", "upgraded", "downgraded", "removed", "another version beside"),
        *("device joined or came back", "device left"),
        *("numberOfWeaknesses changed", "rbacGroupId changed", "rbacGroupName changed"),
        *("endOfSupportStatus changed", "endOfSupportDate changed"),
    }
    assert {kind for kind in expected if not total[kind]} == set()


def test_some_devices_come_back_and_others_are_new() -> None:
    """A device that left returns with the same id later; another number is used again by a device with a new id."""
    fleet = Fleet(seed=2, devices=60, start=START, churn=10)
    seen: set[str] = set()
    present: set[str] = set()
    returned, new = set(), set()
    for generation in range(120):
        now = {device.device_id for device in fleet.devices_at(generation)}
        returned |= (now - present) & seen
        new |= now - seen if generation else set()
        seen |= now
        present = now
    assert returned
    assert new


def test_weaknesses_move_for_many_devices_at_once() -> None:
    """A finding raises the number on every device that has the version."""
    fleet = Fleet(seed=1, devices=40, start=START, churn=8)
    moved: Counter[tuple[str, str]] = Counter()
    for before, after in itertools.pairwise(snapshot(fleet, generation) for generation in range(6)):
        for key in before.keys() & after.keys():
            if before[key]["numberOfWeaknesses"] != after[key]["numberOfWeaknesses"]:
                moved[key[1], key[2]] += 1
    assert max(moved.values()) > 10


def test_about_one_record_in_a_hundred_changes_from_one_generation_to_the_next() -> None:
    """At churn 1 the average over two days stays between 0.5 % and 2.5 %, and grows with the churn."""
    shares = {}
    for churn in (1.0, 5.0):
        fleet = Fleet(seed=4, devices=30, start=START, churn=churn)
        snapshots = [set(map(str, snapshot(fleet, generation).values())) for generation in range(9)]
        changed = [len(after - before) / len(after) for before, after in itertools.pairwise(snapshots)]
        shares[churn] = sum(changed) / len(changed)
    assert 0.005 < shares[1.0] < 0.025
    assert shares[5.0] > 3 * shares[1.0]


def test_support_ends_by_the_date() -> None:
    """Windows 10's rows say nothing a year before, announce the end half a year before, and have ended on the day."""
    statuses = {}
    for day in ("2025-02-01", "2025-06-01", "2025-10-13", "2025-10-14"):
        fleet = Fleet(seed=9, devices=60, start=datetime.fromisoformat(f"{day}T00:00:00+00:00"))
        statuses[day] = {
            (record["endOfSupportStatus"], record["endOfSupportDate"])
            for record in normal_records(fleet, 0, Inventory.CPE)
            if record["softwareName"] == "windows_10" and record["softwareVersion"].startswith("10.0.19045.")
        }
    ends = "2025-10-14"
    assert statuses == {
        "2025-02-01": {("None", None)},
        "2025-06-01": {("Upcoming EOS Software", ends)},
        "2025-10-13": {("Upcoming EOS Software", ends)},
        "2025-10-14": {("EOS Software", ends)},
    }


def test_the_status_progresses_while_the_fleet_evolves() -> None:
    """Over the day that Node.js 20 ends, its records change from announced to ended."""
    fleet = Fleet(seed=6, devices=60, start=datetime(2026, 4, 29, 12, tzinfo=UTC))
    statuses = [
        {
            record["endOfSupportStatus"]
            for record in normal_records(fleet, generation, Inventory.CPE)
            if record["softwareName"] == "node.js"
            and ".".join(record["softwareVersion"].split(":")[-1].split(".")[:1]) == "20"
        }
        for generation in (0, 1, 2, 3)
    ]
    assert statuses == [{"Upcoming EOS Version"}, {"Upcoming EOS Version"}, {"EOS Version"}, {"EOS Version"}]


def test_every_device_has_its_operating_system_as_a_row() -> None:
    """Exactly one row of each device names an operating system, and it fits the platform."""
    platforms = {
        "Windows10": "windows_10",
        "Windows11": "windows_11",
        "WindowsServer2012R2": "windows_server_2012_r2",
        "WindowsServer2016": "windows_server_2016",
        "WindowsServer2019": "windows_server_2019",
        "WindowsServer2022": "windows_server_2022",
        "WindowsServer2025": "windows_server_2025",
        "macOS": "macos",
    }
    linux = {"enterprise_linux", "ubuntu_linux", "debian_linux", "linux_enterprise_server"}
    systems: dict[str, list[str]] = {}
    platform: dict[str, str | None] = {}
    for record in normal_records(Fleet(seed=13, devices=200, start=START), 0, Inventory.CPE):
        platform[record["deviceId"]] = record["osPlatform"]
        if record["softwareName"] in linux | set(platforms.values()):
            systems.setdefault(record["deviceId"], []).append(record["softwareName"])
    assert {len(names) for names in systems.values()} == {1}
    assert systems.keys() == platform.keys()
    known = {(name, platform[device]) for device, [name] in systems.items() if platform[device]}
    assert all(platforms.get(str(label), name) == name and (label != "Linux" or name in linux) for name, label in known)
    assert len(known) >= 9


def test_an_inventory_without_product_codes_knows_no_weaknesses_and_no_end_of_support() -> None:
    """The non-CPE records have neither, and a null vendor is an empty key part."""
    records = snapshot(Fleet(seed=7, devices=60, start=START), 0, Inventory.NON_CPE).values()
    assert {(record["numberOfWeaknesses"], record["endOfSupportStatus"]) for record in records} == {(None, None)}
    assert "" in {record["softwareVendor"] for record in records}


def test_names_platforms_and_groups_are_null_for_some_devices() -> None:
    """A consumer meets nulls in every nullable property of a device."""
    records = list(normal_records(Fleet(seed=7, devices=200, start=START), 0, Inventory.CPE))
    for name in ("deviceName", "osPlatform", "rbacGroupName"):
        nulls = sum(record[name] is None for record in records)
        assert 0 < nulls < len(records) / 4, name


def test_generations_are_whole_minutes_apart() -> None:
    """The time of a generation has no seconds, so that page tokens, which have none either, give it exactly."""
    fleet = Fleet(seed=1, devices=5, start=datetime(2026, 1, 1, 8, 30, 59, 5, tzinfo=UTC))
    times = [fleet.generated_at(generation).isoformat() for generation in (0, 1, 5)]
    assert times == ["2026-01-01T08:30:00+00:00", "2026-01-01T14:30:00+00:00", "2026-01-02T14:30:00+00:00"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"devices": 1_000_001}, "devices is 1000001"),
        ({"start": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - the mistake meant
        ({"interval": timedelta(seconds=90)}, "interval is 0:01:30"),
        ({"interval": timedelta(0)}, "interval is 0:00:00"),
        ({"churn": 0.0}, "churn is 0.0"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    """Each argument has a range, and the error names the one that is out of it."""
    with pytest.raises(ConfigError, match=named):
        Fleet(**{"seed": 1, "devices": 5, "start": START, **wrong})


def test_memory_does_not_grow_with_the_fleet(tmp_path: Path) -> None:
    """Writing a generation of eight times as many devices peaks at hardly more memory."""
    peaks = []
    for devices in (30, 240):
        (tmp_path / str(devices)).mkdir()
        exports = Exports(
            Fleet(seed=1, devices=devices, start=START), tmp_path / str(devices), records_of_part_max=1_000
        )
        tracemalloc.start()
        exports.current.parts(Inventory.CPE, Method.FILES)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
    assert peaks[1] < 24 * 2**20


def test_what_is_known_of_devices_explains_which_of_them_vanish() -> None:
    """Every present device is listed, and seen within 30 days; of those that vanish, some were silent for as long.

    A device is never seen earlier than it was before, and those that vanish without having been silent were offboarded.
    """
    fleet = Fleet(seed=3, devices=60, start=START)
    before: set[str] = set()
    known: dict[str, datetime] = {}
    left: Counter[tuple[bool, bool]] = Counter()
    for generation in range(0, 1500, 3):
        now = fleet.generated_at(generation)
        machines = {machine.device.device_id: machine for machine in fleet.machines_at(generation)}
        present = {device.device_id for device in fleet.devices_at(generation)}
        assert present <= set(machines)
        assert all(now - machines[device].last_seen < timedelta(days=30) for device in present)
        assert all(known[device] <= machines[device].last_seen <= now for device in known.keys() & machines.keys())
        left.update(
            (now - machines[device].last_seen >= timedelta(days=30), machines[device].is_onboarded)
            for device in before - present
        )
        before, known = present, {device: machine.last_seen for device, machine in machines.items()}
    assert set(left) == {(True, True), (False, False)}
