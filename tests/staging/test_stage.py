from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from connector import __version__
from connector.diff.distrust import TrustRules
from connector.diff.engines.spark import SparkComparer
from connector.diff.growth import GrowthRules
from connector.diff.guard import GuardRules
from connector.errors import SnapshotIncomplete, StateError
from connector.model import Inventory
from connector.staging.alerts import AlertRules
from connector.staging.engines import COMPARER
from connector.staging.stage import StagingRules, stage_snapshot
from tests.support.bench import EASY, START, TENANT, Bench, record, staging_rules
from tests.support.configured import config_of
from tests.support.oracle import CHANGED_SHARES

EMIT = replace(EASY, emit_baseline=True)


def test_sequences_are_consecutive_over_snapshots(tmp_path: Path) -> None:
    """A consumer can see a gap; a snapshot without changes takes no number."""
    with Bench(tmp_path, rules=EMIT) as bench:
        ranges = []
        for names in ("ab", "abc", "abc", "c"):
            staged = bench.stage([record("d", name) for name in names])
            ranges.append((staged.first_sequence, staged.last_sequence, staged.sequence_after))
    assert ranges == [(1, 2, 2), (3, 3, 3), (None, None, 3), (4, 5, 5)]


def test_changes_are_in_order_per_device_and_product_with_removals_first(tmp_path: Path) -> None:
    """The order is the same whatever the order of rows was."""
    with Bench(tmp_path) as bench:
        bench.stage([record("b", "p", "2"), record("b", "p", "3"), record("a", "z")])
        staged = bench.stage([record("b", "p", "1"), record("a", "z"), record("a", "a"), record("b", "a", "9")])
        order = [(change["deviceId"], change["softwareName"], change["changeType"], change["softwareVersion"])
                 for change in bench.changes(staged)]  # fmt: skip
    assert order == [
        ("a", "a", "ADDED", "1"),
        ("b", "a", "ADDED", "9"),
        ("b", "p", "REMOVED", "2"),
        ("b", "p", "REMOVED", "3"),
        ("b", "p", "ADDED", "1"),
    ]


def test_a_baseline_is_silent_or_one_event_a_record(tmp_path: Path) -> None:
    """Silent, it is counted and stored; emitted, it is BASELINE with reason FIRST_SNAPSHOT."""
    lines = [record("d", "a"), record("d", "b")]
    with Bench(tmp_path / "silent") as bench:
        staged = bench.stage(lines)
        assert (staged.baseline, staged.counts.records, staged.counts.baselined, staged.counts.changes) == (
            True,
            2,
            0,
            0,
        )
    with Bench(tmp_path / "emit", rules=EMIT) as bench:
        staged = bench.stage(lines)
        assert (staged.baseline, staged.counts.records, staged.counts.baselined, staged.counts.changes) == (
            True,
            2,
            2,
            2,
        )
        assert {(change["changeType"], change["reason"]) for change in bench.changes(staged)} == {
            ("BASELINE", "FIRST_SNAPSHOT")
        }
        assert bench.stage(lines).counts.changes == 0


def test_everything_after_an_empty_baseline_is_news(tmp_path: Path) -> None:
    """An estate that had nothing at first: what comes is ADDED, not another baseline."""
    with Bench(tmp_path) as bench:
        assert bench.stage([]).baseline
        staged = bench.stage([record("d", "a")])
        assert (staged.baseline, staged.counts.added) == (False, 1)


def test_an_inventory_whose_last_record_went_goes_on(tmp_path: Path) -> None:
    """Removed to the last record, then something new."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        assert bench.stage([record("e", "b")]).counts.removed == 1
        assert bench.state.journal.inventory_count(Inventory.CPE) == 1


def test_a_snapshot_without_records_is_refused_where_the_inventory_has_some(tmp_path: Path) -> None:
    """An empty export is a fault, not a mass removal; an empty one after an empty one is fine."""
    with Bench(tmp_path) as bench:
        bench.stage([])
        bench.stage([])
        bench.stage([record("d", "a")])
        with pytest.raises(SnapshotIncomplete, match="no records where the inventory has 1") as raised:
            bench.take(bench.snapshot([]))
        assert "Nothing was staged" in raised.value.hint
        assert bench.state.journal.position().last_snapshot == 3


def test_one_state_file_is_for_one_tenant(tmp_path: Path) -> None:
    """The first snapshot says whose it is."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        assert bench.state.journal.tenant_id() == TENANT
        with pytest.raises(StateError, match="not of another") as raised:
            stage_snapshot(
                bench.state,
                bench.snapshot([record("d", "a")]),
                staging_rules(EASY, tenant_id="another"),
                started_at=START,
                now=START,
            )
        assert "its own state file" in raised.value.hint


