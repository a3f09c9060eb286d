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
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from connector.errors import OUTAGES, SourceMalformed
from connector.failures import FAILURES
from connector.telemetry import logger
from connector.timing import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from connector.backfill import Backfill
    from connector.errors import ConnectorError
    from connector.failures import Reporter
    from connector.model import Inventory, Snapshot
    from connector.publisher import Publisher
    from connector.source import Source
    from connector.state import StagedSnapshot, StagingRules, State

log = logger(__name__)

Outcome = Literal["published", "staged", "unchanged", "held", "dry_run"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("published", "staged", "unchanged", "held", "dry_run")
EXIT_CODES: Final[dict[Outcome, int]] = {"published": 0, "staged": 1, "unchanged": 0, "held": 3, "dry_run": 0}


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll of one inventory came to: the object that `poll --json` prints.

    Attributes:
        outcome: `published`; `staged` (safe in the state file, Kafka not available); `unchanged` (the generation has
            not advanced); `held` (published, but removals wait for a person); `dry_run`.
        baseline: records taken as the baseline; published only with `diff.baseline = "emit"`.
        held: removals that the guard began to hold with this snapshot.
        holding: removals that the guard holds now, whichever snapshot they are held since.
        stale: whether the generation has not advanced for `poll.stale_after_hours`.
        published: changes confirmed by Kafka in this poll, a drained backlog included.
        alert_types: alerts staged in this poll, by type.
        backfilled: records and tombstones published to fill up the inventory topic.
        duration_seconds: of the whole poll of this inventory.
        stages: seconds a step: recover, drain, fetch, stage, publish.
    """

    outcome: Outcome
    inventory: Inventory
    snapshot_id: str | None
    epoch: int
    records: int = 0
    devices: int = 0
    baseline: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    alerts: int = 0
    held: int = 0
    duplicates: int = 0
    rejected: int = 0
    published: int = 0
    backfilled: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    fetched_bytes: int = 0
    generated_at: datetime | None = None
    pending: int = 0
    holding: int = 0
    stale: bool = False
    duration_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    outage: ConnectorError | None = None
    alert_types: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code that the outcome asks for; an outage is worth another try, whatever came before it."""
        return EXIT_CODES[self.outcome] or int(self.outage is not None)

    def as_json(self) -> dict[str, Any]:
        """The contract of `poll --json`, in its order."""
        names = (
            "outcome", "inventory", "snapshot_id", "epoch", "records", "devices", "baseline", "added", "removed",
            "changed", "alerts", "held", "duplicates", "rejected", "published", "first_sequence", "last_sequence",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {
            "duration_seconds": round(self.duration_seconds, 3),
            "stages": {name: round(seconds, 3) for name, seconds in self.stages.items()},
            "backfilled": self.backfilled,
        }


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
        open_state: Callable[[], AbstractContextManager[State]],
        open_scratch: Callable[[], AbstractContextManager[State]],
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
            ConnectorError: whatever stopped the poll; what was staged stays staged.
        """
        with self._open_state() as state:
            watch = Stopwatch()
            outage, drained = self._drain(state, watch)
            for inventory in self._inventories:
                result = self._poll(state, inventory, watch, outage, drained)
                outage, drained = result.outage, 0
                yield self._filled_up(state, result, watch) if inventory is self._inventories[-1] else result
                watch = Stopwatch()
            self._retire(state)

    def approve_held(self) -> int:
        """Publish what the guard holds as REMOVED, reason APPROVED. Returns the number of removals.

        Raises:
            SinkError: they are staged, and published by the next poll.
        """
        with self._open_state() as state:
            self._publisher.recover(state)
            approved = state.approve_held(self._rules, now=self._clock())
            self._publisher.drain(state)
            return sum(snapshot.removed for snapshot in approved)

    def rebaseline(self) -> int:
        """Begin a new epoch, beyond whatever Kafka knows. Returns its number.

        Raises:
            SinkError: Kafka cannot be asked.
        """
        with self._open_state() as state:
            return state.rebaseline(self._publisher.checkpoint())

    def dry_run(self, show: Callable[[Mapping[str, Any]], None] | None = None) -> Iterator[PollResult]:
        """What a poll would publish; nothing is written to the state file, and Kafka is not asked.

        Args:
            show: given every change, and then every alert, in order, before the result.
        """
        for inventory in self._inventories:
            watch = Stopwatch()
            started_at = self._clock()
            with self._open_scratch() as state:
                snapshot = self._fetch(state, inventory, watch)
                if snapshot is None:
                    dated = state.stage_due_alerts(inventory, self._rules, now=self._clock())
                    if dated is None:
                        yield _unchanged(state, inventory, watch)
                        continue
                    staged = dated
                else:
                    staged = self._stage(state, snapshot, started_at, watch, keep=False)
                    self._source.discard(snapshot)
                if show:
                    for event in _events(state, staged):
                        show(event)
                yield _result(state, "dry_run", staged, watch, snapshot=snapshot)

    def _retire(self, state: State) -> None:
        """Let go of what is old by both clocks, ours and the export's: one that jumps ahead takes no history along."""
        now = min([self._clock(), *(latest.observed_at for latest in state.recent_snapshots(1))])
        state.retire(older_than=now - self._journal_retention)

    def _drain(self, state: State, watch: Stopwatch) -> tuple[ConnectorError | None, int]:
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

    def _poll(
        self, state: State, inventory: Inventory, watch: Stopwatch, outage: ConnectorError | None, drained: int
    ) -> PollResult:
        """Steps 2 to 5 for one inventory."""
        started_at = self._clock()
        snapshot = staged = None
        try:
            snapshot = self._fetch(state, inventory, watch)
            if snapshot is None:
                staged = state.stage_due_alerts(inventory, self._rules, now=self._clock())
            else:
                staged = self._stage(state, snapshot, started_at, watch, keep=True)
        except FAILURES as error:
            self._reporter.failed(state, inventory, error, snapshot=snapshot, begun_at=started_at, reach=outage is None)
            raise
        self._reporter.succeeded(state, inventory, advanced=snapshot is not None)
        if snapshot is not None:
            self._source.discard(snapshot)
        before = state.position().published_sequence
        if staged is not None and outage is None:
            try:
                self._publisher.drain(state)
            except OUTAGES as error:
                log.warning("staged, but not published", error=str(error), hint=error.hint)
                outage = error
            watch.lap("publish")
        stale = snapshot is None and self._reporter.unchanged(
            state, inventory, begun_at=started_at, reach=outage is None
        )
        if staged is None:
            return _nothing_new(state, inventory, watch, outage, published=drained, stale=stale)
        published = drained + state.position().published_sequence - before
        outcome: Outcome = "staged" if outage else "held" if staged.held else "published"
        result = _result(state, outcome, staged, watch, snapshot=snapshot, published=published, outage=outage)
        return replace(result, stale=stale)

    def _filled_up(self, state: State, result: PollResult, watch: Stopwatch) -> PollResult:
        """The result of the last inventory, once the inventory topic is filled up; an outage leaves it as it is."""
        if self._backfill is None or result.outage is not None:
            return result
        outage, backfilled = None, 0
        try:
            backfilled = self._backfill.run(state)
        except OUTAGES as error:
            log.warning("the inventory topic is not filled up", error=str(error), hint=error.hint)
            outage = error
        watch.lap("backfill")
        return replace(result, backfilled=backfilled, outage=outage, stages=watch.seconds, duration_seconds=watch.total)

    def _fetch(self, state: State, inventory: Inventory, watch: Stopwatch) -> Snapshot | None:
        """Step 2. A repeat of the previous snapshot, where the generation is unknown, counts as unchanged."""
        state.check_room(self._rules)
        previous = state.latest_snapshot(inventory)
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
        self, state: State, snapshot: Snapshot, started_at: datetime, watch: Stopwatch, *, keep: bool
    ) -> StagedSnapshot:
        """Step 3. Where a line cannot be read, the bad lines are set aside first, and removals are held."""
        try:
            staged = state.stage(snapshot, self._rules, started_at=started_at, now=self._clock(), keep=keep)
        except SourceMalformed as error:
            repaired, rejected = self._source.repair(snapshot)
            log.warning("lines that cannot be read were set aside", rejected=rejected, first=str(error))
            staged = state.stage(
                repaired, self._rules, started_at=started_at, now=self._clock(), rejected=rejected, keep=keep
            )
        watch.lap("stage")
        return staged


def _nothing_new(
    state: State,
    inventory: Inventory,
    watch: Stopwatch,
    outage: ConnectorError | None,
    *,
    published: int,
    stale: bool,
) -> PollResult:
    """Neither a new snapshot nor a due alert. Without Kafka that is a failure, but where something is pending."""
    if outage is None:
        return _unchanged(state, inventory, watch, published=published, stale=stale)
    position = state.position()
    if not position.pending and position.published_alert == position.last_alert:
        raise outage
    return _unchanged(state, inventory, watch, outcome="staged", outage=outage, stale=stale)


def _events(state: State, staged: StagedSnapshot) -> Iterator[Mapping[str, Any]]:
    """All changes of a staged snapshot, then all its alerts."""
    yield from state.changes(staged, after=0, limit=staged.last_sequence or 0)
    yield from state.alerts(staged, after=0, limit=staged.alert_after)


def _result(
    state: State,
    outcome: Outcome,
    staged: StagedSnapshot,
    watch: Stopwatch,
    *,
    snapshot: Snapshot | None,
    published: int = 0,
    outage: ConnectorError | None = None,
) -> PollResult:
    return PollResult(
        outcome=outcome,
        inventory=staged.inventory,
        snapshot_id=staged.snapshot_id,
        epoch=staged.epoch,
        records=staged.records,
        devices=staged.devices,
        baseline=staged.records if staged.baseline else 0,
        added=staged.added,
        removed=staged.removed,
        changed=staged.changed,
        alerts=staged.alerts,
        held=staged.held,
        duplicates=staged.duplicates,
        rejected=staged.rejected,
        published=published,
        first_sequence=staged.first_sequence,
        last_sequence=staged.last_sequence,
        fetched_bytes=snapshot.fetched_bytes if snapshot else 0,
        generated_at=staged.observed_at,
        pending=state.position().pending,
        holding=state.held_count(staged.inventory),
        alert_types=state.alert_types(staged),
        duration_seconds=watch.total,
        stages=watch.seconds,
        outage=outage,
    )


def _unchanged(
    state: State,
    inventory: Inventory,
    watch: Stopwatch,
    *,
    outcome: Outcome = "unchanged",
    published: int = 0,
    outage: ConnectorError | None = None,
    stale: bool = False,
) -> PollResult:
    latest, position = state.latest_snapshot(inventory), state.position()
    return PollResult(
        outcome=outcome,
        inventory=inventory,
        snapshot_id=latest.snapshot_id if latest else None,
        epoch=position.epoch,
        records=latest.records if latest else 0,
        devices=latest.devices if latest else 0,
        published=published,
        generated_at=latest.observed_at if latest else None,
        pending=position.pending,
        holding=state.held_count(inventory),
        stale=stale,
        duration_seconds=watch.total,
        stages=watch.seconds,
        outage=outage,
    )
