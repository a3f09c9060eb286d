"""Failed polls and stale exports, as a consumer of the snapshots topic sees them, and as the state file notes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import __version__, config
from connector.assembly import Assembly
from connector.errors import (
    ConnectorError,
    ProgramFault,
    SinkUnavailable,
    SnapshotIncomplete,
    SourceError,
    SourceMalformed,
    StateError,
    StateFull,
)
from connector.kafka.mock import MockCluster
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Inventory, Message, Topic
from connector.operations.status import read_status
from connector.poll import reports
from connector.poll.publisher import Publisher
from connector.poll.reports import PollReports
from connector.poll.result import PollResult
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.source.progress import NoProgress, Progress
from connector.state.state import StateFile
from tests.support.messages import values_on

PREFIX = "failures"
AWAY = "127.0.0.1:1"
DENIED = Fault(Endpoint.PAGES, FaultKind.STATUS, status=400, times=None)
LOOPING = Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_REPEATED, times=None)
HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


class World:
    """A simulated tenant, Kafka inside the process, and a clock; each poll is one of a new process."""

    def __init__(self, simulator: Simulator, cluster: MockCluster, folder: Path) -> None:
        self.simulator = simulator
        self.now = simulator.generated_at + HOUR
        self._bootstrap_servers = cluster.bootstrap_servers
        self._path = folder / "state.duckdb"

    def assembly(self, *, away: bool = False, progress: Progress | None = None) -> Assembly:
        """A new process."""
        tables = {
            "source": self.simulator.settings(method="json", page_size=20),
            "state": {"path": str(self._path)},
            "guard": {"missing_device_snapshots": 1},
            "kafka": {
                "topic_prefix": PREFIX,
                "batch_changes_max": 5,
                "client": {"bootstrap.servers": AWAY if away else self._bootstrap_servers},
            },
            "schema_registry": {"url": "mock://failures", "auto_register": True},
        }
        checked = config.from_values(tables, {}, name="test")
        return Assembly(checked, progress=progress, clock=lambda: self.now, kafka_seconds_max=1 if away else 20)

    def poll(self, *, away: bool = False, progress: Progress | None = None) -> PollResult | ConnectorError:
        """One poll, an hour after the last and after the generation: its result, or what it failed with."""
        self.now = max(self.now, self.simulator.generated_at) + HOUR
        with self.assembly(away=away, progress=progress) as assembly:
            try:
                (result,) = assembly.pipeline.poll()
            except ConnectorError as error:
                return error
        return result

    def fail(self, fault: Fault, *, away: bool = False) -> ConnectorError:
        """One poll that a fault makes fail."""
        self.simulator.faults.add(fault)
        error = self.poll(away=away)
        self.simulator.faults.clear()
        assert isinstance(error, ConnectorError)
        return error

    def values(self, topic: Topic) -> list[dict[str, Any]]:
        """Everything on a topic, decoded; reports, whose key is the tenant, in their order."""
        with self.assembly() as assembly:
            return values_on(assembly, topic)

    def reported(self) -> list[tuple[str, str]]:
        """Status and snapshot of every report, in order."""
        return [(report["status"], report["snapshotId"]) for report in self.values(Topic.SNAPSHOTS)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Six devices."""
    fleet = Fleet(seed=11, devices=6, start=datetime(2026, 1, 1, tzinfo=UTC), churn=4)
    with MockCluster([topic.name_under(PREFIX) for topic in Topic]) as cluster, Simulator(fleet) as simulator:
        yield World(simulator, cluster, tmp_path)


def snapshot_id(world: World) -> str:
    """The id of the generation that is served."""
    return f"cpe-{world.simulator.generated_at:%Y%m%dT%H%M%SZ}"


def test_a_failure_is_reported_once_until_a_poll_ends_well(world: World) -> None:
    """Three failed polls of new processes are one report; after a good one the same failure is news again."""
    first = snapshot_id(world)
    world.poll()
    begun_at = world.now
    error = world.fail(DENIED)
    assert [type(world.fail(DENIED)) for _ in range(2)] == [type(error)] * 2
    world.poll()
    world.fail(DENIED)
    published = world.values(Topic.SNAPSHOTS)
    assert [(report["status"], report["snapshotId"]) for report in published] == [
        ("STARTED", first), ("COMPLETE", first), ("FAILED", "cpe-unknown"), ("FAILED", "cpe-unknown"),
    ]  # fmt: skip
    assert published[2] == dict.fromkeys(published[2], 0) | {
        "snapshotId": "cpe-unknown",
        "previousSnapshotId": first,
        "entraTenantId": world.simulator.tenant_id,
        "inventory": "CPE",
        "status": "FAILED",
        "epoch": 1,
        "stored": None,
        "firstSequence": None,
        "lastSequence": None,
        "generatedAt": None,
        "startedAt": begun_at + HOUR,
        "finishedAt": begun_at + HOUR,
        "method": None,
        "reason": f"{type(error).__name__}: {error}",
        "connectorVersion": __version__,
    }


