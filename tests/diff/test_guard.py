from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Inventory, StagedSnapshot
from connector.staging import derived
from tests.support.bench import EASY, SLOW, START, Bench, brief, choice_of, record, staging_rules, stamped
from tests.support.estate import Estate
from tests.support.oracle import ALL, Part, Record, Rules
from tests.support.stored import missing_devices

STRICT = Rules(max_removed_share=0.15, min_removed=3, missing_device_snapshots=2)


def device(name: str, records: int = 5, *, group: int | None = 1, begin: int = 0) -> list[Record]:
    """A device with that number of records."""
    return [record(name, f"p{number}", rbacGroupId=group) for number in range(begin, begin + records)]


def approve(bench: Bench, part: Part = ALL) -> list[Record]:
    """A person approves what is held, or a part of it: the oracle agrees with what is staged."""
    (staged,) = derived.approve_held(
        bench.state,
        staging_rules(bench.rules),
        now=START + timedelta(hours=6 * bench.number, minutes=2),
        choice=choice_of(part),
    )
    changes = bench.changes(staged)
    assert changes == stamped(bench.model.approve(staged.snapshot_id, part), staged)
    bench.agree(staged, current={})
    return changes


def discard(bench: Bench, part: Part = ALL) -> int:
    """A person discards what is held, or a part of it: the oracle agrees."""
    held = derived.discard_held(bench.state, now=START, choice=choice_of(part))
    bench.model.discard(part)
    assert bench.held() == bench.model.held
    return held


def some_part(bench: Bench) -> Part:
    """All of what is held, or what one of its records has in common with others."""
    inventory, random = bench.model.inventory or {}, bench.random
    key, why = random.choice(list(bench.model.held.items()))
    parts = [ALL, Part(reasons=frozenset({why})), Part(devices=frozenset({key[0]}))]
    if (group := inventory[key]["rbacGroupId"]) is not None:
        parts += [Part(groups=frozenset({str(group)})), Part(frozenset({why}), frozenset({str(group)}))]
    return random.choice(parts)


def removed(bench: Bench, staged: StagedSnapshot) -> list[tuple[str, ...]]:
    """Reason, device and name of each REMOVED change."""
    return [row[1:4] for row in brief(bench.changes(staged)) if row[0] == "REMOVED"]


@given(seed=st.integers(0, 2**32))
@SLOW
def test_whatever_comes_the_published_log_is_the_inventory(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random snapshots: devices away and back, groups lost, mass removals, rejected lines, twins, decisions.

    Those are about all of what is held, or about a part of it.

    After each, changes, holds and inventory are the oracle's; the fold of all published changes is the inventory; and
    nothing was removed that the last complete snapshot contains.
    """
    random = Random(seed)
    estate = Estate(random, devices=8, per_device=6)
    rules = Rules(
        max_removed_share=random.choice((0.0, 0.15, 0.5, 1.0)),
        min_removed=random.choice((0, 3, 10)),
        missing_device_snapshots=random.choice((1, 2, 3)),
        pair_versions=random.random() < 0.8,
    )
    with Bench(tmp_path_factory.mktemp("state"), rules=rules, random=random) as bench:
        for _ in range(8):
            rejected = 0
            lines = estate.lines()
            # A first snapshot with rejected lines is refused whole.
            if bench.model.inventory is not None and len(lines) > 1 and random.random() < 0.25:
                rejected = random.randint(1, len(lines) - 1)
                del lines[:rejected]
            if lines and random.random() < 0.2:
                lines += estate.twins()
            if lines:
                bench.stage(lines, rejected=rejected)
                assert bench.log == bench.model.inventory
            while bench.model.held and random.random() < 0.3:
                random.choice((approve, approve, discard))(bench, some_part(bench))
            estate.evolve()
            random.choice((estate.leave_or_return, estate.leave_or_return, estate.lose_group, estate.lose_many, int))()
            if random.random() < 0.1:
                bench.reopen()


# ---- absent records and absent devices


def test_a_record_absent_while_its_device_is_present_is_removed_at_once(tmp_path: Path) -> None:
    """UNINSTALLED, in the first snapshot without it."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a"))
        assert removed(bench, bench.stage(device("a")[1:])) == [("UNINSTALLED", "a", "p0")]


