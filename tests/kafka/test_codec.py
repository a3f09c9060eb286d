"""What is published, byte for byte: against a reader written from the specification, and against hostile values."""

from __future__ import annotations

import json
import random
import socket
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.config.tables import SchemaRegistryConfig
from connector.errors import ConfigError, EncodingError, SinkUnavailable
from connector.kafka.avro_types import key_part
from connector.kafka.codec import Codec, message_bytes_max_of
from connector.kafka.registry import Registry
from connector.model import Message
from tests.support.avro import load, read_value, values
from tests.support.broker import Broker
from tests.support.records import ALERT, CHANGE, CHECKPOINT, CLAIM, OBSERVED, RECORD, RECORD_KEY, REPORT, TENANT

PREFIX = "mde.software"
LIBRDKAFKA_BYTES_MAX = 1_000_000
SCHEMAS = {
    "change": load("software-change"),
    "alert": load("end-of-support-alert"),
    "report": load("snapshot-report"),
    "record": load("software-record"),
}
EXAMPLES: dict[str, dict[str, Any]] = {"change": CHANGE, "alert": ALERT, "report": REPORT, "record": RECORD}
MARKED = ("change", "alert")
"""The record types that say in themselves what was shortened."""

RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def fresh(**options: Any) -> Codec:
    """A codec with a registry of its own, which registers whatever is asked for."""
    registry = Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}", auto_register=True))
    return Codec(registry, topic_prefix=PREFIX, tenant_id=TENANT, **options)


CODEC = fresh()


def encode(kind: str, record: dict[str, Any], codec: Codec = CODEC) -> Message:
    """The message of a record of any type."""
    if kind == "record":
        return codec.encode_record(RECORD_KEY, record)
    return {"change": codec.encode_change, "alert": codec.encode_alert, "report": codec.encode_report}[kind](record)


def value_of(message: Message) -> bytes:
    """The value, which is no tombstone."""
    assert message.value is not None
    return message.value


