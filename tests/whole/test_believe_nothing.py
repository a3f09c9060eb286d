"""Random sequences of snapshots and faults through the real pipeline: the published log is the inventory, at all times.

A simulated fleet is served over HTTPS and distorted in every way that an export can be; a connector polls it, restarts,
changes its flavour, and a person approves and discards what is held. After every step plain Python looks at what an
independent consumer has seen: applied in order it is the inventory of the state file, and nothing was removed that the
last complete snapshot contains. What a snapshot contains is read by a client that shares nothing with the connector.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from connector import config
from connector.assembly import Assembly
from connector.clock import Backoff
from connector.diff.guard import HoldReason
from connector.errors import ConnectorError
from connector.model import Inventory
from connector.operations.setup import set_up
from connector.poll.result import PollResult
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.source.http.tokens import Tokens
from connector.source.source import Source
from connector.staging import audit, derived
from connector.staging.holds import Choice
from connector.state.state import StateFile
from tests.conftest import settle
from tests.support.fetching import QUICK, START, QuickTimer
from tests.support.plain_client import PlainClient, normal, records_of
from tests.support.stored import missing_devices, stored_records

pytestmark = pytest.mark.broker

SEQUENCES = int(os.environ.get("MDE_TEST_SEQUENCES", "8"))
FIRST_SEQUENCE = int(os.environ.get("MDE_TEST_FIRST_SEQUENCE", "0"))
STEPS = 8
DEVICES = 6
PAGE_SIZE = 150
GENERATION_SECONDS = 6 * 3600.0
CONSUME_SECONDS_MAX = 60

KEY = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
RECORD_SCHEMA = Path(__file__).parents[2] / "schemas" / "software-record.avsc"
RECORD_FIELDS = tuple(field["name"] for field in json.loads(RECORD_SCHEMA.read_text(encoding="utf-8"))["fields"])
UNREADABLE_LINES = ("17", "[1]", '{"DeviceId":"x","SoftwareName":NaN}', '{"SoftwareName":"of no device"}', "half a {")

Key = tuple[str, ...]
Record = dict[str, Any]
Change = dict[str, Any]

BROKEN: dict[str, tuple[Fault, ...]] = {
    "files": (
        Fault(Endpoint.EXPORT, FaultKind.EMPTY_FILES, times=None),
        Fault(Endpoint.EXPORT, FaultKind.NULL_FILES, times=None),
        Fault(Endpoint.EXPORT, FaultKind.EMPTY_BODY, times=None),
        Fault(Endpoint.EXPORT, FaultKind.NO_CONTENT, times=None),
        Fault(Endpoint.EXPORT, FaultKind.HTML_PAGE, times=None),
        Fault(Endpoint.EXPORT, FaultKind.TRUNCATED_BODY, times=None),
        Fault(Endpoint.EXPORT, FaultKind.STATUS, status=503, times=None),
        Fault(Endpoint.EXPORT, FaultKind.GENERATED_TIME, text="soon", times=None),
        Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, times=None),
        Fault(Endpoint.BLOB, FaultKind.EMPTY_BODY, part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.EMPTY_BODY, times=None),
        Fault(Endpoint.BLOB, FaultKind.ZERO_RECORDS, times=None),
        Fault(Endpoint.BLOB, FaultKind.SHORT_GZIP, part=1, times=None),
        Fault(Endpoint.BLOB, FaultKind.CRC_ERROR, part=1, times=None),
        Fault(Endpoint.BLOB, FaultKind.TRAILING_RUBBISH, part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.LAST_LINE_CUT, part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.TRUNCATED_BODY, part=1, times=None),
        Fault(Endpoint.BLOB, FaultKind.RESET_IN_BODY, part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.CONNECTION_RESET, part=1, times=None),
        Fault(Endpoint.BLOB, FaultKind.HTML_PAGE, part=0, times=None),
        Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, part=1, times=None),
        Fault(Endpoint.BLOB, FaultKind.STATUS, status=404, part=0, times=None),
    ),
    "json": (
        Fault(Endpoint.PAGES, FaultKind.EMPTY_BODY, times=None),
        Fault(Endpoint.PAGES, FaultKind.NO_CONTENT, times=None),
        Fault(Endpoint.PAGES, FaultKind.NULL_VALUE, times=None),
        Fault(Endpoint.PAGES, FaultKind.ZERO_RECORDS, times=None),
        Fault(Endpoint.PAGES, FaultKind.HTML_PAGE, after=1, times=None),
        Fault(Endpoint.PAGES, FaultKind.TRUNCATED_BODY, after=2, times=None),
        Fault(Endpoint.PAGES, FaultKind.RESET_IN_BODY, after=2, times=None),
        Fault(Endpoint.PAGES, FaultKind.STATUS, status=500, after=1, times=None),
        Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_REPEATED, times=None),
        Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ENDLESS, times=None),
        Fault(Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, times=None),
        Fault(Endpoint.PAGES, FaultKind.GENERATION_CHANGED, times=None),
    ),
}
"""Forever: the poll fails whole."""

PASSING: dict[str, tuple[FaultKind, ...]] = {
    "files": (
        FaultKind.EMPTY_BODY,
        FaultKind.SHORT_GZIP,
        FaultKind.CRC_ERROR,
        FaultKind.TRAILING_RUBBISH,
        FaultKind.LAST_LINE_CUT,
        FaultKind.TRUNCATED_BODY,
        FaultKind.RESET_IN_BODY,
        FaultKind.CONNECTION_RESET,
        FaultKind.EXPIRED_URL,
        FaultKind.STATUS,
    ),
    "json": (
        FaultKind.EMPTY_BODY,
        FaultKind.TRUNCATED_BODY,
        FaultKind.RESET_IN_BODY,
        FaultKind.CONNECTION_RESET,
        FaultKind.STATUS,
        FaultKind.NEXT_LINK_MISSING,
        FaultKind.GENERATION_CHANGED,
    ),
}
"""Once or twice: the poll gets everything all the same."""

HARMLESS: dict[str, tuple[FaultKind, ...]] = {
    "files": (
        FaultKind.DUPLICATE_ROWS,
        FaultKind.SHUFFLED_ROWS,
        FaultKind.OTHER_CASE,
        FaultKind.OS_PLATFORM_CASE,
        FaultKind.ARRAYS_NULL,
        FaultKind.ARRAYS_ABSENT,
        FaultKind.ARRAYS_EMPTY,
        FaultKind.SHUFFLED_PATHS,
        FaultKind.BYTE_ORDER_MARK,
        FaultKind.SEVERAL_MEMBERS,
        FaultKind.PLAIN_TEXT,
        FaultKind.CONTENT_ENCODING,
        FaultKind.MISSING_LAST_NEWLINE,
    ),
    "json": (
        FaultKind.DUPLICATE_ROWS,
        FaultKind.SHUFFLED_ROWS,
        FaultKind.OTHER_CASE,
        FaultKind.OS_PLATFORM_CASE,
        FaultKind.ARRAYS_NULL,
        FaultKind.ARRAYS_ABSENT,
        FaultKind.ARRAYS_EMPTY,
        FaultKind.SHUFFLED_PATHS,
    ),
}
"""Another way to say the same."""

ENOUGH = {
    "sequences": SEQUENCES,
    "steps": SEQUENCES * STEPS,
    "failed polls": SEQUENCES // 2,
    "held polls": SEQUENCES,
    "hold MASS_REMOVAL": SEQUENCES // 2,
    "hold SCOPE_LOST": SEQUENCES // 4,
    "hold REJECTED_LINES": SEQUENCES // 8,
    "approvals": SEQUENCES // 6,
    "discards": SEQUENCES // 4,
    "removed": SEQUENCES,
    "DEVICE_MISSING": 1,
    "flavour switches": SEQUENCES // 4,
    "events": SEQUENCES * 100,
}
"""What must have happened at least, or the test proves little."""

RECORDS_AT = {"files": Endpoint.BLOB, "json": Endpoint.PAGES}
LISTING_AT = {"files": Endpoint.EXPORT, "json": Endpoint.PAGES}


def key_of(record: Record) -> Key:
    """The record's key; null is empty there."""
    return tuple(record[name] or "" for name in KEY)


