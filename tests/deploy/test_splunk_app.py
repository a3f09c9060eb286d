"""The Splunk app against what the connector publishes: its fields, its searches, its dashboard, and Splunk's validator.

Splunk itself is not to be had here. Its searches run on `tests/support/splunk`, over the events of a demo, in both
spellings of the values.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import __version__
from connector.model import Topic
from tests.support.recorded import OPTIONAL, recorded
from tests.support.splunk import app, captured
from tests.support.splunk.captured import Event, Spelling
from tests.support.splunk.expressions import NOW, Row

SEARCHES = app.searches()
INSTALLED = "MDE - Newly installed end-of-support software"
REACHED = "MDE - Software reached end of support"
NEW = "MDE - Software new to the organisation"
HELD = "MDE - Records held for review"
CAMPAIGN = "MDE - Campaign on many devices"
GAPS = "MDE - Snapshot sealed with gaps"
STALE = "MDE - Feed stale"
TASKS = "MDE - Connect task failed"
EXPOSURE = "MDE - Update exposure"

CIM = {
    ("change", "endpoint"): ("Change", 0),
    ("status", "update"): ("Updates", 0),
    ("alert",): ("Alerts", 0),
}


@pytest.fixture(params=["avro", "json"])
def spelling(request: pytest.FixtureRequest) -> Spelling:
    """How the values come: from Avro, or as JSON."""
    kind: Spelling = request.param
    return kind


def published(topic: Topic) -> list[dict[str, Any]]:
    """What the demo published on a topic."""
    return recorded().values[topic]


def rows_of(name: str, events: Iterable[Event], lookups: dict[str, dict[str, Row]] | None = None) -> list[Row]:
    """The rows of a search over events."""
    return over(name, map(app.at_search_time, events), lookups)


def over(name: str, rows: Iterable[Row], lookups: dict[str, dict[str, Row]] | None = None) -> list[Row]:
    """The rows of a search over events as it sees them."""
    return app.parsed(SEARCHES[name]).run(rows, app.empty_lookups() if lookups is None else lookups)


def event(topic: Topic, spelling: Spelling, like: int = 0, **fields: Any) -> Event:
    """An event like one of the demo, with other fields."""
    return captured.hec_event(topic, published(topic)[like] | fields, spelling)


# ---- the app as a whole


def packed(folder: Path) -> Path:
    """The app as docs/splunk.md has it packed."""
    command = [part.replace("deploy/", f"{app.ROOT}/deploy/") for part in app.page_command("tar ")]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / f"{app.APP.name}.tgz"


def test_splunks_validator_finds_nothing(tool: Callable[[str], Path], tmp_path: Path) -> None:
    """AppInspect passes the app before certification; the one warning says that it has a collection."""
    report = tmp_path / "report.json"
    command = [tool("splunk-appinspect"), "inspect", packed(tmp_path), "--mode", "precert"]
    ran = subprocess.run(
        [*map(str, command), "--data-format", "json", "--output-file", str(report)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
    reports = json.loads(report.read_text(encoding="utf-8"))["reports"]
    results = [check for one in reports for group in one["groups"] for check in group["checks"]]
    loud = {check["name"] for check in results if check["result"] in ("error", "failure", "future_failure", "warning")}
    assert (loud, len(results) > 200) == ({"check_collections_conf"}, True)


def test_the_app_is_known_by_its_folder_and_has_the_connectors_version() -> None:
    """Splunk wants the id to be the folder's name; one version says which connector the fields are of."""
    conf = app.conf("app")
    assert (conf["package"]["id"], conf["id"]["name"]) == (app.APP.name, app.APP.name)
    assert (conf["launcher"]["version"], conf["id"]["version"]) == (__version__, __version__)


def test_no_event_is_cut_off() -> None:
    """Every sourcetype takes events of any length, as JSON."""
    limits = {name: (stanza["TRUNCATE"], stanza["KV_MODE"]) for name, stanza in app.conf("props").items()}
    assert limits == dict.fromkeys(app.SOURCETYPES, ("0", "json"))


