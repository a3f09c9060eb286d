"""What a fetch has brought so far, counted from several threads and told to a `Progress`.

Owns the counts, and nothing that makes them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from connector.model import Part, Progress


class Tally:
    """Counts, and tells.

    Args:
        progress: told one thing at a time, whatever thread it comes from.

    Attributes:
        fetched_bytes: over the network, since the fetch began.
    """

    def __init__(self, progress: Progress) -> None:
        self.fetched_bytes = 0
        self._progress = progress
        self._lock = threading.Lock()
        self._is_open = False

    @contextmanager
    def fetch(self) -> Iterator[None]:
        """A fetch, from nothing to its end, well or not."""
        self.fetched_bytes = 0
        try:
            yield
        finally:
            with self._lock:
                if self._is_open:
                    self._progress.end()
                self._is_open = False

    def begin(self, label: str, *, parts: int | None) -> None:
        """So many parts are to come; None: not known."""
        with self._lock:
            self._is_open = True
            self._progress.begin(label, parts=parts)

    def received(self, size_bytes: int) -> None:
        """So many bytes came over the network."""
        with self._lock:
            self.fetched_bytes += size_bytes
            if self._is_open:
                self._progress.advance(size_bytes=size_bytes)

    def verified(self, part: Part) -> None:
        """A part is on disk, whole."""
        with self._lock:
            self._progress.advance(parts=1, records=part.lines)
