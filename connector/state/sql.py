"""The database as the rooms above know it, and SQL text that several of them use. `Engine` is the implementation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from connector.errors import StateError
from connector.exports.fields import Export
from connector.model import Inventory

Parameters = Sequence[object] | Mapping[str, object]

_WILDCARD: Final = re.compile(r"[*?\[]")


class Database(Protocol):
    """A connection inside whatever transaction its owner began."""

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""

    def number(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement that yields one integer; NULL and no row are 0."""

    def blocks(self, statement: str, parameters: Parameters, block_rows: int) -> Iterator[list[tuple[Any, ...]]]:
        """Run one statement outside of any transaction, and yield its rows in blocks of `block_rows`."""


def without_odd_blanks(text: str) -> str:
    """An expression: a text without blanks around it, and with one ordinary space for each run of them in it."""
    return f"trim(regexp_replace({text}, '[\\s\\p{{Z}}]+', ' ', 'g'))"


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def file_pattern(path: Path) -> str:
    """The pattern that names this one file: the engine takes every file name for a pattern, and has no way not to.

    Absolute, so that no name is taken for a URL or a home folder.

    Raises:
        StateError: it has a backslash beside a wildcard, and no pattern names it alone.
    """
    name = str(path.absolute())
    if "\\" in name and _WILDCARD.search(name):
        raise StateError(
            f"{path.parent} has a backslash and one of * ? [ in its name",
            hint="The engine cannot open such a path; name another in state.path or state.staging_dir.",
        )
    return _WILDCARD.sub(r"[\g<0>]", name)


def unnested(kinds: Sequence[str]) -> str:
    """A SELECT list of rows that are bound column by column: each parameter a list, of these types in their order."""
    return ", ".join(f"unnest(${number}::{kind}[])" for number, kind in enumerate(kinds, start=1))


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def stored_records(export: Export, inventory: Inventory, *, among: str = "") -> str:
    """A FROM item: the stored records of an inventory with their keys spelled out; `previous_row` is the row id.

    Of a few records, the others need no keys: `among` is a relation of the row ids (`previous_row`) that are asked for.
    """
    condition = f" AND rowid IN (SELECT previous_row FROM {among})" if among else ""
    return f"""(
        SELECT previous_row, {export.columns}, device_no, software_no
        FROM (
            SELECT rowid AS previous_row, device_no, software_no, {export.attribute_columns}
            FROM inventory
            WHERE inventory = {literal(inventory)}{condition}
        ) i
        JOIN devices USING (device_no)
        JOIN software USING (software_no)
    )"""
