"""Short reads of the state file, which a poll needs for itself.

One visit at a time: it opens the file, reads what one page says, and closes it, within `SECONDS_MAX`. Between two
visits is a pause, in which a poll that waits gets the file. Where a poll has it, the last known answer is given.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector.assembly import Assembly
from connector.errors import ConnectorError, StateError, StateLocked
from connector.state.state import StateFile

SECONDS_MAX: Final = 3.0
"""A poll waits five seconds for the file."""
WAIT_SECONDS: Final = 0.3
PAUSE_SECONDS: Final = 0.25
"""A poll that waits for the file looks for it ten times a second."""
ANSWERS_MAX: Final = 32
INTERRUPT_SECONDS: Final = 0.05

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """What a view reads: an open state file, and the time."""

    assembly: Assembly
    state: StateFile
    now: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says, when it was read, and whether that is because a poll has the file now."""

    facts: Facts
    as_of: datetime
    busy: bool = False


class Visits:
    """Visits to the state file of an assembly.

    Args:
        assembly: of the tenant.
        pause_seconds: between two visits.
        seconds_max: for which a visit keeps the file.
    """

    def __init__(
        self, assembly: Assembly, *, pause_seconds: float = PAUSE_SECONDS, seconds_max: float = SECONDS_MAX
    ) -> None:
        self.assembly = assembly
        self._pause_seconds = pause_seconds
        self._seconds_max = seconds_max
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def answer(self, address: str, view: Callable[[Visit], Facts]) -> Answer:
        """What a page says now, or what it said last where a poll has the file.

        Raises:
            StateLocked: a poll has the file, and nothing is known of this page.
            ConnectorError: it cannot be said.
        """
        with self._lock:
            time.sleep(max(0.0, self._free_at - time.monotonic()))
            try:
                answer = self._visit(view)
            except StateLocked:
                known = self._answers.get(address)
                if known is None:
                    raise
                return Answer(known.facts, known.as_of, busy=True)
            finally:
                self._free_at = time.monotonic() + self._pause_seconds
            self._answers[address] = answer
            self._answers.move_to_end(address)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
            return answer

    def _visit(self, view: Callable[[Visit], Facts]) -> Answer:
        now = self.assembly.clock()
        with self.assembly.read_state(WAIT_SECONDS) as state, _limited(state, self._seconds_max):
            return Answer(view(Visit(self.assembly, state, now)), now)


@contextmanager
def _limited(state: StateFile, seconds_max: float) -> Iterator[None]:
    """End whatever the block reads after some seconds."""
    ended, late = threading.Event(), threading.Event()

    def watch() -> None:
        if ended.wait(seconds_max):
            return
        late.set()
        while not ended.wait(INTERRUPT_SECONDS):
            # Whatever statement comes next is ended as well.
            state.database.interrupt()

    watcher = threading.Thread(target=watch, name="console-visit", daemon=True)
    watcher.start()
    try:
        yield
    except ConnectorError as error:
        if not late.is_set():
            raise
        raise StateError(
            f"this page takes longer than {seconds_max:g} s, and a poll may be waiting for the state file",
            hint="Name a device, a product or a shorter time; the command line takes as long as it needs.",
        ) from error
    finally:
        ended.set()
        watcher.join()