def test_the_time_of_an_event_is_when_it_was_observed(spelling: Spelling) -> None:
    """Not when it was published: after an outage, and in a replay, much lies between the two."""
    times = {topic: "finishedAt" if topic is Topic.SNAPSHOTS else "observedAt" for topic in app.SOURCETYPES.values()}
    for topic, name in times.items():
        value = next(value for value in published(topic) if value[name])
        late = captured.hec_event(topic, value, spelling) | {"time": NOW.timestamp() + 86_400}
        assert app.at_index_time(late)["_time"] == pytest.approx(value[name].timestamp(), abs=0.001)


def test_a_report_without_an_end_has_the_time_of_its_start(spelling: Spelling) -> None:
    """And one that has neither keeps the time at which it was published."""
    started = event(Topic.SNAPSHOTS, spelling, finishedAt=None)
    neither = captured.hec_event(Topic.SNAPSHOTS, published(Topic.SNAPSHOTS)[0], spelling)
    neither["event"] |= {"startedAt": None, "finishedAt": None}
    assert app.at_index_time(started)["_time"] == published(Topic.SNAPSHOTS)[0]["startedAt"].timestamp()
    assert app.at_index_time(neither)["_time"] == neither["time"]


# ---- the common information model


def data_model(name: str, tool: Callable[[str], Path]) -> list[dict[str, Any]]:
    """The fields of a data model, as pytest-splunk-addon carries it."""
    environment = tool("splunk-appinspect").parents[1]
    (file,) = environment.glob(f"lib/python*/site-packages/pytest_splunk_addon/data_models/{name}.json")
    fields: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["objects"][0]["fields"]
    return fields


def test_every_event_has_what_its_data_model_requires(tool: Callable[[str], Path], spelling: Spelling) -> None:
    """All events of the demo: required fields are there, those with a list of values have one of it."""
    wrong = []
    counted: Counter[str] = Counter()
    for row in captured.demo_rows(spelling):
        tags = tuple(sorted(app.tags(row)))
        if not tags:
            continue
        model, _ = CIM[tags]
        counted[model] += 1
        for field in data_model_once(model, tool):
            value = row.get(field["name"])
            allowed = field.get("expected_values") or [value]
            if (field["type"] == "required" and value in (None, "", "null")) or (value and value not in allowed):
                wrong.append((model, field["name"], value))
    assert wrong == []
    changes, alerts = published(Topic.CHANGES), published(Topic.ALERTS)
    upgrades = sum(change["reason"] == "UPGRADED" for change in changes)
    moved = sum(change["changeType"] == "BASELINE" or change["reason"] == "MOVED" for change in changes)
    assert counted == {
        "Updates": upgrades,
        "Change": len(changes) - upgrades - moved,
        "Alerts": sum(alert["alertType"] != "CLEARED" and alert["summarizes"] is None for alert in alerts),
    }


MODELS: dict[str, list[dict[str, Any]]] = {}


def data_model_once(name: str, tool: Callable[[str], Path]) -> list[dict[str, Any]]:
    """The fields of a data model, read once."""
    if name not in MODELS:
        MODELS[name] = data_model(name, tool)
    return MODELS[name]


def test_actions_and_objects_are_those_of_the_change(spelling: Spelling) -> None:
    """created, deleted and updated; the object with its vendor; what changed."""
    actions = {"ADDED": "created", "REMOVED": "deleted", "CHANGED": "updated"}
    for change in published(Topic.CHANGES):
        if change["changeType"] == "BASELINE":
            continue
        row = app.at_search_time(captured.hec_event(Topic.CHANGES, change, spelling))
        assert row["action"] == actions[change["changeType"]]
        assert row["object"] == f"{change['softwareVendor']}/{change['softwareName']}"
        assert row["object_attrs"] == (change["changedFields"] or "softwareVersion")
        assert row["dest"] == (change["deviceName"] or change["deviceId"])


def test_replays_and_baselines_are_in_no_data_model(spelling: Spelling) -> None:
    """A replay would be counted a second time; a baseline is no change."""
    (baseline, *_) = (change for change in published(Topic.CHANGES) if change["changeType"] == "BASELINE")
    replays = [change | {"replayed": True} for change in published(Topic.CHANGES)] + [baseline]
    assert {
        tag
        for value in replays
        for tag in app.tags(app.at_search_time(captured.hec_event(Topic.CHANGES, value, spelling)))
    } == set()


