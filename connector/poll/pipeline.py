"""The order of one poll, in numbered steps. Knows no library: source, state, codec and sink do the work.

    0. recover   fence an older instance, read Kafka's checkpoint, reconcile it with the state file
    1. drain     publish what was staged earlier and not yet confirmed
    2. fetch     one complete snapshot to disk, or nothing
    3. stage     one transaction of the state file: diff, guard, inventory, changes, alerts
    4. publish   the staged changes in bounded batches; the checkpoint rides in the same Kafka transaction
    5. seal      the last batch of a snapshot carries its report

Owns that order and what a poll answers. An outage of Kafka stops steps 0, 1, 4 and 5 only: what is fetched is staged
all the same, for the export keeps no history, and the backlog is drained in order once Kafka is back. What stops step 2
or 3 is reported, once, beside what is published.

Where both inventories are polled, both are fetched before the first of them is staged, so that a product that moved to
the other is seen there. One that fails does not stop the other: the poll goes on, and fails at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from connector.clock import Stopwatch
from connector.errors import OUTAGES, ConnectorError, SnapshotError, SourceError, SourceMalformed
from connector.model import Inventory, Snapshot, StagedSnapshot
from connector.poll.backfill import Backfill
from connector.poll.publisher import Publisher
from connector.poll.reports import FAILURES, Reporter
from connector.poll.result import Outcome, PollResult, result, unchanged
from connector.source.source import Source
from connector.staging import derived, maintenance
from connector.staging.stage import StagingRules, check_room, stage_snapshot
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

ISOLATED: Final = (SourceError, SnapshotError, *OUTAGES)
"""What stops the poll of one inventory, and not that of the other."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What step 2 came to for one inventory; no `snapshot` where the generation has not advanced."""

    inventory: Inventory
    started_at: datetime
    watch: Stopwatch
    snapshot: Snapshot | None = None


