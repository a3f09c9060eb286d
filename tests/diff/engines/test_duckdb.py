from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import SnapshotIncomplete, SourceMalformed
from connector.exports.software import SOFTWARE
from connector.model import SAMPLE_WHOLE_BYTES, Inventory, Part
from connector.source.parts import PartWriter
from connector.source.repair import repair
from connector.staging import audit
from tests.support.bench import SLOW, Bench, record
from tests.support.estate import VALUES, Estate, snapshot_of, write_part
from tests.support.stored import stored_records


def digests(bench: Bench) -> dict[Any, int | None]:
    """The stored digest of each record, by its name."""
    return dict(
        bench.state.database.rows("SELECT software_name, digest FROM inventory JOIN software USING (software_no)")
    )


def broken(bench: Bench, text: bytes, *, lines: int, spellings: dict[str, tuple[str, ...]] | None = None) -> Any:
    """The next snapshot, of one part with this text."""
    bench.number += 1
    path = bench.folder / f"broken-{bench.number}.json"
    path.write_bytes(text)
    part = Part(path=path, name=path.name, lines=lines, size_bytes=len(text), spellings=spellings or {})
    return snapshot_of([part], bench.number)


def everything(bench: Bench) -> list[Any]:
    """All that the state file knows."""
    tables = [row[0] for row in bench.state.database.rows("SELECT table_name FROM duckdb_tables() ORDER BY table_name")]
    return [bench.state.database.rows(f"SELECT rowid, * FROM {table} ORDER BY rowid") for table in tables]


# ---- twins


def test_of_several_lines_with_one_key_the_same_one_is_kept_in_any_order(tmp_path: Path) -> None:
    """Twins, equal or not, come to one record that does not depend on their order, and are counted."""
    twins = [
        record("d", "a", rbacGroupId=group, diskPaths=paths) for group, paths in ((2, ["x"]), (1, None), (1, None))
    ]
    outcomes = []
    for number, order in enumerate(permutations(twins)):
        with Bench(tmp_path / str(number), random=Random(number)) as bench:
            staged = bench.stage(order)
            outcomes.append(
                (staged.counts.records, staged.counts.duplicates, stored_records(bench.state, Inventory.CPE))
            )
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert outcomes[0][:2] == (1, 2)