# ---- searches


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_asks_for_fields_that_exist(name: str) -> None:
    """Each field is one of the schema, of props.conf, of Splunk's own, or made earlier in the search."""
    assert app.parsed(SEARCHES[name]).missing(app.known_fields(SEARCHES[name])) == set()


@pytest.mark.parametrize("name", SEARCHES)
def test_a_renamed_field_would_be_noticed(name: str) -> None:
    """Without the fields of the schema, a search over events misses some."""
    search = app.parsed(SEARCHES[name])
    missing = search.missing(app.SPLUNKS_OWN)
    assert bool(missing) == (search.filter is not None and name != TASKS)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_needs_no_field_that_may_lie_behind_what_splunk_extracts(name: str) -> None:
    """Fields come from the first 5,000 bytes; lists of paths and the earlier record stand last in a message."""
    late = ("diskPaths", "registryPaths", "before.")
    assert [field for field in app.parsed(SEARCHES[name]).missing(app.SPLUNKS_OWN) if field.startswith(late)] == []


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_deduplicates_by_id_and_leaves_replays_out(name: str) -> None:
    """Before anything is counted; the log of Connect has no ids, and a lookup no events."""
    search = app.parsed(SEARCHES[name])
    if search.filter is None or name == TASKS:
        return
    deduplicated = next(command for command in search.commands if command.name not in ("eval", "where"))
    assert deduplicated.name == "dedup"
    ids = "(alertId|eventId|campaignId|epoch snapshotId (status|id))"
    assert re.search(rf"\| dedup (entraTenantId )?{ids}\b", SEARCHES[name])
    has_replays = set(search.filter.fields()) >= {"replayed"}
    assert has_replays == ("mde_changes" in SEARCHES[name] or "mde_alerts" in SEARCHES[name])


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != EXPOSURE])
def test_what_comes_twice_and_what_is_replayed_changes_nothing(name: str, spelling: Spelling) -> None:
    """The same rows where every event was delivered twice and every change was replayed."""
    rows = captured.demo_rows(spelling)
    replays = [row | {"replayed": "true"} for row in rows if "replayed" in row]
    assert over(name, [*rows, *rows, *replays]) == over(name, rows)


def test_new_software_out_of_support_is_found(spelling: Spelling) -> None:
    """One row for each INSTALLED alert of the demo."""
    installed = [alert for alert in published(Topic.ALERTS) if alert["alertType"] == "INSTALLED"]
    expected = [alert["alertId"] for alert in installed if alert["summaryId"] is None]
    rows = over(INSTALLED, captured.demo_rows(spelling))
    assert (sorted(row["alertId"] for row in rows), len(expected) > 0) == (sorted(expected), True)


def test_a_storm_is_one_row(spelling: Spelling) -> None:
    """Its summary; the alerts that it counts are left to those who ask for `mde_alerts`."""
    storm = [event(Topic.ALERTS, spelling, alertId=f"{n}", alertType="INSTALLED", summaryId="a-b") for n in range(101)]
    summary: dict[str, Any] = {
        "alertId": "a-b",
        "alertType": "INSTALLED",
        "summarizes": 101,
        "deviceId": "",
        "deviceName": None,
    }
    (row,) = rows_of(INSTALLED, [*storm, event(Topic.ALERTS, spelling, **summary)])
    assert (row["alertId"], row["device"]) == ("a-b", "101 devices")
    reached = [one | {"event": one["event"] | {"alertType": "REACHED"}} for one in storm]
    whole = event(Topic.ALERTS, spelling, **(summary | {"alertType": "REACHED"}))
    assert [row["alerts"] for row in rows_of(REACHED, [*reached, whole])] == [101]
    assert app.tags(app.at_search_time(whole)) == set()


