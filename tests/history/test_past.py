"""The past, folded from the journal, compared with what was noted at the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import ConfigError, StateError
from connector.history.comparison import compare
from connector.history.exposure import Exposure, Wanted
from connector.history.filters import Selection
from connector.history.fleet import newcomers, prevalence
from connector.history.past import Past
from connector.model import Inventory
from connector.staging import derived, maintenance
from connector.state.state import StateFile
from tests.support.bench import EASY, SLOW, START, Bench, plain_snapshot, record, staging_rules
from tests.support.estate import Estate
from tests.support.oracle import Record, Rules, key_of
from tests.support.past_oracle import Noted, differences, intervals, prevalences
from tests.support.stored import stored_records

EVERYTHING = Selection()


def records_at(state: StateFile, moment: datetime) -> dict[Inventory, list[Record]]:
    """Both inventories at a time, without what the past adds to a record."""
    past = Past(state)
    return {
        snapshot.inventory: [
            {name: value for name, value in found.items() if name not in {"inventory", "isEndOfSupport"}}
            for block in past.records(snapshot, EVERYTHING)
            for found in block
        ]
        for snapshot in past.at(moment)
    }


def walked(state: StateFile, moment: datetime, rows_max: int) -> list[Record]:
    """The records at a time, page by page."""
    past = Past(state)
    (snapshot,) = past.at(moment)
    records, after = [], None
    while True:
        listed = past.page(snapshot, EVERYTHING, rows_max, after)
        records += listed.rows
        if listed.end is None:
            added = {"inventory", "isEndOfSupport"}
            return [{name: value for name, value in row.items() if name not in added} for row in records]
        assert len(listed.rows) == rows_max
        after = listed.end


def lived(bench: Bench, random: Random, snapshots: int) -> list[Noted]:
    """Some snapshots of an estate, with an approval now and then. Returns what was stored after each."""
    estate, noted = Estate(random), []
    for number in range(snapshots):
        if number:
            estate.evolve()
            random.choice((estate.leave_or_return, estate.lose_many, lambda: None, lambda: None))()
        snapshot = bench.snapshot(estate.lines() or [estate.line(next(iter(estate.records)))])
        bench.take(snapshot)
        noted.append(Noted(snapshot.generated_at, stored_records(bench.state, Inventory.CPE)))
        if random.random() < 0.2 and derived.approve_held(bench.state, staging_rules(bench.rules), now=START):
            noted[-1] = Noted(snapshot.generated_at, stored_records(bench.state, Inventory.CPE))
    return noted


@given(seed=st.integers(0, 2**32))
@SLOW
def test_any_generation_any_comparison_and_any_exposure_are_what_was_noted(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Over random histories: upgrades, moves, twins, devices that leave and return, removals held and approved."""
    random = Random(seed)
    rules = random.choice((EASY, Rules(max_added_share=10**6, missing_device_snapshots=2, min_removed=3)))
    with Bench(tmp_path_factory.mktemp("past"), rules=rules, random=random) as bench:
        noted = lived(bench, random, 9)
        past, now = Past(bench.state), noted[-1].at + timedelta(days=random.choice((0, 1, 40, 200)))
        for note in noted:
            assert records_at(bench.state, note.at) == {Inventory.CPE: note.records}
            assert walked(bench.state, note.at, random.choice((1, 7, 500))) == note.records
        for _ in range(3):
            first, last = sorted(random.sample(range(len(noted)), 2))
            (earlier,), (later,) = past.at(noted[first].at), past.at(noted[last].at)
            got = [found for block in compare(bench.state, earlier, later, EVERYTHING) for found in block]
            assert {_brief(found) for found in got} == differences(noted[first].records, noted[last].records)
        assert prevalence(bench.state, EVERYTHING) == prevalences(noted)
        group = random.choice(("Servers", "Büro", "Unassigned"))
        assert prevalence(bench.state, Selection(groups=(group.upper(),))) == prevalences(noted, group)
        got = [found for block in Exposure(bench.state, now).intervals(Wanted()) for found in block]
        assert sorted(map(_interval, got)) == sorted(intervals(noted, now))


