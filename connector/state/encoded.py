"""Rows of the journal as messages, many at once: the engine encodes them, by SQL that an encoder gives.

What the engine leaves, because it is too large or does not fit, is read as a mapping and encoded row by row. The
messages and their order are the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from connector.state.engine import Engine

Row = tuple[Any, ...]
Encoded = TypeVar("Encoded")
Encoded_co = TypeVar("Encoded_co", covariant=True)


class SnapshotEncoder(Protocol[Encoded_co]):
    """Encodes the rows of one snapshot."""

    @property
    def constants(self) -> Sequence[bytes | None]:
        """The columns `constant_0`, `constant_1`, … of its rows; with None, every row goes the slow way."""

    def encode_row(self, row: Row) -> Encoded_co | None:
        """A row of the encoder's fields; None where it goes the slow way."""

    def encode(self, record: Mapping[str, Any]) -> Encoded_co:
        """The slow way."""


class RowEncoder(Protocol[Encoded_co]):
    """Encodes rows of one table of the journal.

    Its SQL refers to the columns of the table, and to those that `SnapshotEncoder.constants` gives.
    """

    @property
    def pieces(self) -> str:
        """A SELECT list that `fields` refers to."""

    @property
    def fields(self) -> str:
        """The SELECT list of the rows that are encoded."""

    def begin(self, record: Mapping[str, Any]) -> SnapshotEncoder[Encoded_co]:
        """Begin a snapshot, given what all its rows have in common."""


class RecordEncoder(Protocol[Encoded_co]):
    """Encodes records of the inventory; as `RowEncoder`."""

    @property
    def pieces(self) -> str:
        """As `RowEncoder.pieces`."""

    @property
    def fields(self) -> str:
        """As `RowEncoder.fields`."""

    def constants(self) -> Sequence[bytes | None]:
        """As `SnapshotEncoder.constants`."""

    def encode_row(self, inventory: str, row: Row) -> Encoded_co | None:
        """As `SnapshotEncoder.encode_row`."""

    @property
    def encode(self) -> Callable[[Sequence[str], Mapping[str, Any]], Encoded_co]:
        """The slow way, given the key and the record."""


class Table(NamedTuple):
    """A table of the journal: its name, the column that numbers its rows, and all that are read of it."""

    name: str
    number: str
    columns: str


def read_encoded(
    database: Engine,
    table: Table,
    encoder: RowEncoder[Encoded],
    bounds: tuple[int, int, int],
    common: Mapping[str, Any],
    as_mappings: Callable[[Iterable[Row]], Iterator[Mapping[str, Any]]],
    *,
    block_rows: int,
) -> Iterator[Encoded]:
    """The messages of one snapshot's rows, in order.

    Args:
        database: the file.
        table: of the rows.
        encoder: of its rows.
        bounds: the number of the snapshot; the numbers of the rows, to begin after and to end with.
        common: what all of the rows have in common.
        as_mappings: turns rows into what `SnapshotEncoder.encode` takes.
        block_rows: that are Python objects at a time.
    """
    snapshot_no, begin, end = bounds
    begun = encoder.begin(common)
    ctes, parameters = encoded_rows(
        table.name, encoder, {snapshot_no: begun}, f"{table.number} > $begin AND {table.number} <= $end"
    )
    statement = f"""
        WITH {ctes}
        SELECT {table.number}, {encoder.fields}
        FROM encoded
        ORDER BY {table.number}
    """

    def read_others(numbers: list[int]) -> Iterator[Encoded]:
        rows = database.rows(
            f"""
            SELECT {table.columns}
            FROM {table.name}
            WHERE snapshot_no = $1 AND {table.number} IN (SELECT unnest($2::BIGINT[]))
            ORDER BY {table.number}
            """,
            [snapshot_no, numbers],
        )
        return map(begun.encode, as_mappings(rows))

    for block in database.blocks(statement, {**parameters, "begin": begin, "end": end}, block_rows):
        yield from encode_block(block, begun.encode_row, read_others)


def encoded_rows(
    table: str, encoder: RowEncoder[object], snapshots: Mapping[int, SnapshotEncoder[object]], condition: str
) -> tuple[str, dict[str, object]]:
    """CTEs of which `encoded` has the rows that meet a condition, with what `fields` refers to; and their parameters.

    Only rows of the snapshots given by number are in it.
    """
    constants = list(zip(*(snapshot.constants for snapshot in snapshots.values()), strict=True))
    columns = [f"unnest($constant_{number}::BLOB[]) AS constant_{number}" for number in range(len(constants))]
    ctes = f"""
        constants AS (
            SELECT {", ".join(("unnest($snapshots::BIGINT[]) AS snapshot_no", *columns))}
        ),
        encoded AS (
            SELECT *, {encoder.pieces}
            FROM {table}
            JOIN constants USING (snapshot_no)
            WHERE {condition}
        )
    """
    parameters: dict[str, object] = {f"constant_{number}": list(column) for number, column in enumerate(constants)}
    return ctes, parameters | {"snapshots": list(snapshots)}


def encode_block(
    block: Sequence[Row],
    encode_row: Callable[[Row], Encoded | None],
    read_others: Callable[[list[int]], Iterator[Encoded]],
) -> Iterator[Encoded]:
    """Encode rows that begin with their number; those that go the slow way are read again, all at once.

    Args:
        block: the rows.
        encode_row: gives a row's message, or None.
        read_others: gives the messages of the rows of those numbers, in their order.
    """
    messages = [encode_row(row) for row in block]
    numbers = [row[0] for row, message in zip(block, messages, strict=True) if message is None]
    others = read_others(numbers) if numbers else iter(())
    for message in messages:
        yield next(others) if message is None else message
