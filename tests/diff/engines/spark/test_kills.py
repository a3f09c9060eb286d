"""Exactly once with Spark as the engine: whole polls, real processes and a real broker. `make soak-spark` is longer."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker import Broker
from tests.support.exactly_once import Run
from tests.support.judging import Verdict
from tests.support.sparking import engine_table

KILLED_AT = (
    "staged in memory", "staged", "within a batch", "batch produced", "commit under way", "batch committed",
    "batch confirmed", "seal produced",
)  # fmt: skip
"""After Spark's commit and before the state file's, between staging and publishing, and on the way through Kafka."""


def test_a_publisher_that_is_killed_loses_nothing_and_repeats_nothing(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """At each of the points one process is killed, and the next goes on; in the end all is there once, in order."""
    with Run.begun(
        tmp_path / "state",
        bootstrap_servers=broker.bootstrap_servers,
        registry_url=None,
        prefix=topic_prefix,
        seed=8,
        churn=60.0,
        engine=engine_table(tmp_path),
    ) as run:
        run.baseline()
        run.advance()
        for point in KILLED_AT:
            assert run.poll((point, 1), delay_seconds=0.0005).killed
        run.finish()
        assert list((tmp_path / "delta").rglob("_delta_log"))
        assert run.kills == dict.fromkeys(KILLED_AT, 1)
        assert run.verdict() == Verdict(run.expected_events, 0, 0, ())
