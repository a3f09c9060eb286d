"""Creating the topics on a real cluster, and judging those that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the documented place of them all
    AdminClient,
    ConfigResource,
    ResourceType,
)

from connector.errors import ConfigError, SinkUnavailable
from connector.kafka.topics import Topics
from connector.model import Check, Topic
from connector.wording import counted
from tests.support.broker import Broker, LocalBroker, free_ports

TOPICS = ("changes", "alerts", "snapshots", "checkpoints")
PARTITIONS = {"changes": 6, "alerts": 6, "snapshots": 1, "checkpoints": 1, "inventory": 6, "campaigns": 1}


def _topics(broker: Broker, prefix: str, *, optional: bool = False, **client: Any) -> Topics:
    table = {"bootstrap.servers": broker.bootstrap_servers, **client}
    others = {Topic.INVENTORY, Topic.CAMPAIGNS}
    return Topics(table, prefix=prefix, topics=[topic for topic in Topic if optional or topic not in others])


def _by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def _settings(broker: Broker, topic: str) -> dict[str, str | None]:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[resource].result(30)
    return {key: entry.value for key, entry in entries.items()}


def test_topics_are_created_with_their_settings(broker: Broker, topic_prefix: str) -> None:
    """Events are kept for 90 days, state is compacted and never expires, and a second run changes nothing."""
    topics = _topics(broker, topic_prefix, optional=True)
    created = list(topics.create())
    assert [check.name for check in created] == [
        f"{topic_prefix}.{name}" for name in (*TOPICS, "inventory", "campaigns")
    ]
    assert all(check.fine and check.text.startswith("created: ") for check in created)
    names = ("cleanup.policy", "retention.ms", "segment.ms", "min.insync.replicas", "delete.retention.ms")
    day, week, quarter = "86400000", "604800000", "7776000000"
    wanted = {
        "changes": ("delete", quarter, week, "1", day),
        "alerts": ("delete", quarter, week, "1", day),
        "snapshots": ("delete", quarter, week, "1", day),
        "checkpoints": ("compact", week, day, "1", day),
        "inventory": ("compact", week, day, "1", week),
        "campaigns": ("delete", quarter, week, "1", day),
    }
    actual = {name: tuple(_settings(broker, f"{topic_prefix}.{name}")[setting] for setting in names) for name in wanted}
    assert actual == wanted
    again = list(topics.create())
    assert {check.name: (check.fine, check.text) for check in again} == {
        f"{topic_prefix}.{name}": (
            True,
            f"{counted(partitions, 'partition')}, 1 replica, cleanup.policy={wanted[name][0]}",
        )
        for name, partitions in PARTITIONS.items()
    }


def test_a_missing_topic_is_named_and_not_created_by_looking(broker: Broker, topic_prefix: str) -> None:
    """`check` says what is missing and what to do, again and again."""
    topics = _topics(broker, topic_prefix)
    for _ in range(2):
        cluster, *missing = topics.check()
        assert (cluster.name, cluster.fine) == ("kafka", True)
        assert [(check.name, check.fine, check.text) for check in missing] == [
            (f"{topic_prefix}.{name}", False, "does not exist") for name in TOPICS
        ]
        assert all("mde-inventory setup" in check.hint for check in missing)
        assert {(check.noun, check.cause) for check in missing} == {("topic", "missing")}


def test_what_would_lose_data_is_not_fine(broker: Broker, create_topic: Callable[..., str], topic_prefix: str) -> None:
    """Checkpoints that expire, changes that are compacted, topics that nobody can write to: reported, with a cure."""
    create_topic(f"{topic_prefix}.changes", settings={"cleanup.policy": "compact"})
    create_topic(f"{topic_prefix}.alerts", settings={"min.insync.replicas": "2"})
    create_topic(f"{topic_prefix}.snapshots")
    create_topic(f"{topic_prefix}.checkpoints", settings={"cleanup.policy": "compact,delete"})
    topics = _topics(broker, topic_prefix)
    for checks in (topics.check(), topics.create()):
        by_name = _by_name(checks)
        assert [by_name[f"{topic_prefix}.{name}"].fine for name in TOPICS] == [False, False, True, False]
        assert "cleanup.policy=delete" in by_name[f"{topic_prefix}.changes"].hint
        assert "nothing can be written" in by_name[f"{topic_prefix}.alerts"].text
        assert "cleanup.policy=compact" in by_name[f"{topic_prefix}.checkpoints"].hint


def test_another_choice_is_reported_and_is_fine(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """Retention and message size are the operator's to choose; the text names what differs from the recommendation."""
    create_topic(
        f"{topic_prefix}.changes", partitions=2, settings={"retention.ms": "1000", "max.message.bytes": "5000"}
    )
    assert _by_name(_topics(broker, topic_prefix).check())[f"{topic_prefix}.changes"] == Check(
        name=f"{topic_prefix}.changes",
        fine=True,
        text="2 partitions, 1 replica, retention.ms=1000 (recommended 7776000000), "
        "max.message.bytes=5000 (recommended 1000000), cleanup.policy=delete",
    )


