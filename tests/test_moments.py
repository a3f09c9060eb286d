"""Moments and milliseconds: there and back, whatever the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from connector.moments import milliseconds_of, moment_of


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_every_millisecond_that_a_moment_can_have_comes_back(milliseconds: int) -> None:
    """From the year 1 to the year 9999, in UTC."""
    moment = moment_of(milliseconds)
    assert (milliseconds_of(moment), moment.tzinfo) == (milliseconds, UTC)


def test_a_moment_is_the_same_in_every_zone_and_goes_to_the_nearest_millisecond() -> None:
    """2026-11-23T08:00:00.1236Z, as it is told an hour further east."""
    moment = datetime(2026, 11, 23, 9, 0, 0, 123_600, tzinfo=timezone(timedelta(hours=1)))
    assert milliseconds_of(moment) == 1_795_420_800_124
    assert moment_of(1_795_420_800_124) == datetime(2026, 11, 23, 8, 0, 0, 124_000, tzinfo=UTC)
