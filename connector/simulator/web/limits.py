"""The API's published rate limits: calls per minute and per hour, for each endpoint, application and tenant."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connector.simulator.faults import Endpoint

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Calls allowed in any minute and in any hour: to each listing of files, each endpoint of pages, the devices."""

    files_per_minute: int = 5
    files_per_hour: int = 20
    pages_per_minute: int = 30
    pages_per_hour: int = 1000
    machines_per_minute: int = 100
    machines_per_hour: int = 1500

    def windows(self, endpoint: Endpoint) -> tuple[tuple[float, int], ...]:
        """The windows of an endpoint: length in seconds and calls allowed."""
        if endpoint is Endpoint.EXPORT:
            return (_MINUTE, self.files_per_minute), (_HOUR, self.files_per_hour)
        if endpoint is Endpoint.MACHINES:
            return (_MINUTE, self.machines_per_minute), (_HOUR, self.machines_per_hour)
        return (_MINUTE, self.pages_per_minute), (_HOUR, self.pages_per_hour)


class RateLimiter:
    """Counts calls in sliding windows. A refused call does not count."""

    def __init__(self, limits: RateLimits | None, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def wait_seconds(self, client: str, name: str, endpoint: Endpoint) -> float:
        """Count a call. Returns 0.0 if it is allowed, otherwise the seconds until the next one will be."""
        if self._limits is None:
            return 0.0
        now = self._clock()
        with self._lock:
            calls = self._calls.setdefault((client, name), deque())
            while calls and calls[0] <= now - _HOUR:
                calls.popleft()
            waits = [
                calls[-allowed] + length - now
                for length, allowed in self._limits.windows(endpoint)
                if len(calls) >= allowed and calls[-allowed] + length > now
            ]
            if not waits:
                calls.append(now)
            return max(waits, default=0.0)