def given_records(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Records of a type as `codec` is given them: without the marker, which is its own."""
    schema = SCHEMAS[kind]
    return values(schema | {"fields": [field for field in schema["fields"] if field["name"] != "shortenedFields"]})


# ---- the bytes


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_a_reader_written_from_the_specification_reads_what_was_given(kind: str) -> None:
    """Every value of every type, in any script, comes back from the bytes alone; the marker is empty."""

    @RELAXED
    @given(given_records(kind))
    def check(record: dict[str, Any]) -> None:
        schema_id, found = read_value(value_of(encode(kind, record)), SCHEMAS[kind])
        assert schema_id > 0
        assert found == record | ({"shortenedFields": []} if kind in MARKED else {})

    check()


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_decoding_gives_back_what_was_given_with_times_as_datetimes(kind: str) -> None:
    """`decode` is the inverse of encoding; a time is an aware datetime in UTC."""
    times = {
        name: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=EXAMPLES[kind][name])
        for name in (
            "observedAt",
            "emittedAt",
            "generatedAt",
            "startedAt",
            "finishedAt",
            "productFirstSeenAt",
            "versionFirstSeenAt",
        )
        if name in EXAMPLES[kind]
    }
    marker: dict[str, Any] = {"shortenedFields": []} if kind in MARKED else {}
    assert CODEC.decode(value_of(encode(kind, EXAMPLES[kind]))) == EXAMPLES[kind] | marker | times


def test_a_value_begins_with_zero_and_the_schema_id_in_four_bytes() -> None:
    """Confluent's wire format: magic byte 0, then the id, most significant byte first."""
    codec = fresh()
    messages = [codec.encode_change(CHANGE), codec.encode_alert(ALERT), codec.encode_report(REPORT)]
    assert [value_of(message)[:5] for message in messages] == [b"\0\0\0\0\1", b"\0\0\0\0\2", b"\0\0\0\0\3"]


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_the_same_record_is_the_same_message_whatever_the_order_of_its_names(kind: str) -> None:
    """Published later, or again, or by another process: the same bytes, key and headers."""
    record = EXAMPLES[kind]
    expected = encode(kind, record)
    for seed in range(5):
        names = list(record)
        random.Random(seed).shuffle(names)
        assert encode(kind, {name: record[name] for name in names}) == expected
    codec = fresh()
    for other in ("change", "alert", "report", "record"):
        encode(other, EXAMPLES[other], codec)
    ids = {kind: value_of(encode(kind, EXAMPLES[kind]))[:5] for kind in SCHEMAS}
    again = encode(kind, record, codec)
    assert replace(again, value=ids[kind] + value_of(again)[5:]) == expected


def test_what_is_given_is_not_changed() -> None:
    """The caller's mapping, and the earlier record in it, are as they were."""
    change = json.loads(json.dumps(CHANGE))
    CODEC.encode_change(change)
    assert change == CHANGE


# ---- topics, keys, headers


def event(name: str, kind: str, time: str | None, subject: str) -> tuple[tuple[str, bytes], ...]:
    """The headers of an event."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_type", f"mde.software.{kind}".encode()),
        ("ce_source", f"/mde-inventory-connector/{TENANT}".encode()),
        *([("ce_time", time.encode())] if time else []),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/avro"),
    )


@pytest.mark.parametrize("change_type", ["BASELINE", "ADDED", "REMOVED", "CHANGED"])
def test_a_change_lies_under_its_device_with_the_headers_of_cloudevents(change_type: str) -> None:
    """Key: the device. Id: the event's. Time: when the snapshot was generated."""
    message = CODEC.encode_change(CHANGE | {"changeType": change_type})
    assert (message.topic, message.key) == ("mde.software.changes", CHANGE["deviceId"].encode())
    assert message.headers == event(
        CHANGE["eventId"], change_type.lower(), "2026-11-23T08:00:00.000Z", CHANGE["deviceId"]
    )


def test_an_alert_lies_under_its_device() -> None:
    """Key: the device. Id: the alert's."""
    message = CODEC.encode_alert(ALERT)
    assert (message.topic, message.key) == ("mde.software.alerts", ALERT["deviceId"].encode())
    assert message.headers == event(
        ALERT["alertId"], "alert.date_threshold", "2026-11-23T08:00:00.000Z", ALERT["deviceId"]
    )


@pytest.mark.parametrize(
    ("status", "finished", "time"),
    [("STARTED", None, "2026-11-23T08:01:00.000Z"), ("COMPLETE", OBSERVED + 90_500, "2026-11-23T08:01:30.500Z")],
)
def test_a_report_lies_under_its_tenant(status: str, finished: int | None, time: str) -> None:
    """Key: the tenant. Each status of a snapshot is an event of its own."""
    message = CODEC.encode_report(REPORT | {"status": status, "finishedAt": finished})
    assert (message.topic, message.key) == ("mde.software.snapshots", TENANT.encode())
    assert message.headers == event(
        f"1/cpe-20261123T080000Z/{status}", f"snapshot.{status.lower()}", time, "cpe-20261123T080000Z"
    )


@pytest.mark.parametrize(
    ("checkpoint", "name", "kind", "time"),
    [
        (CHECKPOINT, f"{CHECKPOINT.transactional_id}/1/{2**40}/5/17", "checkpoint", "2026-11-23T08:01:30.501Z"),
        (CLAIM, "0123456789abcdef0123456789abcdef", "claim", "2026-11-23T08:00:00.000Z"),
    ],
    ids=["checkpoint", "claim"],
)
def test_a_checkpoint_comes_back_as_it_was(checkpoint: Any, name: str, kind: str, time: str) -> None:
    """Checkpoints and claims, with every field; both lie under the transactional id."""
    message = CODEC.encode_checkpoint(checkpoint)
    assert (message.topic, message.key) == ("mde.software.checkpoints", checkpoint.transactional_id.encode())
    assert message.headers == event(name, kind, time, checkpoint.transactional_id)
    assert CODEC.decode_checkpoint(value_of(message)) == checkpoint


def test_a_record_lies_under_its_key_as_a_json_array() -> None:
    """The key is compact JSON, characters as they are; the tombstone has the same key and no value."""
    message, tombstone = CODEC.encode_record(RECORD_KEY, RECORD), CODEC.encode_record(RECORD_KEY, None)
    key = '["CPE","4ae1f2b6c0d95e0c8a7bb1c6c2ad55d4a1f0e3b2","oracle","java_runtime®","8.0.3910.13"]'
    assert (message.topic, message.key) == (tombstone.topic, tombstone.key) == ("mde.software.inventory", key.encode())
    assert tombstone.value is None
    for found, kind in ((message, "record"), (tombstone, "record.removed")):
        headers = dict(found.headers)
        assert found.headers == event(headers["ce_id"].decode(), kind, None, RECORD["deviceId"])
    assert dict(message.headers)["ce_id"] != dict(tombstone.headers)["ce_id"]


def test_long_parts_of_keys_stay_apart() -> None:
    """A part of more than 256 bytes is cut, and a digest tells it from every other with the same beginning."""
    texts = ["d" * 256, "d" * 257, "d" * 258, "é" * 300, "é" * 301, "d" * 1_000_000, ""]
    parts = [key_part(text) for text in texts]
    assert parts[0] == texts[0]
    assert len(set(parts)) == len(texts)
    assert max(len(part.encode()) for part in parts) <= 256


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
        CODEC.encode_change(CHANGE | {name: value})
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
        CODEC.encode_change(CHANGE | {"before": RECORD | before})
    assert str(refused.value).endswith(f": {problem}")


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_every_field_must_be_there_and_no_other(kind: str) -> None:
    """A missing name is an error, also of an optional field, and so is an unknown one."""
    record = EXAMPLES[kind]
    for name in record:
        with pytest.raises(EncodingError, match=rf": {name}: is missing$"):
            encode(kind, {key: value for key, value in record.items() if key != name})
    with pytest.raises(EncodingError, match=r": 'softwareVerion': is no field of it$"):
        encode(kind, record | {"softwareVerion": "1"})


def test_numbers_and_times_of_the_other_types_are_held_to_their_range() -> None:
    """Nullable int, nullable time: as strict as the others."""
    for name, value in (("daysToEndOfSupport", 2**31), ("thresholdDays", -(2**31) - 1), ("observedAt", 2**62)):
        with pytest.raises(EncodingError, match=rf": {name}: {value} is outside of "):
            CODEC.encode_alert(ALERT | {name: value})
    for name in ("generatedAt", "startedAt", "finishedAt"):
        with pytest.raises(EncodingError, match=rf": {name}: {2**62} is outside of "):
            CODEC.encode_report(REPORT | {name: 2**62})
        with pytest.raises(EncodingError, match=rf": {name}: datetime.* is no long"):
            CODEC.encode_report(REPORT | {name: datetime(2026, 1, 1, tzinfo=UTC)})


def test_a_key_that_utf_8_cannot_carry_is_refused() -> None:
    """Also that of a tombstone."""
    with pytest.raises(EncodingError, match=r"key: '\\udc00' has a lone surrogate"):
        CODEC.encode_record(("CPE", "\udc00", "", "", ""), None)


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\x1b]0;x\x07", "a\r\nb", "\u202egpj.exe", "😀", "'; DROP TABLE--", "=1+1"]
)
def test_odd_text_goes_through_byte_for_byte(text: str) -> None:
    """What UTF-8 can carry is published as it is, NUL too: a device's name must not be able to stop the pipeline."""
    message = CODEC.encode_change(CHANGE | {"deviceId": text, "deviceName": text, "diskPaths": [text]})
    _, found = read_value(value_of(message), SCHEMAS["change"])
    assert (found["deviceId"], found["deviceName"], found["diskPaths"]) == (text, text, [text])
    assert (message.key, dict(message.headers)["ce_subject"]) == (text.encode(), text.encode())


