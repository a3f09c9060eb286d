from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.diff.scan import mixed_spellings, normal_forms, scan, spelling_of, stored_digest
from connector.errors import SnapshotIncomplete, SourceMalformed, StateError
from connector.exports.fields import Kind
from connector.exports.software import SOFTWARE
from connector.model import Inventory, Method, Part
from tests.support.bench import SLOW, Bench, record
from tests.support.estate import snapshot_of, write_part
from tests.support.oracle import normal, normal_value

PASCAL = {"deviceid": ("DeviceId",), "softwarename": ("SoftwareName",)}
CAMEL = {"deviceid": ("deviceId",), "softwarename": ("softwareName",)}


def read(bench: Bench, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The normal forms of all records of some parts, in no order."""
    rows = bench.state.database.rows(f"SELECT {normal_forms(SOFTWARE.fields)} FROM ({scan(SOFTWARE, parts)})")
    return [dict(zip((field.name for field in SOFTWARE.fields), row, strict=True)) for row in rows]


def part_of(path: Path, text: str, spellings: Mapping[str, tuple[str, ...]]) -> Part:
    """A part with this text."""
    path.write_text(text, encoding="utf-8")
    return Part(path=path, name=path.name, lines=text.count("\n"), size_bytes=len(text), spellings=spellings)


# ---- file names

SPECIAL = (
    "t[12]", "t[!3]", "t[1-2]", "t*", "t?", "**", "[", "]", "[]", "[[]", "a]b[c", "{t1,t2}", "a\\b",
    "\\", "it's", 'a"b', "$1", "%41", "~", "a b", " ", "-", "#", ";--", "a=b", "deviceId=other", "device_id=other",
    "line\nbreak", "tab\t", "\u05d0\U0001f600", "s3:", "file:", "t.gz", ".hidden", "...",
)  # fmt: skip
"""Names of folders: all that means something to a pattern, to SQL, to a reader of partitions, to a shell."""


@pytest.mark.parametrize("name", SPECIAL)
def test_a_folder_is_the_one_of_that_name_and_no_other(name: str, tmp_path: Path) -> None:
    """Another tenant's folders, whose names it would match as a pattern, lie beside it and below it; none is read."""
    own, ours, theirs = tmp_path / name, "part-1.json", ("part-2.json", "part-11.json")
    for other in ("t1", "t2", "t", "a", "b", "ab", "ab1", "[", "x", "deep/t1"):
        for folder in {tmp_path / other, own / other} - {own}:
            folder.mkdir(parents=True, exist_ok=True)
            for file in (ours, *theirs):
                write_part(folder / file, [record("theirs", "a")], Random(1))
    for file in theirs:
        write_part(own / file, [record("theirs", "a")], Random(1))
    part = write_part(own / ours, [record("ours", "a")], Random(1))
    with Bench(tmp_path / "bench") as bench:
        assert [row["deviceId"] for row in read(bench, [part])] == ["ours"]
        assert bench.take(snapshot_of([part], 1)).counts.records == 1
        part.path.unlink()
        with pytest.raises(SnapshotIncomplete):
            bench.take(snapshot_of([part], 2))


@pytest.mark.parametrize("name", ["a\\b[1]", "\\*", "t?\\"])
def test_a_name_that_no_pattern_names_alone_is_refused(name: str, tmp_path: Path) -> None:
    """A backslash beside a wildcard: an error that says so, before anything is read."""
    (tmp_path / name).mkdir()
    part = write_part(tmp_path / name / "part-1.json", [record("d", "a")], Random(1))
    with Bench(tmp_path / "bench") as bench, pytest.raises(StateError, match="backslash"):
        bench.take(snapshot_of([part], 1))


def test_a_folder_that_is_named_from_where_one_stands_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name stays one, even where it looks like the home folder or a URL."""
    monkeypatch.chdir(tmp_path)
    for name in ("~", "file:", "s3:"):
        Path(name).mkdir()
        part = write_part(Path(name) / "part.json", [record("d", "a")], Random(1))
        with Bench(tmp_path / "bench") as bench:
            assert [row["deviceId"] for row in read(bench, [part])] == ["d"]


# ---- spellings


def test_properties_that_were_not_sampled_get_the_usual_spelling_of_their_part() -> None:
    """PascalCase where most of the names seen are, camelCase otherwise; `OSPlatform` is spelled as the files do."""
    assert dict(spelling_of(SOFTWARE, PASCAL))["osplatform"] == "OSPlatform"
    assert dict(spelling_of(SOFTWARE, PASCAL))["numberofweaknesses"] == "NumberOfWeaknesses"
    assert dict(spelling_of(SOFTWARE, CAMEL))["osplatform"] == "osPlatform"
    assert dict(spelling_of(SOFTWARE, {}))["deviceid"] == "deviceId"


def test_a_spelling_that_was_seen_is_the_one_that_is_read() -> None:
    """Odd spellings too; and a field seen under an alias is read under no other name."""
    spelling = dict(spelling_of(SOFTWARE, PASCAL | {"osplatform": ("OsPlatform",), "registrypath": ("RegistryPath",)}))
    assert spelling["osplatform"] == "OsPlatform"
    assert spelling["registrypath"] == "RegistryPath"
    assert "registrypaths" not in spelling


@pytest.mark.parametrize("flavour", list(Method))
def test_a_property_that_first_occurs_outside_the_sample_is_not_lost(flavour: Method, tmp_path: Path) -> None:
    """The sample shows two names only, and one line has all the others."""
    full = record("d", "a") | {
        "deviceName": "n", "osPlatform": "Linux", "rbacGroupId": 1, "rbacGroupName": "g", "numberOfWeaknesses": 2,
        "diskPaths": ["/a"], "registryPaths": ["b"], "softwareFirstSeenTimestamp": "2020-01-01 00:00:00",
        "endOfSupportStatus": "None", "endOfSupportDate": "2020-01-01",
    }  # fmt: skip
    written = write_part(tmp_path / "part.json", [full], Random(1), flavour=flavour)
    spellings = PASCAL if flavour is Method.FILES else CAMEL
    part = Part(written.path, written.name, written.lines, written.size_bytes, spellings)
    with Bench(tmp_path) as bench:
        assert read(bench, [part]) == [normal(full)]


def test_parts_of_different_spellings_are_read_side_by_side(tmp_path: Path) -> None:
    """PascalCase, camelCase and shouting, in one snapshot."""
    parts = [
        part_of(tmp_path / "a.json", '{"DeviceId":"a","OSPlatform":"x"}\n', {"deviceid": ("DeviceId",)}),
        part_of(tmp_path / "b.json", '{"deviceId":"b","osPlatform":"x"}\n', {"deviceid": ("deviceId",)}),
        part_of(
            tmp_path / "c.json",
            '{"DEVICEID":"c","OSPLATFORM":"x"}\n',
            {"deviceid": ("DEVICEID",), "osplatform": ("OSPLATFORM",)},
        ),
    ]
    with Bench(tmp_path) as bench:
        pairs = {(row["deviceId"], row["osPlatform"]) for row in read(bench, parts)}
    assert pairs == {("a", "x"), ("b", "x"), ("c", "x")}


def test_two_spellings_of_a_documented_property_in_one_part_are_told() -> None:
    """Undocumented ones do not matter."""
    spellings = {"deviceid": ("DeviceId", "deviceId"), "devicename": ("DeviceName",), "other": ("Other", "other")}
    part = Part(path=None, name="p", lines=1, size_bytes=1, spellings=spellings)  # type: ignore[arg-type]
    assert mixed_spellings(SOFTWARE, part) == ("DeviceId", "deviceId")


def test_the_single_registry_path_of_the_other_export_is_a_set_of_one(tmp_path: Path) -> None:
    """`RegistryPath` is text there; null and empty are the empty set; and it does not matter if it was sampled."""
    text = "".join(
        json.dumps({"DeviceId": "d", "SoftwareName": name, "RegistryPath": path}) + "\n"
        for name, path in (("a", "HKLM\\x"), ("b", ""), ("c", None))
    )
    with Bench(tmp_path) as bench:
        for spellings in (PASCAL, PASCAL | {"registrypath": ("RegistryPath",)}):
            paths = {row["softwareName"]: row["registryPaths"] for row in read(bench, [
                part_of(tmp_path / "part.json", text, spellings)])}  # fmt: skip
            assert paths == {"a": ["HKLM\\x"], "b": [], "c": []}


def test_any_path_names_its_file(tmp_path: Path) -> None:
    """Quotes, brackets and stars in the name of a folder are no part of the statement or of a pattern."""
    folder = tmp_path / "it's [soc] {*}"
    folder.mkdir()
    with Bench(folder) as bench:
        bench.stage([record("d", "a")])
        assert bench.stage([record("d", "a")]).counts.records == 1


# ---- normal forms

TIMES = st.from_regex(
    r"\A[0-2]\d{3}-[01]\d-[0-3]\d[ T][0-2]\d:[0-5]\d(:[0-6]\d(\.\d{1,10})?)?(Z|[+-][0-2]\d(:?[0-5]\d)?)?\Z"
)
TEXTS = st.one_of(
    TIMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.sampled_from(["0000-01-01 00:00:00"])
)


@given(texts=st.lists(TEXTS, min_size=1, max_size=60))
@example(
    texts=["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "0001-01-01 00:00:00", "0001-01-01T00:00:00+01:00"]
)
@example(texts=["2020-12-30 11:07:1Z", "2020-12-30 24:00:00", "2020-02-30 00:00:00", "2020-12-30 23:59:60"])
@example(
    texts=["2020-12-30 11:07:15.0000001", "2020-12-30 11:07:15.9999999", "2020-12-30 11:07:15.100", "1234-05-06 07:08"]
)
@example(
    texts=["2020/12/30", "2020-1-3", "20201-1-01", "infinity", "epoch", "2020-12-30 (BC)", " 2020-12-30", "2020-12-30 "]
)
@SLOW
def test_any_text_has_the_normal_form_of_the_oracle_as_date_and_as_time(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Readable ones in the one form, all others as they are; a normal form is its own."""
    folder = tmp_path_factory.mktemp("scan")
    with Bench(folder) as bench:
        forms = as_date_and_time(bench, folder / "once.json", [(text, text) for text in texts])
        assert forms == [(normal_value(Kind.DATE, text), normal_value(Kind.TIMESTAMP, text)) for text in texts]
        assert as_date_and_time(bench, folder / "twice.json", forms) == forms


def as_date_and_time(bench: Bench, path: Path, texts: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The normal forms of pairs of a date and a time."""
    lines = [
        record("d", f"{number}", endOfSupportDate=date, softwareFirstSeenTimestamp=time)
        for number, (date, time) in enumerate(texts)
    ]
    by_number = {int(row["softwareName"]): row for row in read(bench, [write_part(path, lines, Random(len(texts)))])}
    rows = [by_number[number] for number in range(len(texts))]
    return [(row["endOfSupportDate"], row["softwareFirstSeenTimestamp"]) for row in rows]


@given(
    sets=st.lists(
        st.none() | st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=6),
        min_size=1,
        max_size=30,
    )
)
@SLOW
def test_any_array_has_the_normal_form_of_the_oracle(
    sets: list[list[str | None] | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Sorted by code point, each text once, without null; never null itself."""
    folder = tmp_path_factory.mktemp("scan")
    with Bench(folder) as bench:
        lines = [record("d", f"{number}", diskPaths=paths) for number, paths in enumerate(sets)]
        by_number = {int(row["softwareName"]): row["diskPaths"] for row in read(bench, [
            write_part(folder / "part.json", lines, Random(len(sets)))])}  # fmt: skip
    assert [by_number[number] for number in range(len(sets))] == [normal_value(Kind.TEXT_SET, paths) for paths in sets]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ({"NumberOfWeaknesses": "12"}, {"numberOfWeaknesses": 12}),
        ({"SoftwareVersion": 7}, {"softwareVersion": "7"}),
        ({"DeviceName": True}, {"deviceName": "true"}),
        ({"DeviceName": {"a": 1}}, {"deviceName": '{"a":1}'}),
        ({"DiskPaths": [1, None, "x"]}, {"diskPaths": ["1", "x"]}),
        ({"Undocumented": "\u0000", "deviceName": "not this one"}, {"deviceName": None}),
    ],
)
def test_values_of_another_type_are_read_where_that_is_unambiguous(
    written: dict[str, Any], read_as: dict[str, Any], tmp_path: Path
) -> None:
    """A number stands for its text, a text of digits for its number; a name in another spelling is another name."""
    line = {"DeviceId": "d", "SoftwareName": "a"} | written
    with Bench(tmp_path) as bench:
        (row,) = read(bench, [part_of(tmp_path / "part.json", json.dumps(line) + "\n", PASCAL)])
    assert {name: row[name] for name in read_as} == read_as


