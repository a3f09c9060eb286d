"""Which messages a batch is made of, over a sink that keeps them: no broker has a say in that."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from connector.errors import SinkUnavailable
from connector.history.campaigns import CampaignRules, messages_of
from connector.kafka.encoders import ENGINE_ROWS_MIN
from connector.model import Checkpoint, Inventory, Message
from connector.poll.backfill import encode_change_records
from connector.poll.publisher import Publisher
from connector.staging import audit, maintenance
from tests.support.bench import EASY, TENANT, Bench, record
from tests.support.messages import make_messages

Batches = list[list[tuple[str, Any]]]
SIZES: Final = (1, 2, 3, 100)


class Kept:
    """A sink of one list: each batch with its checkpoint, whole or not at all; `fails` batches are lost on the way."""

    transactional_id = "kept"

    def __init__(self) -> None:
        self.batches: list[tuple[list[Message], Checkpoint]] = []
        self.fails: set[int] = set()
        self._tried = 0

    def recover(self) -> Checkpoint | None:
        """The last checkpoint."""
        return self.batches[-1][1] if self.batches else None

    def publish(self, messages: Iterable[Message], checkpoint: Checkpoint) -> None:
        """Keep a batch, or raise as if Kafka were away: before it was committed, or right after."""
        self._tried += 1
        batch = (list(messages), checkpoint)
        if self._tried in self.fails:
            self.batches += [batch] if self._tried % 2 else []
            raise SinkUnavailable("Kafka is away")
        self.batches.append(batch)


class Shelf:
    """A state file, messages, and a sink that keeps everything."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sink = Kept()
        self.messages = make_messages(topic_prefix="p", tenant_id=TENANT)

    def drain(self, size: int) -> None:
        """Publish everything in batches of that size, from where the sink is."""
        sink: Any = self.sink
        publisher = Publisher(
            self.messages, sink, tenant_id=TENANT, batch_changes_max=size, clock=lambda: datetime.now(UTC),
            stop=threading.Event(),
            campaigns=partial(messages_of, rules=CampaignRules(enabled=True, min_devices=2), tenant_id=TENANT),
        )  # fmt: skip
        publisher.recover(self.bench.state)
        publisher.drain(self.bench.state)

    def read(self) -> Batches:
        """Of each batch, topic and value of its messages, short."""
        return [[self._short(message) for message in messages] for messages, _ in self.sink.batches]

    def _short(self, message: Message) -> tuple[str, Any]:
        value = self.messages.decode(message.value or b"")
        topic = message.topic.removeprefix("p.")
        names = {"changes": "sequence", "snapshots": "status", "alerts": "softwareName", "campaigns": "reason"}
        return topic, value[names[topic]]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A silent baseline; three changes, two of which raise alerts, and five of the calendar; a day when dates end."""
    dated = [record("d", name, endOfSupportDate="2026-12-01") for name in "xyz"]
    new = [record("d", "a", endOfSupportStatus="EOS Version"), record("d", "b"),
           record("e", "c", endOfSupportStatus="EOS Software")]  # fmt: skip
    later = [record("d", "w", endOfSupportDate="2026-12-29"), record("d", "v", endOfSupportDate="2026-12-29")]
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([*dated, *later]))
        bench.number += 4 * 7
        staged = bench.take(bench.snapshot([*dated, *later, *new]))
        assert staged.counts.alerts == 7
        assert bench.due(25)
        yield Shelf(bench)


def everything(batches: Batches) -> list[tuple[str, Any]]:
    """All messages in their order."""
    return [message for batch in batches for message in batch]


@pytest.mark.parametrize("size", SIZES)
def test_an_alert_rides_with_its_change_and_the_seal_is_last(size: int, shelf: Shelf) -> None:
    """Whatever the size of batches: the same messages, and after each batch as many alerts as its changes raised."""
    shelf.drain(size)
    batches = shelf.read()
    published = everything(batches)
    assert [value for topic, value in published if topic == "changes"] == [1, 2, 3]
    assert [value for topic, value in published if topic == "alerts"] == [*"acvwxyz", *"vwxxyyzz"]
    statuses = [(place, value) for place, (topic, value) in enumerate(published) if topic == "snapshots"]
    assert [value for _, value in statuses] == ["STARTED", "COMPLETE"] * 3
    assert [published[place - 1] for place, value in statuses if value == "COMPLETE"] == [
        ("snapshots", "STARTED"), ("alerts", "z"), ("alerts", "z"),
    ]  # fmt: skip
    for batch in batches:
        changes = [value for topic, value in batch if topic == "changes"]
        alerts = [value for topic, value in batch if topic == "alerts"]
        assert len(changes) <= size
        assert ("a" in alerts, "c" in alerts) == (1 in changes, 3 in changes)
        assert len(set(alerts) - {"a", "c"}) <= size - len(changes)


@pytest.mark.parametrize("size", SIZES)
def test_after_a_failure_of_any_batch_nothing_is_lost_and_nothing_repeated(size: int, shelf: Shelf) -> None:
    """Committed or not, the sink's checkpoint says where to go on; the messages are those of a run without failures."""
    position = shelf.bench.state.journal.position()
    shelf.drain(size)
    whole = shelf.read()
    for failing in range(1, len(whole) + 1):
        shelf.bench.state.database.rows(
            "UPDATE position SET published_sequence = 0, published_alert = 0, published_snapshot = 0"
        )
        assert shelf.bench.state.journal.position().pending == position.pending
        shelf.sink = Kept()
        shelf.sink.fails = {failing}
        shelf.drain(size)
        assert shelf.read() == whole


