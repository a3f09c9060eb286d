"""Publishes batches to Kafka, each in one transaction with its checkpoint, and recovers from Kafka's own checkpoint.

The producer lives by one rule: **crash only**. A call that librdkafka says may be repeated is repeated, unchanged,
until a deadline. After any other error the producer is dropped with everything in it, and the caller starts over with
`recover`: the broker aborts a transaction that was left open and completes one whose commit was under way, and the
checkpoint read afterwards shows which. Nothing is ever aborted from here, least of all after a commit has timed out,
and nothing is remembered here about what is published.

Delivery `at_least_once` is for brokers without transactions: the messages are confirmed first and the checkpoint after
them, so that a crash in between repeats messages and loses none. It cannot fence another instance.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connector import __version__
from connector.config import event_hubs
from connector.config.tables import Delivery
from connector.errors import SinkError, SinkFenced, SinkUnavailable
from connector.kafka.client import (
    AGAIN_HINT,
    CALL_SECONDS,
    FENCED_CODES,
    FENCED_HINT,
    PRODUCER_DEFAULTS,
    ClientEvents,
    Deadline,
    create_client,
    error_of,
    merge_settings,
    translate,
)
from connector.kafka.permissions import find_unwritable
from connector.kafka.reader import Incoming, Reader
from connector.model import Checkpoint, Message
from connector.telemetry import logger

log = logger(__name__)

FIRST_ANSWER_SECONDS: Final = 20.0
"""How long a cluster may take to answer at all when a recovery begins."""

ANSWER_SECONDS: Final = 5.0
"""How long to ask for what explains an error."""

TRANSACTION_SECONDS_MAX: Final = 60.0
"""The broker aborts an older transaction. Until then it holds back every read_committed reader of its topics."""
FULL_QUEUE_SECONDS: Final = 0.02
SERVED_EVERY_MESSAGES: Final = 1000
CHECKPOINTS_PARTITION: Final = 0
"""Checkpoints and claims go to one partition, however many the topic has: recovery reads them in order."""
OWNED: Final[dict[str, Any]] = {"enable.idempotence": True, "acks": "all", "delivery.report.only.error": True}
CLAIM_SUFFIX: Final = b"#claim"
"""A claim has another key than the checkpoint: under the same one, compaction would replace the checkpoint by it."""


class Sink:
    """Kafka, as one process under one transactional id sees it. Call `recover` first, and after every SinkUnavailable.

    Not for use by several threads.

    Args:
        client: `[kafka.client]`, for librdkafka.
        transactional_id: the same after a restart: it fences an older instance, and is the checkpoint's key.
        tenant_id: of the claims.
        checkpoints_topic: its full name.
        delivery: `at_least_once` only where the broker has no transactions.
        encode_checkpoint: encodes checkpoints and claims.
        decode_checkpoint: decodes the value of either.
        deadline_seconds: how long recovering, or publishing a batch, may take; a minute at most.
        stop: once it is set, no wait is longer than a few seconds.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        client: Mapping[str, Any],
        *,
        transactional_id: str,
        tenant_id: str,
        checkpoints_topic: str,
        delivery: Delivery,
        encode_checkpoint: Callable[[Checkpoint], Message],
        decode_checkpoint: Callable[[bytes], Checkpoint],
        deadline_seconds: float = TRANSACTION_SECONDS_MAX,
        stop: threading.Event | None = None,
    ) -> None:
        self.transactional_id = transactional_id
        self._client = dict(client)
        self._tenant_id = tenant_id
        self._checkpoints_topic = checkpoints_topic
        self._transactions = delivery == "exactly_once"
        self._encode_checkpoint = encode_checkpoint
        self._decode_checkpoint = decode_checkpoint
        self._deadline_seconds = min(deadline_seconds, TRANSACTION_SECONDS_MAX)
        self._stop = stop
        self._key = transactional_id.encode()
        self._events = ClientEvents()
        self._producer: Producer | None = None
        self._instance = uuid.uuid4().hex
        self._claims = 0
        self._claimed = False
        self._topics_seen: set[str] = set()
        self._deadline = Deadline(0)

    # ---- for callers

    def recover(self) -> Checkpoint | None:
        """Take over, and return Kafka's last checkpoint, or None if there is none.

            1. fence   initialise a new producer: this fences an older instance and aborts what it left open
            2. claim   commit a claim of ours to the checkpoints topic
            3. read    read that topic up to our claim: the last checkpoint before it is the truth

        A producer that works is kept from poll to poll, and then only claims: so an instance that took over in the
        meantime is noticed, and not fenced in turn.

        Raises:
            SinkFenced: another instance took over since our last claim.
            SinkUnavailable: Kafka does not answer in time.
            SinkRejected: Kafka refuses: a topic or a permission is missing, or it has no transactions.
            ConfigError: librdkafka does not take `[kafka.client]`.
            EncodingError: the checkpoint cannot be read, or the claim cannot be written.
        """
        self._begin_deadline()
        try:
            with Reader(self._client) as reader:
                # A cluster that is away is noticed soon, for changes are staged locally meanwhile.
                first = Deadline(min(self._deadline_seconds, FIRST_ANSWER_SECONDS), self._stop)
                reader.partitions(self._checkpoints_topic, first)
                claim = self._take_over(reader) if self._transactions else None
                self._ensure_producer()
                last, _ = self._read(reader, until=claim)
        except BaseException:
            self._drop()
            raise
        checkpoint = None if last is None or last.value is None else self._decode_checkpoint(last.value)
        log.debug("recovered", checkpoint=checkpoint)
        return checkpoint

    def publish(self, messages: Iterable[Message], checkpoint: Checkpoint) -> None:
        """Publish one batch and its checkpoint: a read_committed consumer sees all of it or nothing.

        Returns once Kafka has confirmed both. After an error only Kafka knows whether it has: `recover`. An error
        raised by `messages` is passed on, and nothing is published.

        Raises:
            SinkFenced: another instance took over; nothing of this batch is published.
            SinkUnavailable: no confirmation in time, or `recover` was not called after an earlier error.
            SinkRejected: Kafka refuses; topic and key are named.
        """
        producer = self._producer
        if producer is None:
            raise SinkUnavailable("Kafka: publishing needs a recovery first", hint=AGAIN_HINT)
        self._begin_deadline()
        try:
            if self._transactions:
                self._repeat("beginning a transaction", lambda _: producer.begin_transaction())
            self._produce_all(producer, messages)
            if not self._transactions:
                self._confirm(producer)
            self._produce(producer, self._encode(checkpoint), partition=CHECKPOINTS_PARTITION)
            self._confirm(producer)
            if self._transactions:
                self._repeat("committing", producer.commit_transaction)
        except SinkFenced as error:
            self._drop()
            if self._deadline.passed_by_any_clock:
                # A transaction that timed out looks like a takeover; the next recovery can distinguish the two.
                raise SinkUnavailable(f"{error}, as the transaction outlived its time-out", hint=AGAIN_HINT) from error
            raise
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Drop the producer without waiting; the next recovery settles whatever is under way."""
        self._drop()

    # ---- recovering

    def _take_over(self, reader: Reader) -> bytes:
        """Steps 1 and 2: commit a claim. A producer that was kept is tried first."""
        if self._producer is not None:
            try:
                return self._commit_claim(self._producer)
            except SinkUnavailable as error:
                log.debug("the kept producer is of no use any more", error=str(error))
                self._drop()
                self._events.forget()
        if self._is_claimed_by_another(reader):
            raise SinkFenced("Kafka: another instance took over", hint=FENCED_HINT)
        return self._commit_claim(self._ensure_producer())

    def _commit_claim(self, producer: Producer) -> bytes:
        claim = Checkpoint(
            transactional_id=self.transactional_id,
            entra_tenant_id=self._tenant_id,
            epoch=0,
            sequence=0,
            sealed=0,
            snapshot_id=None,
            written_at=round(time.time() * 1000),
            connector_version=__version__,
            claim=f"{self._instance}.{self._claims}",
        )
        self._claims += 1
        message = self._encode_checkpoint(claim)._replace(key=self._key + CLAIM_SUFFIX)
        assert message.value is not None  # noqa: S101 - a claim is no tombstone
        self._repeat("beginning a transaction", lambda _: producer.begin_transaction())
        self._produce(producer, message, partition=CHECKPOINTS_PARTITION)
        self._confirm(producer)
        self._repeat("committing a claim", producer.commit_transaction)
        self._claimed = True
        return message.value

    def _is_claimed_by_another(self, reader: Reader) -> bool:
        """Whether a claim follows our last one. Asked before fencing anybody: whoever came after us is in the right."""
        if not self._claimed:
            return False
        _, last = self._read(reader, until=None)
        if last is None or last.value is None:
            return False
        claim = self._decode_checkpoint(last.value).claim or ""
        return claim.partition(".")[0] != self._instance

    def _read(self, reader: Reader, *, until: bytes | None) -> tuple[Incoming | None, Incoming | None]:
        """The last checkpoint and the last claim of our transactional id, up to the claim `until` or to the end."""
        checkpoint = claim = None
        claim_key = self._key + CLAIM_SUFFIX
        for incoming in reader.read(
            self._checkpoints_topic,
            self._deadline,
            partition=CHECKPOINTS_PARTITION,
            until=None if until is None else lambda incoming: incoming.key == claim_key and incoming.value == until,
        ):
            if incoming.key == self._key:
                checkpoint = incoming
            elif incoming.key == claim_key:
                claim = incoming
        return checkpoint, claim

    def _ensure_producer(self) -> Producer:
        """Step 1: the producer that was kept, or a new one, initialised."""
        if self._producer is None:
            self._producer = producer = create_client(Producer, self._settings())
            if self._transactions:
                self._repeat(f"taking over transactional id {self.transactional_id}", producer.init_transactions)
        return self._producer

    def _settings(self) -> dict[str, Any]:
        limit_ms = round(self._deadline_seconds * 1000)
        # Without a transaction no message may be given up alone: after the process hung, librdkafka would drop messages
        # that are too old and publish those behind them. The deadline of a batch gives up all of it, or nothing.
        owned = {**OWNED, "message.timeout.ms": limit_ms if self._transactions else 0}
        if self._transactions:
            owned |= {"transactional.id": self.transactional_id, "transaction.timeout.ms": limit_ms}
        defaults = {**PRODUCER_DEFAULTS, **event_hubs.producer_defaults(self._client)}
        settings = merge_settings({**defaults, **self._client}, self._events, owned)
        return {**settings, "on_delivery": self._events.note_refused}

    def _drop(self) -> None:
        """Drop the producer and everything still in it. Takes no time, whatever state it is in."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(blocking=False)

    # ---- producing

    def _encode(self, checkpoint: Checkpoint) -> Message:
        return self._encode_checkpoint(checkpoint)._replace(key=self._key)

    def _produce_all(self, producer: Producer, messages: Iterable[Message]) -> None:
        for number, message in enumerate(messages, start=1):
            if message.topic not in self._topics_seen:
                self._look_for(message.topic)
            self._produce(producer, message)
            if number % SERVED_EVERY_MESSAGES == 0:
                self._serve(producer, 0)

    def _look_for(self, topic: str) -> None:
        """Refuse a missing topic: the broker must not create it with its own settings, nor must it be waited for."""
        with Reader(self._client) as reader:
            reader.partitions(topic, self._deadline)
        self._topics_seen.add(topic)

    def _produce(self, producer: Producer, message: Message, *, partition: int = -1) -> None:
        headers: list[Any] = list(message.headers)
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, partition, headers=headers)
            except BufferError:
                # The queue is full: try the same message again once some have left it.
                self._check_deadline("publishing")
                self._serve(producer, FULL_QUEUE_SECONDS)
            except (KafkaException, SystemError) as error:
                # Of a fatal error, the library says why in the next poll.
                self._serve(producer, 0)
                raise self._explain(error, f"publishing to {message.topic}, key {_as_text(message.key)}") from error
            else:
                return

    def _confirm(self, producer: Producer) -> None:
        """Wait until the broker has confirmed everything that was produced."""
        self._serve(producer, 0)
        while len(producer):
            self._check_deadline("publishing")
            self._serve(producer, self._deadline.remaining(at_most=CALL_SECONDS), until_empty=True)

    def _serve(self, producer: Producer, seconds: float, *, until_empty: bool = False) -> None:
        """Let librdkafka call back; a message that was refused, or a producer that failed for good, ends the batch."""
        try:
            if until_empty:
                producer.flush(seconds)
            else:
                producer.poll(seconds)
        except (KafkaException, SystemError) as error:
            raise self._explain(error, "publishing") from error
        if self._events.refused is not None:
            raise self._explain(None, "publishing")

    def _repeat(self, doing: str, call: Callable[[float], object]) -> None:
        """Make a call, and repeat it for as long as librdkafka says that it may be repeated."""
        while True:
            try:
                call(self._deadline.remaining(at_most=CALL_SECONDS))
            except (KafkaException, SystemError) as error:
                cause = error_of(error)
                if not cause.retriable() or cause.code() in FENCED_CODES or self._deadline.passed:
                    raise self._explain(error, doing) from error
                log.debug("the call to Kafka is repeated", doing=doing, error=str(cause))
            else:
                return

    def _explain(self, error: BaseException | None, doing: str) -> SinkError:
        """The error to raise: about the message that was refused, if there is one, else about the call."""
        if error is not None and error_of(error).code() in FENCED_CODES:
            return translate(error_of(error), doing, self._events)
        if self._producer is not None and error is not None:
            self._collect_events(self._producer)
        if self._events.refused is not None:
            refused, message = self._events.refused
            return translate(refused, f"publishing to {message.topic()}, key {_as_text(message.key())}", self._events)
        assert error is not None  # noqa: S101 - there is one of the two
        cause = error_of(error)
        if cause.code() == KafkaError._STATE:  # noqa: SLF001 - its public name
            cause, doing = self._transaction_error(cause), "publishing"
        if cause.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            doing = f"publishing to {self._name_unwritable()}"
        return translate(cause, doing, self._events)

    def _transaction_error(self, error: KafkaError) -> KafkaError:
        """Why a transaction takes no more messages: the first error that spoiled it, if it is one that did.

        librdkafka says so when another transaction is to begin, which it refuses. Nothing is committed or aborted.
        """
        if self._producer is not None and self._transactions:
            try:
                self._producer.begin_transaction()
            except (KafkaException, SystemError) as reason:
                return error_of(reason)
        return error

    def _name_unwritable(self) -> str:
        """The topics that the cluster says may not be written; where it does not say, all that are published to."""
        topics = {*self._topics_seen, self._checkpoints_topic}
        refused = find_unwritable(self._client, topics, self._deadline.remaining(at_most=ANSWER_SECONDS))
        return " and ".join(refused) or " or ".join(sorted(topics))

    @staticmethod
    def _collect_events(producer: Producer) -> None:
        """Let librdkafka report what explains an error that was raised; a second error explains nothing."""
        try:
            producer.poll(0)
        except (KafkaException, SystemError) as error:
            error_of(error)

    # ---- time

    def _begin_deadline(self) -> None:
        self._deadline = Deadline(self._deadline_seconds, self._stop)
        self._events.forget()

    def _check_deadline(self, doing: str) -> None:
        if self._deadline.passed:
            raise translate(KafkaError(KafkaError._TIMED_OUT), doing, self._events)  # noqa: SLF001 - its public name


def last_checkpoint(reader: Reader, topic: str, transactional_id: str, deadline: Deadline) -> bytes | None:
    """The value of Kafka's last checkpoint, or None if there is none. Only reads: nothing is taken over.

    Raises as `Reader.partitions` and `Reader.read`.
    """
    value = None
    reader.partitions(topic, deadline)
    for incoming in reader.read(topic, deadline, partition=CHECKPOINTS_PARTITION):
        if incoming.key == transactional_id.encode():
            value = incoming.value
    return value


def _as_text(key: object) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)