def _brief(found: Mapping[str, Any]) -> tuple[Any, ...]:
    before = found["before"] and found["before"]["softwareVersion"]
    return (found["changeType"], *key_of(found), before, tuple(found["changedFields"]))


def _interval(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*key_of(found), found["since"] or 0, found["until"] or 0, found["ended"] == "CLEARED")


def line(device: str, version: str, status: str | None = None, ends: str | None = None) -> Record:
    """A record of one product on a device."""
    return record(device, "p", version) | {"endOfSupportStatus": status, "endOfSupportDate": ends}


def milliseconds(moment: datetime) -> int:
    """As the rows have it."""
    return int(moment.timestamp() * 1000)


def found_by(bench: Bench, now: datetime, **wanted: Any) -> list[tuple[Any, ...]]:
    """Intervals as (device, version, since, until, ended, seconds)."""
    names = ("deviceId", "softwareVersion", "since", "until", "ended", "seconds")
    blocks = Exposure(bench.state, now).intervals(Wanted(**wanted))
    return [tuple(found[name] for name in names) for block in blocks for found in block]


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, list[datetime]]]:
    """Six generations of three devices, and when they were."""
    generations = (
        [line("a", "1", "EOS Version"), line("b", "1"), line("c", "1")],
        [line("a", "2"), line("b", "1", "EOS Version"), line("c", "1", None, "2026-11-24")],
        [line("a", "2"), line("b", "1", "EOS Version"), line("c", "1", None, "2026-11-24")],
        [line("a", "2"), line("b", "1", "None"), line("c", "1", None, "2026-11-24")],
        [line("a", "2"), line("b", "1", "EOS Version")],
        [line("a", "2"), line("b", "1", "EOS Version")],
    )
    with Bench(tmp_path_factory.mktemp("past"), rules=EASY) as bench:
        snapshots = []
        for lines in generations:
            snapshots.append(bench.snapshot(lines))
            bench.take(snapshots[-1])
            bench.confirm_baseline()
        yield bench, [snapshot.generated_at for snapshot in snapshots]


def test_each_interval_says_how_it_began_and_ended(lived_in: tuple[Bench, list[datetime]]) -> None:
    """Before the journal, by a status, by a date while it was there; upgraded, cleared, with its device, or open."""
    bench, at = lived_in
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    now = at[5] + timedelta(days=1)
    hours = 3600
    assert found_by(bench, now) == [
        ("a", "1", None, milliseconds(at[1]), "UPGRADED", 6 * hours),
        ("b", "1", milliseconds(at[4]), None, None, 30 * hours),
        ("c", "1", milliseconds(midnight), milliseconds(at[4]), "DEVICE_MISSING", 14 * hours),
        ("b", "1", milliseconds(at[1]), milliseconds(at[3]), "CLEARED", 12 * hours),
    ]


def test_intervals_are_narrowed_by_what_is_asked_for(lived_in: tuple[Bench, list[datetime]]) -> None:
    """Open ones, long ones, those of a device, of a product, of a group."""
    bench, at = lived_in
    now = at[5] + timedelta(days=1)
    everything = found_by(bench, now)
    assert found_by(bench, now, is_open=True) == [row for row in everything if row[3] is None]
    assert found_by(bench, now, older_than=timedelta(hours=14)) == everything[:3]
    assert found_by(bench, now, selection=Selection(devices=("c",))) == everything[2:3]
    assert found_by(bench, now, selection=Selection(software=(("*", "nothing"),))) == []
    assert found_by(bench, now, selection=Selection(groups=("no such group",))) == []
    assert found_by(bench, now, selection=Selection(inventory=Inventory.CPE)) == everything
    assert found_by(bench, now, selection=Selection(inventory=Inventory.NON_CPE)) == []


def test_a_time_before_the_first_snapshot_is_refused_with_the_time_to_ask_for(
    lived_in: tuple[Bench, list[datetime]],
) -> None:
    """Nothing is made up."""
    bench, at = lived_in
    with pytest.raises(StateError, match="is not known: what is known begins with cpe-20261123T140000Z") as error:
        Past(bench.state).at(at[0] - timedelta(seconds=1))
    assert "Ask for 2026-11-23T14:00:00Z or later; it is the first snapshot of this epoch." in str(error.value.hint)
    assert [snapshot.observed_at for snapshot in Past(bench.state).at(at[1] + timedelta(hours=5))] == [at[1]]


