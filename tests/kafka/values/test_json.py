"""Values as JSON: against the shipped JSON Schemas and a reader of its own, and against hostile values."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import EncodingError
from connector.kafka.values.json import JsonValues
from connector.model import Topic
from tests.kafka.values.test_avro import EXAMPLES, MARKED_CHANGE, RELAXED, SCHEMAS
from tests.support.avro import FOLDER, values
from tests.support.json_schemas import files
from tests.support.json_values import problems, read_json
from tests.support.records import ALERT, CHANGE, RECORD, REPORT

FILES = {
    Topic.CHANGES: "software-change",
    Topic.ALERTS: "end-of-support-alert",
    Topic.SNAPSHOTS: "snapshot-report",
    Topic.CHECKPOINTS: "checkpoint",
    Topic.INVENTORY: "software-record",
    Topic.CAMPAIGNS: "software-campaign",
}
JSON = JsonValues()


# ---- the JSON Schemas


def test_the_json_schemas_are_those_of_the_avro_schemas() -> None:
    """They are generated; `make schemas` writes them again."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.schema.json")}
    assert stored == files()


@pytest.mark.parametrize("topic", list(Topic))
def test_every_value_is_one_of_its_json_schema(topic: Topic) -> None:
    """Whatever a record of the type holds, in any script: a validator takes it, and every field is in the schema."""

    @RELAXED
    @given(values(SCHEMAS[topic]))
    def check(record: dict[str, Any]) -> None:
        value = JSON.write(topic, record)
        assert problems(FILES[topic], value) == []
        assert read_json(value, SCHEMAS[topic]) == record

    check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("observedAt", 1_795_420_800_000),
        ("observedAt", "2026-11-23T08:00:00Z"),
        ("changeType", "RENAMED"),
        ("sequence", "7"),
        ("sequence", 2**63),
        ("epoch", 2**31),
        ("diskPaths", None),
        ("before", {}),
    ],
)
def test_a_value_of_another_shape_is_none_of_its_json_schema(name: str, value: object) -> None:
    """The schemas are not blind."""
    record = json.loads(JSON.write(Topic.CHANGES, MARKED_CHANGE))
    assert problems("software-change", json.dumps(record | {name: value}).encode()) != []
    del record[name]
    assert problems("software-change", json.dumps(record).encode()) == [f"'{name}' is a required property"]


# ---- the bytes


def test_a_value_is_one_object_with_the_names_of_the_schema_and_times_in_iso_8601() -> None:
    """Compact, in the order of the schema, characters as they are."""
    value = JSON.write(Topic.CHANGES, MARKED_CHANGE)
    written = json.loads(value)
    assert list(written) == [field["name"] for field in SCHEMAS[Topic.CHANGES]["fields"]]
    times = {"observedAt": "2026-11-23T08:00:00.000Z", "emittedAt": "2026-11-23T08:12:34.321Z"}
    assert written == MARKED_CHANGE | times
    assert "Zürich / 東京".encode() in value
    assert b'", "' not in value
    assert JSON.content_type == b"application/json"


@pytest.mark.parametrize("topic", list(Topic))
def test_reading_gives_back_what_was_given_with_times_as_datetimes(topic: Topic) -> None:
    """`read` is the inverse of `write`, whether the type is known or not; a time is an aware datetime in UTC."""
    record = EXAMPLES[topic]
    times = {
        field["name"]: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=record[field["name"]])
        for field in SCHEMAS[topic]["fields"]
        if "timestamp-millis" in json.dumps(field["type"]) and record[field["name"]] is not None
    }
    value = JSON.write(topic, record)
    assert times or topic is Topic.INVENTORY
    assert JSON.read(value) == JSON.read(value, topic) == record | times


