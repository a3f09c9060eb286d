"""Decisions where no `run` has the state file; those beside one are in whole/test_decisions.py, with a real broker."""

from __future__ import annotations

from connector.assembly import Assembly
from connector.errors import SinkUnavailable
from connector.operations import decisions
from connector.operations.decisions import Decision
from connector.service.state_watch import Backlog
from connector.state.publisher_lock import RUN, Holder
from tests.support import released

HELD = 8
PENDING = 3


def test_an_approval_without_kafka_is_staged_for_the_next_poll(assembly: Assembly) -> None:
    """Nothing is held any more, what was held is pending, and the outage says why it is not published."""
    with released.connector(assembly.config.state.path, "127.0.0.1:1", "checks") as away:
        away.kafka_seconds_max = 0.2
        decision = decisions.approve_held(away)
    assert isinstance(decision.outage, SinkUnavailable)
    assert decision._replace(outage=None) == Decision(HELD)
    assert waiting(assembly) == (0, PENDING + HELD)


def test_an_approval_beside_a_run_is_left_to_it(assembly: Assembly) -> None:
    """Kafka is not even asked, and the watcher of that `run` sees that something waits for it."""
    watcher = assembly.state_watcher()
    watcher.note()
    with assembly.publisher_lock(RUN) as lock:
        decision = decisions.approve_held(assembly)
        named = lock.path.read_text(encoding="ascii")
    assert decision == Decision(HELD, Holder(int(named.split()[0]), RUN))
    assert watcher.look() == Backlog(PENDING + HELD, {"CPE": 0}, waits=True)


def waiting(assembly: Assembly) -> tuple[int, int]:
    """Records held, and changes pending."""
    with assembly.read_state() as state:
        return state.journal.held_count(), state.journal.position().pending
