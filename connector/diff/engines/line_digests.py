"""Lines and their digests: how they are digested, read with their digests in front, and stored with their records.

What a digest stands for, and what is done with it, is said in `lines`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector import packed, private_files
from connector.diff.keys import same_subject
from connector.diff.scan import LINE_COLUMNS, Spelling, digest, scan, spelling_of, stored_digest
from connector.diff.tables import Relation, Workspace
from connector.errors import SnapshotIncomplete
from connector.exports.fields import Export, Field
from connector.model import Part, Snapshot
from connector.packed import Halves
from connector.state import engine
from connector.state.meta import forget, recall, remember
from connector.state.sql import Database, file_pattern, literal

BITS: Final = 128

JOIN_ROWS_MAX: Final = 2_500_000
"""A hash table of so many digests takes some 100 MiB: so a comparison's memory does not grow with the estate."""

CHUNK_LINES: Final = 4096
BATCH_LINES: Final = 4 * 122_880
"""Parts of so many lines are read by one statement: planning one for each of many small parts would take longer."""


@dataclass(frozen=True, slots=True)
class LineDigests:
    """How lines are digested, and joined with the stored ones.

    Attributes:
        bits: so many of 128 are kept: fewer only where tests want collisions.
        join_rows_max: so many stored digests are joined at a time.
    """

    bits: int = BITS
    join_rows_max: int = JOIN_ROWS_MAX

    def sql(self, spelling: Spelling) -> tuple[str, str]:
        """Expressions over an index: the two halves of a digest, of lines that are spelled like that."""
        names = packed.LineIndex.COLUMNS
        halves = zip(names, _salt(spelling), self._masks, strict=False)
        first, second = (f"(xor({name}, {salt}::BIGINT) & {mask}::BIGINT)" for name, salt, mask in halves)
        return first, second

    def shares(self, stored: int) -> list[str]:
        """Conditions on `line_1`, each of which chooses a share of all digests; what has none is in the first share."""
        shares = 1 << max(-(-stored // self.join_rows_max) - 1, 0).bit_length()
        return [f"(coalesce(line_1, 0) & {shares - 1}) = {n}" for n in range(shares)] if shares > 1 else ["true"]

    def tag(self, spelling: Spelling) -> Callable[[int, int], Halves]:
        """The same of two numbers."""
        (salt_1, salt_2), (mask_1, mask_2) = _salt(spelling), self._masks
        return lambda first, second: ((first ^ salt_1) & mask_1, (second ^ salt_2) & mask_2)

    def definition(self, export: Export, tracked: Sequence[Field]) -> str:
        """What stored digests depend on beside the lines: who made them, how lines are read, what is tracked."""
        reading = scan(export, [Part(Path("/"), "", 1, 1, {})])
        text = f"{packed.MAKER} {self.bits} {engine.NAME} {reading} {stored_digest(tracked)}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def _masks(self) -> tuple[int, int]:
        return _mask(self.bits), _mask(self.bits - BITS // 2)


def spelled(export: Export, parts: Sequence[Part]) -> dict[Spelling, list[Part]]:
    """The parts that have lines, by how they spell their properties."""
    groups: dict[Spelling, list[Part]] = {}
    for part in parts:
        if part.lines:
            groups.setdefault(spelling_of(export, part.spellings), []).append(part)
    return groups


def digested_scans(export: Export, parts: Sequence[Part], digests: LineDigests) -> Iterator[str]:
    """SELECTs as `scan` makes them, of all lines with their digests: each is good until the next one is asked for.

    A part is read beside the index of its lines, row by row: the engine reads one record from each line that is not
    blank, in their order, and refuses a part of which that is not so. Where the two differ in length nevertheless, rows
    without a record, or without a digest, are left over.
    """
    groups = spelled(export, parts)
    if not groups:
        return
    with temporary_folder(parts) as folder:
        for spelling, group in groups.items():
            lines, batch = 0, list[str]()
            for number, part in enumerate(group):
                index = part.index or write_index(part, folder / f"{number}.lines")
                batch.append(_beside_index(scan(export, [part]), index, digests.sql(spelling)))
                lines += part.lines
                if lines >= BATCH_LINES or number == len(group) - 1:
                    yield "UNION ALL".join(batch)
                    lines, batch = 0, []


def _beside_index(records: str, index: Path, halves: tuple[str, str]) -> str:
    """A SELECT of the records of a part with the digests of their lines."""
    return f"""
        SELECT *
        FROM ({records})
        POSITIONAL JOIN (
            SELECT {", ".join(f"{half} AS {column}" for half, column in zip(halves, LINE_COLUMNS, strict=True))}
            FROM read_parquet([{literal(file_pattern(index))}], hive_partitioning = false)
        )
    """


def write_index(part: Part, path: Path) -> Path:
    """Write the index of the lines of a part that has none. Returns its path."""
    with private_files.translate_errors(path), private_files.create(path) as file:
        packed.index_part(part, file)
    return path


def store_lines(
    workspace: Workspace, snapshot: Snapshot, tracked: Sequence[Field], digests: LineDigests, lines: Relation | None
) -> None:
    """Store the digests of lines with the records that they are: those that were read, or where that is due all.

    A record has the digest of a line only where its own digest is that of what the line says: see above.

    Args:
        workspace: inside the staging transaction, once the inventory is what the snapshot makes it.
        snapshot: as it was compared.
        tracked: the attributes that are compared.
        digests: how lines are digested.
        lines: (device_no, software_no, digest, line_1, line_2) of those that were read; None: all lines were.
    """
    database, note = workspace.database, f"lines missed {workspace.inventory}"
    if lines is not None:
        _store(workspace, lines)
        forget(database, note)
        return
    if snapshot.is_repaired:
        return  # It is written anew, and the next one is not.
    expect_lines(database, digests.definition(workspace.export, tracked))
    missed = int(recall(database, note) or 0)
    remember(database, note, str(missed + 1))
    # Lines that are all different every time are not stored every time.
    if missed & (missed - 1) == 0:
        for records in digested_scans(workspace.export, snapshot.parts, digests):
            _store(workspace, lines_read(workspace.export, records, tracked))


def expect_lines(database: Database, definition: str) -> None:
    """Let digests of this definition be stored. Those of another one are worth nothing any more."""
    if recall(database, "lines") != definition:
        database.rows("UPDATE inventory SET line_1 = NULL, line_2 = NULL WHERE line_1 IS NOT NULL")
        remember(database, "lines", definition)


def lines_read(export: Export, records: str, tracked: Sequence[Field]) -> Relation:
    """The lines among `records`, a SELECT of them with their digests, as `store_lines` takes them."""
    return f"(SELECT device_no, software_no, digest, line_1, line_2 FROM ({numbered(export, records, tracked)}))"


def numbered(export: Export, records: str, tracked: Sequence[Field], *, marked: bool = False) -> str:
    """The records as they are written, with their digest and, where already known, their two numbers.

    Of `marked` ones the digest is also one of the names of the attributes that could not be read.
    """
    return f"""
        SELECT r.*, {digest(tracked, marked=marked)} AS digest, d.device_no, s.software_no
        FROM ({records}) r
        LEFT JOIN devices d ON d.device_id = r.device_id
        LEFT JOIN software s ON {same_subject(export, "s", "r")}
    """


def miscount(snapshot: Snapshot, *, read: int) -> SnapshotIncomplete:
    """The error where another number of records was read than was verified."""
    return SnapshotIncomplete(
        f"snapshot {snapshot.snapshot_id}: {read} records were read where {snapshot.lines} lines were verified on disk",
        hint="Nothing was staged. The next poll fetches the snapshot again; is another program changing the staging"
        " folder?",
    )


@contextmanager
def temporary_folder(parts: Sequence[Part]) -> Iterator[Path]:
    """A folder beside the parts, which is gone afterwards."""
    beside = parts[0].path.parent
    with private_files.translate_errors(beside):
        folder = tempfile.TemporaryDirectory(prefix="lines-", dir=beside)
    with folder as name:
        yield Path(name)


def _store(workspace: Workspace, lines: Relation) -> None:
    # Read first: the reader's buffers and what an update remembers are much together.
    read = workspace.make("read_lines", f"SELECT * FROM {lines}")
    workspace.database.rows(
        f"""
        UPDATE inventory
        SET line_1 = l.line_1, line_2 = l.line_2
        FROM {read} l
        WHERE inventory.inventory = {literal(workspace.inventory)}
          AND inventory.device_no = l.device_no
          AND inventory.software_no = l.software_no
          AND inventory.digest = l.digest
        """
    )
    workspace.database.rows(f"DROP TABLE {read}")


def _salt(spelling: Spelling) -> Halves:
    """Two numbers that stand for how a part spells its properties."""
    text = hashlib.sha256(repr(spelling).encode()).digest()
    return int.from_bytes(text[:8], "big", signed=True), int.from_bytes(text[8:16], "big", signed=True)


def _mask(bits: int) -> int:
    return -1 if bits >= BITS // 2 else (1 << max(bits, 0)) - 1
