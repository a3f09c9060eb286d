"""How far the compacted inventory topic mirrors the inventory: what is still to be published, and what is stale there.

It is remembered as a note in the state file; reading and writing the topic is `backfill`'s.

The note is missing until a backfill has begun. It belongs to one epoch, and goes through three phases:

    records   the records beyond a cursor, in the order of the inventory's numbers, are not on the topic yet
    stale     all records are; keys may be there that the inventory does not have
    whole     the topic is the inventory, as of every checkpoint from then on: changes take their records along

What is stored without a change that is published (a silent baseline, a field that is tracked for the first time)
puts the cursor back; changes published while the topic is off make the note worthless, and it is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

from connector.exports.fields import Export
from connector.exports.identity import KEY_PART_BYTES_MAX, key_part
from connector.model import ChangeType, Inventory
from connector.state import meta
from connector.state.encoded import Encoded, RecordEncoder, encode_block
from connector.state.sql import Database, stored_records, unnested

NAME: Final = "inventory_topic"

RECORDS: Final = "records"
STALE: Final = "stale"
WHOLE: Final = "whole"

WINDOW_BATCHES: Final = 10
"""So many batches are read at once: finding where the next one begins looks at the numbers of all records."""

RecordKey = tuple[str, ...]
"""The inventory, then the parts of a record's key, such as device, vendor, name and version: the key of the topic."""

TopicKey = tuple[RecordKey, int, int, bool]
"""A key as a message of the topic has it, with its partition and offset, and whether it has a value."""


@dataclass(frozen=True, slots=True)
class BackfillCursor:
    """How far a backfill is.

    Attributes:
        epoch, phase: as the module says.
        inventory, device_no, software_no: of the last record published, in `RECORDS`.
        ends: where each partition of the topic ended before this backfill published anything, as (partition, offset).
            What is beyond is the inventory's, so that only what is below may be stale; None: not known.
    """

    epoch: int
    phase: str = RECORDS
    inventory: str = ""
    device_no: int = 0
    software_no: int = 0
    ends: tuple[tuple[int, int], ...] | None = None

    def beyond(self, inventory: str, device_no: int = 0, software_no: int = 0) -> BackfillCursor:
        """The cursor after a record."""
        return replace(self, phase=RECORDS, inventory=inventory, device_no=device_no, software_no=software_no)

    def enter(self, phase: str) -> BackfillCursor:
        """The cursor at the beginning of a phase."""
        return BackfillCursor(self.epoch, phase, ends=self.ends)