def test_what_is_staged_is_frozen(tmp_path: Path) -> None:
    """Read at once, read again, read after a restart and after later snapshots: the same, byte for byte."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a", "1"), record("d", "b")])
        staged = bench.stage([record("d", "a", "2", diskPaths=["y", "x"]), record("e", "b")])
        first = bench.changes(staged)
        bench.stage([record("d", "z")], rules=replace(EASY, pair_versions=False))
        bench.reopen()
        assert bench.changes(staged) == first
    assert len(first) == 3


def test_a_change_carries_everything_that_is_published(tmp_path: Path) -> None:
    """All fields of `SoftwareChange`, with the times and ids of its snapshot."""
    with Bench(tmp_path) as bench:
        before = bench.stage([record("d", "a", numberOfWeaknesses=1)])
        staged = bench.stage([record("d", "a", numberOfWeaknesses=2, endOfSupportStatus="EOS Software")])
        (change,) = bench.changes(staged)
    observed = round(staged.observed_at.timestamp() * 1000)
    unset = dict.fromkeys(
        ("deviceName", "osPlatform", "rbacGroupId", "rbacGroupName", "softwareFirstSeenTimestamp", "endOfSupportDate")
    )
    key = {"deviceId": "d", "softwareVendor": "v", "softwareName": "a", "softwareVersion": "1"}
    paths: dict[str, list[str]] = {"diskPaths": [], "registryPaths": []}
    assert uuid.UUID(change.pop("eventId")).version == 5
    assert change == {
        "changeType": "CHANGED",
        "reason": "ATTRIBUTES_CHANGED",
        "changedFields": ["numberOfWeaknesses", "endOfSupportStatus"],
        "before": {**unset, **key, **paths, "numberOfWeaknesses": 1, "endOfSupportStatus": None},
        "isEndOfSupport": True,
        "entraTenantId": TENANT,
        "inventory": "CPE",
        **unset,
        **key,
        **paths,
        "numberOfWeaknesses": 2,
        "endOfSupportStatus": "EOS Software",
        "snapshotId": staged.snapshot_id,
        "previousSnapshotId": before.snapshot_id,
        "observedAt": observed,
        "emittedAt": observed + 120_000,
        "epoch": 1,
        "sequence": 1,
        "replayed": False,
        "connectorVersion": __version__,
    }


@pytest.mark.parametrize(
    ("status", "ended"),
    [("EOS Version", True), ("EOS Software", True), ("Upcoming EOS Version", False), ("None", False), ("", False),
     ("Something New", False), ("eos version", True)],
)  # fmt: skip
def test_end_of_support_is_what_the_api_calls_so(status: str, ended: bool, tmp_path: Path) -> None:
    """Two of the statuses; the set is open, and an unknown one is not the end of support."""
    with Bench(tmp_path, rules=EMIT) as bench:
        (change,) = bench.changes(bench.stage([record("d", "a", endOfSupportStatus=status)]))
    assert change["isEndOfSupport"] == ended


def test_a_snapshot_knows_its_times_its_flavour_and_the_one_before(tmp_path: Path) -> None:
    """Everything that a snapshot report says."""
    with Bench(tmp_path) as bench:
        first = bench.snapshot([record("d", "a")])
        bench.take(first)
        second = bench.snapshot([record("d", "a")])
        staged = bench.take(second)
        assert bench.state.journal.latest_snapshot(Inventory.CPE) == staged
        assert bench.state.journal.recent_snapshots(1) == [staged]
    generated_at = round(second.generated_at.timestamp() * 1000)
    assert (staged.snapshot_id, staged.previous_snapshot_id) == (second.snapshot_id, first.snapshot_id)
    assert (staged.method, staged.content_digest) == (second.method.value, second.content_digest)
    assert (staged.generated_at, staged.generation_known) == (generated_at, True)
    assert (staged.started_at, staged.staged_at) == (generated_at + 60_000, generated_at + 120_000)
    assert staged.observed_at == second.generated_at
    assert staged.status.value == "COMPLETE"


def test_times_are_kept_to_the_millisecond(tmp_path: Path) -> None:
    """A generation between two seconds is reported as it is."""
    with Bench(tmp_path) as bench:
        snapshot = replace(bench.snapshot([record("d", "a")]), generated_at=START + timedelta(milliseconds=123))
        assert bench.take(snapshot).observed_at == START + timedelta(milliseconds=123)


def test_rules_are_what_the_configuration_sets() -> None:
    """Every key of `[diff]`, `[guard]`, `[alerts]` and `state.max_pending` reaches the rules, defaults included."""
    assert StagingRules.of(config_of()) == StagingRules(
        tenant_id="contoso.example",
        guard=GuardRules(max_removed_share=0.15, min_removed=100, missing_device_snapshots=2),
        max_baseline_rejected=0,
        trust=TrustRules(min_changed=100, changed_shares=CHANGED_SHARES),
        growth=GrowthRules(max_added_share=0.5, min_added=100),
        emit_baseline=False,
        pair_versions=True,
        fold_lookalikes=False,
        ignore_fields=frozenset(),
        max_pending=50_000_000,
        alerts=AlertRules(
            enabled=True, on_baseline=False, date_thresholds_days=(90, 30, 7, 0), summarize_above=100, severity={}
        ),
    )
    config = config_of(
        source={"tenant_id": "fabrikam.example"},
        diff={"baseline": "emit", "pair_versions": False, "fold_lookalikes": True, "ignore_fields": ["diskPaths"]},
        guard={
            "max_removed_share": 0.5,
            "min_removed": 7,
            "missing_device_snapshots": 3,
            "max_baseline_rejected": 4,
            "max_changed_share": {"diskPaths": 0.25},
            "min_changed": 8,
            "max_added_share": 2,
            "min_added": 9,
        },
        alerts={
            "enabled": False,
            "on_baseline": True,
            "date_thresholds_days": [5],
            "summarize_above": 9,
            "severity": {"reached": "low"},
        },
        state={"max_pending": 9},
    )
    assert StagingRules.of(config) == StagingRules(
        tenant_id="fabrikam.example",
        guard=GuardRules(max_removed_share=0.5, min_removed=7, missing_device_snapshots=3),
        max_baseline_rejected=4,
        trust=TrustRules(min_changed=8, changed_shares=CHANGED_SHARES | {"diskPaths": 0.25}),
        growth=GrowthRules(max_added_share=2, min_added=9),
        emit_baseline=True,
        pair_versions=False,
        fold_lookalikes=True,
        ignore_fields=frozenset({"diskPaths"}),
        max_pending=9,
        alerts=AlertRules(
            enabled=False, on_baseline=True, date_thresholds_days=(5,), summarize_above=9, severity={"reached": "low"}
        ),
    )


def test_the_engine_is_the_one_that_the_configuration_names() -> None:
    """DuckDB where it names none; Spark is not started by being named, nor need it be installed."""
    assert StagingRules.of(config_of()).comparer is COMPARER
    assert isinstance(StagingRules.of(config_of(engine={"name": "spark"})).comparer, SparkComparer)


def test_a_snapshot_id_is_never_used_twice(tmp_path: Path) -> None:
    """Two changes would have one id: the second snapshot is refused, and nothing of it is staged."""
    with Bench(tmp_path) as bench:
        first = bench.stage([record("d", "a")])
        again = replace(bench.snapshot([record("d", "b")]), snapshot_id=first.snapshot_id)
        with pytest.raises(StateError, match="was staged already"):
            bench.take(again)
        assert [row.snapshot_id for row in bench.state.journal.recent_snapshots(9)] == [first.snapshot_id]
