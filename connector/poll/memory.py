"""One budget of memory for all tenants of a process: polls that compare wait for their turn, first come, first served.

A poll takes its share before it compares, and has it until its state file is closed: the engine keeps what it has read
until then. Nobody overtakes whoever waits longest, so that a large tenant waits no longer than the polls before it. The
wait ends at a stop, and fails after a limit, which the next poll begins again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from connector.errors import StateFull, Stopped
from connector.telemetry import logger

log = logger(__name__)

STEP_SECONDS: Final = 0.5
"""How often whoever waits looks whether it was stopped."""


@dataclass(slots=True)
class _Waiting:
    tenant: str
    since: float


class MemoryBudget:
    """The memory that comparisons of several tenants have together. May be used from any thread.

    Args:
        total_mib: what there is.
        monotonic: seconds of a clock that nobody can set.
    """

    def __init__(self, total_mib: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._free_mib = total_mib
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []

    def share(self, tenant: str, mib: int, *, seconds_max: float, stop: threading.Event) -> MemoryShare:
        """A share for one poll of a tenant: nothing is taken yet."""
        return MemoryShare(lambda: self._take(tenant, mib, seconds_max, stop), lambda: self._give(mib))

    def waiting_seconds(self, tenant: str) -> float:
        """How long a tenant's poll has been waiting; 0 where none does."""
        with self._changed:
            since = [waiting.since for waiting in self._queue if waiting.tenant == tenant]
        return self._monotonic() - since[0] if since else 0.0

    def _take(self, tenant: str, mib: int, seconds_max: float, stop: threading.Event) -> bool:
        """Take so much, waiting for it in line. Returns whether that meant waiting."""
        waiting = _Waiting(tenant, self._monotonic())
        waited = False
        with self._changed:
            self._queue.append(waiting)
            try:
                while self._queue[0] is not waiting or self._free_mib < mib:
                    if not waited:
                        log.info("waiting for memory that other tenants' polls use", place=len(self._queue))
                        waited = True
                    self._check(waiting, mib, seconds_max, stop)
                    self._changed.wait(STEP_SECONDS)
                self._free_mib -= mib
            finally:
                self._queue.remove(waiting)
                self._changed.notify_all()
        return waited

    def _check(self, waiting: _Waiting, mib: int, seconds_max: float, stop: threading.Event) -> None:
        if stop.is_set():
            raise Stopped("stopped while waiting for memory; the next start fetches what is missing")
        if self._monotonic() - waiting.since > seconds_max:
            raise StateFull(
                f"waited {seconds_max:.0f} s for {mib:,} MiB that other tenants' polls use",
                hint="Raise state.memory_budget_mib, or poll less often (poll.interval_seconds).",
            )

    def _give(self, mib: int) -> None:
        with self._changed:
            self._free_mib += mib
            self._changed.notify_all()


class MemoryShare:
    """The memory of one poll. A context: what was taken is given back at its end.

    Args:
        take: waits for the memory. Returns whether that meant waiting.
        give: gives it back.
    """

    def __init__(self, take: Callable[[], bool] = lambda: False, give: Callable[[], None] = lambda: None) -> None:
        self._take = take
        self._give = give
        self._taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            self._taken = False
            self._give()

    def take(self) -> bool:
        """Wait for the memory, unless the poll has it. Returns whether that meant waiting.

        Raises:
            StateFull: it did not come free in time.
            Stopped: while waiting.
        """
        if self._taken:
            return False
        waited = self._take()
        self._taken = True
        return waited
