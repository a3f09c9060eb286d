"""A pipeline that merges a snapshot into DuckDB as slowly changing dimensions; run once for each snapshot."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator
from typing import Any

folder = sys.argv[1]
os.environ.update(DLT_DATA_DIR=f"{folder}/dlt", RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR")

import dlt  # noqa: E402 - it reads the environment
import duckdb  # noqa: E402
import orjson  # noqa: E402


@dlt.resource(
    name="software",
    write_disposition={"disposition": "merge", "strategy": "scd2"},
    columns={"disk_paths": {"data_type": "json"}, "registry_paths": {"data_type": "json"}},
)
def software(paths: list[str]) -> Iterator[list[dict[str, Any]]]:
    """The records, some thousands at a time."""
    for path in paths:
        with gzip.open(path) as file:
            block: list[dict[str, Any]] = []
            for line in file:
                block.append(orjson.loads(line))
                if len(block) == 5_000:
                    yield block
                    block = []
            yield block


def main() -> None:
    """Load, and print how many versions of records there are."""
    path = f"{folder}/dlt.duckdb"
    pipeline = dlt.pipeline(
        "inventory", destination=dlt.destinations.duckdb(path), dataset_name="inventory", pipelines_dir=f"{folder}/p"
    )
    pipeline.run(software(sys.argv[2:]))
    with duckdb.connect(path, read_only=True) as database:
        row = database.execute(
            "SELECT count(*), count(*) FILTER (_dlt_valid_to IS NOT NULL) FROM inventory.software"
        ).fetchone()
    assert row is not None
    print(f"{row[0]:,} versions of records, {row[1]:,} of them ended")


main()
