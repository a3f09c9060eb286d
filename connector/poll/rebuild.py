"""Rebuilds a lost state file from Kafka, so that the next poll publishes only the true difference, in numbered steps.

    1. recover   fence an older instance, and read the checkpoint: it becomes the position
    2. reports   the last sealed snapshot of each inventory, from the snapshots topic
    3. seal      a snapshot that was published in part is sealed as the part it is; the next poll finds the rest
    4. records   from the compacted inventory topic where the checkpoint says that it is whole, else from the changes
                 of the epoch, folded
    5. check     no sequence missing, every key whole, as many records as the seals counted
    6. write     a draft, which becomes the state file once it is whole

Anything less than the whole inventory is refused: half of it would make a storm of false changes. Steps 1 and 3 may be
repeated, and nothing is written before step 6 ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from connector import __version__
from connector.clock import milliseconds_of, moment_of
from connector.errors import StateError
from connector.exports.fields import Export
from connector.kafka import schemas
from connector.kafka.messages import Messages
from connector.kafka.reader import Incoming, Reader
from connector.kafka.sink import Sink
from connector.model import (
    CHANGE_COUNTS,
    Checkpoint,
    Counts,
    Inventory,
    SnapshotStatus,
    StagedSnapshot,
    Topic,
)
from connector.poll.backfill import key_of
from connector.source.progress import Progress
from connector.staging.alerts import calendar
from connector.staging.inventory_topic import steps_of
from connector.staging.restore import Event, Restoration, check_absent, drafted
from connector.staging.stage import StagingRules
from connector.wording import counted

EVENTS_AT_ONCE: Final = 5_000
HINT: Final = (
    "Nothing was written. Restore a copy of the file, or begin a new epoch with `mde-inventory state rebaseline`."
)
NOTICE: Final = (
    "The inventory and the position are restored from Kafka. What only the lost file knew is gone: the journal of past"
    " changes, holds (held removals are judged again by the next poll), how often a device was missing, and when a"
    " product was first seen. An instance that still runs under this transactional id is fenced."
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt file: the topic that it came from, the records of each inventory, and the position."""

    topic: str
    records: dict[str, int]
    checkpoint: Checkpoint


@dataclass(slots=True)
class _Reports:
    """The reports of one epoch: the seals in their order, and the begin of a snapshot that is not sealed."""

    seals: list[dict[str, Any]] = field(default_factory=list)
    begun: dict[str, Any] | None = None

    def last_of(self, inventory: Inventory, before: int = 0) -> dict[str, Any] | None:
        """The last seal of an inventory, or the one `before` seals earlier, but never earlier than the first."""
        own = [seal for seal in self.seals if seal["inventory"] == inventory.value]
        return own[max(len(own) - 1 - before, 0)] if own else None