def test_a_name_that_is_a_time_is_one_in_every_type() -> None:
    """A reader that does not know the type knows a time by its name."""
    kinds = [
        (field["name"], "timestamp-millis" in json.dumps(field["type"]))
        for schema in SCHEMAS.values()
        for field in schema["fields"]
    ]
    assert {name for name, is_time in kinds if is_time} & {name for name, is_time in kinds if not is_time} == set()


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_000, -1, 0, 999, 253_402_214_400_000])
def test_a_time_of_any_year_has_four_digits_and_milliseconds(milliseconds: int) -> None:
    """From the year 1 to 9999, and back."""
    value = JSON.write(Topic.CHANGES, MARKED_CHANGE | {"observedAt": milliseconds})
    assert problems("software-change", value) == []
    assert read_json(value, SCHEMAS[Topic.CHANGES])["observedAt"] == milliseconds


@pytest.mark.parametrize("topic", list(Topic))
def test_the_same_record_is_the_same_value_whatever_the_order_of_its_names(topic: Topic) -> None:
    """Published later, or again, or by another process: the same bytes. What is given is not changed."""
    record = json.loads(json.dumps(EXAMPLES[topic]))
    expected = JSON.write(topic, record)
    for seed in range(5):
        names = list(record)
        random.Random(seed).shuffle(names)
        assert JsonValues().write(topic, {name: record[name] for name in names}) == expected
    assert record == EXAMPLES[topic]


# ---- strictness


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("sequence", 2**63, "9223372036854775808 is outside of -9223372036854775808 to 9223372036854775807"),
        ("epoch", 2**31, "2147483648 is outside of -2147483648 to 2147483647"),
        ("epoch", 1.0, "1.0 is no int"),
        ("sequence", True, "True is no long"),
        ("sequence", None, "None is no long"),
        ("rbacGroupId", float("nan"), "nan is no long"),
        ("replayed", 1, "1 is no boolean"),
        ("deviceId", None, "None is no string"),
        ("deviceId", b"4ae1", "b'4ae1' is no string"),
        ("deviceName", "\ud800", r"'\ud800' has a lone surrogate, which UTF-8 cannot carry"),
        ("diskPaths", ["fine", "\udc80"], r"'\udc80' has a lone surrogate, which UTF-8 cannot carry"),
        ("diskPaths", ["fine", None], "None is no string"),
        ("diskPaths", "C:", "'C:' is no array"),
        ("registryPaths", ("HKLM",), "('HKLM',) is no array"),
        ("changeType", "RENAMED", "'RENAMED' is no enum"),
        ("changeType", ["ADDED"], "['ADDED'] is no enum"),
        ("observedAt", 253_402_300_800_000, "253402300800000 is outside of -62135596800000 to 253402214400000"),
        ("observedAt", "2026-11-23T08:00:00.000Z", "'2026-11-23T08:00:00.000Z' is no long"),
        ("before", "earlier", "'earlier' is no record"),
    ],
)  # fmt: skip
def test_a_value_that_its_type_cannot_carry_is_refused_by_name(name: str, value: object, reason: str) -> None:
    """As strict as Avro, in the same words: both formats publish and refuse the same records."""
    with pytest.raises(EncodingError) as refused:
        JSON.write(Topic.CHANGES, MARKED_CHANGE | {name: value})
    assert str(refused.value).startswith(f"SoftwareChange of eventId '{CHANGE['eventId']}'")
    assert str(refused.value).endswith(f": {name}: {reason}")


def test_the_earlier_record_is_looked_at_as_strictly() -> None:
    """A field of `before` is named with its place."""
    for before, problem in (({"diskPaths": "C:"}, "before.diskPaths: 'C:' is no array"), ({"x": 1}, "before.'x': is")):
        with pytest.raises(EncodingError, match=problem):
            JSON.write(Topic.CHANGES, MARKED_CHANGE | {"before": RECORD | before})


@pytest.mark.parametrize("topic", list(Topic))
def test_every_field_must_be_there_and_no_other(topic: Topic) -> None:
    """A missing name is an error, also of an optional field, and so is an unknown one."""
    record = EXAMPLES[topic]
    for name in record:
        with pytest.raises(EncodingError, match=rf": {name}: is missing$"):
            JSON.write(topic, {key: value for key, value in record.items() if key != name})
    with pytest.raises(EncodingError, match=r": 'softwareVerion': is no field of it$"):
        JSON.write(topic, record | {"softwareVerion": "1"})


