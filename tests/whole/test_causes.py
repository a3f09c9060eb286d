"""Whatever keeps a poll from publishing is named as what it is, poll after poll; once it is cured all is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConnectorError, RegistryUnavailable, SinkRejected
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from tests.support.broker import LocalBroker
from tests.support.messages import values_on
from tests.support.polled import PolledTenant


class Tenant(PolledTenant):
    """A tenant that publishes to a real broker, under a prefix of its own."""

    def __init__(self, simulator: Simulator, broker: LocalBroker, folder: Path, prefix: str) -> None:
        super().__init__(simulator, broker, folder)
        self.prefix = prefix

    def tables(self, **registry: str) -> dict[str, Any]:
        """The tables of a poll."""
        return {"kafka": {"topic_prefix": self.prefix}, "schema_registry": registry}

    def outages(self, **registry: str) -> tuple[ConnectorError | None, ConnectorError | None]:
        """What kept two polls from publishing, each of a new generation."""
        first = self.poll(**self.tables(**registry))
        self.advance()
        return first.outage, self.poll(**self.tables(**registry)).outage

    def catch_up(self) -> list[int]:
        """The sequences on the topic of changes after one more poll."""
        assert self.poll(**self.tables()).outage is None
        with self.assembly(**self.tables()) as assembly:
            return [change["sequence"] for change in values_on(assembly, Topic.CHANGES)]


@pytest.fixture
def tenant(local_broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> Iterator[Tenant]:
    """Twelve devices."""
    fleet = Fleet(seed=11, devices=12, start=datetime(2026, 1, 1, tzinfo=UTC), churn=4)
    with Simulator(fleet) as simulator:
        yield Tenant(simulator, local_broker, tmp_path, topic_prefix)


@pytest.fixture
def create_topics(create_topic: Callable[..., str], topic_prefix: str) -> Callable[[], None]:
    """Makes the topics, as `setup` does."""

    def create_all() -> None:
        for topic in Topic:
            create_topic(topic.name_under(topic_prefix))

    return create_all


def test_topics_that_were_never_made_are_named(
    tenant: Tenant, create_topics: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Kafka is there: the first topic that is missing is named, and `setup`."""
    for outage in tenant.outages():
        assert isinstance(outage, SinkRejected)
        name = f"{tenant.prefix}.checkpoints"
        assert str(outage) == f"Kafka: looking for topic {name}: there is no such topic (UNKNOWN_TOPIC_OR_PART)"
        assert "`mde-inventory setup`" in outage.hint
    assert "publishing is refused" in caplog.text
    assert "is not available" not in caplog.text
    create_topics()
    sequences = tenant.catch_up()
    assert sequences == list(range(1, len(sequences) + 1)) != []


def test_a_registry_that_is_away_is_named(
    tenant: Tenant, create_topics: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Kafka is there, and is not said to be away."""
    create_topics()
    for outage in tenant.outages(url="http://127.0.0.1:1", **{"max.retries": "0"}):
        assert isinstance(outage, RegistryUnavailable)
        assert "the schema registry at http://127.0.0.1:1 cannot be reached" in str(outage)
    assert "the schema registry is not available" in caplog.text
    assert "Kafka is not available" not in caplog.text
    sequences = tenant.catch_up()
    assert sequences == list(range(1, len(sequences) + 1)) != []


def test_a_topic_without_the_permission_to_write_is_named(
    tenant: Tenant,
    create_topics: Callable[[], None],
    allow_only: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No Write on the topic of the reports: it is named and no other, whatever was produced before the refusal."""
    create_topics()
    refusing = f"{tenant.prefix}.snapshots"
    allow_only(refusing, "DESCRIBE", "READ")
    for outage in tenant.outages():
        assert isinstance(outage, SinkRejected)
        assert str(outage) == f"Kafka: publishing to {refusing}: no permission (TOPIC_AUTHORIZATION_FAILED)"
        assert outage.hint.startswith("Grant this client's principal Write and Describe on every topic")
    assert "Nothing is lost" not in caplog.text
    allow_only(refusing, "WRITE")
    sequences = tenant.catch_up()
    assert sequences == list(range(1, len(sequences) + 1)) != []
