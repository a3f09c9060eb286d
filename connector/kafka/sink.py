"""Publishes batches to Kafka, each one transaction with its checkpoint inside, and recovers from Kafka's own word.

Owns the Kafka producer and the rule by which it lives: **crash only**. What librdkafka says may be asked again is asked
again, the same call, until a deadline. Whatever else goes wrong, the producer is dropped with all it holds, and the
caller begins anew with `recover`: a transaction left open is aborted by the broker, one whose commit was under way is
completed by it, and the checkpoint read afterwards tells which. Nothing is ever aborted from here, least of all after a
commit has timed out. Must not know what the messages mean, nor keep a note of its own of what is published.

Delivery `at_least_once` is for brokers without transactions: the messages are confirmed first and the checkpoint after
them, so that a crash in between repeats messages and loses none. It can fence nobody.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from confluent_kafka import KafkaError, KafkaException, Producer

from connector import __version__
from connector.config import event_hubs
from connector.errors import SinkError, SinkFenced, SinkUnavailable
from connector.kafka.client import (
    AGAIN_HINT,
    CALL_SECONDS,
    FENCED_CODES,
    FENCED_HINT,
    PRODUCER_DEFAULTS,
    Deadline,
    Reports,
    error_of,
    made,
    settings,
    translated,
)
from connector.kafka.reader import Incoming, Reader
from connector.model import Checkpoint, Message
from connector.telemetry import logger

log = logger(__name__)

Delivery = Literal["exactly_once", "at_least_once"]

FIRST_ANSWER_SECONDS: Final = 20.0
"""For a cluster to answer at all, at the beginning of a recovery."""

TRANSACTION_SECONDS_MAX: Final = 60.0
"""The broker aborts a transaction that is older. Until then it holds back every read_committed reader of its topics."""
FULL_QUEUE_SECONDS: Final = 0.02
SERVED_EVERY_MESSAGES: Final = 1000
CHECKPOINTS_PARTITION: Final = 0
"""Checkpoints and claims lie in one partition, however many the topic has: their order is what recovery reads."""
OWNED: Final[dict[str, Any]] = {"enable.idempotence": True, "acks": "all", "delivery.report.only.error": True}
CLAIM_SUFFIX: Final = b"#claim"
"""A claim's key is not the checkpoint's: under the same key, compaction would let the claim replace the checkpoint."""


class Sink:
    """Kafka, as one process under one transactional id sees it. Call `recover` first, and after every SinkUnavailable.

    Not for use by several threads.

    Args:
        client: `[kafka.client]`, for librdkafka.
        transactional_id: stable over restarts: it is what fences an older instance, and the checkpoint's key.
        tenant_id: of the claims.
        checkpoints_topic: its full name.
        delivery: `at_least_once` only where the broker has no transactions.
        encode_checkpoint: also used for claims.
        decode_checkpoint: of a checkpoint's value.
        deadline_seconds: how long recovering, or publishing a batch, may take; a minute at most.
        stop: once set, nothing is waited for longer than a few seconds.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each thing the configuration says
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
        self._reports = Reports()
        self._producer: Producer | None = None
        self._instance = uuid.uuid4().hex
        self._claims = 0
        self._claimed = False
        self._topics_seen: set[str] = set()
        self._deadline = Deadline(0)

    # ---- what callers do

    def recover(self) -> Checkpoint | None:
        """Take over, and return the last checkpoint that Kafka has; None where there is none.

            1. fence   a new producer is initialised: an older instance is fenced, what it left open is aborted
            2. claim   a claim of ours is committed to the checkpoints topic
            3. read    that topic up to our claim: the last checkpoint before it is the truth

        A producer that is well is kept from poll to poll, and then only claims: an instance that took over meanwhile
        is thereby noticed and not fenced in turn.

        Raises:
            SinkFenced: another instance took over since our last claim.
            SinkUnavailable: Kafka does not answer in time.
            SinkRejected: Kafka refuses: a missing topic, a missing permission, no transactions.
            ConfigError: librdkafka does not take `[kafka.client]`.
            EncodingError: the checkpoint cannot be read, or the claim not be written.
        """
        self._begin_deadline()
        try:
            with Reader(self._client) as reader:
                # A cluster that is away is told soon, for the poll goes on without it.
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
        """Publish one batch and its checkpoint: all of it, or, to a read_committed consumer, nothing.

        Returns once Kafka has confirmed both. After any error whether it has is Kafka's to say: `recover`. An error
        raised by `messages` is passed on, and nothing is published.

        Raises:
            SinkFenced: another instance took over; nothing of this batch is published.
            SinkUnavailable: no confirmation in time, or no producer since an earlier error.
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
            self._produce(producer, self._own(checkpoint), partition=CHECKPOINTS_PARTITION)
            self._confirm(producer)
            if self._transactions:
                self._repeat("committing", producer.commit_transaction)
        except SinkFenced as error:
            self._drop()
            if self._deadline.passed_by_any_clock:
                # A transaction that timed out looks like a takeover and is none; the next recovery tells them apart.
                raise SinkUnavailable(f"{error}, as the transaction outlived its time-out", hint=AGAIN_HINT) from error
            raise
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Let go of Kafka. Waits for nothing: whatever is under way is settled by the next recovery."""
        self._drop()

    # ---- recovering

    def _take_over(self, reader: Reader) -> bytes:
        """Steps 1 and 2: a claim of ours, committed. A producer kept from before is tried first."""
        if self._producer is not None:
            try:
                return self._commit_claim(self._producer)
            except SinkUnavailable as error:
                log.debug("the producer kept is of no use any more", error=str(error))
                self._drop()
                self._reports.forget()
        if self._claimed_by_another(reader):
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
        message = replace(self._encode_checkpoint(claim), key=self._key + CLAIM_SUFFIX)
        assert message.value is not None  # noqa: S101 - a claim says something
        self._repeat("beginning a transaction", lambda _: producer.begin_transaction())
        self._produce(producer, message, partition=CHECKPOINTS_PARTITION)
        self._confirm(producer)
        self._repeat("committing a claim", producer.commit_transaction)
        self._claimed = True
        return message.value

    def _claimed_by_another(self, reader: Reader) -> bool:
        """Whether a claim follows our last one. Asked before fencing anybody: who came after us is in the right."""
        if not self._claimed:
            return False
        _, last = self._read(reader, until=None)
        if last is None or last.value is None:
            return False
        claim = self._decode_checkpoint(last.value).claim or ""
        return claim.partition(".")[0] != self._instance

    def _read(self, reader: Reader, *, until: bytes | None) -> tuple[Incoming | None, Incoming | None]:
        """The last checkpoint and the last claim of our transactional id, up to a claim or to the end."""
        checkpoint = claim = None
        claim_key = self._key + CLAIM_SUFFIX
        for incoming in reader.read(
            self._checkpoints_topic,
            self._deadline,
            partition=CHECKPOINTS_PARTITION,
            until=None if until is None else lambda found: found.key == claim_key and found.value == until,
        ):
            if incoming.key == self._key:
                checkpoint = incoming
            elif incoming.key == claim_key:
                claim = incoming
        return checkpoint, claim

    def _ensure_producer(self) -> Producer:
        """The producer kept, or a new one, initialised: step 1."""
        if self._producer is None:
            self._producer = producer = made(Producer, self._settings())
            if self._transactions:
                self._repeat("taking over", producer.init_transactions)
        return self._producer

    def _settings(self) -> dict[str, Any]:
        limit_ms = round(self._deadline_seconds * 1000)
        # Without a transaction no message may be given up alone: after a process that hung, librdkafka would drop those
        # that are too old and publish the ones behind them. The deadline of a batch gives up all of it, or nothing.
        owned = {**OWNED, "message.timeout.ms": limit_ms if self._transactions else 0}
        if self._transactions:
            owned |= {"transactional.id": self.transactional_id, "transaction.timeout.ms": limit_ms}
        defaults = {**PRODUCER_DEFAULTS, **event_hubs.producer_defaults(self._client)}
        table = settings({**defaults, **self._client}, self._reports, owned)
        return {**table, "on_delivery": self._reports.note_refused}

    def _drop(self) -> None:
        """Let go of the producer and of everything it still holds. Takes no time, whatever state it is in."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(blocking=False)

    # ---- producing

    def _own(self, checkpoint: Checkpoint) -> Message:
        return replace(self._encode_checkpoint(checkpoint), key=self._key)

    def _produce_all(self, producer: Producer, messages: Iterable[Message]) -> None:
        for number, message in enumerate(messages, start=1):
            if message.topic not in self._topics_seen:
                self._look_for(message.topic)
            self._produce(producer, message)
            if number % SERVED_EVERY_MESSAGES == 0:
                self._serve(producer, 0)

    def _look_for(self, topic: str) -> None:
        """A topic that is missing must not be made by the broker with its own settings, nor be waited for."""
        with Reader(self._client) as reader:
            reader.partitions(topic, self._deadline)
        self._topics_seen.add(topic)

    def _produce(self, producer: Producer, message: Message, *, partition: int = -1) -> None:
        headers: list[Any] = list(message.headers)
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, partition, headers=headers)
            except BufferError:
                # The queue is full: this very message again, once some have gone.
                self._check_deadline("publishing")
                self._serve(producer, FULL_QUEUE_SECONDS)
            except (KafkaException, SystemError) as error:
                self._serve(producer, 0)
                doing = f"publishing to {message.topic}, key {_shown(message.key)}"
                raise translated(error_of(error), doing, self._reports) from error
            else:
                return

    def _confirm(self, producer: Producer) -> None:
        """Wait until the broker has everything that was produced."""
        self._serve(producer, 0)
        while len(producer):
            self._check_deadline("publishing")
            self._serve(producer, self._deadline.remaining(at_most=CALL_SECONDS), until_empty=True)

    def _serve(self, producer: Producer, seconds: float, *, until_empty: bool = False) -> None:
        """Let librdkafka report; a message refused, or a producer that is done for, ends the batch."""
        try:
            if until_empty:
                producer.flush(seconds)
            else:
                producer.poll(seconds)
        except (KafkaException, SystemError) as error:
            raise self._because(error, "publishing") from error
        if self._reports.refused is not None:
            raise self._because(None, "publishing")

    def _repeat(self, doing: str, call: Callable[[float], object]) -> None:
        """Make a call, and the same call again for as long as librdkafka says that it may be repeated."""
        while True:
            try:
                call(self._deadline.remaining(at_most=CALL_SECONDS))
            except (KafkaException, SystemError) as error:
                found = error_of(error)
                if not found.retriable() or found.code() in FENCED_CODES or self._deadline.passed:
                    raise self._because(error, doing) from error
                log.debug("Kafka is asked again", doing=doing, error=str(found))
            else:
                return

    def _because(self, error: BaseException | None, doing: str) -> SinkError:
        """Why it failed: the message that was refused, where there is one, else what the call says."""
        if error is not None and error_of(error).code() in FENCED_CODES:
            return translated(error_of(error), doing, self._reports)
        if self._producer is not None and error is not None:
            self._listen(self._producer)
        if self._reports.refused is not None:
            refused, message = self._reports.refused
            return translated(refused, f"publishing to {message.topic()}, key {_shown(message.key())}", self._reports)
        assert error is not None  # noqa: S101 - one of the two there is
        return translated(error_of(error), doing, self._reports)

    @staticmethod
    def _listen(producer: Producer) -> None:
        """Let librdkafka report what explains an error already raised; a second one explains nothing."""
        try:
            producer.poll(0)
        except (KafkaException, SystemError) as error:
            error_of(error)

    # ---- time

    def _begin_deadline(self) -> None:
        self._deadline = Deadline(self._deadline_seconds, self._stop)
        self._reports.forget()

    def _check_deadline(self, doing: str) -> None:
        if self._deadline.passed:
            raise translated(KafkaError(KafkaError._TIMED_OUT), doing, self._reports)  # noqa: SLF001 - its public name


def last_checkpoint(reader: Reader, topic: str, transactional_id: str, deadline: Deadline) -> bytes | None:
    """The value of the last checkpoint that Kafka has; None where there is none. Takes nothing over: for a look only.

    Raises as `Reader.partitions` and `Reader.read`.
    """
    found = None
    reader.partitions(topic, deadline)
    for incoming in reader.read(topic, deadline, partition=CHECKPOINTS_PARTITION):
        if incoming.key == transactional_id.encode():
            found = incoming.value
    return found


def _shown(key: object) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)
