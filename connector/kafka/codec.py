"""Avro: what is published, as bytes with their key and headers, and back.

Owns fastavro, Confluent's wire format (a zero byte, the schema's id in four bytes, the Avro value), the CloudEvents
headers and the keys. Must not decide what is published. The same mapping always gives the same bytes.

Strict: an unknown name, a missing one, or a value that its Avro type cannot carry is an `EncodingError` that names
field and record. Any text that UTF-8 can carry goes through unchanged, NUL and control characters too.

Too large for the broker: a message of more than `message_bytes_max` bytes, key and headers included, is shortened,
never refused and never dropped, in steps that halve until it fits: texts to 64 KiB at first and 256 bytes at last,
arrays to their first items of four times that. What was shortened is named in `shortenedFields` (`before.diskPaths`
for the earlier record) and, whatever the type, in the header `ce_shortenedfields`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import Any, Final, NamedTuple, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from connector.clock import milliseconds_of, moment_of
from connector.errors import ConfigError, EncodingError
from connector.exports.identity import event_id
from connector.kafka import schemas
from connector.kafka.avro_types import TEXT_BYTES_STEPS, Schema, Shape, key_part, problems, shortened, shown, unfit
from connector.kafka.registry import Registry, value_subject
from connector.model import Checkpoint, Message, SnapshotStatus, Topic
from connector.telemetry import logger

log = logger(__name__)

MAGIC: Final = b"\0"
PREFIX_BYTES: Final = 5

SPECVERSION: Final = ("ce_specversion", b"1.0")
CONTENT_TYPE: Final = ("content-type", b"application/avro")
TYPE_PREFIX: Final = "mde.software"
SHORTENED: Final = "shortenedFields"

UNSEALED: Final = (SnapshotStatus.FAILED, SnapshotStatus.STALE)
"""Statuses that the same snapshot, or an unknown one, may have more than once: their time is part of their id."""

LIBRDKAFKA_BYTES_MAX: Final = 1_000_000
"""librdkafka's own default of message.max.bytes; the broker's is a little larger."""
FRAMING_PERCENT: Final = 5
"""What is left free for the framing that librdkafka counts as part of a message."""
KEY_BYTES_MAX: Final = 8_192
"""Five parts of 256 bytes, each byte escaped to six by JSON, and what holds them together."""
HEADERS_BYTES_MAX: Final = 4_096
WRITER_SCHEMAS_MAX: Final = 1_000

FAULT_HINT: Final = "Nothing of this batch is published. It is a fault of the connector: please report this line."
FOREIGN_HINT: Final = "Did another program write to this topic, or is schema_registry.url that of another registry?"


def message_bytes_max_of(client: Mapping[str, Any]) -> int:
    """The largest message that `[kafka.client]` lets through: its `message.max.bytes`, less the framing.

    Raises:
        ConfigError: that is not a number.
    """
    given = client.get("message.max.bytes", LIBRDKAFKA_BYTES_MAX)
    try:
        return int(given) * (100 - FRAMING_PERCENT) // 100
    except (TypeError, ValueError) as error:
        raise ConfigError(f"kafka.client.message.max.bytes: must be a number of bytes (is {shown(given)})") from error


class Codec:
    """Encodes and decodes what one tenant publishes. The id of a schema is asked of the registry once, when needed.

    Every `encode_…` raises:
        EncodingError: a field is missing, unknown, or does not fit; the schema is not registered.
        SinkUnavailable, SinkRejected: the registry is away, or denies access.

    Attributes:
        source: header `ce_source` of every message: whose it is.

    Args:
        registry: gives ids and schemas.
        topic_prefix: `kafka.topic_prefix`.
        tenant_id: key of the reports, and source of the events.
        message_bytes_max: what is larger is shortened.
        changes_topic: full name of the topic that changes go to, where it is another than the prefix's.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        topic_prefix: str,
        tenant_id: str,
        message_bytes_max: int = LIBRDKAFKA_BYTES_MAX * (100 - FRAMING_PERCENT) // 100,
        changes_topic: str = "",
    ) -> None:
        self._registry = registry
        self._tenant_id = tenant_id
        self.source = f"/mde-inventory-connector/{tenant_id}".encode()
        room = message_bytes_max - 2 * KEY_BYTES_MAX - HEADERS_BYTES_MAX
        names = {topic: topic.name_under(topic_prefix) for topic in Topic}
        names[Topic.CHANGES] = changes_topic or names[Topic.CHANGES]
        writers = {topic: _Writer(registry, topic, names[topic], value_bytes_max=room) for topic in Topic}
        self._changes, self._alerts = writers[Topic.CHANGES], writers[Topic.ALERTS]
        self._reports, self._checkpoints = writers[Topic.SNAPSHOTS], writers[Topic.CHECKPOINTS]
        self._records = writers[Topic.INVENTORY]
        self._writer_schemas: dict[int, Schema] = {}

    # ---- encoding

    def encode_change(self, change: Mapping[str, Any]) -> Message:
        """A `SoftwareChange`: all its fields but `shortenedFields`; times are milliseconds since 1970."""
        value = self._changes.value(change)
        device = key_part(change["deviceId"]).encode()
        event = _Event(change["eventId"], change["changeType"], change["observedAt"], device)
        return self._message(self._changes.topic, device, value, event)

    def encode_alert(self, alert: Mapping[str, Any]) -> Message:
        """An `EndOfSupportAlert`: all its fields but `shortenedFields`; times are milliseconds since 1970."""
        value = self._alerts.value(alert)
        device = key_part(alert["deviceId"]).encode()
        event = _Event(alert["alertId"], f"alert.{alert['alertType']}", alert["observedAt"], device)
        return self._message(self._alerts.topic, device, value, event)

    def encode_report(self, report: Mapping[str, Any]) -> Message:
        """A `SnapshotReport`: all its fields; times are milliseconds since 1970."""
        value = self._reports.value(report)
        name = f"{report['epoch']}/{report['snapshotId']}/{report['status']}"
        if report["status"] in UNSEALED:
            name += f"/{report['finishedAt']}"
        at = report["startedAt"] if report["finishedAt"] is None else report["finishedAt"]
        event = _Event(name, f"snapshot.{report['status']}", at, key_part(report["snapshotId"]).encode())
        return self._message(self._reports.topic, self._tenant_id.encode(), value, event)

    def encode_checkpoint(self, checkpoint: Checkpoint) -> Message:
        """A checkpoint, or a claim, under its transactional id."""
        value = self._checkpoints.value({name: getattr(checkpoint, own) for name, own in CHECKPOINT_FIELDS.items()})
        owner, claim = checkpoint.transactional_id, checkpoint.claim
        place = (checkpoint.epoch, checkpoint.sequence, checkpoint.alert_sequence, checkpoint.sealed)
        name = claim or "/".join(map(str, (owner, *place)))
        event = _Event(name, "claim" if claim else "checkpoint", checkpoint.written_at, owner.encode())
        return self._message(self._checkpoints.topic, owner.encode(), value, event)

    def encode_record(self, key: Sequence[str], record: Mapping[str, Any] | None) -> Message:
        """A `SoftwareRecord` of the current inventory, or, for None, the tombstone of one that is gone.

        `key` is (inventory, deviceId, softwareVendor, softwareName, softwareVersion).
        """
        value = _Value(None, ()) if record is None else self._records.value(record)
        if problem := next(filter(None, (unfit("string", part) for part in key)), None):
            raise EncodingError(f"SoftwareRecord of {shown(tuple(key))}: key: {problem}", hint=FAULT_HINT)
        compact = json.dumps([key_part(part) for part in key], ensure_ascii=False, separators=(",", ":"))
        name = event_id(self._tenant_id, compact, sha256(value.content or b"").hexdigest())
        event = _Event(name, "record.removed" if record is None else "record", None, key_part(key[1]).encode())
        return self._message(self._records.topic, compact.encode(), value, event)

    def _message(self, topic: str, key: bytes, value: _Value, event: _Event) -> Message:
        headers = [SPECVERSION, ("ce_id", event.id.encode()), ("ce_type", _event_type(event.kind))]
        headers.append(("ce_source", self.source))
        if event.at is not None:
            headers.append(("ce_time", _rfc3339(event.at)))
        headers += [("ce_subject", event.subject), CONTENT_TYPE]
        if value.shortened:
            headers.append(("ce_shortenedfields", ",".join(value.shortened).encode()))
            log.warning("shortened, too large for the broker", topic=topic, key=key.decode(), fields=value.shortened)
        return Message(topic, key, value.content, tuple(headers))

    # ---- decoding

    def decode(self, value: bytes) -> dict[str, Any]:
        """A message's value, read with the schema that it was written with. Times become aware datetimes in UTC.

        Raises:
            EncodingError: not Confluent's wire format, not what its schema says, or the registry lacks the schema.
            SinkUnavailable, SinkRejected: the registry is away, or denies access.
        """
        return self._decoded(value, None)

    def decode_checkpoint(self, value: bytes) -> Checkpoint:
        """A checkpoint or a claim, whichever version of the connector wrote it.

        Raises:
            EncodingError: as `decode`, or it is no checkpoint.
            SinkUnavailable, SinkRejected: as `decode`.
        """
        found = self._decoded(value, self._checkpoints.schema)
        for name in ("writtenAt", "replayBegunAt"):
            if found[name] is not None:
                found[name] = milliseconds_of(found[name])
        return Checkpoint(**{own: found[name] for name, own in CHECKPOINT_FIELDS.items()})

    def _decoded(self, value: bytes, reader_schema: Schema | None) -> dict[str, Any]:
        if len(value) < PREFIX_BYTES or value[:1] != MAGIC:
            raise EncodingError(f"a value of {len(value)} bytes is not in Confluent's wire format", hint=FOREIGN_HINT)
        schema_id = int.from_bytes(value[1:PREFIX_BYTES], "big")
        writer_schema = self._writer_schema(schema_id)
        body = BytesIO(value)
        body.seek(PREFIX_BYTES)
        try:
            found = schemaless_reader(body, writer_schema, reader_schema)
        except Exception as error:
            # There is no telling what fastavro raises on bytes of somebody else.
            raise EncodingError(
                f"a value cannot be read by its schema {schema_id}: {type(error).__name__}: {error}", hint=FOREIGN_HINT
            ) from error
        if not isinstance(found, dict) or body.tell() != len(value):
            raise EncodingError(f"a value is not one record of its schema {schema_id}", hint=FOREIGN_HINT)
        return found

    def _writer_schema(self, schema_id: int) -> Schema:
        if schema_id not in self._writer_schemas:
            text = self._registry.schema(schema_id)
            try:
                parsed = _parsed(text)
            except Exception as error:
                # Nor what it raises on somebody else's schema.
                raise EncodingError(f"schema {schema_id} is not an Avro schema: {error}", hint=FOREIGN_HINT) from error
            if len(self._writer_schemas) >= WRITER_SCHEMAS_MAX:
                self._writer_schemas.clear()
            self._writer_schemas[schema_id] = parsed
        return self._writer_schemas[schema_id]


