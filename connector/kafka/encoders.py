"""Encoders of rows: messages of which the engine has made the value, by SQL, beside the columns that headers need.

Key and headers are put together here, many times a second: what all rows of a snapshot share is made once. The message
of a row is the one that `Messages` makes of the same record, and what needs a second look goes there: a value that the
engine left, or one that is too large.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

from connector.clock import iso_text_of
from connector.exports.identity import KEY_PART_BYTES_MAX, event_id, key_part
from connector.kafka.extensions import SEVERITY_NUMBERS, Header, sequence_texts
from connector.kafka.values import ValueSql
from connector.model import Message

SPECVERSION: Final = ("ce_specversion", b"1.0")
TYPE_PREFIX: Final = "mde.software"
SHORTENED: Final = "shortenedFields"
ENGINE_ROWS_MIN: Final = 1_000
"""Fewer rows are encoded one by one: that takes less than planning the statement."""

_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')
"""What JSON writes otherwise."""

Row = tuple[Any, ...]
Encode = Callable[[Mapping[str, Any]], Message]


class Envelope(NamedTuple):
    """What all messages of an encoder have in common.

    Attributes:
        topic: its full name.
        source, content_type: headers.
        value_bytes_max: larger values go the slow way, where they are shortened.
    """

    topic: str
    source: Header
    content_type: Header
    value_bytes_max: int


class _SnapshotRows:
    """Encodes the rows of one snapshot. `common` is what all of them have in common."""

    COLUMNS: ClassVar[str]
    """A SELECT list: what `encode_row` takes beside the value."""

    def __init__(
        self, constants: list[bytes | None], envelope: Envelope, encode: Encode, common: Mapping[str, Any]
    ) -> None:
        self.constants = constants
        self._envelope = envelope
        self._encode = encode
        self._common = common
        # Of a snapshot whose constants do not fit, every row goes the slow way, which says why.
        fits = None not in constants
        self._time = _time_header("ce_time", common["observedAt"]) if fits else ()
        self._recorded = (
            *(_time_header("ce_recordedtime", common["emittedAt"]) if fits else ()),
            ("ce_correlationid", key_bytes(common["snapshotId"])),
        )


class SnapshotChanges(_SnapshotRows):
    """Encodes the changes of one snapshot."""

    COLUMNS = "event_id, change_type, device_id, device_name"

    def __init__(
        self, constants: list[bytes | None], envelope: Envelope, encode: Encode, common: Mapping[str, Any]
    ) -> None:
        super().__init__(constants, envelope, encode, common)
        self._sequence = sequence_texts(common["epoch"])
        replayed = (("ce_replayed", b"true"),) if common["replayed"] else ()
        self._ending = (*self._recorded, *replayed, envelope.content_type)

    def encode(self, record: Mapping[str, Any]) -> Message:
        """The slow way."""
        return self._encode({**record, **self._common})

    def encode_row(self, row: Row) -> Message | None:
        """The message of a row: its sequence, then the fields of the encoder."""
        sequence, value, event_id, change_type, device_id, device_name = row
        envelope = self._envelope
        if value is None or len(value) > envelope.value_bytes_max:
            return None
        device = key_bytes(device_id)
        headers = (
            SPECVERSION,
            ("ce_id", event_id.encode()),
            ("ce_type", event_type(change_type)),
            envelope.source,
            *self._time,
            ("ce_subject", device),
            *((("ce_devicename", key_bytes(device_name)),) if device_name else ()),
            ("ce_sequence", self._sequence % sequence),
            *self._ending,
        )
        return Message(envelope.topic, device, value, headers)


class SnapshotAlerts(_SnapshotRows):
    """Encodes the alerts of one snapshot."""

    COLUMNS = """alert_id, alert_type, severity, event_id, summarizes IS NULL AS of_device, incident_key, device_id,
            device_name"""

    def encode(self, record: Mapping[str, Any]) -> Message:
        """The slow way."""
        return self._encode(record)

    def encode_row(self, row: Row) -> Message | None:
        """The message of a row: its number, then the fields of the encoder."""
        _, value, alert_id, alert_type, severity, event_id, of_device, incident_key, device_id, device_name = row
        envelope = self._envelope
        subject = device_id if of_device else incident_key
        if value is None or len(value) > envelope.value_bytes_max or subject is None:
            return None
        key, number = key_bytes(subject), SEVERITY_NUMBERS.get(severity)
        headers = (
            SPECVERSION,
            ("ce_id", alert_id.encode()),
            ("ce_type", event_type(f"alert.{alert_type}")),
            envelope.source,
            *self._time,
            ("ce_subject", key),
            *((("ce_devicename", key_bytes(device_name)),) if device_name else ()),
            *self._recorded,
            *((("ce_causationid", event_id.encode()),) if event_id is not None else ()),
            ("ce_severitytext", severity.encode()),
            *((("ce_severitynumber", number),) if number else ()),
            envelope.content_type,
        )
        return Message(envelope.topic, key, value, headers)


Rows = TypeVar("Rows", bound=_SnapshotRows)


class TableEncoder(Generic[Rows]):
    """Encodes rows of one table of the journal.

    Args:
        sql: writes their values.
        envelope: of their messages.
        encode: the slow way.
        rows: encodes those of one snapshot.
    """

    def __init__(self, sql: ValueSql, envelope: Envelope, encode: Encode, rows: type[Rows]) -> None:
        self.pieces = sql.pieces
        self.fields = f"{sql.value} AS value, {rows.COLUMNS}"
        self._sql = sql
        self._envelope = envelope
        self._encode = encode
        self._rows = rows

    def begin(self, common: Mapping[str, Any]) -> Rows:
        """Begin a snapshot, given what all its rows have in common."""
        return self._rows(self._sql.constants({**common, SHORTENED: []}), self._envelope, self._encode, common)


class RecordEncoder:
    """Encodes records of the inventory.

    Args:
        sql: writes their values.
        envelope: of their messages.
        encode: the slow way, given the key and the record.
        tenant_id: part of the events' ids.
        keys: the columns of a record's key, the device first.
    """

    def __init__(
        self,
        sql: ValueSql,
        envelope: Envelope,
        encode: Callable[[Sequence[str], Mapping[str, Any]], Message],
        *,
        tenant_id: str,
        keys: Sequence[str],
    ) -> None:
        self.pieces = sql.pieces
        whole = ", ".join(f"coalesce({key}, '')" for key in keys)
        self.fields = f"{sql.value} AS value, device_name, {whole}"
        self.encode = encode
        self._sql = sql
        self._envelope = envelope
        self._tenant_id = tenant_id

    def constants(self) -> list[bytes | None]:
        """The columns `constant_0`, … that the SQL refers to."""
        return self._sql.constants({})

    def encode_row(self, inventory: str, row: Row) -> Message | None:
        """The message of a row of the encoder's fields; None where it goes the slow way."""
        value, device_name, *keys = row
        envelope = self._envelope
        if value is None or len(value) > envelope.value_bytes_max:
            return None
        key = key_of_record(inventory, keys)
        digest = sha256(value).hexdigest()
        headers = (
            SPECVERSION,
            ("ce_id", event_id(self._tenant_id, key, digest).encode()),
            ("ce_type", event_type("record")),
            envelope.source,
            ("ce_subject", key_bytes(keys[0])),
            *((("ce_devicename", key_bytes(device_name)),) if device_name else ()),
            envelope.content_type,
        )
        return Message(envelope.topic, key.encode(), value, headers)


def key_of_record(inventory: str, keys: Sequence[str]) -> str:
    """The key of a record: a list of texts as compact JSON."""
    text = "".join(keys)
    if len(text) <= KEY_PART_BYTES_MAX and text.isascii() and _ESCAPED.search(text) is None:
        parts = '","'.join(keys)
        return f'["{inventory}","{parts}"]'
    return json.dumps([key_part(part) for part in (inventory, *keys)], ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=4_096)
def key_bytes(text: str) -> bytes:
    """A text as part of a key, in bytes. Changes of a device follow each other, with the same texts."""
    raw = text.encode()
    return raw if len(raw) <= KEY_PART_BYTES_MAX else key_part(text).encode()


@lru_cache(maxsize=256)
def event_type(kind: str) -> bytes:
    """The header `ce_type` of a kind of event."""
    return f"{TYPE_PREFIX}.{kind.lower()}".encode()


def _time_header(name: str, at: int) -> tuple[Header, ...]:
    return ((name, iso_text_of(at).encode()),)