@pytest.mark.parametrize("snapshots", [1, 2, 3])
def test_a_device_absent_altogether_is_removed_after_so_many_snapshots_in_a_row(snapshots: int, tmp_path: Path) -> None:
    """DEVICE_MISSING, not before `missing_device_snapshots`."""
    rules = replace(EASY, missing_device_snapshots=snapshots)
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage(device("a") + device("b", 1))
        waits = [removed(bench, bench.stage(device("a"))) for _ in range(snapshots - 1)]
        assert waits == [[]] * (snapshots - 1)
        assert missing_devices(bench.state) == (snapshots > 1)
        assert removed(bench, bench.stage(device("a"))) == [("DEVICE_MISSING", "b", "p0")]
        assert missing_devices(bench.state) == 0


def test_a_device_that_returns_in_time_makes_no_event_and_begins_to_count_anew(tmp_path: Path) -> None:
    """Absent, back, absent: never twice in a row, so nothing is removed; what changed meanwhile is a change."""
    with Bench(tmp_path, rules=STRICT) as bench:
        both = device("a") + device("b", 2)
        for lines in (both, device("a"), both, device("a"), both):
            assert bench.stage(lines).counts.changes == 0
        bench.stage(device("a"))
        staged = bench.stage([*device("a"), record("b", "p0", rbacGroupId=1, osPlatform="Linux")])
        assert [row[:4] for row in brief(bench.changes(staged))] == [
            ("CHANGED", "ATTRIBUTES_CHANGED", "b", "p0"),
            ("REMOVED", "UNINSTALLED", "b", "p1"),
        ]


# ---- lost device groups


def test_a_device_group_that_vanishes_whole_is_held_at_once_as_lost_scope(tmp_path: Path) -> None:
    """The app registration sees less: nothing was uninstalled, however few records it concerns."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 2, group=2))
        staged = bench.stage(device("a"))
        assert (staged.counts.removed, staged.counts.held, staged.hold_reason) == (0, 2, "SCOPE_LOST")
        assert [bench.stage(device("a")).counts.held for _ in range(3)] == [0, 0, 0]
        (hold,) = bench.state.journal.holds()
        assert (hold.reason, hold.records, hold.devices, hold.since_snapshot_id) == (
            "SCOPE_LOST", 2, 1, staged.snapshot_id,
        )  # fmt: skip


def test_a_group_that_comes_back_is_forgotten_and_what_is_gone_of_it_is_removed(tmp_path: Path) -> None:
    """A hold for lost scope ends when its device is seen again: then its absent records are judged as any others."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 3, group=2))
        bench.stage(device("a"))
        staged = bench.stage(device("a") + device("b", 2, group=2))
        assert removed(bench, staged) == [("UNINSTALLED", "b", "p2")]
        assert bench.held() == {}


@pytest.mark.parametrize("group", [None, 1])
def test_a_device_of_no_group_or_of_one_that_others_are_in_is_no_lost_scope(group: int | None, tmp_path: Path) -> None:
    """Only a group that has no device left is lost."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 1, group=group))
        assert [bench.stage(device("a")).counts.removed for _ in range(2)] == [0, 1]


def test_a_group_whose_devices_were_all_replaced_is_not_lost(tmp_path: Path) -> None:
    """New machines in the group of the old ones: what the application may see is what it was."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 2, group=2))
        replaced = device("a") + device("c", 2, group=2)
        first, second = bench.stage(replaced), bench.stage(replaced)
        assert (first.counts.held, first.hold_reason, second.counts.held) == (0, None, 0)
        assert removed(bench, second) == [("DEVICE_MISSING", "b", "p0"), ("DEVICE_MISSING", "b", "p1")]


