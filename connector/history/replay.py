"""Publishes past changes again: original ids, times and order, with `replayed` true.

Every batch is one Kafka transaction that also carries the replay's own checkpoint, under a transactional id derived
from the target and the filters. So a replay neither fences a connector that polls nor shares its checkpoint, and the
same command resumes one that was killed. The state file is only read.

    1. recover   fence an older instance of the same replay, read its checkpoint
    2. begin     no checkpoint, or a finished replay: start now, and end at the last snapshot that is sealed now;
                 otherwise keep the start and the end of the first run, and go on after its last change
    3. publish   batch by batch
    4. report    give the result to the caller
    5. finish    mark the checkpoint only then: a replay that was killed before anybody saw its result is resumed, not
                 started again, by the same command
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Any, Final, NamedTuple

from connector import __version__
from connector.clock import milliseconds_of, moment_of
from connector.errors import SinkUnavailable
from connector.exports.fields import Export
from connector.exports.software import SOFTWARE
from connector.history.blocks import PastChanges
from connector.history.filters import Filters
from connector.history.query import ChangeCount, JournalCursor, PastChange, Scope
from connector.kafka.encoders import ENGINE_ROWS_MIN
from connector.kafka.messages import Messages
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Message
from connector.state.journal import change_columns

REPLAYED: Final = {"replayed": True}
"""What replayed changes have in common beside what they had in common when they were new."""

ATTEMPTS_MAX: Final = 3
"""How often a replay recovers in a row without any progress."""


@dataclass(slots=True)
class ReplayResult:
    """The result of a replay: the object that `replay --json` prints.

    Attributes:
        topic: full name of the target.
        dry_run: nothing was published: the counts say what would be.
        resumed: this run resumed an earlier one; `changes` are those of this run.
        begun_at: when the first run of the replay began.
        changes: published and confirmed, or to be published.
        types: the same, by change type.
        first, last: the first and last change; None where there is none.
        journal_from: the oldest snapshot that the journal has; None where it is empty.
        cut: the filters ask for changes from before `journal_from`, which have been deleted.
    """

    topic: str
    dry_run: bool
    resumed: bool
    begun_at: datetime
    changes: int = 0
    types: dict[str, int] = field(default_factory=dict)
    first: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    journal_from: str | None = None
    cut: bool = False
    duration_seconds: float = 0.0


class _Batch(NamedTuple):
    """What one Kafka transaction replays.

    Attributes:
        types: its changes, by type.
        first, last: the first and last change, for people.
        cursor: just after it.
        messages: encoded, or to be encoded as they are read.
    """

    types: Counter[str]
    first: dict[str, Any]
    last: dict[str, Any]
    cursor: JournalCursor
    messages: Iterable[Message]


@dataclass(slots=True)
class _ReplayRun:
    """One run of a replay.

    Attributes:
        scope: the changes to replay.
        begun_at: when the first run of the replay began; milliseconds since 1970.
        upto_snapshot: number of the last snapshot to replay.
        after: the last change that Kafka has; None where it has none.
        unconfirmed: the batch that was given to Kafka and is not known to be confirmed; None where there is none.
    """

    scope: Scope
    begun_at: int
    upto_snapshot: int
    after: JournalCursor | None
    resumed: bool
    unconfirmed: _Batch | None = None


class Replay:
    """Replays one set of filters to one topic.

    Args:
        past_changes: the journal.
        messages: its topic of changes is the target.
        sink: with the transactional id of this replay.
        filters: which changes to replay.
        topic: full name of the target.
        tenant_id: of the checkpoints.
        batch_changes_max: changes in one Kafka transaction.
        rate: changes a second at most; 0 for no limit.
        clock: gives the current time, in UTC.
        stop: set to end between two batches.
        export: what the journal holds.
    """

    def __init__(  # noqa: PLR0913 - the seams of a replay, each named at the one place that wires them
        self,
        past_changes: PastChanges,
        messages: Messages,
        sink: Sink,
        *,
        filters: Filters,
        topic: str,
        tenant_id: str,
        batch_changes_max: int,
        rate: int,
        clock: Callable[[], datetime],
        stop: threading.Event,
        export: Export = SOFTWARE,
    ) -> None:
        self._past = past_changes
        self._messages = messages
        self._sink = sink
        self._filters = filters
        self._topic = topic
        self._tenant_id = tenant_id
        self._batch_changes_max = min(batch_changes_max, rate) if rate else batch_changes_max
        self._rate = rate
        self._clock = clock
        self._stop = stop
        self._export = export

    def dry_run(self) -> ReplayResult:
        """What a replay would publish if it began now; Kafka is not asked.

        Raises:
            ConfigError: a filter is not valid.
            StateError: the state file cannot be read.
        """
        begun = monotonic()
        run = self._begin(None)
        result = self._create_result(run, dry_run=True)
        counts = self._past.count(run.scope)
        result.changes, result.types = _sum(counts)
        if counts:
            first = next(self._past.read(run.scope, rows_max=1))
            last = next(self._past.read_newest(run.scope, 1)[0])
            result.first, result.last = _described(_facts(first[0])), _described(_facts(last[0]))
        result.duration_seconds = monotonic() - begun
        return result

    def run(
        self, report: Callable[[ReplayResult], None], *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Publish what Kafka does not have of this replay yet.

        Args:
            report: called with the result, before the replay is marked as finished.
            progress: called after each batch with the number of changes that this run has published, and its total.

        Raises:
            ConfigError: a filter is not valid.
            StateError: the state file cannot be read, or changes were deleted before they were published.
            SinkError, EncodingError: Kafka, or the schema registry, refuses it; the same command resumes.
            Stopped: between two batches; the same command resumes.
        """
        begun = monotonic()
        run = self._begin(self._sink.recover())
        result = self._create_result(run, dry_run=False)
        total = _sum(self._past.count(run.scope, after=run.after))[0] if progress else 0
        failures = 0
        while True:
            before = result.changes
            try:
                for _ in self._publish(run, result):
                    if progress:
                        progress(result.changes, total)
            except SinkUnavailable:
                failures = 1 if result.changes > before else failures + 1
                if failures == ATTEMPTS_MAX:
                    raise
                self._recover(run, result)
            else:
                break
        result.duration_seconds = monotonic() - begun
        report(result)
        if run.after is not None:
            self._finish(run, run.after)

    def _begin(self, checkpoint: Checkpoint | None) -> _ReplayRun:
        """Step 2: resume the replay of a checkpoint, or begin a new one."""
        if checkpoint is None or checkpoint.replay_begun_at is None or checkpoint.replay_finished:
            # To the millisecond, as the checkpoint has it: relative times must mean the same to a run that resumes.
            begun_at = milliseconds_of(self._clock())
            selection = self._filters.at(moment_of(begun_at))
            sealed = self._past.narrow(selection).published_snapshot
            scope = self._past.narrow(replace(selection, upto_snapshot=sealed))
            return _ReplayRun(scope, begun_at, sealed, after=None, resumed=False)
        selection = self._filters.at(moment_of(checkpoint.replay_begun_at))
        scope = self._past.narrow(replace(selection, upto_snapshot=checkpoint.sealed))
        after = JournalCursor(checkpoint.epoch, checkpoint.sequence)
        return _ReplayRun(scope, checkpoint.replay_begun_at, checkpoint.sealed, after=after, resumed=True)

    def _publish(self, run: _ReplayRun, result: ReplayResult) -> Iterator[None]:
        """Step 3. Yields after each batch that Kafka has confirmed."""
        begun, before = monotonic(), result.changes
        for batch in self._batches(run):
            run.unconfirmed = batch
            self._sink.publish(batch.messages, self._checkpoint(run, batch.cursor))
            _confirm(run, result)
            yield
            if self._rate:
                due = begun + (result.changes - before) / self._rate
                self._stop.wait(max(due - monotonic(), 0.0))

    def _batches(self, run: _ReplayRun) -> Iterator[_Batch]:
        """What to publish, batch by batch."""
        limit, encoder = self._batch_changes_max, None
        if limit >= ENGINE_ROWS_MIN:
            encoder = self._messages.change_encoder(change_columns(self._export))
        if encoder is None:
            for block in self._past.read(run.scope, after=run.after, rows_max=limit):
                encoded = (self._messages.encode_change(change | REPLAYED) for change in block)
                yield _batch_of([_facts(change) for change in block], encoded)
        else:
            for changes in self._past.read_encoded(run.scope, encoder, REPLAYED, after=run.after, rows_max=limit):
                yield _batch_of(changes, (change.message for change in changes))

    def _recover(self, run: _ReplayRun, result: ReplayResult) -> None:
        """Ask Kafka whether the last batch was committed."""
        checkpoint = self._sink.recover()
        if checkpoint is None or checkpoint.replay_begun_at != run.begun_at or checkpoint.replay_finished:
            return
        committed = JournalCursor(checkpoint.epoch, checkpoint.sequence)
        if run.unconfirmed is not None and committed == run.unconfirmed.cursor:
            _confirm(run, result)

    def _finish(self, run: _ReplayRun, last: JournalCursor) -> None:
        """Step 5. Marking it twice does no harm."""
        checkpoint = replace(self._checkpoint(run, last), replay_finished=True)
        try:
            self._sink.publish((), checkpoint)
        except SinkUnavailable:
            self._sink.recover()
            self._sink.publish((), checkpoint)

    def _checkpoint(self, run: _ReplayRun, cursor: JournalCursor) -> Checkpoint:
        return Checkpoint(
            transactional_id=self._sink.transactional_id,
            entra_tenant_id=self._tenant_id,
            epoch=cursor.epoch,
            sequence=cursor.sequence,
            sealed=run.upto_snapshot,
            snapshot_id=None,
            written_at=milliseconds_of(self._clock()),
            connector_version=__version__,
            replay_begun_at=run.begun_at,
        )

    def _create_result(self, run: _ReplayRun, *, dry_run: bool) -> ReplayResult:
        beginning = run.scope.beginning
        return ReplayResult(
            topic=self._topic,
            dry_run=dry_run,
            resumed=run.resumed,
            begun_at=moment_of(run.begun_at),
            journal_from=beginning.snapshot_id if beginning else None,
            cut=run.scope.cut,
        )


