"""Keeps the export API's rate limits (calls per minute and hour and endpoint), also across restarts.

A file records past calls, and until when the service asked us to pause. The limits count per application and tenant, so
the file holds only our own share of the calls: a 429 takes precedence, and is recorded too. Calls are recorded before
they are made, so that a crash loses none. Times in the file are wall-clock times; a clock that jumps while the process
runs is noticed by comparison with the monotonic clock, and one that jumped in between costs one window of waiting at
most.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connector import private_files
from connector.clock import Timer
from connector.errors import SourceError, SourceThrottled
from connector.exports.fields import ApiEndpoint
from connector.telemetry import logger

log = logger(__name__)

MINUTE_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3600.0
MARGIN_SECONDS: Final = 1.0
"""The service's windows do not begin when ours do, and network delays vary."""

BLOCK_SECONDS_MAX: Final = HOUR_SECONDS
"""Longest pause that is believed and recorded: the longest published window."""

CLOCK_STEP_SECONDS: Final = 2.0
"""If wall and monotonic clock drift apart by more than this, the clock was set."""

FILE_BYTES_MAX: Final = 2**20


@dataclass(slots=True)
class _Calls:
    """The past calls of one endpoint, in seconds since 1970."""

    made: set[float] = field(default_factory=set)
    blocked_until: float = 0.0


class Limiter:
    """Lets calls through no faster than the published limits allow.

    Args:
        path: the file of past calls, created with mode 0600 and replaced as a whole.
        timer: clocks and waits.
    """

    def __init__(self, path: Path, timer: Timer) -> None:
        self._path = path
        self._timer = timer
        self._lock = threading.Lock()
        self._endpoints: dict[str, _Calls] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._offset = self._wall() - timer.monotonic()

    def acquire(self, endpoint: ApiEndpoint, *, wait_seconds_max: float) -> None:
        """Wait until a call is within the limits, and record it.

        Raises:
            SourceThrottled: that would take longer than `wait_seconds_max`; raised without waiting.
            Stopped: asked to stop while waiting.
            SourceError: the file cannot be written.
        """
        with self._lock:
            deadline = self._timer.monotonic() + wait_seconds_max
            while (seconds := self._delay(endpoint)) > 0:
                if self._timer.monotonic() + seconds > deadline:
                    raise SourceThrottled(
                        f"rate limit of {endpoint.path} reached; next call in {_describe_wait(seconds)}, but a poll"
                        f" waits at most {_describe_wait(wait_seconds_max)}",
                        hint="The limits count per application and tenant: does another tool use the same app"
                        " registration? The next poll tries again.",
                    )
                log.info("waiting for the rate limit", endpoint=endpoint.path, seconds=math.ceil(seconds))
                self._timer.wait(seconds)
            self._endpoints.setdefault(endpoint.path, _Calls()).made.add(self._wall())
            self._write()

    def block(self, endpoint: ApiEndpoint, seconds: float) -> None:
        """Record that the service asked for a pause: no call for that long, at most `BLOCK_SECONDS_MAX`."""
        with self._lock:
            self._refresh()
            calls = self._endpoints.setdefault(endpoint.path, _Calls())
            calls.blocked_until = max(calls.blocked_until, self._wall() + min(max(seconds, 0.0), BLOCK_SECONDS_MAX))
            self._write()

    def _wall(self) -> float:
        return self._timer.now().timestamp()

    def _delay(self, endpoint: ApiEndpoint) -> float:
        """Seconds until a call is within every window and after every block."""
        self._refresh()
        now = self._wall()
        calls = self._endpoints.setdefault(endpoint.path, _Calls())
        waits = [calls.blocked_until - now]
        for seconds, allowed in _windows(endpoint):
            recent = sorted(moment for moment in calls.made if moment > now - seconds)
            if len(recent) >= allowed:
                waits.append(recent[-allowed] + seconds - now)
        return max(waits)

    def _refresh(self) -> None:
        """Follow a clock that was set, merge what another process wrote, and drop what is too old to matter."""
        now = self._wall()
        step = now - self._timer.monotonic() - self._offset
        if abs(step) > CLOCK_STEP_SECONDS:
            self._offset += step
            for calls in self._endpoints.values():
                calls.made = {moment + step for moment in calls.made}
                calls.blocked_until += step if calls.blocked_until else 0.0
            if self._endpoints:
                self._write()
        for name, theirs in self._read().items():
            ours = self._endpoints.setdefault(name, _Calls())
            ours.made |= theirs.made
            ours.blocked_until = max(ours.blocked_until, theirs.blocked_until)
        for calls in self._endpoints.values():
            # A time in the future was written before the clock was set back: it counts as now.
            calls.made = {min(moment, now) for moment in calls.made if moment > now - HOUR_SECONDS - MARGIN_SECONDS}
            calls.blocked_until = min(calls.blocked_until, now + BLOCK_SECONDS_MAX)

    def _read(self) -> dict[str, _Calls]:
        """The calls in the file, if it has changed since it was last read."""
        try:
            stamp = private_files.stamp_of(self._path.lstat())
            if stamp == self._stamp:
                return {}
            text = private_files.read(self._path, FILE_BYTES_MAX)
            self._stamp = stamp
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unusable_file_error(self._path, error) from error
        try:
            return {str(name): _read_calls(value) for name, value in json.loads(text)["endpoints"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            log.warning("the file of past calls cannot be read and is replaced", path=str(self._path))
            return {}

    def _write(self) -> None:
        content = {
            "endpoints": {
                name: {"made": sorted(calls.made), "blocked_until": calls.blocked_until}
                for name, calls in self._endpoints.items()
            }
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            private_files.replace(self._path, json.dumps(content).encode("ascii"))
            self._stamp = private_files.stamp_of(self._path.lstat())
        except OSError as error:
            raise _unusable_file_error(self._path, error) from error


def _read_calls(value: dict[str, Any]) -> _Calls:
    moments = [float(moment) for moment in value["made"]]
    blocked_until = float(value["blocked_until"])
    if not all(map(math.isfinite, (*moments, blocked_until))):
        raise ValueError("not a time")
    return _Calls(set(moments), blocked_until)


def _describe_wait(seconds: float) -> str:
    """A wait for people: whole seconds up to two minutes, then whole minutes, both rounded up."""
    return f"{math.ceil(seconds)} s" if seconds <= 2 * MINUTE_SECONDS else f"{math.ceil(seconds / MINUTE_SECONDS)} min"


def _unusable_file_error(path: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{path}, which records past API calls, cannot be used: {error.strerror}",
        hint="It is stored beside the state file: check the folder's permissions and free space; it must not be a"
        " symbolic link.",
    )


def _windows(endpoint: ApiEndpoint) -> tuple[tuple[float, int], ...]:
    """Seconds and calls of each window in which an endpoint's calls are limited."""
    return (
        (MINUTE_SECONDS + MARGIN_SECONDS, endpoint.calls_a_minute),
        (HOUR_SECONDS + MARGIN_SECONDS, endpoint.calls_an_hour),
    )
