"""Numbers in sentences."""

import pytest

from connector.wording import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 changes"), (1, "1 change"), (2, "2 changes"), (1_234_567, "1,234,567 changes")]
)
def test_a_number_is_followed_by_its_noun_in_the_right_form(number: int, text: str) -> None:
    """One is singular, everything else plural, with thousands apart."""
    assert counted(number, "change") == text


def test_an_irregular_plural_is_given_in_full() -> None:
    """Where an `s` does not make it."""
    assert (counted(1, "entry", "entries"), counted(2, "entry", "entries")) == ("1 entry", "2 entries")
