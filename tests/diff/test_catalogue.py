from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import EASY, Bench, brief, record
from tests.support.oracle import Record


def fleet(devices: int, versions: Sequence[str] = ("1",), *, begin: int = 0) -> list[Record]:
    """Devices with those versions of a product, each with something else that stays."""
    return [
        line
        for number in range(begin, devices)
        for line in (record(f"d{number}", "stays"), *(record(f"d{number}", "product", version) for version in versions))
    ]


def reasons(bench: Bench, lines: Sequence[Record]) -> Counter[tuple[str, str]]:
    """Stage a snapshot: how many changes of each type and reason, as the oracle has them too."""
    return Counter((row[0], row[1]) for row in brief(bench.changes(bench.stage(lines))))


@pytest.mark.parametrize(
    ("devices", "left", "reason"),
    [
        pytest.param(10, 10, "CATALOGUE", id="all of the fewest"),
        pytest.param(9, 9, "UNINSTALLED", id="too few devices"),
        pytest.param(20, 18, "CATALOGUE", id="just the share"),
        pytest.param(20, 17, "UNINSTALLED", id="below the share"),
    ],
)
def test_a_version_that_leaves_nearly_all_of_its_devices_at_once_is_the_catalogues(
    devices: int, left: int, reason: str, tmp_path: Path
) -> None:
    """At least ten devices, and nine in ten of those that had it; below either, UNINSTALLED as ever."""
    with Bench(tmp_path, rules=EASY) as bench:
        bench.stage(fleet(devices))
        assert reasons(bench, fleet(left, ()) + fleet(devices, begin=left)) == {("REMOVED", reason): left}


def test_a_device_that_is_missing_says_nothing_of_the_catalogue(tmp_path: Path) -> None:
    """It still had the version when it was seen last: only present devices count, and its records are not explained."""
    with Bench(tmp_path, rules=replace(EASY, missing_device_snapshots=2)) as bench:
        bench.stage(fleet(15))
        assert reasons(bench, fleet(10, ())) == {("REMOVED", "CATALOGUE"): 10}
        assert reasons(bench, fleet(10, ())) == {("REMOVED", "DEVICE_MISSING"): 10}


def test_removals_one_by_one_are_not_the_catalogues(tmp_path: Path) -> None:
    """A rollout of an uninstallation over days: no snapshot has nearly all of it until few devices are left."""
    with Bench(tmp_path, rules=EASY) as bench:
        bench.stage(fleet(20))
        assert reasons(bench, fleet(8, ()) + fleet(20, begin=8)) == {("REMOVED", "UNINSTALLED"): 8}
        assert reasons(bench, fleet(15, ()) + fleet(20, begin=15)) == {("REMOVED", "UNINSTALLED"): 7}
        assert reasons(bench, fleet(20, ())) == {("REMOVED", "UNINSTALLED"): 5}


@pytest.mark.parametrize(
    ("before", "after", "pair_versions", "expected"),
    [
        pytest.param(("1",), ("2",), True, {("CHANGED", "UPGRADED"): 12}, id="upgraded"),
        pytest.param(
            ("1",), ("2",), False, {("REMOVED", "UNINSTALLED"): 12, ("ADDED", "INSTALLED"): 12}, id="not paired"
        ),
        pytest.param(
            ("1",), ("2", "3"), True, {("REMOVED", "UNINSTALLED"): 12, ("ADDED", "INSTALLED"): 24}, id="by two"
        ),
        pytest.param(("1", "2"), ("2",), True, {("REMOVED", "UNINSTALLED"): 12}, id="another stays"),
        pytest.param(("1", "2"), (), True, {("REMOVED", "CATALOGUE"): 24}, id="no version is left"),
    ],
)
def test_a_version_that_is_replaced_is_never_the_catalogues(
    before: Sequence[str],
    after: Sequence[str],
    pair_versions: bool,
    expected: dict[tuple[str, str], int],
    tmp_path: Path,
) -> None:
    """A device that has another version of the product does not count, whether changes of version are paired or not."""
    with Bench(tmp_path, rules=replace(EASY, pair_versions=pair_versions)) as bench:
        bench.stage(fleet(12, before))
        assert reasons(bench, fleet(12, after)) == expected
