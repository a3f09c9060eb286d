"""Records as no export should have them, from the export to decoded Avro: what each means, and which are set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from tests.poll.test_pipeline import PREFIX, Tenant
from tests.support.stored import stored_records

MEGABYTE = "é" * 2**19
PATHS = [f"C:\\{number:05}" for number in range(10_000)]
TEXTS = {
    "quotes": 'it\'s "quoted" `and` \\escaped\\',
    "line breaks": "a\r\nb\nc\td\u2028e",
    "percent": "100 %s %n {0} ${x}",
    "NUL": "a\0b",
    "right to left": "\u202egpj.exe\u202c \u05d0",
    "astral": "\U0001f600\U000e0041",
    "blanks": "  x  ",
}
NO_PRODUCT = {"softwareVendor": "", "softwareName": "", "softwareVersion": ""}

KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "null key parts": ('"SoftwareVendor":null,"SoftwareName":null,"SoftwareVersion":null', NO_PRODUCT),
    "absent key parts": ('"DeviceName":"x"', NO_PRODUCT | {"deviceName": "x"}),
    "empty key parts": ('"SoftwareVendor":"","SoftwareName":"","SoftwareVersion":""', NO_PRODUCT),
    "empty strings": (
        '"DeviceName":"","DiskPaths":[],"EndOfSupportDate":""',
        {"deviceName": None, "diskPaths": [], "endOfSupportDate": None},
    ),
    **{
        name: (f'"DeviceName":{json.dumps(text)},"SoftwareName":{json.dumps(text)},"DiskPaths":[{json.dumps(text)}]',
               {"deviceName": text, "softwareName": text, "diskPaths": [text]})
        for name, text in TEXTS.items()
    },
    "10,000 paths": (f'"DiskPaths":{json.dumps(PATHS)}', {"diskPaths": PATHS, "shortenedFields": []}),
    "greatest number": ('"NumberOfWeaknesses":9223372036854775807', {"numberOfWeaknesses": 2**63 - 1}),
    "number in quotes": ('"NumberOfWeaknesses":"17"', {"numberOfWeaknesses": 17}),
    "text as a number": ('"DeviceName":17', {"deviceName": "17"}),
    "no date": ('"EndOfSupportDate":"soon"', {"endOfSupportDate": "soon"}),
    "unknown status": ('"EndOfSupportStatus":"Eternal"', {"endOfSupportStatus": "Eternal", "isEndOfSupport": False}),
    "unknown property": ('"Unknown":{"DeviceName":"y"}', {"deviceName": None}),
}  # fmt: skip
"""Properties of a line beside its DeviceId, and what must be on the topic."""

MENDED: dict[str, tuple[str, dict[str, Any]]] = {
    "case variant": ('"softwarename":"x","SOFTWAREVERSION":"1"', {"softwareName": "x", "softwareVersion": "1"}),
    "both spellings": ('"SoftwareName":"x","softwareName":null', {"softwareName": "x"}),
    "fraction": ('"NumberOfWeaknesses":2.5', {"numberOfWeaknesses": None}),
    "boolean": ('"NumberOfWeaknesses":true', {"numberOfWeaknesses": None}),
    "no group": ('"RbacGroupId":""', {"rbacGroupId": None}),
    "a group by name": ('"RbacGroupId":"Unassigned"', {"rbacGroupId": None}),
    "too large": ('"NumberOfWeaknesses":9223372036854775808', {"numberOfWeaknesses": None}),
    "no number": ('"NumberOfWeaknesses":"","DeviceName":"x"', {"numberOfWeaknesses": None, "deviceName": "x"}),
    "no array": ('"DiskPaths":"x"', {"diskPaths": []}),
    "key given twice": ('"SoftwareName":"x","SoftwareName":"y"', {"softwareName": "y"}),
}
"""The same, in a part that has to be read line by line."""

REJECTED = {
    "half a pair": ('"DeviceName":"\\ud800"', "not a JSON object"),
    "not a number": ('"NumberOfWeaknesses":NaN', "not a JSON object"),
    "deep": (f'"Unknown":{"[" * 100_000}{"]" * 100_000}', "nested too deep"),
}
NAMELESS = ('{"SoftwareName":"of no device"}', '{"DeviceId":null}', '{"DeviceId":""}', "17", "[1]", "half a {")


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    """A fleet of three devices in several files."""
    fleet = Fleet(seed=11, devices=3, start=datetime(2026, 1, 1, tzinfo=UTC))
    topics = [topic.name_under(PREFIX) for topic in Topic]
    with MockCluster(topics) as cluster, Simulator(fleet, records_of_part_max=60) as simulator:
        yield Tenant(simulator, cluster, tmp_path)


def add(tenant: Tenant, part: int, *lines: str) -> None:
    """Add lines to a file of the export."""
    tenant.simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, part=part, lines=lines, times=None))


def line(name: str, properties: str) -> str:
    """A line of a device that is called as the case is."""
    return f'{{"DeviceId":"odd {name}",{properties}}}'


def test_a_fleet_of_odd_records_is_published_as_it_is_defined(tenant: Tenant, tmp_path: Path) -> None:
    """Every odd record by itself: what can be read means what the table says, the rest is set aside with its reason."""
    add(tenant, 0, *(line(name, properties) for name, (properties, _) in KEPT.items()))
    add(
        tenant, 1,
        *(line(name, properties) for name, (properties, _) in MENDED.items()),
        *(line(name, properties) for name, (properties, _) in REJECTED.items()),
        *NAMELESS,
    )  # fmt: skip
    (result,) = tenant.poll(source={"method": "files"}, diff={"baseline": "emit"}, guard={"max_baseline_rejected": 100})
    published = {change["deviceId"].removeprefix("odd "): change for change in tenant.published(Topic.CHANGES)
                 if change["deviceId"].startswith("odd ")}  # fmt: skip
    expected = {name: record for name, (_, record) in (KEPT | MENDED).items()}
    assert {
        name: {key: change[key] for key in expected.get(name, {})} for name, change in published.items()
    } == expected
    (file,) = (tmp_path / "rejected").iterdir()
    rejected = [json.loads(text)["reason"] for text in file.read_text("utf-8").splitlines()]
    assert result.counts.rejected == len(rejected) == len(REJECTED) + len(NAMELESS)
    reasons = [reason for _, reason in REJECTED.values()] + ["no DeviceId"] * 3 + ["not a JSON object"] * 3
    assert all(given.startswith(reason) for given, reason in zip(rejected, reasons, strict=True))
    assert result.unreadable == {"diskPaths": 1, "numberOfWeaknesses": 4, "rbacGroupId": 2}
    assert result.counts.records == len(tenant.simulator.records()) + len(expected)


def test_a_value_of_a_megabyte_is_shortened_for_the_broker_and_whole_in_the_state_file(tenant: Tenant) -> None:
    """Marked as such, and everything else of the record and all of its neighbours are there; again it is no change."""
    add(tenant, 0, line("megabyte", f'"DeviceName":"{MEGABYTE}","SoftwareVendor":"v"'))
    (result,) = tenant.poll(source={"method": "files"}, diff={"baseline": "emit"})
    changes = tenant.published(Topic.CHANGES)
    (change,) = (candidate for candidate in changes if candidate["deviceId"] == "odd megabyte")
    assert len(changes) == result.counts.records == len(tenant.simulator.records()) + 1
    assert (change["shortenedFields"], change["softwareVendor"]) == (["deviceName"], "v")
    assert change["deviceName"].endswith("é…")
    with tenant.assembly().read_state() as state:
        stored = {record["deviceId"]: record["deviceName"] for record in stored_records(state, result.inventory)}
    assert stored["odd megabyte"] == MEGABYTE
    (again,) = tenant.poll(source={"method": "json"})
    assert again.outcome == "unchanged"
