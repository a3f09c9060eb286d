"""Decisions about a part of what is held, and what an approval would come to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.diff.guard import HoldReason
from connector.errors import StateError
from connector.model import Inventory
from connector.staging import derived, holds
from connector.staging.derived import Effect
from connector.staging.holds import Choice, Extent
from connector.state.state import StateFile
from tests.support.bench import START, Bench, brief, record, staging_rules
from tests.support.oracle import Record, Rules

STRICT = Rules(max_removed_share=0.15, min_removed=3)
NOW = START + timedelta(hours=1)
ENDED: dict[str, Any] = {"endOfSupportStatus": "EOS Version"}
SOON: dict[str, Any] = {"endOfSupportStatus": "Upcoming EOS Version"}


def fleet() -> list[Record]:
    """Three devices in two groups; some of their software is out of support, or will be."""
    north: dict[str, Any] = {"rbacGroupId": 1, "rbacGroupName": "North"}
    south: dict[str, Any] = {"rbacGroupId": 2, "rbacGroupName": "South"}
    return [
        *(record("a", f"p{number}", deviceName="A.corp.example", **north, **ENDED) for number in range(3)),
        *(record("b", f"p{number}", deviceName="B.corp.example", **south, **ENDED) for number in range(2)),
        record("b", "p2", deviceName="B.corp.example", **south, **SOON),
        *(record("c", f"p{number}", **south) for number in range(4)),
    ]


def held(bench: Bench) -> None:
    """A group vanishes, and of the other all but one record, in two snapshots."""
    bench.stage(fleet())
    bench.stage(fleet()[-1:])
    bench.stage(fleet()[-1:])


def test_what_an_approval_would_come_to_is_what_it_comes_to(tmp_path: Path) -> None:
    """Removals and alerts of the approval, and the alerts of the snapshot with which everything returns."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        assert set(bench.held().values()) == {"SCOPE_LOST", "MASS_REMOVAL"}
        bench.state.close()
        before = bench.path.read_bytes()
        with StateFile.open(bench.path, memory_limit_mib=256, scratch=True) as scratch:
            foreseen = derived.foresee_approval(scratch, Inventory.CPE, staging_rules(STRICT), Choice(), now=NOW)
        assert bench.path.read_bytes() == before
        bench.reopen()
        (approval,) = derived.approve_held(bench.state, staging_rules(STRICT), now=NOW)
        bench.model.approve(approval.snapshot_id)
        bench.agree(approval, current={})
        back = bench.stage(fleet())
        assert foreseen == Effect(approval.counts.removed, approval.counts.alerts, back.counts.alerts)
        assert foreseen == Effect(9, 5, 6)
        assert back.counts.added == foreseen.removed


@pytest.mark.parametrize(
    ("choice", "removed"),
    [
        (Choice(), 9),
        (Choice(reasons=(HoldReason.SCOPE_LOST,)), 3),
        (Choice(reasons=(HoldReason.SCOPE_LOST, HoldReason.MASS_REMOVAL)), 9),
        (Choice(reasons=(HoldReason.REJECTED_LINES,)), 0),
        (Choice(inventory=Inventory.NON_CPE), 0),
        (Choice(groups=("south",)), 6),
        (Choice(groups=("1",)), 3),
        (Choice(groups=("s*", "n*")), 9),
        (Choice(devices=("a", "c")), 6),
        (Choice(devices=("b.corp.example",)), 3),
        (Choice(devices=("B*",), groups=("North",)), 0),
    ],
)
def test_a_part_is_named_by_reason_inventory_group_and_device(choice: Choice, removed: int, tmp_path: Path) -> None:
    """Several words of one option are alternatives, several options go together; what is not named stays held."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        staged = derived.approve_held(bench.state, staging_rules(STRICT), now=NOW, choice=choice)
        assert sum(row.counts.removed for row in staged) == removed
        assert len(bench.held()) == 9 - removed


def test_removals_are_settled_once_nothing_is_held_any_more(tmp_path: Path) -> None:
    """A person who approves a part has not looked at the rest: the removals of the day still count."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        bench.state.database.rows("INSERT INTO believed_removals VALUES ('CPE', 1, 0, 2)")
        counts = []
        for choice in (Choice(devices=("a",)), Choice()):
            derived.approve_held(bench.state, staging_rules(STRICT), now=NOW, choice=choice)
            counts.append(bench.state.database.number("SELECT sum(records)::BIGINT FROM believed_removals"))
        assert counts == [2, 0]


def test_a_decision_about_what_is_no_longer_held_like_that_is_refused(tmp_path: Path) -> None:
    """A poll or another person was faster: nothing is approved, and nothing discarded."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        seen = bench.state.journal.holds()
        derived.discard_held(bench.state, now=NOW, choice=Choice(devices=("a",)))
        before = bench.held()
        with pytest.raises(StateError, match="what is held changed since it was counted"):
            derived.approve_held(bench.state, staging_rules(STRICT), now=NOW, expected=seen)
        with pytest.raises(StateError, match="what is held changed since it was counted"):
            derived.discard_held(bench.state, now=NOW, expected=seen)
        assert bench.held() == before


def test_a_hold_is_measured_in_records_devices_and_groups(tmp_path: Path) -> None:
    """With the names of those that have the most."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        extents = [
            holds.measure(bench.state, Inventory.CPE, choice) for choice in (Choice(), Choice(devices=("nobody",)))
        ]
        assert extents == [
            Extent(9, 3, 2, (("South", 6), ("North", 3)), (("A.corp.example", 3), ("B.corp.example", 3))),
            Extent(0, 0, 0, (), ()),
        ]


def test_two_parts_approved_one_after_the_other_are_all_of_it(tmp_path: Path) -> None:
    """Each is a snapshot of its own, and no change has the id of another."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        parts = [Choice(devices=("a",)), Choice()]
        staged = [
            row
            for choice in parts
            for row in derived.approve_held(bench.state, staging_rules(STRICT), now=NOW, choice=choice)
        ]
        changes = [change for row in staged for change in bench.changes(row)]
        assert len({row.snapshot_id for row in staged}) == 2
        assert len({change["eventId"] for change in changes}) == len(changes) == 9
        assert {row[:2] for row in brief(changes)} == {("REMOVED", "APPROVED")}
        assert bench.held() == {}
