"""Lines that are as they were: one whose digest stands in the inventory is the record that is stored, and not parsed.

The digests of a snapshot's lines (`packed`) are joined with those that are stored. What has a partner, one line and one
record, is neither a change nor absent. Only lines without a partner are read, and only stored records without one can
be absent or changed. What this rests on:

- A stored digest is of the line that the record was last read from, and stands only while the record's own digest is
  that of what the line says: not where values are held, where a key was repeated, or where a record continues another
  key. `line_digests.store_lines` holds that in one place.
- What a line means depends on how its part spells its properties: that is part of the digest. It depends on the fields
  that are tracked and on how values are read, too: where those change, no stored digest counts (`definition`).
- A digest that occurs twice, on either side, has no partner: repeated lines are read, and resolved as ever.
- A key of which any line is read is read whole: its other lines lose their partners.

Two different lines of one digest would hide a change if one of them is stored and the other follows it: one in 2^128.
Nothing else comes of it: no change is made up, and no record is lost that any other line shows to be different.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from connector import packed, private_files
from connector.diff.engines.line_digests import (
    CHUNK_LINES,
    LineDigests,
    miscount,
    numbered,
    spelled,
    temporary_folder,
    write_index,
)
from connector.diff.scan import Spelling, scan
from connector.diff.tables import Relation, Workspace
from connector.exports.fields import Field
from connector.model import Part, Snapshot
from connector.packed import Halves
from connector.state.meta import recall
from connector.state.sql import file_pattern, literal

SAMPLE_PARTS: Final = 8
SAMPLE_LINES: Final = 500
"""So many lines of so many parts show whether it is worth looking for partners."""

ENOUGH: Final = 0.5
"""Where fewer of the lines have a partner, all of them are read."""

BEGINS_MAX: Final = 100_000
"""So many places of lines are held in memory at a time."""

UNPAIRED: Final = "unpaired"
"""The table of what has no partner: lines (part_no, begin) and stored records (previous_row), and in which turn they
were found."""

_NOTHING_UNPAIRED: Final = """
    SELECT NULL::INTEGER AS part_no, NULL::BIGINT AS begin, NULL::BIGINT AS previous_row, 0 AS turn
    WHERE false
