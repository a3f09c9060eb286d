"""The order of a poll, with real parts and librdkafka's in-process cluster; the broker's part is in whole/."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connector import config
from connector.assembly import Assembly
from connector.errors import SnapshotIncomplete, SourceError, Stopped
from connector.kafka.mock import MockCluster
from connector.model import Inventory, Topic
from connector.poll.memory import MemoryBudget, MemoryShare
from connector.poll.result import PollResult
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.staging.stage import stage_snapshot
from tests.support.messages import values_on
from tests.support.oracle import Model, Rules
from tests.support.plain_client import PlainClient

PREFIX = "pipeline"


class Tenant:
    """A simulated tenant, and a connector that polls it as one process."""

    def __init__(self, simulator: Simulator, cluster: MockCluster, folder: Path) -> None:
        self.simulator = simulator
        self.kafka_seconds_max = 5.0
        self.tables: dict[str, Any] = {
            "source": simulator.settings() | {"method": "json"},
            "state": {"path": str(folder / "state.duckdb")},
            "guard": {"missing_device_snapshots": 1},
            "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": cluster.bootstrap_servers}},
            "schema_registry": {"url": "mock://pipeline", "auto_register": True},
        }

    def assembly(
        self,
        *,
        stop: threading.Event | None = None,
        memory: Callable[[], MemoryShare] | None = None,
        **tables: dict[str, Any],
    ) -> Assembly:
        """A new process, with some keys changed."""
        merged = {name: table | tables.get(name, {}) for name, table in self.tables.items()}
        merged |= {name: table for name, table in tables.items() if name not in merged}
        return Assembly(
            config.from_values(merged, {}, name="test"),
            stop=stop,
            kafka_seconds_max=self.kafka_seconds_max,
            memory=memory,
        )

    def poll(self, **tables: Any) -> list[PollResult]:
        """One poll of a new process."""
        with self.assembly(**tables) as assembly:
            return list(assembly.pipeline.poll())

    def published(self, topic: Topic) -> list[dict[str, Any]]:
        """Everything on a topic, decoded; by sequence where there is one."""
        with self.assembly() as assembly:
            return values_on(assembly, topic)


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    """Twelve devices."""
    fleet = Fleet(seed=11, devices=12, start=datetime(2026, 1, 1, tzinfo=UTC), churn=4)
    with MockCluster([topic.name_under(PREFIX) for topic in Topic]) as cluster, Simulator(fleet) as simulator:
        yield Tenant(simulator, cluster, tmp_path)


def test_a_batch_holds_no_more_changes_than_it_may(tenant: Tenant) -> None:
    """Whatever the batch size, the same changes are published once each, between one STARTED and one COMPLETE."""
    (result,) = tenant.poll(kafka={**tenant.tables["kafka"], "batch_changes_max": 7}, diff={"baseline": "emit"})
    changes, reports = tenant.published(Topic.CHANGES), tenant.published(Topic.SNAPSHOTS)
    assert [change["sequence"] for change in changes] == list(range(1, result.counts.records + 1))
    assert sorted(report["status"] for report in reports) == ["COMPLETE", "STARTED"]
    assert result.published == result.counts.records


def test_changes_are_folded_only_where_somebody_wants_campaigns(tenant: Tenant) -> None:
    """A `run` shows none, and a fold of a large snapshot takes seconds."""
    tenant.poll()
    folded = []
    for folds in (False, True):
        tenant.simulator.advance()
        with tenant.assembly() as assembly:
            (result,) = assembly.pipeline.poll(folds=folds)
        assert result.counts.changes > 0
        folded.append(len(result.campaigns) > 0)
    assert folded == [False, True]


def test_a_poll_without_kafka_is_staged_and_published_later_with_the_same_ids(tenant: Tenant) -> None:
    """Two snapshots wait in order; the drain publishes what was frozen when they were staged."""
    away = {**tenant.tables["kafka"], "client": {"bootstrap.servers": "127.0.0.1:1"}}
    tenant.poll()
    staged = []
    tenant.kafka_seconds_max = 1
    for _ in range(2):
        tenant.simulator.advance()
        staged += tenant.poll(kafka=away)
    tenant.kafka_seconds_max = 5
    (back,) = tenant.poll()
    changes = tenant.published(Topic.CHANGES)
    assert [(result.outcome, result.exit_code, result.published) for result in staged] == [("staged", 1, 0)] * 2
    assert (back.outcome, back.published) == ("unchanged", len(changes))
    assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
    assert sorted({change["snapshotId"] for change in changes}) == [result.snapshot_id for result in staged]
    assert max(change["emittedAt"] for change in changes) < datetime.now(UTC)


def test_kafka_away_and_nothing_new_is_a_failure(tenant: Tenant) -> None:
    """With nothing staged there is nothing to be glad of: the outage is the result."""
    tenant.poll()
    away = {**tenant.tables["kafka"], "client": {"bootstrap.servers": "127.0.0.1:1"}}
    tenant.kafka_seconds_max = 1
    with pytest.raises(Exception, match="Kafka"):
        tenant.poll(kafka=away)


def test_a_failed_fetch_stages_nothing_and_the_next_poll_works(tenant: Tenant) -> None:
    """An export whose parts stay empty fails whole; once they are there, all changes are found."""
    tenant.poll()
    tenant.simulator.advance()
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.STATUS, status=400, times=1))
    with pytest.raises(SourceError):
        tenant.poll()
    with tenant.assembly().read_state() as state:
        assert state.journal.position().last_snapshot == 1
    (after,) = tenant.poll()
    assert (after.outcome, after.published) == ("published", len(tenant.published(Topic.CHANGES)))


def test_lines_that_cannot_be_read_hold_the_removals(tenant: Tenant, tmp_path: Path) -> None:
    """A malformed line is set aside and counted; what it hides is not reported as removed."""
    tenant.poll()
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.MALFORMED_LINE, times=None))
    tenant.simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.MALFORMED_LINE, times=None))
    tenant.simulator.advance()
    (result,) = tenant.poll(source={"method": "files"})
    rejected = [line for path in (tmp_path / "rejected").iterdir() for line in path.read_text("utf-8").splitlines()]
    assert result.counts.rejected == len(rejected) > 0
    assert result.counts.removed == 0
    assert [change for change in tenant.published(Topic.CHANGES) if change["changeType"] == "REMOVED"] == []


def test_a_mass_removal_is_held_and_then_approved(tenant: Tenant) -> None:
    """Outcome held and exit code 3; approved, the removals are published as APPROVED; the log then has them all."""
    (baseline,) = tenant.poll()
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.FEWER_RECORDS, share=0.5, times=None))
    tenant.simulator.advance()
    (held,) = tenant.poll(guard={"min_removed": 10})
    with tenant.assembly() as assembly:
        approved = assembly.pipeline.approve_held().removed
    reasons = Counter(change["reason"] for change in tenant.published(Topic.CHANGES))
    statuses = Counter(report["status"] for report in tenant.published(Topic.SNAPSHOTS))
    assert (held.outcome, held.exit_code, held.counts.removed) == ("held", 3, 0)
    assert held.counts.held == approved == reasons["APPROVED"] > baseline.counts.records // 4
    assert statuses["HELD"] == 1


def test_both_inventories_are_polled_in_turn(tenant: Tenant) -> None:
    """With `source.include_non_cpe`, a result for each, each with its own chain of snapshots."""
    results = tenant.poll(source={"include_non_cpe": True})
    assert [result.inventory for result in results] == [Inventory.CPE, Inventory.NON_CPE]
    assert [(result.snapshot_id or "").rsplit("-", 1)[0] for result in results] == ["cpe", "non_cpe"]
    assert [result.baseline for result in results] == [
        len(tenant.simulator.records(inventory)) for inventory in (Inventory.CPE, Inventory.NON_CPE)
    ]


@pytest.mark.parametrize("broken", list(Inventory))
def test_one_export_that_fails_does_not_stop_the_other(tenant: Tenant, broken: Inventory) -> None:
    """The other is fetched, staged, published and has its result; then the poll fails, and the next one works."""
    both = {"include_non_cpe": True}
    tenant.poll(source=both)
    tenant.simulator.advance()
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.STATUS, status=400, inventory=broken, times=None))
    results: list[PollResult] = []
    with tenant.assembly(source=both) as assembly, pytest.raises(SourceError):
        results.extend(assembly.pipeline.poll())
    assert [(result.inventory is broken, result.outcome) for result in results] == [(False, "published")]
    tenant.simulator.faults.clear()
    outcomes = {result.inventory: result.outcome for result in tenant.poll(source=both)}
    assert sorted(outcomes.values()) == ["published", "unchanged"]
    assert outcomes[broken] == "published"
    assert {change["inventory"] for change in tenant.published(Topic.CHANGES)} == {"CPE", "NON_CPE"}


def test_software_that_was_seen_again_and_is_the_same_has_not_changed(tenant: Tenant) -> None:
    """In the other export `SoftwareLastSeenTimestamp` moves with every generation: alone it makes no change."""
    both = {"include_non_cpe": True}
    rules = Rules(missing_device_snapshots=1)
    model, seen, outcomes = Model("tenant"), [], []
    for number in range(2):
        tenant.simulator.advance(number)
        (_, result) = tenant.poll(source=both)
        outcomes.append(model.stage(f"{number}", tenant.simulator.records(Inventory.NON_CPE), rules))
        with PlainClient(tenant.simulator) as client:
            seen.append({line["softwareLastSeenTimestamp"] for line in client.page_records(Inventory.NON_CPE)})
    kinds = Counter(change["changeType"] for change in outcomes[1].changes)
    assert (result.counts.added, result.counts.changed, result.counts.removed) == (
        kinds["ADDED"],
        kinds["CHANGED"],
        kinds["REMOVED"],
    )
    assert seen[0].isdisjoint(seen[1])
    assert result.counts.changed < result.counts.records // 2


def test_a_stopped_poll_leaves_between_two_batches(tenant: Tenant) -> None:
    """With the stop set, publishing ends cleanly; the next poll goes on from Kafka's checkpoint."""
    tenant.poll()
    tenant.simulator.advance()
    stop = threading.Event()
    with tenant.assembly(stop=stop) as assembly:
        fetched = assembly.source.fetch(Inventory.CPE, newer_than=None)
        assert fetched is not None
        with assembly.open_state() as state:
            stage_snapshot(state, fetched, assembly.rules, started_at=datetime.now(UTC), now=datetime.now(UTC))
            assembly.publisher.recover(state)
            stop.set()
            with pytest.raises(Stopped):
                assembly.publisher.drain(state)
            pending = state.journal.position().pending
    (after,) = tenant.poll()
    assert (after.outcome, after.published) == ("unchanged", pending)


