"""Publishing to a real broker: a batch and its checkpoint together or not at all, whatever happens in between."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its documented place

from connector.errors import ConfigError, EncodingError, SinkFenced, SinkRejected, SinkUnavailable
from connector.kafka.sink import FIRST_ANSWER_SECONDS, Sink
from connector.model import Message
from tests.support.broker import Broker, LocalBroker, free_ports
from tests.support.publishing import BATCH, KEYS, checkpoint_of, decode_checkpoint, make_sink, numbers


@dataclass
class Place:
    """The topics of one test on a broker, the sinks of the test, and what an independent consumer sees."""

    broker: Broker
    prefix: str
    consume: Callable[..., list[Any]]
    sinks: list[Sink] = field(default_factory=list)

    def sink(self, **options: Any) -> Sink:
        """Another sink, as another process would have it."""
        sink = make_sink(self.broker.bootstrap_servers, self.prefix, **options)
        self.sinks.append(sink)
        return sink

    def publish(self, sink: Sink, first: int, last: int) -> None:
        """Publish the numbers from first to last as one batch."""
        sink.publish(numbers(self.prefix, first, last), checkpoint_of(self.prefix, last))

    def changes(self, isolation: str = "read_committed") -> list[int]:
        """The numbers in the topic of changes, sorted; a number that is there twice comes twice."""
        seen = self.consume(f"{self.prefix}.changes", at=self.broker, isolation=isolation)
        return sorted(int(message.value) for message in seen)

    def checkpoints(self) -> list[int]:
        """The sequences of the checkpoints, in order."""
        seen = self.consume(f"{self.prefix}.checkpoints", at=self.broker)
        return [decode_checkpoint(message.value).sequence for message in seen if message.key == self.prefix.encode()]


@pytest.fixture
def place(
    broker: Broker, create_topic: Callable[..., str], consume: Callable[..., list[Any]], topic_prefix: str
) -> Iterator[Place]:
    """This test's topics on the session's broker."""
    yield from _place(broker, create_topic, consume, topic_prefix)


@pytest.fixture
def private_place(
    private_broker: LocalBroker,
    create_topic: Callable[..., str],
    consume: Callable[..., list[Any]],
    topic_prefix: str,
) -> Iterator[Place]:
    """Topics on a broker that may be stopped."""
    yield from _place(private_broker, create_topic, consume, topic_prefix)


def _place(broker: Broker, create_topic: Callable[..., str], consume: Any, prefix: str) -> Iterator[Place]:
    create_topic(f"{prefix}.changes", partitions=3, at=broker)
    create_topic(f"{prefix}.checkpoints", settings={"cleanup.policy": "compact"}, at=broker)
    place = Place(broker, prefix, consume)
    yield place
    for sink in place.sinks:
        sink.close()


def _until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)


# ---- when all goes well


def test_a_batch_is_seen_with_its_checkpoint(place: Place) -> None:
    """Messages come in order per key with value, headers and time of publishing, and recovery finds the checkpoint."""
    begun_ms = round(time.time() * 1000) - 1
    sink = place.sink()
    assert sink.recover() is None
    place.publish(sink, 1, 100)
    place.publish(sink, 101, 200)
    seen = place.consume(f"{place.prefix}.changes")
    for remainder in range(KEYS):
        mine = [message for message in seen if message.key == b"device-%d" % remainder]
        wanted = [number for number in range(1, 201) if number % KEYS == remainder]
        assert [int(message.value) for message in mine] == wanted
        assert [message.headers for message in mine] == [(("n", b"%d" % number),) for number in wanted]
    assert len(seen) == 200
    assert all(begun_ms <= message.timestamp <= time.time() * 1000 for message in seen)
    assert place.checkpoints() == [100, 200]
    assert place.sink().recover() == checkpoint_of(place.prefix, 200)


def test_an_empty_topic_has_no_checkpoint(place: Place) -> None:
    """A recovery leaves no checkpoint: after any number of claims there is still none."""
    for _ in range(3):
        assert place.sink().recover() is None
    assert place.checkpoints() == []
    assert place.changes() == []


def test_a_sink_recovers_as_often_as_it_likes(place: Place) -> None:
    """Every poll recovers: the same sink finds its own last checkpoint, and goes on publishing."""
    sink = place.sink()
    for poll in range(3):
        checkpoint = sink.recover()
        assert (checkpoint.sequence if checkpoint else 0) == poll * 10
        place.publish(sink, poll * 10 + 1, poll * 10 + 10)
    assert place.changes() == list(range(1, 31))


def test_transactional_ids_share_a_checkpoints_topic(place: Place) -> None:
    """Two tenants under one prefix do not see each other's checkpoints."""
    first, second = place.sink(transactional_id="first"), place.sink(transactional_id="second")
    assert first.recover() is None
    assert second.recover() is None
    first.publish(numbers(place.prefix, 1, 5), checkpoint_of("first", 5))
    second.publish(numbers(place.prefix, 6, 7), checkpoint_of("second", 7))
    assert place.sink(transactional_id="first").recover() == checkpoint_of("first", 5)
    assert place.sink(transactional_id="second").recover() == checkpoint_of("second", 7)


