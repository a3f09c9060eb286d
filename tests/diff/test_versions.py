from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.diff.versions import version_reason
from connector.model import Reason

ASCENDING = (
    ("1.0~rc1", "1.0", "1.0a", "1.0.1", "1.1"),
    ("8.0.3910.13", "8.0.3910.130", "8.1"),
    ("1.9", "1.10", "1.10.1", "2"),
    ("9", "0:10", "11", "1:0.1", "2:0.0"),
    ("5.14.0-427.el9_4", "5.14.0-427.13.1.el9_4", "5.14.0-503.el9_5"),
    ("2019", "2019.1", "2021", "20200.1"),
    ("1.0beta2", "1.0beta10", "1.0rc1"),
    ("1", "1" + "0" * 20, "1" + "0" * 21, "2" + "0" * 21),
    ("a", "b", "1"),
    ("9" * 18 + ":9", "1" + "0" * 18 + ":1", "1" * 4_301 + ":1", "1" * 4_301 + ":2", "2" * 4_301 + ":0"),
    ("1", "0" * 4_301 + ":2", "0" * 4_300 + "1:0"),
)
"""Each later than the one before it; RPM's own order where RPM has one."""

VERSIONS = st.text("0129.:~-_aZ ", min_size=1, max_size=10)
NUMBERS = st.builds(str.__mul__, st.sampled_from("0129"), st.sampled_from((1, 2, 18, 19, 4_300, 4_301, 10_000)))
ODD = st.lists(NUMBERS | st.text(max_size=3) | st.sampled_from(":.~a"), max_size=5).map("".join)
"""Any characters, digits of other scripts among them, and numbers longer than Python converts."""


@pytest.mark.parametrize("versions", ASCENDING)
def test_later_versions_are_upgrades_and_earlier_ones_downgrades(versions: tuple[str, ...]) -> None:
    """Every pair of neighbours, both ways."""
    for earlier, later in pairwise(versions):
        assert version_reason(earlier, later) is Reason.UPGRADED
        assert version_reason(later, earlier) is Reason.DOWNGRADED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "1"), ("1", ""), ("1.0", "1_0"), ("1.0", "1.00"), ("A", "a"), ("", ""), ("0:1", "1"), ("...", "---"),
        ("1." + "\u0660" * 19 + "\u0661", "1.\u0662"),
    ],
)  # fmt: skip
def test_where_the_order_cannot_be_told_the_version_only_changed(before: str, after: str) -> None:
    """An empty version, or one that differs in what does not count."""
    assert version_reason(before, after) is Reason.VERSION_CHANGED


@given(first=VERSIONS, second=VERSIONS)
def test_one_way_is_the_reverse_of_the_other(first: str, second: str) -> None:
    """An upgrade back is a downgrade, and what is unknown is unknown either way."""
    reverse = {
        Reason.UPGRADED: Reason.DOWNGRADED,
        Reason.DOWNGRADED: Reason.UPGRADED,
        Reason.VERSION_CHANGED: Reason.VERSION_CHANGED,
    }
    assert version_reason(second, first) is reverse[version_reason(first, second)]


@given(first=VERSIONS, second=VERSIONS, third=VERSIONS)
def test_two_upgrades_are_one(first: str, second: str, third: str) -> None:
    """The order is an order."""
    if version_reason(first, second) is version_reason(second, third) is Reason.UPGRADED:
        assert version_reason(first, third) is Reason.UPGRADED


@given(versions=st.lists(ODD.filter(bool), min_size=3, max_size=3))
def test_the_order_is_total_over_any_text(versions: list[str]) -> None:
    """No text raises; of any two one is later or neither is, and three of them do not go round in a circle."""
    rank = {Reason.DOWNGRADED: -1, Reason.VERSION_CHANGED: 0, Reason.UPGRADED: 1}
    first, second, third = versions
    first_step, second_step, whole_way = (
        rank[version_reason(before, after)] for before, after in ((first, second), (second, third), (first, third))
    )
    assert rank[version_reason(second, first)] == -first_step
    assert version_reason(first, first) is Reason.VERSION_CHANGED
    if first_step * second_step >= 0:
        assert whole_way == (first_step or second_step)


def test_versions_of_any_length_are_compared_at_once() -> None:
    """A million digits are no more work than their length, as an epoch too."""
    assert version_reason("1" * 10**6, "1" * 10**6 + "0") is Reason.UPGRADED
    assert version_reason("1" * 10**6 + ":1", "1" * 10**6 + "0:1") is Reason.UPGRADED
