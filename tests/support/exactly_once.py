"""A tenant whose connector is killed again and again, and what a consumer must have seen of it in the end.

The fleet is served here, over HTTPS; each poll is its own process (tests/support/killing.py) with a real state
file, a real broker and a real registry. What it published is read by a consumer that shares nothing with it, and held
against a plain dict diff of the simulator's successive records (tests/support/judging.py).
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from connector import config
from connector.assembly import Assembly
from connector.kafka.sink import TRANSACTION_SECONDS_MAX
from connector.model import Inventory
from connector.operations.setup import set_up
from connector.simulator import Fleet, Simulator
from connector.simulator.fleet.fleet import Device
from tests.conftest import consume_all
from tests.support import avro
from tests.support.broker import Broker
from tests.support.json_values import read_either
from tests.support.judging import CAMPAIGN_DEVICES, Message, Staged, Verdict, by_key, expected, judge, plain_diff
from tests.support.killing import Child, Ended
from tests.support.watching import DELAYED, POINTS, Order

BATCH: Final = 10
BASELINE_BATCH: Final = 500
JUDGED: Final = ("changes", "alerts", "snapshots")
"""Topics that a verdict is about, and those of the inventory and the campaigns where they are kept."""

SCHEMAS: Final = {
    "changes": avro.load("software-change"),
    "alerts": avro.load("end-of-support-alert"),
    "snapshots": avro.load("snapshot-report"),
    "checkpoints": avro.load("checkpoint"),
    "inventory": avro.load("software-record"),
    "campaigns": avro.load("software-campaign"),
}

MOVING_SHARE: Final = 0.3
"""How often the fleet moves on between two kills."""

CLOCKS: Final = (0, 0, -3600, 3600, -86_400, 86_400, -30 * 86_400, 100 * 86_400)
"""Seconds that the clock of a process may be off; the last is beyond the journal's retention."""

HOLD_ALL: Final = {"missing_device_snapshots": 1, "max_removed_share": 0, "min_removed": 0}
"""Settings with which the guard holds every removal."""

ANY_MOMENT: Final = "any moment"
"""Where a kill is counted that came after a time, and not at a point."""


