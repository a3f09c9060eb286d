from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.clock import DELAY_SECONDS_MAX, Backoff, Timer, milliseconds_of, moment_of, retry_after
from connector.errors import Stopped

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("1000000000", 1e9),
        ("9" * 400, float(DELAY_SECONDS_MAX)),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("Mon, 23 Nov 2026 09:00:00 +0100", 0.0),
        ("Mon, 23 Nov 2026 08:00:30", 30.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 99 Nov 2026 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    """Missing, negative and unreadable values are none; absurd ones are cut; past dates are now."""
    assert retry_after(value, NOW) == seconds


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_as_retry_after_gives_a_bounded_number_or_none(text: str) -> None:
    """Foreign text never raises and never asks for a longer wait than the limit."""
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= DELAY_SECONDS_MAX


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 1000))
def test_back_off_grows_to_its_limit_and_half_of_it_is_chance(failures: int) -> None:
    """Each wait lies between half and the whole of the doubled one, never beyond the limit."""
    longest = min(30.0, 2.0 ** (failures - 1))
    assert longest / 2 <= Backoff().seconds(failures) <= longest


def test_a_stop_ends_a_wait_at_once() -> None:
    """Whoever waits an hour, which is longer than a test may take, is woken by the stop."""
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        Timer(stop).wait(3600)


def test_after_a_stop_nothing_goes_on() -> None:
    """A check raises once the stop is set, and is silent before."""
    stop = threading.Event()
    timer = Timer(stop)
    timer.check()
    stop.set()
    with pytest.raises(Stopped):
        timer.check()


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_every_millisecond_that_a_moment_can_have_comes_back(milliseconds: int) -> None:
    """From the year 1 to the year 9999, in UTC."""
    moment = moment_of(milliseconds)
    assert (milliseconds_of(moment), moment.tzinfo) == (milliseconds, UTC)


def test_a_moment_is_the_same_in_every_zone_and_goes_to_the_nearest_millisecond() -> None:
    """2026-11-23T08:00:00.1236Z, given in a time zone an hour further east."""
    moment = datetime(2026, 11, 23, 9, 0, 0, 123_600, tzinfo=timezone(timedelta(hours=1)))
    assert milliseconds_of(moment) == 1_795_420_800_124
    assert moment_of(1_795_420_800_124) == datetime(2026, 11, 23, 8, 0, 0, 124_000, tzinfo=UTC)
