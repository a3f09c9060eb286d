"""librdkafka's in-process cluster, for the demo and for tests: no Java, no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from confluent_kafka import Producer

from connector.kafka.client import LibraryLog

ANSWER_SECONDS = 10


class MockCluster:
    """A cluster of one broker. It creates a topic when it is first asked for.

    It takes transactions, but shows aborted messages to everybody and fences nobody: no proof of exactly once.

    Args:
        topics: created at once.
    """

    def __init__(self, topics: Sequence[str] = ()) -> None:
        settings = {"test.mock.num.brokers": 1, "client.id": "mock-cluster", "logger": LibraryLog()}
        self._keeper: Producer | None = Producer(settings)
        for topic in topics:
            self._keeper.list_topics(topic, timeout=ANSWER_SECONDS)
        (broker,) = self._keeper.list_topics(timeout=ANSWER_SECONDS).brokers.values()
        self.bootstrap_servers = f"{broker.host}:{broker.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the cluster, with everything in it."""
        self._keeper = None
