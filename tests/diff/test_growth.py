"""Additions that are not believed: keys written in another way, and growth that no second generation confirms yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.model import StagedSnapshot
from connector.staging import derived
from tests.diff.test_distrust import everywhere, fleet
from tests.support.bench import EASY, SLOW, START, Bench, brief, choice_of, record, staging_rules
from tests.support.oracle import ALL, Part, Record, Rules

STRICT = Rules()
GROWTH = replace(EASY, max_added_share=STRICT.max_added_share)
Rekeying = Callable[[Record], Record]


def grown(devices: int, *, begin: int = 1000) -> list[Record]:
    """Devices that were not there before."""
    return [
        record(f"d{number}", f"new{number % 3}", endOfSupportStatus="EOS Version")
        for number in range(begin, begin + devices)
    ]


def outcomes(*staged: StagedSnapshot) -> list[tuple[int, int, int, str | None]]:
    """Changes, alerts and newly held records of snapshots, and why they are held."""
    return [(row.counts.changes, row.counts.alerts, row.counts.held, row.hold_reason) for row in staged]


def approve(bench: Bench, part: Part = ALL) -> None:
    """A person approves what is held, or a part of it; no removals are."""
    rules = staging_rules(bench.rules)
    assert derived.approve_held(bench.state, rules, now=START, choice=choice_of(part)) == []
    bench.model.believe(part)


REKEYED: dict[str, Rekeying] = {
    "device in another case": lambda line: line | {"deviceId": line["deviceId"].upper()},
    "no version": lambda line: line | {"softwareVersion": None},
    "no name": lambda line: line | {"softwareName": None},
    "vendor in another case": lambda line: line | {"softwareVendor": "V"},
}


@pytest.mark.parametrize("rules", [STRICT, GROWTH], ids=["strict", "easy"])
@pytest.mark.parametrize("name", REKEYED)
def test_keys_that_are_written_in_another_way_are_held_on_both_sides(name: str, rules: Rules, tmp_path: Path) -> None:
    """300 records: nothing is added, changed or removed, however long it lasts, and it ends quietly."""
    lines = fleet(300)
    other = [REKEYED[name](line) for line in lines]
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage(lines)
        assert outcomes(bench.stage(other), bench.stage(other), bench.stage(other), bench.stage(lines)) == [
            (0, 0, 300, "KEYS_CHANGED"), (0, 0, 0, None), (0, 0, 0, None), (0, 0, 0, None),
        ]  # fmt: skip
        assert bench.state.journal.holds() == []


def test_keys_that_come_back_in_part_are_not_believed_in_the_rest(tmp_path: Path) -> None:
    """Until no more than a tenth of the records are new; what changes and moves meanwhile is published."""
    lines = fleet(100)
    other = [line | {"deviceId": line["deviceId"].upper()} for line in lines]
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        changed = [lines[0] | {"osPlatform": "Linux"}, *lines[1:30], *other[30:]]
        assert outcomes(bench.stage(other), bench.stage(changed)) == [(0, 0, 100, "KEYS_CHANGED"), (1, 0, 0, None)]
        assert bench.state.journal.held_count() == 70
        assert outcomes(bench.stage(lines[:91] + other[91:]))[0][:3] == (1 + 9 + 9, 9 + 9, 0)


def test_a_removal_is_held_no_longer_once_its_record_is_back_beside_changed_keys(tmp_path: Path) -> None:
    """Or an approval of what is held would remove what the snapshot has."""
    lines = fleet(100)
    other = [line | {"deviceId": line["deviceId"].upper()} for line in lines[:70]]
    with Bench(tmp_path, rules=replace(STRICT, min_removed=20, min_added=20, missing_device_snapshots=1)) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        assert outcomes(bench.stage(lines[:70])) == [(0, 0, 30, "MASS_REMOVAL")]
        assert outcomes(bench.stage([*other, *lines[70:]])) == [(0, 0, 70, "KEYS_CHANGED")]
        assert bench.held() == {}
        assert derived.approve_held(bench.state, staging_rules(bench.rules), now=START) == []


def test_an_approved_change_of_keys_is_published_at_once(tmp_path: Path) -> None:
    """Additions and removals of the next snapshot: those are APPROVED, whatever the guard's limits are."""
    lines = fleet(150)
    other = [line | {"deviceId": line["deviceId"].upper()} for line in lines]
    with Bench(tmp_path, rules=STRICT) as bench:
        bench.stage(lines)
        bench.stage(other)
        approve(bench)
        staged = bench.stage(other)
        assert {row[:2] for row in brief(bench.changes(staged))} == {("ADDED", "NEW_DEVICE"), ("REMOVED", "APPROVED")}
        assert (staged.counts.added, staged.counts.removed, staged.counts.held) == (150, 150, 0)
        assert outcomes(bench.stage(other[1:]), bench.stage(other[1:])) == [(0, 0, 0, None), (1, 1, 0, None)]


def test_a_discarded_change_of_keys_is_judged_afresh(tmp_path: Path) -> None:
    """The same again is held again."""
    lines = fleet(100)
    other = [line | {"deviceId": line["deviceId"].upper()} for line in lines]
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.stage(other)
        assert derived.discard_held(bench.state, now=START) == 100
        bench.model.discard()
        assert outcomes(bench.stage(other)) == [(0, 0, 100, "KEYS_CHANGED")]


