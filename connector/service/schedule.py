"""Computes when the next poll is due: pure arithmetic over a monotonic clock.

    after a success            interval + jitter after its start, but never sooner than the pause after its end
    after a retryable failure  15 s after its end, then 30, 60 … up to 15 minutes or the interval; 50 to 100 % of it
    after any other failure    as after a success

The wall clock plays no part, so setting it, or daylight saving time, neither doubles a poll nor skips one. After the
machine slept, the clock that counts sleep (`elapsed_seconds`) is past what was due: one poll follows, and not one for
each that was missed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

PAUSE_SECONDS: Final = 5.0
"""The shortest pause between two polls, unless the interval is shorter still."""

JITTER_SHARE: Final = 0.1
JITTER_SECONDS_MAX: Final = 300.0
"""Instances that start together drift apart by up to this much."""

RETRY_SECONDS: Final = 15.0
RETRY_SECONDS_MAX: Final = 900.0


def elapsed_seconds() -> float:
    """The seconds of a clock that nobody can set and that counts sleep, where the system has one (Linux)."""
    # On other systems `monotonic` itself counts sleep, or a poll is late by the time slept.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Schedule:
    """Computes when the next poll is due, in seconds of the clock that starts and ends are given in.

    Args:
        interval_seconds: from the start of a poll to the start of the next.
        draw: returns a random number from 0 to 1.
    """

    def __init__(self, interval_seconds: float, *, draw: Callable[[], float] = random.random) -> None:
        self.interval_seconds = interval_seconds
        self.pause_seconds = min(PAUSE_SECONDS, interval_seconds)
        self.jitter_seconds = min(JITTER_SHARE * interval_seconds, JITTER_SECONDS_MAX)
        self._draw = draw
        self._failures = 0

    def after_success(self, *, began: float, ended: float) -> float:
        """When to poll again after a success."""
        self._failures = 0
        return max(began + self.interval_seconds + self._draw() * self.jitter_seconds, ended + self.pause_seconds)

    def after_failure(self, *, began: float, ended: float, retryable: bool) -> float:
        """When to poll again after a failure. One that waiting cannot mend waits for the interval."""
        if not retryable:
            return self.after_success(began=began, ended=ended)
        longest = min(self.interval_seconds, RETRY_SECONDS_MAX)
        # The exponent is limited because after a thousand failures 2.0 ** n is no float.
        delay = min(RETRY_SECONDS * 2.0 ** min(self._failures, 16), longest)
        self._failures += 1
        return ended + max(delay * (0.5 + 0.5 * self._draw()), self.pause_seconds)
