"""Judges whether a tenant's polling is alive and its data fresh, in words: the basis of `/healthz` and `/readyz`.

Everything here is pure: times are arguments, in seconds of a clock that nobody can set.

Alive means that the polling thread moves; where it does not, a liveness probe restarts the process. Ready means that
the last poll succeeded, or failed in a way that may pass while the last success is no older than `READY_INTERVALS`
intervals. What is held and a stale export are reported and do not make a tenant unready: its polls work, and no
restart or reroute would change Defender's mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.errors import (
    CheckpointLost,
    ConnectorError,
    EncodingError,
    SinkError,
    SnapshotError,
    SourceError,
    StateBehindCheckpoint,
    StateError,
)

TICK_SECONDS: Final = 5.0
"""While it waits, the polling thread shows at least this often that it is alive."""

TICK_SECONDS_MAX: Final = 60.0
POLL_SECONDS_MAX: Final = 6 * 3600.0
"""A poll that takes longer is stuck: the URLs of a file export are valid for six hours at most."""

READY_INTERVALS: Final = 3

STAGES: Final[tuple[tuple[tuple[type[ConnectorError], ...], str], ...]] = (
    ((StateBehindCheckpoint, CheckpointLost), "recover"),
    ((SourceError, SnapshotError), "fetch"),
    ((StateError,), "stage"),
    ((EncodingError, SinkError), "publish"),
)


def stage_of(error: ConnectorError) -> str:
    """The step of a poll that an error stopped; `poll` where the error does not say."""
    return next((stage for classes, stage in STAGES if isinstance(error, classes)), "poll")


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a tenant's polling.

    Attributes:
        ready_seconds_max: how old the last successful poll may be.
        poll_seconds_max: how long one poll may take.
        ticked_at: when the polling thread last showed that it is alive.
        poll_began_at: start of the running poll; None between polls.
        due_at: when the next poll is due; None while one runs.
        succeeded_at: end of the last successful poll.
        error: the error of the last poll, where it failed.
        pending: changes staged and not confirmed by Kafka; None before the first poll.
        held: records that the guard holds, by inventory.
        stale: whether the export's generation has not advanced for long, by inventory.
        ended: why there will be no further poll; None where there will be one.
    """

    ready_seconds_max: float
    ticked_at: float
    poll_seconds_max: float = POLL_SECONDS_MAX
    poll_began_at: float | None = None
    due_at: float | None = None
    succeeded_at: float | None = None
    error: ConnectorError | None = None
    pending: int | None = None
    held: Mapping[str, int] = field(default_factory=dict)
    stale: Mapping[str, bool] = field(default_factory=dict)
    ended: str | None = None

    def stuck(self, now: float) -> str | None:
        """Why the polling thread counts as stuck, or None. A thread that has ended cannot be stuck."""
        if self.ended is not None:
            return None
        if self.poll_began_at is not None:
            seconds = now - self.poll_began_at
            return f"a poll has been running for {seconds:.0f} s" if seconds > self.poll_seconds_max else None
        seconds = now - self.ticked_at
        return f"the polling thread has not moved for {seconds:.0f} s" if seconds > TICK_SECONDS_MAX else None

    def reasons(self, now: float) -> Iterator[str]:
        """Why the data may not be fresh; empty where it is."""
        if stuck := self.stuck(now):
            yield stuck
        if self.ended is not None:
            yield f"polling has ended, until a restart: {self.ended}"
            return
        if self.error and not self.error.retryable:
            yield f"the last poll failed, and waiting will not mend it: {self.error}"
        if self.succeeded_at is None:
            yield f"no poll has succeeded yet: {self.error}" if self.error else "no poll has ended yet"
            return
        # While a poll runs, its own length does not count.
        age = (now if self.poll_began_at is None else self.poll_began_at) - self.succeeded_at
        if age > self.ready_seconds_max:
            yield f"the last poll that succeeded was {age:.0f} s ago"

    def readiness(self, now: float) -> dict[str, Any]:
        """The part of `/readyz` about this tenant."""
        reasons = list(self.reasons(now))
        return {
            "ready": not reasons,
            "reasons": reasons,
            "polling": self.poll_began_at is not None,
            "next_poll_seconds": None if self.due_at is None else round(max(self.due_at - now, 0.0), 1),
            "last_success_age_seconds": None if self.succeeded_at is None else round(now - self.succeeded_at, 1),
            "last_error": _describe(self.error) if self.error else None,
            "pending_changes": self.pending,
            "held_records": dict(self.held),
            "stale": dict(self.stale),
        }


def _describe(error: ConnectorError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "stage": stage_of(error),
        "message": str(error),
        "hint": error.hint,
        "retryable": error.retryable,
    }
