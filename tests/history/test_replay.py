"""Past changes, published again: the same ids, times and order, and exactly once whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from connector import config
from connector.assembly import Assembly
from connector.errors import ConfigError, SinkUnavailable, StateError, Stopped
from connector.history.blocks import PastChanges
from connector.history.filters import Filters
from connector.history.replay import Replay, ReplayResult
from connector.kafka.mock import MockCluster
from connector.model import Checkpoint, Message, Topic
from connector.operations.setup import set_up_replay_topic
from connector.staging import maintenance
from connector.state.state import StateFile
from tests.conftest import Consumed, consume_all
from tests.support.bench import EASY, START, Bench, record
from tests.support.broker import Broker
from tests.support.exactly_once import Run
from tests.support.judging import ROOT
from tests.support.replaying import BATCH, POINTS

TENANT = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"


class Kafka:
    """A `Sink` that keeps what is published in lists, and fails on request.

    Attributes:
        published: keys and values of the batches that count.
        outages: whether the next calls of `publish` fail "before" or "after" the batch counts; None for neither.
    """

    def __init__(self) -> None:
        self.transactional_id = "id#replay-1"
        self.published: list[Message] = []
        self.checkpoint: Checkpoint | None = None
        self.outages: list[str | None] = []
        self.batches: list[int] = []

    def recover(self) -> Checkpoint | None:
        """As `Sink.recover`."""
        return self.checkpoint

    def publish(self, messages: Iterable[Message], checkpoint: Checkpoint) -> None:
        """As `Sink.publish`."""
        outage = self.outages.pop(0) if self.outages else None
        batch = list(messages)
        if outage == "before":
            raise SinkUnavailable("Kafka is away")
        self.published += batch
        self.checkpoint = checkpoint
        self.batches.append(len(batch))
        if outage == "after":
            raise SinkUnavailable("Kafka does not answer")


class PlainMessages:
    """Encodes a change as its mapping."""

    def encode_change(self, change: Mapping[str, Any]) -> Any:
        """As `Messages.encode_change`."""
        return dict(change)


class Stage:
    """A journal, and a Kafka to replay it to. `now` is the time."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.kafka = Kafka()
        self.now = START + timedelta(days=3)
        self.stop = threading.Event()
        self.results: list[ReplayResult] = []

    def replay(self, filters: Filters | None = None, *, batch: int = 3, rate: int = 0) -> Replay:
        """A replay of it."""

        @contextmanager
        def opened() -> Iterator[StateFile]:
            yield self.bench.state

        fakes: Any = (PlainMessages(), self.kafka)
        return Replay(
            PastChanges(opened, self.stop),
            *fakes,
            filters=filters or Filters(),
            topic="again",
            tenant_id=TENANT,
            batch_changes_max=batch,
            rate=rate,
            clock=lambda: self.now,
            stop=self.stop,
        )

    def run(self, filters: Filters | None = None, **given: int) -> ReplayResult:
        """Replay, and return the result."""
        self.replay(filters, **given).run(self.results.append)
        return self.results[-1]

    @property
    def numbers(self) -> list[int]:
        """Sequences of what was published."""
        values: Any = self.kafka.published
        return [value["sequence"] for value in values]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Ten changes in four snapshots, six hours apart, all but those of the last confirmed: eight."""
    with Bench(tmp_path, rules=EASY) as bench:
        for count in (1, 4, 6, 9, 11):
            bench.take(bench.snapshot([record("d", f"{number:02}") for number in range(count)]))
        sealed = bench.state.journal.recent_snapshots(2)[-1]
        bench.state.journal.confirm(bench.checkpoint(sealed))
        yield Stage(bench)


def test_what_is_confirmed_is_published_again_as_it_was_but_for_one_flag(stage: Stage) -> None:
    """Ids, times, epoch, sequence and order are the originals'; what Kafka never had is no past."""
    expected = [
        change | {"replayed": True}
        for snapshot in stage.bench.state.journal.recent_snapshots(9)[::-1]
        for change in stage.bench.changes(snapshot)
        if change["sequence"] <= 8
    ]
    before = stage.bench.state.journal.position()
    result = stage.run()
    published: list[Any] = list(stage.kafka.published)
    assert published == expected
    assert (result.changes, result.types, result.resumed, stage.kafka.batches) == (8, {"ADDED": 8}, False, [3, 3, 2, 0])
    assert stage.bench.state.journal.position() == before