@given(seed=st.integers(0, 2**32))
@SLOW
def test_twins_that_stay_make_no_change_in_any_order(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A device that the export has twice, equal or in two groups, for as long as it likes: zero events."""
    random = Random(seed)
    estate = Estate(random)
    lines = estate.lines() + estate.twins()
    with Bench(tmp_path_factory.mktemp("state"), random=random) as bench:
        for _ in range(4):
            random.shuffle(lines)
            staged = bench.stage(lines)
            assert (staged.counts.changes, staged.counts.duplicates) == (0, len(lines) - staged.counts.records)


@pytest.mark.parametrize("again", [1, 2])
def test_twins_of_a_stored_record_are_resolved_whichever_equals_it(again: int, tmp_path: Path) -> None:
    """The line that equals the stored record is one of the twins: it counts, and the first of them is kept."""
    stored, earlier, later = (record("d", "a", osPlatform=name) for name in ("Linux", "Android", "macOS"))
    with Bench(tmp_path) as bench:
        bench.stage([stored, record("d", "b")])
        assert bench.stage([stored, later, record("d", "b")]).counts.changed == 0
        for _ in range(again):
            staged = bench.stage([later, stored, earlier, record("d", "b")])
        assert (staged.counts.changed, staged.counts.duplicates) == (again == 1, 2)
        assert bench.stage([stored, record("d", "b")]).counts.changed == 1


def test_twins_that_are_equal_and_as_stored_are_counted(tmp_path: Path) -> None:
    """Repeated lines of records that did not change are duplicates too, at once and from then on."""
    lines = [record("d", "a"), record("d", "b")]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        assert [bench.stage(lines * 3).counts.duplicates for _ in range(2)] == [4, 4]
        assert bench.stage(lines).counts.duplicates == 0


def test_a_key_that_is_repeated_has_no_digest(tmp_path: Path) -> None:
    """So that next time all of its lines are compared, also by another engine, which works every digest out again."""
    twins = [record("d", "a"), record("d", "a", osPlatform="Linux")]
    with Bench(tmp_path) as bench:
        for lines in (
            [record("d", "a"), record("d", "b")],
            [*twins, record("d", "b")],
            [*twins, record("d", "b", osPlatform="Linux")],
        ):
            bench.stage(lines)
        statement = "SELECT software_name, digest IS NULL FROM inventory JOIN software USING (software_no) ORDER BY ALL"
        assert bench.state.database.rows(statement) == [("a", True), ("b", False)]


# ---- digests


def test_a_path_that_moves_to_the_other_set_is_a_change(tmp_path: Path) -> None:
    """Sets that are the same one after the other, and cut in another place, are not the same."""
    before = record("d", "a", diskPaths=["x", "y"], registryPaths=["z"])
    after = record("d", "a", diskPaths=["x"], registryPaths=["y", "z"])
    with Bench(tmp_path) as bench:
        bench.stage([before])
        staged = bench.stage([after])
        assert [change["changedFields"] for change in bench.changes(staged)] == [["diskPaths", "registryPaths"]]


@given(
    sets=st.lists(
        st.tuples(*[st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=3)] * 2, st.sampled_from(["", "a", "b"])),
        min_size=2,
        max_size=12,
    )
)
@SLOW
def test_records_that_differ_have_digests_that_differ(
    sets: list[tuple[list[str], list[str], str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Few short values, in sets and beside them, cut in every place: no two records look the same by their digest."""
    meanings = {(frozenset(disk), frozenset(registry), status) for disk, registry, status in sets}
    lines = [
        record("d", f"{number}", diskPaths=sorted(disk), registryPaths=sorted(registry), endOfSupportStatus=status)
        for number, (disk, registry, status) in enumerate(meanings)
    ]
    with Bench(tmp_path_factory.mktemp("state")) as bench:
        bench.stage(lines)
        assert len(set(digests(bench).values())) == len(lines)


@pytest.mark.parametrize("worth", ["0", "NULL", "digest + 1", "hash(software_no)"])
def test_digests_that_are_worth_nothing_make_no_change_and_are_mended(worth: str, tmp_path: Path) -> None:
    """Digests only save work: with any others in their place the comparison comes to the same."""
    lines = Estate(Random(1)).lines()
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        before = digests(bench)
        bench.state.database.rows(f"UPDATE inventory SET digest = {worth}")
        assert bench.stage(lines).counts.changes == 0
        assert digests(bench) == before


def test_another_engine_works_the_digests_out_anew(tmp_path: Path) -> None:
    """The name of the engine stands beside the digests; where it is another, they are renewed, and nothing changed."""
    lines = [record("d", name, softwareFirstSeenTimestamp="2020-12-30 11:07:15") for name in ("a", "b")]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        before = digests(bench)
        bench.state.database.rows("UPDATE inventory SET digest = digest + 1")
        bench.state.database.rows("UPDATE meta SET value = 'another engine' WHERE name = 'digest'")
        bench.state.database.rows("UPDATE contents SET engine = 'another engine', total = 0")
        assert audit.verify(bench.state) == []
        assert bench.stage([lines[0], record("d", "b", osPlatform="Linux")]).counts.changed == 1
        assert digests(bench)["a"] == before["a"]


# ---- snapshots that cannot be read


@pytest.mark.parametrize(
    "line",
    ['{"softwareName":"a"}', '{"deviceId":null}', '{"deviceId":""}', "{}", "null", '{"softwareName":"known"}'],
)
def test_a_line_without_a_device_is_refused_and_nothing_is_staged(line: str, tmp_path: Path) -> None:
    """It cannot be said whose software that is: the part has to be repaired first."""
    good = json.dumps(record("d", "known"))
    with Bench(tmp_path) as bench:
        for spoiled in (False, True):
            if spoiled:
                bench.stage([record("d", "known")])
            before = everything(bench)
            with pytest.raises(SourceMalformed, match="DeviceId"):
                bench.take(broken(bench, f"{good}\n{line}\n".encode(), lines=2))
            assert everything(bench) == before


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"[]",
        b'"x"',
        b'{"deviceId":"d"',
        b'{"deviceId":"\xff"}',
        b'{"deviceId":"d","numberOfWeaknesses":"many"}',
        b'{"deviceId":"d","diskPaths":"x"}',
        b'{"deviceId":"d","numberOfWeaknesses":9223372036854775808}',
        b'{"deviceId":"\\ud800"}',
        b'{"deviceId":"d","deviceId":"e"}',
        b'{"deviceId":"d"}{"deviceId":"e"}',
    ],
)
def test_a_line_that_the_reader_refuses_is_malformed_and_nothing_is_staged(line: bytes, tmp_path: Path) -> None:
    """Not an object, a wrong type, bad text, a name twice: the error says so, and the file is as it was."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        before = everything(bench)
        with pytest.raises(SourceMalformed, match="line"):
            bench.take(broken(bench, b'{"deviceId":"d","softwareName":"a"}\n' + line + b"\n", lines=2))
        assert everything(bench) == before
        assert bench.stage([record("d", "a")]).counts.changes == 0


def test_two_spellings_of_a_property_in_one_part_are_refused(tmp_path: Path) -> None:
    """The reader would take one of them and lose the other: the part has to be repaired first."""
    text = b'{"DeviceId":"d","DeviceName":"x"}\n{"DeviceId":"d","deviceName":"y"}\n'
    spellings = {"deviceid": ("DeviceId",), "devicename": ("DeviceName", "deviceName")}
    with Bench(tmp_path) as bench, pytest.raises(SourceMalformed, match="DeviceName, deviceName"):
        bench.take(broken(bench, text, lines=2, spellings=spellings))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _no_gzip(path: Path) -> None:
    path.write_bytes(b"<html>")


@pytest.mark.parametrize("spoil", [_cut, _no_gzip, lambda path: path.unlink()], ids=["cut", "no gzip", "gone"])
def test_a_file_that_changed_after_it_was_verified_is_an_incomplete_snapshot(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    """Nothing is staged of it, and the state file is not blamed."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a"), record("d", "b")])
        before = everything(bench)
        path = tmp_path / "part.json.gz"
        text = b"".join(json.dumps(record("d", f"{number}")).encode() + b"\n" for number in range(1000))
        path.write_bytes(gzip.compress(text))
        part = Part(path=path, name="part", lines=1000, size_bytes=len(text), spellings={})
        spoil(path)
        with pytest.raises(SnapshotIncomplete, match=r"part\.json\.gz"):
            bench.take(snapshot_of([part], 2))
        assert everything(bench) == before


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.parametrize("first", [True, False])
def test_another_number_of_records_than_lines_were_verified_is_an_incomplete_snapshot(
    more: int, first: bool, tmp_path: Path
) -> None:
    """Every verified line must become a record: nothing is staged where they are more or fewer."""
    with Bench(tmp_path) as bench:
        if not first:
            bench.stage([record("d", "a"), record("d", "b"), record("d", "c")])
        part = write_part(tmp_path / "part.json", [record("d", "a"), record("d", "b"), record("d", "c")], Random(1))
        bench.number += 1
        with pytest.raises(SnapshotIncomplete, match="3 records were read where"):
            bench.take(snapshot_of([replace(part, lines=3 + more)], bench.number))


