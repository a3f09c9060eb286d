"""A scripted year of a fleet, a poll a day: every alert that a consumer saw, beside a list of the snapshots alone.

`python -m tests.support.year [DEVICES] [DAYS] [SEED]` (500, 365, 1) runs against a real broker and prints a table;
the exit code is 0 where nothing differs. Time is simulated: the connector's clock is the script's. Some days bring no
new generation, some a snapshot that lacks two fifths of its records (held; then approved, discarded, or the records
come back), some a new process, some a process that is stopped between two batches, some no Kafka.

Some bring a fault of the export that nothing in the fleet explains (`FAULTS`), which must be held; others what happens
to a whole fleet at once, which must not: a batch of CVEs on half of it, a new version on most devices. Once the fleet
grows by an acquisition, which is held for a generation.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from connector import config
from connector.assembly import Assembly
from connector.errors import Stopped
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Inventory, Message, Method, Part, Snapshot, Topic
from connector.simulator import Fleet, normal_records
from connector.source.source import Source
from connector.staging import derived
from tests.conftest import consume_all
from tests.support import avro
from tests.support.alert_oracle import AlertModel, open_incidents
from tests.support.broker import session_broker, session_registry
from tests.support.oracle import KEY_NAMES, Key, Model, Outcome, Record, Rules, Staged, event_id, generation_of, key_of

START: Final = datetime(2026, 1, 1, 6, tzinfo=UTC)
TENANT: Final = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"
DAYS_MAX: Final = 365
BATCH: Final = 150
OLD_SHARE, LOSS_SHARE = 0.1, 0.03
"""Of the days: those without a new generation, and those whose snapshot lacks many records."""
FAULT_DAYS, FIRST_FAULT_DAY = 13, 30
"""A fault of the export comes once in that number of days, from a day on."""
CVE_DAYS, ROLLOUT_DAYS, ACQUISITION_DAY = 21, 35, 150
"""How often something happens to the whole fleet, and when it grows by more than half."""
FAULTS: Final[dict[str, Callable[[Record], dict[str, Any]]]] = {
    "without end of support": lambda _: {"endOfSupportStatus": None, "endOfSupportDate": None},
    "without versions": lambda _: {"softwareVersion": ""},
    "devices in another case": lambda record: {"deviceId": record["deviceId"].upper()},
    "another platform everywhere": lambda _: {"osPlatform": "Windows"},
}
"""Faults of an export: what each makes of a record."""

RESTART_SHARE, STOP_SHARE, AWAY_SHARE = 0.2, 0.06, 0.02
RULES: Final = Rules(missing_device_snapshots=1)
NOWHERE: Final = "127.0.0.1:1"


def altered(record: Record, day: int) -> Record:
    """The record with what Defender also does: dates without a status, dates that move, statuses nobody knows."""
    draw = zlib.crc32(f"{record['softwareVendor']}/{record['softwareName']}".encode()) % 40
    more: dict[str, Any] = {}
    if draw in {0, 1, 2, 3}:
        more = {"endOfSupportStatus": "None", "endOfSupportDate": _date(20 + 90 * draw)}
    elif draw in {4, 5}:
        more = {"endOfSupportStatus": None, "endOfSupportDate": _date(600 if day < 25 * draw else 25 * draw + 40)}
    elif draw == 6:
        more = {"endOfSupportStatus": "EOS Extended", "endOfSupportDate": None}
    if draw % 2:
        more["numberOfWeaknesses"] = (record["numberOfWeaknesses"] or 0) + day // CVE_DAYS
    if zlib.crc32(record["deviceId"].encode()) % 10 and (rollout := day // ROLLOUT_DAYS):
        more["softwareVersion"] = f"{record['softwareVersion']}.{rollout}"
    return record | more


def _date(days: int) -> str:
    return str((START + timedelta(days=days)).date())


class Script:
    """The snapshots, as a source of the connector: `today` is what the export has, until the next day."""

    def __init__(self, fleet: Fleet, folder: Path, acquired: Fleet | None = None) -> None:
        self._fleet = fleet
        self._acquired = acquired
        self._folder = folder
        self.day = -1
        self.generated_at = START
        self.current: dict[Key, Record] = {}

    def advance(self, day: int, *, keep: float, draw: Random, fault: str | None = None) -> None:
        """The next generation; `keep` is the share of records that it has, `fault` one of `FAULTS`."""
        self.day, self.generated_at = day, START + timedelta(days=day)
        fleets = [self._fleet, *([self._acquired] if self._acquired and day >= ACQUISITION_DAY else [])]
        records = (altered(record, day) for fleet in fleets for record in normal_records(fleet, day, Inventory.CPE))
        spoilt = (record | FAULTS[fault](record) if fault else record for record in records)
        self.current = {key_of(record): record for record in spoilt if keep == 1 or draw.random() < keep}

    def fetch(self, inventory: Inventory, *, newer_than: datetime | None, **_: Any) -> Snapshot | None:
        """As `Source.fetch`."""
        if newer_than is not None and self.generated_at <= newer_than:
            return None
        text = "".join(json.dumps(record) + "\n" for record in self.current.values()).encode()
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{self.day}.json"
        path.write_bytes(text)
        names = next(iter(self.current.values()))
        part = Part(path, path.name, len(self.current), len(text), {name.lower(): (name,) for name in names})
        return Snapshot(
            inventory=inventory,
            method=Method.JSON,
            snapshot_id=self.snapshot_id,
            generated_at=self.generated_at,
            generation_known=True,
            parts=(part,),
            content_digest=f"{self.day:064}",
        )

    @property
    def snapshot_id(self) -> str:
        """Of the generation."""
        return f"cpe-{self.generated_at:%Y%m%dT%H%M%SZ}"

    def discard(self, snapshot: Snapshot) -> None:
        """As `Source.discard`."""
        for part in snapshot.parts:
            part.path.unlink()


class Stopping:
    """A sink under which the process is asked to stop once that number of batches is published."""

    def __init__(self, inner: Sink, stop: threading.Event, batches: int) -> None:
        self._inner, self._stop, self._left = inner, stop, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, messages: Iterable[Message], checkpoint: Checkpoint) -> None:
        """As `Sink.publish`."""
        self._inner.publish(messages, checkpoint)
        self._left -= 1
        if not self._left:
            self._stop.set()


class Process(Assembly):
    """One process of the connector: with the script's snapshots and clock, and perhaps a stop to come."""

    def __init__(self, tables: dict[str, Any], script: Script, now: list[datetime], *, batches: int = 0) -> None:
        checked = config.from_values(tables, {}, name="year")
        super().__init__(checked, clock=lambda: now[0], kafka_seconds_max=3 if batches < 0 else 60)
        self._script, self._batches = script, batches

    @cached_property
    def source(self) -> Source:
        """The script."""
        return cast("Source", self._script)

    @cached_property
    def sink(self) -> Sink:
        """The real one, or that within a `Stopping`."""
        sink = super().sink
        return cast("Sink", Stopping(sink, self.stop, self._batches)) if self._batches > 0 else sink


