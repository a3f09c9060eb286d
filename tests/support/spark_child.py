"""A process that stages a snapshot with two executors, one of which it kills, and kills itself before it is staged.

`python -m tests.support.spark_child FOLDER` goes on with the bench of that folder, after the second snapshot. It ends
by SIGKILL, once Spark has committed the third one and before the state file has.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

from connector.diff.engines import Comparer
from connector.diff.tables import Difference, Workspace
from connector.exports.fields import Field
from connector.model import Snapshot
from tests.support.bench import staging_rules
from tests.support.sparking import CHILD_SEED, SparkBench, history, session

WAIT_SECONDS_MAX = 300


class DyingComparer:
    """An engine whose process dies when its version would be named."""

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comparer, name)

    def store_lines(self, *_: Workspace | Snapshot | Difference, **__: Sequence[Field]) -> None:
        """Die."""
        print("driver dies", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def executors() -> list[int]:
    """The processes of this one's executors."""
    parents: dict[int, int] = {}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:
            continue  # It has ended.
        parents[int(path.name)] = int(status.rpartition(")")[2].split()[1])
        if b"CoarseGrainedExecutorBackend" in command:
            found.append(int(path.name))
    return [number for number in found if _is_below(number, os.getpid(), parents)]


def _is_below(number: int, ancestor: int, parents: dict[int, int]) -> bool:
    while number in parents and number != ancestor:
        number = parents[number]
    return number == ancestor


def kill_one(spark: Any) -> None:
    """Once two executors are there and have work, kill one."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        if len(numbers := executors()) == 2 and spark.sparkContext.statusTracker().getActiveJobsIds():
            os.kill(numbers[0], signal.SIGKILL)
            print("executor killed", flush=True)
            return
        time.sleep(0.05)


def main(folder: Path) -> None:
    """Stage it."""
    lines, rules = history(CHILD_SEED)[2]
    spark = session(folder, master="local-cluster[2,1,1024]")
    with SparkBench(folder, spark, random=Random(CHILD_SEED)) as bench:
        bench.number = 2
        bench.comparer = cast(Comparer, DyingComparer(bench.comparer))
        threading.Thread(target=kill_one, args=(spark,)).start()
        bench.take(bench.snapshot(lines), rules=staging_rules(rules))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
