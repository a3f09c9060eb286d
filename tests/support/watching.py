"""The parts of a connector that report where a poll is, and the order that makes it die, wait or fail there.

The seams between the parts of an `Assembly` (source, messages, sink, state file, engine, progress) are given as
delegates that report to a `Points` where the poll is. Owns the names of the points; knows nothing of processes.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, cast

from connector import config
from connector.assembly import Assembly
from connector.clock import utc_now
from connector.kafka.messages import Messages
from connector.kafka.sink import TRANSACTION_SECONDS_MAX, Sink
from connector.model import (
    Checkpoint,
    Inventory,
    Message,
    Position,
    Snapshot,
    SnapshotStatus,
)
from connector.source.progress import NoProgress
from connector.source.source import Source
from connector.state.engine import Engine
from connector.state.journal import Journal
from connector.state.state import StateFile

Control = Literal["", "checkpoint apart", "confirmed first"]
"""What is deliberately broken, so that the harness has something to find."""

POINTS: Final = (
    "poll begins",
    "claimed",
    "recovered",
    "fetching",
    "part fetched",
    "fetched",
    "staging",
    "staged in memory",
    "committing what is staged",
    "staging committed",
    "checkpointing the file",
    "staged",
    "discarded",
    "batch begins",
    "within a batch",
    "batch produced",
    "commit under way",
    "batch committed",
    "batch confirmed",
    "seal encoded",
    "seal produced",
    "seal committed",
    "seal confirmed",
    "retired",
)
"""In the order of a poll. The `seal` points are those of a snapshot's last batch."""

DECISION_POINTS: Final = ("decision in memory", "decision committed")
"""Points of a process that approves what is held, beside those of publishing."""

Verb = Literal["poll", "run", "held approve"]

DELAYED: Final = {"committing what is staged": 0.004, "checkpointing the file": 0.008, "commit under way": 0.008}
"""Points inside a library: the kill comes from a thread, up to this many seconds later."""

FULL_BYTES: Final = 8192
"""How large a file may be on a disk that is full."""

