"""What `state verify` finds in a file, and between a file and Kafka's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from connector.assembly import Assembly
from connector.model import Inventory
from connector.operations.verify import verify
from tests.support import released
from tests.support.broker import Broker


def verified(assembly: Assembly, *, offline: bool = False) -> list[tuple[str, bool, str, str]]:
    """Every line of `state verify`."""
    with assembly.read_state() as state:
        checks = verify(assembly, state, offline=offline)
        return [(check.name, check.fine, check.text, check.hint) for check in checks]


def test_the_file_is_held_against_kafkas_checkpoint_and_neither_is_changed(assembly: Assembly) -> None:
    """Each standing of the two by its name: what fits, with the backlog; what does not, with what to do."""
    before = assembly.config.state.path.read_bytes()
    with assembly.read_state() as state:
        third, fourth, fifth = reversed(state.journal.recent_snapshots(3))
        assert third.inventory is Inventory.CPE
    checks = [verified(assembly)[-1]]
    assembly.sink.recover()
    within = released.checkpoint(fourth, sequence=fourth.sequence_after - 1)
    for checkpoint in (
        within,
        released.checkpoint(fourth),
        replace(released.checkpoint(fifth), sequence=7),
        released.checkpoint(third),
        replace(within, snapshot_id="another"),
        replace(within, entra_tenant_id="another"),
    ):
        assembly.sink.publish([], checkpoint)
        checks.append(verified(assembly)[-1])
    lines = [f"{'ok' if fine else 'FAIL'} {name}: {text}" for name, fine, text, _ in checks]
    expected = (
        ("FAIL", "Kafka, which has no checkpoint, is behind what"),
        ("ok", "checkpoint at epoch 1, sequence 3, snapshot 3, which fits the file; 3 changes pending"),
        ("ok", "sequence 4, snapshot 4, which fits the file; 2 changes pending; Kafka has confirmed more than"),
        ("FAIL", "is ahead of"),
        ("FAIL", "is behind what"),
        ("FAIL", "does not fit"),
        ("FAIL", "does not fit"),
    )
    assert [(mark, text) for (mark, text), line in zip(expected, lines, strict=True)
            if not line.startswith(f"{mark} kafka: ") or text not in line] == []  # fmt: skip
    assert all(fine or hint for _, fine, _, hint in checks)
    assert assembly.config.state.path.read_bytes() == before
    # Whoever publishes goes on undisturbed.
    assembly.sink.publish([], within)


def test_a_file_that_does_not_add_up_is_told_before_kafka_is_asked(assembly: Assembly) -> None:
    """Each problem a line, and the comparison all the same."""
    with assembly.open_state() as state:
        state.database.rows("UPDATE contents SET total = total + 1")
    lines = verified(assembly)
    assert [(name, fine) for name, fine, _, _ in lines] == [("state", False), ("state", False), ("kafka", False)]
    assert "digest" in lines[0][2]


def test_without_kafka_it_is_said_that_nothing_was_compared(assembly: Assembly, tmp_path: Path) -> None:
    """A separate line that is no success, and what the file alone says; `--offline` does not even ask."""
    with released.connector(assembly.config.state.path, "127.0.0.1:1", "checks") as away:
        away.kafka_seconds_max = 0.2
        (name, fine, text, hint) = verified(away)[-1]
        assert (name, fine, "not compared with Kafka's checkpoint: Kafka: " in text, hint != "") == (
            "kafka", False, True, True,
        )  # fmt: skip
        assert verified(away)[0][:2] == ("state", True)
        assert verified(away, offline=True) == [
            ("state", True, "counts, keys and digests are as stored; Kafka was not asked", "")
        ]
    assert tmp_path.exists()


def test_verifying_takes_nothing_over(
    broker: Broker, create_topic: Callable[..., str], topic_prefix: str, staged: bytes, tmp_path: Path
) -> None:
    """An instance that publishes goes on before and after it: it is not fenced, and finds its own claim."""
    path = tmp_path / "state.duckdb"
    path.write_bytes(staged)
    create_topic(f"{topic_prefix}.checkpoints")
    addresses = broker.bootstrap_servers
    with (
        released.connector(path, addresses, topic_prefix) as running,
        released.connector(path, addresses, topic_prefix) as looking,
    ):
        with running.read_state() as state:
            _, fourth, _ = reversed(state.journal.recent_snapshots(3))
        within = released.checkpoint(fourth, sequence=fourth.sequence_after - 1)
        running.sink.recover()
        running.sink.publish([], within)
        assert [fine for _, fine, _, _ in verified(looking)] == [True, True]
        running.sink.publish([], within)
        assert running.sink.recover() == within