def test_a_failure_names_the_snapshot_where_its_generation_is_known(world: World) -> None:
    """The same generation may be complete later: COMPLETE then is its last message."""
    error = world.fail(LOOPING)
    world.poll()
    name = snapshot_id(world)
    assert isinstance(error, SnapshotIncomplete)
    assert world.reported() == [("FAILED", name), ("STARTED", name), ("COMPLETE", name)]


class Broken(NoProgress):
    """A part with a bug."""

    def advance(self, **_: int) -> None:
        """Raise what nothing expects."""
        raise ZeroDivisionError("canary")


def test_a_bug_is_reported_as_a_failed_poll_and_the_next_one_works(world: World) -> None:
    """An exception that nothing expected stages nothing; its type and place are in the report."""
    error = world.poll(progress=Broken())
    world.poll()
    assert isinstance(error, ProgramFault)
    assert [status for status, _ in world.reported()] == ["FAILED", "STARTED", "COMPLETE"]
    reason = world.values(Topic.SNAPSHOTS)[0]["reason"]
    assert reason == f"ProgramFault: {error}"
    assert reason.startswith("ProgramFault: unexpected ZeroDivisionError in connector/source/")


def test_a_failure_while_kafka_is_away_is_reported_when_it_is_back(world: World) -> None:
    """It waits in the state file over restarts; Kafka's own trouble is not reported."""
    world.poll()
    done = world.reported()
    error = world.fail(DENIED, away=True)
    away = world.poll(away=True)
    assert (isinstance(error, SourceError), isinstance(away, SinkUnavailable), world.reported()) == (True, True, done)
    world.poll()
    assert world.reported() == [*done, ("FAILED", "cpe-unknown")]


def test_a_failure_that_was_overcome_before_kafka_came_back_is_not_reported(world: World) -> None:
    """The snapshot failed, was staged, and then Kafka came: it is complete, and nothing says otherwise afterwards."""
    world.fail(LOOPING, away=True)
    world.poll(away=True)
    world.poll()
    name = snapshot_id(world)
    assert world.reported() == [("STARTED", name), ("COMPLETE", name)]


