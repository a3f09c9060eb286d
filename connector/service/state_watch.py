"""Notices what another process did to the state file between two polls: an approval, a discard, a poll by hand.

It compares the file's time and size, and opens the file for reading only after another process has changed it, so that
it never holds the file for longer than a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from connector.errors import StateError
from connector.model import Inventory
from connector.state.state import StateFile


class Backlog(NamedTuple):
    """What is waiting: changes for Kafka, and records for a person, by inventory.

    Attributes:
        waits: whether anything waits for Kafka: a change, an alert or a seal.
    """

    pending: int
    held: dict[str, int]
    waits: bool = False


class StateWatcher:
    """Watches one state file.

    Args:
        path: the file.
        open_state: opens it for reading, without waiting.
        inventories: those whose holds are counted.
    """

    def __init__(
        self, path: Path, open_state: Callable[[], AbstractContextManager[StateFile]], inventories: Sequence[Inventory]
    ) -> None:
        self._path = path
        self._open_state = open_state
        self._inventories = inventories
        self._last_stamp: tuple[int, int] | None = None

    def note(self) -> None:
        """Note the file as the poll that just ended left it: what it did is no change by another process."""
        self._last_stamp = self._stamp()

    def look(self) -> Backlog | None:
        """The backlog, where another process has changed the file since the last look; else None."""
        stamp = self._stamp()
        if stamp is None or stamp == self._last_stamp:
            return None
        try:
            with self._open_state() as state:
                position = state.journal.position()
                backlog = Backlog(
                    position.pending,
                    {inventory.value: state.journal.held_count(inventory) for inventory in self._inventories},
                    waits=not position.drained,
                )
        except StateError:
            # The other process still has it open. The next look comes soon, and a poll reports a file that is damaged.
            return None
        self._last_stamp = stamp
        return backlog

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
