"""What is out of support now, from the stored records alone, compared with the fold of the journal and with a count."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from connector.history.exposure import Exposure, Wanted
from connector.history.filters import Filters
from connector.history.support_now import SupportNow
from connector.model import Inventory
from tests.support.bench import EASY, START, Bench, record
from tests.support.estate import Estate
from tests.support.stored import stored_records


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_fold_of_the_journal(seed: int, tmp_path: Path) -> None:
    """Over random histories, with what said so last and is silent now: as many are open, of the same products."""
    estate = Estate(Random(seed))
    with Bench(tmp_path, rules=EASY, random=Random(seed)) as bench:
        for _ in range(6):
            bench.take(bench.snapshot(estate.lines()))
            bench.confirm_baseline()
            estate.evolve()
        for filters in (
            Filters(),
            Filters(groups=("Servers",)),
            Filters(software=("*bc*",)),
            Filters(devices=("d-*",)),
        ):
            now = START + timedelta(hours=36)
            wanted = Wanted(filters.at(now), is_open=True)
            folded = Exposure(bench.state, now).summary(wanted)
            totals, listed = SupportNow(bench.state, wanted.selection, now.date()).totals(10**6)
            assert (totals["open"], totals["openDevices"]) == (folded["open"], folded["openDevices"])
            assert (len(listed.rows), listed.end) == (totals["open"], None)
            for name in ("byProduct", "byGroup"):
                known = [
                    {key: value for key, value in row.items() if key not in {"fixed", "medianSecondsToFix"}}
                    for row in folded[name]
                    if row["open"]
                ]
                assert sorted(totals[name], key=repr) == sorted(known, key=repr)


def test_the_days_on_which_support_ends_are_counted(tmp_path: Path) -> None:
    """From tomorrow to the last day asked for; not what is out of support already, nor placeholders."""
    ends = ("2026-11-24", "2026-11-24", "2026-12-01", "2027-02-21", "2027-02-22", "2026-11-23", "9999-12-31")
    lines = [record(f"d{number}", "p", endOfSupportDate=day) for number, day in enumerate(ends)]
    lines.append(record("d9", "p", endOfSupportDate="2026-11-25", endOfSupportStatus="EOS Version"))
    with Bench(tmp_path, rules=EASY) as bench:
        bench.take(bench.snapshot(lines))
        now = SupportNow(bench.state, Filters().at(START), START.date())
        days, versions = now.ending(90, 10)
        stored = stored_records(bench.state, Inventory.CPE)
    counted = Counter(
        row["endOfSupportDate"]
        for row in stored
        if "2026-11-23" < (row["endOfSupportDate"] or "") <= "2027-02-21" and row["endOfSupportStatus"] is None
    )
    assert {row["day"]: row["records"] for row in days} == counted
    assert days[0] == {"day": "2026-11-24", "records": 2, "devices": 2, "products": 1}
    assert [(row["day"], row["softwareName"], row["devices"]) for row in versions] == [
        ("2026-11-24", "p", 2),
        ("2026-12-01", "p", 1),
        ("2027-02-21", "p", 1),
    ]
