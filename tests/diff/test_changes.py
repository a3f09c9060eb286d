from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.exports.software import SOFTWARE
from tests.support.bench import EASY, SLOW, Bench, brief, record
from tests.support.estate import VALUES, Estate
from tests.support.oracle import normal_value

SEEDS = st.integers(0, 2**32)


@given(seed=SEEDS, paired=st.booleans(), emit=st.booleans())
@SLOW
def test_changes_and_inventory_are_those_of_a_plain_dict_diff(
    seed: int, paired: bool, emit: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any sequence of snapshots, in any flavour, order and spelling, with twins: every field of every change."""
    random = Random(seed)
    estate = Estate(random, devices=8, per_device=6)
    rules = replace(EASY, pair_versions=paired, emit_baseline=emit)
    with Bench(tmp_path_factory.mktemp("state"), rules=rules, random=random) as bench:
        for _ in range(random.randint(2, 5)):
            lines = estate.lines()
            if random.random() < 0.5:
                lines += estate.twins()
                random.shuffle(lines)
            bench.stage(lines)
            assert bench.log == bench.model.inventory
            estate.evolve()


@given(seed=SEEDS)
@SLOW
def test_the_same_snapshot_again_is_no_change(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rows, parts and arrays in another order, other spellings of the same values, the other flavour: zero events."""
    random = Random(seed)
    estate = Estate(random, devices=8, per_device=6)
    with Bench(tmp_path_factory.mktemp("state"), random=random) as bench:
        for _ in range(4):
            assert bench.stage(estate.lines()).counts.changes == 0
            if random.random() < 0.3:
                bench.reopen()


@given(seed=SEEDS)
@SLOW
def test_other_rules_between_two_polls_make_no_event(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`ignore_fields` and `pair_versions` change from poll to poll, also while records do: the oracle's changes only.

    A field that is looked at again makes no change by itself where it differs from what was last published.
    """
    random = Random(seed)
    estate = Estate(random, devices=8, per_device=6)
    with Bench(tmp_path_factory.mktemp("state"), random=random) as bench:
        for _ in range(3):
            for _ in range(2):
                ignored = frozenset(random.sample(sorted(VALUES), random.randint(0, len(VALUES))))
                rules = replace(EASY, ignore_fields=ignored, pair_versions=random.random() < 0.5)
                staged = bench.stage(estate.lines(), rules=rules)
            assert staged.counts.changes == 0
            estate.evolve()


def test_a_b_a_gives_each_change_an_id_of_its_own(tmp_path: Path) -> None:
    """What comes, goes and comes again is three events with three ids."""
    single, both = [record("d", "a")], [record("d", "a"), record("d", "b")]
    with Bench(tmp_path) as bench:
        staged = [bench.stage(lines) for lines in (single, both, single, both)]
        changes = [change for snapshot in staged for change in bench.changes(snapshot)]
    assert [change["changeType"] for change in changes] == ["ADDED", "REMOVED", "ADDED"]
    assert len({change["eventId"] for change in changes}) == 3


def test_keys_are_structural(tmp_path: Path) -> None:
    """("a", "bc") and ("ab", "c") are two products, and so are those with an empty part in another place."""
    keys = [("a", "bc", ""), ("ab", "c", ""), ("abc", "", ""), ("", "abc", ""), ("", "", "abc"), ("a", "b", "c")]
    lines = [
        {"deviceId": "d", "softwareVendor": vendor, "softwareName": name, "softwareVersion": version}
        for vendor, name, version in keys
    ]
    with Bench(tmp_path) as bench:
        assert bench.stage(lines).counts.records == 6
        staged = bench.stage(lines[1:])
        assert [(change["softwareVendor"], change["softwareName"]) for change in bench.changes(staged)] == [("a", "bc")]


@pytest.mark.parametrize("name", sorted(VALUES))
def test_each_way_of_writing_a_value_means_the_same_and_each_meaning_is_another(name: str, tmp_path: Path) -> None:
    """Of every attribute: all pairs of spellings of one meaning are no change, all pairs of meanings are one."""
    same = [pair for ways in VALUES[name] for pair in combinations(ways, 2)]
    other = [(ways[0], more[-1]) for ways, more in combinations(VALUES[name], 2)]
    pairs = same + other
    with Bench(tmp_path) as bench:
        bench.stage([record("d", f"{number:03}", **{name: before}) for number, (before, _) in enumerate(pairs)])
        staged = bench.stage([record("d", f"{number:03}", **{name: after}) for number, (_, after) in enumerate(pairs)])
        changes = bench.changes(staged)
    assert [(change["softwareName"], change["changedFields"]) for change in changes] == [
        (f"{number:03}", [name]) for number in range(len(same), len(pairs))
    ]
    assert [change[name] for change in changes] == [
        normal_value(SOFTWARE.field(name).kind, after) for _, after in other
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["1"], ["2"], [("CHANGED", "UPGRADED", "2")]),
        (["2"], ["1"], [("CHANGED", "DOWNGRADED", "1")]),
        (["1"], [""], [("CHANGED", "VERSION_CHANGED", "")]),
        (
            ["1", "2"],
            ["3"],
            [("REMOVED", "UNINSTALLED", "1"), ("REMOVED", "UNINSTALLED", "2"), ("ADDED", "INSTALLED", "3")],
        ),
        (
            ["1"],
            ["2", "3"],
            [("REMOVED", "UNINSTALLED", "1"), ("ADDED", "INSTALLED", "2"), ("ADDED", "INSTALLED", "3")],
        ),
        (["1", "2"], ["1", "3"], [("CHANGED", "UPGRADED", "3")]),
        (["1"], ["1", "2"], [("ADDED", "INSTALLED", "2")]),
        (["1", "2"], ["2"], [("REMOVED", "UNINSTALLED", "1")]),
    ],
)
def test_one_version_gone_and_one_come_are_one_change(
    before: list[str], after: list[str], expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    """Exactly one removed and one added version of a product on a device are paired; side-by-side versions are not."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "product", version) for version in before])
        staged = bench.stage([record("d", "product", version) for version in after])
        changes = [(kind, reason, version) for kind, reason, _, _, version in brief(bench.changes(staged))]
    assert changes == expected


def test_a_version_of_another_device_vendor_or_product_is_no_pair(tmp_path: Path) -> None:
    """Pairs are within one device, one vendor and one product."""
    base = record("d", "product", "1")
    others = [base | {"deviceId": "e"}, base | {"softwareVendor": "w"}, base | {"softwareName": "q"}]
    with Bench(tmp_path) as bench:
        bench.stage([base, record("d", "stays")])
        staged = bench.stage([*(other | {"softwareVersion": "2"} for other in others), record("d", "stays")])
        assert (staged.counts.added, staged.counts.changed, staged.counts.removed) == (3, 0, 1)


def test_a_change_of_version_carries_the_record_before_and_all_that_differs(tmp_path: Path) -> None:
    """`before` is the earlier record, and `changedFields` names the version and whatever else is not the same."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "p", "1", numberOfWeaknesses=3, endOfSupportStatus="None")])
        staged = bench.stage([record("d", "p", "2", numberOfWeaknesses=1, endOfSupportStatus="EOS Version")])
        (change,) = bench.changes(staged)
    assert change["changedFields"] == ["softwareVersion", "numberOfWeaknesses", "endOfSupportStatus"]
    assert (change["before"]["softwareVersion"], change["before"]["numberOfWeaknesses"]) == ("1", 3)
    assert change["isEndOfSupport"]


def test_software_of_a_device_without_any_before_is_of_a_new_device(tmp_path: Path) -> None:
    """NEW_DEVICE where the inventory has nothing of the device, INSTALLED where it has."""
    with Bench(tmp_path) as bench:
        bench.stage([record("old", "a")])
        staged = bench.stage([record("old", "a"), record("old", "b"), record("new", "a"), record("new", "b")])
        assert brief(bench.changes(staged)) == [
            ("ADDED", "NEW_DEVICE", "new", "a", "1"),
            ("ADDED", "NEW_DEVICE", "new", "b", "1"),
            ("ADDED", "INSTALLED", "old", "b", "1"),
        ]


def test_an_ignored_field_alone_makes_no_change_and_rides_along_with_another(tmp_path: Path) -> None:
    """What is ignored is published when something else changes, and is in `changedFields` then."""
    rules = replace(EASY, ignore_fields=frozenset({"numberOfWeaknesses"}))
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage([record("d", "a", numberOfWeaknesses=1)])
        assert bench.stage([record("d", "a", numberOfWeaknesses=2)]).counts.changes == 0
        staged = bench.stage([record("d", "a", numberOfWeaknesses=3, osPlatform="Linux")])
        (change,) = bench.changes(staged)
    assert (change["changedFields"], change["numberOfWeaknesses"]) == (["osPlatform", "numberOfWeaknesses"], 3)
    assert change["before"]["numberOfWeaknesses"] == 1


def test_no_change_says_that_a_field_changed_that_did_not(tmp_path: Path) -> None:
    """A field that is tracked again is stored as it is now, and makes changes from then on."""
    ignoring = replace(EASY, ignore_fields=frozenset({"numberOfWeaknesses"}))
    with Bench(tmp_path, rules=ignoring) as bench:
        bench.stage([record("d", "a", numberOfWeaknesses=1)])
        bench.stage([record("d", "a", numberOfWeaknesses=2)])
        assert bench.stage([record("d", "a", numberOfWeaknesses=2)], rules=EASY).counts.changes == 0
        assert bench.stage([record("d", "a", numberOfWeaknesses=3)]).counts.changed == 1
