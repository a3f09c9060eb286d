"""What Confluent's deserializer gives Logstash, from a real broker and registry, goes whole through the transforms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.model import Topic
from tests.support.broker import Broker
from tests.support.java_reading import java_reads
from tests.support.recorded import TOPICS
from tests.support.sentinel import tables, workspace
from tests.support.small_fleet import publish

pytestmark = [pytest.mark.broker, pytest.mark.interop, pytest.mark.timeout(900)]


def test_the_text_of_a_java_record_is_what_the_transforms_are_tested_with(
    java: str,
    broker: Broker,
    registry_url: str,
    topic_prefix: str,
    create_topic: Callable[..., str],
    tmp_path: Path,
) -> None:
    """Logstash reads the text of the record as JSON: every field by its name, times as numbers, the types declared."""
    names = {topic: create_topic(topic.name_under(topic_prefix), partitions=1) for topic in Topic}
    published = publish(broker, registry_url, topic_prefix, tmp_path, "avro")
    seen = java_reads(java, broker, registry_url, [names[topic] for topic in TOPICS])
    for topic in TOPICS:
        texts = [json.loads(message["text"]) for message in seen if message["topic"] == names[topic]]
        kinds = {column.field: column.delivered for column in tables.columns(topic)}
        expected = [
            {
                name: json.loads(value) if kinds[name] == "dynamic" else value
                for name, value in workspace.delivered("logstash", topic, message, workspace.NOW).items()
            }
            for message in published[topic]
        ]
        assert sorted(map(repr, texts)) == sorted(map(repr, expected))
        assert len(texts) > 1
