"""Messages for tests: Avro with a registry inside the process, or with whichever is given."""

from __future__ import annotations

import json
import uuid
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_writer

from connector.assembly import Assembly
from connector.config.tables import SchemaRegistryConfig
from connector.kafka.client import Deadline
from connector.kafka.messages import Messages
from connector.kafka.registry import Registry
from connector.kafka.values import Values
from connector.kafka.values.avro import AvroValues
from connector.model import Topic
from tests.support.records import TENANT

PREFIX = "mde.software"


def fresh_registry(*, auto_register: bool = True) -> Registry:
    """A registry that nobody else has; with `auto_register` it registers whatever is asked for."""
    return Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}", auto_register=auto_register))


def topic_names(prefix: str = PREFIX) -> dict[Topic, str]:
    """The full names of the topics under a prefix."""
    return {topic: topic.name_under(prefix) for topic in Topic}


def make_messages(
    registry: Registry | None = None, *, topic_prefix: str = PREFIX, values: Values | None = None, **options: Any
) -> Messages:
    """Messages for the tenant of `records`, in Avro unless other values are given; `options` are theirs."""
    names = topic_names(topic_prefix)
    values = values or AvroValues(registry or fresh_registry(), names)
    return Messages(values, names, **{"tenant_id": TENANT, **options})


def write_as(registry: Registry, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """A value that another program, or another version, wrote by its own schema."""
    schema_id = registry.register(f"{schema['name']}-value", json.dumps(schema)).schema_id
    stream = BytesIO()
    stream.write(b"\0" + schema_id.to_bytes(4, "big"))
    schemaless_writer(stream, parse_schema(schema), record)
    return stream.getvalue()


def values_on(assembly: Assembly, topic: Topic) -> list[dict[str, Any]]:
    """Everything on a topic, decoded, partition by partition; by sequence where there is one."""
    reader, name = assembly.reader(), assembly.topic(topic)
    values = [
        assembly.messages.decode(message.value)
        for partition in reader.partitions(name, Deadline(30))
        for message in reader.read(name, Deadline(30), partition=partition)
        if message.value is not None
    ]
    return sorted(values, key=lambda value: value.get("sequence", 0))
