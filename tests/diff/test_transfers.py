"""Products that move between the two exports, in every order in which these can be staged."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.model import Inventory, Snapshot, StagedSnapshot
from connector.staging import derived
from connector.staging.stage import stage_snapshot
from connector.state.state import StateFile
from tests.support.bench import SLOW, TENANT, brief, record, staging_rules, stamped
from tests.support.estate import START, write_snapshot
from tests.support.oracle import Model, Record, Rules, by_key, fold, key_of
from tests.support.stored import stored_records

CPE, NON_CPE = Inventory.CPE, Inventory.NON_CPE
OTHER = {CPE: NON_CPE, NON_CPE: CPE}
STRICT = Rules(max_removed_share=0.15, min_removed=3, missing_device_snapshots=2)


class Both:
    """A state file with both inventories, beside a model of each."""

    def __init__(self, folder: Path, random: Random, rules: Rules = STRICT) -> None:
        self.folder = folder
        self.random = random
        self.rules = rules
        self.state = StateFile.open(folder / "state.duckdb", memory_limit_mib=256, threads=1)
        self.models = {inventory: Model(TENANT, inventory_name=inventory.value) for inventory in Inventory}
        self.logs: dict[Inventory, dict[Any, Record]] = {inventory: {} for inventory in Inventory}
        self.left: dict[Inventory, set[Any]] = {inventory: set() for inventory in Inventory}
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.close()

    def write(self, inventory: Inventory, lines: Sequence[Record]) -> Snapshot:
        """The next snapshot of an inventory."""
        self.number += 1
        return write_snapshot(self.folder / "parts", self.number, lines, self.random, inventory=inventory)

    def poll(self, cpe: Sequence[Record], non_cpe: Sequence[Record], *, rejected: int = 0) -> list[StagedSnapshot]:
        """Both inventories as one poll stages them: fetched together, one after the other."""
        first, second = self.write(CPE, cpe), self.write(NON_CPE, non_cpe)
        return [
            self.stage(CPE, cpe, snapshot=first, beside=(second, non_cpe), rejected=rejected),
            self.stage(NON_CPE, non_cpe, snapshot=second),
        ]

    def stage(
        self,
        inventory: Inventory,
        lines: Sequence[Record],
        *,
        snapshot: Snapshot | None = None,
        beside: tuple[Snapshot, Sequence[Record]] | None = None,
        rejected: int = 0,
    ) -> StagedSnapshot:
        """Stage one snapshot, and hold everything that comes of it against the oracle."""
        snapshot = snapshot or self.write(inventory, lines)
        model, other = self.models[inventory], OTHER[inventory]
        model.sequence = self.state.journal.position().last_sequence
        stored = set(self.models[other].inventory or {})
        staged = stage_snapshot(
            self.state,
            snapshot,
            staging_rules(self.rules),
            started_at=snapshot.generated_at,
            now=snapshot.generated_at + timedelta(minutes=2),
            rejected=rejected,
            beside=beside[0] if beside else None,
        )
        outcome = model.stage(
            snapshot.snapshot_id,
            lines,
            self.rules,
            rejected=rejected,
            elsewhere=stored | set(by_key(beside[1] if beside else ())),
            left=stored | self.left[inventory],
        )
        changes = self.changes(staged)
        assert changes == stamped(outcome.changes, staged)
        assert (staged.counts.held, staged.hold_reason) == (outcome.held, outcome.hold_reason)
        assert {key_of(line): line for line in stored_records(self.state, inventory)} == model.inventory
        assert self.state.journal.held_count() == sum(len(side.held) for side in self.models.values())
        is_silent = staged.baseline or model.young
        self.logs[inventory] = dict(model.inventory) if is_silent else fold(self.logs[inventory], changes)
        assert self.logs[inventory] == model.inventory
        self.left[inventory] = set()
        self.left[other] |= {key_of(change) for change in changes if change["changeType"] == "REMOVED"}
        return staged

    def changes(self, staged: StagedSnapshot) -> list[Record]:
        """All changes of a staged snapshot."""
        return list(self.state.journal.changes(staged, after=0, limit=10**9))

    def reasons(self, staged: StagedSnapshot) -> set[tuple[str, str]]:
        """Types and reasons of the changes of a staged snapshot."""
        return {(kind, reason) for kind, reason, *_ in brief(self.changes(staged))}


def software(numbers: Sequence[int], device: str = "d") -> list[Record]:
    """A product each."""
    return [record(device, f"p{number}", rbacGroupId=1) for number in numbers]


@given(seed=st.integers(0, 2**32))
@settings(SLOW, max_examples=max(SLOW.max_examples // 2, 1))
def test_whatever_moves_when_the_log_of_each_inventory_is_the_inventory(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random moves, installations, removals; both exports in one poll or one alone: every event is the oracle's."""
    random = Random(seed)
    rules = Rules(
        max_removed_share=random.choice((0.1, 0.3, 1.0)),
        min_removed=random.choice((1, 3)),
        missing_device_snapshots=random.choice((1, 2)),
        pair_versions=random.random() < 0.7,
    )
    keys = [(f"d{device}", f"p{number}", version) for device in range(3) for number in range(3) for version in "12"]
    homes = {key: set(random.choices((CPE, NON_CPE), k=random.randint(0, 2))) for key in keys}
    with Both(tmp_path_factory.mktemp("state"), random, rules) as both:
        for _ in range(6):
            lines = {
                inventory: [record(*key, rbacGroupId=1) for key in keys if inventory in homes[key]]
                for inventory in Inventory
            }
            rejected = random.choice((0, 0, 0, 1))
            # A first snapshot with rejected lines is refused whole.
            begun = {inventory for inventory, model in both.models.items() if model.inventory is not None}
            if lines[CPE] and lines[NON_CPE] and random.random() < 0.6:
                both.poll(lines[CPE], lines[NON_CPE], rejected=rejected if CPE in begun else 0)
            elif lines[chosen := random.choice(list(Inventory))]:
                both.stage(chosen, lines[chosen], rejected=rejected if chosen in begun else 0)
            for key in random.sample(keys, random.choice((1, 2, 9))):
                homes[key] = random.choice(({CPE}, {NON_CPE}, {CPE}, {NON_CPE}, set(), {CPE, NON_CPE}))


