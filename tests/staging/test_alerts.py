from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector import __version__, telemetry
from connector.kafka.mock import MockCluster
from connector.model import AlertType, Counts, Inventory, StagedSnapshot, Topic
from connector.simulator import Fleet
from connector.staging import audit, derived, maintenance
from connector.staging.stage import StagingRules, stage_snapshot
from tests.conftest import consume_all
from tests.support import avro
from tests.support.alert_oracle import AlertModel, open_incidents
from tests.support.bench import EASY, SLOW, START, TENANT, Bench, plain_snapshot, record, staging_rules
from tests.support.configured import default_rules
from tests.support.estate import Estate
from tests.support.logs import restored
from tests.support.oracle import Record, Rules, by_key, event_id
from tests.support.year import Process, Script, Year

MIDNIGHT = datetime(2026, 11, 23, 0, 2, tzinfo=UTC)
"""Of the first snapshot's day."""


class Desk(Bench):
    """A state file whose stagings have their clock: days after the first snapshot's."""

    wanted = default_rules().alerts
    last: StagedSnapshot

    def poll(self, day: float, lines: Sequence[Record], **rules: Any) -> list[Record]:
        """Stage a snapshot on that day; its alerts."""
        now = MIDNIGHT + timedelta(days=day)
        self.last = stage_snapshot(
            self.state, self.snapshot(lines), self.staging_rules(**rules), started_at=now, now=now
        )
        alerts = self.alerts(self.last)
        assert self.last.counts.alerts == len(alerts)
        assert audit.verify(self.state) == []
        return alerts

    def idle(self, day: float, **rules: Any) -> list[Record]:
        """A poll on that day that finds nothing new; its alerts."""
        now = MIDNIGHT + timedelta(days=day)
        staged = derived.stage_due_alerts(self.state, Inventory.CPE, self.staging_rules(**rules), now=now)
        assert audit.verify(self.state) == []
        if staged is None:
            return []
        self.last = staged
        return self.alerts(staged)

    def approve(self, day: float) -> list[Record]:
        """A person approves what is held."""
        (self.last,) = derived.approve_held(self.state, self.staging_rules(), now=MIDNIGHT + timedelta(days=day))
        return self.alerts(self.last)

    def staging_rules(self, **alerts: Any) -> StagingRules:
        """The rules of every staging here: those of the bench, with the alerts that are wanted."""
        return replace(staging_rules(self.rules), alerts=replace(self.wanted, **alerts))


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    """A desk, open."""
    with Desk(tmp_path) as opened:
        yield opened


def said(alerts: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Type, product, version, what decided, and the threshold where there is one."""
    return [
        (alert["alertType"], alert["softwareName"], alert["softwareVersion"], alert["decidedBy"])
        + ((alert["thresholdDays"],) if alert["thresholdDays"] is not None else ())
        for alert in alerts
    ]


def days_from_first(days: int) -> str:
    """A date that number of days after the first snapshot's."""
    return str((MIDNIGHT + timedelta(days=days)).date())


def ending(name: str, days: int) -> Record:
    """A record on device d whose support ends that number of days after the first snapshot."""
    return record("d", name, endOfSupportDate=days_from_first(days))


ENDED: dict[str, Any] = {"endOfSupportStatus": "EOS Version"}
UPCOMING = {"endOfSupportStatus": "Upcoming EOS Software"}
KEPT = record("d", "kept")


# ---- what changes raise


@pytest.mark.parametrize("ended", [ENDED, {"endOfSupportStatus": "EOS Software"}, {"endOfSupportDate": "2020-01-01"}])
def test_out_of_support_software_that_is_new_is_installed(ended: dict[str, str], desk: Desk) -> None:
    """Added, with a new device, or by a change of version; by its status, or by a date that is past."""
    by = "date" if "endOfSupportDate" in ended else "status"
    assert desk.poll(0, [KEPT, record("d", "upgraded", "1")]) == []
    alerts = desk.poll(
        0,
        [KEPT, record("d", "added", **ended), record("e", "new device", **ended), record("d", "upgraded", "2", **ended),
         record("d", "fine")],
    )  # fmt: skip
    assert said(alerts) == [
        ("INSTALLED", "added", "1", by), ("INSTALLED", "upgraded", "2", by), ("INSTALLED", "new device", "1", by),
    ]  # fmt: skip
    changes = {change["softwareName"]: change for change in desk.changes(desk.last)}
    assert [(alert["eventId"], alert["changeType"]) for alert in alerts] == [
        (changes[alert["softwareName"]]["eventId"], changes[alert["softwareName"]]["changeType"]) for alert in alerts
    ]


def test_support_ends_on_the_day_of_its_date(desk: Desk) -> None:
    """The day before, software is supported still."""
    desk.poll(0, [KEPT])
    assert desk.poll(0, [KEPT, ending("a", 1)]) == []
    raised = desk.poll(1, [KEPT, ending("a", 1), ending("b", 1), ending("c", 2)])
    assert said(raised) == [
        ("INSTALLED", "b", "1", "date"), ("DATE_THRESHOLD", "a", "1", "date", 0), ("REACHED", "a", "1", "date"),
    ]  # fmt: skip


def test_a_version_that_is_out_of_support_as_the_one_before_is_installed_again(desk: Desk) -> None:
    """Another version of what is out of support is news: it is another record."""
    desk.poll(0, [record("d", "a", "1", **ENDED)])
    assert said(desk.poll(0, [record("d", "a", "2", **ENDED)])) == [("INSTALLED", "a", "2", "status")]


SUPPORTED: dict[str, Any] = {"endOfSupportStatus": "None"}
PAST, FUTURE = {"endOfSupportDate": "2020-01-01"}, {"endOfSupportDate": "2030-01-01"}
CASES: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str] | None]] = [
    ({}, ENDED, ("REACHED", "status")),
    (UPCOMING, ENDED, ("REACHED", "status")),
    (PAST, ENDED | PAST, ("REACHED", "status")),
    (ENDED, {"endOfSupportStatus": "EOS Software"}, None),
    ({}, PAST, ("REACHED", "date")),
    (PAST, PAST | {"numberOfWeaknesses": 3}, None),
    (PAST | {"endOfSupportStatus": "None"}, PAST, None),
    (ENDED, PAST, None),
    ({}, UPCOMING, ("UPCOMING", "status")),
    ({"endOfSupportStatus": "Upcoming EOS Version"}, UPCOMING, None),
    (UPCOMING, {}, None),
    (ENDED, SUPPORTED, ("CLEARED", "status")),
    (ENDED, {}, None),
    (ENDED, {"endOfSupportStatus": "EOS Someday"}, None),
    (ENDED, {"endOfSupportStatus": " eos  VERSION"}, None),
    (ENDED, {"endOfSupportStatus": "NONE "}, ("CLEARED", "status")),
    ({}, {"endOfSupportStatus": "EOS version"}, ("REACHED", "status")),
    ({}, {"endOfSupportStatus": "\u00a0upcoming eos\tsoftware"}, ("UPCOMING", "status")),
    (ENDED, FUTURE, None),
    (PAST, {}, None),
    (PAST, SUPPORTED, ("CLEARED", "date")),
    (ENDED, UPCOMING, ("CLEARED", "status")),
    (PAST, FUTURE, ("CLEARED", "date")),
    ({}, {"endOfSupportStatus": "Something new"}, None),
    ({}, {"endOfSupportDate": "soon"}, None),
    ({}, {"endOfSupportDate": "2020-02-31"}, None),
]
"""Attributes before and after, and what the change of them raises."""


