"""The mappings to OCSF and ECS, applied to what the demo published."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from connector.cli import demo
from connector.kafka import schemas
from connector.model import Reason, Topic
from tests.deploy.mapping import apply, rule_for

MAPPINGS = Path(__file__).parents[2] / "deploy" / "mappings"
OCSF: dict[str, Any] = yaml.safe_load((MAPPINGS / "ocsf.yaml").read_text(encoding="utf-8"))
ECS: dict[str, Any] = yaml.safe_load((MAPPINGS / "ecs.yaml").read_text(encoding="utf-8"))
NAMES = {"changes": Topic.CHANGES, "alerts": Topic.ALERTS}

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def events() -> Events:
    """What the demo published: topic and decoded value. The last alert comes once more, as the summary of a storm."""
    seen: Events = []

    class Recording(demo.Consumer):
        """The demo's consumer, which keeps what it reads."""

        def read_changes(self, number: int) -> list[dict[str, Any]]:
            """Keep the changes."""
            changes = super().read_changes(number)
            seen.extend(("changes", change) for change in changes)
            return changes

        def read_alerts(self, number: int) -> list[dict[str, Any]]:
            """Keep the alerts."""
            alerts = super().read_alerts(number)
            seen.extend(("alerts", alert) for alert in alerts)
            return alerts

    assert demo.play(devices=40, generations=6, seed=1, consume=Recording) == 0
    last = next(event for topic, event in reversed(seen) if topic == "alerts")
    summary = last | {"deviceId": "", "deviceName": None, "osPlatform": None, "incidentKey": None, "summarizes": 40}
    return [*seen, ("alerts", summary)]


def fields_of(topic: Topic) -> set[str]:
    """The fields of a topic's messages."""
    return {field["name"] for field in json.loads(schemas.schema_of(topic))["fields"]}


def fields_named(mapping: dict[str, Any], entry: dict[str, Any]) -> Iterator[str]:
    """The fields that an entry reads, in its condition and in its parts."""
    rules = [entry.get("set", {}), *(mapping["parts"][part] for part in entry["parts"])]
    text = json.dumps(rules)
    yield from entry.get("when", {})
    yield from (name.partition(".")[0] for name in re.findall(r'"from": "([\w.]+)"', text))
    yield from re.findall(r"\$\{(\w+)\}", text)


@pytest.mark.parametrize("mapping", [OCSF, ECS], ids=["ocsf", "ecs"])
def test_every_field_that_a_mapping_reads_is_in_the_schema(mapping: dict[str, Any]) -> None:
    """A renamed field breaks this. A field that only the other topic has comes to nothing, and is in a shared part."""
    both = set().union(*map(fields_of, NAMES.values()))
    for entry in mapping["events"]:
        named = set(fields_named(mapping, entry))
        assert named <= both
        own = {"any", "device"}
        only_here = set(fields_named(mapping, entry | {"parts": [part for part in entry["parts"] if part not in own]}))
        assert only_here <= fields_of(NAMES[entry["topic"]]), entry["name"]


@pytest.mark.parametrize("mapping", [OCSF, ECS], ids=["ocsf", "ecs"])
def test_every_reason_that_a_mapping_names_is_one(mapping: dict[str, Any]) -> None:
    """And no reason is claimed to be an installation, a removal or an update twice."""
    named = [reason for entry in mapping["events"] for reason in entry.get("when", {}).get("reason", [])]
    assert (set(named) - set(Reason), len(named)) == (set(), len(set(named)))


def test_every_event_of_the_demo_is_a_valid_event_of_ocsf(events: Events) -> None:
    """Each validates against the schema of its class, in OCSF 1.8.0, with the profile that it names."""
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
    validators: dict[tuple[str, str], Any] = {}
    counts: Counter[str] = Counter()
    for topic, event in events:
        entry, mapped = rule_for(OCSF, topic, event), apply(OCSF, topic, event)
        profiles = mapped["metadata"].get("profiles", [])
        key = (entry["class"], str(profiles))
        if key not in validators:
            validators[key] = jsonschema.Draft202012Validator(schema.get_class_schema(entry["class"], profiles))
        assert [error.message for error in validators[key].iter_errors(mapped)] == [], (entry["name"], mapped)
        # A type is its class and its activity.
        assert mapped["type_uid"] == mapped["class_uid"] * 100 + mapped["activity_id"]
        counts[entry["name"]] += 1
    assert set(counts) == {entry["name"] for entry in OCSF["events"]}, counts


def test_a_wrong_event_would_be_noticed(events: Events) -> None:
    """A field that OCSF does not have, and one that is missing, are errors of the schema that the test uses."""
    topic, event = events[0]
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("software_info", ["host"])
    mapped = apply(OCSF, topic, event)
    for wrong in (mapped | {"end_of_support": True}, {key: mapped[key] for key in mapped if key != "device"}):
        assert list(jsonschema.Draft202012Validator(schema).iter_errors(wrong))


def test_what_identifies_and_dates_an_event_survives(events: Events) -> None:
    """Id, tenant, device and time are those of the message, in both shapes."""
    for topic, event in events:
        uid = event["eventId"] if topic == "changes" else event["alertId"]
        ocsf, ecs = apply(OCSF, topic, event), apply(ECS, topic, event)
        moment: datetime = event["observedAt"]
        assert (ocsf["metadata"]["uid"], ecs["event"]["id"]) == (uid, uid)
        assert ocsf["metadata"]["tenant_uid"] == ecs["organization"]["id"] == event["entraTenantId"]
        assert ocsf["time"] == moment.timestamp() * 1000
        assert datetime.fromisoformat(ecs["@timestamp"]) == moment
        if event["deviceId"]:
            assert ocsf["device"]["uid"] == ecs["host"]["id"] == event["deviceId"]


def test_a_cleared_alert_closes_the_finding_that_was_raised(events: Events) -> None:
    """Whatever is raised about a product on a device, and its end, have one `finding_info.uid`."""
    raised = [event for topic, event in events if topic == "alerts" and event["alertType"] != "CLEARED"]
    for event in raised:
        finding = apply(OCSF, "alerts", event)
        closing = apply(OCSF, "alerts", event | {"alertType": "CLEARED", "alertId": "another", "softwareVersion": "2"})
        assert finding["activity_id"] == 1
        if event["deviceId"]:
            assert closing["activity_id"] == 3
            assert closing["finding_info"]["uid"] == finding["finding_info"]["uid"]


def test_every_document_of_ecs_has_words_that_ecs_allows(events: Events) -> None:
    """Kind, category and type are of ECS's closed lists; nothing of ours stands outside `mde`."""
    for topic, event in events:
        document = apply(ECS, topic, event)
        assert document["event"]["kind"] in {"alert", "event", "state"}
        assert set(document["event"]["category"]) == {"package"}
        # The types that ECS expects with the category `package`.
        assert set(document["event"]["type"]) <= {"access", "change", "deletion", "info", "installation", "start"}
        assert set(document) <= {
            "@timestamp", "ecs", "event", "host", "mde", "message", "observer", "organization", "package", "rule",
        }  # fmt: skip
