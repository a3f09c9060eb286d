"""From the state file to Kafka: which messages make up a batch, and the checkpoint that rides with it.

Owns steps 0, 1, 4 and 5 of a poll: recover, drain, publish, seal. Every batch is one Kafka transaction and is noted in
the state file after Kafka has committed it, never before; whatever is in doubt is asked of Kafka's own checkpoint. Must
not know a library, nor make a difference between publishing at once and publishing later: the same bytes go out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from connector.clock import milliseconds_of
from connector.errors import SinkUnavailable, Stopped
from connector.kafka.messages import Messages
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Message, SnapshotStatus, StagedSnapshot
from connector.poll import reports
from connector.poll.backfill import encode_change_records
from connector.staging.inventory_topic import Mirror
from connector.state.reconcile import standing_checkpoint
from connector.state.state import StateFile

PUBLISH_ATTEMPTS_MAX: Final = 3
"""How often one poll recovers and goes on publishing before it leaves the rest to the next poll."""


class Batch(NamedTuple):
    """What one transaction carries of a snapshot: changes and alerts beyond the first number, up to the second."""

    changes: tuple[int, int]
    alerts: tuple[int, int]
    begins: bool
    seals: bool


class Publisher:
    """Publishes one tenant's staged changes. One per process: its sink is the instance that Kafka knows.

    Args:
        messages: encodes what is published.
        sink: publishes it, a batch a Kafka transaction.
        tenant_id: of the checkpoints and reports.
        batch_changes_max: changes in one batch; a batch also carries the alerts that they raised, and may be filled up
            with alerts that no change raised.
        inventory_topic: whether what a change means for the inventory topic is published with it.
        clock: now, in UTC.
        stop: set by whoever wants publishing to end between two batches.
    """

    def __init__(
        self,
        messages: Messages,
        sink: Sink,
        *,
        tenant_id: str,
        batch_changes_max: int,
        inventory_topic: bool = False,
        clock: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._messages = messages
        self._sink = sink
        self._tenant_id = tenant_id
        self._batch_changes_max = batch_changes_max
        self._inventory_topic = inventory_topic
        self._clock = clock
        self._stop = stop

    def checkpoint(self) -> Checkpoint | None:
        """Take over, and return what Kafka has. Raises SinkError."""
        return self._sink.recover()

    def recover(self, state: StateFile) -> None:
        """Abort what an earlier instance left open, fence it, and tell the state file what Kafka has.

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
            SinkUnavailable: after some attempts, each begun from Kafka's own checkpoint.
            SinkError, EncodingError: Kafka, or the schema registry, does not take it.
            Stopped: between two batches.
        """
        before = state.journal.position().published_sequence
        if not self._inventory_topic:
            Mirror(state.database).forget()
        for attempt in range(1, PUBLISH_ATTEMPTS_MAX + 1):
            try:
                for snapshot in state.journal.unsealed_snapshots():
                    self._publish(state, snapshot)
            except SinkUnavailable:
                if attempt == PUBLISH_ATTEMPTS_MAX:
                    raise
                # Whether the last batch was committed is Kafka's to say.
                self.recover(state)
            else:
                break
        return state.journal.position().published_sequence - before

    def publish_reports(self, state: StateFile) -> None:
        """Publish the reports of failed polls and stale exports that wait; Kafka's position stays as it is.

        Nothing is done before everything staged is drained. The checkpoint that rides along is the last one, written
        anew: by its time the next recovery sees whether an attempt in doubt was committed.

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
        """One snapshot, batch by batch, from wherever Kafka has it."""
        sealed = False
        while not sealed:
            if self._stop.is_set():
                raise Stopped("stopped between two batches; the rest is published by the next poll")
            batch = self._next_batch(state, snapshot)
            checkpoint = replace(self._checkpoint(snapshot, batch), inventory_whole=self._is_whole(state))
            # Whatever ends the batch, the state file is not left in the middle of being read.
            with closing(self._messages_of(state, snapshot, batch)) as messages:
                self._sink.publish(messages, checkpoint)
            state.journal.confirm(checkpoint)
            sealed = batch.seals

    def _next_batch(self, state: StateFile, snapshot: StagedSnapshot) -> Batch:
        """What the next transaction carries: changes with their alerts, then, so far as there is room, the others."""
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

    def _messages_of(self, state: StateFile, snapshot: StagedSnapshot, batch: Batch) -> Generator[Message]:
        """The messages of one transaction: the begin, changes, alerts, and the seal, where they belong to it."""
        if batch.begins:
            yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.STARTED))
        after, upto = batch.changes
        for change in state.journal.changes(snapshot, after=after, limit=upto - after):
            yield self._messages.encode_change(change)
            if self._inventory_topic:
                yield from encode_change_records(self._messages, change)
        after, upto = batch.alerts
        for alert in state.journal.alerts(snapshot, after=after, limit=upto - after):
            yield self._messages.encode_alert(alert)
        if batch.seals:
            if snapshot.counts.held:
                yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.HELD))
            yield self._messages.encode_report(self._report(snapshot, SnapshotStatus.COMPLETE))

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
        """Whether the inventory topic is the inventory, and stays it with this batch."""
        return self._inventory_topic and Mirror(state.database).whole

    def _now(self) -> int:
        return milliseconds_of(self._clock())

    def _report(self, snapshot: StagedSnapshot, status: SnapshotStatus) -> dict[str, Any]:
        """A `SnapshotReport`; the counts of STARTED are those that the seal will have."""
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
