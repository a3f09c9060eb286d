"""The fixtures themselves: the broker is a real one, and so is the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from tests.support.broker import Broker, LocalBroker


def test_an_aborted_transaction_is_invisible_to_the_independent_consumer(
    broker: Broker, create_topic: Callable[..., str], consume: Callable[..., Any], topic_prefix: str
) -> None:
    """The broker aborts for real: read_committed sees the committed message only, read_uncommitted sees both."""
    topic = create_topic(f"{topic_prefix}.changes")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topic_prefix})
    producer.init_transactions(30)
    for value, finish in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        finish(30)
    assert [message.value for message in consume(topic)] == [b"committed"]
    assert [message.value for message in consume(topic, isolation="read_uncommitted")] == [b"aborted", b"committed"]


def test_a_private_broker_keeps_what_it_stored_over_a_kill(
    private_broker: LocalBroker, create_topic: Callable[..., str], consume: Callable[..., Any], topic_prefix: str
) -> None:
    """What was acknowledged before SIGKILL is there after the next start, at the same address."""
    address = private_broker.bootstrap_servers
    topic = create_topic(f"{topic_prefix}.kept", at=private_broker)
    producer = Producer({"bootstrap.servers": address})
    producer.produce(topic, b"kept")
    assert producer.flush(30) == 0
    private_broker.kill()
    private_broker.start()
    assert private_broker.bootstrap_servers == address
    assert [message.value for message in consume(topic, at=private_broker)] == [b"kept"]


def test_the_registry_refuses_an_incompatible_schema(registry_url: str, topic_prefix: str) -> None:
    """The registry judges compatibility itself: a new field without a default is refused under FULL_TRANSITIVE."""
    subject = f"{topic_prefix}.changes-value"
    with SchemaRegistryClient({"url": registry_url}) as client:
        schema: dict[str, Any] = {"type": "record", "name": "Change", "fields": []}
        schema_id = client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        client.set_compatibility(subject, "FULL_TRANSITIVE")
        schema["fields"] = [{"name": "added", "type": "string"}]
        with pytest.raises(SchemaRegistryError) as refused:
            client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        assert refused.value.http_status_code == 409
        assert [version.schema_id for version in [client.get_latest_version(subject)]] == [schema_id]
