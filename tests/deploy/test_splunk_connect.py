"""A real Kafka Connect worker with the shipped configuration: what arrives at the event collector, and what does not.

With MDE_TEST_SPLUNK_CONNECT=…/splunk-kafka-connect.jar the sink is Splunk's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from connector.model import Topic
from tests.support.broker import Broker
from tests.support.small_fleet import publish
from tests.support.splunk import app, captured, connect
from tests.support.splunk.captured import Spelling

pytestmark = [pytest.mark.broker, pytest.mark.interop, pytest.mark.timeout(900)]

TASKS = "MDE - Connect task failed"


class Road(NamedTuple):
    """Everything on the way: what was published, where it is published, where it arrives, and what carries it."""

    published: dict[Topic, list[dict[str, Any]]]
    bootstrap_servers: str
    prefix: str
    collector: connect.Collector
    worker: connect.Worker
    spelling: Spelling

    @property
    def arrived(self) -> list[dict[str, Any]]:
        """The events of our sourcetypes: the sink's question whether the token is right is none."""
        return [event for event in self.collector.events if event["sourcetype"] in app.SOURCETYPES]


VALUES: dict[Spelling, dict[str, str]] = {
    "avro": {},
    "json": {
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "transforms": "",
        "splunk.header.host": "ce_devicename",
    },
}
"""What the sink's file says for each kind of value: as shipped, and the lines behind a comment mark."""


def abort(broker: Broker, topic: str, value: bytes) -> None:
    """Leave a message of an aborted transaction on a topic."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"aborted-{topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value, b"device")
    producer.flush(30)
    producer.abort_transaction(30)


@pytest.fixture(params=["avro", "json"])
def road(
    request: pytest.FixtureRequest,
    broker: Broker,
    registry_url: str,
    topic_prefix: str,
    create_topic: Callable[..., str],
    tmp_path: Path,
) -> Iterator[Road]:
    """What a small fleet published, on its way."""
    spelling: Spelling = request.param
    names = {topic: create_topic(topic.name_under(topic_prefix), partitions=1) for topic in Topic}
    published = publish(broker, registry_url, topic_prefix, tmp_path, spelling)
    abort(broker, names[Topic.CHANGES], b"what nobody may see")
    collector = connect.Collector()
    campaigns = {key: value.replace("mde.software", topic_prefix) for key, value in app.with_campaigns().items()}
    changed = {
        **VALUES[spelling],
        **campaigns,
        "bootstrap.servers": broker.bootstrap_servers,
        "value.converter.schema.registry.url": registry_url,
        "splunk.hec.uri": collector.url,
        "tasks.max": "1",
    }
    try:
        with connect.worker(tmp_path, topic_prefix, changed) as worker:
            yield Road(published, broker.bootstrap_servers, topic_prefix, collector, worker, spelling)
    finally:
        collector.close()


def test_json_takes_the_lines_of_the_file() -> None:
    """What the sink's file has behind a comment mark is what is tested: for JSON values, and for the optional topic."""
    assert app.alternatives("connect-sink.properties") == VALUES["json"] | app.with_campaigns()


@pytest.mark.usefixtures("connect_libraries")
def test_what_arrives_is_what_the_searches_of_the_app_are_tested_with(road: Road) -> None:
    """Every message once, none of an aborted transaction, each with its index, host and headers, field by field.

    Then a message that is no Avro stops the task, the connector says RUNNING, and the app's search finds it.
    """
    number = sum(map(len, road.published.values()))
    road.worker.wait_until(lambda: len(road.arrived) >= number, f"{number} events")
    for sourcetype, topic in app.SOURCETYPES.items():
        events = [event for event in road.arrived if event["sourcetype"] == sourcetype]
        expected = [captured.hec_event(topic, value, road.spelling) for value in road.published[topic]]
        assert sorted(map(content, events)) == sorted(map(content, expected))
        assert {(event["index"], event["source"]) for event in events} == {
            ("mde", f"kafka:{topic.name_under(road.prefix)}")
        }
        for event in events:
            fields = json.loads(app.raw(event))
            assert event.get("host") == fields.get("deviceName")
            own = next(fields[name] for name in ("alertId", "campaignId", "eventId", "status") if name in fields)
            assert event["fields"]["ce_id"].endswith(own)
            assert event["fields"]["ce_type"].startswith("mde.software.")
    hold_searches(road)
    if road.spelling == "avro":
        stop_with_garbage(road)


def content(event: dict[str, Any]) -> str:
    """An event's own fields, in their order."""
    return json.dumps(json.loads(app.raw(event)), ensure_ascii=False)


def hold_searches(road: Road) -> None:
    """Every search asks the events that really arrived for nothing that they do not have."""
    rows = [app.at_search_time(event) for event in road.arrived]
    for name, search in app.searches().items():
        kinds = {kind for kind in app.SOURCETYPES if f'"{kind}"' in app.expanded(search)}
        there = {field for row in rows if row["sourcetype"] in kinds for field in row}
        # An empty list is no field; that there is one says the schema.
        lists = {field for kind in kinds for field in app.schema_fields(app.SOURCETYPES[kind]) if field.endswith("{}")}
        if kinds:
            assert (name, app.parsed(search).missing(there | lists | {"ce_replayed"})) == (name, set())


def stop_with_garbage(road: Road) -> None:
    """Publish something that is no Avro."""
    producer = Producer({"bootstrap.servers": road.bootstrap_servers})
    producer.produce(Topic.CHANGES.name_under(road.prefix), b"no value of ours", b"device")
    assert producer.flush(30) == 0
    road.worker.wait_until(
        lambda: [task["state"] for task in road.worker.status().get("tasks", [])] == ["FAILED"], "failed task"
    )
    assert road.worker.status()["connector"]["state"] == "RUNNING"
    line = next(line for line in road.worker.log().splitlines() if "until manually restarted" in line)
    written = {"_raw": line, "_time": datetime.now(UTC).timestamp(), "host": "connect-1"}
    log = written | {"index": "kafka_connect", "sourcetype": "kafka:connect:log"}
    (row,) = app.parsed(app.searches()[TASKS]).run([log], app.empty_lookups())
    assert (row["host"], row["task"], row["failures"]) == ("connect-1", "mde-software-0", 1)
    restarted = json.loads(road.worker.ask("/restart"))
    assert [task["state"] for task in restarted["tasks"]] == ["RESTARTING"]
