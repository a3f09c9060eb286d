"""The analytics rules of Sentinel: their form, their KQL against the tables, what they find in a demo's messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connector.model import Topic
from tests.support.recorded import recorded
from tests.support.sentinel import content, workspace
from tests.support.sentinel.checking import Question, Verdict, judge
from tests.support.sentinel.tables import Road
from tests.support.sentinel.workspace import NOW, Row, Workspace

RULES = content.rules()
INSTALLED = "newly-installed-end-of-support"
REACHED = "reached-end-of-support"
NEW = "new-to-the-organisation"
HELD = "mass-removal-held"
GAPS = "snapshot-sealed-with-gaps"
STALE = "feed-stale"
OF_A_DEVICE = (INSTALLED, REACHED, NEW)

REQUIRED_KEYS = [
    "id", "name", "description", "severity", "requiredDataConnectors", "queryFrequency", "queryPeriod",
    "triggerOperator", "triggerThreshold", "tactics", "relevantTechniques", "query", "version", "kind",
]  # fmt: skip
"""Those of the rule template of Azure-Sentinel's repository, in its order."""

HOST_IDENTIFIERS = {
    "DnsDomain", "NTDomain", "HostName", "FullName", "NetBiosName", "AzureID", "OMSAgentID", "OSFamily", "OSVersion",
    "IsDomainJoined",
}  # fmt: skip
TACTICS = {"Execution": {"T1203", "T1204"}, "DefenseEvasion": {"T1562"}}
"""The tactics of the rules, with the techniques that belong to each."""

UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Published = dict[Topic, list[dict[str, Any]]]


def span(text: str) -> timedelta:
    """A time span as the template writes it, such as `15m`."""
    return timedelta(**{UNITS[text[-1]]: int(text[:-1])})


def published(topic: Topic, like: int = 0, **fields: Any) -> dict[str, Any]:
    """A message like one of the demo, with other fields."""
    return recorded().values[topic][like] | fields


def runs(name: str, played: Workspace, until: datetime = NOW) -> list[Row]:
    """Every row of every run of a rule that can have any: when something came within the last hours."""
    rule, found = RULES[name], []
    frequency, arrivals = span(rule["queryFrequency"]), played.arrivals()
    when = arrivals[0].replace(minute=5)
    while when <= until:
        if any(when - frequency - timedelta(hours=1) <= moment <= when for moment in arrivals):
            found += played.query(rule["query"], when, span(rule["queryPeriod"]))
        when += frequency
    return found


def once(name: str, *values: tuple[Topic, Iterable[dict[str, Any]]], at: datetime | None = None) -> list[Row]:
    """The rows of a rule's run over some messages, ten minutes after they came."""
    at = at or NOW - timedelta(minutes=10)
    played = Workspace(content.functions())
    for topic, listed in values:
        played.ingest("logstash", topic, listed, at)
    return played.query(RULES[name]["query"], NOW, span(RULES[name]["queryPeriod"]))


@pytest.fixture(scope="module")
def verdicts(module_tool: Callable[[str], Path]) -> dict[str, Verdict]:
    """What Microsoft's parser says of each rule."""
    asked = [Question(name, content.declared(rule["query"]), content.known_tables()) for name, rule in RULES.items()]
    return judge(asked, module_tool("kusto"))


# ---- form


def test_the_rules_that_are_promised_are_there() -> None:
    """Three about software, three about the feed."""
    assert set(RULES) == {*OF_A_DEVICE, HELD, GAPS, STALE}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_the_keys_of_microsofts_template(name: str) -> None:
    """All that its repository requires, in its order, with values that it takes."""
    rule = RULES[name]
    assert [key for key in rule if key in REQUIRED_KEYS] == REQUIRED_KEYS
    assert (str(UUID(rule["id"])), rule["kind"], rule["triggerOperator"]) == (rule["id"], "Scheduled", "gt")
    assert rule["severity"] in ("Informational", "Low", "Medium", "High")
    assert re.fullmatch(r"\d+[.]\d+[.]\d+", rule["version"])
    assert (len(rule["name"]) <= 256, len(rule["query"]) <= 10_000, rule["triggerThreshold"]) == (True, True, 0)
    assert set(rule["tactics"]) <= set(TACTICS)
    assert set(rule["relevantTechniques"]) <= {technique for name in rule["tactics"] for technique in TACTICS[name]}


