"""A tenant whose connector is killed again and again, and what a consumer must have seen of it in the end.

The fleet is served here, over HTTPS; each poll is a process of its own (tests/killing.py) with a real state file, a
real broker and a real registry. What it published is read by a consumer that shares nothing with it, and compared with
a plain dict diff of the simulator's successive records.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from connector import checks, config
from connector.assembly import Assembly
from connector.model import Inventory
from connector.simulator import Fleet, Simulator
from tests import alert_oracle
from tests.conftest import consume_all
from tests.killing import DELAYED, POINTS, Child, Ended, Order

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[1]
KEY: Final = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
BATCH: Final = 10
BASELINE_BATCH: Final = 500

Key = tuple[str, ...]
Record = dict[str, Any]
Changes = dict[tuple[str, Key], tuple[Record, Record | None]]


def key_of(record: Mapping[str, Any]) -> Key:
    """The record's key; null is empty there."""
    return tuple(record[name] or "" for name in KEY)


def by_key(records: Iterable[Record]) -> dict[Key, Record]:
    """A snapshot as a plain dict, null key parts as the connector publishes them."""
    return {key_of(record): record | dict(zip(KEY, key_of(record), strict=True)) for record in records}


def plain_diff(before: dict[Key, Record] | None, after: dict[Key, Record]) -> Changes:
    """The slow, obvious oracle: {(change type, key): (record, record before)}; None before is the baseline."""
    if before is None:
        return {("BASELINE", key): (record, None) for key, record in after.items()}
    come, gone = after.keys() - before.keys(), before.keys() - after.keys()
    found: Changes = {
        ("CHANGED", key): (after[key], before[key]) for key in after.keys() & before.keys() if after[key] != before[key]
    }
    products: dict[Key, tuple[list[Key], list[Key]]] = defaultdict(lambda: ([], []))
    for side, keys in enumerate((come, gone)):
        for key in keys:
            products[key[:3]][side].append(key)
    for new, old in products.values():
        if len(new) == len(old) == 1:
            found["CHANGED", new[0]] = (after[new[0]], before[old[0]])
        else:
            found |= {("ADDED", key): (after[key], None) for key in new}
            found |= {("REMOVED", key): (before[key], None) for key in old}
    return found


def fold(changes: Iterable[Mapping[str, Any]]) -> dict[Key, Record]:
    """The inventory that follows from changes in their order, by whoever applies them strictly."""
    found: dict[Key, Record] = {}
    for change in changes:
        record = {name: change[name] for name in RECORD_FIELDS}
        if change["before"] is not None:
            found.pop(key_of(change["before"]))
        if change["changeType"] == "REMOVED":
            found.pop(key_of(record))
        else:
            found[key_of(record)] = record
    return found


RECORD_FIELDS: Final = tuple(
    item["name"]
    for item in json.loads((ROOT / "schemas" / "software-record.avsc").read_text(encoding="utf-8"))["fields"]
)