"""

PICKED: Final = "picked"
"""The table of the lines that were read, as they are written, with their digests."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is compared: some lines of a snapshot, and some of the stored records.

    Attributes:
        records: a SELECT of what the lines say, as it is written.
        lines: their number.
        rows: the number of stored records.
        condition: which records those are, as a further condition on the table of them.
        marked: whether the records name the attributes that could not be read.
    """

    records: str
    lines: int
    rows: int
    condition: str = ""
    marked: bool = False


def read_all(workspace: Workspace, snapshot: Snapshot, *, stored: int) -> Reading:
    """All lines of a snapshot, and all records that are stored."""
    marked = bool(snapshot.unreadable)
    return Reading(scan(workspace.export, snapshot.parts, marked=marked), snapshot.lines, stored, marked=marked)


def find_unpaired(
    workspace: Workspace, snapshot: Snapshot, tracked: Sequence[Field], digests: LineDigests, *, stored: int
) -> Reading | None:
    """Read the lines without a partner. None where there are few partners: then all lines are to be read.

    Raises:
        SnapshotIncomplete: the files are not as they were verified.
        SourceMalformed: a line cannot be read.
    """
    if snapshot.is_repaired or recall(workspace.database, "lines") != digests.definition(workspace.export, tracked):
        return None
    groups = spelled(workspace.export, snapshot.parts)
    if not _is_worth_while(workspace, groups, digests):
        return None
    with temporary_folder(snapshot.parts) as folder, private_files.translate_errors(folder):
        return _Search(workspace, snapshot, groups, digests, folder, stored=stored).run()


class _Search:
    """One search for partners: an index of each part, the join, and the lines that are picked in turns."""

    def __init__(
        self,
        workspace: Workspace,
        snapshot: Snapshot,
        groups: dict[Spelling, list[Part]],
        digests: LineDigests,
        folder: Path,
        *,
        stored: int,
    ) -> None:
        self._workspace = workspace
        self._database = workspace.database
        self._snapshot = snapshot
        self._groups = groups
        self._digests = digests
        self._folder = folder
        self._parts = [(spelling, part) for spelling, parts in groups.items() for part in parts]
        self._stored_rows = stored
        self._shares = digests.shares(stored)

    def run(self) -> Reading | None:
        """As `find_unpaired`."""
        self._write_indexes()
        pairs = self._join()
        lines, rows = self._count("part_no"), self._count("previous_row")
        if self._snapshot.lines - lines < ENOUGH * self._snapshot.lines:
            return None
        if not pairs == self._snapshot.lines - lines == self._stored_rows - rows:
            self._part_repeated()
        turn, read = 0, self._read(0)
        while self._part_concealed(turn + 1):
            turn += 1
            read += self._read(turn)
        alone = f"SELECT previous_row FROM {UNPAIRED} WHERE previous_row IS NOT NULL"
        return Reading(f"FROM {PICKED}", read, self._count("previous_row"), f" AND rowid IN ({alone})")

    def _write_indexes(self) -> None:
        """Write the indexes of parts that have none, and check that there is one line for each that was verified."""
        for number, (_, part) in enumerate(self._parts):
            if part.index is None:
                write_index(part, self._index(number))
        indexed = self._database.number(f"SELECT count(*) FROM ({self._lines()})")
        if indexed != self._snapshot.lines:
            raise miscount(self._snapshot, read=indexed)

    def _index(self, number: int) -> Path:
        return self._parts[number][1].index or self._folder / f"{number}.lines"

    def _lines(self) -> str:
        """A SELECT of all lines: the halves of their digests, their part, and where they begin."""
        selects, place = [], 0
        for spelling, parts in self._groups.items():
            files = ", ".join(literal(file_pattern(self._index(number))) for number in range(place, place + len(parts)))
            first, second = self._digests.sql(spelling)
            selects.append(
                f"""
                SELECT {first} AS line_1, {second} AS line_2, (file_index + {place})::INTEGER AS part_no,
                       begin
                FROM read_parquet([{files}], hive_partitioning = false)
                """
            )
            place += len(parts)
        return "UNION ALL".join(selects)

    def _stored(self) -> str:
        """A SELECT of all stored records: the halves of the digests of their lines, and their row ids."""
        return f"""
                SELECT line_1, line_2, rowid AS previous_row
                FROM inventory
                WHERE inventory = {literal(self._workspace.inventory)}
        """

    def _join(self) -> int:
        """Fill `UNPAIRED`. Returns the number of pairs of a line and a record that have one digest.

        Digests are joined a share of them at a time: the stored ones of a share are what has to fit in memory.
        """
        self._workspace.make(UNPAIRED, _NOTHING_UNPAIRED, grows=True)
        return sum(self._join_share(share) for share in self._shares)

    def _join_share(self, share: str) -> int:
        joined = self._workspace.make(
            "joined",
            f"""
            WITH lines AS (SELECT * FROM ({self._lines()}) WHERE {share}),
            stored AS (SELECT * FROM ({self._stored()}) WHERE {share})
            SELECT CASE WHEN previous_row IS NULL THEN part_no END AS part_no,
                   CASE WHEN previous_row IS NULL THEN begin END AS begin,
                   CASE WHEN begin IS NULL THEN previous_row END AS previous_row,
                   0 AS turn,
                   count(*) AS pairs
            FROM lines
            FULL JOIN stored USING (line_1, line_2)
            GROUP BY ALL
            """,
        )
        is_pair = "part_no IS NULL AND previous_row IS NULL"
        pairs = self._database.number(f"SELECT sum(pairs)::BIGINT FROM {joined} WHERE {is_pair}")
        self._database.rows(f"INSERT INTO {UNPAIRED} SELECT * EXCLUDE (pairs) FROM {joined} WHERE NOT ({is_pair})")
        self._database.rows(f"DROP TABLE {joined}")
        return pairs

    def _count(self, column: str) -> int:
        return self._database.number(f"SELECT count({column}) FROM {UNPAIRED}")

    def _part_repeated(self) -> None:
        """Take the partners from each other whose digest several lines or several records have."""
        for share in self._shares:
            repeated = self._workspace.make(
                "repeated_lines",
                f"""
                SELECT line_1, line_2
                FROM ({self._lines()})
                WHERE {share}
                GROUP BY ALL
                HAVING count(*) > 1
                UNION
                SELECT line_1, line_2
                FROM ({self._stored()})
                WHERE {share}
                GROUP BY ALL
                HAVING count(*) > 1
                """,
            )
            self._part(repeated, turn=0)

    def _part_concealed(self, turn: int) -> bool:
        """Take their partners from the other lines of keys that were read. Returns whether there are any.

        A line that is as it was may have got a twin.
        """
        workspace = self._workspace
        concealed = workspace.make(
            "concealed",
            f"""
            WITH keys AS (
                SELECT device_no, software_no
                FROM ({numbered(workspace.export, f"FROM {PICKED}", ())})
                WHERE device_no IS NOT NULL AND software_no IS NOT NULL
            ),
            paired AS (
                SELECT device_no, software_no, line_1, line_2, rowid AS previous_row
                FROM inventory
                SEMI JOIN keys USING (device_no, software_no)
                WHERE inventory = {literal(workspace.inventory)}
            )
            SELECT DISTINCT line_1, line_2
            FROM paired
            ANTI JOIN {UNPAIRED} USING (previous_row)
            """,
        )
        if not workspace.count(concealed):
            return False
        self._part(concealed, turn=turn)
        return True

    def _part(self, digests: Relation, *, turn: int) -> None:
        """Take their partners from all lines and records of these digests."""
        sides = {"part_no, begin": self._lines(), "previous_row": self._stored()}
        for place, rows in sides.items():
            self._database.rows(
                f"""
                WITH paired AS ({rows})
                INSERT INTO {UNPAIRED} BY NAME
                SELECT {place}, {turn} AS turn
                FROM paired
                SEMI JOIN {digests} USING (line_1, line_2)
                ANTI JOIN {UNPAIRED} USING ({place})
                """
            )

    def _read(self, turn: int) -> int:
        """Read the lines of one turn into `PICKED`. Returns their number."""
        picked = [part for number in range(len(self._parts)) if (part := self._pick(number, turn))]
        records = scan(self._workspace.export, picked, tagged=True)
        if turn:
            read = self._database.number(f"INSERT INTO {PICKED}\n{records}")
        else:
            read = self._workspace.count(self._workspace.make(PICKED, records, grows=True))
        if read != sum(part.lines for part in picked):
            raise miscount(self._snapshot, read=self._snapshot.lines - sum(part.lines for part in picked) + read)
        return read

    def _pick(self, number: int, turn: int) -> Part | None:
        """Write the lines of one turn to a file of their own; None where a part has none."""
        spelling, part = self._parts[number]
        tag = self._digests.tag(spelling)
        path, lines = self._folder / f"{number}-{turn}.json", 0
        picked = packed.pick_lines(part, self._begins(number, turn))
        with private_files.create(path) as file:
            while chunk := list(islice(picked, CHUNK_LINES)):
                file.writelines(packed.tagged(chunk, tag))
                lines += len(chunk)
        return replace(part, path=path, lines=lines) if lines else None

    def _begins(self, number: int, turn: int) -> Iterator[int]:
        """Where the lines of one turn begin in a part, in order."""
        last, is_last = -1, False
        while not is_last:
            rows = self._database.rows(
                f"""
                SELECT begin
                FROM {UNPAIRED}
                WHERE part_no = $1 AND turn = $2 AND begin > $3
                ORDER BY begin
                LIMIT {BEGINS_MAX}
                """,
                [number, turn, last],
            )
            yield from (begin for (begin,) in rows)
            is_last = len(rows) < BEGINS_MAX
            last = rows[-1][0] if rows else last


def _is_worth_while(workspace: Workspace, groups: dict[Spelling, list[Part]], digests: LineDigests) -> bool:
    """Whether enough of a sample of the lines have a partner."""
    sample: set[Halves] = set()
    parts = [(spelling, part) for spelling, group in groups.items() for part in group]
    for spelling, part in parts[:: max(len(parts) // SAMPLE_PARTS, 1)]:
        lines = next(packed.lines_of(part), [])
        halves = packed.digests_of([line for line in lines if line.strip()][:SAMPLE_LINES])
        sample.update(map(digests.tag(spelling), halves[0::2], halves[1::2]))
    known = workspace.database.number(
        f"""
        WITH sample AS (SELECT unnest($1::BIGINT[]) AS line_1, unnest($2::BIGINT[]) AS line_2),
        known AS (
            SELECT DISTINCT line_1, line_2
            FROM inventory
            SEMI JOIN sample USING (line_1, line_2)
            WHERE inventory = {literal(workspace.inventory)}
        )
        SELECT count(*)
        FROM known
        """,
        [[first for first, _ in sample], [second for _, second in sample]],
    )
    return known > 0 and known >= ENOUGH * len(sample)