class Mirror:
    """The mirror's part of an open state file."""

    def __init__(self, database: Database, export: Export) -> None:
        self._database = database
        self._export = export

    def cursor(self) -> BackfillCursor:
        """How far it is; the very beginning where nothing of this epoch was published yet."""
        epoch = self._database.number("SELECT epoch FROM position")
        cursor = _recall(self._database)
        return cursor if cursor is not None and cursor.epoch == epoch else BackfillCursor(epoch)

    @property
    def key_parts(self) -> int:
        """How many parts the key of a message on the topic has."""
        return 1 + len(self._export.keys)

    @property
    def whole(self) -> bool:
        """Whether the topic is the inventory."""
        return self.cursor().phase == WHOLE

    def note(self, cursor: BackfillCursor) -> None:
        """Remember how far it is: once Kafka has committed it, never before."""
        _remember(self._database, cursor)

    def forget(self) -> None:
        """The topic is off, or no longer what it was: the next backfill starts over."""
        if _recall(self._database) is not None:
            meta.forget(self._database, NAME)

    def remaining(self) -> int:
        """Records that are not on the topic yet, as far as is known."""
        cursor = self.cursor()
        if cursor.phase != RECORDS:
            return 0
        return sum(
            self._database.number(f"SELECT count(*) FROM inventory WHERE {_BEYOND}", _bound(cursor, inventory))
            for inventory in Inventory
            if inventory.value >= cursor.inventory
        )

    def next_records(
        self, cursor: BackfillCursor, limit: int
    ) -> tuple[list[tuple[RecordKey, dict[str, Any]]], BackfillCursor]:
        """The next records of the inventory beyond a cursor, at most `limit` and of one inventory, and the new cursor.

        Without any, the new cursor is in the next phase.
        """
        names = [field.name for field in self._export.fields]
        for inventory in Inventory:
            if inventory.value < cursor.inventory:
                continue
            rows = self._database.rows(
                f"""
                WITH next AS (
                    SELECT rowid AS previous_row
                    FROM inventory
                    WHERE {_BEYOND}
                    ORDER BY device_no, software_no
                    LIMIT {limit}
                )
                SELECT device_no, software_no, {self._export.columns}
                FROM {stored_records(self._export, inventory)}
                WHERE previous_row IN (SELECT previous_row FROM next)
                ORDER BY device_no, software_no
                """,
                _bound(cursor, inventory),
            )
            if rows:
                records = [dict(zip(names, row[2:], strict=True)) for row in rows]
                beyond = cursor.beyond(inventory.value, rows[-1][0], rows[-1][1])
                return [(record_key(self._export, inventory, record), record) for record in records], beyond
        return [], cursor.enter(STALE)

    def encoded_records(
        self, cursor: BackfillCursor, limit: int, encoder: RecordEncoder[Encoded]
    ) -> Iterator[tuple[list[Encoded], BackfillCursor]]:
        """As `next_records` again and again, encoded: batches, each with the cursor after it."""
        for inventory in Inventory:
            if inventory.value < cursor.inventory:
                continue
            is_more = True
            while is_more:
                is_more = False
                with closing(self._encoded_window(inventory, cursor, limit, encoder)) as batches:
                    for batch, beyond in batches:
                        yield batch, beyond
                        cursor, is_more = beyond, True
        yield [], cursor.enter(STALE)

    def _encoded_window(
        self, inventory: Inventory, cursor: BackfillCursor, limit: int, encoder: RecordEncoder[Encoded]
    ) -> Generator[tuple[list[Encoded], BackfillCursor]]:
        """The next batches of one inventory, with one look for where they begin."""
        columns = [field.column for field in self._export.fields]
        names = [field.name for field in self._export.fields]
        constants = encoder.constants()
        bound = ", ".join(f"${number + 4}::BLOB AS constant_{number}" for number in range(len(constants)))
        stored = stored_records(self._export, inventory)

        def read_others(numbers: list[int]) -> Iterator[Encoded]:
            rows = self._database.rows(
                f"""
                SELECT {", ".join(columns)}
                FROM {stored}
                WHERE previous_row IN (SELECT unnest($1::BIGINT[]))
                ORDER BY device_no, software_no
                """,
                [numbers],
            )
            for row in rows:
                record = dict(zip(names, row, strict=True))
                yield encoder.encode(record_key(self._export, inventory, record), record)

        statement = f"""
            WITH next AS (
                SELECT rowid AS previous_row
                FROM inventory
                WHERE {_BEYOND}
                ORDER BY device_no, software_no
                LIMIT {WINDOW_BATCHES * limit}
            ),
            encoded AS (
                SELECT *, {encoder.pieces}
                FROM {stored}, (SELECT {bound})
                WHERE previous_row IN (SELECT previous_row FROM next)
            )
            SELECT previous_row, device_no, software_no, {encoder.fields}
            FROM encoded
            ORDER BY device_no, software_no
        """
        for block in self._database.blocks(statement, [*_bound(cursor, inventory), *constants], limit):
            messages = encode_block(block, lambda row: encoder.encode_row(inventory.value, row[3:]), read_others)
            yield list(messages), cursor.beyond(inventory.value, block[-1][1], block[-1][2])

    # ---- what is stale on the topic

    def begin_topic_keys(self) -> None:
        """Make room for the keys of the topic."""
        columns = ", ".join(
            f"{column} VARCHAR" for column in ("inventory", *(field.column for field in self._export.keys))
        )
        self._database.rows(
            f'CREATE OR REPLACE TEMP TABLE topic_keys ({columns}, partition INTEGER, "offset" BIGINT, valued BOOLEAN)'
        )

    def add_topic_keys(self, keys: Sequence[TopicKey]) -> None:
        """Note some keys of the topic; each as often as it is there."""
        columns = [list(column) for column in zip(*((*key, *rest) for key, *rest in keys), strict=True)]
        types = ("VARCHAR",) * self.key_parts + ("INTEGER", "BIGINT", "BOOLEAN")
        self._database.rows(f"INSERT INTO topic_keys SELECT {unnested(types)}", columns)

    def stale_keys(self, block_keys: int) -> Iterator[list[RecordKey]]:
        """The keys that have a value on the topic and no record in the inventory, at most `block_keys` at a time."""
        self._spell_out_cut_keys()
        keys = self._export.key_columns
        # Where partitions were added, a key lies in two of them: stale is what has a value in either.
        self._database.rows(
            f"""
            CREATE OR REPLACE TEMP TABLE stale_keys AS
            WITH newest AS (
                SELECT inventory, {keys}, partition, arg_max(valued, "offset") AS valued
                FROM topic_keys
                GROUP BY ALL
            ),
            present AS (
                SELECT DISTINCT inventory, {keys}
                FROM newest
                WHERE valued
            ),
            stored AS (
                SELECT inventory, {keys}
                FROM inventory
                JOIN devices USING (device_no)
                JOIN software USING (software_no)
            )
            SELECT row_number() OVER () AS number, *
            FROM present
            ANTI JOIN stored USING (inventory, {keys})
            """
        )
        self._database.rows("DROP TABLE topic_keys")
        stale = self._database.number("SELECT count(*) FROM stale_keys")
        for begin in range(0, stale, block_keys):
            yield self._database.rows(
                f"SELECT inventory, {keys} FROM stale_keys WHERE number > $1 AND number <= $2",
                [begin, begin + block_keys],
            )

    def _spell_out_cut_keys(self) -> None:
        """Replace each part that is cut in the key of a message by the whole one that the inventory has."""
        for field in self._export.keys:
            column, table = field.column, "devices" if field.name == self._export.device else "software"
            long = self._database.rows(
                f"SELECT DISTINCT {column} FROM {table} WHERE strlen({column}) > {KEY_PART_BYTES_MAX}"
            )
            if long:
                self._database.rows(
                    f"""
                    WITH long AS (
                        SELECT unnest($1::VARCHAR[]) AS cut, unnest($2::VARCHAR[]) AS whole
                    )
                    UPDATE topic_keys
                    SET {column} = long.whole
                    FROM long
                    WHERE {column} = long.cut
                    """,
                    [[key_part(text) for (text,) in long], [text for (text,) in long]],
                )


