"""What this client may do, asked at a real broker that has ACLs; nobody who publishes is fenced by the question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its documented place

from connector.errors import SinkUnavailable
from connector.kafka.permissions import check_transactional_id, find_unwritable
from connector.model import Check
from tests.support.broker import Broker, LocalBroker, free_ports
from tests.support.publishing import checkpoint_of, make_sink, numbers

RUN = "`mde-inventory run` (process 7)"


def _client(broker: Broker) -> dict[str, Any]:
    return {"bootstrap.servers": broker.bootstrap_servers}


def _publish_beside(broker: Broker, prefix: str, ask: Callable[[], Check]) -> Check:
    """Ask in the middle of another instance's work, which goes on to publish and recovers."""
    sink = make_sink(broker.bootstrap_servers, prefix)
    sink.recover()
    sink.publish(numbers(prefix, 1, 5), checkpoint_of(prefix, 5))
    check = ask()
    sink.publish(numbers(prefix, 6, 10), checkpoint_of(prefix, 10))
    assert sink.recover() == checkpoint_of(prefix, 10)
    sink.close()
    return check


@pytest.fixture
def prefix(topic_prefix: str, create_topic: Callable[..., str]) -> str:
    """The prefix of two topics, and the transactional id."""
    create_topic(f"{topic_prefix}.changes")
    create_topic(f"{topic_prefix}.checkpoints")
    return topic_prefix


def test_a_transactional_id_without_write_is_named(
    local_broker: LocalBroker, allow_only: Callable[..., None], topic_prefix: str
) -> None:
    """It is described, but may not be written: the check fails, and the hint says what to grant."""
    allow_only(topic_prefix, "DESCRIBE", kind=ResourceType.TRANSACTIONAL_ID)
    check = check_transactional_id(_client(local_broker), topic_prefix, publisher="")
    assert (check.name, check.fine, check.exit_code) == ("transactional id", False, 1)
    assert check.text == (
        f"Kafka: asking for transactional id {topic_prefix}: no permission (TRANSACTIONAL_ID_AUTHORIZATION_FAILED)"
    )
    assert "Write and Describe on the transactional id" in check.hint


@pytest.mark.parametrize("publisher", ["", RUN])
def test_asking_for_a_transactional_id_fences_nobody(local_broker: LocalBroker, prefix: str, publisher: str) -> None:
    """A `run` of this state file, or one elsewhere of which nothing is known here, publishes on."""
    check = _publish_beside(
        local_broker, prefix, lambda: check_transactional_id(_client(local_broker), prefix, publisher=publisher)
    )
    assert check == Check("transactional id", fine=True, text=f"{prefix}: may be used")


def test_a_run_is_not_risked_where_the_brokers_limit_is_not_known(
    local_broker: LocalBroker, allow_only: Callable[..., None], prefix: str
) -> None:
    """The broker does not show its settings to this principal: a broker that takes any time-out would fence the `run`.

    Without a `run` the question is asked.
    """
    cluster = ("CREATE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "IDEMPOTENT_WRITE")
    allow_only("kafka-cluster", *cluster, kind=ResourceType.BROKER)
    check = check_transactional_id(_client(local_broker), prefix, publisher=RUN)
    text = f"{prefix}: not asked, since {RUN} publishes under it; its log says whether it may"
    assert check == Check("transactional id", fine=True, text=text)
    allow_only(prefix, "DESCRIBE", kind=ResourceType.TRANSACTIONAL_ID)
    assert not check_transactional_id(_client(local_broker), prefix, publisher="").fine


def test_event_hubs_has_no_permissions_on_it() -> None:
    """Nothing is asked there."""
    check = check_transactional_id({"bootstrap.servers": "x.servicebus.windows.net:9093"}, "id", publisher="")
    assert check == Check("transactional id", fine=True, text="id: Event Hubs grants no permissions on it")


def test_a_cluster_that_is_away_is_an_outage() -> None:
    """It says nothing about permissions."""
    (port,) = free_ports(1)
    client = {"bootstrap.servers": f"127.0.0.1:{port}"}
    with pytest.raises(SinkUnavailable, match="Connection refused"):
        check_transactional_id(client, "id", publisher="", answer_seconds=1)


def test_topics_that_may_not_be_written_are_found(
    local_broker: LocalBroker, create_topic: Callable[..., str], allow_only: Callable[..., None], topic_prefix: str
) -> None:
    """Those that are described without Write, and those that may not even be seen."""
    described, hidden, fine = (create_topic(f"{topic_prefix}.{name}") for name in ("described", "hidden", "fine"))
    allow_only(described, "DESCRIBE", "READ")
    allow_only(hidden, "ALTER", principal="User:somebody")
    topics = (fine, hidden, f"{topic_prefix}.missing", described)
    assert find_unwritable(_client(local_broker), topics, seconds=20) == [described, hidden]


def test_a_cluster_that_does_not_say_names_no_topic() -> None:
    """What cannot be found out within the time is left open."""
    (port,) = free_ports(1)
    assert find_unwritable({"bootstrap.servers": f"127.0.0.1:{port}"}, ["any"], seconds=0.5) == []
