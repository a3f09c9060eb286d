from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import packed
from connector.diff.engines.duckdb import DuckDBComparer
from connector.diff.engines.line_digests import JOIN_ROWS_MAX, LineDigests, spelled
from connector.errors import SourceMalformed
from connector.exports.software import SOFTWARE
from connector.model import Method, Part, Snapshot, StagedSnapshot
from connector.packed import Halves
from connector.staging.stage import stage_snapshot
from tests.support.bench import EASY, SLOW, Bench, record, staging_rules
from tests.support.estate import Estate, snapshot_of, spelling
from tests.support.oracle import Key, Record, by_key, key_of

STILL = ("a", "b", "c", "d", "e")
"""Names of records that stay as they are, so that most lines have a partner."""


class LineBench(Bench):
    """A bench whose snapshots repeat most lines byte for byte, in parts of any size, and now and then in no line.

    Args:
        folder: as of a `Bench`.
        bits: of the digests.
        join_rows_max: of the digests.

    Attributes:
        repeated: lines that were written as they had been.
        written: all lines.
        recognized: snapshots of which only some lines were read.
    """

    def __init__(
        self, folder: Path, *, bits: int = 128, join_rows_max: int = JOIN_ROWS_MAX, random: Random | None = None
    ) -> None:
        super().__init__(folder, random=random)
        self.digests = LineDigests(bits, join_rows_max)
        self.repeated = self.written = self.recognized = 0
        self.flavour = Method.FILES
        self._texts: dict[tuple[Method, str], bytes] = {}
        self._history: dict[Key, dict[Halves, set[bytes]]] = defaultdict(lambda: defaultdict(set))

    def snapshot(self, lines: Sequence[Record]) -> Snapshot:
        """The next snapshot."""
        self.number += 1
        random = self.random
        self.flavour = random.choice(list(Method)) if random.random() < 0.1 else self.flavour
        texts = self._safe(lines, [self._text(line) for line in lines])
        cut = random.randint(0, len(lines))
        folder = self.folder / "parts"
        folder.mkdir(exist_ok=True)
        parts = [
            self.part(folder / f"{self.number}-{place}.json", some)
            for place, some in enumerate((texts[:cut], texts[cut:]))
        ]
        return snapshot_of(parts, self.number, method=self.flavour)

    def part(self, path: Path, texts: Sequence[bytes]) -> Part:
        """A part with these lines, all of whose properties are in the sample."""
        blanks = [self.random.choice((b"", b"", b"\n", b" \n")) for _ in texts]
        text = b"".join(line + b"\n" + blank for line, blank in zip(texts, blanks, strict=True))
        if self.random.random() < 0.5:
            path = path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        seen = {field.name.lower(): (spelling(field.name, self.flavour),) for field in SOFTWARE.fields}
        return Part(path, path.name, len(texts), len(text), seen)

    def take(self, snapshot: Snapshot, **more: Any) -> StagedSnapshot:
        """As `Bench.take`, with digests of so many bits."""
        staged = stage_snapshot(
            self.state,
            snapshot,
            staging_rules(self.rules),
            started_at=snapshot.generated_at,
            now=snapshot.generated_at.replace(minute=2),
            rejected=more["rejected"],
            comparer=DuckDBComparer(self.digests),
        )
        self.recognized += not staged.baseline and self.state.recall("lines missed CPE") is None
        return staged

    def take_texts(self, texts: Sequence[bytes], **spellings: tuple[str, ...]) -> StagedSnapshot:
        """Stage a snapshot of these lines, in camelCase, some properties of which are spelled otherwise in the part."""
        self.flavour = Method.JSON
        self.number += 1
        part = self.part(self.folder / f"{self.number}.json", texts)
        part = replace(part, spellings={**part.spellings, **spellings})
        return self.take(snapshot_of([part], self.number), rejected=0)

    def tag(self, text: bytes) -> Halves:
        """The digest of a line."""
        part = self.part(self.folder / "any.json", [text])
        (key,) = spelled(SOFTWARE, [part])
        return self.digests.tag(key)(*packed.digests_of([text + packed.BREAK]))

    def stored(self) -> dict[Key, Halves]:
        """The digests of lines that are stored."""
        rows = self.state.database.rows(
            "SELECT device_id, software_vendor, software_name, software_version, line_1, line_2 FROM inventory"
            " JOIN devices USING (device_no) JOIN software USING (software_no) WHERE line_1 IS NOT NULL"
        )
        return {tuple(row[:4]): tuple(row[4:]) for row in rows}

    def _text(self, line: Record) -> bytes:
        meaning = self.flavour, repr(sorted(by_key([line]).items()))
        self.written += 1
        if meaning in self._texts and self.random.random() < 0.9:
            self.repeated += 1
        else:
            items = [(spelling(name, self.flavour), value) for name, value in line.items()]
            self.random.shuffle(items)
            self._texts[meaning] = json.dumps(dict(items)).encode()
        return self._texts[meaning]

    def _safe(self, lines: Sequence[Record], texts: list[bytes]) -> list[bytes]:
        """The lines, of which none follows another of its digest in the one way that hides a change.

        That is, where it has a partner, the partner was read from the same bytes. Every other collision stays.
        """
        keys = [key_of(next(iter(by_key([line]).values()))) for line in lines]
        stored = self.stored()
        owners = Counter(stored.values())
        for _ in range(50):
            tags = [self.tag(text) for text in texts]
            here = Counter(tags)
            partners = {digest: key for key, digest in stored.items() if owners[digest] == here[digest] == 1}
            wrong = [
                place
                for place, tag in enumerate(tags)
                if tag in partners and self._history[partners[tag]][tag] != {texts[place]}
            ]
            if not wrong:
                break
            for place in wrong:
                texts[place] = b"{ " + texts[place][1:]
        for key, tag, text in zip(keys, tags, texts, strict=True):
            self._history[key][tag].add(text)
        return texts


