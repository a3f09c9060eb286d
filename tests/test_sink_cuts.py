"""Connections cut at each kind of request, before the broker has it or before its answer: published once still."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from connector.errors import SinkUnavailable
from tests.cutting import CuttingProxy, Request
from tests.publishing import BATCH, checkpoint_of, decode_checkpoint, make_sink, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.broker import LocalBroker
    from tests.cutting import When

BATCHES = 3


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
    found = [message.value for message in consume(f"{prefix}.checkpoints") if message.key == prefix.encode()]
    return changes, [decode_checkpoint(value).sequence for value in found]


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
    sink = make_sink(f"127.0.0.1:{local_broker.cut_port}", prefix, deadline_seconds=20)
    sequence, attempts = 0, 0
    while sequence < BATCHES * BATCH:
        attempts += 1
        assert attempts < 10
        # The reader asks for a coordinator as well, and may be gone before its answer.
        for _ in range(3 if request_kind is Request.FIND_COORDINATOR else 1):
            proxy.cut(request_kind, when)
        try:
            found = sink.recover()
            sequence = found.sequence if found else 0
            sink.publish(numbers(prefix, sequence + 1, sequence + BATCH), checkpoint_of(prefix, sequence + BATCH))
            sequence += BATCH
        except SinkUnavailable:
            continue
    sink.close()
    last = BATCHES * BATCH
    assert _published(consume, prefix) == (list(range(1, last + 1)), list(range(BATCH, last + 1, BATCH)))
    assert (request_kind, when) in proxy.done


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
    command = [sys.executable, "-m", "tests.publishing", f"127.0.0.1:{local_broker.cut_port}", prefix, str(10 * BATCH)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "recovered 0\n"
    assert process.stdout.readline() == f"published {BATCH}\n"
    proxy.cut(Request.END_TRANSACTION, when, process.kill)
    said = process.communicate(timeout=60)[0].split()
    assert (process.returncode, proxy.done) == (-9, [(Request.END_TRANSACTION, when)])
    confirmed = int(said[-1]) if said else BATCH
    sink = make_sink(local_broker.bootstrap_servers, prefix)
    last = confirmed + BATCH * committed
    assert sink.recover() == checkpoint_of(prefix, last)
    sink.publish(numbers(prefix, last + 1, last + 5), checkpoint_of(prefix, last + 5))
    sink.close()
    changes, checkpoints = _published(consume, prefix)
    assert changes == list(range(1, last + 6))
    assert checkpoints == [*range(BATCH, last + 1, BATCH), last + 5]
