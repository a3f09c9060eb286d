"""Messages: topics, keys, headers and sizes, and that nothing in them knows the value format."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.clock import moment_of
from connector.config.values import MESSAGE_BYTES_LEAST
from connector.errors import ConfigError, EncodingError
from connector.exports.identity import key_part
from connector.kafka.messages import Messages, message_bytes_max_of
from connector.kafka.values.avro import AvroValues
from connector.kafka.values.json import JsonValues
from connector.model import Message, Topic
from tests.support.avro import load, read_value
from tests.support.broker import Broker
from tests.support.messages import fresh_registry, make_messages, topic_names, write_as
from tests.support.records import (
    ALERT,
    CAMPAIGN,
    CHANGE,
    CHECKPOINT,
    CLAIM,
    OBSERVED,
    RECORD,
    RECORD_KEY,
    REPORT,
    TENANT,
)

SCHEMAS = {
    "change": load("software-change"),
    "alert": load("end-of-support-alert"),
    "report": load("snapshot-report"),
    "record": load("software-record"),
}
EXAMPLES: dict[str, dict[str, Any]] = {"change": CHANGE, "alert": ALERT, "report": REPORT, "record": RECORD}
RELAXED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


NAMES = topic_names()
MESSAGES = make_messages()


def encode(kind: str, record: dict[str, Any], messages: Messages = MESSAGES) -> Message:
    """The message of a record of any type."""
    if kind == "record":
        return messages.encode_record(RECORD_KEY, record)
    writers = {"change": messages.encode_change, "alert": messages.encode_alert, "report": messages.encode_report}
    return writers[kind](record)


def value_of(message: Message) -> bytes:
    """The value, which is no tombstone."""
    assert message.value is not None
    return message.value


# ---- the bytes


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_the_same_record_is_the_same_message_whatever_the_order_of_its_names(kind: str) -> None:
    """Published later, or again, or by another process: the same bytes, key and headers."""
    record = EXAMPLES[kind]
    expected = encode(kind, record)
    for seed in range(5):
        names = list(record)
        random.Random(seed).shuffle(names)
        assert encode(kind, {name: record[name] for name in names}) == expected
    messages = make_messages()
    for other in ("change", "alert", "report", "record"):
        encode(other, EXAMPLES[other], messages)
    ids = {kind: value_of(encode(kind, EXAMPLES[kind]))[:5] for kind in SCHEMAS}
    again = encode(kind, record, messages)
    assert again._replace(value=ids[kind] + value_of(again)[5:]) == expected


DIGESTS = {
    "change": "627eed0ea729b409",
    "change shortened": "cb7d47ffa757244d",
    "change of another topic": "d6b3f2e33a058d5b",
    "alert": "4ace15875279d437",
    "report": "a0280840b4e947d8",
    "report failed": "5c54f38f12d08312",
    "checkpoint": "9d555f4749c6bfa3",
    "claim": "ee843a067ccc9370",
    "record": "aec9bea371e0ed7b",
    "record shortened": "2403b2e60186f4e8",
    "tombstone": "b525edaf7ddfaac7",
    "campaign": "55b2fdaae850625c",
}


def test_messages_are_those_of_earlier_builds_byte_for_byte() -> None:
    """Digests of whole messages: who means to change what is published changes them, nobody else."""
    large = {"deviceName": "é" * 500_000, "diskPaths": [f"C:\\{number:06}\\{'x' * 200}" for number in range(10_000)]}
    here = make_messages()
    elsewhere = Messages(AvroValues(fresh_registry(), NAMES), NAMES | {Topic.CHANGES: "again"}, tenant_id=TENANT)
    messages = {
        "change": here.encode_change(CHANGE),
        "change shortened": here.encode_change(CHANGE | large | {"before": RECORD | large}),
        "change of another topic": elsewhere.encode_change(CHANGE | {"replayed": True}),
        "alert": here.encode_alert(ALERT),
        "report": here.encode_report(REPORT),
        "report failed": here.encode_report(REPORT | {"status": "FAILED", "reason": "throttled"}),
        "checkpoint": here.encode_checkpoint(CHECKPOINT),
        "claim": here.encode_checkpoint(CLAIM),
        "record": here.encode_record(RECORD_KEY, RECORD),
        "record shortened": here.encode_record(RECORD_KEY, RECORD | large),
        "tombstone": here.encode_record(RECORD_KEY, None),
        "campaign": here.encode_campaign(CAMPAIGN),
    }
    assert {name: digest_of(message) for name, message in messages.items()} == DIGESTS


def digest_of(message: Message) -> str:
    """Of topic, key, value and headers."""
    return sha256(repr((message.topic, message.key, message.value, message.headers)).encode()).hexdigest()[:16]


# ---- topics, keys, headers


def test_a_campaign_belongs_to_its_snapshot() -> None:
    """All campaigns of a tenant are in one order: the key is the tenant, the subject the snapshot."""
    message = MESSAGES.encode_campaign(CAMPAIGN)
    assert (message.topic, message.key) == ("mde.software.campaigns", TENANT.encode())
    assert message.headers == event(
        CAMPAIGN["campaignId"],
        "campaign.changed",
        "2026-11-23T08:00:00.000Z",
        CAMPAIGN["snapshotId"],
        {"recordedtime": "2026-11-23T08:12:34.321Z", "correlationid": CAMPAIGN["snapshotId"]},
    )


def event(
    name: str, kind: str, time: str | None, subject: str, extensions: Mapping[str, str] | None = None
) -> tuple[tuple[str, bytes], ...]:
    """The headers of an event."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_type", f"mde.software.{kind}".encode()),
        ("ce_source", f"/mde-inventory-connector/{TENANT}".encode()),
        *([("ce_time", time.encode())] if time else []),
        ("ce_subject", subject.encode()),
        *((f"ce_{extension}", text.encode()) for extension, text in (extensions or {}).items()),
        ("content-type", b"application/avro"),
    )


