"""Clocks that jump, zones that change their time, generations that go back: whole polls, and what they publish."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.assembly import Assembly
from connector.errors import SnapshotIncomplete
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.poll.result import PollResult
from connector.simulator import Fleet, Simulator
from connector.staging import audit
from tests.support.messages import values_on

AUTUMN = datetime(2026, 10, 24, 19, tzinfo=UTC)
"""Generations are six hours apart: the one after this is at two in the morning in Paris, for the second time."""
ZONES = ("UTC", "Europe/Paris")


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockCluster]:
    """A Kafka inside this process."""
    names = ["jumps", "older", *(zone.lower().replace("/", "-") for zone in ZONES)]
    with MockCluster([topic.name_under(name) for topic in Topic for name in names]) as cluster:
        yield cluster


@dataclass
class Polls:
    """Polls of one tenant, each by a connector that is given the time."""

    simulator: Simulator
    cluster: MockCluster
    folder: Path
    prefix: str
    now: datetime = AUTUMN
    published: list[dict[str, Any]] = field(default_factory=list)

    def assembly(self) -> Assembly:
        """A new process."""
        tables: dict[str, Any] = {
            "source": self.simulator.settings() | {"method": "files"},
            "state": {"path": str(self.folder / "state.duckdb")},
            "guard": {"missing_device_snapshots": 1, "max_removed_share": 1},
            "kafka": {"topic_prefix": self.prefix, "client": {"bootstrap.servers": self.cluster.bootstrap_servers}},
            "schema_registry": {"url": "mock://time", "auto_register": True},
        }
        return Assembly(config.from_values(tables, {}, name="test"), clock=lambda: self.now, kafka_seconds_max=5)

    def poll(self, now: datetime) -> PollResult:
        """One poll at that time."""
        self.now = now
        with self.assembly() as assembly:
            (result,) = assembly.pipeline.poll()
            self.published = values_on(assembly, Topic.CHANGES)
        return result

    def advance(self) -> datetime:
        """The next generation; its time."""
        return self.simulator.advance()


def fleet(start: datetime = AUTUMN) -> Fleet:
    """Few devices, and many things that happen to them."""
    return Fleet(seed=8, devices=5, start=start, churn=20)


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The local zone of this process."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


SEEN: dict[str, Any] = {}
"""What was published in the first zone."""


@pytest.mark.parametrize("zone", ZONES, indirect=True)
def test_the_local_zone_and_its_summer_time_have_no_part_in_what_is_published(
    zone: str, cluster: MockCluster, tmp_path: Path
) -> None:
    """Across the night in which clocks are set back: ids, times and records are the same in every zone."""
    with Simulator(fleet()) as simulator:
        polls = Polls(simulator, cluster, tmp_path, zone.lower().replace("/", "-"))
        results = [polls.poll(AUTUMN + timedelta(minutes=10))]
        results.append(polls.poll(polls.advance() + timedelta(minutes=10)))
    published = [
        polls.published,
        [(result.snapshot_id, result.counts.records, result.counts.changed) for result in results],
    ]
    first = SEEN.setdefault("published", published)
    assert len(polls.published) > 5
    assert published == first
    assert {change["observedAt"] for change in polls.published} == {AUTUMN + timedelta(hours=6)}


def test_a_clock_that_jumps_costs_no_change_and_no_history(cluster: MockCluster, tmp_path: Path) -> None:
    """Set back twenty hours, then ahead by two years, then right again: every change once, in order, and all kept.

    While it is back, the export is dated ahead of it: those polls fail, and name both times.
    """
    jumps = [timedelta(0), timedelta(days=730), timedelta(0)]
    with Simulator(fleet()) as simulator:
        polls = Polls(simulator, cluster, tmp_path, "jumps")
        outcomes = []
        generated_at = AUTUMN
        for jump in jumps:
            with pytest.raises(SnapshotIncomplete, match="this machine's clock says"):
                polls.poll(generated_at - timedelta(hours=20))
            outcomes.append(polls.poll(generated_at + jump).outcome)
            generated_at = polls.advance()
        assert outcomes == ["published"] * 3
        with polls.assembly() as assembly, assembly.open_state() as state:
            kept = [
                change["sequence"]
                for staged in reversed(state.journal.recent_snapshots(10))
                for change in state.journal.changes(staged, after=0, limit=1000)
            ]
            assert audit.verify(state) == []
            assert state.journal.position().drained
    sequences = [change["sequence"] for change in polls.published]
    assert sequences == kept == list(range(1, len(kept) + 1))
    assert len(kept) > 20
    assert len({change["eventId"] for change in polls.published}) == len(kept)


def test_a_generation_older_than_the_last_is_said_and_staged_by_no_poll(
    cluster: MockCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An export that goes back to yesterday is ignored: unchanged, nothing published, and the log says so."""
    with Simulator(fleet()) as simulator, Simulator(fleet(AUTUMN - timedelta(days=1))) as yesterday:
        polls = Polls(simulator, cluster, tmp_path, "older")
        first = polls.poll(AUTUMN)
        polls.simulator = yesterday
        second = polls.poll(AUTUMN + timedelta(hours=1))
    assert (first.outcome, second.outcome, second.snapshot_id) == ("published", "unchanged", first.snapshot_id)
    assert "older than the inventory and" in caplog.text