class Expected(Model):
    """The inventory as it must be; the script's records are in normal form already."""

    def take(self, snapshot_id: str, current: dict[Key, Record]) -> Outcome:
        """As `stage`."""
        staged: list[Staged] = []
        held, reason = 0, None
        self.generated_at = generation_of(snapshot_id)
        if self.inventory is None:
            self.inventory = dict(current)
            self.current = dict(current)
        else:
            staged, held, reason = self._compare(current, RULES, ALL_FIELDS, rejected=0, others=(set(), set()))
        changes = self._numbered(snapshot_id, staged)
        self.previous_snapshot_id = snapshot_id
        return Outcome(changes, held, reason, len(current), 0, 0)


ALL_FIELDS: Final = frozenset(avro_field["name"] for avro_field in avro.load("software-record")["fields"]) - {
    *KEY_NAMES
}


@dataclass
class Year:
    """The script, the connector under it, and what must come of it.

    Attributes:
        happened: days by what came of them.
        expected: the alerts, by id.
        never_opened: incidents and versions of the first snapshot: nothing was said of them.
    """

    devices: int
    days: int
    seed: int
    folder: Path
    bootstrap_servers: str
    registry: dict[str, Any]
    prefix: str
    happened: Counter[str] = field(default_factory=Counter)
    expected: list[Record] = field(default_factory=list)
    never_opened: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._draw = Random(self.seed)
        fleet, acquired = (
            Fleet(seed=seed, devices=devices, start=START, interval=timedelta(days=1))
            for seed, devices in ((self.seed, self.devices), (self.seed + 1, self.devices))
        )
        self._script = Script(fleet, self.folder / "parts", acquired)
        self._model = Expected(TENANT)
        self._alerts = AlertModel(TENANT)
        self._now = [START]
        self._snapshots = 0
        self._process: Process | None = None

    def create_topics(self) -> None:
        """As `setup` does, where the cluster does not make them by itself."""
        with Process(self._tables(), self._script, self._now) as process:
            assert [finding.text for finding in process.topics.create() if not finding.fine] == []

    # ---- the days

    def run(self) -> Year:
        """All of them, and a last poll that publishes what may still wait."""
        for day in range(self.days):
            self._now[0] = START + timedelta(days=day, minutes=self._draw.randrange(1, 1000))
            self._live(day)
        self._poll()
        self._end_process()
        return self

    def _live(self, day: int) -> None:
        """One day."""
        draw = self._draw.random()
        lost = day > 0 and self._draw.random() < LOSS_SHARE
        is_old = day > 0 and not lost and draw < OLD_SHARE
        is_spoilt = day >= FIRST_FAULT_DAY and day % FAULT_DAYS == 0 and not lost and not is_old
        fault = sorted(FAULTS)[day // FAULT_DAYS % len(FAULTS)] if is_spoilt else None
        if not is_old:
            self._script.advance(day, keep=0.6 if lost else 1, draw=self._draw, fault=fault)
        kind = "no new generation" if is_old else "lossy" if lost else fault or "whole"
        self.happened[kind] += 1
        self._poll_somehow()
        self._expect(day, kind)
        choice = "left"
        if self._model.held:
            choice = self._draw.choice(("approved", "discarded", "left"))
        elif self._model.distrusted or self._model.additions:
            choice = ("approved", "discarded", "left")[day // FAULT_DAYS % 3]
        if choice != "left":
            self.happened[choice] += 1
            self._now[0] += timedelta(minutes=5)
            self._end_hold(choice)

    def _poll_somehow(self) -> None:
        """In the process there is, in a new one, in one that is stopped on its way, or in one without Kafka."""
        draw = self._draw.random()
        if draw < RESTART_SHARE:
            self.happened["restarts"] += 1
            self._end_process()
        if draw < STOP_SHARE:
            self.happened["stopped between batches"] += 1
            stopping = Process(self._tables(), self._script, self._now, batches=self._draw.randint(1, 2))
            with stopping as process, suppress(Stopped):
                list(process.pipeline.poll())
            self._poll()
        elif draw > 1 - AWAY_SHARE:
            self._end_process()
            with Process(self._tables(NOWHERE), self._script, self._now, batches=-1) as process:
                outcomes = _outcomes(process)
            self.happened[f"without Kafka: {outcomes}"] += 1
        else:
            self._poll()

    def _poll(self) -> None:
        if self._process is None:
            self._process = Process(self._tables(), self._script, self._now)
        list(self._process.pipeline.poll())

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.__exit__()
            self._process = None

    def _end_hold(self, choice: str) -> None:
        self._end_process()
        with Process(self._tables(), self._script, self._now) as process:
            if choice == "discarded":
                with process.open_state() as state:
                    derived.discard_held(state, now=self._now[0])
                self._model.discard()
                return
            process.pipeline.approve_held()
        if not self._model.held:
            self._model.believe()
            return
        before = dict(self._model.inventory or {})
        self._snapshots += 1
        snapshot_id = f"{self._script.snapshot_id}-approved-{self._snapshots}"
        changes = self._model.approve(snapshot_id)
        self._note(snapshot_id, before, changes)

    def _tables(self, bootstrap_servers: str | None = None) -> dict[str, Any]:
        return {
            "source": {"tenant_id": TENANT, "client_id": "year", "client_secret": "year"},
            "state": {"path": str(self.folder / "state.duckdb"), "memory_limit_mib": 512, "threads": 2},
            "guard": {"missing_device_snapshots": 1},
            "kafka": {
                "topic_prefix": self.prefix,
                "batch_changes_max": BATCH,
                "client": {"bootstrap.servers": bootstrap_servers or self.bootstrap_servers},
            },
            "schema_registry": self.registry,
        }

    # ---- what must come of them

    def _expect(self, day: int, kind: str) -> None:
        before = None if self._model.inventory is None else dict(self._model.inventory)
        if kind == "no new generation":
            assert before is not None
            snapshot_id = f"{self._script.snapshot_id}-dated-{START + timedelta(days=day):%Y%m%d}"
            if self._note(snapshot_id, before, []):
                self._snapshots += 1
                self.happened["dated"] += 1
            return
        self._snapshots += 1
        script = self._script
        outcome = self._model.take(script.snapshot_id, script.current)
        if outcome.held:
            self.happened[f"held, {kind}: {outcome.hold_reason}"] += 1
        self._alerts.see(self._model.current.values(), script.generated_at, script.snapshot_id, baseline=before is None)
        self._note(script.snapshot_id, before, outcome.changes)
        if before is None:
            self.never_opened = self._ended()

    def _note(self, snapshot_id: str, before: dict[Key, Record] | None, changes: Sequence[Record]) -> int:
        """Note the alerts of one staging. Returns how many there are."""
        after = self._model.inventory or {}
        alerts = self._alerts.stage(self._now[0], snapshot_id, before=before, after=after, changes=changes)
        self.expected += [alert | {"snapshotId": snapshot_id} for alert in alerts]
        return len(alerts)

    # ---- what a consumer saw

    def seen(self) -> list[Record]:
        """Every alert on the topic, read by an independent decoder; times in milliseconds."""
        schema = avro.load("end-of-support-alert")
        messages = consume_all(self.bootstrap_servers, Topic.ALERTS.name_under(self.prefix))
        return [avro.read_value(message.value or b"", schema)[1] for message in messages]

    def wrong_incidents(self, seen: Sequence[Record]) -> set[tuple[str, str]]:
        """Incidents with versions that are open at the end for a consumer, or out of support, and not both."""
        opened = {(key, version) for key, versions in open_incidents(seen).items() for version in versions}
        ended = self._ended()
        return (opened - ended) | (ended - opened - self.never_opened)

    def _ended(self) -> set[tuple[str, str]]:
        """Of what is out of support now: keys of incidents, and versions."""
        return {
            (event_id(TENANT, "incident", *key[:3]), key[3])
            for key, record in (self._model.inventory or {}).items()
            if self._alerts.is_ended(record)
        }

    def differences(self, seen: Sequence[Record]) -> list[str]:
        """Alerts lost, repeated, not expected, or expected otherwise, in words."""
        counted, due = Counter(alert["alertId"] for alert in seen), {alert["alertId"]: alert for alert in self.expected}
        wrong = [f"lost: {_title(alert)}" for name, alert in due.items() if not counted[name]]
        wrong += [f"expected {len(self.expected) - len(due)} alerts twice"] * (len(self.expected) != len(due))
        for alert in seen:
            name = alert["alertId"]
            if counted[name] > 1 or name not in due:
                wrong.append(f"seen {counted[name]} times, expected {int(name in due)}: {_title(alert)}")
            elif other := [key for key, value in due[name].items() if alert[key] != value]:
                wrong.append(
                    f"{_title(alert)}: {', '.join(f'{key} {alert[key]} for {due[name][key]}' for key in other)}"
                )
        return wrong

    @cached_property
    def types(self) -> Counter[str]:
        """Alerts expected, by type."""
        return Counter(alert["alertType"] for alert in self.expected)


def _outcomes(process: Process) -> str:
    try:
        return ", ".join(result.outcome for result in process.pipeline.poll())
    except Exception as error:  # noqa: BLE001 - without Kafka and without news, that is the answer
        return type(error).__name__


def _title(alert: Record) -> str:
    names = ("snapshotId", "alertType", "deviceId", "softwareName", "softwareVersion", "endOfSupportDate")
    return " ".join(str(alert[name]) for name in names)


def main(devices: int = 500, days: int = DAYS_MAX, seed: int = 1) -> int:
    """Run it. Returns the exit code."""
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mde-year-") as name,
        closing(session_registry(Path(name, "registry"))) as registry,
        closing(session_broker(Path(name, "kafka"))) as broker,
    ):
        given = {"url": registry.url, "auto_register": True}
        year = Year(devices, days, seed, Path(name), broker.bootstrap_servers, given, f"year.{uuid.uuid4().hex[:12]}")
        year.create_topics()
        seen = year.run().seen()
        wrong = year.differences(seen)
    print(f"{devices} devices, {days} days, seed {seed}: {time.monotonic() - begun:.0f} s")
    for title, counted in (("days", year.happened), ("alerts expected", year.types)):
        print(title, *(f"  {name:<40}{number:>8}" for name, number in sorted(counted.items())), sep="\n")
    print(f"{len(year.expected)} alerts expected, {len(seen)} seen, {len(wrong)} differences", *wrong[:50], sep="\n")
    return 1 if wrong or not year.expected else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
