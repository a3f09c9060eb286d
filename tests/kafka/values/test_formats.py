"""Both formats are read, whichever is written: a topic has both once the format has been changed."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from connector.config.tables import ValueFormat
from connector.errors import EncodingError
from connector.kafka.messages import CHECKPOINT_FIELDS
from connector.kafka.registry import Registry
from connector.kafka.values.formats import EitherValues, choose_values
from connector.model import Topic
from tests.kafka.values.test_avro import EXAMPLES, MARKED_CHANGE, SCHEMAS
from tests.support.avro import HISTORY, load
from tests.support.messages import fresh_registry, make_messages, topic_names, write_as
from tests.support.records import CHECKPOINT

NAMES = topic_names()


def no_registry() -> NoReturn:
    """What must never be called."""
    raise AssertionError("the registry was asked")


def chosen(value_format: ValueFormat) -> EitherValues:
    """The values of a format; JSON without a registry."""
    registry = fresh_registry()
    return choose_values(value_format, NAMES, (lambda: registry) if value_format == "avro" else no_registry)


AVRO, JSON = chosen("avro"), chosen("json")


@pytest.mark.parametrize("topic", list(Topic))
def test_each_format_reads_what_the_other_wrote(topic: Topic) -> None:
    """Of every type, with the type named or not; JSON does it without a registry."""
    record = EXAMPLES[topic]
    as_avro, as_json = AVRO.write(topic, record), JSON.write(topic, record)
    assert (as_avro[:1], as_json[:1]) == (b"\0", b"{")
    expected = AVRO.read(as_avro)
    for values in (AVRO, JSON):
        for value in (as_avro, as_json):
            assert values.read(value) == values.read(value, topic) == expected


def test_a_checkpoint_of_any_release_is_read_without_a_registry() -> None:
    """Avro of an earlier release too: what it did not know has its default."""
    fields = {name: getattr(CHECKPOINT, attribute) for name, attribute in CHECKPOINT_FIELDS.items()}
    for folder in sorted(HISTORY.iterdir()):
        schema = load("checkpoint", folder)
        written = {field["name"]: fields[field["name"]] for field in schema["fields"]}
        value = write_as(fresh_registry(), schema, written)
        read = JSON.read(value, Topic.CHECKPOINTS)
        assert set(read) == set(fields)
        assert (read["sequence"], read["epoch"]) == (CHECKPOINT.sequence, CHECKPOINT.epoch)


@pytest.mark.parametrize("value_format", ["avro", "json"])
def test_a_checkpoint_comes_back_whichever_format_wrote_it(value_format: ValueFormat) -> None:
    """Through `Messages`, which is what recovery asks."""
    values: Any = chosen(value_format)
    messages = make_messages(values=values)
    for other in (AVRO, JSON):
        written = make_messages(values=other).encode_checkpoint(CHECKPOINT).value
        assert written is not None
        if (other, value_format) != (AVRO, "avro"):
            assert messages.decode_checkpoint(written) == CHECKPOINT


def test_avro_of_a_version_that_is_not_shipped_needs_the_registry() -> None:
    """Nothing is guessed: the hint names the setting."""
    schema = SCHEMAS[Topic.CHECKPOINTS]
    newer = schema | {"fields": [*schema["fields"], {"name": "added", "type": "string", "default": ""}]}
    registry: Registry = fresh_registry()
    value = write_as(registry, newer, EXAMPLES[Topic.CHECKPOINTS] | {"added": "later"})
    for foreign in (value, value[:-3], b"\0\0\0\0\1", b"", b"Obj"):
        with pytest.raises(EncodingError, match="cannot be read without a schema registry") as refused:
            JSON.read(foreign, Topic.CHECKPOINTS)
        assert "kafka.value_format" in refused.value.hint


def test_a_value_of_another_type_than_the_topics_is_refused() -> None:
    """A change on the checkpoints topic is no checkpoint, in either format."""
    for writer in (AVRO, JSON):
        for reader in (AVRO, JSON):
            with pytest.raises(EncodingError):
                reader.read(writer.write(Topic.CHANGES, MARKED_CHANGE), Topic.CHECKPOINTS)
