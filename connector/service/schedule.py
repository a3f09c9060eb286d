"""When the next poll is due. Pure arithmetic over a monotonic clock; must not wait, read a clock or poll.

    after a poll that ended well   interval + jitter after its begin, and never closer than the pause after its end
    after one that may be retried  15 s after its end, then 30, 60 … up to 15 minutes or the interval; 50 to 100 % of it
    after one that may not         as after a poll that ended well

The wall clock has no part in it, so setting it, or daylight saving, neither doubles a poll nor leaves one out. After
sleep the clock that counts sleep (`elapsed_seconds`) is beyond what is due: one poll follows, not one for each missed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

PAUSE_SECONDS: Final = 5.0
"""Polls are never closer than this, or than the interval where that is shorter."""

JITTER_SHARE: Final = 0.1
JITTER_SECONDS_MAX: Final = 300.0
"""Instances that were started together drift apart by up to so much of the interval."""

RETRY_SECONDS: Final = 15.0
RETRY_SECONDS_MAX: Final = 900.0


def elapsed_seconds() -> float:
    """A clock that nobody can set and that goes on while the machine sleeps, where the system has one (Linux)."""
    # On the other systems `monotonic` itself counts sleep, or a poll is late by the time slept.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Schedule:
    """Says when the next poll is due, in seconds of the clock that its begins and ends are given in.

    Args:
        interval_seconds: from the begin of a poll to the begin of the next.
        draw: a number from 0 to 1, anew each time.
    """

    def __init__(self, interval_seconds: float, *, draw: Callable[[], float] = random.random) -> None:
        self.interval_seconds = interval_seconds
        self.pause_seconds = min(PAUSE_SECONDS, interval_seconds)
        self.jitter_seconds = min(JITTER_SHARE * interval_seconds, JITTER_SECONDS_MAX)
        self._draw = draw
        self._failures = 0

    def after_success(self, *, began: float, ended: float) -> float:
        """When to poll again after a poll that ended well."""
        self._failures = 0
        return max(began + self.interval_seconds + self._draw() * self.jitter_seconds, ended + self.pause_seconds)

    def after_failure(self, *, began: float, ended: float, retryable: bool) -> float:
        """When to poll again after one that did not. What waiting cannot mend waits for the interval."""
        if not retryable:
            return self.after_success(began=began, ended=ended)
        longest = min(self.interval_seconds, RETRY_SECONDS_MAX)
        # The exponent is limited because after a thousand failures 2.0 ** n is no float.
        delay = min(RETRY_SECONDS * 2.0 ** min(self._failures, 16), longest)
        self._failures += 1
        return ended + max(delay * (0.5 + 0.5 * self._draw()), self.pause_seconds)
