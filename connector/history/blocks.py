"""Past changes, block by block, with the state file held for moments only.

A poll needs the file for itself. So a block is read whole, the file is let go of, and only then is the block shown or
published, however long that takes; the next block is another visit. What is staged meanwhile is not part of it. Owns
that rule and its waits; the SQL is `history`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from connector.errors import StateLocked, Stopped
from connector.history.filters import Selection
from connector.history.query import History, Place, Scope, Tally
from connector.state.state import StateFile

BLOCK_ROWS: Final = 10_000
"""Changes that are Python objects at a time."""

VISITS_MAX: Final = 360
"""How often the file is asked for, once reading has begun: with five seconds each, half an hour of a poll."""


class Past:
    """Reads the journal of one state file.

    Args:
        open_state: opens the file for reading, and waits a little for a poll to let go of it.
        stop: ends reading between two visits.
    """

    def __init__(self, open_state: Callable[[], AbstractContextManager[StateFile]], stop: threading.Event) -> None:
        self._open_state = open_state
        self._stop = stop

    def scope(self, selection: Selection) -> Scope:
        """A selection, narrowed by the snapshots that there are.

        Raises:
            StateLocked: a poll has the file, and does not let go of it.
            StateError: there is no file, or no such snapshot.
        """
        with self._open_state() as state:
            return History(state).scope(selection)

    def newest(self, scope: Scope, number: int) -> tuple[Iterator[list[dict[str, Any]]], bool]:
        """Blocks of the last so many changes, in order; and whether there may be others before them."""
        with self._visit() as state:
            if number <= BLOCK_ROWS:
                block, more = History(state).newest(scope, number)
                return iter([block] if block else []), more
            after = History(state).place_before(scope, number)
        return self.blocks(scope, after=after), after is not None

    def tally(self, scope: Scope, *, after: Place | None = None) -> list[Tally]:
        """How many changes there are beyond a place, by type and reason."""
        with self._visit() as state:
            return History(state).tally(scope, after)

    def blocks(
        self, scope: Scope, *, after: Place | None = None, rows_max: int = BLOCK_ROWS
    ) -> Iterator[list[dict[str, Any]]]:
        """Changes beyond a place, in order, as `SoftwareChange` mappings; no block is empty.

        Raises:
            StateLocked: a poll has had the file for half an hour.
            StateError: changes were let go of before they were read.
            Stopped: between two visits.
        """
        while True:
            with self._visit() as state:
                block, after = History(state).read(scope, after, rows_max)
            if block:
                yield block
            if after is None:
                return

    @contextmanager
    def _visit(self) -> Iterator[StateFile]:
        """The file, when it is free."""
        for visit in range(1, VISITS_MAX + 1):
            if self._stop.is_set():
                raise Stopped("stopped while reading the journal")
            try:
                opened = self._open_state()
            except StateLocked:
                if visit == VISITS_MAX:
                    raise
            else:
                break
        with opened as state:
            yield state
