"""What people see, at 80 and at 140 columns."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from connector.cli import output
from connector.model import Counts, Inventory
from connector.poll.result import PollResult

CHANGE: dict[str, Any] = {
    "eventId": "0",
    "changeType": "ADDED",
    "reason": "INSTALLED",
    "deviceId": "0123456789abcdef0123456789abcdef01234567",
    "deviceName": "lt-par-00033.corp.example",
    "softwareVendor": "oracle",
    "softwareName": "jre",
    "softwareVersion": "7.0.800",
    "changedFields": [],
    "before": None,
    "isEndOfSupport": True,
    "endOfSupportDate": "2022-07-31",
}


STATUS: dict[str, Any] = {
    "snapshots": [],
    "epoch": 1,
    "last_sequence": 0,
    "pending": 0,
    "inventory": 0,
    "state": "state.duckdb",
    "age_seconds": {},
    "stale": [],
    "held": [],
    "inventory_topic": None,
    "certificate_ends": None,
    "unreadable": {},
}


def test_a_change_is_one_line_of_the_terminal(shown: Callable[[], list[str]]) -> None:
    """Device without its domain, product, version, end of support, reason: on one line, whatever the width."""
    output.print_change(CHANGE)
    assert shown() == ["+ lt-par-00033  oracle/jre 7.0.800  END OF SUPPORT since 2022-07-31  installed"]


def test_a_change_of_version_shows_both(shown: Callable[[], list[str]]) -> None:
    """The earlier version stands before the arrow."""
    before = {**CHANGE, "softwareVersion": "7.0.790"}
    output.print_change(
        CHANGE | {"changeType": "CHANGED", "reason": "UPGRADED", "before": before, "isEndOfSupport": False}
    )
    assert shown() == ["~ lt-par-00033  oracle/jre 7.0.790 → 7.0.800  upgraded"]


def test_changed_attributes_show_what_they_were(shown: Callable[[], list[str]]) -> None:
    """Two fields at most, with their values."""
    before = CHANGE | {"numberOfWeaknesses": 3}
    output.print_change(
        CHANGE
        | {
            "changeType": "CHANGED",
            "reason": "ATTRIBUTES_CHANGED",
            "changedFields": ["numberOfWeaknesses"],
            "numberOfWeaknesses": 5,
            "before": before,
            "isEndOfSupport": False,
        }
    )
    assert shown() == ["~ lt-par-00033  oracle/jre 7.0.800  numberOfWeaknesses 3 → 5"]


def test_an_alert_is_one_line_of_the_terminal(shown: Callable[[], list[str]]) -> None:
    """Device, product, type, severity, days from or to the end, how widespread; `tail` shows it so too."""
    alert = CHANGE | {"alertId": "1", "alertType": "INSTALLED", "severity": "high", "daysToEndOfSupport": -9,
                      "devicesWithVersion": 1, "newToOrganisation": True}  # fmt: skip
    output.print_event(alert)
    dated = {"alertType": "DATE_THRESHOLD", "severity": "low", "daysToEndOfSupport": 30, "devicesWithVersion": 2}
    place = {"topic": "t", "partition": 0, "offset": 1, "key": "k"}
    output.print_message(place, alert | dated | {"newToOrganisation": False})
    assert [line.rstrip("…") for line in shown()] == [
        text[: len(line.rstrip("…"))]
        for line, text in zip(
            shown(),
            ("! lt-par-00033  oracle/jre 7.0.800  INSTALLED high  ended 9 days ago  on 1 device, new here",
             "! lt-par-00033  oracle/jre 7.0.800  DATE THRESHOLD low  ends in 30 days  on 2 devices"),
            strict=True,
        )
    ]  # fmt: skip


def test_names_from_outside_drive_no_terminal(shown: Callable[[], list[str]]) -> None:
    """Escape sequences, line breaks and markup in a device's name are shown, not obeyed."""
    output.print_change(CHANGE | {"deviceName": "\x1b[2J\n[red]pc", "isEndOfSupport": False})
    assert shown() == ["+ \\x1b[2J\\x0a[red]pc  oracle/jre 7.0.800  installed"]


def test_a_device_without_a_name_is_shown_by_its_id(shown: Callable[[], list[str]]) -> None:
    """The beginning of the id stands for the name."""
    output.print_change(CHANGE | {"deviceName": None, "isEndOfSupport": False})
    assert shown() == ["+ 0123456789ab…  oracle/jre 7.0.800  installed"]


def test_no_line_is_wider_than_the_terminal(shown: Callable[[], list[str]], request: pytest.FixtureRequest) -> None:
    """However long names are, a change stays one line, cut at the width."""
    output.print_change(CHANGE | {"softwareName": "x" * 500})
    width = int(request.node.callspec.params["shown"])
    assert [len(line) for line in shown()] == [width]


