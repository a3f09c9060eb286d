"""A poll under way: what it knows so far, and the turn of each inventory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from connector.clock import Stopwatch
from connector.errors import OUTAGES, ConnectorError, ProgramFault, SnapshotError, SourceError
from connector.model import Inventory, Snapshot, StagedSnapshot
from connector.poll.result import PollResult
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

ISOLATED: Final = (SourceError, SnapshotError, ProgramFault, *OUTAGES)
"""Errors that stop the poll of one inventory, and not that of the other."""


@dataclass(slots=True)
class Turn:
    """One inventory's turn in a poll.

    Attributes:
        stopwatch: seconds of its steps; the first inventory's has steps 0 and 1 too.
        snapshot: what step 2 fetched; None where the generation has not advanced.
        is_repeat: whether that is of the generation that was the newest before.
        beside: the snapshot of the other inventory, where that is staged next.
        staged: what step 3 staged; None where that was nothing.
        published: changes that Kafka confirmed in step 4.
        result: what the poll says of the inventory; None until its steps are done, or where one of them failed.
    """

    inventory: Inventory
    started_at: datetime
    stopwatch: Stopwatch
    snapshot: Snapshot | None = None
    is_repeat: bool = False
    beside: Snapshot | None = None
    staged: StagedSnapshot | None = None
    published: int = 0
    result: PollResult | None = None

    @property
    def has_advanced(self) -> bool:
        """Whether the export has a newer generation than before."""
        return self.snapshot is not None and not self.is_repeat

    @property
    def fetched_bytes(self) -> int:
        """Bytes that came over the network for the snapshot."""
        return self.snapshot.fetched_bytes if self.snapshot else 0


@dataclass(slots=True)
class Run:
    """One poll: its open state file, its turns, and what went wrong so far.

    Attributes:
        dry: whether it is a dry run, of which nothing is reported.
        folds: whether its results have campaigns.
        stopwatch: that of the next turn.
        turns: of the inventories that could be fetched, in order.
        outage: what keeps the poll from Kafka, if anything does.
        drained: changes published in step 1 that no result has counted yet.
        failures: what stopped the poll of one inventory only.
    """

    state: StateFile
    dry: bool = False
    folds: bool = False
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    turns: list[Turn] = field(default_factory=list)
    outage: ConnectorError | None = None
    drained: int = 0
    failures: list[ConnectorError] = field(default_factory=list)

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """What stops one inventory inside the block is kept until the other is done."""
        try:
            yield
        except ISOLATED as error:
            if error not in self.failures:
                self.failures.append(error)

    def in_turn(self) -> Iterator[Turn]:
        """The turns in order; the stopwatch of each goes on."""
        for turn, following in zip(self.turns, [*self.turns[1:], None], strict=False):
            turn.beside = following.snapshot if following else None
            turn.stopwatch.resume()
            yield turn

    def raise_first_failure(self) -> None:
        """Raise what stopped one inventory, now that the other is done."""
        for further in self.failures[1:]:
            log.error("another inventory failed too", error=str(further), hint=further.hint)
        if self.failures:
            raise self.failures[0]
