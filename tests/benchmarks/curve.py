"""The curve: a first poll and a steady one at ever more records in one process, beside `zcat`, with memory and disk.

One size after the other, each with its own state file; what it wrote is deleted before the next. Two generations are on
disk at a time, and the copy that a poll fetches: three times the size of the export.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks import measuring
from tests.benchmarks.measuring import Row, print_table
from tests.benchmarks.poll import Options, Polls, open_kafka

COLUMNS: Final = ("records", *measuring.COLUMNS[:1], *measuring.COLUMNS[2:], "gzip MB", "state MB")
STEADY_POLLS: Final = 2


def run(sizes: Sequence[int], options: Options) -> None:
    """Measure each size, and print the table after each, so that a long run shows what it has."""
    rows: list[tuple[str, ...]] = []
    with TemporaryDirectory(prefix="benchmark-") as name, open_kafka(Path(name), options.broker) as (kafka, origin):
        for records in sizes:
            folder = Path(name) / f"{records}"
            folder.mkdir(mode=0o700)
            only = replace(
                options, records=records, rounds=1, churns=(1,) * STEADY_POLLS, flavours=("files",), rivals=()
            )
            polls = Polls(only, folder, kafka, [], prefix=f"curve{records}")
            rows += [_line(records, row, polls) for row in polls.measured(short_verbs=False)]
            shutil.rmtree(folder)
            print_table(f"one process, published to {origin}", COLUMNS, rows)


def _line(records: int, row: Row, polls: Polls) -> tuple[str, ...]:
    ratios = (row.times_yardstick("cpu_seconds"), row.times_yardstick("wall_seconds"))
    return (
        f"{records:,}",
        row.name,
        f"{row.cpu_seconds:.1f}",
        f"{row.wall_seconds:.1f}",
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        f"{row.peak_mib:,}",
        f"{row.written_bytes / 1e6:,.0f}",
        f"{polls.gzip_bytes / 1e6:,.0f}",
        f"{polls.state_bytes / 1e6:,.0f}",
    )
