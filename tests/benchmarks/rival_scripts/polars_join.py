"""Two frames, and two anti-joins and a join."""

from __future__ import annotations

import gzip
import sys

import polars as pl

KEYS = ["DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion"]
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(KEYS, pl.String),
    **dict.fromkeys(("DeviceName", "OSPlatform", "RbacGroupName"), pl.String),
    **dict.fromkeys(("RbacGroupId", "NumberOfWeaknesses"), pl.Int64),
    **dict.fromkeys(("DiskPaths", "RegistryPaths"), pl.List(pl.String)),
    **dict.fromkeys(("SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate"), pl.String),
}


def load(paths: list[str]) -> pl.DataFrame:
    """All records."""
    frames = []
    for path in paths:
        with gzip.open(path) as file:
            frames.append(pl.read_ndjson(file.read(), schema=SCHEMA))
    return pl.concat(frames)


def main() -> None:
    """Compare, and print the counts."""
    split = sys.argv.index("--")
    before, now = load(sys.argv[2:split]), load(sys.argv[split + 1 :])
    added = now.join(before, on=KEYS, how="anti", nulls_equal=True).height
    removed = before.join(now, on=KEYS, how="anti", nulls_equal=True).height
    both = now.join(before, on=KEYS, how="inner", nulls_equal=True, suffix="_before")
    values = [name for name in SCHEMA if name not in KEYS]
    changed = both.filter(pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in values))
    print(f"{added:,} added, {removed:,} removed, {changed.height:,} changed")


main()
