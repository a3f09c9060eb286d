"""What a poll says for people, for every combination of outcome and numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from connector.cli.poll_lines import headline, held_line, kafka_line, waiting_line
from connector.errors import RegistryUnavailable, SinkRejected, SinkUnavailable
from connector.model import Counts, Inventory
from connector.poll.result import OUTCOMES, Outcome, PollResult

REVIEW = (
    "held, awaiting review: `mde-inventory held list` shows them, `mde-inventory held approve` or `held discard`"
    " decides"
)
AWAY = SinkUnavailable("Kafka: away")
NO_REGISTRY = RegistryUnavailable("the schema registry: away")
REFUSED = SinkRejected("Kafka: no permission")
STAGED = {"fetch": 1.0, "stage": 1.0}
NOT_STAGED = {"fetch": 1.0}


def result(outcome: Outcome, counts: Counts | None = None, **values: Any) -> PollResult:
    """A poll's result."""
    return PollResult(outcome, Inventory.CPE, "cpe-20261123T080000Z", 1, counts or Counts(records=900), **values)


SILENT: dict[str, Any] = {"baseline": 900, "stages": STAGED}
SOME = Counts(records=900, added=5, changed=7)
HELD = Counts(records=900, held=300)

TABLE: list[tuple[PollResult, str, str, str, str]] = [
    (result("published", SOME, published=12, stages=STAGED), "published", "12 changes published", "", ""),
    (
        result("published", SOME, published=1_156, drained=1_144, stages=STAGED),
        "published", "12 changes and 1,144 changes of earlier polls published", "", "",
    ),
    (result("published", stages=STAGED), "no changes", "nothing to publish", "", ""),
    (
        result("published", published=3, drained=3, stages=STAGED),
        "no changes", "3 changes of earlier polls published", "", "",
    ),
    (
        result("published", Counts(records=900, alerts=1), stages=NOT_STAGED), "published", "1 alert published", "", "",
    ),
    (result("published", **SILENT), "baseline taken", "nothing to publish", "", ""),
    (
        result("published", Counts(records=900, alerts=2), **SILENT), "baseline taken", "2 alerts published", "", "",
    ),
    (
        result("published", Counts(records=900, baselined=900), published=900, **SILENT),
        "published", "900 changes published", "", "",
    ),
    (
        result("published", SOME, published=12, stages=STAGED, holding=300),
        "published", "12 changes published", "", f"300 records {REVIEW}",
    ),
    (
        result("held", HELD, stages=STAGED, holding=300),
        "held", "nothing to publish", "", f"300 records {REVIEW}",
    ),
    (
        result("held", Counts(records=900, added=1, held=300), published=1, stages=STAGED, holding=301),
        "held", "1 change published", "", f"301 records {REVIEW}",
    ),
    (
        result("staged", SOME, stages=STAGED, pending=12, outage=AWAY),
        "staged", "nothing published", "12 changes staged, waiting for Kafka", "",
    ),
    (
        result("staged", SOME, published=5, stages=STAGED, pending=7, outage=AWAY),
        "staged", "5 changes published", "7 changes staged, waiting for Kafka", "",
    ),
    (
        result("staged", outage=AWAY, **SILENT),
        "staged", "nothing published", "the report of the snapshot is staged, waiting for Kafka", "",
    ),
    (
        result("staged", stages=NOT_STAGED, pending=12, outage=AWAY),
        "waiting for Kafka", "nothing published", "12 changes staged, waiting for Kafka", "",
    ),
    (
        result("staged", stages=NOT_STAGED, pending=12, outage=NO_REGISTRY),
        "waiting for the schema registry", "nothing published",
        "12 changes staged, waiting for the schema registry", "",
    ),
    (
        result("staged", SOME, stages=STAGED, pending=12, outage=REFUSED),
        "staged", "nothing published", "12 changes staged, not published", "",
    ),
    (
        result("staged", stages=NOT_STAGED, pending=12, outage=REFUSED),
        "not published", "nothing published", "12 changes staged, not published", "",
    ),
    (result("unchanged", stages=NOT_STAGED), "unchanged", "nothing to publish", "", ""),
    (
        result("unchanged", stages=NOT_STAGED, published=1_144, drained=1_144),
        "unchanged", "1,144 changes of earlier polls published", "", "",
    ),
    (
        result("unchanged", stages=NOT_STAGED, holding=1),
        "unchanged", "nothing to publish", "", f"1 record {REVIEW}",
    ),
    (result("dry_run", SOME, stages=STAGED), "dry run", "nothing written, nothing published", "", ""),
    (
        result("dry_run", HELD, stages=STAGED, pending=3, holding=300),
        "dry run", "nothing written, nothing published", "3 changes of earlier polls staged, waiting for Kafka", "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("poll", "head", "kafka", "waiting", "held"), TABLE)
def test_a_poll_says_what_it_came_to(poll: PollResult, head: str, kafka: str, waiting: str, held: str) -> None:
    """Headline, what was published, what waits for Kafka, what is held."""
    assert (headline(poll), kafka_line(poll), waiting_line(poll), held_line(poll)) == (head, kafka, waiting, held)


def test_no_combination_contradicts_its_numbers() -> None:
    """Whatever the outcome: published means that something was, and nothing means nothing."""
    combinations = product(OUTCOMES, (0, 4), (0, 6), (0, 2), (0, 900), (0, 8), (STAGED, NOT_STAGED), (None, AWAY))
    for outcome, own, drained, alerts, baseline, pending, stages, outage in combinations:
        poll = result(
            outcome,
            Counts(records=900, added=own, alerts=alerts),
            published=own + drained,
            drained=drained,
            baseline=baseline,
            pending=pending,
            stages=stages,
            outage=outage,
        )
        said = (headline(poll), kafka_line(poll), waiting_line(poll))
        is_dry, is_whole = outcome == "dry_run", outcome in {"published", "held"}
        something = not is_dry and (own + drained > 0 or (is_whole and alerts > 0))
        assert said[1].startswith("nothing") == (not something), said
        assert [
            number for number in (own, drained) if number and not is_dry and f"{number} change" not in said[1]
        ] == []
        assert not (said[0] == "published" and not (own or alerts)), said
        assert ("waiting for Kafka" in said[2]) == (pending > 0 or outcome == "staged"), said
        assert is_dry == ("nothing written" in said[1]), said
