"""Reads topics: follows them as messages come, or reads a partition or a whole topic up to where it ends.

Always read_committed: a message of a transaction that was aborted, or is still open, is never seen. The consumer joins
no group and commits no offsets, so reading leaves no trace. Values stay bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.clock import iso_text_of
from connector.errors import SinkUnavailable, Stopped
from connector.kafka.client import (
    CALL_SECONDS,
    REJECTED_HINTS,
    ClientEvents,
    Deadline,
    create_client,
    error_of,
    merge_settings,
    translate,
)
from connector.telemetry import logger

log = logger(__name__)

WAIT_SECONDS: Final = 0.5
"""How long one look for messages waits, and so how long Ctrl-C waits at most."""
METADATA_SECONDS: Final = 30.0
STILL_SECONDS_MAX: Final = 90.0
"""How long a topic that is read whole may give nothing: longer than one of our transactions can be open."""
APPEARS_SECONDS_MAX: Final = 3.0
APPEARS_EVERY_SECONDS: Final = 0.2
MESSAGES_AT_ONCE_MAX: Final = 500

OWNED: Final[dict[str, Any]] = {
    # The bindings insist on a group's name; no group is joined.
    "group.id": "mde-inventory-connector",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "auto.offset.reset": "earliest",
}

DEFAULTS: Final[dict[str, Any]] = {"fetch.wait.max.ms": 100}
"""An answer without messages reports the end of a partition: the broker should not hold it back for long."""

_GROUP_CODES: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._WAIT_COORD})  # noqa: SLF001 - public
"""They concern a consumer group, and we join none."""

_APPEARING_CODES: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE})


class Incoming(NamedTuple):
    """One message that was read.

    Attributes:
        timestamp: when it was published, in milliseconds since 1970.
        value: None for a tombstone.
        headers: empty unless the topic is read whole.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = MappingProxyType({})

    @property
    def place(self) -> dict[str, Any]:
        """Where the message is, for people: topic, partition, offset, time of publishing in ISO 8601, key as text."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": iso_text_of(self.timestamp),
            "key": None if self.key is None else self.key.decode(errors="replace"),
        }


class Reader:
    """Reads topics. Close it, or use it as a context manager.

    Args:
        client: `[kafka.client]`.

    Raises:
        ConfigError: librdkafka does not take these settings.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._events = ClientEvents()
        self._client = {**DEFAULTS, **client}
        self._consumer: Consumer = create_client(Consumer, merge_settings(self._client, self._events, OWNED))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def partitions(self, topic: str, deadline: Deadline | None = None) -> list[int]:
        """The partitions of a topic. A topic that was just created takes a moment to be known everywhere.

        Raises:
            SinkRejected: there is no such topic, or this client may not see it.
            SinkUnavailable: no answer in time; `METADATA_SECONDS` if no deadline is given.
        """
        doing = f"looking for topic {topic}"
        deadline = deadline or Deadline(METADATA_SECONDS)
        appears = Deadline(APPEARS_SECONDS_MAX)
        while True:
            try:
                metadata = self._consumer.list_topics(topic, timeout=deadline.remaining(at_most=CALL_SECONDS))
            except KafkaException as error:
                # The poll reports the events that explain a time-out.
                self._consumer.poll(APPEARS_EVERY_SECONDS)
                trouble = translate(error_of(error), doing, self._events)
                if deadline.passed or not isinstance(trouble, SinkUnavailable):
                    raise trouble from error
                continue
            described = metadata.topics[topic]
            if described.error is None:
                return sorted(described.partitions)
            if described.error.code() not in _APPEARING_CODES or appears.passed or deadline.passed:
                raise translate(described.error, doing)
            self._consumer.poll(APPEARS_EVERY_SECONDS)

    def read(
        self, topic: str, deadline: Deadline, *, partition: int, until: Callable[[Incoming], bool] | None = None
    ) -> Iterator[Incoming]:
        """One partition from its beginning up to and including the first message that `until` accepts.

        Without `until`, up to its end: the last message that no open transaction holds back.

        Raises:
            SinkUnavailable: that message, or the end, was not reached in time.
            SinkRejected: Kafka refuses to be read.
        """
        doing = f"reading {topic}"
        self._events.forget()
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        while not deadline.passed:
            for message in self._messages(doing):
                if message.error() is not None:
                    if until is None:
                        return
                    continue
                incoming = _incoming(message)
                yield incoming
                if until is not None and until(incoming):
                    return
        raise translate(KafkaError(KafkaError._TIMED_OUT), doing, self._events)  # noqa: SLF001 - its public name

    def read_whole(
        self, topic: str, stop: threading.Event | None = None, *, upto: Mapping[int, int] | None = None
    ) -> Iterator[Incoming]:
        """Everything on a topic, with headers: each partition from its beginning to where it ends now.

        With `upto`, to where it ended when `ends` was asked, if that is earlier.

        Messages that an open transaction holds back are waited for: once it is settled, they are part of the whole.

        Raises:
            SinkUnavailable: nothing came for `STILL_SECONDS_MAX`.
            SinkRejected: there is no such topic, or Kafka refuses to be read.
            Stopped: `stop` was set.
        """
        doing = f"reading {topic}"
        self._events.forget()
        ends = self.ends(topic, upto)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
        deadline = Deadline(STILL_SECONDS_MAX)
        while ends:
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped while {doing}")
            if deadline.passed:
                raise translate(KafkaError(KafkaError._TIMED_OUT), doing, self._events)  # noqa: SLF001 - public name
            is_moving = False
            for message in self._messages(doing):
                headers = dict(message.headers() or ())
                incoming = None if message.error() is not None else _incoming(message, headers)
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None  # noqa: S101, PT018 - both have them
                if incoming is not None and offset < ends.get(partition, 0):
                    is_moving = True
                    yield incoming
                # The end of a partition counts the marks of transactions too.
                if offset + (incoming is not None) >= ends.get(partition, offset + 2):
                    del ends[partition]
            if is_moving:
                deadline = Deadline(STILL_SECONDS_MAX)

    def ends(self, topic: str, upto: Mapping[int, int] | None = None) -> dict[int, int]:
        """The offset after the last message, committed or not, of each partition that has any; none beyond `upto`.

        Raises as `read_whole`.
        """
        doing, deadline = f"reading {topic}", Deadline(METADATA_SECONDS)
        partitions = self.partitions(topic, deadline)
        owned = {**OWNED, "isolation.level": "read_uncommitted"}
        consumer: Consumer = create_client(Consumer, merge_settings(self._client, self._events, owned))
        ends = {}
        try:
            for number in partitions:
                partition = TopicPartition(topic, number)
                first, last = consumer.get_watermark_offsets(partition, timeout=max(deadline.remaining(), CALL_SECONDS))
                end = last if upto is None else min(last, upto.get(number, 0))
                if end > first:
                    ends[number] = end
        except KafkaException as error:
            raise translate(error_of(error), doing, self._events) from error
        finally:
            consumer.close()
        return ends

    def follow(
        self, topic: str, *, from_beginning: bool, limit: int | None = None, deadline: Deadline | None = None
    ) -> Iterator[Incoming]:
        """Messages of all partitions as they come: forever, or `limit` of them, or until `deadline`.

        An outage is waited out. Partitions that are added later are not noticed.

        Raises:
            SinkRejected: there is no such topic, or Kafka refuses to be read.
            SinkUnavailable: Kafka did not answer when reading began.
        """
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        self._consumer.assign([TopicPartition(topic, number, start) for number in self.partitions(topic)])
        remaining = limit
        while (remaining is None or remaining > 0) and not (deadline and deadline.passed):
            for message in self._messages(f"reading {topic}"):
                if message.error() is not None:
                    continue
                yield _incoming(message)
                if remaining is not None:
                    remaining -= 1
                    if remaining == 0:
                        return

    def _messages(self, doing: str) -> Iterator[Message]:
        """Messages that have come, and ends of partitions as errors. Other errors are raised, or pass by themselves."""
        first = self._consumer.poll(WAIT_SECONDS)
        if first is None:
            return
        for message in (first, *self._consumer.consume(MESSAGES_AT_ONCE_MAX, timeout=0)):
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                yield message
            elif error.code() in REJECTED_HINTS and error.code() not in _GROUP_CODES:
                raise translate(error, doing, self._events)
            else:
                # librdkafka keeps trying by itself.
                self._events.note_trouble(error)


def _incoming(message: Message, headers: Mapping[str, Any] = MappingProxyType({})) -> Incoming:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - it was read
    return Incoming(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)
