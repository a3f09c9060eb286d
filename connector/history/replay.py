"""Publishes past changes again: original ids, times and order, `replayed` true. Knows no library.

Owns which batch comes next and the checkpoint of a replay. Every batch is one Kafka transaction with that checkpoint
inside, under a transactional id that target and filters make: so it neither fences a connector that polls nor shares
its checkpoint, and the same command goes on where a killed one was. The state file is only read.

    1. recover   fence an older instance of the same replay, read its checkpoint
    2. begin     where there is none, or it is finished: take the time, and what is sealed now is where it ends;
                 where there is one: the same time and the same end, and on after its place
    3. publish   batch by batch
    4. report    the result is said
    5. finish    only then is the checkpoint marked, so that a replay killed before anybody knew of its end is not begun
                 anew by whoever asks for it again
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Any, Final

from connector import __version__
from connector.clock import milliseconds_of, moment_of
from connector.errors import SinkUnavailable
from connector.history.blocks import Past
from connector.history.filters import Filters
from connector.history.query import Place, Scope, Tally
from connector.kafka.messages import Messages
from connector.kafka.sink import Sink
from connector.model import Checkpoint, Message

ATTEMPTS_MAX: Final = 3
"""How often a replay recovers in a row without coming any further."""


@dataclass(slots=True)
class ReplayResult:
    """What a replay came to: the object that `replay --json` prints.

    Attributes:
        topic: full name of the target.
        dry_run: nothing was published: the counts say what would be.
        resumed: an earlier run of the same replay was gone on with; `changes` are those since then.
        begun_at: when the replay began, the first of its runs.
        changes: published and confirmed, or to be published.
        types: the same, by change type.
        first, last: the first and last change; None where there is none.
        journal_from: the oldest snapshot that the journal has; None where it is empty.
        cut: the filters ask for changes from before `journal_from`, and those were let go of.
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


@dataclass(slots=True)
class _Course:
    """One run of a replay.

    Attributes:
        scope: what is meant.
        begun_at: when the replay began, the first of its runs; milliseconds since 1970.
        upto_snapshot: the last snapshot that it reaches to.
        after: how far Kafka has it; None where it has nothing.
        doubtful: the batch that was given to Kafka and is not known to be confirmed.
    """

    scope: Scope
    begun_at: int
    upto_snapshot: int
    after: Place | None
    resumed: bool
    doubtful: Sequence[dict[str, Any]] = ()