def test_what_reached_the_end_of_its_support_is_one_row_a_version(spelling: Spelling) -> None:
    """REACHED, and the last threshold, on two devices."""
    last: dict[str, Any] = {"alertType": "DATE_THRESHOLD", "thresholdDays": 0}
    reached = [
        event(Topic.ALERTS, spelling, alertId="1", alertType="REACHED", deviceId="a", deviceName="one"),
        event(Topic.ALERTS, spelling, alertId="2", **last, deviceId="b", deviceName=None),
        event(Topic.ALERTS, spelling, alertId="3", alertType="DATE_THRESHOLD", thresholdDays=7, deviceId="c"),
    ]  # fmt: skip
    (row,) = rows_of(REACHED, reached)
    assert (row["devices"], row["deviceNames"], row["alerts"]) == (2, ["b", "one"], 2)


def test_new_products_are_found_once_and_not_in_the_baseline(spelling: Spelling) -> None:
    """The products that no earlier change had; the second run finds none."""
    lookups = app.empty_lookups()
    events = captured.demo_rows(spelling)
    products: dict[tuple[str, str], str] = {}
    for change in sorted(published(Topic.CHANGES), key=lambda change: change["sequence"]):
        products.setdefault((change["softwareVendor"], change["softwareName"]), change["changeType"])
    rows = over(NEW, events, lookups)
    assert {(row["softwareVendor"], row["softwareName"]) for row in rows} == {
        product for product, kind in products.items() if kind != "BASELINE"
    }
    assert (len(lookups["mde_products"]), over(NEW, events, lookups)) == (len(products), [])


def test_a_campaign_on_many_devices_is_found_once(spelling: Spelling) -> None:
    """From as many devices as the macro says; what only moved a count of weaknesses is for the dashboard."""
    threshold = int(app.conf("macros")["mde_campaign_devices"]["definition"])
    wide: dict[str, Any] = {"devices": threshold, "changeType": "CHANGED", "reason": "UPGRADED"}
    events = [
        event(Topic.CAMPAIGNS, spelling, campaignId="1", **wide, sampleDeviceNames=["pc-1", "Zürich"]),
        event(Topic.CAMPAIGNS, spelling, campaignId="2", **wide | {"devices": threshold - 1}),
        event(Topic.CAMPAIGNS, spelling, campaignId="3", **wide | {"reason": "ATTRIBUTES_CHANGED"}),
    ]
    (row,) = rows_of(CAMPAIGN, [*events, *events])
    assert (row["campaignId"], row["devices"], row["sampleDevices"]) == ("1", threshold, '["pc-1","Zürich"]')
    assert app.tags(app.at_search_time(events[0])) == set()


def test_where_no_campaigns_are_published_nothing_is_missed(spelling: Spelling) -> None:
    """Their topic is optional: every other search and panel finds what it finds with them."""
    rows = captured.demo_rows(spelling)
    without = [row for row in rows if row["sourcetype"] != "mde:software:campaign"]
    changed = {name for name in SEARCHES if name != EXPOSURE and over(name, rows) != over(name, without)}
    assert (changed, over(CAMPAIGN, without)) == ({"panel Campaigns"}, [])


def test_held_removals_are_found(spelling: Spelling) -> None:
    """A HELD report is a row with its count."""
    held = event(Topic.SNAPSHOTS, spelling, status="HELD", held=412, reason="share")
    (row,) = rows_of(HELD, [held, held])
    assert (row["held"], row["reason"]) == (412, "share")


def test_a_change_that_was_lost_on_the_way_is_a_gap(spelling: Spelling) -> None:
    """The demo has none; without one of its changes, the snapshot of that change has one."""
    rows = captured.demo_rows(spelling)
    assert over(GAPS, rows) == []
    lost = next(row for row in rows if row.get("changeType") == "ADDED")
    (gap,) = over(GAPS, [row for row in rows if row is not lost])
    assert (gap["snapshotId"], gap["missing"]) == (lost["snapshotId"], 1)


def test_a_snapshot_that_was_sealed_a_minute_ago_is_no_gap_yet(spelling: Spelling) -> None:
    """Its changes may still be on the way."""
    rows = [row for row in captured.demo_rows(spelling) if row.get("changeType") != "ADDED"]
    just_sealed = [row | ({"_time": NOW.timestamp() - 60} if row.get("status") == "COMPLETE" else {}) for row in rows]
    assert (over(GAPS, rows) != [], over(GAPS, just_sealed)) == (True, [])