def test_a_dry_run_counts_and_publishes_nothing(stage: Stage) -> None:
    """The same counts and the same range as the replay that follows."""
    dry = stage.replay(Filters(since="2026-11-24", types=("added",))).dry_run()
    assert (stage.kafka.published, stage.kafka.checkpoint, dry.dry_run) == ([], None, True)
    result = stage.run(Filters(since="2026-11-24", types=("added",)))
    assert (dry.changes, dry.types, dry.first, dry.last) == (result.changes, result.types, result.first, result.last)
    assert 0 < dry.changes < 8


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_replay_that_was_killed_goes_on_where_it_was(stage: Stage, killed_after: int) -> None:
    """The next run publishes the rest, and says how much that was."""
    stage.kafka.outages = [None] * killed_after + ["before"] * 9
    with pytest.raises(SinkUnavailable):
        stage.run()
    stage.kafka.outages = []
    result = stage.run()
    assert stage.numbers == list(range(1, 9))
    assert (result.resumed, result.changes) == (True, 8 - min(3 * killed_after, 8))


def test_what_is_relative_means_the_same_to_whoever_goes_on(stage: Stage) -> None:
    """Both ends are those of the first run, though time went on and more was staged and confirmed."""
    filters = Filters(since="66h", until="48h")
    expected = {change["sequence"] for change in _between(stage, 66, 48)}
    stage.kafka.outages = [None, "before", "before", "before"]
    with pytest.raises(SinkUnavailable):
        stage.run(filters, batch=1)
    stage.now += timedelta(hours=12)
    latest = stage.bench.take(stage.bench.snapshot([record("e", "z")]))
    stage.bench.state.journal.confirm(stage.bench.checkpoint(latest))
    begun = stage.run(filters, batch=1).begun_at
    assert (set(stage.numbers), len(stage.numbers), begun) == (expected, len(expected), START + timedelta(days=3))
    assert len(expected) > 2


def _between(stage: Stage, since_hours: int, until_hours: int) -> list[dict[str, Any]]:
    """Changes observed between `since_hours` and `until_hours` before now."""
    begin, end = (
        round((stage.now - timedelta(hours=hours)).timestamp() * 1000) for hours in (since_hours, until_hours)
    )
    by_snapshot = [stage.bench.changes(snapshot) for snapshot in stage.bench.state.journal.recent_snapshots(9)[::-1]]
    return [change for changes in by_snapshot for change in changes if begin <= change["observedAt"] < end]


def test_after_the_end_the_same_command_begins_again(stage: Stage) -> None:
    """A finished replay is finished: the next one is another, with what is past by then."""
    stage.run()
    stage.now += timedelta(hours=1)
    again = stage.run()
    assert (again.resumed, again.begun_at, stage.numbers) == (False, stage.now, [*range(1, 9), *range(1, 9)])


def test_a_replay_whose_result_nobody_saw_is_not_begun_again(stage: Stage) -> None:
    """Killed after its last batch and before it could say so: the next run finds nothing left, and says that."""

    class Killed(Exception):
        pass

    def report(_: ReplayResult) -> None:
        raise Killed

    with pytest.raises(Killed):
        stage.replay().run(report)
    result = stage.run()
    assert (result.resumed, result.changes, stage.numbers) == (True, 0, list(range(1, 9)))
    assert stage.run().resumed is False


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_in_doubt_is_asked_of_kafka(stage: Stage, when: str) -> None:
    """Committed or not, it is published once and counted once, within the same run."""
    stage.kafka.outages = [None, when, None, when]
    result = stage.run()
    assert (stage.numbers, result.changes, result.types) == (list(range(1, 9)), 8, {"ADDED": 8})


