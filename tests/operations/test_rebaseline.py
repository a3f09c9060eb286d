"""What `state rebaseline` says before it asks."""

from __future__ import annotations

from connector.assembly import Assembly
from connector.operations.rebaseline import rebaseline_notice


def test_a_rebaseline_says_what_is_given_up_and_what_it_means_for_consumers(assembly: Assembly) -> None:
    """With the figures of this file, and by whether the baseline is published."""
    notice = rebaseline_notice(assembly)
    parts = (
        "43 records", "3 pending changes that will never be published", "8 held removals", "none of it is published",
        "epoch go up", "sequence start at 1 again", "discard the inventory that they built",
    )  # fmt: skip
    assert [part for part in parts if part not in notice] == []
