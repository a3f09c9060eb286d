"""The order of fields: what searches look at comes first, for Splunk extracts from the first 5,000 bytes only."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from connector.kafka.values.json import JsonValues
from connector.model import Topic
from tests.support.avro import load
from tests.support.messages import make_messages
from tests.support.records import ALERT, CAMPAIGN, CHANGE, OBSERVED, RECORD, REPORT

PLACE_MAX = 2_000
"""Bytes of JSON within which everything ends that a search may need: far less than Splunk's `extraction_cutoff`."""

LONG = ["shortenedFields", "diskPaths", "registryPaths", "before", "sampleDeviceIds", "sampleDeviceNames"]
"""What may be long, and is last: in this order."""

FIRST = {
    "software-change": [
        "eventId", "changeType", "reason", "isEndOfSupport", "observedAt", "emittedAt", "replayed", "epoch", "sequence",
    ],
    "end-of-support-alert": ["alertId", "alertType", "severity"],
    "snapshot-report": ["snapshotId", "previousSnapshotId", "entraTenantId", "inventory", "status"],
    "software-record": ["deviceId"],
    "software-campaign": ["campaignId", "changeType", "reason", "devices", "changes", "isEndOfSupport"],
}  # fmt: skip

TEXTS: dict[str, Any] = {
    # A name in DNS has 253 characters at most.
    "deviceName": "d" * 253,
    "osPlatform": "WindowsServer2012R2",
    "rbacGroupId": 2**31,
    "rbacGroupName": "g" * 128,
    "softwareVendor": "v" * 100,
    "softwareName": "n" * 150,
    "softwareVersion": "1" * 60,
    "numberOfWeaknesses": 99_999,
    "softwareFirstSeenTimestamp": "2026-01-02T11:07:15.1234567Z",
    "endOfSupportStatus": "Upcoming EOS Software",
    "endOfSupportDate": "2026-06-01",
}
"""Longer than any that was seen in an export."""

PATHS = [f"C:\\Users\\user{number:05}\\AppData\\Local\\Programs\\tool\\tool.exe" for number in range(20_000)]
LARGEST = RECORD | TEXTS | {"diskPaths": PATHS, "registryPaths": PATHS}


@pytest.mark.parametrize("name", list(FIRST))
def test_identity_status_and_times_come_first_and_what_may_be_long_last(name: str) -> None:
    """Texts that a device chooses come after what has a bounded length."""
    names = [field["name"] for field in load(name)["fields"]]
    last = [field for field in LONG if field in names]
    assert names[: len(FIRST[name])] == FIRST[name]
    assert names[len(names) - len(last) :] == last


def test_the_earlier_record_has_its_paths_last_too() -> None:
    """Nobody misses `before.endOfSupportStatus` for the paths."""
    before = next(field for field in load("software-change")["fields"] if field["name"] == "before")
    assert [field["name"] for field in before["type"][1]["fields"]][-2:] == ["diskPaths", "registryPaths"]


@pytest.mark.parametrize("topic", [topic for topic in Topic if topic is not Topic.CHECKPOINTS])
def test_in_the_largest_message_every_field_but_the_long_ones_ends_early(topic: Topic) -> None:
    """20,000 paths before and after, and texts longer than any that was seen."""
    messages = make_messages(values=JsonValues())
    attributes = [name for name in RECORD if name not in ("deviceId", "softwareVendor", "softwareName")]
    samples = {"sampleDeviceIds": ["a" * 40] * 10, "sampleDeviceNames": [TEXTS["deviceName"] * 2] * 10}
    campaign = {name: LARGEST.get(name, value) for name, value in CAMPAIGN.items()} | samples
    campaign |= {"changedFields": attributes, "previousVersion": TEXTS["softwareVersion"]}
    report = REPORT | {"previousSnapshotId": "p" * 60, "reason": "r" * 5_000, "generatedAt": OBSERVED}
    message = {
        Topic.CHANGES: messages.encode_change(CHANGE | LARGEST | {"before": LARGEST, "changedFields": attributes}),
        Topic.ALERTS: messages.encode_alert(ALERT | LARGEST | {"eventId": CHANGE["eventId"], "changeType": "CHANGED"}),
        Topic.INVENTORY: messages.encode_record(["CPE", *["k"] * 4], LARGEST),
        Topic.SNAPSHOTS: messages.encode_report(report),
        Topic.CAMPAIGNS: messages.encode_campaign(campaign),
    }[topic]
    assert message.value is not None
    ends = ends_of(message.value)
    assert {name: end for name, end in ends.items() if end > PLACE_MAX and name not in [*LONG, "reason"]} == {}
    assert max(ends.values()) > 5_000


def ends_of(value: bytes) -> dict[str, int]:
    """Where each field of a JSON object ends, in bytes."""
    names = list(json.loads(value))
    begins = [value.index(f'"{name}":'.encode()) for name in names]
    assert begins == sorted(begins)
    return dict(zip(names, [end for _, end in pairwise([*begins, len(value)])], strict=True))