@pytest.mark.parametrize("change_type", ["BASELINE", "ADDED", "REMOVED", "CHANGED"])
def test_a_change_lies_under_its_device_with_the_headers_of_cloudevents(change_type: str) -> None:
    """Key: the device. Id: the event's. Time: when the snapshot was generated."""
    message = MESSAGES.encode_change(CHANGE | {"changeType": change_type})
    assert (message.topic, message.key) == ("mde.software.changes", CHANGE["deviceId"].encode())
    extensions = {
        "devicename": "reception-02.corp.example.com",
        "sequence": "0000000001.0000001099511627776",
        "recordedtime": "2026-11-23T08:12:34.321Z",
        "correlationid": "cpe-20261123T080000Z",
    }
    assert message.headers == event(
        CHANGE["eventId"], change_type.lower(), "2026-11-23T08:00:00.000Z", CHANGE["deviceId"], extensions
    )


def test_an_alert_lies_under_its_device() -> None:
    """Key: the device. Id: the alert's."""
    message = MESSAGES.encode_alert(ALERT)
    assert (message.topic, message.key) == ("mde.software.alerts", ALERT["deviceId"].encode())
    extensions = {
        "devicename": "reception-02.corp.example.com",
        "recordedtime": "2026-11-23T08:00:00.001Z",
        "correlationid": "non_cpe-20261123T080000Z",
        "severitytext": "medium",
        "severitynumber": "13",
        "replayed": "true",
    }
    assert message.headers == event(
        ALERT["alertId"], "alert.date_threshold", "2026-11-23T08:00:00.000Z", ALERT["deviceId"], extensions
    )


def test_a_summary_lies_under_its_incident() -> None:
    """It has no device; all summaries of a product stay in order."""
    message = MESSAGES.encode_alert(ALERT | {"deviceId": "", "summarizes": 50_000})
    assert message.key == dict(message.headers)["ce_subject"] == ALERT["incidentKey"].encode()


