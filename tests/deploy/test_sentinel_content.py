"""What analysts open in Sentinel: hunting queries, the inventory function, the workbook, and the template of it all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.model import Topic
from tests.support.recorded import recorded
from tests.support.sentinel import azure_models, content, deployable, workspace
from tests.support.sentinel.checking import Question, Verdict, judge
from tests.support.sentinel.tables import TABLES, Road
from tests.support.sentinel.templates import ROOT
from tests.support.sentinel.workspace import NOW, Row, Workspace

HUNTING = content.hunting()
PANELS = content.panels()
OTHERS = {name: text for name, text in content.queries().items() if not name.startswith("rule ")}

SOFTWARE_INVENTORY = {
    "DeviceId": "string",
    "DeviceName": "string",
    "OSPlatform": "string",
    "OSVersion": "string",
    "OSArchitecture": "string",
    "SoftwareVendor": "string",
    "SoftwareName": "string",
    "SoftwareVersion": "string",
    "EndOfSupportStatus": "string",
    "EndOfSupportDate": "datetime",
    "ProductCodeCpe": "string",
}
"""The columns of Defender's DeviceTvmSoftwareInventory."""


def question(name: str, text: str, tables: dict[str, dict[str, str]]) -> Question:
    """A query with the function that it calls; the function itself calls none."""
    return Question(name, text if name.startswith("function ") else content.declared(text), tables)


@pytest.fixture(scope="module")
def verdicts(module_tool: Callable[[str], Path]) -> dict[str, Verdict]:
    """What Microsoft's parser says of each query."""
    asked = [question(name, text, content.known_tables()) for name, text in OTHERS.items()]
    return judge(asked, module_tool("kusto"))


def played_over(name: str) -> Topic:
    """The topic that a hunting query asks for."""
    (topic,) = (topic for topic, table in TABLES.items() if table in HUNTING[name]["query"])
    return topic


def hunted(name: str, *changes: dict[str, Any]) -> list[Row]:
    """The rows of a hunting query over changes, or over those of the demo."""
    played = workspace.demo_workspace("logstash")
    if changes:
        played = Workspace(content.functions())
        played.ingest("logstash", Topic.CHANGES, changes)
    return played.query(HUNTING[name]["query"])


def change(**fields: Any) -> dict[str, Any]:
    """A change of one product on one device, with the fields given."""
    like = next(change for change in recorded().values[Topic.CHANGES] if change["reason"] == "INSTALLED")
    changed: dict[str, Any] = like | fields
    return changed


# ---- KQL


@pytest.mark.parametrize("name", OTHERS)
def test_microsofts_parser_finds_nothing_wrong(name: str, verdicts: dict[str, Verdict]) -> None:
    """No unknown table, column or function, no types that do not fit."""
    assert verdicts[name].wrong == []


def test_a_renamed_column_breaks_every_query_that_uses_it(
    verdicts: dict[str, Verdict], module_tool: Callable[[str], Path]
) -> None:
    """Each column that a query names, taken out of the tables: the parser then finds something wrong."""
    asked = [
        question(f"{name} {column}", OTHERS[name], content.tables_without(column))
        for name, verdict in verdicts.items()
        for column in verdict.columns & content.columns_of(verdict.tables)
        # What a query itself gives that name is not missed.
        if not re.search(rf"\b{column} = ", OTHERS[name])
    ]
    wrong = {name for name, verdict in judge(asked, module_tool("kusto")).items() if verdict.wrong}
    assert (wrong, len(asked) > 90) == ({question.name for question in asked}, True)


# ---- hunting


@pytest.mark.parametrize("name", HUNTING)
def test_a_hunting_query_has_the_keys_of_microsofts_template(name: str, verdicts: dict[str, Verdict]) -> None:
    """What its repository requires; and its host is a column of its result."""
    document = HUNTING[name]
    required = {"id", "name", "description", "requiredDataConnectors", "tactics", "relevantTechniques", "query"}
    assert required - set(document) == set()
    for mapping in document.get("entityMappings", []):
        assert {field["columnName"] for field in mapping["fieldMappings"]} <= set(verdicts[f"hunting {name}"].result)


