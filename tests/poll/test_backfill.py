"""The keys of the inventory topic as a backfill and a rebuild read them."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from connector.kafka.reader import Incoming
from connector.poll.backfill import key_of

PARTS = 5
TEXTS = st.text(st.one_of(st.sampled_from('[]",\\ é\n\x00'), st.characters(exclude_categories=["Cs"])), max_size=8)


def parsed(text: str) -> tuple[str, ...] | None:
    """What JSON says."""
    try:
        key = json.loads(text)
    except ValueError:
        return None
    is_key = isinstance(key, list) and len(key) == PARTS and all(isinstance(part, str) for part in key)
    return tuple(key) if is_key else None


def read(text: str) -> tuple[str, ...] | None:
    """What a backfill reads."""
    return key_of(Incoming("inventory", 0, 0, 0, text.encode(), b""), PARTS)


@given(st.lists(TEXTS, min_size=PARTS - 1, max_size=PARTS + 1))
@example(["CPE", "d", 'a","b', "n", "1"])
def test_a_key_is_read_as_json_says_whether_anything_in_it_is_escaped_or_not(parts: list[str]) -> None:
    """Compact and spaced, with quotes, backslashes and control characters, with a part too few or too many."""
    for text in (json.dumps(parts, ensure_ascii=False, separators=(",", ":")), json.dumps(parts)):
        assert read(text) == parsed(text)


@given(st.text(st.sampled_from('["],a\\ \n'), max_size=24))
@example('["a","b","c","d","e"')
@example('x"a","b","c","d","e"]')
@example('["a","b","c","d","e\n"]')
def test_what_is_no_key_of_ours_is_none(text: str) -> None:
    """Texts that look like a key, and are none."""
    assert read(text) == parsed(text)
