"""Keys that look alike: two records as a rule, counted, and one record with `diff.fold_lookalikes`."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import Inventory
from connector.staging.stage import noted_lookalikes
from tests.support.bench import EASY, SLOW, Bench, brief, record
from tests.support.estate import Estate

FOLDING = replace(EASY, fold_lookalikes=True)
SPELLINGS = [
    ("deviceId", "D-1"),
    ("softwareVendor", "Acmé\u00a0inc"),
    ("softwareVendor", unicodedata.normalize("NFD", "acmé inc")),
    ("softwareName", "Editor"),
    ("softwareName", "editor "),
    ("softwareVersion", "1.0B"),
]
"""A part of the key, and another way to write it."""

STORED = record("d-1", "editor", "1.0b", softwareVendor="acmé inc", numberOfWeaknesses=1)
OTHER = record("d-1", "other")


def looked_alike(bench: Bench) -> int:
    """The number that the poll's result shows."""
    return noted_lookalikes(bench.state, Inventory.CPE)


@pytest.mark.parametrize(("part", "spelling"), SPELLINGS)
def test_a_key_written_in_another_way_is_another_record_and_counted(tmp_path: Path, part: str, spelling: str) -> None:
    """REMOVED and ADDED, or one CHANGED where it is the version; once for each time that the spelling changes."""
    with Bench(tmp_path) as bench:
        bench.stage([STORED, OTHER])
        staged = bench.stage([STORED | {part: spelling}, OTHER])
        counted = [looked_alike(bench)]
        bench.stage([STORED | {part: spelling}, OTHER])
        counted.append(looked_alike(bench))
    assert counted == [1, 0]
    assert staged.counts.changes == (1 if part == "softwareVersion" else 2)


@pytest.mark.parametrize(("part", "spelling"), SPELLINGS)
def test_folded_the_record_goes_on_under_its_stored_spelling(tmp_path: Path, part: str, spelling: str) -> None:
    """No event for the spelling, there and back; a change of an attribute is one CHANGED under the stored key."""
    with Bench(tmp_path, rules=FOLDING) as bench:
        bench.stage([STORED, OTHER])
        quiet = [bench.stage([STORED | {part: spelling}, OTHER]).counts.changes for _ in range(2)]
        counted = looked_alike(bench)
        changed = bench.stage([STORED | {part: spelling, "numberOfWeaknesses": 2}, OTHER])
        (event,) = bench.changes(changed)
        back = bench.stage([STORED | {"numberOfWeaknesses": 2}, OTHER])
    assert (quiet, counted, back.counts.changes) == ([0, 0], 1, 0)
    names = ("changeType", "reason", "deviceId", "softwareVendor", "softwareName", "softwareVersion", "changedFields")
    assert [event[name] for name in names] == [
        "CHANGED", "ATTRIBUTES_CHANGED", *(STORED[name] for name in names[2:6]), ["numberOfWeaknesses"],
    ]  # fmt: skip


def test_both_spellings_at_once_are_two_records(tmp_path: Path) -> None:
    """The second is ADDED, and each goes by its own spelling from then on; of the two that come back, one continues."""
    twin, third = STORED | {"softwareName": "Editor"}, STORED | {"softwareName": "EDITOR"}
    with Bench(tmp_path, rules=FOLDING) as bench:
        bench.stage([STORED, OTHER])
        assert brief(bench.changes(bench.stage([twin, STORED, OTHER]))) == [
            ("ADDED", "INSTALLED", "d-1", "Editor", "1.0b")
        ]
        assert brief(bench.changes(bench.stage([STORED, OTHER]))) == [
            ("REMOVED", "UNINSTALLED", "d-1", "Editor", "1.0b")
        ]
        # Neither is the stored spelling: the first by its key continues it, whatever the order of the lines.
        assert brief(bench.changes(bench.stage([twin, OTHER, third]))) == [
            ("ADDED", "INSTALLED", "d-1", "Editor", "1.0b")
        ]


def test_a_device_in_another_spelling_takes_its_new_software_along(tmp_path: Path) -> None:
    """What is new on it is new on the stored device, and no new device."""
    fresh = record("D-1", "fresh")
    with Bench(tmp_path, rules=FOLDING) as bench:
        bench.stage([STORED, OTHER])
        staged = bench.stage([STORED | {"deviceId": "D-1"}, OTHER | {"deviceId": "D-1"}, fresh])
        assert brief(bench.changes(staged)) == [("ADDED", "INSTALLED", "d-1", "fresh", "1")]
        assert staged.counts.devices == 1


def test_folding_is_turned_on_and_off_without_an_event(tmp_path: Path) -> None:
    """What is stored stays as it is spelled; only a snapshot that spells it otherwise makes a difference."""
    with Bench(tmp_path) as bench:
        bench.stage([STORED, OTHER])
        changes = [bench.stage([STORED, OTHER], rules=rules).counts.changes for rules in (FOLDING, EASY, FOLDING, EASY)]
    assert changes == [0, 0, 0, 0]


@SLOW
@given(seed=st.integers(0, 2**32), folds=st.sampled_from([True, True, False]))
def test_whatever_the_spellings_the_oracle_agrees(
    tmp_path_factory: pytest.TempPathFactory, seed: int, folds: bool
) -> None:
    """Random estates whose keys are written in another way now and then, twins and repeated lines among them."""
    random = Random(seed)
    estate = Estate(random)
    rules = replace(EASY, fold_lookalikes=folds)
    with Bench(tmp_path_factory.mktemp("bench"), rules=rules, random=random) as bench:
        for _ in range(4):
            lines = estate.lines() + (estate.twins() if random.random() < 0.3 else [])
            if lines:
                bench.stage([respelled(line, random) for line in lines])
            estate.evolve()


def respelled(line: dict[str, Any], random: Random) -> dict[str, Any]:
    """A line, one part of whose key may be written in another way."""
    part = random.choice(("deviceId", "softwareVendor", "softwareName", "softwareVersion"))
    text = line[part]
    if not text or random.random() < 0.7:
        return line
    ways = (text.upper(), text.lower(), f"{text} ", f"\u00a0{text}", text.replace(" ", "\u2003"))
    return line | {part: random.choice(ways)}