def test_an_empty_snapshot_is_refused(tenant: Tenant) -> None:
    """Zero records where the inventory has some is a fault of the export, not news."""
    tenant.poll()
    tenant.simulator.advance()
    tenant.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.ZERO_RECORDS, times=None))
    with pytest.raises((SnapshotIncomplete, SourceError)):
        tenant.poll()
    assert tenant.published(Topic.CHANGES) == []


def test_a_dry_run_hands_out_every_change(tenant: Tenant) -> None:
    """What is shown is what the poll then publishes, changes and then alerts, but for the time of staging."""
    tenant.poll()
    tenant.simulator.advance()
    shown: list[dict[str, Any]] = []
    with tenant.assembly() as assembly:
        (dry,) = assembly.pipeline.dry_run(lambda change: shown.append(dict(change)))
    (real,) = tenant.poll()
    published = tenant.published(Topic.CHANGES)
    assert (dry.outcome, dry.counts.added, dry.counts.removed, dry.counts.changed) == (
        "dry_run",
        real.counts.added,
        real.counts.removed,
        real.counts.changed,
    )
    alerts = [event for event in shown if "alertId" in event]
    assert [change["eventId"] for change in shown[: -len(alerts)]] == [change["eventId"] for change in published]
    assert {alert["alertId"] for alert in alerts} == {alert["alertId"] for alert in tenant.published(Topic.ALERTS)}
    assert len(alerts) == dry.counts.alerts == real.counts.alerts == sum(real.alert_types.values()) > 0


