"""Thread-safe counters of a fetch, and the `Progress` that they are reported to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from connector.model import Part


class Progress(Protocol):
    """Follows a fetch: drawn as bars on a terminal, or not at all."""

    def begin(self, label: str, *, parts: int | None) -> None:
        """A fetch of `parts` parts (None: not known, as with JSON pages) has begun."""

    def advance(self, *, parts: int = 0, size_bytes: int = 0, records: int = 0) -> None:
        """More was verified on disk (`parts`, `records`) or received over the network (`size_bytes`)."""

    def end(self) -> None:
        """The fetch has ended, successfully or not."""


class NoProgress:
    """A `Progress` that shows nothing."""

    def begin(self, label: str, *, parts: int | None) -> None:
        """Shows nothing."""

    def advance(self, *, parts: int = 0, size_bytes: int = 0, records: int = 0) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Shows nothing."""


class FetchCounter:
    """Counts what a fetch receives, and reports it.

    Args:
        progress: called by one thread at a time.

    Attributes:
        fetched_bytes: received over the network since the fetch began.
    """

    def __init__(self, progress: Progress) -> None:
        self.fetched_bytes = 0
        self._progress = progress
        self._lock = threading.Lock()
        self._is_open = False

    @contextmanager
    def count_fetch(self) -> Iterator[None]:
        """Count one fetch from zero, and end its progress however it ends."""
        self.fetched_bytes = 0
        try:
            yield
        finally:
            with self._lock:
                if self._is_open:
                    self._progress.end()
                self._is_open = False

    def begin(self, label: str, *, parts: int | None) -> None:
        """Begin to report a fetch of `parts` parts; None: their number is not known."""
        with self._lock:
            self._is_open = True
            self._progress.begin(label, parts=parts)

    def add_bytes(self, size_bytes: int) -> None:
        """Count bytes received over the network."""
        with self._lock:
            self.fetched_bytes += size_bytes
            if self._is_open:
                self._progress.advance(size_bytes=size_bytes)

    def add_part(self, part: Part) -> None:
        """Count a part that is whole and on disk."""
        with self._lock:
            self._progress.advance(parts=1, records=part.lines)