def test_a_changed_record_raises_what_its_change_means(desk: Desk) -> None:
    """The same version with other attributes, case by case."""
    names = [f"case {number:02}" for number in range(len(CASES))]
    desk.poll(0, [record("d", name, **case[0]) for name, case in zip(names, CASES, strict=True)])
    alerts = desk.poll(0, [record("d", name, **case[1]) for name, case in zip(names, CASES, strict=True)])
    assert [(alert["softwareName"], (alert["alertType"], alert["decidedBy"])) for alert in alerts] == [
        (name, case[2]) for name, case in zip(names, CASES, strict=True) if case[2]
    ]


@pytest.mark.parametrize("silence", [{}, {"endOfSupportStatus": "EOS Someday"}])
def test_a_status_that_is_unknown_is_evidence_of_nothing(silence: dict[str, Any], desk: Desk) -> None:
    """What was known before it holds: the same again is no news, another status is, and a removal clears."""
    names = ("again", "cleared", "removed", "upgraded", "dated", "upcoming")
    known = {"dated": PAST, "upcoming": UPCOMING}
    desk.poll(0, [KEPT, *(record("d", name, **known.get(name, ENDED)) for name in names)])
    for weaknesses in (1, 2):
        odd = [record("d", name, **silence, numberOfWeaknesses=weaknesses) for name in names]
        assert desk.poll(0, [KEPT, *odd]) == []
    desk.reopen()
    assert desk.state.database.number("SELECT count(*) FROM last_said") == len(names)
    raised = desk.poll(0, [KEPT, record("d", "again", **ENDED), record("d", "cleared", **SUPPORTED),
                           record("d", "upgraded", "2", **silence), record("d", "dated", **FUTURE),
                           record("d", "upcoming", **UPCOMING)])  # fmt: skip
    assert said(raised) == [
        ("CLEARED", "cleared", "1", "status"), ("CLEARED", "dated", "1", "date"), ("CLEARED", "removed", "1", "status"),
        ("CLEARED", "upgraded", "2", "status"),
    ]  # fmt: skip
    assert desk.state.database.number("SELECT count(*) FROM last_said") == 0


PLACEHOLDERS = (
    "0001-01-01", "0001-01-02", "1600-12-31", "1601-01-01", "1753-01-01", "1899-12-30", "1900-01-01", "1969-12-31",
    "1970-01-01", "1980-01-01", "9999-12-30", "9999-12-31",
)  # fmt: skip


@pytest.mark.parametrize("time", ["", "T00:00:00", "T00:00:00Z"])
def test_a_placeholder_is_no_date(time: str, desk: Desk) -> None:
    """What systems write where they have none raises and clears nothing, and is no first sight of anything."""
    desk.poll(0, [KEPT, *(record("d", f"changed {day}") for day in PLACEHOLDERS)])
    lines = [KEPT]
    for day in PLACEHOLDERS:
        placeholder = {"endOfSupportDate": day + time, "softwareFirstSeenTimestamp": day + time}
        lines += [record("d", f"changed {day}", **placeholder), record("d", f"added {day}", **placeholder, **SUPPORTED)]
    assert desk.poll(0, lines) == []
    ended = [line | ENDED for line in lines if line["softwareName"].startswith("added")]
    alerts = desk.poll(0, [*lines[:1], *ended])
    assert {(alert["alertType"], alert["daysToEndOfSupport"], alert["detectionLagSeconds"]) for alert in alerts} == {
        ("REACHED", None, None)
    }
    assert len(alerts) == len(PLACEHOLDERS)
    assert {alert["versionFirstSeenAt"] for alert in alerts} == {desk.last.generated_at - 6 * 3_600_000}


def test_upcoming_counts_for_what_is_new_and_for_another_version(desk: Desk) -> None:
    """Added, or upgraded into a version whose end is announced; not again where it was before."""
    desk.poll(0, [record("d", "a", "1"), record("d", "b", "1", **UPCOMING)])
    alerts = desk.poll(0, [record("d", "a", "2", **UPCOMING), record("d", "b", "2", **UPCOMING),
                          record("d", "c", **UPCOMING)])  # fmt: skip
    assert said(alerts) == [("UPCOMING", "a", "2", "status"), ("UPCOMING", "c", "1", "status")]