def test_an_alert_names_the_change_that_raised_it() -> None:
    """Its cause; not replayed, it has no header that says so."""
    headers = dict(MESSAGES.encode_alert(ALERT | {"eventId": CHANGE["eventId"], "replayed": False}).headers)
    assert headers["ce_causationid"] == CHANGE["eventId"].encode()
    assert "ce_replayed" not in headers


@pytest.mark.parametrize(("severity", "number"), [("low", b"9"), ("medium", b"13"), ("high", b"17")])
def test_the_number_of_a_severity_is_that_of_opentelemetry(severity: str, number: bytes) -> None:
    """INFO, WARN, ERROR: in the order of the severities."""
    headers = dict(MESSAGES.encode_alert(ALERT | {"severity": severity}).headers)
    assert (headers["ce_severitytext"], headers["ce_severitynumber"]) == (severity.encode(), number)


def test_only_a_replayed_change_says_that_it_is() -> None:
    """A reader drops replays by the header, without reading the value; the sequence is the original one."""
    headers, again = (dict(MESSAGES.encode_change(CHANGE | {"replayed": flag}).headers) for flag in (False, True))
    assert again == headers | {"ce_replayed": b"true"}


@given(st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(0, 2**63 - 1)), min_size=2, max_size=8))
def test_the_texts_of_the_sequence_are_in_the_order_of_epoch_and_sequence(places: list[tuple[int, int]]) -> None:
    """Sorted as text, events are in their order."""
    texts = {
        place: dict(MESSAGES.encode_change(CHANGE | {"epoch": place[0], "sequence": place[1]}).headers)["ce_sequence"]
        for place in places
    }
    assert sorted(texts, key=lambda place: texts[place]) == sorted(texts)


@pytest.mark.parametrize("name", [None, ""])
def test_a_device_without_a_name_has_no_such_header(name: str | None) -> None:
    """CloudEvents has no empty attributes."""
    assert "ce_devicename" not in dict(MESSAGES.encode_change(CHANGE | {"deviceName": name}).headers)


