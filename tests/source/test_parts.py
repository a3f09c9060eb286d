from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import stat
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.errors import SnapshotIncomplete
from connector.exports.software import SOFTWARE
from connector.model import Part
from connector.source import parts
from connector.source.parts import BYTE_ORDER_MARK, Gunzip, PartWriter

LINE = b'{"DeviceId":"aaaa","SoftwareName":"edge"}\n'


def packed(text: bytes, level: int = 9) -> bytes:
    """The text as one gzip member without the time of day, so that the ids of tests are the same in every process."""
    return gzip.compress(text, level, mtime=0)


def records(count: int) -> bytes:
    """`count` lines, none like another."""
    return b"".join(
        json.dumps({"DeviceId": f"{number:040x}", "SoftwareName": f"n{number}"}).encode() + b"\n"
        for number in range(count)
    )


def write(
    folder: Path,
    content: bytes,
    *,
    cuts: tuple[int, ...] = (),
    expected_bytes: int | None = None,
    encoded: bool = False,
    gathered: int = 1,
) -> Part:
    """Write a part that arrives cut at these places."""
    with PartWriter(
        folder, "part-x", "remote.json.gz", SOFTWARE.wire_names, encoded=encoded, chunk_bytes_min=gathered
    ) as writer:
        places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
        for begin, end in itertools.pairwise(places):
            writer.feed(content[begin:end])
        part = writer.finish(expected_bytes)
        assert writer.wire_bytes == len(content)
        assert writer.digest == hashlib.sha256(content).hexdigest()
        return part


def stored(part: Part) -> bytes:
    """The text of a stored part."""
    return gzip.decompress(part.path.read_bytes()) if part.path.suffix == ".gz" else part.path.read_bytes()


def slow_text(content: bytes) -> bytes:
    """The text of a file as anybody would read it; raises where it is no gzip file."""
    text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return text.removeprefix(BYTE_ORDER_MARK)


