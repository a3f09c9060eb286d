"""A first snapshot that was not whole: what later ones add to it is no installation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from connector.staging.stage import StagingRules
from tests.support.bench import EASY, Bench, brief, record, staging_rules
from tests.support.oracle import Record
from tests.support.stored import stored_records as stored_in

SMALL = replace(EASY, min_removed=10)
ENDED = {"endOfSupportStatus": "EOS Version"}


def fleet(records: int, *, begin: int = 0) -> list[Record]:
    """Records of devices that have three each, a third of them out of support."""
    return [
        record(f"d{number // 3}", f"p{number % 3}", **(ENDED if number % 3 == 0 else {}))
        for number in range(begin, begin + records)
    ]


def kinds(bench: Bench, *sizes: int) -> list[tuple[int, int, int]]:
    """Stage the first records of a fleet, so many each time: baselined, added and alerts of each snapshot."""
    staged = [bench.stage(fleet(size)) for size in sizes]
    return [(row.counts.baselined, row.counts.added, row.counts.alerts) for row in staged]


@pytest.mark.parametrize("emit", [True, False])
@pytest.mark.parametrize("sizes", [(20, 39), (10, 39), (0, 39), (5, 20, 39)])
def test_a_mass_of_additions_to_a_young_baseline_completes_it(
    sizes: tuple[int, ...], emit: bool, tmp_path: Path
) -> None:
    """It is staged as the baseline was, BASELINE or silently, until it is whole; no alert, nothing that is new."""
    with Bench(tmp_path, rules=replace(SMALL, emit_baseline=emit)) as bench:
        came = [after - before for before, after in zip((0, *sizes), sizes, strict=False)]
        assert kinds(bench, *sizes, 39, 40) == [
            *((size if emit else 0, 0, 0) for size in came), (0, 0, 0), (0, 1, 1),
        ]  # fmt: skip
        assert bench.state.database.number("SELECT count(*) FROM first_seen WHERE snapshot_no IS NOT NULL") == 0


def test_an_ordinary_snapshot_confirms_the_baseline(tmp_path: Path) -> None:
    """After it a mass of additions is what it says; a fifth of the records, or fewer than the minimum, is ordinary."""
    with Bench(tmp_path / "same", rules=SMALL) as bench:
        assert kinds(bench, 30, 30, 60) == [(0, 0, 0), (0, 0, 0), (0, 30, 10)]
    with Bench(tmp_path / "fifth", rules=SMALL) as bench:
        assert kinds(bench, 60, 72) == [(0, 0, 0), (0, 12, 4)]
    with Bench(tmp_path / "few", rules=SMALL) as bench:
        assert kinds(bench, 9, 18) == [(0, 0, 0), (0, 9, 3)]


def test_changes_of_version_are_no_mass_of_additions(tmp_path: Path) -> None:
    """Everything upgraded in the generation after the first is changes, published as one or as two."""
    before, after = ([record(f"d{number}", "p", version) for number in range(40)] for version in "12")
    for paired, published in ((True, (40, 0)), (False, (0, 40))):
        with Bench(tmp_path / str(paired), rules=replace(SMALL, pair_versions=paired)) as bench:
            bench.stage(before)
            staged = bench.stage(after)
            assert (staged.counts.changed, staged.counts.added) == published


def test_changes_and_removals_of_a_snapshot_that_completes_the_baseline_are_published(tmp_path: Path) -> None:
    """Only what is new is part of the baseline."""
    with Bench(tmp_path, rules=SMALL) as bench:
        bench.stage(fleet(20))
        lines = fleet(39)
        lines[0] = lines[0] | {"osPlatform": "Linux"}
        staged = bench.stage([*lines[:4], *lines[5:]])
        assert [row[:4] for row in brief(bench.changes(staged))] == [
            ("CHANGED", "ATTRIBUTES_CHANGED", "d0", "p0"),
            ("REMOVED", "UNINSTALLED", "d1", "p1"),
        ]
        assert staged.counts.stored == 38


@pytest.mark.parametrize("emit", [True, False])
def test_alerts_on_the_baseline_are_raised_for_what_completes_it(emit: bool, tmp_path: Path) -> None:
    """With `alerts.on_baseline`, each record that is out of support raises one, whichever snapshot it came with."""
    rules = replace(SMALL, emit_baseline=emit)
    with Bench(tmp_path, rules=rules) as bench:
        alerting: StagingRules = staging_rules(rules)
        alerting = replace(alerting, alerts=replace(alerting.alerts, on_baseline=True))
        staged = [bench.take(bench.snapshot(fleet(size)), rules=alerting) for size in (18, 39)]
        assert [row.counts.alerts for row in staged] == [6, 7]
        alerts = bench.alerts(staged[1])
        assert {(alert["alertType"], alert["newToOrganisation"]) for alert in alerts} == {("INSTALLED", False)}
        assert len(stored_in(bench.state, staged[1].inventory)) == 39
