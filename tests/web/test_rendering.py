"""How values are shown, and where the shapes of a chart are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector.web.charts import bars, stack
from connector.web.rendering import address, age, as_csv, clip, spaced, value_text, when
from connector.wording import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (7_200, "2 h"), (90_000, "1 d 1 h"),
     (86_400 * 40 + 3_600, "40 d"), (-5, "0 s"), (None, "\N{EN DASH}")],
)  # fmt: skip
def test_a_duration_is_in_its_largest_units(seconds: float | None, text: str) -> None:
    """Two at most."""
    assert age(seconds) == text


def test_values_are_short_and_plain() -> None:
    """Times to the minute, names cut, reasons as words, addresses without what is empty."""
    moment = datetime(2026, 11, 23, 8, 0, 59, tzinfo=UTC)
    assert (when(moment), when(moment.isoformat()), when("2026-11-23"), when(None)) == (
        "2026-11-23 08:00",
        "2026-11-23 08:00",
        "2026-11-23",
        "\N{EN DASH}",
    )
    assert (value_text(["C:\\a", "b"]), value_text([]), value_text(None), value_text(0)) == (
        "C:\\a; b",
        "\N{EN DASH}",
        "\N{EN DASH}",
        "0",
    )
    assert (clip("abcdef", 3), clip(None), words("NEW_DEVICE")) == ("abc…", "", "new device")
    assert spaced("numberOfWeaknesses") == "number of weaknesses"
    assert address("/device", id="a&b=c/\ud800", at="", all=None) == "/device?id=a%26b%3Dc%2F%3F"


def test_csv_has_no_formula() -> None:
    """Whatever begins like one has an apostrophe in front of it; numbers and times stay."""
    rows = [{"a": text, "b": -1, "c": True, "d": None} for text in ("=1", "+1", "-1", "@x", "\tx", "\rx", "x=1")]
    lines = as_csv("abcd", rows)
    assert lines == (
        "a,b,c,d\r\n'=1,-1,true,\r\n'+1,-1,true,\r\n'-1,-1,true,\r\n'@x,-1,true,\r\n'\tx,-1,true,\r\n\"'\rx\",-1,true,\r\n"
        "x=1,-1,true,\r\n"
    )


def test_a_stack_has_a_layer_for_each_version_and_one_for_the_rest() -> None:
    """The lowest is the most frequent; a day is a step until the next one."""
    rows = [
        {"day": day, "version": f"v{number}", "devices": 10 - number}
        for day in ("2026-01-01", "2026-01-03")
        for number in range(10)
    ]
    chart = stack(rows)
    assert chart is not None
    assert [layer.name for layer in chart.series] == [*(f"v{number}" for number in range(7)), "others"]
    assert (chart.most, chart.series[-1].newest, chart.first_day, chart.last_day) == (
        55,
        6,
        "2026-01-01",
        "2026-01-03",
    )
    assert chart.series[0].path == ("M0.0 163.6H480.0L480.0 163.6H720.0L720.0 200.0H480.0L480.0 200.0H0.0Z")
    assert stack([]) is None


def test_a_bar_stands_on_the_one_below_it() -> None:
    """The highest takes the whole height, and what is zero is not drawn."""
    first, second, third = bars([{"n": "x", "a": 1, "b": 3}, {"n": "y", "a": 0, "b": 2}], "n", ["a", "b"], 40)
    assert (first.top, first.height, second.top, second.height) == (30.0, 10.0, 0.0, 30.0)
    assert (third.label, third.top, third.left) == ("y: 2 b", 20.0, 36.0)