def record_key(export: Export, inventory: str, record: Mapping[str, Any]) -> RecordKey:
    """The key of a record of an export, given as a mapping with the names of its fields."""
    return str(inventory), *(record[field.name] or "" for field in export.keys)


def steps_of(export: Export, change: Mapping[str, Any]) -> Iterator[tuple[RecordKey, dict[str, Any] | None]]:
    """What a change means key by key: its record, None where that is gone; before it an earlier key that it left."""
    key, before = record_key(export, change["inventory"], change), change["before"]
    if before is not None and (earlier := record_key(export, change["inventory"], before)) != key:
        yield earlier, None
    gone = change["changeType"] == ChangeType.REMOVED
    yield key, None if gone else {field.name: change[field.name] for field in export.fields}


def fall_behind(database: Database, inventory: Inventory) -> None:
    """Something of an inventory is stored, inside this transaction, that no change will tell of: it is to be published.

    The cursor is put back to the beginning of that inventory, where it is beyond it.
    """
    cursor = _recall(database)
    if cursor is None:
        return
    if cursor.phase != RECORDS or cursor.inventory >= inventory.value:
        # A topic that was whole may have got stale since, if it is cut or filled by another.
        known = cursor if cursor.phase != WHOLE else replace(cursor, ends=None)
        _remember(database, known.beyond(inventory.value))


def begin_epoch(database: Database, epoch: int) -> None:
    """An epoch begins whose baseline is published: its changes take all records along, from the first on."""
    _remember(database, BackfillCursor(epoch, STALE))


_BEYOND: Final = "inventory = $1 AND device_no >= $2 AND (device_no > $2 OR software_no > $3)"


def _bound(cursor: BackfillCursor, inventory: Inventory) -> list[object]:
    """Parameters of `_BEYOND`: an inventory after the cursor's is read from its beginning."""
    here = inventory.value == cursor.inventory
    return [inventory.value, cursor.device_no if here else 0, cursor.software_no if here else 0]


def _recall(database: Database) -> BackfillCursor | None:
    text = meta.recall(database, NAME)
    if text is None:
        return None
    note = json.loads(text)
    ends = note.get("ends")
    return BackfillCursor(**{**note, "ends": None if ends is None else tuple((number, end) for number, end in ends)})


def _remember(database: Database, cursor: BackfillCursor) -> None:
    meta.remember(
        database, NAME, json.dumps({name: getattr(cursor, name) for name in BackfillCursor.__dataclass_fields__})
    )
