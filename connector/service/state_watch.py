"""Notices what another process did to the state file between two polls: an approval, a discard, a poll by hand.

Owns the look at the file's time and size. Must not hold the file: it is opened for reading, for a moment, and only
after somebody else has changed it.
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
    """What waits: changes for Kafka, and removals for a person, by inventory."""

    pending: int
    held: dict[str, int]


class Watch:
    """Watches one state file.

    Args:
        path: the file.
        open_state: opens it for reading, without waiting.
        inventories: whose holds are asked for.
    """

    def __init__(
        self, path: Path, open_state: Callable[[], AbstractContextManager[StateFile]], inventories: Sequence[Inventory]
    ) -> None:
        self._path = path
        self._open_state = open_state
        self._inventories = inventories
        self._seen: tuple[int, int] | None = None

    def note(self) -> None:
        """The file is as the poll that just ended has left it."""
        self._seen = self._looks()

    def look(self) -> Backlog | None:
        """What waits, where another process changed the file since it was last looked at; else None."""
        looks = self._looks()
        if looks is None or looks == self._seen:
            return None
        try:
            with self._open_state() as state:
                found = Backlog(
                    state.journal.position().pending,
                    {inventory.value: state.journal.held_count(inventory) for inventory in self._inventories},
                )
        except StateError:
            # Whoever changes it still has it. The next look comes soon, and a poll says what is wrong with the file.
            return None
        self._seen = looks
        return found

    def _looks(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