class Replay:
    """Replays one set of filters to one topic.

    Args:
        past: the journal.
        messages: its topic of changes is the target.
        sink: with the transactional id of this replay.
        filters: what is meant.
        topic: full name of the target.
        tenant_id: of the checkpoints.
        batch_changes_max: changes in one Kafka transaction.
        rate: changes a second at most; 0 for no limit.
        clock: now, in UTC.
        stop: set to end between two batches.
    """

    def __init__(  # noqa: PLR0913 - the seams of a replay, each named at the one place that wires them
        self,
        past: Past,
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
    ) -> None:
        self._past = past
        self._messages = messages
        self._sink = sink
        self._filters = filters
        self._topic = topic
        self._tenant_id = tenant_id
        self._batch_changes_max = min(batch_changes_max, rate) if rate else batch_changes_max
        self._rate = rate
        self._clock = clock
        self._stop = stop

    def dry_run(self) -> ReplayResult:
        """What a replay would publish, were it begun now; Kafka is not asked.

        Raises:
            ConfigError: a filter means nothing.
            StateError: the state file cannot be read.
        """
        begun = monotonic()
        course = self._begun(None)
        result = self._result(course, dry_run=True)
        tallies = self._past.tally(course.scope)
        result.changes, result.types = _counts(tallies)
        if tallies:
            first = next(self._past.blocks(course.scope, rows_max=1))
            last = next(self._past.newest(course.scope, 1)[0])
            result.first, result.last = _told(first[0]), _told(last[0])
        result.duration_seconds = monotonic() - begun
        return result

    def run(
        self, report: Callable[[ReplayResult], None], *, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Publish, from wherever Kafka has this replay, to its end.

        Args:
            report: given the result, before the replay is marked as finished.
            progress: told after each batch how many changes this run published, and how many it has to.

        Raises:
            ConfigError: a filter means nothing.
            StateError: the state file cannot be read, or changes were let go of before they were published.
            SinkError, EncodingError: Kafka, or the schema registry, does not take it; the same command goes on.
            Stopped: between two batches; the same command goes on.
        """
        begun = monotonic()
        course = self._begun(self._sink.recover())
        result = self._result(course, dry_run=False)
        total = _counts(self._past.tally(course.scope, after=course.after))[0] if progress else 0
        failures = 0
        while True:
            before = result.changes
            try:
                for _ in self._publish(course, result):
                    if progress:
                        progress(result.changes, total)
            except SinkUnavailable:
                failures = 1 if result.changes > before else failures + 1
                if failures == ATTEMPTS_MAX:
                    raise
                self._recover(course, result)
            else:
                break
        result.duration_seconds = monotonic() - begun
        report(result)
        if course.after is not None:
            self._finish(course, course.after)

    def _begun(self, checkpoint: Checkpoint | None) -> _Course:
        """Steps 1 and 2: on with what a checkpoint says, or a new beginning."""
        if checkpoint is None or checkpoint.replay_begun_at is None or checkpoint.replay_finished:
            # To the millisecond, as the checkpoint has it: what is relative must mean the same to whoever goes on.
            begun_at = milliseconds_of(self._clock())
            selection = self._filters.at(moment_of(begun_at))
            sealed = self._past.scope(selection).published_snapshot
            scope = self._past.scope(replace(selection, upto_snapshot=sealed))
            return _Course(scope, begun_at, sealed, after=None, resumed=False)
        selection = self._filters.at(moment_of(checkpoint.replay_begun_at))
        scope = self._past.scope(replace(selection, upto_snapshot=checkpoint.sealed))
        place = Place(checkpoint.epoch, checkpoint.sequence)
        return _Course(scope, checkpoint.replay_begun_at, checkpoint.sealed, after=place, resumed=True)

    def _publish(self, course: _Course, result: ReplayResult) -> Iterator[None]:
        """Step 3. Yields after each batch that Kafka has confirmed."""
        begun, before = monotonic(), result.changes
        for block in self._past.blocks(course.scope, after=course.after, rows_max=self._batch_changes_max):
            course.doubtful = block
            self._sink.publish(self._messages_of(block), self._checkpoint(course, _place(block[-1])))
            _confirm(course, result)
            yield
            if self._rate:
                due = begun + (result.changes - before) / self._rate
                self._stop.wait(max(due - monotonic(), 0.0))

    def _messages_of(self, block: Sequence[dict[str, Any]]) -> Iterator[Message]:
        return (self._messages.encode_change(change | {"replayed": True}) for change in block)

    def _recover(self, course: _Course, result: ReplayResult) -> None:
        """Whether the last batch was committed is Kafka's to say."""
        found = self._sink.recover()
        if found is None or found.replay_begun_at != course.begun_at or found.replay_finished:
            return
        if course.doubtful and Place(found.epoch, found.sequence) == _place(course.doubtful[-1]):
            _confirm(course, result)

    def _finish(self, course: _Course, place: Place) -> None:
        """Step 5. To be marked twice does no harm."""
        checkpoint = replace(self._checkpoint(course, place), replay_finished=True)
        try:
            self._sink.publish((), checkpoint)
        except SinkUnavailable:
            self._sink.recover()
            self._sink.publish((), checkpoint)

    def _checkpoint(self, course: _Course, place: Place) -> Checkpoint:
        return Checkpoint(
            transactional_id=self._sink.transactional_id,
            entra_tenant_id=self._tenant_id,
            epoch=place.epoch,
            sequence=place.sequence,
            sealed=course.upto_snapshot,
            snapshot_id=None,
            written_at=milliseconds_of(self._clock()),
            connector_version=__version__,
            replay_begun_at=course.begun_at,
        )

    def _result(self, course: _Course, *, dry_run: bool) -> ReplayResult:
        beginning = course.scope.beginning
        return ReplayResult(
            topic=self._topic,
            dry_run=dry_run,
            resumed=course.resumed,
            begun_at=moment_of(course.begun_at),
            journal_from=beginning.snapshot_id if beginning else None,
            cut=course.scope.cut,
        )


def _confirm(course: _Course, result: ReplayResult) -> None:
    """The batch in doubt is in Kafka."""
    block, course.doubtful = course.doubtful, ()
    course.after = _place(block[-1])
    result.changes += len(block)
    counts = Counter(change["changeType"] for change in block)
    result.types = dict(Counter(result.types) + counts)
    result.first = result.first or _told(block[0])
    result.last = _told(block[-1])


def _place(change: Mapping[str, Any]) -> Place:
    return Place(change["epoch"], change["sequence"])


def _told(change: Mapping[str, Any]) -> dict[str, Any]:
    """A change as the end of a range."""
    return {
        "event_id": change["eventId"],
        "snapshot_id": change["snapshotId"],
        "observed_at": moment_of(change["observedAt"]),
        "epoch": change["epoch"],
        "sequence": change["sequence"],
    }


def _counts(tallies: Sequence[Tally]) -> tuple[int, dict[str, int]]:
    """All changes, and those of each type."""
    types: Counter[str] = Counter()
    for each in tallies:
        types[each.change_type] += each.changes
    return types.total(), dict(types)
