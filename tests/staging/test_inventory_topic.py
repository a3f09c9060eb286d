"""The compacted inventory topic against the state file and the fold of the changes, on a real broker."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from connector.model import Inventory, Topic
from connector.staging.inventory_topic import BackfillCursor, Mirror, fall_behind
from tests.conftest import consume_all
from tests.support.broker import Broker
from tests.support.mirroring import Tenant

SNAPSHOTS = int(os.environ.get("MDE_TEST_SNAPSHOTS", "16"))
"""Of both exports together; 50 or more for a long look."""


@pytest.fixture
def tenant(tmp_path: Path, broker: Broker, create_topic: Callable[..., str], topic_prefix: str) -> Tenant:
    """A tenant with its topics, and no snapshot yet; the inventory topic is compacted as often as Kafka can."""
    for topic in Topic:
        eager = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
        partitions = {Topic.CHANGES: 3, Topic.INVENTORY: 3}.get(topic, 1)
        create_topic(
            topic.name_under(topic_prefix), partitions=partitions, settings=eager if topic is Topic.INVENTORY else {}
        )
    return Tenant(tmp_path, broker.bootstrap_servers, topic_prefix, random.Random(20261123))


def messages(tenant: Tenant) -> int:
    """How many messages the inventory topic has."""
    return len(consume_all(tenant.bootstrap_servers, tenant.topic(Topic.INVENTORY)))


def test_the_topic_the_fold_of_the_changes_and_the_state_file_are_one_after_random_snapshots(tenant: Tenant) -> None:
    """After snapshots of both exports, whatever happened in between.

    Holds and approvals, missing devices, a new epoch, the topic off and on, processes that died while publishing and
    while filling up.
    """
    draw = tenant.random
    seen = 0
    for _ in range(SNAPSHOTS // 2):
        tenant.topic_on = draw.random() < 0.75
        tenant.evolve()
        happening = draw.random()
        dies_at = draw.randint(1, 8) if happening < 0.5 else 0
        tenant.poll(dies_at=dies_at, after=draw.random() < 0.5)
        if happening > 0.8:
            with tenant.process() as process:
                process.pipeline.approve_held()
        if happening > 0.95:
            with tenant.process() as process:
                process.pipeline.rebaseline()
            tenant.poll()
        if draw.random() < 0.2:
            tenant.topic_on = True
            tenant.fill_up()
            seen += 1
            assert tenant.compacted() == tenant.stored() == tenant.fold()
    tenant.topic_on = True
    for estate in tenant.estates.values():
        estate.away = set()
    tenant.poll()
    stored = tenant.stored()
    assert set(stored) == {"CPE", "NON_CPE"}
    assert tenant.compacted() == stored == tenant.fold()
    assert seen


def test_a_silent_baseline_is_filled_up_and_nothing_more_is_published_once_it_is(tenant: Tenant) -> None:
    """The whole inventory in the poll of the baseline; then changes alone, and nothing at all without any.

    The last checkpoint says that the topic is whole, from then until changes are published without it.
    """

    def whole() -> bool:
        with tenant.process() as process:
            checkpoint = process.sink.recover()
            return checkpoint is not None and checkpoint.inventory_whole

    tenant.emit = False
    tenant.poll(dies_at=4)
    assert not whole()
    assert tenant.fill_up() > 0
    assert tenant.compacted() == tenant.stored()
    before = messages(tenant)
    assert tenant.fill_up() == 0
    assert (messages(tenant), whole()) == (before, True)
    tenant.evolve()
    assert tenant.poll() == 0
    assert messages(tenant) > before
    assert tenant.compacted() == tenant.stored()
    assert whole()
    tenant.topic_on = False
    tenant.evolve()
    tenant.poll()
    assert not whole()


def test_a_backfill_that_is_killed_at_any_batch_goes_on_and_ends_whole(tenant: Tenant) -> None:
    """Before Kafka has the batch, and after, with changes in between, and while stale keys are ended."""
    tenant.poll()
    stale = messages(tenant)
    tenant.emit = tenant.topic_on = False
    with tenant.process() as process:
        process.pipeline.rebaseline()
    tenant.poll(lines={inventory: estate.lines()[:14] for inventory, estate in tenant.estates.items()})
    tenant.topic_on = True
    for batch, after in ((1, True), (2, True), (2, True), (2, False)):
        tenant.fill_up(dies_at=batch, after=after)
    with tenant.process() as process, process.open_state() as state:
        cursor = Mirror(state.database, state.export).cursor()
        assert (cursor.phase, cursor.inventory) == ("records", "NON_CPE")
    tenant.evolve()
    tenant.poll(dies_at=2, after=True)
    for after in (True, False):
        tenant.fill_up(dies_at=2, after=after)
    tenant.fill_up()
    assert messages(tenant) > stale
    assert tenant.compacted() == tenant.stored()
    with tenant.process() as process, process.read_state() as state:
        assert Mirror(state.database, state.export).whole


def test_what_a_backfill_has_published_itself_is_not_read_back(tenant: Tenant) -> None:
    """It notes where the topic ended before; an interruption keeps that, and so does an addition without a change."""
    tenant.topic_on = False
    tenant.poll()
    tenant.topic_on = True
    tenant.fill_up(dies_at=1, after=True)
    tenant.fill_up(dies_at=2, after=True)
    with tenant.process() as process, process.open_state() as state:
        mirror = Mirror(state.database, state.export)
        begun = mirror.cursor()
        with state.database.transaction():
            fall_behind(state.database, Inventory.CPE)
        assert (begun.phase, begun.ends) == ("records", ())
        assert mirror.cursor() == BackfillCursor(begun.epoch, inventory="CPE", ends=())
        assert process.backfill is not None
        process.backfill._read_keys(mirror, begun)
        assert state.database.number("SELECT count(*) FROM topic_keys") == 0
        process.backfill._read_keys(mirror, replace(begun, ends=None))
        assert state.database.number("SELECT count(*) FROM topic_keys") > 0
    tenant.fill_up()
    assert tenant.compacted() == tenant.stored()
    with tenant.process() as process, process.open_state() as state:
        with state.database.transaction():
            fall_behind(state.database, Inventory.CPE)
        assert Mirror(state.database, state.export).cursor() == BackfillCursor(begun.epoch, inventory="CPE")


def test_keys_that_went_while_the_topic_was_off_or_in_an_earlier_epoch_are_ended(tenant: Tenant) -> None:
    """They get tombstones, keys too long for a key among them; another tenant's keys on the same topic do not."""
    other = Tenant(tenant.folder / "other", tenant.bootstrap_servers, tenant.prefix, random.Random(1))
    other.tables = {"source": {"tenant_id": "11111111-2222-3333-4444-555555555555"}, "kafka": {"transactional_id": "o"}}
    tenant.poll()
    others = {"deviceId": "other", "softwareVendor": "v", "softwareName": "n", "softwareVersion": "1"}
    other.poll(lines={Inventory.CPE: [others], Inventory.NON_CPE: []})
    long = {key for records in tenant.stored().values() for key in records if max(map(len, key)) > 256}
    assert long
    tenant.topic_on = False
    kept = {inventory: estate.lines()[:3] for inventory, estate in tenant.estates.items()}
    with tenant.process() as process:
        process.pipeline.rebaseline()
    tenant.poll(lines=kept)
    tenant.topic_on = True
    assert tenant.fill_up() > 6
    compacted = tenant.compacted()
    assert compacted["CPE"].pop(("other", "v", "n", "1"))
    assert compacted == tenant.stored()


