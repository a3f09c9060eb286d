"""Connections cut at each kind of request, before the broker has it or before its answer: all is published once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from connector.errors import SinkRejected, SinkUnavailable
from connector.model import Message
from tests.support.broker import LocalBroker
from tests.support.cutting import CuttingProxy, Request, When
from tests.support.publishing import BATCH, checkpoint_of, decode_checkpoint, make_sink, numbers

BATCHES = 3
ALL = (list(range(1, BATCHES * BATCH + 1)), list(range(BATCH, BATCHES * BATCH + 1, BATCH)))
"""Every number, and the checkpoint of every batch, once."""


@pytest.fixture
def proxy(local_broker: LocalBroker) -> Iterator[CuttingProxy]:
    """Stands before the session's broker; its address is `127.0.0.1:<cut_port>`."""
    with CuttingProxy(local_broker.cut_port, local_broker.behind_port) as proxy:
        yield proxy


@pytest.fixture
def prefix(create_topic: Callable[..., str], topic_prefix: str) -> str:
    """A prefix whose topics exist."""
    create_topic(f"{topic_prefix}.changes", partitions=2)
    create_topic(f"{topic_prefix}.checkpoints", settings={"cleanup.policy": "compact"})
    return topic_prefix


def _published(consume: Callable[..., list[Any]], prefix: str) -> tuple[list[int], list[int]]:
    """The numbers in the topic of changes, sorted, and the sequences of the checkpoints, in order."""
    changes = sorted(int(message.value) for message in consume(f"{prefix}.changes"))
    values = [message.value for message in consume(f"{prefix}.checkpoints") if message.key == prefix.encode()]
    return changes, [decode_checkpoint(value).sequence for value in values]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "request_kind",
    [
        Request.METADATA,
        Request.FIND_COORDINATOR,
        Request.INIT_PRODUCER_ID,
        Request.ADD_PARTITIONS,
        Request.PRODUCE,
        Request.END_TRANSACTION,
        Request.LIST_OFFSETS,
        Request.FETCH,
    ],
    ids=lambda kind: kind.name.lower(),
)
def test_a_cut_at_any_request_loses_nothing_and_repeats_nothing(
    proxy: CuttingProxy,
    local_broker: LocalBroker,
    consume: Callable[..., list[Any]],
    prefix: str,
    request_kind: Request,
    when: When,
) -> None:
    """Cut in the first recovery or batch that makes such a request, and once more later: every number is seen once."""

    def cut() -> None:
        # The reader asks for a coordinator as well, and may be gone before its answer.
        for _ in range(3 if request_kind is Request.FIND_COORDINATOR else 1):
            proxy.cut(request_kind, when)

    _publish_all(local_broker, prefix, cut)
    assert _published(consume, prefix) == ALL
    assert (request_kind, when) in proxy.done


def _publish_all(
    local_broker: LocalBroker,
    prefix: str,
    before_recovery: Callable[[], None] = lambda: None,
    before_batch: Callable[[], None] = lambda: None,
) -> None:
    """Recover and publish batch by batch through the proxy, until all are published."""
    sink = make_sink(f"127.0.0.1:{local_broker.cut_port}", prefix, deadline_seconds=20)
    sequence, attempts = 0, 0
    while sequence < BATCHES * BATCH:
        attempts += 1
        assert attempts < 10
        before_recovery()
        try:
            checkpoint = sink.recover()
            sequence = checkpoint.sequence if checkpoint else 0
            before_batch()
            sink.publish(numbers(prefix, sequence + 1, sequence + BATCH), checkpoint_of(prefix, sequence + BATCH))
            sequence += BATCH
        except SinkUnavailable:
            continue
    sink.close()