def test_what_changed_on_a_device_is_all_that_did() -> None:
    """The changes of one device of the demo, newest first, each with the version before."""
    wanted = re.search(r'let Wanted = "(.*)"', HUNTING["device-changes"]["query"])
    assert wanted
    expected = [
        change
        for change in recorded().values[Topic.CHANGES]
        if str(change["deviceName"]).startswith(wanted[1]) and change["changeType"] != "BASELINE"
    ]
    rows = hunted("device-changes")
    assert sorted(row["EventId"] for row in rows) == sorted(change["eventId"] for change in expected)
    assert [row["ObservedAt"] for row in rows] == sorted((row["ObservedAt"] for row in rows), reverse=True)
    upgrades = {change["eventId"]: change["before"]["softwareVersion"] for change in expected if change["before"]}
    assert {row["EventId"] for row in rows if row["PreviousVersion"]} == {
        event for event, version in upgrades.items() for row in rows
        if row["EventId"] == event and version != row["SoftwareVersion"]
    }  # fmt: skip
    assert len(rows) > 5


def test_what_was_first_seen_is_found_and_the_baseline_is_not() -> None:
    """The products of the demo that came after its baseline."""
    baseline = {
        (change["softwareVendor"], change["softwareName"])
        for change in recorded().values[Topic.CHANGES]
        if change["changeType"] == "BASELINE"
    }
    came = {(change["softwareVendor"], change["softwareName"]) for change in recorded().values[Topic.CHANGES]}
    rows = hunted("first-seen")
    assert {row["Product"] for row in rows} == {"/".join(product) for product in came - baseline}
    assert {row["Product"] for row in hunted("known-products")} == {"/".join(product) for product in came}


def test_downgrades_are_found_with_both_versions() -> None:
    """Those of the demo."""
    expected = [change for change in recorded().values[Topic.CHANGES] if change["reason"] == "DOWNGRADED"]
    rows = hunted("downgrades")
    assert sorted((row["EventId"], row["PreviousVersion"], row["SoftwareVersion"]) for row in rows) == sorted(
        (change["eventId"], change["before"]["softwareVersion"], change["softwareVersion"]) for change in expected
    )
    assert len(rows) > 0


def test_campaigns_are_found_those_on_most_devices_first() -> None:
    """Those of the demo, each with its product, its versions and some of its devices."""
    expected = [
        (
            campaign["campaignId"], campaign["devices"], campaign["previousVersion"] or "",
            campaign["softwareVersion"] or "", campaign["sampleDeviceNames"],
        )
        for campaign in recorded().values[Topic.CAMPAIGNS]
    ]  # fmt: skip
    rows = hunted("campaigns")
    columns = ("CampaignId", "Devices", "PreviousVersion", "SoftwareVersion", "SampleDeviceNames")
    assert sorted(tuple(row[name] for name in columns) for row in rows) == sorted(expected)
    assert [row["Devices"] for row in rows] == sorted((row["Devices"] for row in rows), reverse=True)
    whole = {row["CampaignId"] for row in rows if not row["Product"]}
    assert whole == {
        campaign["campaignId"] for campaign in recorded().values[Topic.CAMPAIGNS] if not campaign["softwareName"]
    }
    assert len(rows) > 5


def test_software_that_came_back_is_found_with_its_last_removal() -> None:
    """Removed twice and back twice: two rows; a removal that was no uninstallation is none."""
    days = [NOW - timedelta(days=number) for number in (9, 8, 6, 5, 3)]
    kinds = ("INSTALLED", "UNINSTALLED", "INSTALLED", "UNINSTALLED", "INSTALLED")
    history = [
        change(
            eventId=f"{number}",
            sequence=number,
            reason=reason,
            changeType="REMOVED" if reason == "UNINSTALLED" else "ADDED",
            observedAt=day,
            emittedAt=day,
        )
        for number, (reason, day) in enumerate(zip(kinds, days, strict=True))
    ]
    elsewhere = change(eventId="9", deviceId="another", observedAt=days[-1], emittedAt=days[-1])
    missing = history[1] | {"deviceId": "another", "eventId": "8", "reason": "DEVICE_MISSING"}
    rows = hunted("back-after-removal", *history, elsewhere, missing)
    assert [(row["EventId"], row["DaysAway"]) for row in rows] == [("4", 2.0), ("2", 2.0)]