def test_what_is_removed_or_upgraded_out_of_the_end_of_support_is_cleared(desk: Desk) -> None:
    """Uninstalled, with its device, or replaced by a version that is supported; the rest was never raised."""
    desk.poll(0, [KEPT, record("d", "a", **ENDED), record("e", "b", endOfSupportDate="2020-01-01"),
                  record("d", "c", "1", **ENDED), record("d", "fine")])  # fmt: skip
    alerts = desk.poll(0, [KEPT, record("d", "c", "2")])
    assert said(alerts) == [
        ("CLEARED", "a", "1", "status"), ("CLEARED", "c", "2", "status"), ("CLEARED", "b", "1", "date"),
    ]  # fmt: skip
    assert [alert["changeType"] for alert in alerts] == ["REMOVED", "CHANGED", "REMOVED"]


def test_held_removals_clear_nothing_until_they_are_approved(desk: Desk) -> None:
    """And discarded, they never do: the records are still there."""
    desk.rules = Rules(min_removed=1, max_removed_share=0.1)
    lines = [KEPT, record("d", "a", **ENDED), record("d", "b", **ENDED)]
    desk.poll(0, lines)
    assert desk.poll(0, [KEPT]) == []
    assert desk.last.counts.held == 2
    assert said(desk.approve(0)) == [("CLEARED", "a", "1", "status"), ("CLEARED", "b", "1", "status")]
    assert desk.last.snapshot_id.endswith(f"-approved-{desk.last.snapshot_no}")
    desk.poll(0, lines)
    desk.poll(0, [KEPT])
    assert derived.discard_held(desk.state, now=MIDNIGHT) == 2
    assert desk.poll(0, lines) == []


def test_a_device_that_is_missing_clears_once_its_software_counts_as_removed(desk: Desk) -> None:
    """Not with the first snapshot that lacks it."""
    desk.rules = Rules(missing_device_snapshots=2)
    desk.poll(0, [KEPT, record("e", "a", **ENDED)])
    assert desk.poll(0, [KEPT]) == []
    assert said(desk.poll(0, [KEPT])) == [("CLEARED", "a", "1", "status")]


# ---- what the calendar raises


def test_a_date_raises_once_for_each_threshold_with_and_without_snapshots(desk: Desk) -> None:
    """Whichever kind of poll comes that day; what is within a threshold at the beginning waits for the next."""
    lines = [
        ending("a", 100),
        ending("b", 80),
    ]
    by_day = {0: desk.poll(0, lines)}
    for day in (1, 2, 9, 10, 11, 49, 50, 51, 70, 72, 73, 79, 80, 81, 93, 99, 100, 101):
        by_day[day] = (desk.idle(day) if day % 2 else desk.poll(day, lines)) + desk.idle(day + 0.5)
    raised = {day: [(*alert[:2], *alert[4:]) for alert in said(alerts)] for day, alerts in by_day.items() if alerts}
    assert raised == {
        10: [("DATE_THRESHOLD", "a", 90)],
        50: [("DATE_THRESHOLD", "b", 30)],
        70: [("DATE_THRESHOLD", "a", 30)],
        73: [("DATE_THRESHOLD", "b", 7)],
        80: [("DATE_THRESHOLD", "b", 0), ("REACHED", "b")],
        93: [("DATE_THRESHOLD", "a", 7)],
        100: [("DATE_THRESHOLD", "a", 0), ("REACHED", "a")],
    }
    first = by_day[10][0]
    assert (first["eventId"], first["changeType"], first["decidedBy"]) == (None, None, "date")
    assert (first["daysToEndOfSupport"], first["severity"], by_day[93][0]["severity"]) == (90, "low", "medium")


def test_of_several_thresholds_crossed_at_once_the_tightest_counts(desk: Desk) -> None:
    """After a long pause, also where the date is past by then."""
    desk.poll(0, [ending("a", 100),
                  ending("b", 20)])  # fmt: skip
    alerts = desk.idle(95)
    assert [(alert["softwareName"], alert["thresholdDays"], alert["daysToEndOfSupport"]) for alert in alerts] == [
        ("a", 7, 5), ("b", 0, -75), ("b", None, -75),
    ]  # fmt: skip


def test_alerts_of_the_calendar_are_a_snapshot_of_their_own(desk: Desk) -> None:
    """Begun, counted, numbered and followed as any other; its id says the day, and not twice."""
    lines = [ending(name, 31 + number) for number, name in enumerate("ab")]
    desk.poll(0, lines)
    origin = desk.last
    desk.idle(1)
    dated = desk.last
    assert dated.snapshot_id == f"{origin.snapshot_id}-dated-20261124"
    assert (dated.snapshot_no, dated.previous_snapshot_id, dated.alert_after) == (2, origin.snapshot_id, 1)
    assert dated.counts == Counts(records=2, devices=origin.counts.devices, stored=2, alerts=1)
    assert dated.generated_at == origin.generated_at
    desk.idle(2)
    assert desk.last.snapshot_id == f"{origin.snapshot_id}-dated-20261125"
    desk.poll(2, lines)
    assert (desk.last.snapshot_no, desk.last.previous_snapshot_id) == (4, f"{origin.snapshot_id}-dated-20261125")


def test_a_day_without_a_due_alert_makes_no_snapshot(desk: Desk) -> None:
    """Nothing is staged, however often nothing new is found."""
    desk.poll(0, [ending("a", 50)])
    before = desk.state.journal.position()
    assert [desk.idle(day) for day in (1, 1.2, 2, 3)] == [[]] * 4
    assert desk.state.journal.position() == before
    with Desk(desk.folder / "other") as empty:
        assert empty.idle(0) == []


