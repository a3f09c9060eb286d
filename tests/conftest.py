"""Fixtures that many tests share: a real Kafka broker and schema registry, and an independent consumer.

A test that asks for one of them is marked `broker`. Where none can be had it is skipped, and the run ends with a list
of what was therefore not proven; with MDE_TEST_REQUIRE_BROKER=1 it fails instead.
"""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the documented place of them all
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)
from hypothesis import HealthCheck, settings
from rich.console import Console

from connector.cli import output
from tests.support.broker import (
    KAFKA_JAVA,
    Broker,
    ContainerBroker,
    LocalBroker,
    Missing,
    Registry,
    java_command,
    session_broker,
    session_registry,
)

# How long an example takes says more about the machine than about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

REQUIRE_VARIABLE = "MDE_TEST_REQUIRE_BROKER"
CONSUME_SECONDS_MAX = 60
SETTLE_SECONDS_MAX = 3

REAL_FIXTURES = frozenset({"broker", "java", "local_broker", "private_broker", "registry_url"})
"""What only a real component can give."""


class Components:
    """The real components of one session, started when first asked for, and what could not be proven without them."""

    def __init__(self) -> None:
        self.registry_wanted = False
        self.private: LocalBroker | None = None
        self.unproven: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self._broker: Broker | Missing | None = None
        self._registry: Registry | Missing | None = None

    @property
    def started(self) -> list[Broker | Registry]:
        """What runs."""
        return [
            component
            for component in (self._broker, self._registry, self.private)
            if isinstance(component, Broker | Registry)
        ]

    def broker(self, folder: Path) -> Broker:
        """The session's broker. A registry that will be wanted too starts beside it.

        Raises:
            Missing: none can be had.
        """
        begun = time.monotonic()
        if self._broker is None:
            if self.registry_wanted and self._registry is None:
                self._start_registry(folder)
            try:
                self._broker = session_broker(folder / "kafka")
                self.seconds[self._broker.origin] = time.monotonic() - begun
            except Missing as error:
                self._broker = error
        if isinstance(self._broker, Missing):
            raise self._broker
        return self._broker

    def registry(self, folder: Path) -> Registry:
        """The session's schema registry, answering.

        Raises:
            Missing: none can be had.
        """
        begun = time.monotonic()
        if self._registry is None:
            self._start_registry(folder)
        if isinstance(self._registry, Missing) and isinstance(container := self._broker, ContainerBroker):
            self._registry = Registry(container.registry_url, container.origin)
        if isinstance(self._registry, Registry) and self._registry.origin not in self.seconds:
            try:
                assert self._registry.url
                self.seconds[self._registry.origin] = time.monotonic() - begun
            except Missing as error:
                self._registry = error
        if isinstance(self._registry, Registry):
            return self._registry
        raise self._registry or Missing("no schema registry")

    def _start_registry(self, folder: Path) -> None:
        try:
            self._registry = session_registry(folder / "registry")
        except Missing as error:
            self._registry = error


COMPONENTS: pytest.StashKey[Components] = pytest.StashKey()


class Consumed(NamedTuple):
    """One message as an independent consumer saw it. `timestamp` is in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int

    @classmethod
    def of(cls, message: Any) -> Consumed:
        """What a librdkafka message says."""
        headers = tuple(message.headers() or ())
        where = (message.topic(), message.partition(), message.offset())
        return cls(*where, message.key(), message.value(), headers, message.timestamp()[1])


def pytest_configure(config: pytest.Config) -> None:
    """A place for the real components."""
    config.stash[COMPONENTS] = Components()
    # Under nohup, and in the background of a script, one of them is ignored, and so it would be in what tests start.
    for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: nobody looks for garbage in it, now or during a test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The half that waits for Kafka imports no file without a test for it: most files have none."""
    is_of_other_half = collection_path.name.startswith("test_") and not _names_real_fixture(collection_path)
    return True if config.option.markexpr == "broker" and is_of_other_half else None