def test_a_group_that_lost_its_devices_one_by_one_is_held_when_the_last_one_goes(tmp_path: Path) -> None:
    """What is left of it waits, and is held from the snapshot that has nothing of the group any more."""
    with Bench(tmp_path, rules=replace(STRICT, missing_device_snapshots=3)) as bench:
        bench.stage(device("a") + device("b", 1, group=2) + device("c", 1, group=2))
        bench.stage(device("a") + device("c", 1, group=2))
        staged = bench.stage(device("a"))
        assert (staged.counts.held, staged.hold_reason) == (2, "SCOPE_LOST")


def test_devices_that_move_to_another_group_are_not_lost_with_the_old_one(tmp_path: Path) -> None:
    """A renamed or merged group is a change of attributes."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 2, group=2))
        staged = bench.stage(device("a") + device("b", 2, group=3))
        assert (staged.counts.changed, staged.counts.removed, staged.counts.held) == (2, 0, 0)


def test_a_device_that_leaves_a_group_as_it_is_lost_does_not_keep_the_group_alive(tmp_path: Path) -> None:
    """The group that it was in before is not seen any more: the records of the others are held."""
    with Bench(tmp_path, rules=replace(STRICT, missing_device_snapshots=1, max_removed_share=1.0)) as bench:
        lost = [line for number in range(4) for line in device(f"lost{number}", 3, group=2)]
        bench.stage(device("a", 30) + lost + device("moves", 3, group=2))
        staged = bench.stage(device("a", 30) + device("moves", 2, group=3))
        assert (staged.counts.changed, staged.counts.held, staged.hold_reason) == (2, 12, "SCOPE_LOST")
        assert removed(bench, staged) == [("UNINSTALLED", "moves", "p2")]


# ---- mass removals


@pytest.mark.parametrize(
    ("stored", "gone", "held"),
    [(20, 3, False), (20, 4, True), (19, 3, True), (10, 2, False), (40, 6, False), (40, 7, True)],
)
def test_more_than_the_share_and_at_least_the_minimum_are_held(
    stored: int, gone: int, held: bool, tmp_path: Path
) -> None:
    """More than 15 % of the records, and 3 at least: held; exactly the share, or fewer than the minimum: removed."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", stored))
        staged = bench.stage(device("a", stored - gone))
        assert (staged.counts.held, staged.counts.removed) == ((gone, 0) if held else (0, gone))
        assert staged.hold_reason == ("MASS_REMOVAL" if held else None)


def test_additions_and_changes_are_published_while_removals_are_held(tmp_path: Path) -> None:
    """A mass removal holds back nothing else, and no later snapshot."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        few = [record("a", "p0", rbacGroupId=1, osPlatform="Linux"), record("a", "new", rbacGroupId=1)]
        staged = bench.stage(few)
        assert (staged.counts.added, staged.counts.changed, staged.counts.removed, staged.counts.held) == (1, 1, 0, 9)
        later = bench.stage([few[0]])
        assert (later.counts.removed, later.counts.held) == (0, 1)
        assert bench.state.journal.held_count() == 10


def test_an_export_that_decays_while_removals_are_held_is_not_believed_step_by_step(tmp_path: Path) -> None:
    """What is held counts towards the share of later snapshots; fewer than the minimum are removed all the same."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 100))
        steps = [bench.stage(device("a", left)) for left in (80, 70, 68, 58)]
        assert [(staged.counts.held, staged.counts.removed, staged.hold_reason) for staged in steps] == [
            (20, 0, "MASS_REMOVAL"), (10, 0, "MASS_REMOVAL"), (0, 2, None), (10, 0, "MASS_REMOVAL"),
        ]  # fmt: skip
        assert [hold.records for hold in bench.state.journal.holds()] == [20, 10, 10]
        back = bench.stage(device("a", 100))
        assert (back.counts.added, back.counts.removed, bench.state.journal.held_count()) == (2, 0, 0)