def test_a_checkpoint_behind_the_open_transaction_of_another_tenant_is_waited_for(place: Place) -> None:
    """An open transaction holds back the end of the topic: recovery reads up to its own claim, not to that end."""
    first = place.sink()
    first.recover()
    place.publish(first, 1, 5)
    other = Producer(
        {
            "bootstrap.servers": place.broker.bootstrap_servers,
            "transactional.id": f"{place.prefix}.other",
            "transaction.timeout.ms": 6000,
            "log_level": 0,
        }
    )
    other.init_transactions(30)
    other.begin_transaction()
    other.produce(f"{place.prefix}.checkpoints", b"open", b"other", partition=0)
    other.flush(30)
    place.publish(first, 6, 10)
    assert place.checkpoints() == [5]
    # The broker aborts the other tenant's transaction after six seconds.
    assert place.sink().recover() == checkpoint_of(place.prefix, 10)


def test_a_full_queue_skips_nothing(place: Place) -> None:
    """With room for 100 messages in the client's queue, 5,000 are published, each once and in order."""
    sink = place.sink(client={"queue.buffering.max.messages": 100})
    sink.recover()
    place.publish(sink, 1, 5000)
    seen = place.consume(f"{place.prefix}.changes")
    assert sorted(int(message.value) for message in seen) == list(range(1, 5001))
    for remainder in range(KEYS):
        mine = [int(message.value) for message in seen if message.key == b"device-%d" % remainder]
        assert mine == sorted(mine)


# ---- a batch that fails


def test_a_batch_whose_messages_fail_is_not_seen(place: Place) -> None:
    """The messages' own error is passed on, nothing of the batch is seen, and after a recovery publishing goes on."""

    def failing() -> Iterator[Message]:
        yield from numbers(place.prefix, 11, 15)
        raise EncodingError("the sixth cannot be encoded")

    sink = place.sink()
    sink.recover()
    place.publish(sink, 1, 10)
    with pytest.raises(EncodingError, match="the sixth"):
        sink.publish(failing(), checkpoint_of(place.prefix, 20))
    with pytest.raises(SinkUnavailable, match="needs a recovery first"):
        place.publish(sink, 11, 20)
    assert sink.recover() == checkpoint_of(place.prefix, 10)
    place.publish(sink, 11, 20)
    assert place.changes() == list(range(1, 21))
    assert place.checkpoints() == [10, 20]


def test_a_message_too_large_for_the_client_is_named(place: Place) -> None:
    """The error names topic and key; the batch is not seen."""
    sink = place.sink()
    sink.recover()
    large = Message(f"{place.prefix}.changes", b"device-large", b"x" * 1_100_000)
    with pytest.raises(SinkRejected, match="MSG_SIZE_TOO_LARGE") as refused:
        sink.publish([*numbers(place.prefix, 1, 5), large], checkpoint_of(place.prefix, 6))
    assert f"{place.prefix}.changes, key device-large" in str(refused.value)
    assert "max.message.bytes" in refused.value.hint
    assert place.changes() == []


def test_a_message_too_large_for_the_topic_is_named(place: Place, create_topic: Callable[..., str]) -> None:
    """The broker's refusal comes later, by a delivery report: topic and key are named all the same."""
    small = create_topic(f"{place.prefix}.alerts", settings={"max.message.bytes": "2000"})
    sink = place.sink()
    sink.recover()
    large = Message(small, b"device-large", random.Random(1).randbytes(5000))
    with pytest.raises(SinkRejected, match="MSG_SIZE_TOO_LARGE") as refused:
        sink.publish([*numbers(place.prefix, 1, 5), large], checkpoint_of(place.prefix, 6))
    assert f"{small}, key device-large" in str(refused.value)
    sink.recover()
    assert place.changes() == []