# ---- too large


def size_of(message: Message) -> int:
    """What librdkafka counts, at least: key, value, and the names and values of the headers."""
    headers = sum(len(name) + len(value) for name, value in message.headers)
    return len(message.key) + len(value_of(message)) + headers


LENGTHS = st.sampled_from([0, 3, 200, 300, 5_000, 70_000, 400_000, 1_500_000])


@settings(RELAXED, max_examples=30)
@given(
    kind=st.sampled_from(["change", "alert", "record"]),
    texts=st.fixed_dictionaries(dict.fromkeys(("deviceId", "deviceName", "softwareName", "rbacGroupName"), LENGTHS)),
    paths=st.lists(st.integers(0, 9_000), max_size=3),
    repeated=st.sampled_from([1, 30, 3_000]),
    character=st.sampled_from(["x", "é", "😀", "\0"]),
)
def test_a_message_of_any_size_fits_and_says_what_was_shortened(
    kind: str, texts: dict[str, int], paths: list[int], repeated: int, character: str
) -> None:
    """Never a crash, never a drop: texts keep their beginning, arrays their first items, the marker names them."""
    longs = {name: character * length for name, length in texts.items()}
    long_paths = [character * length for length in paths] * repeated
    record = EXAMPLES[kind] | longs | {"diskPaths": long_paths}
    if kind == "change":
        record["before"] = RECORD | longs | {"registryPaths": long_paths}
    message = encode(kind, record)
    _, found = read_value(value_of(message), SCHEMAS[kind])
    assert size_of(message) <= 950_000
    whole = sum(len(str(value).encode()) for value in record.values()) * 2 < 900_000
    names = shortened_names(record, found)
    assert names == [] or not whole
    assert found.get("shortenedFields", names) == names
    assert dict(message.headers).get("ce_shortenedfields", b"").decode() == ",".join(names)
    assert message == encode(kind, record)


