from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.state.sql import identifier, literal
from tests.support.bench import SLOW, Bench


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=20)
)
@example(texts=["'", "''", '"', '""', "\\", "'; DROP TABLE meta; --", "$1", "?", "%", "{x}", "\n"])
@SLOW
def test_any_text_comes_back_as_it_was(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a string literal, and as the name of a column."""
    with Bench(tmp_path_factory.mktemp("state")) as bench:
        for number, text in enumerate(texts):
            name = f"{text}{number}"
            named = f"SELECT {literal(text)} AS {identifier(name)}"
            rows = bench.state.database.rows(f"SELECT {identifier(name)} FROM ({named})")
            assert rows == [(text,)]
