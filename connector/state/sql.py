"""What the SQL of this package runs on, and how text gets into it. `state` provides the one implementation.

Owns no connection and no statement, and imports no library: `diff`, `guard`, `staging`, `journal`, `upkeep` and
`migrations` know a database by these two methods alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Parameters = Sequence[object] | Mapping[str, object]


class Database(Protocol):
    """A connection inside whatever transaction its owner began."""

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""

    def number(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement that yields one integer; NULL and no row are 0."""


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def unnested(kinds: Sequence[str]) -> str:
    """A SELECT list of rows that are bound column by column: each parameter a list, of these types in their order."""
    return ", ".join(f"unnest(${number}::{kind}[])" for number, kind in enumerate(kinds, start=1))


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