def test_growth_is_believed_once_the_next_generation_confirms_it(tmp_path: Path) -> None:
    """An acquisition: held for one generation, with exit code 3, and then installed with its alerts."""
    lines, more = fleet(190), grown(120)
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        changed = [lines[0] | {"osPlatform": "Linux"}, *lines[2:]]
        assert outcomes(bench.stage(changed + more)) == [(2, 1, 120, "MASS_ADDITION")]
        assert bench.state.journal.held_count() == 120
        assert outcomes(bench.stage(changed + more), bench.stage(changed + more)) == [
            (120, 120, 0, None),
            (0, 0, 0, None),
        ]
        assert bench.state.journal.holds() == []


def test_growth_that_the_next_generation_does_not_confirm_is_forgotten(tmp_path: Path) -> None:
    """Gone again it was never there; where little of it stays, that is ordinary; another mass is held from then on."""
    lines = fleet(190)
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        assert outcomes(bench.stage(lines + grown(120)), bench.stage(lines)) == [
            (0, 0, 120, "MASS_ADDITION"), (0, 0, 0, None),
        ]  # fmt: skip
        assert outcomes(bench.stage(lines + grown(300)), bench.stage(lines + grown(140)), bench.stage(lines)) == [
            (0, 0, 300, "MASS_ADDITION"), (0, 0, 0, None), (0, 0, 0, None),
        ]  # fmt: skip
        assert outcomes(bench.stage(lines + grown(120)), bench.stage(lines + grown(20))) == [
            (0, 0, 120, "MASS_ADDITION"), (20, 20, 0, None),
        ]  # fmt: skip


def test_the_same_generation_again_confirms_no_growth(tmp_path: Path) -> None:
    """It says nothing that it did not say before."""
    lines, more = fleet(190), grown(120)
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        snapshot = bench.snapshot(lines + more)
        assert bench.take(snapshot).counts.held == 120
        again = bench.take(replace(snapshot, snapshot_id=f"{snapshot.snapshot_id}-again"))
        assert (again.counts.added, bench.state.journal.held_count()) == (0, 120)


def test_an_approved_growth_is_added_with_the_next_snapshot(tmp_path: Path) -> None:
    """Also where that has another mass."""
    lines = fleet(190)
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        bench.stage(lines + grown(500))
        approve(bench)
        assert outcomes(bench.stage(lines + grown(120))) == [(120, 120, 0, None)]


@pytest.mark.parametrize(
    ("lines", "later"),
    [
        pytest.param(fleet(200), everywhere(fleet(200), softwareVersion="2"), id="a rollout on every device"),
        pytest.param(fleet(200), fleet(200) + grown(100), id="half of the records"),
        pytest.param(fleet(100), fleet(100) + grown(99), id="fewer than the minimum"),
        pytest.param(
            fleet(40, 3),
            [*fleet(40, 3), *everywhere(fleet(40), softwareVersion="2"), *everywhere(fleet(40), softwareName="q")][20:],
            id="a product more on every device, and some that left",
        ),
    ],
)
def test_real_mass_events_flow(lines: list[Record], later: list[Record], tmp_path: Path) -> None:
    """Whatever is no more than half of what is stored, or another version."""
    with Bench(tmp_path, rules=GROWTH) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        staged = bench.stage(later)
        assert (staged.counts.held, staged.counts.added + staged.counts.changed > 70) == (0, True)


def test_a_version_that_few_records_lack_is_a_version(tmp_path: Path) -> None:
    """Nine records, or one product on every device of many."""
    with Bench(tmp_path / "nine", rules=GROWTH) as bench:
        bench.stage(fleet(9))
        assert outcomes(bench.stage(everywhere(fleet(9), softwareVersion=None)))[0][0] == 9
    with Bench(tmp_path / "some", rules=GROWTH) as bench:
        bench.stage(fleet(30, 3))
        others = [line for line in fleet(30, 3) if line["softwareName"] != "p00"]
        some = everywhere(fleet(30), softwareVersion=None) + others
        assert outcomes(bench.stage(some))[0][0] == 30


@given(seed=st.integers(0, 2**32))
@example(seed=62260)  # records whose removal is held become other versions while keys are held
@SLOW
def test_whatever_is_held_the_log_is_the_inventory(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys that change and come back in part, growth, losses, approvals and discards: as the oracle says."""
    rules = Rules(min_added=20, min_removed=20, missing_device_snapshots=1)
    with Bench(tmp_path_factory.mktemp("state"), rules=rules) as bench:
        random = bench.random
        random.seed(seed)
        lines = fleet(20, 4)
        bench.stage(lines)
        for _ in range(6):
            rekey, share = REKEYED[random.choice(sorted(REKEYED))], random.choice((0.0, 0.08, 0.4, 1.0))
            shown = [rekey(line) if random.random() < share else line for line in lines]
            shown += grown(random.choice((0, 0, 15, 60, 90)))
            bench.stage([line for line in shown if random.random() > 0.05])
            bench.confirm_baseline()
            assert bench.log == bench.model.inventory
            decision = random.random()
            if decision < 0.2:
                derived.discard_held(bench.state, now=START)
                bench.model.discard()
            elif decision < 0.4:
                # Removals that are held meanwhile stay so.
                approve(bench, Part(frozenset({"KEYS_CHANGED", "MASS_ADDITION"})) if bench.model.held else ALL)
