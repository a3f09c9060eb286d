"""Time: the clock, milliseconds since 1970, waits that a stop ends at once, and back-off."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from connector.errors import Stopped

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

SKEW_MAX: Final = timedelta(minutes=15)
"""How far two clocks that are kept may differ. What is dated further ahead than this is not explained by them."""

DELAY_SECONDS_MAX: Final = 10**9
"""An absurdly long `Retry-After` counts as this: beyond every limit, but safe to calculate with."""


def utc_now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def milliseconds_of(moment: datetime) -> int:
    """A moment in any time zone as milliseconds since 1970, rounded to the nearest."""
    return round((moment - EPOCH) / MILLISECOND)


def moment_of(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a moment in UTC."""
    return EPOCH + milliseconds * MILLISECOND


@lru_cache(maxsize=1024)
def iso_text_of(milliseconds: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC: `2026-11-23T08:00:00.000Z`."""
    return moment_of(milliseconds).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class Timer:
    """Reads clocks, and waits until a time has passed or a stop is requested.

    Args:
        stop: when set, ends every wait.
        clock: returns the current time in UTC.
        monotonic: returns seconds of a clock that never goes back.
    """

    def __init__(
        self,
        stop: threading.Event,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop
        self.now = clock
        self.monotonic = monotonic

    def check(self) -> None:
        """Raise if a stop was requested.

        Raises:
            Stopped: the process was asked to stop.
        """
        if self.stop.is_set():
            raise stop_error()

    def wait(self, seconds: float) -> None:
        """Wait for a number of seconds.

        Raises:
            Stopped: the process was asked to stop; raised at once.
        """
        if self.stop.wait(seconds):
            raise stop_error()


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often something is tried, and how long the growing waits in between are."""

    attempts_max: int = 5
    first_seconds: float = 1.0
    seconds_max: float = 30.0

    def seconds(self, failures: int) -> float:
        """The wait after a number of failures, up to half of it random, so that clients do not return all at once."""
        longest = min(self.seconds_max, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


def stop_error() -> Stopped:
    """The error of a fetch that was asked to stop."""
    return Stopped("stopped while fetching; what is complete is kept for the next poll")


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for, given as a number or as an HTTP date (RFC 9110, 10.2.3).

    None if it is missing, negative or unreadable; a date in the past gives 0; never more than `DELAY_SECONDS_MAX`.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), DELAY_SECONDS_MAX))
    try:
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max((aware - now).total_seconds(), 0.0), float(DELAY_SECONDS_MAX))
    except (ValueError, TypeError, OverflowError):
        return None


class Stopwatch:
    """Measures the seconds of each step; those of a repeated step are added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def resume(self) -> None:
        """Start the next lap now; the time since the last one belongs to no step."""
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to `step`."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds of all steps together."""
        return sum(self.seconds.values())
