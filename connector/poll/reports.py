"""Failed polls and stale exports, as reports.

The state file has a note for each inventory: what was reported already, and what still waits for Kafka. A failure is
reported once until a poll succeeds, however often it repeats; a stale export once for each generation. `publisher`
asks for what waits, and says when Kafka has it.

A report names the snapshot that failed, where the fetch got far enough to know its generation, else `cpe-unknown`. It
never names one that was staged, also where that generation is fetched again: COMPLETE stays the last message of its
snapshot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from connector import __version__
from connector.clock import milliseconds_of
from connector.errors import OUTAGES, ConnectorError, SnapshotError, SourceError, StateError, StateFull
from connector.model import Checkpoint, Counts, Inventory, SnapshotStatus, StagedSnapshot, snapshot_id_of
from connector.state.state import StateFile
from connector.telemetry import logger, remove_secrets

Times = tuple[datetime, datetime]

log = logger(__name__)

FAILURES: Final = (SourceError, SnapshotError, StateError)
"""What stops a poll as it fetches or stages. Trouble with Kafka is not among them, nor is another instance."""

UNREPORTED: Final = (StateFull,)
"""Those of them that are not reported: a backlog too large is Kafka's trouble, a full disk leaves no room for notes."""

REASON_CHARACTERS_MAX: Final = 500
FAILURES_MAX: Final = 20
"""Different failures reported between two polls that succeed."""

WAITING_MAX: Final = 50
"""Reports that wait for Kafka, for each inventory; beyond it the oldest is dropped."""

_VARIES: Final = re.compile(r"\w*\d[\w.:+-]*")
"""Words with a digit in them: ids, times, counts. They differ when the same failure happens again."""

_ATTEMPT: Final = "reports attempted"


@dataclass(slots=True)
class _Note:
    """The note of one inventory in the state file, whose JSON has these names.

    Attributes:
        told: failures reported since a poll last succeeded, without what varies.
        stale: the generation that was reported as stale, milliseconds since 1970.
        waiting: reports that Kafka has not confirmed.
    """

    told: list[str] = field(default_factory=list)
    stale: int | None = None
    waiting: list[dict[str, Any]] = field(default_factory=list)