def test_a_stale_feed_is_found_and_a_fresh_one_is_not(spelling: Spelling) -> None:
    """By the age of the generation, or of the poll where the API tells none; by the last report, or by its absence."""
    assert over(STALE, captured.demo_rows(spelling)) == []
    (nothing,) = rows_of(STALE, [])
    assert nothing["lastStatus"] == "NO REPORTS"
    complete = [value for value in published(Topic.SNAPSHOTS) if value["status"] == "COMPLETE"]
    old = NOW - timedelta(hours=13)
    late = captured.hec_event(Topic.SNAPSHOTS, complete[0] | {"generatedAt": old}, spelling)
    (row,) = rows_of(STALE, [late])
    assert (row["ageHours"], row["lastStatus"]) == (13.0, "COMPLETE")
    untold = complete[-1] | {"generatedAt": None, "finishedAt": NOW - timedelta(hours=1)}
    assert rows_of(STALE, [captured.hec_event(Topic.SNAPSHOTS, untold, spelling)]) == []
    failed = complete[-1] | {"status": "FAILED", "reason": "denied", "finishedAt": NOW, "snapshotId": "cpe-unknown"}
    last = app.at_search_time(captured.hec_event(Topic.SNAPSHOTS, failed, spelling))
    (row,) = over(STALE, [*captured.demo_rows(spelling), last])
    assert (row["lastStatus"], row["lastReason"], row["ageHours"]) == ("FAILED", "denied", 2.0)


def test_the_lookup_of_exposure_is_the_inventory(spelling: Spelling) -> None:
    """All that is out of support or has a date, from the changes alone; after a second run as after one."""
    lookups = app.empty_lookups()
    for _ in range(2):
        over(EXPOSURE, captured.demo_rows(spelling), lookups)
    columns = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
    present = [row for row in lookups["mde_exposure"].values() if row["present"] == 1]
    inventory = recorded().inventory.values()
    assert sorted(tuple(row[name] for name in columns) for row in present) == sorted(
        tuple(record[name] for name in columns)
        for record in inventory
        if record["endOfSupportDate"] or str(record["endOfSupportStatus"]).startswith("EOS")
    )
    out = {tuple(row[name] for name in columns) for row in present if row["exposed"] == 1}
    assert out == {
        tuple(record[name] for name in columns)
        for record in inventory
        if record["endOfSupportStatus"] in ("EOS Version", "EOS Software")
    }


# ---- the dashboard


def test_every_panel_has_its_search_and_its_place() -> None:
    """No search without a panel, no panel without a search or a place."""
    definition = app.dashboard()
    shown = {panel["dataSources"]["primary"] for panel in definition["visualizations"].values()}
    placed = {block["item"] for block in definition["layout"]["structure"]}
    assert (shown, placed) == (set(definition["dataSources"]), set(definition["visualizations"]))


def test_the_panels_show_the_demo(spelling: Spelling) -> None:
    """Every panel has rows, and those of exposure add up."""
    lookups = app.empty_lookups()
    rows = captured.demo_rows(spelling)
    over(EXPOSURE, rows, lookups)
    shown = {name: over(name, rows, lookups) for name in app.panels()}
    assert [name for name, listed in shown.items() if not listed] == []
    present = [row for row in lookups["mde_exposure"].values() if row["present"] == 1]
    today = NOW.strftime("%Y-%m-%d")
    out = [row for row in present if row["exposed"] == 1 or "null" > row["endOfSupportDate"] < today]
    dated = [row for row in present if row["endOfSupportDate"] != "null"]
    assert shown["panel Out of support now, records"] == [{"records": len(out)}]
    assert shown["panel Out of support now, devices"] == [{"devices": len({row["deviceId"] for row in out})}]
    assert sum(row["records"] for row in shown["panel Exposure by date"]) == len(dated)
    assert shown["panel Age of the newest generation"] == [{"hours": 2.0}]
    assert sum(row["count"] for row in shown["panel Changes"]) == sum(
        change["changeType"] != "BASELINE" for change in published(Topic.CHANGES)
    )
    widest = sorted((campaign["devices"] for campaign in published(Topic.CAMPAIGNS)), reverse=True)
    assert [row["devices"] for row in shown["panel Campaigns"]] == widest[:50]


