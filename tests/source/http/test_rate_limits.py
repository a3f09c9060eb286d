from __future__ import annotations

import json
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.clock import Timer
from connector.errors import SourceError, SourceThrottled, Stopped
from connector.exports.fields import ApiEndpoint
from connector.source.http.rate_limits import Limiter
from tests.support.fetching import START, QuickTimer

EXPORT = ApiEndpoint("SoftwareInventoryExport", 5, 20)
PAGES = ApiEndpoint("SoftwareInventoryByMachine", 30, 1000)


def acquire_times(limiter: Limiter, timer: QuickTimer, endpoint: ApiEndpoint, count: int) -> list[float]:
    """When each of `count` calls was let through, in seconds of the timer."""
    times = []
    for _ in range(count):
        limiter.acquire(endpoint, wait_seconds_max=1e6)
        times.append(timer.monotonic())
    return times


def assert_within(times: list[float], window_seconds: float, allowed: int) -> None:
    """No window of that length has more calls than allowed."""
    for begin in times:
        assert sum(begin <= moment < begin + window_seconds for moment in times) <= allowed


def test_calls_keep_within_both_windows(tmp_path: Path) -> None:
    """Forty calls in a row: at most 5 in any minute, 20 in any hour, and the first five at once."""
    timer = QuickTimer()
    times = acquire_times(Limiter(tmp_path / "limits", timer), timer, EXPORT, 40)
    assert_within(times, 60, 5)
    assert_within(times, 3600, 20)
    assert times[4] < 1


def test_endpoints_have_windows_of_their_own(tmp_path: Path) -> None:
    """A spent window of the files leaves the pages alone."""
    timer = QuickTimer()
    limiter = Limiter(tmp_path / "limits", timer)
    acquire_times(limiter, timer, EXPORT, 5)
    acquire_times(limiter, timer, PAGES, 30)
    assert timer.waits == []


def test_calls_are_remembered_over_a_restart(tmp_path: Path) -> None:
    """A new process counts the calls of the one before."""
    timer = QuickTimer()
    acquire_times(Limiter(tmp_path / "limits", timer), timer, EXPORT, 5)
    limiter = Limiter(tmp_path / "limits", timer)
    with pytest.raises(SourceThrottled):
        limiter.acquire(EXPORT, wait_seconds_max=30)
    limiter.acquire(EXPORT, wait_seconds_max=70)
    assert 50 < timer.waits[0] <= 61


def test_two_processes_share_the_windows(tmp_path: Path) -> None:
    """Calls that another process wrote meanwhile are seen."""
    timer = QuickTimer()
    first, second = Limiter(tmp_path / "limits", timer), Limiter(tmp_path / "limits", timer)
    for limiter in (first, second, first, second, first):
        limiter.acquire(EXPORT, wait_seconds_max=0)
    for limiter in (first, second):
        with pytest.raises(SourceThrottled):
            limiter.acquire(EXPORT, wait_seconds_max=10)


def test_a_wait_that_is_too_long_is_refused_without_waiting(tmp_path: Path) -> None:
    """The error says when the next call is allowed, in seconds or in minutes, and no call is recorded."""
    stop = threading.Event()
    stop.set()  # any wait would raise Stopped
    limiter = Limiter(tmp_path / "limits", Timer(stop, clock=lambda: START, monotonic=lambda: 0.0))
    for seconds, wait_seconds_max, wording in (
        (100, 30, "100 s, but a poll waits at most 30 s"),
        (2202, 600, "37 min, but a poll waits at most 10 min"),
        (1e9, 600, "60 min, but a poll waits at most 10 min"),
    ):
        limiter.block(EXPORT, seconds)
        with pytest.raises(SourceThrottled) as caught:
            limiter.acquire(EXPORT, wait_seconds_max=wait_seconds_max)
        assert str(caught.value) == f"rate limit of SoftwareInventoryExport reached; next call in {wording}"
    assert json.loads((tmp_path / "limits").read_text())["endpoints"]["SoftwareInventoryExport"]["made"] == []


def test_an_asked_rest_is_kept_over_a_restart_and_never_longer_than_an_hour(tmp_path: Path) -> None:
    """A poll that was throttled does not make the next one hammer; a pause of thirty years counts as an hour."""
    timer = QuickTimer()
    Limiter(tmp_path / "limits", timer).block(EXPORT, 1e9)
    limiter = Limiter(tmp_path / "limits", timer)
    limiter.acquire(EXPORT, wait_seconds_max=4000)
    assert timer.waits == [pytest.approx(3600, abs=5)]