DELIVERY_SECONDS: Final = 0.03
"""Given to librdkafka before a kill, so that what was produced is with the broker."""


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        settings: the configuration's tables.
        kill: the point of the kill, and at which reaching of it; None: it lives.
        delay_seconds: from the point to the kill.
        wait: the point to wait at, and at which reaching of it.
        verb: what it carries out.
        polls: how often it polls, as `poll`.
        interval_seconds: between two polls, as `run`.
        control: what is broken in it.
        deadline_seconds: how long it waits for Kafka, where not as long as it would.
        full: the point from which on no file of it may grow, and at which reaching of it: a disk that is full.
        clock_seconds: how far its clock is off.
        device: the only one whose removals it approves, as `held approve`; "": all.
    """

    settings: dict[str, Any]
    kill: tuple[str, int] | None = None
    delay_seconds: float = 0.0
    wait: tuple[str, int] | None = None
    verb: Verb = "poll"
    polls: int = 1
    interval_seconds: float = 1.0
    control: Control = ""
    deadline_seconds: float | None = None
    full: tuple[str, int] | None = None
    clock_seconds: int = 0
    device: str = ""


class Points:
    """Counts how often each point was reached, and dies or waits where it should.

    Attributes:
        batch: which kind of batch is under way: one like any other, or the last of its snapshot.
        decides: whether the process approves what is held.
    """

    def __init__(self, order: Order, parent: Connection) -> None:
        self._parent = parent
        self.batch: Literal["", "batch", "seal"] = ""
        self._order = order
        self._reached: Counter[str] = Counter()
        self.decides = order.verb == "held approve"

    def reach(self, point: str) -> None:
        """The poll is at this point."""
        self._reached[point] += 1
        here = (point, self._reached[point])
        if here == self._order.wait:
            self._parent.send({"reached": point})
            self._parent.recv()
        if here == self._order.full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        if here != self._order.kill:
            return
        if point in DELAYED:
            threading.Thread(target=self._kill_later, daemon=True).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def _kill_later(self) -> None:
        time.sleep(self._order.delay_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    def dies_at(self, point: str) -> bool:
        """Whether the next reaching of this point is the end."""
        return (point, self._reached[point] + 1) == self._order.kill


class Delegate:
    """Passes on whatever it does not have itself."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class WatchedProgress(NoProgress):
    """Called for every part fetched."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def advance(self, *, parts: int = 0, size_bytes: int = 0, records: int = 0) -> None:  # noqa: ARG002 - the protocol's
        """A part is on disk, where `parts` says so."""
        if parts:
            self._points.reach("part fetched")


class WatchedSource(Delegate):
    """The source: before and after a fetch, and after the files are deleted."""

    def fetch(self, inventory: Inventory, *, newer_than: datetime | None, **more: Any) -> Snapshot | None:
        """As `Source.fetch`."""
        self._points.reach("fetching")
        snapshot: Snapshot | None = self._inner.fetch(inventory, newer_than=newer_than, **more)
        if snapshot is not None:
            self._points.reach("fetched")
        return snapshot

    def discard(self, snapshot: Snapshot) -> None:
        """As `Source.discard`."""
        self._inner.discard(snapshot)
        self._points.reach("discarded")


class WatchedEngine(Delegate):
    """The engine: the statements of a staging, its commit, its checkpoint."""

    staging = False

    def rows(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """As `Engine.rows`."""
        rows: list[tuple[Any, ...]] = self._inner.rows(statement, parameters)
        if self.staging:
            self._points.reach("staging")
        return rows

    @contextmanager
    def transaction(self, **given: Any) -> Iterator[None]:
        """As `Engine.transaction`."""
        with self._inner.transaction(**given):
            yield
            if self.staging:
                self._points.reach("staged in memory")
                self._points.reach("committing what is staged")
            elif self._points.decides:
                self._points.reach("decision in memory")
        if self.staging:
            self._points.reach("staging committed")
        elif self._points.decides:
            self._points.reach("decision committed")

    def checkpoint(self) -> None:
        """As `Engine.checkpoint`."""
        if self.staging:
            self._points.reach("checkpointing the file")
        self._inner.checkpoint()


class WatchedJournal(Journal):
    """The journal: when Kafka's checkpoint was compared, and when a batch is confirmed."""

    points: Points
    recovers = True

    def reconcile(self, checkpoint: Checkpoint | None) -> Position:
        """As `Journal.reconcile`."""
        self.points.batch = ""
        self.points.reach("claimed")
        position = super().reconcile(checkpoint) if self.recovers else self.position()
        self.points.reach("recovered")
        return position

    def confirm(self, checkpoint: Checkpoint) -> None:
        """As `Journal.confirm`."""
        super().confirm(checkpoint)
        if self.points.batch:
            self.points.reach(f"{self.points.batch} confirmed")

    def has_retirable(self, *, older_than: datetime) -> bool:
        """As `Journal.has_retirable`: the last that a poll asks where nothing is that old."""
        retirable = super().has_retirable(older_than=older_than)
        if not retirable:
            self.points.reach("retired")
        return retirable


class WatchedState(StateFile):
    """The state file on a watched engine, with a watched journal."""

    points: Points

    @classmethod
    def over(cls, state: StateFile, points: Points, *, recovers: bool) -> WatchedState:
        """The same open file, watched. Without `recovers`, Kafka's checkpoint is not believed."""
        engine = cast("Engine", WatchedEngine(state.database, points))
        watched = cls(engine, state.path, scratch=state.scratch)
        journal = WatchedJournal(engine, state.path, state.export)
        journal.points, journal.recovers = points, recovers
        watched.points, watched.journal = points, journal
        return watched

    @contextmanager
    def transaction(self, *, keep: bool = True, reads: Sequence[Path] = ()) -> Iterator[None]:
        """As `StateFile.transaction`; one that reads files is a staging."""
        engine = cast("WatchedEngine", self.database)
        engine.staging = bool(reads)
        try:
            with super().transaction(keep=keep, reads=reads):
                yield
        finally:
            engine.staging = False
        if reads:
            self.points.reach("staged")