CHECKPOINT_FIELDS: Final = {
    "transactionalId": "transactional_id",
    "entraTenantId": "entra_tenant_id",
    "epoch": "epoch",
    "sequence": "sequence",
    "sealed": "sealed",
    "snapshotId": "snapshot_id",
    "writtenAt": "written_at",
    "connectorVersion": "connector_version",
    "claim": "claim",
    "alertSequence": "alert_sequence",
    "inventoryWhole": "inventory_whole",
    "replayBegunAt": "replay_begun_at",
    "replayFinished": "replay_finished",
}


class _Value(NamedTuple):
    """The encoded value (None is a tombstone), and the names of the fields that were shortened for it."""

    content: bytes | None
    shortened: tuple[str, ...]


class _Event(NamedTuple):
    """What the CloudEvents headers say; `at` in milliseconds since 1970, None where there is no such time."""

    id: str
    kind: str
    at: int | None
    subject: bytes


class _Writer:
    """Writes the values of one topic."""

    def __init__(self, registry: Registry, topic: Topic, name: str, *, value_bytes_max: int) -> None:
        self.topic = name
        self._name = schemas.NAMES[topic]
        self._text = schemas.schema_of(topic)
        self.schema = _parsed(self._text)
        self._registry = registry
        self._value_bytes_max = value_bytes_max
        self._shape = Shape(self.schema)
        self._marked = any(field["name"] == SHORTENED for field in self.schema["fields"])
        self._prefix = b""

    def value(self, record: Mapping[str, Any]) -> _Value:
        """The record as bytes, shortened where it has to be."""
        if not self._prefix:
            schema_id = self._registry.schema_id(value_subject(self.topic), self._text)
            self._prefix = MAGIC + schema_id.to_bytes(PREFIX_BYTES - 1, "big")
        content = self._written(record, ())
        if len(content) <= self._value_bytes_max:
            return _Value(content, ())
        for text_bytes in TEXT_BYTES_STEPS:
            shorter, names = shortened(record, text_bytes)
            content = self._written(shorter, names)
            if len(content) <= self._value_bytes_max:
                return _Value(content, names)
        raise EncodingError(
            f"{self._title(record)}: cannot be shortened to {self._value_bytes_max} bytes",
            hint="Raise message.max.bytes in [kafka.client].",
        )

    def _written(self, record: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
        whole = {**record, SHORTENED: list(names)} if self._marked else dict(record)
        content = BytesIO()
        content.write(self._prefix)
        try:
            self._shape.check(whole)
            schemaless_writer(content, self.schema, self._shape.hinted(whole), strict=True)
        except (TypeError, ValueError, LookupError, OverflowError, AttributeError) as error:
            # Rare, so it may be slow: which field it was.
            problem = next(problems(self.schema, {**whole, **record}), f"{type(error).__name__}: {error}")
            raise EncodingError(f"{self._title(record)}: {problem}", hint=FAULT_HINT) from error
        return content.getvalue()

    def _title(self, record: Mapping[str, Any]) -> str:
        """The type and whatever names this record, for people."""
        parts = [f"{name} {shown(record[name])}" for name in NAMING_FIELDS if record.get(name) is not None]
        return f"{self._name} of {', '.join(parts) or 'nothing that names it'}"


NAMING_FIELDS: Final = (
    "eventId", "alertId", "snapshotId", "transactionalId", "inventory",
    "deviceId", "softwareVendor", "softwareName", "softwareVersion",
)  # fmt: skip


def _parsed(text: str) -> Schema:
    """A schema as fastavro wants it, full names filled in."""
    return cast("Schema", parse_schema(json.loads(text)))


@lru_cache(maxsize=256)
def _event_type(kind: str) -> bytes:
    return f"{TYPE_PREFIX}.{kind.lower()}".encode()


@lru_cache(maxsize=256)
def _rfc3339(milliseconds: int) -> bytes:
    moment = moment_of(milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds").encode() + b"Z"
