"""Values as Avro, byte for byte: against a reader written from the specification, and against hostile values."""

from __future__ import annotations

import json
import random
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.config.tables import SchemaRegistryConfig
from connector.errors import EncodingError, SinkUnavailable
from connector.kafka.messages import CHECKPOINT_FIELDS
from connector.kafka.registry import Registry
from connector.kafka.values.avro import AvroValues
from connector.model import Topic
from tests.support.avro import load, read_value, values
from tests.support.messages import fresh_registry, topic_names, write_as
from tests.support.records import ALERT, CAMPAIGN, CHANGE, CHECKPOINT, RECORD, REPORT

SCHEMAS = {
    Topic.CHANGES: load("software-change"),
    Topic.ALERTS: load("end-of-support-alert"),
    Topic.SNAPSHOTS: load("snapshot-report"),
    Topic.CHECKPOINTS: load("checkpoint"),
    Topic.INVENTORY: load("software-record"),
    Topic.CAMPAIGNS: load("software-campaign"),
}
MARKER: dict[str, Any] = {"shortenedFields": []}
MARKED_CHANGE = CHANGE | MARKER
EXAMPLES: dict[Topic, dict[str, Any]] = {
    Topic.CHANGES: MARKED_CHANGE,
    Topic.ALERTS: ALERT | MARKER,
    Topic.SNAPSHOTS: REPORT,
    Topic.CHECKPOINTS: {name: getattr(CHECKPOINT, attribute) for name, attribute in CHECKPOINT_FIELDS.items()},
    Topic.INVENTORY: RECORD,
    Topic.CAMPAIGNS: CAMPAIGN,
}

RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def fresh(registry: Registry | None = None) -> AvroValues:
    """Avro with a registry that nobody else has, or with the one that is given."""
    return AvroValues(registry or fresh_registry(), topic_names())


AVRO = fresh()


# ---- the bytes


@pytest.mark.parametrize("topic", list(Topic))
def test_a_reader_written_from_the_specification_reads_what_was_given(topic: Topic) -> None:
    """Every value of every type, in any script, comes back from the bytes alone."""

    @RELAXED
    @given(values(SCHEMAS[topic]))
    def check(record: dict[str, Any]) -> None:
        schema_id, record_read = read_value(AVRO.write(topic, record), SCHEMAS[topic])
        assert schema_id > 0
        assert record_read == record

    check()


@pytest.mark.parametrize("topic", list(Topic))
def test_reading_gives_back_what_was_given_with_times_as_datetimes(topic: Topic) -> None:
    """`read` is the inverse of `write`; a time is an aware datetime in UTC."""
    times = {
        field["name"]: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=EXAMPLES[topic][field["name"]])
        for field in SCHEMAS[topic]["fields"]
        if "timestamp-millis" in json.dumps(field["type"]) and EXAMPLES[topic][field["name"]] is not None
    }
    value = AVRO.write(topic, EXAMPLES[topic])
    assert times or topic is Topic.INVENTORY
    assert AVRO.read(value) == AVRO.read(value, topic) == EXAMPLES[topic] | times


def test_a_value_begins_with_zero_and_the_schema_id_in_four_bytes() -> None:
    """Confluent's wire format: magic byte 0, then the id, most significant byte first."""
    avro = fresh()
    written = [avro.write(topic, EXAMPLES[topic]) for topic in (Topic.CHANGES, Topic.ALERTS, Topic.SNAPSHOTS)]
    assert [value[:5] for value in written] == [b"\0\0\0\0\1", b"\0\0\0\0\2", b"\0\0\0\0\3"]


@pytest.mark.parametrize("topic", list(Topic))
def test_the_same_record_is_the_same_value_whatever_the_order_of_its_names(topic: Topic) -> None:
    """Published later, or again, or by another process: the same bytes, but for the registry's id."""
    record = EXAMPLES[topic]
    expected = AVRO.write(topic, record)
    for seed in range(5):
        names = list(record)
        random.Random(seed).shuffle(names)
        assert AVRO.write(topic, {name: record[name] for name in names}) == expected
    avro = fresh()
    for other in SCHEMAS:
        avro.write(other, EXAMPLES[other])
    assert avro.write(topic, record)[5:] == expected[5:]


def test_what_is_given_is_not_changed() -> None:
    """The caller's mapping, and the earlier record in it, are as they were."""
    change = json.loads(json.dumps(MARKED_CHANGE))
    AVRO.write(Topic.CHANGES, change)
    assert change == MARKED_CHANGE


