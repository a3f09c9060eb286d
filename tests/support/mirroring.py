"""A tenant of two made-up estates whose state file is published to a real broker, and three views of its inventory.

The state file's own; the fold of the changes topic; the last value of every key of the inventory topic. Topics are read
by a consumer that shares nothing with the connector, and decoded from the Avro specification. Nothing is fetched: the
snapshots are written to disk and staged. A process is played by an `Assembly`; it dies by an exception that nothing in
the connector catches, at a point of the publishing, and leaves Kafka and the state file as they are then.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from connector import config
from connector.assembly import Assembly
from connector.kafka.sink import Sink
from connector.model import Inventory, Snapshot, StagedSnapshot, Topic
from connector.poll.backfill import Backfill
from connector.poll.rebuild import Rebuilt
from connector.staging import audit
from connector.staging.stage import stage_snapshot
from connector.state.state import StateFile
from tests.conftest import consume_all
from tests.support.avro import load, read_value
from tests.support.bench import START
from tests.support.estate import Estate, write_snapshot
from tests.support.oracle import ATTRIBUTE_NAMES, KEY_NAMES
from tests.support.stored import stored_records

Record = dict[str, Any]
Key = tuple[str, ...]

TENANT: Final = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"
BATCH: Final = 12
SCHEMAS: Final = {
    Topic.CHANGES: "software-change",
    Topic.ALERTS: "end-of-support-alert",
    Topic.SNAPSHOTS: "snapshot-report",
}
NAMES: Final = (*KEY_NAMES, *ATTRIBUTE_NAMES)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Death:
    """When a process dies: at its n-th batch, before Kafka has it or after."""

    at_batch: int = 0
    after: bool = False
    batches: int = 0


class MortalSink:
    """A sink whose process dies."""

    def __init__(self, inner: Sink, death: Death) -> None:
        self._inner = inner
        self._death = death

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, messages: Any, checkpoint: Any) -> None:
        """As `Sink.publish`."""
        self._death.batches += 1
        dies = self._death.batches == self._death.at_batch
        if dies and not self._death.after:
            raise Killed
        self._inner.publish(messages, checkpoint)
        if dies:
            raise Killed


class Process(Assembly):
    """A connector's process."""

    death: Death

    @cached_property
    def sink(self) -> Sink:
        """Mortal."""
        return cast("Sink", MortalSink(super().sink, self.death))