def by_key(records: Iterable[Record]) -> dict[Key, Record]:
    """Records by their key, null key parts as they are published."""
    return {key_of(record): record | dict(zip(KEY, key_of(record), strict=True)) for record in records}


def apply(folded: dict[Key, Record], changes: Iterable[Change]) -> None:
    """Apply changes in order, as strictly as any consumer could: each must fit what was there before it."""
    for change in changes:
        record = {name: change[name] for name in RECORD_FIELDS}
        before, kind, key = change["before"], change["changeType"], key_of(record)
        if kind == "REMOVED":
            assert folded.pop(key, None) == record, "a record was removed that was not there as published"
        elif kind == "CHANGED":
            assert folded.pop(key_of(before), None) == before, "a record changed that was not there as published"
            assert key not in folded
            folded[key] = record
        else:
            assert kind in ("ADDED", "BASELINE")
            assert key not in folded, "a record was added that was there already"
            folded[key] = record


def check_removals(changes: Iterable[Change], contained: Iterable[Key], *, approved: bool) -> int:
    """No REMOVED of what the last complete snapshot contains; APPROVED only where a person did. Returns how many."""
    removed = [change for change in changes if change["changeType"] == "REMOVED"]
    present = set(contained)
    assert [change for change in removed if key_of(change) in present] == [], "a record was removed that is there"
    assert {change["reason"] == "APPROVED" for change in removed} <= {approved}
    return len(removed)


