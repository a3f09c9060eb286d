"""Publishes what is staged in the state file: steps 0, 1, 4 and 5 of a poll.

A batch is one Kafka transaction, with the checkpoint in it. The state file notes a batch after Kafka has committed it,
never before; where a commit is in doubt, Kafka's own checkpoint decides. Publishing later, or again, sends the same
bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from connector.clock import milliseconds_of
from connector.errors import SinkUnavailable, Stopped
from connector.kafka.encoders import ENGINE_ROWS_MIN
from connector.kafka.messages import Messages
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Message, SnapshotStatus, StagedSnapshot
from connector.poll import reports
from connector.poll.backfill import ChangeRecordEncoder, encode_change_records, record_encoder
from connector.staging.inventory_topic import Mirror
from connector.state.journal import alert_columns, change_columns
from connector.state.reconcile import standing_checkpoint
from connector.state.state import StateFile

PUBLISH_ATTEMPTS_MAX: Final = 3
"""Attempts in one poll, each from Kafka's own checkpoint, before the rest is left to the next poll."""


class Batch(NamedTuple):
    """The part of a snapshot that one transaction carries.

    Attributes:
        changes, alerts: the numbers to begin after, and to end with.
        begins: whether it is the first of its snapshot, with the report STARTED.
        seals: whether it is the last, with the report COMPLETE.
    """

    changes: tuple[int, int]
    alerts: tuple[int, int]
    begins: bool
    seals: bool


