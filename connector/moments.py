"""Moments in UTC, and the milliseconds since 1970 as which the state file and Avro have them.

Owns the way from one to the other. Must not ask a clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds_of(moment: datetime) -> int:
    """A moment, in whatever zone, as whole milliseconds since 1970, the nearest."""
    return round((moment - EPOCH) / MILLISECOND)


def moment_of(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a moment in UTC."""
    return EPOCH + milliseconds * MILLISECOND
