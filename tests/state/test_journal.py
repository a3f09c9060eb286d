from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from connector.model import Inventory
from connector.staging import audit, maintenance
from tests.support.bench import EASY, START, Bench, plain_snapshot, record
from tests.support.oracle import Rules

EVER = START + timedelta(days=1000)


def numbers(bench: Bench) -> list[int]:
    """The numbers of the snapshots that the journal has changes of."""
    return [row[0] for row in bench.state.database.rows("SELECT DISTINCT snapshot_no FROM changes ORDER BY 1")]


def snapshots(bench: Bench) -> list[int]:
    """The numbers of the snapshots that the journal has."""
    return sorted(snapshot.snapshot_no for snapshot in bench.state.journal.recent_snapshots(1000))


def grow(bench: Bench, count: int) -> None:
    """That number of snapshots: a baseline, then one with one more record each."""
    for number in range(count):
        bench.stage([record("d", f"{name:02}") for name in range(number + 1)])


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [(0, 100, [1, 2, 3, 4]), (0, 2, [1, 2]), (2, 2, [3, 4]), (3, 9, [4]), (4, 9, []), (0, 0, [])],
)
def test_changes_are_read_from_anywhere_so_many_at_a_time(
    after: int, limit: int, expected: list[int], tmp_path: Path
) -> None:
    """Beyond a sequence, at most the limit, in order."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        staged = bench.stage([record("d", name) for name in "abcde"])
        assert [
            change["sequence"] for change in bench.state.journal.changes(staged, after=after, limit=limit)
        ] == expected


def test_changes_of_one_snapshot_are_not_those_of_the_next(tmp_path: Path) -> None:
    """A range that reaches over the end of a snapshot ends with it, and one before its beginning begins with it."""
    with Bench(tmp_path) as bench:
        grow(bench, 4)
        first, second, third = bench.state.journal.recent_snapshots(3)[::-1]
        sequences = [[change["sequence"] for change in bench.state.journal.changes(snapshot, after=0, limit=10)]
                 for snapshot in (first, second, third)]  # fmt: skip
    assert sequences == [[1], [2], [3]]


def test_more_changes_than_are_read_at_a_time_come_all_and_in_order(tmp_path: Path) -> None:
    """Block by block, and other statements may run in between."""
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([record("d", "a")]))
        staged = bench.take(bench.snapshot([record("d", f"{number:05}") for number in range(4_500)]))
        sequences = []
        for change in bench.state.journal.changes(staged, after=0, limit=10**9):
            if change["sequence"] in {1, 3_000}:
                bench.state.journal.confirm(bench.checkpoint(staged, sequence=change["sequence"], sealed=False))
            sequences.append(change["sequence"])
    assert sequences == list(range(1, staged.counts.changes + 1))


def test_what_is_old_and_confirmed_is_let_go_of(tmp_path: Path) -> None:
    """By the age of its snapshot: changes first, then the snapshot itself."""
    with Bench(tmp_path) as bench:
        grow(bench, 6)
        third, *_, last = sorted(bench.state.journal.recent_snapshots(4), key=lambda snapshot: snapshot.snapshot_no)
        bench.state.journal.confirm(bench.checkpoint(last))
        assert maintenance.retire(bench.state, older_than=third.observed_at + timedelta(hours=1)) == 2
        assert (numbers(bench), snapshots(bench)) == ([4, 5, 6], [4, 5, 6])
        assert maintenance.retire(bench.state, older_than=third.observed_at + timedelta(hours=1)) == 0
        assert audit.verify(bench.state) == []
        assert bench.stage([record("d", "00")]).counts.removed == 5


def test_nothing_pending_is_let_go_of_however_old(tmp_path: Path) -> None:
    """Kafka is owed it; and the place of the last checkpoint stays known."""
    with Bench(tmp_path) as bench:
        grow(bench, 5)
        middle = sorted(bench.state.journal.recent_snapshots(5), key=lambda snapshot: snapshot.snapshot_no)[2]
        assert maintenance.retire(bench.state, older_than=EVER) == 0
        checkpoint = bench.checkpoint(middle)
        bench.state.journal.confirm(checkpoint)
        assert maintenance.retire(bench.state, older_than=EVER) == 1
        assert (numbers(bench), snapshots(bench)) == ([3, 4, 5], [3, 4, 5])
        assert bench.state.journal.reconcile(checkpoint).pending == 2


def test_the_newest_snapshot_of_each_inventory_is_kept(tmp_path: Path) -> None:
    """The next one is compared with it, and follows it."""
    with Bench(tmp_path) as bench:
        grow(bench, 2)
        bench.state.journal.confirm(bench.checkpoint(bench.stage([record("d", "00")])))
        maintenance.retire(bench.state, older_than=EVER)
        assert snapshots(bench) == [3]
        assert bench.state.journal.latest_snapshot(Inventory.CPE) is not None


def test_the_newest_snapshot_of_an_inventory_is_kept_however_far_the_other_went(tmp_path: Path) -> None:
    """One export may stand still for longer than the journal is kept: its next snapshot has one to be compared with."""
    with Bench(tmp_path) as bench:
        first, second, third = (
            bench.take(plain_snapshot(tmp_path, [record("d", name) for name in names], number, inventory))
            for number, (names, inventory) in enumerate(
                (("a", Inventory.CPE), ("b", Inventory.NON_CPE), ("bc", Inventory.NON_CPE)), start=1
            )
        )
        bench.state.journal.confirm(bench.checkpoint(third))
        maintenance.retire(bench.state, older_than=EVER)
        assert snapshots(bench) == [first.snapshot_no, third.snapshot_no] != [second.snapshot_no, third.snapshot_no]
        assert bench.state.journal.latest_snapshot(Inventory.CPE) == first


def test_the_snapshot_since_which_something_is_held_is_kept(tmp_path: Path) -> None:
    """A person who looks at it later sees since when."""
    with Bench(tmp_path, rules=Rules(min_removed=1, max_removed_share=0.5)) as bench:
        bench.stage([record("d", f"{name}") for name in range(9)])
        held = bench.stage([record("d", "0")])
        bench.stage([record("d", "0", osPlatform="Linux")])
        bench.state.journal.confirm(bench.checkpoint(bench.stage([record("d", "0")])))
        maintenance.retire(bench.state, older_than=EVER)
        assert snapshots(bench) == [2, 4]
        assert [hold.since_snapshot_id for hold in bench.state.journal.holds()] == [held.snapshot_id]


def test_one_call_lets_go_of_a_bounded_number(tmp_path: Path) -> None:
    """The oldest first; a snapshot that is gone in part keeps its row until all of it is."""
    with Bench(tmp_path, rules=EASY) as bench:
        grow(bench, 2)
        bench.stage([record("d", f"{name:02}") for name in range(12)])
        bench.state.journal.confirm(bench.checkpoint(bench.stage([record("d", "00")])))
        with bench.state.database.transaction():
            assert bench.state.journal.retire(older_than=EVER, changes_max=4) == 4
        assert (numbers(bench), snapshots(bench)) == ([3, 4], [3, 4])
        assert audit.verify(bench.state) == []
        assert maintenance.retire(bench.state, older_than=EVER) == 7
        assert snapshots(bench) == [4]


def test_numbers_of_what_no_record_has_any_more_are_let_go_of(tmp_path: Path) -> None:
    """Devices and versions that were, so that the tables of them do not grow forever; and their return is no fault."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a"), record("e", "b")])
        bench.state.journal.confirm(bench.checkpoint(bench.stage([record("d", "a")])))
        maintenance.retire(bench.state, older_than=EVER)
        assert bench.state.database.rows("SELECT device_id FROM devices") == [("d",)]
        assert bench.state.database.rows("SELECT software_name FROM software") == [("a",)]
        assert bench.stage([record("d", "a"), record("e", "b"), record("f", "c")]).counts.added == 2
