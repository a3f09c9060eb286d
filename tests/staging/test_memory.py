"""Memory of a whole process that compares snapshots."""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from connector.model import Snapshot
from tests.benchmarks.snapshots import Size, write_snapshot
from tests.benchmarks.staging import stage

LIMIT_MIB = 128
STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read as Linux tells it")
def test_a_process_that_compares_takes_no_more_memory_than_the_documentation_gives_it(tmp_path: Path) -> None:
    """The first snapshot and the next, at the least limit: at the peak 1.6 times that, and 256 MiB."""
    for generation in range(2):
        snapshot = write_snapshot(tmp_path / f"{generation}", Size(60_000, parts=4), generation)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            changes, peak_mib = pool.submit(stage_measured, tmp_path / "state.duckdb", snapshot).result()
        assert (changes, peak_mib <= 1.6 * LIMIT_MIB + 256) == (("0", "720")[generation], True), f"{peak_mib} MiB"


def stage_measured(path: Path, snapshot: Snapshot) -> tuple[str, int]:
    """Stage a snapshot. Returns how many changes it makes, and the peak of this process in MiB."""
    changes = stage(path, snapshot, LIMIT_MIB).partition(",")[0]
    peak = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    return changes, int(peak[1]) // 1024 if peak else 0