TEXTS = st.lists(
    st.sampled_from([LINE, b'{"deviceId":"b"}\n', b"\n", b"  \r\n", b'{"DeviceId":"c"}', BYTE_ORDER_MARK, b"[1]\n"]),
    max_size=12,
).map(b"".join)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file of one or more gzip members, or plain text, perhaps damaged."""
    text = draw(TEXTS)
    content = text
    if draw(st.booleans()):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        content = b"".join(
            packed(text[begin:end], draw(st.sampled_from([0, 1, 9])))
            for begin, end in itertools.pairwise([0, *cuts, len(text)])
        )
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "flip", "tail"]))
    if damage == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    if damage == "flip" and content:
        place = draw(st.integers(0, len(content) - 1))
        content = content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]
    if damage == "tail":
        content += draw(st.binary(min_size=1, max_size=8))
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(files(), st.lists(st.integers(0, 5_000), max_size=6).map(tuple), st.sampled_from([1, 64, 65_536]))
@example(packed(b"") + packed(LINE), (), 1)
@example(packed(BYTE_ORDER_MARK[:1]) + packed(BYTE_ORDER_MARK[1:] + LINE), (1, 2, 3), 1)
@example(b"\x1f", (), 1)
def test_however_a_file_is_cut_on_the_way_it_is_stored_as_the_slow_way_reads_it(
    tmp_path: Path, content: bytes, cuts: tuple[int, ...], gathered: int
) -> None:
    """A part is stored with the very text that unpacking it at once gives, or refused."""
    try:
        part = write(tmp_path, content, cuts=cuts, gathered=gathered)
    except SnapshotIncomplete:
        assert not list(tmp_path.glob("*.draft"))
        return
    text = slow_text(content)
    assert stored(part) == text
    assert part.lines == sum(bool(line.strip()) for line in text.split(b"\n")) > 0
    assert part.size_bytes == len(text)
    is_one_member = part.path.suffix == ".gz"
    assert part.path.read_bytes() == (content if is_one_member else text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(TEXTS.filter(lambda text: bool(text.removeprefix(BYTE_ORDER_MARK).strip())), st.integers(1, 3))
def test_a_whole_file_is_never_refused(tmp_path: Path, text: bytes, members: int) -> None:
    """Any text that ends with a line break, packed in any number of members, is taken."""
    text = text.rstrip(b"\n") + b"\n"
    size = len(text) // members + 1
    content = b"".join(packed(text[begin : begin + size]) for begin in range(0, len(text), size))
    assert stored(write(tmp_path, content, expected_bytes=len(content))) == text.removeprefix(BYTE_ORDER_MARK)


def test_plain_gzip_is_stored_as_it_came(tmp_path: Path) -> None:
    """One member, no byte order mark: byte for byte, with its counts and spellings."""
    content = packed(records(3))
    part = write(tmp_path, content, expected_bytes=len(content))
    assert part == Part(
        tmp_path / "part-x.json.gz",
        "remote.json.gz",
        3,
        len(records(3)),
        {"deviceid": ("DeviceId",), "softwarename": ("SoftwareName",)},
        index=tmp_path / "part-x.lines",
    )
    assert part.path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        packed(records(2)) + packed(records(3)),
        packed(records(5)) + packed(b""),
        packed(BYTE_ORDER_MARK + records(5)),
        records(5),
        BYTE_ORDER_MARK + records(5),
    ],
)
def test_other_whole_files_are_stored_as_plain_text(tmp_path: Path, content: bytes) -> None:
    """Several members, a byte order mark, plain text under a .gz name: one reader for all of them."""
    part = write(tmp_path, content)
    assert part.path.name == "part-x.json"
    assert part.path.read_bytes() == slow_text(content)


@pytest.mark.parametrize("inner", [records(4), packed(records(4))])
def test_a_content_encoding_is_undone_before_the_file_is_looked_at(tmp_path: Path, inner: bytes) -> None:
    """`Content-Encoding: gzip` over a text or over a gzip file."""
    assert stored(write(tmp_path, packed(inner), encoded=True)) == records(4)


BROKEN = {
    "empty": b"",
    "empty gzip": packed(b""),
    "only blank lines": packed(b"\n \n\t\n"),
    "cut in a member": packed(records(500))[:-400],
    "cut in the checksum": packed(records(5))[:-3],
    "cut in the second header": packed(records(5)) + packed(records(5))[:1],
    "cut in the second member": packed(records(5)) + packed(records(500))[:-100],
    "wrong checksum": packed(records(5))[:-8] + b"\0\0\0\0" + packed(records(5))[-4:],
    "wrong length": packed(records(5))[:-4] + b"\0\0\0\0",
    "wrong checksum of the second member": packed(records(5)) + packed(LINE)[:-8] + b"\0" * 8,
    "rubbish behind": packed(records(5)) + b"rubbish",
    "zeros behind": packed(records(5)) + b"\0" * 512,
    "one byte behind": packed(records(5)) + b"\0",
    "a flipped byte": packed(records(50))[:60] + b"\x55" + packed(records(50))[61:],
    "a web page": b"<!DOCTYPE html><html></html>\n",
    "an error in XML": b'\xef\xbb\xbf<?xml version="1.0"?><Error></Error>\n',
    "a web page after blanks": b" \n\n \n<html></html>\n",
    "a packed web page": packed(b"<html></html>\n"),
    "a last line that is cut": packed(records(5)[:-10]),
    "a last line that is no object": packed(records(5) + b"17"),
    "half a magic": b"\x1f",
    "a zip file": b"PK\x03\x04 something",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_whole_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Every way a file can be cut, damaged or something else."""
    content = BROKEN[name]
    for cuts in ((), tuple(range(len(content)))[:300]):
        with pytest.raises(SnapshotIncomplete, match=r"remote\.json\.gz"):
            write(tmp_path, content, cuts=cuts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["rubbish behind", "zeros behind", "one byte behind"])
def test_what_follows_the_gzip_data_is_named(tmp_path: Path, name: str) -> None:
    """A person who looks into the file knows where to look."""
    with pytest.raises(SnapshotIncomplete, match="garbage follows its gzip data"):
        write(tmp_path, BROKEN[name])


