"""Reading topics of a real broker: only committed messages, up to a point, or as they come."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from connector.errors import SinkRejected, SinkUnavailable, Stopped
from connector.kafka.client import Deadline
from connector.kafka.reader import Reader
from tests.support.broker import Broker, LocalBroker, free_ports


def _transactional(broker: Broker, name: str) -> Producer:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


def _reader(broker: Broker) -> Reader:
    return Reader({"bootstrap.servers": broker.bootstrap_servers})


def _publish(broker: Broker, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def test_following_from_the_beginning_gives_every_committed_message_of_all_partitions(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """Committed messages of all partitions come, in order per partition, with key, value, place and publishing time."""
    topic = create_topic(f"{topic_prefix}.changes", partitions=3)
    begun_ms = round(time.time() * 1000) - 1
    for value, finish in (("aborted", "abort_transaction"), ("committed", "commit_transaction")):
        producer = _transactional(broker, topic)
        for number in range(9):
            producer.produce(topic, f"{value} {number}", f"key {number}", partition=number % 3)
        producer.produce(topic, None, "gone", partition=0)
        producer.flush(30)
        getattr(producer, finish)(30)
    with _reader(broker) as reader:
        seen = list(reader.follow(topic, from_beginning=True, limit=10))
    assert {number: [message.value for message in seen if message.partition == number] for number in range(3)} == {
        0: [b"committed 0", b"committed 3", b"committed 6", None],
        1: [b"committed 1", b"committed 4", b"committed 7"],
        2: [b"committed 2", b"committed 5", b"committed 8"],
    }
    first = next(message for message in seen if message.partition == 1)
    assert begun_ms <= first.timestamp <= time.time() * 1000
    place = first.place
    assert place.pop("timestamp").endswith("Z")
    # The aborted messages and the mark of their end lie before it.
    assert place == {"topic": topic, "partition": 1, "offset": 4, "key": "key 1"}


def test_following_from_the_end_skips_what_was_there(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """Earlier messages are not seen; those published while following are, soon after."""
    topic = create_topic(f"{topic_prefix}.changes")
    _publish(broker, topic, b"before")
    seen: queue.Queue[bytes | None] = queue.Queue()

    def follow() -> None:
        with _reader(broker) as reader:
            for message in reader.follow(topic, from_beginning=False, limit=1):
                seen.put(message.value)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    for number in range(100):
        _publish(broker, topic, b"after %d" % number)
        try:
            value = seen.get(timeout=0.2)
        except queue.Empty:
            continue
        break
    thread.join(10)
    assert value is not None
    assert value.startswith(b"after ")


def test_reading_stops_at_the_message_asked_for(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """With `until`, reading ends with the message that it accepts; without, at the end of the partition."""
    topic = create_topic(f"{topic_prefix}.checkpoints")
    _publish(broker, topic, b"1", b"2", b"3", b"4")
    with _reader(broker) as reader:
        first = reader.read(topic, Deadline(30), partition=0, until=lambda message: message.value == b"3")
        assert [message.value for message in first] == [b"1", b"2", b"3"]
        whole = reader.read(topic, Deadline(30), partition=0)
        assert [message.value for message in whole] == [b"1", b"2", b"3", b"4"]


def test_an_open_transaction_holds_back_what_follows_it(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """The end is the last stable message; what follows an open transaction is waited for, up to the deadline."""
    topic = create_topic(f"{topic_prefix}.checkpoints")
    _publish(broker, topic, b"stable")
    open_producer = _transactional(broker, topic)
    open_producer.produce(topic, b"open")
    open_producer.flush(30)
    _publish(broker, topic, b"behind")
    with _reader(broker) as reader:
        assert [message.value for message in reader.read(topic, Deadline(30), partition=0)] == [b"stable"]
        with pytest.raises(SinkUnavailable, match="_TIMED_OUT"):
            list(reader.read(topic, Deadline(1), partition=0, until=lambda message: message.value == b"behind"))
        open_producer.abort_transaction(30)
        behind = reader.read(topic, Deadline(30), partition=0, until=lambda message: message.value == b"behind")
        assert [message.value for message in behind] == [b"stable", b"behind"]


def test_a_topic_that_is_read_whole_is_waited_for_and_is_what_it_was_at_the_beginning(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """What an open transaction holds back is part of it, with headers; later messages are not; a stop ends it."""
    topic = create_topic(f"{topic_prefix}.inventory", partitions=2)
    open_producer = _transactional(broker, topic)
    for number in range(4):
        open_producer.produce(topic, b"%d" % number, b"key", partition=number % 2, headers=[("n", b"%d" % number)])
    open_producer.flush(30)
    _publish(broker, topic, *[b"behind"] * 2)
    threading.Timer(1.0, lambda: open_producer.commit_transaction(30)).start()
    with _reader(broker) as reader:
        seen = []
        for message in reader.read_whole(topic):
            seen.append(message)
            _publish(broker, topic, b"later") if len(seen) == 1 else None
        whole = sorted((message.value or b"", dict(message.headers)) for message in seen)
        assert whole == [*[(b"%d" % n, {"n": b"%d" % n}) for n in range(4)], *[(b"behind", {})] * 2]
        stop = threading.Event()
        stop.set()
        with pytest.raises(Stopped):
            list(reader.read_whole(topic, stop))


def test_a_topic_is_read_whole_up_to_where_it_ended_earlier(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """What came since is left out, also where nothing was there; an end beyond the topic's own is the topic's own."""
    topic = create_topic(f"{topic_prefix}.inventory", partitions=2)
    with _reader(broker) as reader:
        assert reader.ends(topic) == {}
        _publish(broker, topic, *[b"early"] * 4)
        ends = reader.ends(topic)
        _publish(broker, topic, *[b"late"] * 4)
        assert [message.value for message in reader.read_whole(topic, upto=ends)] == [b"early"] * 4
        assert list(reader.read_whole(topic, upto={})) == []
        beyond = dict.fromkeys(range(2), 1_000_000)
        assert sorted(message.value or b"" for message in reader.read_whole(topic, upto=beyond)) == [
            *[b"early"] * 4,
            *[b"late"] * 4,
        ]


def test_a_missing_topic_is_refused_with_how_to_create_it(broker: Broker, topic_prefix: str) -> None:
    """It is looked for a little while, in case it was just created, and no longer."""
    with _reader(broker) as reader, pytest.raises(SinkRejected, match="UNKNOWN_TOPIC_OR_PART") as refused:
        list(reader.follow(f"{topic_prefix}.nowhere", from_beginning=True))
    assert "mde-inventory setup" in refused.value.hint


def test_a_topic_that_may_not_be_read_is_refused(
    local_broker: LocalBroker,
    create_topic: Callable[..., str],
    allow_only: Callable[..., None],
    topic_prefix: str,
) -> None:
    """Where this client may see a topic but not read it, the error says so, and its hint names the permission."""
    topic = create_topic(f"{topic_prefix}.changes")
    allow_only(topic, "DESCRIBE", "WRITE")
    with _reader(local_broker) as reader, pytest.raises(SinkRejected, match="TOPIC_AUTHORIZATION_FAILED") as refused:
        list(reader.follow(topic, from_beginning=True, limit=1))
    assert "Grant this client's principal" in refused.value.hint


def test_a_cluster_that_is_away_is_reported_with_the_reason() -> None:
    """Nobody listens there: the error has the network's reason."""
    (port,) = free_ports(1)
    with Reader({"bootstrap.servers": f"127.0.0.1:{port}"}) as reader:
        with pytest.raises(SinkUnavailable, match="Connection refused") as away:
            reader.partitions("any", Deadline(1))
        assert "bootstrap.servers" in away.value.hint


def test_following_waits_out_an_outage(
    private_broker: LocalBroker, create_topic: Callable[..., str], topic_prefix: str
) -> None:
    """A broker that goes away and comes back in between loses no message and ends nothing."""
    topic = create_topic(f"{topic_prefix}.changes", at=private_broker)
    _publish(private_broker, topic, b"before")
    with _reader(private_broker) as reader:
        followed = reader.follow(topic, from_beginning=True, limit=2)
        assert next(followed).value == b"before"
        private_broker.kill()
        private_broker.start()
        _publish(private_broker, topic, b"after")
        assert next(followed).value == b"after"