def test_what_came_and_went_between_two_moments_is_no_difference(lived_in: tuple[Bench, list[datetime]]) -> None:
    """A status that changed and changed back; an upgrade is one change with its reason."""
    bench, at = lived_in
    past = Past(bench.state)
    (first,), (second,), (last,) = past.at(at[0]), past.at(at[1]), past.at(at[5])
    (whole,) = compare(bench.state, first, last, EVERYTHING)
    brief = [(found["changeType"], found["reason"], found["deviceId"], found["changedFields"]) for found in whole]
    assert brief == [
        ("CHANGED", "UPGRADED", "a", ["softwareVersion", "endOfSupportStatus"]),
        ("CHANGED", "ATTRIBUTES_CHANGED", "b", ["endOfSupportStatus"]),
        ("REMOVED", "DEVICE_MISSING", "c", []),
    ]
    (rest,) = compare(bench.state, second, last, EVERYTHING)
    assert [found["deviceId"] for found in rest] == ["c"]
    with pytest.raises(ConfigError, match="is not before"):
        next(compare(bench.state, last, first, EVERYTHING))


def test_the_past_ends_where_the_journal_does(tmp_path: Path) -> None:
    """Changes that were deleted cannot be undone; a new epoch begins with nothing; both inventories have their own."""
    with Bench(tmp_path, rules=EASY) as bench:
        snapshots = []
        for number in range(4):
            lines = [record("a", f"{number}.{part}") for part in range(3)]
            snapshots.append(bench.snapshot(lines))
            bench.take(snapshots[-1])
            bench.confirm_baseline()
        bench.take(plain_snapshot(tmp_path / "other", [record("b", "1")], 5, Inventory.NON_CPE))
        assert [len(coverage.snapshots) for coverage in Past(bench.state).coverages] == [4, 1]
        bench.state.database.rows("DELETE FROM changes WHERE sequence = (SELECT max(sequence) - 8 FROM changes)")
        cpe, _ = Past(bench.state).coverages
        assert (cpe.is_whole, [snapshot.snapshot_no for snapshot in cpe.snapshots]) == (False, [3, 4])
        with pytest.raises(StateError, match="is not known") as error:
            Past(bench.state).at(snapshots[1].generated_at)
        assert "older changes have left the journal" in str(error.value.hint)
        maintenance.rebaseline(bench.state)
        with pytest.raises(StateError, match="there is no snapshot yet"):
            Past(bench.state).at(snapshots[3].generated_at)


def test_prevalence_counts_the_devices_of_each_version_on_each_day(lived_in: tuple[Bench, list[datetime]]) -> None:
    """The day's last generation counts; a version that nobody has is left out."""
    bench, _ = lived_in
    rows = prevalence(bench.state, Selection(software=(("v", "p"),)))
    assert [(row["day"], row["softwareVersion"], row["devices"]) for row in rows] == [
        ("2026-11-23", "1", 2),
        ("2026-11-23", "2", 1),
        ("2026-11-24", "1", 1),
        ("2026-11-24", "2", 1),
    ]
    assert prevalence(bench.state, Selection(software=(("*", "nothing"),))) == []
    assert prevalence(bench.state, Selection(inventory=Inventory.NON_CPE)) == []


def test_what_is_new_in_the_organisation_is_named_with_its_devices(lived_in: tuple[Bench, list[datetime]]) -> None:
    """Not what the first snapshot had."""
    bench, at = lived_in
    (version,) = newcomers(bench.state, at[0])
    assert (version["softwareVersion"], version["isNewProduct"], version["devices"], version["sample"]) == (
        "2", False, 1, ["a"],
    )  # fmt: skip
    assert newcomers(bench.state, at[5]) == []
    assert newcomers(bench.state, at[0], Selection(devices=("b",))) == []
    assert newcomers(bench.state, at[0], Selection(inventory=Inventory.NON_CPE)) == []
