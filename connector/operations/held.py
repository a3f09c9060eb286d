"""What the guard holds, and what a decision about it would come to, as `held` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from connector.assembly import STATE_WAIT_SECONDS, Assembly
from connector.clock import moment_of
from connector.diff.guard import HoldReason
from connector.errors import ConfigError
from connector.history.filters import member
from connector.model import Hold, Inventory
from connector.staging import derived, holds
from connector.staging.holds import EVERYTHING, Choice
from connector.staging.stage import StagingRules
from connector.state import decisions, patterns
from connector.state.state import StateFile


class Examined(NamedTuple):
    """What is held, looked at.

    Attributes:
        holds: everything that is held, for a decision to be about the same.
        parts: the chosen rows of `held list --json`.
    """

    holds: list[Hold]
    parts: list[dict[str, Any]]


def list_held(state: StateFile) -> list[dict[str, Any]]:
    """What `status --json` says is held: a row for each inventory, reason, field and snapshot since which it is."""
    return [_as_row(hold) for hold in state.journal.holds()]


def choose(
    reasons: Sequence[str] = (), inventory: str = "", groups: Sequence[str] = (), devices: Sequence[str] = ()
) -> Choice:
    """The part of what is held that options name.

    Raises:
        ConfigError: a word is no reason, no inventory, or empty.
    """
    return Choice(
        tuple(member(HoldReason, reason, "--reason", "reason of a hold") for reason in reasons),
        member(Inventory, inventory, "--inventory", "inventory") if inventory else None,
        tuple(
            patterns.stripped(group, "--group", "Give the name or the number of a device group.") for group in groups
        ),
        tuple(patterns.stripped(device, "--device", "Give a device's name or id.") for device in devices),
    )


def list_decided(assembly: Assembly, choice: Choice = EVERYTHING) -> list[dict[str, Any]]:
    """The audit lines of decisions about what was held, newest first, as `held list --decided --json` prints them.

    Raises:
        ConfigError: the choice is of devices or groups, which audit lines do not name one by one.
        StateLocked: a poll has the state file open.
    """
    if choice.groups or choice.devices:
        raise ConfigError(
            "--decided takes --reason and --inventory", hint="What was chosen of it stands in each decision."
        )
    with assembly.read_state() as state:
        return decisions.newest(
            state.database,
            reasons=[reason.value for reason in choice.reasons],
            inventory=choice.inventory.value if choice.inventory else "",
        )


def examine(assembly: Assembly, choice: Choice = EVERYTHING, *, wait_seconds: float = STATE_WAIT_SECONDS) -> Examined:
    """What is held of a choice: how far it reaches, and what approving it would publish, now and if it returns.

    An approval is tried beside the state file, which is only read, so that the numbers are those of the approval.

    Raises:
        StateLocked: a poll still has the state file open.
    """
    with assembly.read_state(wait_seconds) as state:
        standing = state.journal.holds()
    if not any(choice.admits(hold) for hold in standing):
        return Examined(standing, [])
    with assembly.open_scratch(wait_seconds) as state:
        standing, now = state.journal.holds(), assembly.clock()
        for inventory in choice.inventories:
            # Alerts of the day are no consequence of a decision.
            derived.stage_due_alerts(state, inventory, assembly.rules, now=now)
        described = (_describe(state, hold, choice, assembly.rules, now) for hold in standing if choice.admits(hold))
        return Examined(standing, [part for part in described if part["records"]])


def _as_row(hold: Hold) -> dict[str, Any]:
    return {
        "inventory": hold.inventory.value,
        "reason": hold.reason,
        "field": hold.field,
        "records": hold.records,
        "devices": hold.devices,
        "share": round(hold.share, 4),
        "since_snapshot_id": hold.since_snapshot_id,
        "since": moment_of(hold.since).isoformat(timespec="seconds"),
    }


def _describe(state: StateFile, hold: Hold, choice: Choice, rules: StagingRules, now: datetime) -> dict[str, Any]:
    """The row of a hold, as far as it is chosen, with what follows from approving it."""
    if not hold.is_of_removals:
        return _as_row(hold) | {"groups": None, "largest_groups": {}, "largest_devices": {}} | _consequences(hold)
    part = choice.of(hold)
    extent = holds.measure(state, hold.inventory, part)
    effect = derived.foresee_approval(state, hold.inventory, rules, part, now=now)
    share = hold.share * extent.records / hold.records
    return _as_row(replace(hold, records=extent.records, devices=extent.devices, share=share)) | {
        "groups": extent.groups,
        "largest_groups": dict(extent.largest_groups),
        "largest_devices": dict(extent.largest_devices),
        "if_approved": _numbers(removed=effect.removed, alerts=effect.alerts),
        "if_it_returns": _numbers(added=effect.removed, alerts=effect.alerts_returning),
    }


def _consequences(hold: Hold) -> dict[str, Any]:
    """What approving held values or additions publishes, by the last snapshot; their alerts are not known before."""
    unknown = {"alerts": None}
    match HoldReason(hold.reason):
        case HoldReason.MASS_ADDITION:
            approved, returned = _numbers(added=hold.records), _numbers(removed=hold.records)
        case HoldReason.KEYS_CHANGED:
            approved = _numbers(added=hold.records) | {"removed": None}
            returned = _numbers(removed=hold.records) | {"added": None}
        case _:
            approved = returned = _numbers(changed=hold.records)
    return {"if_approved": approved | unknown, "if_it_returns": returned | unknown}


def _numbers(*, added: int = 0, removed: int = 0, changed: int = 0, alerts: int | None = 0) -> dict[str, int | None]:
    return {"added": added, "removed": removed, "changed": changed, "alerts": alerts}