class QuickAssembly(Assembly):
    """A connector whose waits take no time; everything else is as it is wired for people."""

    def __init__(self, settings: dict[str, Any], timer: QuickTimer) -> None:
        super().__init__(config.from_values(settings, {}, name="test"), clock=timer.now)
        self._timer = timer

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens for the API."""
        return Tokens(self.config.source, self.transport, backoff=Backoff(attempts_max=2, first_seconds=0.01))

    @cached_property
    def source(self) -> Source:
        """Fetches snapshots."""
        return Source(
            self.config.source,
            tokens=self.tokens,
            transport=self.transport,
            staging=self.config.state.staging_path,
            limits=self.config.state.limits_path,
            rejected=self.config.state.rejected_path,
            patience=QUICK,
            timer=self._timer,
        )


@dataclass
class Game:
    """One sequence: a simulated tenant, its connector, a consumer, and what the rules say must hold."""

    simulator: Simulator
    settings: dict[str, Any]
    log: Callable[[], list[Change]]
    draw: random.Random
    tally: Counter[str]
    method: str = "files"
    timer: QuickTimer = field(default_factory=QuickTimer)
    changes: list[Change] = field(default_factory=list)
    folded: dict[Key, Record] = field(default_factory=dict)
    last: dict[Key, Record] = field(default_factory=dict)
    held: int = 0
    worked_out: tuple[int, dict[Key, Record]] = (-1, {})

    def __enter__(self) -> Self:
        self._made = ExitStack()
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._made.close()

    # ---- what may happen

    def play(self, steps: int) -> None:
        """That number of random steps, each looked at."""
        moves: dict[Callable[[], None], int] = {
            self.go_on: 6,
            self.poll_again: 1,
            self.break_it: 5,
            self.break_it_for_a_while: 3,
            self.say_it_otherwise: 3,
            self.leave_records_out: 4,
            self.lose_a_group: 3,
            self.spoil_lines: 2,
            self.let_rows_conflict: 1,
            self.change_in_mid_walk: 2,
            self.dry_run: 1,
            self.restart: 1,
            self.change_flavour: 2,
        }
        for _ in range(steps):
            person = {self.approve: 6, self.discard: 6} if self.held else {}
            offered = moves | person
            (move,) = self.draw.choices(list(offered), list(offered.values()))
            self.tally["steps"] += 1
            move()
            self.look()
            self.simulator.faults.clear()

    def go_on(self) -> None:
        """The fleet evolves, and nothing goes wrong."""
        self.advance()
        self.poll_well()

    def poll_again(self) -> None:
        """Nothing evolved, unless the last poll failed."""
        self.poll_well()

    def break_it(self) -> None:
        """Something goes wrong forever: nothing is staged, and the next poll works."""
        self.advance()
        self.simulator.faults.add(self.draw.choice(BROKEN[self.method]))
        if self.last:
            self.poll_badly()
        self.simulator.faults.clear()
        if self.draw.random() < 0.5:
            self.poll_well()

    def break_it_for_a_while(self) -> None:
        """Something goes wrong once or twice: everything is fetched all the same."""
        self.advance()
        kind = self.draw.choice(PASSING[self.method])
        times = 1 if kind in (FaultKind.GENERATION_CHANGED, FaultKind.NEXT_LINK_MISSING) else self.draw.choice((1, 2))
        self.simulator.faults.add(Fault(RECORDS_AT[self.method], kind, after=self.draw.choice((1, 2)), times=times))
        self.poll_well()

    def say_it_otherwise(self) -> None:
        """The same generation or the next, in another order, spelling or wrapping."""
        self.advance(self.draw.choice((0, 1)))
        for kind in self.draw.sample(HARMLESS[self.method], 2):
            self.simulator.faults.add(Fault(RECORDS_AT[self.method], kind, times=None))
        self.poll_well()

    def leave_records_out(self) -> None:
        """A complete-looking snapshot without many of the records."""
        self.advance()
        share = self.draw.choice((0.03, 0.3, 0.6, 0.95))
        self.simulator.faults.add(Fault(RECORDS_AT[self.method], FaultKind.FEWER_RECORDS, share=share, times=None))
        if self.method == "files" and self.some_file_is_empty():
            self.poll_badly()
        else:
            self.poll_well()

    def some_file_is_empty(self) -> bool:
        """Whether a file has no line at all: no snapshot has such a file."""
        with PlainClient(self.simulator) as client:
            return not all(map(records_of, (client.get(url).content for url in client.urls())))

    def lose_a_group(self) -> None:
        """A device group is not in the export any more, from the listing on."""
        self.advance()
        groups = sorted({device.group_id for device in self.simulator.fleet.devices_at(self.simulator.generation)})
        if len(groups) > 1:
            group_id = self.draw.choice(groups)
            self.simulator.faults.add(
                Fault(LISTING_AT[self.method], FaultKind.GROUP_MISSING, group_id=group_id, times=None)
            )
        self.poll_well()

    def spoil_lines(self) -> None:
        """Some lines cannot be read, and some records are not there: those may be they."""
        self.advance()
        where = RECORDS_AT[self.method]
        share = self.draw.choice((0.02, 0.1))
        self.simulator.faults.add(Fault(where, FaultKind.FEWER_RECORDS, share=share, times=None))
        if self.method == "files":
            lines = tuple(self.draw.sample(UNREADABLE_LINES, 2))
            self.simulator.faults.add(Fault(where, FaultKind.EXTRA_LINES, lines=lines, times=None))
        else:
            self.simulator.faults.add(Fault(where, FaultKind.EXTRA_LINES, lines=UNREADABLE_LINES[2:4], times=None))
        if not self.last:
            self.poll_badly()  # a first snapshot has to be whole
            return
        result = self.poll_well(unreadable=True)
        if result.outcome != "unchanged":
            assert result.counts.rejected > 0
            assert result.counts.removed == 0

    def let_rows_conflict(self) -> None:
        """A device that moves is in the export twice."""
        self.advance()
        self.simulator.faults.add(
            Fault(RECORDS_AT[self.method], FaultKind.CONFLICTING_ROWS, share=self.draw.choice((0.1, 1.0)), times=None)
        )
        self.poll_well(conflicting=True)

    def change_in_mid_walk(self) -> None:
        """The fleet evolves between two requests of one fetch: the snapshot is of one generation."""
        self.advance()
        if self.method == "files":
            self.simulator.faults.add(
                Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, after=1, times=1),
                Fault(Endpoint.EXPORT, FaultKind.GENERATION_CHANGED, after=1, times=1),
            )
        else:
            self.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.GENERATION_CHANGED, after=2, times=1))
        self.poll_well()

    def approve(self) -> None:
        """A person believes what is held, or a part of it."""
        approval = self.assembly.pipeline.approve_held(self.some_of_it())
        assert approval.removed + approval.believed + approval.remaining == self.held
        self.tally["parts left"] += approval.remaining > 0
        self.tally["approvals"] += 1
        self.tally["approved"] += check_removals(self.read(), self.last, approved=True)
        with self.state() as state:
            assert state.journal.held_count() == approval.remaining

    def some_of_it(self) -> Choice:
        """All of what is held, or what has one reason, device group or device."""
        with self.state() as state:
            reason = self.draw.choice(state.journal.holds()).reason
            keys = state.database.rows(
                "SELECT device_id, rbac_group_id::VARCHAR FROM held JOIN devices USING (device_no)"
                " JOIN inventory USING (inventory, device_no, software_no) ORDER BY ALL"
            )
        choices = [Choice(), Choice(), Choice(reasons=(HoldReason(reason),))]
        if keys:
            device, group = self.draw.choice(keys)
            choices += [Choice(devices=(device,)), Choice(groups=(group,))]
        return self.draw.choice(choices)

    def discard(self) -> None:
        """A person does not."""
        choice = self.some_of_it()
        with self.state() as state:
            before = stored_records(state, Inventory.CPE)
            assert derived.discard_held(state, now=START, choice=choice) + state.journal.held_count() == self.held
            assert stored_records(state, Inventory.CPE) == before
        self.tally["discards"] += 1
        assert self.read() == []

    def dry_run(self) -> None:
        """Nothing comes of it."""
        self.advance()
        before = self.noted()
        list(self.assembly.pipeline.dry_run())
        assert self.noted() == before
        assert self.read() == []

    def restart(self) -> None:
        """Another process goes on."""
        self._made.close()
        source = self.simulator.settings(method=self.method, page_size=PAGE_SIZE)
        self.assembly = self._made.enter_context(QuickAssembly(self.settings | {"source": source}, self.timer))

    def change_flavour(self) -> None:
        """The same generation in the other flavour is nothing new; the next one is."""
        self.method = "json" if self.method == "files" else "files"
        self.tally["flavour switches"] += 1
        self.restart()
        self.advance(self.draw.choice((0, 1)))
        self.poll_well()

    # ---- polling

    def advance(self, generations: int = 1) -> None:
        """The fleet evolves, and hours pass."""
        if generations:
            self.simulator.advance(generations)
        self.timer.wait(GENERATION_SECONDS)

    def poll_well(self, *, unreadable: bool = False, conflicting: bool = False) -> PollResult:
        """A poll that must work; the inventory has every record that was served, as it was served."""
        (result,) = self.assembly.pipeline.poll()
        changes = self.read()
        self.tally["polls"] += 1
        if result.outcome == "unchanged":
            assert changes == []
            self.tally["unchanged"] += 1
            return result
        served = self.served(unreadable=unreadable)
        self.tally["removed"] += check_removals(changes, served, approved=False)
        gone = {key_of(change) for change in changes if change["changeType"] == "REMOVED"}
        self.tally["removed though in the fleet"] += len(gone & self.fleet().keys()) if gone else 0
        self.tally["held polls"] += result.outcome == "held"
        self.tally["DEVICE_MISSING"] += sum(change["reason"] == "DEVICE_MISSING" for change in changes)
        with self.state() as state:
            kept = by_key(stored_records(state, Inventory.CPE))
            held, missing = state.journal.held_count(), missing_devices(state)
            holds = state.journal.holds()
        self.tally.update(f"hold {hold.reason}" for hold in holds)
        waiting = sum(hold.records for hold in holds if hold.reason in {"KEYS_CHANGED", "MASS_ADDITION"})
        assert len(served.keys() - kept.keys()) == waiting
        if not conflicting:
            assert {key: kept[key] for key in served.keys() & kept.keys()} == {
                key: record for key, record in served.items() if key in kept
            }
        beyond = {key for key in kept if key not in served}
        present = {key[0] for key in served}
        if not any(hold.reason == "KEYS_CHANGED" for hold in holds):
            assert len({key[0] for key in beyond if key[0] not in present}) == missing
            assert len({key for key in beyond if key[0] in present}) <= held
        self.last = served
        return result

    def poll_badly(self) -> None:
        """A poll that must fail, whole: not a byte of the state file's content is another, and nothing is published."""
        before = self.noted()
        with pytest.raises(ConnectorError) as caught:
            list(self.assembly.pipeline.poll())
        assert caught.value.exit_code == 1
        assert caught.value.hint
        assert self.noted() == before
        assert self.read() == []
        self.tally["failed polls"] += 1

    def served(self, *, unreadable: bool) -> dict[Key, Record]:
        """What the export says now, distorted as it is, read by a plain client."""
        keep = [fault for fault in self.simulator.faults.pending if fault.times is None]
        self.simulator.faults.clear()
        self.simulator.faults.add(*(fault for fault in keep if fault.kind is not FaultKind.EXTRA_LINES))
        if not keep:
            return self.fleet()
        kinds = {fault.kind for fault in keep}
        self.tally.update(f"fault {kind}" for kind in kinds)
        if not unreadable and not kinds & {FaultKind.FEWER_RECORDS, FaultKind.GROUP_MISSING}:
            return self.fleet()
        with PlainClient(self.simulator) as client:
            lines = client.file_records() if self.method == "files" else client.page_records(page_size=PAGE_SIZE)
        return by_key(map(normal, lines))

    def fleet(self) -> dict[Key, Record]:
        """What the fleet has now, worked out once a generation."""
        if self.worked_out[0] != self.simulator.generation:
            self.worked_out = self.simulator.generation, by_key(self.simulator.records())
        return self.worked_out[1]

    # ---- looking

    def look(self) -> None:
        """What must hold after every step; what it published is read already."""
        with self.state() as state:
            assert audit.verify(state) == []
            assert self.folded == by_key(stored_records(state, Inventory.CPE))
            assert state.journal.position().pending == 0
            assert state.journal.position().last_sequence == len(self.changes)
            self.held = state.journal.held_count()

    def read(self) -> list[Change]:
        """The changes that are new on the topic, applied."""
        new = self.log()
        first = len(self.changes) + 1
        assert [change["sequence"] for change in new] == list(range(first, first + len(new)))
        self.changes += new
        apply(self.folded, new)
        return new

    def noted(self) -> tuple[object, ...]:
        """All that a failed poll must leave as it was."""
        with self.state() as state:
            # When Kafka last confirmed something is reported again: the report of the failed poll is published.
            position = replace(state.journal.position(), published_at=None)
            records, holds = stored_records(state, Inventory.CPE), state.journal.holds()
            return position, records, holds, missing_devices(state), state.journal.recent_snapshots(100)

    def state(self) -> StateFile:
        """The state file, open."""
        return self.assembly.open_state()


