"""A lost state file, rebuilt from a real broker: the next poll publishes what a plain diff says, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.errors import StateError
from connector.model import Inventory, Topic
from connector.simulator import Fleet, Simulator
from tests.cli.test_cli import command, toml
from tests.conftest import consume_all
from tests.support.bench import START, record
from tests.support.broker import Broker
from tests.support.judging import plain_diff
from tests.support.mirroring import BATCH, NAMES, TENANT, Key, Tenant, key_of
from tests.support.oracle import by_key

CPE = Inventory.CPE
Record = dict[str, Any]


@pytest.fixture
def tenant(tmp_path: Path, broker: Broker, create_topic: Callable[..., str], topic_prefix: str) -> Tenant:
    """A tenant with its topics, no snapshot yet, and a guard that believes every removal but that of a whole group."""
    for topic in Topic:
        settings = {"cleanup.policy": "compact", "segment.ms": "200"} if topic is Topic.INVENTORY else {}
        partitions = {Topic.CHANGES: 3, Topic.INVENTORY: 3}.get(topic, 1)
        create_topic(topic.name_under(topic_prefix), partitions=partitions, settings=settings)
    tenant = Tenant(tmp_path, broker.bootstrap_servers, topic_prefix, random.Random(7))
    tenant.tables["guard"] = {"max_removed_share": 1.0, "missing_device_snapshots": 1}
    return tenant


def changes_after(tenant: Tenant, sequence: int) -> list[Record]:
    """The changes beyond a sequence, in order."""
    return sorted(
        (change for change in tenant.values(Topic.CHANGES) if change["sequence"] > sequence),
        key=lambda change: change["sequence"],
    )


def as_diff(changes: Sequence[Record]) -> dict[Any, Any]:
    """Changes as the oracle has them; each place once."""
    differences = {
        (change["changeType"], key_of(change)): ({name: change[name] for name in NAMES}, change["before"])
        for change in changes
    }
    assert len(differences) == len(changes)
    return differences


def records_of(lines: Sequence[Record]) -> dict[Key, Record]:
    """What a snapshot has, in normal form."""
    return dict(by_key(lines).items())


def position(tenant: Tenant) -> Any:
    """Where the state file is."""
    with tenant.process() as process, process.read_state() as state:
        return state.journal.position()


def held_removals(tenant: Tenant) -> dict[str, set[tuple[str, Key]]]:
    """What the guard holds, of each inventory, as places of the oracle."""
    held: dict[str, set[tuple[str, Key]]] = {inventory: set() for inventory in Inventory}
    with tenant.process() as process, process.read_state() as state:
        rows = state.database.rows(
            "SELECT inventory, device_id, software_vendor, software_name, software_version FROM held"
            " JOIN devices USING (device_no) JOIN software USING (software_no)"
        )
    for inventory, *key in rows:
        held[inventory].add(("REMOVED", tuple(key)))
    return held


@pytest.mark.parametrize("topic_on", [True, False])
def test_after_a_rebuild_the_next_poll_publishes_exactly_the_difference(topic_on: bool, tenant: Tenant) -> None:
    """From the inventory topic, with a silent baseline, and from the changes: file and position are what they were.

    With both exports, a held removal, an approval, a rebaseline, and what killed rebuilds left behind.
    """
    tenant.topic_on, tenant.emit = topic_on, not topic_on
    tenant.tables["guard"] = {"min_removed": 3, "max_removed_share": 0.4, "missing_device_snapshots": 1}
    tenant.poll()
    with tenant.process() as process:
        process.pipeline.rebaseline()
    for _ in range(4):
        tenant.poll()
        tenant.evolve()
    with tenant.process() as process:
        process.pipeline.approve_held()
    tenant.fill_up() if topic_on else None
    del tenant.tables["guard"]
    before, was = tenant.stored(), position(tenant)
    tenant.lose_state()
    for leftover in (".rebuilt", ".rebuilt.wal"):
        tenant.path.with_name(tenant.path.name + leftover).write_bytes(b"half of something")
    rebuilt = tenant.rebuild()
    assert rebuilt is not None
    assert rebuilt.topic == tenant.topic(Topic.INVENTORY if topic_on else Topic.CHANGES)
    assert rebuilt.records == {inventory: len(records) for inventory, records in before.items()}
    assert [path.name for path in tenant.path.parent.iterdir()] == [tenant.path.name]
    assert tenant.stored() == before
    now = position(tenant)
    assert (now.epoch, now.last_sequence, now.last_snapshot, now.drained) == (
        was.epoch, was.last_sequence, was.last_snapshot, True,
    )  # fmt: skip
    for estate in tenant.estates.values():
        estate.away = set()
        estate.evolve()
    tenant.tables["guard"] = {"max_removed_share": 1.0, "missing_device_snapshots": 1}
    lines = {inventory: estate.lines() for inventory, estate in tenant.estates.items()}
    filled = tenant.poll(lines=lines)
    assert filled == 0
    changes, held = changes_after(tenant, was.last_sequence), held_removals(tenant)
    for inventory in Inventory:
        own = [change for change in changes if change["epoch"] == was.epoch and change["inventory"] == inventory]
        expected = plain_diff(before[inventory], records_of(lines[inventory]))
        # A device group that vanished whole is held, in whatever file.
        assert as_diff(own) == {place: change for place, change in expected.items() if place not in held[inventory]}
    assert len(changes) > 3


@pytest.mark.parametrize("topic_on", [True, False])
def test_a_snapshot_that_was_published_in_part_is_sealed_as_that_part_and_the_rest_follows(
    topic_on: bool, tenant: Tenant
) -> None:
    """Killed between two batches, and in the rebuild before and after its seal: every change is there once."""
    tenant.topic_on, tenant.inventories = topic_on, [CPE]
    tenant.tables = {"guard": {"min_removed": 1_000}}
    lines = [record("d", f"{number}") for number in range(10)]
    after = [line | {"numberOfWeaknesses": 1} for line in lines] + [record("e", f"{number}") for number in range(20)]
    tenant.poll(lines={CPE: lines})
    tenant.fill_up() if topic_on else None
    tenant.poll(lines={CPE: after}, dies_at=2, after=True)
    assert len(changes_after(tenant, 10)) == 2 * BATCH
    tenant.lose_state()
    assert tenant.rebuild(dies_at=1) is None
    assert tenant.rebuild(dies_at=1, after=True) is None
    rebuilt = tenant.rebuild()
    assert rebuilt is not None
    assert (rebuilt.checkpoint.sequence, rebuilt.checkpoint.sealed) == (10 + 2 * BATCH, 2)
    tenant.number -= 1  # the same generation again: it was not staged to its end
    tenant.poll(lines={CPE: after})
    changes = changes_after(tenant, 10)
    assert as_diff(changes) == plain_diff(records_of(lines), records_of(after))
    assert [change["sequence"] for change in changes] == list(range(11, 41))
    seals = [report for report in tenant.values(Topic.SNAPSHOTS) if report["status"] == "COMPLETE"]
    assert [(seal["baseline"], seal["added"] + seal["changed"], seal["stored"]) for seal in seals] == [
        (10, 0, 10),
        (0, 2 * BATCH, 10 + sum(change["changeType"] == "ADDED" for change in changes[: 2 * BATCH])),
        (0, 6, 30),
    ]
    assert tenant.fold() == tenant.stored() == {"CPE": records_of(after)}


def test_a_completed_baseline_that_was_published_in_part_is_rebuilt_as_that_part(tenant: Tenant) -> None:
    """Additions that complete a young baseline count as stored, also where only some of them were published."""
    tenant.topic_on, tenant.inventories = False, [CPE]
    lines = [record("d", f"{number}") for number in range(10)]
    after = [*lines, *(record("e", f"{number}") for number in range(30))]
    tenant.poll(lines={CPE: lines})
    tenant.poll(lines={CPE: after}, dies_at=2, after=True)
    tenant.lose_state()
    assert tenant.rebuild() is not None
    tenant.number -= 1  # the same generation again: it was not staged to its end
    tenant.poll(lines={CPE: after})
    seals = [report for report in tenant.values(Topic.SNAPSHOTS) if report["status"] == "COMPLETE"]
    assert [(seal["baseline"], seal["added"], seal["stored"]) for seal in seals] == [
        (10, 0, 10),
        (2 * BATCH, 0, 10 + 2 * BATCH),
        (0, 30 - 2 * BATCH, 40),
    ]
    assert tenant.fold() == tenant.stored() == {"CPE": records_of(after)}


def test_what_was_shortened_for_the_broker_is_changed_at_most(tenant: Tenant) -> None:
    """The restored record lacks what was cut, and the next poll says so; a key that was cut is refused."""
    tenant.inventories, tenant.topic_on = [CPE], False
    tenant.client = {"message.max.bytes": 40_000}
    long = record("d", "a", diskPaths=[f"C:\\{number}\\{'x' * 200}" for number in range(200)])
    lines = [long, record("d", "b")]
    tenant.poll(lines={CPE: lines})
    tenant.lose_state()
    tenant.rebuild()
    tenant.poll(lines={CPE: lines})
    (change,) = changes_after(tenant, 2)
    assert (change["changeType"], change["changedFields"], change["softwareName"]) == ("CHANGED", ["diskPaths"], "a")
    tenant.poll(lines={CPE: [*lines, record("d", "c", version="1" * 18_000)]})
    tenant.lose_state()
    with pytest.raises(StateError, match="1 record with a key that was shortened") as raised:
        tenant.rebuild()
    assert "rebaseline" in raised.value.hint


def test_an_alert_of_a_date_is_neither_raised_twice_nor_lost(tenant: Tenant) -> None:
    """What was crossed or reached before the loss is not again; what was meanwhile raises an alert."""
    tenant.inventories, tenant.topic_on = [CPE], False
    days = {"near": 6, "nearer": 8, "far": 100}
    lines = [record("d", name, endOfSupportDate=f"{START + timedelta(days=number):%Y-%m-%d}")
             for name, number in days.items()]  # fmt: skip

    def crossed() -> list[tuple[str, str]]:
        return [(alert["softwareName"], f"{alert['alertType']} {alert['thresholdDays']}")
                for alert in tenant.values(Topic.ALERTS)]  # fmt: skip

    tenant.poll(lines={CPE: lines})
    tenant.now = START + timedelta(days=2)
    tenant.poll(lines={CPE: lines})
    assert crossed() == [("nearer", "DATE_THRESHOLD 7")]
    tenant.lose_state()
    tenant.rebuild()
    tenant.poll(lines={CPE: lines})
    assert crossed() == [("nearer", "DATE_THRESHOLD 7")]
    tenant.now = START + timedelta(days=11)
    for _ in range(2):
        tenant.lose_state()
        tenant.rebuild()
        tenant.poll(lines={CPE: lines})
        assert sorted(crossed()) == [
            ("far", "DATE_THRESHOLD 90"), ("near", "DATE_THRESHOLD 0"), ("near", "REACHED None"),
            ("nearer", "DATE_THRESHOLD 0"), ("nearer", "DATE_THRESHOLD 7"), ("nearer", "REACHED None"),
        ]  # fmt: skip
    ended = [line | {"endOfSupportStatus": "EOS Version"} for line in lines]
    tenant.poll(lines={CPE: ended})
    assert crossed()[6:] == [("far", "REACHED None")]


def refused(tenant: Tenant, pattern: str) -> None:
    """A rebuild is refused, says what to do, and leaves no file."""
    with pytest.raises(StateError, match=pattern) as raised:
        tenant.rebuild()
    assert raised.value.hint
    assert not [path for path in tenant.path.parent.glob("*") if path.name.startswith("state.duckdb")]


def test_what_cannot_give_the_whole_inventory_is_refused(tenant: Tenant) -> None:
    """No checkpoint; a baseline that was silent, with no inventory topic or one that is not whole; a topic that was
    cut at its beginning or lost a key; an unfinished baseline. And a file that is not lost.
    """  # noqa: D205 - one list
    tenant.inventories = [CPE]
    tenant.path.parent.mkdir(parents=True)
    refused(tenant, "no checkpoint")
    tenant.emit = False
    lines = [record("d", f"{number}") for number in range(40)]
    tenant.poll(lines={CPE: lines}, dies_at=2, after=True)
    with pytest.raises(StateError, match="only a file that is lost is rebuilt") as raised:
        tenant.rebuild()
    assert "Move it away" in raised.value.hint
    kept = tenant.path.read_bytes()
    tenant.lose_state()
    refused(tenant, "CPE: 0 of 40 records are in Kafka: its baseline was not published")
    tenant.path.write_bytes(kept)
    tenant.fill_up()
    tenant.lose_state()
    assert tenant.rebuild() is not None
    tenant.lose_state()
    tombstone(tenant)
    refused(tenant, "CPE: 39 of 40 records are in Kafka")
    with tenant.process() as process:
        process.pipeline.rebaseline()
    tenant.emit, tenant.topic_on = True, False
    tenant.poll(lines={CPE: lines}, dies_at=2)
    tenant.lose_state()
    refused(tenant, "the baseline of epoch 2 was not published to its end")
    with tenant.process() as process:
        process.pipeline.rebaseline()
    tenant.poll(lines={CPE: lines})
    tenant.lose_state()
    cut_topic(tenant)
    refused(tenant, "of the 40 changes of epoch 3: retention has deleted the beginning")


def test_the_verb_brings_a_lost_file_back_and_the_next_poll_finds_nothing_new(
    tmp_path: Path, broker: Broker, registry_url: str, topic_prefix: str
) -> None:
    """As a user meets it: a poll without its file stops and names the verb; after it, nothing is published."""
    with Simulator(Fleet(seed=5, devices=8, start=datetime(2026, 1, 1, tzinfo=UTC))) as simulator:
        tables: dict[str, Any] = {
            "source": simulator.settings(),
            "state": {"path": str(tmp_path / "state.duckdb")},
            "kafka": {"topic_prefix": topic_prefix, "inventory_topic": True},
            "kafka.client": {"bootstrap.servers": broker.bootstrap_servers},
            "schema_registry": {"url": registry_url},
        }
        (tmp_path / "connector.toml").write_text(toml(tables), encoding="utf-8")
        assert [command(verb, cwd=tmp_path).returncode for verb in ("setup", "poll")] == [0, 0]
        (tmp_path / "state.duckdb").unlink()
        without = command("poll", cwd=tmp_path)
        assert without.returncode == 1
        assert "mde-inventory state rebuild" in " ".join(without.stderr.split())
        (tmp_path / "state.duckdb").rename(tmp_path / "away")
        rebuilt = command("state", "rebuild", "--yes", cwd=tmp_path)
        again = json.loads(command("poll", "--json", cwd=tmp_path).stdout)
    records = len(simulator.records(CPE))
    assert (rebuilt.returncode, rebuilt.stdout.splitlines()[0]) == (
        0, f"restored from {topic_prefix}.inventory: {records:,} records of CPE",
    )  # fmt: skip
    assert "The inventory and the position are restored from Kafka." in rebuilt.stderr
    assert (again["outcome"], again["records"], again["published"], again["backfilled"]) == ("unchanged", records, 0, 0)


def tombstone(tenant: Tenant) -> None:
    """One key of the inventory topic ends, as if the connector had done it."""
    topic = tenant.topic(Topic.INVENTORY)
    key = consume_all(tenant.bootstrap_servers, topic)[0].key
    producer = Producer({"bootstrap.servers": tenant.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(topic, None, key, headers=[("ce_source", f"/mde-inventory-connector/{TENANT}".encode())])
    assert producer.flush(30) == 0


def cut_topic(tenant: Tenant) -> None:
    """Retention deletes everything but the last message of a partition of the changes topic."""
    topic = tenant.topic(Topic.CHANGES)
    last = max(consume_all(tenant.bootstrap_servers, topic), key=lambda message: message.offset)
    admin = AdminClient({"bootstrap.servers": tenant.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, last.partition, last.offset)]).values():
        future.result(30)
