"""From a token to a message that an independent consumer decodes: real msal, HTTPS, DuckDB, Kafka and registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from connector import config
from connector.assembly import Assembly
from connector.model import Inventory
from connector.operations.setup import set_up
from connector.poll.result import PollResult
from connector.simulator import Fleet, Simulator

pytestmark = pytest.mark.broker

KEY = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
SEEDS = 20
DEVICES = 200

Key = tuple[str, ...]
Record = dict[str, Any]
Changes = dict[tuple[str, Key], tuple[Record, Record | None]]


def key_of(record: Record) -> Key:
    """The record's key; null is empty there."""
    return tuple(record[name] or "" for name in KEY)


def by_key(records: list[Record]) -> dict[Key, Record]:
    """The records as the plain dict that the oracle compares, null key parts as the connector publishes them."""
    return {key_of(record): record | dict(zip(KEY, key_of(record), strict=True)) for record in records}


def plain_diff(before: dict[Key, Record], after: dict[Key, Record]) -> Changes:
    """The slow, obvious oracle: {(change type, key): (record, record before)}."""
    added = {key for key in after if key not in before}
    removed = {key for key in before if key not in after}
    changes: Changes = {
        ("CHANGED", key): (after[key], before[key]) for key in after if key in before and after[key] != before[key]
    }
    for key in list(added):
        gone = [other for other in removed if other[:3] == key[:3]]
        come = [other for other in added if other[:3] == key[:3]]
        if len(gone) == len(come) == 1:
            changes["CHANGED", key] = (after[key], before[gone[0]])
            added.discard(key)
            removed.discard(gone[0])
    changes |= {("ADDED", key): (after[key], None) for key in added}
    return changes | {("REMOVED", key): (before[key], None) for key in removed}


@dataclass
class World:
    """A simulated tenant, a connector that polls it, and a consumer that knows neither."""

    simulator: Simulator
    folder: Path
    settings: dict[str, Any]
    consume: Callable[..., list[Any]]
    decode: AvroDeserializer

    def assembly(self, **source: Any) -> Assembly:
        """A connector as a new process would have it."""
        values = self.settings | {"source": self.simulator.settings() | source}
        return Assembly(config.from_values(values, {}, name="test"))

    def poll(self, **source: Any) -> PollResult:
        """One poll of a new process."""
        with self.assembly(**source) as assembly:
            (result,) = assembly.pipeline.poll()
            return result

    def values(self, topic: str) -> list[dict[str, Any]]:
        """Everything that a read_committed consumer sees on a topic, decoded."""
        name = f"{self.settings['kafka']['topic_prefix']}.{topic}"
        context = SerializationContext(name, MessageField.VALUE)
        return [dict(self.decode(message.value, context)) for message in self.consume(name)]  # type: ignore[call-overload]  # its stubs say object

    def records(self) -> dict[Key, Record]:
        """What the simulator's current generation holds."""
        return by_key(self.simulator.records(Inventory.CPE))


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    broker: Any,
    registry_url: str,
    topic_prefix: str,
    consume: Callable[..., list[Any]],
) -> Iterator[World]:
    """A fleet of 200 devices; the seed is the test's parameter, or 1."""
    seed = getattr(request, "param", 1)
    fleet = Fleet(seed=seed, devices=DEVICES, start=datetime(2026, 1, 1, tzinfo=UTC))
    with Simulator(fleet) as simulator:
        settings = {
            "poll": {"stale_after_hours": 1_000_000},  # the fleet's time is long past
            "state": {"path": str(tmp_path / "state.duckdb")},
            "guard": {"missing_device_snapshots": 1, "max_removed_share": 1},
            "kafka": {"topic_prefix": topic_prefix, "client": {"bootstrap.servers": broker.bootstrap_servers}},
            "schema_registry": {"url": registry_url},
        }
        with SchemaRegistryClient({"url": registry_url}) as registry:
            world = World(simulator, tmp_path, settings, consume, AvroDeserializer(registry))
            with world.assembly() as assembly:
                assert [check.text for check in set_up(assembly) if not check.fine] == []
            yield world


def as_change(change: dict[str, Any]) -> tuple[Record, Record | None]:
    """The record and the earlier one, as the consumer sees them."""
    record = {name: change[name] for name in RECORD_FIELDS}
    return record, change["before"]