class Pipeline:
    """Polls one tenant.

    Args:
        open_state: opens the state file; it is held for one poll.
        open_scratch: opens it for a dry run, which writes nothing.
        source: fetches snapshots.
        publisher: publishes what is staged.
        backfill: fills up the inventory topic, where there is to be one.
        rules: `[diff]`, `[guard]` and `state.max_pending`.
        inventories: which exports to poll, in order.
        journal_retention: how long past changes are kept.
        reporter: tells of failed polls and stale exports.
        clock: now, in UTC.
    """

    def __init__(  # noqa: PLR0913 - the seams of a poll, each named at the one place that wires them
        self,
        *,
        open_state: Callable[[], AbstractContextManager[StateFile]],
        open_scratch: Callable[[], AbstractContextManager[StateFile]],
        source: Source,
        publisher: Publisher,
        backfill: Backfill | None,
        rules: StagingRules,
        inventories: Sequence[Inventory],
        journal_retention: timedelta,
        reporter: Reporter,
        clock: Callable[[], datetime],
    ) -> None:
        self._open_state = open_state
        self._open_scratch = open_scratch
        self._source = source
        self._rules = rules
        self._inventories = tuple(inventories)
        self._journal_retention = journal_retention
        self._reporter = reporter
        self._clock = clock
        self._publisher = publisher
        self._backfill = backfill

    def poll(self) -> Iterator[PollResult]:
        """One poll: a result for each inventory, as soon as it is there.

        Raises:
            ConnectorError: whatever stopped the poll, or that of one inventory, once the other is done; what was staged
                stays staged.
        """
        failures: list[ConnectorError] = []
        with self._open_state() as state:
            watch = Stopwatch()
            outage, drained = self._drain(state, watch)
            fetched = self._fetch_all(state, watch, failures, reach=outage is None)
            for one, beside in _in_turn(fetched):
                try:
                    found = self._poll(state, one, beside, outage, drained)
                except ISOLATED as error:
                    failures += [error] * (error not in failures)
                    continue
                outage, drained = found.outage, 0
                yield self._filled_up(state, found, one.watch) if one is fetched[-1] else found
            self._retire(state)
        _raise_first(failures)

    def approve_held(self) -> int:
        """Publish what the guard holds as REMOVED, reason APPROVED. Returns the number of removals.

        Raises:
            SinkError: they are staged, and published by the next poll.
        """
        with self._open_state() as state:
            self._publisher.recover(state)
            approved = derived.approve_held(state, self._rules, now=self._clock())
            self._publisher.drain(state)
            return sum(snapshot.counts.removed for snapshot in approved)

    def rebaseline(self) -> int:
        """Begin a new epoch, beyond whatever Kafka knows. Returns its number.

        Raises:
            SinkError: Kafka cannot be asked.
        """
        with self._open_state() as state:
            return maintenance.rebaseline(state, self._publisher.checkpoint())

    def dry_run(self, show: Callable[[Mapping[str, Any]], None] | None = None) -> Iterator[PollResult]:
        """What a poll would publish; nothing is written to the state file, and Kafka is not asked.

        Args:
            show: given every change, and then every alert, in order, before the result.
        """
        failures: list[ConnectorError] = []
        with self._open_scratch() as state:
            fetched = self._fetch_all(state, Stopwatch(), failures, reach=None)
        for one, beside in _in_turn(fetched):
            with self._open_scratch() as state:
                if one.snapshot is None:
                    dated = derived.stage_due_alerts(state, one.inventory, self._rules, now=self._clock())
                    if dated is None:
                        yield unchanged(state, one.inventory, one.watch)
                        continue
                    staged = dated
                else:
                    staged = self._stage(state, one.snapshot, one, beside, keep=False)
                    self._source.discard(one.snapshot)
                if show:
                    for event in _events(state, staged):
                        show(event)
                yield result(state, "dry_run", staged, one.watch, snapshot=one.snapshot)
        _raise_first(failures)

    def _retire(self, state: StateFile) -> None:
        """Let go of what is old by both clocks, ours and the export's: one that jumps ahead takes no history along."""
        now = min([self._clock(), *(latest.observed_at for latest in state.journal.recent_snapshots(1))])
        maintenance.retire(state, older_than=now - self._journal_retention)

    def _drain(self, state: StateFile, watch: Stopwatch) -> tuple[ConnectorError | None, int]:
        """Steps 0 and 1. Returns what stopped them, if anything did, and the number of changes published."""
        try:
            self._publisher.recover(state)
            watch.lap("recover")
            drained = self._publisher.drain(state)
            self._publisher.publish_reports(state)
        except OUTAGES as error:
            log.warning("Kafka is not available, the poll goes on without it", error=str(error), hint=error.hint)
            watch.lap("recover")
            return error, 0
        watch.lap("drain")
        return None, drained

    def _fetch_all(
        self, state: StateFile, watch: Stopwatch, failures: list[ConnectorError], *, reach: bool | None
    ) -> list[_Fetched]:
        """Step 2 for every inventory.

        `watch` is the first one's; `failures` gets what could not be fetched; `reach` says whether Kafka can be told of
        that, None for a dry run, of which nothing is told.
        """
        fetched = []
        for inventory in self._inventories:
            one = _Fetched(inventory, self._clock(), watch)
            try:
                fetched.append(replace(one, snapshot=self._fetch(state, inventory, watch)))
            except FAILURES as error:
                if reach is not None:
                    self._failed(state, one, error, reach=reach)
                if not isinstance(error, ISOLATED):
                    raise
                failures.append(error)
            watch = Stopwatch()
        return fetched

    def _failed(self, state: StateFile, one: _Fetched, error: ConnectorError, *, reach: bool) -> None:
        self._reporter.failed(state, one.inventory, error, snapshot=one.snapshot, begun_at=one.started_at, reach=reach)

    def _poll(
        self, state: StateFile, one: _Fetched, beside: Snapshot | None, outage: ConnectorError | None, drained: int
    ) -> PollResult:
        """Steps 3 to 5 for one inventory; `beside` is a snapshot of the other one that is staged next."""
        inventory, snapshot, watch, staged = one.inventory, one.snapshot, one.watch, None
        try:
            if snapshot is None:
                staged = derived.stage_due_alerts(state, inventory, self._rules, now=self._clock())
            else:
                staged = self._stage(state, snapshot, one, beside, keep=True)
        except FAILURES as error:
            self._failed(state, one, error, reach=outage is None)
            raise
        self._reporter.succeeded(state, inventory, advanced=snapshot is not None)
        if snapshot is not None:
            self._source.discard(snapshot)
        before = state.journal.position().published_sequence
        if staged is not None and outage is None:
            try:
                self._publisher.drain(state)
            except OUTAGES as error:
                log.warning("staged, but not published", error=str(error), hint=error.hint)
                outage = error
            watch.lap("publish")
        stale = snapshot is None and self._reporter.unchanged(
            state, inventory, begun_at=one.started_at, reach=outage is None
        )
        if staged is None:
            return _nothing_new(state, inventory, watch, outage, published=drained, stale=stale)
        published = drained + state.journal.position().published_sequence - before
        outcome: Outcome = "staged" if outage else "held" if staged.counts.held else "published"
        found = result(state, outcome, staged, watch, snapshot=snapshot, published=published, outage=outage)
        return replace(found, stale=stale)

    def _filled_up(self, state: StateFile, found: PollResult, watch: Stopwatch) -> PollResult:
        """The result of the last inventory, once the inventory topic is filled up; an outage leaves it as it is."""
        if self._backfill is None or found.outage is not None:
            return found
        outage, backfilled = None, 0
        try:
            backfilled = self._backfill.run(state)
        except OUTAGES as error:
            log.warning("the inventory topic is not filled up", error=str(error), hint=error.hint)
            outage = error
        watch.lap("backfill")
        return replace(found, backfilled=backfilled, outage=outage, stages=watch.seconds, duration_seconds=watch.total)

    def _fetch(self, state: StateFile, inventory: Inventory, watch: Stopwatch) -> Snapshot | None:
        """Step 2. A repeat of the previous snapshot, where the generation is unknown, counts as unchanged."""
        check_room(state.journal.position(), self._rules)
        previous = state.journal.latest_snapshot(inventory)
        newer_than = previous.observed_at if previous and previous.generation_known else None
        snapshot = self._source.fetch(inventory, newer_than=newer_than)
        watch.lap("fetch")
        if snapshot is None or previous is None or snapshot.generation_known:
            return snapshot
        if snapshot.content_digest != previous.content_digest:
            return snapshot
        self._source.discard(snapshot)
        return None

    def _stage(
        self, state: StateFile, snapshot: Snapshot, one: _Fetched, beside: Snapshot | None, *, keep: bool
    ) -> StagedSnapshot:
        """Step 3. Where a line cannot be read, the bad lines are set aside first, and removals are held."""
        times: Any = {"started_at": one.started_at, "now": self._clock()}
        try:
            staged = stage_snapshot(state, snapshot, self._rules, beside=beside, keep=keep, **times)
        except SourceMalformed as error:
            repaired, rejected = self._source.repair(snapshot)
            log.warning("lines that cannot be read were set aside", rejected=rejected, first=str(error))
            staged = stage_snapshot(state, repaired, self._rules, rejected=rejected, beside=beside, keep=keep, **times)
        one.watch.lap("stage")
        return staged