def test_the_digest_of_what_is_stored_is_the_one_of_the_usual_way_it_is_written(tmp_path: Path) -> None:
    """So that another engine, or other fields, do not make every record be compared value by value."""
    line = record("d", "a", softwareFirstSeenTimestamp="2020-12-30 11:07:15", endOfSupportDate="2021-05-11",
                  diskPaths=["b", "a"], numberOfWeaknesses=2)  # fmt: skip
    with Bench(tmp_path) as bench:
        bench.stage([line])
        tracked = [SOFTWARE.field(field.name) for field in SOFTWARE.fields if not field.key]
        digests = bench.state.database.rows(f"SELECT digest, {stored_digest(tracked)} FROM inventory")
    assert digests[0][0] == digests[0][1]


def test_a_snapshot_of_no_lines_at_all_is_read_as_no_records(tmp_path: Path) -> None:
    """An empty first snapshot is an empty baseline."""
    with Bench(tmp_path) as bench:
        staged = bench.take(snapshot_of([], 1, inventory=Inventory.CPE))
        assert (staged.baseline, staged.counts.records) == (True, 0)


# ---- numbers


@pytest.mark.parametrize("value", ["2.5", "2.0", "true", '"many"', '""', '"1e3"', "9223372036854775808", "[1]", "{}"])
def test_a_number_that_is_none_is_refused_and_not_rounded(tmp_path: Path, value: str) -> None:
    """What the reader would round or take for 1 is for `repair` to decide; a lenient reading has null."""
    part = part_of(tmp_path / "part.json", f'{{"DeviceId":"d","RbacGroupId":{value}}}\n', PASCAL)
    with Bench(tmp_path) as bench:
        with pytest.raises(SourceMalformed), bench.state.transaction(reads=[part.path]):
            bench.state.database.rows(scan(SOFTWARE, [part]))
        rows = bench.state.database.rows(f"SELECT rbac_group_id FROM ({scan(SOFTWARE, [part], lenient=True)})")
    assert rows in ([(None,)], [])


@pytest.mark.parametrize("value", ["0", "-7", '"17"', "9223372036854775807", "-9223372036854775808", "null"])
def test_a_whole_number_is_read_as_it_is_written(tmp_path: Path, value: str) -> None:
    """In quotes or not, up to 64 bits."""
    part = part_of(tmp_path / "part.json", f'{{"DeviceId":"d","RbacGroupId":{value}}}\n', PASCAL)
    with Bench(tmp_path) as bench:
        rows = bench.state.database.rows(f"SELECT rbac_group_id FROM ({scan(SOFTWARE, [part])})")
    assert rows == [(None if value == "null" else int(value.strip('"')),)]
