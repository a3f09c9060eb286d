"""Filters in a user's words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connector.errors import ConfigError
from connector.history.filters import Filters, parse_time

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-12", datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("2024-02", datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        ("2026-11-23T08:00", datetime(2026, 11, 23, 8, tzinfo=UTC), datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23 08:05Z", datetime(2026, 11, 23, 8, 5, tzinfo=UTC), datetime(2026, 11, 23, 8, 5, tzinfo=UTC)),
        ("2026-11-23T08:00+02:00", datetime(2026, 11, 23, 6, tzinfo=UTC), datetime(2026, 11, 23, 6, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 23, 11, tzinfo=UTC), datetime(2026, 11, 23, 11, tzinfo=UTC)),
        ("24H", datetime(2026, 11, 22, 12, 30, tzinfo=UTC), datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
        (" 2w ", datetime(2026, 11, 9, 12, 30, tzinfo=UTC), datetime(2026, 11, 9, 12, 30, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times_are_dates_moments_or_how_long_ago(text: str, begin: datetime, end: datetime) -> None:
    """A date or month stands for its beginning, and as `--until` for its end; without a zone it is UTC."""
    assert parse_time(text, NOW, option="--since") == begin
    assert parse_time(text, NOW, option="--until", end=True) == end


@pytest.mark.parametrize(
    "filters",
    [
        Filters(since="yesterday"),
        Filters(since="2026-02-30"),
        Filters(since="999999w"),
        Filters(until="9999-12-31"),
        Filters(since="2026-11-23", until="2026-11-22"),
        Filters(devices=(" ",)),
        Filters(software=("",)),
        Filters(types=("INSTALLED",)),
        Filters(reasons=("ADDED",)),
        Filters(inventory="both"),
    ],
)
def test_an_invalid_filter_is_refused(filters: Filters) -> None:
    """Exit code 2, and a hint that says what is allowed."""
    with pytest.raises(ConfigError) as refused:
        filters.at(NOW)
    assert refused.value.hint


def test_the_digest_is_that_of_the_meaning() -> None:
    """Other order, case or spelling of the same words is the same replay; another word or target is another."""
    filters = Filters(since="2026-11-01", until="7d", devices=("a", "B"), types=("added",), inventory="cpe")
    same = Filters(since="2026-11-01T01:00+01:00", until="7D", devices=("b", "A"), types=("ADDED",), inventory="CPE")
    others = [
        replace(filters, since="2026-11-02"),
        replace(filters, until="168h"),
        replace(filters, devices=("a", "b", "c")),
        replace(filters, devices=("b",)),
        replace(filters, software=("added",), types=()),
        replace(filters, end_of_support=True),
        replace(filters, snapshots=("cpe-1",)),
    ]
    digests = {other.digest("topic") for other in (filters, *others)}
    assert filters.digest("topic") == same.digest("topic")
    assert len(digests | {filters.digest("other")}) == len(others) + 2
