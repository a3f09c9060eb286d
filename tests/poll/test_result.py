"""The result of a poll as it is printed, and its counts as they are published."""

from __future__ import annotations

import json

import pytest

from connector.errors import ConnectorError, SinkUnavailable
from connector.kafka import schemas
from connector.model import Counts, Inventory, Topic
from connector.poll.result import Outcome, PollResult

COUNTS = Counts(
    records=1, devices=2, stored=3, baselined=4, added=5, removed=6, changed=7, alerts=8, held=9, duplicates=10,
    rejected=11,
)  # fmt: skip


def test_the_printed_object_has_its_keys_in_their_order() -> None:
    """The contract of `poll --json`: `baseline` counts silent baselines too, and `stored` is not printed."""
    result = PollResult(
        "held",
        Inventory.CPE,
        "cpe-20261123T080000Z",
        2,
        COUNTS,
        baseline=12,
        published=13,
        backfilled=14,
        drained=17,
        lookalikes=18,
        unreadable={"diskPaths": 19},
        campaigns=[{"devices": 20}, {"devices": 2}, {"devices": 1}],
        first_sequence=15,
        last_sequence=16,
        duration_seconds=1.23456,
        stages={"fetch": 0.12345},
    )
    assert json.dumps(result.as_json()) == (
        '{"outcome": "held", "inventory": "CPE", "snapshot_id": "cpe-20261123T080000Z", "epoch": 2, "records": 1,'
        ' "devices": 2, "baseline": 12, "added": 5, "removed": 6, "changed": 7, "alerts": 8, "held": 9,'
        ' "duplicates": 10, "rejected": 11, "published": 13, "first_sequence": 15, "last_sequence": 16,'
        ' "duration_seconds": 1.235, "stages": {"fetch": 0.123}, "backfilled": 14, "drained": 17, "lookalikes": 18,'
        ' "unreadable": {"diskPaths": 19}, "campaigns": [{"devices": 20}, {"devices": 2}]}'
    )


@pytest.mark.parametrize(
    ("outcome", "holding", "outage", "exit_code"),
    [
        ("published", 0, None, 0),
        ("published", 1, None, 3),
        ("unchanged", 1, None, 3),
        ("held", 1, None, 3),
        ("dry_run", 1, None, 0),
        ("staged", 1, SinkUnavailable("no"), 1),
        ("unchanged", 1, SinkUnavailable("no"), 1),
    ],
)
def test_every_poll_that_leaves_removals_held_says_so(
    outcome: Outcome, holding: int, outage: ConnectorError | None, exit_code: int
) -> None:
    """Exit code 3, whichever poll began to hold them; an outage of Kafka comes first, and a dry run leaves nothing."""
    result = PollResult(outcome, Inventory.CPE, None, 1, holding=holding, outage=outage)
    assert result.exit_code == exit_code


def test_every_count_is_a_field_of_the_report_and_comes_back_from_it() -> None:
    """What a report says is what a rebuild reads."""
    report = COUNTS.as_report()
    fields = {field["name"] for field in json.loads(schemas.schema_of(Topic.SNAPSHOTS))["fields"]}
    assert report.keys() <= fields
    assert (Counts.of_report(report), report["baseline"]) == (COUNTS, 4)


@pytest.mark.parametrize(("baselined", "changes"), [(0, 18), (4, 22)])
def test_changes_are_those_of_all_types(baselined: int, changes: int) -> None:
    """A baseline counts where it is published."""
    assert Counts(baselined=baselined, added=5, removed=6, changed=7, held=9).changes == changes