@cache
def _names_real_fixture(path: Path) -> bool:
    return re.search(rf"\b({'|'.join(REAL_FIXTURES)})\b", path.read_text(encoding="utf-8")) is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a real component is marked `broker`; those come last, so that quick failures show first.

    Raises:
        UsageError: its file does not name one, and would be passed over by `-m broker`.
    """
    for item in items:
        wanted = REAL_FIXTURES & set(getattr(item, "fixturenames", ()))
        if wanted:
            item.add_marker("broker")
        if item.get_closest_marker("broker") and not _names_real_fixture(item.path):
            raise pytest.UsageError(f"{item.nodeid} needs {sorted(wanted)}: name one in its file")
        item.config.stash[COMPONENTS].registry_wanted |= "registry_url" in wanted
    items.sort(key=lambda item: item.get_closest_marker("broker") is not None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of several reports its components to the session that prints the summary."""
    components = session.config.stash[COMPONENTS]
    if (report := getattr(session.config, "workeroutput", None)) is not None:
        report["components"] = [components.seconds, components.unproven]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker reported; each has its own broker and registry."""
    seconds, unproven = getattr(node, "workeroutput", {}).get("components", [{}, {}])
    components = node.config.stash[COMPONENTS]
    components.seconds |= {f"{origin}, {node.gateway.id}": waited for origin, waited in seconds.items()}
    components.unproven |= unproven


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was started, whatever became of the session."""
    gc.unfreeze()
    for component in config.stash[COMPONENTS].started:
        component.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The logs of broker and registry stand below the failure of a test that used them."""
    report = yield
    if report.failed and REAL_FIXTURES & set(getattr(item, "fixturenames", ())):
        for component in item.config.stash[COMPONENTS].started:
            report.sections.append((f"end of the log: {component.origin}", component.tail()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Which broker and registry it was, and loudly what was not proven without them."""
    components = config.stash[COMPONENTS]
    for origin, seconds in components.seconds.items():
        terminalreporter.write_line(f"real component: {origin}, waited for {seconds:.1f} s")
    if not components.unproven:
        return
    terminalreporter.section(f"NOT PROVEN: {len(components.unproven)} tests had no real component", sep="!", red=True)
    for reason in sorted(set(components.unproven.values())):
        terminalreporter.write_line(f"because: {reason}")
    for test in sorted(components.unproven):
        terminalreporter.write_line(f"  not proven: {test}")
    terminalreporter.write_line(f"Java and Maven, or Docker, bring them; {REQUIRE_VARIABLE}=1 makes this a failure.")


def _missing(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    """Skip the test, or fail it where a real component is required."""
    if os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0"):
        pytest.fail(f"a real component is required here, and missing: {reason}", pytrace=False)
    request.config.stash[COMPONENTS].unproven[request.node.nodeid] = reason
    pytest.skip(reason.splitlines()[0])


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """A real Kafka broker, one for the whole session: use `topic_prefix` and `create_topic` to be alone on it."""
    try:
        return request.config.stash[COMPONENTS].broker(tmp_path_factory.getbasetemp())
    except Missing as error:
        _missing(request, str(error))


@pytest.fixture
def local_broker(request: pytest.FixtureRequest, broker: Broker) -> LocalBroker:
    """The session's broker where it is one of ours, so that ACLs may be set for a topic or a transactional id."""
    if not isinstance(broker, LocalBroker):
        _missing(request, f"a broker whose ACLs may be set; there is {broker.origin}")
    return broker


@pytest.fixture
def private_broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalBroker:
    """A local broker that no other test uses meanwhile, to `stop`, `kill`, `start`, `pause` and `resume`.

    It is the same one for every such test, running at the beginning of each: use `topic_prefix`.
    """
    components = request.config.stash[COMPONENTS]
    try:
        if components.private is None:
            components.private = LocalBroker(tmp_path_factory.getbasetemp() / "private-kafka")
        components.private.ensure_running()
    except Missing as error:
        _missing(request, f"a broker that may be stopped: {error}")
    return components.private


@pytest.fixture
def registry_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a real schema registry with Confluent's API, one for the whole session."""
    try:
        return request.config.stash[COMPONENTS].registry(tmp_path_factory.getbasetemp()).url
    except Missing as error:
        _missing(request, str(error))


@pytest.fixture
def java(request: pytest.FixtureRequest) -> str:
    """The command of a Java runtime that runs Kafka's own libraries."""
    try:
        return java_command(KAFKA_JAVA)[0]
    except Missing as error:
        _missing(request, str(error))


@pytest.fixture
def topic_prefix() -> str:
    """A topic prefix that no other test uses."""
    return f"test.{uuid.uuid4().hex[:12]}"


@pytest.fixture
def create_topic(request: pytest.FixtureRequest) -> Callable[..., str]:
    """`create_topic(name, partitions=1, settings={…}, at=broker)` creates a topic and returns its name."""

    def create(
        name: str, *, partitions: int = 1, settings: dict[str, str] | None = None, at: Broker | None = None
    ) -> str:
        admin = AdminClient({"bootstrap.servers": (at or request.getfixturevalue("broker")).bootstrap_servers})
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings or {})
        admin.create_topics([topic])[name].result(timeout=30)
        return name

    return create


