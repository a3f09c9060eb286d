from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from connector.staging import audit
from connector.state.state import StateFile
from tests.support.bench import EASY, Bench, record
from tests.support.estate import Estate


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that has seen a bit of everything, and adds up."""
    random = Random(7)
    estate = Estate(random, devices=8, per_device=5)
    with Bench(tmp_path_factory.mktemp("sound"), rules=EASY, random=random) as opened:
        for number in range(4):
            staged = opened.stage(estate.lines() + estate.twins() + [record("z", "z", rbacGroupId=99)] * (number < 2))
            estate.evolve()
            if number < 3:
                opened.state.journal.confirm(opened.checkpoint(staged))
        assert audit.verify(opened.state) == []
    return opened.path.read_bytes()


@pytest.fixture
def state(sound: bytes, tmp_path: Path) -> Iterator[StateFile]:
    """A copy of it, open."""
    path = tmp_path / "state.duckdb"
    path.write_bytes(sound)
    with StateFile.open(path, memory_limit_mib=256, threads=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (["DELETE FROM inventory WHERE rowid = (SELECT min(rowid) FROM inventory)"], "records are stored"),
        (["UPDATE inventory SET device_name = 'x' WHERE rowid = (SELECT min(rowid) FROM inventory)"], "digest"),
        (["UPDATE inventory SET disk_paths = ['z'] WHERE rowid = (SELECT min(rowid) FROM inventory)"], "digest"),
        (["UPDATE software SET software_version = 'x' WHERE software_no = (SELECT min(software_no) FROM inventory)"],
         "digest"),
        (["INSERT INTO inventory SELECT * FROM inventory LIMIT 1"], "1 records are stored more than once"),
        (["DELETE FROM devices WHERE device_no = 1"], "device without a number"),
        (["DELETE FROM software WHERE software_no = (SELECT min(software_no) FROM inventory)"],
         "software without a number"),
        (["INSERT INTO devices SELECT device_no, 'x' FROM devices LIMIT 1"], "devices have more or fewer"),
        (["INSERT INTO devices SELECT 999, device_id FROM devices LIMIT 1"], "devices have more or fewer"),
        (["INSERT INTO software SELECT 999, software_vendor, software_name, software_version FROM software LIMIT 1"],
         "product versions have more or fewer"),
        (["INSERT INTO held VALUES ('CPE', 999, 999, 1, 'MASS_REMOVAL')"], "1 held removals are of records"),
        (["DELETE FROM changes WHERE sequence = (SELECT max(sequence) FROM changes)"], "changes are pending"),
        (["UPDATE changes SET change_type = 'REMOVED' WHERE sequence = (SELECT max(sequence) FROM changes)",
          "UPDATE snapshots SET removed = 0"], "not those that were counted"),
        (["UPDATE position SET last_sequence = last_sequence + 1"], "the position says"),
        (["UPDATE position SET last_snapshot = 1"], "the position says"),
        (["UPDATE position SET published_sequence = last_sequence + 5"], "more is noted as published"),
        (["DELETE FROM position"], "noted 0 times"),
        (["UPDATE snapshots SET stored = stored + 1"], "the last snapshot left"),
        (["UPDATE contents SET records = records + 1"], "were noted"),
        (["UPDATE contents SET total = total + 1"], "digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_whatever_does_not_add_up_is_told(damage: list[str], reported: str, state: StateFile) -> None:
    """Each of the things that are held against each other, broken by hand."""
    for statement in damage:
        state.database.rows(statement)
    assert reported in "\n".join(audit.verify(state))


def test_nothing_of_the_first_snapshot_is_told_that_is_not_so(tmp_path: Path) -> None:
    """Before the first snapshot, and after it, also where it is empty, all is well."""
    with Bench(tmp_path) as bench:
        assert audit.verify(bench.state) == []
        bench.stage([])
        assert audit.verify(bench.state) == []
        bench.stage([record("d", "a")])
        assert audit.verify(bench.state) == []


def test_verifying_mends_nothing(state: StateFile) -> None:
    """What does not add up is reported again."""
    state.database.rows("UPDATE contents SET total = total + 1")
    assert audit.verify(state) == audit.verify(state) != []
