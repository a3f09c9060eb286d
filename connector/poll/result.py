"""What a poll answers: its outcome, counts and times, and the exit code that they ask for.

`PollResult.as_json` is the contract of `poll --json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from connector.clock import Stopwatch
from connector.errors import ConnectorError, RegistryUnavailable, SinkRejected, SinkUnavailable
from connector.model import Counts, Inventory, StagedSnapshot
from connector.staging import unreadable
from connector.staging.stage import noted_lookalikes
from connector.state.state import StateFile

Outcome = Literal["published", "staged", "unchanged", "held", "dry_run"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("published", "staged", "unchanged", "held", "dry_run")
CAMPAIGNS_PRINTED: Final = 100
"""Campaigns in the answer of `poll --json`: the widest, of those of several devices."""

EXIT_CODES: Final[dict[Outcome, int]] = {"published": 0, "staged": 1, "unchanged": 0, "held": 3, "dry_run": 0}


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of polling one inventory: the object that `poll --json` prints.

    Attributes:
        outcome: `published` (all of the snapshot is with Kafka, be it only its report); `staged` (safe in the state
            file, but not published); `unchanged` (the generation has not advanced); `held` (published, but for
            what waits for a person); `dry_run`.
        counts: those of the snapshot that was staged; where none was, only the records and devices of the latest one.
        baseline: records taken as the baseline; published only with `diff.baseline = "emit"`.
        pending: changes that wait for Kafka after the poll; after a dry run those of earlier polls.
        holding: records that the guard holds now, whichever snapshot they are held since.
        stale: whether the generation has not advanced for `poll.stale_after_hours`.
        published: changes confirmed by Kafka in this poll, `drained` ones included.
        drained: those of them that earlier polls, or an approval, had staged.
        alert_types: alerts staged in this poll, by type.
        lookalikes: new records whose key looks like that of an absent one, whether or not they continue it.
        unreadable: values of attributes in the snapshot that could not be read, by the name of the field.
        backfilled: records and tombstones published to fill up the inventory topic, with the last inventory.
        duration_seconds: of the whole poll of this inventory.
        stages: seconds a step: recover, drain, fetch, wait, stage, publish, backfill.
        outage: what kept the poll from Kafka, if anything did.
        campaigns: the changes of the snapshot folded by what happened, those on most devices first.
    """

    outcome: Outcome
    inventory: Inventory
    snapshot_id: str | None
    epoch: int
    counts: Counts = field(default_factory=Counts)
    baseline: int = 0
    published: int = 0
    drained: int = 0
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
    lookalikes: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    campaigns: Sequence[dict[str, Any]] = ()

    @property
    def exit_code(self) -> int:
        """The exit code that the outcome asks for; an outage is worth another try, whatever came before it.

        Where nothing is, a poll that leaves something held says so, whichever poll began to hold them.
        """
        code = EXIT_CODES[self.outcome] or int(self.outage is not None)
        return code or (EXIT_CODES["held"] if self.holding and self.outcome != "dry_run" else 0)

    @property
    def is_staged(self) -> bool:
        """Whether this poll staged something: a snapshot, or the alerts of a new day."""
        return "stage" in self.stages or self.counts.alerts > 0

    def as_json(self) -> dict[str, Any]:
        """The contract of `poll --json`, in its order."""
        counts = self.counts.as_report() | {"baseline": self.baseline}
        del counts["stored"]
        return {
            "outcome": self.outcome,
            "inventory": self.inventory,
            "snapshot_id": self.snapshot_id,
            "epoch": self.epoch,
            **counts,
            "published": self.published,
            "first_sequence": self.first_sequence,
            "last_sequence": self.last_sequence,
            "duration_seconds": round(self.duration_seconds, 3),
            "stages": {step: round(seconds, 3) for step, seconds in self.stages.items()},
            "backfilled": self.backfilled,
            "drained": self.drained,
            "lookalikes": self.lookalikes,
            "unreadable": self.unreadable,
            "campaigns": [campaign for campaign in self.campaigns if campaign["devices"] > 1][:CAMPAIGNS_PRINTED],
        }


def name_cause(outage: ConnectorError) -> str:
    """What keeps a poll from publishing, in a few words; the error itself says more."""
    match outage:
        case RegistryUnavailable():
            return "the schema registry is not available"
        case SinkUnavailable():
            return "Kafka is not available"
        case SinkRejected():
            return "publishing is refused"
        case _:
            return "publishing is not possible"


def staged_result(
    state: StateFile,
    outcome: Outcome,
    staged: StagedSnapshot,
    stopwatch: Stopwatch,
    campaigns: Sequence[dict[str, Any]],
) -> PollResult:
    """The result of an inventory of which something was staged, so far as the state file knows it."""
    is_new = "stage" in stopwatch.seconds
    return PollResult(
        outcome,
        staged.inventory,
        staged.snapshot_id,
        staged.epoch,
        staged.counts,
        baseline=staged.counts.records if staged.baseline else staged.counts.baselined,
        first_sequence=staged.first_sequence,
        last_sequence=staged.last_sequence,
        generated_at=staged.observed_at,
        alert_types=state.journal.alert_types(staged),
        lookalikes=noted_lookalikes(state, staged.inventory) if is_new else 0,
        unreadable=unreadable.noted(state, staged.inventory) if is_new else {},
        campaigns=campaigns,
        **_circumstances(state, staged.inventory, stopwatch),
    )


def unchanged_result(state: StateFile, outcome: Outcome, inventory: Inventory, stopwatch: Stopwatch) -> PollResult:
    """The result of an inventory of which nothing was staged, so far as the state file knows it."""
    latest = state.journal.latest_snapshot(inventory)
    return PollResult(
        outcome,
        inventory,
        latest.snapshot_id if latest else None,
        state.journal.position().epoch,
        Counts(records=latest.counts.records, devices=latest.counts.devices) if latest else Counts(),
        generated_at=latest.observed_at if latest else None,
        **_circumstances(state, inventory, stopwatch),
    )


def _circumstances(state: StateFile, inventory: Inventory, stopwatch: Stopwatch) -> dict[str, Any]:
    return {
        "pending": state.journal.position().pending,
        "holding": state.journal.held_count(inventory),
        "duration_seconds": stopwatch.total,
        "stages": stopwatch.seconds,
    }