def test_a_poll_is_shown_in_three_lines(shown: Callable[[], list[str]]) -> None:
    """Outcome, snapshot and size; counts that are not zero; time and steps."""
    result = PollResult(
        "published",
        Inventory.CPE,
        "cpe-20260105T060000Z",
        1,
        Counts(records=3_778, devices=40, added=2, changed=36),
        published=38,
        duration_seconds=1.26,
        stages={"fetch": 0.7, "stage": 0.4},
    )
    output.print_poll(result)
    assert shown() == [
        "published  cpe-20260105T060000Z  3,778 records on 40 devices",
        "  +2 added  -0 removed  ~36 changed",
        "  1.3 s (fetch 0.7, stage 0.4); 38 changes published",
    ]


def test_the_steps_of_a_poll_are_left_out_of_a_narrow_terminal(shown: Callable[[], list[str]]) -> None:
    """All five of a real poll, and what was published: one line, whatever the width."""
    result = PollResult(
        "published",
        Inventory.CPE,
        "cpe-20260105T060000Z",
        1,
        Counts(records=9_491, devices=100, added=103, alerts=3),
        published=103,
        duration_seconds=4.3,
        stages={"recover": 0.4, "drain": 0.1, "fetch": 0.5, "stage": 2.4, "publish": 0.9},
    )
    output.print_poll(result)
    steps = " (recover 0.4, drain 0.1, fetch 0.5, stage 2.4, publish 0.9)" if output.out.width == 140 else ""
    assert shown()[2:] == [f"  4.3 s{steps}; 103 changes and 3 alerts published"]


def test_json_is_one_line_whatever_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Machines get one object a line, times as ISO 8601 in UTC."""
    value = {"at": datetime(2026, 1, 5, 6, tzinfo=UTC), "text": "ü" * 300}
    output.print_json(value)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"at": "2026-01-05T06:00:00Z", "text": "ü" * 300}]


def test_failures_show_message_and_hint_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened, then what to do; several problems keep their lines."""
    stream = io.StringIO()
    monkeypatch.setattr(output, "err", Console(file=stream, width=80, color_system=None))
    output.print_failure("connector.toml: 2 problems\n  a: is missing\n  b: is missing", "Correct them.")
    assert stream.getvalue().splitlines() == [
        "error: connector.toml: 2 problems",
        "  a: is missing",
        "  b: is missing",
        "hint:  Correct them.",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (600, "10 min"), (3 * 3600, "3.0 h"), (5 * 86_400, "5.0 days")]
)
def test_an_age_is_shown_in_one_unit(seconds: float, text: str) -> None:
    """Seconds, minutes, hours or days."""
    assert output.age(seconds) == text


def test_toml_that_is_shown_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """What `simulate` prints is a table to be copied into a configuration."""
    import tomllib  # noqa: PLC0415 - this test alone reads TOML

    table = {"tenant_id": "x", "page_size": 5, "allowed_hosts": ["127.0.0.1"], "include_non_cpe": False}
    output.print_toml({"source": table})
    assert tomllib.loads(capsys.readouterr().out) == {"source": table}


@pytest.mark.parametrize(("stale", "is_marked"), [([], False), (["CPE"], True)])
def test_a_status_says_where_the_export_is_stale(
    shown: Callable[[], list[str]], stale: list[str], *, is_marked: bool
) -> None:
    """Beside the age of the data, and only there."""
    output.print_status(STATUS | {"age_seconds": {"CPE": 90_000}, "stale": stale})
    assert ("STALE" in " ".join(shown())) is is_marked


@pytest.mark.parametrize(("days", "is_said"), [(5, True), (200, False)])
def test_a_status_says_that_a_certificate_ends_soon(
    shown: Callable[[], list[str]], days: int, *, is_said: bool
) -> None:
    """In how many days; one that is good for longer is not mentioned."""
    end = datetime.now(UTC) + timedelta(days=days, hours=1)
    output.print_status(STATUS | {"certificate_ends": end.isoformat()})
    line = f"the client certificate ends on {end:%Y-%m-%d}, in {days} days: renew it"
    assert (line in shown()) is is_said


def test_the_last_snapshots_are_a_line_each(shown: Callable[[], list[str]]) -> None:
    """No id is broken, however long; a narrow terminal has signs in place of words."""
    names = ("records", "devices", "added", "removed", "changed", "alerts", "held")
    ids = ("cpe-20261127T030600Z-1a2b3c4d", "non_cpe-20261127T030600Z")
    output.print_status(
        STATUS | {"snapshots": [{"snapshot_id": name, **dict.fromkeys(names, 12_345), "sealed": True} for name in ids]}
    )
    lines = shown()[:4]
    assert [line.split()[0] for line in lines[2:]] == list(ids)
    assert max(len(line.rstrip()) for line in lines) <= output.out.width
    assert ("removed" in lines[1], "…" in "".join(lines)) == (output.out.width > 100, False)


def test_a_generation_ahead_of_the_clock_has_no_negative_age(shown: Callable[[], list[str]]) -> None:
    """A clock that goes slow is named."""
    output.print_status(STATUS | {"age_seconds": {"CPE": -90}})
    assert "CPE: generated 2 min ahead of this machine's clock" in shown()
