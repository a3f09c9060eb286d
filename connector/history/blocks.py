"""Reads past changes block by block, opening the state file only for each block.

A poll needs the file for itself. So a block is read whole, the file is released, and only then is the block shown or
published, however long that takes; the next block is another visit to the file. What is staged meanwhile is not read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

from connector.errors import StateLocked, Stopped
from connector.history.campaigns import CAMPAIGNS_MAX, fold
from connector.history.filters import Selection
from connector.history.query import ChangeCount, History, JournalCursor, PastChange, Scope
from connector.model import StagedSnapshot
from connector.state.encoded import Encoded, RowEncoder
from connector.state.state import StateFile

Change = TypeVar("Change")

BLOCK_ROWS: Final = 10_000
"""Changes that are Python objects at a time."""

ATTEMPTS_MAX: Final = 360
"""Attempts to open the file, once reading has begun: with five seconds each, half an hour of a poll."""


class PastChanges:
    """Reads the journal of one state file.

    Args:
        open_state: opens the file for reading, and waits a little for a poll to release it.
        stop: ends reading between two visits.
    """

    def __init__(self, open_state: Callable[[], AbstractContextManager[StateFile]], stop: threading.Event) -> None:
        self._open_state = open_state
        self._stop = stop

    def narrow(self, selection: Selection) -> Scope:
        """A selection, narrowed by the snapshots that the journal has.

        Raises:
            StateLocked: a poll has the file, and does not release it.
            StateError: there is no file, or no such snapshot.
        """
        with self._open_state() as state:
            return History(state).narrow(selection)

    def read_newest(self, scope: Scope, number: int) -> tuple[Iterator[list[dict[str, Any]]], bool]:
        """Blocks of the last `number` changes, in order; and whether there may be others before them."""
        with self._visit() as state:
            if number <= BLOCK_ROWS:
                block, more = History(state).read_newest(scope, number)
                return iter([block] if block else []), more
            after = History(state).cursor_before_newest(scope, number)
        return self.read(scope, after=after), after is not None

    def count(self, scope: Scope, *, after: JournalCursor | None = None) -> list[ChangeCount]:
        """How many changes there are beyond a cursor, by epoch, type and reason."""
        with self._visit() as state:
            return History(state).count(scope, after)

    def fold(self, scope: Scope, number: int | None) -> Iterator[tuple[StagedSnapshot, list[dict[str, Any]], int]]:
        """Snapshots with the campaigns that their changes fold into, and how many changes are in none; oldest first.

        With a `number`, the campaigns of the newest snapshots, at most so many.
        """
        if number is None:
            for snapshot in scope.snapshots.values():
                yield self._fold_one(scope, snapshot, CAMPAIGNS_MAX)
            return
        newest = []
        for snapshot in reversed(scope.snapshots.values()):
            if number:
                newest.append(self._fold_one(scope, snapshot, number))
                number -= len(newest[-1][1])
        yield from reversed(newest)

    def _fold_one(
        self, scope: Scope, snapshot: StagedSnapshot, number: int
    ) -> tuple[StagedSnapshot, list[dict[str, Any]], int]:
        with self._visit() as state:
            campaigns, left = fold(state, snapshot, scope.selection)
        return snapshot, campaigns[:number], left + sum(campaign["changes"] for campaign in campaigns[number:])

    def read(
        self, scope: Scope, *, after: JournalCursor | None = None, rows_max: int = BLOCK_ROWS
    ) -> Iterator[list[dict[str, Any]]]:
        """Blocks of the changes beyond a cursor, in order, as `SoftwareChange` mappings; no block is empty.

        Raises:
            StateLocked: a poll has had the file for half an hour.
            StateError: changes were deleted before they were read.
            Stopped: between two visits.
        """
        return self._read(lambda history, cursor: history.read(scope, cursor, rows_max), after)

    def read_encoded(
        self,
        scope: Scope,
        encoder: RowEncoder[Encoded],
        more: Mapping[str, Any],
        *,
        after: JournalCursor | None = None,
        rows_max: int = BLOCK_ROWS,
    ) -> Iterator[list[PastChange[Encoded]]]:
        """As `read`, encoded by the engine; `more` replaces what changes of a snapshot have in common."""
        return self._read(lambda history, cursor: history.read_encoded(scope, cursor, rows_max, encoder, more), after)

    def _read(
        self,
        read: Callable[[History, JournalCursor | None], tuple[list[Change], JournalCursor | None]],
        after: JournalCursor | None,
    ) -> Iterator[list[Change]]:
        """What `read` finds beyond a cursor, visit by visit; no block is empty."""
        while True:
            with self._visit() as state:
                block, after = read(History(state), after)
            if block:
                yield block
            if after is None:
                return

    @contextmanager
    def _visit(self) -> Iterator[StateFile]:
        """The file, as soon as it is free."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            if self._stop.is_set():
                raise Stopped("stopped while reading the journal")
            try:
                opened = self._open_state()
            except StateLocked:
                if attempt == ATTEMPTS_MAX:
                    raise
            else:
                break
        with opened as state:
            yield state