def shortened_names(given_record: dict[str, Any], found: dict[str, Any], path: str = "") -> list[str]:
    """The names that differ, after a look at how: cut texts, first items, and nothing else."""
    names = []
    for name, value in given_record.items():
        if isinstance(value, dict):
            names += shortened_names(value, found[name], f"{path}{name}.")
        elif found[name] != value:
            names.append(path + name)
            pairs = zip(value, found[name], strict=False) if isinstance(value, list) else [(value, found[name])]
            for before, after in pairs:
                assert after == before or (after.endswith("…") and before.startswith(after[:-1]))
            assert isinstance(value, list) or len(found[name]) < len(value)
    return sorted(names)


def test_a_message_that_just_fits_is_whole_and_one_byte_more_is_shortened() -> None:
    """The rule begins at the limit, not before it."""
    codec = fresh(message_bytes_max=100_000)
    room = 100_000 - 2 * 8_192 - 4_096
    empty = len(value_of(codec.encode_change(CHANGE | {"deviceName": "n" * 70_000}))) - 70_000
    fits, large = (codec.encode_change(CHANGE | {"deviceName": "n" * (room - empty + more)}) for more in (0, 1))
    assert len(value_of(fits)) == room
    assert codec.decode(value_of(fits))["shortenedFields"] == []
    decoded = codec.decode(value_of(large))
    assert decoded["shortenedFields"] == ["deviceName"]
    assert decoded["deviceName"] == "n" * (65_536 - 3) + "…"


def test_both_records_of_a_change_are_shortened_and_the_rest_is_untouched() -> None:
    """10,000 paths before and after: both arrays keep their first items; every other field is as it was."""
    paths = [f"C:\\Users\\user{number:05}\\AppData\\Local\\Programs\\tool\\tool.exe" for number in range(10_000)]
    change = CHANGE | {"diskPaths": paths, "before": RECORD | {"diskPaths": paths[5_000:], "registryPaths": paths}}
    _, found = read_value(value_of(CODEC.encode_change(change)), SCHEMAS["change"])
    assert found["shortenedFields"] == ["before.diskPaths", "before.registryPaths", "diskPaths"]
    kept = len(found["diskPaths"])
    assert kept * len(paths[0]) > 200_000
    assert found == change | {
        "diskPaths": paths[:kept],
        "before": change["before"] | {"diskPaths": paths[5_000:][:kept], "registryPaths": paths[:kept]},
        "shortenedFields": ["before.diskPaths", "before.registryPaths", "diskPaths"],
    }


