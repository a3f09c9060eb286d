"""One poll, in numbered steps.

    0. recover   fence an older instance, read Kafka's checkpoint, reconcile it with the state file
    1. drain     publish what was staged earlier and not yet confirmed
    2. fetch     one complete snapshot to disk, or nothing
    3. stage     one transaction of the state file: diff, guard, inventory, changes, alerts
    4. publish   the staged changes in bounded batches; the checkpoint rides in the same Kafka transaction
    5. seal      the last batch of a snapshot carries its report
    6. backfill  once the last inventory is done: the inventory topic is filled up, where it is not whole
    7. retire    old changes are deleted from the journal

An outage of Kafka stops steps 0, 1 and 4 to 6 only: what is fetched is staged all the same, for the export keeps no
history, and the backlog is drained in order once Kafka is back. What stops step 2 or 3 is reported, once, beside what
is published.

Where both inventories are polled, both are fetched before the first of them is staged, so that a product that moved to
the other is seen there. One that fails does not stop the other: the poll goes on, and fails at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from connector.clock import Stopwatch
from connector.errors import (
    OUTAGES,
    ConnectorError,
    SnapshotError,
    SourceMalformed,
    fault_of,
)
from connector.model import Hold, Inventory, Snapshot, StagedSnapshot
from connector.poll import doubt
from connector.poll.backfill import Backfill
from connector.poll.memory import MemoryShare
from connector.poll.publisher import Publisher
from connector.poll.reports import FAILURES, PollReports
from connector.poll.result import Outcome, PollResult, name_cause, staged_result, unchanged_result
from connector.poll.turns import Run, Turn
from connector.source.source import Source
from connector.staging import derived, maintenance
from connector.staging.derived import UNSIGNED
from connector.staging.holds import EVERYTHING, Choice
from connector.staging.stage import StagingRules, check_room, stage_snapshot
from connector.state.decisions import Signature
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

OPEN_SECONDS: Final = 5.0
"""How long a poll waits for a short verb of another process, such as `held approve`, to close the state file."""


class Approval(NamedTuple):
    """What came of approving what is held.

    Attributes:
        removed: the removals approved.
        outage: what kept them from Kafka, if anything did; the next poll publishes them.
        believed: records of which the next snapshot is believed, in its values or as its additions.
        remaining: records that are still held.
    """

    removed: int
    outage: ConnectorError | None = None
    believed: int = 0
    remaining: int = 0


class Pipeline:
    """Polls one tenant.

    Args:
        open_state: opens the state file, and waits that many seconds for another process to close it. The file stays
            open for one poll.
        open_scratch: opens it for a dry run, which writes nothing.
        source: fetches snapshots.
        publisher: publishes what is staged.
        backfill: fills up the inventory topic, where there is to be one.
        rules: `[diff]`, `[guard]`, `[alerts]` and `state.max_pending`.
        inventories: which exports to poll, in order.
        journal_retention: how long past changes are kept.
        reports: notes and reports failed polls and stale exports.
        fold: folds the changes of a snapshot into campaigns, for the result.
        memory: the share of memory that a poll takes before it compares.
        clock: now, in UTC.
    """

    def __init__(  # noqa: PLR0913 - the seams of a poll, each named at the one place that wires them
        self,
        *,
        open_state: Callable[[float], AbstractContextManager[StateFile]],
        open_scratch: Callable[[], AbstractContextManager[StateFile]],
        source: Source,
        publisher: Publisher,
        backfill: Backfill | None,
        rules: StagingRules,
        inventories: Sequence[Inventory],
        journal_retention: timedelta,
        reports: PollReports,
        fold: Callable[[StateFile, StagedSnapshot], Sequence[dict[str, Any]]],
        memory: Callable[[], MemoryShare],
        clock: Callable[[], datetime],
    ) -> None:
        self._open_state = open_state
        self._open_scratch = open_scratch
        self._source = source
        self._rules = rules
        self._inventories = tuple(inventories)
        self._journal_retention = journal_retention
        self._reports = reports
        self._fold = fold
        self._memory = memory
        self._clock = clock
        self._publisher = publisher
        self._backfill = backfill

    def poll(self, *, folds: bool = False) -> Iterator[PollResult]:
        """Take the steps of a poll. Yields the result of each inventory as soon as it is there.

        Args:
            folds: whether the results have campaigns: folding a large snapshot takes seconds.

        Raises:
            ConnectorError: whatever stopped the poll, or that of one inventory, once the other is done; what was staged
                stays staged.
        """
        with self._memory() as memory, self._open_state(OPEN_SECONDS) as state:
            run = Run(state, folds=folds)
            self._recover_and_drain(run)
            for inventory in self._inventories:
                with run.isolated():
                    self._fetch(run, inventory)
            for turn in run.in_turn():
                with run.isolated():
                    if turn.snapshot is not None and memory.take():
                        turn.stopwatch.lap("wait")
                    self._stage(run, turn)
                    self._publish_and_seal(run, turn)
                    self._conclude(run, turn)
                if turn is run.turns[-1]:
                    self._fill_up(run, turn)
                if turn.result is not None:
                    yield turn.result
            self._retire(state)
        run.raise_first_failure()

    def approve_held(
        self,
        choice: Choice = EVERYTHING,
        *,
        expected: Sequence[Hold] | None = None,
        signature: Signature = UNSIGNED,
        publish: bool = True,
        wait_seconds: float = 0.0,
    ) -> Approval:
        """Stage the removals that the guard holds, reason APPROVED, and publish them; believe what else is held.

        Args:
            choice: what of it.
            expected: what was held when a person looked; None where nobody did.
            signature: who approves it, and why.
            publish: false where another process publishes from the state file. Kafka is left to that process, which
                publishes the removals with its next poll.
            wait_seconds: how long to wait for another process to close the state file.

        Raises:
            StateLocked: another process still has the state file open; nothing was approved.
            HoldChanged: something else is held by now; nothing was approved.
            SinkFenced: another instance took over; what was approved stays staged.
        """
        outage: ConnectorError | None = None
        with self._open_state(wait_seconds) as state:
            try:
                if publish:
                    self._publisher.recover(state)
            except OUTAGES as error:
                outage = error
            held = state.journal.held_count()
            approved = derived.approve_held(
                state, self._rules, now=self._clock(), choice=choice, expected=expected, signature=signature
            )
            remaining = state.journal.held_count()
            try:
                if publish and outage is None:
                    self._publisher.drain(state)
            except OUTAGES as error:
                outage = error
        removed = sum(snapshot.counts.removed for snapshot in approved)
        return Approval(removed, outage, held - remaining - removed, remaining)

    def rebaseline(self, *, wait_seconds: float = 0.0) -> int:
        """Begin a new epoch, beyond whatever Kafka knows, and take over from an older instance. Returns its number.

        Raises:
            StateLocked: another process still has the state file open.
            SinkError: Kafka cannot be asked.
        """
        with self._open_state(wait_seconds) as state:
            return maintenance.rebaseline(state, self._publisher.checkpoint())

    def dry_run(self, show: Callable[[Mapping[str, Any]], None] | None = None) -> Iterator[PollResult]:
        """What a poll would publish; nothing is written to the state file, and Kafka is not asked.

        Args:
            show: given every change, and then every alert, in order, before the result.
        """
        with self._open_scratch() as state:
            run = Run(state, dry=True, folds=True)
            for inventory in self._inventories:
                with run.isolated():
                    self._fetch(run, inventory)
        for turn in run.in_turn():
            with self._open_scratch() as state:
                pending = state.journal.position().pending
                staged = self._staged(state, turn, keep=False)
                if turn.snapshot is not None:
                    self._source.discard(turn.snapshot)
                if staged is None:
                    yield unchanged_result(state, "unchanged", turn.inventory, turn.stopwatch)
                    continue
                if show:
                    for event in _events(state, staged):
                        show(event)
                result = staged_result(state, "dry_run", staged, turn.stopwatch, self._campaigns(run, state, staged))
                yield replace(result, fetched_bytes=turn.fetched_bytes, pending=pending)
        run.raise_first_failure()

    # ---- the steps

    def _recover_and_drain(self, run: Run) -> None:
        """Steps 0 and 1; then the reports that wait."""
        step, before = "recover", None
        try:
            self._publisher.recover(run.state)
            run.stopwatch.lap(step)
            step, before = "drain", run.state.journal.position().published_sequence
            self._publisher.drain(run.state)
            self._publisher.publish_reports(run.state)
        except OUTAGES as error:
            cause = name_cause(error)
            log.warning("the poll goes on without publishing", cause=cause, error=str(error), hint=error.hint)
            run.outage = error
        run.stopwatch.lap(step)
        # An outage may have let a part through.
        run.drained = 0 if before is None else run.state.journal.position().published_sequence - before

    def _fetch(self, run: Run, inventory: Inventory) -> None:
        """Step 2. Adds the turn of the inventory, or reports why there is none."""
        turn = Turn(inventory, self._clock(), run.stopwatch)
        try:
            with self._reporting(run, turn):
                turn.snapshot = self._newer_snapshot(run.state, turn)
                run.turns.append(turn)
        finally:
            run.stopwatch = Stopwatch()

    def _newer_snapshot(self, state: StateFile, turn: Turn) -> Snapshot | None:
        """A newer generation, or the newest one again where it is in doubt and has other content now.

        A repeat of the previous snapshot, where the generation is unknown, is none.
        """
        check_room(state.journal.position(), self._rules)
        previous = state.journal.latest_snapshot(turn.inventory)
        newer_than = state.journal.newest_generation(turn.inventory, now=self._clock())
        snapshot = self._source.fetch(
            turn.inventory,
            newer_than=newer_than,
            again=previous is not None
            and previous.generation_known
            and previous.observed_at == newer_than
            and doubt.is_doubted(state, previous, self._rules.guard),
            known_digest=previous.content_digest if previous else None,
            is_taken=state.journal.is_taken,
        )
        turn.stopwatch.lap("fetch")
        turn.is_repeat = snapshot is not None and snapshot.generation_known and snapshot.generated_at == newer_than
        if turn.is_repeat:
            log.warning("the generation was in doubt and has other content now", inventory=turn.inventory.value)
        return snapshot

    def _stage(self, run: Run, turn: Turn) -> None:
        """Step 3; once it is done, the snapshot's files are not needed any more."""
        with self._reporting(run, turn):
            try:
                turn.staged = self._staged(run.state, turn, keep=True)
            except SnapshotError:
                if turn.snapshot is not None:
                    self._source.discard(turn.snapshot)  # or the next poll would go on with the same files
                raise
        self._reports.note_success(run.state, turn.inventory, advanced=turn.has_advanced)
        if turn.snapshot is not None:
            self._source.discard(turn.snapshot)

    def _staged(self, state: StateFile, turn: Turn, *, keep: bool) -> StagedSnapshot | None:
        """What there is to stage: a snapshot, or the alerts that a new day brings without one.

        Where a line cannot be read, the bad lines are set aside first, and removals are held.
        """
        snapshot = turn.snapshot
        if snapshot is None:
            return derived.stage_due_alerts(state, turn.inventory, self._rules, now=self._clock())
        common: Any = {"started_at": turn.started_at, "now": self._clock(), "beside": turn.beside, "keep": keep}
        try:
            staged = stage_snapshot(state, snapshot, self._rules, **common)
        except SourceMalformed as error:
            repaired, rejected = self._source.repair(snapshot)
            log.warning("lines that cannot be read were set aside", rejected=rejected, first=str(error))
            staged = stage_snapshot(state, repaired, self._rules, rejected=rejected, **common)
        turn.stopwatch.lap("stage")
        doubt.report_lasting_holds(state, staged)
        return staged

    def _publish_and_seal(self, run: Run, turn: Turn) -> None:
        """Steps 4 and 5; what an outage stops is published by the next poll."""
        if turn.staged is None or run.outage is not None:
            return
        before = run.state.journal.position().published_sequence
        try:
            self._publisher.drain(run.state)
        except OUTAGES as error:
            log.warning("staged, but not published", error=str(error), hint=error.hint)
            run.outage = error
        turn.stopwatch.lap("publish")
        turn.published = run.state.journal.position().published_sequence - before

    def _conclude(self, run: Run, turn: Turn) -> None:
        """Make the result. Where the generation has not advanced for long, that is reported.

        Raises:
            SinkError, EncodingError: the outage, where there was nothing to stage and nothing is pending either.
        """
        state, staged, outage = run.state, turn.staged, run.outage
        stale = turn.snapshot is None and self._reports.note_unchanged(
            state, turn.inventory, begun_at=turn.started_at, reachable=outage is None
        )
        if staged is not None:
            outcome: Outcome = "staged" if outage else "held" if staged.counts.held else "published"
            result = staged_result(state, outcome, staged, turn.stopwatch, self._campaigns(run, state, staged))
        elif outage is None or _is_pending(state):
            outcome = "staged" if outage else "unchanged"
            result = unchanged_result(state, outcome, turn.inventory, turn.stopwatch)
        else:
            raise outage
        drained, run.drained = run.drained, 0
        turn.result = replace(
            result,
            published=drained + turn.published,
            drained=drained,
            fetched_bytes=turn.fetched_bytes,
            outage=outage,
            stale=stale,
        )

    def _campaigns(self, run: Run, state: StateFile, staged: StagedSnapshot) -> Sequence[dict[str, Any]]:
        return self._fold(state, staged) if run.folds else ()

    def _fill_up(self, run: Run, turn: Turn) -> None:
        """Step 6, with the last inventory, of whose result it becomes a part."""
        if self._backfill is None or turn.result is None or run.outage is not None:
            return
        outage, backfilled = None, 0
        try:
            backfilled = self._backfill.run(run.state)
        except OUTAGES as error:
            log.warning("the inventory topic is not filled up", error=str(error), hint=error.hint)
            outage = error
        turn.stopwatch.lap("backfill")
        turn.result = replace(
            turn.result,
            backfilled=backfilled,
            outage=outage,
            stages=turn.stopwatch.seconds,
            duration_seconds=turn.stopwatch.total,
        )

    def _retire(self, state: StateFile) -> None:
        """Step 7, by the older of both clocks, ours and the export's: one that jumps ahead deletes no history."""
        now = min([self._clock(), *(latest.observed_at for latest in state.journal.recent_snapshots(1))])
        maintenance.retire(state, older_than=now - self._journal_retention)

    @contextmanager
    def _reporting(self, run: Run, turn: Turn) -> Iterator[None]:
        """Report what stops a turn inside the block; an exception that nothing expected becomes one of ours."""
        try:
            yield
        except FAILURES as error:
            self._report_failure(run, turn, error)
            raise
        except ConnectorError:
            raise
        except Exception as error:
            fault = fault_of(error)
            self._report_failure(run, turn, fault)
            raise fault from error

    def _report_failure(self, run: Run, turn: Turn, error: ConnectorError) -> None:
        if not run.dry:
            self._reports.note_failure(
                run.state,
                turn.inventory,
                error,
                snapshot_id=turn.snapshot.snapshot_id if turn.snapshot else None,
                begun_at=turn.started_at,
                reachable=run.outage is None,
            )


def _is_pending(state: StateFile) -> bool:
    """Whether changes or alerts wait for Kafka."""
    position = state.journal.position()
    return position.pending > 0 or position.published_alert != position.last_alert


def _events(state: StateFile, staged: StagedSnapshot) -> Iterator[Mapping[str, Any]]:
    """All changes of a staged snapshot, then all its alerts."""
    yield from state.journal.changes(staged, after=0, limit=staged.last_sequence or 0)
    yield from state.journal.alerts(staged, after=0, limit=staged.alert_after)