class PollReports:
    """Notes one tenant's failed polls and stale exports, and publishes the reports of those that are news.

    Args:
        publish: publishes the reports that wait in a state file.
        stale_after: how old the newest generation may be.
        clock: now, in UTC.
    """

    def __init__(
        self, publish: Callable[[StateFile], None], *, stale_after: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._publish = publish
        self._stale_after = stale_after
        self._clock = clock

    def note_failure(
        self,
        state: StateFile,
        inventory: Inventory,
        error: ConnectorError,
        *,
        snapshot_id: str | None,
        begun_at: datetime,
        reachable: bool,
    ) -> None:
        """The poll of an inventory failed. Trouble with the report never hides that failure, unless it is a fence.

        Args:
            state: open for writing.
            inventory: which export.
            error: what the poll failed with.
            snapshot_id: of what was fetched; None where the fetch failed.
            begun_at: when the poll began.
            reachable: whether Kafka was there when the poll began.
        """
        if isinstance(error, UNREPORTED):
            return
        if snapshot_id is None and error.generated_at is not None:
            generation = snapshot_id_of(inventory, error.generated_at)
            snapshot_id = None if state.journal.is_taken(generation) else generation
        try:
            if self._add_failure(state, inventory, error, snapshot_id, begun_at) and reachable:
                self._publish(state)
        except (*OUTAGES, StateError) as trouble:
            log.warning("the failure is not reported yet", error=str(trouble), hint=trouble.hint)

    @staticmethod
    def note_success(state: StateFile, inventory: Inventory, *, advanced: bool) -> None:
        """The poll of an inventory succeeded; `advanced`: with a new generation. The next failure is news again."""
        note = _recall(state, inventory)
        if note.told or (advanced and note.stale is not None):
            note.told = []
            note.stale = None if advanced else note.stale
            _remember(state, inventory, note)

    def note_unchanged(self, state: StateFile, inventory: Inventory, *, begun_at: datetime, reachable: bool) -> bool:
        """The generation has not advanced. Returns whether the export is stale. Arguments as in `note_failure`.

        The first time that a generation turns out to be stale there is a report and a line in the log.
        """
        latest, now = state.journal.latest_snapshot(inventory), self._clock()
        if latest is None or not is_stale(latest, stale_after=self._stale_after, at=now):
            return False
        self._add_stale(state, latest, begun_at, now)
        if reachable:
            try:
                self._publish(state)
            except OUTAGES as trouble:
                log.warning("the stale export is not reported yet", error=str(trouble), hint=trouble.hint)
        return True

    def _add_failure(
        self,
        state: StateFile,
        inventory: Inventory,
        error: ConnectorError,
        snapshot_id: str | None,
        begun_at: datetime,
    ) -> bool:
        """Let a report of a failure wait. Returns false where it is no news."""
        note = _recall(state, inventory)
        reason = _reason(f"{type(error).__name__}: {error}")
        failure = f"{snapshot_id} {_VARIES.sub('#', reason)}"
        if failure in note.told or len(note.told) >= FAILURES_MAX:
            return False
        note.told.append(failure)
        report = {
            "snapshotId": snapshot_id or unknown_id(inventory),
            "status": SnapshotStatus.FAILED.value,
            "reason": reason,
        }
        _wait(note, state, inventory, report, (begun_at, self._clock()))
        _remember(state, inventory, note)
        return True

    def _add_stale(self, state: StateFile, latest: StagedSnapshot, begun_at: datetime, now: datetime) -> None:
        """Let a report of a stale generation wait, unless there was one."""
        inventory = latest.inventory
        note = _recall(state, inventory)
        if note.stale == latest.generated_at:
            return
        hours = self._stale_after.total_seconds() / 3600
        reason = f"STALE: no generation after {latest.observed_at:%Y-%m-%dT%H:%M:%SZ} for more than {hours:g} hours"
        log.warning("the export is stale: no newer generation came", inventory=inventory.value, reason=reason)
        note.stale = latest.generated_at
        report = {"snapshotId": unknown_id(inventory), "status": SnapshotStatus.STALE.value, "reason": reason}
        _wait(note, state, inventory, report, (begun_at, now))
        _remember(state, inventory, note)


def is_stale(latest: StagedSnapshot, *, stale_after: timedelta, at: datetime) -> bool:
    """Whether the newest generation known is older than it should ever be."""
    return at - latest.observed_at > stale_after


def waiting(state: StateFile, tenant_id: str) -> list[dict[str, Any]]:
    """The reports that wait for Kafka, oldest first, with all their fields.

    Left out is a failure of a snapshot that was staged after all, before Kafka could learn of the failure.
    """
    reports = [report for inventory in Inventory for report in _recall(state, inventory).waiting]
    reports.sort(key=lambda report: report["finishedAt"])
    return [
        _whole(report, tenant_id)
        for report in reports
        if not state.journal.is_staged(report["snapshotId"], epoch=report["epoch"])
    ]


def begin_attempt(state: StateFile, checkpoint: Checkpoint) -> None:
    """What waits is about to be published with this checkpoint; the next recovery sees whether it was."""
    state.remember(_ATTEMPT, str(checkpoint.written_at))


def settle(state: StateFile, checkpoint: Checkpoint | None) -> None:
    """Where Kafka's last checkpoint is that of an attempt, what waited was published with it."""
    if checkpoint is not None and state.recall(_ATTEMPT) == str(checkpoint.written_at):
        confirm(state)


def confirm(state: StateFile) -> None:
    """Kafka has what waited."""
    for inventory in Inventory:
        note = _recall(state, inventory)
        if note.waiting:
            note.waiting = []
            _remember(state, inventory, note)
    state.remember(_ATTEMPT, None)


def unknown_id(inventory: Inventory) -> str:
    """The snapshot id of a report where no generation is known: `cpe-unknown`."""
    return f"{inventory.label}-unknown"


def _wait(note: _Note, state: StateFile, inventory: Inventory, report: Mapping[str, str], times: Times) -> None:
    latest = state.journal.latest_snapshot(inventory)
    common = {
        "previousSnapshotId": latest.snapshot_id if latest else None,
        "inventory": inventory.value,
        "epoch": state.journal.position().epoch,
        "startedAt": milliseconds_of(times[0]),
        "finishedAt": milliseconds_of(times[1]),
        "connectorVersion": __version__,
    }
    note.waiting.append({**report, **common})
    if len(note.waiting) > WAITING_MAX:
        log.warning("too many reports wait for Kafka; the oldest is given up", report=note.waiting.pop(0))


def _whole(report: Mapping[str, Any], tenant_id: str) -> dict[str, Any]:
    """A `SnapshotReport` with nothing counted."""
    unknown = ("stored", "firstSequence", "lastSequence", "generatedAt", "method")
    return {"entraTenantId": tenant_id, **Counts().as_report(), **dict.fromkeys(unknown), **report}


def _reason(text: str) -> str:
    reason = str(remove_secrets(text))
    return reason if len(reason) <= REASON_CHARACTERS_MAX else reason[: REASON_CHARACTERS_MAX - 1] + "…"


def _recall(state: StateFile, inventory: Inventory) -> _Note:
    note = state.recall(f"reports {inventory}")
    return _Note(**json.loads(note)) if note else _Note()


def _remember(state: StateFile, inventory: Inventory, note: _Note) -> None:
    state.remember(f"reports {inventory}", json.dumps(asdict(note)))