@pytest.mark.parametrize("name", [name for name in HUNTING if name != "known-products"])
def test_what_comes_twice_changes_no_hunting_query(name: str) -> None:
    """Nor does a replay, which is how the past comes into a new workspace; a campaign is never replayed."""
    topic = played_over(name)
    published = recorded().values[topic]
    earlier = [value | {"replayed": True} if "replayed" in value else value for value in published]
    again = Workspace(content.functions())
    again.ingest("logstash", topic, earlier, NOW)
    again.ingest("logstash", topic, published, NOW)
    rows = again.query(HUNTING[name]["query"])
    assert sorted(map(repr, rows)) == sorted(map(repr, hunted(name)))


# ---- the inventory


@pytest.mark.parametrize("road", ["logstash", "event-hub"])
def test_the_function_is_the_inventory(road: Road) -> None:
    """Folded from the changes alone, it has the records that the connector's own inventory has, field by field."""
    rows = workspace.demo_workspace(road).query(content.INVENTORY)
    columns = ("DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion", "EndOfSupportStatus")
    fields = ("deviceId", "softwareVendor", "softwareName", "softwareVersion", "endOfSupportStatus")
    assert sorted(tuple(row[name] or "" for name in columns) for row in rows) == sorted(
        tuple(record[name] or "" for name in fields) for record in recorded().inventory.values()
    )
    dated = [row for row in rows if row["EndOfSupportDate"]]
    assert len(dated) == sum(bool(record["endOfSupportDate"]) for record in recorded().inventory.values())


def test_the_function_has_the_columns_of_defenders_table(verdicts: dict[str, Verdict]) -> None:
    """With their names and types, so that a query for DeviceTvmSoftwareInventory runs on it."""
    result = verdicts[f"function {content.INVENTORY}"].result
    assert {name: result.get(name) for name in SOFTWARE_INVENTORY} == SOFTWARE_INVENTORY


def test_a_query_for_defenders_table_runs_on_the_function() -> None:
    """As it stands in hunting queries everywhere."""
    query = """
    DeviceTvmSoftwareInventory
    | where EndOfSupportStatus in ("EOS Version", "EOS Software") and EndOfSupportDate < now()
    | summarize Devices = dcount(DeviceName) by SoftwareVendor, SoftwareName, OSPlatform
    """
    rows = workspace.demo_workspace("logstash").query(query.replace("DeviceTvmSoftwareInventory", content.INVENTORY))
    assert len(rows) > 5


def test_a_new_epoch_replaces_the_inventory_and_replays_change_nothing() -> None:
    """What the new baseline does not have is gone; a replay of an old removal removes nothing."""
    old = change(eventId="1", changeType="BASELINE", reason="FIRST_SNAPSHOT", epoch=1, sequence=1, softwareVersion="1")
    removed = old | {"eventId": "2", "changeType": "REMOVED", "reason": "UNINSTALLED", "sequence": 2}
    gone = old | {"eventId": "3", "softwareVersion": "2", "sequence": 3}
    fresh = old | {"eventId": "4", "epoch": 2, "sequence": 1}
    played = Workspace(content.functions())
    played.ingest("logstash", Topic.CHANGES, [old, gone, removed, fresh])
    played.ingest("logstash", Topic.CHANGES, [removed | {"replayed": True}], NOW)
    assert [row["SoftwareVersion"] for row in played.query(content.INVENTORY)] == ["1"]


# ---- the workbook


def test_every_panel_shows_something_of_the_demo() -> None:
    """Rows in each; and those about exposure add up to the inventory."""
    played = workspace.demo_workspace("logstash")
    shown = {name: played.query(text) for name, text in PANELS.items()}
    assert [name for name, rows in shown.items() if not rows] == []
    today = f"{NOW:%Y-%m-%d}"
    inventory = recorded().inventory.values()
    out = [
        record
        for record in inventory
        if record["endOfSupportStatus"] in ("EOS Version", "EOS Software")
        or "" < (record["endOfSupportDate"] or "") < today
    ]
    assert shown["Out of support now"] == [
        {
            "Records": len(out),
            "Devices": len({record["deviceId"] for record in out}),
            "Products": len({(record["softwareVendor"], record["softwareName"]) for record in out}),
        }
    ]
    assert sum(row["Records"] for row in shown["Exposure by date"]) == sum(
        bool(record["endOfSupportDate"]) for record in inventory
    )
    assert shown["Age of the newest generation"][0]["AgeHours"] == 2.0
    assert sum(row["Changes"] for row in shown["Changes by day"]) == sum(
        change["changeType"] != "BASELINE" for change in recorded().values[Topic.CHANGES]
    )
    assert len(shown["Newest alerts"]) == len(recorded().values[Topic.ALERTS])
    assert len(shown["Campaigns on many devices"]) == min(len(recorded().values[Topic.CAMPAIGNS]), 50)