def test_numbers_and_times_of_the_other_types_are_held_to_their_range() -> None:
    """Nullable int, nullable time: as strict as the others."""
    for name, value in (("daysToEndOfSupport", 2**31), ("thresholdDays", -(2**31) - 1), ("observedAt", 2**62)):
        with pytest.raises(EncodingError, match=rf": {name}: {value} is outside of "):
            JSON.write(Topic.ALERTS, ALERT | {"shortenedFields": [], name: value})
    with pytest.raises(EncodingError, match=rf": generatedAt: {2**62} is outside of "):
        JSON.write(Topic.SNAPSHOTS, REPORT | {"generatedAt": 2**62})


# ---- reading what others wrote


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": 1} x', "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"1" * 10_000, "is not JSON"),
        (b"[]", "is not one JSON object"),
        (b"null", "is not one JSON object"),
        (b'{"observedAt": "yesterday"}', "not a time in ISO 8601"),
        (b'{"observedAt": "2026-11-23T08:00:00"}', "not a time in ISO 8601"),
        (b'{"observedAt": 5}', "not a time in ISO 8601"),
        (b'{"observedAt": "0001-01-01T00:00:00+23:00"}', "not a time in ISO 8601"),
    ],
)
def test_what_is_no_record_is_refused(value: bytes, reason: str) -> None:
    """Never anything but an `EncodingError`."""
    with pytest.raises(EncodingError, match=reason):
        JSON.read(value)


@settings(RELAXED, max_examples=300)
@given(st.binary(max_size=300), st.integers(0, 800), st.integers(0, 255))
def test_foreign_bytes_are_read_or_refused(rubbish: bytes, position: int, byte: int) -> None:
    """Whatever stands there, and wherever a byte is flipped: a record or an `EncodingError`."""
    flipped = bytearray(JSON.write(Topic.CHANGES, MARKED_CHANGE))
    flipped[position % len(flipped)] = byte
    for foreign in (rubbish, bytes(flipped)):
        for topic in (None, Topic.CHANGES):
            try:
                assert isinstance(JSON.read(foreign, topic), dict)
            except EncodingError:
                continue


def test_a_value_of_another_version_is_read_as_written_or_resolved_to_this_one() -> None:
    """Older without `claim`, newer with another field: resolved, both are a record of this version."""
    value = json.loads(JSON.write(Topic.CHECKPOINTS, EXAMPLES[Topic.CHECKPOINTS]))
    current = JSON.read(json.dumps(value).encode())
    older, newer = {**value}, value | {"added": "later"}
    del older["claim"]
    for version, added, missing in ((older, {}, {"claim"}), (newer, {"added": "later"}, set())):
        written = json.dumps(version).encode()
        assert JSON.read(written, Topic.CHECKPOINTS) == current
        assert JSON.read(written) == {name: current[name] for name in current if name not in missing} | added


def test_a_symbol_of_a_later_version_is_unknown() -> None:
    """As Avro resolves it."""
    value = json.loads(JSON.write(Topic.CHANGES, MARKED_CHANGE)) | {"reason": "OF_A_LATER_VERSION"}
    assert JSON.read(json.dumps(value).encode(), Topic.CHANGES)["reason"] == "UNKNOWN"


def test_a_value_of_another_type_than_the_topics_is_refused() -> None:
    """A change on the checkpoints topic is no checkpoint."""
    with pytest.raises(EncodingError, match=r"^a value cannot be read as a Checkpoint: transactionalId: is missing$"):
        JSON.read(JSON.write(Topic.CHANGES, MARKED_CHANGE), Topic.CHECKPOINTS)
    value = json.loads(JSON.write(Topic.CHECKPOINTS, EXAMPLES[Topic.CHECKPOINTS])) | {"sequence": "7"}
    with pytest.raises(EncodingError, match=r": sequence: '7' is no long$"):
        JSON.read(json.dumps(value).encode(), Topic.CHECKPOINTS)
