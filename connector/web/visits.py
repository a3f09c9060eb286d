"""Short reads of the state file, which a poll needs for itself.

One visit at a time: it opens the file, reads what one page says, and closes it, within `SECONDS_MAX`. Between two
visits is a pause, in which a poll that waits gets the file. Where a poll has it, the last known answer is given. What
took long to read is given again while the file is as it was.
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
from connector.private_files import Stamp, stamps
from connector.state.state import StateFile

SECONDS_MAX: Final = 3.0
"""A poll waits five seconds for the file."""
WAIT_SECONDS: Final = 0.3
PAUSE_SECONDS: Final = 0.25
"""A poll that waits for the file looks for it ten times a second."""
ANSWERS_MAX: Final = 32
SLOW_SECONDS: Final = 0.25
"""What took longer to read is not read again while the file is as it was."""
KEPT_SECONDS: Final = 300.0
"""How long at most: ages and days go on, whatever the file has."""
DECISION_WAIT_SECONDS: Final = 10.0
KAFKA_SECONDS_MAX: Final = 20.0
"""How long an approval publishes, where no `run` does: what was not published by then, the next poll publishes."""
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What a page said: whether it took long to read, until when it may be given again, and what the file was."""

    answer: Answer
    is_slow: bool
    until: float
    stamp: tuple[Stamp, ...]


class VisitTooLong(StateError):
    """A page could not be read in the time that a visit has."""


class Visits:
    """Visits to the state file of an assembly.

    Args:
        assembly: of the tenant.
        pause_seconds: between two visits.
        seconds_max: for which a visit keeps the file.
        decision_wait_seconds: how long a decision waits for a poll to close the file; no page is read meanwhile.
        slow_seconds: what took longer to read is given again while the file is as it was.
    """

    def __init__(
        self,
        assembly: Assembly,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        seconds_max: float = SECONDS_MAX,
        decision_wait_seconds: float = DECISION_WAIT_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        self.decision_wait_seconds = decision_wait_seconds
        self.assembly = assembly
        self._pause_seconds = pause_seconds
        self._seconds_max = seconds_max
        self._slow_seconds = slow_seconds
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._answers: OrderedDict[str, _Known] = OrderedDict()

    def answer(self, address: str, view: Callable[[Visit], Facts], *, scratch: bool = False) -> Answer:
        """What a page says now, or what it said last where a poll has the file.

        Args:
            address: of the page.
            view: reads it.
            scratch: whether the view tries something in a copy; the file itself is only read.

        Raises:
            StateLocked: a poll has the file, and nothing is known of this page.
            VisitTooLong: it takes too long.
            ConnectorError: it cannot be said.
        """
        with self._lock:  # whoever asks for the same page meanwhile waits here
            known, stamp = self._answers.get(address), self._stamp()
            if known and known.is_slow and known.stamp == stamp and time.monotonic() < known.until:
                return known.answer
        with self._turn():
            stamp = self._stamp()
            try:
                answer, seconds = self._visit(view, scratch=scratch)
            except StateLocked:
                known = self._answers.get(address)
                if known is None:
                    raise
                return Answer(known.answer.facts, known.answer.as_of, busy=True)
            until = time.monotonic() + KEPT_SECONDS
            self._answers[address] = _Known(answer, seconds > self._slow_seconds, until, stamp)
            self._answers.move_to_end(address)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
            return answer

    def decide(self, make: Callable[[Assembly], Facts]) -> Facts:
        """Let something be decided between two visits, by parts of its own; what was known before is forgotten.

        Raises as `make`.
        """
        with self._turn():
            self._answers.clear()
            with Assembly(
                self.assembly.config,
                stop=self.assembly.stop,
                clock=self.assembly.clock,
                kafka_seconds_max=KAFKA_SECONDS_MAX,
            ) as assembly:
                return make(assembly)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The block has the file for itself, as far as this console goes; a pause comes before the next one."""
        with self._lock:
            time.sleep(max(0.0, self._free_at - time.monotonic()))
            try:
                yield
            finally:
                self._free_at = time.monotonic() + self._pause_seconds

    def _visit(self, view: Callable[[Visit], Facts], *, scratch: bool) -> tuple[Answer, float]:
        """What a page says, and how long it took to read, without the wait for the file."""
        now = self.assembly.clock()
        open_state = self.assembly.open_scratch if scratch else self.assembly.read_state
        with open_state(WAIT_SECONDS) as state, _limited(state, self._seconds_max):
            began = time.monotonic()
            answer = Answer(view(Visit(self.assembly, state, now)), now)
            return answer, time.monotonic() - began

    def _stamp(self) -> tuple[Stamp, ...]:
        """What tells the file from what it was: that of its log too, in which a change stands first."""
        path = self.assembly.config.state.path
        return stamps(path, path.with_name(f"{path.name}.wal"))


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
        raise VisitTooLong(
            f"this page takes longer than {seconds_max:g} s, and a poll may be waiting for the state file",
            hint="Name a device, a product or a shorter time; the command line takes as long as it needs.",
        ) from error
    finally:
        ended.set()
        watcher.join()