def test_every_panel_has_a_title_and_the_time_of_the_workbook() -> None:
    """Its parameter is the one that the panels read; no two items have one name."""
    items = content.workbook()["items"]
    names = [item["name"] for item in items]
    (parameters,) = (item["content"]["parameters"] for item in items if item["type"] == 9)
    read = {item["content"]["timeContextFromParameter"] for item in items if item["type"] == 3}
    assert (len(names), read) == (len(set(names)), {parameter["name"] for parameter in parameters})
    assert [item for item in items if item["type"] == 3 and item["name"] != item["content"]["title"]] == []


# ---- the template


def test_the_template_is_generated_from_the_files() -> None:
    """What is shipped is what `make sentinel` writes."""
    shipped = deployable.FILE.read_text(encoding="utf-8")
    assert shipped == json.dumps(deployable.everything(), ensure_ascii=False, indent=2) + "\n"


def test_azures_models_know_every_property_of_the_template() -> None:
    """Rules, searches, watchlist and workbook."""
    resources = deployable.everything()["resources"]
    assert [path for resource in resources for path in azure_models.unknown_properties(resource)] == []
    kinds = {resource["type"].rpartition("/")[2] for resource in resources}
    assert kinds == {"alertRules", "savedSearches", "Watchlists", "workbooks"}
    assert len(resources) == len(content.rules()) + len(HUNTING) + len(content.functions()) + 2


def test_no_text_of_the_template_is_taken_for_an_expression() -> None:
    """Azure evaluates what begins with a bracket: that is a name, an id or a parameter, and never a query."""
    found = re.findall(r'"(\w+)": "(\[[^"]*)"', json.dumps(deployable.everything()["resources"]))
    assert {key for key, _ in found} == {"name", "condition", "enabled", "location", "sourceId"}


# ---- the page

PAGE = (ROOT / "docs" / "sentinel.md").read_text(encoding="utf-8")


def test_every_command_of_the_page_runs_in_a_test_or_is_marked() -> None:
    """Those of the connector run in all its tests; those of Azure and Logstash cannot run here."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert [
        line for line in lines if not line.startswith("mde-inventory ") and not line.endswith("# not run here")
    ] == []
    assert len(lines) > 6


def test_the_commands_of_the_page_give_parameters_that_the_templates_have() -> None:
    """By the names of the files that they deploy."""
    for file, given in re.findall(r"-f (deploy/sentinel/[\w-]+[.]json) -p ([^#\n]*)", PAGE):
        parameters = json.loads((ROOT / file).read_text(encoding="utf-8"))["parameters"]
        names = {word.partition("=")[0] for word in given.split()}
        assert names <= set(parameters)
        assert {name for name, one in parameters.items() if "defaultValue" not in one} <= names


def test_the_event_of_the_page_is_a_row() -> None:
    """It has the columns of the table in their order, and is what the transforms make of an alert of the demo."""
    (block,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    rows = workspace.demo_workspace("event-hub").query("MdeSoftwareAlerts_CL")
    (row,) = (row for row in rows if row["AlertId"] == shown["AlertId"])
    del row[workspace.INGESTED]
    as_text = {
        name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value for name, value in row.items()
    }
    assert list(shown.items()) == list(as_text.items())


def test_the_rule_of_the_page_is_judged_too(tool: Callable[[str], Path]) -> None:
    """What people copy into rules of their own."""
    (text,) = re.findall(r"^```kusto\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert judge([Question("page", text, content.known_tables())], tool("kusto"))["page"].wrong == []


def test_the_page_lists_every_rule_and_every_hunting_query() -> None:
    """By their names, and no others."""
    for head, documents in (("analytics rule", content.rules()), ("hunting query", HUNTING)):
        table = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
        assert table
        names = [row.split(" | ")[0].removeprefix("| ") for row in table[1].splitlines()]
        assert sorted(names) == sorted(document["name"] for document in documents.values())
