"""Lines of parts: where they begin, what their digests are, and how they are picked out again."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector import packed
from connector.errors import SnapshotIncomplete
from connector.model import Part

TEXTS = st.lists(
    st.one_of(st.just(b""), st.just(b" \t"), st.binary(max_size=30).map(lambda some: b"{" + some.replace(b"\n", b""))),
    max_size=40,
).map(b"\n".join)


def part_of(folder: Path, text: bytes, *, is_packed: bool) -> Part:
    """A part of this text."""
    path = folder / ("part.json.gz" if is_packed else "part.json")
    path.write_bytes(gzip.compress(text) if is_packed else text)
    return Part(path, path.name, sum(bool(line.strip()) for line in text.split(b"\n")), len(text), {})


def indexed(folder: Path, part: Part) -> list[tuple[int, int, int]]:
    """The rows of the index of a part, as the engine reads them."""
    path = folder / "part.lines"
    with path.open("wb") as file:
        assert packed.index_part(part, file) == part.lines
    with duckdb.connect() as database:
        return database.execute(f"SELECT first_half, second_half, begin FROM read_parquet('{path}')").fetchall()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=TEXTS, is_packed=st.booleans(), step=st.integers(1, 5))
def test_the_engine_reads_where_each_line_begins_and_its_digest(
    text: bytes, is_packed: bool, step: int, tmp_path: Path
) -> None:
    """Whatever the text is: one row for each line that is not blank; the lines at those places are picked out again."""
    part = part_of(tmp_path, text, is_packed=is_packed)
    rows = indexed(tmp_path, part)
    lines = [line + b"\n" for line in text.split(b"\n") if line.strip()]
    assert list(packed.pick_lines(part, [begin for _, _, begin in rows])) == lines
    assert list(packed.pick_lines(part, [begin for _, _, begin in rows][::step])) == lines[::step]
    digests = packed.digests_of(lines)
    assert [row[:2] for row in rows] == list(zip(digests[0::2], digests[1::2], strict=True))


def test_an_index_of_many_lines_has_several_groups_of_rows(tmp_path: Path) -> None:
    """In order, and whole."""
    number = packed.GROUP_LINES * 2 + 5
    text = b"".join(b'{"n":%d}\n' % place for place in range(number))
    rows = indexed(tmp_path, part_of(tmp_path, text, is_packed=True))
    assert [begin for _, _, begin in rows[:3]] == [0, 8, 16]
    assert len({row[:2] for row in rows}) == len(rows) == number


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "shorter"])
def test_a_file_that_is_not_as_it_was_verified_is_refused(damage: str, tmp_path: Path) -> None:
    """Cut off, changed, gone, or with fewer lines than there were: none of its lines is used."""
    text = b"".join(b'{"n":"%d"}\n' % (place * 7919) for place in range(20_000))
    part = part_of(tmp_path, text, is_packed=True)
    begins = [begin for _, _, begin in indexed(tmp_path, part)]
    content = part.path.read_bytes()
    if damage == "gone":
        part.path.unlink()
    else:
        middle = len(content) // 2
        part.path.write_bytes(
            {
                "cut": content[:-3],
                "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
                "shorter": gzip.compress(text[: len(text) // 2]),
            }[damage]
        )
    with pytest.raises(SnapshotIncomplete):
        list(packed.pick_lines(part, begins))