@pytest.mark.parametrize("thresholds", [(), (7,)])
def test_the_day_that_a_date_comes_is_reached_whatever_the_thresholds(thresholds: tuple[int, ...], desk: Desk) -> None:
    """Once, without a change; its incident opens, and closes when the software goes."""
    lines = [KEPT, ending("a", 3), ending("b", 3)]
    given = {"date_thresholds_days": thresholds}
    desk.poll(0, lines, **given)
    assert [desk.idle(1, **given), desk.poll(2, lines, **given)] == [[], []]
    reached = desk.idle(3, **given)
    assert said(reached) == [("REACHED", "a", "1", "date"), ("REACHED", "b", "1", "date")]
    keys = ("eventId", "changeType", "reason", "daysToEndOfSupport", "severity", "snapshotId")
    assert [reached[0][key] for key in keys] == [None, None, None, 0, "medium", desk.last.snapshot_id]
    assert [desk.idle(4, **given), desk.poll(5, lines, **given)] == [[], []]
    gone = desk.poll(6, [KEPT, ending("b", 90)], **given)
    assert said(gone) == [("CLEARED", "a", "1", "date"), ("CLEARED", "b", "1", "date")]
    assert len(open_incidents(reached)) == 2
    assert open_incidents([*reached, *gone]) == {}


def test_a_status_that_follows_its_date_is_not_reached_again(desk: Desk) -> None:
    """Whether the calendar or a change said it, however the status goes; where nothing was said, the status says it."""
    never, calendar, change = record("d", "never", **PAST), ending("calendar", 1), record("d", "change", **PAST)
    desk.poll(0, [never, calendar, record("d", "change")])
    raised = desk.poll(1, [never, calendar, change], date_thresholds_days=())
    assert said(raised) == [("REACHED", "change", "1", "date"), ("REACHED", "calendar", "1", "date")]
    desk.poll(300, [never, calendar, change])
    ended = [line | ENDED for line in (never, calendar, change)]
    assert said(desk.poll(301, ended)) == [("REACHED", "never", "1", "status")]
    assert [desk.poll(302, [never, calendar, change]), desk.poll(303, ended)] == [[], []]
    desk.poll(303, [record("d", name, **SUPPORTED) for name in ("never", "calendar", "change")])
    assert {alert["alertType"] for alert in desk.poll(304, [never, calendar, change])} == {"REACHED"}


def test_a_date_after_its_status_is_not_reached_again(desk: Desk) -> None:
    """Nor where the status has gone silent since, on that day or before it."""
    date = {"endOfSupportDate": days_from_first(3)}
    desk.poll(0, [record("d", name, **date) for name in "abc"])
    ended = [record("d", name, **ENDED, **date) for name in "abc"]
    given: dict[str, Any] = {"date_thresholds_days": ()}
    assert {alert["alertType"] for alert in desk.poll(1, ended, **given)} == {"REACHED"}
    assert desk.poll(2, [*ended[:2], record("d", "c", **date)], **given) == []
    assert desk.poll(3, [ended[0], record("d", "b", **date), record("d", "c", **date)], **given) == []


def test_a_clock_that_is_ahead_for_one_poll_silences_nothing(desk: Desk) -> None:
    """The days before it still raise what they bring, once each; what the wrong day raised is not raised again."""
    lines = [ending("a", 100), ending("b", 395)]
    desk.poll(0, lines)
    wrong = desk.idle(300)
    assert said(wrong) == [
        ("DATE_THRESHOLD", "a", "1", "date", 0), ("REACHED", "a", "1", "date"),
    ]  # fmt: skip
    by_day = {day: desk.idle(day) for day in (10, 70, 93, 100, 101, 299, 300, 305, 365)}
    assert {day: said(alerts) for day, alerts in by_day.items() if alerts} == {
        10: [("DATE_THRESHOLD", "a", "1", "date", 90)],
        70: [("DATE_THRESHOLD", "a", "1", "date", 30)],
        93: [("DATE_THRESHOLD", "a", "1", "date", 7)],
        305: [("DATE_THRESHOLD", "b", "1", "date", 90)],
        365: [("DATE_THRESHOLD", "b", "1", "date", 30)],
    }


def test_a_clock_that_goes_to_and_fro_raises_nothing_twice(desk: Desk) -> None:
    """Nor does it bring back what was near at the beginning, which is passed over."""
    lines = [ending("near", 20), ending("a", 40), ending("past", -10)]
    desk.poll(0, lines)
    alerts = [alert for day in (-200, 1, 500, 2, 11, -200, 12, 501, 13, 33, 600, 40, 41) for alert in desk.idle(day)]
    ids = [alert["alertId"] for alert in alerts]
    assert len(ids) == len(set(ids))
    assert {(alert[1], alert[0], *alert[4:]) for alert in said(alerts)} == {
        ("near", "DATE_THRESHOLD", 7), ("near", "DATE_THRESHOLD", 0), ("near", "REACHED"),
        ("a", "DATE_THRESHOLD", 30), ("a", "DATE_THRESHOLD", 7), ("a", "DATE_THRESHOLD", 0), ("a", "REACHED"),
    }  # fmt: skip


def test_a_clock_that_is_set_back_raises_nothing_and_repeats_nothing(desk: Desk) -> None:
    """Neither with a snapshot nor without; and once it is right again, only what is new is raised."""
    lines = [
        ending("a", 31),
        ending("b", 33),
    ]
    desk.poll(0, lines)
    assert said(desk.idle(1)) == [("DATE_THRESHOLD", "a", "1", "date", 30)]
    assert [desk.poll(-5, lines), desk.idle(-4), desk.idle(1), desk.poll(1, lines)] == [[]] * 4
    assert said(desk.idle(3)) == [("DATE_THRESHOLD", "b", "1", "date", 30)]


def test_a_change_is_judged_by_the_day_it_is_staged_on(desk: Desk) -> None:
    """Also at a clock that was set back, or ahead before: which of the two is wrong is not known."""
    desk.poll(0, [ending("a", 200)])
    assert said(desk.poll(-5, [ending("a", 60)])) == [("DATE_THRESHOLD", "a", "1", "date", 90)]


def test_a_clock_that_was_set_back_does_not_repeat_what_the_days_since_raised(desk: Desk) -> None:
    """Also where an alert is forgotten, since its date is past: the last check was on the latest day, and stays so."""
    lines = [ending("a", 1), ending("b", 2)]
    desk.poll(0, lines)
    assert [said(desk.idle(day)) for day in (1, 2)] == [
        [("DATE_THRESHOLD", name, "1", "date", 0), ("REACHED", name, "1", "date")] for name in ("a", "b")
    ]  # fmt: skip
    assert [desk.poll(0, lines), desk.idle(3)] == [[], []]