def test_a_line_more_than_were_verified_is_no_duplicate(tmp_path: Path) -> None:
    """A line that came after the count, with the key of another one: the numbers add up, and it is noticed."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a"), record("d", "b")])
        before = everything(bench)
        lines = [record("d", "a"), record("d", "c"), record("d", "c", osPlatform="Linux")]
        part = write_part(tmp_path / "part.json", lines, Random(1))
        with pytest.raises(SnapshotIncomplete, match="3 records were read where 2 lines"):
            bench.take(snapshot_of([replace(part, lines=2)], 2))
        assert everything(bench) == before


def test_parts_without_a_line_are_nothing(tmp_path: Path) -> None:
    """An empty page in the middle of a walk is no part of the snapshot, and no fault."""
    with Bench(tmp_path) as bench:
        parts = [write_part(tmp_path / f"{number}.json", lines, Random(1)) for number, lines in
                 enumerate(([], [record("d", "a")], []))]  # fmt: skip
        assert bench.take(snapshot_of(parts, 1)).counts.records == 1


def test_a_value_of_a_megabyte_and_a_set_of_ten_thousand_paths_are_stored_whole(tmp_path: Path) -> None:
    """Large values are compared as any others are."""
    paths = [f"C:\\{number:08}\\{'x' * 200}" for number in range(10_000)]
    lines = [record("d", "a", deviceName="n" * 2**20), record("d", "b", diskPaths=paths)]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        assert bench.stage([record("d", "b", diskPaths=paths[::-1]), lines[0]]).counts.changes == 0
        assert bench.stage([lines[0] | {"deviceName": "n" * 2**20 + "."}, lines[1]]).counts.changed == 1


def test_the_estate_of_these_tests_has_all_documented_attributes() -> None:
    """A new field must get values here, or no property test would look at it."""
    line = Estate(Random(1)).lines()[0]
    assert set(line) == {"deviceId", "softwareVendor", "softwareName", "softwareVersion", "rbacGroupId",
                         "rbacGroupName", *VALUES}  # fmt: skip


# ---- one line that spells a property in another way, where no sample sees it


def one_odd_line(bench: Bench, spelled: bytes, name: bytes) -> Any:
    """The next snapshot: a part of more than the sample, one line of which has a property under another name."""
    bench.number += 1
    line = b'{"DeviceId":"d","SoftwareVendor":"v","SoftwareName":"n%06d","SoftwareVersion":"1","OSPlatform":"x"}\n'
    lines = [line % number for number in range(2 * SAMPLE_WHOLE_BYTES // len(line))]
    lines[-777] = lines[-777].replace(spelled, name)
    with PartWriter(bench.folder, f"part-{bench.number}", "remote", SOFTWARE.wire_names) as writer:
        writer.feed(b"".join(lines[:-1000]))
        writer.feed(b"".join(lines[-1000:]))
        part = writer.finish()
    assert part.spellings[name.decode().lower()] == (spelled.decode(),)
    return snapshot_of([part], bench.number)


@pytest.mark.parametrize("name", [b"SoftwareVendor", b"SoftwareName", b"SoftwareVersion"])
def test_a_part_of_a_key_under_another_name_on_one_line_is_no_removal(tmp_path: Path, name: bytes) -> None:
    """It reads as null there, as if the product were gone and one without name had come: each line is looked into."""
    with Bench(tmp_path) as bench:
        bench.take(one_odd_line(bench, name, name))
        odd = one_odd_line(bench, name, name.lower())
        with pytest.raises(SourceMalformed, match="differently"):
            bench.take(odd)
        mended = replace(odd, parts=tuple(repair(part, SOFTWARE, tmp_path / "rejected").part for part in odd.parts))
        assert bench.take(mended).counts.changes == 0


def test_an_attribute_under_another_name_on_one_line_is_never_a_removal(tmp_path: Path) -> None:
    """The limit of the fast path: it reads as null there, a change until the next snapshot; what is known stays."""
    with Bench(tmp_path) as bench:
        bench.take(one_odd_line(bench, b"OSPlatform", b"OSPlatform"))
        staged = bench.take(one_odd_line(bench, b"OSPlatform", b"osPlatform"))
        assert (staged.counts.changed, staged.counts.added, staged.counts.removed) == (1, 0, 0)
        assert bench.take(one_odd_line(bench, b"OSPlatform", b"OSPlatform")).counts.changed == 1