# ---- the roads


def test_the_roads_feed_the_sourcetypes_of_the_app() -> None:
    """Topic by topic in the sink of Connect, the optional one by the lines behind a comment mark."""
    shipped = app.properties("connect-sink.properties")
    for sink, left_out in ((shipped, OPTIONAL), (shipped | app.with_campaigns(), ())):
        topics, kinds, indexes = (sink[key].split(",") for key in ("topics", "splunk.sourcetypes", "splunk.indexes"))
        assert dict(zip(topics, kinds, strict=True)) == {
            topic.name_under("mde.software"): kind for kind, topic in app.SOURCETYPES.items() if topic not in left_out
        }
        assert len(indexes) == len(topics)
        assert {f"index={index}" for index in indexes} == {app.conf("macros")["mde_index"]["definition"]}
        assert sink["splunk.sources"].split(",") == [f"kafka:{topic}" for topic in topics]


def test_the_sink_reads_what_is_committed_of_named_topics_with_headers_as_text() -> None:
    """What nobody guesses, in one place; and its host comes from the topics that have a device."""
    sink, worker = app.properties("connect-sink.properties"), app.properties("connect-worker.properties")
    assert (sink["consumer.override.isolation.level"], worker["connector.client.config.override.policy"]) == (
        "read_committed",
        "All",
    )
    assert (sink["header.converter"].rpartition(".")[2], "topics.regex" in sink) == ("StringConverter", False)
    pattern = re.compile(sink["predicates.devices.pattern"])
    matched = {topic for topic in Topic if pattern.fullmatch(topic.name_under("mde.software"))}
    assert matched == {topic for topic in app.SOURCETYPES.values() if "deviceName" in app.schema_fields(topic)}


def test_soc4kafka_has_a_pipeline_for_each_topic() -> None:
    """Named as the app wants them; that of the optional topic stands behind a comment mark. Every part is used then."""
    yaml = pytest.importorskip("yaml")
    content = (app.SPLUNK / "soc4kafka.yaml").read_text(encoding="utf-8")
    shipped = yaml.safe_load(content)["service"]["pipelines"]
    collector = yaml.safe_load(content.replace("#logs/", "logs/"))
    pipelines = collector["service"]["pipelines"].values()
    assert set(collector["service"]["pipelines"]) - set(shipped) == {f"logs/{topic.value}" for topic in OPTIONAL}
    roads = {}
    for pipeline in pipelines:
        (receiver,), (exporter,) = pipeline["receivers"], pipeline["exporters"]
        read = collector["receivers"][receiver]["logs"]
        assert read["encoding"] == "json"
        roads[collector["exporters"][exporter]["sourcetype"]] = read["topics"]
    assert roads == {kind: [topic.name_under("mde.software")] for kind, topic in app.SOURCETYPES.items()}
    for part in ("receivers", "processors", "exporters"):
        assert set(collector[part]) == {name for pipeline in pipelines for name in pipeline[part]}


# ---- the page


def test_every_command_of_the_page_runs_in_a_test_or_is_marked() -> None:
    """Those of the connector run in all its tests, the others here and in test_splunk_connect.py."""
    run = ("mde-inventory ", "tar ", "connect-standalone.sh connect-worker.properties connect-sink.properties", "curl ")
    lines = app.page_commands()
    assert [line for line in lines if not line.endswith("# not run here") and not line.startswith(run)] == []
    assert len(lines) > 6


def test_the_event_of_the_page_is_one() -> None:
    """Its names are fields of an alert, and it is what the sink makes of one."""
    (block,) = re.findall(r"^```json\n(.*?)^```$", app.PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    names = {name.removesuffix("{}") for name in app.schema_fields(Topic.ALERTS)}
    assert set(shown["event"]) <= names
    assert set(app.at_search_time(shown)) >= {"_time", "dest", "signature", "severity", "ce_id"}
    assert app.tags(app.at_search_time(shown)) == {"alert"}


def test_the_page_lists_every_search() -> None:
    """By its name, and no other."""
    rows = re.findall(r"^\| (MDE - [^|]+?) \|", app.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(app.saved_searches())
