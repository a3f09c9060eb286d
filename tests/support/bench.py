"""A state file and the oracle side by side: every snapshot goes to both, and both must come to the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Self

from hypothesis import HealthCheck, settings

from connector.clock import milliseconds_of
from connector.diff.distrust import TrustRules
from connector.diff.engines import Comparer
from connector.diff.growth import GrowthRules
from connector.diff.guard import GuardRules, HoldReason
from connector.model import Checkpoint, Hold, Inventory, Snapshot, StagedSnapshot
from connector.staging import audit, derived, young_baseline
from connector.staging.holds import Choice
from connector.staging.stage import StagingRules, stage_snapshot
from connector.state.state import StateFile
from tests.support.configured import default_rules
from tests.support.estate import START, snapshot_of, write_part, write_snapshot
from tests.support.oracle import Model, Outcome, Part, Record, Rules, by_key, fold, key_of
from tests.support.stored import stored_records

SLOW = settings(
    max_examples=int(os.environ.get("MDE_TEST_EXAMPLES", "4")), deadline=None, suppress_health_check=list(HealthCheck)
)
"""For properties of sequences of snapshots: some seconds for four of them; set MDE_TEST_EXAMPLES for a long look."""

AUDIT_EVERY = 4
TENANT = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"
EASY = Rules(max_removed_share=1.0, missing_device_snapshots=1, max_added_share=1_000_000)
"""Every absence and any growth is believed at once, but for lost device groups and snapshots with rejected lines."""


@dataclass(frozen=True)
class Saved:
    """What a bench was: its file, its model, its log, and the number of the last snapshot."""

    content: bytes
    model: Model
    log: dict[Any, Record]
    number: int


class Bench:
    """An open state file in its folder, beside a model of it. A context, so that it is closed.

    Attributes:
        state: the file.
        model: the oracle.
        log: what a consumer has who applied all published changes to the baseline.
        number: of the last snapshot.
        comparer: the engine that compares; None for that of the rules.
    """

    comparer: Comparer | None = None

    def __init__(
        self, folder: Path, *, rules: Rules = EASY, random: Random | None = None, like: Saved | None = None
    ) -> None:
        self.folder = folder
        self.path = folder / "state" / "state.duckdb"
        self.rules = rules
        self.random = random or Random(0)
        self.model = deepcopy(like.model) if like else Model(TENANT)
        if not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True)
            self.path.write_bytes(like.content if like else empty_file())
        self.state = StateFile.open(self.path, memory_limit_mib=256, threads=1)
        self.log: dict[Any, Record] = dict(like.log) if like else {}
        self.number = like.number if like else 0
        self._is_unaudited = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                self._audit()
        finally:
            self.state.close()

    def saved(self) -> Saved:
        """All of it, for others to begin with: staging takes longer than copying a file. The file is closed."""
        self._audit()
        self.state.close()
        return Saved(self.path.read_bytes(), self.model, self.log, self.number)

    def reopen(self) -> None:
        """Close the file, and open it again."""
        self.state.close()
        self.state = StateFile.open(self.path, memory_limit_mib=256, threads=1)

    def snapshot(self, lines: Sequence[Record]) -> Snapshot:
        """The next snapshot, written in one of the spellings of the export."""
        self.number += 1
        return write_snapshot(self.folder / "parts", self.number, lines, self.random)

    def stage(
        self,
        lines: Sequence[Record],
        *,
        rejected: int = 0,
        rules: Rules | None = None,
        last_seen: Mapping[str, datetime] | None = None,
    ) -> StagedSnapshot:
        """Stage the next snapshot, and hold everything that comes of it against the oracle.

        With `last_seen`, the snapshot brings what Defender knows of those devices.
        """
        self.rules = rules or self.rules
        snapshot = self.snapshot(lines)
        if last_seen is not None:
            snapshot = replace(snapshot, device_facts=write_facts(self.folder / "devices.ndjson", last_seen))
        self.model.last_seen = last_seen or {}
        known = self.model.known
        staged = self.take(snapshot, rejected=rejected)
        outcome = self.model.stage(snapshot.snapshot_id, lines, self.rules, rejected=rejected)
        assert self.changes(staged) == stamped(outcome.changes, staged)
        assert counts(staged) == expected_counts(outcome, len(self.model.inventory or {}), rejected)
        self.agree(staged, current=by_key(lines))
        if known != self.model.known or self.model.young:
            # What was not looked at so far, or completes a silent baseline, is stored as it is now, without a change.
            self.log = dict(self.model.inventory or {})
        return staged

    def confirm_baseline(self) -> None:
        """As a snapshot does that comes without a mass of additions: what comes next is added, and no baseline."""
        young_baseline.confirm(self.state.database, Inventory.CPE)
        self.model.young = False

    def take(
        self,
        snapshot: Snapshot,
        *,
        rejected: int = 0,
        keep: bool = True,
        rules: StagingRules | None = None,
        state: StateFile | None = None,
    ) -> StagedSnapshot:
        """Stage a snapshot, in another state file where one is given, without a look at what comes of it."""
        return stage_snapshot(
            state or self.state,
            snapshot,
            rules or staging_rules(self.rules),
            started_at=snapshot.generated_at + timedelta(minutes=1),
            now=snapshot.generated_at + timedelta(minutes=2),
            rejected=rejected,
            keep=keep,
            comparer=self.comparer,
        )

    def try_out(self, snapshot: Snapshot) -> StagedSnapshot:
        """What a dry run finds: the file is closed meanwhile, and only read."""
        self.state.close()
        with StateFile.open(self.path, memory_limit_mib=256, threads=1, scratch=True) as scratch:
            staged = self.take(snapshot, state=scratch, keep=False)
        self.state = StateFile.open(self.path, memory_limit_mib=256, threads=1)
        return staged

    def changes(self, staged: StagedSnapshot) -> list[Record]:
        """All changes of a staged snapshot."""
        return list(self.state.journal.changes(staged, after=0, limit=10**9))

    def agree(self, staged: StagedSnapshot, *, current: dict[Any, Record]) -> None:
        """Inventory, holds and the consumer's copy are the model's; nothing was removed that the snapshot has."""
        changes = self.changes(staged)
        stored = {key_of(record): record for record in stored_records(self.state, Inventory.CPE)}
        assert stored == self.model.inventory
        assert self.held() == self.model.held
        holds = self.state.journal.holds()
        assert self.distrusted(holds) == self.model.distrusted
        assert self.additions(holds) == (self.model.additions and self.model.additions[:2])
        # What does not add up stays so: it is enough to look now and then, and at the end.
        self._is_unaudited = True
        if self.number % AUDIT_EVERY == 0:
            self._audit()
        removed = {key_of(change) for change in changes if change["changeType"] == "REMOVED"}
        assert removed & set(current) == set()
        if staged.baseline:
            self.log = dict(stored)
        else:
            fold(self.log, changes)

    def _audit(self) -> None:
        if self._is_unaudited:
            self._is_unaudited = False
            assert audit.verify(self.state) == []

    def held(self) -> dict[Any, str]:
        """What is held, by key, with the reason."""
        rows = self.state.database.rows(
            "SELECT device_id, software_vendor, software_name, software_version, reason FROM held"
            " JOIN devices USING (device_no) JOIN software USING (software_no)"
        )
        return {row[:4]: row[4] for row in rows}

    def distrusted(self, holds: Sequence[Hold] | None = None) -> dict[str, tuple[str, int]]:
        """Of each field whose values are held, the reason and the number of records."""
        holds = self.state.journal.holds() if holds is None else holds
        return {hold.field: (hold.reason, hold.records) for hold in holds if hold.field is not None}

    def additions(self, holds: Sequence[Hold] | None = None) -> tuple[str, int] | None:
        """Why additions are held, and how many."""
        holds = self.state.journal.holds() if holds is None else holds
        reasons = [(hold.reason, hold.records) for hold in holds]
        return next((hold for hold in reasons if hold[0] in {"KEYS_CHANGED", "MASS_ADDITION"}), None)

    def alerts(self, staged: StagedSnapshot) -> list[Record]:
        """All alerts of a staged snapshot."""
        return list(self.state.journal.alerts(staged, after=0, limit=10**9))

    def due(self, days: int, *, rules: StagingRules | None = None) -> StagedSnapshot | None:
        """That number of days after the last snapshot a poll finds nothing new: what the dates alone raise."""
        now = START + timedelta(hours=6 * self.number, days=days)
        return derived.stage_due_alerts(self.state, Inventory.CPE, rules or staging_rules(self.rules), now=now)

    def checkpoint(
        self, staged: StagedSnapshot, *, sequence: int | None = None, sealed: bool = True, alert: int | None = None
    ) -> Checkpoint:
        """The checkpoint that rides with the last batch of a snapshot, or with an earlier one."""
        return Checkpoint(
            transactional_id="mde",
            entra_tenant_id=TENANT,
            epoch=staged.epoch,
            sequence=staged.sequence_after if sequence is None else sequence,
            sealed=staged.snapshot_no if sealed else staged.snapshot_no - 1,
            snapshot_id=staged.snapshot_id,
            written_at=1_800_000_000_000,
            connector_version=staged.connector_version,
            alert_sequence=staged.alert_after if alert is None else alert,
        )


def write_facts(path: Path, last_seen: Mapping[str, datetime]) -> Path:
    """What Defender knows of devices, as `source.devices` writes it."""
    lines = (
        {"device_id": device.lower(), "last_seen": milliseconds_of(moment), "health": None, "onboarding": None}
        for device, moment in last_seen.items()
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    return path


@cache
def empty_file() -> bytes:
    """A new state file: made once, since making one takes longer than opening it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.duckdb"
        StateFile.open(path, memory_limit_mib=256, threads=1).close()
        return path.read_bytes()