class Log:
    """A read_committed consumer of one topic that goes on where it stopped; it knows nothing of the connector."""

    def __init__(self, bootstrap_servers: str, topic: str, decode: AvroDeserializer) -> None:
        self._topic = topic
        self._bootstrap_servers = bootstrap_servers
        self._decode = decode
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"believe-nothing-{topic}",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        self._offsets = dict.fromkeys(partitions, 0)
        self.event_ids: set[str] = set()

    def close(self) -> None:
        """Close the connection to the broker."""
        self._consumer.close()

    def read(self) -> list[Change]:
        """What is new, in the order of the sequence; within a partition it must have come in that order."""
        settle(self._bootstrap_servers, self._topic, self._offsets)
        by_partition: dict[int, list[Change]] = {number: [] for number in self._offsets}
        self._consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._offsets.items()])
        ended: set[int] = set()
        deadline = time.monotonic() + CONSUME_SECONDS_MAX
        while len(ended) < len(self._offsets):
            assert time.monotonic() < deadline, "the end of the topic was not reached in time"
            for message in self._consumer.consume(1_000, timeout=0.01):
                error, partition = message.error(), message.partition() or 0
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(partition)
                    continue
                change = self._decode(message.value(), SerializationContext(self._topic, MessageField.VALUE))
                by_partition[partition].append(dict(change))  # type: ignore[call-overload]  # its stubs say object
                self._offsets[partition] = (message.offset() or 0) + 1
        for changes in by_partition.values():
            sequences = [change["sequence"] for change in changes]
            assert sequences == sorted(sequences)
        new = [change for changes in by_partition.values() for change in changes]
        ids = {change["eventId"] for change in new}
        assert len(ids) == len(new), "an event id came twice"
        assert not ids & self.event_ids, "an event id came again"
        self.event_ids |= ids
        return sorted(new, key=lambda change: int(change["sequence"]))


