"""Creates the topics, and compares those that exist with the settings that they should have.

Nothing that exists is changed: an operator may know better, so a difference is reported and judged, not corrected.
Nothing is published and no transactional id taken over: `check` may run beside a connector that is publishing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the documented place of them all
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from connector.errors import SinkRejected
from connector.kafka.client import (
    LIBRDKAFKA_BYTES_MAX,
    TOPIC_ACL_HINT,
    TOPIC_HINT,
    ClientEvents,
    create_client,
    error_of,
    merge_settings,
    translate,
)
from connector.model import MISSING, Check, Topic
from connector.wording import counted

ANSWER_SECONDS: Final = 20.0
GRACE_SECONDS: Final = 5.0
REPLICAS_MAX: Final = 3
DAY_MS: Final = 86_400_000

_EVENTS: Final = {"cleanup.policy": "delete", "retention.ms": str(90 * DAY_MS)}
# A segment that is being written is never compacted: without a day's limit a quiet topic would only ever grow.
_STATE: Final = {"cleanup.policy": "compact", "segment.ms": str(DAY_MS), "min.cleanable.dirty.ratio": "0.1"}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How to create a topic: partitions and settings, but for `min.insync.replicas`, which depends on the cluster."""

    partitions: int
    settings: Mapping[str, str]


PLANS: Final[dict[Topic, TopicPlan]] = {
    Topic.CHANGES: TopicPlan(6, _EVENTS),
    Topic.ALERTS: TopicPlan(6, _EVENTS),
    Topic.SNAPSHOTS: TopicPlan(1, _EVENTS),
    Topic.CHECKPOINTS: TopicPlan(1, _STATE),
    # A consumer that was away for a week still sees every removal.
    Topic.INVENTORY: TopicPlan(6, _STATE | {"delete.retention.ms": str(7 * DAY_MS)}),
    Topic.CAMPAIGNS: TopicPlan(1, _EVENTS),
}
"""Changes, alerts and inventory have the same number of partitions, so that what is keyed by device can be joined."""


@dataclass(frozen=True, slots=True)
class _ExistingTopic:
    """A topic as the cluster describes it; `settings` and `allowed` are None where this client may not ask."""

    partitions: int
    replicas: int
    settings: Mapping[str, str] | None
    allowed: frozenset[AclOperation] | None


