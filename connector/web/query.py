"""What the query of an address asks for, in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector.errors import ConfigError
from connector.history.filters import Filters, parse_time

ROWS: Final = 200
ROWS_MAX: Final = 1_000
"""Rows of a page; whoever wants more has the command line, which streams."""


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of one request; of a repeated one, the last counts."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """A text; "" where it is not there."""
        return self.values.get(name, "").strip()

    def exact(self, name: str) -> str:
        """A text with the blanks around it, which belong to a key."""
        return self.values.get(name, "")

    def is_set(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.text(name).lower() in {"1", "true", "on", "yes"}

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number between 1 and `most`.

        Raises:
            ConfigError: it is not one.
        """
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most and len(text) < 9):  # noqa: PLR2004 - no number here has more digits
            raise ConfigError(f"{name} {text}: not a number between 1 and {most:,}")
        return int(text)

    @property
    def rows_max(self) -> int:
        """How many rows are asked for."""
        return self.number("limit", ROWS, ROWS_MAX)

    def time(self, name: str, now: datetime) -> datetime:
        """A time; a date stands for its end, and nothing for now.

        Raises:
            ConfigError: it is not one.
        """
        text = self.text(name)
        return parse_time(text, now, option=name, end=True) if text else now

    def filters(self) -> Filters:
        """The filters of changes."""

        def words(name: str) -> tuple[str, ...]:
            return (self.text(name),) if self.text(name) else ()

        return Filters(
            since=self.text("since"),
            until=self.text("until"),
            devices=words("device"),
            software=words("software"),
            types=words("type"),
            reasons=words("reason"),
            end_of_support=self.is_set("end_of_support"),
            snapshots=words("snapshot"),
            inventory=self.text("inventory"),
            groups=words("group"),
        )