@pytest.mark.parametrize(
    ("request_kind", "code", "heard"),
    [
        (Request.INIT_PRODUCER_ID, KafkaError.NOT_COORDINATOR, False),
        (Request.INIT_PRODUCER_ID, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, True),
        (Request.END_TRANSACTION, KafkaError.NOT_COORDINATOR, False),
        (Request.END_TRANSACTION, KafkaError.NOT_COORDINATOR, True),
        (Request.END_TRANSACTION, KafkaError.COORDINATOR_NOT_AVAILABLE, False),
        (Request.END_TRANSACTION, KafkaError.INVALID_TXN_STATE, False),
    ],
)
def test_a_coordinator_that_moves_or_does_not_commit_loses_nothing_and_repeats_nothing(
    proxy: CuttingProxy,
    local_broker: LocalBroker,
    consume: Callable[..., list[Any]],
    prefix: str,
    request_kind: Request,
    code: int,
    *,
    heard: bool,
) -> None:
    """It moves before or after it has the request, or does not know the transaction: every number is seen once."""

    def refuse() -> None:
        if len(proxy.refused) < 2:
            proxy.refuse(request_kind, code, heard=heard)

    if request_kind is Request.INIT_PRODUCER_ID:
        _publish_all(local_broker, prefix, before_recovery=refuse)
    else:
        _publish_all(local_broker, prefix, before_batch=refuse)
    assert _published(consume, prefix) == ALL
    assert (request_kind, code) in proxy.refused


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, 'set kafka.delivery = "at_least_once"'),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "on the transactional id"),
    ],
)
def test_a_broker_that_refuses_the_transactions_is_never_quietly_published_to(
    proxy: CuttingProxy, local_broker: LocalBroker, consume: Callable[..., list[Any]], prefix: str, code: int, hint: str
) -> None:
    """None of that length, or none for this id: the error has the cause and what to do, and nothing is published."""
    proxy.refuse(Request.INIT_PRODUCER_ID, code)
    sink = make_sink(f"127.0.0.1:{local_broker.cut_port}", prefix, deadline_seconds=30)
    with pytest.raises(SinkRejected) as refused:
        sink.recover()
    with pytest.raises(SinkUnavailable):
        sink.publish(numbers(prefix, 1, BATCH), checkpoint_of(prefix, BATCH))
    sink.close()
    assert hint in refused.value.hint
    assert _published(consume, prefix) == ([], [])


@pytest.mark.parametrize(("when", "committed"), [("before", False), ("after", True)])
def test_a_process_killed_while_it_commits_left_all_or_nothing(
    proxy: CuttingProxy,
    local_broker: LocalBroker,
    consume: Callable[..., list[Any]],
    prefix: str,
    when: When,
    *,
    committed: bool,
) -> None:
    """Killed before the broker has the request to commit: nothing. Killed before its answer is back: all, and known."""
    command = [
        sys.executable,
        "-m",
        "tests.support.publishing",
        f"127.0.0.1:{local_broker.cut_port}",
        prefix,
        str(10 * BATCH),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "recovered 0\n"
    assert process.stdout.readline() == f"published {BATCH}\n"
    proxy.cut(Request.END_TRANSACTION, when, process.kill)
    words = process.communicate(timeout=60)[0].split()
    assert (process.returncode, proxy.done) == (-9, [(Request.END_TRANSACTION, when)])
    confirmed = int(words[-1]) if words else BATCH
    sink = make_sink(local_broker.bootstrap_servers, prefix)
    last = confirmed + BATCH * committed
    assert sink.recover() == checkpoint_of(prefix, last)
    sink.publish(numbers(prefix, last + 1, last + 5), checkpoint_of(prefix, last + 5))
    sink.close()
    changes, checkpoints = _published(consume, prefix)
    assert changes == list(range(1, last + 6))
    assert checkpoints == [*range(BATCH, last + 1, BATCH), last + 5]


def test_at_least_once_never_publishes_past_a_message_that_it_gave_up(
    local_broker: LocalBroker, consume: Callable[..., list[Any]], prefix: str
) -> None:
    """A batch whose deadline passes without a broker is given up as a whole: each device's order is kept."""
    deadline_seconds = 3.0
    proxies = [CuttingProxy(local_broker.cut_port, local_broker.behind_port)]

    def slow_batch() -> Iterator[Message]:
        """As from a process that hung: its first messages are too old when its last ones come."""
        whole = list(numbers(prefix, 1, BATCH))
        yield whole[0]
        proxies[0].close()
        yield from whole[1 : BATCH // 2]
        time.sleep(deadline_seconds + 1.5)
        proxies.append(CuttingProxy(local_broker.cut_port, local_broker.behind_port))
        yield from whole[BATCH // 2 :]
        time.sleep(1.5)

    address, client = f"127.0.0.1:{local_broker.cut_port}", {"reconnect.backoff.max.ms": 100}
    sink = make_sink(address, prefix, delivery="at_least_once", deadline_seconds=deadline_seconds, client=client)
    sink.recover()
    with pytest.raises(SinkUnavailable):
        sink.publish(slow_batch(), checkpoint_of(prefix, BATCH))
    sink.recover()
    sink.publish(numbers(prefix, 1, BATCH), checkpoint_of(prefix, BATCH))
    sink.close()
    proxies[-1].close()
    seen: dict[bytes, list[int]] = {}
    for message in consume(f"{prefix}.changes"):
        seen.setdefault(message.key, []).append(int(message.value))
    assert sorted(set().union(*seen.values())) == list(range(1, BATCH + 1))
    first_seen = {key: list(dict.fromkeys(values)) for key, values in seen.items()}
    assert first_seen == {key: sorted(values) for key, values in first_seen.items()}