class Publisher:
    """Publishes what is staged for one tenant. A process has one: its sink is the instance that Kafka knows.

    Args:
        messages: encodes what is published.
        sink: publishes each batch in a Kafka transaction.
        tenant_id: the tenant in checkpoints and reports.
        batch_changes_max: changes in one batch; a batch also carries the alerts that they raised, and may be filled up
            with alerts that no change raised.
        inventory_topic: whether the inventory topic is kept, in the same transactions as the changes.
        campaigns: folds the changes of a snapshot into the campaigns that its last transaction carries.
        clock: now, in UTC.
        stop: once set, ends publishing between two batches.
    """

    def __init__(  # noqa: PLR0913 - the seams of a publisher, each named at the one place that wires them
        self,
        messages: Messages,
        sink: Sink,
        *,
        tenant_id: str,
        batch_changes_max: int,
        inventory_topic: bool = False,
        campaigns: Callable[[StateFile, StagedSnapshot], Iterable[Mapping[str, Any]]] = lambda *_: (),
        clock: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._tenant_id = tenant_id
        self._batch_changes_max = batch_changes_max
        self._inventory_topic = inventory_topic
        self._campaigns = campaigns
        self._clock = clock
        self._stop = stop

    def checkpoint(self) -> Checkpoint | None:
        """Fence an older instance, and return Kafka's checkpoint. Raises SinkError."""
        return self._sink.recover()

    def recover(self, state: StateFile) -> None:
        """Fence an older instance, abort what it left open, and bring the state file in line with Kafka's checkpoint.

        Raises:
            SinkError: Kafka is away, refuses, or another instance took over.
            StateBehindCheckpoint, CheckpointLost: file and Kafka do not belong together.
        """
        checkpoint = self.checkpoint()
        state.journal.reconcile(checkpoint)
        reports.settle(state, checkpoint)

    def drain(self, state: StateFile) -> int:
        """Publish every staged snapshot to its seal, oldest first. Returns the number of changes published.

        Raises:
            SinkUnavailable: after `PUBLISH_ATTEMPTS_MAX` attempts.
            SinkError, EncodingError: Kafka, or the schema registry, does not take it.
            Stopped: between two batches.
        """
        before = state.journal.position().published_sequence
        if not self._inventory_topic:
            Mirror(state.database, state.export).forget()
        for attempt in range(1, PUBLISH_ATTEMPTS_MAX + 1):
            try:
                for snapshot in state.journal.unsealed_snapshots():
                    self._publish(state, snapshot)
            except SinkUnavailable:
                if attempt == PUBLISH_ATTEMPTS_MAX:
                    raise
                # Only Kafka knows whether the last batch was committed.
                self.recover(state)
            else:
                break
        return state.journal.position().published_sequence - before

    def publish_reports(self, state: StateFile) -> None:
        """Publish the reports of failed polls and stale exports that wait. Kafka's position does not move.

        Does nothing before everything staged is drained. The checkpoint is the last one with a new time, by which the
        next recovery sees whether an attempt in doubt was committed.

        Raises:
            SinkError, EncodingError: Kafka, or the schema registry, does not take them; they go on waiting.
        """
        waiting = reports.waiting(state, self._tenant_id)
        position, newest = state.journal.position(), state.journal.recent_snapshots(1)
        if not waiting or not position.drained:
            return
        standing = standing_checkpoint(
            position,
            newest[0] if newest else None,
            transactional_id=self._sink.transactional_id,
            tenant_id=self._tenant_id,
            written_at=max(self._now(), (position.published_at or 0) + 1),
        )
        checkpoint = replace(standing, inventory_whole=self._is_whole(state))
        reports.begin_attempt(state, checkpoint)
        self._sink.publish((self._messages.encode_report(report) for report in waiting), checkpoint)
        state.journal.confirm(checkpoint)
        reports.confirm(state)

    def _publish(self, state: StateFile, snapshot: StagedSnapshot) -> None:
        """Publish one snapshot, batch by batch, from where Kafka's checkpoint is."""
        sealed = False
        while not sealed:
            if self._stop.is_set():
                raise Stopped("stopped between two batches; the rest is published by the next poll")
            batch = self._next_batch(state, snapshot)
            checkpoint = replace(self._checkpoint(snapshot, batch), inventory_whole=self._is_whole(state))
            # Before the transaction begins: a fold of many changes takes its time.
            campaigns = list(self._campaigns(state, snapshot)) if batch.seals else []
            # However the batch ends, the read from the state file is closed.
            with closing(self._messages_of(state, snapshot, batch, campaigns)) as messages:
                self._sink.publish(messages, checkpoint)
            state.journal.confirm(checkpoint)
            sealed = batch.seals

    def _next_batch(self, state: StateFile, snapshot: StagedSnapshot) -> Batch:
        """The next transaction: changes with their alerts, then, where there is room, alerts that no change raised."""
        position = state.journal.position()
        after, alert_after = position.published_sequence, position.published_alert
        last = snapshot.last_sequence or after
        upto = min(last, after + self._batch_changes_max)
        alert_upto = max(alert_after, state.journal.alert_upto(snapshot, upto))
        if upto == last:
            alert_upto = min(snapshot.alert_after, alert_upto + self._batch_changes_max - (upto - after))
        return Batch(
            (after, upto),
            (alert_after, alert_upto),
            begins=after < (snapshot.first_sequence or after + 1) and alert_after == snapshot.alert_before,
            seals=upto == last and alert_upto == snapshot.alert_after,
        )

    def _messages_of(
        self, state: StateFile, snapshot: StagedSnapshot, batch: Batch, campaigns: Iterable[Mapping[str, Any]]
    ) -> Generator[Message]:
        """The messages of one transaction: begin, changes, alerts, campaigns and seal, as far as it has them."""
        if batch.begins:
            yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.STARTED))
        yield from self._changes(state, snapshot, *batch.changes)
        yield from self._alerts(state, snapshot, *batch.alerts)
        if batch.seals:
            yield from map(self._messages.encode_campaign, campaigns)
            if snapshot.counts.held:
                yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.HELD))
            yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.COMPLETE))

    def _changes(self, state: StateFile, snapshot: StagedSnapshot, after: int, upto: int) -> Iterator[Message]:
        """The messages of changes, and of what they mean for the inventory topic."""
        limit, encoder = upto - after, None
        if limit >= ENGINE_ROWS_MIN:
            encoder = self._messages.change_encoder(change_columns(state.export))
        if encoder is not None:
            changes = state.journal.encoded_changes(snapshot, after=after, limit=limit, encoder=encoder)
            yield from self._beside_records(state, snapshot, after, limit, changes)
            return
        for change in state.journal.changes(snapshot, after=after, limit=limit):
            yield self._messages.encode_change(change)
            if self._inventory_topic:
                yield from encode_change_records(self._messages, state.export, change)

    def _beside_records(
        self, state: StateFile, snapshot: StagedSnapshot, after: int, limit: int, changes: Iterator[Message]
    ) -> Iterator[Message]:
        """Encoded changes, each with what it means for the inventory topic behind it."""
        records = record_encoder(self._messages, state.export) if self._inventory_topic else None
        if records is None:
            yield from changes
            return
        encoder = ChangeRecordEncoder(self._messages, state.export, records)
        steps = state.journal.encoded_changes(snapshot, after=after, limit=limit, encoder=encoder)
        for change, messages in zip(changes, steps, strict=True):
            yield change
            yield from messages

    def _alerts(self, state: StateFile, snapshot: StagedSnapshot, after: int, upto: int) -> Iterator[Message]:
        """The messages of alerts."""
        limit, encoder = upto - after, None
        if limit >= ENGINE_ROWS_MIN:
            encoder = self._messages.alert_encoder(alert_columns(state.export))
        if encoder is not None:
            return state.journal.encoded_alerts(snapshot, after=after, limit=limit, encoder=encoder)
        return map(self._messages.encode_alert, state.journal.alerts(snapshot, after=after, limit=limit))

    def _checkpoint(self, snapshot: StagedSnapshot, batch: Batch) -> Checkpoint:
        return Checkpoint(
            transactional_id=self._sink.transactional_id,
            entra_tenant_id=self._tenant_id,
            epoch=snapshot.epoch,
            sequence=batch.changes[1],
            alert_sequence=batch.alerts[1],
            sealed=snapshot.snapshot_no if batch.seals else snapshot.snapshot_no - 1,
            snapshot_id=snapshot.snapshot_id,
            written_at=self._now(),
            connector_version=snapshot.connector_version,
        )

    def _is_whole(self, state: StateFile) -> bool:
        """Whether the inventory topic equals the inventory, before and after this batch."""
        return self._inventory_topic and Mirror(state.database, state.export).whole

    def _now(self) -> int:
        return milliseconds_of(self._clock())

    def _report(self, snapshot: StagedSnapshot, status: SnapshotStatus) -> dict[str, Any]:
        """A `SnapshotReport`; STARTED has the same counts as the seal that follows."""
        return {
            "snapshotId": snapshot.snapshot_id,
            "previousSnapshotId": snapshot.previous_snapshot_id,
            "entraTenantId": self._tenant_id,
            "inventory": snapshot.inventory.value,
            "status": status.value,
            **snapshot.counts.as_report(),
            "epoch": snapshot.epoch,
            "firstSequence": snapshot.first_sequence,
            "lastSequence": snapshot.last_sequence,
            "generatedAt": snapshot.generated_at if snapshot.generation_known else None,
            "startedAt": snapshot.started_at,
            "finishedAt": None if status is SnapshotStatus.STARTED else snapshot.staged_at,
            "method": snapshot.method,
            "reason": snapshot.hold_reason if status is not SnapshotStatus.STARTED else None,
            "connectorVersion": snapshot.connector_version,
        }