@pytest.mark.parametrize("size", SIZES)
def test_campaigns_ride_with_the_seal(size: int, tmp_path: Path) -> None:
    """Whatever the size of batches: in the last of the snapshot, before its COMPLETE, and none with a baseline."""
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([record(f"d{number}", "a") for number in range(3)]))
        bench.confirm_baseline()
        bench.take(bench.snapshot([record(f"d{number}", "a", "2.0") for number in range(3)]))
        shelf = Shelf(bench)
        shelf.drain(size)
        *_, last = shelf.read()
    assert last[-2:] == [("campaigns", "UPGRADED"), ("snapshots", "COMPLETE")]
    assert [topic for batch in shelf.read() for topic, _ in batch].count("campaigns") == 1


def test_alerts_of_a_snapshot_that_was_retired_are_gone_with_it(shelf: Shelf) -> None:
    """Retention takes the alerts with their changes; the newest snapshot keeps its own."""
    shelf.drain(100)
    state = shelf.bench.state
    latest = state.journal.latest_snapshot(Inventory.CPE)
    assert latest is not None
    assert maintenance.retire(state, older_than=datetime(2030, 1, 1, tzinfo=UTC)) == 3
    assert state.database.rows("SELECT DISTINCT snapshot_no FROM alerts") == [(latest.snapshot_no,)]
    assert audit.verify(state) == []


def test_large_batches_that_the_engine_encodes_are_the_messages_of_their_rows(tmp_path: Path) -> None:
    """A baseline, then upgrades and removals, with the inventory topic and outages in between: each message once.

    Batches have more than `ENGINE_ROWS_MIN` changes but the last; the messages are those of the rows, one by one.
    """
    messages, sink = make_messages(topic_prefix="p", tenant_id=TENANT), Kept()
    sink.fails = {2, 5}
    fakes: Any = sink
    publisher = Publisher(
        messages, fakes, tenant_id=TENANT, batch_changes_max=ENGINE_ROWS_MIN + 100, inventory_topic=True,
        clock=lambda: datetime.now(UTC), stop=threading.Event(),
    )  # fmt: skip
    first = [
        record(f"d{number % 7}", f"p{number}", "1", endOfSupportStatus="EOS Version" if number % 9 else None)
        for number in range(2 * ENGINE_ROWS_MIN + 300)
    ]
    second = [line | {"softwareVersion": "2"} for line in first[:ENGINE_ROWS_MIN]] + first[2 * ENGINE_ROWS_MIN :]
    expected: dict[str, list[Message]] = {"p.changes": [], "p.inventory": [], "p.alerts": []}
    with Bench(tmp_path, rules=replace(EASY, emit_baseline=True)) as bench:
        journal, export = bench.state.journal, bench.state.export
        for lines in (first, second):
            staged = bench.take(bench.snapshot(lines))
            for change in journal.changes(staged, after=0, limit=10**9):
                expected["p.changes"].append(messages.encode_change(change))
                expected["p.inventory"] += encode_change_records(messages, export, change)
            expected["p.alerts"] += map(messages.encode_alert, journal.alerts(staged, after=0, limit=10**9))
            publisher.recover(bench.state)
            publisher.drain(bench.state)
        assert journal.position().drained
    published = [message for batch, _ in sink.batches for message in batch]
    assert {topic: [message for message in published if message.topic == topic] for topic in expected} == expected
    assert min(len(expected["p.changes"]), len(expected["p.inventory"])) > 2 * ENGINE_ROWS_MIN
