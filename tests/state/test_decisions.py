"""Audit lines of decisions about what was held."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.diff.guard import HoldReason
from connector.errors import StateError
from connector.staging import derived, maintenance
from connector.staging.holds import Choice
from connector.state import decisions
from connector.state.decisions import Action, Road, Signature
from tests.support.bench import START, Bench, record, staging_rules
from tests.support.oracle import Record, Rules

STRICT = Rules(max_removed_share=0.15, min_removed=3)
NOW = START + timedelta(days=1)
ALICE = Signature("alice", "retired in change 4711")
BOB = Signature("bob", "the role was gone", Road.CONSOLE)
ALICES: dict[str, Any] = {
    "decided_at": "2026-11-24T08:00:00+00:00",
    "action": "approve",
    "who": "alice",
    "why": "retired in change 4711",
    "road": "command line",
}
BOBS = ALICES | {"action": "discard", "who": "bob", "why": "the role was gone", "road": "console"}


def fleet() -> list[Record]:
    """Three devices in two groups."""
    return [
        *(record("a", f"p{number}", rbacGroupId=1) for number in range(4)),
        *(record("b", f"p{number}", rbacGroupId=2) for number in range(6)),
        *(record("c", f"p{number}", rbacGroupId=2) for number in range(6)),
    ]


def held(bench: Bench) -> None:
    """Five records are gone from the second device, and then the first one's group altogether."""
    bench.stage(fleet())
    bench.stage([line for line in fleet() if line["deviceId"] != "b"])
    bench.stage(fleet()[-6:])
    bench.stage(fleet()[-6:])


def part(bench: Bench, reason: str, devices: int, records: int, **more: Any) -> dict[str, Any]:
    """A part of a decision; its first snapshot is that of the hold it is about."""
    (since,) = (hold.since_snapshot_id for hold in bench.state.journal.holds() if hold.reason == reason)
    return {"inventory": "CPE", "reason": reason, "field": None, "since_snapshot_id": since, "records": records,
            "devices": devices, "snapshot_id": None} | more  # fmt: skip


def test_a_decision_is_written_down_with_what_it_is_about(tmp_path: Path) -> None:
    """When, by whom, why, by which road, the filters, and for each reason how many and where they were published."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        scope, mass = part(bench, "SCOPE_LOST", 1, 4), part(bench, "MASS_REMOVAL", 1, 6)
        choice = Choice(reasons=(HoldReason.SCOPE_LOST,), groups=("1",))
        (row,) = derived.approve_held(
            bench.state, staging_rules(STRICT), now=NOW, choice=choice, signature=ALICE
        )  # fmt: skip
        derived.discard_held(bench.state, now=NOW, signature=BOB)
        bench.reopen()
        assert decisions.newest(bench.state.database) == [
            BOBS | {"choice": {}, "records": 6, "parts": [mass]},
            ALICES
            | {
                "choice": {"reason": ["SCOPE_LOST"], "group": ["1"]},
                "records": 4,
                "parts": [scope | {"snapshot_id": row.snapshot_id}],
            },
        ]
        (only,) = decisions.newest(bench.state.database, reasons=["MASS_REMOVAL"], inventory="CPE")
        assert only["who"] == "bob"
        assert decisions.newest(bench.state.database, inventory="NON_CPE") == []
        assert [row["who"] for row in decisions.newest(bench.state.database, limit=1)] == ["bob"]


def test_held_values_are_written_down_by_field_and_once(tmp_path: Path) -> None:
    """One hold may be chosen among those of a reason; what is approved already is not approved again."""
    fields = ("osPlatform", "rbacGroupName")
    lines = [record(f"d{number}", "p", osPlatform="W", rbacGroupName="G") for number in range(40)]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        bench.stage([line | dict.fromkeys(fields) for line in lines])
        first, second = bench.state.journal.holds()
        rules = staging_rules(bench.rules)
        derived.approve_held(bench.state, rules, now=NOW, choice=Choice().of(first), signature=ALICE)
        assert bench.state.journal.holds() == [second]
        for choice in (Choice().of(first), Choice(), Choice()):
            derived.approve_held(bench.state, rules, now=NOW, choice=choice, signature=ALICE)
        written = [
            [(part["field"], part["records"], part["devices"]) for part in row["parts"]]
            for row in decisions.newest(bench.state.database)
        ]
        assert written == [[(second.field, 40, 40)], [(first.field, 40, 40)]]


def test_what_is_not_decided_is_not_written_down(tmp_path: Path) -> None:
    """Neither a decision that is refused, nor one about nothing, nor one that is only tried."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        with pytest.raises(StateError, match="changed since"):
            derived.approve_held(bench.state, staging_rules(STRICT), now=NOW, expected=[], signature=ALICE)
        derived.discard_held(bench.state, now=NOW, choice=Choice(devices=("nobody",)), signature=ALICE)
        derived.foresee_approval(
            bench.state, bench.state.journal.holds()[0].inventory, staging_rules(STRICT), Choice(), now=NOW
        )
        assert decisions.newest(bench.state.database) == []


def test_decisions_are_kept_as_long_as_the_journal(tmp_path: Path) -> None:
    """They outlive a new epoch, and go with the changes of their time."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        derived.discard_held(bench.state, now=NOW, signature=BOB)
        maintenance.rebaseline(bench.state)
        maintenance.retire(bench.state, older_than=NOW)
        assert len(decisions.newest(bench.state.database)) == 1
        maintenance.retire(bench.state, older_than=NOW + timedelta(seconds=1))
        assert decisions.newest(bench.state.database) == []


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """So that no audit line is larger than what it is about."""
    with Bench(tmp_path, rules=STRICT) as bench:
        held(bench)
        derived.discard_held(bench.state, now=NOW, signature=Signature("w" * 5_000, "y" * 5_000))
        (row,) = decisions.newest(bench.state.database)
        assert (len(row["who"]), len(row["why"]), row["action"]) == (1_000, 1_000, Action.DISCARD)