@pytest.mark.parametrize("content", [packed(records(500)), records(500)])
def test_a_part_is_on_disk_before_it_has_its_name(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure leaves a whole part under the final name, or none: all of it is synced before."""
    synced: list[tuple[list[str], bytes]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((sorted(path.name for path in tmp_path.iterdir()), (tmp_path / "part-x.draft").read_bytes()))

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path, content)
    assert [names for names, _ in synced] == [["part-x.draft", "part-x.lines.draft"], ["part-x.draft", "part-x.lines"]]
    assert synced[-1][1] == content


@pytest.mark.parametrize("inner", [records(4), packed(records(4))])
def test_an_encoding_that_is_cut_is_refused(tmp_path: Path, inner: bytes) -> None:
    """The outer packing counts as much as the file's own."""
    with pytest.raises(SnapshotIncomplete):
        write(tmp_path, packed(inner)[:-2], encoded=True)


def test_a_file_shorter_or_longer_than_told_is_refused(tmp_path: Path) -> None:
    """`Content-Length` counts, even where the file looks whole."""
    content = packed(records(5))
    for length in (len(content) - 1, len(content) + 1):
        with pytest.raises(SnapshotIncomplete, match=f"{len(content)} of its {length} bytes"):
            write(tmp_path, content, expected_bytes=length)


@pytest.mark.parametrize("content", [records(5)[:-1], packed(records(5)[:-1])])
def test_a_last_line_without_a_line_break_is_whole_if_it_is_an_object(tmp_path: Path, content: bytes) -> None:
    """A file need not end with a line break."""
    assert write(tmp_path, content).lines == 5


def test_a_bad_line_in_a_whole_file_is_no_reason_to_refuse_it(tmp_path: Path) -> None:
    """The file came as it was written: its bad line is for the reader, or for `repair`."""
    with PartWriter(tmp_path, "part-x", "n", SOFTWARE.wire_names) as writer:
        writer.feed(packed(LINE + b'{"DeviceId": oh\n' + b"[1]\n"))
        part = writer.finish()
    assert (part.lines, writer.odd) == (3, True)


def test_a_gzip_bomb_is_stopped_early(tmp_path: Path) -> None:
    """A gigabyte of blanks in a megabyte is refused long before it is unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blanks = b" " * 2**20
    content = packer.compress(LINE) + b"".join(packer.compress(blanks) for _ in range(256)) + packer.flush()
    assert len(content) < 2**19
    unpacked: list[int] = []
    with pytest.raises(SnapshotIncomplete, match="bomb"):
        unpacked.extend(map(len, Gunzip("bomb").feed(content)))
    assert sum(unpacked) <= parts.RATIO_MAX * len(content) + parts.BLOCK_BYTES_MAX
    with pytest.raises(SnapshotIncomplete, match="bomb"):
        write(tmp_path, content)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_never_ends_is_stopped_whatever_its_ratio(tmp_path: Path) -> None:
    """The total is bounded too, of what comes and of what it unpacks to."""
    gunzip = Gunzip("endless")
    gunzip._packed_bytes = gunzip._unpacked_bytes = parts.UNPACKED_BYTES_MAX
    with pytest.raises(SnapshotIncomplete, match="unpack to more than"):
        list(gunzip.feed(packed(LINE)))
    with PartWriter(tmp_path, "part-x", "endless", SOFTWARE.wire_names) as writer:
        writer.wire_bytes = parts.UNPACKED_BYTES_MAX
        with pytest.raises(SnapshotIncomplete, match="longer than"):
            writer.feed(LINE)


def test_equal_lines_that_pack_very_well_are_no_bomb(tmp_path: Path) -> None:
    """The ratio is not looked at below some megabytes."""
    content = packed(LINE * 100_000, 9)
    assert len(LINE) * 100_000 > 100 * len(content)
    assert write(tmp_path, content).lines == 100_000


def test_parts_are_for_their_owner_only(tmp_path: Path) -> None:
    """Mode 0600, also for one that is stored as text instead."""
    for content in (packed(records(2)), packed(records(2)) * 2):
        assert stat.S_IMODE(write(tmp_path, content).path.stat().st_mode) == 0o600


def test_a_link_in_place_of_a_draft_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Whoever can write to the folder cannot make us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "part-x.draft").symlink_to(victim)
    (tmp_path / "part-x.json.gz").symlink_to(victim)
    part = write(tmp_path, packed(records(2)))
    assert victim.read_bytes() == b"precious"
    assert not part.path.is_symlink()


@pytest.mark.parametrize("members", [1, 3])
def test_a_large_part_keeps_within_its_memory(tmp_path: Path, members: int) -> None:
    """Sixty megabytes of text pass in pieces; what is stored is the same text."""
    import tracemalloc  # noqa: PLC0415 - only here

    text = records(80_000)
    size = len(text) // members + 1
    content = b"".join(packed(text[begin : begin + size], 1) for begin in range(0, len(text), size))
    tracemalloc.start()
    try:
        with PartWriter(tmp_path, "part-x", "n", SOFTWARE.wire_names) as writer:
            for begin in range(0, len(content), 16_384):
                writer.feed(content[begin : begin + 16_384])
            part = writer.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stored(part) == text
    assert peak < 8 * 2**20