class WatchedMessages(Delegate):
    """The messages: it sees each one of a batch before the producer does, and the checkpoint after all of them."""

    def encode_change(self, change: Mapping[str, Any]) -> Message:
        """As `Messages.encode_change`."""
        if self._points.dies_at("within a batch"):
            time.sleep(DELIVERY_SECONDS)
        self._points.reach("within a batch")
        return cast("Message", self._inner.encode_change(change))

    def encode_report(self, report: Mapping[str, Any]) -> Message:
        """As `Messages.encode_report`."""
        if report["status"] == SnapshotStatus.COMPLETE.value:
            self._points.batch = "seal"
            self._points.reach("seal encoded")
        return cast("Message", self._inner.encode_report(report))

    def encode_checkpoint(self, checkpoint: Checkpoint) -> Message:
        """As `Messages.encode_checkpoint`."""
        if checkpoint.claim is None:
            point = f"{self._points.batch} produced"
            if self._points.dies_at(point):
                time.sleep(DELIVERY_SECONDS)
            self._points.reach(point)
            self._points.reach("commit under way")
        return cast("Message", self._inner.encode_checkpoint(checkpoint))


class WatchedSink(Delegate):
    """The sink, before and after each batch; `control` breaks the rule by which it publishes."""

    def __init__(self, inner: Sink, points: Points, control: Control) -> None:
        super().__init__(inner, points)
        self._control = control
        self._last: Checkpoint | None = None
        self.state: WatchedState

    def recover(self) -> Checkpoint | None:
        """As `Sink.recover`."""
        self._last = self._inner.recover()
        return self._last

    def publish(self, messages: Iterable[Message], checkpoint: Checkpoint) -> None:
        """As `Sink.publish`."""
        self._points.batch = "batch"
        self._points.reach("batch begins")
        if self._control == "confirmed first":
            frozen = list(messages)
            self.state.journal.confirm(checkpoint)
            self._points.reach("control")
            messages = frozen
        if self._control == "checkpoint apart":
            self._inner.publish(messages, self._last or replace(checkpoint, sequence=0, sealed=0, snapshot_id=None))
            self._points.reach("control")
            messages = ()
        self._inner.publish(messages, checkpoint)
        self._last = checkpoint
        self._points.reach(f"{self._points.batch} committed")


class WatchedAssembly(Assembly):
    """An assembly whose parts report where a poll is."""

    def __init__(self, order: Order, parent: Connection) -> None:
        self.points = Points(order, parent)
        self.order = order
        off = timedelta(seconds=order.clock_seconds)
        super().__init__(
            config.from_values(order.settings, {}, name="test"),
            progress=WatchedProgress(self.points),
            prompt=print,
            clock=lambda: utc_now() + off,
            kafka_seconds_max=order.deadline_seconds or TRANSACTION_SECONDS_MAX,
        )

    @cached_property
    def source(self) -> Source:
        """Watched."""
        return cast("Source", WatchedSource(super().source, self.points))

    @cached_property
    def messages(self) -> Messages:
        """Watched."""
        return cast("Messages", WatchedMessages(super().messages, self.points))

    @cached_property
    def sink(self) -> Sink:
        """Watched."""
        return cast("Sink", WatchedSink(super().sink, self.points, self.order.control))

    def open_state(self, wait_seconds: float = 0.0) -> StateFile:
        """Watched."""
        self.points.reach("poll begins")
        recovers = self.order.control != "confirmed first"
        state = WatchedState.over(super().open_state(wait_seconds), self.points, recovers=recovers)
        cast("WatchedSink", self.sink).state = state
        return state