@dataclass
class Tenant:
    """One tenant on a broker, from its first snapshot on."""

    folder: Path
    bootstrap_servers: str
    prefix: str
    random: random.Random
    inventories: Sequence[Inventory] = tuple(Inventory)
    topic_on: bool = True
    emit: bool = True
    client: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    number: int = 0
    now: datetime = START

    def __post_init__(self) -> None:
        self.estates = {inventory: Estate(self.random) for inventory in self.inventories}

    def lose_state(self) -> None:
        """The state file is gone, and what lies beside it."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()

    @property
    def path(self) -> Path:
        """The state file."""
        return self.folder / "state" / "state.duckdb"

    @contextmanager
    def process(self, *, dies_at: int = 0, after: bool = False) -> Iterator[Process]:
        """A process; where it is to die, at the n-th batch that it publishes, the block ends there."""
        values = {
            "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "s"},
            "state": {"path": str(self.path), "memory_limit_mib": 256, "threads": 2},
            "diff": {"baseline": "emit" if self.emit else "silent"},
            "guard": {"min_removed": 6, "max_removed_share": 0.5},
            "kafka": {
                "topic_prefix": self.prefix,
                "inventory_topic": self.topic_on,
                "batch_changes_max": BATCH,
                "client": {"bootstrap.servers": self.bootstrap_servers} | self.client,
            },
            "schema_registry": {"url": f"mock://{self.prefix}", "auto_register": True},
        }
        for name, table in self.tables.items():
            values[name] = cast("dict[str, Any]", values[name]) | table
        with Process(config.from_values(values, {}, name="test"), clock=lambda: self.now) as process:
            process.death = Death(dies_at, after)
            try:
                yield process
            except Killed:
                assert dies_at

    def topic(self, topic: Topic) -> str:
        """Its full name."""
        return topic.name_under(self.prefix)

    # ---- polling

    def snapshot(self, inventory: Inventory, lines: Sequence[Record]) -> Snapshot:
        """The next snapshot, on disk."""
        self.number += 1
        return write_snapshot(self.folder / "parts", self.number, lines, self.random, inventory=inventory)

    def stage(self, process: Process, state: StateFile, snapshot: Snapshot) -> StagedSnapshot:
        """Stage a snapshot, under another id where one has its own already, as the source names it."""
        if state.journal.is_taken(snapshot.snapshot_id):
            snapshot = replace(snapshot, snapshot_id=f"{snapshot.snapshot_id}-{snapshot.content_digest[-8:]}")
        return stage_snapshot(
            state, snapshot, process.rules, started_at=self.now, now=max(self.now, snapshot.generated_at)
        )

    def poll(
        self, *, lines: Mapping[Inventory, Sequence[Record]] | None = None, dies_at: int = 0, after: bool = False
    ) -> int:
        """Recover, drain, and for each inventory stage and publish; then fill up. Returns the records of that."""
        with self.process(dies_at=dies_at, after=after) as process, process.open_state() as state:
            process.publisher.recover(state)
            process.publisher.drain(state)
            for inventory in self.inventories:
                shown = lines.get(inventory, ()) if lines else self.estates[inventory].lines()
                if shown:
                    self.stage(process, state, self.snapshot(inventory, shown))
                    process.publisher.drain(state)
            return process.backfill.run(state) if process.backfill else 0
        return 0

    def fill_up(self, *, dies_at: int = 0, after: bool = False, seconds_max: float = 900) -> int:
        """A poll that finds nothing new: only the inventory topic is filled up."""
        with self.process(dies_at=dies_at, after=after) as process, process.open_state() as state:
            process.publisher.recover(state)
            process.publisher.drain(state)
            return backfill_of(process, seconds_max).run(state)
        return 0

    def rebuild(self, *, dies_at: int = 0, after: bool = False) -> Rebuilt | None:
        """What `state rebuild` does; None where the process dies."""
        with self.process(dies_at=dies_at, after=after) as process:
            return process.rebuild.run()
        return None

    def evolve(self) -> None:
        """Something happens in every estate."""
        for estate in self.estates.values():
            estate.evolve()
            estate.leave_or_return()
            if self.random.random() < 0.1:
                estate.lose_group()
            if self.random.random() < 0.1:
                estate.lose_many()

    # ---- the three views

    def values(self, topic: Topic) -> list[Record]:
        """Everything that a read_committed consumer sees, decoded."""
        schema = load(SCHEMAS[topic])
        messages = consume_all(self.bootstrap_servers, self.topic(topic))
        return [read_value(message.value or b"", schema)[1] for message in messages]

    def fold(self) -> dict[str, dict[Key, Record]]:
        """The changes of the newest epoch, applied in their order."""
        changes = self.values(Topic.CHANGES)
        epoch = max((change["epoch"] for change in changes), default=0)
        folded: dict[str, dict[Key, Record]] = defaultdict(dict)
        for change in sorted(changes, key=lambda change: change["sequence"]):
            if change["epoch"] != epoch:
                continue
            records = folded[change["inventory"]]
            if change["before"] is not None:
                records.pop(key_of(change["before"]))
            if change["changeType"] == "REMOVED":
                records.pop(key_of(change))
            else:
                records[key_of(change)] = {name: change[name] for name in NAMES}
        return dict(folded)

    def compacted(self) -> dict[str, dict[Key, Record]]:
        """The inventory topic: the last value of each key, and no tombstones."""
        last: dict[bytes, bytes | None] = {}
        for message in consume_all(self.bootstrap_servers, self.topic(Topic.INVENTORY)):
            last[message.key or b""] = message.value
        records: dict[str, dict[Key, Record]] = defaultdict(dict)
        for key, value in last.items():
            if value is not None:
                record = read_value(value, load("software-record"))[1]
                records[json.loads(key)[0]][key_of(record)] = record
        assert sum(map(len, records.values())) == sum(value is not None for value in last.values())
        return dict(records)

    def stored(self) -> dict[str, dict[Key, Record]]:
        """The state file, which adds up."""
        with self.process() as process, process.open_state() as state:
            assert audit.verify(state) == []
            stored = {str(inventory): stored_records(state, inventory) for inventory in Inventory}
        return {name: {key_of(record): record for record in records} for name, records in stored.items() if records}


def backfill_of(process: Assembly, seconds_max: float) -> Backfill:
    """The process's backfill, with less time."""
    backfill = process.backfill
    assert backfill is not None
    backfill._seconds_max = seconds_max
    return backfill


def key_of(record: Record) -> Key:
    """The key of a record as it is published."""
    return tuple(record[name] or "" for name in KEY_NAMES)