@pytest.mark.parametrize("hours", [-25, -1, 1, 25])
def test_a_clock_that_jumps_while_running_changes_nothing(tmp_path: Path, hours: int) -> None:
    """Neither is a limit broken nor is anything waited for longer than a window."""
    timer = QuickTimer()
    limiter = Limiter(tmp_path / "limits", timer)
    times = acquire_times(limiter, timer, EXPORT, 5)
    timer.step = timedelta(hours=hours)
    times += acquire_times(limiter, timer, EXPORT, 5)
    assert_within(times, 60, 5)
    assert times[-1] < 70


def test_a_clock_set_back_between_two_runs_costs_one_window_at_most(tmp_path: Path) -> None:
    """Times in the future count as now: the wait is a window, not a day."""
    timer = QuickTimer()
    acquire_times(Limiter(tmp_path / "limits", timer), timer, EXPORT, 5)
    earlier = QuickTimer(begin=timer.now() - timedelta(days=1))
    limiter = Limiter(tmp_path / "limits", earlier)
    limiter.acquire(EXPORT, wait_seconds_max=70)
    assert sum(earlier.waits) < 70


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"endpoints": 5}', b'{"endpoints": {"x": {"made": ["a"], "blocked_until": 0}}}',
     b'{"endpoints": {"x": {"made": [NaN], "blocked_until": 0}}}', b"\xff\x00", b"[" * 100_000],
)  # fmt: skip
def test_a_file_that_cannot_be_read_begins_anew(tmp_path: Path, content: bytes) -> None:
    """Garbage in the file stops no poll."""
    (tmp_path / "limits").write_bytes(content)
    timer = QuickTimer()
    Limiter(tmp_path / "limits", timer).acquire(EXPORT, wait_seconds_max=0)
    assert len(json.loads((tmp_path / "limits").read_text())["endpoints"]["SoftwareInventoryExport"]["made"]) == 1


def test_the_file_is_for_its_owner_only_and_no_draft_stays(tmp_path: Path) -> None:
    """Mode 0600, replaced as a whole."""
    Limiter(tmp_path / "limits", QuickTimer()).acquire(EXPORT, wait_seconds_max=0)
    assert stat.S_IMODE((tmp_path / "limits").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["limits"]


def test_a_symbolic_link_in_its_place_is_refused(tmp_path: Path) -> None:
    """Nothing is read through a link that somebody planted."""
    (tmp_path / "limits").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("{}")
    with pytest.raises(SourceError, match="limits"):
        Limiter(tmp_path / "limits", QuickTimer()).acquire(EXPORT, wait_seconds_max=0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error names the file and says what to look at."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="limits"):
        Limiter(tmp_path / "file" / "limits", QuickTimer()).acquire(EXPORT, wait_seconds_max=0)


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    """Asked to stop, a limiter does not sit out its window."""
    stop = threading.Event()
    timer = QuickTimer(stop=stop)
    limiter = Limiter(tmp_path / "limits", timer)
    acquire_times(limiter, timer, EXPORT, 5)
    stop.set()
    with pytest.raises(Stopped):
        limiter.acquire(EXPORT, wait_seconds_max=100)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([EXPORT, PAGES]), st.floats(0, 400)), max_size=60), st.integers(1, 20))
def test_whatever_the_rhythm_and_the_restarts_no_window_is_broken(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[ApiEndpoint, float]], restart_every: int
) -> None:
    """Random pauses, both endpoints, a restart now and then: counted call by call, the limits hold."""
    folder = tmp_path_factory.mktemp("limits")
    timer = QuickTimer()
    times: dict[ApiEndpoint, list[float]] = {EXPORT: [], PAGES: []}
    limiter = Limiter(folder / "limits", timer)
    for number, (endpoint, pause) in enumerate(steps):
        if number % restart_every == 0:
            limiter = Limiter(folder / "limits", timer)
        timer.wait(pause)
        limiter.acquire(endpoint, wait_seconds_max=1e6)
        times[endpoint].append(timer.monotonic())
    for endpoint, moments in times.items():
        assert_within(moments, 60, endpoint.calls_a_minute)
        assert_within(moments, 3600, endpoint.calls_an_hour)