def test_no_two_contents_have_one_id() -> None:
    """Rules, hunting queries and functions."""
    documents = [*RULES.values(), *content.hunting().values(), *content.documents("functions").values()]
    assert len({document["id"] for document in documents}) == len(documents)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_runs_as_often_as_sentinel_lets_it(name: str) -> None:
    """From five minutes to fourteen days, hourly at most where it looks back for two days or more."""
    frequency, period = span(RULES[name]["queryFrequency"]), span(RULES[name]["queryPeriod"])
    assert timedelta(minutes=5) <= frequency <= period <= timedelta(days=14)
    assert period < timedelta(days=2) or frequency >= timedelta(hours=1)


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_shows_are_columns_of_its_result(name: str, verdicts: dict[str, Verdict]) -> None:
    """Entities, details, titles and severities name columns that come out; incidents are grouped by a detail."""
    rule, columns = RULES[name], set(verdicts[name].result)
    mapped = [field for mapping in rule.get("entityMappings", []) for field in mapping["fieldMappings"]]
    override, details = rule["alertDetailsOverride"], rule["customDetails"]
    title, text = override["alertDisplayNameFormat"], override["alertDescriptionFormat"]
    placeholders = re.findall(r"{{(\w+)}}", title + text)
    shown = {field["columnName"] for field in mapped} | set(details.values()) | set(placeholders)
    shown |= {override["alertSeverityColumnName"]} if "alertSeverityColumnName" in override else set()
    assert shown - columns == set()
    assert max(len(re.findall("{{", one)) for one in (title, text)) <= 3
    assert (len(details) <= 20, [key for key in details if len(key) > 20]) == (True, [])
    grouping = rule["incidentConfiguration"]["groupingConfiguration"]
    assert (grouping["enabled"], grouping["matchingMethod"]) == (True, "Selected")
    assert set(grouping["groupByCustomDetails"]) <= set(details)


@pytest.mark.parametrize("name", OF_A_DEVICE)
def test_a_rule_about_software_names_its_host(name: str) -> None:
    """By its full name, its name and its domain; a rule about the feed has no host to name."""
    (mapping,) = RULES[name]["entityMappings"]
    identifiers = [field["identifier"] for field in mapping["fieldMappings"]]
    assert (mapping["entityType"], identifiers) == ("Host", ["FullName", "HostName", "DnsDomain"])
    assert set(identifiers) <= HOST_IDENTIFIERS
    assert [other for other in set(RULES) - set(OF_A_DEVICE) if "entityMappings" in RULES[other]] == []


# ---- KQL


@pytest.mark.parametrize("name", RULES)
def test_microsofts_parser_finds_nothing_wrong_with_a_rule(name: str, verdicts: dict[str, Verdict]) -> None:
    """No unknown table, column or function, no types that do not fit."""
    assert verdicts[name].wrong == []


def test_a_renamed_column_breaks_every_rule_that_uses_it(
    verdicts: dict[str, Verdict], module_tool: Callable[[str], Path]
) -> None:
    """Each column that a rule names, taken out of the tables: the parser then finds something wrong."""
    asked = [
        Question(f"{name} {column}", content.declared(RULES[name]["query"]), content.tables_without(column))
        for name, verdict in verdicts.items()
        for column in verdict.columns & content.columns_of(verdict.tables)
    ]
    wrong = {name for name, verdict in judge(asked, module_tool("kusto")).items() if verdict.wrong}
    assert (wrong, len(asked) > 60) == ({question.name for question in asked}, True)