def _batch_of(changes: Sequence[PastChange[Any]], messages: Iterable[Message]) -> _Batch:
    first, last = changes[0], changes[-1]
    return _Batch(
        Counter(change.change_type for change in changes), _described(first), _described(last), last.cursor, messages
    )


def _confirm(run: _ReplayRun, result: ReplayResult) -> None:
    """Count the unconfirmed batch: Kafka has it."""
    batch, run.unconfirmed = run.unconfirmed, None
    assert batch is not None  # noqa: S101 - asked for a batch that was published
    run.after = batch.cursor
    result.changes += batch.types.total()
    result.types = dict(Counter(result.types) + batch.types)
    result.first = result.first or batch.first
    result.last = batch.last


def _facts(change: Mapping[str, Any]) -> PastChange[None]:
    """A mapping as a past change, without its message."""
    cursor = JournalCursor(change["epoch"], change["sequence"])
    return PastChange(cursor, change["snapshotId"], change["observedAt"], change["changeType"], change["eventId"], None)


def _described(change: PastChange[Any]) -> dict[str, Any]:
    """A change as the first or last of a range."""
    return {
        "event_id": change.event_id,
        "snapshot_id": change.snapshot_id,
        "observed_at": moment_of(change.observed_at),
        "epoch": change.cursor.epoch,
        "sequence": change.cursor.sequence,
    }


def _sum(counts: Sequence[ChangeCount]) -> tuple[int, dict[str, int]]:
    """All changes, and those of each type."""
    types: Counter[str] = Counter()
    for count in counts:
        types[count.change_type] += count.changes
    return types.total(), dict(types)