@pytest.mark.parametrize(
    ("status", "finished", "time"),
    [("STARTED", None, "2026-11-23T08:01:00.000Z"), ("COMPLETE", OBSERVED + 90_500, "2026-11-23T08:01:30.500Z")],
)
def test_a_report_lies_under_its_tenant(status: str, finished: int | None, time: str) -> None:
    """Key: the tenant. Each status of a snapshot is a separate event."""
    message = MESSAGES.encode_report(REPORT | {"status": status, "finishedAt": finished})
    assert (message.topic, message.key) == ("mde.software.snapshots", TENANT.encode())
    assert message.headers == event(
        f"1/cpe-20261123T080000Z/{status}",
        f"snapshot.{status.lower()}",
        time,
        "cpe-20261123T080000Z",
        {"correlationid": "cpe-20261123T080000Z"},
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
    message = MESSAGES.encode_checkpoint(checkpoint)
    assert (message.topic, message.key) == ("mde.software.checkpoints", checkpoint.transactional_id.encode())
    assert message.headers == event(name, kind, time, checkpoint.transactional_id)
    assert MESSAGES.decode_checkpoint(value_of(message)) == checkpoint


def test_a_record_lies_under_its_key_as_a_json_array() -> None:
    """The key is compact JSON, characters as they are; the tombstone has the same key and no value."""
    message, tombstone = MESSAGES.encode_record(RECORD_KEY, RECORD), MESSAGES.encode_record(RECORD_KEY, None)
    key = '["CPE","4ae1f2b6c0d95e0c8a7bb1c6c2ad55d4a1f0e3b2","oracle","java_runtime®","8.0.3910.13"]'
    assert (message.topic, message.key) == (tombstone.topic, tombstone.key) == ("mde.software.inventory", key.encode())
    assert tombstone.value is None
    named = {"devicename": RECORD["deviceName"]}
    for sent, kind, extensions in ((message, "record", named), (tombstone, "record.removed", {})):
        headers = dict(sent.headers)
        assert sent.headers == event(headers["ce_id"].decode(), kind, None, RECORD["deviceId"], extensions)
    assert dict(message.headers)["ce_id"] != dict(tombstone.headers)["ce_id"]


def test_a_key_that_utf_8_cannot_carry_is_refused() -> None:
    """Also that of a tombstone."""
    with pytest.raises(EncodingError, match=r"key: '\\udc00' has a lone surrogate"):
        MESSAGES.encode_record(("CPE", "\udc00", "", "", ""), None)


@pytest.mark.parametrize("text", ["\0", "a\r\nb", "\u202egpj.exe", "😀"])
def test_an_odd_device_id_is_key_and_subject_byte_for_byte(text: str) -> None:
    """What UTF-8 can carry is published as it is, NUL too: a device's name must not be able to stop the pipeline."""
    message = MESSAGES.encode_change(CHANGE | {"deviceId": text})
    assert (message.key, dict(message.headers)["ce_subject"]) == (text.encode(), text.encode())


@pytest.mark.parametrize("length", [256, 257, 300_000])
def test_a_long_device_id_is_cut_in_key_and_subject(length: int) -> None:
    """Of records too, so that no message is refused for its key."""
    device = "é" * length
    message = MESSAGES.encode_change(CHANGE | {"deviceId": device})
    record = MESSAGES.encode_record(("CPE", device, "v", "n", "1"), RECORD)
    assert message.key == dict(message.headers)["ce_subject"] == key_part(device).encode()
    assert json.loads(record.key) == ["CPE", key_part(device), "v", "n", "1"]


# ---- the value format


class PlainValues:
    """A value format for this test: JSON, times as milliseconds, no registry."""

    content_type = b"application/json"

    def write(self, topic: Topic, record: Mapping[str, Any]) -> bytes:
        """As `Values.write`, but that it checks nothing."""
        return json.dumps({"type": topic.value, "record": record}).encode()

    def sql(self, _topic: Topic, _columns: Mapping[str, str]) -> None:
        """As `Values.sql`: there is none."""

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """As `Values.read`, with the two times of a checkpoint only."""
        written = json.loads(value)
        assert topic in {None, Topic(written["type"])}
        times = ("writtenAt", "replayBegunAt")
        return {
            name: moment_of(field) if name in times and field is not None else field
            for name, field in written["record"].items()
        }


def test_messages_know_no_value_format() -> None:
    """In another format topic, key and headers stay what they are, but for the content type; checkpoints come back."""
    plain = Messages(PlainValues(), NAMES, tenant_id=TENANT)
    for kind, record in EXAMPLES.items():
        message, as_avro = encode(kind, record, plain), encode(kind, record)
        headers = dict(as_avro.headers) | {"content-type": b"application/json"}
        # The id of a record is that of its bytes.
        assert dict(message.headers).keys() == headers.keys()
        assert dict(message.headers) | {"ce_id": b""} == headers | {"ce_id": b""}
        assert (message.topic, message.key) == (as_avro.topic, as_avro.key)
        marker: dict[str, Any] = {"shortenedFields": []} if kind in {"change", "alert"} else {}
        assert plain.decode(value_of(message)) == record | marker
    for checkpoint in (CHECKPOINT, CLAIM, replace(CHECKPOINT, replay_begun_at=5, replay_finished=True)):
        assert plain.decode_checkpoint(value_of(plain.encode_checkpoint(checkpoint))) == checkpoint


def test_the_limit_counts_the_bytes_of_the_format_that_is_written() -> None:
    """A text of which JSON makes six bytes a character is shortened where Avro takes it whole."""
    change = CHANGE | {"deviceName": "\x01" * 200_000}
    assert MESSAGES.decode(value_of(MESSAGES.encode_change(change)))["shortenedFields"] == []
    message = Messages(PlainValues(), NAMES, tenant_id=TENANT).encode_change(change)
    assert size_of(message) <= 950_000
    assert dict(message.headers)["ce_shortenedfields"] == b"deviceName"
    assert json.loads(value_of(message))["record"]["deviceName"] == "\x01" * (65_536 - 3) + "…"


@pytest.mark.parametrize("character", ["x", "é", "\0", '"'])
def test_the_worst_record_fits_the_smallest_road_as_json(character: str) -> None:
    """The smallest limit there is, and every text endless, in the earlier record too: six bytes of JSON a character."""
    longs: dict[str, Any] = {
        name: [character * 9_000] * 3 if isinstance(value, list) else character * 70_000
        for name, value in RECORD.items()
        if isinstance(value, str | list)
    }
    messages = make_messages(values=JsonValues(), message_bytes_max=MESSAGE_BYTES_LEAST)
    change = CHANGE | longs | {"before": RECORD | longs}
    for message in (messages.encode_change(change), messages.encode_alert(ALERT | longs)):
        assert size_of(message) <= MESSAGE_BYTES_LEAST
        shortened = messages.decode(value_of(message))
        assert set(shortened["shortenedFields"]) >= set(longs)
        untouched = ("snapshotId", "entraTenantId", "connectorVersion")
        assert [shortened[name] for name in untouched] == [change[name] for name in untouched] or "alertId" in shortened


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
    _, published = read_value(value_of(message), SCHEMAS[kind])
    assert size_of(message) <= 950_000
    whole = sum(len(str(value).encode()) for value in record.values()) * 2 < 900_000
    names = shortened_names(record, published)
    assert names == [] or not whole
    assert published.get("shortenedFields", names) == names
    assert dict(message.headers).get("ce_shortenedfields", b"").decode() == ",".join(names)
    assert message == encode(kind, record)


def shortened_names(record: dict[str, Any], published: dict[str, Any], path: str = "") -> list[str]:
    """The names that differ, after a look at how: cut texts, first items, and nothing else."""
    names = []
    for name, value in record.items():
        if isinstance(value, dict):
            names += shortened_names(value, published[name], f"{path}{name}.")
        elif published[name] != value:
            names.append(path + name)
            pairs = zip(value, published[name], strict=False) if isinstance(value, list) else [(value, published[name])]
            for before, after in pairs:
                assert after == before or (after.endswith("…") and before.startswith(after[:-1]))
            assert isinstance(value, list) or len(published[name]) < len(value)
    return sorted(names)


def test_a_message_that_just_fits_is_whole_and_one_byte_more_is_shortened() -> None:
    """The rule begins at the limit, not before it."""
    messages = make_messages(message_bytes_max=100_000)
    room = 100_000 - 2 * 8_192 - 4_096
    empty = len(value_of(messages.encode_change(CHANGE | {"deviceName": "n" * 70_000}))) - 70_000
    fits, large = (messages.encode_change(CHANGE | {"deviceName": "n" * (room - empty + more)}) for more in (0, 1))
    assert len(value_of(fits)) == room
    assert messages.decode(value_of(fits))["shortenedFields"] == []
    decoded = messages.decode(value_of(large))
    assert decoded["shortenedFields"] == ["deviceName"]
    assert decoded["deviceName"] == "n" * (65_536 - 3) + "…"


def test_both_records_of_a_change_are_shortened_and_the_rest_is_untouched() -> None:
    """10,000 paths before and after: both arrays keep their first items; every other field is as it was."""
    paths = [f"C:\\Users\\user{number:05}\\AppData\\Local\\Programs\\tool\\tool.exe" for number in range(10_000)]
    change = CHANGE | {"diskPaths": paths, "before": RECORD | {"diskPaths": paths[5_000:], "registryPaths": paths}}
    _, published = read_value(value_of(MESSAGES.encode_change(change)), SCHEMAS["change"])
    assert published["shortenedFields"] == ["before.diskPaths", "before.registryPaths", "diskPaths"]
    kept = len(published["diskPaths"])
    assert kept * len(paths[0]) > 200_000
    assert published == change | {
        "diskPaths": paths[:kept],
        "before": change["before"] | {"diskPaths": paths[5_000:][:kept], "registryPaths": paths[:kept]},
        "shortenedFields": ["before.diskPaths", "before.registryPaths", "diskPaths"],
    }


def test_a_limit_that_nothing_fits_is_an_error_with_a_hint() -> None:
    """A broker that takes less than the bare fields of a change: the hint names the setting to raise."""
    with pytest.raises(EncodingError, match=r"^SoftwareChange of .*: cannot be shortened to 520 bytes$") as refused:
        make_messages(message_bytes_max=21_000).encode_change(CHANGE)
    assert "message.max.bytes" in refused.value.hint


@pytest.mark.parametrize(
    ("client", "expected"),
    [({}, 950_000), ({"message.max.bytes": 2_000_000}, 1_900_000), ({"message.max.bytes": "500000"}, 475_000)],
)
def test_the_limit_follows_what_librdkafka_lets_through(client: dict[str, Any], expected: int) -> None:
    """`message.max.bytes`, or its default, less what librdkafka adds to a message."""
    assert message_bytes_max_of(client) == expected


@pytest.mark.parametrize(
    ("client", "configured", "expected"),
    [({}, 64_000, 64_000), ({}, 0, 950_000), ({"message.max.bytes": 60_000}, 64_000, 57_000)],
)
def test_the_smaller_of_two_limits_counts(client: dict[str, Any], configured: int, expected: int) -> None:
    """`kafka.message_bytes_max` is what a reader takes, `message.max.bytes` what the broker does."""
    assert message_bytes_max_of(client, configured) == expected


@pytest.mark.parametrize("values", [JsonValues(), None], ids=["json", "avro"])
def test_a_record_of_3000_paths_fits_the_road_of_64_kb(values: JsonValues | None) -> None:
    """Value, key and headers together; the paths that fit are kept, and the marker says that others were not."""
    paths = [f"C:\\Users\\user{number:05}\\AppData\\Local\\Programs\\tool\\tool.exe" for number in range(3_000)]
    messages = make_messages(values=values, message_bytes_max=64_000)
    message = messages.encode_change(CHANGE | {"diskPaths": paths, "before": None})
    decoded = messages.decode(value_of(message))
    assert size_of(message) <= 64_000
    assert decoded["shortenedFields"] == ["diskPaths"]
    assert decoded["diskPaths"] == paths[: len(decoded["diskPaths"])]
    assert len(decoded["diskPaths"]) > 200


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
    encoder = make_messages(topic_prefix=topic_prefix)
    noise = random.Random(1).randbytes(500_000).hex()
    large = CHANGE | {"deviceId": noise[:400], "deviceName": noise[:900_000]}
    far_larger = CHANGE | {"deviceId": noise, "softwareName": noise, "diskPaths": [noise] * 20}
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    messages = [encoder.encode_change(change) for change in (large, far_larger)]
    for message in messages:
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
    assert producer.flush(30) == 0
    assert [message.value for message in consume(topic)] == [message.value for message in messages]
    assert [encoder.decode(message.value)["shortenedFields"] for message in consume(topic)] == [
        [],
        ["deviceId", "diskPaths", "softwareName"],
    ]


# ---- reading what other versions wrote


def test_a_checkpoint_of_another_version_is_read() -> None:
    """An older writer without `claim`, a newer one with a field more: both give a checkpoint."""
    registry = fresh_registry()
    messages = make_messages(registry)
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
        assert messages.decode_checkpoint(write_as(registry, version, record)) == CHECKPOINT


def test_what_is_no_checkpoint_is_not_taken_for_one() -> None:
    """A change on the checkpoints topic is an error, not a position."""
    with pytest.raises(EncodingError, match=r"^a value cannot be read by its schema \d+: "):
        MESSAGES.decode_checkpoint(value_of(MESSAGES.encode_change(CHANGE)))