def test_the_first_batch_of_a_new_replay_in_doubt_is_no_earlier_ones(stage: Stage) -> None:
    """Kafka still has the checkpoint of the finished replay: the new one begins from its beginning all the same."""
    stage.run()
    stage.now += timedelta(hours=1)
    stage.kafka.outages = ["before"]
    stage.run()
    assert stage.numbers == [*range(1, 9), *range(1, 9)]


def test_nothing_to_replay_says_so_and_leaves_no_mark(stage: Stage) -> None:
    """A filter that nothing meets."""
    result = stage.run(Filters(devices=("nobody",)))
    assert (result.changes, result.first, stage.kafka.checkpoint) == (0, None, None)


def test_what_left_the_journal_while_a_replay_lay_idle_is_missed(stage: Stage) -> None:
    """It can no longer be the same replay: an error that says what to do."""
    stage.kafka.outages = [None, "before", "before", "before"]
    with pytest.raises(SinkUnavailable):
        stage.run(batch=1)
    maintenance.retire(stage.bench.state, older_than=START + timedelta(hours=16))
    with pytest.raises(StateError, match="left the journal") as missed:
        stage.run(batch=1)
    assert "--since" in missed.value.hint


def test_a_replay_of_what_has_left_the_journal_is_called_cut(stage: Stage) -> None:
    """Where it is asked for by time; the rest is replayed."""
    third = stage.bench.state.journal.recent_snapshots(3)[-1]
    maintenance.retire(stage.bench.state, older_than=third.observed_at)
    whole, cut = stage.run(), stage.run(Filters(since="2026-11-01"))
    assert (whole.cut, cut.cut, whole.changes == cut.changes > 0) == (False, True, True)
    assert cut.journal_from == third.snapshot_id


def test_a_rate_bounds_the_batches_and_a_stop_ends_between_them(stage: Stage) -> None:
    """No batch is larger than a second's share; what is not published yet is left to the next run."""

    def stop(done: int, total: int) -> None:
        if done == 2:
            assert total == 8
            stage.stop.set()

    with pytest.raises(Stopped):
        stage.replay(rate=2, batch=100).run(stage.results.append, progress=stop)
    assert (stage.kafka.batches, stage.results) == ([2], [])
    stage.stop.clear()
    assert stage.run(rate=1000).changes == 6


def test_the_connectors_other_topics_are_refused_as_targets(tmp_path: Path) -> None:
    """A change among checkpoints, say, could not be read as one."""
    with MockCluster() as cluster, _assembly(tmp_path, cluster.bootstrap_servers, "mock://refused", "p") as assembly:
        for topic in ("alerts", "p.alerts", "p.checkpoints", "snapshots", "p.inventory"):
            with pytest.raises(ConfigError, match="another type of messages"):
                assembly.replay(Filters(), topic=topic)


def _assembly(folder: Path, bootstrap_servers: str, registry: str, prefix: str, **kafka: Any) -> Assembly:
    tables = {
        "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "s"},
        "state": {"path": str(folder / "state" / "state.duckdb")},
        "kafka": {"topic_prefix": prefix, "client": {"bootstrap.servers": bootstrap_servers}, **kafka},
        "schema_registry": {"url": registry, "auto_register": True},
    }
    return Assembly(config.from_values(tables, {}, name="test"))


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_replay_with_or_without_transactions_says_the_same(delivery: str, tmp_path: Path) -> None:
    """Through real messages and a real sink, to the same topic: a consumer reads the originals, then their replay."""
    topics = [topic.name_under("p") for topic in Topic]
    with Bench(tmp_path, rules=EASY) as bench:
        for count in (1, 4, 6):
            bench.take(bench.snapshot([record("d", f"{number:02}") for number in range(count)]))
    with (
        MockCluster(topics) as cluster,
        _assembly(tmp_path, cluster.bootstrap_servers, f"mock://{delivery}", "p", delivery=delivery) as assembly,
    ):
        with assembly.open_state() as state:
            assembly.publisher.recover(state)
            assert assembly.publisher.drain(state) == 5
        results: list[ReplayResult] = []
        assembly.replay(Filters(snapshots=(), since="2026-11-01")).run(results.append)
        incoming = assembly.reader().follow("p.changes", from_beginning=True, limit=10)
        values = [assembly.messages.decode(message.value) for message in incoming if message.value is not None]
    originals, replayed = values[:5], values[5:]
    assert replayed == [value | {"replayed": True} for value in originals]
    assert results[0].changes == 5


