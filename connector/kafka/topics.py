"""The topics: how they should be set up, making them, and saying what differs.

Owns Kafka's admin client and the settings of each topic. Changes nothing that exists: an operator may know better, so a
difference is told and judged, not corrected. Must not publish, nor take over a transactional id: `check` may run beside
a connector that is publishing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    ACL_HINT,
    LIBRDKAFKA_BYTES_MAX,
    TOPIC_HINT,
    Reports,
    error_of,
    made,
    settings,
    translated,
)
from connector.model import Topic

ANSWER_SECONDS: Final = 20.0
GRACE_SECONDS: Final = 5.0
REPLICAS_MAX: Final = 3
DAY_MS: Final = 86_400_000

_EVENTS: Final = {"cleanup.policy": "delete", "retention.ms": str(90 * DAY_MS)}
# A segment that is being written is never compacted: without a day's limit a quiet topic would only ever grow.
_STATE: Final = {"cleanup.policy": "compact", "segment.ms": str(DAY_MS), "min.cleanable.dirty.ratio": "0.1"}


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How a topic is made: partitions, and settings beside `min.insync.replicas`, which depends on the cluster."""

    partitions: int
    settings: Mapping[str, str]


PLANS: Final[dict[Topic, TopicPlan]] = {
    Topic.CHANGES: TopicPlan(6, _EVENTS),
    Topic.ALERTS: TopicPlan(6, _EVENTS),
    Topic.SNAPSHOTS: TopicPlan(1, _EVENTS),
    Topic.CHECKPOINTS: TopicPlan(1, _STATE),
    # A consumer that was away for a week still learns of every removal.
    Topic.INVENTORY: TopicPlan(6, _STATE | {"delete.retention.ms": str(7 * DAY_MS)}),
}
"""Changes, alerts and inventory have the same number of partitions, so that what is keyed by device can be joined."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `check` or `setup`: what was looked at, whether it is well, the fact, what to do."""

    name: str
    fine: bool
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic as the cluster has it; `settings` and `allowed` are None where this client may not ask."""

    partitions: int
    replicas: int
    settings: Mapping[str, str] | None
    allowed: frozenset[AclOperation] | None


class Topics:
    """The topics of one topic prefix.

    Args:
        client: `[kafka.client]`.
        prefix: `kafka.topic_prefix`.
        inventory_topic: whether the topic of the current inventory is wanted.
        answer_seconds: how long an answer of the cluster is waited for.
    """

    def __init__(
        self, client: Mapping[str, Any], *, prefix: str, inventory_topic: bool, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._client = dict(client)
        self._seconds = answer_seconds
        self._reports = Reports()
        wanted = [topic for topic in Topic if topic is not Topic.INVENTORY or inventory_topic]
        self._names = {topic.name_under(prefix): topic for topic in wanted}

    def check(self) -> Iterator[Finding]:
        """One line for the cluster and one for each topic: there, set up as it must be, and allowed for this client.

        Whether the transactional id is allowed cannot be asked without taking it over; the first poll tells.

        Raises:
            ConfigError: librdkafka does not take `[kafka.client]`.
            SinkError: the cluster does not answer, or does not let this client in.
        """
        admin, brokers = self._connect()
        yield Finding("kafka", fine=True, text=f"{brokers} broker(s) at {self._client.get('bootstrap.servers', '')}")
        for name, topic in self._names.items():
            yield self._checked(admin, name, topic)

    def create(self) -> Iterator[Finding]:
        """Make what is missing: one line for each topic. What exists is left as it is, and judged as by `check`.

        Raises:
            ConfigError: librdkafka does not take `[kafka.client]`.
            SinkError: the cluster does not answer, or does not let this client in.
        """
        admin, brokers = self._connect()
        for name, topic in self._names.items():
            yield self._created(admin, name, topic, brokers)

    def create_target(self, name: str) -> Finding:
        """Make a topic for replays, as the topic of the changes is made. Raises as `create`."""
        admin, brokers = self._connect()
        return self._created(admin, name, Topic.CHANGES, brokers)

    def _connect(self) -> tuple[AdminClient, int]:
        """A client, and the number of brokers."""
        self._reports.forget()
        admin: AdminClient = made(AdminClient, settings(self._client, self._reports, {}))
        try:
            return admin, len(admin.list_topics(timeout=self._seconds).brokers)
        except KafkaException as error:
            admin.poll(0)
            raise translated(error_of(error), "connecting", self._reports) from error

    def _created(self, admin: AdminClient, name: str, topic: Topic, brokers: int) -> Finding:
        plan = PLANS[topic]
        replicas = min(REPLICAS_MAX, brokers)
        wanted = {**plan.settings, "min.insync.replicas": "2" if replicas == REPLICAS_MAX else "1"}
        said = f"{plan.partitions} partition(s), {replicas} replica(s), {_listed(wanted)}"
        new = NewTopic(name, num_partitions=plan.partitions, replication_factor=replicas, config=wanted)
        try:
            self._answer(admin.create_topics([new], request_timeout=self._seconds)[name])
        except KafkaException as error:
            if error_of(error).code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return self._checked(admin, name, topic)
            refused = translated(error_of(error), f"creating topic {name}", self._reports)
            return Finding(name, fine=False, text=str(refused), hint=f"An administrator can create it: {said}.")
        return Finding(name, fine=True, text=f"created: {said}")

    def _checked(self, admin: AdminClient, name: str, topic: Topic) -> Finding:
        try:
            found = self._look(admin, name)
        except KafkaException as error:
            trouble = translated(error_of(error), f"looking for topic {name}", self._reports)
            if not isinstance(trouble, SinkRejected):
                raise trouble from error
            missing = error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            return Finding(
                name,
                fine=False,
                text="does not exist" if missing else str(trouble),
                hint=TOPIC_HINT if missing else trouble.hint,
            )
        if problem := _problem(topic, found):
            return Finding(name, fine=False, text=problem[0], hint=problem[1])
        return Finding(name, fine=True, text=self._described(topic, found))

    def _look(self, admin: AdminClient, name: str) -> _Found:
        """The topic as the cluster describes it.

        Raises:
            KafkaException: it does not exist, or this client may not know of it.
        """
        wanted = TopicCollection([name])
        asked = admin.describe_topics(wanted, include_authorized_operations=True, request_timeout=self._seconds)
        described = self._answer(asked[name])
        allowed = described.authorized_operations
        return _Found(
            partitions=len(described.partitions),
            replicas=min((len(partition.replicas) for partition in described.partitions), default=0),
            settings=self._settings(admin, name),
            allowed=frozenset(allowed) if allowed else None,
        )

    def _settings(self, admin: AdminClient, name: str) -> dict[str, str] | None:
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            found = self._answer(admin.describe_configs([resource], request_timeout=self._seconds)[resource])
        except KafkaException:
            # Not every cluster and not every principal is told settings; that alone stops nothing.
            return None
        return {key: entry.value for key, entry in found.items() if entry.value is not None}

    def _answer(self, future: Future[Any]) -> Any:  # noqa: ANN401 - each question has an answer of its own kind
        """What the cluster answers; librdkafka gives up by itself, a little earlier.

        Raises:
            KafkaException: it refuses, or does not answer.
        """
        try:
            return future.result(self._seconds + GRACE_SECONDS)
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001 - its public name

    def _described(self, topic: Topic, found: _Found) -> str:
        """How it is set up, and what differs from the plan without being wrong."""
        parts = [f"{found.partitions} partition(s)", f"{found.replicas} replica(s)"]
        if found.settings is None:
            return ", ".join([*parts, "settings not visible to this client"])
        plan = {**PLANS[topic].settings}
        if found.replicas >= REPLICAS_MAX:
            plan["min.insync.replicas"] = "2"
        differing = {key: found.settings[key] for key in plan if found.settings.get(key, plan[key]) != plan[key]}
        limit = int(self._client.get("message.max.bytes", LIBRDKAFKA_BYTES_MAX))
        if int(found.settings.get("max.message.bytes", limit)) < limit:
            differing["max.message.bytes"] = found.settings["max.message.bytes"]
        if differing:
            said = ", ".join(f"{key}={value} (recommended {plan.get(key, limit)})" for key, value in differing.items())
            parts.append(said)
        return ", ".join([*parts, f"cleanup.policy={found.settings.get('cleanup.policy', 'unknown')}"])


def _problem(topic: Topic, found: _Found) -> tuple[str, str] | None:
    """What would lose data or stop publishing, and what to do about it."""
    needed = {AclOperation.WRITE} | ({AclOperation.READ} if topic in {Topic.CHECKPOINTS, Topic.INVENTORY} else set())
    if found.allowed is not None and (lacking := needed - found.allowed):
        names = " and ".join(sorted(operation.name.capitalize() for operation in lacking))
        return f"this client's principal lacks {names}", ACL_HINT
    if found.settings is None:
        return None
    compacted = PLANS[topic].settings["cleanup.policy"] == "compact"
    policy = found.settings.get("cleanup.policy", "")
    if compacted and policy != "compact":
        return f"cleanup.policy={policy} would lose the last message of a key", _alter("cleanup.policy=compact")
    if not compacted and "compact" in policy:
        return f"cleanup.policy={policy} would lose all but the last message of a key", _alter("cleanup.policy=delete")
    in_sync = int(found.settings.get("min.insync.replicas", "1"))
    if in_sync > found.replicas:
        text = f"min.insync.replicas={in_sync} with {found.replicas} replica(s): nothing can be written"
        return text, _alter(f"min.insync.replicas={max(found.replicas - 1, 1)}")
    return None


def _alter(setting: str) -> str:
    return f"Change it with kafka-configs --alter --add-config {setting}."


def _listed(settings_wanted: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(settings_wanted.items()))
