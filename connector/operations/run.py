"""What `run` makes sure of before it polls: that no other process publishes from its state files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from connector.assembly import Assembly
from connector.errors import StateError, StateLocked
from connector.state.publisher_lock import RUN, PublisherLock
from connector.telemetry import logger

log = logger(__name__)

BRIEF_HOLDER_SECONDS: Final = 10.0
"""How long `run` waits at its start for a verb that publishes briefly, such as `held approve`."""


def take_locks(assemblies: Iterable[Assembly], stack: ExitStack) -> list[PublisherLock]:
    """Take the lock of every tenant's state file, until `stack` is closed.

    A lock file that cannot be made or locked is no reason to refuse the other tenants: the tenant's polls take the lock
    again, and fail with the same error while they cannot.

    Raises:
        StateLocked: another process publishes from one of the files.
    """
    locks = []
    for assembly in assemblies:
        lock = assembly.publisher_lock(RUN, wait_seconds=BRIEF_HOLDER_SECONDS)
        stack.callback(lock.release)
        try:
            lock.acquire()
        except StateLocked:
            raise
        except StateError as error:
            log.warning("the state file cannot be locked; its polls try again", error=error)
        locks.append(lock)
    return locks