class Doubtful:
    """A sink whose answer is lost after Kafka has committed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.transactional_id = sink.transactional_id

    def recover(self) -> Checkpoint | None:
        """As the sink does."""
        return self._sink.recover()

    def publish(self, messages: Iterator[Message], checkpoint: Checkpoint) -> None:
        """Commits, and does not know."""
        self._sink.publish(messages, checkpoint)
        raise SinkUnavailable("the answer was lost")


def test_a_report_whose_commit_was_in_doubt_is_not_published_twice(world: World) -> None:
    """Committed, the answer lost, the process gone: the next recovery sees by the checkpoint that Kafka has it."""
    world.fail(DENIED, away=True)
    with world.assembly() as assembly, assembly.open_state() as state:
        doubtful: Any = Doubtful(assembly.sink)
        publisher = Publisher(
            assembly.messages,
            doubtful,
            tenant_id=world.simulator.tenant_id,
            batch_changes_max=5,
            clock=assembly.clock,
            stop=assembly.stop,
        )
        publisher.recover(state)
        with pytest.raises(SinkUnavailable, match="the answer was lost"):
            publisher.publish_reports(state)
        assert len(reports.waiting(state, world.simulator.tenant_id)) == 1
    world.poll()
    assert [status for status, _ in world.reported()].count("FAILED") == 1


def test_a_stale_export_is_reported_once_for_each_generation(world: World) -> None:
    """After 24 hours without a newer generation: one report, however many polls; seen in result and status."""
    first = snapshot_id(world)
    world.poll()
    fresh = world.poll()
    world.now = world.simulator.generated_at + 24 * HOUR
    stale = [world.poll() for _ in range(3)]
    with world.assembly() as assembly, assembly.read_state() as state:
        stale_inventories = read_status(assembly, state, at=world.now)["stale"]
    second = world.simulator.advance()
    world.now = second
    world.poll()
    world.now = second + 30 * HOUR
    world.poll()
    published = [report for report in world.values(Topic.SNAPSHOTS) if report["status"] == "STALE"]
    assert [getattr(result, "stale", None) for result in (fresh, *stale)] == [False, True, True, True]
    assert stale_inventories == ["CPE"]
    assert [(report["snapshotId"], report["previousSnapshotId"]) for report in published] == [
        ("cpe-unknown", first), ("cpe-unknown", snapshot_id(world)),
    ]  # fmt: skip
    assert published[0]["reason"] == "STALE: no generation after 2026-01-01T00:00:00Z for more than 24 hours"


def test_complete_is_the_last_word_on_a_snapshot_and_counts_what_a_consumer_counts(world: World) -> None:
    """Random generations, failures, outages of Kafka and stale hours: each seal is last, and true."""
    draw = random.Random(4)
    for step in range(6):
        away = draw.random() < 0.3 and step < 5
        if draw.random() < 0.7:
            world.simulator.advance(draw.randint(1, 3))
            world.now = max(world.now, world.simulator.generated_at)
        if draw.random() < 0.4:
            # A loop of pages is only met by a fetch of something new; either way the poll is one of the story.
            world.simulator.faults.add(draw.choice([DENIED, LOOPING]))
            world.poll(away=away)
            world.simulator.faults.clear()
        world.now += draw.choice([0, 0, 30]) * HOUR
        world.poll(away=away)
    last: dict[str, str] = {}
    for word, name in world.reported():
        assert last.get(name) != "COMPLETE", f"{word} of {name} after it was complete"
        last[name] = word
    changes = Counter((change["snapshotId"], change["changeType"]) for change in world.values(Topic.CHANGES))
    alerts = Counter(alert["snapshotId"] for alert in world.values(Topic.ALERTS))
    for report in world.values(Topic.SNAPSHOTS):
        if report["status"] in ("STARTED", "COMPLETE"):
            name = report["snapshotId"]
            counted = {kind: changes[name, kind] for kind in ("BASELINE", "ADDED", "REMOVED", "CHANGED")}
            assert {kind: report[kind.lower()] for kind in counted} == counted
            assert report["alerts"] == alerts[name]
    assert {"COMPLETE", "FAILED"} <= {word for word, _ in world.reported()}


# ---- what the state file notes


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFile]:
    """An empty state file."""
    with StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=128) as opened:
        yield opened


def poll_reports(published: list[StateFile]) -> PollReports:
    """Reports that Kafka never confirms: the list has the state file once for each time that there was news."""
    return PollReports(published.append, stale_after=HOUR, clock=lambda: NOW)


def fail(
    state: StateFile, error: ConnectorError, *, of: str | None = None, inventory: Inventory = Inventory.CPE
) -> bool:
    """A poll failed; whether that is news."""
    published: list[StateFile] = []
    poll_reports(published).note_failure(state, inventory, error, snapshot_id=of, begun_at=NOW, reachable=True)
    return published == [state]


def waiting(state: StateFile) -> list[str]:
    """The reasons of the reports that wait."""
    return [report["reason"] for report in reports.waiting(state, "contoso")]


@pytest.mark.parametrize(
    ("text", "news"),
    [
        ("no answer from host-7 in 31.4 s, request 8f14e45f-ceea-467a", False),
        ("no route to host-7 in 30.0 s, request 0aa1", True),
    ],
)
def test_what_varies_in_a_message_does_not_make_it_another_failure(state: StateFile, text: str, news: bool) -> None:
    """Times, counts and ids differ each time; words tell failures apart."""
    assert fail(state, SourceError("no answer from host-6 in 30.0 s, request c4ca4238-a0b9-2382"))
    assert fail(state, SourceError(text)) is news


def test_another_class_another_snapshot_and_another_inventory_are_other_failures(state: StateFile) -> None:
    """Each is reported once."""
    cases = [SourceError("x"), SourceMalformed("x"), SourceError("x")]
    assert [fail(state, error) for error in cases] == [True, True, False]
    assert (fail(state, SourceError("x"), of="cpe-1"), fail(state, SourceError("x"), of="cpe-2")) == (True, True)
    assert fail(state, cases[0], inventory=Inventory.NON_CPE)


def test_failures_without_end_are_reported_up_to_a_limit(state: StateFile) -> None:
    """A different message each time does not fill topic and state file."""
    words = [chr(ord("a") + first) + chr(ord("a") + second) for first in range(6) for second in range(6)]
    assert sum(fail(state, SourceError(word)) for word in words) == reports.FAILURES_MAX
    assert len(waiting(state)) == reports.FAILURES_MAX


def test_reports_that_wait_too_long_are_given_up_oldest_first(state: StateFile) -> None:
    """Kafka away for months, failures and good polls in turn: only the newest are kept."""
    for number in range(reports.WAITING_MAX + 3):
        fail(state, SourceError(f"number {number}"))
        PollReports.note_success(state, Inventory.CPE, advanced=False)
    kept = waiting(state)
    assert (len(kept), kept[0]) == (reports.WAITING_MAX, "SourceError: number 3")


def test_a_reason_is_short_and_has_no_secret(state: StateFile) -> None:
    """A signed URL and a page of text in an error's message do not reach Kafka."""
    text = "GET https://x.example/part?sv=1&sig=c4narySignature failed: " + "long " * 500
    fail(state, SourceError(text))
    (reason,) = waiting(state)
    assert (len(reason), "c4nary" in reason, reason[-1]) == (reports.REASON_CHARACTERS_MAX, False, "…")


def test_a_full_backlog_is_no_failure_to_report(state: StateFile) -> None:
    """It is Kafka's trouble; a disk without room takes no note either."""
    assert [fail(state, error) for error in (StateFull("x"), StateError("x"))] == [False, True]
    assert waiting(state) == ["StateError: x"]