def test_a_date_that_is_moved_to_within_a_threshold_raises_with_its_change(desk: Desk) -> None:
    """Also by a change of version; moved away, or moved within the same threshold, it raises nothing."""
    far, near, nearer = 200, 60, 50
    desk.poll(0, [ending("a", far), ending("b", near), record("d", "c", "1"), ending("e", near)])  # fmt: skip
    upgraded = ending("c", near) | {"softwareVersion": "2"}
    alerts = desk.poll(0, [ending("a", near), ending("b", nearer), upgraded, ending("e", far)])  # fmt: skip
    assert said(alerts) == [("DATE_THRESHOLD", "a", "1", "date", 90), ("DATE_THRESHOLD", "c", "2", "date", 90)]
    assert [alert["changeType"] for alert in alerts] == ["CHANGED", "CHANGED"]
    assert {alert["eventId"] for alert in alerts} < {change["eventId"] for change in desk.changes(desk.last)}


def test_a_threshold_is_crossed_once_for_ever_by_one_date(desk: Desk) -> None:
    """Moved away and back, and after the journal has forgotten the alert; another date is another matter."""
    near, far = (
        ending("a", 60),
        ending("a", 300),
    )
    desk.poll(0, [far])
    assert len(desk.poll(0, [near])) == 1
    desk.poll(0, [far])
    desk.state.journal.confirm(desk.checkpoint(desk.last))
    maintenance.retire(desk.state, older_than=MIDNIGHT + timedelta(days=9))
    assert desk.state.database.rows("SELECT * FROM alerts") == []
    assert desk.poll(10, [near]) == []
    assert desk.poll(10, [far]) == []
    assert len(desk.poll(10, [ending("a", 61)])) == 1


def test_a_threshold_is_crossed_once_also_on_the_day_of_the_date(desk: Desk) -> None:
    """Moved away and back, the date crosses no threshold again; but support that went on ends again."""
    desk.poll(0, [ending("a", 1), ending("b", 200)])
    assert said(desk.idle(1)) == [("DATE_THRESHOLD", "a", "1", "date", 0), ("REACHED", "a", "1", "date")]
    assert said(desk.poll(1, [ending("a", 300), ending("b", 60)])) == [
        ("CLEARED", "a", "1", "date"), ("DATE_THRESHOLD", "b", "1", "date", 90),
    ]  # fmt: skip
    assert said(desk.poll(1, [ending("a", 1), ending("b", 60)])) == [("REACHED", "a", "1", "date")]


def test_an_attribute_that_changes_on_the_day_of_a_threshold_does_not_hide_it(desk: Desk) -> None:
    """Nor does a status: the calendar's alert stands beside the change's."""
    dated = {"endOfSupportDate": days_from_first(31)}
    desk.poll(0, [record("d", "a", **dated), record("d", "b", "1", **dated)])
    alerts = desk.poll(1, [record("d", "a", **dated, **UPCOMING), record("d", "b", "2", **dated)])
    assert said(alerts) == [
        ("UPCOMING", "a", "1", "status"),
        ("DATE_THRESHOLD", "b", "2", "date", 30),
        ("DATE_THRESHOLD", "a", "1", "date", 30),
    ]
    assert [bool(alert["eventId"]) for alert in alerts] == [True, True, False]


# ---- beginnings


def test_alerts_that_are_turned_on_later_say_nothing_of_the_past(desk: Desk) -> None:
    """Off, nothing is raised; on, what happened meanwhile is not raised, and what comes is."""
    lines = [
        ending("a", 31),
        ending("b", 37),
        KEPT,
    ]
    assert desk.poll(0, lines) == []
    more = [*lines, record("d", "c", **ENDED)]
    assert [desk.poll(2, more, enabled=False), desk.idle(3, enabled=False)] == [[], []]
    assert [desk.idle(5), desk.poll(5, more)] == [[], []]
    assert said(desk.idle(7)) == [("DATE_THRESHOLD", "b", "1", "date", 30)]


@pytest.mark.parametrize("emit", [False, True])
def test_the_first_snapshot_raises_what_is_out_of_support_where_that_is_asked_for(emit: bool, desk: Desk) -> None:
    """One alert each, BASELINE; with the event where the baseline is published. By default: none."""
    lines = [record("d", "a", **ENDED), record("e", "b", endOfSupportDate="2020-01-01"), record("d", "c", **UPCOMING)]
    desk.rules = replace(EASY, emit_baseline=emit)
    alerts = desk.poll(0, lines, on_baseline=True)
    assert said(alerts) == [("INSTALLED", "a", "1", "status"), ("INSTALLED", "b", "1", "date")]
    assert {alert["changeType"] for alert in alerts} == {"BASELINE"}
    events = {change["softwareName"]: change["eventId"] for change in desk.changes(desk.last)}
    assert [alert["eventId"] for alert in alerts] == [events.get("a"), events.get("b")]
    assert bool(events) == emit
    assert {alert["newToOrganisation"] for alert in alerts} == {False}
    with Desk(desk.folder / "other", rules=desk.rules) as silent:
        assert silent.poll(0, lines) == []


def test_a_new_epoch_numbers_its_alerts_anew_and_looks_at_dates_anew(desk: Desk) -> None:
    """As changes; what was crossed before the rebaseline is not crossed again."""
    desk.poll(0, [KEPT, ending("a", 31)])
    desk.poll(1, [KEPT, ending("a", 31), record("d", "b", **ENDED)])
    assert desk.last.alert_after == 2
    maintenance.rebaseline(desk.state)
    assert (desk.state.journal.position().last_alert, desk.state.journal.position().published_alert) == (0, 0)
    assert desk.poll(30, [KEPT, ending("a", 31)]) == []
    alerts = desk.idle(31)
    assert (said(alerts), alerts[0]["epoch"], desk.last.alert_after) == (
        [("DATE_THRESHOLD", "a", "1", "date", 0), ("REACHED", "a", "1", "date")],
        2,
        2,
    )