def test_a_missing_permission_is_named(
    local_broker: LocalBroker, create_topic: Callable[..., str], allow_only: Callable[..., None], topic_prefix: str
) -> None:
    """The cluster is asked what this client's principal may do, topic by topic; nothing is written to find out."""
    for name in TOPICS:
        create_topic(f"{topic_prefix}.{name}")
    allow_only(f"{topic_prefix}.changes", "DESCRIBE")
    allow_only(f"{topic_prefix}.alerts", "WRITE")
    allow_only(f"{topic_prefix}.snapshots", "ALTER", principal="User:somebody")
    allow_only(f"{topic_prefix}.checkpoints", "WRITE")
    by_name = _by_name(_topics(local_broker, topic_prefix).check())
    results = [(by_name[f"{topic_prefix}.{name}"].fine, by_name[f"{topic_prefix}.{name}"].text) for name in TOPICS]
    assert results == [
        (False, "this client's principal lacks Write"),
        (True, "1 partition, 1 replica, settings not visible to this client"),
        (
            False,
            f"Kafka: looking for topic {topic_prefix}.snapshots: no permission (TOPIC_AUTHORIZATION_FAILED)",
        ),
        (False, "this client's principal lacks Read"),
    ]
    assert all(
        "Grant this client's principal" in by_name[f"{topic_prefix}.{name}"].hint for name in ("changes", "snapshots")
    )


def test_a_topic_that_cannot_be_created_is_described_for_an_administrator(broker: Broker) -> None:
    """Where the cluster refuses, the check says why and how the topic should be; the rest is still tried."""
    checks = list(_topics(broker, "not a topic name").create())
    assert [check.fine for check in checks] == [False] * len(TOPICS)
    assert checks[0].text.startswith("Kafka: creating topic not a topic name.changes: ")
    assert checks[0].hint == (
        "An administrator can create it: 6 partitions, 1 replica, cleanup.policy=delete,"
        " min.insync.replicas=1, retention.ms=7776000000."
    )


def test_a_cluster_that_is_away_is_reported_with_the_reason() -> None:
    """Nobody listens there: one error, with the network's reason, within the time allowed."""
    (port,) = free_ports(1)
    client = {"bootstrap.servers": f"127.0.0.1:{port}"}
    for ask in (Topics.check, Topics.create):
        with pytest.raises(SinkUnavailable, match="Connection refused"):
            list(ask(Topics(client, prefix="any", topics=list(Topic), answer_seconds=1)))


def test_a_key_that_librdkafka_does_not_know_is_a_matter_of_configuration() -> None:
    """The key is named."""
    with pytest.raises(ConfigError, match=r"no\.such\.key"):
        list(Topics({"no.such.key": 1}, prefix="any", topics=list(Topic)).check())