def test_a_limit_that_nothing_fits_is_an_error_with_a_hint() -> None:
    """A broker that takes less than the bare fields of a change: said so, with the key to raise."""
    with pytest.raises(EncodingError, match=r"^SoftwareChange of .*: cannot be shortened to 520 bytes$") as refused:
        fresh(message_bytes_max=21_000).encode_change(CHANGE)
    assert "message.max.bytes" in refused.value.hint


@pytest.mark.parametrize(
    ("client", "expected"),
    [({}, 950_000), ({"message.max.bytes": 2_000_000}, 1_900_000), ({"message.max.bytes": "500000"}, 475_000)],
)
def test_the_limit_follows_what_librdkafka_lets_through(client: dict[str, Any], expected: int) -> None:
    """`message.max.bytes`, or its default, less what librdkafka adds to a message."""
    assert message_bytes_max_of(client) == expected


def test_a_limit_that_is_no_number_is_a_configuration_error() -> None:
    """Said before anything is published."""
    with pytest.raises(ConfigError, match=r"message\.max\.bytes: must be a number of bytes \(is 'many'\)"):
        message_bytes_max_of({"message.max.bytes": "many"})


@pytest.mark.broker
def test_a_real_broker_takes_the_largest_messages(
    broker: Broker, topic_prefix: str, create_topic: Callable[..., str], consume: Callable[..., Any]
) -> None:
    """With librdkafka's and the broker's defaults: right below the limit, and far beyond it."""
    topic = create_topic(f"{topic_prefix}.changes")
    registry = Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}", auto_register=True))
    codec = Codec(registry, topic_prefix=topic_prefix, tenant_id=TENANT)
    noise = random.Random(1).randbytes(500_000).hex()
    large = CHANGE | {"deviceId": noise[:400], "deviceName": noise[:900_000]}
    far_larger = CHANGE | {"deviceId": noise, "softwareName": noise, "diskPaths": [noise] * 20}
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    messages = [codec.encode_change(change) for change in (large, far_larger)]
    for message in messages:
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(30) == 0
    assert [found.value for found in consume(topic)] == [message.value for message in messages]
    assert [codec.decode(found.value)["shortenedFields"] for found in consume(topic)] == [
        [],
        ["deviceId", "diskPaths", "softwareName"],
    ]


# ---- reading what others wrote


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b"\1\0\0\0\1x", b'{"eventId": 1}', b"Obj\x01"])
def test_a_value_in_another_format_is_refused(value: bytes) -> None:
    """JSON, Avro files, too short: said so, not guessed at."""
    with pytest.raises(EncodingError, match=rf"^a value of {len(value)} bytes is not in Confluent's wire format$"):
        CODEC.decode(value)


def test_a_value_cut_anywhere_is_refused() -> None:
    """No part of a value is taken for a whole one, and nothing may follow it."""
    value = value_of(CODEC.encode_change(CHANGE))
    for length in range(5, len(value)):
        with pytest.raises(EncodingError):
            CODEC.decode(value[:length])
    with pytest.raises(EncodingError, match=r"^a value is not one record of its schema"):
        CODEC.decode(value + b"\0")


@settings(RELAXED, max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 800), st.integers(0, 255))
def test_foreign_bytes_are_read_or_refused(rubbish: bytes, position: int, byte: int) -> None:
    """Whatever stands behind the id, and wherever a byte is flipped: a record or an `EncodingError`."""
    value = value_of(CODEC.encode_change(CHANGE))
    flipped = bytearray(value)
    flipped[5 + position % (len(value) - 5)] = byte
    names = {field["name"] for field in SCHEMAS["change"]["fields"]}
    for foreign in (value[:5] + rubbish, bytes(flipped)):
        assert fields_read(foreign) in (names, None)


