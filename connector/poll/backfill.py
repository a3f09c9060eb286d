"""Brings the compacted inventory topic in line with the inventory, in numbered steps.

    1. records   the whole inventory is published in bounded batches; the place is noted after each batch
    2. stale     the keys that the topic had before step 1 are read; those that the inventory does not have get a
                 tombstone
    3. whole     a checkpoint says that the topic is the inventory from here on

A backfill runs while nothing is pending, so that the inventory is what consumers know. It ends between two batches,
after `BACKFILL_SECONDS_MAX` or at a stop, and the next poll goes on. A batch that is published again, after a kill in
between, changes nothing: the topic keeps the last value of a key.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from connector.clock import milliseconds_of
from connector.errors import Stopped
from connector.exports.fields import Export
from connector.kafka.encoders import ENGINE_ROWS_MIN, RecordEncoder
from connector.kafka.messages import Messages
from connector.kafka.reader import Incoming, Reader
from connector.kafka.sink import Sink
from connector.model import ChangeType, Checkpoint, Message
from connector.staging.inventory_topic import (
    RECORDS,
    STALE,
    WHOLE,
    BackfillCursor,
    Mirror,
    RecordKey,
    TopicKey,
    steps_of,
)
from connector.state.reconcile import standing_checkpoint
from connector.state.sql import identifier
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

BACKFILL_SECONDS_MAX: Final = 900.0
"""How long one poll may fill up the topic before the next snapshot is due: enough for some ten million records."""

KEYS_AT_ONCE: Final = 5_000


class Backfill:
    """Fills up one tenant's inventory topic.

    Args:
        messages: encodes records and tombstones.
        sink: publishes them, a batch a Kafka transaction; recovered, with nothing pending.
        open_reader: a reader of topics, to be closed.
        topic: the full name of the inventory topic.
        tenant_id: the tenant whose keys get tombstones; others may share the topic.
        batch_records_max: records, or tombstones, in one batch.
        clock: now, in UTC.
        stop: once set, ends the backfill between two batches.
        seconds_max: how long one call may take, not counting the reading of the keys.
    """

    def __init__(  # noqa: PLR0913 - the seams of a backfill, each named at the one place that wires them
        self,
        messages: Messages,
        sink: Sink,
        open_reader: Callable[[], AbstractContextManager[Reader]],
        *,
        topic: str,
        tenant_id: str,
        batch_records_max: int,
        clock: Callable[[], datetime],
        stop: threading.Event,
        seconds_max: float = BACKFILL_SECONDS_MAX,
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._open_reader = open_reader
        self._topic = topic
        self._tenant_id = tenant_id
        self._batch_records_max = batch_records_max
        self._clock = clock
        self._stop = stop
        self._seconds_max = seconds_max

    def run(self, state: StateFile) -> int:
        """Go on where the last call left off. Returns the number of records and tombstones published.

        Does nothing where the topic is whole, something is pending, or the epoch has no sealed snapshot yet.

        Raises:
            SinkError, EncodingError: Kafka, or the schema registry, does not take it; what was published is noted.
        """
        mirror, checkpoint = Mirror(state.database, state.export), self._checkpoint(state)
        if checkpoint is None or mirror.whole:
            return 0
        published, ends = 0, time.monotonic() + self._seconds_max
        cursor = self._begin(mirror)
        log.info("the inventory topic is filled up", phase=cursor.phase, remaining=mirror.remaining())
        with closing(self._batches(state, mirror, cursor)) as batches:
            while cursor.phase == RECORDS and not self._ended(ends):
                messages, cursor = next(batches)
                if messages:
                    self._sink.publish(messages, checkpoint)
                mirror.note(cursor)
                published += len(messages)
        if cursor.phase == STALE and not self._ended(ends):
            published += self._end_stale_keys(mirror, cursor, checkpoint, ends)
        log.info("inventory topic", published=published, phase=mirror.cursor().phase, remaining=mirror.remaining())
        return published

    def _begin(self, mirror: Mirror) -> BackfillCursor:
        """The cursor; before anything is published, with where the topic ends."""
        cursor = mirror.cursor()
        if cursor.phase == RECORDS and cursor.ends is None:
            with self._open_reader() as reader:
                cursor = replace(cursor, ends=tuple(reader.ends(self._topic).items()))
            mirror.note(cursor)
        return cursor

    def _batches(
        self, state: StateFile, mirror: Mirror, cursor: BackfillCursor
    ) -> Generator[tuple[list[Message], BackfillCursor]]:
        """Step 1: the records beyond a cursor, batch by batch, each with the cursor after it."""
        export, limit = state.export, self._batch_records_max
        encoder = record_encoder(self._messages, export)
        if encoder is not None and mirror.remaining() >= ENGINE_ROWS_MIN:
            yield from mirror.encoded_records(cursor, limit, encoder)
            return
        while cursor.phase == RECORDS:
            records, cursor = mirror.next_records(cursor, limit)
            yield [self._messages.encode_record(key, record) for key, record in records], cursor

    def _end_stale_keys(self, mirror: Mirror, cursor: BackfillCursor, checkpoint: Checkpoint, ends: float) -> int:
        """Steps 2 and 3. Returns the number of tombstones."""
        published = 0
        try:
            self._read_keys(mirror, cursor)
        except Stopped:
            return 0
        for keys in mirror.stale_keys(self._batch_records_max):
            if self._ended(ends):
                return published
            self._sink.publish((self._messages.encode_record(key, None) for key in keys), checkpoint)
            published += len(keys)
        self._sink.publish((), replace(checkpoint, inventory_whole=True))
        mirror.note(BackfillCursor(cursor.epoch, WHOLE))
        return published

    def _read_keys(self, mirror: Mirror, cursor: BackfillCursor) -> None:
        """Note every key that this tenant has on the topic; where it is known, only those from before this backfill."""
        mirror.begin_topic_keys()
        source = self._messages.source
        block: list[TopicKey] = []
        with self._open_reader() as reader:
            upto = None if cursor.ends is None else dict(cursor.ends)
            for incoming in reader.read_whole(self._topic, self._stop, upto=upto):
                key = key_of(incoming, mirror.key_parts) if incoming.headers.get("ce_source") == source else None
                if key is not None:
                    block.append((key, incoming.partition, incoming.offset, incoming.value is not None))
                if len(block) == KEYS_AT_ONCE:
                    mirror.add_topic_keys(block)
                    block.clear()
        if block:
            mirror.add_topic_keys(block)

    def _ended(self, ends: float) -> bool:
        return self._stop.is_set() or time.monotonic() > ends

    def _checkpoint(self, state: StateFile) -> Checkpoint | None:
        """Kafka's checkpoint, to be published again as it is; None before the first, or while something is pending."""
        position, sealed = state.journal.position(), state.journal.sealed_snapshot()
        if not position.drained or sealed is None:
            return None
        return standing_checkpoint(
            position,
            sealed,
            transactional_id=self._sink.transactional_id,
            tenant_id=self._tenant_id,
            written_at=milliseconds_of(self._clock()),
        )


