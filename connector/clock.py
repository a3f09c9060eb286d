"""Time: the clock, moments as milliseconds since 1970, waits that a stop ends at once, and back-off."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from connector.errors import Stopped

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

DELAY_SECONDS_MAX: Final = 10**9
"""What an absurdly long `Retry-After` counts as: beyond every limit, and still a number to reckon with."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def milliseconds_of(moment: datetime) -> int:
    """A moment, in whatever zone, as whole milliseconds since 1970, the nearest."""
    return round((moment - EPOCH) / MILLISECOND)


def moment_of(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a moment in UTC."""
    return EPOCH + milliseconds * MILLISECOND


class Timer:
    """Tells the time and waits.

    Args:
        stop: ends every wait when it is set.
        clock: now, in UTC.
        monotonic: seconds that only grow, whatever the clock does.
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
        """Go on.

        Raises:
            Stopped: the process was asked to stop.
        """
        if self.stop.is_set():
            raise stopped()

    def wait(self, seconds: float) -> None:
        """Wait that long.

        Raises:
            Stopped: the process was asked to stop, at once.
        """
        if self.stop.wait(seconds):
            raise stopped()


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often something is tried, and how long the waits between grow."""

    attempts_max: int = 5
    first_seconds: float = 1.0
    seconds_max: float = 30.0

    def seconds(self, failures: int) -> float:
        """The wait after that many failures, half of it by chance, so that many clients do not come back together."""
        longest = min(self.seconds_max, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing


def stopped() -> Stopped:
    """The error that says so."""
    return Stopped("stopped while fetching; what is complete is kept for the next poll")


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    None where it is missing, negative or unreadable; a date in the past is 0; never more than `DELAY_SECONDS_MAX`.
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
    """Seconds a step, added up where a step is taken twice."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def resume(self) -> None:
        """What has passed since the last lap was no step."""
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """What has passed since the last lap was `step`."""
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())