def fields_read(value: bytes) -> set[str] | None:
    """The names of the decoded record; None where it is refused. Anything else is raised."""
    try:
        return set(CODEC.decode(value))
    except EncodingError:
        return None


def test_an_unknown_schema_id_is_refused() -> None:
    """The registry does not have it: said so."""
    with pytest.raises(EncodingError, match=r"^fetching schema 4095: "):
        CODEC.decode(b"\0\0\0\x0f\xff\0")


@pytest.mark.parametrize("text", ['{"type": "nothing"}', "no JSON", '{"type": "record", "name": "R"}', "[]"])
def test_a_schema_that_is_none_is_refused(text: str) -> None:
    """Somebody else's registration is not believed to be Avro."""
    registry = Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}"))
    schema_id = registry.register("foreign-value", text)
    codec = Codec(registry, topic_prefix=PREFIX, tenant_id=TENANT)
    with pytest.raises(EncodingError, match=rf"schema {schema_id}"):
        codec.decode(b"\0" + schema_id.to_bytes(4, "big") + b"\0")


def written(registry: Registry, schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """A value of somebody else, in Confluent's wire format."""
    schema_id = registry.register(f"{schema['name']}-value", json.dumps(schema))
    stream = BytesIO()
    stream.write(b"\0" + schema_id.to_bytes(4, "big"))
    schemaless_writer(stream, parse_schema(schema), record)
    return stream.getvalue()


def test_a_checkpoint_of_another_version_is_read() -> None:
    """An older writer without `claim`, a newer one with a field more: both give a checkpoint."""
    registry = Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}", auto_register=True))
    codec = Codec(registry, topic_prefix=PREFIX, tenant_id=TENANT)
    record = {
        "transactionalId": CHECKPOINT.transactional_id,
        "entraTenantId": TENANT,
        "epoch": 1,
        "sequence": 2**40,
        "sealed": 17,
        "snapshotId": "cpe-20261123T080000Z",
        "writtenAt": CHECKPOINT.written_at,
        "connectorVersion": "0.1.0",
        "claim": None,
        "alertSequence": 5,
        "added": "later",
    }
    schema = load("checkpoint")
    older = schema | {"fields": [field for field in schema["fields"] if field["name"] != "claim"]}
    newer = schema | {"fields": [*schema["fields"], {"name": "added", "type": "string", "default": ""}]}
    for version in (older, newer):
        assert codec.decode_checkpoint(written(registry, version, record)) == CHECKPOINT


def test_what_is_no_checkpoint_is_not_taken_for_one() -> None:
    """A change on the checkpoints topic is an error, not a position."""
    with pytest.raises(EncodingError, match=r"^a value cannot be read by its schema \d+: "):
        CODEC.decode_checkpoint(value_of(CODEC.encode_change(CHANGE)))


# ---- the registry


def test_a_schema_that_is_not_registered_says_how_to_register_it() -> None:
    """Without `auto_register` the hint is the verb."""
    registry = Registry(SchemaRegistryConfig(url=f"mock://{uuid.uuid4()}"))
    codec = Codec(registry, topic_prefix=PREFIX, tenant_id=TENANT)
    with pytest.raises(EncodingError, match=r"^looking up the schema of mde\.software\.changes-value: ") as refused:
        codec.encode_change(CHANGE)
    assert "mde-inventory setup" in refused.value.hint


def test_a_registry_that_is_away_is_an_outage() -> None:
    """Worth retrying, and not a fault of what was to be encoded."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    options: dict[str, Any] = {"url": address, "max.retries": 0}
    with Registry(SchemaRegistryConfig(**options)) as registry:
        codec = Codec(registry, topic_prefix=PREFIX, tenant_id=TENANT)
        with pytest.raises(SinkUnavailable, match=r"cannot be reached") as away:
            codec.encode_change(CHANGE)
    assert away.value.retryable
