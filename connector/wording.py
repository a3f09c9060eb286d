"""Numbers in sentences, and texts in spreadsheets."""

from typing import Final

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reads a text that begins with one of these as a formula; in CSV, a `'` goes in front of it."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 change`, `2,000 changes`, `0 changes`; `plural` where an `s` does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