def _in_turn(fetched: Sequence[_Fetched]) -> Iterator[tuple[_Fetched, Snapshot | None]]:
    """Each inventory, with the snapshot of the one that is staged after it."""
    for place, one in enumerate(fetched):
        one.watch.resume()
        yield one, next((other.snapshot for other in fetched[place + 1 :]), None)


def _raise_first(failures: Sequence[ConnectorError]) -> None:
    """Raise the first of them, now that the other inventory is done."""
    for further in failures[1:]:
        log.error("another inventory failed too", error=str(further), hint=further.hint)
    if failures:
        raise failures[0]


def _nothing_new(
    state: StateFile,
    inventory: Inventory,
    watch: Stopwatch,
    outage: ConnectorError | None,
    *,
    published: int,
    stale: bool,
) -> PollResult:
    """Neither a new snapshot nor a due alert. Without Kafka that is a failure, but where something is pending."""
    if outage is None:
        return unchanged(state, inventory, watch, published=published, stale=stale)
    position = state.journal.position()
    if not position.pending and position.published_alert == position.last_alert:
        raise outage
    return unchanged(state, inventory, watch, outcome="staged", outage=outage, stale=stale)


def _events(state: StateFile, staged: StagedSnapshot) -> Iterator[Mapping[str, Any]]:
    """All changes of a staged snapshot, then all its alerts."""
    yield from state.journal.changes(staged, after=0, limit=staged.last_sequence or 0)
    yield from state.journal.alerts(staged, after=0, limit=staged.alert_after)