class OneGroup(Fleet):
    """A fleet in one device group: of so few devices one would often be a group, whose absence is held."""

    def device(self, number: int, generation: int) -> Device | None:
        """As `Fleet.device`; the group's name still changes."""
        device = super().device(number, generation)
        return device and replace(device, group_id=3)


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
    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    polls: int = 0
    _staged: list[Staged] = field(default_factory=list)

    @classmethod
    @contextmanager
    def begun(
        cls,
        folder: Path,
        *,
        bootstrap_servers: str,
        registry_url: str | None,
        prefix: str,
        seed: int,
        devices: int = 5,
        churn: float = 20.0,
        **tables: dict[str, Any],
    ) -> Iterator[Run]:
        """A tenant with topics and schemas, and no snapshot yet; `tables` add to the configuration.

        Without a registry its values are JSON.
        """
        fleet = OneGroup(seed=seed, devices=devices, start=datetime(2026, 1, 1, tzinfo=UTC), churn=churn)
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            # The fleet's time is long past: its export would be stale at every poll.
            "poll": {"stale_after_hours": 1_000_000},
            "state": {"path": str(folder / "state.duckdb"), "threads": 1, "memory_limit_mib": 512},
            "diff": {"baseline": "emit"},
            "guard": {"missing_device_snapshots": 1, "max_removed_share": 1, "max_added_share": 1_000_000},
            # What the calendar raises depends on the day of the test.
            "alerts": {"date_thresholds_days": []},
            "campaigns": {"enabled": True, "min_devices": CAMPAIGN_DEVICES},
            "kafka": {
                "topic_prefix": prefix,
                "batch_changes_max": BATCH,
                "inventory_topic": True,
                "client": {},
            },
            "schema_registry": {"url": registry_url},
        }
        if registry_url is None:
            del settings["schema_registry"]
            settings["kafka"]["value_format"] = "json"
        for name, table in tables.items():
            settings[name] = settings.get(name, {}) | table
        settings["kafka"]["client"] = {"bootstrap.servers": bootstrap_servers} | settings["kafka"]["client"]
        with Simulator(fleet, records_of_part_max=300) as simulator:
            run = cls(simulator, settings | {"source": simulator.settings()})
            with run.assembly() as assembly:
                assert [check.text for check in set_up(assembly) if not check.fine] == []
            yield run

    # ---- polling

    def assembly(self, *, kafka_seconds_max: float = TRANSACTION_SECONDS_MAX) -> Assembly:
        """A connector in this process."""
        checked = config.from_values(self.tables(), {}, name="test")
        return Assembly(checked, prompt=print, kafka_seconds_max=kafka_seconds_max)

    def tables(self, **tables: dict[str, Any]) -> dict[str, Any]:
        """The configuration, with `tables` over it."""
        return self.settings | {name: self.settings.get(name, {}) | table for name, table in tables.items()}

    @property
    def registry_url(self) -> str:
        """The schema registry's address."""
        return str(self.settings["schema_registry"]["url"])

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

    @property
    def snapshot_id(self) -> str:
        """Of the generation that is served."""
        return f"cpe-{self.simulator.generated_at:%Y%m%dT%H%M%SZ}"

    def note_snapshot(self) -> None:
        """The generation that is served is staged by now: it belongs to what is expected.

        Where every removal is held (`HOLD_ALL`), the records that it lacks stay until they are approved.
        """
        snapshot_id = self.snapshot_id
        if self._staged and self._staged[-1].snapshot_id == snapshot_id:
            return
        served, held = by_key(self.simulator.records(Inventory.CPE)), {}
        if self._staged and not self.settings["guard"]["max_removed_share"]:
            before = self._staged[-1].records
            held = {key: before[key] for kind, key in plain_diff(before, served) if kind == "REMOVED"}
        self._staged.append(Staged(snapshot_id, served | held, held=bool(held)))

    @property
    def holds(self) -> bool:
        """Whether the last generation has removals that are to be approved."""
        return self._staged[-1].held

    def note_approval(self) -> None:
        """What the last generation held is approved: a snapshot of its own."""
        snapshot_id = f"{self.snapshot_id}-approved-{len(self._staged) + 1}"
        self._staged.append(Staged(snapshot_id, by_key(self.simulator.records(Inventory.CPE))))

    def held_devices(self) -> list[str]:
        """The devices that have records which the last generation lacks."""
        served = by_key(self.simulator.records(Inventory.CPE))
        return sorted({key[0] for key in self._staged[-1].records.keys() - served.keys()})

    def note_approval_of(self, device: str) -> None:
        """What the last generation held of one device is approved: a snapshot of its own, and the rest stays held."""
        served = by_key(self.simulator.records(Inventory.CPE))
        kept = {key: record for key, record in self._staged[-1].records.items() if key in served or key[0] != device}
        self._staged.append(Staged(f"{self.snapshot_id}-approved-{len(self._staged) + 1}", kept))

    def baseline(self) -> None:
        """The first snapshot, in larger batches; it is whole, however much the next one adds."""
        ended = self.poll(tables={"kafka": {"batch_changes_max": BASELINE_BATCH}})
        assert ended.code == 0, ended
        with closing(duckdb.connect(str(self.state_path))) as database:
            database.execute("DELETE FROM meta WHERE starts_with(name, 'young baseline ')")
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
        """A number of processes, each with a point to die at, or a moment; then one may finish.

        They begin with the next generation, or the first. Now and then the fleet moves on between two of them.
        """
        if self._staged:
            self.simulator.advance()
        for _ in range(number):
            clock = {"clock_seconds": draw.choice(CLOCKS)}
            if draw.random() < 1 / len(points):
                self.poll_until(draw.uniform(0, 2), **clock, **order)
            else:
                point = draw.choice(points)
                reaching = {"within a batch": BATCH, "staging": 40, "part fetched": 3, "batch confirmed": 6}
                delay = draw.uniform(0, DELAYED.get(point, 0.0))
                kill = (point, draw.randint(1, reaching.get(point, 1)))
                self.poll(kill, delay_seconds=delay, **clock, **order)
            if draw.random() < MOVING_SHARE:
                if self.is_staged():
                    self.note_snapshot()
                self.simulator.advance()
        self.finish(**order)

    def poll_until(self, seconds: float, **order: Any) -> None:
        """One process, killed after so long, wherever it is."""
        child = self.started(**order)
        time.sleep(seconds)
        child.kill()
        ended = child.ended()
        self.kills[ANY_MOMENT] += ended.killed
        self.missed += not ended.killed

    def is_staged(self) -> bool:
        """Whether the state file has the generation that is served. No process has it open."""
        if not self.state_path.exists():
            return False
        with closing(duckdb.connect(str(self.state_path), read_only=True)) as database:
            rows = database.execute(
                "SELECT count(*) FROM snapshots WHERE snapshot_id = $1", [self.snapshot_id]
            ).fetchall()
        return bool(rows[0][0])

    def copy_state(self, folder: Path) -> Path:
        """A copy of the state file, and of what lies beside it."""
        folder.mkdir(parents=True)
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
            if path.is_file():
                shutil.copy2(path, self.state_path.parent / path.name)

    # ---- judging

    def values(self, topic: str) -> list[dict[str, Any]]:
        """The values of everything that a read_committed consumer sees, in order per partition."""
        return [message.value for message in self.messages(topic) if message.value is not None]

    def messages(self, topic: str) -> list[Message]:
        """Key and value of everything that a read_committed consumer sees, in order per partition.

        Decoded from the specifications, with the schema's file: a registry's client would wait forever for an answer
        that does not come.
        """
        kafka = self.settings["kafka"]
        messages = consume_all(kafka["client"]["bootstrap.servers"], f"{kafka['topic_prefix']}.{topic}")
        return [
            Message(
                None if message.key is None else message.key.decode(),
                None if message.value is None else read_either(message.value, SCHEMAS[topic]),
            )
            for message in messages
        ]

    def verdict(self, *, repeats: bool = False) -> Verdict:
        """What a consumer saw over the whole run. With `repeats`, the same message again is no duplicate."""
        judged = JUDGED + (("inventory",) if self.settings["kafka"].get("inventory_topic") else ())
        judged += ("campaigns",) if self.settings["campaigns"]["enabled"] else ()
        return judge(self._staged, {topic: self.messages(topic) for topic in judged}, repeats=repeats)

    @property
    def expected_events(self) -> int:
        """How many changes there should be."""
        return len(expected(self._staged))

    def last_sequence(self, snapshot: int) -> int:
        """The sequence at the end of a snapshot, counted as in a list."""
        last = self._staged[snapshot].snapshot_id
        return max(number for number, (name, *_) in enumerate(expected(self._staged), start=1) if name == last)


@contextmanager
def beginning(folder: Path, prefix: str) -> Iterator[Callable[..., Run]]:
    """`begin(broker, registry_url, …)`: a tenant with its baseline published, which ends with the block."""
    with ExitStack() as stack:

        def begin(broker: Broker, registry_url: str | None, **options: Any) -> Run:
            run = stack.enter_context(
                Run.begun(
                    folder / "state",
                    bootstrap_servers=broker.bootstrap_servers,
                    registry_url=registry_url,
                    prefix=prefix,
                    **options,
                )
            )
            run.baseline()
            return run

        yield begin
