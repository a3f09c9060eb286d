"""The Java consumers that feed the SIEMs, Confluent's deserializer and Connect's converter, read what we publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from connector.config.tables import SchemaRegistryConfig
from connector.kafka import schemas
from connector.kafka.messages import Messages
from connector.kafka.registry import Registry, value_subject
from connector.model import Checkpoint, Message, Topic
from tests.support.broker import Broker
from tests.support.java_reading import java_reads
from tests.support.messages import make_messages
from tests.support.records import ALERT, CAMPAIGN, CHANGE, CHECKPOINT, CLAIM, RECORD, RECORD_KEY, REPORT

pytestmark = [pytest.mark.broker, pytest.mark.interop]

TIMES = {
    "observedAt", "emittedAt", "generatedAt", "startedAt", "finishedAt", "writtenAt", "productFirstSeenAt",
    "versionFirstSeenAt", "replayBegunAt",
}  # fmt: skip
NULLS: dict[str, Any] = {name: None for name in RECORD if not isinstance(RECORD[name], list)}
ODD = "NUL \0, ESC \x1b, שלום, \u202ertl, 😀👩‍👩‍👧, 𐍈, \ufeff, \uffff, '\"\\\r\n"


class Published(NamedTuple):
    """A message, and the record that it was made of, as Avro names it."""

    message: Message
    record: dict[str, Any]


def checkpoint_record(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as its schema names it."""
    return {
        "transactionalId": checkpoint.transactional_id,
        "entraTenantId": checkpoint.entra_tenant_id,
        "epoch": checkpoint.epoch,
        "sequence": checkpoint.sequence,
        "sealed": checkpoint.sealed,
        "snapshotId": checkpoint.snapshot_id,
        "writtenAt": checkpoint.written_at,
        "connectorVersion": checkpoint.connector_version,
        "claim": checkpoint.claim,
        "alertSequence": checkpoint.alert_sequence,
        "inventoryWhole": checkpoint.inventory_whole,
        "replayBegunAt": checkpoint.replay_begun_at,
        "replayFinished": checkpoint.replay_finished,
    }


def examples(messages: Messages) -> list[Published]:
    """Every type; every enum's symbol that we publish; nulls in every union; odd texts; one that was shortened."""
    marker: dict[str, Any] = {"shortenedFields": []}
    changes = [
        CHANGE,
        CHANGE | {"changeType": "ADDED", "reason": "NEW_DEVICE", "before": None, "changedFields": [], "replayed": True},
        CHANGE | NULLS | {"deviceId": "d", "diskPaths": [], "before": RECORD | NULLS | {"deviceId": "d"}},
        CHANGE | {"deviceId": ODD, "deviceName": ODD, "diskPaths": [ODD, ""], "before": RECORD | {"deviceName": ODD}},
        CHANGE | {"epoch": 2**31 - 1, "sequence": 2**63 - 1, "rbacGroupId": -(2**63), "observedAt": -1, "emittedAt": 0},
    ]
    large = CHANGE | {"diskPaths": [f"C:\\{number:06}\\{'x' * 200}" for number in range(10_000)]}
    kept = {"diskPaths": large["diskPaths"][: 4 * 65_536 // 210], "shortenedFields": ["diskPaths"]}
    alerts = [ALERT, ALERT | NULLS | {"deviceId": "d", "daysToEndOfSupport": None, "alertType": "CLEARED"}]
    reports = [REPORT, REPORT | {"status": "HELD", "generatedAt": None, "finishedAt": None, "reason": ODD}]
    checkpoints = [
        CHECKPOINT, CLAIM, replace(CHECKPOINT, inventory_whole=True, replay_begun_at=1, replay_finished=True),
    ]  # fmt: skip
    return [
        *(Published(messages.encode_change(change), change | marker) for change in changes),
        Published(messages.encode_change(large), large | kept),
        *(Published(messages.encode_alert(alert), alert | marker) for alert in alerts),
        *(Published(messages.encode_report(report), report) for report in reports),
        *(
            Published(messages.encode_checkpoint(checkpoint), checkpoint_record(checkpoint))
            for checkpoint in checkpoints
        ),
        Published(messages.encode_record(RECORD_KEY, RECORD), RECORD),
        Published(messages.encode_campaign(CAMPAIGN), CAMPAIGN),
    ]


def as_connect(record: dict[str, Any]) -> dict[str, Any]:
    """The same record where times are instants, as Kafka Connect has them."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return record | {
        name: {"instant": java_instant(epoch + timedelta(milliseconds=record[name]))}
        for name in TIMES & record.keys()
        if record[name] is not None
    }


def java_instant(moment: datetime) -> str:
    """As java.time.Instant writes it: milliseconds only where there are some."""
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def test_java_reads_every_message_of_every_type(
    java: str, broker: Broker, registry_url: str, topic_prefix: str, create_topic: Callable[..., str]
) -> None:
    """Keys, headers and every value, from a real topic with the registry's schemas, are what was encoded."""
    topics = [create_topic(topic.name_under(topic_prefix)) for topic in Topic]
    with Registry(SchemaRegistryConfig(url=registry_url)) as registry:
        for topic in Topic:
            registry.register(value_subject(topic.name_under(topic_prefix)), schemas.schema_of(topic))
        published = examples(make_messages(registry, topic_prefix=topic_prefix))
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for message, _ in published:
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(30) == 0
    seen = java_reads(java, broker, registry_url, topics)
    for name in topics:
        mine = [sent for sent in published if sent.message.topic == name]
        theirs = [received for received in seen if received["topic"] == name]
        assert len(mine) > 0
        assert [received["deserialized"] for received in theirs] == [sent.record for sent in mine]
        assert [received["connect"] for received in theirs] == [as_connect(sent.record) for sent in mine]
        assert [bytes.fromhex(received["key"]) for received in theirs] == [sent.message.key for sent in mine]
        assert [{name: bytes.fromhex(value) for name, value in received["headers"].items()} for received in theirs] == [
            dict(sent.message.headers) for sent in mine
        ]