# ---- incidents


def test_an_incident_lives_as_long_as_an_out_of_support_version_is_on_the_device(desk: Desk) -> None:
    """Another version out of support takes it on; only the last version that goes, or is supported again, ends it."""
    old, new = record("d", "a", "25.2", **ENDED), record("d", "a", "25.8", **ENDED)
    steps: list[tuple[list[Record], list[tuple[Any, ...]], set[str]]] = [
        ([old], [("INSTALLED", "25.2", None, "INSTALLED")], {"25.2"}),
        ([new], [("INSTALLED", "25.8", "25.2", "UPGRADED")], {"25.8"}),
        ([old, new], [("INSTALLED", "25.2", None, "INSTALLED")], {"25.2", "25.8"}),
        ([new], [("CLEARED", "25.2", None, "UNINSTALLED")], {"25.8"}),
        ([new | SUPPORTED], [("CLEARED", "25.8", None, "ATTRIBUTES_CHANGED")], set()),
        ([new], [("REACHED", "25.8", None, "ATTRIBUTES_CHANGED")], {"25.8"}),
        ([record("d", "a", "26")], [("CLEARED", "26", "25.8", "UPGRADED")], set()),
        ([record("d", "a", "25")], [], set()),
        ([old], [("INSTALLED", "25.2", "25", "UPGRADED")], {"25.2"}),
        ([new, record("d", "a", "26")],
         [("CLEARED", "25.2", None, "UNINSTALLED"), ("INSTALLED", "25.8", None, "INSTALLED")], {"25.8"}),
        ([], [("CLEARED", "25.8", None, "UNINSTALLED")], set()),
    ]  # fmt: skip
    desk.poll(0, [KEPT])
    alerts: list[Record] = []
    for lines, raised, versions in steps:
        fresh = desk.poll(0, [KEPT, *lines])
        names = ("alertType", "softwareVersion", "previousVersion", "reason")
        assert [tuple(alert[name] for name in names) for alert in fresh] == raised
        alerts += fresh
        assert set().union(*open_incidents(alerts).values()) == versions
    assert {alert["incidentKey"] for alert in alerts} == {event_id(TENANT, "incident", "d", "v", "a")}


def test_incidents_of_other_devices_and_products_are_others(desk: Desk) -> None:
    """One key for a device and product; what came with a new device can be left out by its reason."""
    desk.poll(0, [KEPT])
    alerts = desk.poll(0, [KEPT, record("d", "a", "1", **ENDED), record("d", "a", "2", **ENDED),
                           record("d", "b", **ENDED), record("e", "a", **ENDED)])  # fmt: skip
    assert len({alert["incidentKey"] for alert in alerts}) == 3
    assert [(alert["deviceId"], alert["reason"]) for alert in alerts] == [
        ("d", "INSTALLED"), ("d", "INSTALLED"), ("d", "INSTALLED"), ("e", "NEW_DEVICE"),
    ]  # fmt: skip


# ---- summaries


def flip(count: int, **more: Any) -> list[Record]:
    """A product on that number of devices."""
    return [record(f"d{number}", "a", **more) for number in range(count)]


def test_many_alerts_of_one_product_and_type_get_a_summary(desk: Desk) -> None:
    """Beyond the threshold; the single ones stay and have its id, and those of other products do not."""
    few = [record("d0", "b"), record("d1", "b")]
    desk.poll(0, flip(3) + few)
    assert [alert["summaryId"] for alert in desk.poll(0, flip(3, **ENDED) + few, summarize_above=3)] == [None] * 3
    desk.poll(0, flip(3) + few)
    desk.poll(0, flip(3, **SUPPORTED) + few)
    weak = ENDED | {"numberOfWeaknesses": 5, "endOfSupportDate": days_from_first(-9)}
    lines = [*flip(2, **ENDED), record("d2", "a", **weak), *(line | ENDED for line in few)]
    *singles, summary = desk.poll(0, lines, summarize_above=2)
    assert desk.last.counts.alerts == len(singles) + 1 == 6
    name = event_id(TENANT, desk.last.snapshot_id, "summary", "REACHED", "CPE", "v", "a")
    assert {(alert["softwareName"], alert["summaryId"], alert["summarizes"]) for alert in singles} == {
        ("a", name, None), ("b", None, None),
    }  # fmt: skip
    product = ("softwareVendor", "softwareName", "softwareVersion")
    assert [summary[key] for key in (*product, "alertId", "summarizes", "summaryId", "alertType", "severity")] == [
        "v", "a", "1", name, 3, None, "REACHED", "high",
    ]  # fmt: skip
    assert [summary[key] for key in ("deviceId", "eventId", "deviceName", "diskPaths", "numberOfWeaknesses")] == [
        "", None, None, [], None,
    ]  # fmt: skip
    assert [summary[key] for key in ("changeType", "reason", "endOfSupportStatus", "isEndOfSupport")] == [
        "CHANGED", "ATTRIBUTES_CHANGED", "EOS Version", True,
    ]  # fmt: skip
    desk.reopen()
    assert desk.alerts(desk.last) == [*singles, summary]


def test_a_summary_counts_all_versions_of_a_product(desk: Desk) -> None:
    """It then has no version; its incident is the product's, whatever the snapshot, and opens nothing."""
    desk.poll(0, [KEPT])
    versions = [record(f"d{number}", "a", str(number), **ENDED) for number in range(3)]
    installed = desk.poll(0, [KEPT, *versions], summarize_above=2)[-1]
    cleared = desk.poll(0, [KEPT], summarize_above=2)[-1]
    assert [(alert["alertType"], alert["softwareVersion"], alert["devicesWithVersion"], alert["summarizes"])
            for alert in (installed, cleared)] == [("INSTALLED", None, 0, 3), ("CLEARED", None, 0, 3)]  # fmt: skip
    assert {installed["incidentKey"], cleared["incidentKey"]} == {event_id(TENANT, "incident", "", "v", "a")}


