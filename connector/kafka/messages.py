"""Messages: which topic, key and CloudEvents headers each record is published with, and the records in them.

The value is written and read by a `Values`; no format is known here. The same record always gives the same message.

A message of more than `message_bytes_max` bytes, key and headers included, is shortened (`values/shortening`). What was
shortened is named in `shortenedFields` (`before.diskPaths` for the earlier record) of the types that have it and,
whatever the type, in the header `ce_shortenedfields`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from connector.clock import iso_text_of, milliseconds_of
from connector.errors import ConfigError, EncodingError
from connector.exports.identity import event_id, key_part
from connector.kafka.client import LIBRDKAFKA_BYTES_MAX
from connector.kafka.encoders import (
    SHORTENED,
    SPECVERSION,
    Envelope,
    RecordEncoder,
    SnapshotAlerts,
    SnapshotChanges,
    TableEncoder,
    event_type,
)
from connector.kafka.extensions import extensions_of
from connector.kafka.values import Values
from connector.kafka.values.problems import FAULT_HINT, find_problem, quote, refusal
from connector.kafka.values.shortening import Fitting, write_fitting
from connector.model import Checkpoint, Message, SnapshotStatus, Topic
from connector.telemetry import logger

log = logger(__name__)

MARKED: Final = frozenset({Topic.CHANGES, Topic.ALERTS})
"""Topics whose records have a field that names what was shortened."""

UNSEALED: Final = (SnapshotStatus.FAILED, SnapshotStatus.STALE)
"""Statuses that the same snapshot, or an unknown one, may have more than once: their time is part of their id."""

FRAMING_PERCENT: Final = 5
"""What is left free for the framing that librdkafka counts as part of a message."""
KEY_BYTES_MAX: Final = 8_192
"""Five parts of 256 bytes, each byte escaped to six by JSON, and what holds them together."""
HEADERS_BYTES_MAX: Final = 4_096

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


def message_bytes_max_of(client: Mapping[str, Any], configured: int = 0) -> int:
    """The largest message that may be published, with key and headers.

    Args:
        client: `[kafka.client]`, which lets through its `message.max.bytes`, less the framing.
        configured: `kafka.message_bytes_max`, where that is less; 0 for none.

    Raises:
        ConfigError: that is not a number.
    """
    limit = client.get("message.max.bytes", LIBRDKAFKA_BYTES_MAX)
    try:
        let_through = int(limit) * (100 - FRAMING_PERCENT) // 100
    except (TypeError, ValueError) as error:
        raise ConfigError(f"kafka.client.message.max.bytes: must be a number of bytes (is {quote(limit)})") from error
    return min(let_through, configured or let_through)


class Messages:
    """Encodes and decodes the messages of one tenant.

    Every `encode_…` raises:
        EncodingError: a field is missing, unknown, or does not fit; the schema is not registered.
        SinkUnavailable, SinkRejected: the value format needs a registry, and it is away or denies access.

    Attributes:
        source: header `ce_source` of every message: whose it is.

    Args:
        values: writes and reads values.
        names: full names of the topics.
        tenant_id: key of the reports, and source of the events.
        message_bytes_max: larger messages are shortened.
    """

    def __init__(
        self,
        values: Values,
        names: Mapping[Topic, str],
        *,
        tenant_id: str,
        message_bytes_max: int = LIBRDKAFKA_BYTES_MAX * (100 - FRAMING_PERCENT) // 100,
    ) -> None:
        self._values = values
        self._names = dict(names)
        self._tenant_id = tenant_id
        self.source = f"/mde-inventory-connector/{tenant_id}".encode()
        self._content_type = ("content-type", values.content_type)
        self._value_bytes_max = message_bytes_max - 2 * KEY_BYTES_MAX - HEADERS_BYTES_MAX

    # ---- encoding many at once

    def change_encoder(self, columns: Mapping[str, str]) -> TableEncoder[SnapshotChanges] | None:
        """An encoder of rows of changes; None where the value format has no SQL.

        Args:
            columns: the column of each field that differs from change to change.
        """
        sql = self._values.sql(Topic.CHANGES, columns)
        if sql is None:
            return None
        return TableEncoder(sql, self._envelope(Topic.CHANGES), self.encode_change, SnapshotChanges)

    def alert_encoder(self, columns: Mapping[str, str]) -> TableEncoder[SnapshotAlerts] | None:
        """An encoder of rows of alerts; as `change_encoder`."""
        sql = self._values.sql(Topic.ALERTS, columns)
        if sql is None:
            return None
        return TableEncoder(sql, self._envelope(Topic.ALERTS), self.encode_alert, SnapshotAlerts)

    def record_encoder(self, columns: Mapping[str, str], keys: Sequence[str]) -> RecordEncoder | None:
        """An encoder of records of the inventory; None where the value format has no SQL.

        Args:
            columns: the column of each field.
            keys: the columns of a record's key, the device first.
        """
        sql = self._values.sql(Topic.INVENTORY, columns)
        if sql is None:
            return None
        envelope = self._envelope(Topic.INVENTORY)
        return RecordEncoder(sql, envelope, self.encode_record, tenant_id=self._tenant_id, keys=keys)

    def _envelope(self, topic: Topic) -> Envelope:
        source = ("ce_source", self.source)
        return Envelope(self._names[topic], source, self._content_type, self._value_bytes_max)

    # ---- encoding

    def encode_change(self, change: Mapping[str, Any]) -> Message:
        """A `SoftwareChange`: all its fields but `shortenedFields`; times are milliseconds since 1970."""
        value = self._write(Topic.CHANGES, change)
        device = key_part(change["deviceId"]).encode()
        event = _CloudEvent(change["eventId"], change["changeType"], change["observedAt"], device, change)
        return self._message(Topic.CHANGES, device, value, event)

    def encode_alert(self, alert: Mapping[str, Any]) -> Message:
        """An `EndOfSupportAlert`: all its fields but `shortenedFields`; times are milliseconds since 1970.

        A summary is about no device: its key is that of its incident, the same for all summaries of a product.
        """
        value = self._write(Topic.ALERTS, alert)
        key = key_part(alert["deviceId"] if alert["summarizes"] is None else alert["incidentKey"]).encode()
        event = _CloudEvent(alert["alertId"], f"alert.{alert['alertType']}", alert["observedAt"], key, alert)
        return self._message(Topic.ALERTS, key, value, event)

    def encode_campaign(self, campaign: Mapping[str, Any]) -> Message:
        """A `SoftwareCampaign`: all its fields; times are milliseconds since 1970. Its key is the tenant."""
        value = self._write(Topic.CAMPAIGNS, campaign)
        kind, subject = f"campaign.{campaign['changeType']}", key_part(campaign["snapshotId"]).encode()
        event = _CloudEvent(campaign["campaignId"], kind, campaign["observedAt"], subject, campaign)
        return self._message(Topic.CAMPAIGNS, self._tenant_id.encode(), value, event)

    def encode_report(self, report: Mapping[str, Any]) -> Message:
        """A `SnapshotReport`: all its fields; times are milliseconds since 1970."""
        value = self._write(Topic.SNAPSHOTS, report)
        name = f"{report['epoch']}/{report['snapshotId']}/{report['status']}"
        if report["status"] in UNSEALED:
            name += f"/{report['finishedAt']}"
        at = report["startedAt"] if report["finishedAt"] is None else report["finishedAt"]
        subject = key_part(report["snapshotId"]).encode()
        event = _CloudEvent(name, f"snapshot.{report['status']}", at, subject, report)
        return self._message(Topic.SNAPSHOTS, self._tenant_id.encode(), value, event)

    def encode_checkpoint(self, checkpoint: Checkpoint) -> Message:
        """A checkpoint, or a claim, under its transactional id."""
        fields = {name: getattr(checkpoint, attribute) for name, attribute in CHECKPOINT_FIELDS.items()}
        value = self._write(Topic.CHECKPOINTS, fields)
        owner, claim = checkpoint.transactional_id, checkpoint.claim
        position = (checkpoint.epoch, checkpoint.sequence, checkpoint.alert_sequence, checkpoint.sealed)
        name = claim or "/".join(map(str, (owner, *position)))
        event = _CloudEvent(name, "claim" if claim else "checkpoint", checkpoint.written_at, owner.encode())
        return self._message(Topic.CHECKPOINTS, owner.encode(), value, event)

    def encode_record(self, key: Sequence[str], record: Mapping[str, Any] | None) -> Message:
        """A `SoftwareRecord` of the current inventory or, for None, the tombstone of one that is gone.

        `key` is (inventory, deviceId, softwareVendor, softwareName, softwareVersion).
        """
        value = None if record is None else self._write(Topic.INVENTORY, record)
        if problem := next(filter(None, (find_problem("string", part) for part in key)), None):
            raise EncodingError(f"SoftwareRecord of {quote(tuple(key))}: key: {problem}", hint=FAULT_HINT)
        compact = json.dumps([key_part(part) for part in key], ensure_ascii=False, separators=(",", ":"))
        digest = sha256(b"" if value is None else value.value).hexdigest()
        kind = "record.removed" if record is None else "record"
        subject = key_part(key[1]).encode()
        event = _CloudEvent(event_id(self._tenant_id, compact, digest), kind, None, subject, record or {})
        return self._message(Topic.INVENTORY, compact.encode(), value, event)

    def _write(self, topic: Topic, record: Mapping[str, Any]) -> Fitting:
        """The record as bytes, shortened where it has to be."""

        def write(record: Mapping[str, Any], shortened: tuple[str, ...]) -> bytes:
            if topic in MARKED:
                record = {**record, SHORTENED: list(shortened)}
            return self._values.write(topic, record)

        fitting = write_fitting(write, record, self._value_bytes_max)
        if fitting is None:
            problem = f"cannot be shortened to {self._value_bytes_max} bytes"
            raise refusal(
                topic, record, problem, hint="Raise message.max.bytes in [kafka.client], or kafka.message_bytes_max."
            )
        return fitting

    def _message(self, topic: Topic, key: bytes, value: Fitting | None, event: _CloudEvent) -> Message:
        name = self._names[topic]
        headers = [SPECVERSION, ("ce_id", event.id.encode()), ("ce_type", event_type(event.kind))]
        headers.append(("ce_source", self.source))
        if event.at is not None:
            headers.append(("ce_time", iso_text_of(event.at).encode()))
        headers += [("ce_subject", event.subject), *extensions_of(event.record), self._content_type]
        if value is not None and value.shortened:
            headers.append(("ce_shortenedfields", ",".join(value.shortened).encode()))
            log.warning("shortened, too large for the broker", topic=name, key=key.decode(), fields=value.shortened)
        return Message(name, key, None if value is None else value.value, tuple(headers))

    # ---- decoding

    def decode(self, value: bytes) -> dict[str, Any]:
        """The record in a message's value, as it was written; times are aware datetimes in UTC.

        Raises as `Values.read`.
        """
        return self._values.read(value)

    def decode_checkpoint(self, value: bytes) -> Checkpoint:
        """A checkpoint or a claim, whichever version of the connector wrote it.

        Raises as `Values.read`.
        """
        record = self._values.read(value, Topic.CHECKPOINTS)
        for name in ("writtenAt", "replayBegunAt"):
            if record[name] is not None:
                record[name] = milliseconds_of(record[name])
        return Checkpoint(**{attribute: record[name] for name, attribute in CHECKPOINT_FIELDS.items()})


class _CloudEvent(NamedTuple):
    """What the CloudEvents headers say.

    Attributes:
        at: in milliseconds since 1970; None where there is no such time.
        record: what the extensions are taken from.
    """

    id: str
    kind: str
    at: int | None
    subject: bytes
    record: Mapping[str, Any] = MappingProxyType({})