def test_the_seconds_of_all_steps_are_in_the_result(tenant: Tenant) -> None:
    """`stages` names the steps that were taken; their sum is not more than the whole."""
    (result,) = tenant.poll()
    assert list(result.stages) == ["recover", "drain", "fetch", "stage", "publish"]
    assert sum(result.stages.values()) <= result.duration_seconds
    assert replace(result, stages={}).as_json()["stages"] == {}


def test_a_poll_waits_for_memory_before_it_compares(tenant: Tenant) -> None:
    """Stopped meanwhile, nothing is staged; a poll that finds nothing new takes none; the wait is a step of its own."""
    budget, stop = MemoryBudget(100), threading.Event()
    memory = partial(budget.share, "tenant", 100, seconds_max=60.0, stop=stop)

    def once_waiting(then: Callable[[], object]) -> None:
        def watch() -> None:
            while not budget.waiting_seconds("tenant"):
                time.sleep(0.01)
            then()

        threading.Thread(target=watch, daemon=True).start()

    with budget.share("other", 100, seconds_max=60.0, stop=stop) as held:
        held.take()
        with tenant.assembly(stop=stop, memory=memory) as assembly:
            once_waiting(stop.set)
            with pytest.raises(Stopped):
                list(assembly.pipeline.poll())
        stop.clear()
        with tenant.assembly() as assembly, assembly.read_state() as state:
            assert state.journal.recent_snapshots(1) == []
        with tenant.assembly(memory=memory) as assembly:
            polling = assembly.pipeline.poll()
            once_waiting(held.__exit__)
            (result,) = polling
    assert (result.outcome, result.baseline > 0, budget.waiting_seconds("tenant")) == ("published", True, 0.0)
    assert "wait" in result.stages
    with budget.share("other", 100, seconds_max=60.0, stop=stop) as again:
        again.take()
        with tenant.assembly(memory=memory) as assembly:
            assert [result.outcome for result in assembly.pipeline.poll()] == ["unchanged"]