@pytest.mark.parametrize("name", OF_A_DEVICE)
def test_a_rule_deduplicates_by_id_and_leaves_replays_out(name: str) -> None:
    """With the newest row of each id, before anything is counted."""
    query = RULES[name]["query"]
    assert "not(Replayed)" in query
    assert re.search(
        r"\| summarize FirstIngested = min\(Ingested\), arg_max\(TimeGenerated, \*\) by (AlertId|EventId)\n", query
    )


# ---- what the rules find


@pytest.mark.parametrize("road", ["logstash", "event-hub"])
def test_new_software_out_of_support_is_found_once(road: Road) -> None:
    """All runs of a day and a half over the demo: each INSTALLED alert in one of them, with its device."""
    alerts = [alert for alert in recorded().values[Topic.ALERTS] if alert["alertType"] == "INSTALLED"]
    rows = runs(INSTALLED, workspace.demo_workspace(road))
    assert sorted((row["AlertId"], row["Device"], row["AlertSeverity"]) for row in rows) == sorted(
        (alert["alertId"], alert["deviceName"], alert["severity"].capitalize()) for alert in alerts
    )
    assert [(row["HostName"], f"{row['HostName']}.{row['DnsDomain']}") for row in rows] == [
        (row["Device"].partition(".")[0], row["Device"]) for row in rows
    ]
    assert len(rows) > 0


def test_products_that_no_device_had_are_found_once() -> None:
    """Those that came after the baseline, each in one run; the device is the one that had it first."""
    first: dict[str, dict[str, Any]] = {}
    for change in sorted(recorded().values[Topic.CHANGES], key=lambda change: change["sequence"]):
        first.setdefault(f"{change['softwareVendor']}/{change['softwareName']}", change)
    new = {product: change for product, change in first.items() if change["changeType"] != "BASELINE"}
    rows = runs(NEW, workspace.demo_workspace("logstash"))
    assert {row["Product"]: (row["Device"], row["SoftwareVersion"]) for row in rows} == {
        product: (change["deviceName"] or change["deviceId"], change["softwareVersion"])
        for product, change in new.items()
    }
    assert (len(rows), len(rows) > 0) == (len(new), True)


def test_a_product_of_the_watchlist_is_not_new() -> None:
    """It was known before the fourteen days that a rule can see."""
    change = published(Topic.CHANGES, -1, changeType="ADDED", reason="INSTALLED", replayed=False)
    (row,) = once(NEW, (Topic.CHANGES, [change]))
    played = Workspace(content.functions())
    played.ingest("logstash", Topic.CHANGES, [change], NOW - timedelta(minutes=10))
    played.know(row["Product"])
    assert played.query(RULES[NEW]["query"]) == []


@cache
def delivered_again() -> Workspace:
    """A workspace into which everything comes again 20 minutes later, and is replayed an hour later."""
    again = workspace.filled("logstash", recorded().values)
    for delay, replayed in ((timedelta(minutes=20), False), (timedelta(hours=1), True)):
        for topic in (Topic.CHANGES, Topic.ALERTS) if replayed else recorded().values:
            for moment, values in workspace.by_arrival(recorded().values[topic]).items():
                marked = [value | {"replayed": True} for value in values] if replayed else values
                again.ingest("logstash", topic, marked, moment + delay)
    return again


@pytest.mark.parametrize("name", RULES)
def test_what_comes_twice_and_what_is_replayed_changes_nothing(name: str) -> None:
    """All runs of a rule have the rows that they had without it."""
    shown = [column for column in content.result_columns(RULES[name]) if column != "TimeGenerated"]
    rows, expected = (
        [[row[column] for column in shown] for row in runs(name, played)]
        for played in (delivered_again(), workspace.demo_workspace("logstash"))
    )
    assert sorted(map(repr, rows)) == sorted(map(repr, expected))