def test_a_missing_topic_is_named_at_once(place: Place) -> None:
    """It is neither created nor waited for: the error names it, and its hint how to create it."""
    sink = place.sink()
    sink.recover()
    begun = time.monotonic()
    elsewhere = Message(f"{place.prefix}.nowhere", b"k", b"v")
    with pytest.raises(SinkRejected, match=rf"{place.prefix}\.nowhere.*UNKNOWN_TOPIC") as refused:
        sink.publish([*numbers(place.prefix, 1, 5), elsewhere], checkpoint_of(place.prefix, 6))
    assert "mde-inventory setup" in refused.value.hint
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    assert place.changes() == []


def test_a_missing_checkpoints_topic_is_named(broker: Broker, topic_prefix: str) -> None:
    """Recovery refuses: without the topic nobody knows what has been published."""
    with pytest.raises(SinkRejected, match=rf"{topic_prefix}\.checkpoints.*UNKNOWN_TOPIC") as refused:
        make_sink(broker.bootstrap_servers, topic_prefix).recover()
    assert "mde-inventory setup" in refused.value.hint


@pytest.mark.parametrize(
    ("kind", "suffix", "code"),
    [
        (ResourceType.TOPIC, ".changes", "TOPIC_AUTHORIZATION_FAILED"),
        (ResourceType.TOPIC, ".checkpoints", "TOPIC_AUTHORIZATION_FAILED"),
        (ResourceType.TRANSACTIONAL_ID, "", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    ],
)
def test_a_missing_permission_is_named(
    local_broker: LocalBroker, place: Place, allow_only: Callable[..., None], kind: Any, suffix: str, code: str
) -> None:
    """Where the principal may describe but not write, nothing is published, and the error names what to grant."""
    assert local_broker is place.broker
    allow_only(f"{place.prefix}{suffix}", "DESCRIBE", kind=kind)
    sink = place.sink(deadline_seconds=10)

    def recover_and_publish() -> None:
        sink.recover()
        place.publish(sink, 1, 5)

    with pytest.raises(SinkRejected, match=rf"{place.prefix}{suffix}: no permission \({code}\)") as refused:
        recover_and_publish()
    assert "Grant this client's principal" in refused.value.hint


@pytest.mark.parametrize("pause_seconds", [0.0, 0.3])
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_the_topic_that_refuses_is_named_and_no_other(
    place: Place,
    create_topic: Callable[..., str],
    allow_only: Callable[..., None],
    pause_seconds: float,
    delivery: Any,
) -> None:
    """Whether the refusal comes while messages are still produced or at the commit; the hint says what to grant."""
    refusing = create_topic(f"{place.prefix}.snapshots")
    allow_only(refusing, "DESCRIBE")
    sink = place.sink(deadline_seconds=10, delivery=delivery)
    sink.recover()

    def batch() -> Iterator[Message]:
        yield from numbers(place.prefix, 1, 5)
        yield Message(refusing, b"snapshot", b"value")
        time.sleep(pause_seconds)
        yield from numbers(place.prefix, 6, 10)

    with pytest.raises(SinkRejected) as refused:
        sink.publish(batch(), checkpoint_of(place.prefix, 10))
    named = f"{refusing}, key snapshot" if delivery == "at_least_once" else refusing
    assert str(refused.value) == f"Kafka: publishing to {named}: no permission (TOPIC_AUTHORIZATION_FAILED)"
    assert "Write and Describe on every topic" in refused.value.hint
    assert delivery == "at_least_once" or place.changes() == []


def test_a_key_that_librdkafka_does_not_know_is_a_matter_of_configuration() -> None:
    """The key is named before any connection is made."""
    with pytest.raises(ConfigError, match=r"no\.such\.key"):
        make_sink("localhost:9092", "any", client={"no.such.key": "1"}).recover()


# ---- two instances


def test_a_second_instance_fences_the_first(place: Place) -> None:
    """The second wins; the first stops with exit code 4, and nothing of its batch is seen."""
    first, second = place.sink(), place.sink()
    first.recover()
    place.publish(first, 1, 10)
    assert second.recover() == checkpoint_of(place.prefix, 10)
    with pytest.raises(SinkFenced) as fenced:
        place.publish(first, 11, 20)
    assert fenced.value.exit_code == 4
    assert "stop the other one" in fenced.value.hint
    place.publish(second, 11, 30)
    assert place.changes() == list(range(1, 31))
    assert place.checkpoints() == [10, 30]


def test_an_instance_that_was_fenced_while_idle_does_not_fence_back(place: Place) -> None:
    """It notices at its next recovery; the second instance goes on undisturbed."""
    first, second = place.sink(), place.sink()
    first.recover()
    second.recover()
    for _ in range(2):
        with pytest.raises(SinkFenced):
            first.recover()
    place.publish(second, 1, 10)
    assert second.recover() == checkpoint_of(place.prefix, 10)
    assert place.changes() == list(range(1, 11))


def test_an_instance_in_doubt_does_not_fence_whoever_took_over_meanwhile(place: Place) -> None:
    """After an error the first has no producer: before it creates one it checks that nobody else has claimed."""
    first, second = place.sink(), place.sink()
    first.recover()
    with pytest.raises(EncodingError):
        first.publish(_raise(EncodingError("no")), checkpoint_of(place.prefix, 1))
    second.recover()
    with pytest.raises(SinkFenced, match="another instance took over"):
        first.recover()
    place.publish(second, 1, 10)
    assert place.changes() == list(range(1, 11))


def _raise(error: Exception) -> Iterator[Message]:
    raise error
    yield


def test_a_claim_in_the_middle_of_a_batch_sees_nothing_of_it(place: Place) -> None:
    """The second instance recovers while the first has produced half a batch: it sees the checkpoint before that."""
    first, second = place.sink(), place.sink()
    first.recover()
    place.publish(first, 1, 10)

    def overtaken() -> Iterator[Message]:
        yield from numbers(place.prefix, 11, 15)
        _until(lambda: len(place.changes("read_uncommitted")) == 15)
        assert second.recover() == checkpoint_of(place.prefix, 10)
        yield from numbers(place.prefix, 16, 20)

    with pytest.raises(SinkFenced):
        first.publish(overtaken(), checkpoint_of(place.prefix, 20))
    place.publish(second, 11, 12)
    assert place.changes() == list(range(1, 13))
    assert place.sink().recover() == checkpoint_of(place.prefix, 12)


# ---- time-outs


def _aborted_by_the_broker(place: Place, messages: int) -> None:
    """Wait until the partition of alerts has a transaction's mark after that number of messages."""
    consumer = Consumer({"bootstrap.servers": place.broker.bootstrap_servers, "group.id": "watching"})
    partition = TopicPartition(f"{place.prefix}.alerts", 0)
    _until(lambda: consumer.get_watermark_offsets(partition, timeout=10)[1] > messages)
    consumer.close()


def _outliving(
    place: Place, meanwhile: Callable[[], object] = lambda: None, *, answered: bool = False
) -> Iterator[Message]:
    """Messages that come so slowly that the transaction outlives its time-out."""
    yield Message(f"{place.prefix}.alerts", b"k", b"1")
    _aborted_by_the_broker(place, 1)
    meanwhile()
    yield Message(f"{place.prefix}.alerts", b"k", b"2")
    if answered:
        # Time enough for the broker to refuse it.
        threading.Event().wait(0.5)


@pytest.mark.parametrize("answered", [False, True])
def test_a_transaction_that_outlived_its_time_out_is_no_takeover(
    place: Place, create_topic: Callable[..., str], answered: bool
) -> None:
    """The broker fences it too, but nobody took over: the batch can be retried, and is then published once."""
    create_topic(f"{place.prefix}.alerts")
    sink = place.sink(deadline_seconds=2)
    sink.recover()
    place.publish(sink, 1, 10)
    with pytest.raises(SinkUnavailable, match="outlived its time-out" if answered else "Timed out"):
        sink.publish(_outliving(place, answered=answered), checkpoint_of(place.prefix, 12))
    assert sink.recover() == checkpoint_of(place.prefix, 10)
    place.publish(sink, 11, 20)
    assert place.changes() == list(range(1, 21))
    assert place.consume(f"{place.prefix}.alerts") == []


def test_a_takeover_after_a_time_out_is_a_takeover(place: Place, create_topic: Callable[..., str]) -> None:
    """An instance that was suspended for long publishes nothing when it goes on, and finds that another took over."""
    create_topic(f"{place.prefix}.alerts")
    first, second = place.sink(deadline_seconds=2), place.sink()
    first.recover()
    with pytest.raises(SinkUnavailable):
        first.publish(_outliving(place, second.recover), checkpoint_of(place.prefix, 2))
    with pytest.raises(SinkFenced):
        first.recover()
    place.publish(second, 1, 10)
    assert place.changes() == list(range(1, 11))
    assert place.consume(f"{place.prefix}.alerts") == []


# ---- the broker goes away


def test_a_cluster_that_is_away_is_reported_within_the_deadline() -> None:
    """Recovery gives up at its deadline, with the network's reason."""
    (port,) = free_ports(1)
    sink = make_sink(f"127.0.0.1:{port}", "away", deadline_seconds=2)
    begun = time.monotonic()
    with pytest.raises(SinkUnavailable, match="Connection refused") as away:
        sink.recover()
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    assert "bootstrap.servers" in away.value.hint
    sink.close()


def test_a_broker_that_comes_back_in_time_is_waited_for(private_place: Place) -> None:
    """Killed and started again in the middle of a batch: the batch is published, once."""
    broker = private_place.broker

    def interrupted() -> Iterator[Message]:
        yield from numbers(private_place.prefix, 11, 15)
        broker.kill()  # type: ignore[attr-defined]  # a private broker is a local one
        broker.start()  # type: ignore[attr-defined]  # the same
        yield from numbers(private_place.prefix, 16, 20)

    sink = private_place.sink()
    sink.recover()
    private_place.publish(sink, 1, 10)
    sink.publish(interrupted(), checkpoint_of(private_place.prefix, 20))
    assert private_place.changes() == list(range(1, 21))
    assert private_place.checkpoints() == [10, 20]


def test_a_broker_that_stays_away_ends_the_batch_and_loses_nothing(
    private_broker: LocalBroker, private_place: Place
) -> None:
    """The deadline ends the wait, a stop signal ends it sooner; when the broker is back the batch is published once."""
    stop = threading.Event()
    sink = private_place.sink(deadline_seconds=3)
    sink.recover()
    private_place.publish(sink, 1, 10)
    begun = time.monotonic()
    with pytest.raises(SinkUnavailable):
        sink.publish(
            _then(numbers(private_place.prefix, 11, 20), private_broker.kill), checkpoint_of(private_place.prefix, 20)
        )
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    stopped = private_place.sink(stop=stop)
    stop.set()
    begun = time.monotonic()
    with pytest.raises(SinkUnavailable):
        stopped.recover()
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    private_broker.start()
    assert sink.recover() == checkpoint_of(private_place.prefix, 10)
    private_place.publish(sink, 11, 20)
    assert private_place.changes() == list(range(1, 21))


def _then(messages: Iterator[Message], act: Callable[[], object]) -> Iterator[Message]:
    yield from messages
    act()


def test_a_broker_that_hangs_before_the_commit_holds_nobody_up(
    private_broker: LocalBroker, private_place: Place
) -> None:
    """The deadline counts, closing takes no time, and after the broker goes on the batch is published once."""
    sink = private_place.sink(deadline_seconds=3, before_checkpoint=private_broker.pause)
    sink.recover()
    begun = time.monotonic()
    with pytest.raises(SinkUnavailable):
        private_place.publish(sink, 1, 10)
    sink.close()
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    private_broker.resume()
    again = private_place.sink()
    assert again.recover() is None
    private_place.publish(again, 1, 10)
    assert private_place.changes() == list(range(1, 11))


# ---- kills


def _publishing(place: Place, where: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.publishing", place.broker.bootstrap_servers, place.prefix, where]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _kill(process: subprocess.Popen[str]) -> str:
    """SIGKILL. Returns the rest of its output."""
    process.kill()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == -9
    return output


def _expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def test_a_process_killed_between_producing_and_committing_leaves_nothing(place: Place) -> None:
    """Its messages reached the broker and are never seen by read_committed; the next process publishes them once."""
    process = _publishing(place, "before-commit")
    _expect(process, "recovered 0")
    _expect(process, "produced")
    _until(lambda: len(place.changes("read_uncommitted")) == BATCH)
    _kill(process)
    sink = place.sink()
    begun = time.monotonic()
    assert sink.recover() is None
    assert time.monotonic() - begun < FIRST_ANSWER_SECONDS
    assert place.changes() == []
    place.publish(sink, 1, BATCH)
    assert place.changes() == list(range(1, BATCH + 1))
    assert sorted(place.changes("read_uncommitted")) == sorted([*range(1, BATCH + 1)] * 2)


def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(place: Place) -> None:
    """Processes that publish as fast as they can, each killed after a while: every number is seen once, in order."""
    draw = random.Random(20261124)
    for _ in range(6):
        process = _publishing(place, "for-ever")
        assert process.stdout is not None
        assert process.stdout.readline().startswith("recovered ")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.05, 0.8))
        _kill(process)
    reached = place.sink().recover()
    assert reached is not None
    last = reached.sequence + 3 * BATCH
    finishing = _publishing(place, str(last))
    lines = finishing.communicate(timeout=120)[0].splitlines()
    assert (finishing.returncode, lines[-1]) == (0, f"published {last}")
    seen = place.consume(f"{place.prefix}.changes")
    assert sorted(int(message.value) for message in seen) == list(range(1, last + 1))
    for remainder in range(KEYS):
        mine = [int(message.value) for message in seen if message.key == b"device-%d" % remainder]
        assert mine == sorted(mine)
    assert last > 20 * BATCH
    assert place.checkpoints() == list(range(BATCH, last + 1, BATCH))