def record_encoder(messages: Messages, export: Export) -> RecordEncoder | None:
    """An encoder of an export's records; None where the value format has none."""
    columns = {field.name: field.column for field in export.fields}
    return messages.record_encoder(columns, [field.column for field in export.keys])


def encode_change_records(messages: Messages, export: Export, change: Mapping[str, Any]) -> Iterator[Message]:
    """Encode what a change means for the inventory topic: a record, the tombstone of one that is gone, or both."""
    for key, record in steps_of(export, change):
        yield messages.encode_record(key, record)


class ChangeRecordEncoder:
    """Encodes rows of changes as what they mean for the inventory topic, as `encode_change_records` does.

    Args:
        messages: encodes tombstones, and what goes the slow way.
        export: of the changes.
        records: encodes the records.
    """

    def __init__(self, messages: Messages, export: Export, records: RecordEncoder) -> None:
        earlier = ", ".join(f"coalesce(before.{identifier(field.name)}, '')" for field in export.keys)
        self.pieces = records.pieces
        self.fields = f"{records.fields}, change_type, before IS NOT NULL, {earlier}"
        self._messages = messages
        self._export = export
        self._records = records

    def begin(self, record: Mapping[str, Any]) -> SnapshotRecords:
        """Begin a snapshot, given what all its changes have in common."""
        return SnapshotRecords(self._messages, self._export, self._records, record["inventory"])


class SnapshotRecords:
    """Encodes what the changes of one snapshot mean for the inventory topic."""

    def __init__(self, messages: Messages, export: Export, records: RecordEncoder, inventory: str) -> None:
        self.constants = records.constants()
        self._messages = messages
        self._export = export
        self._records = records
        self._inventory = inventory

    def encode(self, record: Mapping[str, Any]) -> tuple[Message, ...]:
        """The slow way."""
        return tuple(encode_change_records(self._messages, self._export, record))

    def encode_row(self, row: tuple[Any, ...]) -> tuple[Message, ...] | None:
        """The messages of a row: its number, the fields of a record's encoder, then what tells of tombstones."""
        ends = 3 + len(self._export.keys)
        key, earlier = row[3:ends], row[ends + 2 :]
        change_type, is_changed = row[ends : ends + 2]
        left: tuple[Message, ...] = ()
        if is_changed and earlier != key:
            left = (self._messages.encode_record((self._inventory, *earlier), None),)
        if change_type == ChangeType.REMOVED:
            return (*left, self._messages.encode_record((self._inventory, *key), None))
        message = self._records.encode_row(self._inventory, row[1:ends])
        return None if message is None else (*left, message)


def key_of(incoming: Incoming, parts: int) -> RecordKey | None:
    """Parse the key of a message on the inventory topic; None where the connector did not write it."""
    try:
        text = (incoming.key or b"").decode()
        plain = text[2:-2].split('","')
        if len(plain) == parts and text.count('"') == 2 * parts and _is_plain(text):
            return tuple(plain)
        key = json.loads(text)
    except ValueError:
        return None
    if not isinstance(key, list) or len(key) != parts or not all(isinstance(part, str) for part in key):
        return None
    return tuple(key)


def _is_plain(text: str) -> bool:
    """Whether a list of texts in JSON begins and ends as we write it, with nothing in it that is escaped."""
    return text[:2] == '["' and text[-2:] == '"]' and "\\" not in text and text.isprintable()
