"""How past alerts stand, compared with incidents that are folded by hand from the same alerts."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from connector.history.alerts import WantedAlerts, count, newest
from connector.history.filters import Filters
from connector.state.state import StateFile
from tests.support.bench import EASY, START, Bench, record
from tests.support.estate import Estate

OLD = {"endOfSupportStatus": "EOS Version"}


def by_hand(alerts: list[dict[str, Any]]) -> dict[str, str]:
    """How each alert stands, from incidents that gain and lose versions in the order of the alerts."""
    standing, versions = {}, dict[tuple[Any, ...], set[str]]()

    def lose(*key: Any) -> None:
        standing.update(dict.fromkeys(versions.pop(key, set()), "cleared"))

    for alert in alerts:
        subject = (alert["deviceId"], alert["softwareVendor"], alert["softwareName"])
        standing[alert["alertId"]] = "warning"
        if alert["summarizes"] is not None:
            standing[alert["alertId"]] = "summary"
        elif alert["alertType"] == "CLEARED":
            standing[alert["alertId"]] = "cleared"
            gone = alert["previousVersion"]
            lose(*subject, alert["softwareVersion"] if gone is None else gone)
        elif alert["alertType"] in {"INSTALLED", "REACHED"}:
            if alert["previousVersion"] is not None:
                lose(*subject, alert["previousVersion"])
            standing[alert["alertId"]] = "open"
            versions.setdefault((*subject, alert["softwareVersion"]), set()).add(alert["alertId"])
    return standing


def standings(state: StateFile) -> dict[str, str]:
    """How each alert of a file stands."""
    return {alert["alertId"]: alert["standing"] for alert in newest(state, WantedAlerts(), 10**6).rows}


def test_an_alert_stands_until_its_version_is_gone(tmp_path: Path) -> None:
    """Replaced by another old version, then by a supported one; another device has it still."""
    histories = [
        [record("a", "jre", "8"), record("b", "jre", "8")],
        [record("a", "jre", "6", **OLD), record("b", "jre", "6", **OLD)],
        [record("a", "jre", "7", **OLD), record("b", "jre", "6", **OLD)],
        [record("a", "jre", "9"), record("b", "jre", "6", **OLD)],
    ]
    with Bench(tmp_path, rules=EASY) as bench:
        for lines in histories:
            bench.stage(lines)
            bench.confirm_baseline()
        rows = [
            (row["deviceId"], row["alertType"], row["softwareVersion"], row["standing"])
            for row in newest(bench.state, WantedAlerts(), 10).rows
        ]
        counted = count(bench.state, WantedAlerts())
        wanted = WantedAlerts(Filters(devices=("b",)).at(START), standings=("open",), severities=("medium",))
        chosen = newest(bench.state, wanted, 10).rows
    assert rows == [
        ("a", "CLEARED", "9", "cleared"),
        ("a", "INSTALLED", "7", "cleared"),
        ("b", "INSTALLED", "6", "open"),
        ("a", "INSTALLED", "6", "cleared"),
    ]
    assert (counted["standings"], counted["openDevices"]) == (
        {"open": 1, "cleared": 3, "warning": 0, "summary": 0},
        1,
    )
    assert [row["deviceId"] for row in chosen] == ["b"]


@pytest.mark.parametrize("seed", range(6))
def test_alerts_stand_as_incidents_by_hand(seed: int, tmp_path: Path) -> None:
    """Over random histories with odd names, versions without a name, and dates that come and go."""
    estate = Estate(Random(seed))
    with Bench(tmp_path, rules=EASY, random=Random(seed)) as bench:
        alerts = []
        for _ in range(8):
            staged = bench.take(bench.snapshot(estate.lines()))
            bench.confirm_baseline()
            alerts += bench.alerts(staged)
            estate.evolve()
        assert standings(bench.state) == by_hand(alerts)
