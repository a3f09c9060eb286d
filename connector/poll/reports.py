"""Failed polls and stale exports, as reports: what is told, what was told already, and what still waits for Kafka.

Owns their words, and the note of them in the state file, one for each inventory. A failure is told once until a poll
ends well, however often it repeats; a stale export once for each generation. What Kafka was not there for waits in the
note. Must not make messages: that is `publisher`, which asks for what waits and says when Kafka has it.

The snapshot of a report is the one that failed, where the fetch came as far as to know its generation, and else
`cpe-unknown`. It is never one that was staged: COMPLETE stays the last message of its snapshot.
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
from connector.model import Checkpoint, Inventory, Snapshot, SnapshotStatus, StagedSnapshot, snapshot_id_of
from connector.state.state import StateFile
from connector.telemetry import logger, remove_secrets

Times = tuple[datetime, datetime]

log = logger(__name__)

FAILURES: Final = (SourceError, SnapshotError, StateError)
"""What a poll fails with whole, as it fetches or stages. Trouble with Kafka is none, nor is another instance."""

UNREPORTED: Final = (StateFull,)
"""Of those, what is Kafka's trouble after all (its backlog has grown too large), or leaves no room for a note."""

REASON_CHARACTERS_MAX: Final = 500
TOLD_MAX: Final = 20
"""Different failures told between two polls that end well."""

WAITING_MAX: Final = 50
"""Reports that wait for Kafka, for each inventory; beyond it the oldest is given up."""

_VARIES: Final = re.compile(r"\w*\d[\w.:+-]*")
"""Words with a digit in them: ids, times, counts. The same failure has others the next time."""

_ATTEMPT: Final = "reports attempted"


@dataclass(slots=True)
class _Note:
    """What the state file remembers for one inventory.

    Attributes:
        told: failures told since a poll last ended well, without what varies.
        stale: generation that was told as stale, milliseconds since 1970.
        waiting: reports that Kafka has not confirmed.
    """

    told: list[str] = field(default_factory=list)
    stale: int | None = None
    waiting: list[dict[str, Any]] = field(default_factory=list)


