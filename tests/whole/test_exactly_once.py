"""Exactly once, held against kills that no code can catch: real processes, state file, broker and registry."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from connector.clock import utc_now
from connector.config import event_hubs
from connector.model import Inventory
from connector.operations.setup import set_up
from connector.operations.status import read_status
from connector.service.polls import Polled
from tests.service.test_service import TENANT, Running
from tests.support.broker import Broker, LocalBroker
from tests.support.cutting import CuttingProxy, Request, When
from tests.support.exactly_once import BATCH, Run, beginning
from tests.support.judging import Verdict, by_key, fold
from tests.support.mishaps import DEADLINE_SECONDS, Mishaps
from tests.support.watching import POINTS, Control

pytestmark = pytest.mark.broker

RANDOM_KILLS = 3
BEFALL = ("two files, one id", "torn log", "hung past its time-out", "full disk", "hung, another took over")
"""The mishaps of tests/support/mishaps.py that no other test here or in whole/ has."""
PUBLISHING = POINTS[POINTS.index("batch begins") : POINTS.index("retired")]


@pytest.fixture
def begin(tmp_path: Path, registry_url: str, topic_prefix: str) -> Iterator[Callable[..., Run]]:
    """`begin(broker, seed=1, kafka={…})`: a tenant with its baseline published."""
    with beginning(tmp_path, topic_prefix) as make:
        yield lambda broker, *, seed=1, **tables: make(broker, registry_url, seed=seed, **tables)


def exact(run: Run) -> Verdict:
    """What the verdict must be, and that there was something to judge."""
    events = run.expected_events
    assert events > 300
    return Verdict(events, 0, 0, ())


def test_a_kill_at_every_point_of_a_poll_loses_nothing_and_repeats_nothing(
    begin: Callable[..., Run], broker: Broker
) -> None:
    """At each of the points one process is killed, and the next goes on; in the end all is there once, in order."""
    run = begin(broker)
    run.kill_at_every_point()
    assert run.kills == dict.fromkeys(POINTS, 1)
    assert run.verdict() == exact(run)
    assert len(run.values("campaigns")) > len(POINTS) // 2


def test_several_kills_a_generation_at_random_lose_nothing_and_repeat_nothing(
    begin: Callable[..., Run], broker: Broker
) -> None:
    """Killed several times for each generation of the fleet, at any point and any batch."""
    run = begin(broker, seed=2)
    draw = random.Random(20261123)
    for _ in range(2):
        run.kill_at_random(draw, RANDOM_KILLS)
    assert run.kills.total() >= RANDOM_KILLS
    assert run.verdict() == exact(run)


def test_a_kill_while_kafka_commits_loses_nothing_and_repeats_nothing(
    begin: Callable[..., Run], local_broker: LocalBroker
) -> None:
    """Killed before the broker has the request to commit, and killed when it has committed and the answer is lost."""
    run = begin(local_broker, seed=3)
    through_proxy = {"kafka": {"client": {"bootstrap.servers": f"127.0.0.1:{local_broker.cut_port}"}}}
    cuts: list[When] = ["before", "after"]
    with CuttingProxy(local_broker.cut_port, local_broker.behind_port) as proxy:
        for when in cuts:
            run.advance()
            child = run.started(tables=through_proxy, wait=("commit under way", 2))
            child.until_reached()
            proxy.cut(Request.END_TRANSACTION, when, child.kill)
            child.go_on()
            assert child.ended().killed
            run.finish()
        assert proxy.done == [(Request.END_TRANSACTION, when) for when in cuts]
    assert run.verdict() == exact(run)


@pytest.mark.parametrize(
    ("control", "lost", "duplicated"), [("checkpoint apart", 0, BATCH), ("confirmed first", BATCH, 0)]
)
def test_the_harness_finds_what_a_broken_order_loses_or_repeats(
    begin: Callable[..., Run], broker: Broker, control: Control, lost: int, duplicated: int
) -> None:
    """The checkpoint in a separate transaction repeats a batch; a note in the state file before Kafka loses one."""
    run = begin(broker)
    run.advance()
    assert run.poll(("control", 2), control=control).killed
    if lost:
        assert run.poll().error == "CheckpointLost"
    assert run.poll(control=control).code == 0
    verdict = run.verdict()
    assert (verdict.lost, verdict.duplicated, verdict.exact) == (lost, duplicated, False)


def test_at_least_once_repeats_the_same_events_and_loses_none(begin: Callable[..., Run], broker: Broker) -> None:
    """Without transactions, kills while publishing repeat messages: the same ids and contents, first seen in order.

    With the client settings of Event Hubs, for whose tiers without transactions this is.
    """
    hubs = {**event_hubs.CLIENT_DEFAULTS, **event_hubs.PRODUCER_DEFAULTS, "compression.type": "gzip"}
    run = begin(broker, kafka={"delivery": "at_least_once", "client": hubs})
    run.advance()
    for point in PUBLISHING:
        if point == "seal confirmed":
            run.advance()
        run.poll((point, 1), delay_seconds=0.002)
    run.finish()
    assert run.kills == dict.fromkeys(PUBLISHING, 1)
    assert run.verdict(repeats=True) == exact(run)
    assert run.verdict().duplicated >= BATCH


def test_kafka_away_loses_nothing_and_the_backlog_is_drained_in_order(
    begin: Callable[..., Run], private_broker: LocalBroker
) -> None:
    """Down before two polls, which stage all the same until `max_pending`; back; and down in the middle of another.

    Meanwhile `status`, `/readyz` and the metrics show the backlog.
    """
    run = begin(private_broker)
    private_broker.stop()
    run.advance()
    pending = [shown_while_away(run)]
    run.advance()
    away = run.poll(deadline_seconds=DEADLINE_SECONDS)
    assert (away.code, away.lines[-1]["outcome"]) == (1, "staged")
    pending.append(away.lines[-1]["pending"])
    assert 0 < pending[0] < pending[1]
    run.simulator.advance()
    full = run.poll(deadline_seconds=DEADLINE_SECONDS, tables={"state": {"max_pending": pending[-1]}})
    assert (full.code, full.error) == (1, "StateFull")
    private_broker.start()
    drained = run.finish()
    assert drained.lines[-1]["published"] == pending[-1] + drained.lines[-1]["last_sequence"] - run.last_sequence(-2)
    run.advance()
    child = run.started(wait=("batch confirmed", 2), deadline_seconds=DEADLINE_SECONDS)
    child.until_reached()
    private_broker.kill()
    child.go_on()
    interrupted = child.ended()
    assert (interrupted.code, interrupted.lines[-1]["outcome"], interrupted.lines[-1]["published"]) == (
        1,
        "staged",
        2 * BATCH,
    )
    private_broker.start()
    run.finish()
    assert run.verdict() == exact(run)


def shown_while_away(run: Run) -> int:
    """Poll as a service while Kafka is away. Returns the backlog that readiness, metrics and status all show."""
    with run.assembly(kafka_seconds_max=DEADLINE_SECONDS) as assembly:
        with Running([Polled(TENANT, assembly.pipeline.poll, 3600)], assembly.stop) as running:
            _, ready = running.ready(lambda body: body["last_error"] is not None)
            metrics = running.samples()
        with assembly.read_state() as state:
            status = read_status(assembly, state, at=utc_now())
    pending = int(ready["pending_changes"])
    assert ready["last_error"]["type"] == "SinkUnavailable"
    assert (metrics["pending_changes"], status["pending"]) == (pending, pending)
    assert metrics['errors_total{stage="publish"}'] == 1
    return pending


def test_whatever_befalls_a_tenant_nothing_is_lost_or_repeated(
    begin: Callable[..., Run], broker: Broker, tmp_path: Path
) -> None:
    """A process that hangs past its time-out, or is taken over; an id used twice; a torn log; a full disk: exact.

    Who is fenced ends with exit code 4; what does not fit Kafka's checkpoint is refused by name, and put back.
    """
    run = begin(broker, seed=4)
    possible = Mishaps(run, random.Random(20261123), broker, tmp_path / "copies").possible(fences=True)
    came_to = {name: possible[name]() for name in BEFALL}
    assert came_to.pop("torn log") in {"recovered", "StateBehindCheckpoint", "StateCorrupt"}
    assert came_to.pop("hung past its time-out") in {"exit code 0", "exit code 1"}
    assert came_to == {
        "full disk": "StateFull",
        "hung, another took over": "exit code 4",
        "two files, one id": "fenced",
    }
    assert run.verdict() == exact(run)


def test_a_lost_or_old_state_file_stops_before_anything_is_published(
    begin: Callable[..., Run], broker: Broker, tmp_path: Path
) -> None:
    """Deleted, or an old copy: stop, with the hint to restore or rebaseline. With the newest file it goes on."""
    run = begin(broker)
    old = run.copy_state(tmp_path / "old")
    run.advance()
    run.finish()
    newest = run.copy_state(tmp_path / "newest")
    run.simulator.advance()
    run.delete_state()
    stopped = [run.poll()]
    run.restore_state(old)
    stopped.append(run.poll())
    assert [(ended.code, ended.error) for ended in stopped] == [(1, "StateBehindCheckpoint")] * 2
    assert all("state rebaseline" in ended.lines[-1]["hint"] for ended in stopped)
    assert run.verdict() == exact(run)
    run.restore_state(newest)
    run.finish()
    assert run.verdict() == exact(run)


def test_a_new_epoch_follows_a_lost_state_file_and_a_lost_checkpoint(begin: Callable[..., Run], broker: Broker) -> None:
    """State file deleted, then topic deleted: each stops; after a rebaseline the new epoch folds to the inventory."""
    run = begin(broker)
    run.delete_state()
    assert run.poll().error == "StateBehindCheckpoint"
    epochs = []
    with run.assembly() as assembly:
        epochs.append(assembly.pipeline.rebaseline())
    assert run.poll(tables={"kafka": {"batch_changes_max": 1000}}).code == 0
    _delete_topic(broker, f"{run.settings['kafka']['topic_prefix']}.checkpoints")
    with run.assembly() as assembly:
        assert [check.text for check in set_up(assembly) if not check.fine] == []
    run.simulator.advance()
    lost = run.poll()
    assert (lost.code, lost.error) == (1, "CheckpointLost")
    with run.assembly() as assembly:
        epochs.append(assembly.pipeline.rebaseline())
    assert run.poll(tables={"kafka": {"batch_changes_max": 1000}}).code == 0
    assert epochs == [2, 3]
    changes = run.values("changes")
    of_epoch = [
        sorted((c for c in changes if c["epoch"] == epoch), key=lambda change: change["sequence"])
        for epoch in (1, 2, 3)
    ]
    # The baseline of a snapshot that an earlier epoch had as well is the same events again.
    assert [len({change["eventId"] for change in own}) for own in of_epoch] == [len(own) for own in of_epoch]
    assert all([c["sequence"] for c in own] == list(range(1, len(own) + 1)) for own in of_epoch)
    assert fold(of_epoch[2]) == by_key(run.simulator.records(Inventory.CPE))


def _delete_topic(broker: Broker, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.delete_topics([name])[name].result(timeout=30)