@pytest.mark.parametrize("to_non_cpe", [True, False])
def test_everything_that_moves_in_one_poll_is_neither_removed_nor_installed_nor_held(
    to_non_cpe: bool, tmp_path: Path
) -> None:
    """Sixty per cent of an inventory, far beyond the guard's share: MOVED on both sides, in both directions."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software(range(10, 20)))
        border = 4 if to_non_cpe else 16
        first, second = both.poll(software(range(border)), software(range(border, 20)))
        moved = {("REMOVED", "MOVED")}, {("ADDED", "MOVED")}
        assert (both.reasons(first), both.reasons(second)) == (moved if to_non_cpe else moved[::-1])
        assert (
            first.counts.held,
            second.counts.held,
            first.counts.removed + second.counts.removed,
            first.counts.added + second.counts.added,
        ) == (0, 0, 6, 6)


def test_what_moves_without_the_guards_leave_is_held_until_it_is_seen_on_the_other_side(tmp_path: Path) -> None:
    """Gone from one export hours before it comes to the other: held, then MOVED on both sides; no person is needed."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software(range(10, 12)))
        assert both.stage(CPE, software(range(4))).hold_reason == "MASS_REMOVAL"
        assert both.reasons(both.stage(NON_CPE, software([*range(4, 10), 10, 11]))) == {("ADDED", "MOVED")}
        last = both.stage(CPE, software(range(4)))
        assert (both.reasons(last), last.counts.held, both.state.journal.held_count()) == ({("REMOVED", "MOVED")}, 0, 0)


def test_what_moves_while_lines_are_unread_is_held_as_any_removal(tmp_path: Path) -> None:
    """The record may stand on one of those lines; the next snapshot without any says that it moved."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software([10]))
        first, _ = both.poll(software(range(9)), software([9, 10]), rejected=1)
        assert (both.reasons(first), first.counts.held, first.hold_reason) == (set(), 1, "REJECTED_LINES")
        assert both.reasons(both.stage(CPE, software(range(9)))) == {("REMOVED", "MOVED")}


def test_what_left_one_inventory_hours_ago_is_not_installed_in_the_other(tmp_path: Path) -> None:
    """Few records, and generations that differ in time: removed where it was, and MOVED where it comes to."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software([10]))
        assert both.reasons(both.stage(CPE, software(range(9)))) == {("REMOVED", "UNINSTALLED")}
        assert both.stage(CPE, software(range(9))).counts.changes == 0
        assert both.reasons(both.stage(NON_CPE, software([9, 10]))) == {("ADDED", "MOVED")}


def test_what_is_in_both_inventories_is_uninstalled_once(tmp_path: Path) -> None:
    """Gone from both: MOVED out of the first, since the other has it still, and UNINSTALLED from the second."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software(range(9, 12)))
        assert both.reasons(both.stage(CPE, software(range(9)))) == {("REMOVED", "MOVED")}
        assert both.reasons(both.stage(NON_CPE, software(range(10, 12)))) == {("REMOVED", "UNINSTALLED")}


def test_what_moves_raises_no_alert_but_that_its_end_of_support_is_known_now(tmp_path: Path) -> None:
    """Only one of the exports has the end of support: leaving it clears nothing, coming to it installs nothing."""
    ended = [line | {"endOfSupportStatus": "EOS Version"} for line in software(range(10))]
    with Both(tmp_path, Random(1)) as both:
        both.poll(ended, software([10]))
        staged = [*both.poll(ended[:9], software([9, 10])), *both.poll(ended, software([10]))]
        raised = [
            (snapshot.inventory, alert["alertType"])
            for snapshot in staged
            for alert in both.state.journal.alerts(snapshot, after=0, limit=9)
        ]
        assert raised == [(CPE, "REACHED")]


def test_a_dry_run_knows_what_moved(tmp_path: Path) -> None:
    """Also what left the other inventory in an earlier poll: the same reasons as the poll then stages."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software([10]))
        both.stage(CPE, software(range(9)))
        both.state.close()
        snapshot = both.write(NON_CPE, software([9, 10]))
        with StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256, scratch=True) as scratch:
            foreseen = stage_snapshot(
                scratch, snapshot, staging_rules(STRICT), started_at=snapshot.generated_at, now=snapshot.generated_at
            )
            changes = list(scratch.journal.changes(foreseen, after=0, limit=10))
        assert [row[:2] for row in brief(changes)] == [("ADDED", "MOVED")]
        both.state = StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256, threads=1)