class Reporter:
    """Tells of one tenant's failed polls and stale exports.

    Args:
        publish: publishes what waits in a state file.
        stale_after: how old the newest generation may be.
        clock: now, in UTC.
    """

    def __init__(
        self, publish: Callable[[StateFile], None], *, stale_after: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._publish = publish
        self._stale_after = stale_after
        self._clock = clock

    def failed(
        self,
        state: StateFile,
        inventory: Inventory,
        error: ConnectorError,
        *,
        snapshot: Snapshot | None,
        begun_at: datetime,
        reach: bool,
    ) -> None:
        """A poll failed whole. Never hides the failure by another, but for a fence.

        Args:
            state: open for writing.
            inventory: which export.
            error: what it failed with.
            snapshot: what was fetched, where the fetch was not what failed.
            begun_at: begin of the poll.
            reach: whether Kafka was there when the poll began.
        """
        if isinstance(error, UNREPORTED):
            return
        snapshot_id = snapshot.snapshot_id if snapshot else None
        if snapshot_id is None and error.generated_at is not None:
            snapshot_id = snapshot_id_of(inventory, error.generated_at)
        try:
            news = note_failure(state, inventory, error, snapshot_id=snapshot_id, times=(begun_at, self._clock()))
            if news and reach:
                self._publish(state)
        except (*OUTAGES, StateError) as trouble:
            log.warning("the failure is not reported yet", error=str(trouble), hint=trouble.hint)

    @staticmethod
    def succeeded(state: StateFile, inventory: Inventory, *, advanced: bool) -> None:
        """A poll fetched and staged well, or found nothing new: the next failure is news again."""
        note_success(state, inventory, advanced=advanced)

    def unchanged(self, state: StateFile, inventory: Inventory, *, begun_at: datetime, reach: bool) -> bool:
        """The generation has not advanced. Returns whether the export is stale. Arguments as in `failed`."""
        latest = state.journal.latest_snapshot(inventory)
        if latest is None:
            return False
        stale = note_stale(state, latest, stale_after=self._stale_after, times=(begun_at, self._clock()))
        if stale and reach:
            try:
                self._publish(state)
            except OUTAGES as trouble:
                log.warning("the stale export is not reported yet", error=str(trouble), hint=trouble.hint)
        return stale


def note_failure(
    state: StateFile, inventory: Inventory, error: ConnectorError, *, snapshot_id: str | None, times: Times
) -> bool:
    """A poll of an inventory failed whole. Returns whether that is news, for which a report waits now.

    Args:
        state: open for writing.
        inventory: which export.
        error: what it failed with.
        snapshot_id: what was fetched, where the fetch came so far.
        times: begin of the poll, and now.
    """
    note = _recall(state, inventory)
    reason = _reason(f"{type(error).__name__}: {error}")
    failure = f"{snapshot_id} {_VARIES.sub('#', reason)}"
    if failure in note.told or len(note.told) >= TOLD_MAX:
        return False
    note.told.append(failure)
    report = {"snapshotId": snapshot_id or unknown(inventory), "status": SnapshotStatus.FAILED.value, "reason": reason}
    _wait(note, state, inventory, report, times)
    _remember(state, inventory, note)
    return True


def note_success(state: StateFile, inventory: Inventory, *, advanced: bool) -> None:
    """A poll of an inventory ended well; `advanced`: with a new generation. The next failure is news again."""
    note = _recall(state, inventory)
    if note.told or (advanced and note.stale is not None):
        note.told = []
        note.stale = None if advanced else note.stale
        _remember(state, inventory, note)


def note_stale(state: StateFile, latest: StagedSnapshot, *, stale_after: timedelta, times: Times) -> bool:
    """The export still is of the generation that is known. Returns whether it is stale.

    The first time that a generation is found stale a report waits, and the log has a line.
    """
    if not is_stale(latest, stale_after=stale_after, at=times[1]):
        return False
    note = _recall(state, latest.inventory)
    if note.stale != latest.generated_at:
        hours = stale_after.total_seconds() / 3600
        reason = f"STALE: no generation after {latest.observed_at:%Y-%m-%dT%H:%M:%SZ} for more than {hours:g} hours"
        log.warning("the export is stale: no newer generation came", inventory=latest.inventory.value, reason=reason)
        note.stale = latest.generated_at
        report = {"snapshotId": unknown(latest.inventory), "status": SnapshotStatus.STALE.value, "reason": reason}
        _wait(note, state, latest.inventory, report, times)
        _remember(state, latest.inventory, note)
    return True


def is_stale(latest: StagedSnapshot, *, stale_after: timedelta, at: datetime) -> bool:
    """Whether the newest generation known is older than it should ever be."""
    return at - latest.observed_at > stale_after


def waiting(state: StateFile, tenant_id: str) -> list[dict[str, Any]]:
    """The reports that wait for Kafka, oldest first, whole.

    Left out is a failure of a snapshot that was staged after all, before Kafka could be told of the failure.
    """
    found = [kept for inventory in Inventory for kept in _recall(state, inventory).waiting]
    found.sort(key=lambda kept: kept["finishedAt"])
    return [
        _whole(kept, tenant_id)
        for kept in found
        if not state.journal.is_staged(kept["snapshotId"], epoch=kept["epoch"])
    ]


def begin_attempt(state: StateFile, checkpoint: Checkpoint) -> None:
    """What waits is about to be published with this checkpoint; whether it was is for the next recovery to see."""
    state.remember(_ATTEMPT, str(checkpoint.written_at))


def settle(state: StateFile, checkpoint: Checkpoint | None) -> None:
    """Kafka's last checkpoint: where it is that of an attempt, what waited was published then."""
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


def unknown(inventory: Inventory) -> str:
    """What the snapshot of a report is called where no generation is known: `cpe-unknown`."""
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


def _whole(kept: Mapping[str, Any], tenant_id: str) -> dict[str, Any]:
    """A `SnapshotReport`: what was kept, and nothing counted."""
    counts = (
        "records", "devices", "baseline", "added", "removed", "changed", "alerts", "held", "duplicates", "rejected",
    )  # fmt: skip
    unknown = ("stored", "firstSequence", "lastSequence", "generatedAt", "method")
    return {"entraTenantId": tenant_id, **dict.fromkeys(counts, 0), **dict.fromkeys(unknown), **kept}


def _reason(text: str) -> str:
    shown = str(remove_secrets(text))
    return shown if len(shown) <= REASON_CHARACTERS_MAX else shown[: REASON_CHARACTERS_MAX - 1] + "…"


def _recall(state: StateFile, inventory: Inventory) -> _Note:
    kept = state.recall(f"reports {inventory}")
    return _Note(**json.loads(kept)) if kept else _Note()


def _remember(state: StateFile, inventory: Inventory, note: _Note) -> None:
    state.remember(f"reports {inventory}", json.dumps(asdict(note)))