def test_dates_and_a_first_snapshot_are_summarized_too(desk: Desk) -> None:
    """Whatever raises alerts; and 0 turns summaries off."""
    lines = flip(3, **ENDED, endOfSupportDate=days_from_first(31))
    assert [alert["summarizes"] for alert in desk.poll(0, lines, on_baseline=True, summarize_above=2)][-2:] == [None, 3]
    assert [alert["summarizes"] for alert in desk.idle(1, summarize_above=2)] == [None, None, None, 3]
    desk.poll(1, lines)
    assert {alert["summarizes"] for alert in desk.idle(24, summarize_above=0)} == {None}


# ---- what an alert carries


def test_an_alert_carries_everything_that_is_published(desk: Desk) -> None:
    """All fields of `EndOfSupportAlert`, frozen: read later, it is the same."""
    desk.poll(0, [KEPT])
    more: dict[str, Any] = {"numberOfWeaknesses": 2, "diskPaths": ["b", "a"]}
    more |= {"softwareFirstSeenTimestamp": "2026-11-22 00:02:30.5"}
    (alert,) = desk.poll(1, [KEPT, record("d", "a", **ENDED, **more, endOfSupportDate=days_from_first(-9)),
                             record("e", "a")])  # fmt: skip
    staged = desk.last
    (change,) = [change for change in desk.changes(staged) if change["deviceId"] == "d"]
    named = {field["name"] for field in avro.load("end-of-support-alert")["fields"]}  # fmt: skip
    assert set(alert) == named - {"shortenedFields"}
    assert {name: alert[name] for name in alert.keys() & change.keys()} == {
        name: change[name] for name in alert.keys() & change.keys()
    }
    seen = 1000 * 1_795_305_750 + 500
    assert (alert["productFirstSeenAt"], alert["versionFirstSeenAt"], alert["newToOrganisation"]) == (seen, seen, True)
    assert (alert["devicesWithVersion"], alert["daysToEndOfSupport"], alert["severity"]) == (2, -10, "high")
    assert alert["detectionLagSeconds"] == 2 * 86_400 - 31
    assert (alert["connectorVersion"], alert["entraTenantId"]) == (__version__, TENANT)
    desk.poll(2, [KEPT])
    desk.reopen()
    assert desk.state.database.number("SELECT count(*) FROM first_seen WHERE software_name = 'a'") == 1
    assert list(desk.state.journal.alerts(staged, after=0, limit=9)) == [alert]


def test_a_product_is_new_to_the_organisation_with_the_first_snapshot_that_has_it(desk: Desk) -> None:
    """Whatever its version, device or export, and also after it was gone; a version is first seen by itself."""
    desk.poll(0, [KEPT, record("d", "old", "1")])
    alerts = desk.poll(1, [KEPT, record("d", "old", "2", **ENDED), record("d", "new", "1", **ENDED),
                          record("e", "new", "2", **ENDED)])  # fmt: skip
    assert [(alert["softwareName"], alert["newToOrganisation"]) for alert in alerts] == [
        ("new", True), ("old", False), ("new", True),
    ]  # fmt: skip
    first, second = alerts[1]["productFirstSeenAt"], alerts[1]["versionFirstSeenAt"]
    assert second - first == 6 * 3_600_000
    desk.poll(2, [KEPT])
    (again,) = desk.poll(3, [KEPT, record("f", "new", "3", **ENDED)])
    assert (again["newToOrganisation"], again["productFirstSeenAt"]) == (False, alerts[0]["productFirstSeenAt"])
    desk.poll(3, [KEPT])
    given = staging_rules(EASY)
    for number, lines in enumerate(([record("x", "other")], [record("x", "other"), record("x", "new", **ENDED)])):
        snapshot = plain_snapshot(desk.folder / "parts", lines, number, Inventory.NON_CPE)
        staged = stage_snapshot(desk.state, snapshot, given, started_at=START, now=START)
    (moved,) = desk.alerts(staged)
    assert (moved["inventory"], moved["newToOrganisation"]) == ("NON_CPE", False)


def test_severities_are_the_configurations_where_it_gives_any(desk: Desk) -> None:
    """A named type always gets that one; the others follow the rule."""
    given = {"severity": {"installed": "low", "cleared": "high"}}
    desk.poll(0, [KEPT, record("d", "a", **ENDED), record("d", "b")])
    weak = ENDED | {"numberOfWeaknesses": 1}
    alerts = desk.poll(0, [KEPT, record("d", "b", **weak), record("d", "c", **weak)], **given)  # fmt: skip
    assert [(alert["alertType"], alert["severity"]) for alert in alerts] == [
        ("CLEARED", "high"), ("REACHED", "high"), ("INSTALLED", "low"),
    ]  # fmt: skip


def test_an_unknown_status_is_reported_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """By its value, over restarts; and it is no end of support."""
    someday, beyond, none = ({"endOfSupportStatus": status} for status in ("EOS Someday", "Beyond EOS", "None"))
    with restored():
        telemetry.configure("json", "warning")
        desk.poll(0, [KEPT, record("d", "a", **someday), record("d", "b", **none)])
        desk.poll(0, [KEPT, record("e", "a", **someday), record("e", "b", **UPCOMING)])
        desk.reopen()
        assert desk.poll(0, [KEPT, record("f", "a", **someday), record("f", "b", **beyond)]) == []
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["status"] for line in logged] == ["EOS Someday", "Beyond EOS"]


# ---- all of it


