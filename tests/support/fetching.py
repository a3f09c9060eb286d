"""Shared by the tests of fetching: a timer whose waits take no time, and a source at a simulator."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from connector.clock import Backoff, Timer
from connector.config.tables import SourceConfig
from connector.model import Part, Snapshot
from connector.simulator import Simulator
from connector.source.http.api import Patience
from connector.source.http.tokens import Tokens
from connector.source.http.transport import Transport
from connector.source.source import Source
from tests.support.plain_client import in_order, normal

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
QUICK = Patience(Backoff(attempts_max=4, first_seconds=0.01, seconds_max=0.02))


class QuickTimer(Timer):
    """A timer whose waits end at once: its clocks advance instead. It begins two days after the fleet's start.

    Attributes:
        waits: seconds of each wait.
        step: offset of the wall clock; set it to make the clock jump.
    """

    def __init__(self, begin: datetime = START + timedelta(days=2), stop: threading.Event | None = None) -> None:
        self._skipped = 0.0
        self._begin = begin
        self._begun = time.monotonic()
        self.step = timedelta(0)
        self.waits: list[float] = []
        super().__init__(stop or threading.Event(), clock=self._now, monotonic=self._elapsed)

    def wait(self, seconds: float) -> None:
        """Advance the clocks without waiting."""
        self.check()
        self.waits.append(seconds)
        self._skipped += seconds

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun + self._skipped

    def _now(self) -> datetime:
        return self._begin + timedelta(seconds=self._elapsed()) + self.step


@dataclass
class RecordedProgress:
    """A `Progress` that records its calls, and calls `on_begin` when a fetch begins."""

    label: str = ""
    parts_expected: int | None = None
    parts: int = 0
    size_bytes: int = 0
    records: int = 0
    ended: int = 0
    begun: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    on_begin: Callable[[], None] = lambda: None

    def begin(self, label: str, *, parts: int | None) -> None:
        """Record the begin of a fetch."""
        self.label, self.parts_expected = label, parts
        self.begun += 1
        self.parts = self.size_bytes = self.records = 0
        self.on_begin()

    def advance(self, *, parts: int = 0, size_bytes: int = 0, records: int = 0) -> None:
        """Record an advance; two threads at a time are an error."""
        assert self.lock.acquire(blocking=False), "called by two threads at a time"
        self.parts += parts
        self.size_bytes += size_bytes
        self.records += records
        self.lock.release()

    def end(self) -> None:
        """Record the end of a fetch."""
        self.ended += 1


@dataclass
class SourceBench:
    """A source at a simulator, and what it was given."""

    simulator: Simulator
    source: Source
    timer: Timer
    progress: RecordedProgress
    staging: Path
    rejected: Path
    limits: Path

    def files(self) -> list[str]:
        """The names of all files in the staging folder, relative to it."""
        return sorted(
            str(path.relative_to(self.staging))
            for path in self.staging.rglob("*")
            if path.is_file() and path.name != "lock"
        )


@contextmanager
def open_bench(
    simulator: Simulator, folder: Path, *, timer: Timer | None = None, patience: Patience = QUICK, **settings: Any
) -> Iterator[SourceBench]:
    """A source at a running simulator, with its own folder. Waits take no time."""
    config = SourceConfig(**simulator.settings(**{"page_size": 300, **settings}))
    timer = timer or QuickTimer()
    progress = RecordedProgress()
    staging, rejected, limits = folder / "staging", folder / "rejected", folder / "limits.json"
    with Transport(ca_bundle=config.ca_bundle, stop=timer.stop) as transport:
        tokens = Tokens(config, transport, backoff=Backoff(attempts_max=2, first_seconds=0.01))
        source = Source(
            config,
            tokens=tokens,
            transport=transport,
            staging=staging,
            limits=limits,
            progress=progress,
            rejected=rejected,
            patience=patience,
            timer=timer,
        )
        yield SourceBench(simulator, source, timer, progress, staging, rejected, limits)


def records_of(snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Every record of a snapshot in its normal form, by key, as a plain reader of its files sees them."""
    lines = [line for part in got(snapshot).parts for line in text_of(part).splitlines() if line.strip()]
    assert len(lines) == got(snapshot).lines
    return in_order([normal(json.loads(line)) for line in lines])


def text_of(part: Part) -> bytes:
    """The text of a part."""
    content = part.path.read_bytes()
    assert not content.startswith(b"\xef\xbb\xbf")
    return gzip.decompress(content) if part.path.name.endswith(".gz") else content


def got(snapshot: Snapshot | None) -> Snapshot:
    """The snapshot that must be there."""
    assert snapshot is not None
    return snapshot