def test_a_storm_is_one_row_without_a_host() -> None:
    """Its summary; the alerts that it counts stay in the table."""
    storm = [published(Topic.ALERTS, alertId=f"{n}", alertType="INSTALLED", summaryId="a-b") for n in range(101)]
    common: dict[str, Any] = {"alertId": "a-b", "summarizes": 101, "deviceId": "", "deviceName": None}
    for name, kind in ((INSTALLED, "INSTALLED"), (REACHED, "REACHED")):
        counted = [alert | {"alertType": kind} for alert in storm]
        (row,) = once(name, (Topic.ALERTS, [*counted, published(Topic.ALERTS, alertType=kind, **common)]))
        assert (row["AlertId"], row["WhereFound"]) == ("a-b", "101 devices")
        assert (row["Device"], row["HostName"], row["DnsDomain"]) == ("", "", "")


def test_what_reached_the_end_of_its_support_is_found() -> None:
    """REACHED, and the day of the date itself; not the thresholds before it."""
    alerts = [
        published(Topic.ALERTS, alertId="1", alertType="REACHED", deviceId="a", deviceName="one.example"),
        published(
            Topic.ALERTS, alertId="2", alertType="DATE_THRESHOLD", thresholdDays=0, deviceId="b", deviceName=None
        ),
        published(Topic.ALERTS, alertId="3", alertType="DATE_THRESHOLD", thresholdDays=7),
        published(Topic.ALERTS, alertId="4", alertType="INSTALLED"),
        published(Topic.ALERTS, alertId="5", alertType="REACHED", replayed=True),
    ]
    rows = once(REACHED, (Topic.ALERTS, alerts))
    assert sorted((row["AlertId"], row["Device"]) for row in rows) == [("1", "one.example"), ("2", "b")]


def test_held_removals_are_found() -> None:
    """A HELD report is a row with its count and its reason, however often it comes."""
    held = published(Topic.SNAPSHOTS, -1, status="HELD", held=412, reason="MASS_REMOVAL")
    (row,) = once(HELD, (Topic.SNAPSHOTS, [held, held]))
    assert (row["Held"], row["HeldBecause"], row["SnapshotId"]) == (412, "MASS_REMOVAL", held["snapshotId"])


def test_a_change_that_was_lost_on_the_way_is_a_gap() -> None:
    """The demo has none; without one of its changes, the snapshot of that change has one, in one run."""
    assert runs(GAPS, workspace.demo_workspace("logstash")) == []
    changes = recorded().values[Topic.CHANGES]
    lost = next(change for change in changes if change["changeType"] == "ADDED")
    rest = recorded().values | {Topic.CHANGES: [change for change in changes if change is not lost]}
    (gap,) = runs(GAPS, workspace.filled("logstash", rest))
    assert (gap["SnapshotId"], gap["Missing"]) == (lost["snapshotId"], 1)


def test_a_stale_feed_is_found_and_a_fresh_one_is_not() -> None:
    """By the age of the generation, by the last report, and where there is no report at all."""
    query = RULES[STALE]["query"]
    assert workspace.demo_workspace("logstash").query(query) == []
    (nothing,) = once(STALE)
    assert (nothing["LastStatus"], nothing["Newest"]) == ("NO REPORTS", None)
    complete = published(Topic.SNAPSHOTS, -1, status="COMPLETE", finishedAt=NOW - timedelta(hours=13))
    (row,) = once(STALE, (Topic.SNAPSHOTS, [complete | {"generatedAt": NOW - timedelta(hours=13)}]))
    assert (row["AgeHours"], row["LastStatus"]) == (13.0, "COMPLETE")
    untold = complete | {"generatedAt": None, "finishedAt": NOW - timedelta(hours=1)}
    assert once(STALE, (Topic.SNAPSHOTS, [untold])) == []
    failed = published(Topic.SNAPSHOTS, -1, status="FAILED", reason="denied", finishedAt=NOW, snapshotId="cpe-unknown")
    (row,) = once(STALE, (Topic.SNAPSHOTS, [untold, failed]))
    assert (row["LastStatus"], row["LastReason"], row["AgeHours"]) == ("FAILED", "denied", 1.0)