@given(seed=st.integers(0, 2**32), bits=st.sampled_from([4, 8, 128]), join_rows_max=st.sampled_from([1, 5, 1000]))
@SLOW
def test_changes_are_those_of_the_oracle_whichever_lines_are_repeated(
    seed: int, bits: int, join_rows_max: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No change is lost and none made up, though most lines are not parsed: also with digests of four bits.

    Lines are as they were, changed, new, repeated within a snapshot, or all in the other flavour. Of four bits, nearly
    every digest is that of several lines. However few digests are joined at a time, nothing else comes of it.
    """
    random = Random(seed)
    estate = Estate(random)
    with LineBench(tmp_path_factory.mktemp("state"), bits=bits, join_rows_max=join_rows_max, random=random) as bench:
        still = [record("still", name, osPlatform="Linux") for name in STILL]
        for _ in range(8):
            lines = estate.lines() + still + (estate.twins() if random.random() < 0.4 else [])
            random.shuffle(lines)
            bench.stage(lines)
            estate.evolve()
            estate.leave_or_return()
        assert (bench.repeated > bench.written / 4, bench.recognized > 0) == (True, True)


def digest_of(bench: Bench, name: str) -> int | None:
    """The stored digest of what a record says."""
    rows = bench.state.database.rows(
        "SELECT digest FROM inventory JOIN software USING (software_no) WHERE software_name = $1", [name]
    )
    return rows[0][0] if rows else None


def forge(bench: Bench, name: str) -> None:
    """Give a record a digest that no line has: whoever reads its line stores the right one again."""
    bench.state.database.rows(
        "UPDATE inventory SET digest = 1 FROM software s WHERE inventory.software_no = s.software_no AND"
        " software_name = $1",
        [name],
    )


def test_a_line_that_is_as_it_was_is_not_parsed(tmp_path: Path) -> None:
    """Only lines that are not as they were are read: a digest that is wrong is not noticed, nor one that is right."""
    lines = [record("d", name) for name in STILL]
    with LineBench(tmp_path) as bench:
        bench.stage(lines)
        forge(bench, "a")
        bench.stage([*lines[:4], record("d", "e", osPlatform="Linux")])
        assert (digest_of(bench, "a"), set(bench.stored()) == set(by_key(lines))) == (1, True)


def test_digests_are_shared_out_and_records_without_one_too(tmp_path: Path) -> None:
    """Joined a share at a time: a line without a partner is read, and a record without a digest may be absent."""
    lines = [record("d", name) for name in STILL]
    with LineBench(tmp_path, join_rows_max=1) as bench:
        bench.stage(lines)
        bench.state.database.rows(
            "UPDATE inventory SET line_1 = NULL, line_2 = NULL FROM software s"
            " WHERE inventory.software_no = s.software_no AND software_name IN ('a', 'b')"
        )
        counts = bench.stage([*lines[1:], record("d", "f")]).counts
        assert (counts.removed, counts.added, counts.changed, bench.recognized) == (1, 1, 0, 1)
        assert set(bench.stored()) == set(by_key([*lines[1:], record("d", "f")]))


def test_where_few_lines_are_as_they_were_all_of_them_are_read_once(tmp_path: Path) -> None:
    """A file without digests, as an earlier version left it: everything is compared as ever, and they are filled in."""
    lines = [record("d", name) for name in STILL]
    with LineBench(tmp_path) as bench:
        bench.stage(lines)
        bench.state.database.rows("UPDATE inventory SET line_1 = NULL, line_2 = NULL")
        bench.state.database.rows("DELETE FROM meta WHERE name = 'lines'")
        forge(bench, "a")
        bench.stage([*lines[:4], record("d", "e", osPlatform="Linux")])
        assert (digest_of(bench, "a") == 1, set(bench.stored()) == set(by_key(lines))) == (False, True)
        assert bench.stage([*lines[:4], record("d", "e", osPlatform="macOS")]).counts.changed == 1
        assert bench.recognized == 1


def test_lines_that_are_never_as_they_were_are_not_stored_every_time(tmp_path: Path) -> None:
    """An undocumented property moves at every generation: digests are stored after 1, 2, 3, 5 and 9 of them."""
    stored = []
    with LineBench(tmp_path) as bench:
        for number in range(7):
            bench.take_texts([json.dumps(record("d", name, Undocumented=number)).encode() for name in STILL])
            stored.append(bench.stored())
    assert [before == after for before, after in pairwise(stored)] == [False, False, False, True, False, True]


def test_what_is_tracked_from_now_on_is_read_although_its_line_is_as_it_was(tmp_path: Path) -> None:
    """A value that moved while its field was ignored is stored once the field counts, and compared from then on."""
    before, now, later = ([record("d", name, osPlatform=platform) for name in STILL] for platform in ("1", "2", "3"))
    ignoring = replace(EASY, ignore_fields=frozenset({"osPlatform"}))
    with LineBench(tmp_path) as bench:
        bench.rules = ignoring
        for lines in (before, now, now):
            assert bench.stage(lines).counts.changed == 0
        bench.rules = EASY
        assert bench.stage(now).counts.changed == 0
        assert bench.stage([*now[:4], later[4]]).counts.changed == 1


def test_values_that_are_held_are_judged_again_although_their_lines_are_as_they_were(tmp_path: Path) -> None:
    """A field is emptied everywhere and stays so: its stored values are held at every snapshot."""
    names = [f"n{number}" for number in range(30)]
    full = [record("d", name, osPlatform="Linux") for name in names]
    empty = [record("d", name, osPlatform="") for name in names]
    still = [record("e", f"s{number}") for number in range(60)]
    with LineBench(tmp_path) as bench:
        bench.stage(full + still)
        for _ in range(3):
            bench.stage(empty + still)
            assert bench.distrusted() == {"osPlatform": ("EMPTIED_FIELD", 30)}
        assert bench.recognized == 3
        bench.stage(full + still)
        assert bench.distrusted() == {}


def test_a_line_of_the_digest_of_the_one_before_hides_its_change_until_it_differs(tmp_path: Path) -> None:
    """All that a collision can do: the change comes later. Nothing is made up, and no other record is concerned."""
    with LineBench(tmp_path, bits=1) as bench:
        bench.flavour = Method.JSON
        before, *others = (json.dumps(record("d", "a", osPlatform=str(number))).encode() for number in range(30))
        hidden = next(text for text in others if bench.tag(text) == bench.tag(before))
        shown = next(text for text in others if bench.tag(text) != bench.tag(before))
        changes = [change for text in (before, hidden, shown) for change in bench.changes(bench.take_texts([text]))]
    platforms = [(change["before"]["osPlatform"], change["osPlatform"]) for change in changes]
    assert platforms == [(json.loads(before)["osPlatform"], json.loads(shown)["osPlatform"])]


def test_one_line_is_another_record_where_its_part_spells_the_properties_in_another_way(tmp_path: Path) -> None:
    """The same bytes in a part of another spelling are read again: a property of another name is not there."""
    texts = [json.dumps(record("d", name, osPlatform="Linux")).encode() for name in STILL]
    with LineBench(tmp_path) as bench:
        bench.take_texts(texts)
        staged = bench.take_texts(texts, osplatform=("OSPlatform",))
    assert staged.counts.changed == len(STILL)


@pytest.mark.parametrize(
    "line", [b'["deviceId": "d"}', b'x"deviceId": "d"}', b"{}", b"[]", b"null", b'{"deviceId": "d"']
)
def test_a_line_that_is_no_object_is_refused_as_ever(line: bytes, tmp_path: Path) -> None:
    """In a first snapshot and in later ones: the digest in front makes no object of it."""
    texts = [json.dumps(record("d", name)).encode() for name in STILL]
    with LineBench(tmp_path) as bench:
        with pytest.raises(SourceMalformed):
            bench.take_texts([*texts, line])
        bench.take_texts(texts)
        with pytest.raises(SourceMalformed):
            bench.take_texts([*texts, line])
        assert bench.take_texts(texts).counts.changes == 0


@pytest.mark.parametrize("random", [Random(seed) for seed in range(4)])
def test_each_record_of_a_first_snapshot_has_the_digest_of_its_own_line(random: Random, tmp_path: Path) -> None:
    """Whatever blanks, blank lines and parts are between them, and so where all lines of a later one are read.

    A record with the digest of another line would hide its next change.
    """
    lines = [
        json.dumps(record("d", f"n{number}", diskPaths=["x" * random.randint(0, 3000)])).encode()
        for number in range(1000)
    ]
    texts = [line + random.choice((b"", b"\r", b"  ")) for line in lines]
    later = [b" " + text for text in texts]
    with LineBench(tmp_path, random=random) as bench:
        for snapshot in (texts, later):
            bench.take_texts(snapshot)
            own = {key: bench.tag(text) for text in snapshot for key in by_key([json.loads(text)])}
            assert bench.stored() == own
