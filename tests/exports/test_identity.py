from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.exports.identity import event_id, event_id_expression, event_namespace, key_part
from tests.support import oracle
from tests.support.bench import SLOW, Bench

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(names=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=40))
@example(names=[("\x00", "\x1f\x7f", "😀\u2028"), ("e\u0301", "\u05d0\u202e", "'\"\\")])
@SLOW
def test_ids_made_in_sql_are_those_made_in_python(
    names: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of any text; and both are version 5 of the UUIDs of the standard library."""
    with Bench(tmp_path_factory.mktemp("state")) as bench:
        bench.state.database.rows("CREATE TEMP TABLE names (number INTEGER, a VARCHAR, b VARCHAR, c VARCHAR)")
        for number, name in enumerate(names):
            bench.state.database.rows("INSERT INTO names VALUES ($1, $2, $3, $4)", [number, *name])
        expression = event_id_expression("a", "b", "c")
        rows = bench.state.database.rows(
            f"SELECT {expression} FROM names ORDER BY number", {"namespace": event_namespace()}
        )
    assert [row[0] for row in rows] == [event_id(*name) for name in names] == [oracle.event_id(*name) for name in names]
    assert {uuid.UUID(row[0]).version for row in rows} == {5}


@given(first=st.lists(TEXT, max_size=5), second=st.lists(TEXT, max_size=5))
@example(first=["a", "bc"], second=["ab", "c"])
@example(first=["1:a"], second=["", "1:a"])
@example(first=["a", ""], second=["a"])
def test_no_two_names_have_one_id(first: list[str], second: list[str]) -> None:
    """Parts are distinguished by their lengths, wherever one is cut from the next."""
    assert (event_id(*first) == event_id(*second)) == (first == second)


def test_an_id_never_changes() -> None:
    """Consumers have these: a release that made others would publish everything twice."""
    assert event_id("tenant", "cpe-20261123T080000Z", "ADDED", "CPE", "d", "v", "n", "1") == (
        "64cb9d7b-2afd-586d-9f89-39067287823a"
    )


def test_long_parts_of_keys_stay_distinct() -> None:
    """A part of more than 256 bytes is cut, and its digest distinguishes it from all others with the same beginning."""
    texts = ["d" * 256, "d" * 257, "d" * 258, "é" * 300, "é" * 301, "d" * 1_000_000, ""]
    parts = [key_part(text) for text in texts]
    assert parts[0] == texts[0]
    assert len(set(parts)) == len(texts)
    assert max(len(part.encode()) for part in parts) <= 256