# ---- compaction


def test_compaction_keeps_the_checkpoint_whatever_is_claimed(
    broker: Broker, create_topic: Callable[..., str], consume: Callable[..., list[Any]], topic_prefix: str
) -> None:
    """Claims have their own key: when the topic is compacted behind them, the last checkpoint is still there."""
    create_topic(f"{topic_prefix}.changes")
    quick = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
    }
    checkpoints = create_topic(f"{topic_prefix}.checkpoints", settings=quick)
    place = Place(broker, topic_prefix, consume)
    sink = place.sink()
    sink.recover()
    for last in range(1, 6):
        place.publish(sink, last, last)
    claims = 1

    def compacted() -> bool:
        nonlocal claims
        assert sink.recover() == checkpoint_of(topic_prefix, 5)
        claims += 1
        seen = [message.key for message in consume(checkpoints)]
        return seen.count(f"{topic_prefix}#claim".encode()) < claims - 3 and len(place.checkpoints()) == 1

    _until(compacted, seconds=60)
    sink.close()
    assert place.sink().recover() == checkpoint_of(topic_prefix, 5)
    place.sinks[-1].close()


# ---- without transactions


def test_at_least_once_confirms_the_messages_before_the_checkpoint(place: Place) -> None:
    """A crash in between repeats the batch under the same keys and values, and loses none."""
    failing = [True]

    def crash() -> None:
        if failing.pop():
            assert place.changes() == list(range(1, 11))
            assert place.checkpoints() == []
            failing.append(False)
            raise KeyboardInterrupt
        failing.append(False)

    sink = place.sink(delivery="at_least_once", before_checkpoint=crash)
    assert sink.recover() is None
    with pytest.raises(KeyboardInterrupt):
        place.publish(sink, 1, 10)
    assert sink.recover() is None
    place.publish(sink, 1, 10)
    place.publish(sink, 11, 20)
    assert place.changes() == sorted([*range(1, 11)] * 2 + [*range(11, 21)])
    assert place.checkpoints() == [10, 20]
    assert place.sink(delivery="at_least_once").recover() == checkpoint_of(place.prefix, 20)


def test_at_least_once_refuses_what_the_broker_refuses(place: Place, create_topic: Callable[..., str]) -> None:
    """A refused message ends the batch before its checkpoint, and is named."""
    small = create_topic(f"{place.prefix}.alerts", settings={"max.message.bytes": "2000"})
    sink = place.sink(delivery="at_least_once")
    sink.recover()
    large = Message(small, b"device-large", random.Random(1).randbytes(5000))
    with pytest.raises(SinkRejected, match="key device-large"):
        sink.publish([*numbers(place.prefix, 1, 5), large], checkpoint_of(place.prefix, 6))
    assert place.checkpoints() == []


def test_the_delivery_may_be_changed(place: Place) -> None:
    """A checkpoint that was written without transactions is recovered with them, and vice versa."""
    kinds: Sequence[Any] = ("at_least_once", "exactly_once", "at_least_once")
    for number, delivery in enumerate(kinds):
        sink = place.sink(delivery=delivery)
        checkpoint = sink.recover()
        assert (checkpoint.sequence if checkpoint else 0) == number
        place.publish(sink, number + 1, number + 1)
        sink.close()
    assert place.changes() == [1, 2, 3]