# ---- strictness


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("sequence", 2**63, "9223372036854775808 is outside of -9223372036854775808 to 9223372036854775807"),
        ("sequence", -(2**63) - 1, "-9223372036854775809 is outside of -9223372036854775808 to 9223372036854775807"),
        ("epoch", 2**31, "2147483648 is outside of -2147483648 to 2147483647"),
        ("epoch", 1.0, "1.0 is no int"),
        ("sequence", 3.7, "3.7 is no long"),
        ("sequence", True, "True is no long"),
        ("sequence", None, "None is no long"),
        ("numberOfWeaknesses", 2**63, "9223372036854775808 is outside of -9223372036854775808 to 9223372036854775807"),
        ("numberOfWeaknesses", "3", "'3' is no long"),
        ("rbacGroupId", float("nan"), "nan is no long"),
        ("replayed", 1, "1 is no boolean"),
        ("isEndOfSupport", "no", "'no' is no boolean"),
        ("isEndOfSupport", None, "None is no boolean"),
        ("deviceId", None, "None is no string"),
        ("deviceId", b"4ae1", "b'4ae1' is no string"),
        ("deviceName", "\ud800", r"'\ud800' has a lone surrogate, which UTF-8 cannot carry"),
        ("deviceId", "a\udfff", r"'a\udfff' has a lone surrogate, which UTF-8 cannot carry"),
        ("diskPaths", ["fine", "\udc80"], r"'\udc80' has a lone surrogate, which UTF-8 cannot carry"),
        ("diskPaths", ["fine", None], "None is no string"),
        ("diskPaths", None, "None is no array"),
        ("diskPaths", "C:\\", r"'C:\\' is no array"),
        ("registryPaths", ("HKLM",), "('HKLM',) is no array"),
        ("changedFields", {"softwareVersion": 1}, "{'softwareVersion': 1} is no array"),
        ("changeType", "RENAMED", "'RENAMED' is no enum"),
        ("inventory", None, "None is no enum"),
        ("reason", "x" * 100, f"'{'x' * 79}… is no enum"),
        ("observedAt", 253_402_300_800_000, "253402300800000 is outside of -62135596800000 to 253402214400000"),
        ("observedAt", datetime(2026, 1, 1, tzinfo=UTC), None),
        ("before", "earlier", "'earlier' is no record"),
        ("before", [RECORD], None),
    ],
)  # fmt: skip
def test_a_value_that_avro_cannot_carry_is_refused_by_name(name: str, value: object, reason: str | None) -> None:
    """The error names the field, the reason and the record; nothing is turned into something else."""
    with pytest.raises(EncodingError) as refused:
        AVRO.write(Topic.CHANGES, MARKED_CHANGE | {name: value})
    message = str(refused.value)
    assert message.startswith(f"SoftwareChange of eventId '{CHANGE['eventId']}'")
    assert f", softwareName {CHANGE['softwareName']!a}," in message
    assert f": {name}: " in message
    assert reason is None or message.endswith(f": {name}: {reason}")
    assert refused.value.hint


@pytest.mark.parametrize(
    ("before", "problem"),
    [
        ({"rbacGroupId": "3"}, "before.rbacGroupId: '3' is no long"),
        ({"diskPaths": "C:"}, "before.diskPaths: 'C:' is no array"),
        ({"deviceName": "\ud900"}, r"before.deviceName: '\ud900' has a lone surrogate, which UTF-8 cannot carry"),
        ({"unknown": 1}, "before.'unknown': is no field of it"),
    ],
)
def test_the_earlier_record_is_looked_at_as_strictly(before: dict[str, Any], problem: str) -> None:
    """A field of `before` is named with its place."""
    with pytest.raises(EncodingError) as refused:
        AVRO.write(Topic.CHANGES, MARKED_CHANGE | {"before": RECORD | before})
    assert str(refused.value).endswith(f": {problem}")


@pytest.mark.parametrize("topic", list(Topic))
def test_every_field_must_be_there_and_no_other(topic: Topic) -> None:
    """A missing name is an error, also of an optional field, and so is an unknown one."""
    record = EXAMPLES[topic]
    for name in record:
        with pytest.raises(EncodingError, match=rf": {name}: is missing$"):
            AVRO.write(topic, {key: value for key, value in record.items() if key != name})
    with pytest.raises(EncodingError, match=r": 'softwareVerion': is no field of it$"):
        AVRO.write(topic, record | {"softwareVerion": "1"})


def test_numbers_and_times_of_the_other_types_are_held_to_their_range() -> None:
    """Nullable int, nullable time: as strict as the others."""
    for name, value in (("daysToEndOfSupport", 2**31), ("thresholdDays", -(2**31) - 1), ("observedAt", 2**62)):
        with pytest.raises(EncodingError, match=rf": {name}: {value} is outside of "):
            AVRO.write(Topic.ALERTS, EXAMPLES[Topic.ALERTS] | {name: value})
    for name in ("generatedAt", "startedAt", "finishedAt"):
        with pytest.raises(EncodingError, match=rf": {name}: {2**62} is outside of "):
            AVRO.write(Topic.SNAPSHOTS, REPORT | {name: 2**62})
        with pytest.raises(EncodingError, match=rf": {name}: datetime.* is no long"):
            AVRO.write(Topic.SNAPSHOTS, REPORT | {name: datetime(2026, 1, 1, tzinfo=UTC)})


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\x1b]0;x\x07", "a\r\nb", "\u202egpj.exe", "😀", "'; DROP TABLE--", "=1+1"]
)
def test_odd_text_goes_through_byte_for_byte(text: str) -> None:
    """What UTF-8 can carry is published as it is, NUL too: a device's name must not be able to stop the pipeline."""
    change = MARKED_CHANGE | {"deviceId": text, "deviceName": text, "diskPaths": [text]}
    assert read_value(AVRO.write(Topic.CHANGES, change), SCHEMAS[Topic.CHANGES])[1] == change