@pytest.fixture
def begin(
    tmp_path: Path, broker: Any, registry_url: str, topic_prefix: str
) -> Iterator[Callable[..., AbstractContextManager[Game]]]:
    """`begin(seed, tally)` is a context with a new tenant, its topics, and nothing polled yet."""
    with SchemaRegistryClient({"url": registry_url}) as registry:
        decode = AvroDeserializer(registry)

        @contextmanager
        def new(seed: int, tally: Counter[str], **guard: Any) -> Iterator[Game]:
            draw = random.Random(seed)
            rules = {
                "missing_device_snapshots": draw.choice((1, 2, 3)),
                "max_removed_share": draw.choice((0.1, 0.25)),
                "min_removed": draw.choice((1, 20)),
            }
            settings = {
                "state": {"path": str(tmp_path / str(seed) / "state.duckdb"), "memory_limit_mib": 256, "threads": 1},
                "diff": {"baseline": "emit", "pair_versions": draw.choice((True, True, False))},
                "guard": rules | guard,
                "kafka": {
                    "topic_prefix": f"{topic_prefix}.{seed}",
                    "client": {"bootstrap.servers": broker.bootstrap_servers},
                    "batch_changes_max": draw.choice((100, 10_000)),
                },
                "schema_registry": {"url": registry_url},
            }
            fleet = Fleet(seed=seed, devices=DEVICES, start=START, churn=draw.choice((10.0, 40.0)))
            with ExitStack() as made:
                simulator = made.enter_context(Simulator(fleet, records_of_part_max=80))
                method = draw.choice(("files", "json"))
                with QuickAssembly(settings | {"source": simulator.settings()}, QuickTimer()) as assembly:
                    assert [check.text for check in set_up(assembly) if not check.fine] == []
                log = Log(broker.bootstrap_servers, f"{topic_prefix}.{seed}.changes", decode)
                made.callback(log.close)
                yield made.enter_context(Game(simulator, settings, log.read, draw, tally, method))

        yield new