@dataclass(frozen=True)
class Verdict:
    """What the consumer saw, held against the oracle.

    Attributes:
        events: changes expected.
        lost: those never seen.
        duplicated: messages beyond the first of a change, and changes that nobody expected.
        wrong: everything else that is not as it must be, in words.
    """

    events: int
    lost: int
    duplicated: int
    wrong: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong."""
        return not (self.lost or self.duplicated or self.wrong)


@dataclass
class Run:
    """One tenant from its first snapshot on. Enter `Run.begun` to have one.

    Attributes:
        kills: that happened, by point.
        missed: kills that came too late or whose point was not reached.
        polls: that finished.
    """

    simulator: Simulator
    settings: dict[str, Any]
    registry_url: str
    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    polls: int = 0
    _staged: list[tuple[str, dict[Key, Record]]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def begun(
        cls,
        folder: Path,
        *,
        bootstrap_servers: str,
        registry_url: str,
        prefix: str,
        seed: int,
        devices: int = 5,
        churn: float = 20.0,
        **tables: dict[str, Any],
    ) -> Iterator[Run]:
        """A tenant with topics and schemas, and no snapshot yet; `tables` add to the configuration."""
        fleet = Fleet(seed=seed, devices=devices, start=datetime(2026, 1, 1, tzinfo=UTC), churn=churn)
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            # The fleet's time is long past: its export would be stale at every poll.
            "poll": {"stale_after_hours": 1_000_000},
            "state": {"path": str(folder / "state.duckdb"), "threads": 1, "memory_limit_mib": 512},
            "diff": {"baseline": "emit"},
            "guard": {"missing_device_snapshots": 1, "max_removed_share": 1},
            # What the calendar raises depends on the day of the test.
            "alerts": {"date_thresholds_days": []},
            "kafka": {
                "topic_prefix": prefix,
                "batch_changes_max": BATCH,
                "client": {"bootstrap.servers": bootstrap_servers},
            },
            "schema_registry": {"url": registry_url},
        }
        for name, table in tables.items():
            settings[name] = settings.get(name, {}) | table
        with Simulator(fleet, records_of_part_max=300) as simulator:
            run = cls(simulator, settings | {"source": simulator.settings()}, registry_url)
            with run.assembly() as assembly:
                assert [check.text for check in checks.set_up(assembly) if not check.fine] == []
            yield run

    # ---- polling

    def assembly(self, **tables: dict[str, Any]) -> Assembly:
        """A connector in this process."""
        return Assembly(config.from_values(self.tables(**tables), {}, name="test"), prompt=print)

    def tables(self, **tables: dict[str, Any]) -> dict[str, Any]:
        """The configuration, with `tables` over it."""
        return self.settings | {name: self.settings.get(name, {}) | table for name, table in tables.items()}

    @property
    def state_path(self) -> Path:
        """The state file."""
        return Path(self.settings["state"]["path"])

    def started(self, *, tables: dict[str, Any] | None = None, **order: Any) -> Child:
        """A process that carries out an order. The simulator keeps no rate limits: none of theirs are remembered."""
        Path(f"{self.state_path}.limits.json").unlink(missing_ok=True)
        return Child(Order(self.tables(**(tables or {})), **order))

    def poll(self, kill: tuple[str, int] | None = None, **order: Any) -> Ended:
        """One process, one poll, which ends at the point of `kill` where it reaches it."""
        ended = self.started(kill=kill, **order).ended()
        if ended.killed and kill:
            self.kills[kill[0]] += 1
        else:
            self.missed += kill is not None
            self.polls += 1
        assert ended.killed or ended.code in {0, 1, 4}, ended
        return ended

    def finish(self, **order: Any) -> Ended:
        """A poll that nobody kills, of the generation that is served."""
        ended = self.poll(**order)
        assert ended.code == 0, ended
        self.note_snapshot()
        return ended

    def note_snapshot(self) -> None:
        """The generation that is served is staged by now: it belongs to what is expected."""
        snapshot_id = f"cpe-{self.simulator.generated_at:%Y%m%dT%H%M%SZ}"
        if not self._staged or self._staged[-1][0] != snapshot_id:
            self._staged.append((snapshot_id, by_key(self.simulator.records(Inventory.CPE))))

    def baseline(self) -> None:
        """The first snapshot, in larger batches."""
        ended = self.poll(tables={"kafka": {"batch_changes_max": BASELINE_BATCH}})
        assert ended.code == 0, ended
        self.note_snapshot()

    def advance(self) -> None:
        """The fleet moves on, and the next poll is certain to stage it."""
        self.simulator.advance()
        self.note_snapshot()

    def kill_at_every_point(self) -> None:
        """A process killed at each point in turn, the next one going on where it left off."""
        self.advance()
        for point in POINTS:
            if POINTS.index("staging committed") <= POINTS.index(point) <= POINTS.index("discarded"):
                # What was staged at the last point is published now, and there is something new to stage.
                self.advance()
            if point == "seal confirmed":
                self.advance()
            self.poll((point, 1), delay_seconds=0.0005)
            if point == "committing what is staged":
                # It may have come to the commit, or not.
                self.finish()
        self.finish()

    def kill_at_random(self, draw: random.Random, number: int, points: Sequence[str] = POINTS, **order: Any) -> None:
        """So many processes, each with a point to die at, for one generation of the fleet; then one may finish.

        The generation is the next one, or the first.
        """
        if self._staged:
            self.simulator.advance()
        for _ in range(number):
            point = draw.choice(points)
            reaching = {"within a batch": BATCH, "staging": 40, "part fetched": 3, "batch confirmed": 6}.get(point, 1)
            delay = draw.uniform(0, DELAYED.get(point, 0.0))
            self.poll((point, draw.randint(1, reaching)), delay_seconds=delay, **order)
        self.finish(**order)

    def copy_state(self, folder: Path) -> Path:
        """A copy of the state file, and of what lies beside it."""
        folder.mkdir()
        for path in self.state_path.parent.glob(f"{self.state_path.name}*"):
            if path.is_file():
                shutil.copy2(path, folder / path.name)
        return folder / self.state_path.name

    def delete_state(self) -> None:
        """The state file is gone, and what lies beside it."""
        for path in self.state_path.parent.glob(f"{self.state_path.name}*"):
            if path.is_file():
                path.unlink()

    def restore_state(self, copy: Path) -> None:
        """The copy takes the place of the state file."""
        self.delete_state()
        for path in copy.parent.iterdir():
            shutil.copy2(path, self.state_path.parent / path.name)

    # ---- judging

    def values(self, topic: str) -> list[tuple[int, dict[str, Any]]]:
        """Partition and value of everything that a read_committed consumer sees, in order within a partition."""
        kafka = self.settings["kafka"]
        name = f"{kafka['topic_prefix']}.{topic}"
        context = SerializationContext(name, MessageField.VALUE)
        found = consume_all(kafka["client"]["bootstrap.servers"], name)
        with SchemaRegistryClient({"url": self.registry_url}) as registry:
            decode: Any = AvroDeserializer(registry)
            return [(message.partition, dict(decode(message.value, context))) for message in found]

    def verdict(self, *, repeats: bool = False) -> Verdict:
        """What a consumer saw over the whole run. With `repeats`, the same message again is no duplicate."""
        expected = self._expected()
        messages = [value for _, value in self.values("changes")]
        first = list({message["eventId"]: message for message in reversed(messages)}.values())[::-1]
        wrong = [] if repeats else _twice(messages)
        if repeats:
            known = {message["eventId"]: message for message in first}
            wrong += [f"{m['eventId']} came back otherwise" for m in messages if known[m["eventId"]] != m]
            messages = [message for message in messages if known.pop(message["eventId"], None)]
        seen = Counter((m["snapshotId"], m["changeType"], key_of(m)) for m in messages)
        lost = sum(place not in seen for place in expected)
        duplicated = sum(number - (place in expected) for place, number in seen.items())
        if not (lost or duplicated):
            wrong += self._wrong(expected, messages) + self._wrong_reports(expected, repeats=repeats)
            alerts = [value for _, value in self.values("alerts")]
            wrong += alert_oracle.wrong(messages, alerts, repeats=repeats)
        return Verdict(len(expected), lost, duplicated, tuple(wrong))

    @property
    def expected_events(self) -> int:
        """How many changes there should be."""
        return len(self._expected())

    def last_sequence(self, snapshot: int) -> int:
        """The sequence at the end of a snapshot, counted as in a list."""
        last = self._staged[snapshot][0]
        found = list(self._expected())
        return max(number for number, (snapshot_id, *_) in enumerate(found, start=1) if snapshot_id == last)

    def _expected(self) -> dict[tuple[str, str, Key], tuple[Record, Record | None]]:
        found: dict[tuple[str, str, Key], tuple[Record, Record | None]] = {}
        before: dict[Key, Record] | None = None
        for snapshot_id, records in self._staged:
            found |= {(snapshot_id, *place): change for place, change in plain_diff(before, records).items()}
            before = records
        return found

    def _wrong(self, expected: Mapping[Any, Any], messages: Sequence[dict[str, Any]]) -> list[str]:
        """Contents, numbers and order of changes that are all there."""
        wrong = [
            f"{message['eventId']} says something else"
            for message in messages
            if expected[message["snapshotId"], message["changeType"], key_of(message)]
            != ({name: message[name] for name in RECORD_FIELDS}, message["before"])
        ]
        numbered = sorted(messages, key=lambda message: message["sequence"])
        if [message["sequence"] for message in numbered] != list(range(1, len(expected) + 1)):
            wrong.append("the sequence has gaps")
        of_device: dict[str, int] = {}
        for message in messages:
            if message["sequence"] <= of_device.get(message["deviceId"], 0):
                wrong.append(f"{message['deviceId']} is out of order")
            of_device[message["deviceId"]] = message["sequence"]
        if fold(numbered) != self._staged[-1][1]:
            wrong.append("the fold is not the inventory")
        return wrong

    def _wrong_reports(self, expected: Iterable[tuple[str, str, Key]], *, repeats: bool) -> list[str]:
        """STARTED first and COMPLETE last of each snapshot, with the counts of its changes."""
        reports = [value for _, value in self.values("snapshots")]
        marks = [(report["snapshotId"], report["status"]) for report in reports]
        due = [(snapshot_id, status) for snapshot_id, _ in self._staged for status in ("STARTED", "COMPLETE")]
        wrong = []
        if (list(dict.fromkeys(marks)) if repeats else marks) != due:
            wrong.append(f"reports {marks}")
        counted = Counter((snapshot_id, kind) for snapshot_id, kind, _ in expected)
        for report in reports:
            counts = [report[name] for name in ("baseline", "added", "removed", "changed")]
            if counts != [counted[report["snapshotId"], kind] for kind in ("BASELINE", "ADDED", "REMOVED", "CHANGED")]:
                wrong.append(f"counts of {report['snapshotId']}")
        return wrong


def _twice(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{event} seen {n} times" for event, n in Counter(m["eventId"] for m in messages).items() if n > 1]