@given(seed=st.integers(0, 2**32))
@example(seed=27575316)
@example(seed=350632615)
@SLOW
def test_over_any_sequence_alerts_are_those_of_the_oracle(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Snapshots, days without, holds approved and discarded, clocks set back, alerts turned off: field by field."""
    random = Random(seed)
    rules = Rules(min_removed=3, max_removed_share=0.3, missing_device_snapshots=random.randint(1, 2),
                  pair_versions=random.random() < 0.8, emit_baseline=random.random() < 0.3)  # fmt: skip
    thresholds = random.choice(((90, 30, 7, 0), (5,), ()))
    wanted = replace(default_rules().alerts, on_baseline=random.random() < 0.5, date_thresholds_days=thresholds,
                     summarize_above=random.choice((0, 1, 2)))  # fmt: skip
    estate = Estate(random)
    with Desk(tmp_path_factory.mktemp("state"), rules=rules, random=random) as desk:
        desk.wanted = wanted
        model = AlertModel(TENANT, wanted.date_thresholds_days, on_baseline=wanted.on_baseline,
                           summarize_above=wanted.summarize_above)  # fmt: skip
        day = 0.0
        for step in range(9):
            day += random.choice((0, 0, 0.3, 1, 1, 5, 30, -3))
            enabled = random.random() < 0.9
            before = None if desk.model.inventory is None else dict(desk.model.inventory)
            now = MIDNIGHT + timedelta(days=day)
            action = random.choice(("snapshot", "snapshot", "idle", "held")) if step else "snapshot"
            if action == "idle":
                alerts = desk.idle(day, enabled=enabled)
                name = desk.last.snapshot_id
                expected = model.stage(now, name, before=before or {}, after=before or {}, enabled=enabled)
            elif action == "held" and desk.model.held and random.random() < 0.5:
                alerts = desk.approve(day)
                changes = desk.model.approve(desk.last.snapshot_id)
                expected = model.stage(now, desk.last.snapshot_id, before=before, after=desk.model.inventory or {},
                                       changes=changes)  # fmt: skip
            elif action == "held":
                derived.discard_held(desk.state, now=MIDNIGHT)
                desk.model.discard()
                continue
            else:
                estate.evolve()
                random.choice((estate.leave_or_return, estate.lose_many, lambda: None, lambda: None))()
                lines = estate.lines() or [KEPT]
                alerts = desk.poll(day, lines, enabled=enabled)
                outcome = desk.model.stage(desk.last.snapshot_id, lines, rules)
                model.see(by_key(lines).values(), desk.last.observed_at, desk.last.snapshot_id,
                          baseline=before is None or bool(outcome.completing))  # fmt: skip
                expected = model.stage(now, desk.last.snapshot_id, before=before, after=desk.model.inventory or {},
                                       changes=outcome.changes, enabled=enabled,
                                       completing=() if rules.emit_baseline else outcome.completing)  # fmt: skip
            names = expected[0].keys() if expected else ()
            assert [{name: alert[name] for name in names} for alert in alerts] == expected
            assert len({alert["alertId"] for alert in alerts}) == len(alerts)


def test_a_poll_that_finds_nothing_new_publishes_what_the_calendar_raises(tmp_path: Path) -> None:
    """Also one without Kafka, later; begun and sealed with the count of its alerts. A day without any: nothing."""
    script = Script(Fleet(seed=1, devices=1, start=MIDNIGHT), tmp_path / "parts")
    script.current = by_key([ending("a", 31) | {"softwareFirstSeenTimestamp": None}, ending("b", 8)])
    script.generated_at, script.day = MIDNIGHT, 0
    polls = []
    with MockCluster([topic.name_under("calm") for topic in Topic]) as cluster:
        here, nowhere = cluster.bootstrap_servers, "127.0.0.1:1"
        for day, servers in ((0, here), (0.5, here), (1, nowhere), (1.5, nowhere), (2, here), (8, here), (8.5, here)):
            tables = {
                "source": {"tenant_id": TENANT, "client_id": "calm", "client_secret": "calm"},
                "state": {"path": str(tmp_path / "state.duckdb")},
                "kafka": {
                    "topic_prefix": "calm",
                    "client": {"bootstrap.servers": servers},
                },
                "schema_registry": {"url": "mock://calm", "auto_register": True},
            }
            with Process(tables, script, [MIDNIGHT + timedelta(days=day)], batches=-1) as process:
                (result,) = process.pipeline.poll()
            polls.append((result.outcome, result.alert_types, result.counts.alerts))
        alerts, reports = (
            [avro.read_value(message.value or b"", avro.load(schema))[1] for message in
             consume_all(cluster.bootstrap_servers, topic.name_under("calm"))]
            for topic, schema in ((Topic.ALERTS, "end-of-support-alert"), (Topic.SNAPSHOTS, "snapshot-report"))
        )  # fmt: skip
    assert polls == [
        ("published", {}, 0),
        ("unchanged", {}, 0),
        ("staged", {"DATE_THRESHOLD": 2}, 2),
        ("staged", {}, 0),
        ("unchanged", {}, 0),
        ("published", {"DATE_THRESHOLD": 1, "REACHED": 1}, 2),
        ("unchanged", {}, 0),
    ]
    assert [(alert["snapshotId"][-8:], alert["softwareName"], alert["thresholdDays"]) for alert in alerts] == [
        ("20261124", "a", 30), ("20261124", "b", 7), ("20261201", "b", 0), ("20261201", "b", None),
    ]  # fmt: skip
    dated = [(report["status"], report["alerts"]) for report in reports if "-dated-" in report["snapshotId"]]
    assert dated == [("STARTED", 2), ("COMPLETE", 2), ("STARTED", 2), ("COMPLETE", 2)]


def test_a_scripted_season_ends_with_what_a_list_of_the_snapshots_says(tmp_path: Path) -> None:
    """The short form of `tests.support.year`: holds, restarts, stops and days without news; nothing differs."""
    with MockCluster([topic.name_under("season") for topic in Topic]) as cluster:
        registry = {"url": "mock://season", "auto_register": True}
        season = Year(5, 25, 23, tmp_path, cluster.bootstrap_servers, registry, "season").run()
        seen = season.seen()
    assert season.differences(seen) == []
    assert len(seen) == len(season.expected)
    assert season.wrong_incidents(seen) == set()
    assert set(season.types) == set(AlertType)
    needed = {"approved", "discarded", "dated", "restarts", "stopped between batches", "no new generation"}
    assert needed <= set(season.happened)
    assert season.differences(seen[1:])
    assert season.differences([*seen, seen[0]])