@pytest.mark.parametrize(("stored", "left", "held"), [(99, 3, 96), (100, 49, 51), (100, 50, 0), (3, 1, 2), (2, 1, 0)])
def test_more_than_half_of_the_inventory_is_held_however_few_records_that_is(
    stored: int, left: int, held: int, tmp_path: Path
) -> None:
    """An inventory smaller than `min_removed` is not without a guard; half of it exactly still goes."""
    with Bench(tmp_path, rules=Rules()) as bench:
        bench.stage(device("a", stored))
        staged = bench.stage(device("a", left))
        assert (staged.counts.held, staged.counts.removed) == ((held, 0) if held else (0, stored - left))


@pytest.mark.parametrize(
    ("stored", "steps", "removals", "held"),
    [
        (600, (503, 406, 310, 214, 118, 20), (97, 0, 0, 0, 0, 0), 483),
        (400, (341, 281, 208), (59, 0, 0), 133),
        (400, (381, 361, 341, 321, 301, 281), (19, 20, 20, 20, 20, 20), 0),
    ],
)
def test_the_removals_of_a_day_are_judged_together(
    stored: int, steps: tuple[int, ...], removals: tuple[int, ...], held: int, tmp_path: Path
) -> None:
    """An export that decays in steps below the share is held with the step that crosses it; slower, it is believed."""
    rules = Rules() if stored > 400 else replace(STRICT, max_removed_share=0.25 if held == 0 else 0.15)
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage(device("a", stored))
        staged = [bench.stage(device("a", left)) for left in steps]
        assert tuple(snapshot.counts.removed for snapshot in staged) == removals
        assert bench.state.journal.held_count() == held


def test_removals_count_for_24_hours_and_those_before_an_approval_are_settled(tmp_path: Path) -> None:
    """Generations are six hours apart here: the fifth after a removal does not know it any more."""
    with Bench(tmp_path / "hours", rules=STRICT) as bench:
        bench.stage(device("a", 100))
        assert [bench.stage(device("a", left)).counts.removed for left in (90, 90, 90, 90, 80)] == [10, 0, 0, 0, 10]
    with Bench(tmp_path / "approval", rules=STRICT) as bench:
        bench.stage(device("a", 100))
        assert [bench.stage(device("a", left)).counts.held for left in (90, 84)] == [0, 6]
        approve(bench)
        assert bench.stage(device("a", 74)).counts.removed == 10


def test_versions_and_moves_are_no_removals_of_the_day(tmp_path: Path) -> None:
    """An upgrade of everything, published as two halves, leaves the next snapshot its own share."""
    with Bench(tmp_path, rules=replace(STRICT, pair_versions=False)) as bench:
        bench.stage([record(f"d{number}", "p", "1") for number in range(40)])
        bench.stage([record(f"d{number}", "p", "2") for number in range(40)])
        assert (
            bench.stage(
                [record(f"d{number}", "p", "2") for number in range(36)]
                + [record(f"d{number}", "q") for number in range(36, 40)]
            ).counts.removed
            == 4
        )


