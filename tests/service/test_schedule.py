from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.service.schedule import Schedule, elapsed_seconds

HOUR = 3600.0

polls = st.lists(
    st.tuples(
        st.floats(0, 20_000),  # how long it takes, in seconds
        st.sampled_from(["well", "retryable", "final"]),
        st.floats(0, 1),  # what is drawn
    ),
    min_size=1,
    max_size=60,
)


def due_after(schedule: Schedule, outcome: str, began: float, ended: float) -> float:
    """When the next poll is due."""
    if outcome == "well":
        return schedule.after_success(began=began, ended=ended)
    return schedule.after_failure(began=began, ended=ended, retryable=outcome == "retryable")


@given(st.integers(1, 604_800), polls, st.floats(0, 1e9))
def test_polls_are_never_too_close_and_never_too_far_apart(
    interval: int, course: list[tuple[float, str, float]], start: float
) -> None:
    """Whatever polls take and come to: a pause between them, and no gap above interval, jitter and duration."""
    draws = iter([draw for _, _, draw in course])
    schedule = Schedule(interval, draw=lambda: next(draws))
    began = start
    for seconds, outcome, _ in course:
        ended = began + seconds
        due = due_after(schedule, outcome, began, ended)
        slack = 1e-6 * (1 + abs(due))  # floats of a clock that has run for decades
        assert due - ended >= min(5, interval) - slack
        assert due - began <= interval + min(interval / 10, 300) + seconds + slack
        began = due


def test_an_hourly_poll_stays_hourly() -> None:
    """Over a year the polls are an interval and half the jitter apart, however long each takes."""
    schedule = Schedule(HOUR, draw=lambda: 0.5)
    began = 0.0
    for _ in range(24 * 365):
        began = schedule.after_success(began=began, ended=began + 600)
    assert began == pytest.approx(24 * 365 * (HOUR + 150))


def test_instances_that_start_together_do_not_stay_together() -> None:
    """A thousand instances are spread over the whole jitter after one poll: no thundering herd."""
    due = sorted(Schedule(HOUR).after_success(began=0, ended=1) for _ in range(1000))
    assert (HOUR <= due[0] < HOUR + 15, HOUR + 285 < due[-1] <= HOUR + 300) == (True, True)


def test_failures_back_off_up_to_a_quarter_of_an_hour() -> None:
    """Twice as long after each failure in a row, then no longer; a poll that succeeds resets it."""
    schedule = Schedule(HOUR, draw=lambda: 1.0)
    delays = [schedule.after_failure(began=0, ended=0, retryable=True) for _ in range(2000)]
    assert delays[:8] == [15, 30, 60, 120, 240, 480, 900, 900]
    assert set(delays[8:]) == {900}
    schedule.after_success(began=0, ended=0)
    assert schedule.after_failure(began=0, ended=0, retryable=True) == 15


def test_a_back_off_is_never_longer_than_the_interval() -> None:
    """Who polls every minute does not wait a quarter of an hour after failures."""
    schedule = Schedule(60, draw=lambda: 1.0)
    assert [schedule.after_failure(began=0, ended=0, retryable=True) for _ in range(4)] == [15, 30, 60, 60]


def test_a_back_off_is_drawn_too() -> None:
    """After an outage that all instances saw, they come back spread over half of the delay."""
    lowest, highest = Schedule(HOUR, draw=lambda: 0.0), Schedule(HOUR, draw=lambda: 1.0)
    delays = [schedule.after_failure(began=0, ended=0, retryable=True) for schedule in (lowest, highest)]
    assert delays == [7.5, 15]


def test_what_waiting_cannot_mend_waits_for_the_interval() -> None:
    """A missing permission is asked for at the interval, not hammered on."""
    schedule = Schedule(HOUR, draw=lambda: 0.0)
    assert [schedule.after_failure(began=0, ended=1, retryable=False) for _ in range(3)] == [HOUR] * 3


def test_after_sleep_one_poll_follows_and_not_one_for_each_missed() -> None:
    """A machine that slept through eight polls polls once, and an interval later again."""
    schedule = Schedule(HOUR, draw=lambda: 0.0)
    due = schedule.after_success(began=0, ended=10)
    woke = 8.5 * HOUR
    assert due < woke
    assert schedule.after_success(began=woke, ended=woke + 10) == woke + HOUR


def test_the_clock_goes_on_and_is_no_wall_clock() -> None:
    """Two readings are in order and as far apart as the monotonic clock says, sleep aside."""
    first, monotonic = elapsed_seconds(), time.monotonic()
    while time.monotonic() - monotonic < 0.01:
        continue
    assert 0.01 <= elapsed_seconds() - first < 60
