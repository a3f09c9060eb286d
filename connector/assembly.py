"""Wires the parts of one configured tenant.

Each part is made when it is first used, so that a verb which only reads the state file needs neither network nor Kafka.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from connector.clock import Timer, utc_now
from connector.errors import ConfigError, StateLocked
from connector.model import Inventory, Topic
from connector.source.progress import NoProgress, Progress
from connector.state.publisher_lock import PublisherLock
from connector.telemetry import logger

if TYPE_CHECKING:
    # The parts import the libraries that they own, which takes most of a short verb's time: each is imported when it is
    # first made.
    from connector.config import Config
    from connector.history.blocks import PastChanges
    from connector.history.filters import Filters
    from connector.history.replay import Replay
    from connector.kafka.messages import Messages
    from connector.kafka.reader import Reader
    from connector.kafka.registry import Registry
    from connector.kafka.sink import Sink
    from connector.kafka.topics import Topics
    from connector.poll.backfill import Backfill
    from connector.poll.memory import MemoryShare
    from connector.poll.pipeline import Pipeline
    from connector.poll.publisher import Publisher
    from connector.poll.rebuild import Rebuild
    from connector.service.state_watch import StateWatcher
    from connector.source.http.tokens import Tokens
    from connector.source.http.transport import Transport
    from connector.source.source import Source
    from connector.staging.stage import StagingRules
    from connector.state.state import StateFile

log = logger(__name__)

STATE_WAIT_SECONDS = 5.0
"""How long a verb that only reads waits for a poll to close the state file."""


class Assembly:
    """The parts of one tenant's connector. A context manager: it closes the parts that it made.

    Args:
        config: checked.
        progress: receives the progress of a fetch.
        prompt: shows the message of a device-code login.
        stop: set to end a poll between two calls or batches.
        clock: returns the time, in UTC.
        kafka_seconds_max: how long recovering, or publishing a batch, may take; a minute at most.
        rejected: where unreadable lines are set aside; by default beside the state file.
        memory: makes the share of memory of a poll, where tenants have one budget.
    """

    def __init__(  # noqa: PLR0913 - what a process knows and a configuration does not, each named by the few that do
        self,
        config: Config,
        *,
        progress: Progress | None = None,
        prompt: Callable[[str], None] = print,
        stop: threading.Event | None = None,
        clock: Callable[[], datetime] | None = None,
        kafka_seconds_max: float = inf,
        rejected: Path | None = None,
        memory: Callable[[], MemoryShare] | None = None,
    ) -> None:
        self.config = config
        self._memory = memory
        self.stop = stop or threading.Event()
        self._progress = progress or NoProgress()
        self._prompt = prompt
        self.kafka_seconds_max = kafka_seconds_max
        self._rejected = rejected or config.state.rejected_path
        self.clock = clock or utc_now
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the parts that were made."""
        self._parts.close()

    @property
    def inventories(self) -> tuple[Inventory, ...]:
        """The exports that are polled, in order."""
        return (Inventory.CPE, Inventory.NON_CPE) if self.config.source.include_non_cpe else (Inventory.CPE,)

    @property
    def stale_after(self) -> timedelta:
        """How old the newest generation may be before the export is stale."""
        return timedelta(hours=self.config.poll.stale_after_hours)

    def topic(self, topic: Topic) -> str:
        """The full name of a topic."""
        return topic.name_under(self.config.kafka.topic_prefix)

    @property
    def rules(self) -> StagingRules:
        """The rules that staging follows."""
        from connector.staging.stage import StagingRules

        return StagingRules.of(self.config)

    # ---- the source

    @cached_property
    def transport(self) -> Transport:
        """Sessions to the login service, the API and the file storage."""
        from connector.source.http.transport import Transport

        return self._parts.enter_context(Transport(ca_bundle=self.config.source.ca_bundle, stop=self.stop))

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens for the API."""
        from connector.source.http.tokens import Tokens

        return Tokens(self.config.source, self.transport, prompt=self._prompt)

    @cached_property
    def source(self) -> Source:
        """Fetches snapshots."""
        from connector.source.source import Source

        return Source(
            self.config.source,
            tokens=self.tokens,
            transport=self.transport,
            staging=self.config.state.staging_path,
            limits=self.config.state.limits_path,
            rejected=self._rejected,
            progress=self._progress,
            timer=Timer(self.stop, clock=self.clock),
        )

    # ---- the state file

    def publisher_lock(self, verb: str, *, wait_seconds: float = 0.0) -> PublisherLock:
        """The lock of whoever publishes from the state file; `verb` says to others what this process does with it."""
        return PublisherLock(self.config.state.path, verb, wait_seconds=wait_seconds)

    def open_state(self, wait_seconds: float = 0.0) -> StateFile:
        """Open the state file, which no other process can open until it is closed.

        Waits at most `wait_seconds` for another process to close it, and says so.
        """
        from connector.state.state import StateFile

        state = self.config.state
        options: dict[str, Any] = {"memory_limit_mib": state.memory_limit_mib, "threads": state.threads}
        try:
            return StateFile.open(state.path, **options)
        except StateLocked as error:
            if not wait_seconds:
                raise
            log.info("waiting for another process to close the state file", error=error, seconds_max=wait_seconds)
        return StateFile.open(state.path, **options, wait_seconds=wait_seconds)

    def open_scratch(self, wait_seconds: float = 0.0) -> StateFile:
        """Open the state file for a dry run; an empty one in memory where there is none yet."""
        from connector.state.state import StateFile

        state = self.config.state
        return StateFile.open(
            state.path,
            memory_limit_mib=state.memory_limit_mib,
            threads=state.threads,
            scratch=True,
            wait_seconds=wait_seconds,
        )

    def read_state(self, wait_seconds: float = STATE_WAIT_SECONDS) -> StateFile:
        """Open the state file for reading; waits a little for a poll to close it."""
        from connector.state.state import StateFile

        state = self.config.state
        return StateFile.open(
            state.path, memory_limit_mib=state.memory_limit_mib, read_only=True, wait_seconds=wait_seconds
        )

    @cached_property
    def past_changes(self) -> PastChanges:
        """Past changes, read block by block."""
        from connector.history.blocks import PastChanges

        return PastChanges(self.read_state, self.stop)

    def state_watcher(self) -> StateWatcher:
        """A watcher that notices what other processes do to the state file."""
        from connector.service.state_watch import StateWatcher
        from connector.state.state import StateFile

        state = self.config.state
        return StateWatcher(
            state.path,
            lambda: StateFile.open(state.path, memory_limit_mib=state.memory_limit_mib, read_only=True),
            self.inventories,
        )

    # ---- Kafka

    @cached_property
    def kafka_client(self) -> dict[str, Any]:
        """`[kafka.client]`, with the login that `kafka.auth` chooses."""
        kafka = self.config.kafka
        if kafka.auth == "client":
            return dict(kafka.client)
        from connector.kafka.logins import TokenLogin, aws_tokens
        from connector.source.http.broker_tokens import BrokerTokens
        from connector.source.http.tokens import Tokens

        if kafka.auth == "aws_msk_iam":
            return {**kafka.client, **TokenLogin(aws_tokens(kafka.region)).settings}
        tokens = BrokerTokens(Tokens(self.config.broker_identity, self.transport, prompt=self._prompt))
        return {**kafka.client, **TokenLogin(tokens.obtain).settings}

    @cached_property
    def registry(self) -> Registry:
        """The schema registry."""
        from connector.kafka.registry import Registry

        return self._parts.enter_context(Registry(self.config.schema_registry))

    @cached_property
    def messages(self) -> Messages:
        """Encodes and decodes what is published."""
        return self._make_messages()

    @cached_property
    def sink(self) -> Sink:
        """The sink of polls, with the transactional id that the configuration sets."""
        return self._sink(self.config.transactional_id, self.messages)

    @cached_property
    def topics(self) -> Topics:
        """The topics and their settings."""
        from connector.kafka.topics import Topics

        return Topics(self.kafka_client, prefix=self.config.kafka.topic_prefix, topics=self.config.topics)

    def reader(self) -> Reader:
        """A reader of topics, which the assembly closes."""
        from connector.kafka.reader import Reader

        reader = Reader(self.kafka_client)
        self._parts.callback(reader.close)
        return reader

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes what is staged."""
        from connector.history import campaigns
        from connector.poll.publisher import Publisher

        rules = campaigns.CampaignRules(self.config.campaigns.enabled, self.config.campaigns.min_devices)
        return Publisher(
            self.messages,
            self.sink,
            tenant_id=self.config.source.tenant_id,
            batch_changes_max=self.config.kafka.batch_changes_max,
            inventory_topic=self.config.kafka.inventory_topic,
            campaigns=partial(campaigns.messages_of, rules=rules, tenant_id=self.config.source.tenant_id),
            clock=self.clock,
            stop=self.stop,
        )

    @cached_property
    def backfill(self) -> Backfill | None:
        """Backfills the inventory topic, if the configuration asks for one."""
        from connector.kafka.reader import Reader
        from connector.poll.backfill import Backfill

        kafka = self.config.kafka
        if not kafka.inventory_topic:
            return None
        return Backfill(
            self.messages,
            self.sink,
            lambda: Reader(self.kafka_client),
            topic=self.topic(Topic.INVENTORY),
            tenant_id=self.config.source.tenant_id,
            batch_records_max=kafka.batch_changes_max,
            clock=self.clock,
            stop=self.stop,
        )

    def replay(self, filters: Filters, *, topic: str = "", rate: int = 0) -> Replay:
        """A replay of past changes; see `Replay`.

        Args:
            filters: which changes.
            topic: full name of the target; `changes` or "" for the topic of the changes.
            rate: the most changes a second; 0 for no limit.

        Raises:
            ConfigError: the target is another of the connector's own topics.
        """
        from connector.history.replay import Replay

        own = self.topic(Topic.CHANGES)
        target = own if topic in {"", Topic.CHANGES.value} else topic
        if target in {name for other in Topic for name in (other.value, self.topic(other))} - {own}:
            raise ConfigError(
                f"--topic {topic}: has another type of messages", hint=f"Name a topic for changes, such as {own}."
            )
        messages = self._make_messages(target)
        transactional_id = f"{self.config.transactional_id}#replay-{filters.digest(target)}"
        return Replay(
            self.past_changes,
            messages,
            self._sink(transactional_id, messages),
            filters=filters,
            topic=target,
            tenant_id=self.config.source.tenant_id,
            batch_changes_max=self.config.kafka.batch_changes_max,
            rate=rate,
            clock=self.clock,
            stop=self.stop,
        )

    def _make_messages(self, changes_topic: str = "") -> Messages:
        from connector.kafka.messages import Messages, message_bytes_max_of
        from connector.kafka.values.formats import choose_values

        names = {topic: self.topic(topic) for topic in Topic}
        names[Topic.CHANGES] = changes_topic or names[Topic.CHANGES]
        return Messages(
            choose_values(self.config.kafka.value_format, names, lambda: self.registry),
            names,
            tenant_id=self.config.source.tenant_id,
            message_bytes_max=message_bytes_max_of(self.config.kafka.client, self.config.kafka.message_bytes_max),
        )

    def _sink(self, transactional_id: str, messages: Messages) -> Sink:
        from connector.kafka.sink import Sink

        sink = Sink(
            self.kafka_client,
            transactional_id=transactional_id,
            tenant_id=self.config.source.tenant_id,
            checkpoints_topic=self.topic(Topic.CHECKPOINTS),
            delivery=self.config.kafka.delivery,
            encode_checkpoint=messages.encode_checkpoint,
            decode_checkpoint=messages.decode_checkpoint,
            deadline_seconds=self.kafka_seconds_max,
            stop=self.stop,
        )
        self._parts.callback(sink.close)
        return sink

    @cached_property
    def rebuild(self) -> Rebuild:
        """Rebuilds a lost state file."""
        from connector.exports.software import SOFTWARE
        from connector.kafka.reader import Reader
        from connector.poll.rebuild import Rebuild

        kafka, state = self.config.kafka, self.config.state
        return Rebuild(
            self.messages,
            self.sink,
            lambda: Reader(self.kafka_client),
            name_of=self.topic,
            rules=self.rules,
            export=SOFTWARE,
            path=state.path,
            options={"memory_limit_mib": state.memory_limit_mib, "threads": state.threads},
            transactions=kafka.delivery == "exactly_once",
            clock=self.clock,
            progress=self._progress,
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """Polls."""
        from connector.history import campaigns
        from connector.poll.memory import MemoryShare
        from connector.poll.pipeline import Pipeline
        from connector.poll.reports import PollReports

        return Pipeline(
            open_state=self.open_state,
            open_scratch=self.open_scratch,
            source=self.source,
            publisher=self.publisher,
            backfill=self.backfill,
            rules=self.rules,
            inventories=self.inventories,
            journal_retention=timedelta(days=self.config.state.journal_retention_days),
            reports=PollReports(self.publisher.publish_reports, stale_after=self.stale_after, clock=self.clock),
            memory=self._memory or MemoryShare,
            fold=lambda state, staged: campaigns.without_keys(campaigns.fold(state, staged)[0]),
            clock=self.clock,
        )