def test_lines_of_the_other_snapshot_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    """They are for its own staging to find: what can be read of it shows what moved, and nothing fails here."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software([10]))
        beside = both.write(NON_CPE, software([8, 9, 10]))
        part = beside.parts[-1]
        bad = part.path.with_name("bad.json")
        bad.write_bytes(b'{"deviceId":"d","softwareName":NaN}\n{"deviceId":\n17\n')
        parts = (*beside.parts, type(part)(bad, "bad", 3, 9, {"deviceid": ("deviceId",)}))
        snapshot = both.write(CPE, software(range(8)))
        staged = stage_snapshot(
            both.state,
            snapshot,
            staging_rules(STRICT),
            started_at=snapshot.generated_at,
            now=snapshot.generated_at,
            beside=type(beside)(**{name: getattr(beside, name) for name in beside.__slots__} | {"parts": parts}),
        )
        assert both.reasons(staged) == {("REMOVED", "MOVED")}


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_product_of_another_name_vendor_or_version_has_not_moved(part: int, tmp_path: Path) -> None:
    """All four parts of the key are compared, as they are."""
    names = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software([10]))
        other = [software([9])[0] | {names[part]: "X"}, *software([10])]
        left, right = both.poll(software(range(9)), other)
        assert list(itertools.chain(both.reasons(left), both.reasons(right))) == [
            ("REMOVED", "UNINSTALLED"), ("ADDED", "INSTALLED"),
        ]  # fmt: skip


def test_an_approval_removes_what_each_inventory_holds_and_nothing_else(tmp_path: Path) -> None:
    """Both hold something at once, and one has a record under a key that is held in the other."""
    kept = record("e", "p0", rbacGroupId=3)
    with Both(tmp_path, Random(1)) as both:
        both.poll([*software(range(10)), record("e", "p0", rbacGroupId=2)], [*software(range(10, 20)), kept])
        both.poll(software(range(2)), [*software(range(10, 12)), kept])
        assert both.state.journal.held_count() == 9 + 8
        approved = derived.approve_held(both.state, staging_rules(STRICT), now=START)
        removed = {snapshot.inventory: [row[:4] for row in brief(both.changes(snapshot))] for snapshot in approved}
        assert removed == {
            CPE: [("REMOVED", "APPROVED", *key) for key in [("d", f"p{n}") for n in range(2, 10)] + [("e", "p0")]],
            NON_CPE: [("REMOVED", "APPROVED", "d", f"p{number}") for number in range(12, 20)],
        }
        stored = {inventory: list(map(key_of, stored_records(both.state, inventory))) for inventory in Inventory}
        assert sorted(stored[CPE]) == sorted(map(key_of, software(range(2))))
        assert sorted(stored[NON_CPE]) == sorted(map(key_of, [*software(range(10, 12)), kept]))
        assert both.state.journal.held_count() == 0


def test_an_approval_settles_the_removals_of_its_own_inventory_only(tmp_path: Path) -> None:
    """What the other lost earlier on that day still counts there."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(software(range(10)), software(range(10, 30)))
        _, first = both.poll(software(range(2)), software(range(10, 27)))
        assert (first.counts.removed, first.counts.held) == (3, 0)
        approved = derived.approve_held(both.state, staging_rules(STRICT), now=START)
        assert [(snapshot.inventory, snapshot.counts.removed) for snapshot in approved] == [(CPE, 8)]
        both.models[CPE].held = {}
        second = both.stage(NON_CPE, software(range(10, 25)))
        assert (second.counts.removed, second.counts.held, second.hold_reason) == (0, 2, "MASS_REMOVAL")


def test_a_discard_forgets_the_absences_of_its_own_inventory_only(tmp_path: Path) -> None:
    """A device that is held in one and missing in the other is missing there for the second time in the next one."""
    with Both(tmp_path, Random(1)) as both:
        both.poll(
            [*software(range(10)), record("e", "x", rbacGroupId=2)],
            [*software(range(10, 20)), record("e", "y", rbacGroupId=1)],
        )
        both.poll(software(range(10)), software(range(10, 20)))
        assert derived.discard_held(both.state, now=START) == 1
        both.models[CPE].held, both.models[CPE].missing = {}, {}
        assert both.reasons(both.stage(NON_CPE, software(range(10, 20)))) == {("REMOVED", "DEVICE_MISSING")}
