"""The in-process cluster of the demo."""

from __future__ import annotations

from connector.kafka.mock import MockCluster
from connector.kafka.reader import Reader
from tests.support.publishing import checkpoint_of, make_sink, numbers


def test_the_in_process_cluster_takes_batches_and_gives_them_back() -> None:
    """The demo's cluster needs no Java: a batch and its checkpoint are published, recovered and read."""
    with MockCluster(["demo.changes", "demo.checkpoints"]) as cluster:
        first = make_sink(cluster.bootstrap_servers, "demo")
        assert first.recover() is None
        first.publish(numbers("demo", 1, 100), checkpoint_of("demo", 100))
        first.close()
        second = make_sink(cluster.bootstrap_servers, "demo")
        assert second.recover() == checkpoint_of("demo", 100)
        second.close()
        with Reader({"bootstrap.servers": cluster.bootstrap_servers}) as reader:
            seen = list(reader.follow("demo.changes", from_beginning=True, limit=100))
    assert sorted(int(message.value or b"") for message in seen) == list(range(1, 101))