class Topics:
    """The topics of one topic prefix.

    Args:
        client: `[kafka.client]`.
        prefix: `kafka.topic_prefix`.
        topics: those that there are to be.
        answer_seconds: how long to wait for an answer of the cluster.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        prefix: str,
        topics: Collection[Topic],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._client = dict(client)
        self._seconds = answer_seconds
        self._events = ClientEvents()
        self._names = {topic.name_under(prefix): topic for topic in topics}

    def check(self) -> Iterator[Check]:
        """Check the cluster, then each topic: it exists, is set up as it must be, and this client may use it.

        Whether this client may use the transactional id is asked separately (`permissions`).

        Raises:
            ConfigError: librdkafka does not take `[kafka.client]`.
            SinkError: the cluster does not answer, or does not let this client in.
        """
        admin, brokers = self._connect()
        reached = f"{counted(brokers, 'broker')} at {self._client.get('bootstrap.servers', '')}"
        yield Check("kafka", fine=True, text=reached)
        for name, topic in self._names.items():
            yield self._check_topic(admin, name, topic)

    def create(self) -> Iterator[Check]:
        """Create each topic that is missing. One that exists is left as it is, and checked.

        Raises:
            ConfigError: librdkafka does not take `[kafka.client]`.
            SinkError: the cluster does not answer, or does not let this client in.
        """
        admin, brokers = self._connect()
        for name, topic in self._names.items():
            yield self._create_topic(admin, name, topic, brokers)

    def create_target(self, name: str) -> Check:
        """Create a topic for replays, like the topic of the changes. Raises as `create`."""
        admin, brokers = self._connect()
        return self._create_topic(admin, name, Topic.CHANGES, brokers)

    def _connect(self) -> tuple[AdminClient, int]:
        """An admin client, and the number of brokers."""
        self._events.forget()
        admin: AdminClient = create_client(AdminClient, merge_settings(self._client, self._events, {}))
        try:
            return admin, len(admin.list_topics(timeout=self._seconds).brokers)
        except KafkaException as error:
            admin.poll(0)
            raise translate(error_of(error), "connecting", self._events) from error

    def _create_topic(self, admin: AdminClient, name: str, topic: Topic, brokers: int) -> Check:
        plan = PLANS[topic]
        replicas = min(REPLICAS_MAX, brokers)
        wanted = {**plan.settings, "min.insync.replicas": "2" if replicas == REPLICAS_MAX else "1"}
        planned = ", ".join([counted(plan.partitions, "partition"), counted(replicas, "replica"), _join(wanted)])
        new = NewTopic(name, num_partitions=plan.partitions, replication_factor=replicas, config=wanted)
        try:
            self._await(admin.create_topics([new], request_timeout=self._seconds)[name])
        except KafkaException as error:
            if error_of(error).code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return self._check_topic(admin, name, topic)
            refused = translate(error_of(error), f"creating topic {name}", self._events)
            return Check(name, fine=False, text=str(refused), hint=f"An administrator can create it: {planned}.")
        return Check(name, fine=True, text=f"created: {planned}")

    def _check_topic(self, admin: AdminClient, name: str, topic: Topic) -> Check:
        try:
            existing = self._look_up(admin, name)
        except KafkaException as error:
            trouble = translate(error_of(error), f"looking for topic {name}", self._events)
            if not isinstance(trouble, SinkRejected):
                raise trouble from error
            missing = error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            return Check(
                name,
                fine=False,
                text="does not exist" if missing else str(trouble),
                hint=TOPIC_HINT if missing else trouble.hint,
                noun="topic",
                cause=MISSING if missing else trouble.hint,
            )
        if problem := _find_problem(topic, existing):
            return Check(name, fine=False, text=problem[0], hint=problem[1], noun="topic", cause=problem[0])
        return Check(name, fine=True, text=self._describe(topic, existing))

    def _look_up(self, admin: AdminClient, name: str) -> _ExistingTopic:
        """The topic as the cluster describes it.

        Raises:
            KafkaException: it does not exist, or this client may not see it.
        """
        answers = admin.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=self._seconds
        )
        described = self._await(answers[name])
        allowed = described.authorized_operations
        return _ExistingTopic(
            partitions=len(described.partitions),
            replicas=min((len(partition.replicas) for partition in described.partitions), default=0),
            settings=self._settings(admin, name),
            allowed=frozenset(allowed) if allowed else None,
        )

    def _settings(self, admin: AdminClient, name: str) -> dict[str, str] | None:
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            entries = self._await(admin.describe_configs([resource], request_timeout=self._seconds)[resource])
        except KafkaException:
            # Not every cluster shows its settings to every principal; that alone stops nothing.
            return None
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def _await(self, future: Future[Any]) -> Any:  # noqa: ANN401 - its type depends on the question
        """The cluster's answer; librdkafka itself gives up a little earlier.

        Raises:
            KafkaException: it refuses, or does not answer.
        """
        try:
            return future.result(self._seconds + GRACE_SECONDS)
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001 - its public name

    def _describe(self, topic: Topic, existing: _ExistingTopic) -> str:
        """How the topic is set up, and what differs from the plan without being wrong."""
        parts = [counted(existing.partitions, "partition"), counted(existing.replicas, "replica")]
        if existing.settings is None:
            return ", ".join([*parts, "settings not visible to this client"])
        plan = {**PLANS[topic].settings}
        if existing.replicas >= REPLICAS_MAX:
            plan["min.insync.replicas"] = "2"
        differing = {key: existing.settings[key] for key in plan if existing.settings.get(key, plan[key]) != plan[key]}
        limit = int(self._client.get("message.max.bytes", LIBRDKAFKA_BYTES_MAX))
        if int(existing.settings.get("max.message.bytes", limit)) < limit:
            differing["max.message.bytes"] = existing.settings["max.message.bytes"]
        if differing:
            parts += [f"{key}={value} (recommended {plan.get(key, limit)})" for key, value in differing.items()]
        return ", ".join([*parts, f"cleanup.policy={existing.settings.get('cleanup.policy', 'unknown')}"])


def _find_problem(topic: Topic, existing: _ExistingTopic) -> tuple[str, str] | None:
    """A setting or a missing permission that would lose data or stop publishing, and what to do about it."""
    needed = {AclOperation.WRITE} | ({AclOperation.READ} if topic in {Topic.CHECKPOINTS, Topic.INVENTORY} else set())
    if existing.allowed is not None and (lacking := needed - existing.allowed):
        names = " and ".join(sorted(operation.name.capitalize() for operation in lacking))
        return f"this client's principal lacks {names}", TOPIC_ACL_HINT
    if existing.settings is None:
        return None
    compacted = PLANS[topic].settings["cleanup.policy"] == "compact"
    policy = existing.settings.get("cleanup.policy", "")
    if compacted and policy != "compact":
        return f"cleanup.policy={policy} would lose the last message of a key", _alter("cleanup.policy=compact")
    if not compacted and "compact" in policy:
        return f"cleanup.policy={policy} would lose all but the last message of a key", _alter("cleanup.policy=delete")
    in_sync = int(existing.settings.get("min.insync.replicas", "1"))
    if in_sync > existing.replicas:
        text = f"min.insync.replicas={in_sync} with {counted(existing.replicas, 'replica')}: nothing can be written"
        return text, _alter(f"min.insync.replicas={max(existing.replicas - 1, 1)}")
    return None


def _alter(setting: str) -> str:
    return f"Change it with kafka-configs --alter --add-config {setting}."


def _join(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