def plain_snapshot(
    folder: Path, lines: Sequence[Record], number: int, inventory: Inventory = Inventory.CPE
) -> Snapshot:
    """A snapshot of one part."""
    folder.mkdir(parents=True, exist_ok=True)
    part = write_part(folder / f"{inventory.label}-{number}.json", lines, Random(number))
    return snapshot_of([part], number, inventory=inventory)


def staging_rules(rules: Rules, *, tenant_id: str = TENANT, max_pending: int = 10**6) -> StagingRules:
    """The oracle's rules as the connector has them; the alerts are the default ones."""
    return replace(
        default_rules(),
        tenant_id=tenant_id,
        guard=GuardRules(**{item.name: getattr(rules, item.name) for item in fields(GuardRules)}),
        trust=TrustRules(rules.min_changed, rules.changed_shares),
        growth=GrowthRules(rules.max_added_share, rules.min_added),
        emit_baseline=rules.emit_baseline,
        pair_versions=rules.pair_versions,
        fold_lookalikes=rules.fold_lookalikes,
        ignore_fields=rules.ignore_fields,
        max_pending=max_pending,
    )


def choice_of(part: Part) -> Choice:
    """The oracle's part of what is held as the connector has it."""
    return Choice(
        reasons=tuple(HoldReason(reason) for reason in sorted(part.reasons)),
        groups=tuple(sorted(part.groups)),
        devices=tuple(sorted(part.devices)),
    )


