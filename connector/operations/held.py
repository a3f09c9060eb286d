"""What the guard holds, and what a decision about it would come to, as `held` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from connector.assembly import STATE_WAIT_SECONDS, Assembly
from connector.diff.guard import HoldReason
from connector.errors import ConfigError
from connector.history.filters import member
from connector.model import Hold, Inventory
from connector.operations.held_rows import as_row
from connector.staging import derived, holds
from connector.staging.holds import EVERYTHING, Choice
from connector.staging.stage import StagingRules
from connector.state import decisions
from connector.state.lists import patterns
from connector.state.state import StateFile


class Examined(NamedTuple):
    """What is held, looked at.

    Attributes:
        holds: everything that is held, for a decision to be about the same.
        parts: the chosen rows of `held list --json`.
    """

    holds: list[Hold]
    parts: list[dict[str, Any]]


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
        return try_decisions(assembly, state, choice)


def try_decisions(
    assembly: Assembly, state: StateFile, choice: Choice = EVERYTHING, *, names_max: int = holds.NAMES_MAX
) -> Examined:
    """What is held of a choice, as `examine`, in a scratch state; `names_max` devices and groups are named of each."""
    standing, now = state.journal.holds(), assembly.clock()
    for inventory in choice.inventories if standing else ():
        # Alerts of the day are no consequence of a decision.
        derived.stage_due_alerts(state, inventory, assembly.rules, now=now)
    parts = []
    for hold in standing:
        if choice.admits(hold):
            part = measure(state, hold, choice, names_max=names_max)
            parts += [part | _consequences(state, hold, choice, assembly.rules, now)] if part["records"] else []
    return Examined(standing, parts)


def measure(
    state: StateFile, hold: Hold, choice: Choice = EVERYTHING, *, names_max: int = holds.NAMES_MAX
) -> dict[str, Any]:
    """The row of a hold, as far as it is chosen, with the groups and devices that have the most of its removals."""
    if not hold.is_of_removals:
        return as_row(hold) | {"groups": None, "largest_groups": {}, "largest_devices": {}}
    extent = holds.measure(state, hold.inventory, choice.of(hold), names_max=names_max)
    share = hold.share * extent.records / hold.records
    return as_row(replace(hold, records=extent.records, devices=extent.devices, share=share)) | {
        "groups": extent.groups,
        "largest_groups": dict(extent.largest_groups),
        "largest_devices": dict(extent.largest_devices),
    }


def _consequences(state: StateFile, hold: Hold, choice: Choice, rules: StagingRules, now: datetime) -> dict[str, Any]:
    """What follows from approving the part of a hold that is chosen."""
    if not hold.is_of_removals:
        return _later_consequences(hold)
    effect = derived.foresee_approval(state, hold.inventory, rules, choice.of(hold), now=now)
    return {
        "if_approved": _numbers(removed=effect.removed, alerts=effect.alerts),
        "if_it_returns": _numbers(added=effect.removed, alerts=effect.alerts_returning),
    }


def _later_consequences(hold: Hold) -> dict[str, Any]:
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
