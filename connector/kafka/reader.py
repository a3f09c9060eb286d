"""Reads topics: to follow them as messages come, or one partition from its beginning to where something stands.

Owns the Kafka consumer. Always read_committed: a message of a transaction that was aborted, or is still open, is never
seen. Joins no consumer group and commits no offsets, so reading leaves no trace. Must not decode what it reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.clock import moment_of
from connector.errors import SinkUnavailable, Stopped
from connector.kafka.client import CALL_SECONDS, REJECTED_HINTS, Deadline, Reports, error_of, made, settings, translated
from connector.telemetry import logger

log = logger(__name__)

WAIT_SECONDS: Final = 0.5
"""How long one look for messages waits: what Ctrl-C waits for at most."""
METADATA_SECONDS: Final = 30.0
STILL_SECONDS_MAX: Final = 90.0
"""How long a topic that is read whole may give nothing: longer than a transaction of ours can be open."""
APPEARS_SECONDS_MAX: Final = 3.0
APPEARS_EVERY_SECONDS: Final = 0.2
MESSAGES_AT_ONCE_MAX: Final = 500

OWNED: Final[dict[str, Any]] = {
    # The bindings insist on a name; no group is joined under it.
    "group.id": "mde-inventory-connector",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "auto.offset.reset": "earliest",
}

DEFAULTS: Final[dict[str, Any]] = {"fetch.wait.max.ms": 100}
"""The end of a partition is told with an answer that has nothing more: the broker does not keep it back for long."""

_GROUP_CODES: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._WAIT_COORD})  # noqa: SLF001 - public
"""About a consumer group, of which we are none."""

_APPEARING_CODES: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE})


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message read; `timestamp` is its publishing, in milliseconds since 1970, and a tombstone has no value.

    `headers` are there only where they are asked for.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, Any]:
        """Where it lies, for people: topic, partition, offset, publishing time in ISO 8601, key as text."""
        published_at = moment_of(self.timestamp).isoformat(timespec="milliseconds")
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": published_at.replace("+00:00", "Z"),
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
        self._reports = Reports()
        self._client = {**DEFAULTS, **client}
        self._consumer: Consumer = made(Consumer, settings(self._client, self._reports, OWNED))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()

    def partitions(self, topic: str, deadline: Deadline | None = None) -> list[int]:
        """The partitions of a topic. One that has just been made takes a moment to be known everywhere.

        Raises:
            SinkRejected: there is no such topic, or this client may not know of it.
            SinkUnavailable: no answer in time; `METADATA_SECONDS` where no deadline is given.
        """
        doing = f"looking for topic {topic}"
        deadline = deadline or Deadline(METADATA_SECONDS)
        appears = Deadline(APPEARS_SECONDS_MAX)
        while True:
            try:
                metadata = self._consumer.list_topics(topic, timeout=deadline.remaining(at_most=CALL_SECONDS))
            except KafkaException as error:
                # The reason of a time-out is told when events are looked at.
                self._consumer.poll(APPEARS_EVERY_SECONDS)
                trouble = translated(error_of(error), doing, self._reports)
                if deadline.passed or not isinstance(trouble, SinkUnavailable):
                    raise trouble from error
                continue
            found = metadata.topics[topic]
            if found.error is None:
                return sorted(found.partitions)
            if found.error.code() not in _APPEARING_CODES or appears.passed or deadline.passed:
                raise translated(found.error, doing)
            self._consumer.poll(APPEARS_EVERY_SECONDS)

    def read(
        self, topic: str, deadline: Deadline, *, partition: int, until: Callable[[Incoming], bool] | None = None
    ) -> Iterator[Incoming]:
        """One partition from its beginning to the first message that `until` accepts, that one included.

        Without `until`, to its end: the last message that no open transaction holds back.

        Raises:
            SinkUnavailable: not reached in time.
            SinkRejected: Kafka refuses to be read.
        """
        doing = f"reading {topic}"
        self._reports.forget()
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
        raise translated(KafkaError(KafkaError._TIMED_OUT), doing, self._reports)  # noqa: SLF001 - its public name

    def read_whole(self, topic: str, stop: threading.Event | None = None) -> Iterator[Incoming]:
        """All that a topic has, with headers: each partition from its beginning to where it ends now.

        What an open transaction holds back is waited for: it is part of the whole once it is settled.

        Raises:
            SinkUnavailable: nothing came for `STILL_SECONDS_MAX`.
            SinkRejected: there is no such topic, or Kafka refuses to be read.
            Stopped: `stop` was set.
        """
        doing = f"reading {topic}"
        self._reports.forget()
        ends = self._ends(topic)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
        deadline = Deadline(STILL_SECONDS_MAX)
        while ends:
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped while {doing}")
            if deadline.passed:
                raise translated(KafkaError(KafkaError._TIMED_OUT), doing, self._reports)  # noqa: SLF001 - public name
            for message in self._messages(doing):
                incoming = None if message.error() is not None else _incoming(message)
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None  # noqa: S101, PT018 - both have a place
                if incoming is not None and offset < ends.get(partition, 0):
                    deadline = Deadline(STILL_SECONDS_MAX)
                    yield replace(incoming, headers=dict(message.headers() or ()))  # type: ignore[arg-type]  # bytes
                # An end of the partition tells how far it was read, the marks of transactions included.
                if offset + (incoming is not None) >= ends.get(partition, offset + 2):
                    del ends[partition]

    def _ends(self, topic: str) -> dict[int, int]:
        """The offset after the last message, committed or not, of each partition that has any."""
        doing, deadline = f"reading {topic}", Deadline(METADATA_SECONDS)
        partitions = self.partitions(topic, deadline)
        owned = {**OWNED, "isolation.level": "read_uncommitted"}
        teller: Consumer = made(Consumer, settings(self._client, self._reports, owned))
        found = {}
        try:
            for number in partitions:
                place = TopicPartition(topic, number)
                first, last = teller.get_watermark_offsets(place, timeout=max(deadline.remaining(), CALL_SECONDS))
                if last > first:
                    found[number] = last
        except KafkaException as error:
            raise translated(error_of(error), doing, self._reports) from error
        finally:
            teller.close()
        return found

    def follow(
        self, topic: str, *, from_beginning: bool, limit: int | None = None, deadline: Deadline | None = None
    ) -> Iterator[Incoming]:
        """Messages of all partitions as they come: for ever, or `limit` of them, or until `deadline`.

        An outage is waited out; partitions added meanwhile are not noticed.

        Raises:
            SinkRejected: there is no such topic, or Kafka refuses to be read.
            SinkUnavailable: Kafka did not answer at the beginning.
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
        """What has come: messages, and ends of partitions as errors. Other trouble is raised, or gets better."""
        first = self._consumer.poll(WAIT_SECONDS)
        if first is None:
            return
        for message in (first, *self._consumer.consume(MESSAGES_AT_ONCE_MAX, timeout=0)):
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                yield message
            elif error.code() in REJECTED_HINTS and error.code() not in _GROUP_CODES:
                raise translated(error, doing, self._reports)
            else:
                # librdkafka goes on trying by itself.
                self._reports.note_trouble(error)


def _incoming(message: Message) -> Incoming:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - a message has a place
    return Incoming(topic, partition, offset, message.timestamp()[1], message.key(), message.value())