def stamped(changes: Sequence[Record], staged: StagedSnapshot) -> list[Record]:
    """The oracle's changes with the times that are the snapshot's."""
    generated_at = round(staged.observed_at.timestamp() * 1000)
    return [change | {"observedAt": generated_at, "emittedAt": generated_at + 120_000} for change in changes]


def counts(staged: StagedSnapshot) -> dict[str, Any]:
    """What a staged snapshot says of itself."""
    names = (
        "records", "devices", "stored", "added", "removed", "changed", "baselined", "held", "hold_reason", "duplicates",
        "rejected", "first_sequence", "last_sequence",
    )  # fmt: skip
    values = {name: getattr(staged, name) for name in staged.__dataclass_fields__} | asdict(staged.counts)
    return {name: values[name] for name in names}


def expected_counts(outcome: Outcome, stored: int, rejected: int) -> dict[str, Any]:
    """The same, counted from the oracle's changes."""
    kinds = [change["changeType"] for change in outcome.changes]
    sequences = [change["sequence"] for change in outcome.changes]
    return {
        "records": outcome.records,
        "devices": outcome.devices,
        "stored": stored,
        "added": kinds.count("ADDED"),
        "removed": kinds.count("REMOVED"),
        "changed": kinds.count("CHANGED"),
        "baselined": kinds.count("BASELINE"),
        "held": outcome.held,
        "hold_reason": outcome.hold_reason,
        "duplicates": outcome.duplicates,
        "rejected": rejected,
        "first_sequence": min(sequences, default=None),
        "last_sequence": max(sequences, default=None),
    }


def record(device: str, name: str, version: str = "1", **more: Any) -> Record:
    """A record of a made-up vendor, for tests that need few."""
    return {"deviceId": device, "softwareVendor": "v", "softwareName": name, "softwareVersion": version, **more}


def brief(changes: Sequence[Record]) -> list[tuple[str, ...]]:
    """Type, reason, device, name and version of changes, for tests that look at those alone."""
    names = ("changeType", "reason", "deviceId", "softwareName", "softwareVersion")
    return [tuple(str(change[name]) for name in names) for change in changes]


__all__ = ["EASY", "SLOW", "START", "TENANT", "Bench", "brief", "plain_snapshot", "record", "staging_rules"]