@pytest.fixture(scope="module")
def tally() -> Counter[str]:
    """What happened in all sequences."""
    return Counter()


@pytest.mark.parametrize("seed", range(FIRST_SEQUENCE, FIRST_SEQUENCE + SEQUENCES))
def test_the_log_is_the_inventory_whatever_the_export_does(
    begin: Callable[..., AbstractContextManager[Game]], tally: Counter[str], seed: int
) -> None:
    """A random sequence of snapshots, faults and decisions: what a consumer folds is the inventory after every step."""
    with begin(seed, tally) as game:
        game.play(STEPS)
        assert is_fold_of(game.changes, game.folded)
        tally["events"] += len(game.changes)
        tally["sequences"] += 1


def test_enough_happened_in_these_sequences(
    broker: Any, tally: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Faults of every sort were met, removals held, approved, discarded and published; else little was proven."""
    del broker  # it is asked for so that this test comes after those that count
    with capsys.disabled():
        print(f"\n{dict(sorted(tally.items()))}")
    if tally["sequences"] < SEQUENCES:
        pytest.skip("not all sequences were played")
    assert {name: (count, tally[name]) for name, count in ENOUGH.items() if tally[name] < count} == {}


def test_a_fold_that_misses_one_change_is_noticed(begin: Callable[..., AbstractContextManager[Game]]) -> None:
    """Positive control: without any one change of a kind, or with one twice, the log is not the inventory."""
    with begin(3, Counter()) as game:
        game.poll_well()
        for _ in range(3):
            game.go_on()
        game.look()
        kinds = [change["changeType"] for change in game.changes]
        assert {"BASELINE", "ADDED", "CHANGED"} <= set(kinds)
        for place in {kinds.index(kind) for kind in kinds} | {len(kinds) - 1}:
            assert not is_fold_of(game.changes[:place] + game.changes[place + 1 :], game.folded)
            assert not is_fold_of([*game.changes[: place + 1], *game.changes[place:]], game.folded)
        assert is_fold_of(game.changes, game.folded)


def test_a_removal_of_what_is_there_is_noticed(begin: Callable[..., AbstractContextManager[Game]]) -> None:
    """Positive control: with a guard that lets everything pass, a short snapshot removes what the fleet still has."""
    with begin(3, Counter(), max_removed_share=1.0, missing_device_snapshots=1) as game:
        game.method = "json"
        game.restart()
        game.poll_well()
        game.simulator.faults.add(Fault(Endpoint.PAGES, FaultKind.FEWER_RECORDS, share=0.5, times=None))
        game.advance()
        list(game.assembly.pipeline.poll())
        with pytest.raises(AssertionError, match="removed that is there"):
            check_removals(game.read(), game.fleet(), approved=False)


def is_fold_of(changes: list[Change], inventory: dict[Key, Record]) -> bool:
    """Whether changes fit one after the other and come to an inventory."""
    folded: dict[Key, Record] = {}
    try:
        apply(folded, changes)
    except AssertionError:
        return False
    return folded == inventory


@pytest.mark.parametrize("method", ["files", "json"])
def test_a_dry_run_between_a_failed_first_poll_and_the_baseline_shows_the_baseline(
    begin: Callable[..., AbstractContextManager[Game]], method: str
) -> None:
    """The state file is there and holds nothing: the dry run shows every record, writes none, and the poll works."""
    with begin(1, Counter()) as game:
        game.method = method
        game.restart()
        game.simulator.faults.add(Fault(LISTING_AT[method], FaultKind.STATUS, status=403, times=None))
        with pytest.raises(ConnectorError):
            list(game.assembly.pipeline.poll())
        game.simulator.faults.clear()
        shown: list[Any] = []
        (result,) = game.assembly.pipeline.dry_run(shown.append)
        assert (result.outcome, result.counts.records, len(shown)) == ("dry_run", len(game.fleet()), len(game.fleet()))
        with game.state() as state:
            assert stored_records(state, Inventory.CPE) == []
        game.poll_well()
        game.look()
