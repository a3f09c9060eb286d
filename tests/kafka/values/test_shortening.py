"""Shortening, with writers that are none: whatever fits is left alone, and what does not is cut step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.kafka.values.shortening import write_fitting

LENGTHS = st.sampled_from([0, 5, 256, 9_000, 80_000])
TEXTS = st.builds(str.__mul__, st.sampled_from(["x", "é", "😀"]), LENGTHS)
RECORDS = st.fixed_dictionaries(
    {
        "name": TEXTS,
        "paths": st.lists(TEXTS, max_size=5),
        "number": st.integers(),
        "nothing": st.none(),
        "before": st.none() | st.fixed_dictionaries({"name": TEXTS, "paths": st.lists(TEXTS, max_size=5)}),
    }
)


def write(record: Mapping[str, Any], shortened: tuple[str, ...]) -> bytes:
    """A record with its marker, as a value."""
    return json.dumps([record, shortened], ensure_ascii=False).encode()


@settings(deadline=None)
@given(record=RECORDS, bytes_max=st.sampled_from([600, 5_000, 70_000, 2_000_000]))
def test_a_value_fits_and_names_exactly_what_was_cut(record: dict[str, Any], bytes_max: int) -> None:
    """Whatever does not fit in full is at most the limit; the names are those of the fields that differ."""
    whole = write(record, ())
    fitting = write_fitting(write, record, bytes_max)
    if len(whole) <= bytes_max:
        assert fitting == (whole, ())
    elif fitting is not None:
        shorter, names = json.loads(fitting.value)
        assert len(fitting.value) <= bytes_max
        assert tuple(names) == fitting.shortened == tuple(sorted(differing(record, shorter)))
        assert names
    else:
        assert bytes_max == 600


def differing(record: dict[str, Any], shorter: dict[str, Any], path: str = "") -> list[str]:
    """The paths of the fields that are not what they were."""
    names = []
    for name, value in record.items():
        if isinstance(value, dict):
            names += differing(value, shorter[name], f"{path}{name}.")
        elif shorter[name] != value:
            names.append(path + name)
    return names


def test_a_record_is_cut_no_further_than_it_has_to_be() -> None:
    """Step by step, halving: 64 KiB a text at first; the first step that fits is taken."""
    record = {"one": "a" * 100_000, "two": "b" * 20_000, "three": "c" * 300}
    lengths = {}
    for bytes_max in (90_000, 60_000, 40_000, 30_000):
        fitting = write_fitting(write, record, bytes_max)
        assert fitting is not None
        lengths[bytes_max] = [len(text.encode()) for text in json.loads(fitting.value)[0].values()]
    assert lengths == {
        90_000: [65_536, 20_000, 300],
        60_000: [32_768, 20_000, 300],
        40_000: [16_384, 16_384, 300],
        30_000: [8_192, 8_192, 300],
    }


def test_arrays_keep_their_first_items_up_to_four_texts() -> None:
    """Items are cut like texts, and those behind the limit are left out."""
    paths = ["x" * 300, "y" * 200, "z" * 200, "w" * 200, *("v" * 200 for _ in range(10)), "u"]
    fitting = write_fitting(write, {"paths": paths}, 1_000)
    assert fitting is not None
    assert json.loads(fitting.value) == [{"paths": ["x" * 253 + "…", *paths[1:4]]}, ["paths"]]


def test_a_record_that_no_step_makes_small_enough_is_not_written() -> None:
    """The shortest form is still too large."""
    assert write_fitting(write, {"name": "x" * 1_000}, 60) is None


def test_the_record_that_is_given_is_not_changed() -> None:
    """The caller's texts, arrays and nested records are as they were."""
    record = {"name": "x" * 1_000, "paths": ["y" * 1_000], "before": {"name": "z" * 1_000}}
    copy = json.loads(json.dumps(record))
    assert write_fitting(write, record, 1_000) is not None
    assert record == copy
