"""Long lists page by page: the order of their rows, where a page ends in it, and what comes after that.

A page ends at a place: what its last row has of the order. The next page has the rows beyond that place, so what comes
and goes meanwhile moves no other row from one page to another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Place = tuple[int | str | bool | None, ...]

NUMBER: Final = "BIGINT"
TEXT: Final = "VARCHAR"
FLAG: Final = "BOOLEAN"
KINDS: Final[Mapping[str, type]] = {NUMBER: int, TEXT: str, FLAG: bool}


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list: its rows, and the place where it ends; None where nothing comes after it."""

    rows: list[dict[str, Any]]
    end: Place | None


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is sorted: expressions with their kinds, all ascending and NULL last; together they tell rows apart.

    What comes largest first is negated.
    """

    keys: tuple[tuple[str, str], ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of what a place has."""
        return tuple(kind for _, kind in self.keys)

    @property
    def columns(self) -> str:
        """The expressions, to select or to order by."""
        return ", ".join(expression for expression, _ in self.keys)

    def beyond(self, after: Place | None) -> tuple[str, dict[str, object]]:
        """A condition: a row stands beyond a place; and its named parameters."""
        if after is None:
            return "true", {}
        names = [f"after_{number}" for number in range(len(self.keys))]
        bound = ", ".join(f"${name}::{kind}" for name, kind in zip(names, self.kinds, strict=True))
        return f"row({self.columns}) > row({bound})", dict(zip(names, after, strict=True))

    def listed(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]], rows_max: int) -> Listed:
        """A page of at most `rows_max` rows that have the order's columns before those with names.

        One more row shows that there are others.
        """
        width = len(self.keys)
        shown = rows[:rows_max]
        end = shown[-1][:width] if len(rows) > rows_max else None
        return Listed([dict(zip(names, row[width:], strict=True)) for row in shown], end)


def cut(
    rows: Sequence[dict[str, Any]],
    place_of: Callable[[dict[str, Any]], Place],
    rows_max: int,
    after: Place | None = None,
) -> Listed:
    """The page beyond a place of rows that are known already, in their order."""
    beyond = [row for row in rows if after is None or _rank(place_of(row)) > _rank(after)]
    shown = beyond[:rows_max]
    return Listed(shown, place_of(shown[-1]) if len(beyond) > rows_max else None)


def _rank(place: Place) -> tuple[tuple[bool, Any], ...]:
    """A place, to be compared as the engine compares it: None is last."""
    return tuple((value is None, 0 if value is None else value) for value in place)