class Rebuild:
    """Rebuilds the state file of one tenant.

    Args:
        messages: decodes what is read, and encodes the seal of step 3.
        sink: recovers, and publishes that seal.
        open_reader: a reader of topics, to be closed.
        name_of: the full name of a topic.
        rules: tenant, and what is tracked.
        export: what the state file holds.
        path: the state file.
        options: memory and threads.
        transactions: whether a batch and its checkpoint were one: else the inventory topic may be ahead of it.
        clock: now, in UTC.
        progress: shows how far the reading is.
    """

    def __init__(  # noqa: PLR0913 - the seams of a rebuild, each named at the one place that wires them
        self,
        messages: Messages,
        sink: Sink,
        open_reader: Callable[[], AbstractContextManager[Reader]],
        *,
        name_of: Callable[[Topic], str],
        rules: StagingRules,
        export: Export,
        path: Path,
        options: Mapping[str, Any],
        transactions: bool,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._open_reader = open_reader
        self._name_of = name_of
        self._rules = rules
        self._export = export
        self._keys = frozenset(field.name for field in export.keys)
        self._path = path
        self._options = options
        self._transactions = transactions
        self._clock = clock
        self._progress = progress

    def check_absent(self) -> None:
        """Raises StateError where there is a state file: only a lost one is rebuilt."""
        check_absent(self._path)

    def run(self) -> Rebuilt:
        """Rebuild the file.

        Raises:
            StateError: there is a file, Kafka has no checkpoint, or not the whole inventory; the hint says what to do.
            SinkError, EncodingError: Kafka or the registry is away, or refuses.
        """
        self.check_absent()
        checkpoint = self._sink.recover()
        if checkpoint is None:
            raise StateError(
                "Kafka has no checkpoint of this transactional id: nothing was published that could be restored",
                hint="Check kafka.transactional_id and topic_prefix. If they are right, poll: epoch 1 begins.",
            )
        if checkpoint.entra_tenant_id != self._rules.tenant_id:
            raise StateError(
                f"Kafka's checkpoint is that of tenant {checkpoint.entra_tenant_id}, not of {self._rules.tenant_id}",
                hint="Give every tenant its own transactional_id.",
            )
        reports = self._read_reports(checkpoint)
        if reports.begun is not None:
            checkpoint = self._seal(checkpoint, reports, reports.begun)
            reports = self._read_reports(checkpoint)
        from_inventory = checkpoint.inventory_whole and self._transactions
        with drafted(self._path, self._options, self._export) as restoration:
            if from_inventory:
                self._load(restoration, Topic.INVENTORY, self._records())
            else:
                self._load(restoration, Topic.CHANGES, self._folded(checkpoint))
                _check_sequences(restoration, checkpoint)
            restoration.settle()
            counts = _checked_counts(restoration, reports, silent=not from_inventory)
            looked = {
                inventory: _looked_at(reports, inventory) for inventory in Inventory if reports.last_of(inventory)
            }
            restoration.write(
                self._rules, checkpoint, _rows(checkpoint, reports), self._crossings(min(looked.values())), looked
            )
        return Rebuilt(self._name_of(Topic.INVENTORY if from_inventory else Topic.CHANGES), counts, checkpoint)

    # ---- steps 2 and 3

    def _read_reports(self, checkpoint: Checkpoint) -> _Reports:
        """Step 2: the reports of the checkpoint's epoch, up to the checkpoint."""
        reports = _Reports()
        for _, report in self._values(Topic.SNAPSHOTS, checkpoint.epoch):
            if report["status"] == SnapshotStatus.STARTED:
                reports.begun = report if report["snapshotId"] == checkpoint.snapshot_id else None
            elif report["status"] == SnapshotStatus.COMPLETE and (report["lastSequence"] or 0) <= checkpoint.sequence:
                if self._transactions or not reports.seals or reports.seals[-1] != report:
                    reports.seals.append(report)
                reports.begun = None
        if not reports.seals or (reports.begun is not None and reports.begun["previousSnapshotId"] is None):
            raise StateError(
                f"the baseline of epoch {checkpoint.epoch} was not published to its end, or its reports are gone from"
                f" {self._name_of(Topic.SNAPSHOTS)}",
                hint=HINT,
            )
        if reports.begun is None and reports.seals[-1]["snapshotId"] != checkpoint.snapshot_id:
            raise StateError(
                f"the last seal on {self._name_of(Topic.SNAPSHOTS)} is that of {reports.seals[-1]['snapshotId']}, the"
                f" checkpoint is at {checkpoint.snapshot_id}",
                hint=HINT,
            )
        return reports

    def _seal(self, checkpoint: Checkpoint, reports: _Reports, begun: dict[str, Any]) -> Checkpoint:
        """Step 3: the seal of the part that was published. Its generation counts as unknown: it is fetched again."""
        first = begun["firstSequence"] or checkpoint.sequence + 1
        kinds = [
            change["changeType"]
            for _, change in self._values(Topic.CHANGES, checkpoint.epoch)
            if first <= change["sequence"] <= checkpoint.sequence
        ]
        alerts = sum(
            alert["snapshotId"] == begun["snapshotId"] for _, alert in self._values(Topic.ALERTS, checkpoint.epoch)
        ) - sum(seal["alerts"] for seal in reports.seals if seal["snapshotId"] == begun["snapshotId"])
        previous = reports.last_of(Inventory(begun["inventory"]))
        stored = None if previous is None else previous["stored"]
        now = milliseconds_of(self._clock())
        begun = _whole_report(begun)
        changes = {name: kinds.count(kind) for kind, name in CHANGE_COUNTS.items()}
        counts = replace(Counts.of_report(begun), **changes, alerts=alerts, held=0)
        report = begun | counts.as_report() | {
            "status": SnapshotStatus.COMPLETE.value,
            "reason": None,
            "stored": None if stored is None else stored + counts.baselined + counts.added - counts.removed,
            "firstSequence": first if kinds else None,
            "lastSequence": checkpoint.sequence if kinds else None,
            "generatedAt": None,
            "finishedAt": now,
            "connectorVersion": __version__,
        }  # fmt: skip
        sealed = replace(checkpoint, sealed=checkpoint.sealed + 1, written_at=max(now, checkpoint.written_at + 1))
        self._sink.publish([self._messages.encode_report(report)], sealed)
        # Read it back as the next instance would: the seal is visible once a recovery has come after it.
        return self._sink.recover() or sealed

    # ---- step 4

    def _load(self, restoration: Restoration, topic: Topic, events: Iterable[Event]) -> None:
        """Hand the events of a topic to the draft, `EVENTS_AT_ONCE` at a time."""
        self._progress.begin(f"reading {self._name_of(topic)}", parts=None)
        try:
            block: list[Event] = []
            for event in events:
                block.append(event)
                if len(block) == EVENTS_AT_ONCE:
                    restoration.add(block)
                    self._progress.advance(records=len(block))
                    block.clear()
            if block:
                restoration.add(block)
        finally:
            self._progress.end()

    def _records(self) -> Iterator[Event]:
        """The records and tombstones on the inventory topic."""
        for incoming in self._incoming(Topic.INVENTORY):
            key = key_of(incoming, 1 + len(self._export.keys))
            if key is None or incoming.key is None:
                continue
            shortened = incoming.headers.get("ce_shortenedfields")
            yield Event(
                incoming.key.decode(),
                incoming.partition,
                incoming.offset,
                key[0],
                shortened is not None and not self._keys.isdisjoint(shortened.decode().split(",")),
                None if incoming.value is None else self._messages.decode(incoming.value),
            )

    def _folded(self, checkpoint: Checkpoint) -> Iterator[Event]:
        """The changes of the epoch, as events of their key, and of the earlier key where the version changed."""
        for _, change in self._values(Topic.CHANGES, checkpoint.epoch):
            sequence, inventory = change["sequence"], change["inventory"]
            if sequence > checkpoint.sequence:
                continue
            cut = not self._keys.isdisjoint(change["shortenedFields"])
            for key, record in steps_of(self._export, change):
                yield Event(json.dumps(key), 0, sequence, inventory, cut, record)

    def _crossings(self, since: int) -> dict[str, str]:
        """What was raised for dates, and until when; not what would have been forgotten at `since`."""
        oldest = f"{moment_of(since) - calendar.CROSSING_KEPT:%Y-%m-%d}"
        crossings = (
            calendar.crossing_of(self._rules.tenant_id, alert) for _, alert in self._values(Topic.ALERTS, None)
        )
        return {name: until for name, until in filter(None, crossings) if until >= oldest}

    def _values(self, topic: Topic, epoch: int | None) -> Iterator[tuple[Incoming, dict[str, Any]]]:
        """This tenant's values on a topic, decoded, without replays; only those of `epoch` where that is not None."""
        for incoming in self._incoming(topic):
            if incoming.value is not None:
                value = self._messages.decode(incoming.value)
                if epoch in {None, value["epoch"]} and not value.get("replayed"):
                    yield incoming, value

    def _incoming(self, topic: Topic) -> Iterator[Incoming]:
        """This tenant's messages on a topic."""
        with self._open_reader() as reader:
            for incoming in reader.read_whole(self._name_of(topic)):
                if incoming.headers.get("ce_source") == self._messages.source:
                    yield incoming


def _check_sequences(restoration: Restoration, checkpoint: Checkpoint) -> None:
    """Step 5 of a fold: every change of the epoch is there."""
    count, first, last = restoration.sequences()
    if (count, last) != (checkpoint.sequence, checkpoint.sequence) or (count and first != 1):
        raise StateError(
            f"the changes topic has {count:,} of the {checkpoint.sequence:,} changes of epoch {checkpoint.epoch}:"
            " retention has deleted the beginning, or the topic was cut",
            hint=HINT,
        )


def _checked_counts(restoration: Restoration, reports: _Reports, *, silent: bool) -> dict[str, int]:
    """Step 5: the keys are whole, and each inventory has as many records as its last seal says."""
    if cut := restoration.cut():
        raise StateError(f"{counted(cut, 'record')} with a key that was shortened for the broker", hint=HINT)
    counts = restoration.counts()
    for inventory in Inventory:
        seal, records = reports.last_of(inventory), counts.get(inventory.value, 0)
        stored = 0 if seal is None else seal["stored"]
        if stored is None:
            raise StateError(
                f"the last seal of {inventory} is that of an earlier connector, and does not count the inventory",
                hint=HINT,
            )
        if records != stored:
            baseline = ": its baseline was not published, and the inventory topic is not whole" if silent else ""
            raise StateError(f"{inventory}: {records:,} of {stored:,} records are in Kafka{baseline}", hint=HINT)
    return counts


def _looked_at(reports: _Reports, inventory: Inventory) -> int:
    """When the dates of an inventory were certainly looked at: with the seal before the last.

    The last one may be that of step 3, for a snapshot whose alerts were published only in part.
    """
    seal = reports.last_of(inventory, before=1)
    assert seal is not None  # noqa: S101 - asked only for inventories that have a seal
    return int(_milliseconds(seal["finishedAt"]) or 0)


def _rows(checkpoint: Checkpoint, reports: _Reports) -> list[StagedSnapshot]:
    """The last sealed snapshot of each inventory as a row of `snapshots`; what a report does not say is left empty."""
    rows: dict[str, StagedSnapshot] = {}
    number, sequence, alert = checkpoint.sealed, checkpoint.sequence, checkpoint.alert_sequence
    for seal in reversed(reports.seals):
        if seal["inventory"] not in rows:
            rows[seal["inventory"]] = _row(seal, checkpoint.epoch, number, sequence, alert)
        number, alert = number - 1, alert - seal["alerts"]
        sequence = sequence if seal["firstSequence"] is None else seal["firstSequence"] - 1
    return list(rows.values())


def _row(seal: Mapping[str, Any], epoch: int, number: int, sequence: int, alert: int) -> StagedSnapshot:
    started, finished, generated = (_milliseconds(seal[name]) for name in ("startedAt", "finishedAt", "generatedAt"))
    return StagedSnapshot(
        snapshot_no=number,
        epoch=epoch,
        inventory=Inventory(seal["inventory"]),
        snapshot_id=seal["snapshotId"],
        previous_snapshot_id=seal["previousSnapshotId"],
        method=seal["method"] or "",
        generated_at=generated or started or 0,
        generation_known=generated is not None,
        content_digest="",
        started_at=started or 0,
        staged_at=finished or 0,
        baseline=seal["previousSnapshotId"] is None,
        counts=Counts.of_report(seal),
        hold_reason=seal["reason"],
        first_sequence=seal["firstSequence"],
        last_sequence=seal["lastSequence"],
        sequence_after=sequence,
        connector_version=seal["connectorVersion"],
        alert_after=alert,
    )


def _whole_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a report that was read into one to publish: times in milliseconds, and every field of this version."""
    fields: Sequence[Mapping[str, Any]] = json.loads(schemas.schema_of(Topic.SNAPSHOTS))["fields"]
    return {field["name"]: _milliseconds(report.get(field["name"], field.get("default"))) for field in fields}


def _milliseconds(value: Any) -> Any:  # noqa: ANN401 - any value of a field; only times are changed
    return milliseconds_of(value) if hasattr(value, "tzinfo") else value
