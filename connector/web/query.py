"""What the query of an address asks for, in the words of the command line."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connector.clock import milliseconds_of, moment_of
from connector.errors import ConfigError
from connector.history.filters import Filters, parse_time
from connector.state.lists.paging import KINDS, NUMBER, Place

ROWS: Final = 200
ROWS_MAX: Final = 1_000
"""Rows of a page; the next page has those beyond it."""
NUMBER_MAX: Final = 2**63 - 1


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

    def after(self, kinds: Sequence[str]) -> Place | None:
        """The place where the page before ended, as `end_of_page` wrote it; None on the first page.

        Raises:
            ConfigError: no page of this list ended there.
        """
        text = self.text("after")
        if not text:
            return None
        try:
            values = json.loads(urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        except (ValueError, RecursionError, binascii.Error):
            values = None
        if (
            not isinstance(values, list)
            or len(values) != len(kinds)
            or not all(_is_of(kind, value) for kind, value in zip(kinds, values, strict=True))
        ):
            raise _no_page()
        return tuple(values)

    def since_the_first_page(self, after: Place | None, now: datetime) -> datetime:
        """The time of the first page, which a place begins with where later pages have to be as of the same time.

        Raises:
            ConfigError: no page was shown then.
        """
        if after is None:
            return now
        milliseconds = int(after[0] or 0)
        if not 0 < milliseconds <= milliseconds_of(now):
            raise _no_page()
        return moment_of(milliseconds)

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


def turn(end: Place | None) -> dict[str, str | bool | None]:
    """Whether there are rows beyond a page that ends at a place, and what the next one is asked for with."""
    return {"more": end is not None, "next": None if end is None else end_of_page(end)}


def end_of_page(place: Place) -> str:
    """A place as text that goes into an address: what `after` takes."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def _no_page() -> ConfigError:
    return ConfigError("after: no page of this list ends there", hint="Begin again with its first page.")


def _is_of(kind: str, value: object) -> bool:
    """Whether a value that somebody sent is what a place has there."""
    if value is None:
        return True
    if type(value) is not KINDS[kind]:
        return False
    if isinstance(value, str):
        return value.isascii() or value.encode("utf-8", "replace").decode() == value
    return kind != NUMBER or abs(int(value)) <= NUMBER_MAX  # type: ignore[call-overload]
