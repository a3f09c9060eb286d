from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.diff.scan import scan
from connector.errors import SnapshotIncomplete
from connector.exports.software import SOFTWARE
from connector.model import LINE_BYTES_MAX, UNREADABLE_MARK, Part
from connector.source.repair import RAW_BYTES_MAX, REJECTED_LINES_MAX, repair

READER = duckdb.connect()
GOOD = b'{"DeviceId":"a"}'


def part_of(folder: Path, *lines: bytes, packed: bool = False) -> Part:
    """A part of these lines, as it lies in the staging folder."""
    text = b"".join(line + b"\n" for line in lines)
    path = folder / ("part-1.json.gz" if packed else "part-1.json")
    path.write_bytes(gzip.compress(text) if packed else text)
    return Part(path, "remote.json.gz", len(lines), len(text), {"deviceid": ("DeviceId",)})


def repaired(folder: Path, *lines: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The good lines and the rejected ones."""
    rejected = folder / "rejected.ndjson"
    rejected.unlink(missing_ok=True)
    result = repair(part_of(folder, *lines), SOFTWARE, rejected)
    good = [json.loads(line) for line in result.part.path.read_bytes().splitlines()]
    bad = [json.loads(line) for line in rejected.read_bytes().splitlines()]
    assert (result.part.lines, result.part.size_bytes) == (len(good), result.part.path.stat().st_size)
    assert result.rejected == result.part.rejected
    return good, bad


def reasons(folder: Path, *lines: bytes) -> list[str]:
    """Why lines are rejected."""
    return [row["reason"] for row in repaired(folder, *lines)[1]]


def test_good_lines_get_one_spelling_and_bad_ones_are_set_aside(tmp_path: Path) -> None:
    """Whatever case names have, the new part has the canonical ones; the rejected file says which line, and why."""
    good, bad = repaired(
        tmp_path,
        b'{"DeviceId":"a","OSPlatform":"Windows11","Undocumented":1}',
        b"",
        b'{"deviceid":"b","OsPlatform":"Linux","DISKPATHS":["/x"]}',
        b"[1]",
        b'{"SoftwareName":"x"}',
    )
    assert good == [
        {"deviceId": "a", "osPlatform": "Windows11"},
        {"deviceId": "b", "osPlatform": "Linux", "diskPaths": ["/x"]},
    ]
    assert bad == [
        {"part": "remote.json.gz", "line": 4, "reason": bad[0]["reason"], "raw": "[1]", "cut": False},
        {"part": "remote.json.gz", "line": 5, "reason": "no DeviceId", "raw": '{"SoftwareName":"x"}', "cut": False},
    ]


def test_a_packed_part_is_read_too_and_the_new_part_says_how_it_spells(tmp_path: Path) -> None:
    """The new part is plain text beside the old one."""
    part = part_of(tmp_path, GOOD, b'{"deviceId":"b","SoftwareVendor":"v"}', packed=True)
    result = repair(part, SOFTWARE, tmp_path / "rejected.ndjson")
    assert result.part == Part(
        tmp_path / "repaired-part-1.json",
        "remote.json.gz",
        2,
        result.part.path.stat().st_size,
        {"deviceid": ("deviceId",), "softwarevendor": ("softwareVendor",)},
        repaired=True,
    )


def test_a_second_repair_finds_nothing_more(tmp_path: Path) -> None:
    """Repairing what was repaired changes no line, and counts what was rejected before."""
    rejected = tmp_path / "rejected.ndjson"
    once = repair(part_of(tmp_path, GOOD, b"{", b'{"deviceid":"b"}'), SOFTWARE, rejected)
    twice = repair(once.part, SOFTWARE, rejected)
    assert (once.rejected, twice.rejected, twice.part.rejected) == (1, 0, 1)
    assert twice.part.path.read_bytes() == once.part.path.read_bytes()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"17", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"{'DeviceId':1}", "not a JSON object"),
        (b'{"DeviceId":"a"', "not a JSON object"),
        (b'{"DeviceId":"a"} x', "not a JSON object"),
        (b'{"DeviceId":"a"}{"DeviceId":"b"}', "not a JSON object"),
        (b'{"DeviceId":"a","x":NaN}', "not a JSON object"),
        (b'{"DeviceId":NaN}', "not a JSON object"),
        (b'{"DeviceId":"a","x":"\\ud800"}', "not a JSON object"),
        (b'{"DeviceId":"a\x00b"}', "not a JSON object"),
        (b'{"DeviceId":"\xff"}', "deviceId: not UTF-8"),
        (b'{"\xff":1}', "not UTF-8"),
        (b'{"DeviceId":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'{"DeviceId":null}', "no DeviceId"),
        (b'{"DeviceId":""}', "no DeviceId"),
        (b"{}", "no DeviceId"),
        (b'{"DeviceId":"a","SoftwareName":"\xff"}', "softwareName: not UTF-8"),
    ],
)
def test_a_bad_line_is_rejected_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    """No object, half a surrogate pair, a key that is not UTF-8, too deep, no DeviceId."""
    good, bad = repaired(tmp_path, GOOD, line)
    assert good == [{"deviceId": "a"}]
    assert [(row["line"], row["reason"].startswith(reason)) for row in bad] == [(2, True)]


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        (b'"RbacGroupId":""', ["rbacGroupId"]),
        (b'"RbacGroupId":"Unassigned"', ["rbacGroupId"]),
        (b'"RbacGroupId":9223372036854775808', ["rbacGroupId"]),
        (b'"RbacGroupId":-9223372036854775809', ["rbacGroupId"]),
        (b'"RbacGroupId":1e400', ["rbacGroupId"]),
        (b'"RbacGroupId":' + b"9" * 5_000, ["rbacGroupId"]),
        (b'"NumberOfWeaknesses":""', ["numberOfWeaknesses"]),
        (b'"NumberOfWeaknesses":2.5', ["numberOfWeaknesses"]),
        (b'"NumberOfWeaknesses":"2.0"', ["numberOfWeaknesses"]),
        (b'"NumberOfWeaknesses":true', ["numberOfWeaknesses"]),
        (b'"NumberOfWeaknesses":[1]', ["numberOfWeaknesses"]),
        (b'"DiskPaths":"x"', ["diskPaths"]),
        (b'"DiskPaths":{}', ["diskPaths"]),
        (b'"DiskPaths":["\xed\xa0\x80"]', ["diskPaths"]),
        (
            b'"EndOfSupportStatus":"\xff","DiskPaths":1,"RbacGroupId":"x"',
            ["diskPaths", "endOfSupportStatus", "rbacGroupId"],
        ),
    ],
)
def test_an_attribute_that_cannot_be_read_is_null_and_marked(
    tmp_path: Path, properties: bytes, names: list[str]
) -> None:
    """The line is good: what record it is can be read. A second repair changes nothing."""
    line = b'{"DeviceId":"a",%b,"OSPlatform":"Linux"}' % properties
    part = part_of(tmp_path, GOOD, line)
    once = repair(part, SOFTWARE, tmp_path / "rejected.ndjson")
    twice = repair(once.part, SOFTWARE, tmp_path / "rejected.ndjson")
    records = [json.loads(text) for text in once.part.path.read_bytes().splitlines()]
    expected = {"deviceId": "a", "osPlatform": "Linux", UNREADABLE_MARK: names} | dict.fromkeys(names)
    assert records == [{"deviceId": "a"}, expected]
    assert (once.rejected, once.part.unreadable) == (0, dict.fromkeys(names, 1))
    assert (twice.part.path.read_bytes(), twice.part.unreadable) == (once.part.path.read_bytes(), once.part.unreadable)


def test_a_mark_in_the_export_itself_means_nothing(tmp_path: Path) -> None:
    """Only a repair marks."""
    line = b'{"DeviceId":"a","%b":["diskPaths"]}' % UNREADABLE_MARK.encode()
    assert repaired(tmp_path, line) == ([{"deviceId": "a"}], [])


@pytest.mark.parametrize(
    ("line", "devices", "nameless"),
    [
        (b'{"DeviceId":"b","SoftwareName":"\\udc00"}', {"b"}, 0),
        (b'{"deviceid" : "b","x":NaN}', {"b"}, 0),
        (b'{"DeviceId":"b","deviceId":"b","SoftwareName":"\\ud800"}', {"b"}, 0),
        (b'{"DeviceId":"b\x00","SoftwareName":"p"}', {"b\0"}, 0),
        (b'{"DeviceId":"b","deviceId":"c","x":NaN}', set(), 1),
        (b'{"DeviceId":"\\ud800"}', set(), 1),
        (b'{"DeviceId":["b"],"x":NaN}', set(), 1),
        (b'["DeviceId","b"]', set(), 1),
        (b'{"deviceId":"b","SoftwareName":"half a li', set(), 1),
        (b'{"DeviceId":"b","SoftwareName":"half a "SoftwareVersion":"1"}', set(), 1),
        (b'{"DeviceId":"b","SoftwareName":"p"}{"DeviceId":"c","SoftwareName":"p"}', set(), 1),
        (b'{"SoftwareName":NaN}', set(), 1),
        (b'{"DeviceId":null,"SoftwareName":"p"}', set(), 1),
        (b'{"DeviceId":"b\xff","SoftwareName":"p"}', set(), 1),
        (b'{"DeviceId":"b","SoftwareName":' + b"[" * 100_000 + b"]" * 100_000 + b"}", set(), 1),
    ],
)
def test_a_rejected_line_says_what_devices_it_may_be_about(
    tmp_path: Path, line: bytes, devices: set[str], nameless: int
) -> None:
    """A line that is no object, not even to a lenient reader, may be the halves of two records."""
    part = repair(part_of(tmp_path, GOOD, line), SOFTWARE, tmp_path / "rejected.ndjson").part
    assert (part.rejected, part.rejected_devices, part.nameless) == (1, frozenset(devices), nameless)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b'{"DeviceId":"a","deviceId":"b"}', {"deviceId": "b"}),
        (b'{"DeviceId":"a","DeviceId":"b"}', {"deviceId": "b"}),
        (b'{"DeviceId":"a","deviceId":null}', {"deviceId": "a"}),
        (b'{"deviceId":null,"DeviceId":"a"}', {"deviceId": "a"}),
        (b'{"DeviceId":"a\\u0000b"}', {"deviceId": "a\x00b"}),
        (b'{"DeviceId":"a\\n\\"\xe2\x80\xae\xf0\x9f\x98\x80%"}', {"deviceId": 'a\n"\u202e\U0001f600%'}),
        (b'{"DeviceId":17}', {"deviceId": 17}),
        (b'{"DeviceId":"a","RbacGroupId":"17"}', {"deviceId": "a", "rbacGroupId": 17}),
        (b'{"DeviceId":"a","RbacGroupId":2.0}', {"deviceId": "a", "rbacGroupId": 2}),
        (b'{"DeviceId":"a","RbacGroupId":1e3}', {"deviceId": "a", "rbacGroupId": 1000}),
        (b'{"DeviceId":"a","RbacGroupId":7,"rbacGroupId":""}', {"deviceId": "a", "rbacGroupId": 7}),
        (b'{"DeviceId":"a","RbacGroupId":9223372036854775807}', {"deviceId": "a", "rbacGroupId": 2**63 - 1}),
        (b'{"DeviceId":"a","RegistryPath":"HKLM"}', {"deviceId": "a", "registryPath": "HKLM"}),
        (b'{"DeviceId":"a","DiskPaths":[null,"x",1]}', {"deviceId": "a", "diskPaths": [None, "x", 1]}),
        (b'{"DeviceId":"a","x":"\xff","y":[{"z":[]}]}', {"deviceId": "a"}),
    ],
)
def test_what_can_be_read_is_kept(tmp_path: Path, line: bytes, record: dict[str, Any]) -> None:
    """The last value that is not null counts; numbers and text stand for each other; odd undocumented values go."""
    assert repaired(tmp_path, line) == ([record], [])


def test_a_megabyte_in_a_value_and_ten_thousand_paths_are_fine(tmp_path: Path) -> None:
    """Large is not bad."""
    line = json.dumps({"DeviceId": "a", "SoftwareName": "x" * 2**20, "DiskPaths": [f"/{n}" for n in range(10_000)]})
    good, bad = repaired(tmp_path, line.encode())
    assert (len(good[0]["diskPaths"]), len(good[0]["softwareName"]), bad) == (10_000, 2**20, [])


def test_a_line_longer_than_any_that_is_read_is_rejected_and_the_next_one_is_not(tmp_path: Path) -> None:
    """Only its beginning is kept for people; line numbers go on as they should."""
    line = b'{"DeviceId":"' + b"x" * (2 * LINE_BYTES_MAX + 5) + b'"}'
    good, bad = repaired(tmp_path, line, GOOD, b"[]")
    assert good == [{"deviceId": "a"}]
    assert [(row["line"], len(row["raw"]), row["cut"]) for row in bad] == [(1, RAW_BYTES_MAX, True), (3, 2, False)]


def test_rejected_lines_are_all_counted_and_kept_up_to_a_bound(tmp_path: Path) -> None:
    """A part that is garbage from end to end does not fill the disk."""
    result = repair(part_of(tmp_path, *[b"x"] * (REJECTED_LINES_MAX + 5), GOOD), SOFTWARE, tmp_path / "rejected.ndjson")
    assert (result.rejected, result.part.lines) == (REJECTED_LINES_MAX + 5, 1)
    assert len((tmp_path / "rejected.ndjson").read_bytes().splitlines()) == REJECTED_LINES_MAX


def test_the_files_it_makes_are_for_their_owner_only(tmp_path: Path) -> None:
    """Mode 0600, both of them."""
    result = repair(part_of(tmp_path, GOOD, b"x"), SOFTWARE, tmp_path / "rejected.ndjson")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (result.part.path, tmp_path / "rejected.ndjson")]
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda _: b"", lambda text: text[:30] + b"\0" + text[31:]])
def test_a_part_that_is_not_what_was_verified_is_no_part(tmp_path: Path, damage: Any) -> None:
    """A file that changed on disk is not read as if nothing had happened."""
    part = part_of(tmp_path, *[GOOD] * 1_000, packed=True)
    content = damage(part.path.read_bytes())
    part.path.write_bytes(content)
    if not content:
        part.path.unlink()
    with pytest.raises(SnapshotIncomplete, match=r"remote\.json\.gz"):
        repair(part, SOFTWARE, tmp_path / "rejected.ndjson")


TOKENS = st.sampled_from(
    [b"null", b"true", b"false", b'"x"', b'""', b'"12"', b'" -7 "', b'"+5"', b'"1.5"', b'"1e3"', b"0", b"-0", b"1.5",
     b"2.5", b"-0.5", b"1e3", b"1E-3", b"1.50", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
     b"9.3e18", b"1e400", b"[]", b'["a",null]', b"[1,[2]]", b"{}", b'{"a":1}', b'"\\u0000"', b'"\xc3\xa9"', b'"\xff"',
     b'"\\ud83d\\ude00"', b'"\\ud800"', b"[NaN]", b"01", b'["\\ud800"]', b'"2020-01-01"', b'"99999999999999999999"',
     b'"\\t12"', b'"1_0"', b'"0x1F"', b"123456789012345678901234567890"]
)  # fmt: skip
NAMES = st.sampled_from([b"DeviceId", b"RbacGroupId", b"DiskPaths", b"RegistryPath", b"EndOfSupportDate", b"Extra"])


def read_by_the_reader(part: Part) -> list[tuple[Any, ...]] | None:
    """What DuckDB reads of a part; None: it refuses it."""
    try:
        return READER.execute(scan(SOFTWARE, [part])).fetchall()
    except duckdb.InvalidInputException:
        return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, TOKENS, max_size=4))
@example({b"DeviceId": b'"a"', b"RbacGroupId": b'" -7 "'})
def test_a_line_that_the_reader_takes_reads_the_same_after_repair(tmp_path: Path, values: dict[bytes, bytes]) -> None:
    """The slow path changes no value of what the fast one takes; of what that refuses, it keeps the key or nothing."""
    line = b"{" + b",".join(b'"%b":%b' % pair for pair in {b"SoftwareName": b'"s"', **values}.items()) + b"}"
    part = part_of(tmp_path, line)
    spellings = {name.decode().lower(): (name.decode(),) for name in [b"SoftwareName", *values]}
    before = read_by_the_reader(Part(part.path, part.name, 1, len(line), spellings))
    result = repair(part, SOFTWARE, tmp_path / "rejected.ndjson")
    after = read_by_the_reader(result.part)
    assert after is not None, "what was repaired cannot be read"
    if before is not None and before[0][0] and not any(odd in line for odd in (b"NaN", b"0x", b"_")):
        assert after == before
    if before is None:
        assert len(after) <= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")), max_size=5))
def test_any_bytes_as_lines_are_kept_or_rejected_each_of_them(tmp_path: Path, lines: list[bytes]) -> None:
    """No line disappears, and none raises."""
    good, bad = repaired(tmp_path, *lines)
    assert len(good) + len(bad) == sum(bool(line.strip()) for line in lines)