def test_a_backfill_is_bounded_in_time_and_stops_when_told(tenant: Tenant) -> None:
    """Without time, or with the stop set, it publishes nothing and says nothing of being whole; later it goes on."""
    tenant.emit = False
    with tenant.process() as process, process.open_state() as state:
        process.publisher.recover(state)
        staged = tenant.stage(process, state, tenant.snapshot(Inventory.CPE, tenant.estates[Inventory.CPE].lines()))
        process.publisher.drain(state)
        process.stop.set()
        assert process.backfill is not None
        assert process.backfill.run(state) == 0
        mirror = Mirror(state.database, state.export)
        assert (mirror.whole, mirror.remaining()) == (
            False,
            staged.counts.stored,
        )
    assert tenant.fill_up(seconds_max=-1) == 0
    assert messages(tenant) == 0
    assert tenant.fill_up() == staged.counts.stored


def test_what_is_looked_at_for_the_first_time_reaches_the_topic_without_a_change(tenant: Tenant) -> None:
    """A field that was ignored is stored as it is now without a change; the topic is filled up with it."""
    tenant.tables["diff"] = {"baseline": "emit", "ignore_fields": ["numberOfWeaknesses"]}
    tenant.inventories = [Inventory.CPE]
    lines = tenant.estates[Inventory.CPE].lines()
    tenant.poll(lines={Inventory.CPE: lines})
    changed = [line | {"numberOfWeaknesses": 4711} for line in lines]
    tenant.poll(lines={Inventory.CPE: changed})
    del tenant.tables["diff"]
    assert tenant.poll(lines={Inventory.CPE: changed}) > 0
    stored = tenant.stored()
    assert {record["numberOfWeaknesses"] for record in stored["CPE"].values()} == {4711}
    assert tenant.compacted() == stored
    assert [change["changeType"] for change in tenant.values(Topic.CHANGES)] == ["BASELINE"] * len(stored["CPE"])
