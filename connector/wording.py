"""Numbers and names in sentences, and texts in spreadsheets."""

from typing import Final

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reads a text that begins with one of these as a formula; in CSV, a `'` goes in front of it."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 change`, `2,000 changes`, `0 changes`; `plural` where an `s` does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def words(name: object) -> str:
    """The name of a reason or a type in lower case: `new device`."""
    return "" if name is None else str(name).lower().replace("_", " ")


def not_a_formula(text: str) -> str:
    """A text that no spreadsheet reads as a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