@pytest.fixture
def month(tmp_path: Path, broker: Broker, registry_url: str, topic_prefix: str) -> Iterator[Run]:
    """A fleet polled from February to March, all of it published."""
    with Run.begun(
        tmp_path / "state",
        bootstrap_servers=broker.bootstrap_servers,
        registry_url=registry_url,
        prefix=topic_prefix,
        seed=4,
        kafka={"batch_changes_max": 500},
    ) as run:
        run.baseline()
        for generations in (68, 68, 40, 68):
            run.simulator.advance(generations)
            # 3: some removals are held, as they should be.
            assert run.started().ended().code in {0, 3}
        yield run


def _replay(run: Run, topic: str, point: str) -> subprocess.CompletedProcess[str]:
    """A process that replays February, and dies at a point."""
    settings = run.state_path.with_name("settings.json")
    settings.write_text(json.dumps(run.settings), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "tests.support.replaying", str(settings), topic, point],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def _consumed(run: Run, topic: str) -> tuple[list[Consumed], list[dict[str, Any]]]:
    """Everything that a read_committed consumer sees of a topic, and the values decoded."""
    messages = consume_all(run.settings["kafka"]["client"]["bootstrap.servers"], topic)
    with SchemaRegistryClient({"url": run.registry_url}) as registry:
        decode: Any = AvroDeserializer(registry)
        context = SerializationContext(topic, MessageField.VALUE)
        return messages, [dict(decode(message.value, context)) for message in messages]


def _by_device(values: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Values by device, in the order that they came in."""
    by_device = defaultdict(list)
    for value in values:
        by_device[value["deviceId"]].append(value)
    return dict(by_device)


def test_a_month_replayed_with_kills_in_the_middle_is_the_month_once(month: Run, topic_prefix: str) -> None:
    """To a topic of its own, killed at four points, then to its end: every original of the month once, in its order.

    What polls are at is untouched: their checkpoint, their instance, and what the state file knows as published. Asked
    for once more, the month comes once more.
    """
    topic = f"{topic_prefix}.february"
    with month.assembly() as polling:
        assert [check.text for check in set_up_replay_topic(polling, topic) if not check.fine] == []
        before = polling.publisher.checkpoint()
        with polling.read_state() as state:
            position = state.journal.position()
        begun_at = datetime.now(UTC)
        ended = [_replay(month, topic, point) for point in (*POINTS, "end")]
        assert [process.returncode for process in ended] == [-9] * len(POINTS) + [0], ended[-1].stderr
        messages, replayed = _consumed(month, topic)
        assert polling.publisher.checkpoint() == before
        with polling.read_state() as state:
            assert state.journal.position() == position
    _, originals = _consumed(month, f"{topic_prefix}.changes")
    february = [value | {"replayed": True} for value in originals if value["observedAt"].strftime("%Y-%m") == "2026-02"]
    assert _by_device(replayed) == _by_device(february)
    assert 3 * BATCH < len(february) < len(originals)
    assert min(message.timestamp for message in messages) >= round(begun_at.timestamp() * 1000)
    again = json.loads(_replay(month, topic, "end").stdout)
    assert [json.loads(ended[-1].stdout)["changes"], again["changes"], again["resumed"]] == [0, len(february), False]
    _, both = _consumed(month, topic)
    assert _by_device(both) == {device: values * 2 for device, values in _by_device(february).items()}
