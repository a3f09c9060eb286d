"""A dictionary of each snapshot, and a loop over both."""

from __future__ import annotations

import gzip
import sys
from typing import Any

import orjson

KEYS = ("DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion")
VALUES = (
    "DeviceName", "OSPlatform", "RbacGroupId", "RbacGroupName", "NumberOfWeaknesses", "DiskPaths", "RegistryPaths",
    "SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate",
)  # fmt: skip


def load(paths: list[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The values of each key."""
    records = {}
    for path in paths:
        with gzip.open(path) as file:
            for line in file:
                get = orjson.loads(line).get
                records[tuple(map(get, KEYS))] = tuple(map(get, VALUES))
    return records


def main() -> None:
    """Compare, and print the counts."""
    split = sys.argv.index("--")
    before, now = load(sys.argv[2:split]), load(sys.argv[split + 1 :])
    added = removed = changed = 0
    for key, values in now.items():
        earlier = before.get(key)
        if earlier is None:
            added += 1
        elif earlier != values:
            changed += 1
    removed = sum(key not in now for key in before)
    print(f"{added:,} added, {removed:,} removed, {changed:,} changed")


main()
