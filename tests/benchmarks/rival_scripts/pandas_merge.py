"""Two data frames, and an outer merge with an indicator."""

from __future__ import annotations

import sys

import pandas as pd

KEYS = ["DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion"]
VALUES = [
    "DeviceName", "OSPlatform", "RbacGroupId", "RbacGroupName", "NumberOfWeaknesses", "DiskPaths", "RegistryPaths",
    "SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate",
]  # fmt: skip


def load(paths: list[str]) -> pd.DataFrame:
    """All records, the lists as texts."""
    frames = [pd.read_json(path, lines=True, dtype=False).reindex(columns=KEYS + VALUES) for path in paths]
    frame = pd.concat(frames, ignore_index=True)
    for name in ("DiskPaths", "RegistryPaths"):
        frame[name] = frame[name].map(str)
    return frame


def main() -> None:
    """Compare, and print the counts."""
    split = sys.argv.index("--")
    before, now = load(sys.argv[2:split]), load(sys.argv[split + 1 :])
    both = before.merge(now, on=KEYS, how="outer", suffixes=("_before", "_now"), indicator=True)
    kept = both[both["_merge"] == "both"]
    differs = pd.Series(data=False, index=kept.index)
    for name in VALUES:
        old, new = kept[f"{name}_before"], kept[f"{name}_now"]
        differs |= (old != new) & ~(old.isna() & new.isna())
    sides = both["_merge"].value_counts()
    print(f"{sides['right_only']:,} added, {sides['left_only']:,} removed, {int(differs.sum()):,} changed")


main()
