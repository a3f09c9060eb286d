"""What this client may do at the cluster, asked in ways that change nothing there.

A transactional id cannot be asked about: Kafka describes no permissions on it, and to initialise it takes it over and
fences whoever publishes under it. But a broker checks the permission first and then refuses a transaction time-out
beyond its `transaction.max.timeout.ms`, before it looks at the id. So the probe asks for the longest time-out there is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the documented place of them all
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)

from connector.config import event_hubs
from connector.errors import SinkUnavailable
from connector.kafka.client import (
    CALL_SECONDS,
    PRODUCER_DEFAULTS,
    ClientEvents,
    Deadline,
    create_client,
    error_of,
    merge_settings,
    translate,
)
from connector.model import Check

TRANSACTIONAL_ID: Final = "transactional id"
"""The name of its check."""

ANSWER_SECONDS: Final = 20.0
TRANSACTION_MS_MAX: Final = 2**31 - 1
"""The longest time-out that a client can ask for. A broker that takes it, takes the probe for an instance."""

_ACCEPTED_CODES: Final = frozenset({KafkaError.INVALID_TRANSACTION_TIMEOUT})


def find_unwritable(client: Mapping[str, Any], topics: Collection[str], seconds: float) -> list[str]:
    """Those of the topics on which this client's principal lacks Write; none where the cluster does not say so."""
    admin: AdminClient = create_client(AdminClient, merge_settings(client, ClientEvents(), {}))
    answers = admin.describe_topics(
        TopicCollection(sorted(topics)), include_authorized_operations=True, request_timeout=seconds
    )
    unwritable = []
    for name, answer in answers.items():
        try:
            allowed = answer.result(seconds).authorized_operations
        except (KafkaException, TimeoutError) as error:
            # The future keeps its error, whose frames would keep the client with its threads.
            error.__traceback__ = None
            code = error_of(error).code() if isinstance(error, KafkaException) else None
            if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                unwritable.append(name)
        else:
            if allowed and AclOperation.WRITE not in allowed:
                unwritable.append(name)
    return unwritable


def check_transactional_id(
    client: Mapping[str, Any], transactional_id: str, *, publisher: str, answer_seconds: float = ANSWER_SECONDS
) -> Check:
    """Check that this client may publish under a transactional id, without fencing whoever does.

    Where nobody can tell whether the broker would refuse the probe's time-out, a publisher that lives is not risked.

    Args:
        client: `[kafka.client]`.
        transactional_id: the one of polls.
        publisher: the process that publishes under it; "" if none is known.
        answer_seconds: how long to wait for an answer of the cluster.

    Raises:
        ConfigError: librdkafka does not take `[kafka.client]`.
        SinkUnavailable: the cluster does not answer.
    """
    if event_hubs.uses_event_hubs(client):
        text = f"{transactional_id}: Event Hubs grants no permissions on it"
        return Check(TRANSACTIONAL_ID, fine=True, text=text)
    if publisher and not _is_probe_refused(client, answer_seconds):
        text = f"{transactional_id}: not asked, since {publisher} publishes under it; its log says whether it may"
        return Check(TRANSACTIONAL_ID, fine=True, text=text)
    events = ClientEvents()
    cause = _probe(client, transactional_id, events, answer_seconds)
    if cause is None or cause.code() in _ACCEPTED_CODES:
        return Check(TRANSACTIONAL_ID, fine=True, text=f"{transactional_id}: may be used")
    trouble = translate(cause, f"asking for transactional id {transactional_id}", events)
    if isinstance(trouble, SinkUnavailable):
        raise trouble
    return Check(TRANSACTIONAL_ID, fine=False, text=str(trouble), hint=trouble.hint, exit_code=trouble.exit_code)


def _probe(client: Mapping[str, Any], transactional_id: str, events: ClientEvents, seconds: float) -> KafkaError | None:
    """The broker's answer to a producer that asks for transactions without end; None if it would allow them."""
    owned = {
        "enable.idempotence": True,
        "acks": "all",
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_MS_MAX,
    }
    settings = merge_settings({**PRODUCER_DEFAULTS, **client}, events, owned)
    producer: Producer = create_client(Producer, settings)
    deadline = Deadline(seconds)
    while True:
        try:
            producer.init_transactions(deadline.remaining(at_most=CALL_SECONDS))
        except (KafkaException, SystemError) as error:
            cause = error_of(error)
            if not cause.retriable() or deadline.passed:
                # The poll reports the events that explain a time-out, and raises what is fatal once more.
                with suppress(KafkaException, SystemError):
                    producer.poll(0)
                return cause
        else:
            return None


def _is_probe_refused(client: Mapping[str, Any], seconds: float) -> bool:
    """Whether every broker is known to refuse transactions as long as the probe asks for."""
    admin: AdminClient = create_client(AdminClient, merge_settings(client, ClientEvents(), {}))
    try:
        brokers = [str(number) for number in admin.list_topics(timeout=seconds).brokers]
        resources = [ConfigResource(ResourceType.BROKER, number) for number in brokers]
        answers = admin.describe_configs(resources, request_timeout=seconds).values()
        limits = [answer.result(seconds)["transaction.max.timeout.ms"].value for answer in answers]
    except (KafkaException, TimeoutError, KeyError):
        return False
    return bool(limits) and all(str(limit).isdecimal() and int(limit) < TRANSACTION_MS_MAX for limit in limits)