RECORD_FIELDS = tuple(
    field["name"]
    for field in json.loads(
        (Path(__file__).parents[2] / "schemas" / "software-record.avsc").read_text(encoding="utf-8")
    )["fields"]
)


@pytest.mark.parametrize("world", range(SEEDS), indirect=True)
def test_what_a_consumer_decodes_is_the_plain_diff_of_two_snapshots(world: World) -> None:
    """After the fleet advances, the changes on the topic are those of a dict diff, with the whole records."""
    before = world.records()
    baseline = world.poll()
    world.simulator.advance()
    result = world.poll()
    expected = plain_diff(before, world.records())
    changes = world.values("changes")
    seen = {(change["changeType"], key_of(change)): as_change(change) for change in changes}
    assert (baseline.outcome, baseline.baseline, baseline.published) == ("published", len(before), 0)
    assert (len(changes), len({change["eventId"] for change in changes})) == (len(expected), len(expected))
    assert seen == expected
    assert sorted(change["sequence"] for change in changes) == list(range(1, len(expected) + 1))
    assert result.published == len(expected) > 0


def test_an_unchanged_generation_publishes_nothing(world: World) -> None:
    """The second and the third poll of a generation find nothing new, and no message is written."""
    first = world.poll()
    reports = world.values("snapshots")
    again = [world.poll(), world.poll()]
    assert [result.outcome for result in (first, *again)] == ["published", "unchanged", "unchanged"]
    assert world.values("snapshots") == reports
    assert world.values("changes") == []
    assert [(report["status"], report["records"]) for report in reports] == [
        ("STARTED", first.counts.records),
        ("COMPLETE", first.counts.records),
    ]


@pytest.mark.parametrize(("first", "second"), [("files", "json"), ("json", "files")])
def test_the_other_flavour_of_a_generation_is_not_a_change(
    world: World, first: Literal["files", "json"], second: Literal["files", "json"]
) -> None:
    """Files and JSON pages of one generation are one snapshot, with one id; of the next, they give the same changes."""
    results = [world.poll(method=first, page_size=3_000), world.poll(method=second, page_size=3_000)]
    before = world.records()
    world.simulator.advance()
    results.append(world.poll(method=second, page_size=3_000))
    expected = plain_diff(before, world.records())
    changes = world.values("changes")
    assert [result.outcome for result in results] == ["published", "unchanged", "published"]
    assert results[0].snapshot_id == results[1].snapshot_id
    assert {(change["changeType"], key_of(change)): as_change(change) for change in changes} == expected


def test_the_seal_counts_what_a_consumer_counted(world: World) -> None:
    """COMPLETE is the last report of its snapshot; its counts are the counts of the messages before it."""
    world.poll()
    for _ in range(3):
        world.simulator.advance()
        world.poll()
    changes, reports = world.values("changes"), world.values("snapshots")
    for seal in [report for report in reports if report["status"] == "COMPLETE"]:
        own = [change for change in changes if change["snapshotId"] == seal["snapshotId"]]
        kinds = [change["changeType"] for change in own]
        assert [kinds.count(kind) for kind in ("ADDED", "REMOVED", "CHANGED")] == [
            seal["added"],
            seal["removed"],
            seal["changed"],
        ]
        sequences = [change["sequence"] for change in own]
        assert (seal["firstSequence"], seal["lastSequence"]) == (
            min(sequences, default=None),
            max(sequences, default=None),
        )
    assert [report["status"] for report in reports] == ["STARTED", "COMPLETE"] * 4


def test_a_baseline_that_is_published_folds_to_the_inventory(world: World) -> None:
    """With `diff.baseline = "emit"`, applying the changes in order gives the simulator's fleet."""
    world.settings["diff"] = {"baseline": "emit"}
    world.poll()
    for _ in range(4):
        world.simulator.advance()
        world.poll()
    folded: dict[Key, Record] = {}
    for change in sorted(world.values("changes"), key=lambda change: change["sequence"]):
        record, before = as_change(change)
        if before is not None:
            folded.pop(key_of(before))
        if change["changeType"] == "REMOVED":
            folded.pop(key_of(record))
        else:
            folded[key_of(record)] = record
    assert folded == world.records()