@pytest.fixture
def allow_only(local_broker: LocalBroker) -> Iterator[Callable[..., None]]:
    """`allow_only(name, "WRITE", …, kind=ResourceType.TOPIC)`: in this test nothing else is allowed there."""
    admin = AdminClient({"bootstrap.servers": local_broker.bootstrap_servers})
    made: list[AclBinding] = []

    def allow(
        name: str,
        *operations: str,
        kind: ResourceType = ResourceType.TOPIC,
        principal: str = "User:ANONYMOUS",
    ) -> None:
        bindings = [
            AclBinding(
                kind,
                name,
                ResourcePatternType.LITERAL,
                principal,
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            for operation in operations
        ]
        for future in admin.create_acls(bindings).values():
            future.result(30)
        made.extend(bindings)

    yield allow
    for future in admin.delete_acls([AclBindingFilter(*_fields(binding)) for binding in made]).values():
        future.result(30)


@pytest.fixture
def consume(request: pytest.FixtureRequest) -> Callable[..., list[Consumed]]:
    """`consume(topic, at=broker, isolation="read_committed")`: every message up to the end, in order per partition."""

    def read(topic: str, *, at: Broker | None = None, isolation: str = "read_committed") -> list[Consumed]:
        return consume_all((at or request.getfixturevalue("broker")).bootstrap_servers, topic, isolation=isolation)

    return read


def consume_all(bootstrap_servers: str, topic: str, *, isolation: str = "read_committed") -> list[Consumed]:
    """Read a topic from its beginning to its end, with a consumer that shares nothing with the connector.

    With read_committed the end is the last stable offset: an open transaction holds back what follows it.
    """
    settings = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": f"independent-{uuid.uuid4().hex}",
        "isolation.level": isolation,
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        # The end of a partition comes with an answer that has nothing more: do not let the broker keep it back.
        "fetch.wait.max.ms": 20,
    }
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic]
        if partitions.error:
            raise KafkaException(partitions.error)
        if isolation == "read_committed":
            settle(bootstrap_servers, topic, partitions.partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions.partitions])
        return list(_read_to_end(consumer, len(partitions.partitions)))
    finally:
        consumer.close()


def settle(bootstrap_servers: str, topic: str, partitions: Iterable[int]) -> None:
    """Wait, for some seconds at most, until no transaction is under way on a topic.

    A commit is answered once it is certain; its markers come to the partitions a little later, and until then a
    read_committed reader sees an end before them. A transaction that a test left open is not waited for long.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}  # type: ignore[no-untyped-call]  # it has none
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        ends = [
            {place.partition: offset.result(30).offset for place, offset in answers.items()}
            for answers in (
                admin.list_offsets(latest, isolation_level=isolation)
                for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
            )
        ]
        if ends[0] == ends[1]:
            return
        time.sleep(0.02)


def _fields(binding: AclBinding) -> tuple[Any, ...]:
    return (
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _read_to_end(consumer: Consumer, partitions: int) -> Iterator[Consumed]:
    deadline = time.monotonic() + CONSUME_SECONDS_MAX
    ended: set[int] = set()
    while len(ended) < partitions:
        assert time.monotonic() < deadline, "the end of the topic was not reached in time"
        first = consumer.poll(1.0)
        for message in () if first is None else (first, *consumer.consume(1000, timeout=0)):
            error = message.error()
            if error is None:
                yield Consumed.of(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition() or 0)
            else:
                raise KafkaException(error)


@pytest.fixture(params=[80, 140])
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The lines written to a terminal of that width, without colours."""
    stream = io.StringIO()
    terminal = Console(file=stream, width=request.param, highlight=False, color_system=None)
    monkeypatch.setattr(output, "out", terminal)
    return lambda: stream.getvalue().splitlines()