# ---- reading what others wrote


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1x", b'{"eventId": 1}', b"Obj\x01"])
def test_a_value_in_another_format_is_refused(value: bytes) -> None:
    """JSON, Avro files, too short: refused by name, not guessed at."""
    with pytest.raises(EncodingError, match=rf"^a value of {len(value)} bytes is not in Confluent's wire format$"):
        AVRO.read(value)


def test_a_value_cut_anywhere_is_refused() -> None:
    """No part of a value is taken for a whole one, and nothing may follow it."""
    value = AVRO.write(Topic.CHANGES, MARKED_CHANGE)
    for length in range(5, len(value)):
        with pytest.raises(EncodingError):
            AVRO.read(value[:length])
    with pytest.raises(EncodingError, match=r"^a value is not one record of its schema"):
        AVRO.read(value + b"\0")


@settings(RELAXED, max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 800), st.integers(0, 255))
def test_foreign_bytes_are_read_or_refused(rubbish: bytes, position: int, byte: int) -> None:
    """Whatever stands behind the id, and wherever a byte is flipped: a record or an `EncodingError`."""
    value = AVRO.write(Topic.CHANGES, MARKED_CHANGE)
    flipped = bytearray(value)
    flipped[5 + position % (len(value) - 5)] = byte
    names = {field["name"] for field in SCHEMAS[Topic.CHANGES]["fields"]}
    for foreign in (value[:5] + rubbish, bytes(flipped)):
        assert fields_read(foreign) in (names, None)


def fields_read(value: bytes) -> set[str] | None:
    """The names of the record that was read; None where it is refused. Anything else is raised."""
    try:
        return set(AVRO.read(value))
    except EncodingError:
        return None


def test_an_unknown_schema_id_is_refused() -> None:
    """The registry does not have it, and the error says so."""
    with pytest.raises(EncodingError, match=r"^fetching schema 4095: "):
        AVRO.read(b"\0\0\0\x0f\xff\0")


@pytest.mark.parametrize("text", ['{"type": "nothing"}', "no JSON", '{"type": "record", "name": "R"}', "[]"])
def test_a_schema_that_is_none_is_refused(text: str) -> None:
    """Somebody else's registration is not believed to be Avro."""
    registry = fresh_registry()
    schema_id = registry.register("foreign-value", text).schema_id
    with pytest.raises(EncodingError, match=rf"schema {schema_id}"):
        fresh(registry).read(b"\0" + schema_id.to_bytes(4, "big") + b"\0")


def test_a_value_of_another_version_is_read_as_written_or_resolved_to_this_one() -> None:
    """Older without `claim`, newer with another field: resolved, both are a record of this version."""
    registry = fresh_registry()
    avro, record = fresh(registry), EXAMPLES[Topic.CHECKPOINTS]
    schema = SCHEMAS[Topic.CHECKPOINTS]
    older = schema | {"fields": [field for field in schema["fields"] if field["name"] != "claim"]}
    newer = schema | {"fields": [*schema["fields"], {"name": "added", "type": "string", "default": ""}]}
    current = avro.read(avro.write(Topic.CHECKPOINTS, record))
    for version, added, missing in ((older, {}, {"claim"}), (newer, {"added": "later"}, set())):
        value = write_as(registry, version, record | added)
        assert avro.read(value, Topic.CHECKPOINTS) == current
        assert avro.read(value) == {name: current[name] for name in current if name not in missing} | added


def test_a_value_of_another_type_than_the_topics_is_refused() -> None:
    """A change on the checkpoints topic is no checkpoint."""
    with pytest.raises(EncodingError, match=r"^a value cannot be read by its schema \d+: "):
        AVRO.read(AVRO.write(Topic.CHANGES, MARKED_CHANGE), Topic.CHECKPOINTS)


# ---- the registry


def test_a_schema_that_is_not_registered_says_how_to_register_it() -> None:
    """Without `auto_register` the hint is the verb."""
    avro = fresh(fresh_registry(auto_register=False))
    with pytest.raises(EncodingError, match=r"^looking up the schema of mde\.software\.changes-value: ") as refused:
        avro.write(Topic.CHANGES, MARKED_CHANGE)
    assert "mde-inventory setup" in refused.value.hint


def test_a_registry_that_is_away_is_an_outage() -> None:
    """Worth retrying, and not a fault of the record."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    options: dict[str, Any] = {"url": address, "max.retries": 0}
    with Registry(SchemaRegistryConfig(**options)) as registry:
        avro = fresh(registry)
        with pytest.raises(SinkUnavailable, match=r"cannot be reached") as away:
            avro.write(Topic.CHANGES, MARKED_CHANGE)
    assert away.value.retryable
