"""Fields of a snapshot that are not believed: what is stored stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.model import StagedSnapshot
from connector.staging import derived
from tests.support.bench import EASY, SLOW, START, Bench, brief, choice_of, record, staging_rules
from tests.support.oracle import ALL, ATTRIBUTE_NAMES, Part, Record

EMPTY = {"endOfSupportStatus": None, "endOfSupportDate": None}


def fleet(devices: int, products: int = 1) -> list[Record]:
    """Devices with some products each, all of them out of support."""
    return [
        record(
            f"d{device:03}",
            f"p{product:02}",
            deviceName=f"pc-{device}.example.com",
            osPlatform="Windows11",
            rbacGroupId=1,
            rbacGroupName="Servers",
            numberOfWeaknesses=3,
            diskPaths=["C:\\p"],
            registryPaths=["HKLM\\p"],
            softwareFirstSeenTimestamp="2026-01-01T00:00:00Z",
            endOfSupportStatus="EOS Version",
            endOfSupportDate="2026-10-14",
        )
        for device in range(devices)
        for product in range(products)
    ]


def counted(*staged: StagedSnapshot) -> list[tuple[int, int, int]]:
    """Changes, alerts and newly held records of snapshots."""
    return [(row.counts.changes, row.counts.alerts, row.counts.held) for row in staged]


def everywhere(lines: list[Record], **values: object) -> list[Record]:
    """The records with these values."""
    return [line | values for line in lines]


def test_a_generation_without_the_columns_of_end_of_support_clears_and_raises_nothing(tmp_path: Path) -> None:
    """300 devices: held, with exit code 3, and the next generation, whole again, ends it quietly."""
    lines = fleet(300)
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        without = [{name: line[name] for name in line if name not in EMPTY} for line in lines]
        staged = bench.stage(without)
        assert (staged.counts.changes, staged.counts.alerts, staged.hold_reason) == (0, 0, "EMPTIED_FIELD")
        assert bench.distrusted() == dict.fromkeys(EMPTY, ("EMPTIED_FIELD", 300))
        assert bench.state.journal.held_count() == staged.counts.held == 600
        assert counted(bench.stage(without), bench.stage(lines)) == [(0, 0, 0)] * 2
        assert bench.distrusted() == {}


@pytest.mark.parametrize("name", ATTRIBUTE_NAMES)
def test_any_tracked_field_that_is_empty_throughout_is_held(name: str, tmp_path: Path) -> None:
    """Whatever its share is: nothing real empties a column."""
    with Bench(tmp_path) as bench:
        bench.stage(fleet(12))
        assert counted(bench.stage(everywhere(fleet(12), **{name: None}))) == [(0, 0, 12)]
        assert bench.distrusted() == {name: ("EMPTIED_FIELD", 12)}


def test_what_else_changes_beside_a_held_field_is_published_with_the_stored_value(tmp_path: Path) -> None:
    """A change, an addition, a removal and a change of version; the log is the inventory throughout."""
    lines = fleet(20)
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        bench.confirm_baseline()
        later = everywhere(lines[1:], endOfSupportStatus=None)
        later[0] = later[0] | {"numberOfWeaknesses": 9}
        later[1] = later[1] | {"softwareVersion": "2"}
        later.append(record("d999", "new"))
        staged = bench.stage(later)
        assert sorted(row[:3] for row in brief(bench.changes(staged))) == [
            ("ADDED", "NEW_DEVICE", "d999"),
            ("CHANGED", "ATTRIBUTES_CHANGED", "d001"),
            ("CHANGED", "UPGRADED", "d002"),
            ("REMOVED", "DEVICE_MISSING", "d000"),
        ]
        (changed,) = [row for row in bench.changes(staged) if row["deviceId"] == "d001"]
        assert (changed["changedFields"], changed["endOfSupportStatus"]) == (["numberOfWeaknesses"], "EOS Version")
        assert bench.distrusted() == {"endOfSupportStatus": ("EMPTIED_FIELD", 18)}
        assert counted(bench.stage(later)) == [(0, 0, 0)]
        # The value of the version that came meanwhile is news, and nothing else is.
        back = [line | {"endOfSupportStatus": "EOS Version"} for line in later[:-1]] + later[-1:]
        assert [row[:3] for row in brief(bench.changes(bench.stage(back)))] == [
            ("CHANGED", "ATTRIBUTES_CHANGED", "d002")
        ]


def test_a_column_that_comes_back_in_part_is_not_believed_in_the_rest(tmp_path: Path) -> None:
    """A hold lasts while more than a tenth of the values are missing; what is there is taken."""
    lines = fleet(200)
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        missing = everywhere(lines, endOfSupportStatus=None)
        partly = [line | {"endOfSupportStatus": "EOS Software"} for line in lines[:120]] + missing[120:]
        mostly = partly[:120] + lines[120:185] + missing[185:]
        assert counted(bench.stage(missing), bench.stage(partly)) == [(0, 0, 200), (120, 0, 0)]
        assert bench.distrusted() == {"endOfSupportStatus": ("EMPTIED_FIELD", 80)}
        assert counted(bench.stage(mostly)) == [(15, 0, 0)]
        assert bench.distrusted() == {}


def test_a_few_values_that_go_are_news(tmp_path: Path) -> None:
    """Nine records are no evidence of a fault, nor is a value that one record in six keeps."""
    with Bench(tmp_path / "few") as bench:
        bench.stage(fleet(9))
        assert counted(bench.stage(everywhere(fleet(9), rbacGroupName=None))) == [(9, 0, 0)]
    with Bench(tmp_path / "some") as bench:
        bench.stage(fleet(60))
        lines = everywhere(fleet(60)[:50], rbacGroupName=None) + fleet(60)[50:]
        assert counted(bench.stage(lines)) == [(50, 0, 0)]


MASS = {
    "deviceName": "pc",
    "osPlatform": "Linux",
    "softwareFirstSeenTimestamp": "2026-02-02T00:00:00Z",
    "endOfSupportStatus": "None",
    "endOfSupportDate": "2040-01-01",
}


@pytest.mark.parametrize("name", MASS)
def test_a_field_that_changes_on_more_than_its_share_is_held(name: str, tmp_path: Path) -> None:
    """More than half of the records, at least 100 of them, on ten devices or of ten products: until it agrees again."""
    lines = fleet(20, 12)
    changed = [line | {name: MASS[name]} if number < 121 else line for number, line in enumerate(lines)]
    some = [line | {name: MASS[name]} if number < 40 else line for number, line in enumerate(lines)]
    with Bench(tmp_path, rules=replace(EASY, min_changed=100)) as bench:
        bench.stage(lines)
        staged = bench.stage(changed)
        assert (counted(staged), staged.hold_reason) == ([(0, 0, 121)], "MASS_CHANGE")
        assert counted(bench.stage(changed), bench.stage(some)) == [(0, 0, 0)] * 2
        assert bench.distrusted() == {name: ("MASS_CHANGE", 40)}
        assert counted(bench.stage(lines)) == [(0, 0, 0)]
        assert bench.distrusted() == {}


@pytest.mark.parametrize(
    ("devices", "products", "changed", "values"),
    [
        (20, 12, 240, {"numberOfWeaknesses": 9}),
        (20, 12, 240, {"diskPaths": ["D:\\p"], "registryPaths": ["HKLM\\q"]}),
        (20, 12, 240, {"rbacGroupId": 2, "rbacGroupName": "Clients"}),
        (20, 12, 120, {"osPlatform": "Linux"}),
        (9, 30, 270, {"deviceName": "pc"}),
        (300, 1, 300, {"endOfSupportStatus": "EOS Software"}),
        (9, 11, 99, {"endOfSupportStatus": "EOS Software"}),
    ],
)
def test_real_mass_events_flow(
    devices: int, products: int, changed: int, values: dict[str, object], tmp_path: Path
) -> None:
    """A batch of CVEs, paths and groups redrawn, half of the records, nine devices, one product, 99 records."""
    lines = fleet(devices, products)
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        staged = bench.stage(everywhere(lines[:changed], **values) + lines[changed:])
        assert (staged.counts.changed, staged.counts.held) == (changed, 0)


def test_a_share_is_set_for_each_field(tmp_path: Path) -> None:
    """A field that may change on all records is not held, one that may on few is."""
    lines = fleet(30, 10)
    shares = dict(EASY.changed_shares) | {"numberOfWeaknesses": 0.2, "endOfSupportStatus": 1.0}
    with Bench(tmp_path, rules=replace(EASY, changed_shares=shares)) as bench:
        bench.stage(lines)
        staged = bench.stage(everywhere(lines, numberOfWeaknesses=9, endOfSupportStatus="EOS Software"))
        assert counted(staged) == [(300, 0, 300)]
        assert bench.distrusted() == {"numberOfWeaknesses": ("MASS_CHANGE", 300)}


def test_an_approved_field_is_believed_as_the_next_snapshot_has_it(tmp_path: Path) -> None:
    """The alerts it cleared are then published; what the person saw is judged once, and not forever."""
    lines = fleet(40)
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        supported = everywhere(lines, endOfSupportStatus=None, endOfSupportDate=None, numberOfWeaknesses=None)
        bench.stage(supported)
        derived.approve_held(bench.state, staging_rules(bench.rules), now=START)
        bench.model.believe()
        assert bench.state.journal.held_count() == 0
        assert counted(bench.stage(supported)) == [(40, 0, 0)]
        assert counted(bench.stage(everywhere(lines, endOfSupportStatus="None")))[0][2] == 0
        assert bench.stage(everywhere(supported, osPlatform=None)).counts.held == 4 * 40


def test_a_discarded_field_is_judged_afresh(tmp_path: Path) -> None:
    """What is stored stays; the same again is held again."""
    with Bench(tmp_path) as bench:
        bench.stage(fleet(40))
        empty = everywhere(fleet(40), osPlatform=None)
        bench.stage(empty)
        assert derived.discard_held(bench.state, now=START) == 40
        bench.model.discard()
        assert bench.state.journal.holds() == []
        assert counted(bench.stage(empty)) == [(0, 0, 40)]


def test_the_snapshot_that_a_hold_began_with_is_named_and_kept(tmp_path: Path) -> None:
    """Field, reason, records, devices, share and since when."""
    with Bench(tmp_path) as bench:
        bench.stage(fleet(10, 2))
        empty = everywhere(fleet(10, 2), osPlatform=None)
        began = bench.stage(empty)
        bench.stage(empty)
        (hold,) = bench.state.journal.holds()
        assert (hold.field, hold.reason, hold.records, hold.devices, hold.share, hold.since_snapshot_id) == (
            "osPlatform", "EMPTIED_FIELD", 20, 10, 1.0, began.snapshot_id,
        )  # fmt: skip


def test_a_field_that_is_not_tracked_is_not_judged(tmp_path: Path) -> None:
    """Nor one that was not tracked when the inventory was last compared: what is stored of it is old."""
    ignoring = replace(EASY, ignore_fields=frozenset({"osPlatform"}))
    empty = everywhere(fleet(40), osPlatform=None)
    with Bench(tmp_path, rules=ignoring) as bench:
        bench.stage(fleet(40))
        assert counted(bench.stage(empty), bench.stage(empty, rules=EASY)) == [(0, 0, 0)] * 2


@given(seed=st.integers(0, 2**32))
@example(seed=4194305)  # one field is emptied and another changes, both held since one snapshot
@SLOW
def test_whatever_is_held_the_log_is_the_inventory(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Columns that vanish, change and come back in part, twins, decisions about a part or all: as the oracle says."""
    with Bench(tmp_path_factory.mktemp("state"), rules=replace(EASY, min_changed=20)) as bench:
        random = bench.random
        random.seed(seed)
        lines = fleet(12, 11)
        bench.stage(lines)
        for _ in range(6):
            name, share = random.choice(sorted(MASS)), random.choice((0.04, 0.3, 0.7, 1.0))
            value = random.choice((None, MASS[name], f"{MASS[name]} "))
            shown = [line | {name: value} if random.random() < share else line for line in lines]
            if random.random() < 0.3:
                shown += random.sample(shown, 3)
            lines = random.choice((lines, shown[: len(lines)]))
            bench.stage([line for line in shown if random.random() > 0.02])
            assert bench.log == bench.model.inventory
            part = random.choice((ALL, Part(frozenset({"MASS_CHANGE"})), Part(devices=frozenset({"d0"}))))
            if random.random() < 0.2:
                derived.discard_held(bench.state, now=START, choice=choice_of(part))
                bench.model.discard(part)
            elif random.random() < 0.2:
                rules = staging_rules(bench.rules)
                assert derived.approve_held(bench.state, rules, now=START, choice=choice_of(part)) == []
                bench.model.believe(part)
            assert bench.distrusted() == bench.model.distrusted