def test_what_is_held_for_lost_scope_is_no_share_of_a_mass(tmp_path: Path) -> None:
    """A group that is not seen any more says nothing about removals on devices that are."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 20) + device("b", 10, group=2))
        assert bench.stage(device("a", 20)).hold_reason == "SCOPE_LOST"
        staged = bench.stage(device("a", 17))
        assert (staged.counts.held, staged.counts.removed, staged.hold_reason) == (0, 3, None)


def test_a_decision_ends_the_doubt_about_later_snapshots(tmp_path: Path) -> None:
    """Approved or discarded, the hold counts no longer: an ordinary removal is believed again."""
    for decide in (approve, discard):
        with Bench(tmp_path / decide.__name__, rules=STRICT) as bench:
            bench.stage(device("a", 100))
            assert bench.stage(device("a", 70)).counts.held == 30
            decide(bench)
            staged = bench.stage(device("a", 95 if decide is discard else 65))
            assert (staged.counts.held, staged.counts.removed) == (0, 5)


def test_held_records_that_come_back_are_forgotten_quietly(tmp_path: Path) -> None:
    """No event for what is as it was, CHANGED for what is not, and the rest stays held."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        bench.stage(device("a", 1))
        back = [*device("a", 5), record("a", "p7", rbacGroupId=1, osPlatform="Linux")]
        staged = bench.stage(back)
        assert [row[3] for row in brief(bench.changes(staged))] == ["p7"]
        assert sorted(key[2] for key in bench.held()) == ["p5", "p6", "p8", "p9"]


def test_a_held_record_whose_device_vanishes_stays_held(tmp_path: Path) -> None:
    """And is not published when the device counts as missing."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 20) + device("b", 10))
        bench.stage(device("a", 20) + device("b", 2))
        reasons = [removed(bench, bench.stage(device("a", 20))) for _ in range(3)]
        assert [len(rows) for rows in reasons] == [0, 2, 0]
        assert bench.state.journal.held_count() == 8


def test_a_held_record_that_became_another_version_is_one_change(tmp_path: Path) -> None:
    """The removal is published as the first half of CHANGED, and is held no longer."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        bench.stage(device("a", 1))
        staged = bench.stage([*device("a", 1), record("a", "p5", "2", rbacGroupId=1)])
        assert brief(bench.changes(staged)) == [("CHANGED", "UPGRADED", "a", "p5", "2")]
        assert bench.state.journal.held_count() == 8


def test_a_version_that_is_held_already_does_not_hide_a_change_of_version(tmp_path: Path) -> None:
    """With version 1 held since an earlier snapshot, 2 becoming 3 is still one change."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage([record("a", "p", "1"), record("a", "p", "2"), *device("a", 4)])
        bench.stage([record("a", "p", "2")])
        staged = bench.stage([record("a", "p", "3")])
        assert brief(bench.changes(staged)) == [("CHANGED", "UPGRADED", "a", "p", "3")]
        assert bench.held().keys() >= {("a", "v", "p", "1")}


@pytest.mark.parametrize("paired", [True, False])
def test_an_upgrade_of_everything_is_no_mass_removal(paired: bool, tmp_path: Path) -> None:
    """Patch Tuesday: every record gone, each with its next version; also where the halves are published as two."""
    before = [record(f"d{number}", "p", "1") for number in range(20)]
    after = [record(f"d{number}", "p", "2") for number in range(20)]
    with Bench(tmp_path, rules=replace(STRICT, pair_versions=paired)) as bench:
        bench.stage(before)
        staged = bench.stage(after)
        assert (staged.counts.changed, staged.counts.added, staged.counts.removed, staged.counts.held) == (
            (20, 0, 0, 0) if paired else (0, 20, 20, 0)
        )


# ---- rejected lines


def test_removals_are_held_while_a_snapshot_has_rejected_lines(tmp_path: Path) -> None:
    """However few; the next snapshot without any decides."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        staged = bench.stage(device("a", 9), rejected=1)
        assert (staged.counts.removed, staged.counts.held, staged.hold_reason, staged.counts.rejected) == (
            0,
            1,
            "REJECTED_LINES",
            1,
        )
        assert bench.stage(device("a", 10)).counts.changes == 0
        assert bench.stage(device("a", 9), rejected=1).counts.held == 1
        assert bench.stage(device("a", 9)).counts.removed == 1


def test_a_version_that_may_stand_on_a_rejected_line_is_not_taken_for_an_earlier_one(tmp_path: Path) -> None:
    """With rejected lines a new version is ADDED; whether the old one is gone is for the next snapshot to say."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage([record("a", "p", "1"), *device("a", 4)])
        staged = bench.stage([record("a", "p", "2"), *device("a", 4)], rejected=1)
        assert brief(bench.changes(staged)) == [("ADDED", "INSTALLED", "a", "p", "2")]
        assert bench.stage([record("a", "p", "1"), record("a", "p", "2"), *device("a", 4)]).counts.changes == 0
        bench.stage([record("a", "p", "2"), *device("a", 4)])
        assert bench.log == bench.model.inventory


def test_a_snapshot_with_rejected_lines_does_not_count_as_one_without_a_device(tmp_path: Path) -> None:
    """The device's lines may be those: two snapshots in a row means two that could be read."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a") + device("b", 1))
        removals = [bench.stage(device("a"), rejected=rejected).counts.removed for rejected in (0, 1, 1, 0)]
        assert removals == [0, 0, 0, 1]


def test_lines_that_were_rejected_while_fetching_hold_removals_too(tmp_path: Path) -> None:
    """Parts carry how many of their lines were set aside before the snapshot came to be staged."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        snapshot = bench.snapshot(device("a", 9))
        parts = (replace(snapshot.parts[0], rejected=1), *snapshot.parts[1:])
        staged = bench.take(replace(snapshot, parts=parts))
        assert (staged.counts.removed, staged.counts.held, staged.counts.rejected) == (0, 1, 1)


# ---- what a person decides


def test_approved_removals_are_published_as_a_snapshot_of_their_own(tmp_path: Path) -> None:
    """REMOVED with reason APPROVED and the next numbers; the inventory drops them; later snapshots go on."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        held = bench.stage(device("a", 2))
        changes = approve(bench)
        assert {(change["changeType"], change["reason"]) for change in changes} == {("REMOVED", "APPROVED")}
        assert [change["sequence"] for change in changes] == list(range(1, 9))
        approval = bench.state.journal.latest_snapshot(Inventory.CPE)
        assert approval is not None
        assert approval.snapshot_id == f"{held.snapshot_id}-approved-3"
        assert (approval.previous_snapshot_id, approval.generated_at) == (held.snapshot_id, held.generated_at)
        assert bench.stage(device("a", 2)).counts.changes == 0
        assert bench.stage(device("a", 3)).counts.added == 1
        assert derived.approve_held(bench.state, staging_rules(bench.rules), now=START) == []


def test_discarded_removals_stay_in_the_inventory_and_are_judged_anew(tmp_path: Path) -> None:
    """The absence was missing data: nothing is published, and the next snapshot without them holds them again."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10) + device("b", 5))
        bench.stage(device("a", 10))
        bench.stage(device("a", 10))
        assert bench.state.journal.held_count() == 5
        assert discard(bench) == 5
        assert missing_devices(bench.state) == 0
        assert [bench.stage(device("a", 10)).counts.held for _ in range(2)] == [0, 5]


def test_an_approval_after_some_records_came_back_removes_only_the_others(tmp_path: Path) -> None:
    """What is back is not held any more."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 10))
        bench.stage(device("a", 2))
        bench.stage(device("a", 6))
        assert sorted(change["softwareName"] for change in approve(bench)) == ["p6", "p7", "p8", "p9"]


def test_holds_tell_how_many_since_when_and_what_share(tmp_path: Path) -> None:
    """One row for each reason and snapshot, oldest first."""
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(device("a", 16) + device("b", 4, group=2))
        first = bench.stage(device("a", 16))
        second = bench.stage(device("a", 8))
        holds = [
            (hold.reason, hold.records, hold.devices, hold.share, hold.since_snapshot_no, hold.since)
            for hold in bench.state.journal.holds()
        ]
    assert holds == [
        ("SCOPE_LOST", 4, 1, 0.2, 2, first.staged_at),
        ("MASS_REMOVAL", 8, 1, 0.4, 3, second.staged_at),
    ]
